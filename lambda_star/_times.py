"""Times of the two flows between two log-odds: closed forms without overflow, and quadrature where there is none.

θ moves from ``start`` over a ``distance`` towards a target that lies ``beyond`` the end. The closed forms cancel where
the distance is short; the integral is smooth there, and a few Gauss nodes give all its digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["clipped_time", "free_time", "policy_time", "scaled_e1", "scaled_ei", "share_of_way"]

Floats = NDArray[np.float64]

NODES, WEIGHTS = np.polynomial.legendre.leggauss(16)
SHORT = 0.5
"""Distances up to which the integral is summed at nodes."""

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
    """The time over a distance while the clip does not act; +inf where the target is not beyond the end."""
    reached = beyond > 0
    beyond = np.where(reached, beyond, 1.0)
    natural = flow == "natural"
    time = np.log1p(distance / beyond) if natural else policy_time(start, distance, beyond)[0]
    return np.where(reached | np.isnan(distance), time, math.inf)


def share_of_way(time: Any) -> Any:
    """1 − e^−time, the share of the way to the fixed point that the natural flow has gone."""
    return -np.expm1(-time)


def policy_time(start: Floats, distance: Floats, beyond: Floats) -> tuple[Floats, Floats]:
    """The time under policy gradient for ``beyond`` > 0, and its slope in ``beyond``."""
    start, distance, beyond = (np.asarray(values, dtype=np.float64) for values in (start, distance, beyond))
    time, slope = np.empty(distance.shape), np.empty(distance.shape)
    short = distance <= SHORT
    for chosen, rule in ((short, _summed), (~short, _closed)):
        if np.any(chosen):
            time[chosen], slope[chosen] = rule(start[chosen], distance[chosen], beyond[chosen])
    return time, slope


def _closed(start: Floats, distance: Floats, beyond: Floats) -> tuple[Floats, Floats]:
    """2 log(u_0/u_c) + e^θ_λ [E1(u_c) − E1(u_0)] + e^−θ_λ [Ei(u_0) − Ei(u_c)], each exponential with its integral."""
    whole = distance + beyond
    up_end, up_start = np.exp(start + distance), np.exp(start)
    e1_end, e1_start = scaled_e1(beyond), scaled_e1(whole)
    ei_end, ei_start = scaled_ei(beyond), scaled_ei(whole)
    time = 2 * np.log1p(distance / beyond) + (up_end * e1_end - up_start * e1_start)
    time += ei_start / up_start - ei_end / up_end
    slope = 2 / whole - 2 / beyond + up_end * (e1_end - 1 / beyond) - up_start * (e1_start - 1 / whole)
    slope += (1 / whole - ei_start) / up_start - (1 / beyond - ei_end) / up_end
    return time, slope


def _summed(start: Floats, distance: Floats, beyond: Floats) -> tuple[Floats, Floats]:
    """The integral of (2 + e^θ + e^−θ)/(θ_λ − θ) over a short distance, its pole taken off where it is near."""
    u = beyond[:, None] + distance[:, None] * (NODES + 1) / 2
    theta = (start + distance + beyond)[:, None] - u
    far = (2 + np.exp(theta) + np.exp(-theta)) / u
    # The pole is at the target, where the inverse rate is 2 + e^θ_λ + e^−θ_λ; from further off it does not matter.
    close = np.minimum(beyond, 1.0)
    up = np.exp(start + distance + close)
    u = np.minimum(u, 1 + SHORT)
    rest = up[:, None] * np.expm1(-u) / u + np.expm1(u) / u / up[:, None]
    strength = 2 + up + 1 / up
    pole = np.log1p(distance / beyond)
    time = np.where(beyond < 1, strength * pole + distance / 2 * (rest @ WEIGHTS), distance / 2 * (far @ WEIGHTS))
    return time, -time / pole * distance / (beyond * (beyond + distance))


def clipped_time(flow: str, surplus: Floats, start: Floats, end: Floats) -> Floats:
    """The time from w = ``start`` down to w = ``end``, w = −log q, once the clip acts: θ' = surplus + w.

    ``surplus`` is (λ−λ_c)Δ; where it is negative the student settles at w = −surplus and +inf is the time to any end
    below. The integral over log w, or over log(surplus + w), is summed in pieces.
    """
    reached = surplus + end > 0
    shift = np.minimum(surplus, 0.0)
    low, high = (np.log(np.where(reached, w + shift, 1.0)) for w in (end, start))
    pieces = max(1, math.ceil(float(np.max(np.where(reached, high - low, 0.0), initial=0.0)) / PIECE))
    width = (high - low) / pieces
    total = np.zeros_like(low)
    for piece in range(pieces):
        v = np.exp(low[..., None] + width[..., None] * (piece + (NODES + 1) / 2))
        w = v - shift[..., None]
        rate = (surplus[..., None] + w) * -np.expm1(-w)  # per unit of w: dw = −(1 − q) dθ
        if flow == "policy-gradient":
            rate = rate * np.exp(-w) * -np.expm1(-w)
        total += width / 2 * ((v / rate) @ WEIGHTS)
    return np.where(reached | np.isnan(surplus + end), total, math.inf)
