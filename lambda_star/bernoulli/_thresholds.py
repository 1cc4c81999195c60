"""The threshold λ* and the fixed point of one position, and the slopes of λ*."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from lambda_star._core.elementwise import Real, elementwise
from lambda_star._core.namespaces import Exact, Values, where
from lambda_star.bernoulli import formulas


class Sensitivity(NamedTuple):
    """The partial derivatives of λ* in p, b and c; a small change of one argument moves λ* by slope times change."""

    p: Values
    b: Values
    c: Values


@elementwise()
def excess(xp: Any, p: Real, b: Real, c: Real) -> Real:
    """Return λ*−1 = log(1 + (c−1)/p) / Δ, with all its digits where λ* is close to 1; Δ = logit p − logit b.

    Args:
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1).
        c: cap on the tail ratio (1−p)/(1−q), in [1, inf]; inf means no clip.

    Returns:
        A float, or an array of the broadcast shape; +inf where p ≤ b or c is inf, NaN where an argument is NaN.

    Raises:
        ValueError: a value is outside its range.

    Source: paper, Eq. 4, in the margin form of ``derivations/bernoulli.md``.

    >>> excess(0.999, 0.5, 5.0)
    0.23313...
    """
    return formulas.excess(xp, p, b, c)


@elementwise()
def threshold(xp: Any, p: Real, b: Real, c: Real) -> Real:
    """Return λ*, the largest λ at which the fixed point's tail mass is still at least (1−p)/c.

    λ* = 1 + log(1 + (c−1)/p) / Δ with Δ = logit p − logit b. Where p ≤ b, no λ > 1 shrinks the tail.

    Args:
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1).
        c: cap on the tail ratio (1−p)/(1−q), in [1, inf]; inf means no clip.

    Returns:
        A float, or an array of the broadcast shape; +inf where p ≤ b or c is inf, NaN where an argument is NaN.

    Raises:
        ValueError: a value is outside its range.

    Source: paper, Theorem 4.1 and Eq. 4, in the margin form of ``derivations/bernoulli.md``.

    >>> threshold(0.99933697778, 0.5, 5.0)
    1.22...
    >>> threshold(0.4, 0.5, 5.0)
    inf
    """
    return 1 + formulas.excess_for(xp, formulas.push_to_edge(xp, p, c), p, b)


@elementwise()
def threshold_from_logits(xp: Any, x: Real, y: Real, c: Real) -> Real:
    """Return λ* from log-odds, 1 + log(1 + (c−1)(1 + e^−x))/(x−y), for positions so deterministic that p rounds to 1.

    Args:
        x: teacher's log-odds of the modal token, logit p, finite.
        y: base's log-odds of the same token, logit b, finite.
        c: cap on the tail ratio (1−p)/(1−q), in [1, inf]; inf means no clip.

    Returns:
        A float, or an array of the broadcast shape; +inf where x ≤ y or c is inf, NaN where an argument is NaN.

    Raises:
        ValueError: a value is outside its range.

    Source: paper, Eq. 4, in the log-odds form of ``derivations/bernoulli.md``.

    >>> threshold_from_logits(700.0, 0.0, 5.0)
    1.00229...
    """
    # Below x = −80, e^−x may overflow, and log(1 + (c−1)(1 + e^−x)) is log(c−1) − x to the last digit.
    least = -math.inf if isinstance(xp, Exact) else -80.0
    far = (x < least) & (c > 1)
    near_edge = formulas.push_to_edge(xp, 1 / (1 + xp.exp(-where(xp, x < least, 0.0, x))), c)
    far_edge = xp.log(where(xp, far, c - 1, 1.0)) - x
    push = where(xp, far, far_edge, where(xp, x < least, c - 1, near_edge))
    return 1 + formulas.excess_from_gap(xp, push, x - y)


@elementwise()
def fixed_point(xp: Any, p: Real, b: Real, lam: Real) -> Real:
    """Return q_λ, the student's modal probability at the end of training without a clip: logit q_λ = logit p + (λ−1)Δ.

    Args:
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1).
        lam: extrapolation coefficient λ, finite; 1 is plain distillation and gives q = p.

    Returns:
        A float, or an array of the broadcast shape, in [0, 1]; NaN where an argument is NaN.

    Raises:
        ValueError: a value is outside its range.

    Source: paper, Theorem 4.1; ``derivations/bernoulli.md``.

    >>> fixed_point(0.9, 0.5, 2.0)
    0.98780...
    """
    return formulas.fixed_point(xp, p, formulas.push(xp, p, b, lam))


@elementwise()
def tail_ratio(xp: Any, p: Real, b: Real, lam: Real) -> Real:
    """Return R(λ) = (1−p) + p·exp((λ−1)Δ), how many times thinner the fixed point's tail is than the teacher's.

    Args:
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1).
        lam: extrapolation coefficient λ, finite; R(1) = 1.

    Returns:
        A float, or an array of the broadcast shape, in (0, inf]; NaN where an argument is NaN.

    Raises:
        ValueError: a value is outside its range.

    Source: paper, Theorem 4.1; ``derivations/bernoulli.md``.

    >>> tail_ratio(0.9, 0.5, 2.0)
    8.2...
    """
    return formulas.tail_ratio(xp, p, formulas.push(xp, p, b, lam))


@elementwise()
def is_clip_safe(xp: Any, p: Real, b: Real, c: Real, lam: Real) -> bool:
    """Tell whether R(λ) ≤ c, that is, whether the fixed point keeps a tail mass of at least (1−p)/c.

    Args:
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1).
        c: cap on the tail ratio (1−p)/(1−q), in [1, inf]; inf means no clip.
        lam: extrapolation coefficient λ, finite.

    Returns:
        A bool, or a boolean array of the broadcast shape; False where an argument is NaN.

    Raises:
        ValueError: a value is outside its range.

    Source: paper, Theorem 4.1; ``derivations/bernoulli.md``.

    >>> is_clip_safe(0.999, 0.5, 5.0, 1.2), is_clip_safe(0.999, 0.5, 5.0, 1.25)
    (True, False)
    """
    return formulas.push(xp, p, b, lam) <= formulas.push_to_edge(xp, p, c)


@elementwise()
def two_sided_threshold(xp: Any, p: Real, b: Real, c: Real) -> Real:
    """Return the largest λ at which neither side of the fixed point is more than c times smaller than the teacher's.

    For p > b this is λ*. For p < b the modal token shrinks instead, until p + (1−p)·exp((λ−1)|Δ|) = c.

    Args:
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1).
        c: cap on the ratio of teacher to student probability on either side, in [1, inf]; inf means no clip.

    Returns:
        A float, or an array of the broadcast shape; +inf where p = b or c is inf, NaN where an argument is NaN.

    Raises:
        ValueError: a value is outside its range.

    Source: extension; ``derivations/bernoulli.md``.

    >>> two_sided_threshold(0.3, 0.5, 5.0)
    3.24742...
    """
    above = p >= b
    high, low = where(xp, above, p, b), where(xp, above, b, p)
    return 1 + formulas.excess_for(xp, formulas.push_to_edge(xp, where(xp, above, p, 1 - p), c), high, low)


@elementwise()
def operating_point(xp: Any, p: Real, b: Real, c: Real, margin: Real = 0.1) -> Real:
    """Return the λ that keeps a margin below λ*: 1 + (1−margin)(λ*−1); the margin is a share of the excess over 1.

    Args:
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1).
        c: cap on the tail ratio (1−p)/(1−q), in [1, inf]; inf means no clip.
        margin: share of the excess λ*−1 that is given up, in [0, 1); 0 gives λ* itself.

    Returns:
        A float, or an array of the broadcast shape; +inf where λ* is, NaN where an argument is NaN.

    Raises:
        ValueError: a value is outside its range.

    Source: extension; ``derivations/bernoulli.md``.

    >>> operating_point(0.99933697778, 0.5, 5.0, margin=0.25)
    1.165...
    """
    # Not formulas.operating(λ*, margin), which would round twice: to λ*, and to the result.
    push = formulas.push_to_edge(xp, p, c)
    infinite = (push == math.inf) & (margin >= 0)  # any share of it is infinite, and has no slope in the margin
    share = where(xp, infinite, push, (1 - margin) * where(xp, infinite, 0.0, push))
    return 1 + formulas.excess_for(xp, share, p, b)


def sensitivity(p: Values, b: Values, c: Values) -> Sensitivity:
    """Return the three partial derivatives of λ*.

    ∂λ*/∂p = −[(c−1)/(p(c−1+p)) + (λ*−1)/(p(1−p))]/Δ < 0,
    ∂λ*/∂b = (λ*−1)/(b(1−b)Δ) > 0,
    ∂λ*/∂c = 1/((c−1+p)Δ) > 0.

    Args:
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1).
        c: cap on the tail ratio (1−p)/(1−q), in [1, inf]; inf means no clip.

    Returns:
        A :class:`Sensitivity`, each field a float or an array of the broadcast shape; 0 where λ* is +inf and stays so,
        NaN where an argument is NaN.

    Raises:
        ValueError: a value is outside its range.

    Source: extension; ``derivations/bernoulli.md``.

    >>> sensitivity(0.9, 0.5, 2.0)
    Sensitivity(p=-1.98..., b=0.61..., c=0.23...)
    """
    return Sensitivity(_slope_in_p(p, b, c), _slope_in_b(p, b, c), _slope_in_c(p, b, c))


def _slope(xp: Any, p: Values, b: Values, c: Values, formula: Callable[..., Values]) -> Values:
    """Return a slope of λ*, and 0 where λ* is +inf on all sides; the formula gets harmless values there."""
    flat = (p <= b) | (c == math.inf)
    slope = formula(xp, where(xp, flat, 0.75, p), where(xp, flat, 0.25, b), where(xp, flat, 2.0, c))
    known = (p > 0) & (b > 0) & (c >= 1)
    return where(xp, flat, where(xp, known, 0.0, p + b + c), slope)  # the sum is NaN where an argument is


@elementwise()
def _slope_in_p(xp: Any, p: Real, b: Real, c: Real) -> Real:
    def slope(xp: Any, p: Values, b: Values, c: Values) -> Values:
        push, star = (c - 1) / (c - 1 + p) / p, formulas.excess(xp, p, b, c) / p / (1 - p)
        return -(push + star) / formulas.log_odds_gap(xp, p, b)

    return _slope(xp, p, b, c, slope)


@elementwise()
def _slope_in_b(xp: Any, p: Real, b: Real, c: Real) -> Real:
    def slope(xp: Any, p: Values, b: Values, c: Values) -> Values:
        return formulas.excess(xp, p, b, c) / (b * (1 - b)) / formulas.log_odds_gap(xp, p, b)

    return _slope(xp, p, b, c, slope)


@elementwise()
def _slope_in_c(xp: Any, p: Real, b: Real, c: Real) -> Real:
    def slope(xp: Any, p: Values, b: Values, c: Values) -> Values:
        return 1 / (c - 1 + p) / formulas.log_odds_gap(xp, p, b)

    return _slope(xp, p, b, c, slope)
