"""The arguments that the functions over time share, and how they are checked and returned."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from lambda_star._core.namespaces import Floats
from lambda_star._core.quantities import Quantity, check, reals

Flow = Literal["natural", "policy-gradient"]

STEPS = Quantity("steps", 0.0, math.inf, "[)")
RATE = Quantity("rate", 0.0, 1.0, "(]")


def as_longdouble(values: ArrayLike) -> Any:
    """Return the values in the widest floats of the platform, which keep digits of small differences."""
    return np.asarray(values, dtype=np.longdouble)


def as_float64(values: Floats, *arguments: Floats) -> Any:
    """Return the values as float64: NaN where an argument is NaN, and a scalar in place of an array without axes."""
    with np.errstate(over="ignore"):
        result = np.asarray(values, dtype=np.float64)
    for argument in arguments:
        result = np.where(np.isnan(argument), np.nan, result)
    return result[()]


def checked_arrays(*values: tuple[Quantity, ArrayLike]) -> list[Floats]:
    """Check the values against their ranges and return them as arrays of one shape."""
    arrays = [reals(quantity.name, value) for quantity, value in values]
    check(np, *((quantity, array) for (quantity, _), array in zip(values, arrays, strict=True)))
    return list(np.broadcast_arrays(*arrays))


def require_flow(flow: str) -> None:
    """Raise ``ValueError`` unless the flow has one of the known names."""
    if flow not in get_args(Flow):
        raise ValueError(f"flow must be one of {', '.join(get_args(Flow))}, got {flow!r}")
