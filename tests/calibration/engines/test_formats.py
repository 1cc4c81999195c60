"""What each format says beyond its numbers: starts of answers, samplers, ranks, several answers, and refusals."""

from __future__ import annotations

import math
from typing import Any

import pytest

from lambda_star.calibration.readers.engines import llamacpp, openai, sglang, vllm
from lambda_star.calibration.readers.join import join
from lambda_star.calibration.readers.rounding import Digits
from lambda_star.calibration.readers.scores import answers, scored
from lambda_star.calibration.readers.steps import Answer, token
from lambda_star.calibration.table import Problem


def only(record: Any) -> Answer | Problem:
    found = scored(record, 1, "f.jsonl")
    assert found is not None
    (item,) = found
    return item


def message(record: Any) -> str:
    item = only(record)
    assert isinstance(item, Problem)
    assert (item.line, item.source) == (1, "f.jsonl")
    return item.message


def completion(numbers: list[float | None], **usage: int) -> dict[str, Any]:
    tokens = [f"t{at}" for at in range(len(numbers))]
    tops = [None if one is None else {name: one} for name, one in zip(tokens, numbers, strict=True)]
    logprobs = {"tokens": tokens, "token_logprobs": numbers, "top_logprobs": tops}
    return {"choices": [{"index": 0, "logprobs": logprobs}], "usage": usage}


@pytest.mark.parametrize(
    ("record", "start"),
    [
        (completion([-0.1, -0.2], prompt_tokens=5, completion_tokens=2), 0),
        (completion([-0.1, -0.2]), 0),
        (completion([None, -0.1, -0.2], prompt_tokens=1, completion_tokens=2), 1),
        (completion([None, -0.1, -0.2], prompt_tokens=3, completion_tokens=0), 3),
        (completion([None, -0.1, -0.2]), None),
        (completion([None, -0.1, -0.2]) | {"answer_start": 2}, 2),
    ],
    ids=["no prompt", "no counts", "echo", "scored", "echo without counts", "given"],
)
def test_completions_say_how_many_tokens_are_the_prompt(record: dict[str, Any], start: int | None) -> None:
    found = only(record)
    assert isinstance(found, Answer)
    assert found.start == start


def test_a_first_token_of_0_without_a_list_is_a_prompt() -> None:
    record = completion([0.0, -0.1, -0.2])
    record["choices"][0]["logprobs"]["top_logprobs"][0] = None
    found = only(record)
    assert isinstance(found, Answer)
    assert found.start is None
    (table,) = join([found], [found])
    assert not len(table)
    assert "`answer_start`" in table.problems[0].message


@pytest.mark.parametrize("given", ["x", True, 1.5, -1, 9, [1]])
def test_a_start_that_is_none_is_refused(given: Any) -> None:
    assert "`answer_start` is" in message(completion([-0.1]) | {"answer_start": given})


def test_several_answers_of_a_record_have_names_of_their_own() -> None:
    choices = [{"index": at, "logprobs": {"content": [{"token": "[", "logprob": -0.1}]}} for at in range(2)]
    found = scored({"choices": [*choices, {"index": 2}], "custom_id": "q"}, 4, "f.jsonl")
    assert found is not None
    assert [one.name for one in found if isinstance(one, Answer)] == ["q/0", "q/1"]
    assert [(one.line, one.source) for one in found if isinstance(one, Problem)] == [(4, "f.jsonl")]


REFUSED: dict[str, tuple[Any, str]] = {
    "an error of the batch API": ({"custom_id": "a", "response": None, "error": {"message": "late"}}, "late"),
    "an error of a server": ({"error": {"message": "too long"}}, "too long"),
    "no choices": ({"choices": []}, "`choices` is empty"),
    "no log-probabilities": ({"choices": [{"message": {}}]}, "ask for `logprobs` and `top_logprobs`"),
    "lists of two lengths": (
        {"choices": [{"logprobs": {"tokens": ["a", "b"], "token_logprobs": [-0.1], "top_logprobs": []}}]},
        "different lengths [2, 1, 0]",
    ),
    "vLLM without numbers": ({"outputs": [{"token_ids": [1], "logprobs": None}]}, "sample with `logprobs`"),
    "vLLM cut": ({"outputs": [{"token_ids": [1, 2], "logprobs": [{"1": {"logprob": -0.1}}]}]}, "1 log-prob"),
    "SGLang without numbers": ({"meta_info": {"id": "a"}}, "ask for `return_logprob`"),
    "SGLang's flat form": ({"meta_info": {"input_top_logprobs_val_flat": [-0.1]}}, "flat form"),
    "SGLang cut": (
        {"meta_info": {"output_token_logprobs": [[-0.1, 1, "a"]], "output_top_logprobs": [[], []]}},
        "different lengths [1, 2]",
    ),
    "after a sampler": (
        {"completion_probabilities": [{"content": "a", "probs": [{"tok_str": "a", "prob": 0.5}]}]},
        "no `generation_settings` tell which",
    ),
    "after a top-k": (
        {
            "completion_probabilities": [{"id": 1, "token": "a", "prob": 0.5, "top_probs": []}],
            "generation_settings": {"temperature": 0.8, "top_k": 40, "top_p": 1.0, "min_p": 0.0},
        },
        "which temperature, top_k changed",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_records_without_usable_numbers_are_refused(name: str) -> None:
    record, said = REFUSED[name]
    assert said in message(record)


def test_other_records_are_not_taken_for_engines() -> None:
    others: tuple[Any, ...] = (None, 3, "text", [], {}, {"token": "[", "log_p": -0.1}, {"choices": None})
    for record in others:
        assert scored(record, 1, "f.jsonl") is None
    (found,) = answers([(3, {"prompt": "?"})], "f.jsonl")
    assert isinstance(found, Problem)
    assert (found.line, found.source) == (3, "f.jsonl")


def listed(*entries: tuple[int, float | None, int | None]) -> dict[str, Any]:
    return {str(name): {"logprob": log, "rank": rank, "decoded_token": f"t{name}"} for name, log, rank in entries}


@pytest.mark.parametrize(
    ("row", "top"),
    [
        (listed((7, -9.0, 412), (1, -0.1, 1), (2, -3.0, 2)), [1, 2]),
        (listed((1, -0.1, 1), (2, -3.0, 2)), [1, 2]),
        (listed((7, -2.0, 1)), [7]),
        (listed((7, -2.0, 3)), []),
        (listed((7, None, None), (1, -0.8, 1)), [1]),
        (listed((7, -2.0, 5), (1, -3.0, 1), (2, -0.5, 2)), []),
        (listed((7, -0.5, 1), (1, -3.0, 1), (2, -4.0, 2)), []),
        (listed((7, -9.0, None), (1, -0.1, None)), [1]),
    ],
    ids=["sampled outside", "sampled first", "best alone", "alone", "no number", "ids", "ids and best", "no ranks"],
)
def test_ranks_say_which_tokens_are_the_most_probable(row: dict[str, Any], top: list[int]) -> None:
    (step,) = vllm.prompt_steps([row])
    assert [entry.id for entry in step.top] == top
    assert not step.wrong
    numbers = {int(name): one["logprob"] for name, one in row.items() if one["logprob"] is not None}
    assert {entry.id: entry.log for entry in step.entries()} == numbers


def test_neutral_samplers_give_the_models_probabilities() -> None:
    settings = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "grammar": "", "seed": 3}
    top = [{"id": 1, "token": "a", "prob": 0.75}, {"id": 2, "token": "b", "prob": 0.0}]
    one = {"id": 1, "token": "a", "prob": 0.75, "top_probs": top}
    (step,) = llamacpp.read({"completion_probabilities": [one], "generation_settings": settings})
    assert step.log == math.log(0.75)
    assert len(step.top) == 1
    assert not step.wrong


def test_requested_tokens_of_sglang_are_known_but_bound_nothing() -> None:
    meta = {
        "output_token_logprobs": [[-0.1, 1, "a"]],
        "output_top_logprobs": [[[-0.1, 1, "a"], [-4.0, 2, "b"]]],
        "output_token_ids_logprobs": [[[-11.0, 9, "c"]]],
    }
    (step,), start, prompt = sglang.read({"meta_info": meta})
    assert (start, prompt) == (0, None)
    assert [entry.id for entry in step.also] == [9]
    assert {entry.text for entry in step.entries()} == {"a", "b", "c"}


def test_ids_in_the_place_of_texts_are_ids() -> None:
    assert token("token_id:28", -0.5).id == 28
    assert token("token_id:28", -0.5, None, [91]).text == "["
    assert token("token_id:x", -0.5).id is None
    (step,) = openai.steps_of_content(
        [{"token": "[", "logprob": -0.1, "top_logprobs": [{"token": "[", "logprob": -0.1}]}]
    )
    assert (step.text, step.log) == ("[", -0.1)


def test_numbers_of_all_zeros_show_no_rounding() -> None:
    assert Digits.of([0.0, 0.0]).half(0.0) == 0.0
    assert Digits.of([0.0, -0.5]).half(0.0) > 0
