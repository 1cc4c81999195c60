"""Thresholds over K tokens: checked against 50-digit oracles, by what they mean, and for every way to hand rows in."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import array_api_strict
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

import lambda_star as ls
from lambda_star import categorical
from lambda_star._core import rows as row_engine
from lambda_star.categorical import Threshold
from lambda_star.categorical._rows import prepare
from tests import oracle
from tests.strategies import (
    Floats,
    Pair,
    clips,
    labelled_rows,
    moderate,
    open_clips,
    token_rows,
)

EPS = 2.0**-52
MODES = ("token", "bernoulli", "class")
FIELDS = tuple(field.name for field in dataclasses.fields(Threshold))
lams = st.floats(-3.0, 6.0)
orders = st.one_of(st.floats(0.01, 8.0), st.sampled_from((1e-6, 0.5, 1.0, 2.0, 100.0)))
floors = st.one_of(st.just(0.0), st.floats(-12.0, -0.1).map(lambda k: 10.0**k))


def log(*probabilities: float) -> Floats:
    return np.log(np.array(probabilities, dtype=np.float64))


def existing(pair: Pair) -> Any:
    """Which tokens are not masked."""
    return np.isfinite(pair[0])


def log_ratios(pair: Pair) -> Floats:
    """The log-ratios as floats give them; 0 for a masked token."""
    here = existing(pair)
    return np.where(here, np.where(here, pair[0], 0.0) - np.where(here, pair[1], 0.0), 0.0)


def teacher_of(pair: Pair) -> Floats:
    weights = np.exp(pair[0] - np.max(pair[0]))
    return np.asarray(weights / weights.sum())


def size(pair: Pair, lam: Any) -> float:
    """How many roundings log R at λ is made of: those of its sums, and |λ−1| times those of the largest log-ratio."""
    return 1 + abs(float(lam) - 1) * float(np.max(np.abs(log_ratios(pair))))


def depth(pair: Pair) -> float:
    """The roundings of the log-weights themselves."""
    return float(np.ptp(pair[0][existing(pair)]))


def resolved(pair: Pair) -> bool:
    """Whether no two log-ratios differ by so little that their rounding decides which is larger."""
    here = existing(pair)
    exact = sorted(oracle.real(t) - oracle.real(b) for t, b in zip(pair[0][here], pair[1][here], strict=True))
    least = 64 * EPS * size(pair, 2)
    return all(high == low or high - low > least for low, high in itertools.pairwise(exact))


def distinct(values: Floats) -> bool:
    """Whether all values differ by more than rounding."""
    gaps = np.diff(np.sort(values))
    return bool(np.all(gaps > 64 * EPS * np.max(np.abs(values), initial=0.0)))


def shifted(c: float, pair: Pair, lam: float, sign: int, mode: str) -> float:
    """The clip, moved by as much as the roundings of a ratio at λ can make of it."""
    roundings = size(pair, lam) + depth(pair)
    if mode == "bernoulli":  # a difference of log-odds, of which each is rounded
        roundings += lam * (1 + depth(pair) + depth(pair[::-1]))
    return max(1.0, c * (1 + sign * 8 * EPS * roundings))


def agrees(value: Any, pair: Pair, c: float, **options: Any) -> bool:
    """Whether a threshold is that of a row, up to a rounding of c and its own last digits."""
    lam = float(value)
    if math.isinf(lam):
        lam = float(categorical.threshold(*pair, c, **options).value)
    if math.isinf(lam):
        return math.isinf(float(value))
    mode = options.get("mode", "token")
    low, high = (categorical.threshold(*pair, shifted(c, pair, lam, sign, mode), **options) for sign in (-1, 1))
    assume(bool(low.converged and high.converged))
    return bool(low.value - 2 * EPS * lam <= value <= high.value + 2 * EPS * lam)


def at_most(first: Any, pair: Pair, c: float, first_mode: str = "token", **options: Any) -> bool:
    """Whether a threshold is at most that of a row, up to a rounding of c."""
    if math.isinf(first):
        return math.isinf(categorical.threshold(*pair, c, **options).value)
    mode = "bernoulli" if first_mode == "bernoulli" else options.get("mode", "token")
    second = categorical.threshold(*pair, shifted(c, pair, first, 1, mode), **options)
    assume(bool(second.converged))
    return bool(first <= second.value * (1 + 2 * EPS))


def two(p: float, b: float) -> Pair:
    """The rows of two tokens."""
    return np.array([math.log(p), math.log1p(-p)]), np.array([math.log(b), math.log1p(-b)])


def rel_two(p: float, b: float) -> float:
    """The relative error of a log-odds gap that is the difference of rounded logarithms."""
    logs = np.abs(two(p, b)).sum()
    gap = abs(float(oracle.gap(p, b)))
    return float(4 * EPS * (1 + logs / gap)) if gap else math.inf


# Against the oracle


@given(token_rows(), open_clips)
@example((log(0.9, 0.07, 0.03), log(0.5, 0.3, 0.2)), 2.0)
def test_token_threshold_is_where_the_largest_ratio_is_the_clip(pair: Pair, c: float) -> None:
    assume(resolved(pair))
    check_tokens(categorical.threshold(*pair, c), pair, c, list(np.flatnonzero(existing(pair))))


def check_tokens(found: Threshold, pair: Pair, c: float, may: list[int]) -> None:
    exact = oracle.token_excess(*pair, c, may)
    if exact == oracle.NEVER:
        assert (found.value, found.lower, found.upper, found.binding) == (math.inf, math.inf, math.inf, -1)
        return
    assert int(found.binding) in may
    slope = oracle.Position(*pair).slope(1 + exact, [int(found.binding)])
    lam = float(1 + exact)
    allowed = 4 * EPS * size(pair, lam) / slope + EPS * lam
    assert abs(oracle.real(found.value) - 1 - exact) <= allowed
    assert found.lower - EPS * lam <= found.value <= found.upper + EPS * lam
    y = log_ratios(pair) - log_ratios(pair)[found.binding]
    mean_ahead = float(teacher_of(pair) @ np.maximum(y, 0.0))
    chord = oracle.lower_bound_excess(*pair, c, may)
    allowed = 16 * EPS * (1 + size(pair, 2) / mean_ahead) * chord + EPS * lam
    assert abs(oracle.real(found.lower) - 1 - chord) <= allowed


@given(labelled_rows(), open_clips, floors)
def test_only_tokens_with_a_class_and_enough_mass_bind(
    case: tuple[Pair, list[int] | None], c: float, min_mass: float
) -> None:
    pair, labels = case
    mass = teacher_of(pair)
    assume(resolved(pair) and np.all(np.abs(mass - min_mass) > 1e-9 * mass))
    may = existing(pair) & (mass > min_mass) & (True if labels is None else np.array(labels) >= 0)
    found = categorical.threshold(*pair, c, min_mass=min_mass, classes=labels)
    check_tokens(found, pair, c, list(np.flatnonzero(may)))


@given(token_rows(masks=False), st.floats(1.5, 10.0))
def test_thresholds_of_ordinary_rows_are_right_to_the_last_digits(pair: Pair, c: float) -> None:
    y = log_ratios(pair) - np.min(log_ratios(pair))
    assume(teacher_of(pair) @ y > 0.1 * np.max(np.abs(log_ratios(pair))) > 0)
    found = categorical.threshold(*pair, c)
    assert oracle.ulps(found.value, 1 + oracle.token_excess(*pair, c)) <= 8
    assert oracle.ulps(found.lower, 1 + oracle.lower_bound_excess(*pair, c)) <= 8


FIVE = [0, 1, 1, 2, 2]
PEAKS = [
    (((np.array([-1.7, -0.4, -4.5, -2.1, -6.1]), np.array([-1.5, 2.1, -4.5, 0.0, -8.8])), FIVE), 1.02),
    (((np.array([-0.2, -8.4, -2.6, -5.5, -2.5]), np.array([2.8, -10.2, 0.2, -2.8, -2.2])), FIVE), 1.1),
    (((np.array([-5.1, -2.7, -9.1, -9.6, -0.3]), np.array([-5.5, -2.3, -9.7, -10.2, 0.1])), FIVE), 1.1),
    (((np.array([-2.1, -2.7, -8.6, -2.9]), np.array([-0.4, -1.7, -10.6, -3.5])), [0, 1, 1, 2]), 1.5),
    (((np.array([-1.3, -5.9, -1.9, -4.3]), np.array([-0.5, -7.0, -1.1, -7.1])), [0, 1, 1, 2]), 2.0),
]
"""Rows where Newton's step from λ = 1 passes the first crossing, to where no ratio is above the clip any more."""


@given(labelled_rows(), open_clips, floors)
@example(((log(0.9, 0.07, 0.03), log(0.5, 0.3, 0.2)), None), 2.0, 0.0)
@example(*PEAKS[0], 0.0)
@example(*PEAKS[1], 0.0)
@example(*PEAKS[2], 0.0)
@example(*PEAKS[3], 0.0)
@example(*PEAKS[4], 0.0)
def test_class_threshold_is_where_a_class_first_reaches_the_clip(
    case: tuple[Pair, list[int] | None], c: float, min_mass: float
) -> None:
    pair, classes = case
    labels, mass = labels_of(pair, classes), teacher_of(pair)
    shares = {label: float(mass[np.array(labels) == label].sum()) for label in set(labels) if label >= 0}
    assume(resolved(pair) and all(abs(share - min_mass) > 1e-9 * share for share in shares.values()))
    assume(labels[int(np.argmax(mass))] >= 0 or distinct(np.array(list(shares.values()))))
    small = [label for label, share in shares.items() if share < min_mass]
    found = categorical.threshold(*pair, c, classes=classes, min_mass=min_mass, mode="class")
    lam, log_c = float(found.value), oracle.CONTEXT.log(oracle.real(c))
    pad = EPS * lam if lam < math.inf else 0.0
    move = 4 * EPS * (size(pair, lam if lam < math.inf else 1) + depth(pair))
    latest = 1 + oracle.class_excess(*pair, log_c + move, labels, small)
    assert max(lam, float(found.lower)) - pad <= latest
    earliest = 1 + (oracle.class_excess(*pair, log_c - move, labels, small) if move < log_c else 0)
    assert found.upper + pad >= earliest
    assert not found.converged or lam + pad >= earliest


def labels_of(pair: Pair, classes: list[int] | None) -> list[int]:
    """The classes, or the default ones: the modal token and the rest."""
    return [int(token != np.argmax(pair[0])) for token in range(len(pair[0]))] if classes is None else classes


@given(labelled_rows(), open_clips)
def test_two_outcomes_are_merged_before_the_model_extrapolates(case: tuple[Pair, list[int] | None], c: float) -> None:
    pair, classes = case
    labels, mass = labels_of(pair, classes), teacher_of(pair)
    shares = np.array([mass[np.array(labels) == label].sum() for label in sorted(set(labels)) if label >= 0])
    own = labels[int(np.argmax(mass))]
    if own < 0:
        assume(distinct(shares))
        own = sorted(set(labels) - {-1})[int(np.argmax(shares))]
    tokens = [token for token, label in enumerate(labels) if label == own]
    found = categorical.threshold(*pair, c, classes=classes, mode="bernoulli")
    rest = [token for token in np.flatnonzero(existing(pair)) if token not in tokens]
    if not rest or not np.any(existing(pair)[tokens]):
        assert found.value == math.inf
        return
    exact = oracle.merged_excess(*pair, c, tokens)
    both = [oracle.probabilities(row) for row in pair]
    masses = [sum(row[k] for k in part) for row in both for part in (tokens, rest)]
    noise = 8 * EPS * float(1 + sum(abs(oracle.CONTEXT.log(mass)) for mass in masses))
    if exact * noise >= math.log(c) / 2:  # a gap of log-odds that is rounding, or none
        assert found.value - 1 >= math.log(c) / noise / 4
        return
    allowed = noise * exact * exact / oracle.CONTEXT.log(oracle.real(c)) + EPS * (1 + exact)
    assert abs(oracle.real(found.value) - 1 - exact) <= allowed
    assert found.lower == found.upper == found.value


@pytest.mark.parametrize("mode", MODES)
def test_classes_of_which_no_token_exists_do_not_bind(mode: Any) -> None:
    rows = np.array([-math.inf, 0.0, -1.0]), np.array([-math.inf, -1.0, 0.0])
    found = categorical.threshold(*rows, 2.0, classes=[0, -1, -1], mode=mode)
    assert (found.value, found.binding, bool(found.converged)) == (math.inf, -1, True)


@given(token_rows(), lams)
def test_fixed_point_is_the_normalised_log_linear_mixture(pair: Pair, lam: float) -> None:
    found, exact = categorical.fixed_point(*pair, lam), oracle.log_fixed_point(*pair, lam)
    allowed = 4 * EPS * (size(pair, lam) + depth(pair))
    assert all(abs(oracle.real(f) - e) <= allowed for f, e in zip(found, exact, strict=True) if e > -oracle.NEVER)
    assert np.array_equal(found == -math.inf, ~existing(pair))


@given(token_rows(), lams)
def test_ratio_is_teacher_mass_over_mixture_mass(pair: Pair, lam: float) -> None:
    found, exact = categorical.ratio(*pair, lam), oracle.token_ratios(*pair, lam)
    allowed = 8 * EPS * (size(pair, lam) + depth(pair))
    assert all(abs(oracle.real(f) / e - 1) <= allowed for f, e in zip(found, exact, strict=True))


@given(token_rows(), orders)
def test_renyi_divergence_is_that_of_the_probabilities(pair: Pair, order: float) -> None:
    allowed = 8 * EPS * (1 + depth(pair) + depth(pair[::-1]) + np.ptp(log_ratios(pair)) * (1 + order))
    assert abs(oracle.real(categorical.renyi(*pair, order)) - oracle.renyi(*pair, order)) <= allowed


@given(token_rows())
def test_hilbert_distance_is_the_range_of_the_log_ratios(pair: Pair) -> None:
    assert abs(oracle.real(categorical.hilbert_distance(*pair)) - oracle.hilbert_distance(*pair)) <= EPS * size(pair, 3)


@given(token_rows())
def test_flip_is_where_another_token_has_more_mass_than_the_modal_one(pair: Pair) -> None:
    assume(resolved(pair))
    assume(np.sum(pair[0] == np.max(pair[0])) == 1)
    found, (exact, token) = categorical.threshold(*pair, 2.0), oracle.token_flip(*pair)
    assert found.modal == np.argmax(pair[0])
    assert categorical.flip_point(*pair) == found.flip
    if token < 0:
        assert (found.flip, found.flips_to) == (math.inf, -1)
        return
    speed = log_ratios(pair) - log_ratios(pair)[found.modal]
    allowed = 4 * EPS * (1 + size(pair, 2) / speed[found.flips_to]) * (exact - 1) + EPS * exact
    assert abs(oracle.real(found.flip) - exact) <= allowed
    masses = oracle.Position(*pair).masses(oracle.real(found.flip) + 4 * allowed)
    assert masses[int(found.flips_to)] > masses[int(found.modal)]
    masses = oracle.Position(*pair).masses(oracle.real(found.flip) - 4 * allowed)
    assert max(masses, key=masses.__getitem__) == found.modal


@pytest.mark.parametrize(("base", "flip", "to"), [((0.5, 0.3, 0.2), 1.0, 1), ((0.3, 0.5, 0.2), math.inf, -1)])
def test_the_first_of_two_equal_tokens_flips_at_once_or_not_at_all(
    base: tuple[float, ...], flip: float, to: int
) -> None:
    found = categorical.threshold(log(0.4, 0.4, 0.2), log(*base), 2.0)
    assert (found.modal, found.flip, found.flips_to) == (0, flip, to)


@given(token_rows(), open_clips, lams)
def test_stationary_student_is_where_the_clipped_dynamics_rest(pair: Pair, c: float, lam: float) -> None:
    assume(resolved(pair))
    found, exact = np.exp(categorical.stationary_student(*pair, c, lam)), oracle.clipped_student(*pair, c, lam)
    allowed = 16 * EPS * (size(pair, lam) + depth(pair))
    np.testing.assert_allclose(found, np.array(exact, dtype=float), rtol=0, atol=allowed)
    assert found.sum() == pytest.approx(1, abs=allowed)


def clipped_advantages(pair: Pair, student: Floats, c: float, lam: float) -> Floats:
    """The model itself: min(log(π_T/π), log c) + (λ−1) r, for tokens that exist."""
    here = existing(pair)
    gain = pair[0][here] - np.log(np.exp(pair[0][here]).sum()) - student[here]
    return np.asarray(np.minimum(gain, math.log(c)) + (lam - 1) * log_ratios(pair)[here])


@given(token_rows(), st.floats(1.01, 20.0), lams)
def test_a_stationary_student_leaves_no_survivor_an_advantage(pair: Pair, c: float, lam: float) -> None:
    student = categorical.stationary_student(*pair, c, lam)
    advantages = clipped_advantages(pair, student, c, lam)
    alive = student[existing(pair)] > math.log(1e-6)
    assert np.ptp(advantages[alive]) <= 1e-8
    assert np.all(advantages <= np.max(advantages[alive]) + 1e-8)


@pytest.mark.parametrize(
    ("teacher", "base", "c", "lam", "clipped"),
    [
        (log(0.9, 0.07, 0.03), log(0.5, 0.3, 0.2), 2.0, 1.2, []),
        (log(0.9, 0.07, 0.03), log(0.5, 0.3, 0.2), 2.0, 1.38, [1]),
        (log(0.5, 0.2, 0.2, 0.1), log(0.4, 0.1, 0.3, 0.2), 1.5, 1.52, [3]),
        (log(0.5, 0.2, 0.2, 0.1), log(0.4, 0.1, 0.3, 0.2), 1.5, 1.9, [2]),
        (log(0.5, 0.2, 0.2, 0.1), log(0.4, 0.1, 0.3, 0.2), 1.5, 0.3, [1]),
        (log(0.5, 0.2, 0.2, 0.1), log(0.7, 0.1, 0.1, 0.1), 1.2, 0.5, [1, 2]),
    ],
)
def test_following_the_clipped_flow_of_many_tokens_ends_at_the_stationary_student(
    teacher: Floats, base: Floats, c: float, lam: float, clipped: list[int]
) -> None:
    theta = base.copy()
    for _ in range(20_000):  # natural gradient: θ' = A − mean of A under the student
        student = theta - np.log(np.exp(theta).sum())
        advantages = clipped_advantages((teacher, base), student, c, lam)
        theta = np.maximum(theta + 0.1 * (advantages - np.exp(student) @ advantages), -300.0)
    found = np.exp(categorical.stationary_student(teacher, base, c, lam))
    np.testing.assert_allclose(np.exp(theta) / np.exp(theta).sum(), found, atol=1e-8)
    assert list(np.flatnonzero((found > 0) & (found < np.exp(teacher) / c * (1 - 1e-6)))) == clipped


# Two tokens are one position


@given(moderate, moderate, open_clips)
def test_two_tokens_have_the_two_sided_threshold(p: float, b: float, c: float) -> None:
    found, expected = categorical.threshold(*two(p, b), c), ls.bernoulli.two_sided_threshold(p, b, c)
    assume(p == b or rel_two(p, b) < 0.1)
    if p == b:
        assert found.value == expected == math.inf
        return
    rel = rel_two(p, b) + 4 * EPS / math.log(c)
    assert abs(found.value - expected) <= rel * (expected - 1) + EPS * expected
    assert abs(found.lower - found.value) <= rel * (expected - 1) + EPS * expected
    assert found.binding == (1 if p > b else 0)


@given(moderate, moderate, open_clips, st.sampled_from(MODES))
def test_two_tokens_have_the_threshold_of_one_position_in_every_mode(p: float, b: float, c: float, mode: Any) -> None:
    p = max(p, 1 - p)
    assume(rel_two(p, b) < 0.1 and (p > b or mode != "token"))
    found, expected = categorical.threshold(*two(p, b), c, mode=mode), ls.threshold(p, b, c)
    if p < b:
        assert found.value == expected == math.inf
        return
    rel = rel_two(p, b) + 8 * EPS / math.log(c)
    assert abs(found.value - expected) <= rel * (expected - 1) + EPS * expected
    assert abs(found.lower - expected) <= rel * (expected - 1) + EPS * expected


@given(moderate, moderate, lams)
def test_two_tokens_have_the_fixed_point_and_the_ratios_of_one_position(p: float, b: float, lam: float) -> None:
    pair = two(p, b)
    rel = 16 * EPS * (1 + np.abs(pair).sum() * (1 + abs(lam)))
    assert np.exp(categorical.fixed_point(*pair, lam)[0]) == pytest.approx(ls.fixed_point(p, b, lam), rel=rel)
    modal, tail = categorical.ratio(*pair, lam)
    assert tail == pytest.approx(ls.tail_ratio(p, b, lam), rel=rel)
    assert modal == pytest.approx(p / ls.fixed_point(p, b, lam), rel=rel)


@given(moderate, moderate, st.floats(1.01, 20.0), lams)
def test_two_tokens_have_the_stationary_student_of_one_position(p: float, b: float, c: float, lam: float) -> None:
    pair = two(p, b)
    student = np.exp(categorical.stationary_student(*pair, c, lam))
    expected = ls.bernoulli.stationary_student(p, b, c, lam)
    allowed = 32 * EPS * (1 + np.abs(pair).sum() * (1 + abs(lam)))
    assert student == pytest.approx([expected, 1 - expected], abs=allowed)


@given(st.floats(0.5 + 1e-9, 1 - 1e-9), moderate)
def test_two_tokens_have_the_flip_point_of_one_position(p: float, b: float) -> None:
    assume(p == b or rel_two(p, b) < 0.1)
    flip, expected = categorical.flip_point(*two(p, b)), ls.flip_point(p, b)
    if p >= b:
        assert flip == expected == math.inf
        return
    logits = abs(two(p, b)[0][0] - two(p, b)[0][1])
    rel = rel_two(p, b) + 4 * EPS * float(np.abs(two(p, b)[0]).sum()) / logits
    assert abs(flip - expected) <= rel * (expected - 1) + EPS * expected


# Laws


def values(found: Threshold) -> dict[str, Any]:
    return {field: getattr(found, field) for field in FIELDS}


@given(labelled_rows(), open_clips, st.sampled_from(MODES), st.data())
def test_the_order_of_the_tokens_does_not_matter(
    case: tuple[Pair, list[int] | None], c: float, mode: Any, data: st.DataObject
) -> None:
    pair, classes = case
    speed = log_ratios(pair) - log_ratios(pair)[np.argmax(pair[0])]
    gains = existing(pair) & (speed > 0)
    flips = (np.max(pair[0]) - pair[0][gains]) / speed[gains]
    assume(distinct(log_ratios(pair)[existing(pair)]) and distinct(pair[0][existing(pair)]) and distinct(flips))
    order = np.array(data.draw(st.permutations(range(len(pair[0])))))
    mixed = (pair[0][order], pair[1][order])
    labels = None if classes is None else np.array(classes)[order]
    found = categorical.threshold(*pair, c, classes=classes, mode=mode)
    again = categorical.threshold(*mixed, c, classes=labels, mode=mode)
    assert agrees(again.value, pair, c, classes=classes, mode=mode)
    assert order[again.modal] == found.modal
    assert again.flip == found.flip
    assert (order[again.flips_to] if again.flips_to >= 0 else -1) == found.flips_to
    if mode == "token":
        assert (order[again.binding] if again.binding >= 0 else -1) == found.binding
        assert again.lower == pytest.approx(found.lower, rel=64 * EPS * (1 + size(pair, 2)))


@given(token_rows(), lams, st.floats(1.0, 20.0), st.randoms(use_true_random=False))
def test_values_of_tokens_follow_their_order(pair: Pair, lam: float, c: float, random: Any) -> None:
    order = list(range(len(pair[0])))
    random.shuffle(order)
    mixed = (pair[0][order], pair[1][order])
    allowed = 16 * EPS * (size(pair, lam) + depth(pair))
    for function in (categorical.fixed_point, categorical.ratio):
        np.testing.assert_allclose(function(*mixed, lam), function(*pair, lam)[order], rtol=allowed, atol=allowed)
    found, again = (np.exp(categorical.stationary_student(*rows, c, lam)) for rows in (pair, mixed))
    np.testing.assert_allclose(again, found[order], rtol=0, atol=allowed)
    for order_of in (0.5, 1.0, 3.0):
        expected = pytest.approx(categorical.renyi(*pair, order_of), abs=8 * allowed)
        assert categorical.renyi(*mixed, order_of) == expected


@given(labelled_rows(), open_clips, st.sampled_from(MODES), st.floats(-50.0, 50.0), st.floats(-50.0, 50.0))
def test_logits_need_no_normalisation(
    case: tuple[Pair, list[int] | None], c: float, mode: Any, first: float, second: float
) -> None:
    pair, classes = case
    moved = (pair[0] + first, pair[1] + second)
    lost = EPS * (abs(first) + abs(second) + size(pair, 2))
    gaps = np.diff(np.sort(log_ratios(pair)[existing(pair)]))
    assume(np.all(gaps > 1e6 * lost) and distinct(pair[0][existing(pair)] + 1e3))
    found = categorical.threshold(*moved, c, classes=classes, mode=mode)
    # The log-ratios themselves are rounded anew, by at most `lost`.
    lam = float(categorical.threshold(*pair, c, classes=classes, mode=mode).value)
    lam = min(lam, float(found.value))
    if lam == math.inf:
        assert found.value == math.inf
        return
    move = 16 * (lost * lam + EPS * depth(pair))
    assume(move < 0.1)
    low, high = (
        categorical.threshold(*pair, max(1.0, c * math.exp(sign * move)), classes=classes, mode=mode)
        for sign in (-1, 1)
    )
    assume(bool(low.converged and high.converged and found.converged))
    assert low.value - 2 * EPS * lam <= found.value <= high.value + 2 * EPS * lam
    assert found.binding == categorical.threshold(*pair, c, classes=classes, mode=mode).binding


@given(labelled_rows(), open_clips, st.sampled_from(MODES), st.data())
def test_a_token_that_no_model_can_produce_changes_nothing(
    case: tuple[Pair, list[int] | None], c: float, mode: Any, data: st.DataObject
) -> None:
    pair, classes = case
    place, label = data.draw(st.integers(0, len(pair[0]))), data.draw(st.integers(-1, 4))
    longer = (np.insert(pair[0], place, -math.inf), np.insert(pair[1], place, -math.inf))
    labels = None if classes is None else [*classes[:place], label, *classes[place:]]
    found = categorical.threshold(*pair, c, classes=classes, mode=mode)
    again = categorical.threshold(*longer, c, classes=labels, mode=mode)
    assert agrees(again.value, pair, c, classes=classes, mode=mode)
    indices = ["modal", "flips_to", "binding"] if mode == "token" else ["modal", "flips_to"]
    for name in indices:
        index = getattr(found, name)
        assert getattr(again, name) == (index + 1 if index >= place else index)
    assert again.flip == found.flip
    ratios = categorical.ratio(*longer, 1.5)
    allowed = 8 * EPS * (size(pair, 1.5) + depth(pair))
    np.testing.assert_allclose(np.delete(ratios, place), categorical.ratio(*pair, 1.5), rtol=allowed)
    assert ratios[place] == 1
    assert categorical.fixed_point(*longer, 1.5)[place] == -math.inf
    assert categorical.stationary_student(*longer, c, 1.5)[place] == -math.inf


@given(labelled_rows(), open_clips, st.sampled_from(("token", "class")), st.floats(0.01, 0.99), st.data())
def test_a_token_split_in_two_changes_nothing(
    case: tuple[Pair, list[int] | None], c: float, mode: Any, share: float, data: st.DataObject
) -> None:
    pair, classes = case
    token = data.draw(st.sampled_from(list(np.flatnonzero(existing(pair)))))
    labels = labels_of(pair, classes)
    assume(distinct(log_ratios(pair)[existing(pair)]))
    # The modal class must stay the same: its token keeps its mass.
    assume(mode == "token" or (labels[int(np.argmax(pair[0]))] >= 0 and token != np.argmax(pair[0])))
    parts = [np.append(row, row[token] + math.log1p(-share)) for row in pair]
    for row, part in zip(pair, parts, strict=True):
        part[token] = row[token] + math.log(share)
    split = (parts[0], parts[1])
    again = categorical.threshold(*split, c, classes=[*labels, labels[token]], mode=mode)
    assume(bool(again.converged))
    # The log-ratio of the parts is rounded anew.
    lost = 4 * EPS * sum(float(np.max(np.abs(row[existing(split)]))) for row in split)
    lam = float(again.value)
    if lam == math.inf:
        lam = float(categorical.threshold(*pair, c, classes=labels, mode=mode).value)
    if lam == math.inf:
        return
    move = 4 * lost * (1 + lam)
    assume(move < 0.1)
    low, high = (
        categorical.threshold(*pair, max(1.0, c * math.exp(sign * move)), classes=labels, mode=mode) for sign in (-1, 1)
    )
    assume(bool(low.converged and high.converged))
    assert low.value - 2 * EPS * lam <= again.value <= high.value + 2 * EPS * lam


def modal_leads(pair: Pair) -> bool:
    """Whether the teacher gives its modal token clearly more mass than the base does."""
    logs = [oracle.Position(*pair).r[int(np.argmax(pair[0]))]]
    return bool(logs[0] > 1e3 * EPS * size(pair, 2))


@given(token_rows(), open_clips)
def test_token_before_bernoulli_before_class(pair: Pair, c: float) -> None:
    assume(resolved(pair) and modal_leads(pair))
    token, bernoulli, whole = (categorical.threshold(*pair, c, mode=mode) for mode in MODES)  # type: ignore[arg-type]
    assume(token.binding != token.modal and whole.converged)
    assert at_most(token.value, pair, c, mode="bernoulli")
    assert at_most(bernoulli.value, pair, c, "bernoulli", mode="class")


@given(token_rows(), open_clips, st.data())
def test_finer_classes_of_the_tail_bind_between_tokens_and_the_whole_tail(
    pair: Pair, c: float, data: st.DataObject
) -> None:
    assume(resolved(pair))
    tail = data.draw(st.lists(st.integers(1, 4), min_size=len(pair[0]), max_size=len(pair[0])))
    classes = [0 if token == np.argmax(pair[0]) else label for token, label in enumerate(tail)]
    finer = categorical.threshold(*pair, c, classes=classes, mode="class")
    assume(bool(finer.converged))
    assert at_most(finer.value, pair, c, mode="class")
    assert at_most(categorical.threshold(*pair, c).value, pair, c, classes=classes, mode="class")


@given(labelled_rows(), clips, st.sampled_from(MODES))
def test_bounds_enclose_the_threshold(case: tuple[Pair, list[int] | None], c: float, mode: Any) -> None:
    pair, classes = case
    found = categorical.threshold(*pair, c, classes=classes, mode=mode)
    assert found.lower <= found.value * (1 + 2 * EPS)
    assert found.value <= found.upper * (1 + 2 * EPS)
    assert found.lower >= 1
    assert math.isinf(found.upper) or math.isfinite(found.value)


@given(token_rows(), st.integers(1, 2**24), open_clips, st.data())
def test_lower_bound_is_exact_where_log_ratios_take_two_values(
    pair: Pair, gap: int, c: float, data: st.DataObject
) -> None:
    teacher = np.round(pair[0] * 2**20) / 2**20  # so that every difference is exact
    chosen = np.array(data.draw(st.lists(st.booleans(), min_size=len(teacher), max_size=len(teacher))))
    assume(0 < np.sum(chosen & existing(pair)) < np.sum(existing(pair)))
    rows = (teacher, teacher - np.where(chosen, gap / 2**20, 0.0))
    found = categorical.threshold(*rows, c)
    assert agrees(found.lower, rows, c)
    assert oracle.token_excess(*rows, c) == pytest.approx(oracle.lower_bound_excess(*rows, c), rel=1e-30)


@given(token_rows(), st.lists(st.floats(1.0, 50.0, exclude_min=True), min_size=1, max_size=4), open_clips)
def test_binding_token_has_the_largest_ratio_at_every_coefficient(pair: Pair, places: list[float], c: float) -> None:
    found = categorical.threshold(*pair, c)
    assume(found.binding >= 0)
    for lam in places:
        ratios = categorical.ratio(*pair, lam)
        assert ratios[found.binding] >= np.max(ratios) * (1 - 8 * EPS * (size(pair, lam) + depth(pair)))


@given(token_rows(), open_clips)
def test_largest_ratio_is_the_clip_at_the_threshold(pair: Pair, c: float) -> None:
    found = categorical.threshold(*pair, c)
    assume(resolved(pair) and found.value < math.inf)
    largest = np.max(categorical.ratio(*pair, found.value)[existing(pair)])
    assert largest == pytest.approx(c, rel=max(1e-12, 8 * EPS * size(pair, found.value)))


@given(labelled_rows(), st.floats(1.0, 1e3), st.floats(1.0, 2.0), st.sampled_from(MODES))
def test_threshold_grows_with_the_clip_in_every_mode(
    case: tuple[Pair, list[int] | None], c: float, factor: float, mode: Any
) -> None:
    pair, classes = case
    found = categorical.threshold(*pair, c, classes=classes, mode=mode)
    assume(bool(found.converged))
    assert at_most(found.value, pair, c * factor, classes=classes, mode=mode)


@given(labelled_rows(), clips, st.sampled_from(MODES))
def test_identical_rows_have_no_threshold(case: tuple[Pair, list[int] | None], c: float, mode: Any) -> None:
    (teacher, _), classes = case
    found = categorical.threshold(teacher, teacher, c, classes=classes, mode=mode)
    assert found.value == found.lower == found.upper == found.flip == math.inf
    assert (found.binding, found.flips_to) == (-1, -1)
    assert categorical.hilbert_distance(teacher, teacher) == 0
    np.testing.assert_array_equal(categorical.ratio(teacher, teacher, 3.0), np.ones(len(teacher)))


@given(labelled_rows(), st.sampled_from(MODES))
def test_without_a_clip_there_is_no_threshold(case: tuple[Pair, list[int] | None], mode: Any) -> None:
    pair, classes = case
    found = categorical.threshold(*pair, math.inf, classes=classes, mode=mode)
    assert found.value == found.lower == found.upper == math.inf
    assert (found.binding, bool(found.converged)) == (-1, True)


@given(token_rows())
def test_the_tightest_clip_has_its_threshold_at_one(pair: Pair) -> None:
    found = categorical.threshold(*pair, 1.0)
    same = np.ptp(log_ratios(pair)[existing(pair)]) == 0
    assert found.value == found.lower == found.upper == (math.inf if same else 1.0)


@given(token_rows(), open_clips, floors, floors, st.sampled_from(("token", "class")))
def test_threshold_grows_with_the_floor(pair: Pair, c: float, first: float, second: float, mode: Any) -> None:
    low, high = (categorical.threshold(*pair, c, min_mass=min_mass, mode=mode) for min_mass in sorted((first, second)))
    assume(bool(low.converged))
    assert at_most(low.value, pair, c, min_mass=max(first, second), mode=mode)
    assert high.binding < 0 or teacher_of(pair)[high.binding] >= max(first, second) * (1 - 8 * EPS * depth(pair))


@given(token_rows(fewest=3), open_clips, st.data())
def test_a_negative_class_keeps_a_token_from_binding_but_not_from_the_sums(
    pair: Pair, c: float, data: st.DataObject
) -> None:
    first = categorical.threshold(*pair, c)
    assume(distinct(log_ratios(pair)[existing(pair)]) and first.binding >= 0)
    classes = [-1 if token == first.binding else 0 for token in range(len(pair[0]))]
    second = categorical.threshold(*pair, c, classes=classes)
    r = np.where(existing(pair), log_ratios(pair), math.inf)
    r[first.binding] = math.inf
    runner_up = int(np.argmin(r))
    assert second.value >= first.value * (1 - 4 * EPS)
    assert second.binding in ((runner_up, -1) if second.value == math.inf else (runner_up,))
    assume(second.value < math.inf)
    ratios = categorical.ratio(*pair, second.value)
    assert ratios[runner_up] == pytest.approx(c, rel=max(1e-12, 8 * EPS * size(pair, second.value)))


# A modal token that is named


@given(labelled_rows(), open_clips, st.sampled_from(MODES), floors)
def test_naming_the_most_probable_token_changes_nothing(
    case: tuple[Pair, list[int] | None], c: float, mode: Any, min_mass: float
) -> None:
    pair, classes = case
    found = categorical.threshold(*pair, c, classes=classes, mode=mode, min_mass=min_mass)
    named = categorical.threshold(*pair, c, classes=classes, mode=mode, min_mass=min_mass, modal=found.modal)
    assert values(named) == values(found)


@given(token_rows(), open_clips, st.data())
def test_a_named_modal_token_is_an_outcome_and_a_class_of_its_own(pair: Pair, c: float, data: st.DataObject) -> None:
    own = data.draw(st.sampled_from(list(np.flatnonzero(existing(pair)))))
    # The class of the modal token may not bind; which one that is, the name decides, not the mass.
    labels = [int(token != own) for token in range(len(pair[0]))]
    for mode in ("bernoulli", "class"):
        named = categorical.threshold(*pair, c, modal=own, mode=mode)
        labelled = categorical.threshold(*pair, c, modal=own, classes=labels, mode=mode)
        assume(bool(named.converged and labelled.converged))
        assert agrees(named.value, pair, c, modal=own, classes=labels, mode=mode)
        assert named.modal == labelled.modal == own
    token, plain = categorical.threshold(*pair, c, modal=own), categorical.threshold(*pair, c)
    # The name moves the ceiling, and with it the way to the root, but not the root.
    assert (token.binding, token.lower) == (plain.binding, plain.lower)
    assert agrees(token.value, pair, c)
    assert token.value <= token.upper * (1 + 2 * EPS)


@settings(max_examples=10)  # the oracle's scan for the first crossing is slow
@given(token_rows(), open_clips, st.integers(0, 11))
@example((np.array([-9.2, -1.2, -0.1, -2.1]), np.array([-11.8, -3.3, -1.8, -2.1])), 1.001, 0)
@example((log(0.6, 0.3, 0.1), log(0.6, 0.1, 0.3)), 2.0, 1)
def test_a_named_modal_token_against_the_oracle(pair: Pair, c: float, place: int) -> None:
    assume(resolved(pair))
    tokens = [int(token) for token in np.flatnonzero(existing(pair))]
    own = tokens[place % len(tokens)]
    found = categorical.threshold(*pair, c, modal=own, mode="class")
    labels = [int(token != own) for token in range(len(pair[0]))]
    lam, log_c = float(found.value), oracle.CONTEXT.log(oracle.real(c))
    pad = EPS * lam if lam < math.inf else 0.0
    move = 4 * EPS * (size(pair, lam if lam < math.inf else 1) + depth(pair))
    assert lam - pad <= 1 + oracle.class_excess(*pair, log_c + move, labels, modal=own)
    earliest = 1 + (oracle.class_excess(*pair, log_c - move, labels, modal=own) if move < log_c else 0)
    assert found.upper + pad >= earliest
    assert not found.converged or lam + pad >= earliest


def peak_of_the_rest(pair: Pair) -> tuple[float, float]:
    """The λ−1 at which the ratio of all tokens but the first, (1−p)(1 + M/S), is greatest, and its logarithm there."""
    r, z = log_ratios(pair) - log_ratios(pair)[0], pair[0] - pair[0][0]

    def slope(excess: float) -> float:
        power = z[1:] + excess * r[1:]
        return -float(np.average(r[1:], weights=np.exp(power - power.max())))

    if slope(0.0) <= 0 or np.max(r) <= 1e-2:
        return 0.0, 0.0
    end = 1.0
    while slope(end) > 0:
        end *= 2
    place = float(brentq(slope, 0.0, end, xtol=1e-14, rtol=1e-14))
    return place, log_ratio_of_the_rest(pair, place)


def log_ratio_of_the_rest(pair: Pair, excess: float) -> float:
    r, z = log_ratios(pair) - log_ratios(pair)[0], pair[0] - pair[0][0]
    rest = float(np.exp(z[1:]).sum())
    return math.log(rest / (1 + rest)) + math.log1p(1 / float(np.exp(z[1:] + excess * r[1:]).sum()))


@given(st.integers(0, 2**32 - 1), st.sampled_from((0.3, 1e-2, 1e-4)))
def test_the_search_stops_short_of_a_peak_above_the_clip_and_passes_one_below(seed: int, distance: float) -> None:
    rng = np.random.default_rng(seed)
    teacher = -rng.uniform(0, 10, (60, 4))
    base = teacher - rng.uniform(-3, 3, (60, 4))
    peaks = [peak_of_the_rest(pair) for pair in zip(teacher, base, strict=True)]
    chosen = [row for row, (_, top) in enumerate(peaks) if top > 0.1]
    assume(bool(chosen))
    places, tops = np.array(peaks)[chosen].T
    teacher, base = teacher[chosen], base[chosen]
    below, above = (
        categorical.threshold(teacher, base, np.exp(tops * (1 + sign * distance)), modal=0, mode="class")
        for sign in (-1, 1)
    )
    assert np.all(below.value <= 1 + places)
    assert np.all(above.value[above.converged] == math.inf)
    for row in np.flatnonzero(below.converged):
        reached = log_ratio_of_the_rest((teacher[row], base[row]), float(below.value[row]) - 1)
        assert reached == pytest.approx(tops[row] * (1 - distance), rel=1e-9)
    assert np.all(below.converged)
    assert distance < 1e-3 or np.all(above.converged)


@given(token_rows(), st.data())
def test_a_named_modal_token_flips_where_another_has_more_mass(pair: Pair, data: st.DataObject) -> None:
    assume(resolved(pair) and distinct(pair[0][existing(pair)] + 30))
    own = data.draw(st.sampled_from(list(np.flatnonzero(existing(pair)))))
    found = categorical.threshold(*pair, 2.0, modal=own)
    if own != np.argmax(pair[0]):
        assert found.flip == 1
        assert pair[0][found.flips_to] > pair[0][own]
        return
    assert found.flip == categorical.flip_point(*pair)


def test_modal_tokens_come_one_for_all_or_one_per_position() -> None:
    rows = (np.tile(TEACHER[0], (3, 1)), np.tile(BASE[0], (3, 1)))
    found = categorical.threshold(*rows, 2.0, modal=[0, 3, 1], mode="bernoulli")
    np.testing.assert_array_equal(found.modal, [0, 3, 1])
    for place, modal in enumerate((0, 3, 1)):
        same(pick(found, place), categorical.threshold(TEACHER[0], BASE[0], 2.0, modal=modal, mode="bernoulli"))
    mixed = categorical.threshold(TEACHER[0], BASE[0], 2.0, modal=np.array([0, 3, 1]), mode="bernoulli")
    same(mixed, found)


@pytest.mark.parametrize("mode", MODES)
def test_a_modal_token_must_be_one_of_the_row(mode: Any) -> None:
    zeros = np.zeros((2, 3))
    for bad in (-1, 3):
        with pytest.raises(ValueError, match=rf"^modal must lie in \[0, 2\], got {bad}\.0 at index 1$"):
            categorical.threshold(zeros, zeros, 2.0, modal=[0, bad], mode=mode)
    with pytest.raises(ValueError, match=r"^modal must be the index of a token, got a fraction at index \(1, 0\)$"):
        categorical.threshold(zeros, zeros, 2.0, modal=[0, 0.5], mode=mode)


# Divergences


@given(token_rows(), orders, st.floats(0.0, 3.0))
def test_renyi_divergence_grows_with_its_order(pair: Pair, order: float, more: float) -> None:
    allowed = 16 * EPS * (1 + depth(pair) + depth(pair[::-1]) + np.ptp(log_ratios(pair)) * (1 + order + more))
    assert categorical.renyi(*pair, order) <= categorical.renyi(*pair, order + more) + allowed


@given(token_rows(), orders)
def test_renyi_divergence_is_never_negative(pair: Pair, order: float) -> None:
    assert categorical.renyi(*pair, order) >= 0


@given(token_rows())
def test_renyi_divergence_of_order_one_is_that_of_kullback_and_leibler(pair: Pair) -> None:
    mass, base = teacher_of(pair), teacher_of(pair[::-1])
    here = existing(pair)
    expected = math.fsum(mass[here] * (np.log(mass[here]) - np.log(base[here])))
    allowed = 16 * EPS * (1 + depth(pair) + depth(pair[::-1]))
    at_one = categorical.renyi(*pair, 1.0)
    assert at_one == pytest.approx(expected, abs=allowed)
    for order in (1 - 1e-9, 1 + 1e-9):
        slope = float(np.ptp(log_ratios(pair))) ** 2  # dD/dα is at most the variance of the log-ratios
        assert categorical.renyi(*pair, order) == pytest.approx(at_one, abs=allowed + 1e-9 * slope)


@given(token_rows(), st.floats(1.1, 20.0))
def test_threshold_solves_the_equation_of_the_renyi_divergence(pair: Pair, c: float) -> None:
    found = categorical.threshold(*pair, c)
    assume(found.value < 1e6)
    mass, base = (np.log(teacher_of(rows)[existing(pair)]) for rows in (pair, pair[::-1]))
    lam = float(found.value)
    left = (lam - 1) * (categorical.renyi(*pair, lam) + np.max(base - mass))
    assert left == pytest.approx(math.log(c), abs=64 * EPS * lam * (1 + depth(pair) + depth(pair[::-1])))


# Rows of which some tokens are hidden


@st.composite
def hidden_rows(draw: st.DrawFn) -> tuple[Pair, int]:
    """Normalised rows, and how many of their last tokens are hidden; what is hidden is no rounding error."""
    count = draw(st.integers(3, 10))
    weights = st.lists(st.floats(-9.0, 0.0), min_size=count, max_size=count)
    rows = [np.array(draw(weights)) for _ in range(2)]
    teacher, base = (row - np.log(np.exp(row).sum()) for row in rows)
    return (teacher, base), draw(st.integers(1, count - 2))


@given(hidden_rows(), st.floats(1.1, 20.0))
def test_completed_rows_enclose_the_token_threshold(case: tuple[Pair, int], c: float) -> None:
    (teacher, base), hidden = case
    known = len(teacher) - hidden
    r = (teacher - base)[known:]
    seen = (teacher[:known], base[:known])
    labels = [0] * known + [-1] * hidden
    true = categorical.threshold(teacher, base, c, classes=labels)
    assume(np.max((teacher - base)[:known]) > np.min((teacher - base)[:known]) + 1e-3)
    merged = categorical.threshold(*categorical.with_unlisted(*seen), c, classes=[0] * known + [-1])
    spread = categorical.threshold(
        *categorical.with_unlisted(*seen, float(r.min()), float(r.max())), c, classes=[0] * known + [-1, -1]
    )
    assert spread.value <= true.value * (1 + 1e-9)
    assert true.value <= merged.value * (1 + 1e-9)
    assert all((spread.converged, true.converged, merged.converged))


@given(hidden_rows(), st.floats(1.1, 20.0))
def test_completed_rows_enclose_the_threshold_of_a_class_that_holds_the_rest(case: tuple[Pair, int], c: float) -> None:
    (teacher, base), hidden = case
    known = len(teacher) - hidden
    modal = int(np.argmax(teacher[:known]))
    r = (teacher - base)[known:]
    seen = (teacher[:known], base[:known])

    def of(rows: Pair) -> Threshold:
        classes = [int(token != modal) for token in range(len(rows[0]))]
        rest = np.exp(rows[0][np.array(classes) == 1]).sum()
        assume(rows[0][modal] >= np.max(rows[0]) and rest > 0)
        return categorical.threshold(*rows, c, classes=classes, mode="class")

    true, merged = of((teacher, base)), of(categorical.with_unlisted(*seen))
    spread = of(categorical.with_unlisted(*seen, float(r.min()), float(r.max())))
    assume(bool(spread.converged and true.converged and merged.converged))
    # Past 1e9 a threshold is made of log-ratios that differ by rounding.
    assert min(merged.value, 1e9) <= true.value * (1 + 1e-9)
    assert min(true.value, 1e9) <= spread.value * (1 + 1e-9)


@given(hidden_rows())
def test_completed_rows_hold_what_was_missing(case: tuple[Pair, int]) -> None:
    (teacher, base), hidden = case
    known = len(teacher) - hidden
    seen = (teacher[:known], base[:known])
    r = (teacher - base)[known:]
    merged = categorical.with_unlisted(*seen)
    for row, whole in zip(merged, (teacher, base), strict=True):
        np.testing.assert_array_equal(row[:known], whole[:known])
        np.testing.assert_allclose(np.exp(row[known]), np.exp(whole[known:]).sum(), rtol=1e-10, atol=4 * EPS)
    spread = categorical.with_unlisted(*seen, float(r.min()), float(r.max()))
    for row in spread:
        np.testing.assert_array_equal(row.shape, known + 2)
        assert np.exp(row).sum() == pytest.approx(1, abs=1e-12)
    for place, end in ((known, r.min()), (known + 1, r.max())):
        if spread[1][place] > math.log(1e-6):
            assert spread[0][place] - spread[1][place] == pytest.approx(end, abs=1e-8)


# The clipped student


@given(token_rows(), st.floats(1.01, 20.0), st.floats(0.0, 1.0))
def test_a_student_short_of_the_threshold_is_the_fixed_point(pair: Pair, c: float, part: float) -> None:
    found = categorical.threshold(*pair, c)
    lam = 1 + part * (min(float(found.value), 1e6) - 1)
    student, fixed = categorical.stationary_student(*pair, c, lam), categorical.fixed_point(*pair, lam)
    np.testing.assert_allclose(np.exp(student), np.exp(fixed), rtol=0, atol=16 * EPS * (size(pair, lam) + depth(pair)))


@given(token_rows(), st.floats(1.01, 20.0))
def test_the_binding_token_sinks_from_the_clip_edge_to_nothing(pair: Pair, c: float) -> None:
    assume(distinct(log_ratios(pair)[existing(pair)]))
    found = categorical.threshold(*pair, c)
    assume(found.value < 1e6)
    token, mass = int(found.binding), teacher_of(pair)
    y, others = log_ratios(pair) - log_ratios(pair)[found.binding], np.arange(len(mass)) != found.binding

    def rest(excess: float) -> float:
        """The ratio of the binding token without its own mass: past c nothing holds the token."""
        return float(np.log(mass[others] @ np.exp(excess * y[others])) - math.log(c))

    start = float(found.value) - 1
    end = start
    while rest(end) < 0:
        end *= 1.5
    end = brentq(rest, start * (1 - 1e-12), end, xtol=1e-15 * end, rtol=4 * EPS) if end > start else start
    at = [
        float(np.exp(categorical.stationary_student(*pair, c, 1 + excess)[token]))
        for excess in (start, end * (1 + 1e-6), 2 * end)
    ]
    allowed = 64 * EPS * (size(pair, 1 + end) + depth(pair))
    assert at[0] == pytest.approx(mass[token] / c, abs=allowed)
    assert at[1] == at[2] == 0
    between = [
        float(np.exp(categorical.stationary_student(*pair, c, 1 + start + part * (end - start))[token]))
        for part in (0.0, 0.25, 0.5, 0.75, 1 - 1e-9)
    ]
    assert np.all(np.diff(between) <= allowed)
    assert between[-1] <= allowed + 1e-6 * mass[token]


@given(token_rows(), st.floats(1.01, 20.0), st.floats(1.0, 6.0))
def test_a_clipped_student_changes_with_lambda_without_jumps(pair: Pair, c: float, lam: float) -> None:
    assume(distinct(log_ratios(pair)[existing(pair)]))
    rates = []
    for step in (1e-5, 1e-7):
        near = [np.exp(categorical.stationary_student(*pair, c, lam + sign * step)) for sign in (-1, 1)]
        rates.append(float(np.max(np.abs(near[1] - near[0]))))
    # A jump would not shrink with the step.
    assert rates[1] <= max(0.5 * rates[0], 1e-9)


@given(token_rows(), lams)
def test_without_a_clip_the_student_is_the_fixed_point(pair: Pair, lam: float) -> None:
    student, fixed = categorical.stationary_student(*pair, math.inf, lam), categorical.fixed_point(*pair, lam)
    np.testing.assert_allclose(student, fixed, rtol=0, atol=16 * EPS * (size(pair, lam) + depth(pair)))


# Shapes, dtypes and blocks

RNG = np.random.default_rng(20)
TEACHER = np.round(RNG.normal(size=(6, 5)) * 2, 3)
BASE = np.round(RNG.normal(size=(6, 5)) * 2, 3)
MASKED, MASKED_BASE = TEACHER.copy(), BASE.copy()
MASKED[1, 2] = MASKED_BASE[1, 2] = MASKED[4, 0] = MASKED_BASE[4, 0] = -math.inf
LABELS = [0, 1, -1, 1, 2]

OF_ROWS: dict[str, Callable[..., Any]] = {
    "token": lambda t, b, **o: categorical.threshold(t, b, 2.0, **o),
    "min_mass": lambda t, b, **o: categorical.threshold(t, b, 2.0, min_mass=0.02, **o),
    "class": lambda t, b, **o: categorical.threshold(t, b, 2.0, mode="class", **o),
    "classes": lambda t, b, **o: categorical.threshold(t, b, 2.0, mode="class", classes=LABELS, **o),
    "bernoulli": lambda t, b, **o: categorical.threshold(t, b, 2.0, mode="bernoulli", **o),
    "lower": lambda t, b, **o: categorical.threshold(t, b, 2.0, **o).lower,
    "renyi": lambda t, b, **o: categorical.renyi(t, b, 1.5, **o),
    "hilbert_distance": categorical.hilbert_distance,
    "flip_point": categorical.flip_point,
}
OF_TOKENS: dict[str, Callable[..., Any]] = {
    "fixed_point": lambda t, b, **o: categorical.fixed_point(t, b, 1.5, **o),
    "ratio": lambda t, b, **o: categorical.ratio(t, b, 1.5, **o),
    "stationary_student": lambda t, b, **o: categorical.stationary_student(t, b, 2.0, 1.5, **o),
    "with_unlisted": lambda t, b, **o: categorical.with_unlisted(t - 9.0, b - 9.0, -1.0, 1.0, **o),
}
ALL = OF_ROWS | OF_TOKENS


def parts(found: Any) -> dict[str, Any]:
    """The arrays of a result, by name."""
    if isinstance(found, Threshold):
        return values(found)
    return dict(zip(("log_t", "log_b"), found, strict=True)) if isinstance(found, tuple) else {"": found}


def same(found: Any, expected: Any, rtol: float = 8 * EPS, skip: tuple[str, ...] = ("steps",)) -> None:
    """Equal shapes, dtypes and values; the last digits may depend on how sums are split."""
    for (name, one), other in zip(parts(found).items(), parts(expected).values(), strict=True):
        assert (np.shape(one), one.dtype) == (np.shape(other), other.dtype), name
        if name not in skip:
            np.testing.assert_allclose(one, other, rtol=rtol, atol=rtol, err_msg=name)


def pick(found: Any, index: Any) -> Any:
    """The same result for some of the positions."""
    if isinstance(found, Threshold):
        return Threshold(**{name: array[index] for name, array in values(found).items()})
    return tuple(array[index] for array in found) if isinstance(found, tuple) else found[index]


@pytest.mark.parametrize("name", ALL)
def test_one_position_gives_single_values(name: str) -> None:
    many = ALL[name](TEACHER, BASE)
    for index in range(len(TEACHER)):
        same(ALL[name](TEACHER[index], BASE[index]), pick(many, index))
    single = parts(OF_ROWS["token"](TEACHER[0], BASE[0]))
    assert all(isinstance(value, np.generic) for value in single.values())


@pytest.mark.parametrize("name", ALL)
def test_results_keep_the_leading_shape(name: str) -> None:
    flat = ALL[name](TEACHER, BASE)
    grid = ALL[name](TEACHER.reshape(2, 3, 5), BASE.reshape(2, 3, 5))
    for (key, one), other in zip(parts(grid).items(), parts(flat).values(), strict=True):
        assert one.shape == (2, 3, *other.shape[1:]), key
        np.testing.assert_array_equal(one.reshape(other.shape), other, err_msg=key)


@pytest.mark.parametrize("name", ALL)
def test_no_position_is_no_error(name: str) -> None:
    for shape, leading in (((0, 5), (0,)), ((2, 0, 5), (2, 0))):
        found = ALL[name](np.zeros(shape), np.zeros(shape))
        assert all(array.shape[: len(leading)] == leading for array in parts(found).values())


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3])
@pytest.mark.parametrize("name", ALL)
def test_tokens_may_lie_along_any_axis(name: str, axis: int) -> None:
    grids = [rows.reshape(2, 3, 5) for rows in (TEACHER, BASE)]
    expected = ALL[name](*grids)
    found = ALL[name](*(np.moveaxis(grid, -1, axis) for grid in grids), axis=axis)
    if name in OF_ROWS:
        same(found, expected)
    else:
        for one, other in zip(parts(found).values(), parts(expected).values(), strict=True):
            np.testing.assert_allclose(np.moveaxis(one, axis, -1), other, rtol=8 * EPS, atol=8 * EPS)


@pytest.mark.parametrize("name", ALL)
def test_one_row_broadcasts_against_many(name: str) -> None:
    same(ALL[name](TEACHER, BASE[0]), ALL[name](TEACHER, np.tile(BASE[0], (6, 1))))
    same(ALL[name](TEACHER[0], BASE), ALL[name](np.tile(TEACHER[0], (6, 1)), BASE))
    outer = ALL[name](TEACHER[:, None, :], BASE[None, :, :])
    same(pick(outer, (2, 3)), ALL[name](TEACHER[2], BASE[3]))


def test_every_position_may_have_its_own_numbers() -> None:
    c, min_mass, lam = np.array([1.5, 2, 3, 4, 5, math.inf]), np.array([0, 0.1, 0, 0.2, 0.05, 0]), np.linspace(-1, 4, 6)
    found: dict[str, Any] = {
        "threshold": categorical.threshold(TEACHER, BASE, c, min_mass=min_mass),
        "class": categorical.threshold(TEACHER, BASE, c, min_mass=min_mass, mode="class"),
        "bernoulli": categorical.threshold(TEACHER, BASE, c, min_mass=min_mass, mode="bernoulli"),
        "lower": categorical.threshold(TEACHER, BASE, c, min_mass=min_mass).lower,
        "fixed_point": categorical.fixed_point(TEACHER, BASE, lam),
        "ratio": categorical.ratio(TEACHER, BASE, lam),
        "renyi": categorical.renyi(TEACHER, BASE, c[:1]),
        "stationary_student": categorical.stationary_student(TEACHER, BASE, c, lam),
        "with_unlisted": categorical.with_unlisted(TEACHER - 9, BASE - 9, -min_mass, lam + 1),
    }
    for index in range(5):
        t, b, f = TEACHER[index], BASE[index], min_mass[index]
        for name, mode in (("threshold", "token"), ("class", "class"), ("bernoulli", "bernoulli")):
            single = categorical.threshold(t, b, c[index], min_mass=f, mode=mode)  # type: ignore[arg-type]
            same(pick(found[name], index), single, skip=("steps", "upper"))
        same(pick(found["lower"], index), categorical.threshold(t, b, c[index], min_mass=f).lower)
        same(pick(found["fixed_point"], index), categorical.fixed_point(t, b, lam[index]))
        same(pick(found["ratio"], index), categorical.ratio(t, b, lam[index]))
        same(pick(found["renyi"], index), categorical.renyi(t, b, c[0]))
        same(pick(found["stationary_student"], index), categorical.stationary_student(t, b, c[index], lam[index]))
        same(pick(found["with_unlisted"], index), categorical.with_unlisted(t - 9, b - 9, -f, lam[index] + 1))


def test_lists_and_integers_are_logits_too() -> None:
    whole = [[0, -1, -3], [0, -2, 1]]
    expected = categorical.threshold(np.array(whole[0], float), np.array(whole[1], float), 2.0)
    same(categorical.threshold(whole[0], whole[1], 2), expected)
    same(categorical.threshold(np.array(whole[0]), np.array(whole[1]), 2.0), expected)
    small = np.array(whole, dtype=np.int8)
    same(categorical.threshold(small[0], small[1], 2.0), expected)


@pytest.mark.parametrize("name", ALL)
def test_half_precision_is_read_and_single_precision_returned(name: str) -> None:
    halves = [rows.astype(np.float16) for rows in (TEACHER, BASE)]
    singles = [half.astype(np.float32) for half in halves]
    found, expected = (parts(ALL[name](*rows)) for rows in (halves, singles))
    for key, one in found.items():
        if name == "with_unlisted":  # the difference of 9 is taken in half precision
            assert one.dtype == np.float32
            continue
        np.testing.assert_array_equal(one, expected[key], err_msg=key)
        assert one.dtype == expected[key].dtype != np.float64


@given(st.integers(0, 2**32 - 1), st.sampled_from((1e-6, 1e-3, 1.0, 5.0)), st.sampled_from((1.001, 1.1, 2.0, 5.0, 1e3)))
def test_single_precision_is_as_good_as_its_digits(seed: int, scale: float, c: float) -> None:
    rng = np.random.default_rng(seed)
    teacher = rng.normal(size=(20, int(rng.integers(2, 40)))).astype(np.float32) * 3
    base = (teacher - scale * rng.normal(size=teacher.shape)).astype(np.float32)
    ways: tuple[dict[str, Any], ...] = ({}, {"min_mass": 0.01}, {"mode": "class"}, {"mode": "bernoulli"})
    for options in ways:
        found = categorical.threshold(teacher, base, c, **options)
        exact = categorical.threshold(teacher.astype(float), base.astype(float), c, **options)
        np.testing.assert_array_equal(found.binding, exact.binding)
        for name in ("value", "lower", "flip"):
            one, other = getattr(found, name), getattr(exact, name)
            assert one.dtype == np.float32
            finite = np.isfinite(other)
            np.testing.assert_array_equal(one[~finite], other[~finite])
            allowed = 1e-5 * (other[finite] - 1) + 2.0**-23 * other[finite]  # a float32 near 1 holds 1 + x, not x
            assert np.all(np.abs(one[finite] - other[finite]) <= allowed), (name, options)


@pytest.mark.parametrize(("scale", "c"), [(1e-5, 2.0), (3.0, 1.001)])
def test_rows_too_delicate_for_single_precision_are_computed_in_double(scale: float, c: float) -> None:
    teacher = (RNG.normal(size=(50, 9)) * 3).astype(np.float32)
    base = (teacher - scale * RNG.normal(size=teacher.shape)).astype(np.float32)
    found, exact = (categorical.threshold(teacher.astype(kind), base.astype(kind), c) for kind in (np.float32, float))
    np.testing.assert_array_equal(found.value, exact.value.astype(np.float32))
    np.testing.assert_array_equal(found.steps, exact.steps)


def test_ordinary_rows_in_single_precision_stay_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def spy(xp: Any, log_t: Any, *rest: Any) -> Any:
        seen.append(log_t.dtype)
        return prepare(xp, log_t, *rest)

    monkeypatch.setattr("lambda_star.categorical._threshold.prepare", spy)
    categorical.threshold(TEACHER.astype(np.float32), BASE.astype(np.float32), 5.0)
    assert seen == [np.float32]


@pytest.mark.parametrize("name", ALL)
def test_a_row_with_nan_is_unknown_and_spoils_no_other(name: str) -> None:
    for place, rows in ((0, MASKED), (1, MASKED_BASE)):
        pair = [MASKED.copy(), MASKED_BASE.copy()]
        pair[place][2, 3] = math.nan
        found, expected = ALL[name](*pair), ALL[name](MASKED, MASKED_BASE)
        others = np.arange(len(rows)) != 2
        same(pick(found, others), pick(expected, others))
        row = pick(found, 2)
        if isinstance(row, Threshold):
            assert all(math.isnan(getattr(row, field)) for field in ("value", "lower", "upper", "flip"))
            assert (row.binding, row.flips_to, bool(row.converged)) == (-1, -1, False)
        elif name != "with_unlisted":
            assert np.all(np.isnan(row))
        else:
            assert np.all(np.isnan(row[place][5:]))


@pytest.mark.parametrize("name", list(OF_ROWS))
def test_a_row_with_nan_is_not_looked_at_any_further(name: str) -> None:
    for teacher, base in (
        ([0.0, math.nan, -1.0, 0.0, 0.0], [0.0, 0.0, -math.inf, 0.0, 0.0]),
        ([0.0, -math.inf, 0.0, 0.0, 0.0], [0.0, -1.0, math.nan, 0.0, 0.0]),
        ([-math.inf] * 5, [math.nan] * 5),
    ):
        found = OF_ROWS[name](np.array(teacher), np.array(base))
        assert math.isnan(found.value if isinstance(found, Threshold) else found)


@pytest.mark.parametrize("mode", MODES)
def test_a_clip_that_is_nan_gives_nan(mode: Any) -> None:
    found = categorical.threshold(TEACHER, BASE, [2.0, math.nan, 2.0, 2.0, 2.0, 2.0], mode=mode)
    assert math.isnan(found.value[1])
    assert not found.converged[1]
    same(pick(found, 0), categorical.threshold(TEACHER[0], BASE[0], 2.0, mode=mode))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", ALL)
def test_many_blocks_give_what_single_rows_give(name: str, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    teacher, base = (rng.normal(size=(41, 5)) * 2 for _ in range(2))
    teacher[::7, 3] = base[::7, 3] = -math.inf
    teacher[20], base[20] = 0.0, 0.0
    single = [ALL[name](*rows) for rows in zip(teacher, base, strict=True)]
    monkeypatch.setattr(row_engine, "ROWS_BLOCK_CPU", 15)
    monkeypatch.setattr(row_engine, "cpus", lambda: threads)
    found = ALL[name](teacher, base)
    for index, expected in enumerate(single):
        same(pick(found, index), expected, skip=("steps", "upper"))
    kinds = {key: array.dtype for key, array in parts(found).items()}
    assert kinds == {key: array.dtype for key, array in parts(single[0]).items()}


def test_a_row_does_not_depend_on_its_company() -> None:
    # The modal token of the last row binds although the mean log-ratio is below its own: no ceiling by Jensen.
    teacher = np.vstack([TEACHER, log(0.96, 0.01, 0.01, 0.01, 0.01)])
    base = np.vstack([BASE, teacher[6] - [0.0, 2.0, -60.0, -60.0, -60.0]])
    alone, together = OF_ROWS["min_mass"](TEACHER, BASE), OF_ROWS["min_mass"](teacher, base)
    assert (together.binding[6], together.value[6] < math.inf) == (0, True)
    same(pick(together, slice(0, 6)), alone)


# Errors


def rows_with(value: float, place: tuple[int, ...], shape: tuple[int, ...]) -> Floats:
    rows = np.zeros(shape)
    rows[place] = value
    return rows


@pytest.mark.parametrize("name", ALL)
def test_a_log_probability_of_plus_infinity_is_refused(name: str) -> None:
    bad, good = rows_with(math.inf, (1, 2), (3, 5)), np.zeros((3, 5))
    with pytest.raises(ValueError, match=r"^log_t must .*, got inf at index \(1, 2\)$"):
        ALL[name](bad, good)
    with pytest.raises(ValueError, match=r"^log_b must .*, got inf at index \(1, 2\)$"):
        ALL[name](good, bad)


@pytest.mark.parametrize("name", [name for name in ALL if name != "with_unlisted"])
def test_what_one_model_cannot_produce_is_refused(name: str) -> None:
    bad, good = rows_with(-math.inf, (1, 2), (3, 5)), np.zeros((3, 5))
    with pytest.raises(ValueError, match=r"^log_b must be above -inf where log_t is, got -inf: .* at index \(1, 2\)$"):
        ALL[name](good, bad)
    empty = np.zeros((3, 5))
    empty[2] = -math.inf
    with pytest.raises(ValueError, match=r"^log_t must have a token above -inf, got none at index \(2, 0\)$"):
        ALL[name](empty, good)


@pytest.mark.parametrize("name", ["token", "lower", "renyi", "hilbert_distance", "flip_point", *OF_TOKENS])
def test_what_only_the_base_can_produce_is_refused_where_it_might_bind(name: str) -> None:
    bad, good = rows_with(-math.inf, (1, 2), (3, 5)), np.zeros((3, 5))
    if name == "with_unlisted":
        assert ALL[name](bad, good)[0][1, 2] == -math.inf
        return
    with pytest.raises(ValueError, match=r"^log_t must be above -inf where log_b is, got -inf: .* at index \(1, 2\)$"):
        ALL[name](bad, good)


@given(token_rows(fewest=3, masks=False), open_clips, st.integers(0, 2), st.sampled_from(("token", "class")))
def test_what_only_the_base_can_produce_counts_for_nothing_where_it_may_not_bind(
    pair: Pair, c: float, token: int, mode: Any
) -> None:
    only_base = (np.where(np.arange(len(pair[0])) == token, -math.inf, pair[0]), pair[1])
    masked = (only_base[0], np.where(np.arange(len(pair[0])) == token, -math.inf, pair[1]))
    labels = [-1 if k == token else int(k == np.argmax(only_base[0])) for k in range(len(pair[0]))]
    ways = [{"min_mass": 1e-13}, {"classes": labels}] + ([{}] if mode == "class" else [])
    for options in ways:
        found = categorical.threshold(*only_base, c, mode=mode, **options)  # type: ignore[arg-type]
        expected = categorical.threshold(*masked, c, mode=mode, **options)  # type: ignore[arg-type]
        assert found.value == expected.value
        assert (found.binding, found.modal) == (expected.binding, expected.modal)


@given(token_rows(fewest=3, masks=False), st.floats(1.1, 20.0))
def test_two_outcomes_merge_what_only_the_base_can_produce(pair: Pair, c: float) -> None:
    teacher = pair[0].copy()
    teacher[np.argmin(teacher)] = -math.inf
    found = categorical.threshold(teacher, pair[1], c, mode="bernoulli")
    exact = 1 + oracle.merged_excess(teacher, pair[1], c, [int(np.argmax(teacher))])
    assume(exact < 1e6)
    noise = 16 * EPS * float(exact) * (1 + depth((pair[0], pair[1])) + depth(pair[::-1]))
    assert found.value == pytest.approx(float(exact), rel=noise / math.log(c) * float(exact))


def test_a_tail_that_only_the_base_can_produce_vanishes_at_once() -> None:
    rows = np.array([0.0, -math.inf, -math.inf]), np.array([0.0, -1.0, -2.0])
    assert categorical.threshold(*rows, 5.0, mode="bernoulli").value == 1
    assert categorical.threshold(*rows, 5.0, mode="bernoulli", min_mass=0.1).value == math.inf
    assert categorical.threshold(*rows, math.inf, mode="bernoulli").value == math.inf
    assert categorical.threshold(*rows, 5.0, mode="class").value == math.inf


@pytest.mark.parametrize(
    ("classes", "text"),
    [
        ([0, 1], r"^classes must be one integer per token, shape \(3,\), got int64 of shape \(2,\)$"),
        ([[0, 1, 2]], r"^classes must be one integer per token, shape \(3,\), got int64 of shape \(1, 3\)$"),
        ([0.0, 1.0, 2.0], r"^classes must be one integer per token, shape \(3,\), got float64 of shape \(3,\)$"),
        ([True, False, True], r"^classes must be one integer per token, shape \(3,\), got bool of shape \(3,\)$"),
        ([-1, -2, -1], r"^classes must label at least one token from 0 up, got negative labels only$"),
    ],
)
@pytest.mark.parametrize("mode", MODES)
def test_classes_are_one_label_per_token(mode: Any, classes: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        categorical.threshold(np.zeros((2, 3)), np.zeros((2, 3)), 2.0, classes=classes, mode=mode)


def test_numbers_outside_their_range_are_refused_with_value_and_index() -> None:
    zeros = np.zeros((2, 3))
    with pytest.raises(ValueError, match=r"^mode must be one of token, class, bernoulli, got 'tokens'$"):
        categorical.threshold(zeros, zeros, 2.0, mode="tokens")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^c must lie in \[1, inf\], got 0\.5 at index 1$"):
        categorical.threshold(zeros, zeros, [2.0, 0.5])
    for min_mass in (1.0, -0.1, math.inf):
        with pytest.raises(ValueError, match=rf"^min_mass must lie in \[0, 1\), got {min_mass}$"):
            categorical.threshold(zeros, zeros, 2.0, min_mass=min_mass)
    for of_tokens in (categorical.fixed_point, categorical.ratio):
        with pytest.raises(ValueError, match=r"^lam must lie in \(-inf, inf\), got inf$"):
            of_tokens(zeros, zeros, math.inf)
    with pytest.raises(ValueError, match=r"^lam must lie in \(-inf, inf\), got -inf at index 0$"):
        categorical.stationary_student(zeros, zeros, 2.0, [-math.inf, 1.0])
    with pytest.raises(ValueError, match=r"^c must lie in \[1, inf\], got 0\.0$"):
        categorical.stationary_student(zeros, zeros, 0.0, 1.0)
    for order in (0.0, math.inf, -1.0):
        with pytest.raises(ValueError, match=rf"^order must lie in \(0, inf\), got {order}$"):
            categorical.renyi(zeros, zeros, order)
    with pytest.raises(ValueError, match=r"^high must lie in \(-inf, inf\), got inf$"):
        categorical.with_unlisted(zeros - 2, zeros - 2, 0.0, math.inf)


@pytest.mark.parametrize("name", ALL)
def test_rows_need_at_least_one_token(name: str) -> None:
    function = OF_ROWS["class"] if name == "classes" else ALL[name]
    with pytest.raises(ValueError, match=r"^log_t must have at least one token, got shape \(2, 0\) with axis=-1$"):
        function(np.zeros((2, 0)), np.zeros((2, 0)))
    with pytest.raises(ValueError, match=r"^log_t must have at least one token, got shape \(0, 2\) with axis=0$"):
        function(np.zeros((0, 2)), np.zeros((0, 2)), axis=0)


def test_an_empty_list_has_no_token() -> None:
    with pytest.raises(ValueError, match=r"^log_t must have at least one token, got shape \(0,\) with axis=-1$"):
        categorical.threshold([], [], 2.0)


def test_a_single_number_is_no_row() -> None:
    for classes in (None, [0, 1]):
        with pytest.raises(ValueError, match=r"^log_t must have an axis of tokens, got a single number$"):
            categorical.threshold(-1.0, [-1.0, -2.0], 2.0, classes=classes)
        with pytest.raises(ValueError, match=r"^log_b must have an axis of tokens, got a single number$"):
            categorical.threshold([-1.0, -2.0], np.float64(-1.0), 2.0, classes=classes)


@pytest.mark.parametrize("classes", [None, [0, 1, 1]])
def test_an_axis_that_the_rows_do_not_have_is_refused(classes: Any) -> None:
    with pytest.raises(ValueError, match="axis must lie in \\[-1, 0\\], got 1"):
        categorical.threshold(np.zeros(3), np.zeros(3), 2.0, axis=1, classes=classes)


@pytest.mark.parametrize("bad", [np.zeros(3, complex), ["a", "b", "c"], None, [True, False, True]])
def test_what_is_no_real_number_is_a_type_error(bad: Any) -> None:
    with pytest.raises(TypeError, match=r"^log_t must hold real numbers, got dtype"):
        categorical.threshold(bad, np.zeros(3), 2.0)
    with pytest.raises(TypeError, match=r"^log_b must hold real numbers, got dtype"):
        categorical.threshold(np.zeros(3), bad, 2.0)


def test_logits_cannot_be_completed() -> None:
    good, bad = np.full((3, 2), -1.0), np.array([[-1.0, -1.0], [-1.0, -1.0], [-0.5, -0.5]])
    text = r" must be log-probabilities that sum to at most 1\b.* at index \(2, 0\)$"
    with pytest.raises(ValueError, match=r"^log_t" + text):
        categorical.with_unlisted(bad, good)
    with pytest.raises(ValueError, match=r"^log_b" + text):
        categorical.with_unlisted(good, bad)
    rounded_up = np.log(np.array([0.5, 0.5]) * (1 + 1e-7))
    assert categorical.with_unlisted(rounded_up, rounded_up)[0][2] == -math.inf


def test_a_range_of_log_ratios_has_two_ends_in_order() -> None:
    rows = np.full((3, 2), -1.0)
    for low, high in ((0.0, None), (None, 0.0)):
        with pytest.raises(ValueError, match=r"^low and high must be given together, got one of them$"):
            categorical.with_unlisted(rows, rows, low, high)
    with pytest.raises(ValueError, match=r"^low must be at most high\b.* at index \(1, 0\)$"):
        categorical.with_unlisted(rows, rows, [0.0, 1.0, 0.0], 0.5)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("shape", "axis", "place"),
    [
        ((40, 3), -1, (33, 1)),
        ((3, 40), 0, (1, 33)),
        ((5, 8, 3), 2, (4, 1, 2)),
        ((3, 5, 8), 0, (2, 4, 1)),
        ((5, 3, 8), -2, (4, 0, 1)),
    ],
)
def test_errors_name_the_index_in_the_whole_array(
    shape: tuple[int, ...], axis: int, place: tuple[int, ...], threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_engine, "ROWS_BLOCK_CPU", 12)
    monkeypatch.setattr(row_engine, "cpus", lambda: threads)
    index = ", ".join(map(str, place))
    for function in (OF_ROWS["token"], OF_ROWS["class"], OF_TOKENS["ratio"]):
        with pytest.raises(ValueError, match=rf"^log_b must .* got -inf: .* at index \({index}\)$"):
            function(np.zeros(shape), rows_with(-math.inf, place, shape), axis=axis)


def test_the_first_of_several_errors_is_the_one_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_engine, "ROWS_BLOCK_CPU", 12)
    monkeypatch.setattr(row_engine, "cpus", lambda: 2)
    base = np.zeros((40, 3))
    base[12, 2] = base[30, 0] = math.inf
    with pytest.raises(ValueError, match=r"got inf at index \(12, 2\)$"):
        categorical.threshold(np.zeros((40, 3)), base, 2.0)


# Array libraries


class Library(NamedTuple):
    """An array library under test."""

    make: Callable[..., Any]
    dtypes: tuple[str, ...]
    kind: type[Any]


LIBRARIES = {
    "torch": Library(torch.tensor, ("float32", "float64"), torch.Tensor),
    "jax": Library(jnp.asarray, ("float32",), jax.Array),
    "strict": Library(array_api_strict.asarray, ("float32", "float64"), type(array_api_strict.asarray(1.0))),
}
CASES = [
    (name, library, dtype)
    for name in ALL
    for library, one in LIBRARIES.items()
    for dtype in one.dtypes
    if (name, library) != ("classes", "jax")  # every size of a class is compiled anew
]


def check_library(name: str, library: str, dtype: str, pair: Pair) -> None:
    one = LIBRARIES[library]
    rows = [array.astype(dtype) for array in pair]
    found, expected = parts(ALL[name](*map(one.make, rows))), parts(ALL[name](*(row.astype(float) for row in rows)))
    for key, array in found.items():
        assert isinstance(array, one.kind), key
        exact = np.asarray(expected[key])
        assert tuple(array.shape) == exact.shape
        if exact.dtype.kind == "f":
            assert dtype in str(array.dtype)
        if key == "steps":
            continue
        rtol = 1e-12 if dtype == "float64" else 3e-5
        value, exact = np.asarray(array).astype(float), exact.astype(float)
        np.testing.assert_allclose(value, exact, rtol=rtol, atol=rtol / 10, err_msg=key)


@pytest.mark.parametrize(("name", "library", "dtype"), CASES)
def test_same_kind_dtype_and_values_in_every_library(name: str, library: str, dtype: str) -> None:
    check_library(name, library, dtype, (TEACHER, BASE))


@pytest.mark.parametrize(("name", "library", "dtype"), CASES)
def test_masked_tokens_and_unknown_rows_in_every_library(name: str, library: str, dtype: str) -> None:
    teacher = MASKED.copy()
    teacher[3, 1] = math.nan
    check_library(name, library, dtype, (teacher, MASKED_BASE))


@pytest.mark.parametrize("library", LIBRARIES)
def test_errors_and_blocks_in_every_library(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one = LIBRARIES[library]
    teacher, base = (np.tile(rows, (3, 1)).astype(np.float32) for rows in (TEACHER, BASE))
    monkeypatch.setattr(row_engine, "ROWS_BLOCK_CPU", 30)
    found = categorical.threshold(one.make(teacher), one.make(base), 2.0)
    expected = categorical.threshold(TEACHER.astype(np.float32), BASE.astype(np.float32), 2.0)
    np.testing.assert_allclose(np.asarray(found.value), np.tile(expected.value, 3), rtol=1e-5)
    np.testing.assert_array_equal(np.asarray(found.binding), np.tile(expected.binding, 3))
    base[17, 3] = -math.inf
    with pytest.raises(ValueError, match=r"^log_b must .* at index \(17, 3\)$"):
        categorical.threshold(one.make(teacher), one.make(base), 2.0)
    rows, c = one.make(teacher[:6]), one.make(np.array([2, 0.5, 2, 2, 2, 2], np.float32))
    with pytest.raises(ValueError, match=r"^c must lie in \[1, inf\], got 0\.5 at index 1$"):
        categorical.threshold(rows, rows, c)


@pytest.mark.parametrize("library", LIBRARIES)
def test_numbers_per_position_come_as_lists_or_arrays_of_the_library(library: str) -> None:
    one = LIBRARIES[library]
    c = np.array([1.5, 2.0, 3.0, 4.0, 5.0, 9.0], dtype=np.float32)
    rows = (one.make(TEACHER.astype(np.float32)), one.make(BASE.astype(np.float32)))
    expected: Any = categorical.threshold(TEACHER, BASE, c).value
    for clip in (one.make(c), [float(value) for value in c]):
        np.testing.assert_allclose(np.asarray(categorical.threshold(*rows, clip).value), expected, rtol=3e-5)
    labels = one.make(np.array([0, 1, 1, 2, 2]))
    found = categorical.threshold(*rows, 2.0, classes=labels, mode="bernoulli").value
    expected = categorical.threshold(TEACHER, BASE, 2.0, classes=[0, 1, 1, 2, 2], mode="bernoulli").value
    np.testing.assert_allclose(np.asarray(found), expected, rtol=3e-5)


def test_brain_floats_are_read_and_single_precision_returned() -> None:
    rows = (torch.tensor(TEACHER, dtype=torch.bfloat16), torch.tensor(BASE, dtype=torch.bfloat16))
    for function in ALL.values():
        found = parts(function(*rows))
        assert not {torch.bfloat16, torch.float64} & {array.dtype for array in found.values()}
    single = categorical.threshold(*rows, 2.0).value
    double = categorical.threshold(rows[0].double(), rows[1].double(), 2.0).value
    torch.testing.assert_close(single.double(), double, rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", ALL)
def test_no_gradient_flows(name: str) -> None:
    leaves = [torch.tensor(array, requires_grad=True) for array in (TEACHER, BASE)]
    found, expected = parts(ALL[name](*leaves)), parts(ALL[name](*(leaf.detach() for leaf in leaves)))
    for key, array in found.items():
        assert not array.requires_grad
        torch.testing.assert_close(array, expected[key], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("mode", MODES)
def test_no_gradient_flows_from_the_clip_either(mode: Any) -> None:
    clip = torch.tensor(2.0, requires_grad=True)
    found = categorical.threshold(torch.tensor(TEACHER), torch.tensor(BASE), clip, mode=mode)
    assert not found.value.requires_grad
    student = categorical.stationary_student(torch.tensor(TEACHER), torch.tensor(BASE), clip, torch.tensor(1.5))
    assert not student.requires_grad


# The root finder


@given(token_rows(), clips, floors)
@example((np.zeros(5), np.array([0.0, 0.0, 0.0, 0.0, -1.0])), 12777.0, 0.0)
def test_every_token_root_is_found(pair: Pair, c: float, min_mass: float) -> None:
    found = categorical.threshold(*pair, c, min_mass=min_mass)
    assert found.converged
    assert found.steps <= 25


def test_ordinary_roots_take_few_evaluations() -> None:
    rng = np.random.default_rng(8)
    teacher, base = (3 * rng.normal(size=(5_000, 8)) for _ in range(2))
    for c in (1.1, 2.0, 5.0, 100.0):
        found = categorical.threshold(teacher, base, c)
        assert np.all(found.converged)
        assert np.mean(found.steps) <= 3
        whole = categorical.threshold(teacher, base, c, mode="class")
        assert np.mean(whole.converged) >= 0.998
        assert np.mean(whole.steps) <= 8
