"""How long the threshold of a policy-gradient budget takes to compute, against SciPy's root finder."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.speed import Result, medians
from lambda_star.dynamics import budget_threshold

TRIPLES = 10**5
PEER_TRIPLES = 200
CLIP = 5.0
Floats = NDArray[np.float64]


def positions(count: int = TRIPLES) -> tuple[Floats, Floats, Floats, Floats]:
    """Draw teachers, bases, clips and budgets for which the exponentials of the printed closed form do not overflow."""
    rng = np.random.default_rng(0)
    p, b = rng.uniform(0.8, 0.99, count), rng.uniform(0.3, 0.7, count)
    return p, b, np.full(count, CLIP), slowest(p, b, CLIP) * rng.uniform(0.05, 3.0, count)


def slowest(p: Floats, b: Floats, c: float) -> Floats:
    """Return M, the larger inverse rate of base and clip edge."""
    return np.asarray(np.maximum(1 / (b * (1 - b)), c * c / ((1 - p) * (c - 1 + p))))


def root_by_brentq(p: float, b: float, c: float, budget: float) -> float:
    """Return the λ between λ* and 100 at which the time to the edge is the budget, by SciPy's ``brentq``.

    The time is written in its closed form as printed, without care for overflow:
    2 log(u₀/u_c) + e^θ_λ [E₁(u_c) − E₁(u₀)] + e^−θ_λ [Ei(u₀) − Ei(u_c)].
    """
    from scipy.optimize import brentq
    from scipy.special import exp1, expi

    start = math.log(b / (1 - b))
    gap = math.log(p / (1 - p)) - start
    star = 1 + math.log((c - 1 + p) / p) / gap

    def over_budget(lam: float) -> float:
        whole, remaining = lam * gap, (lam - star) * gap
        up = math.exp(start + whole)
        down = (expi(whole) - expi(remaining)) / up
        return float(2 * math.log(whole / remaining) + up * (exp1(remaining) - exp1(whole)) + down - budget)

    return float(brentq(over_budget, star * (1 + 1e-9), 100.0))


def thresholds() -> list[Result]:
    """Compare 10⁵ budgets in one call with a few of them one by one."""
    points = positions()
    few = [
        tuple(float(value) for value in point) for point in zip(*(part[:PEER_TRIPLES] for part in points), strict=True)
    ]
    ours, peer = medians(
        lambda: budget_threshold(*points, flow="policy-gradient"),
        lambda: [root_by_brentq(*point) for point in few],
        rounds=5,
    )
    found = budget_threshold(*(part[:PEER_TRIPLES] for part in points), flow="policy-gradient")
    apart = float(np.max(np.abs(found / [root_by_brentq(*point) for point in few] - 1)))
    speedup = peer / PEER_TRIPLES / (ours / TRIPLES)
    return [
        Result(f"seconds for {TRIPLES:.0e} thresholds of a policy-gradient budget", ours, "at most 1", ours <= 1),
        Result("SciPy's brentq one by one / one call, per threshold", speedup, "at least 50", speedup >= 50),
        Result("largest relative difference between the two, in 1e-9", apart / 1e-9, "at most 1", apart <= 1e-9),
    ]


def main() -> None:
    """Measure everything and print the ratios."""
    title = f"Finite budgets: {TRIPLES:.0e} positions; medians of jobs that take turns"
    table = Table("ratio", "measured", "bound", "kept", title=title, title_justify="left")
    for result in thresholds():
        table.add_row(result.what, f"{result.ratio:.2f}", result.bound, "yes" if result.kept else "NO")
    Console(width=110).print(table)
