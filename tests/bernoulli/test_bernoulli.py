"""Every statement of the theory about one position, against 50-digit oracles or against its own definition."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

import lambda_star as ls
from lambda_star.bernoulli import Regime, formulas
from tests import oracle
from tests.strategies import clips, margins, moderate, open_clips, ordered, probabilities

EPS = 2.0**-52
lams = st.floats(-3.0, 6.0)
above_one = st.floats(1.0, 6.0)


def close(value: float, exact: Any, rtol: float) -> bool:
    """Whether a value is within a relative tolerance of an mpmath number, or both are past the ends of float64.

    Below the normal numbers floats are 2^−1074 apart, and the nearest one is up to half of that away.
    """
    if math.isinf(value) or value == 0:
        return oracle.ulps(value, exact) == 0 or abs(exact) < 1e-307
    return bool(abs(oracle.real(value) - exact) <= rtol * abs(exact) + oracle.real(2) ** -1075)


# Fixed point and tail ratio


@given(probabilities, probabilities, lams)
@example(1e-78, 0.5, 4.0)  # the nearest number to 1e-312
def test_fixed_point_is_the_log_linear_mixture(p: float, b: float, lam: float) -> None:
    size = 1 + abs(oracle.push(p, b, lam)) + abs(lam)
    assert close(ls.fixed_point(p, b, lam), oracle.fixed_point(p, b, lam), float(8 * EPS * size))


@given(probabilities, probabilities, lams)
def test_tail_ratio_is_teacher_tail_over_student_tail(p: float, b: float, lam: float) -> None:
    size = 1 + abs(oracle.push(p, b, lam)) + abs(lam)
    assert close(ls.tail_ratio(p, b, lam), oracle.tail_ratio(p, b, lam), float(8 * EPS * size))


@given(probabilities, probabilities)
def test_plain_distillation_ends_at_the_teacher(p: float, b: float) -> None:
    assert ls.fixed_point(p, b, 1.0) == pytest.approx(p, rel=2 * EPS)
    assert ls.tail_ratio(p, b, 1.0) == 1.0


@given(moderate, moderate, lams)
def test_fixed_point_maximises_the_objective(p: float, b: float, lam: float) -> None:
    def objective(q: float) -> float:
        terms = [(q, p, b), (1 - q, 1 - p, 1 - b)]
        return sum(s * (lam * math.log(t) - math.log(s) - (lam - 1) * math.log(u)) for s, t, u in terms)

    q = ls.fixed_point(p, b, lam)
    assume(1e-9 < q < 1 - 1e-9)
    assert all(objective(q) >= objective(other) - 1e-9 for other in (0.9 * q, q + 0.1 * (1 - q), p, b))


@given(ordered(moderate), st.floats(1.0, 3.0), st.floats(1e-6, 1.0))
def test_extrapolation_sharpens_the_modal_token(pair: tuple[float, float], lam: float, step: float) -> None:
    p, b = pair
    assert ls.fixed_point(p, b, lam + step) >= ls.fixed_point(p, b, lam)
    assert ls.tail_ratio(p, b, lam + step) >= ls.tail_ratio(p, b, lam)


# Threshold


def test_reproduces_the_published_marker() -> None:
    assert ls.threshold(0.99933697778, 0.5, 5.0) == pytest.approx(1.22, abs=1e-9)


def test_teacher_behind_the_marker_at_other_clips() -> None:
    p = ls.teacher_for(0.5, 5.0, 1.22)
    assert 1 - p == pytest.approx(6.6e-4, rel=0.01)
    assert [round(ls.threshold(p, 0.5, c), 4) for c in (2.0, 3.0)] == [1.0948, 1.1502]


def test_common_default_is_past_the_marker() -> None:
    assert ls.regime(0.99933697778, 0.5, 5.0, 1.25) is Regime.COLLAPSING


@given(ordered(), clips)
@example((0.5 + 1e-12, 0.5), 5.0)
@example((1 - 1e-15, 0.5), 5.0)
@example((0.9, 0.5), 1 + 1e-12)
def test_threshold_is_equation_4(pair: tuple[float, float], c: float) -> None:
    p, b = pair
    assert oracle.ulps(ls.threshold(p, b, c), oracle.threshold(p, b, c)) <= 6
    assert oracle.ulps(ls.bernoulli.excess(p, b, c), oracle.excess(p, b, c)) <= 6


def test_textbook_form_in_floats_is_no_substitute() -> None:
    p, b, c = 0.7 + 1e-12, 0.7, 5.0
    log = math.log
    textbook = (log((1 - p) / (c - 1 + p)) - log((1 - b) / b)) / (log((1 - p) / p) - log((1 - b) / b))
    assert oracle.ulps(textbook, oracle.threshold(p, b, c)) > 1e10


@given(ordered(moderate), open_clips)
def test_tail_ratio_reaches_the_clip_at_the_threshold(pair: tuple[float, float], c: float) -> None:
    p, b = pair
    excess = ls.bernoulli.excess(p, b, c)
    assume(excess < 1e6)
    size = 1 + abs(math.log(p) + math.log(b)) + 1 / excess  # a rounded 1 + excess moves the push by eps/excess
    assert ls.tail_ratio(p, b, 1 + excess) == pytest.approx(c, rel=1e-12 * size)


@given(ordered(moderate), open_clips, above_one)
def test_clip_safe_means_enough_tail_left(pair: tuple[float, float], c: float, lam: float) -> None:
    p, b = pair
    ratio, safe = oracle.tail_ratio(p, b, lam), ls.is_clip_safe(p, b, c, lam)
    assume(abs(ratio / oracle.real(c) - 1) > 1e-11)
    assert safe == (ratio <= c)
    assert safe == (1 - oracle.fixed_point(p, b, lam) >= (1 - oracle.real(p)) / oracle.real(c))


@given(ordered(moderate), open_clips)
def test_threshold_is_the_last_safe_coefficient(pair: tuple[float, float], c: float) -> None:
    p, b = pair
    excess = ls.bernoulli.excess(p, b, c)
    assume(1e-9 < excess < 1e6)
    assert ls.is_clip_safe(p, b, c, 1 + excess * (1 - 1e-6))
    assert not ls.is_clip_safe(p, b, c, 1 + excess * (1 + 1e-6))


@given(ordered(), clips, above_one)
def test_base_above_teacher_is_safe_at_every_coefficient(pair: tuple[float, float], c: float, lam: float) -> None:
    b, p = pair
    assert ls.threshold(p, b, c) == ls.bernoulli.excess(p, b, c) == ls.threshold(p, p, c) == math.inf
    assert ls.is_clip_safe(p, b, c, lam)
    assert ls.tail_ratio(p, b, lam) <= 1 + 2 * EPS


@given(ordered())
def test_no_clip_has_no_threshold_and_the_tightest_clip_has_it_at_one(pair: tuple[float, float]) -> None:
    p, b = pair
    assert ls.threshold(p, b, 1.0) == 1.0
    assert ls.bernoulli.excess(p, b, 1.0) == 0.0
    assert ls.threshold(p, b, math.inf) == ls.collapse_point(p, b, math.inf) == math.inf


@given(st.floats(0.5 + 1e-9, 1 - 1e-15), clips)
def test_base_neutral_case(p: float, c: float) -> None:
    exact = oracle.CONTEXT.log1p((oracle.real(c) - 1) / oracle.real(p)) / oracle.logit(p)
    assert oracle.ulps(ls.bernoulli.excess(p, 0.5, c), exact) <= 6


@given(ordered(), clips)
def test_bounds_on_the_excess(pair: tuple[float, float], c: float) -> None:
    p, b = pair
    gap, excess = oracle.gap(p, b), oracle.real(ls.bernoulli.excess(p, b, c))
    lower, upper = oracle.CONTEXT.log(oracle.real(c)) / gap, oracle.CONTEXT.log(oracle.real(c) / oracle.real(p)) / gap
    assert lower * (1 - 8 * EPS) <= excess <= upper * (1 + 8 * EPS)


@given(probabilities, probabilities, st.floats(1.0, 1e3), st.floats(1.0, 2.0))
def test_threshold_grows_with_the_clip(p: float, b: float, c: float, factor: float) -> None:
    assert ls.threshold(p, b, c * factor) >= ls.threshold(p, b, c) * (1 - 8 * EPS)


@given(st.lists(probabilities, min_size=3, max_size=3).map(sorted), clips)
def test_threshold_grows_with_the_base_and_falls_with_the_teacher(three: list[float], c: float) -> None:
    low, middle, high = three
    assert ls.threshold(high, middle, c) >= ls.threshold(high, low, c) * (1 - 8 * EPS)
    assert ls.threshold(high, low, c) <= ls.threshold(middle, low, c) * (1 + 8 * EPS)


@pytest.mark.parametrize("c", [1.5, 2.0, 5.0])
def test_limits_of_a_deterministic_teacher_and_an_equal_base(c: float) -> None:
    excesses = [ls.bernoulli.threshold_from_logits(x, 0.0, c) - 1 for x in (10.0, 100.0, 1000.0)]
    assert excesses == pytest.approx([math.log(c) / x for x in (10.0, 100.0, 1000.0)], rel=1e-3)
    gaps = np.array([1e-2, 1e-4, 1e-6])
    np.testing.assert_allclose(ls.bernoulli.excess(0.5 + gaps, 0.5, c) * 4 * gaps, math.log(2 * c - 1), rtol=0.05)


# Log-odds form


@given(st.floats(-700.0, 700.0), st.floats(-700.0, 700.0), clips)
@example(-700.0, -701.0, 1e6)
@example(-79.9, -80.1, 1 + 1e-12)
@example(-80.1, -80.2, 1 + 1e-12)
@example(-80.0, -81.0, 2.0)
@example(-81.0, -90.0, 1.0)
@example(3.0, 3.0 - 1e-12, 5.0)
def test_log_odds_form_over_the_whole_range(x: float, y: float, c: float) -> None:
    assert oracle.ulps(ls.bernoulli.threshold_from_logits(x, y, c), oracle.threshold_from_logits(x, y, c)) <= 6


@given(st.floats(-30.0, 30.0), st.floats(-30.0, 30.0), clips)
def test_log_odds_form_agrees_with_probabilities(x: float, y: float, c: float) -> None:
    assume(abs(x - y) > 1e-3)
    p, b = 1 / (1 + math.exp(-x)), 1 / (1 + math.exp(-y))
    assume(p < 1 and b < 1)
    rel = 1e-14 * (math.exp(max(x, y, 0)) + 1) / min(abs(x - y), 1)  # 1-p carries that few digits
    assert ls.bernoulli.threshold_from_logits(x, y, c) == pytest.approx(ls.threshold(p, b, c), rel=min(rel, 0.5))


# Slopes


@given(ordered(moderate), open_clips)
def test_slopes_are_derivatives_and_have_their_signs(pair: tuple[float, float], c: float) -> None:
    p, b = pair
    assume(p - b > 1e-6 * p)
    context, exact = oracle.CONTEXT, oracle.excess
    with context.workdps(60):
        arguments = tuple(map(oracle.real, (p, b, c)))
        slopes = [context.diff(margin_form, arguments, tuple(int(i == k) for k in range(3))) for i in range(3)]
    found = ls.bernoulli.sensitivity(p, b, c)
    assert found.p < 0 < found.b
    assert found.c > 0
    assert all(close(value, slope, 1e-12) for value, slope in zip(found, slopes, strict=True))
    assert close(ls.bernoulli.excess(p, b, c), exact(p, b, c), 1e-14)


def margin_form(p: Any, b: Any, c: Any) -> Any:
    log = oracle.CONTEXT.log
    return 1 + log(1 + (c - 1) / p) / (log(p / (1 - p)) - log(b / (1 - b)))


@given(ordered(), clips)
def test_slopes_vanish_where_the_threshold_is_infinite(pair: tuple[float, float], c: float) -> None:
    high, low = pair
    for p, b, clip in ((low, high, c), (low, low, c), (high, low, math.inf)):
        assert ls.bernoulli.sensitivity(p, b, clip) == (0, 0, 0)


# Regimes of a clipped student


def drift(p: float, b: float, c: float, lam: float, q: Any) -> Any:
    """The clipped advantage of the modal token minus that of the tail, straight from the definition of the model."""

    def advantage(teacher: float, student: Any, base: float) -> Any:
        return np.minimum(np.log(teacher / student), math.log(c)) + (lam - 1) * math.log(teacher / base)

    return advantage(p, q, b) - advantage(1 - p, 1 - q, 1 - b)


@given(moderate, moderate, st.floats(1.01, 20.0), lams)
def test_stationary_student_is_at_rest_and_stable(p: float, b: float, c: float, lam: float) -> None:
    q = ls.bernoulli.stationary_student(p, b, c, lam)
    assume(1e-7 < q < 1 - 1e-7)
    assert drift(p, b, c, lam, q) == pytest.approx(0, abs=1e-7)
    assert drift(p, b, c, lam, q * (1 - 1e-4)) > 0 > drift(p, b, c, lam, q + 1e-4 * (1 - q))


@given(moderate, moderate, st.floats(1.01, 20.0), lams)
def test_a_collapsing_student_is_pushed_everywhere(p: float, b: float, c: float, lam: float) -> None:
    assume(ls.regime(p, b, c, lam) is Regime.COLLAPSING)
    end = ls.bernoulli.stationary_student(p, b, c, lam)
    forces = drift(p, b, c, lam, np.linspace(0.001, 0.999, 200))
    assert end in (0.0, 1.0)
    assert np.all(forces > -1e-9 if end == 1 else forces < 1e-9)


@given(ordered(moderate), st.floats(1.01, 20.0))
def test_regimes_change_at_threshold_and_collapse_point(pair: tuple[float, float], c: float) -> None:
    p, b = pair
    start, width = ls.bernoulli.excess(p, b, c), ls.bernoulli.cliff_width(p, b, c)
    assume(width > 1e-8 * start)
    places = (0.5 * start, start + 0.01 * width, start + 0.99 * width, start + 1.01 * width)
    found = [ls.regime(p, b, c, 1 + excess) for excess in places]
    assert found == [Regime.PRESERVING, Regime.SATURATED, Regime.SATURATED, Regime.COLLAPSING]
    assert ls.collapse_point(p, b, c) == pytest.approx(1 + start + width, rel=1e-12)


@given(ordered(moderate), st.floats(1.01, 20.0))
def test_saturated_tail_slides_from_the_clip_edge_to_zero(pair: tuple[float, float], c: float) -> None:
    p, b = pair
    start, width = ls.bernoulli.excess(p, b, c), ls.bernoulli.cliff_width(p, b, c)
    assume(start < 100 and width > 1e-6 * start)
    tails = 1 - ls.bernoulli.stationary_student(p, b, c, 1 + start + width * np.array([1e-6, 0.3, 0.6, 1 - 1e-6]))
    assert tails[0] == pytest.approx((1 - p) / c, rel=1e-4)
    assert np.all(np.diff(tails) < 0)
    assert tails[-1] <= 1e-4 * (1 - p)


@given(ordered(), clips)
def test_widths_and_collapse_points_to_the_last_digits(pair: tuple[float, float], c: float) -> None:
    p, b = pair
    assert oracle.ulps(ls.bernoulli.cliff_width(p, b, c), oracle.cliff_width(p, b, c)) <= 6
    assert oracle.ulps(ls.collapse_point(p, b, c), oracle.collapse_point(p, b, c)) <= 6


@given(st.floats(3.0, 15.0), st.floats(0.05, 0.95), st.floats(1.01, 20.0))
def test_width_of_a_deterministic_position(k: float, b: float, c: float) -> None:
    p = 1 - 10.0**-k
    assert ls.bernoulli.cliff_width(p, b, c) == pytest.approx((1 - p) / (c * float(oracle.gap(p, b))), rel=2 * 10.0**-k)


@given(ordered(moderate), st.floats(1.01, 20.0), st.floats(0.01, 2.0))
def test_drift_above_the_collapse_point(pair: tuple[float, float], c: float, more: float) -> None:
    p, b = pair
    gap, end = float(oracle.gap(p, b)), ls.collapse_point(p, b, c)
    assume(end < 50)
    limit = drift(p, b, c, end + more, 1 - 1e-13)
    assert limit == pytest.approx(gap * more, rel=1e-9, abs=1e-9)


@given(probabilities, probabilities, lams)
def test_without_the_clip_there_is_no_cliff(p: float, b: float, lam: float) -> None:
    assert ls.regime(p, b, math.inf, lam) is Regime.PRESERVING
    assert ls.bernoulli.stationary_student(p, b, math.inf, lam) == ls.fixed_point(p, b, lam)


@given(moderate, moderate, st.floats(1.01, 20.0), lams)
def test_modal_token_and_tail_exchange_roles(p: float, b: float, c: float, lam: float) -> None:
    mirrored = 1 - ls.bernoulli.stationary_student(1 - p, 1 - b, c, lam)
    assert ls.bernoulli.stationary_student(p, b, c, lam) == pytest.approx(mirrored, abs=1e-9)


@pytest.mark.parametrize(("p", "b", "lam"), [(0.9, 0.5, 1.2), (0.9, 0.5, 1.35), (0.3, 0.5, 2.15), (0.6, 0.2, 0.5)])
def test_following_the_clipped_flow_ends_at_the_stationary_student(p: float, b: float, lam: float) -> None:
    theta = math.log(b / (1 - b))
    for _ in range(20_000):
        theta += 0.1 * drift(p, b, 2.0, lam, 1 / (1 + math.exp(-theta)))
    assert 1 / (1 + math.exp(-theta)) == pytest.approx(ls.bernoulli.stationary_student(p, b, 2.0, lam), rel=1e-9)


def test_the_borders_belong_to_the_preserving_and_to_the_collapsing_regime() -> None:
    # Δ = log 3 = log(1 + (c−1)/p) at c = 2, and = log(c/p) at c = 1.5, all exactly so in floats.
    assert ls.threshold(0.5, 0.25, 2.0) == 2.0
    assert ls.regime(0.5, 0.25, 2.0, 2.0) is ls.bernoulli.Regime.PRESERVING
    assert ls.is_clip_safe(0.5, 0.25, 2.0, 2.0)
    assert ls.regime(0.5, 0.25, 2.0, math.nextafter(2.0, 3.0)) is ls.bernoulli.Regime.SATURATED
    assert ls.collapse_point(0.5, 0.25, 1.5) == 2.0
    assert ls.regime(0.5, 0.25, 1.5, 2.0) is ls.bernoulli.Regime.COLLAPSING
    assert ls.regime(0.5, 0.25, 1.5, math.nextafter(2.0, 1.0)) is ls.bernoulli.Regime.SATURATED


# When the modal token loses its majority


@given(ordered(st.floats(0.5, 1 - 1e-9)))
def test_at_the_flip_point_the_modal_token_holds_half(pair: tuple[float, float]) -> None:
    b, p = pair
    flip = ls.flip_point(p, b)
    assert oracle.ulps(flip, oracle.flip_point(p, b)) <= 64 or close(flip, oracle.flip_point(p, b), 1e-14)
    assume(flip < 1e6)
    assert ls.fixed_point(p, b, flip) == pytest.approx(0.5, abs=1e-8)
    assert ls.fixed_point(p, b, flip * (1 + 1e-6)) < 0.5 + 1e-8


@given(st.floats(-700, 700), st.floats(-700, 700))
@example(-0.5, 0.5)
@example(0.0, 0.5)
@example(0.25, 0.75)
@example(0.5, 0.5)
def test_flip_point_from_log_odds_is_exact(x: float, y: float) -> None:
    exact = 1.0 if x < 0 else math.inf if x >= y else oracle.real(y) / (oracle.real(y) - oracle.real(x))
    assert oracle.ulps(ls.bernoulli.flip_point_from_logits(x, y), oracle.real(exact)) <= 2


@given(ordered(st.floats(0.5 + 1e-9, 1 - 1e-15)))
def test_flip_point_is_where_a_second_token_overtakes(pair: tuple[float, float]) -> None:
    b, p = pair
    teacher, base = oracle.logit(p), oracle.logit(b)
    assert close(ls.flip_point(p, b), base / (base - teacher), 1e-14)


@given(ordered())
def test_no_flip_from_a_base_below_the_teacher(pair: tuple[float, float]) -> None:
    p, b = pair
    assert ls.flip_point(p, b) == (math.inf if p >= 0.5 else 1.0)
    assert ls.flip_point(b, p) >= 1.0
    assert ls.flip_point(p, p) == (math.inf if p >= 0.5 else 1.0)


def test_a_teacher_without_a_majority_has_flipped_at_once() -> None:
    assert ls.flip_point(0.25, 0.75) == ls.flip_point(0.4, 0.45) == ls.flip_point(0.4, 0.3) == 1.0


@given(ordered(moderate), st.floats(1.01, 20.0))
def test_two_sided_threshold_covers_the_modal_side(pair: tuple[float, float], c: float) -> None:
    high, low = pair
    assert ls.bernoulli.two_sided_threshold(high, low, c) == ls.threshold(high, low, c)
    lam = ls.bernoulli.two_sided_threshold(low, high, c)
    assume(lam < 1e4)
    assert low / ls.fixed_point(low, high, lam) == pytest.approx(c, rel=1e-9)
    assert ls.bernoulli.two_sided_threshold(low, low, c) == math.inf


# Operating point


@given(ordered(), clips, margins)
def test_margin_is_on_the_excess(pair: tuple[float, float], c: float, margin: float) -> None:
    p, b = pair
    point = ls.operating_point(p, b, c, margin=margin)
    assert point == pytest.approx(1 + (1 - margin) * ls.bernoulli.excess(p, b, c), rel=2 * EPS)
    assert point <= ls.threshold(p, b, c)
    assert ls.operating_point(b, p, c, margin=margin) == math.inf


def test_a_margin_of_a_known_threshold_is_on_its_excess() -> None:
    assert formulas.operating(3.0, 0.25) == 2.5
