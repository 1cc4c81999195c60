"""Sampled batches against the flow that they follow in the mean."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import expit

import lambda_star as ls
from lambda_star.dynamics import budget_threshold, simulate, time_to_collapse, trajectory
from tests.dynamics.reference import POINT, Floats, logit


def mean_and_error(
    lams: list[float], times: Floats, seeds: range, point: tuple[float, float, float] = POINT, **options: Any
) -> tuple[Floats, Floats]:
    """The mean over seeds and its standard error, at the steps next to some times."""
    runs = np.array([simulate(*point, lams, seed=seed, **options)[np.rint(times).astype(int)] for seed in seeds])
    return runs.mean(axis=0), runs.std(axis=0, ddof=1) / math.sqrt(len(seeds))


@pytest.mark.slow
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


@pytest.mark.slow
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
    assert path[-1] > (15 if baseline else 800)  # e^−800 is below the least float
