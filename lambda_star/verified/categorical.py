"""Intervals that provably hold the threshold of the binding token at a position of K tokens, and its closed bounds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from lambda_star import categorical
from lambda_star._core.quantities import C
from lambda_star.bernoulli import formulas
from lambda_star.verified._arguments import Argument, Interval, Number, Span, is_nan, middle, over, spans_of
from lambda_star.verified._enclose import FROM_ONE, first_float, of_point, sign_of
from lambda_star.verified._real import Real, balls

__all__ = ["Threshold", "threshold"]


class Threshold(NamedTuple):
    """Intervals that hold λ* of the binding token of a position, and its closed bounds from below and above."""

    value: Interval
    lower: Interval
    upper: Interval


def threshold(log_t: Sequence[Argument], log_b: Sequence[Argument], c: Argument) -> Threshold:
    """Return intervals that hold the λ* of the binding token of one position, and the closed bounds of it.

    The ratio R of the binding token rises in λ, so the sign of log R − log c at both ends, which is proved, shows that
    λ* lies between them. The lower bound is 1 + log(1 + (c−1)/w)/d with d = max r − min r and w = Σ π_T·(r − min r)/d,
    the upper one 1 + log(c)/Σ π_T·(r − min r).

    Args:
        log_t: the teacher's log-probabilities or logits of the tokens, finite: numbers, decimal strings or pairs.
        log_b: the base's log-probabilities or logits of the same tokens, finite.
        c: cap on the ratio of teacher to student probability, in [1, inf].

    Returns:
        A :class:`Threshold`; +inf where teacher and base agree or c is inf, NaN where a number is NaN. Intervals of
        log-probabilities are taken for independent, which makes the enclosure wider than it has to be.

    Raises:
        ValueError: c lies outside its range, a logit is infinite, or there are not as many on both sides.

    Source: extension; ``derivations/categorical.md``.

    >>> found = threshold([-0.1, -2.5, -4.6], [-0.7, -1.2, -1.6], 2)
    >>> found.value.lower, found.lower.lower < found.value.lower, found.value.upper < found.upper.upper
    (1.20139..., True, True)
    """
    rows = [list(spans_of(row, name)) for row, name in ((log_t, "log_t"), (log_b, "log_b"))]
    tokens = len(rows[0])
    if not tokens or tokens != len(rows[1]):
        raise ValueError(f"log_t and log_b must have as many tokens, at least one, got {tokens} and {len(rows[1])}")
    logits = _checked(rows)
    known = not any(span is None for span in logits)
    spans = [span for span in logits if span is not None]

    def each(function: Callable[..., Any]) -> Interval:
        def enclose(clip: dict[str, Span]) -> tuple[float, float]:
            return of_point(function, [*spans, clip["c"]], FROM_ONE) if known else (math.nan, math.nan)

        return over({"c": c}, (C,), enclose)

    def root(clip: dict[str, Span]) -> tuple[float, float]:
        return _root(spans, clip["c"]) if known else (math.nan, math.nan)

    value = over({"c": c}, (C,), root)
    return Threshold(value, each(_lower), each(_upper))


def _checked(rows: Sequence[Sequence[tuple[Number, Number]]]) -> list[Span | None]:
    """Return all logits in one list, None for NaN; an infinite one is an error."""
    found: list[Span | None] = []
    for (name, row), token in itertools.product(zip(("log_t", "log_b"), rows, strict=True), range(len(rows[0]))):
        low, high = row[token]
        if math.inf in {abs(low), abs(high)} or low > high:
            raise ValueError(f"{name} must hold finite numbers or pairs of them, got {(low, high)} at index {token}")
        found.append(None if is_nan(low) or is_nan(high) else Span(low, high))
    return found


class _Row(NamedTuple):
    """Teacher weights, log-ratios above the least one, their mean and their range."""

    weights: list[Real]
    total: Real
    y: list[Real]
    mean: Real
    span: Real


def _row(logits: Sequence[Real]) -> _Row:
    tokens = len(logits) // 2
    log_t, log_b = logits[:tokens], logits[tokens:]
    ratios = [t - b for t, b in zip(log_t, log_b, strict=True)]
    least, most = (reduce(choose, ratios) for choose in (_lesser, _greater))
    top = log_t[max(range(tokens), key=lambda token: log_t[token].high)]
    weights, y = [balls.exp(t - top) for t in log_t], [balls.positive(r - least) for r in ratios]
    total = reduce(Real.__add__, weights)
    mean = reduce(Real.__add__, (w * one for w, one in zip(weights, y, strict=True))) / total
    return _Row(weights, total, y, mean, balls.positive(most - least))


def _lesser(a: Real, b: Real) -> Real:
    return Real(min(a.low, b.low), min(a.high, b.high))


def _greater(a: Real, b: Real) -> Real:
    return Real(max(a.low, b.low), max(a.high, b.high))


def _lower(*values: Real) -> Any:
    """Eq. 4 with w for p and d for Δ."""
    row, c = _row(values[:-1]), values[-1]
    return 1 + formulas.excess_from_gap(balls, formulas.push_to_edge(balls, row.mean / row.span, c), row.span)


def _upper(*values: Real) -> Any:
    return 1 + formulas.excess_from_gap(balls, balls.log(values[-1]), _row(values[:-1]).mean)


def _log_ratio(x: Real, *values: Real) -> Real:
    """Log R of the binding token at an excess x, less log c."""
    row, c = _row(values[:-1]), values[-1]
    moved = reduce(Real.__add__, (w * balls.exp(x * y) for w, y in zip(row.weights, row.y, strict=True)))
    return balls.log(moved / row.total) - balls.log(c)


def _root(spans: Sequence[Span], c: Span) -> tuple[float, float]:
    low, high = of_point(_lower, [*spans, c], FROM_ONE), of_point(_upper, [*spans, c], FROM_ONE)
    if low[0] == math.inf:
        return math.inf, math.inf
    tokens = len(spans) // 2
    log_t, log_b = (np.array([middle(span) for span in row]) for row in (spans[:tokens], spans[tokens:]))
    guess = float(categorical.threshold(log_t, log_b, max(middle(c), 1.0)).value) if c.thin else low[0]

    def side(lam: float) -> int:
        excess = Fraction(lam) - 1
        return sign_of(_log_ratio, [Span(excess, excess), *spans, c], Span(0.0, 0.0))

    return first_float(side, low[0], high[1], guess)
