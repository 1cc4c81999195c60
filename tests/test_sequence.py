"""Answers of many positions: validity against a walk through the positions, thresholds and fractions against counts."""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike

import lambda_star as ls
from lambda_star import categorical
from lambda_star.categorical import Mode
from lambda_star.sequence import Positions, listwise, lower_quantile, share_past, threshold, validity
from tests import oracle
from tests.strategies import moderate

few = settings(max_examples=40)
MODES: tuple[Mode, ...] = ("token", "class", "bernoulli")
lams = st.floats(-3.0, 6.0)
some_clips = st.floats(1.01, 20.0)
pairs = st.tuples(moderate, moderate)


def curve(positions: Positions, lam: ArrayLike, c: float) -> np.ndarray[Any, Any]:
    """Validity over an array of λ."""
    found = validity(positions, c, lam)
    assert isinstance(found, np.ndarray)
    return found


def of_pairs(made: list[tuple[float, float]], **options: Any) -> Positions:
    p, b = zip(*made, strict=True)
    return Positions.from_probabilities(p, b, **options)


# The slow reference


class Step(NamedTuple):
    """One position of two outcomes, and what may follow each of them."""

    answer: int
    p: float
    b: float
    goes: tuple[float, float]
    ends: tuple[float, float]

    def student(self, lam: float, c: float) -> tuple[float, float]:
        q = ls.bernoulli.stationary_student(self.p, self.b, c, lam)
        return q, 1 - q


@st.composite
def shares(draw: st.DrawFn) -> tuple[float, float]:
    """The fraction of a token that goes on and the fraction that ends validly, together at most 1."""
    go = draw(st.sampled_from([0.0, 0.5, 1.0]) | st.floats(0, 1))
    return go, (1 - go) * draw(st.sampled_from([0.0, 1.0]) | st.floats(0, 1))


@st.composite
def steps(draw: st.DrawFn) -> list[Step]:
    """Positions of up to four answers, mixed with each other."""
    made = []
    for _ in range(draw(st.integers(1, 12))):
        modal, tail = draw(shares()), draw(shares())
        answer, (p, b) = draw(st.integers(0, 3)), draw(pairs)
        made.append(Step(answer, p, b, (modal[0], tail[0]), (modal[1], tail[1])))
    return made


def positions_of(made: list[Step]) -> Positions:
    answer, p, b, goes, ends = zip(*made, strict=True)
    return Positions.from_probabilities(p, b, goes=goes, ends=ends, answer=answer)


def walked(made: list[Step], lam: float, c: float) -> float:
    """Validity as the mean over answers, each walked position by position."""
    found = []
    for answer in {step.answer for step in made}:
        here, valid = 1.0, 0.0
        for step in made:
            if step.answer == answer:
                outcomes = step.student(lam, c)
                valid += here * sum(q * end for q, end in zip(outcomes, step.ends, strict=True))
                here *= sum(q * go for q, go in zip(outcomes, step.goes, strict=True))
        found.append(valid + here)
    return sum(found) / len(found)


@few
@given(steps(), lams, some_clips)
def test_validity_is_what_walking_through_the_positions_gives(made: list[Step], lam: float, c: float) -> None:
    assert validity(positions_of(made), c, lam) == pytest.approx(walked(made, lam, c), rel=1e-12, abs=1e-13)


rows = st.lists(st.lists(st.floats(-4, 4), min_size=4, max_size=4), min_size=1, max_size=4)


def told_apart(log_t: list[float], log_b: list[float]) -> bool:
    """Whether all log-ratios differ by more than rounding, so that it does not decide which token dies first."""
    exact = sorted(oracle.real(teacher) - oracle.real(base) for teacher, base in zip(log_t, log_b, strict=True))
    return all(high == low or high - low > 1e-12 for low, high in itertools.pairwise(exact))


@settings(max_examples=25)
@given(rows, rows, st.lists(shares(), min_size=4, max_size=4), lams, some_clips)
def test_validity_of_many_tokens_is_that_of_50_digits(
    log_t: list[list[float]], log_b: list[list[float]], token: list[tuple[float, float]], lam: float, c: float
) -> None:
    log_t, log_b = log_t[: len(log_b)], log_b[: len(log_t)]
    assume(all(map(told_apart, log_t, log_b)))
    goes, ends = zip(*token, strict=True)
    here, valid = oracle.mpf(1), oracle.mpf(0)
    for teacher, base in zip(log_t, log_b, strict=True):
        student = oracle.clipped_student(teacher, base, c, lam)
        valid += here * sum(q * oracle.real(end) for q, end in zip(student, ends, strict=True))
        here *= sum(q * oracle.real(go) for q, go in zip(student, goes, strict=True))
    found = validity(Positions(log_t, log_b, goes, ends), c, lam)
    assert found == pytest.approx(float(valid + here), rel=1e-12, abs=1e-13)


@few
@given(st.lists(pairs, min_size=1, max_size=12), st.floats(1.001, 6.0), some_clips)
def test_listwise_answers_are_those_of_50_digits(made: list[tuple[float, float]], lam: float, c: float) -> None:
    quote, separator = made[0], made[-1]
    (quoted, _), (q, tail) = (
        oracle.clipped_student([math.log(p), math.log1p(-p)], [math.log(b), math.log1p(-b)], c, lam)
        for p, b in (quote, separator)
    )
    z = quoted**2 * q
    expected = tail * quoted**2 * sum(z**k for k in range(len(made)))
    found = validity(listwise(len(made), separator=separator, quote=quote), c, lam)
    assert found == pytest.approx(float(expected), rel=1e-12, abs=1e-13)


def simulated(made: list[Step], lam: float, c: float, walks: int, rng: random.Random) -> float:
    """The share of valid answers among many that are drawn token by token from the clipped student."""
    students = [step.student(lam, c)[0] for step in made]
    valid = 0
    for _ in range(walks):
        for step, q in zip(made, students, strict=True):
            tail = rng.random() >= q
            fate = rng.random()
            if fate >= step.goes[tail]:
                valid += fate < step.goes[tail] + step.ends[tail]
                break
        else:
            valid += 1
    return valid / walks


@pytest.mark.parametrize("lam", [1.3, 1.87])
def test_validity_is_the_share_of_valid_answers_that_a_student_writes(lam: float) -> None:
    """The separator's λ* is 1.8525, its λ_c 1.8802: one λ below, and one on the cliff."""
    separator, quote, opening, closes, c, walks = (0.7, 0.2), (0.9, 0.7), (0.95, 0.4), 0.8, 5.0, 20_000
    assert 1.3 < ls.threshold(*separator, c) < 1.87 < ls.collapse_point(*separator, c)
    needed = ((1.0, 0.0), (0.0, 0.0))
    made = [Step(0, *opening, *needed)]
    for last in (False, False, False, False, True):
        made += [Step(0, *quote, *needed)] * 2
        made.append(Step(0, *separator, (float(not last), 0.0), (0.0, closes)))
    answer = listwise(5, separator=separator, quote=quote, opening=opening, closes=closes)
    found = cast(float, validity(answer, c, lam))
    error = math.sqrt(found * (1 - found) / walks)
    assert 0.02 < found < 0.9
    assert abs(simulated(made, lam, c, walks, random.Random(0)) - found) < 3 * error


# A list


@few
@given(st.integers(1, 60), pairs, lams, some_clips)
def test_a_list_of_certain_strings_is_valid_unless_every_end_is_missed(
    items: int, separator: tuple[float, float], lam: float, c: float
) -> None:
    q = ls.bernoulli.stationary_student(*separator, c, lam)
    found = validity(listwise(items, separator=separator), c, lam)
    assert found == pytest.approx(1 - q**items, rel=1e-12, abs=1e-13)


@few
@given(st.integers(1, 20), st.tuples(pairs, pairs, pairs), st.floats(0, 1), lams, some_clips)
def test_a_list_is_valid_with_the_closed_form(
    items: int, made: tuple[tuple[float, float], ...], closes: float, lam: float, c: float
) -> None:
    separator, quote, opening = made
    q_s, q_q, q_o = (ls.bernoulli.stationary_student(*pair, c, lam) for pair in made)
    closed = sum(q_q ** (2 * k) * q_s ** (k - 1) * closes * (1 - q_s) for k in range(1, items + 1))
    answer = listwise(items, separator=separator, quote=quote, opening=opening, closes=closes)
    assert validity(answer, c, lam) == pytest.approx(q_o * closed, rel=1e-12, abs=1e-13)
    assert len(answer.p) == 1 + 3 * items
    without = listwise(items, separator=separator, quote=quote, closes=closes)
    assert validity(without, c, lam) == pytest.approx(closed, rel=1e-12, abs=1e-13)


def test_the_positions_of_a_list_are_an_opening_and_two_quotes_and_an_end_for_each_item() -> None:
    answer = listwise(2, separator=(0.7, 0.2), quote=(0.9, 0.5), opening=(0.8, 0.3), closes=0.25)
    assert answer.p.tolist() == pytest.approx([0.8, 0.9, 0.9, 0.7, 0.9, 0.9, 0.7], rel=1e-15)
    assert answer.b.tolist() == pytest.approx([0.3, 0.5, 0.5, 0.2, 0.5, 0.5, 0.2], rel=1e-15)
    assert answer.goes.tolist() == [[1, 0]] * 6 + [[0, 0]]
    assert answer.ends.tolist() == [[0, 0], [0, 0], [0, 0], [0, 0.25], [0, 0], [0, 0], [0, 0.25]]
    assert set(answer.answer.tolist()) == {0}


@few
@given(st.integers(1, 30), pairs, pairs, st.floats(1.01, 20.0), st.floats(1e-9, 5.0))
def test_past_the_collapse_point_of_its_separator_no_list_is_valid(
    items: int, separator: tuple[float, float], quote: tuple[float, float], c: float, more: float
) -> None:
    separator = (max(separator), min(separator))
    end = ls.collapse_point(*separator, c)
    assume(end < 1e3)
    assert validity(listwise(items, separator=separator, quote=quote), c, end + more) == 0


def test_validity_rises_to_the_cliff_and_falls_off_it() -> None:
    answer, c = listwise(40, separator=(0.7, 0.2), quote=(0.97, 0.7)), 5.0
    star, collapse = ls.threshold(0.7, 0.2, c), ls.collapse_point(0.7, 0.2, c)
    assert np.all(np.diff(curve(answer, np.linspace(0.0, 1.5, 31), c)) > 0)
    grid = np.linspace(0.0, star, 501)
    before = curve(answer, grid, c)
    top = before.max()
    assert grid[before.argmax()] > 1.6
    assert top > 1.1 * validity(answer, c, 1.0)
    assert before[-1] > 0.9 * top
    slide = curve(answer, star + (collapse - star) * np.linspace(0, 1 - 1e-6, 50), c)
    assert np.all(np.diff(slide) < 0)
    assert slide[-2] < 0.1 * slide[0]
    assert validity(answer, c, collapse + 1e-9) == 0
    unclipped = curve(answer, [star, collapse, collapse + 0.1], math.inf)
    assert unclipped.min() > 0.9 * unclipped[0]


# What validity is in general


@pytest.mark.slow
@few
@given(steps(), lams, some_clips)
def test_validity_is_a_probability(made: list[Step], lam: float, c: float) -> None:
    assert 0 <= validity(positions_of(made), c, lam) <= 1


@few
@given(st.lists(st.floats(-4, 4), min_size=3, max_size=9), st.integers(1, 60), st.floats(-1.0, 3.0), some_clips)
@example([0.0, 0.0, 0.0, 2.0], 1, 0.0, 2.0)
def test_validity_is_a_probability_where_no_token_can_break_the_contract(
    log_t: list[float], count: int, lam: float, c: float
) -> None:
    answer = Positions([log_t] * count, np.linspace(0.0, 1.0, len(log_t)), goes=1.0)
    found = validity(answer, c, lam)
    assert found == pytest.approx(1, abs=1e-12)
    assert found <= 1


@few
@given(steps(), some_clips)
def test_plain_distillation_gives_the_validity_of_the_teacher(made: list[Step], c: float) -> None:
    found = validity(positions_of(made), c, 1.0)
    assert found == pytest.approx(walked([step._replace(b=step.p) for step in made], 5.0, c), rel=1e-12, abs=1e-13)


def test_plain_distillation_of_needed_tokens_gives_the_product_of_their_probabilities() -> None:
    p = [0.9, 0.99, 0.5, 0.7]
    for c in (1.0, 2.0, math.inf):
        found = validity(Positions.from_probabilities(p, [0.1, 0.5, 0.9, 0.7]), c, 1.0)
        assert found == pytest.approx(math.prod(p), rel=1e-14)


@pytest.mark.slow
@few
@given(steps(), lams, some_clips, st.randoms(use_true_random=False))
def test_order_and_names_of_the_answers_do_not_matter(
    made: list[Step], lam: float, c: float, shuffler: random.Random
) -> None:
    answers = {step.answer: [one for one in made if one.answer == step.answer] for step in made}
    order = shuffler.sample([*answers], len(answers))
    turned = [step for answer in order for step in answers[answer]]
    names = [["zero", "one", "two", "three"][step.answer] for step in turned]
    named = dataclasses.replace(positions_of(turned), answer=np.array(names))
    for other in (positions_of(turned), named):
        assert validity(other, c, lam) == pytest.approx(validity(positions_of(made), c, lam), rel=1e-13, abs=1e-15)


def test_order_within_an_answer_does_matter() -> None:
    made = [Step(0, 0.9, 0.5, (1, 0), (0, 0)), Step(0, 0.6, 0.5, (1, 0), (0, 1))]
    forward, backward = (validity(positions_of(one), 2.0, 1.0) for one in (made, made[::-1]))
    assert (forward, backward) == pytest.approx((0.9 * (0.6 + 0.4), 0.4 + 0.6 * 0.9), rel=1e-14)


@few
@given(steps(), lams, some_clips)
def test_several_answers_have_the_mean_validity_of_each_alone(made: list[Step], lam: float, c: float) -> None:
    alone = [
        validity(positions_of([step for step in made if step.answer == answer]), c, lam)
        for answer in {step.answer for step in made}
    ]
    assert validity(positions_of(made), c, lam) == pytest.approx(sum(alone) / len(alone), rel=1e-13, abs=1e-15)


tail_weights = st.lists(st.floats(0.05, 1), min_size=2, max_size=5)


def spread(made: list[tuple[float, float]], weights: list[float]) -> tuple[Any, Any, Any]:
    """Rows whose tail is several tokens of one log-ratio, and the shares of these tokens in it."""
    w = np.array(weights) / sum(weights)
    log_t, log_b = (
        np.concatenate([np.log(modal)[:, None], np.log1p(-modal)[:, None] + np.log(w)], axis=1)
        for modal in np.array(made).T
    )
    return log_t, log_b, w


@few
@given(st.lists(pairs, min_size=1, max_size=6), tail_weights, shares(), shares(), lams, some_clips)
def test_tail_tokens_of_one_log_ratio_are_one_outcome(
    made: list[tuple[float, float]],
    weights: list[float],
    modal: tuple[float, float],
    tail: tuple[float, float],
    lam: float,
    c: float,
) -> None:
    log_t, log_b, w = spread(made, weights)
    goes, ends = ([of_modal, *[of_tail] * len(w)] for of_modal, of_tail in zip(modal, tail, strict=True))
    two = of_pairs(made, goes=(modal[0], tail[0]), ends=(modal[1], tail[1]))
    found = validity(Positions(log_t, log_b, goes, ends), c, lam)
    assert found == pytest.approx(validity(two, c, lam), rel=1e-11, abs=1e-13)


@few
@given(st.lists(pairs, min_size=1, max_size=6), tail_weights, st.floats(0, 0.99), some_clips)
def test_tail_tokens_of_one_log_ratio_keep_their_proportions_where_the_clip_does_not_act(
    made: list[tuple[float, float]], weights: list[float], share: float, c: float
) -> None:
    lam = 1 + share * (min(5.0, *(float(ls.bernoulli.two_sided_threshold(*pair, c)) for pair in made)) - 1)
    log_t, log_b, w = spread(made, weights)
    closes = np.linspace(0, 1, len(w))
    found = validity(Positions(log_t, log_b, goes=[1, *(0 * w)], ends=[0, *closes]), c, lam)
    assert found == pytest.approx(validity(of_pairs(made, ends=(0, float(w @ closes))), c, lam), rel=1e-11, abs=1e-13)


@few
@given(st.lists(st.tuples(st.floats(0.1, 0.999), st.floats(0.01, 0.09)), min_size=1, max_size=6), some_clips)
def test_tail_tokens_of_one_log_ratio_have_one_threshold_in_every_mode(
    made: list[tuple[float, float]], c: float
) -> None:
    log_t, log_b, _ = spread(made, [0.7, 0.3])
    many, two = Positions(log_t, log_b, goes=1.0, modal=0), of_pairs(made)
    for mode in MODES:
        assert many.thresholds(c, mode=mode) == pytest.approx(two.thresholds(c), rel=1e-11)
        assert many.thresholds(c, mode=mode) == pytest.approx([ls.threshold(*pair, c) for pair in made], rel=1e-11)
    assert many.p == pytest.approx(two.p, rel=1e-13)
    assert many.b == pytest.approx(two.b, rel=1e-13)


# Positions


def test_modal_probabilities_are_those_of_the_teacher_s_most_probable_token() -> None:
    log_t, log_b = np.array([[1.0, 3.0, 2.0], [0.5, -1.0, 0.0]]), np.array([[2.0, 0.0, -1.0], [-3.0, 0.0, 1.0]])
    found = Positions(log_t, log_b, goes=1.0)
    teacher, base = (np.exp(logs) / np.exp(logs).sum(axis=1, keepdims=True) for logs in (log_t, log_b))
    assert found.p == pytest.approx(teacher[[0, 1], [1, 0]], rel=1e-14)
    assert found.b == pytest.approx(base[[0, 1], [1, 0]], rel=1e-14)


def test_the_modal_token_may_be_named() -> None:
    """The last column holds the unlisted tokens together and is not a token."""
    log_t, log_b = np.log([[0.3, 0.1, 0.6], [0.1, 0.7, 0.2]]), np.log([[0.2, 0.2, 0.6], [0.3, 0.4, 0.3]])
    found = Positions(log_t, log_b, goes=1.0, modal=[0, 1])
    assert found.p.tolist() == pytest.approx([0.3, 0.7], rel=1e-14)
    assert found.b.tolist() == pytest.approx([0.2, 0.4], rel=1e-14)
    eq4 = [ls.threshold(0.3, 0.2, 2.0), ls.threshold(0.7, 0.4, 2.0)]
    assert found.thresholds(2.0).tolist() == pytest.approx(eq4, rel=1e-12)
    assert Positions(log_t, log_b, goes=1.0).modal.tolist() == [2, 1]
    assert Positions(log_t, log_b, goes=1.0, modal=1).p.tolist() == pytest.approx([0.1, 0.7], rel=1e-14)
    default = Positions(log_t, log_b, goes=(1, 0.5, 0))
    for lam in (1.0, 1.7):
        assert validity(dataclasses.replace(default, modal=0), 2.0, lam) == validity(default, 2.0, lam)


def test_values_are_broadcast_over_the_positions() -> None:
    found = Positions.from_probabilities([0.9, 0.8, 0.7], 0.5, goes=[[1, 0]], ends=0.0, answer=[0, 1, 1])
    assert found.log_b.shape == found.goes.shape == found.ends.shape == (3, 2)
    assert found.b.tolist() == pytest.approx([0.5] * 3)
    assert Positions([0.0, 1.0], [[1.0, 0.0]], goes=1).p.shape == (1,)
    assert Positions.from_probabilities(0.9, [0.1, 0.2, 0.3]).p.shape == (3,)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.goes = 1.0  # type: ignore[misc]


def test_two_outcomes_keep_the_digits_of_a_small_tail() -> None:
    found = Positions.from_probabilities(1 - 2.0**-50, 2.0**-1000)
    assert found.log_t[0, 1] == -50 * math.log(2)
    assert found.log_b[0, 1] == -(2.0**-1000)
    assert found.log_b[0, 0] == pytest.approx(-1000 * math.log(2), rel=1e-15)
    assert found.thresholds(5.0)[0] == pytest.approx(ls.threshold(1 - 2.0**-50, 2.0**-1000, 5.0), rel=1e-13)


@pytest.mark.parametrize("p", [0.1, 0.3, 0.4999, 0.5, 0.7])
def test_two_outcomes_stay_modal_token_and_tail_where_the_tail_has_the_majority(p: float) -> None:
    """Over a large vocabulary the most probable token may have far less than half of the mass."""
    answer = Positions.from_probabilities(p, [0.05, 0.6])
    assert answer.p.tolist() == pytest.approx([p, p], rel=1e-14)
    assert answer.b.tolist() == pytest.approx([0.05, 0.6], rel=1e-14)
    assert answer.thresholds(2.0).tolist() == pytest.approx([ls.threshold(p, b, 2.0) for b in (0.05, 0.6)], rel=1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_is_the_categorical_threshold_of_the_rows(mode: Mode) -> None:
    rng = np.random.default_rng(0)
    log_t, log_b = rng.normal(size=(2, 9, 5)) * 2
    found = Positions(log_t, log_b, goes=1.0)
    expected = categorical.threshold(log_t, log_b, 2.0, mode=mode).value
    assert found.thresholds(2.0, mode=mode).tolist() == expected.tolist()
    assert threshold(found, 2.0, mode=mode) == expected.min()
    assert threshold(found, 2.0, quantile=0.5, mode=mode) == sorted(expected.tolist())[4]
    lam = float(np.median(expected[np.isfinite(expected)]))
    assert share_past(found, 2.0, lam, mode=mode) == np.mean(expected < lam)


def test_modes_differ() -> None:
    log_t, log_b = np.log([[0.9, 0.07, 0.03]]), np.log([[0.5, 0.3, 0.2]])
    token, of_class, bernoulli = (threshold(Positions(log_t, log_b, goes=1.0), 2.0, mode=mode) for mode in MODES)
    assert 1 < token < bernoulli < of_class < 2


# Thresholds of many positions


@few
@given(st.lists(pairs, min_size=1, max_size=30), some_clips)
def test_the_strict_threshold_is_the_least(made: list[tuple[float, float]], c: float) -> None:
    assert threshold(of_pairs(made), c) == min(of_pairs(made).thresholds(c).tolist())
    assert threshold(of_pairs(made), c) == pytest.approx(min(ls.threshold(*pair, c) for pair in made), rel=1e-9)


@few
@given(st.lists(pairs, min_size=1, max_size=30), some_clips, st.floats(0, 1))
def test_a_quantile_leaves_at_most_that_share_past_and_is_never_between(
    made: list[tuple[float, float]], c: float, quantile: float
) -> None:
    each = of_pairs(made).thresholds(c).tolist()
    found = threshold(of_pairs(made), c, quantile=quantile)
    assert found in each
    assert sum(value <= found for value in each) / len(each) >= quantile * (1 - 1e-15)
    if found < math.inf:
        assert share_past(of_pairs(made), c, found) <= quantile


@pytest.mark.parametrize("count", [1, 3, 7, 10, 49, 100])
def test_the_quantile_of_k_of_n_positions_is_the_k_th_threshold(count: int) -> None:
    made = [(0.5 + 0.4 * (place + 1) / count, 0.3) for place in range(count)]
    each = sorted(of_pairs(made).thresholds(2.0).tolist())
    shuffled = random.Random(count).sample(made, count)
    for place in range(1, count + 1):
        found = threshold(of_pairs(shuffled), 2.0, quantile=(place - 0.5) / count)
        assert found == each[place - 1]
    assert threshold(of_pairs(shuffled), 2.0, quantile=1.0) == each[-1]


@few
@given(st.lists(pairs, min_size=1, max_size=20), some_clips, st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_thresholds_grow_with_the_quantile(
    made: list[tuple[float, float]], c: float, quantiles: tuple[float, float]
) -> None:
    low, high = (threshold(of_pairs(made), c, quantile=quantile) for quantile in sorted(quantiles))
    assert threshold(of_pairs(made), c) <= low <= high <= threshold(of_pairs(made), c, quantile=1.0)


@few
@given(st.lists(pairs, min_size=1, max_size=20), some_clips, st.floats(1.01, 2.0), st.floats(0, 1))
def test_thresholds_grow_with_the_clip(
    made: list[tuple[float, float]], c: float, factor: float, quantile: float
) -> None:
    low, high = (threshold(of_pairs(made), clip, quantile=quantile) for clip in (c, c * factor))
    assert low < high or low == high == math.inf
    assert threshold(of_pairs(made), math.inf, quantile=quantile) == math.inf
    assert share_past(of_pairs(made), c, 2.0) >= share_past(of_pairs(made), c * factor, 2.0)


@few
@given(st.lists(pairs, min_size=1, max_size=20), some_clips, st.lists(lams, min_size=1, max_size=8))
def test_the_share_past_is_an_explicit_count(made: list[tuple[float, float]], c: float, asked: list[float]) -> None:
    each = of_pairs(made).thresholds(c).tolist()
    asked = asked + [value for value in each if value < math.inf]
    expected = [sum(value < lam for value in each) / len(each) for lam in asked]
    found = share_past(of_pairs(made), c, asked)
    assert isinstance(found, np.ndarray)
    assert found.tolist() == expected
    assert share_past(of_pairs(made), c, 1.0) == 0


def test_a_lambda_at_a_threshold_is_not_past_it() -> None:
    answer = Positions.from_probabilities([0.9, 0.99, 0.6], [0.5, 0.5, 0.8])
    strict = threshold(answer, 2.0)
    assert share_past(answer, 2.0, strict) == 0
    assert share_past(answer, 2.0, math.nextafter(strict, 2)) == 1 / 3
    assert share_past(answer, 2.0, 1e9) == 2 / 3  # the last position has no threshold


# Quantiles

values_with_inf = st.lists(st.sampled_from([1.0, 1.5, 2.0, 7.0, math.inf]) | st.floats(1, 9), min_size=1, max_size=12)


@few
@given(values_with_inf, st.floats(0, 1), st.data())
def test_weights_of_a_quantile_are_copies_of_the_values(values: list[float], level: float, data: st.DataObject) -> None:
    weights = data.draw(st.lists(st.integers(1, 4), min_size=len(values), max_size=len(values)))
    copies = np.repeat(values, weights)
    assume(abs(level * len(copies) - round(level * len(copies))) > 1e-9)
    found = lower_quantile(np.array(values), level, np.array(weights))
    assert found == lower_quantile(copies, level) == sorted(copies)[math.ceil(level * len(copies)) - 1]


def test_a_quantile_of_values_with_nan_is_nan() -> None:
    values = np.array([1.0, math.nan, 2.0])
    for level in (0.0, 0.3, 1.0):
        assert math.isnan(lower_quantile(values, level))
        assert math.isnan(lower_quantile(values, level, np.array([1, 1, 1])))


def test_a_quantile_is_a_plain_float() -> None:
    assert type(lower_quantile(np.array([1.0, 2.0]), 0.5)) is float
    assert type(threshold(Positions.from_probabilities(0.9, 0.5), 2.0)) is float


# Scalars, arrays, NaN


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 3), (0,)])
def test_results_have_the_shape_of_lambda(shape: tuple[int, ...]) -> None:
    answer = listwise(3, separator=(0.7, 0.2))
    lam = np.linspace(1.0, 1.9, math.prod(shape)).reshape(shape)
    functions: tuple[Callable[[Any], Any], ...] = (
        lambda value: validity(answer, 5.0, value),
        lambda value: share_past(answer, 5.0, value),
    )
    for function in functions:
        found = function(lam)
        if shape:
            assert found.shape == shape
            assert found.ravel().tolist() == [function(float(value)) for value in lam.ravel()]
        else:
            assert type(found) is float
            assert found == function(1.0) == function(1)
        assert np.shape(function(lam.tolist())) == shape


@pytest.mark.parametrize("lam", [math.nan, [1.0, math.nan, 3.0]])
def test_a_nan_lambda_gives_nan(lam: float | list[float]) -> None:
    answer = Positions.from_probabilities([0.9, 0.8], 0.5)
    unknown = np.isnan(lam)
    assert np.isnan(share_past(answer, 2.0, lam)).tolist() == unknown.tolist()
    assert np.isnan(validity(answer, 2.0, lam)).tolist() == unknown.tolist()


@pytest.mark.parametrize(("p", "b"), [([0.9, math.nan], 0.5), ([0.9, 0.8], [math.nan, 0.5])])
def test_a_nan_position_gives_nan(p: list[float], b: Any) -> None:
    answer = Positions.from_probabilities(p, b)
    assert math.isnan(threshold(answer, 2.0))
    assert math.isnan(threshold(answer, 2.0, quantile=0.5))
    assert math.isnan(validity(answer, 2.0, 1.1))
    assert math.isnan(share_past(answer, 2.0, 1.1))


def test_a_nan_clip_gives_nan() -> None:
    answer = Positions.from_probabilities([0.9, 0.8], 0.5)
    assert math.isnan(threshold(answer, math.nan))
    assert math.isnan(validity(answer, math.nan, 1.1))
    assert math.isnan(share_past(answer, math.nan, 1.1))


def test_nan_fractions_give_a_nan_validity() -> None:
    assert math.isnan(validity(listwise(2, separator=(0.7, 0.2), closes=math.nan), 5.0, 1.0))


# Errors


def test_positions_are_those_of_answer_0_unless_told_otherwise() -> None:
    logs = np.log([[0.9, 0.1]]), np.log([[0.5, 0.5]])
    assert Positions(*logs, goes=(1, 0)).answer.tolist() == [0]


def test_what_is_no_pair_is_named() -> None:
    wrong: Any = (0.7, 0.2, 0.1)
    with pytest.raises(ValueError, match=r"^separator must be a pair \(p, b\), got \(0.7, 0.2, 0.1\)$"):
        listwise(2, separator=wrong)
    with pytest.raises(ValueError, match=r"^quote must be a pair \(p, b\), got"):
        listwise(2, separator=(0.7, 0.2), quote=wrong)


def test_mode_and_quantile_are_named() -> None:
    positions = Positions.from_probabilities([0.9], 0.5)
    with pytest.raises(TypeError, match="positional"):
        positions.thresholds(2.0, "token")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="positional"):
        Positions.from_probabilities([0.9], 0.5, (1, 0))  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="positional"):
        threshold(positions, 2.0, 0.5)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: listwise(0, separator=(0.7, 0.2)), r"items must lie in \[1, 1e\+06\], got 0"),
        (lambda: listwise(1_000_001, separator=(0.7, 0.2)), r"items must lie in \[1, 1e\+06\], got 1000001"),
        (lambda: listwise(2, separator=(0.7, 0.2), closes=1.5), r"closes must lie in \[0, 1\], got 1\.5"),
        (lambda: listwise(2, separator=(0.7, 0.2), closes=-0.1), r"closes must lie in \[0, 1\], got -0\.1"),
        (lambda: listwise(2, separator=(1.0, 0.2)), r"p must lie in \(0, 1\), got 1\.0 at index 0"),
        (lambda: listwise(2, separator=(0.7, 0.2), quote=(0.9, 0.0)), r"b must lie in \(0, 1\), got 0\.0 at index 0"),
        (lambda: Positions.from_probabilities([0.9, 1.0], 0.5), r"p must lie in \(0, 1\), got 1\.0 at index 1"),
        (lambda: Positions.from_probabilities(0.9, [0.5, -0.5]), r"b must lie in \(0, 1\), got -0\.5 at index 1"),
        (
            lambda: Positions.from_probabilities([0.9, 0.8], 0.5, goes=[[1.0, 0.0], [0.0, 1.5]]),
            r"goes must lie in \[0, 1\], got 1\.5 at index \(1, 1\)",
        ),
        (
            lambda: Positions.from_probabilities([0.9, 0.8], 0.5, ends=(0, -0.5)),
            r"ends must lie in \[0, 1\], got -0\.5 at index \(0, 1\)",
        ),
        (
            lambda: Positions.from_probabilities(
                [0.9, 0.8], 0.5, goes=[[1.0, 0.0], [0.5, 0.0]], ends=[[0.0, 1.0], [0.75, 0.0]]
            ),
            r"goes \+ ends must lie in \[0, 1\], got 1\.25 at index \(1, 0\)",
        ),
    ],
)
def test_values_out_of_range_are_named_with_range_value_and_index(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(ValueError, match=f"^{said}$"):
        make()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"log_t": np.zeros((2, 3, 1))}, r"log_t must have the shape \(positions, tokens\), got \(2, 3, 1\)"),
        ({"log_b": np.zeros((4, 3))}, r"log_b must broadcast to the shape \(2, 3\), got \(4, 3\)"),
        ({"goes": np.zeros((2, 4))}, r"goes must broadcast to the shape \(2, 3\), got \(2, 4\)"),
        ({"ends": [0.0, 0.0]}, r"ends must broadcast to the shape \(2, 3\), got \(2,\)"),
        ({"modal": [0, 1, 2]}, r"modal must broadcast to the shape \(2,\), got \(3,\)"),
        ({"answer": [0, 1, 2]}, r"answer must broadcast to the shape \(2,\), got \(3,\)"),
    ],
)
def test_wrong_shapes_are_named_with_both_shapes(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=f"^{said}$"):
        Positions(**{"log_t": np.zeros((2, 3)), "log_b": np.zeros(3), "goes": 0.0} | options)


@pytest.mark.parametrize("modal", [-1, 3, [0, 5], 0.5, math.nan])
def test_a_modal_token_that_is_no_index_is_an_error(modal: Any) -> None:
    with pytest.raises(ValueError, match=r"^modal must "):
        assert len(Positions(np.zeros((2, 3)), np.zeros(3), goes=0.0, modal=modal).p)


ONE = Positions.from_probabilities([0.9, 0.8], 0.5)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: threshold(ONE, 0.5), r"c must lie in \[1, inf\], got 0\.5"),
        (lambda: ONE.thresholds(-math.inf), r"c must lie in \[1, inf\], got -inf"),
        (lambda: share_past(ONE, 0.5, 1.0), r"c must lie in \[1, inf\], got 0\.5"),
        (lambda: validity(ONE, 0.5, 1.0), r"c must lie in \[1, inf\], got 0\.5"),
        (
            lambda: validity(ONE, cast(Any, [1.0, 1.7]), 5.0),
            r"c must be one number, got \[1\.0, 1\.7\]; the order is \(positions, c, lam\) from release 0\.2 on",
        ),
        (lambda: validity(ONE, 0.5, []), r"c must lie in \[1, inf\], got 0\.5"),
        (lambda: validity(ONE, 2.0, math.inf), r"lam must lie in \(-inf, inf\), got inf"),
        (lambda: validity(ONE, 2.0, [1.0, -math.inf]), r"lam must lie in \(-inf, inf\), got -inf at index 1"),
        (lambda: share_past(ONE, 2.0, [[1.0, math.inf]]), r"lam must lie in \(-inf, inf\), got inf at index \(0, 1\)"),
        (lambda: threshold(ONE, 2.0, quantile=2), r"quantile must lie in \[0, 1\], got 2"),
        (lambda: threshold(ONE, 2.0, quantile=-0.1), r"quantile must lie in \[0, 1\], got -0\.1"),
        (lambda: threshold(ONE, 2.0, quantile=math.nan), r"quantile must lie in \[0, 1\], got nan"),
        (lambda: threshold(ONE, 2.0, mode=cast(Mode, "word")), r"mode must be one of token, class, bernoulli, .*"),
    ],
)
def test_arguments_out_of_range_are_named(call: Callable[[], Any], said: str) -> None:
    with pytest.raises(ValueError, match=f"^{said}$"):
        call()


def test_no_position_has_no_threshold_share_or_validity() -> None:
    empty = Positions.from_probabilities([], 0.5)
    calls: tuple[Callable[[], Any], ...] = (
        lambda: threshold(empty, 2.0),
        lambda: share_past(empty, 2.0, 1.0),
        lambda: validity(empty, 2.0, 1.0),
        lambda: lower_quantile(np.array([]), 0.5),
    )
    for call in calls:
        with pytest.raises(ValueError, match=r"^positions must hold at least one position, got none$"):
            call()


# A measurement


def test_a_measured_separator_has_its_threshold_and_its_collapse_point() -> None:
    """A small experiment measured p = .794 and b = .550, and found λ* = 1.709 and λ_c = 1.80 at c = 2."""
    slopes = ls.bernoulli.sensitivity(0.794, 0.550, 2.0)
    rounding = 0.0005 * (1 + abs(slopes.p) + abs(slopes.b))
    assert threshold(listwise(9, separator=(0.794, 0.550)), 2.0) == pytest.approx(1.709, abs=rounding)
    assert rounding < 0.004
    assert ls.collapse_point(0.794, 0.550, 2.0) == pytest.approx(1.80, abs=0.005)
    assert validity(listwise(9, separator=(0.794, 0.550)), 2.0, [1.70, 1.81]) == pytest.approx([0.62, 0.0], abs=0.01)
