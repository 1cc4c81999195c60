"""What is known of array namespaces: the part that kernels use for Python floats, and helpers that serve all of them."""

from __future__ import annotations

import math
import os
import sys
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Floats", "Values", "below", "cpus", "is_compiling", "log1p_quotient", "nowhere", "scalar", "where", "wide"]

Floats = NDArray[np.float64]

Values: TypeAlias = Any
"""A Python float, or an array of any library that follows the array API standard (which has no static type)."""


WORKERS = 2
"""Most threads for one call: each needs 2 MB of temporaries, and memory soon limits them."""


class _Scalar:
    """The part of an array namespace that kernels use, for single Python floats."""

    log = staticmethod(math.log)
    log1p = staticmethod(math.log1p)
    expm1 = staticmethod(math.expm1)
    isnan = staticmethod(math.isnan)

    @staticmethod
    def exp(x: float) -> float:
        try:
            return math.exp(x)
        except OverflowError:  # arrays overflow to +inf, and so do floats here
            return math.inf


scalar = _Scalar()


def below(xp: Any, values: Values, bound: float) -> bool:
    """Whether all values are known to be less than a bound, so that a kernel may leave its special case out."""
    if xp is scalar:
        return bool(values < bound)
    return xp is np and bool(np.maximum.reduce(values, axis=None, initial=-math.inf) < bound)


def nowhere(xp: Any, condition: Values) -> bool:
    """Whether a condition is known to hold nowhere, so that a kernel may leave its special case out."""
    return not condition if xp is scalar else xp is np and not np.logical_or.reduce(condition, axis=None)


def where(xp: Any, condition: Values, yes: Values, no: Values) -> Values:
    """``xp.where`` that also serves Python floats, and costs NumPy nothing when ``no`` is the answer everywhere."""
    if xp is scalar:
        return yes if condition else no
    if xp is np and np.shape(no) == np.shape(condition) and nowhere(xp, condition):
        return no
    return xp.where(condition, yes, no)


def log1p_quotient(xp: Any, numerator: Values, denominator: Values) -> Values:
    """log(1 + n/d) for n ≥ 0 and d > 0, also where n/d overflows but its logarithm does not."""
    quotient = numerator / denominator
    if below(xp, quotient, math.inf):
        return xp.log1p(quotient)
    overflow = quotient == math.inf
    # There log(1 + q) = log q. Both sides of a `where` are computed, and both gradients, so each gets harmless values.
    log_quotient = xp.log(where(xp, overflow, numerator, 1.0)) - xp.log(where(xp, overflow, denominator, 1.0))
    return where(xp, overflow, log_quotient, xp.log1p(where(xp, overflow, 1.0, quotient)))


def cpus() -> int:
    """The number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_compiling() -> bool:
    """Whether ``torch.compile`` is reading this code."""
    torch = sys.modules.get("torch")
    return torch is not None and bool(torch.compiler.is_compiling())


def wide(xp: Any) -> Any:
    """The widest real floating dtype of a namespace: float64 where there is one."""
    dtypes = xp.__array_namespace_info__().dtypes(kind="real floating")
    return dtypes.get("float64", dtypes["float32"])
