"""The clip, base or teacher that a given λ needs: the equation λ*(p, b, c) = λ solved for c, b or p."""

from __future__ import annotations

from typing import Any

from lambda_star._core.elementwise import Real, elementwise
from lambda_star._core.namespaces import Values, where
from lambda_star._core.quantities import LAM, C
from lambda_star.bernoulli import formulas

EXTRAPOLATING = LAM._replace(low=1.0)
FINITE_C = C._replace(ends="[)")

NEWTON_STEPS = 8  # five reach the last digit for every λ, b and c tried; three more are margin


@elementwise()
def clip_for(xp: Any, p: Real, b: Real, lam: Real) -> Real:
    """Return the least clip c for which λ ≤ λ*: c = R(λ) = (1−p) + p·exp((λ−1)Δ), and never below 1.

    Args:
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1).
        lam: extrapolation coefficient λ, finite.

    Returns:
        A float, or an array of the broadcast shape, in [1, inf]; NaN where an argument is NaN.

    Raises:
        ValueError: a value is outside its range.

    Source: extension; ``derivations/bernoulli.md``.

    >>> clip_for(0.999, 0.5, 1.25)
    5.61...
    """
    push = formulas.push(xp, p, b, lam)
    return formulas.tail_ratio(xp, p, where(xp, push < 0, 0.0, push))


@elementwise(FINITE_C, EXTRAPOLATING)
def base_for(xp: Any, p: Real, c: Real, lam: Real) -> Real:
    """Return the least base probability b for which λ ≤ λ*: logit b = logit p − log(1 + (c−1)/p)/(λ−1).

    Args:
        p: teacher's modal probability, in (0, 1).
        c: cap on the tail ratio (1−p)/(1−q), in [1, inf).
        lam: extrapolation coefficient λ, in (1, inf); any base will do at λ ≤ 1.

    Returns:
        A float, or an array of the broadcast shape, in [0, p]; 0 where it underflows, NaN where an argument is NaN.
        The relative error is a few roundings times 1 + Δ, also where p is subnormal, down to the spacing of subnormal
        answers.

    Raises:
        ValueError: a value is outside its range.

    Source: extension; ``derivations/bernoulli.md``.

    >>> base_for(0.999, 5.0, 1.25)
    0.614...
    """
    return formulas.fixed_point(xp, p, -formulas.push_to_edge(xp, p, c) / (lam - 1))


def _softplus(xp: Any, u: Values) -> tuple[Values, Values]:
    """Return log(1 + e^u) and its slope without overflow."""
    positive = u >= 0
    small = xp.exp(where(xp, positive, -u, u))
    return where(xp, positive, u, 0.0) + xp.log1p(small), where(xp, positive, 1.0, small) / (1 + small)


@elementwise(FINITE_C, EXTRAPOLATING)
def teacher_for(xp: Any, b: Real, c: Real, lam: Real) -> Real:
    """Return the largest teacher probability p for which λ ≤ λ*: the only root of λ*(p, b, c) = λ in (b, 1).

    There is no closed form. In Δ the equation reads (λ−1)Δ = log(c + (c−1)·((1−b)/b)·e^−Δ). The lower
    bound log(c)/(λ−1) of Δ is split off, and Newton's method on the logarithms of both sides finds the remainder.

    Args:
        b: base's modal probability, in (0, 1).
        c: cap on the tail ratio (1−p)/(1−q), in [1, inf).
        lam: extrapolation coefficient λ, in (1, inf); any teacher will do at λ ≤ 1.

    Returns:
        A float, or an array of the broadcast shape, in [b, 1]; 1 where it rounds to 1, NaN where an argument is NaN.
        The relative error is a few roundings times 1 + Δ, also where b is subnormal, down to the spacing of subnormal
        answers.

    Raises:
        ValueError: a value is outside its range.

    Source: extension; ``derivations/bernoulli.md``.

    >>> teacher_for(0.5, 5.0, 1.25)
    0.998...
    """
    k = lam - 1
    log_c = xp.log1p(c - 1)
    clipped = where(xp, c > 1, c, 2.0)
    # With d = kΔ − log(c) the equation is d = softplus(s − d/k). Below s = −60, d is too small to change Δ.
    s = xp.log((clipped - 1) / clipped) - formulas.logit(xp, b) - log_c / k
    s = where(xp, s < -60, -60.0, s)
    value, slope = _softplus(xp, s)
    d = value / (1 + slope / k)
    for _ in range(NEWTON_STEPS):
        u = s - d / k
        tiny = u < -36  # where softplus(u) is e^u to the last digit, and its logarithm is u
        value, slope = _softplus(xp, where(xp, tiny, 0.0, u))
        log_value, log_slope = where(xp, tiny, u, xp.log(value)), where(xp, tiny, 1.0, slope / value)
        d = d - d * (xp.log(d) - log_value) / (1 + d / k * log_slope)
    return formulas.fixed_point(xp, b, (log_c + where(xp, c > 1, d, 0.0)) / k)
