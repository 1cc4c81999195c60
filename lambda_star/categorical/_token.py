"""The token that binds, what bounds its threshold, and the root of its equation."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from lambda_star._core.namespaces import Values, wide
from lambda_star._core.rows import dot
from lambda_star.categorical._rows import Rows, as_column, as_vector, take
from lambda_star.categorical._search import Look, Search

NARROW = 1e-4
"""Relative width of a bracket inside which Newton's step is as good as one with the second derivative."""

COARSE = 5e-6
"""The relative error of λ*−1 above which a block of float32 rows is computed in float64."""


class Bound(NamedTuple):
    """The binding token of every row, and what one pass over the tokens proves of its excess λ*−1.

    ``y`` is r − r_binding, so that log R of the binding token is log Σ t·e^((λ−1)y); ``mean`` is the teacher's mean of
    y, and ``start`` where the search for the root begins.
    """

    y: Values
    binding: Values
    binds: Values
    log_total: Values
    mean: Values
    start: Values
    lower: Values
    upper: Values


def find_bound(xp: Any, rows: Rows, c: Values, min_mass: Values, may: Values | bool) -> Bound:
    """Find the binding token among those that may bind, and bound its excess from both sides."""
    weight = xp.exp(rows.z)
    total = dot(xp, weight)
    log_total = xp.log(total)
    binding, low, exists = rows.least, rows.low, xp.ones_like(total, dtype=xp.bool)
    everywhere = may is True and rows.alive is None and not bool(xp.any(min_mass > 0))
    if not everywhere:
        allowed = (rows.z >= as_column(xp, xp.log(min_mass) + log_total, rows.z)) & may
        allowed = allowed if rows.alive is None else allowed & rows.alive
        among = xp.where(allowed, rows.r, math.inf)
        binding, exists = xp.argmin(among, axis=-1), xp.any(allowed, axis=-1)
        low = xp.where(exists[:, None], take(xp, among, binding), rows.low)
    y = rows.r - low
    mean = dot(xp, weight, y) / total
    # Only tokens ahead of the binding one raise its ratio; the others, which may not bind, count as 0.
    mean_ahead = mean if everywhere else dot(xp, weight, xp.where(y > 0, y, 0.0)) / total
    span = as_vector(xp, rows.high - low)
    unknown = xp.isnan(total + c + min_mass)
    binds = exists & (span > 0) & (c < math.inf) | unknown
    span, log_c = xp.where(binds, span, 1.0), xp.where(binds, xp.log(c), 1.0)
    chord = xp.log1p((c - 1) * span / mean_ahead) / span
    lower = xp.where(unknown, math.nan, xp.where(mean_ahead > 0, chord, log_c / span))
    upper = xp.maximum(lower, _upper_bound(xp, rows, y, log_c, log_total, mean, span))
    start = lower
    if not bool(xp.all((upper - lower <= NARROW * lower) | ~binds)):
        weight *= y
        start = _parabola_root(xp, -log_c, mean, dot(xp, weight, y) / total - mean * mean)
        start = xp.clip(xp.where(xp.isnan(start), lower, start), lower, upper)
    return Bound(y, binding, binds, log_total, mean, start, lower, upper)


def _upper_bound(
    xp: Any, rows: Rows, y: Values, log_c: Values, log_total: Values, mean: Values, span: Values
) -> Values:
    """The least of Jensen's bound and the excess at which one token ahead would by itself bring the ratio to c."""
    ahead = as_vector(xp, take(xp, y, rows.modal))
    upper = xp.where(ahead > 0, (log_c + log_total - as_vector(xp, take(xp, rows.z, rows.modal))) / ahead, math.inf)
    upper = xp.where(mean > 0, xp.minimum(log_c / mean, upper), upper)
    if bool(xp.all(upper < math.inf)):
        return upper
    farthest = as_vector(xp, xp.max(xp.where(rows.r == rows.high, rows.z, -math.inf), axis=-1, keepdims=True))
    return xp.where(upper < math.inf, upper, (log_c + log_total - farthest) / span)


def too_coarse(xp: Any, rows: Rows, bound: Bound, c: Values) -> bool:
    """Tell whether the rows' dtype is too coarse for some of them: log-ratios nearly agree, or c is close to 1."""
    if rows.z.dtype == wide(xp):
        return False
    largest = as_vector(xp, xp.maximum(xp.abs(rows.low), xp.abs(rows.high)))
    error = float(xp.finfo(rows.z.dtype).eps) * (largest / bound.mean + 1 / xp.log(c))
    return bool(xp.any(bound.binds & (xp.abs(error) > COARSE)))


class TokenSearch(Search):
    """The search for the excess at which log R of the binding token reaches log c.

    log R is convex in λ, so a step to the root of its parabola converges with order three, within the closed bounds.
    """

    def __init__(self, xp: Any, z: Values, bound: Bound, log_c: Values) -> None:
        start = xp.where(bound.binds, bound.start, 0.0)
        done = ~bound.binds | xp.isnan(bound.mean)
        super().__init__(xp, bound.lower, bound.upper, start, done, float(xp.finfo(z.dtype).eps))
        self.z, self.bound, self.log_c = z, bound, log_c

    def advance(self) -> Values:
        """Follow the last step within the bracket, and round the excess to the dtype in which the rows see it."""
        guess = self.bracketed(self.guess)
        guess = self.xp.where(self.xp.isnan(guess), (self.low + self.high) / 2, guess)
        return as_vector(self.xp, as_column(self.xp, guess, self.z))

    def look(self, x: Values) -> Look:
        """Sum over the tokens; the second derivative is left out where Newton's step is as good."""
        xp, bound = self.xp, self.bound
        power = as_column(xp, x, self.z) * bound.y
        power += self.z
        weight = xp.exp(power)
        total = dot(xp, weight)
        residual = xp.log(total) - bound.log_total - self.log_c
        mean = dot(xp, weight, bound.y) / total
        if bool(xp.all((self.high - self.low <= NARROW * self.low) | self.done)):
            return residual, -residual / mean, self.epsilon ** (1 / 2) / 8
        weight *= bound.y
        variance = dot(xp, weight, bound.y) / total - mean * mean
        return residual, _parabola_root(xp, residual, mean, variance), self.epsilon ** (1 / 3) / 8


def _parabola_root(xp: Any, value: Values, slope: Values, curvature: Values) -> Values:
    """The right-hand root of value + slope·x + curvature·x²/2, or Newton's step where the parabola has none."""
    square = slope * slope - 2 * value * curvature
    root = xp.sqrt(xp.where(square > 0, square, 0.0))
    down = xp.where(slope < 0, (root - slope) / curvature, -2 * value / (slope + root))
    return xp.where(square > 0, down, -value / slope)
