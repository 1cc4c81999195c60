"""The general law, numerically: what follows for a student from the two effective advantages alone.

The tail dies from every start where the force on the log-odds, F_m − F_τ, is positive all the way to q = 1. For forces
that never rise with the log-odds this is Principle 1: the tail dies where F_m at q = 1 is at least the supremum of F_τ.
These functions follow the force on a grid, one position at a time. They are the slow reference for the closed forms of
``lambda_star.updates``, and serve a force that has none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from lambda_star._core.namespaces import Floats
from lambda_star._core.quantities import B, P, require
from lambda_star.updates._two import FROM_ZERO

__all__ = ["Forces", "dies", "leaves", "student"]

Forces: TypeAlias = Callable[[Any, float, float, float], tuple[Any, Any]]
"""A function of θ (an array of log-odds), p, b and λ that returns F_m and F_τ."""

FARTHEST = 1e6  # log-odds that stand for q = 1; restoring forces that grow with the log-odds have won long before
LARGEST = 1e4  # the largest λ that is looked at
NEAR = 1e-12  # distance in log-odds at which a stationary point must pull
BESIDE = 1e-10  # distance in log-odds at which a force is past its jump


def student(force: Forces, p: float, b: float, lam: float, *, jumps: Sequence[float] = ()) -> float:
    """Return the modal probability at which a student that starts at the base is first at rest.

    Args:
        force: the effective advantages F_m and F_τ at log-odds θ, as :meth:`Rule.force` gives them.
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1).
        lam: extrapolation coefficient λ, in [0, inf).
        jumps: log-odds at which the force jumps, if it does; the grid might step over what lies beside them.

    Returns:
        The student's modal probability; 1 or 0 where it is never at rest.

    Raises:
        ValueError: a value is outside its range.

    Source: extension; ``derivations/updates.md``.

    >>> from lambda_star import updates
    >>> student(updates.log_ratio_cap(2.0).force, 0.9, 0.5, 1.35)
    0.97095...
    """
    require((P, p), (B, b), (FROM_ZERO, lam))
    return _probability(_rest(force, p, b, lam, jumps))


def dies(force: Forces, p: float, b: float, *, jumps: Sequence[float] = ()) -> float:
    """Return the λ at which a student that starts at the base is no longer at rest anywhere below q = 1.

    Args:
        force: the effective advantages F_m and F_τ at log-odds θ, as :meth:`Rule.force` gives them.
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1).
        jumps: log-odds at which the force jumps, if it does; the grid might step over what lies beside them.

    Returns:
        The least such λ, at least 0, to about nine digits; +inf if there is none up to 10,000.

    Raises:
        ValueError: a value is outside its range.

    Source: extension; ``derivations/updates.md``.

    >>> from lambda_star import updates
    >>> dies(updates.log_ratio_cap(2.0).force, 0.9, 0.5)
    1.36341...
    """
    require((P, p), (B, b))
    return _first(lambda lam: _way(force, p, b, lam, jumps).never_ends_up)


def leaves(force: Forces, p: float, b: float) -> float:
    """Return the λ at which q_λ is no longer a point to which the force pulls from both sides.

    It is sought upwards from λ = 1, or in [0, 1] if q_λ is no such point at λ = 1.

    Args:
        force: the effective advantages F_m and F_τ at log-odds θ, as :meth:`Rule.force` gives them.
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1).

    Returns:
        The λ, at least 0, to about nine digits; +inf if there is none up to 10,000.

    Raises:
        ValueError: a value is outside its range.

    Source: extension; ``derivations/updates.md``.

    >>> from lambda_star import updates
    >>> leaves(updates.log_ratio_cap(2.0).force, 0.9, 0.5)
    1.34007...
    """
    require((P, p), (B, b))
    start = math.log(b) - math.log1p(-b)
    gap = math.log(p) - math.log1p(-p) - start

    def departed(lam: float) -> bool:
        target = start + lam * gap
        below, above = _push(force, np.array([target - NEAR, target + NEAR]), p, b, lam)
        return not below > 0 > above

    return _first(departed)


def _push(force: Forces, theta: Any, p: float, b: float, lam: float) -> Floats:
    modal, tail = force(theta, p, b, lam)
    return np.asarray(modal, np.float64) - np.asarray(tail, np.float64)


class _Way(NamedTuple):
    """The log-odds that a student passes from the base on, in the direction of its first step."""

    up: bool
    grid: Floats
    onward: Any
    """Whether the force still points in that direction at each point of the grid."""

    @property
    def never_ends_up(self) -> bool:
        return self.up and bool(self.onward.all())


def _way(force: Forces, p: float, b: float, lam: float, jumps: Sequence[float]) -> _Way:
    start = math.log(b) - math.log1p(-b)
    (moved,) = _push(force, np.array([start]), p, b, lam)
    up = bool(moved > 0)
    if moved == 0:
        return _Way(up, np.array([start]), np.array([False]))
    steps = np.concatenate([np.linspace(0.0, 120.0, 24001), np.geomspace(120.0, FARTHEST, 400)[1:]])
    grid = start + steps if up else start - steps
    beside = [jump + side for jump in jumps for side in (-BESIDE, BESIDE)]
    grid = np.sort(np.concatenate([grid, [at for at in (*beside, *jumps) if (at > start) == up]]))[:: 1 if up else -1]
    return _Way(up, grid, _push(force, grid, p, b, lam) * (1 if up else -1) > 0)


def _rest(force: Forces, p: float, b: float, lam: float, jumps: Sequence[float]) -> float:
    """The log-odds at which the student comes to rest, ±inf for nowhere."""
    from scipy.optimize import brentq

    up, grid, onward = _way(force, p, b, lam, jumps)
    if onward.all():
        return math.inf if up else -math.inf
    stop = int(np.argmin(onward))
    if stop == 0:
        return float(grid[0])

    def sign(theta: float) -> float:
        (push,) = _push(force, np.array([theta]), p, b, lam)
        return float(push) or (-1e-300 if up else 1e-300)  # neutral is at rest, from the first such point on

    ends = float(grid[stop - 1]), float(grid[stop])
    # Where the force jumps there is no root to interpolate to, and brentq halves the interval.
    return float(brentq(sign, *ends, xtol=1e-13, rtol=8.9e-16, maxiter=500))


def _probability(theta: float) -> float:
    return 1 / (1 + math.exp(-theta)) if theta > -700 else 0.0


def _first(holds: Callable[[float], bool]) -> float:
    """The λ past which a condition holds that did not at 1, or else at 0; 0 if it holds at both, +inf for none."""
    low, high = (0.0, 1.0) if holds(1.0) else (1.0, 2.0)
    if low == 0 and holds(low):
        return 0.0
    while not holds(high):
        if high > LARGEST:
            return math.inf
        low, high = high, 1 + 4 * (high - 1)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return (low + high) / 2
