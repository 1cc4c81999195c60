"""Calls of the public functions of numbers with arguments of every kind, for :mod:`benchmarks.fuzz`."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from lambda_star import bernoulli, categorical, cliff, dynamics, sequence, updates
from lambda_star.calibration import statistics
from lambda_star.updates import general

OBJECTS = {"force", "positions", "counts"}
"""Arguments that are objects of the library, or functions."""


def _rules() -> dict[str, Callable[..., Any]]:
    made = [
        updates.parse(text)
        for text in ("none", "log_ratio_cap:5", "log_ratio_clamp:2", "truncated_sampling:top_p=0.9", "top_k:1", "ppo")
    ]
    made += [updates.advantage_clamp(3.0), updates.reward_clip(1.0), updates.log_prob_floor(9.0)]
    return {f"{rule}.{name}": getattr(rule, name) for rule in made for name in ("leaves", "dies", "student")}


def _public(*modules: Any) -> dict[str, Callable[..., Any]]:
    return {
        f"{module.__name__}.{name}": getattr(module, name)
        for module in modules
        for name in module.__all__
        if callable(getattr(module, name)) and name.islower()
    }


STATISTICS = ("answers_for", "class_interval", "limit", "sample_size")
FUNCTIONS = {
    **_public(bernoulli, categorical, dynamics, sequence, updates),
    **{f"statistics.{name}": getattr(statistics, name) for name in STATISTICS},
    "general.dies": general.dies,
    "general.leaves": general.leaves,
    "general.student": general.student,
    "cliff.onset": cliff.onset,
    **_rules(),
}

UNIT = st.floats(0, 1) | st.sampled_from([1e-300, 5e-324, 1 - 2**-53, 0.5, 0.999, 1e-9])
REAL = st.floats(allow_nan=True) | st.sampled_from([1.0, 1.25, 0.0, 2.0, -1.0, math.inf, 1e308])
WILD: list[Any] = [
    None,
    True,
    False,
    "0.5",
    "x",
    "",
    b"1",
    10**400,
    -(10**400),
    2**63,
    1j,
    complex(math.nan, 0),
    [],
    [[]],
]
WILD += [
    [[0.1], [0.2, 0.3]],
    {},
    {"a": 1},
    {0.5},
    object(),
    math,
    len,
    Fraction(1, 2),
    Decimal("0.5"),
    range(3),
    (0.5,),
]
WILD += [np.empty(0), np.empty((0, 3)), np.empty((3, 0)), np.array([0.5, None]), np.array(["0.5"]), np.array([True])]
WILD += [
    np.array([0.5j]),
    np.array([1], np.int8),
    np.float16(0.5),
    np.float32(0.5),
    np.longdouble("0.5"),
    np.array(0.5),
]
WILD += [
    np.array(["2020"], "datetime64"),
    np.array([[0.2, 0.8]], np.float32),
    np.full((2, 3), -math.inf),
    np.bool_(True),
]
WILD += [
    np.ma.masked_array([0.5, 0.2], [False, True]),
    np.zeros((1,) * 20),
    np.array([0.2, 0.8], ">f8"),
    np.uint64(2**64 - 1),
]
WILD += [-0.0, 5e-324, math.inf, -math.inf, math.nan, 0, 1, -1, 2**1000, float(2**1000), [0.5, math.nan], [None], ["a"]]
ROWS = st.integers(1, 4).flatmap(lambda width: st.lists(st.floats(-800, 5), min_size=width, max_size=width))
TABLES = (
    ROWS
    | st.lists(st.floats(0, 1), max_size=4)
    | st.sampled_from([np.log([[0.9, 0.1]]), np.zeros((2, 3)), [0.0, -math.inf]])
)

POSITIONS = sequence.Positions.from_probabilities([0.9, 0.99], 0.5)
GOOD: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("p", "b", "q", "margin", "quantile", "confidence", "level", "closes", "rate", "tail"), UNIT),
    **dict.fromkeys(("log_t", "log_b", "sums", "values", "low", "high", "validity", "lams"), TABLES),
    **dict.fromkeys(("c", "clip", "lam", "x", "y", "order", "budget", "bound", "reference"), REAL),
    "positions": st.just(POSITIONS),
    "flow": st.sampled_from(["natural", "policy-gradient"]),
    "mode": st.sampled_from(["token", "bernoulli", "class"]),
    "steps": st.integers(0, 50),
    "items": st.integers(1, 9),
    "separator": st.tuples(UNIT, UNIT),
    "axis": st.integers(-3, 3),
    "times": st.lists(st.floats(0, 1e3), max_size=3),
    "counts": st.none(),
    "force": st.just(lambda log_q, log_t, log_b, lam: log_t - log_q + (lam - 1) * (log_t - log_b)),
    "text": st.sampled_from(["none", "log_ratio_cap:5", "ppo", "verl"]),
}


@st.composite
def _calls(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    name = draw(st.sampled_from(sorted(FUNCTIONS)))
    arguments = {}
    for each in _parameters(name):
        if each.default is not inspect.Parameter.empty and draw(st.integers(0, 2)):
            continue
        likely = GOOD.get(each.name, REAL)
        odd = 2 if each.name in OBJECTS else draw(st.integers(0, 5))
        arguments[each.name] = draw(
            st.sampled_from(WILD) if odd == 0 else st.lists(likely, max_size=3) if odd == 1 else likely
        )
    return name, arguments


def _parameters(name: str) -> list[inspect.Parameter]:
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [each for each in inspect.signature(FUNCTIONS[name]).parameters.values() if each.kind in kinds]


CALLS = _calls()


def call(_: Path, drawn: tuple[str, dict[str, Any]]) -> None:
    """Call a function; NaN comes out only where NaN goes in, and what is not a number is refused."""
    name, arguments = drawn
    result = FUNCTIONS[name](**arguments)
    taken = [key for key, value in arguments.items() if key in NUMBERS and _is_no_number(value)]
    assert not taken, f"{name} takes {arguments[taken[0]]!r} for {taken[0]}"
    if not name.startswith("statistics.") and any(map(_has_nan, _flat(result))):  # NaN is an interval of too few there
        assert any(map(_has_nan, _flat(list(arguments.values())))), f"{name} gives NaN without cause"


NUMBERS = {
    "p",
    "b",
    "c",
    "lam",
    "x",
    "y",
    "margin",
    "log_t",
    "log_b",
    "rate",
    "tail",
    "quantile",
    "confidence",
    "budget",
}
NUMBERS |= {"order", "items", "closes", "clip", "level", "steps", "times", "validity", "lams", "reference", "sums"}


def _is_no_number(value: Any) -> bool:
    """Whether a value is a text, a truth, or an object that is no integer."""
    return type(value) not in {int, type(None)} and np.asarray(value).dtype.kind in "bSUO"


def _flat(value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return [inner for each in value for inner in _flat(each)]
    return [value]


def _has_nan(value: Any) -> bool:
    try:
        return bool(np.isnan(np.asarray(value)).any())
    except (TypeError, ValueError):
        return False


def warm(_: Path) -> None:
    """Import what the functions import on first use."""
    for name in ("integrate", "optimize", "special", "stats"):
        import_module(f"scipy.{name}")


def shown(drawn: tuple[str, dict[str, Any]]) -> str:
    """The call as text."""
    name, arguments = drawn
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})"
