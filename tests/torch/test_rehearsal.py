"""Rehearsed answers follow the law of the predicted student, and nothing is lost when a run is cut."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from lambda_star import updates
from lambda_star.contract import Contract
from lambda_star.rehearsal import Rehearsal, read_rehearsal
from tests.torch import tiny

pytest.importorskip("transformers", reason="the models need transformers: pip install 'lambda-star[models]'")

from lambda_star.torch import PredictedStudent, pair_of, rehearsing, sample
from lambda_star.torch.pairs import Pair
from lambda_star.torch.predicted import mixture, predicted_student
from lambda_star.torch.sampling import Sampled, exponential

TOY = ["<end>", "a", "b"]
LENGTH = 3
RULES = [
    "log_ratio_cap:5",
    "log_ratio_cap:5,through=true",
    "log_ratio_clamp:5",
    "log_ratio_clamp:5,teacher=extrapolated",
    "log_prob_floor:8",
    "kl_to_base_cap:5",
    "advantage_clamp:1",
    "advantage_clamp:1,centred=true",
    "reward_clip:2",
    "importance_weight:5",
    "ppo",
    "teacher_weight:5",
    "teacher_weight:5,centred=false",
    "top_k:1",
    "top_k:9",
    "truncated_sampling:top_k=9",
]
PROMPTS = ["a0", "1", "b,b", "[1"]


def models(vocabulary: int = len(tiny.CHARACTERS), ends: Any = 1) -> tuple[Any, Any]:
    return tiny.model(0, vocabulary=vocabulary, ends=ends), tiny.model(1, vocabulary=vocabulary, ends=ends)


def rehearse(lams: list[float], prompts: list[str] | None = None, **options: Any) -> Rehearsal:
    options = {"max_tokens": 12, "tokenizer": tiny.tokenizer()} | options
    return rehearsing.rehearse(*models(), prompts or PROMPTS, lams, **options)


def law_of_answers(two: Pair, prompt: list[int], lam: float) -> dict[str, float]:
    """The exact law of the texts of the toy: the product of the mixtures of log-probabilities along each answer."""
    law: dict[str, float] = {}
    for tokens in itertools.product(range(3), repeat=LENGTH):
        cut = tokens[: tokens.index(0) + 1] if 0 in tokens else tokens
        if tokens != cut + (0,) * (LENGTH - len(cut)):
            continue
        ids = torch.tensor([[*prompt, *cut]])
        with torch.no_grad():
            rows = [
                each.model(ids).logits[0, len(prompt) - 1 : -1].double().log_softmax(-1)
                for each in (two.teacher, two.base)
            ]
        mixed = (lam * rows[0] + (1 - lam) * rows[1]).log_softmax(-1)
        text = "".join(TOY[token] for token in cut if token)
        law[text] = law.get(text, 0.0) + float(mixed[range(len(cut)), list(cut)].sum().exp())
    return law


class Toy:
    """A tokenizer of three tokens, the first of which ends an answer."""

    eos_token_id = 0
    all_special_tokens = ("<end>",)

    def __len__(self) -> int:
        return len(TOY)

    def __call__(self, text: str) -> dict[str, list[int]]:
        return {"input_ids": [TOY.index(letter) for letter in text]}

    def decode(self, tokens: list[int], **_: Any) -> str:
        return "".join(TOY[token] for token in tokens)


@pytest.mark.parametrize("lam", [0.0, 1.0, 1.7])
def test_answers_follow_the_product_of_mixtures(lam: float) -> None:
    two = pair_of(*models(3, ends=0), Toy())
    found = rehearsing.rehearse(
        two.teacher.model, two.base.model, ["ab"], [lam], answers=3000, batch=500, max_tokens=LENGTH, tokenizer=Toy()
    )
    counts = Counter(answer.text for answer in found.by_lam()[lam].values())
    law = law_of_answers(two, [1, 2], lam)
    assert sum(law.values()) == pytest.approx(1)
    assert counts.keys() <= law.keys()
    often = [text for text, share in law.items() if 3000 * share >= 5]
    seen, expected = [counts[text] for text in often], [3000 * law[text] for text in often]
    if (seldom := 3000 - sum(expected)) > 1e-6:
        seen, expected = [*seen, 3000 - sum(seen)], [*expected, seldom]
    assert scipy.stats.chisquare(seen, expected).pvalue > 1e-3
    assert len(often) > 3


def drawn_alone(which: int, prompts: list[str], seed: int) -> list[Sampled]:
    """What one model samples by itself, with the random numbers of a rehearsal."""
    two = pair_of(*models(), tiny.tokenizer())
    ids = [tokens_of(prompt) for prompt in prompts]

    def student(logits_t: Tensor, logits_b: Tensor, _: Tensor) -> Tensor:
        return (logits_t, logits_b)[which]

    return sorted(sample(two, ids, student, keys=range(len(prompts)), seed=seed, batch=2, max_tokens=12))


def tokens_of(prompt: str) -> list[int]:
    from lambda_star.torch.prompts import Prompt

    return Prompt.of(prompt).ids(tiny.tokenizer())


def test_both_ends_are_the_models_own_samples() -> None:
    by_lam = rehearse([2.0], seed=4).by_lam()
    assert list(by_lam) == [0.0, 1.0, 2.0]
    for lam, which in ((0.0, 1), (1.0, 0)):
        alone = drawn_alone(which, PROMPTS, seed=4)
        assert [by_lam[lam][prompt, 0].tokens for prompt in range(4)] == [len(one.tokens) for one in alone]
        texts = [pair_of(*models(), tiny.tokenizer()).text(one.tokens) for one in alone]
        assert [by_lam[lam][prompt, 0].text for prompt in range(4)] == texts


def test_more_answers_than_prompts_ask_every_prompt_again_with_other_random_numbers() -> None:
    at = rehearse([1.0], answers=10).by_lam()[1.0]
    assert sorted(at) == sorted((number % 4, number // 4) for number in range(10))
    assert at[0, 0].text != at[0, 1].text


def test_an_unfinished_run_is_a_smaller_coefficient() -> None:
    short = 1 - np.exp(-0.5)
    found = rehearse([2.0], budget=0.5).by_lam()
    wanted = rehearse([short, 2 * short]).by_lam()
    for lam in (1.0, 2.0):
        assert {key: answer.text for key, answer in found[lam].items()} == {
            key: answer.text for key, answer in wanted[lam * short].items()
        }


class Even(Contract):
    def valid(self, text: str) -> bool:
        return len(text) % 2 == 0

    def prefix(self, text: str) -> bool | None:
        return "9" not in text


def test_answers_are_judged() -> None:
    def length(text: str, prompt: Any) -> float | None:
        assert prompt in PROMPTS
        return len(text) / 2 if text else None

    found = rehearse([1.5], contract=Even("even"), metrics={"length": length}, answers=40)
    assert found.header["contract"] == "even"
    assert {answer.ended for answer in found.answers} == {True, False}
    for answer in found.answers:
        assert answer.valid == (answer.ended and len(answer.text) % 2 == 0)
        assert answer.metrics == ({"length": len(answer.text) / 2} if answer.text else {})
        if "9" in answer.text and not answer.valid:
            assert answer.broken_at == len(re.findall(r"<\w+>|.", answer.text.partition("9")[0]))
    assert any(answer.broken_at is not None for answer in found.answers)


def test_a_failing_metric_is_named() -> None:
    def wrong(text: str, prompt: Any) -> float:
        return 1 / 0

    with pytest.raises(ValueError, match=r"metric wrong failed on the answer .* \(ZeroDivisionError"):
        rehearse([1.0], metrics={"wrong": wrong})


@pytest.mark.parametrize("text", RULES)
def test_every_rule_gives_a_student(text: str) -> None:
    rule = updates.parse(text)
    torch.manual_seed(0)
    logits_t, logits_b = 3 * torch.randn(5, 12), 2 * torch.randn(5, 12)
    lam = torch.tensor([1.0, 1.1, 1.25, 1.6, 2.0])
    student = predicted_student(rule)(logits_t, logits_b, lam)
    wanted = rule.student(logits_t.double().numpy(), logits_b.double().numpy(), lam.double().numpy(), axis=-1)
    found = student.softmax(-1).numpy()
    np.testing.assert_allclose(found, np.exp(wanted), atol=2e-5)
    assert rule.keeps_fixed_point == np.allclose(found, mixture(logits_t, logits_b, lam).softmax(-1), atol=1e-6)
    if "=9" not in str(rule):  # along these answers sets of nine do not settle
        assert len(rehearse([1.25], rule=rule).answers) == 4 * (3 if rule.keeps_fixed_point else 2)


def test_a_rule_that_settles_nowhere_says_so() -> None:
    torch.manual_seed(0)
    logits_t = 4 * torch.randn(4, 50)
    logits_b = 0.6 * logits_t + torch.randn(4, 50)
    student = predicted_student(updates.truncated_sampling(top_p=0.95))
    with pytest.raises(ValueError, match=r"got none under truncated_sampling\(top_p=0.95\) at λ = 1.25: training goes"):
        student(logits_t, logits_b, torch.tensor([1.0, 1.25, 1.6, 2.0]))


def test_masked_tokens_stay_masked() -> None:
    rows = torch.tensor([[0.0, -torch.inf, 1.0, -torch.inf]]), torch.tensor([[0.0, 1.0, -torch.inf, -torch.inf]])
    assert mixture(*rows, torch.tensor([1.5])).tolist() == [[0.0, -torch.inf, -torch.inf, -torch.inf]]


def test_a_killed_run_is_resumed_with_the_same_answers(tmp_path: Path) -> None:
    path = tmp_path / "rehearsal.jsonl"
    whole = rehearse([1.5], answers=30, batch=4)
    counts: list[int] = []
    ends = [7, 40]

    def stop(done: int, wanted: int) -> None:
        counts.append(done)
        if done in ends:
            ends.remove(done)
            raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            rehearse([1.5], answers=30, batch=4, path=path, progress=stop)
        path.write_bytes(path.read_bytes()[:-5])  # killed while it wrote
    found = rehearse([1.5], answers=30, batch=4, path=path, progress=stop)
    key = lambda answer: answer.key  # noqa: E731
    assert sorted(found.answers, key=key) == sorted(whole.answers, key=key)
    assert counts == [*range(1, 8), *range(7, 41), *range(40, 91)]
    assert read_rehearsal(path).answers == found.answers


def test_a_finished_file_is_only_read(tmp_path: Path) -> None:
    path = tmp_path / "rehearsal.jsonl"
    wanted = rehearsing.rehearse(*models(), PROMPTS, [1.5], max_tokens=12, tokenizer=tiny.tokenizer(), path=path)
    names = (wanted.header["teacher"], wanted.header["base"])
    found = rehearsing.rehearse(*names, PROMPTS, [1.5], max_tokens=12, path=path)
    assert found == wanted
    with pytest.raises(ValueError, match=r"other settings \(seed: 0 there, 1 here"):
        rehearsing.rehearse(*names, PROMPTS, [1.5], max_tokens=12, path=path, seed=1)


def test_prompts_that_are_sent_in_another_way_are_other_settings(tmp_path: Path) -> None:
    path = tmp_path / "rehearsal.jsonl"
    settings = {"max_tokens": 4, "tokenizer": tiny.tokenizer(), "path": path}
    rehearsing.rehearse(*models(), [{"prompt": "ab"}], [1.5], **settings)
    for other in ({"text": "ab"}, {"prompt": "ab", "tools": [{"name": "f"}]}):
        with pytest.raises(ValueError, match=r"other settings \(prompts: "):
            rehearsing.rehearse(*models(), [other], [1.5], **settings)


def test_the_curve_is_refined_where_it_turns(tmp_path: Path) -> None:
    metrics = {"colons": lambda text, prompt: text.count(":")}
    plain = rehearse([9.0], metrics=metrics, answers=60)
    fine = rehearse([9.0], metrics=metrics, answers=60, fine=2, path=tmp_path / "rehearsal.jsonl")
    assert plain.curve[-1].metrics["colons"].change_low > 0
    assert 5.0 in fine.lams
    assert len(fine.lams) == len(plain.lams) + 2
    again = rehearse([9.0], metrics=metrics, answers=60, fine=2, path=tmp_path / "rehearsal.jsonl")
    assert again == fine


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lams": [-0.1]}, r"lam must lie in \[0, inf\), got -0.1"),
        ({"answers": 0}, "answers must be at least 1, got 0"),
        ({"batch": 0}, "batch must be at least 1, got 0"),
        ({"budget": 0.0}, r"budget must lie in \(0, inf\), got 0.0"),
        ({"budget": 1.0, "rule": updates.log_ratio_cap(5.0)}, r"budget must be left out under log_ratio_cap\(c=5\)"),
        ({"tokenizer": None}, "tokenizer must be given"),
    ],
)
def test_arguments_are_held_to_their_ranges(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        rehearse(**{"lams": [1.0], **options})


def noisy(seed: int, keys: list[int], start: int) -> Callable[[Tensor, Tensor], Tensor]:
    """A processor that adds the noise of the sampler, so that the largest score is the token that it draws."""

    def add(input_ids: Tensor, scores: Tensor) -> Tensor:
        noise = torch.empty_like(scores)
        for row, key in enumerate(keys):
            exponential(noise[row], seed, key, input_ids.shape[1] - start)
        return scores - noise.log()

    return add


@pytest.mark.parametrize("rule", ["none", "log_ratio_cap:5"])
def test_generate_with_the_processor_draws_what_the_sampler_draws(rule: str) -> None:
    two = pair_of(*models(), tiny.tokenizer())
    prompts, lam, student = [[4, 5, 6], [9, 9]], 1.4, predicted_student(updates.parse(rule))
    wanted = sorted(
        sample(
            two,
            prompts,
            lambda logits_t, logits_b, rows: student(logits_t, logits_b, torch.full((len(rows),), lam)),
            keys=[3, 8],
            seed=5,
            batch=2,
            max_tokens=15,
        )
    )
    ids, mask = torch.tensor([[4, 5, 6], [0, 9, 9]]), torch.tensor([[1, 1, 1], [0, 1, 1]])
    processor = PredictedStudent(two, lam, updates.parse(rule), mask)
    for _ in range(2):  # the same processor serves again
        found = two.teacher.model.generate(
            ids,
            attention_mask=mask,
            logits_processor=[processor, noisy(5, [3, 8], 3)],
            do_sample=False,
            max_new_tokens=15,
        )
        for row, answer in zip(found[:, 3:].tolist(), wanted, strict=True):
            assert row[: len(answer.tokens)] == answer.tokens
    assert len({len(answer.tokens) for answer in wanted}) == 2


def test_the_processor_turns_the_teacher_on_again() -> None:
    two = pair_of(*models(), tiny.tokenizer())
    on: list[str] = []
    marked = replace(two)
    marked.teacher.turn_on = lambda: on.append("teacher")
    marked.base.turn_on = lambda: on.append("base")
    PredictedStudent(marked, 1.5)(torch.tensor([[4, 5]]), torch.zeros(1, len(tiny.CHARACTERS)))
    assert on == ["teacher", "base", "teacher"]
