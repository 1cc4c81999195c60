"""Times of the two flows between two log-odds: closed forms that do not overflow, and quadrature elsewhere.

The log-odds θ move from ``start`` over a ``distance``, towards a target that lies ``beyond`` the end of that distance.
The closed forms cancel where the distance is short; there the integrals are smooth, and a few Gauss nodes give all
their digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from lambda_star._core.namespaces import Floats
from lambda_star.dynamics.formulas import inverse_rate

Nodes = tuple[Floats, Floats]  # nodes and weights of an integral over [−1, 1]

FINE: Nodes = np.polynomial.legendre.leggauss(16)  # enough for all digits over the distances and pieces below
COARSE: Nodes = np.polynomial.legendre.leggauss(4)  # enough for the first steps of a root finder
SHORT = 8.0  # up to this distance the integrals are summed at nodes, faster than SciPy's exponential integrals
NEAR = 3.0  # a target closer to the end has its pole integrated in closed form, because nodes would not resolve it
FAR, TERMS = 40.0, 36  # past FAR the asymptotic series of the exponential integrals has all digits within TERMS terms
PIECE = 2.0  # length of a piece of an integral over a logarithm: its integrand is analytic within π/2 of the real line


def scaled_e1(x: Floats) -> Floats:
    """Return e^x E1(x) for x > 0."""
    from scipy.special import exp1

    return _by_size(x, lambda near: np.exp(near) * exp1(near), -1)


def scaled_ei(x: Floats) -> Floats:
    """Return e^−x Ei(x) for x > 0."""
    from scipy.special import expi

    return _by_size(x, lambda near: np.exp(-near) * expi(near), 1)


def _by_size(x: Floats, near: Callable[[Floats], Floats], sign: int) -> Floats:
    """Return a scaled exponential integral: ``near`` up to ``FAR``, and beyond it the asymptotic series.

    The series is (1 + sign·1!/x + 2!/x² + sign·3!/x³ + …)/x, summed from its last term on.
    """
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
    """Return the time over a distance ≥ 0 while the clip does not act; +inf where the target is not beyond the end."""
    reached = (beyond > 0) & (distance >= 0)
    distance, beyond = np.where(reached, distance, 1.0), np.where(reached, beyond, 1.0)
    natural = flow == "natural"
    time = np.log1p(distance / beyond) if natural else policy_time(start, distance, beyond)[0]
    return np.where(reached, time, math.inf)


def policy_time(start: Floats, distance: Floats, beyond: Floats, nodes: Nodes = FINE) -> tuple[Floats, Floats]:
    """Return the time under policy gradient for ``beyond`` > 0, and its slope in the logarithm of ``beyond``.

    The time is 2 log(u_0/u_c) + A + B. Here u is the distance to the target, u_0 at the start and u_c at the end; A
    and B are the integrals of e^θ/u and e^−θ/u between them.
    """
    start, distance, beyond = (np.asarray(values, dtype=np.float64) for values in (start, distance, beyond))
    up, down = np.empty(distance.shape), np.empty(distance.shape)
    long, near = distance > SHORT, beyond < NEAR
    for chosen, integrals in ((long, _closed), (~long & near, _summed_near), (~long & ~near, _summed_far)):
        if np.any(chosen):
            up[chosen], down[chosen] = integrals(start[chosen], distance[chosen], beyond[chosen], nodes)
    share = beyond / (beyond + distance)
    time = 2 * np.log1p(distance / beyond) + (up + down)
    slope = share * inverse_rate(start) - inverse_rate(start + distance) + beyond * (up - down)
    # Far from the target the terms of the slope cancel; the slope lies between −time and −share·time in every case.
    return time, np.clip(slope, -time, -share * time)


def _closed(start: Floats, distance: Floats, beyond: Floats, _: Nodes) -> tuple[Floats, Floats]:
    """Return A = e^θ_λ [E1(u_c) − E1(u_0)] and B = e^−θ_λ [Ei(u_0) − Ei(u_c)] over a long distance.

    The factors e^±θ_λ may overflow by themselves, so each is split between the two scaled integrals.
    """
    from_start, end = distance + beyond, start + distance
    up = _grown(end, scaled_e1(beyond)) - _grown(start, scaled_e1(from_start))
    return up, _grown(-start, scaled_ei(from_start)) - _grown(-end, scaled_ei(beyond))


def _grown(exponent: Floats, value: Floats) -> Floats:
    """Return e^exponent times a small value, also where the exponential alone overflows."""
    half: Floats = np.exp(exponent / 2)
    return half * value * half


def _summed_near(start: Floats, distance: Floats, beyond: Floats, nodes: Nodes) -> tuple[Floats, Floats]:
    """Sum A and B over a short distance to a near target: the pole 1/u in closed form, (e^∓u − 1)/u at the nodes."""
    target = np.exp(start + distance + beyond)
    up = down = np.log1p(distance / beyond)
    for node, weight in zip(*nodes, strict=True):
        u = beyond + distance * ((1 + node) / 2)
        part = (weight / 2) * distance * np.expm1(-u) / u
        up, down = up + part, down - part / np.exp(-u)
    return target * up, down / target


def _summed_far(start: Floats, distance: Floats, beyond: Floats, nodes: Nodes) -> tuple[Floats, Floats]:
    """Sum A and B over a short distance to a far target: e^±θ/u at the nodes."""
    up, down = np.zeros_like(start), np.zeros_like(start)
    for node, weight in zip(*nodes, strict=True):
        grown = np.exp(start + distance * ((1 - node) / 2))
        part = (weight / 2) * distance / (beyond + distance * ((1 + node) / 2))
        up, down = up + part * grown, down + part / grown
    return up, down


def clipped_time(flow: str, surplus: Any, start: Any, end: Any) -> Floats:
    """Return the time from w = ``start`` down to w = ``end``, with w = −log q, while the clip acts: θ' = surplus + w.

    ``surplus`` is (λ−λ_c)Δ. Where it is negative the student settles at w = −surplus, and the time to any lower end is
    +inf. The integral over log w, or over log(surplus + w), is summed in pieces.
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
