"""λ* at one output position: the modal token against everything else.

``p`` is the teacher's modal probability, ``b`` the base's (warm-start) probability of the same token, ``c`` the cap on
how many times smaller the student's tail mass may become than the teacher's, (1−p)/(1−q) ≤ c, and ``lam`` the
extrapolation coefficient λ. Every function takes Python floats, or arrays that broadcast, of any array API library.
"Paper" is arXiv:2605.08737; "extension" marks what is not in it as far as we know.
"""

from __future__ import annotations

import math
from enum import IntEnum
from typing import Any, NamedTuple

from lambda_star._array import Domain, Values, elementwise, log1p_quotient, nowhere, scalar, where

__all__ = [
    "Regime",
    "Sensitivity",
    "cliff_width",
    "collapse_point",
    "excess",
    "fixed_point",
    "flip_point",
    "flip_point_from_logits",
    "is_clip_safe",
    "operating_point",
    "regime",
    "sensitivity",
    "stationary_student",
    "tail_ratio",
    "threshold",
    "threshold_from_logits",
    "two_sided_threshold",
]

PROBABILITY = Domain(0.0, 1.0)
CLIP = Domain(1.0, math.inf, low_closed=True, high_closed=True)
REAL = Domain(-math.inf, math.inf)
MARGIN = Domain(0.0, 1.0, low_closed=True)


class Regime(IntEnum):
    """What the clip does to the student at a given λ; arrays hold these codes.

    >>> Regime(2).name, int(Regime.PRESERVING)
    ('COLLAPSING', 0)
    """

    UNDEFINED = -1
    """An argument is NaN."""
    PRESERVING = 0
    """The clip never acts: the student settles at the fixed point."""
    SATURATED = 1
    """The clip acts: the student settles past the fixed point's clip edge, its losing side sliding to zero."""
    COLLAPSING = 2
    """The restoring force is capped below the push: the losing side runs to zero."""


class Sensitivity(NamedTuple):
    """The partial derivatives of λ* in each of its arguments.

    >>> sensitivity(0.9, 0.5, 2.0).c
    0.23...
    """

    p: Values
    b: Values
    c: Values


# The kernels. Δ is the log-odds gap between teacher and base, t = (λ−1)Δ the push that extrapolation adds to it.


def _gap_above(xp: Any, p: Values, b: Values) -> Values:
    """Δ for p ≥ b as log(1 + (p−b)/(b(1−p))): no digit is lost when p ≈ b."""
    return log1p_quotient(xp, (p - b) / (1 - p), b)


def _gap(xp: Any, p: Values, b: Values) -> Values:
    """Δ = logit p − logit b, of either sign."""
    above = p >= b
    high, low = where(xp, above, p, b), where(xp, above, b, p)
    gap = _gap_above(xp, high, low)
    return where(xp, above, gap, -gap)


def _edge(xp: Any, p: Values, c: Values) -> Values:
    """The push at which the tail ratio (1−p) + p·exp(t) reaches c: log((c−1+p)/p)."""
    return log1p_quotient(xp, c - 1, p)


def _end(xp: Any, p: Values, c: Values) -> Values:
    """The push that a clipped restoring force can no longer hold: log(c/p)."""
    return log1p_quotient(xp, c - p, p)


def _per_gap(xp: Any, push: Values, p: Values, b: Values) -> Values:
    """push/Δ, the excess λ−1 that makes a push; +inf at p ≤ b, where λ > 1 never pushes the tail down."""
    behind = p <= b
    if nowhere(xp, behind):
        return push / _gap_above(xp, p, b)
    # `push >= 0` leaves a NaN in the clip alone; harmless p and b where they do not count keep gradients free of 0/0.
    never = behind & (push >= 0)
    gap = _gap_above(xp, where(xp, never, 0.75, p), where(xp, never, 0.25, b))
    return where(xp, never, math.inf, push / gap)


def _excess(xp: Any, p: Values, b: Values, c: Values) -> Values:
    return _per_gap(xp, _edge(xp, p, c), p, b)


def _push(xp: Any, p: Values, b: Values, lam: Values) -> Values:
    return (lam - 1) * _gap(xp, p, b)


def _sides(xp: Any, p: Values, push: Values) -> tuple[Values, Values]:
    """The teacher mass of the side that the push favours, modal or tail, and the size of the push."""
    up = push >= 0
    return where(xp, up, p, 1 - p), where(xp, up, push, -push)


def _tail_ratio(xp: Any, p: Values, push: Values) -> Values:
    # e^t in two halves: it may overflow where p·e^t does not.
    half = xp.exp(push / 2)
    return (1 - p) + p * half * half


def _flip(xp: Any, never: Values, at_once: Values, excess: Values) -> Values:
    return where(xp, never, math.inf, where(xp, at_once, 1.0, 1 + excess))


def _fixed_point(xp: Any, p: Values, push: Values) -> Values:
    # q = p·e^t / (p·e^t + 1−p), both weights divided by the larger exponential so that neither overflows.
    up = push >= 0
    small = xp.exp(where(xp, up, -push, push))
    modal, tail = p * where(xp, up, 1.0, small), (1 - p) * where(xp, up, small, 1.0)
    return modal / (modal + tail)


@elementwise(p=PROBABILITY, b=PROBABILITY, c=CLIP)
def excess(xp: Any, p: Values, b: Values, c: Values) -> Values:
    """λ* − 1, with all its digits where λ* is close to 1.

    λ*−1 = log(1 + (c−1)/p) / Δ with Δ = logit p − logit b.

    Args:
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1).
        c: cap on the tail ratio (1−p)/(1−q), in [1, inf]; inf means no clip.

    Returns:
        A float, or an array of the broadcast shape; +inf where p ≤ b or c is inf, NaN where an argument is NaN.

    Raises:
        ValueError: a value lies outside its range; the message names argument, range, value and index.

    Source: paper, Eq. 4, in the margin form of ``derivations/bernoulli.md``.

    >>> excess(0.999, 0.5, 5.0)
    0.23313...
    """
    return _excess(xp, p, b, c)


@elementwise(p=PROBABILITY, b=PROBABILITY, c=CLIP)
def threshold(xp: Any, p: Values, b: Values, c: Values) -> Values:
    """λ*, the largest λ at which the fixed point's tail mass is still at least (1−p)/c.

    λ* = 1 + log(1 + (c−1)/p) / Δ with Δ = logit p − logit b.

    Args:
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1).
        c: cap on the tail ratio (1−p)/(1−q), in [1, inf]; inf means no clip.

    Returns:
        A float, or an array of the broadcast shape; +inf where p ≤ b (the tail never shrinks) or c is inf, 1 where
        c = 1 < p/b, NaN where an argument is NaN.

    Raises:
        ValueError: a value lies outside its range; the message names argument, range, value and index.

    Source: paper, Theorem 4.1 and Eq. 4, in the margin form of ``derivations/bernoulli.md``.

    >>> threshold(0.99933697778, 0.5, 5.0)
    1.22...
    >>> threshold(0.4, 0.5, 5.0)
    inf
    """
    return 1 + _per_gap(xp, _edge(xp, p, c), p, b)


@elementwise(x=REAL, y=REAL, c=CLIP)
def threshold_from_logits(xp: Any, x: Values, y: Values, c: Values) -> Values:
    """λ* from log-odds, for positions so deterministic that 1−p is no longer a float.

    λ* = 1 + log(1 + (c−1)(1 + e^−x)) / (x − y).

    Args:
        x: teacher's log-odds of the modal token, logit p, finite.
        y: base's log-odds of the same token, logit b, finite.
        c: cap on the tail ratio (1−p)/(1−q), in [1, inf]; inf means no clip.

    Returns:
        A float, or an array of the broadcast shape; +inf where x ≤ y or c is inf, NaN where an argument is NaN.

    Raises:
        ValueError: a value lies outside its range; the message names argument, range, value and index.

    Source: paper, Eq. 4, in the log-odds form of ``derivations/bernoulli.md``.

    >>> threshold_from_logits(700.0, 0.0, 5.0)
    1.00229...
    """
    # Far below 0 the 1s in 1 + (c−1)(1 + e^−x) no longer count, and e^−x may overflow: take the logarithm by hand.
    far = (x < -80) & (c > 1)
    near_edge = _edge(xp, 1 / (1 + xp.exp(-where(xp, x < -80, 0.0, x))), c)
    far_edge = xp.log(where(xp, far, c - 1, 1.0)) - x
    push = where(xp, far, far_edge, where(xp, x < -80, c - 1, near_edge))
    never = (x <= y) & (push >= 0)
    return where(xp, never, math.inf, 1 + push / where(xp, never, 1.0, x - y))


@elementwise(p=PROBABILITY, b=PROBABILITY, lam=REAL)
def fixed_point(xp: Any, p: Values, b: Values, lam: Values) -> Values:
    """q_λ, the student's modal probability that training without a clip ends at.

    logit q_λ = λ logit p + (1−λ) logit b = logit p + (λ−1)Δ.

    Args:
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1).
        lam: extrapolation coefficient λ, finite; 1 is plain distillation and gives q = p.

    Returns:
        A float, or an array of the broadcast shape, in [0, 1]; NaN where an argument is NaN.

    Raises:
        ValueError: a value lies outside its range; the message names argument, range, value and index.

    Source: paper, Theorem 4.1; ``derivations/bernoulli.md``.

    >>> fixed_point(0.9, 0.5, 2.0)
    0.98780...
    """
    return _fixed_point(xp, p, _push(xp, p, b, lam))


@elementwise(p=PROBABILITY, b=PROBABILITY, lam=REAL)
def tail_ratio(xp: Any, p: Values, b: Values, lam: Values) -> Values:
    """R(λ) = (1−p)/(1−q_λ), how many times smaller the fixed point's tail is than the teacher's.

    R(λ) = (1−p) + p·exp((λ−1)Δ).

    Args:
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1).
        lam: extrapolation coefficient λ, finite; R(1) = 1.

    Returns:
        A float, or an array of the broadcast shape, > 0; +inf past the largest float; NaN where an argument is NaN.

    Raises:
        ValueError: a value lies outside its range; the message names argument, range, value and index.

    Source: paper, Theorem 4.1; ``derivations/bernoulli.md``.

    >>> tail_ratio(0.9, 0.5, 2.0)
    8.2...
    """
    return _tail_ratio(xp, p, _push(xp, p, b, lam))


@elementwise(p=PROBABILITY, b=PROBABILITY, c=CLIP, lam=REAL)
def is_clip_safe(xp: Any, p: Values, b: Values, c: Values, lam: Values) -> Values:
    """Whether R(λ) ≤ c, that is, whether the fixed point keeps a tail mass of at least (1−p)/c.

    Args:
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1).
        c: cap on the tail ratio (1−p)/(1−q), in [1, inf]; inf means no clip.
        lam: extrapolation coefficient λ, finite.

    Returns:
        A bool, or a boolean array of the broadcast shape; False where an argument is NaN.

    Raises:
        ValueError: a value lies outside its range; the message names argument, range, value and index.

    Source: paper, Theorem 4.1; ``derivations/bernoulli.md``.

    >>> is_clip_safe(0.999, 0.5, 5.0, 1.2), is_clip_safe(0.999, 0.5, 5.0, 1.25)
    (True, False)
    """
    return _push(xp, p, b, lam) <= _edge(xp, p, c)


@elementwise(p=PROBABILITY, b=PROBABILITY, c=CLIP)
def collapse_point(xp: Any, p: Values, b: Values, c: Values) -> Values:
    """λ_c, the least λ at which a clipped student has no stationary point: its tail mass runs to 0.

    λ_c = 1 + log(c/p) / Δ.

    Args:
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1).
        c: cap on the tail ratio (1−p)/(1−q), in [1, inf]; inf means no clip.

    Returns:
        A float, or an array of the broadcast shape; +inf where p ≤ b or c is inf, NaN where an argument is NaN.

    Raises:
        ValueError: a value lies outside its range; the message names argument, range, value and index.

    Source: extension, for the model with the clip inside the update; ``derivations/bernoulli.md``.

    >>> collapse_point(0.9, 0.5, 2.0)
    1.36341...
    """
    return 1 + _per_gap(xp, _end(xp, p, c), p, b)


@elementwise(p=PROBABILITY, b=PROBABILITY, c=CLIP)
def cliff_width(xp: Any, p: Values, b: Values, c: Values) -> Values:
    """λ_c − λ*, the width of the saturated regime, about (1−p)/(cΔ): the more deterministic, the sharper.

    λ_c − λ* = −log(1 − (1−p)/c) / Δ = log(c/(c−1+p)) / Δ.

    Args:
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1).
        c: cap on the tail ratio (1−p)/(1−q), in [1, inf]; inf means no clip.

    Returns:
        A float, or an array of the broadcast shape; +inf where p ≤ b, the limit as b rises to p (there is no cliff);
        NaN where an argument is NaN.

    Raises:
        ValueError: a value lies outside its range; the message names argument, range, value and index.

    Source: extension; ``derivations/bernoulli.md``.

    >>> cliff_width(0.999, 0.5, 5.0)
    2.89...e-05
    """
    return _per_gap(xp, log1p_quotient(xp, 1 - p, c - 1 + p), p, b)


@elementwise(p=PROBABILITY, b=PROBABILITY, c=CLIP, lam=REAL)
def regime(xp: Any, p: Values, b: Values, c: Values, lam: Values) -> Values:
    """Which of the three regimes a clipped student is in: preserving, saturated or collapsing.

    For λ ≥ 1 and p > b the borders are λ* and λ_c. Where the push is against the modal token (p < b, or λ < 1) the
    clip acts on that token instead, with the roles of modal token and tail exchanged.

    Args:
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1).
        c: cap on the ratio of teacher to student probability, in [1, inf]; inf means no clip.
        lam: extrapolation coefficient λ, finite.

    Returns:
        A :class:`Regime`, or an integer array of its codes; ``Regime.UNDEFINED`` (−1) where an argument is NaN.

    Raises:
        ValueError: a value lies outside its range; the message names argument, range, value and index.

    Source: extension, for the model with the clip inside the update; ``derivations/bernoulli.md``.

    >>> regime(0.9, 0.5, 2.0, 1.35)
    <Regime.SATURATED: 1>
    """
    push = _push(xp, p, b, lam)
    favoured, size = _sides(xp, p, push)
    clipped, collapsing = size > _edge(xp, favoured, c), size >= _end(xp, favoured, c)
    undefined = xp.isnan(push) | xp.isnan(c)
    if xp is scalar:
        return Regime.UNDEFINED if undefined else Regime(clipped + collapsing)
    codes = xp.astype(clipped, xp.int8) + xp.astype(collapsing, xp.int8)
    return xp.where(undefined, xp.full_like(codes, Regime.UNDEFINED), codes)


@elementwise(p=PROBABILITY, b=PROBABILITY, c=CLIP, lam=REAL)
def stationary_student(xp: Any, p: Values, b: Values, c: Values, lam: Values) -> Values:
    """The student's modal probability that training with the clip inside the update ends at.

    Preserving, it is q_λ; saturated, (p/c)·exp((λ−1)Δ); collapsing, there is no stationary point and the limit is
    returned: 1 where the tail vanishes, 0 where the modal token does (see :func:`regime` for that side).

    Args:
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1).
        c: cap on the ratio of teacher to student probability, in [1, inf]; inf means no clip.
        lam: extrapolation coefficient λ, finite.

    Returns:
        A float, or an array of the broadcast shape, in [0, 1]; NaN where an argument is NaN.

    Raises:
        ValueError: a value lies outside its range; the message names argument, range, value and index.

    Source: extension, for the model with the clip inside the update; ``derivations/bernoulli.md``.

    >>> stationary_student(0.9, 0.5, 2.0, 1.35)
    0.97095...
    """
    push = _push(xp, p, b, lam)
    favoured, size = _sides(xp, p, push)
    edge, end = _edge(xp, favoured, c), _end(xp, favoured, c)
    clipped = size > edge
    # log of the favoured side's mass (favoured/c)·e^|t|; 0 once nothing holds it back.
    log_mass = where(xp, clipped & (size < end), size - end, 0.0)
    saturated = where(xp, push >= 0, xp.exp(log_mass), -xp.expm1(log_mass))
    preserved = _fixed_point(xp, p, where(xp, clipped, 0.0, push))
    return where(xp, clipped, saturated, where(xp, c >= 1, preserved, c))  # c only where it is NaN


@elementwise(p=PROBABILITY, b=PROBABILITY)
def flip_point(xp: Any, p: Values, b: Values) -> Values:
    """The λ ≥ 1 past which the modal token loses its majority: everything else overtakes it, clip or no clip.

    For 1/2 ≤ p < b it is logit b / (logit b − logit p) = 1 + logit p / |Δ|.

    Args:
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1).

    Returns:
        A float, or an array of the broadcast shape; +inf where p ≥ b and p ≥ 1/2 (it never does), 1 where p < 1/2
        (the tail leads from the start), NaN where an argument is NaN.

    Raises:
        ValueError: a value lies outside its range; the message names argument, range, value and index.

    Source: extension; ``derivations/bernoulli.md``.

    >>> flip_point(0.8, 0.9)
    2.70951...
    """
    odds = log1p_quotient(xp, where(xp, p > 0.5, 2 * p - 1, 0.0), 1 - p)
    gap = where(xp, p >= b, 1.0, -_gap(xp, p, b))
    return _flip(xp, (p >= b) & (p >= 0.5), (p < 0.5) & (b > 0), odds / gap)


@elementwise(x=REAL, y=REAL)
def flip_point_from_logits(xp: Any, x: Values, y: Values) -> Values:
    """The flip point from log-odds, for positions so deterministic that 1−p is no longer a float.

    For 0 ≤ x < y it is 1 + x/(y−x).

    Args:
        x: teacher's log-odds of the modal token, logit p, finite.
        y: base's log-odds of the same token, logit b, finite.

    Returns:
        A float, or an array of the broadcast shape; +inf where x ≥ y and x ≥ 0 (it never does), 1 where x < 0 (the tail
        leads from the start), NaN where an argument is NaN.

    Raises:
        ValueError: a value lies outside its range; the message names argument, range, value and index.

    Source: extension; ``derivations/bernoulli.md``.

    >>> flip_point_from_logits(38.0, 40.0)
    20.0
    """
    excess = where(xp, x >= 0, x, 0.0) / where(xp, x >= y, 1.0, y - x)
    return _flip(xp, (x >= y) & (x >= 0), (x < 0) & (y == y), excess)  # noqa: PLR0124 (NaN is not itself)


@elementwise(p=PROBABILITY, b=PROBABILITY, c=CLIP)
def two_sided_threshold(xp: Any, p: Values, b: Values, c: Values) -> Values:
    """The largest λ at which neither side of the fixed point is more than c times smaller than the teacher's.

    For p > b this is λ*. For p < b the modal token shrinks instead, and the limit is where
    p + (1−p)·exp((λ−1)|Δ|) = c.

    Args:
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1).
        c: cap on the ratio of teacher to student probability on either side, in [1, inf]; inf means no clip.

    Returns:
        A float, or an array of the broadcast shape; +inf where p = b or c is inf, NaN where an argument is NaN.

    Raises:
        ValueError: a value lies outside its range; the message names argument, range, value and index.

    Source: extension; ``derivations/bernoulli.md``.

    >>> two_sided_threshold(0.3, 0.5, 5.0)
    3.24742...
    """
    above = p >= b
    high, low = where(xp, above, p, b), where(xp, above, b, p)
    return 1 + _per_gap(xp, _edge(xp, where(xp, above, p, 1 - p), c), high, low)


@elementwise(p=PROBABILITY, b=PROBABILITY, c=CLIP, margin=MARGIN)
def operating_point(xp: Any, p: Values, b: Values, c: Values, margin: Values = 0.1) -> Values:
    """A λ that keeps a margin below the threshold: 1 + (1−margin)(λ*−1). The margin is on the excess over 1, not on λ.

    Args:
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1).
        c: cap on the tail ratio (1−p)/(1−q), in [1, inf]; inf means no clip.
        margin: share of the excess that is given up, in [0, 1); 0 gives λ* itself.

    Returns:
        A float, or an array of the broadcast shape; +inf where λ* is, NaN where an argument is NaN.

    Raises:
        ValueError: a value lies outside its range; the message names argument, range, value and index.

    Source: extension; ``derivations/bernoulli.md``.

    >>> operating_point(0.99933697778, 0.5, 5.0, margin=0.25)
    1.165...
    """
    return 1 + _per_gap(xp, (1 - margin) * _edge(xp, p, c), p, b)


def sensitivity(p: Values, b: Values, c: Values) -> Sensitivity:
    """The three partial derivatives of λ*.

    ∂λ*/∂p = −[(c−1)/(p(c−1+p)) + (λ*−1)/(p(1−p))]/Δ < 0,
    ∂λ*/∂b = (λ*−1)/(b(1−b)Δ) > 0,
    ∂λ*/∂c = 1/((c−1+p)Δ) > 0.

    Args:
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1).
        c: cap on the tail ratio (1−p)/(1−q), in [1, inf]; inf means no clip.

    Returns:
        A :class:`Sensitivity` with fields ``p``, ``b``, ``c``, each a float or an array of the broadcast shape; 0 where
        λ* is +inf and stays so, NaN where an argument is NaN.

    Raises:
        ValueError: a value lies outside its range; the message names argument, range, value and index.

    Source: extension; ``derivations/bernoulli.md``.

    >>> sensitivity(0.9, 0.5, 2.0)
    Sensitivity(p=-1.98..., b=0.61..., c=0.23...)
    """
    return Sensitivity(_slope_in_p(p, b, c), _slope_in_b(p, b, c), _slope_in_c(p, b, c))


def _finite(xp: Any, p: Values, b: Values, c: Values) -> tuple[Values, Values, Values, Values]:
    """Where λ* is +inf and flat, and the arguments with harmless values there."""
    flat = (c >= 1) & ((p <= b) | ((p > b) & (c == math.inf)))
    return flat, where(xp, flat, 0.75, p), where(xp, flat, 0.25, b), where(xp, flat, 2.0, c)


@elementwise(p=PROBABILITY, b=PROBABILITY, c=CLIP)
def _slope_in_p(xp: Any, p: Values, b: Values, c: Values) -> Values:
    flat, p, b, c = _finite(xp, p, b, c)
    slope = -((c - 1) / (c - 1 + p) / p + _excess(xp, p, b, c) / p / (1 - p)) / _gap(xp, p, b)
    return where(xp, flat, 0.0, slope)


@elementwise(p=PROBABILITY, b=PROBABILITY, c=CLIP)
def _slope_in_b(xp: Any, p: Values, b: Values, c: Values) -> Values:
    flat, p, b, c = _finite(xp, p, b, c)
    return where(xp, flat, 0.0, _excess(xp, p, b, c) / (b * (1 - b)) / _gap(xp, p, b))


@elementwise(p=PROBABILITY, b=PROBABILITY, c=CLIP)
def _slope_in_c(xp: Any, p: Values, b: Values, c: Values) -> Values:
    flat, p, b, c = _finite(xp, p, b, c)
    return where(xp, flat, 0.0, 1 / (c - 1 + p) / _gap(xp, p, b))
