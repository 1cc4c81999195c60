"""A hypothesis: how hard a push from outside a position must be before the tail gives way."""

from __future__ import annotations

import math
from typing import Any

from lambda_star._core.elementwise import Real, elementwise
from lambda_star._core.namespaces import where
from lambda_star.updates._two import FROM_ZERO, known

__all__ = ["capacity"]


@elementwise(FROM_ZERO)
def capacity(xp: Any, p: Real, b: Real, lam: Real, c: Real = 1.0) -> Real:
    """Return the steady push on the log-odds that a position's tail survives under plain gradient. A hypothesis.

    A push comes from outside the position: parameters that positions share, momentum, noise. Plain gradient answers
    with q(1−q)(F_τ−F_m), which has a maximum over q; the tail survives a push up to it and runs away beyond. The closed
    form is for a nearly deterministic teacher, p → 1, and for the weight min(c, π_T/π) on an advantage that nothing
    else bounds; c = 1 means no weight. Whether this is why training falls has not been tested.

    Args:
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1).
        lam: extrapolation coefficient λ, in [0, inf).
        c: cap on the weight π_T/π, in [1, inf]; 1 means no weight, inf a weight without cap.

    Returns:
        A float, or an array of the broadcast shape; +inf for a weight without cap, NaN where an argument is NaN.

    Raises:
        ValueError: a value is outside its range.

    Source: extension, a hypothesis; ``derivations/updates.md``.

    >>> capacity(0.999, 0.5, 1.2), capacity(0.999, 0.5, 1.2, 5.0)
    (0.00010..., 0.00053...)
    """
    push = (lam - 1) * (xp.log1p(-b) - xp.log1p(-p))
    finite = where(xp, c == math.inf, 2.0, c)
    linear = xp.log(finite) - push
    held = (1 - p) * where(xp, linear >= 1, linear, finite * xp.exp(-1 - push))
    return known(xp, where(xp, c == math.inf, math.inf, held), p, b, lam, c)
