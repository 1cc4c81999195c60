"""The corners of the flows: λ up to the largest floats, subnormal probabilities, teachers next to their base."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from scipy.special import log_expit

from lambda_star import bernoulli, dynamics
from lambda_star.dynamics._flow import _Update
from tests import oracle
from tests.strategies import hostile_clips, hostile_lams, hostile_pairs

FLOWS = ("natural", "policy-gradient")
CONTEXT = oracle.CONTEXT
TIMES = (0.0, 1e-300, 1e-3, 1.0, 10.0)

clips = st.one_of(hostile_clips, st.just(math.inf))


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("c", [1.0, 2.0, 1e308, math.inf])
@given(pair=hostile_pairs(), sign=st.sampled_from((-1.0, 1.0)))
@example((0.9, 0.5), 1.0)
@example((0.5, 0.5), 1.0)
@example((5e-324, 0.5), 1.0)
def test_a_trajectory_at_the_largest_lambda_ends(flow: Any, c: float, pair: tuple[float, float], sign: float) -> None:
    p, b = pair
    path = dynamics.trajectory(p, b, c, sign * 1e308, TIMES, flow=flow)
    assert path[0] == pytest.approx(float(oracle.logit(b)), rel=1e-14, abs=1e-300)
    assert not np.isnan(path).any()
    steps = np.sign(np.diff(path[np.isfinite(path)]))
    assert p == b or np.all(steps * sign * (1 if p > b else -1) >= 0)


def pushed(p: float, b: float, c: float, lam: float, time: float, flow: str) -> Any:
    """The log-odds where only the push counts: a line, an exponential, or the root of 2θ + 2 sinh θ = goal."""
    push, start = oracle.push(p, b, lam), oracle.logit(b)
    if flow == "natural" and c < math.inf:
        return start + push * oracle.real(time)
    if flow == "natural":
        return start - (push + oracle.logit(p) - start) * CONTEXT.expm1(-oracle.real(time))
    goal = 2 * start + 2 * CONTEXT.sinh(start) + push * oracle.real(time)
    low, high = -CONTEXT.mpf(2000), CONTEXT.mpf(2000)
    for _ in range(120):
        middle = (low + high) / 2
        low, high = (middle, high) if 2 * middle + 2 * CONTEXT.sinh(middle) < goal else (low, middle)
    return low


@pytest.mark.parametrize("flow", FLOWS)
@given(hostile_pairs(), clips, hostile_lams, st.floats(-300.0, 2.0).map(lambda k: 10.0**k))
@example((0.9, 0.2), math.inf, 1e19, 60.0)
def test_a_trajectory_under_an_overwhelming_push(
    flow: Any, pair: tuple[float, float], c: float, lam: float, time: float
) -> None:
    p, b = pair
    assume(abs(oracle.push(p, b, lam)) > 1e18)
    found, exact = dynamics.trajectory(p, b, c, lam, [time], flow=flow)[0], pushed(p, b, c, lam, time, flow)
    if math.isinf(found):
        assert abs(exact) > 1.7e308
        assert (found > 0) == (exact > 0)
    else:
        assert found == pytest.approx(float(exact), rel=1e-12, abs=1e-9)


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("c", [2.0, math.inf])
@pytest.mark.parametrize("lam", [1e9, 4.5e17])
def test_an_integrated_flow_is_that_of_its_push_where_the_push_is_large(flow: Any, c: float, lam: float) -> None:
    times = [0.0, 1 / lam, 3 / lam, 10 / lam]
    found = dynamics.trajectory(0.9, 0.5, c, lam, times, flow=flow)
    assert float(oracle.push(0.9, 0.5, lam)) < 1e18
    exact = [float(pushed(0.9, 0.5, c, lam, time, flow)) for time in times]
    np.testing.assert_allclose(found, exact, rtol=1e-9 + 10 / lam, atol=1e-8)


@pytest.mark.parametrize("p", [5e-324, 1e-310, 1 - 2.0**-53])
@pytest.mark.parametrize("c", [1.0, 2.0, 1e300])
def test_a_trajectory_from_a_base_at_the_ends_of_the_floats(p: float, c: float) -> None:
    path = dynamics.trajectory(p, 0.5, c, 1.0, [0.0, 200.0])
    end = float(oracle.logit(bernoulli.stationary_student(p, 0.5, c, 1.0))) if c > 1 else math.nan
    assert np.isfinite(path).all()
    assert c == 1.0 or path[1] == pytest.approx(end, rel=1e-9)


@pytest.mark.parametrize("lam", [1e9, 1e16])
def test_a_teacher_next_to_its_base_keeps_the_digits_of_its_push(lam: float) -> None:
    p, b = math.nextafter(0.9, 1.0), 0.9
    push = oracle.push(p, b, lam)
    end = float(oracle.logit(p) + push)
    assert dynamics.trajectory(p, b, math.inf, lam, [0.0, 60.0])[1] == pytest.approx(end, rel=1e-10)


@pytest.mark.parametrize("flow", FLOWS)
@given(pair=hostile_pairs(), c=clips, lam=hostile_lams)
@example((0.9, 0.5), 1e308, 1e308)
@example((1 - 2.0**-53, 0.5), 1e308, 1e308)
@example((0.5, 5e-324), 1e308, 1e308)
@example((5e-324, 1e-323), 1.0000000000000002, -812165106069611.0)
def test_no_time_is_nan(flow: Any, pair: tuple[float, float], c: float, lam: float) -> None:
    p, b = pair
    times = [
        dynamics.time_to_edge(p, b, c, lam, flow=flow),
        dynamics.steps_to_edge(p, b, c, lam, 0.1, flow=flow),
        dynamics.time_to_collapse(p, b, c, lam, tail=1e-3, flow=flow),
        dynamics.budget_threshold(p, b, c, 1e308, flow=flow),
    ]
    assert not np.isnan(times).any()
    assert min(times) >= 0


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("c", [2.0, math.inf])
@pytest.mark.parametrize("lam", [1e308, -1e308, 1e300])
def test_a_simulation_at_the_largest_lambda_holds_numbers(flow: Any, c: float, lam: float) -> None:
    for p, b in ((0.9, 0.5), (0.3, 0.5), (5e-324, 0.5), (0.5, 1e-300)):
        path = dynamics.simulate(p, b, c, lam, rollouts=10, steps=5, seed=1, flow=flow)
        assert not np.isnan(path).any()


@pytest.mark.parametrize("c", [1.0, 1.5, 5.0, 1e12])
def test_the_flow_has_a_kink_where_a_log_ratio_reaches_the_clip(c: float) -> None:
    update = _Update(0.9, 0.5, c, 1.5)
    stops, starts = update.kinks()
    assert math.log(0.9) - log_expit(stops) == pytest.approx(math.log(c), abs=1e-14)
    assert math.log1p(-0.9) - log_expit(-starts) == pytest.approx(math.log(c), abs=1e-14)


def test_a_budget_over_a_short_way_through_even_odds_is_the_time_to_the_edge() -> None:
    p, b, c, budget = np.array([0.5, 0.5, 0.55]), np.array([0.45, 0.4, 0.45]), np.array([1.02, 1.1, 1.01]), 3.0
    lam = dynamics.budget_threshold(p, b, c, budget, flow="policy-gradient")
    np.testing.assert_allclose(dynamics.time_to_edge(p, b, c, lam, flow="policy-gradient"), budget, rtol=1e-12)


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("baseline", [True, False])
def test_a_sampled_student_at_rest_feels_no_noise(flow: Any, baseline: bool) -> None:
    path = dynamics.simulate(0.5, 0.5, math.inf, 1.0, rollouts=3, steps=5, seed=0, flow=flow, baseline=baseline)
    assert path.tolist() == [0.0] * 6


def test_a_tail_that_is_the_base_s_is_reached_at_once_whatever_lambda() -> None:
    assert dynamics.time_to_collapse(0.9, 0.5, 2.0, [-1.0, 0.0, 1.0, 2.0], tail=0.5).tolist() == [0.0] * 4


def test_steps_of_rate_one_leave_no_time() -> None:
    found = dynamics.budget_threshold(0.9, 0.5, 2.0, steps=[0, 1, 5], rate=1.0)
    assert found.tolist() == [math.inf, *[bernoulli.threshold(0.9, 0.5, 2.0)] * 2]


def test_a_simulation_has_a_baseline_and_the_natural_flow_unless_told_otherwise() -> None:
    def run(**switches: Any) -> Any:
        return dynamics.simulate(0.9, 0.5, 2.0, 1.2, rollouts=5, steps=3, seed=0, **switches).tolist()

    assert run() == run(flow="natural", baseline=True, rate=0.1) != run(baseline=False)


@pytest.mark.parametrize("flow", FLOWS)
def test_a_clip_that_is_nan_gives_nan(flow: Any) -> None:
    assert math.isnan(dynamics.time_to_edge(0.9, 0.5, math.nan, 1.5, flow=flow))
    assert math.isnan(dynamics.time_to_collapse(0.9, 0.5, math.nan, 1.5, tail=0.01, flow=flow))
    assert math.isnan(dynamics.budget_threshold(0.9, 0.5, math.nan, 3.0, flow=flow))
    assert np.isnan(dynamics.trajectory(0.9, 0.5, math.nan, 1.5, [0.0, 1.0], flow=flow)).all()
