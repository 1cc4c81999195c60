"""The token that binds, and the root of its equation."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from lambda_star._core.namespaces import Values, wide
from lambda_star._core.quantities import Quantity
from lambda_star._core.rows import dot
from lambda_star.categorical._rows import Rows, as_column, as_vector, entry

__all__ = ["Bound", "find_bound", "root", "too_coarse"]

MIN_MASS = Quantity("min_mass", 0.0, 1.0, "[)")


STEPS = 100
"""Most evaluations of the ratio before a row is given up as not converged."""


NARROW = 1e-4
"""Relative width of a bracket inside which second derivatives no longer matter."""


COARSE = 5e-6
"""The relative error of λ*−1 above which a block of float32 rows is computed in float64."""


class Bound(NamedTuple):
    """The binding token of every row, and what bounds its threshold. y = r − r_binding; log R = log Σ t e^((λ−1)y)."""

    y: Values
    binding: Values
    binds: Values
    log_total: Values
    mean: Values
    start: Values
    lower: Values
    upper: Values


def find_bound(xp: Any, rows: Rows, c: Values, min_mass: Values, may: Values | bool) -> Bound:
    """Find the binding token, and the excess λ*−1 that one pass over the tokens proves to be safe, or not to be."""
    z, r = rows.z, rows.r
    weight = xp.exp(z)
    total = dot(xp, weight)
    log_total, log_c = xp.log(total), xp.log(c)
    everywhere = may is True and rows.alive is None and not bool(xp.any(min_mass > 0))
    if everywhere:
        binding, low, binds = rows.least, rows.low, xp.ones_like(total, dtype=xp.bool)
    else:
        allowed = (z >= as_column(xp, xp.log(min_mass) + log_total, z)) & may
        allowed = allowed if rows.alive is None else allowed & rows.alive
        among = xp.where(allowed, r, math.inf)
        binding = xp.argmin(among, axis=-1)
        low, binds = entry(xp, among, binding), xp.any(allowed, axis=-1)
        low = xp.where(binds[:, None], low, rows.low)
    y = r - low
    mean = dot(xp, weight, y) / total
    # Only tokens ahead of the binding one raise its ratio: the others, below it where they may not bind, count as 0.
    mean_ahead = mean if everywhere else dot(xp, weight, xp.where(y > 0, y, 0.0)) / total
    span = as_vector(xp, rows.high - low)
    unknown = xp.isnan(total + c + min_mass)
    binds = binds & (span > 0) & (c < math.inf) | unknown
    span, log_c = xp.where(binds, span, 1.0), xp.where(binds, log_c, 1.0)
    chord = xp.log1p((c - 1) * span / mean_ahead) / span
    lower = xp.where(mean_ahead > 0, chord, log_c / span)
    # Ceilings: Jensen's, and the λ at which a single token ahead would by itself bring the ratio to c.
    ahead = as_vector(xp, entry(xp, y, rows.modal))
    upper = xp.where(ahead > 0, (log_c + log_total - as_vector(xp, entry(xp, z, rows.modal))) / ahead, math.inf)
    upper = xp.where(mean > 0, xp.minimum(log_c / mean, upper), upper)
    if not bool(xp.all(upper < math.inf)):
        farthest = as_vector(xp, xp.max(xp.where(r == rows.high, z, -math.inf), axis=-1, keepdims=True))
        upper = xp.where(upper < math.inf, upper, (log_c + log_total - farthest) / span)
    lower = xp.where(unknown, math.nan, lower)
    upper = xp.maximum(lower, upper)
    start = lower
    if not bool(xp.all((upper - lower <= NARROW * lower) | ~binds)):
        weight *= y
        variance = dot(xp, weight, y) / total - mean * mean
        start = _parabola_root(xp, -log_c, mean, variance)
        start = xp.clip(xp.where(xp.isnan(start), lower, start), lower, upper)
    return Bound(y, binding, binds, log_total, mean, start, lower, upper)


def too_coarse(xp: Any, rows: Rows, bound: Bound, c: Values) -> bool:
    """Whether the dtype of the rows is too coarse for some of them: log-ratios that nearly agree, or c close to 1."""
    if rows.z.dtype == wide(xp):
        return False
    largest = as_vector(xp, xp.maximum(xp.abs(rows.low), xp.abs(rows.high)))
    error = float(xp.finfo(rows.z.dtype).eps) * (largest / bound.mean + 1 / xp.log(c))
    return bool(xp.any(bound.binds & (xp.abs(error) > COARSE)))


def root(xp: Any, z: Values, bound: Bound, log_c: Values) -> tuple[Values, Values, Values]:
    """The excess at which log R reaches log c, the evaluations that took, and whether it was found.

    log R is convex in λ, so a step to the root of its parabola converges with order three; the closed forms bracket it.
    """
    low, high = bound.lower, bound.upper
    excess = xp.where(bound.binds, bound.start, 0.0)
    steps = xp.zeros_like(bound.binding)
    done = ~bound.binds | xp.isnan(bound.mean)
    epsilon = float(xp.finfo(z.dtype).eps)
    for _ in range(STEPS):
        if bool(xp.all(done)):
            break
        at = as_column(xp, excess, z)
        excess = xp.where(done, excess, as_vector(xp, at))  # the λ that the rows see, rounded to their dtype
        power = at * bound.y
        power += z
        weight = xp.exp(power)
        total = dot(xp, weight)
        gap = xp.log(total) - bound.log_total - log_c
        mean = dot(xp, weight, bound.y) / total
        if bool(xp.all((high - low <= NARROW * low) | done)):  # Newton's step is cheaper, and as good here
            order, step = 2, -gap / mean
        else:
            weight *= bound.y
            order, step = 3, _parabola_root(xp, gap, mean, dot(xp, weight, bound.y) / total - mean * mean)
        low, high = xp.where(gap < 0, excess, low), xp.where(gap > 0, excess, high)
        following = excess + step
        middle = (low + high) / 2
        following = xp.where(xp.isnan(following), middle, xp.clip(following, low, high))
        near = (xp.abs(step) <= epsilon ** (1 / order) / 8 * excess) | (xp.abs(gap) <= 4 * epsilon)
        excess = xp.where(done, excess, following)
        steps = xp.where(done, steps, steps + 1)
        done = done | near
    return excess, steps, done


def _parabola_root(xp: Any, value: Values, slope: Values, curvature: Values) -> Values:
    """The right-hand root of value + slope·x + curvature·x²/2, or Newton's step where the parabola has none."""
    square = slope * slope - 2 * value * curvature
    root = xp.sqrt(xp.where(square > 0, square, 0.0))
    down = xp.where(slope < 0, (root - slope) / curvature, -2 * value / (slope + root))
    return xp.where(square > 0, down, -value / slope)
