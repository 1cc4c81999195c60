"""What the times, thresholds and trajectories must obey: limits, orders, and each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import expit

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
from tests.dynamics.reference import (
    COLLAPSES,
    EPS,
    FLOWS,
    above,
    at_edge,
    clips,
    close,
    distances,
    each_flow,
    flows,
    free,
    gentle,
    logit,
    powers,
    real,
    slowest,
    typical,
    velocity,
)
from tests.strategies import moderate, open_clips, ordered


@each_flow
def test_a_student_that_settles_never_passes_where_it_settles(flow: Flow) -> None:
    surplus, start, end = np.array([-0.1, -0.1, -0.1]), np.full(3, 0.5), np.array([0.1, 0.05, 0.11])
    found = _times.clipped_time(flow, surplus, start, end)
    assert np.array_equal(np.isinf(found), [True, True, False])
    assert found[2] > 0


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


@each_flow
def test_a_whole_step_from_a_safe_coefficient_never_passes_the_edge(flow: Flow) -> None:
    assert steps_to_edge(0.9, 0.5, 2.0, 1.1, flow=flow, rate=1.0) == math.inf


@given(ordered(), open_clips, st.floats(-12.0, 4.0), flows)
def test_an_endless_budget_gives_the_threshold(pair: tuple[float, float], c: float, power: float, flow: Flow) -> None:
    p, b = pair
    start = ls.threshold(np.array(p), b, c)  # as of arrays: another logarithm than that of the math module
    assert budget_threshold(p, b, c, math.inf, flow=flow) == start
    assert budget_threshold(p, b, c, 0.0, flow=flow) == math.inf
    assert budget_threshold(p, b, c, 10.0**power, flow=flow) >= start


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
    tail = 1 - ls.bernoulli.stationary_student(p, b, c, lam)
    assume(1e-6 < tail < 0.9)
    assert time_to_collapse(p, b, c, lam, tail=0.999 * min(tail, 1 - b), flow=flow) == math.inf
    if 1.001 * tail < 0.999 * (1 - b):
        assert 0 < time_to_collapse(p, b, c, lam, tail=1.001 * tail, flow=flow) < math.inf


@each_flow
def test_a_base_past_the_edge_collapses_where_the_push_is_too_strong(flow: Flow) -> None:
    p, b, c, lam, tail = 0.5, 0.999, 2.0, 0.5, 1e-6
    assert ls.regime(p, b, c, lam) is ls.bernoulli.Regime.COLLAPSING
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
    start, whole, _ = distances(p, b, c, lam)
    for at, theta in zip(times[:3], clipped[:3], strict=True):
        assert close(at, free(flow, start, whole, start + whole - real(theta)), 1e-7)
    # Past the edge the velocity gains 1−tail per unit of log-odds, times q(1−q) under policy gradient.
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


@each_flow
@pytest.mark.parametrize(("p", "b", "c"), [(0.9, 0.5, 2.0), (0.99, 0.9, 5.0), (0.3, 0.6, 2.0)])
def test_late_student_is_the_stationary_one(p: float, b: float, c: float, flow: Flow) -> None:
    high, low = max(p, b), min(p, b)
    modal = p if p > b else 1 - p  # the side that gains
    gap = logit(high) - logit(low)
    start, end = math.log((c - 1 + modal) / modal) / gap, math.log(c / modal) / gap
    for lam in (1 + 0.5 * start, 1 + 0.9 * start, 1 + start + 0.3 * (end - start), 1 + start + 0.6 * (end - start)):
        q = ls.bernoulli.stationary_student(p, b, c, lam)
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
    assert gone - leaves == pytest.approx(ls.bernoulli.cliff_width(p, b, c), abs=1e-11)
    assert leaves == pytest.approx(ls.threshold(p, b, c), abs=1e-11)
