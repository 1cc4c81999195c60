"""A hypothesis: how hard a push from outside a position must be before the tail gives way."""

from __future__ import annotations

import math
from typing import Any

from lambda_star._core.elementwise import Real, elementwise
from lambda_star._core.namespaces import Values, where
from lambda_star.bernoulli import formulas
from lambda_star.updates._two import FROM_ONE, known, log_ratios

__all__ = ["capacity"]


def capacity(p: Values, b: Values, lam: Values, c: Values = 1.0, *, centred: bool = True) -> Any:
    """Return the steady push on the log-odds that a position's tail survives under plain gradient. A hypothesis.

    A push comes from outside the position: parameters that positions share, momentum, noise. Plain gradient answers
    with q(1−q)(F_τ−F_m), which has a maximum over q; the tail survives a push up to it and runs away beyond. The closed
    form is the limit of a deterministic teacher, p → 1, for the weight min(c, π_T/π) on an advantage that nothing else
    bounds. Whether such a push is why training falls has not been tested.

    Args:
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1).
        lam: extrapolation coefficient λ, in [1, inf).
        c: cap on the weight π_T/π, in [1, inf]; 1 means no weight, inf a weight without cap.
        centred: whether a baseline is subtracted from the advantage before it is weighted.

    Returns:
        A float, or an array of the broadcast shape; +inf for a weight without cap, NaN where an argument is NaN.

    Raises:
        ValueError: a value is outside its range.

    Source: extension, a hypothesis; ``derivations/updates.md``.

    >>> capacity(0.999, 0.5, 1.2), capacity(0.999, 0.5, 1.2, 5.0)
    (9.24...e-05, 0.00046...)
    """
    return (_centred if centred else _uncentred)(p, b, lam, c)


@elementwise(FROM_ONE)
def _centred(xp: Any, p: Real, b: Real, lam: Real, c: Real) -> Real:
    """Return the capacity where the whole difference of the advantages carries the weight."""
    return _largest_force(xp, p, formulas.push(xp, p, b, lam), c)


@elementwise(FROM_ONE)
def _uncentred(xp: Any, p: Real, b: Real, lam: Real, c: Real) -> Real:
    """Return the capacity where the tail's advantage alone carries the weight, since the modal token's is near 1."""
    of_modal, of_tail = log_ratios(xp, p, b)
    return _largest_force(xp, p, (lam - 1) * (of_modal / c - of_tail), c)


def _largest_force(xp: Any, p: Values, push: Values, c: Values) -> Values:
    """Return the maximum of (1−p)/r·min(c, r)·(log r − push) over the tail ratio r."""
    finite = where(xp, c == math.inf, 2.0, c)
    linear = xp.log(finite) - push
    held = (1 - p) * where(xp, linear >= 1, linear, finite * xp.exp(-1 - push))
    return known(xp, where(xp, c == math.inf, math.inf, held), p, push, c)
