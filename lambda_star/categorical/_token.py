"""The token that binds, what bounds its threshold, and the root of its equation."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from lambda_star._core.namespaces import Values, log1p_quotient, wide
from lambda_star._core.rows import dot
from lambda_star.categorical._rows import Rows, as_column, as_vector, log_sum_exp, softplus, take
from lambda_star.categorical._search import STEEP, Look, Search

NARROW = 1e-4
"""Relative width of a bracket inside which Newton's step is as good as one with the second derivative."""

COARSE = 5e-6
"""The relative error of λ*−1 above which a block of float32 rows is computed in float64."""


THIN = 1e-30
"""The mean of y, as a share of its range, below which it comes from logarithms: the sum may have underflowed."""


class Bound(NamedTuple):
    """The binding token of every row, and what one pass over the tokens proves of its excess λ*−1.

    ``y`` is r − r_binding, so that log R of the binding token is log Σ t·e^((λ−1)y); ``mean`` is the teacher's mean of
    y, ``span`` its greatest value, and ``start`` where the search for the root begins.
    """

    y: Values
    binding: Values
    binds: Values
    log_total: Values
    mean: Values
    span: Values
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
    unknown = xp.isnan(total + c)
    binds = exists & (span > 0) & (c < math.inf) | unknown
    span, log_c = xp.where(binds, span, 1.0), xp.where(binds, xp.log(c), 1.0)
    lower = xp.where(unknown, math.nan, _lower_bound(xp, rows, y, xp.where(binds, c, 2.0), log_total, mean_ahead, span))
    upper = xp.maximum(lower, _upper_bound(xp, rows, y, log_c, log_total, mean, span))
    start = lower
    if not bool(xp.all((upper - lower <= NARROW * lower) | ~binds)):
        weight *= y
        start = _parabola_root(xp, -log_c, mean, dot(xp, weight, y) / total - mean * mean)
        start = xp.where((start > lower) & (start < upper), start, lower)
    return Bound(y, binding, binds, log_total, mean, span, start, lower, upper)


def _lower_bound(
    xp: Any, rows: Rows, y: Values, c: Values, log_total: Values, mean_ahead: Values, span: Values
) -> Values:
    """Return log(1 + (c−1)/w) over the span, with w = mean_ahead/span: Eq. 4, and exact for two tokens."""
    share = mean_ahead / span
    thin = ~(share > THIN)
    if not bool(xp.any(thin)):
        return log1p_quotient(xp, c - 1, share) / span
    log_share = log_sum_exp(xp, rows.z + xp.log(xp.where(y > 0, y, 0.0))) - log_total - xp.log(span)
    direct = log1p_quotient(xp, c - 1, xp.where(thin, 1.0, share))
    push = xp.where(thin, softplus(xp, xp.log(c - 1) - log_share), direct)
    return push / span


def _upper_bound(
    xp: Any, rows: Rows, y: Values, log_c: Values, log_total: Values, mean: Values, span: Values
) -> Values:
    """The least of Jensen's bound and the excess at which one token ahead would by itself bring the ratio to c."""
    ahead = as_vector(xp, take(xp, y, rows.modal))
    upper = xp.where(ahead > 0, (log_c + log_total - as_vector(xp, take(xp, rows.z, rows.modal))) / ahead, math.inf)
    upper = xp.where(mean > 0, xp.minimum(log_c / mean, upper), upper)
    steep = ~(upper * span < STEEP)
    if not bool(xp.any(steep)):
        return upper
    single = (as_column(xp, log_c + log_total, y) - rows.z) / xp.where(y > 0, y, 1.0)
    least = as_vector(xp, xp.min(xp.where(y > 0, single, math.inf), axis=-1, keepdims=True))
    return xp.where(steep, xp.minimum(upper, least), upper)


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
        done = ~bound.binds | xp.isnan(bound.lower)
        super().__init__(xp, bound.lower, bound.upper, start, done, float(xp.finfo(z.dtype).eps))
        self.z, self.bound, self.goal = z, bound, bound.log_total + log_c
        self.tried_low = self.tried_high = xp.zeros_like(done)
        if not bool(xp.all((bound.upper * bound.span < STEEP) | done)):  # Σ e^power must not overflow: make its goal 1
            self.z, self.goal = z - as_column(xp, self.goal, z), xp.zeros_like(self.goal)

    def advance(self) -> Values:
        """Follow the last step within the bracket, and round the excess to the dtype in which the rows see it."""
        xp, low, high = self.xp, self.low, self.high
        # An end of the bracket that was tried is not the root, so a step to it or past it tells nothing.
        inside = ((self.guess > low) | ~self.tried_low) & ((self.guess < high) | ~self.tried_high)
        middle = xp.where(high > 4 * low, xp.sqrt(low) * xp.sqrt(high), (low + high) / 2)
        guess = xp.where(inside & ~xp.isnan(self.guess), self.bracketed(self.guess), middle)
        return as_vector(xp, as_column(xp, guess, self.z))

    def look(self, x: Values) -> Look:
        """Sum over the tokens; the second derivative is left out where Newton's step is as good."""
        xp, bound = self.xp, self.bound
        power = as_column(xp, x, self.z) * bound.y
        power += self.z
        weight = xp.exp(power)
        total = dot(xp, weight)
        residual = xp.log(total) - self.goal
        mean = dot(xp, weight, bound.y) / total
        # A step is negligible if its square, or its cube, times the curvature is.
        bend, noise = xp.clip(x * bound.span / 16, 1.0, math.inf), 4 * self.epsilon * (1 + x * xp.abs(mean))
        if bool(xp.all((self.high - self.low <= NARROW * self.low) | self.done)):
            return residual, -residual / mean, (self.epsilon / bend) ** (1 / 2) / 8, noise
        weight *= bound.y
        variance = dot(xp, weight, bound.y) / total - mean * mean
        step = _parabola_root(xp, residual, mean, variance)
        return residual, step, (self.epsilon / bend**2) ** (1 / 3) / 8, noise

    def polish(self, x: Values, seen: Look, certain: Values) -> None:
        """Narrow the bracket, note which of its ends were tried, and end the rows in which nothing is left of it."""
        super().polish(x, seen, certain)
        self.tried_low = self.tried_low | (seen[0] < 0)
        self.tried_high = self.tried_high | (seen[0] > 0)
        closed = ~self.done & (self.high - self.low <= 2 * self.epsilon * self.high)
        self.root, self.done = self.xp.where(closed, self.low, self.root), self.done | closed


def _parabola_root(xp: Any, value: Values, slope: Values, curvature: Values) -> Values:
    """The right-hand root of value + slope·x + curvature·x²/2, or Newton's step where the parabola has none."""
    square = slope * slope - 2 * value * curvature
    root = xp.sqrt(xp.where(square > 0, square, 0.0))
    down = xp.where(slope < 0, (root - slope) / curvature, -2 * value / (slope + root))
    return xp.where(square > 0, down, -value / slope)
