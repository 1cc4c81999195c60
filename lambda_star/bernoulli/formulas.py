"""The formulas of one position, as parts of kernels.

Δ is the log-odds gap between teacher and base, and t = (λ−1)Δ the push that extrapolation adds to the log-odds. Where a
``where`` discards a branch, that branch still gets harmless arguments: autograd multiplies its gradient by 0, and a NaN
or an infinity there would make the whole gradient NaN.
"""

from __future__ import annotations

import math
from typing import Any

from lambda_star._core.namespaces import Exact, Values, below, exponent_range, log1p_quotient, nowhere, positive, where

__all__ = ["capped_student", "excess", "excess_for", "excess_from_gap", "favoured_side", "fixed_point", "flip_point"]
__all__ += ["log_odds", "log_odds_gap", "logit", "operating", "push", "push_across"]
__all__ += ["push_to_collapse", "push_to_edge", "tail_ratio"]


def logit(xp: Any, p: Values) -> Values:
    """Return the log-odds of a probability; the difference log p − log(1−p) would lose its digits near 1/2."""
    return log_odds_gap(xp, p, 0.5)


def log_odds(xp: Any, log_p: Values) -> Values:
    """Return the log-odds log p − log(1−p) of a probability given by its logarithm."""
    return log_p - xp.log(-xp.expm1(log_p))


def operating(star: Values, margin: Values) -> Values:
    """Return 1 + (1−margin)(λ*−1), the λ that gives up a share of the excess over 1."""
    return 1 + (1 - margin) * (star - 1)


def _gap_above(xp: Any, p: Values, b: Values) -> Values:
    """Return Δ for p ≥ b as log(1 + (p−b)/(b(1−p))); the difference of two logits would lose all digits at p ≈ b."""
    return log1p_quotient(xp, (p - b) / (1 - p), b)


def log_odds_gap(xp: Any, p: Values, b: Values) -> Values:
    """Return Δ = logit p − logit b, of either sign; the form of ``_gap_above`` serves both signs."""
    above = p >= b
    high, low = where(xp, above, p, b), where(xp, above, b, p)
    gap = _gap_above(xp, high, low)
    return where(xp, above, gap, -gap)


def push_to_edge(xp: Any, p: Values, c: Values) -> Values:
    """Return the push at which the tail ratio (1−p) + p·e^t reaches c: log((c−1+p)/p)."""
    return log1p_quotient(xp, c - 1, p)


def push_to_collapse(xp: Any, p: Values, c: Values) -> Values:
    """Return the push that balances the largest restoring force a clip of c allows: log(c/p)."""
    return log1p_quotient(xp, c - p, p)


def push_across(xp: Any, p: Values, c: Values) -> Values:
    """Return the push from the clip edge to the collapse: log(c/(c−1+p))."""
    return log1p_quotient(xp, 1 - p, c - 1 + p)


def excess_for(xp: Any, push: Values, p: Values, b: Values) -> Values:
    """Return the excess λ−1 = push/Δ that makes a push ≥ 0; +inf at p ≤ b, where no λ > 1 pushes the tail down."""
    behind = p <= b
    if nowhere(xp, behind) or isinstance(xp, Exact):
        return where(xp, behind, math.inf, push / positive(xp, _gap_above(xp, p, b)))
    never = behind | ((push == math.inf) & (p > b))  # a NaN is never behind, and so stays NaN
    gap = _gap_above(xp, where(xp, never, 0.75, p), where(xp, never, 0.25, b))
    return _or_never(xp, never, push, gap)


def excess_from_gap(xp: Any, push: Values, gap: Values) -> Values:
    """Return the excess λ−1 = push/Δ that makes a push ≥ 0, from Δ; +inf at Δ ≤ 0."""
    if isinstance(xp, Exact):
        return where(xp, gap <= 0, math.inf, push / positive(xp, gap))
    never = (gap <= 0) | ((push == math.inf) & (gap > 0))
    return _or_never(xp, never, push, where(xp, never, 1.0, gap))


def _or_never(xp: Any, never: Values, push: Values, gap: Values) -> Values:
    """Return push/Δ, and +inf where no λ makes the push; a NaN in the push stays NaN."""
    return where(xp, never, where(xp, push >= 0, math.inf, push), where(xp, never, 0.0, push) / gap)


def excess(xp: Any, p: Values, b: Values, c: Values) -> Values:
    """Return λ*−1."""
    return excess_for(xp, push_to_edge(xp, p, c), p, b)


def push(xp: Any, p: Values, b: Values, lam: Values) -> Values:
    """Return t = (λ−1)Δ."""
    return (lam - 1) * log_odds_gap(xp, p, b)


def favoured_side(xp: Any, p: Values, push: Values) -> tuple[Values, Values]:
    """Return the teacher mass of the side that the push favours, modal token or tail, and the size of the push."""
    up = push >= 0
    return where(xp, up, p, 1 - p), where(xp, up, push, -push)


def tail_ratio(xp: Any, p: Values, push: Values) -> Values:
    """Return R = (1−p) + p·e^t."""
    half = xp.exp(push / 2)  # e^t in two factors, because e^t may overflow where p·e^t does not
    ratio = (1 - p) + p * half * half
    if below(xp, ratio, math.inf):
        return ratio
    infinite = ratio == math.inf  # there the gradients of the factors may be infinities of both signs
    half = xp.exp(where(xp, infinite, 0.0, push) / 2)
    return where(xp, infinite, math.inf, (1 - p) + p * half * half)


def flip_point(xp: Any, never: Values, excess: Values) -> Values:
    """Return 1 + excess, but +inf where the modal token never loses its majority; excess is 0 where it has none."""
    return where(xp, never, math.inf, 1 + excess)


def fixed_point(xp: Any, p: Values, push: Values) -> Values:
    """Return q = p·e^t / (p·e^t + 1−p)."""
    # Both weights are divided by the larger exponential, so that neither overflows, nor their squares in a gradient.
    # A power of 2 multiplies them, so that no digits are lost where p is subnormal. Past ``most``, q is 0 or 1.
    most, scale = exponent_range(xp, push)
    push = where(xp, push > most, most, where(xp, push < -most, -most, push))
    up = push >= 0
    half = xp.exp(where(xp, up, -push, push) / 2)
    small = half * scale * half
    modal, tail = p * where(xp, up, scale, small), (1 - p) * where(xp, up, small, scale)
    return modal / (modal + tail)


def capped_student(xp: Any, p: Values, push: Values, c: Values) -> Values:
    """Return the modal probability at which a push comes to rest against a restoring force that is capped at log c.

    Up to the clip edge it is q of ``fixed_point``; past it the losing side slides to 0, where it arrives at the push of
    ``push_to_collapse``. A push down exchanges the roles of modal token and tail.
    """
    favoured, size = favoured_side(xp, p, push)
    collapse = push_to_collapse(xp, favoured, c)
    clipped = size > push_to_edge(xp, favoured, c)
    # The log of the favoured side's mass (favoured/c)·e^|t|, which is 0 (mass 1) once nothing holds it back.
    log_mass = where(xp, clipped & (size < collapse), size - where(xp, clipped, collapse, 0.0), 0.0)
    saturated = where(xp, push >= 0, xp.exp(log_mass), 0 - xp.expm1(log_mass))
    preserved = fixed_point(xp, p, where(xp, clipped, 0.0, push))
    return where(xp, clipped, saturated, where(xp, c >= 1, preserved, c))  # a NaN in c is returned
