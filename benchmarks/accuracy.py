"""How exact λ* is: the largest difference from 50-digit arithmetic, in units of the last place."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

import lambda_star
from tests import oracle

REPORT = Path(__file__).parent.parent / "results" / "verification" / "accuracy.json"
POINTS = 2000
BOUND = 6
Array = NDArray[Any]


def regions(rng: np.random.Generator, dtype: type[np.floating[Any]]) -> dict[str, tuple[Array, Array, Array]]:
    """Draw random (p, b, c) in every region where some form of the formula loses digits."""
    eps, tiny = (float(np.log10(value)) for value in (np.finfo(dtype).eps, np.finfo(dtype).tiny))

    def uniform(low: float, high: float) -> Array:
        return rng.uniform(low, high, POINTS)

    def power(low: float, high: float) -> Array:
        return 10.0 ** rng.uniform(low, high, POINTS)

    near = uniform(0.01, 0.99)
    clip = 1 + power(-2, 2)
    return {
        "p, b anywhere": (uniform(0, 1), uniform(0, 1), clip),
        "p − b → 0": (near * (1 + power(eps + 0.5, -2)), near, clip),
        "1 − p → 0": (1 - power(eps - 0.2, -2), uniform(0.05, 0.95), clip),
        "1 − p, 1 − b → 0": (1 - power(eps - 0.2, -3), 1 - power(eps + 1, -2), clip),
        "c − 1 → 0": (uniform(0.5, 1), uniform(0, 0.5), 1 + power(eps + 0.1, -3)),
        "p, b → 0": (power(tiny, -1), power(tiny, -1), clip),
        "p → 1, b → 0, c → ∞": (1 - power(eps - 0.2, -2), power(tiny, -1), power(0, -tiny)),
    }


FUNCTIONS = ("threshold", "excess", "collapse_point", "cliff_width")


def worst(name: str, *values: Array) -> float:
    """Return the largest error of a function over the points, in units of the last place of the dtype."""
    found = getattr(lambda_star, name)(*values)
    exact = getattr(oracle, name)
    return max(oracle.ulps(f, exact(*point)) for f, *point in zip(found, *values, strict=True))


def rows() -> list[tuple[str, str, str, float]]:
    """Return dtype, function, region and worst error of everything that is measured."""
    cases: list[tuple[str, str, str, list[Array]]] = []
    for dtype in (np.float64, np.float32):
        rng = np.random.default_rng(0)
        low, high = np.finfo(dtype).smallest_subnormal, 1 - np.finfo(dtype).eps / 2
        for region, values in regions(rng, dtype).items():
            p, b, c = (value.astype(dtype) for value in values)
            points = [np.clip(p, low, high), np.clip(b, low, high), c]
            cases += [(dtype.__name__, name, region, points) for name in FUNCTIONS]
        x, y = (rng.uniform(-700, 700, POINTS).astype(dtype) for _ in range(2))
        logits = [x, y, (1 + 10.0 ** rng.uniform(-2, 2, POINTS)).astype(dtype)]
        cases.append((dtype.__name__, "threshold_from_logits", "log-odds in ±700", logits))
    return [(d, f, r, worst(f, *points)) for d, f, r, points in track(cases, "accuracy", transient=True)]


def main() -> None:
    """Measure everything, print for each dtype a row per region and a column per function, and write the worst."""
    found = {(dtype, region, function): error for dtype, function, region, error in rows()}
    regions_measured, functions = (dict.fromkeys(key[place] for key in found) for place in (1, 2))
    for dtype in dict.fromkeys(key[0] for key in found):
        title = f"Accuracy in {dtype}: worst error in ulp over {POINTS} points; threshold and excess keep to {BOUND}"
        table = Table("region", *functions, title=title, title_justify="left")
        for region in regions_measured:
            errors = (found.get((dtype, region, function)) for function in functions)
            table.add_row(region, *("" if error is None else f"{error:.2f}" for error in errors))
        Console(width=120).print(table)
    worst_of: dict[str, dict[str, float]] = {}
    for (dtype, _, function), error in found.items():
        highest = worst_of.setdefault(dtype, {})
        highest[function] = max(round(error, 2), highest.get(function, 0.0))
    date = f"{datetime.now(timezone.utc):%Y-%m-%d}"
    written = {"command": "python -m benchmarks accuracy", "date": date, "points": POINTS, "worst": worst_of}
    REPORT.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
