"""The one file that knows what array libraries and versions of NumPy differ in, and what kernels need of them."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:  # numpy.typing would make the import of this package noticeably longer
    from numpy.typing import NDArray

numpy: Any = np
"""NumPy as an array API namespace; before version 2.1 that takes a wrapper."""
if not hasattr(np, "astype"):
    from array_api_compat import numpy

Floats: TypeAlias = "NDArray[np.float64]"

Values: TypeAlias = Any
"""A Python float, or an array of any library that follows the array API standard (which has no static type)."""


LARGE = 1e17
"""Past this number adding 1 changes no floating-point number."""


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


class Exact:
    """A namespace of numbers without overflow and without rounding that is not accounted for, such as intervals.

    Its numbers have the attribute ``namespace``. Where a kernel steps around the limits of floating point, it takes the
    formula itself for them.
    """

    positive: Callable[[Values], Values]
    root: Callable[..., Values]


def below(xp: Any, values: Values, bound: float) -> bool:
    """Whether all values are known to be less than a bound, so that a kernel may leave its special case out.

    The special cases are overflows, which exact numbers do not know.
    """
    if xp is scalar:
        return bool(values < bound)
    if isinstance(xp, Exact):
        return True
    return xp is numpy and bool(np.maximum.reduce(values, axis=None, initial=-math.inf) < bound)


def nowhere(xp: Any, condition: Values) -> bool:
    """Whether a condition is known to hold nowhere, so that a kernel may leave its special case out."""
    return not condition if xp is scalar else xp is numpy and not np.logical_or.reduce(condition, axis=None)


def where(xp: Any, condition: Values, yes: Values, no: Values) -> Values:
    """``xp.where`` that also serves Python floats, and costs NumPy nothing when ``no`` is the answer everywhere."""
    if xp is scalar:
        return yes if condition else no
    if xp is numpy and np.shape(no) == np.shape(condition) and nowhere(xp, condition):
        return no
    return xp.where(condition, yes, no)


def log1p_quotient(xp: Any, numerator: Values, denominator: Values) -> Values:
    """log(1 + n/d) for n ≥ 0 and d > 0, also where n/d overflows but its logarithm does not."""
    quotient = numerator / denominator
    if below(xp, quotient, math.inf):
        return xp.log1p(quotient)
    # There log(1 + q) = log q. Both sides of a `where` are computed, and both gradients, so each gets harmless values;
    # the quotient is formed again because its gradient may overflow, which makes a NaN even where it is discarded.
    large = quotient > LARGE
    log_quotient = xp.log(where(xp, large, numerator, 1.0)) - xp.log(where(xp, large, denominator, 1.0))
    quotient = where(xp, large, 1.0, numerator) / where(xp, large, 1.0, denominator)
    return where(xp, large, log_quotient, xp.log1p(quotient))


def exponent_range(xp: Any, values: Values) -> tuple[float, float]:
    """The greatest whole n for which 2^n and 2^−n are both normal numbers in the dtype of the values, and 2^(n//5)."""
    if isinstance(xp, Exact):
        return math.inf, 1.0
    exponents = 1022 if xp is scalar else -round(math.log2(float(xp.finfo(values.dtype).smallest_normal)))
    return 1.0 * exponents, 2.0 ** (exponents // 5)


def positive(xp: Any, values: Values) -> Values:
    """Values that are known to be positive wherever they are used; an interval loses the part that is not."""
    return xp.positive(values) if isinstance(xp, Exact) else values


def cpus() -> int:
    """The number of processors for one call, at most 2: memory soon limits threads of 2 MB of temporaries each."""
    return min(2, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def in_threads(workers: int, function: Callable[..., Any], *columns: Iterable[Any]) -> list[Any]:
    """The results of a function over columns of arguments, computed in so many threads."""
    if workers == 1:
        return list(map(function, *columns))
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(function, *columns))


def keep_freed_memory(elements: int) -> None:
    """Have the C library keep freed blocks of up to so many float64 numbers for the next block of a computation.

    Freeing a large array that nothing has touched costs nothing, and raises the size below which the C library keeps
    freed memory; otherwise it gives back the temporaries of every block and faults them in again for the next.
    """
    np.empty(elements)


def as_read(value: Values) -> Values:
    """A column of a table (pandas, polars, pyarrow) as a NumPy array; anything else as it is."""
    return value.to_numpy() if hasattr(value, "to_numpy") else value


def known_truth(flag: Values) -> bool | None:
    """The truth of a flag, or None where a tracer stands for it (``jax.jit``, ``torch.func.vmap``)."""
    try:
        return bool(flag)
    except (TypeError, RuntimeError):  # what JAX and PyTorch raise when a traced value is asked for its truth
        return None


def on_device_of(xp: Any, like: Values, values: Any, dtype: Any = None) -> Values:
    """Values as an array on the device of another array.

    NumPy knows no devices. A JAX array made without a device goes where its partners are, and a traced one has no
    device to ask for.
    """
    place = {} if xp is numpy or xp.__name__.startswith("jax") else {"device": like.device}
    return xp.asarray(values, dtype=dtype, **place)


def is_compiling() -> bool:
    """Whether ``torch.compile`` is reading this code."""
    torch = sys.modules.get("torch")
    return torch is not None and bool(torch.compiler.is_compiling())


def wide(xp: Any) -> Any:
    """The widest real floating dtype of a namespace: float64 where there is one."""
    dtypes = xp.__array_namespace_info__().dtypes(kind="real floating")
    return dtypes.get("float64", dtypes["float32"])
