"""How exact λ* is: the worst distance from 50-digit arithmetic, in units of the last place, per function and region."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

import lambda_star
from tests import oracle

POINTS = 2000
BOUND = 6
Array = NDArray[Any]
Region = Callable[[np.random.Generator, type[np.floating[Any]]], tuple[Array, Array, Array]]


def span(rng: np.random.Generator, low: float, high: float) -> Array:
    """Powers of ten between two exponents."""
    return 10.0 ** rng.uniform(low, high, POINTS)


def digits(dtype: type[np.floating[Any]]) -> float:
    return float(np.log10(np.finfo(dtype).eps))


def smallest(dtype: type[np.floating[Any]]) -> float:
    return float(np.log10(np.finfo(dtype).tiny))


def even(rng: np.random.Generator, _: type[np.floating[Any]]) -> tuple[Array, Array, Array]:
    return rng.uniform(0, 1, POINTS), rng.uniform(0, 1, POINTS), 1 + span(rng, -2, 2)


def equal(rng: np.random.Generator, dtype: type[np.floating[Any]]) -> tuple[Array, Array, Array]:
    b = rng.uniform(0.01, 0.99, POINTS)
    return b * (1 + span(rng, digits(dtype) + 0.5, -2)), b, 1 + span(rng, -2, 2)


def deterministic(rng: np.random.Generator, dtype: type[np.floating[Any]]) -> tuple[Array, Array, Array]:
    return 1 - span(rng, digits(dtype) - 0.2, -2), rng.uniform(0.05, 0.95, POINTS), 1 + span(rng, -2, 2)


def both_deterministic(rng: np.random.Generator, dtype: type[np.floating[Any]]) -> tuple[Array, Array, Array]:
    return 1 - span(rng, digits(dtype) - 0.2, -3), 1 - span(rng, digits(dtype) + 1, -2), 1 + span(rng, -2, 2)


def tight(rng: np.random.Generator, dtype: type[np.floating[Any]]) -> tuple[Array, Array, Array]:
    return rng.uniform(0.5, 1, POINTS), rng.uniform(0, 0.5, POINTS), 1 + span(rng, digits(dtype) + 0.1, -3)


def rare(rng: np.random.Generator, dtype: type[np.floating[Any]]) -> tuple[Array, Array, Array]:
    return span(rng, smallest(dtype), -1), span(rng, smallest(dtype), -1), 1 + span(rng, -2, 2)


def extreme(rng: np.random.Generator, dtype: type[np.floating[Any]]) -> tuple[Array, Array, Array]:
    return 1 - span(rng, digits(dtype) - 0.2, -2), span(rng, smallest(dtype), -1), span(rng, 0, -smallest(dtype))


REGIONS: dict[str, Region] = {
    "p, b anywhere": even,
    "p − b → 0": equal,
    "1 − p → 0": deterministic,
    "1 − p, 1 − b → 0": both_deterministic,
    "c − 1 → 0": tight,
    "p, b → 0": rare,
    "p → 1, b → 0, c → ∞": extreme,
}
FUNCTIONS = ("threshold", "excess", "collapse_point", "cliff_width")


def worst(name: str, *values: Array) -> float:
    """The largest error of a function over the points, in units of the last place of the dtype."""
    found = getattr(lambda_star, name)(*values)
    exact = getattr(oracle, name)
    return max(oracle.ulps(f, exact(*point)) for f, *point in zip(found, *values, strict=True))


def rows() -> list[tuple[str, str, str, float]]:
    """Dtype, function, region and worst error, for everything that is measured."""
    cases: list[tuple[str, str, str, list[Array]]] = []
    for dtype in (np.float64, np.float32):
        rng = np.random.default_rng(0)
        low, high = np.finfo(dtype).smallest_subnormal, 1 - np.finfo(dtype).eps / 2
        for region, draw in REGIONS.items():
            p, b, c = (values.astype(dtype) for values in draw(rng, dtype))
            points = [np.clip(p, low, high), np.clip(b, low, high), c]
            cases += [(dtype.__name__, name, region, points) for name in FUNCTIONS]
        x, y = (rng.uniform(-700, 700, POINTS).astype(dtype) for _ in range(2))
        logits = [x, y, (1 + span(rng, -2, 2)).astype(dtype)]
        cases.append((dtype.__name__, "threshold_from_logits", "log-odds in ±700", logits))
    return [(d, f, r, worst(f, *points)) for d, f, r, points in track(cases, "accuracy", transient=True)]


def main() -> None:
    """Measure everything and print the table: a row per region, a column per function and dtype."""
    found = {(dtype, function, region): error for dtype, function, region, error in rows()}
    columns = sorted({(dtype, function) for dtype, function, _ in found}, reverse=True)
    title = f"Accuracy: worst error in ulp over {POINTS} points (bound for threshold and excess: {BOUND})"
    table = Table("region", *(f"{function}\n{dtype}" for dtype, function in columns), title=title, title_justify="left")
    for region in dict.fromkeys(region for _, _, region in found):
        errors = (found.get((*column, region)) for column in columns)
        table.add_row(region, *("" if error is None else f"{error:.2f}" for error in errors))
    Console(width=170).print(table)
