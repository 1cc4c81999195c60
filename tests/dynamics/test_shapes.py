"""Arrays, NaN, empty and repeated times, seeds."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lambda_star.dynamics import (
    Flow,
    budget_threshold,
    simulate,
    steps_to_edge,
    time_to_collapse,
    time_to_edge,
    trajectory,
)
from tests.dynamics.reference import FLOWS, POINT, each_flow, logit


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


def test_a_missing_coefficient_leaves_the_others_alone() -> None:
    path = simulate(*POINT, [1.2, math.nan], rollouts=10, steps=5, seed=0)
    assert np.isfinite(path[:, 0]).all()
    assert np.isnan(path[1:, 1]).all()
