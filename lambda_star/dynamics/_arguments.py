"""What the functions over time take: checked arrays, the name of a flow."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from lambda_star._core.namespaces import Floats
from lambda_star._core.quantities import Quantity, check

__all__ = ["arguments", "checked_flow", "plain", "wide_floats"]

Flow = Literal["natural", "policy-gradient"]


STEPS = Quantity("steps", 0.0, math.inf, "[)")


RATE = Quantity("rate", 0.0, 1.0, "(]")


def wide_floats(values: ArrayLike) -> Any:
    return np.asarray(values, dtype=np.longdouble)


def arguments(*values: tuple[Quantity, ArrayLike]) -> list[Floats]:
    """The values as arrays that broadcast, checked."""
    arrays = [np.asarray(value, dtype=np.float64) for _, value in values]
    check(np, *((quantity, array) for (quantity, _), array in zip(values, arrays, strict=True)))
    return list(np.broadcast_arrays(*arrays))


def checked_flow(flow: str) -> str:
    if flow not in get_args(Flow):
        raise ValueError(f"flow must be one of {', '.join(get_args(Flow))}, got {flow!r}")
    return flow


def plain(values: Floats, *arguments: Floats) -> Any:
    """As float64, NaN where an argument is NaN, and a NumPy scalar for no dimensions."""
    with np.errstate(over="ignore"):
        plain = np.asarray(values, dtype=np.float64)
    for argument in arguments:
        plain = np.where(np.isnan(argument), np.nan, plain)
    return plain[()]
