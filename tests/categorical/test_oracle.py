"""Thresholds, students and divergences of K tokens against 50-digit references, and two tokens against Eq. 4."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

import lambda_star as ls
from lambda_star import categorical
from lambda_star.categorical import Threshold
from tests import oracle
from tests.categorical.cases import (
    EPS,
    MODES,
    depth,
    distinct,
    existing,
    labels_of,
    lams,
    log,
    log_ratios,
    min_masses,
    orders,
    rel_two,
    resolved,
    size,
    teacher_of,
    two,
)
from tests.strategies import Floats, Pair, labelled_rows, moderate, open_clips, token_rows


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


@given(labelled_rows(), open_clips, min_masses)
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
"""Rows where Newton's step from λ = 1 passes the first crossing and lands where no ratio exceeds the clip any more."""


@given(labelled_rows(), open_clips, min_masses)
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
    tail = [token for token in np.flatnonzero(existing(pair)) if token not in tokens]
    if not tail or not np.any(existing(pair)[tokens]):
        assert found.value == math.inf
        return
    exact = oracle.merged_excess(*pair, c, tokens)
    both = [oracle.probabilities(row) for row in pair]
    masses = [sum(row[k] for k in part) for row in both for part in (tokens, tail)]
    noise = 8 * EPS * float(1 + sum(abs(oracle.CONTEXT.log(mass)) for mass in masses))
    if exact * noise >= math.log(c) / 2:  # the log-odds agree, up to rounding
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
def test_stationary_student_is_where_the_clipped_dynamics_end(pair: Pair, c: float, lam: float) -> None:
    assume(resolved(pair))
    found, exact = np.exp(categorical.stationary_student(*pair, c, lam)), oracle.clipped_student(*pair, c, lam)
    allowed = 16 * EPS * (size(pair, lam) + depth(pair))
    np.testing.assert_allclose(found, np.array(exact, dtype=float), rtol=0, atol=allowed)
    assert found.sum() == pytest.approx(1, abs=allowed)


def clipped_advantages(pair: Pair, student: Floats, c: float, lam: float) -> Floats:
    """The advantage of the model, min(log(π_T/π), log c) + (λ−1) r, for tokens that exist."""
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


@given(token_rows(fewest=3, masks=False), st.floats(1.1, 20.0))
def test_two_outcomes_merge_what_only_the_base_can_produce(pair: Pair, c: float) -> None:
    teacher = pair[0].copy()
    teacher[np.argmin(teacher)] = -math.inf
    found = categorical.threshold(teacher, pair[1], c, mode="bernoulli")
    exact = 1 + oracle.merged_excess(teacher, pair[1], c, [int(np.argmax(teacher))])
    assume(exact < 1e6)
    noise = 16 * EPS * float(exact) * (1 + depth((pair[0], pair[1])) + depth(pair[::-1]))
    assert found.value == pytest.approx(float(exact), rel=noise / math.log(c) * float(exact))


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
