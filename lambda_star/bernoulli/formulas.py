"""The formulas of one position. Δ is the log-odds gap between teacher and base, t = (λ−1)Δ the push that extrapolation adds to it."""

from __future__ import annotations

import math
from typing import Any

from lambda_star._core.namespaces import Values, log1p_quotient, nowhere, where

__all__ = ["edge", "end", "excess", "fixed_point", "flip", "gap", "gap_above", "per_gap", "push", "sides", "tail_ratio"]

# The kernels. Δ is the log-odds gap between teacher and base, t = (λ−1)Δ the push that extrapolation adds to it.


def gap_above(xp: Any, p: Values, b: Values) -> Values:
    """Δ for p ≥ b as log(1 + (p−b)/(b(1−p))): no digit is lost when p ≈ b."""
    return log1p_quotient(xp, (p - b) / (1 - p), b)


def gap(xp: Any, p: Values, b: Values) -> Values:
    """Δ = logit p − logit b, of either sign."""
    above = p >= b
    high, low = where(xp, above, p, b), where(xp, above, b, p)
    gap = gap_above(xp, high, low)
    return where(xp, above, gap, -gap)


def edge(xp: Any, p: Values, c: Values) -> Values:
    """The push at which the tail ratio (1−p) + p·exp(t) reaches c: log((c−1+p)/p)."""
    return log1p_quotient(xp, c - 1, p)


def end(xp: Any, p: Values, c: Values) -> Values:
    """The push that a clipped restoring force can no longer hold: log(c/p)."""
    return log1p_quotient(xp, c - p, p)


def per_gap(xp: Any, push: Values, p: Values, b: Values) -> Values:
    """push/Δ, the excess λ−1 that makes a push; +inf at p ≤ b, where λ > 1 never pushes the tail down."""
    behind = p <= b
    if nowhere(xp, behind):
        return push / gap_above(xp, p, b)
    # `push >= 0` leaves a NaN in the clip alone; harmless p and b where they do not count keep gradients free of 0/0.
    never = behind & (push >= 0)
    gap = gap_above(xp, where(xp, never, 0.75, p), where(xp, never, 0.25, b))
    return where(xp, never, math.inf, push / gap)


def excess(xp: Any, p: Values, b: Values, c: Values) -> Values:
    return per_gap(xp, edge(xp, p, c), p, b)


def push(xp: Any, p: Values, b: Values, lam: Values) -> Values:
    return (lam - 1) * gap(xp, p, b)


def sides(xp: Any, p: Values, push: Values) -> tuple[Values, Values]:
    """The teacher mass of the side that the push favours, modal or tail, and the size of the push."""
    up = push >= 0
    return where(xp, up, p, 1 - p), where(xp, up, push, -push)


def tail_ratio(xp: Any, p: Values, push: Values) -> Values:
    # e^t in two halves: it may overflow where p·e^t does not.
    half = xp.exp(push / 2)
    return (1 - p) + p * half * half


def flip(xp: Any, never: Values, at_once: Values, excess: Values) -> Values:
    return where(xp, never, math.inf, where(xp, at_once, 1.0, 1 + excess))


def fixed_point(xp: Any, p: Values, push: Values) -> Values:
    # q = p·e^t / (p·e^t + 1−p), both weights divided by the larger exponential so that neither overflows.
    up = push >= 0
    small = xp.exp(where(xp, up, -push, push))
    modal, tail = p * where(xp, up, 1.0, small), (1 - p) * where(xp, up, small, 1.0)
    return modal / (modal + tail)
