"""Values outside their ranges, and the ends of the ranges."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from lambda_star.dynamics import budget_threshold, simulate, steps_to_edge, time_to_collapse, time_to_edge, trajectory
from tests.dynamics.reference import POINT

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
