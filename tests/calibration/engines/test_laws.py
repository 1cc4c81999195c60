"""Laws of the join: intervals hold the truth, answers are found where they stand, and no split changes a row."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lambda_star.calibration.readers import join as joining
from lambda_star.calibration.readers.join import join
from lambda_star.calibration.readers.positions import position
from lambda_star.calibration.readers.rounding import Digits
from lambda_star.calibration.readers.steps import Answer, Entry, Step
from lambda_star.calibration.table import Problem, Table

LOGITS = st.lists(st.floats(-12, 4), min_size=2, max_size=9)


def logs(logits: list[float]) -> list[float]:
    whole = math.log(math.fsum(map(math.exp, logits)))
    return [one - whole for one in logits]


def listing(true: list[float], own: int, count: int, decimals: int | None) -> Step:
    """What an engine lists of a distribution: the token that stands there, and the most probable ones."""
    shown = true if decimals is None else [round(one, decimals) for one in true]
    best = sorted(range(len(true)), key=lambda one: -true[one])[:count]
    return Step(f"t{own}", own, shown[own], tuple(Entry(f"t{one}", one, shown[one]) for one in best))


@given(LOGITS, st.data())
def test_the_ends_hold_what_the_whole_distributions_say(teacher: list[float], data: st.DataObject) -> None:
    size = len(teacher)
    base = logs(data.draw(st.lists(st.floats(-12, 4), min_size=size, max_size=size)))
    teacher = logs(teacher)
    own, count = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size))
    decimals = data.draw(st.sampled_from([None, 2, 3, 5]))
    digits = Digits() if decimals is None else Digits(decimals, 17)
    modal = max(range(size), key=teacher.__getitem__)
    steps = listing(teacher, own, data.draw(st.integers(1, size)), decimals), listing(base, own, count, decimals)
    found = position(*steps, digits, digits)
    slack = 1e-9
    assert found.log_p_low - slack <= teacher[modal] <= found.log_p_high + slack
    assert found.log_b_low - slack <= base[modal] <= found.log_b_high + slack
    assert found.log_b == pytest.approx(found.log_b_high, abs=1e-2)
    if decimals is None and sorted(teacher)[-1] > sorted(teacher)[-2]:
        assert found.modal == f"t{modal}"
        known = modal == own or modal in sorted(range(size), key=lambda one: -base[one])[:count]
        assert (found.log_b_low == -math.inf) == (not known)


@given(LOGITS, st.integers(0, 8))
def test_a_teacher_that_lists_one_token_shows_its_modal_one_above_a_half(logits: list[float], own: int) -> None:
    true = logs(logits)
    own %= len(true)
    step = Step(f"t{own}", own, true[own])
    if true[own] > math.log(0.5):
        assert position(step, step, Digits(), Digits()).modal == f"t{own}"
    else:
        with pytest.raises(ValueError, match="more listed tokens"):
            position(step, step, Digits(), Digits())


@given(st.lists(st.floats(-30, -1e-6), min_size=3, max_size=30), st.integers(1, 6), st.booleans())
def test_rounding_is_never_thought_finer_than_it_was(numbers: list[float], digits: int, fixed: bool) -> None:
    shown = [round(one, digits) if fixed else float(f"{one:.{digits}g}") for one in numbers]
    assume(any(shown))
    found = Digits.of(shown)
    half = [found.half(one) for one in shown]
    assert all(abs(one - other) <= width * (1 + 1e-6) for one, other, width in zip(numbers, shown, half, strict=True))


@given(st.lists(st.floats(-30, -0.01), min_size=1, max_size=20), st.sampled_from(["float16", "bfloat16"]))
def test_half_precision_is_recognised(numbers: list[float], kind: str) -> None:
    single = np.array(numbers, dtype=np.float32)
    bits = (single.view(np.uint32) + 0x8000) & np.uint32(0xFFFF0000)
    shown = (single.astype(np.float16) if kind == "float16" else bits.view(np.float32)).astype(float).tolist()
    half = [Digits.of(shown).half(one) for one in shown]
    assert all(abs(one - other) <= width * (1 + 1e-4) for one, other, width in zip(numbers, shown, half, strict=True))


def answer(name: str, tokens: list[int], log: float = -0.1, **fields: Any) -> Answer:
    return Answer(name, tuple(Step(f"t{one}", one, log) for one in tokens), 1, "f", **fields)


def rows(tables: Iterator[Table]) -> list[tuple[str, int, str, float, float]]:
    return [
        row
        for one in tables
        for row in zip(
            one.sequence, one.position.tolist(), one.token, one.log_p.tolist(), one.log_b.tolist(), strict=True
        )
    ]


TOKENS = st.lists(st.integers(0, 3), min_size=1, max_size=8)


@given(TOKENS, TOKENS, st.integers(0, 3), st.sampled_from(["known", "unknown", "given"]))
def test_an_answer_is_found_after_its_prompt(prompt: list[int], own: list[int], after: int, how: str) -> None:
    assume(how != "unknown" or after or {prompt[-1], *own} != {own[0]})  # which of them is the answer's?
    steps = answer("a", [*prompt, *own, *[9] * after], -0.1).steps
    steps = (*(one._replace(log=-5.0) for one in steps[: len(prompt)]), *steps[len(prompt) :])
    start = {"known": len(prompt) + len(own), "unknown": None, "given": len(prompt)}[how]
    teacher = Answer("a", steps, 1, "t", start, given=how == "given")
    found = rows(join([teacher], [answer("a", own, -0.7)]))
    assert found == [("a", at, f"t{one}", -0.1, -0.7) for at, one in enumerate(own)]


@given(TOKENS, TOKENS)
def test_tokens_that_differ_end_the_rows_of_an_answer(same: list[int], rest: list[int]) -> None:
    teacher, base = answer("a", [*same, *(one + 10 for one in rest)]), answer("a", [*same, *rest], -0.7)
    tables = list(join([teacher], [base]))
    kept = len(same) if 2 * len(same) >= len(same) + len(rest) else 0
    assert len(rows(iter(tables))) == kept
    (problem,) = [problem for table in tables for problem in table.problems]
    assert (f"at position {len(same)} the teacher has" in problem.message) == (kept > 0)


@settings(max_examples=25)
@given(st.permutations(range(7)), st.integers(1, 9))
def test_names_order_and_batches_change_no_row(order: list[int], batch: int) -> None:
    base = [answer(f"answer {at}", [at, at + 1, 5], -0.7 - at) for at in range(7)]
    teacher = [answer(f"answer {at}", [at, at + 1, 5], -0.1 * (at + 1)) for at in order]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(joining, "BATCH", batch)
        tables = list(join(teacher, base))
    assert sorted(rows(iter(tables))) == sorted(
        (f"answer {at}", place, f"t{one}", -0.1 * (at + 1), -0.7 - at)
        for at in range(7)
        for place, one in enumerate((at, at + 1, 5))
        if -0.1 * (at + 1) > math.log(0.5)
    )
    assert all(table.source.endswith("joined by name") for table in tables)


def test_a_record_that_cannot_be_read_does_not_shift_the_others() -> None:
    base = [answer("", [at, 5], -0.7) for at in range(3)]
    teacher: list[Answer | Problem] = [answer("", [0, 5]), Problem(2, "broken", "t"), answer("", [2, 5])]
    tables = list(join(teacher, base))
    assert [row[2] for row in rows(iter(tables))] == ["t0", "t5", "t2", "t5"]
    assert [problem.message for table in tables for problem in table.problems] == ["broken"]


def test_files_in_one_order_are_joined_without_reading_them_whole() -> None:
    drawn = [0, 0]

    def endless(side: int) -> Iterator[Answer]:
        for at in itertools.count():
            drawn[side] += 1
            yield answer(f"answer {at}", [at, 5])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(joining, "BATCH", 100)
        tables = list(itertools.islice(join(endless(0), endless(1)), 40))
    assert sum(map(len, tables)) >= 4000
    assert max(drawn) < 2100


def test_answers_with_one_name_get_names_of_their_own() -> None:
    tables = list(join([answer("0", [1]), answer("0", [2])], [answer("0", [1]), answer("0", [2])]))
    assert [row[0] for row in rows(iter(tables))] == ["0", "0#1"]
    assert tables[0].source.endswith("joined by order")


def test_numbers_that_are_all_0_were_not_computed() -> None:
    (table,) = join([answer("a", [1, 2], 0.0)], [answer("a", [1, 2])])
    assert not len(table)
    assert "they were not computed" in table.problems[0].message


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([5, 1, *range(20, 40)], "most of its tokens do not stand"),
        ([5, 1, 1], "several places"),
    ],
)
def test_a_short_answer_is_not_taken_from_the_midst_of_a_prompt(steps: list[int], said: str) -> None:
    (table,) = join([answer("7", steps, start=None)], [answer("7", [1])])
    assert not len(table)
    assert said in table.problems[0].message


def test_ids_of_other_texts_are_those_of_another_tokenizer() -> None:
    tokens = [3, 4, 5]
    teacher = answer("7", tokens)
    other = teacher._replace(steps=tuple(one._replace(text=f" other{one.id}") for one in teacher.steps))
    spaced = teacher._replace(steps=tuple(one._replace(text=f"\u2581{one.text}") for one in teacher.steps))
    (refused,), (kept,) = (list(join([one], [answer("7", tokens)])) for one in (other, spaced))
    assert (len(refused), len(kept)) == (0, 3)
    assert "another tokenizer" in refused.problems[0].message


def test_an_answer_that_stands_twice_with_one_name_counts_once() -> None:
    (table,) = join([answer("7", [3]), answer("7", [3])], [answer("7", [3]), answer("7", [3])])
    assert table.sequence.tolist() == ["7"]
    assert "stands a second time" in table.problems[0].message


def test_a_first_number_of_0_was_not_computed() -> None:
    steps = answer("7", [3, 4], -0.7).steps
    (table,) = join([answer("7", [3, 4])], [Answer("7", (steps[0]._replace(log=0.0), steps[1]), 1, "b")])
    assert table.position.tolist() == [1]
    assert "was not computed" in table.problems[0].message
