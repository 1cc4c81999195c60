"""Finite budgets: times and thresholds against 50-digit oracles, trajectories and samples against what they mean."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.special import expit

import lambda_star as ls
from lambda_star.dynamics import (
    Flow,
    _times,
    budget_threshold,
    simulate,
    steps_to_edge,
    time_to_collapse,
    time_to_edge,
    trajectory,
)
from tests import oracle
from tests.strategies import moderate, open_clips, ordered, probability_from_log_odds

CONTEXT, real = oracle.CONTEXT, oracle.real
EPS = 2.0**-52
FLOWS: tuple[Flow, ...] = get_args(Flow)
WIDE = bool(np.finfo(np.longdouble).eps < 1e-18)
"""Whether there are floats wider than float64, which carry the small difference λ − λ*."""

Floats = NDArray[np.float64]
Real = Any  # an mpmath number
flows = st.sampled_from(FLOWS)
gentle = st.floats(-3.0, 4.0).map(probability_from_log_odds)
powers = st.floats(-3.0, 1.3)
clips = st.one_of(st.floats(1.01, 20.0), st.floats(-4.0, 3.0).map(lambda k: 1 + 10.0**k))
each_flow = pytest.mark.parametrize("flow", FLOWS)


# The slow reference: the definitions at 50 digits and more.


def way(p: float, b: float, c: float, lam: float) -> tuple[Real, Real, Real]:
    """The base, and the distances to the fixed point from base and edge, to the digits of the context."""
    tail, start = 1 - real(p), CONTEXT.log(real(b) / (1 - real(b)))
    gap = CONTEXT.log(real(p) / tail) - start
    return start, real(lam) * gap, (real(lam) - 1) * gap - CONTEXT.log((real(c) - tail) / real(p))


def free(flow: Flow, start: Real, whole: Real, rest: Real) -> Real:
    """The time from ``start`` until ``rest`` is left of the way ``whole`` to the fixed point."""
    if rest <= 0:
        return CONTEXT.inf
    if flow == "natural":
        return CONTEXT.log(whole / rest)
    up = CONTEXT.exp(start + whole)
    first, second = CONTEXT.e1(rest) - CONTEXT.e1(whole), CONTEXT.ei(whole) - CONTEXT.ei(rest)
    return 2 * CONTEXT.log(whole / rest) + up * first + second / up


def exact_time(p: float, b: float, c: float, lam: float, flow: Flow) -> Real:
    """The time to the edge: closed form at digits enough for its cancellation."""
    with CONTEXT.workdps(120):
        return free(flow, *way(p, b, c, lam))


def pieces(low: Real, high: Real) -> list[Real]:
    return list(CONTEXT.linspace(low, high, int(CONTEXT.ceil((high - low) / 4)) + 1))


def edge_by_quadrature(p: float, b: float, c: float, lam: float) -> Real:
    """The time to the edge under policy gradient: the integral of the inverse velocity, over log u."""
    start, whole, rest = way(p, b, c, lam)

    def inverse_rate(v: Real) -> Real:
        theta = start + whole - CONTEXT.exp(v)
        return 2 + CONTEXT.exp(theta) + CONTEXT.exp(-theta)

    return CONTEXT.quad(inverse_rate, pieces(CONTEXT.log(rest), CONTEXT.log(whole)))


def clipped_by_quadrature(flow: Flow, surplus: Real, start: Real, end: Real) -> Real:
    """The time from q = e^−start to q = e^−end with the clip acting: θ' = surplus − log q, times q(1−q) or not."""
    surplus, start, end = (CONTEXT.mpf(value) for value in (surplus, start, end))
    if surplus + end <= 0:
        return CONTEXT.inf
    shift = min(surplus, CONTEXT.zero)

    def integrand(v: Real) -> Real:
        w = CONTEXT.exp(v) - shift
        speed = (surplus + w) if surplus > 0 else CONTEXT.exp(v)
        tail = -CONTEXT.expm1(-w)
        return CONTEXT.exp(v) / speed / tail / (1 if flow == "natural" else CONTEXT.exp(-w) * tail)

    return CONTEXT.quad(integrand, pieces(CONTEXT.log(end + shift), CONTEXT.log(start + shift)))


def exact_collapse(p: float, b: float, c: float, lam: float, tail: Real, flow: Flow) -> Real:
    """The time to a tail mass, over the edge where the student goes that far."""
    with CONTEXT.workdps(80):
        start, whole, rest = way(p, b, c, lam)
        tail = CONTEXT.mpf(tail)
        goal = CONTEXT.log1p(-tail) - CONTEXT.log(tail) - start
        if goal <= 0:
            return CONTEXT.zero
        if rest <= 0 or goal <= whole - rest:
            return free(flow, start, whole, whole - goal)
        before = free(flow, start, whole, rest)
        share = (1 - real(p)) / real(c)
        surplus = rest + CONTEXT.log1p(-share)
        with CONTEXT.workdps(30):
            return before + clipped_by_quadrature(flow, surplus, -CONTEXT.log1p(-share), -CONTEXT.log1p(-tail))


def close(value: float, exact: Real, rtol: float) -> bool:
    if not CONTEXT.isfinite(exact) or not math.isfinite(value):
        return bool(real(value) == exact)
    return bool(abs(real(value) - exact) <= rtol * abs(exact))


def slowest(p: float, b: float, c: float) -> float:
    """The larger inverse rate of base and edge: times of policy gradient scale with it."""
    return max(1 / (b * (1 - b)), c * c / ((1 - p) * (c - 1 + p)))


def typical(p: float, b: float, c: float, power: float, flow: Flow) -> float:
    """A budget of a given power of ten, in the time that the flow needs for a unit of the way."""
    return math.pow(10.0, power) * (1.0 if flow == "natural" else slowest(p, b, c))


def above(p: float, b: float, c: float, more: float) -> float:
    """The float next to λ*·(1 + more)."""
    return float(oracle.threshold(p, b, c) * (1 + real(more)))


def logit(q: float) -> float:
    return math.log(q) - math.log1p(-q)


def at_edge(p: float, c: float) -> float:
    """Log-odds of the student whose tail is (1−p)/c."""
    return -logit((1 - p) / c)


# Exponential integrals and the time with the clip acting


def test_scaled_exponential_integrals_have_all_digits() -> None:
    x = np.concatenate([np.geomspace(1e-12, 1e4, 400), np.linspace(39.5, 40.5, 21), np.linspace(0.36, 0.39, 21)])
    e1, ei = _times.scaled_e1(x), _times.scaled_ei(x)
    for at, first, second in zip(x, e1, ei, strict=True):
        u = real(at)
        assert close(first, CONTEXT.exp(u) * CONTEXT.e1(u), 1e-13)
        exact = CONTEXT.exp(-u) * CONTEXT.ei(u)
        # Ei has a root at 0.3725; close to it only the absolute error is small.
        assert close(second, exact, 1e-13) or (abs(at - 0.3725) < 0.02 and abs(real(second) - exact) < 1e-16)


CLIPPED = [
    (1.0, 0.1, 1e-6),
    (30.0, 2.3, 1e-3),
    (0.02, 1e-3, 1e-12),
    (1e-9, 1e-2, 1e-10),
    (0.0, 1e-2, 1e-8),
    (-1e-3, 0.05, 1e-3 * (1 + 1e-2)),
    (-1e-3, 0.05, 1e-3 * (1 + 1e-6)),
    (-0.7, 3.0, 0.8),
]


@each_flow
def test_time_under_the_clip_is_the_integral_of_the_inverse_velocity(flow: Flow) -> None:
    found = _times.clipped_time(flow, *np.array(CLIPPED).T)
    for value, (surplus, start, end) in zip(found, CLIPPED, strict=True):
        assert close(value, clipped_by_quadrature(flow, surplus, start, end), 1e-11)


@each_flow
def test_time_under_the_clip_keeps_its_digits_close_to_where_the_student_settles(flow: Flow) -> None:
    surplus, start, end = -1e-3, 0.05, 1e-3 * (1 + 1e-8)
    found = _times.clipped_time(flow, np.array(surplus), np.array(start), np.array(end))
    assert close(float(found), clipped_by_quadrature(flow, surplus, start, end), 1e-11)


@each_flow
def test_a_student_that_settles_never_passes_where_it_settles(flow: Flow) -> None:
    surplus, start, end = np.array([-0.1, -0.1, -0.1]), np.full(3, 0.5), np.array([0.1, 0.05, 0.11])
    found = _times.clipped_time(flow, surplus, start, end)
    assert np.array_equal(np.isinf(found), [True, True, False])
    assert found[2] > 0


# Time to the edge

NEAREST = 1e-9 if WIDE else 1e-6


def grid() -> tuple[Floats, Floats, Floats, Floats]:
    """Teachers from 0.9 to 1 − 1e-12, bases near and far, tight and loose clips, λ from close by to ten times λ*."""
    points = [
        (p, b, c, above(p, b, c, more))
        for p in (0.9, 1 - 1e-3, 1 - 1e-6, 1 - 1e-9, 1 - 1e-12)
        for b in (1 - (1 - p) * (1 + 1e-3), 1 - 2 * (1 - p), 0.5, 0.01, 1e-6)
        for c in (1 + 1e-4, 1.5, 10.0, 1e3)
        for more in (NEAREST, 1e-6, 1e-3, 0.1, 9.0)
    ]
    p, b, c, lam = np.array(points).T
    return p, b, c, lam


@each_flow
def test_time_to_the_edge_is_exact(flow: Flow) -> None:
    points = grid()
    for value, p, b, c, lam in zip(time_to_edge(*points, flow=flow), *points, strict=True):
        assert close(value, exact_time(p, b, c, lam, flow), 1e-10)


@given(ordered(moderate), clips, st.floats(-6.0, 1.0), flows)
def test_time_to_the_edge_is_exact_anywhere(pair: tuple[float, float], c: float, k: float, flow: Flow) -> None:
    p, b = pair
    lam = above(p, b, c, 10.0**k)
    assert close(time_to_edge(p, b, c, lam, flow=flow), exact_time(p, b, c, lam, flow), 1e-10)


@pytest.mark.parametrize(
    ("p", "b", "c", "more"),
    [(0.9, 0.7, 2.0, 0.06), (1 - 1e-12, 0.5, 1e3, NEAREST), (0.9, 0.9 - 1e-9, 1 + 1e-4, 9.0), (0.999, 1e-6, 5.0, 0.01)],
)
def test_closed_form_is_the_integral_of_the_inverse_velocity(p: float, b: float, c: float, more: float) -> None:
    lam = above(p, b, c, more)
    exact = edge_by_quadrature(p, b, c, lam)
    assert abs(exact_time(p, b, c, lam, "policy-gradient") / exact - 1) < 1e-20
    assert close(time_to_edge(p, b, c, lam, flow="policy-gradient"), exact, 1e-10)


@each_flow
@pytest.mark.parametrize("p", [0.01, 0.9, 0.999])
def test_a_short_way_to_the_edge_keeps_its_digits(p: float, flow: Flow) -> None:
    for k in (1e-3, 1e-6, 1e-9, 1e-12):
        b, c = p - (1 - p) * p * k, 1 + k
        for lam in (above(p, b, c, 1e-3), above(p, b, c, 1.0), above(p, b, c, 1e3)):
            assert close(time_to_edge(p, b, c, lam, flow=flow), exact_time(p, b, c, lam, flow), 1e-13)


def test_spot_checks_of_the_derivations() -> None:
    lam = 1 + 1.1 * (ls.threshold(0.9, 0.7, 2.0) - 1)
    assert time_to_edge(0.9, 0.7, 2.0, lam, flow="policy-gradient") == pytest.approx(49.110593668667, rel=1e-13)
    assert budget_threshold(0.9, 0.7, 2.0, 3.0) == pytest.approx(1.63492007427354, rel=1e-14)


@given(ordered(moderate), clips, st.floats(-6.0, 1.0))
def test_policy_gradient_takes_at_least_four_times_as_long(pair: tuple[float, float], c: float, k: float) -> None:
    p, b = pair
    lam = above(p, b, c, 10.0**k)
    natural, policy = (time_to_edge(p, b, c, lam, flow=flow) for flow in FLOWS)
    assert 4 * natural * (1 - 1e-13) <= policy <= slowest(p, b, c) * natural * (1 + 1e-13)


@given(ordered(), open_clips, st.floats(-4.0, 1 - 1e-9), flows)
def test_edge_is_never_passed_up_to_the_threshold(
    pair: tuple[float, float], c: float, share: float, flow: Flow
) -> None:
    p, b = pair
    lam = ls.threshold(p, b, c) * share
    assume(math.isfinite(lam))
    assert time_to_edge(p, b, c, lam, flow=flow) == math.inf
    assert steps_to_edge(p, b, c, lam, flow=flow, rate=0.1) == math.inf


@each_flow
def test_the_threshold_itself_belongs_to_the_safe_side(flow: Flow) -> None:
    # Δ = log 3 = log(1 + (c−1)/p), and λ* = 2, in floats of any width.
    assert time_to_edge(0.5, 0.25, 2.0, 2.0, flow=flow) == math.inf
    assert math.isfinite(time_to_edge(0.5, 0.25, 2.0, math.nextafter(2.0, 3.0), flow=flow))


@given(ordered(), open_clips, st.floats(1.0, 1e6), flows)
def test_no_budget_meets_a_cliff_without_a_gap_or_a_clip(
    pair: tuple[float, float], c: float, lam: float, flow: Flow
) -> None:
    high, low = pair
    for p, b, clip in ((low, high, c), (low, low, c), (high, low, math.inf)):
        assert time_to_edge(p, b, clip, lam, flow=flow) == math.inf
        assert steps_to_edge(p, b, clip, lam, flow=flow, rate=0.5) == math.inf
        assert budget_threshold(p, b, clip, 3.0, flow=flow) == math.inf
        assert budget_threshold(p, b, clip, math.inf, flow=flow) == math.inf


# Whole steps


@given(ordered(moderate), clips, st.floats(-6.0, 1.0), st.one_of(st.floats(0.005, 0.999), st.just(1.0)))
def test_one_step_more_than_the_budget_passes_the_edge(
    pair: tuple[float, float], c: float, k: float, rate: float
) -> None:
    p, b = pair
    lam = above(p, b, c, 10.0**k)
    steps = steps_to_edge(p, b, c, lam, rate=rate)
    assume(steps < 3000)
    theta, whole, rest = way(p, b, c, lam)
    target = theta + whole
    edge = target - rest
    for _ in range(int(steps)):
        theta += real(rate) * (target - theta)
    after = theta + real(rate) * (target - theta)
    assume(min(abs(theta - edge), abs(after - edge)) > 1e-10 * whole)  # a float cannot tell which side it is on
    assert theta < edge < after


@given(ordered(moderate), clips, st.floats(-3.0, 1.0), st.floats(0.001, 1.0))
def test_policy_gradient_steps_are_time_over_rate(pair: tuple[float, float], c: float, k: float, rate: float) -> None:
    p, b = pair
    lam = above(p, b, c, 10.0**k)
    steps = exact_time(p, b, c, lam, "policy-gradient") / real(rate)
    assume(1e-6 < steps - CONTEXT.floor(steps) < 1 - 1e-6 and steps < 1e8)
    assert steps_to_edge(p, b, c, lam, flow="policy-gradient", rate=rate) == CONTEXT.floor(steps)


@each_flow
def test_a_whole_step_from_a_safe_coefficient_never_passes_the_edge(flow: Flow) -> None:
    assert steps_to_edge(0.9, 0.5, 2.0, 1.1, flow=flow, rate=1.0) == math.inf


@given(ordered(moderate), clips, st.integers(0, 10**6), st.floats(1e-4, 1.0))
@example((0.9, 0.5), 2.0, 0, 1.0)
def test_steps_and_rate_are_a_budget(pair: tuple[float, float], c: float, steps: int, rate: float) -> None:
    p, b = pair
    keep = 1 - (1 - real(rate)) ** steps
    exact = oracle.threshold(p, b, c) / keep if steps else CONTEXT.inf
    assert close(budget_threshold(p, b, c, steps=steps, rate=rate), exact, 8 * EPS)
    if rate < 1:
        time = -steps * math.log1p(-rate)
        assert budget_threshold(p, b, c, steps=steps, rate=rate) == budget_threshold(p, b, c, abs(time))
    flow: Flow = "policy-gradient"
    found = budget_threshold(p, b, c, steps=steps, rate=rate, flow=flow)
    assert found == budget_threshold(p, b, c, steps * rate, flow=flow)


# Threshold of a budget


@given(ordered(), open_clips, st.floats(-12.0, 4.0), flows)
def test_an_endless_budget_gives_the_threshold(pair: tuple[float, float], c: float, power: float, flow: Flow) -> None:
    p, b = pair
    start = ls.threshold(np.array(p), b, c)  # as of arrays: another logarithm than that of the math module
    assert budget_threshold(p, b, c, math.inf, flow=flow) == start
    assert budget_threshold(p, b, c, 0.0, flow=flow) == math.inf
    assert budget_threshold(p, b, c, 10.0**power, flow=flow) >= start


@given(ordered(moderate), clips, powers)
def test_threshold_of_a_natural_budget_is_the_closed_form(pair: tuple[float, float], c: float, power: float) -> None:
    p, b = pair
    budget = 10.0**power
    exact = oracle.threshold(p, b, c) / -CONTEXT.expm1(-real(budget))
    assert close(budget_threshold(p, b, c, budget), exact, 8 * EPS)


@given(ordered(moderate), clips, powers, st.floats(1e-3, 1.0), flows)
@example((0.9, 0.5), 2.0, -2.0, 1e-3, "policy-gradient")
def test_threshold_falls_with_the_budget(
    pair: tuple[float, float], c: float, power: float, more: float, flow: Flow
) -> None:
    p, b = pair
    budget = typical(p, b, c, power, flow)
    first, second = budget_threshold(p, b, c, [budget, budget * (1 + more)], flow=flow)
    assume(first > ls.threshold(p, b, c) * (1 + 1e-12))  # nearer to λ* there may be no float between
    assert first > second


@given(ordered(moderate), clips, powers, flows)
@example((1 - 1e-12, 0.5), 5.0, 0.0, "policy-gradient")
@example((1 - 1e-12, 0.5), 5.0, -3.0, "policy-gradient")
@example((0.5 + 1e-9, 0.5), 1 + 1e-4, 1.0, "policy-gradient")
@example((0.5621765008857981, 0.5), 1.125, 1.0, "policy-gradient")  # an edge close to the base
def test_budget_is_the_time_to_the_edge_at_its_threshold(
    pair: tuple[float, float], c: float, power: float, flow: Flow
) -> None:
    p, b = pair
    budget = typical(p, b, c, power, flow)
    lam = float(budget_threshold(p, b, c, budget, flow=flow))
    # The threshold is rounded to a float: the budget lies between the times of its neighbours. The times are good to
    # 1e-13 of themselves, and so is λ where it is far from λ*.
    near = 4 * math.ulp(lam)
    for time in (partial(exact_time, p, b, c, flow=flow), partial(time_to_edge, p, b, c, flow=flow)):
        assert time(lam + near) <= budget * (1 + 1e-13)
        assert time(lam - near) >= budget * (1 - 1e-13)


@given(ordered(moderate), clips, st.floats(-6.0, 6.0), flows)
def test_threshold_of_the_time_to_the_edge_is_the_coefficient(
    pair: tuple[float, float], c: float, k: float, flow: Flow
) -> None:
    p, b = pair
    lam = above(p, b, c, 10.0**k)
    found = budget_threshold(p, b, c, time_to_edge(p, b, c, lam, flow=flow), flow=flow)
    # λ − λ* comes back with the digits of the time, λ with half an ulp.
    start = ls.threshold(p, b, c)
    assert found == pytest.approx(lam, rel=4 * EPS, abs=1e-12 * (lam - start))


@given(ordered(moderate), open_clips, st.floats(-12.0, 12.0))
def test_policy_gradient_threshold_lies_in_its_bracket(pair: tuple[float, float], c: float, power: float) -> None:
    p, b = pair
    budget = 10.0**power
    found = budget_threshold(p, b, c, budget, flow="policy-gradient")
    low, high = (budget_threshold(p, b, c, budget / rate) for rate in (4.0, slowest(p, b, c)))
    assert low * (1 - 4 * EPS) <= found <= high * (1 + 1e-12)


@pytest.mark.parametrize(("p", "b", "budget"), [(0.5, 1e-164, 1.0), (0.9, 0.5, 1e-170)])
def test_thresholds_past_the_root_of_the_largest_float_are_floats(p: float, b: float, budget: float) -> None:
    lam = float(budget_threshold(p, b, 2.0, budget, flow="policy-gradient"))
    # The closed form has no digits left in a working precision that one would wait for; its integral has.
    start, _, rest = way(p, b, 2.0, lam)
    edge = CONTEXT.log((1 + real(p)) / (1 - real(p)))

    def inverse_velocity(theta: Real) -> Real:
        return (2 + CONTEXT.exp(theta) + CONTEXT.exp(-theta)) / (1 + (edge - theta) / rest)

    exact = CONTEXT.quad(inverse_velocity, pieces(start, edge)) / rest
    assert close(budget, exact, 1e-12)


# Arrays, NaN and errors


def test_arrays_broadcast_and_numbers_give_numbers() -> None:
    p, b, c, lam = np.array([[0.9], [0.99], [0.4]]), np.array([0.5, 0.7]), 2.0, 1.9
    for flow in FLOWS:
        calls: list[Callable[..., Any]] = [
            lambda p, b, f=flow: time_to_edge(p, b, c, lam, flow=f),
            lambda p, b, f=flow: steps_to_edge(p, b, c, lam, flow=f, rate=0.1),
            lambda p, b, f=flow: budget_threshold(p, b, c, 3.0, flow=f),
            lambda p, b, f=flow: budget_threshold(p, b, c, steps=30, rate=0.1, flow=f),
            lambda p, b, f=flow: time_to_collapse(p, b, c, lam, tail=1e-3, flow=f),
        ]
        for call in calls:
            found = call(p, b)
            assert found.shape == (3, 2)
            assert call(np.empty((0, 2)), b).shape == (0, 2)
            single = [[call(float(row), float(column)) for column in b] for row in p[:, 0]]
            assert all(isinstance(value, float) for row in single for value in row)
            np.testing.assert_allclose(found, single, rtol=1e-13)
    assert steps_to_edge(0.9, 0.5, 2.0, 1.5, rate=[0.1, 0.2]).shape == (2,)
    assert budget_threshold(0.9, 0.5, 2.0, [1.0, 2.0, 3.0]).shape == (3,)
    assert time_to_collapse(0.9, 0.5, 2.0, 1.5, tail=[1e-3, 1e-6]).shape == (2,)


@each_flow
def test_nan_gives_nan_where_it_stands(flow: Flow) -> None:
    good, nan = {"p": 0.9, "b": 0.5, "c": 2.0, "lam": 1.9}, math.nan
    for name, value in good.items():
        values: dict[str, Any] = good | {name: [value, nan]}
        times = [time_to_edge(**values, flow=flow), steps_to_edge(**values, flow=flow, rate=0.1)]
        times += [time_to_collapse(**values, tail=1e-3, flow=flow)]
        if name != "lam":
            values.pop("lam")
            times += [budget_threshold(**values, budget=3.0, flow=flow)]
            times += [budget_threshold(**values, steps=30, rate=0.1, flow=flow)]
        for time in times:
            assert np.array_equal(np.isnan(time), [False, True])
    point = (0.9, 0.5, 2.0)
    assert np.isnan(budget_threshold(*point, nan, flow=flow))
    assert np.isnan(budget_threshold(0.4, 0.5, 2.0, nan, flow=flow))  # also where no budget would do
    assert np.isnan(budget_threshold(*point, steps=nan, rate=0.1, flow=flow))
    assert np.isnan(budget_threshold(*point, steps=3, rate=nan, flow=flow))
    assert np.isnan(steps_to_edge(*point, 1.9, rate=nan, flow=flow))
    assert np.isnan(steps_to_edge(*point, 1.1, rate=nan, flow=flow))
    assert np.isnan(time_to_collapse(*point, 1.9, tail=nan, flow=flow))


POINT = (0.9, 0.5, 2.0)
WRONG: list[tuple[Callable[[], Any], str]] = [
    (lambda: time_to_edge([0.9, 1.5], 0.5, 2.0, 1.5), "p must lie in (0, 1), got 1.5 at index 1"),
    (lambda: time_to_edge(0.9, 0.0, 2.0, 1.5), "b must lie in (0, 1), got 0.0"),
    (lambda: time_to_edge(0.9, 0.5, 0.5, 1.5), "c must lie in [1, inf], got 0.5"),
    (lambda: time_to_edge(*POINT, math.inf), "lam must lie in (-inf, inf), got inf"),
    (lambda: steps_to_edge(0.9, 0.5, [[2.0, 0.5]], 1.5, 0.1), "c must lie in [1, inf], got 0.5 at index (0, 1)"),
    (lambda: steps_to_edge(*POINT, 1.5, rate=0.0), "rate must lie in (0, 1], got 0.0"),
    (lambda: steps_to_edge(*POINT, 1.5, rate=[0.5, 1.5]), "rate must lie in (0, 1], got 1.5 at index 1"),
    (lambda: budget_threshold(*POINT, [1.0, -1.0]), "budget must lie in [0, inf], got -1.0 at index 1"),
    (lambda: budget_threshold(1.0, 0.5, 2.0, 1.0), "p must lie in (0, 1), got 1.0"),
    (lambda: budget_threshold(*POINT, steps=-1, rate=0.1), "steps must lie in [0, inf), got -1.0"),
    (lambda: budget_threshold(*POINT, steps=math.inf, rate=0.1), "steps must lie in [0, inf), got inf"),
    (lambda: budget_threshold(*POINT, steps=3, rate=1.1), "rate must lie in (0, 1], got 1.1"),
    (lambda: budget_threshold(*POINT), "budget must be given, or steps and rate in its place"),
    (lambda: budget_threshold(*POINT, steps=3), "budget must be given, or steps and rate in its place"),
    (lambda: budget_threshold(*POINT, rate=0.1), "budget must be given, or steps and rate in its place"),
    (lambda: budget_threshold(*POINT, 1.0, steps=3, rate=0.1), "budget must be given, or steps and rate in its place"),
    (lambda: budget_threshold(*POINT, 1.0, steps=3), "budget must be given, or steps and rate in its place"),
    (lambda: budget_threshold(*POINT, 1.0, rate=0.1), "budget must be given, or steps and rate in its place"),
    (lambda: time_to_collapse(*POINT, 1.5, tail=0.0), "tail must lie in (0, 1), got 0.0"),
    (lambda: time_to_collapse(*POINT, [1.5, math.inf], tail=0.1), "lam must lie in (-inf, inf), got inf at index 1"),
    (lambda: trajectory(1.0, 0.5, 2.0, 1.5, [1.0]), "p must lie in (0, 1), got 1.0"),
    (lambda: trajectory(*POINT, 1.5, [1.0, math.inf]), "times must lie in [0, inf), got inf at index 1"),
    (lambda: trajectory(*POINT, 1.5, [-1.0, 1.0]), "times must lie in [0, inf), got -1.0 at index 0"),
    (lambda: trajectory(*POINT, 1.5, [2.0, 1.0]), "times must be a list of rising times, got [2.0, 1.0]"),
    (lambda: trajectory(*POINT, 1.5, 1.0), "times must be a list of rising times, got 1.0"),
    (lambda: trajectory(*POINT, 1.5, [[1.0]]), "times must be a list of rising times, got [[1.0]]"),
    (
        lambda: trajectory([0.9], 0.5, 2.0, 1.5, [1.0]),  # type: ignore[arg-type]
        "p, b, c and lam must be numbers, got an array; call once for each",
    ),
    (lambda: simulate(*POINT, 1.5, rollouts=0, steps=1, seed=0), "rollouts must lie in [1, inf), got 0"),
    (lambda: simulate(*POINT, 1.5, rollouts=1, steps=-1, seed=0), "steps must lie in [0, inf), got -1"),
    (lambda: simulate(*POINT, 1.5, rollouts=1, steps=1, seed=-1), "seed must lie in [0, inf), got -1"),
    (lambda: simulate(*POINT, 1.5, rollouts=1, steps=1, seed=0, rate=0), "rate must lie in (0, 1], got 0.0"),
    (lambda: simulate(*POINT, [1.5, math.inf], rollouts=1, steps=1, seed=0), "lam must lie in (-inf, inf), got inf"),
]


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_a_value_outside_its_range_is_named(number: int) -> None:
    call, message = WRONG[number]
    with pytest.raises(ValueError, match="must") as raised:
        call()
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize(
    "call",
    [
        lambda flow: time_to_edge(*POINT, 1.5, flow=flow),
        lambda flow: steps_to_edge(*POINT, 1.5, 0.1, flow=flow),
        lambda flow: budget_threshold(*POINT, 1.5, flow=flow),
        lambda flow: time_to_collapse(*POINT, 1.5, tail=0.1, flow=flow),
        lambda flow: trajectory(*POINT, 1.5, [1.0], flow=flow),
        lambda flow: simulate(*POINT, 1.5, rollouts=1, steps=1, seed=0, flow=flow),
    ],
)
def test_an_unknown_flow_is_named(call: Callable[[str], Any]) -> None:
    with pytest.raises(ValueError, match="flow must be one of natural, policy-gradient, got 'adam'"):
        call("adam")


@pytest.mark.parametrize(
    ("call", "value"),
    [
        (lambda: time_to_edge(0.9, 0.5, 2.0, 1e308), 0.0),
        (lambda: time_to_edge(0.9, 0.5, 2.0, 1e308, flow="policy-gradient"), 0.0),
        (lambda: time_to_edge(0.9, 0.5, 1e308, 325.0, flow="policy-gradient"), math.inf),
        (lambda: time_to_edge(0.9, 5e-324, 2.0, 1e3, flow="policy-gradient"), math.inf),
        (lambda: budget_threshold(0.9, 0.5, 1e308, 1e308, flow="policy-gradient"), None),
    ],
)
def test_the_ends_of_the_range_give_limits_and_no_warning(call: Callable[[], float], value: float | None) -> None:
    found = call()
    assert found >= 1 if value is None else found == pytest.approx(value, abs=1e-300)


# Time to collapse

HALF = 0.5 * (ls.threshold(0.99, 0.9, 5.0) + ls.collapse_point(0.99, 0.9, 5.0))
COLLAPSES = [
    (0.99, 0.9, 5.0, 1.5, 0.02),  # preserving, on the way to the fixed point's tail, 3.0e-3
    (0.99, 0.9, 5.0, 1.8, 0.02),  # collapsing, before the edge
    (0.99, 0.9, 5.0, 1.8, 1e-3),  # past it
    (0.99, 0.9, 5.0, 1.8, 1e-12),
    (0.99, 0.9, 5.0, 1.68, 1e-9),
    (0.99, 0.9, 5.0, HALF, 1.5e-3),  # saturated: the tail settles at 1.0e-3
    (0.6, 0.3, 3.0, 2.5, 1e-6),
    (1 - 1e-6, 0.9, 3.0, 1.3, 1e-12),
]


@each_flow
@pytest.mark.parametrize(("p", "b", "c", "lam", "tail"), COLLAPSES)
def test_time_to_collapse_is_exact(p: float, b: float, c: float, lam: float, tail: float, flow: Flow) -> None:
    exact = exact_collapse(p, b, c, lam, tail, flow)
    assert CONTEXT.isfinite(exact)
    assert close(time_to_collapse(p, b, c, lam, tail=tail, flow=flow), exact, 1e-12)


NEAR = [
    (0.99, 0.9, 5.0, 1.5, 0.003036321839427733),  # 1e-8 in log-odds from the fixed point
    (0.99, 0.9, 5.0, 1.8, 0.1 * (1 - 1e-8)),  # 1e-8 from the base's tail
    (0.99, 0.9, 5.0, ls.collapse_point(0.99, 0.9, 5.0) * (1 + 1e-9), 1e-9),
    (0.99, 0.9, 5.0, HALF, 0.0010005005016261541),  # 1e-9 of itself from where the student settles
]


@each_flow
@pytest.mark.parametrize(("p", "b", "c", "lam", "tail"), NEAR)
def test_time_to_collapse_is_exact_for_a_tail_that_rounds_differently(
    p: float, b: float, c: float, lam: float, tail: float, flow: Flow
) -> None:
    # Near base and fixed point the time hangs on the last digits of λ and tail: between neighbours, it is right.
    found = real(time_to_collapse(p, b, c, lam, tail=tail, flow=flow))
    more, less = (exact_collapse(p, b, c, lam + k * math.ulp(lam), tail - k * math.ulp(tail), flow) for k in (-3, 3))
    further, nearer = (
        exact_collapse(p, b, c, lam - k * math.ulp(lam), tail - k * math.ulp(tail), flow) for k in (3, -3)
    )
    assert min(more, less, further, nearer) <= found <= max(more, less, further, nearer)


@each_flow
@pytest.mark.parametrize(("p", "b", "c", "lam", "tail"), NEAR[:2])
def test_time_to_collapse_is_exact_to_what_it_promises(
    p: float, b: float, c: float, lam: float, tail: float, flow: Flow
) -> None:
    exact = exact_collapse(p, b, c, lam, tail, flow)
    assert close(time_to_collapse(p, b, c, lam, tail=tail, flow=flow), exact, 1e-11)


@each_flow
def test_a_far_tail_takes_its_time(flow: Flow) -> None:
    # θ' is (λ−λ_c)Δ =: s that far out, and policy gradient is slower by the tail: the time goes with 1/(s·tail).
    surplus = (1.8 - ls.collapse_point(0.99, 0.9, 5.0)) * math.log(11)
    times = time_to_collapse(0.99, 0.9, 5.0, 1.8, tail=[1e-100, 1e-150, 1e-200, 1e-300], flow=flow)
    steps = np.array([50, 50, 100]) * math.log(10)
    if flow == "natural":
        np.testing.assert_allclose(np.diff(times), steps / surplus, rtol=1e-10)
    else:
        np.testing.assert_allclose(times * [1e-100, 1e-150, 1e-200, 1e-300], 1 / surplus, rtol=1e-10)


@given(ordered(gentle), st.floats(1.01, 20.0), st.floats(-0.5, 1.0, exclude_max=True), st.floats(1e-9, 1.0), flows)
def test_the_base_is_there_already_and_a_settled_student_never_is(
    pair: tuple[float, float], factor: float, share: float, more: float, flow: Flow
) -> None:
    p, b = pair
    c = factor * p / b
    lam = 1 + share * (ls.collapse_point(p, b, c) - 1)
    assert time_to_collapse(p, b, c, lam, tail=1 - b + more * b * 0.999, flow=flow) == 0
    tail = 1 - ls.stationary_student(p, b, c, lam)
    assume(1e-6 < tail < 0.9)
    assert time_to_collapse(p, b, c, lam, tail=0.999 * min(tail, 1 - b), flow=flow) == math.inf
    if 1.001 * tail < 0.999 * (1 - b):
        assert 0 < time_to_collapse(p, b, c, lam, tail=1.001 * tail, flow=flow) < math.inf


@each_flow
def test_without_a_clip_the_way_to_a_tail_is_free(flow: Flow) -> None:
    tail = 1 - ls.fixed_point(0.99, 0.9, 1.8)
    found = time_to_collapse(0.99, 0.9, math.inf, 1.8, tail=[2 * tail, 0.5 * tail], flow=flow)
    with CONTEXT.workdps(80):
        start, whole, _ = way(0.99, 0.9, 5.0, 1.8)
        exact = free(flow, start, whole, start + whole - CONTEXT.log(1 / real(2 * tail) - 1))
    assert close(found[0], exact, 1e-12)
    assert found[1] == math.inf


@each_flow
@pytest.mark.parametrize(
    ("p", "b", "c", "lam", "tail"),
    [
        (0.3, 0.6, 5.0, -2.0, 0.17),  # before the edge, which is at 0.14
        (0.3, 0.6, 5.0, -2.0, 0.06),  # past it
        (0.3, 0.6, 5.0, -2.0, 1e-9),  # past the fixed point, at 0.05: only the clip lets it go there
    ],
)
def test_a_base_above_its_teacher_collapses_at_a_negative_coefficient(
    p: float, b: float, c: float, lam: float, tail: float, flow: Flow
) -> None:
    assert ls.regime(p, b, c, lam) is ls.Regime.COLLAPSING
    exact = exact_collapse(p, b, c, lam, tail, flow)
    assert trajectory(p, b, c, lam, [float(exact)], flow=flow)[-1] == pytest.approx(-logit(tail), abs=1e-8)
    assert close(time_to_collapse(p, b, c, lam, tail=tail, flow=flow), exact, 1e-12)


@each_flow
def test_a_base_past_the_edge_collapses_where_the_push_is_too_strong(flow: Flow) -> None:
    p, b, c, lam, tail = 0.5, 0.999, 2.0, 0.5, 1e-6
    assert ls.regime(p, b, c, lam) is ls.Regime.COLLAPSING
    time = brentq(lambda t: trajectory(p, b, c, lam, [t], flow=flow)[-1] + logit(tail), 0.0, 1e8)
    assert time_to_collapse(p, b, c, lam, tail=tail, flow=flow) == pytest.approx(time, rel=1e-7)


@each_flow
def test_a_larger_tail_than_the_base_takes_no_time_wherever_the_student_goes(flow: Flow) -> None:
    assert time_to_collapse(0.9, 0.5, 2.0, [-1.0, 0.0, 1.0, 3.0], tail=0.6, flow=flow).tolist() == [0.0] * 4
    assert time_to_collapse(0.3, 0.6, 2.0, [-1.0, 0.0, 1.0, 3.0], tail=0.5, flow=flow).tolist() == [0.0] * 4


@each_flow
def test_a_base_past_the_edge_that_moves_back_is_at_a_larger_tail_already(flow: Flow) -> None:
    assert time_to_collapse(0.03, 0.68, 1.15, 0.23, tail=0.37, flow=flow) == 0
    assert time_to_collapse(0.03, 0.68, 1.15, 0.23, tail=0.2, flow=flow) == math.inf


# Trajectory


def velocity(p: float, b: float, c: float, lam: float, flow: Flow) -> Callable[[float], float]:
    """The drift of the log-odds from the model's definition."""

    def drift(theta: float) -> float:
        log_q, log_tail = -math.log1p(math.exp(-theta)), -math.log1p(math.exp(theta))
        modal = min(math.log(p) - log_q, math.log(c)) + (lam - 1) * (math.log(p) - math.log(b))
        tail = min(math.log1p(-p) - log_tail, math.log(c)) + (lam - 1) * (math.log1p(-p) - math.log1p(-b))
        return (modal - tail) * (1.0 if flow == "natural" else math.exp(log_q + log_tail))

    return drift


@given(ordered(moderate), st.floats(-2.0, 4.0), st.lists(st.floats(0.001, 20.0), max_size=4, unique=True).map(sorted))
def test_without_a_clip_the_natural_flow_has_a_closed_form(
    pair: tuple[float, float], lam: float, times: list[float]
) -> None:
    for p, b in (pair, pair[::-1]):
        start, gap = logit(b), logit(p) - logit(b)
        closed = start - lam * gap * np.expm1(-np.array(times))
        np.testing.assert_allclose(trajectory(p, b, math.inf, lam, times), closed, rtol=0, atol=1e-9)


@each_flow
@pytest.mark.parametrize(("p", "b", "c", "more"), [(0.9, 0.5, 2.0, 0.1), (0.99, 0.9, 5.0, 0.01), (0.6, 0.2, 4.0, 1.0)])
def test_trajectory_passes_the_edge_on_time_and_is_faster_from_there(
    p: float, b: float, c: float, more: float, flow: Flow
) -> None:
    lam = ls.threshold(p, b, c) * (1 + more)
    time, edge = time_to_edge(p, b, c, lam, flow=flow), at_edge(p, c)
    drift = velocity(p, b, c, lam, flow)
    step = 0.1 / drift(edge) * min(1.0, drift(edge))
    times = [0.5 * time, time - step, time, time + 0.01 * step, time + step]
    clipped = trajectory(p, b, c, lam, times, flow=flow)
    unclipped = trajectory(p, b, math.inf, lam, times, flow=flow)
    assert clipped[2] == pytest.approx(edge, abs=1e-8)
    np.testing.assert_allclose(clipped[:3], unclipped[:3], rtol=0, atol=1e-8)
    start, whole, _ = way(p, b, c, lam)
    for at, theta in zip(times[:3], clipped[:3], strict=True):
        assert close(at, free(flow, start, whole, start + whole - real(theta)), 1e-7)
    # Past the edge the velocity gains 1−tail per unit of the way, times q(1−q) under policy gradient.
    tail = (1 - p) / c
    gain = (1 - tail) * (1.0 if flow == "natural" else tail * (1 - tail))
    assert clipped[4] - unclipped[4] == pytest.approx(gain * drift(edge) * step**2 / 2, rel=0.2)
    assert clipped[3] > unclipped[3]
    assert expit(-clipped[4]) < expit(-unclipped[4])


@each_flow
@pytest.mark.parametrize(("p", "b", "c", "lam", "tail"), COLLAPSES)
def test_trajectory_reaches_a_tail_at_the_time_to_collapse(
    p: float, b: float, c: float, lam: float, tail: float, flow: Flow
) -> None:
    tails = np.geomspace(1 - b, tail, 5)[1:]
    times = time_to_collapse(p, b, c, lam, tail=tails, flow=flow)
    np.testing.assert_allclose(trajectory(p, b, c, lam, times, flow=flow), np.log1p(-tails) - np.log(tails), atol=1e-8)


@settings(max_examples=60)
@given(moderate, moderate, clips, st.floats(-1.0, 4.0), st.floats(-2.0, 2.0), flows)
@example(0.9, 0.2, 2.0, 1.4, 0.0, "natural")  # the clip acts on the modal token at the start
@example(0.9, 0.2, 2.0, 4.0, 1.0, "policy-gradient")  # and on the tail later
@example(0.3, 0.6, 2.0, 3.0, 0.5, "natural")  # the clip ends up on the modal token
@example(0.5, 0.999, 2.0, 0.5, 1.0, "natural")  # the base starts beyond the edge
def test_time_is_the_integral_of_the_inverse_velocity(
    p: float, b: float, c: float, lam: float, power: float, flow: Flow
) -> None:
    drift, start = velocity(p, b, c, lam, flow), logit(b)
    assume(abs(drift(start)) > 1e-6)
    time = 10.0**power / (1.0 if flow == "natural" else math.exp(-abs(start)))
    end = float(trajectory(p, b, c, lam, [time], flow=flow)[0])
    assume(abs(end) < 30)
    speed = abs(drift(end))
    assume(speed > 1e-4 * abs(drift(start)))  # not at rest yet
    kinks = [kink for kink in (logit(p / c), at_edge(p, c)) if min(start, end) < kink < max(start, end)]
    places = sorted([start, *kinks, end], reverse=start > end)
    parts = [
        quad(lambda at: 1 / drift(at), a, b, epsabs=0, epsrel=1e-11, limit=500)[0]
        for a, b in itertools.pairwise(places)
    ]
    assert math.fsum(parts) * speed == pytest.approx(time * speed, abs=1e-7)


@each_flow
@pytest.mark.parametrize(
    ("p", "b", "c", "lam"),
    [
        (0.3, 0.6, 2.0, 1.5),  # the base above the teacher: the modal token falls freely
        (0.3, 0.6, 2.0, 2.2),  # past its own clip edge
        (0.3, 0.6, 2.0, 3.0),  # and runs away
        (0.9, 0.2, 2.0, 1.2),  # the clip holds the modal token at the start, and lets go
        (0.9, 0.2, 2.0, 2.0),  # the same, and the tail is clipped later: both kinks
    ],
)
def test_trajectory_agrees_with_plain_runge_kutta(p: float, b: float, c: float, lam: float, flow: Flow) -> None:
    drift, theta, h = velocity(p, b, c, lam, flow), logit(b), 0.004
    path = [theta]
    for _ in range(3000):
        first = drift(theta)
        second = drift(theta + h / 2 * first)
        third = drift(theta + h / 2 * second)
        theta += h / 6 * (first + 2 * second + 2 * third + drift(theta + h * third))
        path.append(theta)
    times = h * np.arange(0, 3001, 100)
    np.testing.assert_allclose(trajectory(p, b, c, lam, times, flow=flow), path[::100], atol=1e-6)


@each_flow
@pytest.mark.parametrize(("p", "b", "c"), [(0.9, 0.5, 2.0), (0.99, 0.9, 5.0), (0.3, 0.6, 2.0)])
def test_late_student_is_the_stationary_one(p: float, b: float, c: float, flow: Flow) -> None:
    high, low = max(p, b), min(p, b)
    modal = p if p > b else 1 - p  # the side that gains
    gap = logit(high) - logit(low)
    start, end = math.log((c - 1 + modal) / modal) / gap, math.log(c / modal) / gap
    for lam in (1 + 0.5 * start, 1 + 0.9 * start, 1 + start + 0.3 * (end - start), 1 + start + 0.6 * (end - start)):
        q = ls.stationary_student(p, b, c, lam)
        slack = min(q, 1 - q)
        time = 60 / slack / (1.0 if flow == "natural" else slack)
        theta = trajectory(p, b, c, lam, [time], flow=flow)[-1]
        assert expit(-theta) == pytest.approx(1 - q, rel=1e-7)
        assert expit(theta) == pytest.approx(q, rel=1e-7)


@pytest.mark.parametrize(("p", "b", "c", "more"), [(0.9, 0.5, 2.0, 0.1), (0.99, 0.9, 5.0, 0.3)])
def test_past_the_collapse_point_the_student_runs_away(p: float, b: float, c: float, more: float) -> None:
    surplus = more * (logit(p) - logit(b))
    lam = ls.collapse_point(p, b, c) + more
    first, second = trajectory(p, b, c, lam, [300.0, 600.0])
    assert second - first == pytest.approx(300 * surplus, rel=1e-9)
    # Under policy gradient e^θ grows at that speed.
    first, second = np.exp(trajectory(p, b, c, lam, [1e8, 2e8], flow="policy-gradient"))
    assert second - first == pytest.approx(1e8 * surplus, rel=1e-6)


@each_flow
def test_without_the_clip_nothing_collapses(flow: Flow) -> None:
    p, b, c = 0.9, 0.5, 2.0
    for lam in (0.5, 1.0, 1.3, 1.5, 3.0, 6.0):
        target = logit(p) + (lam - 1) * (logit(p) - logit(b))
        time = 60.0 * (1 if flow == "natural" else 2 + math.exp(target) + math.exp(-target))
        theta = trajectory(p, b, math.inf, lam, [time], flow=flow)[-1]
        assert theta == pytest.approx(target, abs=1e-8)
        assert expit(theta) == pytest.approx(ls.fixed_point(p, b, lam), rel=1e-12)
    assert trajectory(p, b, c, 3.0, [60.0])[-1] > logit(p) + 2 * logit(p) + 10


def test_tail_mass_falls_by_orders_of_magnitude_at_the_cliff() -> None:
    p, b, c = 0.99, 0.9, 5.0
    start = ls.threshold(p, b, c)
    tails = [expit(-trajectory(p, b, c, start + more, [2000.0])[-1]) for more in (-0.001, 0.001, 0.01)]
    assert f"{tails[0]:.3e}" == "2.005e-03"
    assert [f"{tail:.1e}" for tail in tails[1:]] == ["2.4e-04", "1.7e-22"]


def test_plain_steps_fall_off_the_same_cliff() -> None:
    p, b, c = 0.99, 0.9, 5.0
    tails = []
    for more in (-0.001, 0.001, 0.01):
        theta, drift = logit(b), velocity(p, b, c, ls.threshold(p, b, c) + more, "natural")
        for _ in range(4000):
            theta += 0.5 * drift(theta)
        tails.append(f"{expit(-theta):.1e}")
    assert tails == ["2.0e-03", "2.4e-04", "1.6e-22"]


@pytest.mark.parametrize(("p", "b", "c"), [(0.99, 0.9, 5.0), (0.9, 0.5, 2.0), (0.999, 0.3, 4.0)])
def test_cliff_is_as_wide_as_it_is_said_to_be(p: float, b: float, c: float) -> None:
    edge = at_edge(p, c)
    low, high = ls.operating_point(p, b, c, margin=0.1), ls.collapse_point(p, b, c) + 0.1
    leaves = brentq(lambda lam: trajectory(p, b, c, lam, [60.0])[-1] - edge, low, high, xtol=1e-13)
    safe, gone = low, high
    while gone - safe > 1e-13:
        middle = (safe + gone) / 2
        finite = math.isfinite(time_to_collapse(p, b, c, middle, tail=1e-13))
        safe, gone = (safe, middle) if finite else (middle, gone)
    assert gone - leaves == pytest.approx(ls.cliff_width(p, b, c), abs=1e-11)
    assert leaves == pytest.approx(ls.threshold(p, b, c), abs=1e-11)


def test_times_may_be_none_or_zero_or_repeat() -> None:
    assert trajectory(0.9, 0.6, 2.0, 1.5, []).shape == (0,)
    assert trajectory(0.9, 0.6, 2.0, 1.5, [0.0, 0.0]) == pytest.approx([logit(0.6)] * 2, rel=1e-14)
    once = trajectory(0.9, 0.6, 2.0, 1.5, [0.0, 1.0, 5.0])
    assert np.array_equal(once[0], trajectory(0.9, 0.6, 2.0, 1.5, [0.0])[0])
    assert trajectory(0.9, 0.6, 2.0, 1.5, [5.0])[0] == pytest.approx(once[2], abs=1e-9)
    assert np.isnan(trajectory(0.9, 0.6, math.nan, 1.5, [0.0, 1.0])).all()
    assert np.isnan(trajectory(0.9, 0.6, 2.0, 1.5, [0.0, math.nan])).all()


def test_a_time_may_be_asked_for_twice() -> None:
    once = trajectory(0.9, 0.6, 2.0, 1.5, [1.0, 5.0])
    np.testing.assert_array_equal(trajectory(0.9, 0.6, 2.0, 1.5, [1.0, 1.0, 5.0, 5.0]), np.repeat(once, 2))


@each_flow
def test_trajectory_keeps_its_promise_after_a_long_time(flow: Flow) -> None:
    p, b, c = 0.99, 0.9, 5.0
    lam = ls.collapse_point(p, b, c)
    time = float(exact_collapse(p, b, c, lam, 1e-6, flow))
    assert time > 9e5
    assert trajectory(p, b, c, lam, [time], flow=flow)[-1] == pytest.approx(-logit(1e-6), abs=1e-8)


# Sampled


def mean_and_error(
    lams: list[float], times: Floats, seeds: range, point: tuple[float, float, float] = POINT, **options: Any
) -> tuple[Floats, Floats]:
    """The mean over seeds and its standard error, at the steps next to some times."""
    runs = np.array([simulate(*point, lams, seed=seed, **options)[np.rint(times).astype(int)] for seed in seeds])
    return runs.mean(axis=0), runs.std(axis=0, ddof=1) / math.sqrt(len(seeds))


@pytest.mark.parametrize("baseline", [True, False])
def test_mean_over_seeds_follows_the_flow(baseline: bool) -> None:
    p, b, c = 0.8, 0.5, 2.0
    start, end = ls.threshold(p, b, c), ls.collapse_point(p, b, c)
    lams = [0.7, 1.0, 0.5 * (start + end), end + 0.3]
    rate, marks = 0.002, np.array([100, 300, 750, 1500])
    options: dict[str, Any] = {"rate": rate, "steps": 1500, "rollouts": 150, "baseline": baseline}
    mean, error = mean_and_error(lams, marks, range(25), (p, b, c), **options)
    # A step of a linear flow is exact for this time.
    flow = np.array([trajectory(p, b, c, lam, -marks * math.log1p(-rate)) for lam in lams]).T
    assert error.max() < 0.02
    assert np.all(abs(mean - flow) < 4 * error)


def test_mean_over_seeds_follows_policy_gradient() -> None:
    lams, rate, marks = [1.0, 1.3, 2.0], 0.005, np.array([400, 1600])
    options: dict[str, Any] = {"rate": rate, "steps": 1600, "rollouts": 50, "flow": "policy-gradient"}
    mean, error = mean_and_error(lams, marks, range(30), **options)
    flow = np.array([trajectory(*POINT, lam, marks * rate, flow="policy-gradient") for lam in lams]).T
    assert error.max() < 0.01
    assert np.all(abs(mean - flow) < 4 * error)


def test_mean_over_seeds_of_linear_steps_is_exact() -> None:
    p, b, rate, steps, lams = 0.7, 0.4, 0.2, 12, [0.5, 1.0, 1.5]
    mean, error = mean_and_error(
        lams, np.array([1, 4, steps]), range(200), (p, b, math.inf), rate=rate, steps=steps, rollouts=100
    )
    gap, counts = logit(p) - logit(b), np.array([[1], [4], [steps]])
    exact = logit(b) + np.array(lams) * gap * (1 - (1 - rate) ** counts)
    assert error.max() < 0.01
    assert np.all(abs(mean - exact) < 4 * error)


def test_baseline_lowers_the_noise() -> None:
    def spread(baseline: bool) -> float:
        lams = np.full(200, 1.2)
        return float(simulate(*POINT, lams, rollouts=50, steps=100, seed=0, baseline=baseline)[-1].std())

    # At the fixed point all tokens have one advantage, and only the part that it shares with the baseline is noise.
    assert 2 * spread(True) < spread(False)


def test_a_run_is_its_seed() -> None:
    options: dict[str, Any] = {"rollouts": 20, "steps": 30}
    lams = np.array([[1.1, 1.2, 1.3], [1.4, 1.5, 1.6]])
    first, again, other = (simulate(*POINT, lams, seed=seed, **options) for seed in (1, 1, 2))
    assert first.shape == (31, 2, 3)
    assert np.array_equal(first, again)
    assert not np.array_equal(first[1:], other[1:])
    assert len(np.unique(simulate(*POINT, np.full(9, 1.2), seed=1, **options)[-1])) > 5  # each λ has its own draws
    assert np.all(first[0] == logit(0.5))
    single = simulate(0.9, 0.7, 2.0, 1.2, seed=1, **options)
    assert single.shape == (31,)
    assert single[0] == pytest.approx(logit(0.7), rel=1e-14)
    assert simulate(*POINT, 1.2, rollouts=1, steps=0, seed=0).shape == (1,)


def mean_tail(lams: Floats, c: float) -> Floats:
    runs = [simulate(0.9, 0.5, c, lams, rollouts=10**6, steps=1500, seed=seed, rate=0.1)[-1] for seed in range(3)]
    return np.asarray(np.mean(expit(-np.array(runs)), axis=0))


def test_sampled_collapse_lies_on_the_cliff() -> None:
    p, b, c, time = 0.9, 0.5, 2.0, 150.0
    gone = (1 - p) / c / 100
    start, end = ls.threshold(p, b, c), ls.collapse_point(p, b, c)
    lams = np.arange(1.25, 1.55, 0.004)
    tails = mean_tail(lams, c)
    first = lams[np.argmax(tails < gone)]
    assert np.any(tails < gone)
    # What the budget adds: the λ that takes all of it to that tail.
    latest = brentq(lambda lam: time_to_collapse(p, b, c, lam, tail=gone) - time, end + 1e-6, 2.0)
    assert budget_threshold(p, b, c, time) == pytest.approx(start, rel=1e-12)  # long past the edge
    assert start <= first <= latest + 0.004
    assert first > end - gone  # not before the student has nowhere to settle
    assert np.all(tails[lams < start - 0.01] > (1 - p) / c)


def test_sampled_student_does_not_collapse_without_a_clip() -> None:
    lams = np.arange(1.25, 1.55, 0.02)
    tails = mean_tail(lams, math.inf)
    np.testing.assert_allclose(tails, 1 - ls.fixed_point(0.9, 0.5, lams), rtol=0.02)
    assert np.all(tails > 0.1 / 2 / 100)


@pytest.mark.parametrize("baseline", [True, False])
def test_a_sampled_student_that_has_collapsed_stays_so(baseline: bool) -> None:
    path = simulate(*POINT, 5.0, rollouts=1000, steps=400, seed=0, rate=1.0, baseline=baseline)
    assert np.all(np.diff(path) >= 0)
    assert path[-1] > (15 if baseline else 800)  # e^−800 is no float


def test_a_missing_coefficient_leaves_the_others_alone() -> None:
    path = simulate(*POINT, [1.2, math.nan], rollouts=10, steps=5, seed=0)
    assert np.isfinite(path[:, 0]).all()
    assert np.isnan(path[1:, 1]).all()
