"""Theorems over boxes: what :func:`~lambda_star.verified.proofs.prove` shows by interval branch and bound.

Each claim says that an expression is positive at every point of a box. Where the two sides of an inequality meet on a
face of the box, the expression is a derivative, and the statement says why it is enough: the difference is 0 on that
face. The expressions are made of the formulas of the numeric layer, over intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from lambda_star.bernoulli import formulas
from lambda_star.verified._real import Real, balls

__all__ = ["CLAIMS", "Claim"]

FARTHEST = 20.723265836  # logit p at 1−p = 1e-9, rounded up
CLIPS, FEW_CLIPS = (1.000001, 1e6), (1.001, 10.0)


class Claim(NamedTuple):
    """A statement, and an expression that is positive over a box if the statement holds there."""

    name: str
    states: str
    """The statement in words and formulas."""
    box: dict[str, tuple[float, float]]
    """The two ends of every coordinate."""
    positive: Callable[..., Any]
    """The expression, of one interval for each coordinate."""
    quick: Mapping[str, tuple[float, float]] = MappingProxyType({})
    """The sides of the box that a quick run looks at."""


def _probability(log_odds: Any) -> Any:
    return 1 / (1 + balls.exp(-log_odds))


Push = Callable[[Any, Any, Any], Any]


def _excess(push: Push, x: Real, gap: Real, c: Real) -> Any:
    return formulas.excess_from_gap(balls, push(balls, _probability(x), c), gap)


def _monotone() -> Iterator[Claim]:
    """Each threshold over the log-odds x of the teacher, the gap Δ to the base and the clip c.

    With b fixed, Δ grows as x does; with p fixed, Δ falls as the base's log-odds grow.
    """
    box = {"x": (-20.0, FARTHEST), "gap": (1e-6, 60.0), "c": CLIPS}
    functions: tuple[tuple[str, Push, int], ...] = (
        ("threshold", formulas.push_to_edge, 1),
        ("collapse point", formulas.push_to_collapse, 1),
        ("cliff width", formulas.push_across, -1),
    )
    for name, push, in_c in functions:

        def falls_in_p(x: Real, gap: Real, c: Real, push: Push = push) -> Any:
            return -_excess(push, x.at(1.0), gap.at(1.0), c).jet[0]

        def rises_in_b(x: Real, gap: Real, c: Real, push: Push = push) -> Any:
            return _excess(push, x, gap.at(-1.0), c).jet[0]

        def moves_with_c(x: Real, gap: Real, c: Real, push: Push = push, sign: int = in_c) -> Any:
            return sign * _excess(push, x, gap, c.at(1.0)).jet[0]

        short = name.split()[0]
        yield Claim(f"{short}-p", f"the {name} falls strictly in p where p > b", box, falls_in_p)
        yield Claim(f"{short}-b", f"the {name} rises strictly in b where p > b", box, rises_in_b)
        verb = "rises" if in_c > 0 else "falls"
        yield Claim(f"{short}-c", f"the {name} {verb} strictly in c where p > b", box, moves_with_c)


def _above_log_c(tail: Real, c: Real) -> Any:
    return formulas.push_to_edge(balls, 1 - tail.at(1.0), c).jet[0]


def _below_log_c_over_p(tail: Real, c: Real) -> Any:
    p = 1 - tail.at(1.0)
    return (formulas.push_to_collapse(balls, p, c) - formulas.push_to_edge(balls, p, c)).jet[0]


def _kl_leaves_first(x: Real, c: Real) -> Any:
    x = x.at(1.0)
    return (x + formulas.push_to_edge(balls, _probability(x), c)).jet[0]


def _kl_dies_first(x: Real, c: Real) -> Any:
    x = x.at(1.0)
    return (x + formulas.push_to_collapse(balls, _probability(x), c)).jet[0]


def _log_g(split: Real, excess: Real, apart: Real) -> Any:
    """Log G of a tail of two tokens: the share s of the one, its log-ratio ``apart`` from the other's, x = λ−1.

    G = (1−s + s·e^(x·apart))·(1−s + s·e^−apart)^x compares the tail of the mixture with that of the merged outcomes.
    Exchanging the tokens changes the sign of ``apart`` and s to 1−s, so s ≤ 1/2 is every case.
    """
    share = _probability(split)
    of_student = formulas.tail_ratio(balls, share, excess * apart)
    of_base = formulas.tail_ratio(balls, share, -apart)
    return balls.log(of_student) + excess * balls.log(of_base)


def _bends(split: Real, excess: Real, apart: Real) -> Any:
    return _log_g(split, excess, apart.at(1.0, 0.0)).jet[1]


def _climbs(split: Real, excess: Real, apart: Real) -> Any:
    return _log_g(split, excess, apart.at(1.0)).jet[0]


def _climbs_below(split: Real, excess: Real, apart: Real) -> Any:
    return -_climbs(split, excess, -apart)


def _merged_ahead(split: Real, apart: Real) -> Any:
    return -balls.log(formulas.tail_ratio(balls, _probability(split), -apart.at(1.0))).jet[0]


def _wide_enough(tail: Real, c: Real) -> Any:
    return formulas.push_across(balls, 1 - tail.at(1.0, 0.0), c).jet[1]


def _narrow_enough(tail: Real, c: Real) -> Any:
    tail = tail.at(1.0, 0.0)
    return (tail / c * (1 + tail / c) - formulas.push_across(balls, 1 - tail, c)).jet[1]


BOUNDS = {"tail": (0.0, 0.75), "c": FEW_CLIPS}
ORDER = {"x": (-2.0, FARTHEST), "c": FEW_CLIPS}
SPLIT = {"split": (-7.0, 0.0), "excess": (0.01, 3.0)}

CLAIMS: tuple[Claim, ...] = (
    *_monotone(),
    Claim(
        "bound-below",
        "log(c)/Δ ≤ λ*−1: the push to the clip edge is log c at 1−p = 0 and rises in 1−p",
        {"tail": (0.0, 0.999), "c": CLIPS},
        _above_log_c,
    ),
    Claim(
        "bound-above",
        "λ*−1 ≤ log(c/p)/Δ = λ_c−1: the difference of the pushes is 0 at 1−p = 0 and rises in 1−p",
        BOUNDS,
        _below_log_c_over_p,
        {"tail": (0.0, 0.25), "c": (2.0, 4.0)},
    ),
    Claim(
        "order-leaves",
        "the cap on the KL-to-base term is left before λ*: the difference times Δ is 0 at Δ = 0 and rises with p",
        ORDER,
        _kl_leaves_first,
        {"c": (4.0, 6.0)},
    ),
    Claim(
        "order-dies",
        "under that cap the tail dies before λ_c: the difference times Δ is 0 at Δ = 0 and rises with p",
        ORDER,
        _kl_dies_first,
        {"c": (4.0, 6.0)},
    ),
    Claim(
        "sandwich-near",
        "G ≥ 1 at K = 3: log G and its slope are 0 where the tail's log-ratios agree, and log G is convex near there",
        {**SPLIT, "apart": (-0.5, 0.5)},
        _bends,
        {"split": (-1.0, 0.0), "excess": (0.5, 1.0), "apart": (-0.25, 0.25)},
    ),
    Claim(
        "sandwich-above",
        "G ≥ 1 at K = 3: log G rises further where the smaller token's log-ratio is the greater one",
        {**SPLIT, "apart": (0.5, 12.0)},
        _climbs,
        {"split": (-1.0, 0.0), "excess": (0.5, 3.0)},
    ),
    Claim(
        "sandwich-below",
        "G ≥ 1 at K = 3: log G rises further where the smaller token's log-ratio is the lesser one",
        {**SPLIT, "apart": (0.5, 12.0)},
        _climbs_below,
        {"split": (-1.0, 0.0), "excess": (0.5, 1.0), "apart": (0.5, 1.0)},
    ),
    Claim(
        "sandwich-tail",
        "the tail's merged log-ratio is not below its least one: they agree at distance 0, and their difference rises",
        {"split": (-20.0, 20.0), "apart": (0.0, 20.0)},
        _merged_ahead,
    ),
    Claim(
        "width-below",
        "(1−p)/(cΔ) ≤ λ_c−λ*: both sides and their slopes in 1−p agree at 1−p = 0, and the difference is convex",
        {"tail": (0.0, 0.999), "c": (1.000001, 1e3)},
        _wide_enough,
        {"c": (2.0, 1e3)},
    ),
    Claim(
        "width-above",
        "λ_c−λ* ≤ (1−p)/(cΔ)·(1 + (1−p)/c) at 1−p ≤ 1/4: as before, with the sides exchanged",
        {"tail": (0.0, 0.25), "c": (1.0, 1e3)},
        _narrow_enough,
    ),
)
"""What ``lambda-star verify`` proves."""
