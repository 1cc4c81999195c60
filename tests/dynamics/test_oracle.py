"""Times, thresholds, steps and trajectories against the slow reference."""

from __future__ import annotations

import itertools
import math
from functools import partial

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

import lambda_star as ls
from lambda_star.dynamics import (
    Flow,
    _times,
    budget_threshold,
    steps_to_edge,
    time_to_collapse,
    time_to_edge,
    trajectory,
)
from tests import oracle
from tests.dynamics.reference import (
    COLLAPSES,
    CONTEXT,
    EPS,
    HALF,
    WIDE,
    Floats,
    Real,
    above,
    at_edge,
    clipped_by_quadrature,
    clips,
    close,
    distances,
    each_flow,
    edge_by_quadrature,
    exact_collapse,
    exact_time,
    flows,
    free,
    logit,
    pieces,
    powers,
    real,
    typical,
    velocity,
)
from tests.night import thinned
from tests.strategies import moderate, ordered


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


@given(ordered(moderate), clips, st.floats(-6.0, 1.0), st.one_of(st.floats(0.005, 0.999), st.just(1.0)))
def test_one_step_more_than_the_budget_passes_the_edge(
    pair: tuple[float, float], c: float, k: float, rate: float
) -> None:
    p, b = pair
    lam = above(p, b, c, 10.0**k)
    steps = steps_to_edge(p, b, c, lam, rate=rate)
    assume(steps < 3000)
    theta, whole, remaining = distances(p, b, c, lam)
    target = theta + whole
    edge = target - remaining
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


@given(ordered(moderate), clips, powers)
def test_threshold_of_a_natural_budget_is_the_closed_form(pair: tuple[float, float], c: float, power: float) -> None:
    p, b = pair
    budget = 10.0**power
    exact = oracle.threshold(p, b, c) / -CONTEXT.expm1(-real(budget))
    assert close(budget_threshold(p, b, c, budget), exact, 8 * EPS)


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


@pytest.mark.slow
@pytest.mark.parametrize(("p", "b", "budget"), thinned([(0.9, 0.5, 1e-170), (0.5, 1e-164, 1.0)], 2))
def test_thresholds_past_the_root_of_the_largest_float_are_floats(p: float, b: float, budget: float) -> None:
    lam = float(budget_threshold(p, b, 2.0, budget, flow="policy-gradient"))
    # The closed form has no digits left in a working precision that one would wait for; its integral has.
    start, _, remaining = distances(p, b, 2.0, lam)
    edge = CONTEXT.log((1 + real(p)) / (1 - real(p)))

    def inverse_velocity(theta: Real) -> Real:
        return (2 + CONTEXT.exp(theta) + CONTEXT.exp(-theta)) / (1 + (edge - theta) / remaining)

    exact = CONTEXT.quad(inverse_velocity, pieces(start, edge)) / remaining
    assert close(budget, exact, 1e-12)


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
def test_without_a_clip_the_way_to_a_tail_is_free(flow: Flow) -> None:
    tail = 1 - ls.fixed_point(0.99, 0.9, 1.8)
    found = time_to_collapse(0.99, 0.9, math.inf, 1.8, tail=[2 * tail, 0.5 * tail], flow=flow)
    with CONTEXT.workdps(80):
        start, whole, _ = distances(0.99, 0.9, 5.0, 1.8)
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
    assert ls.regime(p, b, c, lam) is ls.bernoulli.Regime.COLLAPSING
    exact = exact_collapse(p, b, c, lam, tail, flow)
    assert trajectory(p, b, c, lam, [float(exact)], flow=flow)[-1] == pytest.approx(-logit(tail), abs=1e-8)
    assert close(time_to_collapse(p, b, c, lam, tail=tail, flow=flow), exact, 1e-12)


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
    assume(speed > 1e-4 * abs(drift(start)))  # not settled yet
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
def test_trajectory_keeps_its_promise_after_a_long_time(flow: Flow) -> None:
    p, b, c = 0.99, 0.9, 5.0
    lam = ls.collapse_point(p, b, c)
    time = float(exact_collapse(p, b, c, lam, 1e-6, flow))
    assert time > 9e5
    assert trajectory(p, b, c, lam, [time], flow=flow)[-1] == pytest.approx(-logit(1e-6), abs=1e-8)
