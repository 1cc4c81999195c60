"""Times of the two flows between two log-odds: closed forms without overflow, and quadrature where there is none.

θ moves from ``start`` over a ``distance`` towards a target that lies ``beyond`` the end. The closed forms cancel where
the distance is short; the integrals are smooth there, and a few Gauss nodes give all their digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from lambda_star._core.namespaces import Floats
from lambda_star.dynamics.formulas import inverse_rate

__all__ = ["clipped_time", "free_time", "policy_time", "scaled_e1", "scaled_ei"]

Rule = tuple[Floats, Floats]
"""Nodes and weights of an integral over [−1, 1]."""


FINE: Rule = np.polynomial.legendre.leggauss(16)
"""Has all digits over the distances and pieces below."""


COARSE: Rule = np.polynomial.legendre.leggauss(4)
"""Good for the first steps of a root finder."""


SHORT, NEAR = 8.0, 3.0
"""Distances that are summed at nodes, which is faster than SciPy's exponential integrals; a target near enough to have
its pole taken off."""


FAR, TERMS = 40.0, 36
"""From here the asymptotic series of the exponential integrals has all digits within so many terms."""


PIECE = 2.0
"""Length of a piece of an integral over a logarithm: its integrand is analytic within π/2 of the real line."""


def scaled_e1(x: Floats) -> Floats:
    """e^x E1(x) for x > 0."""
    from scipy.special import exp1

    return _by_size(x, lambda near: np.exp(near) * exp1(near), -1)


def scaled_ei(x: Floats) -> Floats:
    """e^−x Ei(x) for x > 0."""
    from scipy.special import expi

    return _by_size(x, lambda near: np.exp(-near) * expi(near), 1)


def _by_size(x: Floats, near: Callable[[Floats], Floats], sign: int) -> Floats:
    """A scaled exponential integral; far out (1 + sign·1!/x + 2!/x² + sign·3!/x³ + …)/x, summed from its last term."""
    far = x > FAR
    value = near(np.where(far, 1.0, x))
    if np.any(far):
        distant = x[far]
        total = np.zeros_like(distant)
        for k in range(TERMS, 0, -1):
            total = sign * k / distant * (1 + total)
        value[far] = (1 + total) / distant
    return value


def free_time(flow: str, start: Floats, distance: Floats, beyond: Floats) -> Floats:
    """The time over a distance ≥ 0 while the clip does not act; +inf where the target is not beyond the end."""
    reached = (beyond > 0) & (distance >= 0)
    distance, beyond = np.where(reached, distance, 1.0), np.where(reached, beyond, 1.0)
    natural = flow == "natural"
    time = np.log1p(distance / beyond) if natural else policy_time(start, distance, beyond)[0]
    return np.where(reached, time, math.inf)


def policy_time(start: Floats, distance: Floats, beyond: Floats, rule: Rule = FINE) -> tuple[Floats, Floats]:
    """The time under policy gradient for ``beyond`` > 0, and its slope in the logarithm of ``beyond``.

    With A and B, the integrals of e^θ and e^−θ over the distance to the target, it is 2 log(u_0/u_c) + A + B.
    """
    start, distance, beyond = (np.asarray(values, dtype=np.float64) for values in (start, distance, beyond))
    up, down = np.empty(distance.shape), np.empty(distance.shape)
    long, near = distance > SHORT, beyond < NEAR
    for chosen, integrals in ((long, _closed), (~long & near, _summed_near), (~long & ~near, _summed_far)):
        if np.any(chosen):
            up[chosen], down[chosen] = integrals(start[chosen], distance[chosen], beyond[chosen], rule)
    share = beyond / (beyond + distance)
    time = 2 * np.log1p(distance / beyond) + (up + down)
    slope = share * inverse_rate(start) - inverse_rate(start + distance) + beyond * (up - down)
    # Further out the terms of the slope cancel, but it lies between those of a pole at either end of the way.
    return time, np.clip(slope, -time, -share * time)


def _closed(start: Floats, distance: Floats, beyond: Floats, _: Rule) -> tuple[Floats, Floats]:
    """A = e^θ_λ [E1(u_c) − E1(u_0)] and B = e^−θ_λ [Ei(u_0) − Ei(u_c)], each exponential with its integral."""
    whole, end = distance + beyond, start + distance
    up = np.exp(end) * scaled_e1(beyond) - np.exp(start) * scaled_e1(whole)
    return up, scaled_ei(whole) / np.exp(start) - scaled_ei(beyond) / np.exp(end)


def _summed_near(start: Floats, distance: Floats, beyond: Floats, rule: Rule) -> tuple[Floats, Floats]:
    """A and B over a short distance to a target that is near: the pole by itself, (e^∓u − 1)/u at the nodes."""
    target = np.exp(start + distance + beyond)
    up = down = np.log1p(distance / beyond)
    for node, weight in zip(*rule, strict=True):
        u = beyond + distance * ((1 + node) / 2)
        part = (weight / 2) * distance * np.expm1(-u) / u
        up, down = up + part, down - part / np.exp(-u)
    return target * up, down / target


def _summed_far(start: Floats, distance: Floats, beyond: Floats, rule: Rule) -> tuple[Floats, Floats]:
    """A and B over a short distance to a target that is far: e^±θ/u at the nodes."""
    up, down = np.zeros_like(start), np.zeros_like(start)
    for node, weight in zip(*rule, strict=True):
        grown = np.exp(start + distance * ((1 - node) / 2))
        part = (weight / 2) * distance / (beyond + distance * ((1 + node) / 2))
        up, down = up + part * grown, down + part / grown
    return up, down


def clipped_time(flow: str, surplus: Any, start: Any, end: Any) -> Floats:
    """The time from w = ``start`` down to w = ``end``, w = −log q, once the clip acts: θ' = surplus + w.

    ``surplus`` is (λ−λ_c)Δ; where it is negative the student settles at w = −surplus and +inf is the time to any end
    below. The integral over log w, or over log(surplus + w), is summed in pieces.
    """
    reached = surplus + end > 0
    shift = np.minimum(surplus, 0.0)
    low, high = (np.log(np.where(reached, w + shift, 1.0)).astype(np.float64) for w in (end, start))
    shift, push = shift.astype(np.float64)[..., None], np.maximum(surplus, 0.0).astype(np.float64)[..., None]
    pieces = max(1, math.ceil(float(np.max(np.where(reached, high - low, 0.0), initial=0.0)) / PIECE))
    width = (high - low) / pieces
    total, (nodes, weights) = np.zeros_like(low), FINE
    for piece in range(pieces):
        v = np.exp(low[..., None] + width[..., None] * (piece + (1 + nodes) / 2))
        tail = -np.expm1(shift - v)  # 1 − q at w = v − shift
        time = v / tail / (push + v)  # dθ/θ', as dw = −(1 − q) dθ
        if flow == "policy-gradient":
            time = time / np.exp(shift - v) / tail
        total += width / 2 * (time @ weights)
    return np.where(reached | np.isnan(surplus + end), total, math.inf)
