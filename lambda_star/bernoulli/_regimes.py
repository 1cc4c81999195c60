"""What the clip does to the student of one position, and where the modal token loses its majority.

The three regimes belong to one update rule: the clip caps the log-ratio log(π_T/π_S) at log c inside the advantage.
With truncated importance weights, PPO, or the losses of TRL and G-OPD nothing collapses in the mean.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from lambda_star._core.elementwise import Real, elementwise
from lambda_star._core.namespaces import log1p_quotient, scalar, where
from lambda_star.bernoulli import formulas


class Regime(IntEnum):
    """What the clip inside the advantage does to the student at a given λ; arrays hold these codes.

    >>> [Regime(code).name for code in regime(0.9, 0.5, 2.0, [1.3, 1.35, 1.4])]
    ['PRESERVING', 'SATURATED', 'COLLAPSING']
    """

    UNDEFINED = -1
    """An argument is NaN."""
    PRESERVING = 0
    """The clip does not act where the student settles, at the fixed point."""
    SATURATED = 1
    """The clip acts: the student settles past the clip edge, and its losing side slides to zero as λ grows to λ_c."""
    COLLAPSING = 2
    """The capped restoring force is weaker than the push: the losing side dies in the course of training."""


@elementwise()
def collapse_point(xp: Any, p: Real, b: Real, c: Real) -> Real:
    """Return λ_c = 1 + log(c/p)/Δ, the least λ at which training has no stationary point and the tail dies.

    It holds for the clip on the log-ratio inside the advantage; under other update rules the tail need not die.

    Args:
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1).
        c: cap on the tail ratio (1−p)/(1−q), in [1, inf]; inf means no clip.

    Returns:
        A float, or an array of the broadcast shape; +inf where p ≤ b or c is inf, NaN where an argument is NaN.

    Raises:
        ValueError: a value is outside its range.

    Source: extension; ``derivations/bernoulli.md``.

    >>> collapse_point(0.9, 0.5, 2.0)
    1.36341...
    """
    return 1 + formulas.excess_for(xp, formulas.push_to_collapse(xp, p, c), p, b)


@elementwise()
def cliff_width(xp: Any, p: Real, b: Real, c: Real) -> Real:
    """Return λ_c − λ* = log(c/(c−1+p))/Δ, the width of the saturated regime.

    It is about (1−p)/(cΔ), so the cliff is sharpest where the teacher is nearly deterministic. It holds for the clip on
    the log-ratio inside the advantage.

    Args:
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1).
        c: cap on the tail ratio (1−p)/(1−q), in [1, inf]; inf means no clip.

    Returns:
        A float, or an array of the broadcast shape; +inf where p ≤ b (there is no cliff), NaN where an argument is NaN.

    Raises:
        ValueError: a value is outside its range.

    Source: extension; ``derivations/bernoulli.md``.

    >>> cliff_width(0.999, 0.5, 5.0)
    2.89...e-05
    """
    return formulas.excess_for(xp, formulas.push_across(xp, p, c), p, b)


@elementwise()
def regime(xp: Any, p: Real, b: Real, c: Real, lam: Real) -> Regime:
    """Return the regime that the clip puts the student in: preserving, saturated or collapsing.

    It holds for the clip on the log-ratio inside the advantage. For p > b and λ ≥ 1 the borders are λ* and λ_c. Where
    the push is against the modal token (p < b and λ > 1, or p > b and λ < 1), modal token and tail exchange roles.

    Args:
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1).
        c: cap on the ratio of teacher to student probability, in [1, inf]; inf means no clip.
        lam: extrapolation coefficient λ, finite.

    Returns:
        A :class:`Regime`, or an integer array of its codes; ``Regime.UNDEFINED`` (−1) where an argument is NaN.

    Raises:
        ValueError: a value is outside its range.

    Source: extension; ``derivations/bernoulli.md``.

    >>> regime(0.9, 0.5, 2.0, 1.35)
    <Regime.SATURATED: 1>
    """
    push = formulas.push(xp, p, b, lam)
    favoured, size = formulas.favoured_side(xp, p, push)
    clipped = size > formulas.push_to_edge(xp, favoured, c)
    collapsing = clipped & (size >= formulas.push_to_collapse(xp, favoured, c))
    undefined = xp.isnan(push) | xp.isnan(c)
    if xp is scalar:
        return Regime.UNDEFINED if undefined else Regime(clipped + collapsing)
    codes = xp.astype(clipped, xp.int8) + xp.astype(collapsing, xp.int8)
    return xp.where(undefined, xp.full_like(codes, Regime.UNDEFINED), codes)


@elementwise()
def stationary_student(xp: Any, p: Real, b: Real, c: Real, lam: Real) -> Real:
    """Return the student's modal probability at which training with the clip ends.

    It holds for the clip on the log-ratio inside the advantage. For p > b it is q_λ up to λ* and (p/c)·exp((λ−1)Δ)
    between λ* and λ_c. From λ_c on there is no stationary point and the limit is returned: 1 if the tail dies, 0 if the
    modal token does (see :func:`regime` for the exchange of roles).

    Args:
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1).
        c: cap on the ratio of teacher to student probability, in [1, inf]; inf means no clip.
        lam: extrapolation coefficient λ, finite.

    Returns:
        A float, or an array of the broadcast shape, in [0, 1]; NaN where an argument is NaN.

    Raises:
        ValueError: a value is outside its range.

    Source: extension; ``derivations/bernoulli.md``.

    >>> stationary_student(0.9, 0.5, 2.0, 1.35)
    0.97095...
    """
    return formulas.capped_student(xp, p, formulas.push(xp, p, b, lam), c)


@elementwise()
def flip_point(xp: Any, p: Real, b: Real) -> Real:
    """Return the flip point, the λ ≥ 1 past which the fixed point's modal token has less than half of the mass.

    For 1/2 ≤ p < b it is logit b / (logit b − logit p) = 1 + logit p / |Δ|.

    Args:
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1).

    Returns:
        A float, or an array of the broadcast shape; +inf where p ≥ b and p ≥ 1/2 (the majority stays), 1 where p < 1/2
        (there is none to lose), NaN where an argument is NaN.

    Raises:
        ValueError: a value is outside its range.

    Source: extension; ``derivations/bernoulli.md``.

    >>> flip_point(0.8, 0.9)
    2.70951...
    """
    odds = log1p_quotient(xp, where(xp, p > 0.5, 2 * p - 1, 0.0), 1 - p)  # logit p without its cancellation at 1/2
    gap = where(xp, p >= b, 1.0, -formulas.log_odds_gap(xp, p, b))
    return formulas.flip_point(xp, (p >= b) & (p >= 0.5), odds / gap)


@elementwise()
def flip_point_from_logits(xp: Any, x: Real, y: Real) -> Real:
    """Return the flip point from log-odds, for positions so deterministic that p rounds to 1: 1 + x/(y−x) at 0 ≤ x < y.

    Args:
        x: teacher's log-odds of the modal token, logit p, finite.
        y: base's log-odds of the same token, logit b, finite.

    Returns:
        A float, or an array of the broadcast shape; +inf at x ≥ y, x ≥ 0; 1 at x < 0; NaN where an argument is NaN.

    Raises:
        ValueError: a value is outside its range.

    Source: extension; ``derivations/bernoulli.md``.

    >>> flip_point_from_logits(38.0, 40.0)
    20.0
    """
    excess = where(xp, x >= 0, x, 0.0) / where(xp, x >= y, 1.0, y - x)
    return formulas.flip_point(xp, (x >= y) & (x >= 0), excess)
