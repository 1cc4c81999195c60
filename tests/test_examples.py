"""The real data fit together: the task, the sampled answers, and the table of log-probabilities."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from lambda_star import calibrate, read_table
from lambda_star.calibration.table import Top
from lambda_star.contract import json_structure

FOLDER = Path(__file__).parent.parent / "examples" / "rank_by_price"
VOCABULARY = 49_152


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


task = load("task")
TABLE = read_table(FOLDER / "logprobs.csv")


def records(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / name).read_text(encoding="utf-8").splitlines()]


BASE, TEACHER = records("base_answers.jsonl"), records("teacher_answers.jsonl")


@pytest.mark.parametrize("number", range(60))
def test_the_right_answer_is_a_valid_ranking_by_price(number: int) -> None:
    items = task.make_items("train", number)
    target = task.make_target(items)
    price = {item.ident: item.price for item in items}
    ranked = [price[ident] for ident in json.loads(target)]
    assert 3 <= len(ranked) <= 8
    assert ranked == sorted(ranked)
    assert len(set(ranked)) == len(items)
    assert task.is_permutation(target, items)
    assert all(f"{item.ident} {item.name} ${item.price}" in task.make_prompt(items) for item in items)


def test_sizes_take_turns_and_splits_differ() -> None:
    assert {len(task.make_items("test", number)) for number in range(6)} == {3, 4, 5, 6, 7, 8}
    assert task.make_items("test", 0) != task.make_items("train", 0)
    assert task.make_items("test", 0) == task.make_items("test", 0)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        '["A1"',
        '["A1",]',
        "['A1']",
        '["A1"] ok',
        '"A1"',
        '{"A1": 1}',
        "[1]",
        '["A1", 2]',
        '[["A1"]]',
        "[NaN]",
        "[" * 10**5,
    ],
)
def test_an_answer_that_is_not_a_list_of_strings_is_not_valid(answer: str) -> None:
    assert not task.is_valid(answer)


def test_a_valid_answer_may_rank_wrongly_but_a_permutation_names_every_item_once() -> None:
    items = task.make_items("test", 0)
    idents = [item.ident for item in items]
    assert task.is_valid("[]")
    assert task.is_valid(' ["anything", "at all"] ')
    assert task.is_permutation(json.dumps(idents[::-1]), items)
    assert not task.is_permutation(json.dumps(idents[:-1]), items)
    assert not task.is_permutation(json.dumps([*idents, idents[0]]), items)


@pytest.mark.parametrize("answers", [BASE, TEACHER], ids=["base", "teacher"])
def test_the_answers_say_of_themselves_what_the_task_says(answers: list[dict[str, Any]]) -> None:
    for record in answers:
        items = task.make_items(record["split"], record["index"])
        assert len(items) == record["k"]
        assert record["parses"] == task.is_valid(record["text"])
        assert record["permutation"] == task.is_permutation(record["text"], items)


def test_the_prompts_on_file_are_those_of_the_questions() -> None:
    asked = records("prompts.jsonl")
    assert len(asked) == len(BASE)
    for record, line in zip(BASE, asked, strict=True):
        system, user = line["messages"]
        question = task.make_prompt(task.make_items(record["split"], record["index"]))
        assert (system["role"], system["content"]) == ("system", task.SYSTEM)
        assert (user["role"], user["content"]) == ("user", question)


def test_base_is_weak_and_teacher_is_strong() -> None:
    def share(answers: list[dict[str, Any]]) -> float:
        return sum(bool(task.is_valid(record["text"])) for record in answers) / len(answers)

    assert len(BASE) >= 300
    assert 0.25 <= share(BASE) <= 0.42
    assert len(TEACHER) >= 200
    assert share(TEACHER) >= 0.97


def test_every_position_of_every_base_answer_is_scored() -> None:
    assert TABLE.problems == ()
    for record in BASE:
        rows = TABLE.sequence == str(record["sequence"])
        assert TABLE.position[rows].tolist() == list(range(len(record["tokens"])))
        if record["text"].isascii():  # the tokens of a split character are not text on their own
            text = "".join(TABLE.token[rows].tolist()).removesuffix("<|im_end|>")
            assert text == record["text"]
    assert len(TABLE.log_p) == sum(len(record["tokens"]) for record in BASE)


@pytest.mark.parametrize("answer", ['["A1","B2"]', ' [ "a b" , "\\u00e9\\n" ] ', "[]"])
def test_every_start_of_a_valid_answer_is_a_start_and_a_broken_one_is_not(answer: str) -> None:
    assert all(task.is_start(answer[:length]) for length in range(len(answer) + 1))
    broken = ["'", "[1", '["a" "', '["a",]', '["a"]x', "{", '[["', '["a\n', '["\\x', '["\\ug', '["a",,']
    assert not any(task.is_start(start) for start in broken)


def test_the_contract_is_where_punctuation_is_modal_in_an_answer_that_may_still_become_valid() -> None:
    assert TABLE.contract is not None
    for record in BASE:
        rows = np.flatnonzero(TABLE.sequence == str(record["sequence"])).tolist()
        before = ""
        for row in rows if record["text"].isascii() else []:
            modal = str(TABLE.modal[row])
            ends = modal == "<|im_end|>" and task.is_valid(before)
            label = modal if ends else (json_structure(modal) or "") if task.is_start(before) else ""
            assert TABLE.contract[row] == label
            before += str(TABLE.token[row])


def test_the_teacher_s_modal_token_is_modal() -> None:
    assert TABLE.log_p.min() > -math.log(VOCABULARY)
    assert np.mean(np.exp(TABLE.log_p)) > np.mean(np.exp(TABLE.log_b))


def listed() -> list[tuple[int, Top]]:
    """The rows that list their most probable tokens."""
    assert TABLE.top is not None
    return [(row, top) for row, top in enumerate(TABLE.top) if top is not None]


def test_contract_positions_and_only_they_list_their_most_probable_tokens() -> None:
    assert TABLE.contract is not None
    assert [row for row, _ in listed()] == np.flatnonzero(TABLE.contract != "").tolist()
    assert len(listed()) > 1000
    for _, top in listed():
        assert 5 <= len(top.tokens) <= 10
        assert top.low is not None
        assert top.high is not None
        assert top.low <= top.high


def test_listed_tokens_are_in_the_teacher_s_order_and_begin_with_the_modal_one() -> None:
    for row, top in listed():
        assert list(top.log_p) == sorted(top.log_p, reverse=True)
        assert (top.tokens[0], top.log_p[0], top.log_b[0]) == (TABLE.modal[row], TABLE.log_p[row], TABLE.log_b[row])


def test_the_five_most_probable_tokens_of_either_model_are_listed() -> None:
    """The teacher's five are written first, so every token after them is among the base's five."""
    for _, top in listed():
        base = sorted(top.log_b, reverse=True)[:5]
        assert all(log_b in base for log_b in top.log_b[5:])


def test_what_is_not_listed_lies_in_its_range() -> None:
    """The log-ratio of the missing masses lies between the least and the greatest log-ratio of the unlisted tokens."""
    checked = 0
    for _, top in listed():
        missing, base_missing = (1 - math.fsum(map(math.exp, logs)) for logs in (top.log_p, top.log_b))
        assert min(missing, base_missing) > 0
        assert top.low is not None
        assert top.high is not None
        rounding = 1e-9 / min(missing, base_missing)  # ten tokens of ten digits
        if rounding < 0.01:
            checked += 1
            assert top.low - rounding <= math.log(missing / base_missing) <= top.high + rounding
    assert checked > 1300


def test_no_unlisted_token_is_more_probable_than_a_listed_one() -> None:
    """The missing mass fits into the unlisted tokens at no more than the probability of the fifth token."""
    for _, top in listed():
        for logs in (top.log_p, top.log_b):
            missing = 1 - math.fsum(map(math.exp, logs))
            assert missing <= (VOCABULARY - len(logs)) * math.exp(sorted(logs, reverse=True)[4]) + 1e-9


def test_the_files_stay_small() -> None:
    assert (FOLDER / "logprobs.csv").stat().st_size < 2e6
    assert all(path.stat().st_size < 10e6 for path in FOLDER.rglob("*.safetensors"))


def test_the_calibrated_threshold_is_that_of_the_rows_worked_out_by_hand() -> None:
    report = calibrate(TABLE, clip=5.0)
    binding = report.binding
    assert TABLE.contract is not None
    rows = np.flatnonzero(TABLE.contract == binding.name).tolist()
    tail = math.fsum(-math.expm1(TABLE.log_p[i]) for i in rows) / len(rows)
    b = math.fsum(math.exp(TABLE.log_b[i]) for i in rows) / len(rows)
    expected = 1 + math.log1p(4 / (1 - tail)) / (math.log((1 - tail) / tail) - math.log(b / (1 - b)))
    assert binding.positions == len(rows)
    assert binding.value == pytest.approx(expected, rel=1e-9)
