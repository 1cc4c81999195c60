"""Finite budgets: the two flows, the clip edge, collapse, and the sampled version."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
from scipy.special import expit

import lambda_star as ls
from lambda_star import dynamics

P, B, C = 0.99, 0.9, 5.0


def test_policy_gradient_time_reproduces_the_quadrature() -> None:
    lam = 1 + 1.1 * (ls.threshold(0.9, 0.7, 2.0) - 1)
    assert math.isclose(
        dynamics.time_to_edge(0.9, 0.7, 2.0, lam, flow="policy-gradient"), 49.110593668667, rel_tol=1e-13
    )


@pytest.mark.parametrize("flow", ["natural", "policy-gradient"])
def test_the_budget_threshold_inverts_the_time_and_falls_to_the_asymptotic_one(flow: dynamics.Flow) -> None:
    budgets = np.geomspace(1, 1000, 9)
    found = dynamics.budget_threshold(P, B, C, budgets, flow=flow)
    assert (np.diff(found) <= 0).all()
    assert (np.diff(found)[:4] < 0).all()
    short = found[found > ls.threshold(P, B, C) * 1.001]
    times = dynamics.time_to_edge(P, B, C, short, flow=flow)
    np.testing.assert_allclose(times, budgets[: len(short)], rtol=1e-9)
    assert dynamics.budget_threshold(P, B, C, math.inf, flow=flow) == ls.threshold(P, B, C)


def test_the_time_near_the_threshold_keeps_its_digits() -> None:
    lam = ls.threshold(0.999999, 0.5, 5.0) * (1 + 1e-9)
    with mpmath.workdps(50):
        p, b, c, at = (mpmath.mpf(value) for value in (0.999999, 0.5, 5.0, lam))
        gap, edge = mpmath.log(p * (1 - b) / (b * (1 - p))), mpmath.log((c - 1 + p) / p)
        near, whole, end = (at - 1) * gap - edge, at * gap, mpmath.log((c - 1 + p) / (1 - p))
        target = end + near
        exact = 2 * mpmath.log(whole / near) + mpmath.exp(target) * (mpmath.e1(near) - mpmath.e1(whole))
        exact += mpmath.exp(-target) * (mpmath.ei(whole) - mpmath.ei(near))
    found = dynamics.time_to_edge(0.999999, 0.5, 5.0, lam, flow="policy-gradient")
    assert math.isclose(found, float(exact), rel_tol=1e-10)


@pytest.mark.parametrize("flow", ["natural", "policy-gradient"])
def test_the_trajectory_passes_the_edge_and_reaches_the_tail_when_it_should(flow: dynamics.Flow) -> None:
    times = [dynamics.time_to_edge(P, B, C, 1.8, flow=flow)]
    times.append(dynamics.time_to_collapse(P, B, C, 1.8, tail=1e-6, flow=flow))
    tails = expit(-dynamics.trajectory(P, B, C, 1.8, times, flow=flow))
    np.testing.assert_allclose(tails, [(1 - P) / C, 1e-6], rtol=1e-6)


def test_the_tail_falls_by_tens_of_orders_within_a_hundredth_of_lambda() -> None:
    star = ls.threshold(P, B, C)
    tails = [expit(-dynamics.trajectory(P, B, C, star + by, [2000.0])[-1]) for by in (-0.001, 0.001, 0.01)]
    np.testing.assert_allclose(tails, [2.005e-3, 2.42e-4, 1.675e-22], rtol=1e-3)


def test_without_a_clip_nothing_collapses() -> None:
    last = dynamics.trajectory(P, B, math.inf, 3.0, [100.0])[-1]
    assert math.isclose(expit(last), ls.fixed_point(P, B, 3.0), rel_tol=1e-9)
    assert dynamics.time_to_collapse(P, B, math.inf, 3.0, tail=1e-9) == math.inf


def test_sampled_batches_follow_the_flow() -> None:
    runs = dynamics.simulate(0.9, 0.5, 2.0, np.full(200, 1.2), rollouts=500, steps=300, seed=0)[-1]
    flow = dynamics.trajectory(0.9, 0.5, 2.0, 1.2, [-300 * math.log(0.9)])[-1]
    assert abs(runs.mean() - flow) < 5 * runs.std() / math.sqrt(len(runs)) + 0.01


def test_steps_that_stay_within_the_edge_are_counted() -> None:
    assert dynamics.budget_for(0.9, 0.5, 2.0, 1.5, rate=0.1) == 21
    assert dynamics.budget_for(0.9, 0.5, 2.0, 1.1, rate=1.0) == math.inf
    with pytest.raises(ValueError, match="flow must be one of natural, policy-gradient, got 'adam'"):
        dynamics.time_to_edge(0.9, 0.5, 2.0, 1.5, flow="adam")  # type: ignore[arg-type]
