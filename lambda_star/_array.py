"""The one file that knows array namespaces, broadcasting and domain checks.

A formula is written once, as a *kernel* ``f(xp, p, b, ...)``. :func:`elementwise` turns it into a public function
that takes Python floats or arrays of any array API library. ``xp`` is then one of three things: :data:`scalar`
(Python floats, the fastest way for one number), NumPy (evaluated in blocks that stay in cache), or the namespace of
the caller's own library (PyTorch, JAX, ...), so that device, dtype and gradients are the caller's.

A formula over the tokens of a position is a kernel ``f(xp, log_t, log_b, ...)`` of two matrices, one row per position,
that :func:`by_rows` feeds with blocks of the caller's arrays.
"""

from __future__ import annotations

import functools
import inspect
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeAlias

import numpy as np

__all__ = [
    "Domain",
    "RowError",
    "Values",
    "below",
    "by_rows",
    "check",
    "dot",
    "elementwise",
    "log1p_quotient",
    "nowhere",
    "scalar",
    "tokens_along",
    "where",
    "wide",
]

Values: TypeAlias = Any
"""A Python float, or an array of any library that follows the array API standard (which has no static type)."""

P = ParamSpec("P")

BLOCK = 2**16
"""Elements per NumPy block: its temporaries stay in cache, and threads meet seldom."""

WORKERS = 2
"""Most threads for one call: each needs 2 MB of temporaries, and memory soon limits them."""

ROWS_BLOCK_CPU, ROWS_BLOCK_ELSEWHERE = 2**20, 2**25
"""Tokens per block of rows: enough to keep two threads, or an accelerator, busy with each operation."""

PIECE = 2**11
"""Elements of a sum in the caller's precision; longer ones are float64 sums of such pieces."""


class Domain(NamedTuple):
    """An interval of the real line."""

    low: float
    high: float
    low_closed: bool = False
    high_closed: bool = False

    def __str__(self) -> str:
        return f"{'[' if self.low_closed else '('}{self.low:g}, {self.high:g}{']' if self.high_closed else ')'}"

    def contains(self, values: Values) -> Values:
        """Where the values lie in the interval, for one float or an array; NaN lies nowhere."""
        above = values >= self.low if self.low_closed else values > self.low
        return above & (values <= self.high if self.high_closed else values < self.high)

    def float_bounds(self) -> tuple[float, float]:
        """The least and the greatest Python float in the interval."""
        low = self.low if self.low_closed else math.nextafter(self.low, math.inf)
        return low, self.high if self.high_closed else math.nextafter(self.high, -math.inf)


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


def elementwise(**domains: Domain) -> Callable[[Callable[Concatenate[Any, P], Any]], Callable[P, Any]]:
    """Make a public function of a kernel ``f(xp, *values)``; ``domains`` gives the interval of each argument, in order.

    The result takes Python floats (and returns one) or anything that broadcasts, and raises ``ValueError`` for a
    value outside its domain. Values that only a tracer knows (``jax.jit``, ``torch.compile``) are not checked.
    """

    def decorate(kernel: Any) -> Any:
        signature = inspect.signature(kernel)
        signature = signature.replace(parameters=list(signature.parameters.values())[1:])
        if list(signature.parameters) != list(domains):
            raise TypeError(f"{kernel.__name__}{signature} has domains for {', '.join(domains)}")
        # Written out argument by argument, as dataclasses does: a loop here would cost a float more than its formula.
        scope = {"kernel": kernel, "scalar": scalar, "evaluate": _evaluate, "domains": domains}
        for name, domain in domains.items():
            scope[f"{name}_low"], scope[f"{name}_high"] = domain.float_bounds()
        inside = " and ".join(f"type({name}) is float and {name}_low <= {name} <= {name}_high" for name in domains)
        names = ", ".join(domains)
        source = (
            f"def {kernel.__name__}({names}):\n"
            f"    if {inside}:\n"
            f"        return kernel(scalar, {names})\n"
            f"    return evaluate(kernel, domains, ({names},))\n"
        )
        exec(source, scope)
        function: Any = scope[kernel.__name__]
        functools.update_wrapper(function, kernel)
        function.__defaults__, function.__signature__ = kernel.__defaults__, signature
        del function.__wrapped__
        return function

    return decorate


def _evaluate(kernel: Any, domains: Mapping[str, Domain], args: Sequence[Values]) -> Any:
    """Evaluate a kernel on anything but valid floats: other scalars, NaN, arrays, and values outside the domain."""
    if all(type(value) in (float, int) for value in args):
        check(np, domains, [np.float64(value) for value in args])
        return kernel(scalar, *map(float, args))
    if any(hasattr(value, "shape") and not isinstance(value, (np.ndarray, np.generic)) for value in args):
        return _in_namespace(kernel, domains, args)
    return _in_numpy(kernel, domains, args)


def _in_namespace(kernel: Any, domains: Mapping[str, Domain], args: Sequence[Values]) -> Any:
    """Evaluate a kernel in the array library of the arguments, on their device and in their floating dtype."""
    arrays = [value for value in args if hasattr(value, "shape")]
    compiling = _is_compiling()
    if compiling:  # the cache inside `array_namespace` would draw a warning from the compiler
        import array_api_compat.torch as xp
    else:
        from array_api_compat import array_namespace

        xp = array_namespace(*arrays)
    floating = [array.dtype for array in arrays if xp.isdtype(array.dtype, "real floating")]
    dtype = xp.result_type(*floating) if floating else xp.asarray(1.0).dtype
    # A JAX array made without a device goes where its partners are; a traced one has no device to ask for.
    place = {} if xp.__name__.startswith("jax") else {"device": arrays[0].device}
    values = [
        xp.astype(value, dtype, copy=False) if hasattr(value, "shape") else xp.asarray(value, dtype=dtype, **place)
        for value in args
    ]
    if not compiling:  # a check would cut the compiler's graph in two
        check(xp, domains, values)
    return kernel(xp, *values)


def _in_numpy(kernel: Any, domains: Mapping[str, Domain], args: Sequence[Values]) -> Any:
    """Evaluate a kernel with NumPy: whole when small, else block by block, so that temporaries stay small."""
    arrays = [np.asarray(value) for value in args]
    for name, array in zip(domains, arrays, strict=True):
        if array.dtype.kind not in "fiu":
            raise TypeError(f"{name} must be a real number or an array of real numbers, got dtype {array.dtype}")
    floating = [
        a.dtype for a, value in zip(arrays, args, strict=True) if a.dtype.kind == "f" and type(value) is not float
    ]
    dtype = np.result_type(*floating) if floating else np.dtype(np.float64)
    with np.errstate(over="ignore", under="ignore"):  # an overflow here is a limit, +inf or 0, and the right answer
        if np.broadcast(*arrays).size <= BLOCK:
            arrays = [array.astype(dtype, copy=False) for array in arrays]
            check(np, domains, arrays)
            return np.asarray(kernel(np, *arrays))[()]
        return _in_blocks(kernel, domains, arrays, dtype)


def _in_blocks(kernel: Any, domains: Mapping[str, Domain], arrays: Sequence[Any], dtype: np.dtype[Any]) -> Any:
    """Evaluate a kernel over blocks of the broadcast arrays, large ones in threads; extra memory is a few blocks."""
    sample = np.asarray(kernel(np, *(np.empty(0, dtype) for _ in arrays)))
    operands: Any = [*arrays, None]
    out: Any = np.nditer(operands, op_dtypes=[*(a.dtype for a in arrays), sample.dtype]).operands[-1]
    # Freeing a large array that nothing has touched costs nothing, and raises the size below which the C library keeps
    # freed memory; else it would give back the temporaries of every block and fault them in again for the next.
    np.empty(2**18)
    workers = max(1, min(WORKERS, _cpus(), out.size // (4 * BLOCK)))
    axis = int(np.argmax(out.shape))
    shares = [np.array_split(np.broadcast_to(a, out.shape), workers, axis) if a.ndim else [a] * workers for a in arrays]
    shares.append(np.array_split(out, workers, axis))
    fill = functools.partial(_fill, kernel, domains, dtype)
    if workers == 1:
        inside = fill(*(share[0] for share in shares))
    else:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(workers) as pool:
            inside = all(pool.map(fill, *shares))
    if not inside:
        check(np, domains, arrays)
    return out


def _fill(kernel: Any, domains: Mapping[str, Domain], dtype: np.dtype[Any], *arrays: Any) -> bool:
    """Write a kernel of all arrays but the last to the last; tell whether all values lay inside their domains."""
    streams = [array for array in arrays if array.ndim]
    modes: Any = [*(["readonly"] for _ in streams[:-1]), ["writeonly"]]
    blocks: Any = np.nditer(
        streams,
        flags=["external_loop", "buffered"],
        op_flags=modes,
        op_dtypes=[*([dtype] * (len(streams) - 1)), streams[-1].dtype],
        casting="same_kind",
        buffersize=BLOCK,
    )
    # The check comes last, when the block is in cache; until then a value outside its domain may do anything.
    with np.errstate(all="ignore"), blocks:
        for *parts, out in blocks:
            part = iter(parts)
            values = [next(part) if array.ndim else dtype.type(array) for array in arrays[:-1]]
            out[...] = kernel(np, *values)
            if not all(_spans(domain, value) for domain, value in zip(domains.values(), values, strict=True)):
                return False
    return True


def _cpus() -> int:
    """The number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _inside(xp: Any, domain: Domain, values: Values) -> Values:
    return domain.contains(values) | xp.isnan(values)


def _spans(domain: Domain, values: Values) -> bool:
    """Whether a NumPy block lies inside the domain; two reductions decide it for a block without NaN."""
    quick = domain.contains(np.minimum.reduce(values, axis=None)) and domain.contains(
        np.maximum.reduce(values, axis=None)
    )
    return bool(quick or _inside(np, domain, values).all())


def check(xp: Any, domains: Mapping[str, Domain], arrays: Sequence[Values]) -> None:
    """Raise ``ValueError`` for the first argument with a value outside its domain; NaN passes."""
    for (name, domain), array in zip(domains.items(), arrays, strict=True):
        inside = _inside(xp, domain, array)
        if _known(xp.all(inside)) is not False:
            continue
        index = tuple(int(axis[0]) for axis in xp.nonzero(~inside)) if array.ndim else ()
        place = f" at index {index[0] if len(index) == 1 else index}" if index else ""
        raise ValueError(f"{name} must lie in {domain}, got {float(array[index])!r}{place}")


def _known(flag: Values) -> bool | None:
    """The truth of a flag, or None where a tracer stands for it (``jax.jit``, ``torch.func.vmap``)."""
    try:
        return bool(flag)
    except (TypeError, RuntimeError):  # what JAX and PyTorch raise when a traced value is asked for its truth
        return None


def _is_compiling() -> bool:
    """Whether ``torch.compile`` is reading this code."""
    torch = sys.modules.get("torch")
    return torch is not None and bool(torch.compiler.is_compiling())


class RowError(ValueError):
    """What is wrong with a block of rows: a text, and where (row and token) the mask of the culprits first holds."""

    def __init__(self, xp: Any, culprits: Values, text: str) -> None:
        super().__init__(text)
        self.row, self.token = (int(axis[0]) for axis in xp.nonzero(culprits))


def by_rows(
    kernel: Callable[..., tuple[Values, ...]],
    log_t: Values,
    log_b: Values,
    axis: int,
    **values: tuple[Domain, Values],
) -> tuple[Values, ...]:
    """Evaluate a kernel on the rows of two arrays along an axis, block by block; extra memory is a few blocks.

    The kernel gets the namespace, two matrices of one row per position in the caller's floating dtype (float32 at
    least) and the other values as vectors in the widest dtype; what it returns has one entry or one row per position.
    Floating results come back in the dtype of the matrices.
    """
    xp, rows_t, rows_b = _row_arrays(log_t, log_b)
    dtype = xp.result_type(rows_t.dtype, rows_b.dtype, xp.float32)
    rows_t, rows_b = xp.broadcast_arrays(rows_t, rows_b)
    if not tokens_along(rows_t, rows_b, axis):
        raise ValueError(f"log_t must have at least one token, got shape {tuple(rows_t.shape)} with axis={axis}")
    rows_t, rows_b = (xp.moveaxis(rows, axis, -1) for rows in (rows_t, rows_b))
    tokens = rows_t.shape[-1]
    leading = np.broadcast_shapes(tuple(rows_t.shape[:-1]), *(np.shape(value) for _, value in values.values()))
    rows_t, rows_b = (xp.broadcast_to(rows, (*leading, tokens)) for rows in (rows_t, rows_b))
    vectors = [_leading(xp, name, domain, value, leading, rows_t) for name, (domain, value) in values.items()]
    rows_t, rows_b = (xp.reshape(rows, (-1, tokens)) for rows in (rows_t, rows_b))
    count = rows_t.shape[0]
    step = max(1, _rows_block(rows_t) // tokens)

    def evaluate(start: int) -> tuple[Values, ...]:
        part = slice(start, min(start + step, count))
        block = [xp.astype(rows[part, :], dtype, copy=False) for rows in (rows_t, rows_b)]
        try:
            with np.errstate(all="ignore"):  # what is not finite is looked at after the fact
                return kernel(xp, *block, *(vector[part] for vector in vectors))
        except RowError as error:
            index = [int(i) for i in np.unravel_index(start + error.row, leading)] if leading else []
            index.insert(axis % (len(leading) + 1), error.token)
            raise ValueError(f"{error} at index {index[0] if len(index) == 1 else tuple(index)}") from None

    starts = range(0, max(count, 1), step)
    np.empty(2**22 - 2**13)  # as in `_in_blocks`: the C library is to keep the memory of temporaries for the next block
    if xp is np and len(starts) > 1 and min(WORKERS, _cpus()) > 1:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(min(WORKERS, _cpus())) as pool:
            blocks = list(pool.map(evaluate, starts))
    else:
        blocks = [evaluate(start) for start in starts]
    return tuple(_join(xp, parts, leading, axis, dtype) for parts in zip(*blocks, strict=True))


def tokens_along(log_t: Values, log_b: Values, axis: int) -> int:
    """The number of tokens of two arrays that broadcast."""
    shape = np.broadcast_shapes(np.shape(log_t), np.shape(log_b))
    if not -len(shape) <= axis < len(shape):
        raise ValueError(f"axis must lie in [{-len(shape)}, {len(shape) - 1}], got {axis}; log_t has {len(shape)} axes")
    return int(shape[axis])


def _row_arrays(log_t: Values, log_b: Values) -> tuple[Any, Values, Values]:
    """The array namespace of two arrays of log-probabilities, and the two as real arrays without gradient."""
    arrays = [value for value in (log_t, log_b) if hasattr(value, "shape")]
    if any(not isinstance(value, (np.ndarray, np.generic)) for value in arrays):
        from array_api_compat import array_namespace

        xp = array_namespace(*arrays)
        place = {} if xp.__name__.startswith("jax") else {"device": arrays[0].device}
        rows = [value if hasattr(value, "shape") else xp.asarray(value, **place) for value in (log_t, log_b)]
        rows = [value.detach() if hasattr(value, "detach") else value for value in rows]
    else:
        xp = np
        rows = [np.asarray(value) for value in (log_t, log_b)]
    for name, value in zip(("log_t", "log_b"), rows, strict=True):
        if not xp.isdtype(value.dtype, ("real floating", "integral")):
            raise TypeError(f"{name} must hold real numbers, got dtype {value.dtype}")
        if not value.ndim:
            raise ValueError(f"{name} must have an axis of tokens, got a single number")
    rows = [value if xp.isdtype(value.dtype, "real floating") else xp.astype(value, wide(xp)) for value in rows]
    return xp, rows[0], rows[1]


def wide(xp: Any) -> Any:
    """The widest real floating dtype of a namespace: float64 where there is one."""
    dtypes = xp.__array_namespace_info__().dtypes(kind="real floating")
    return dtypes.get("float64", dtypes["float32"])


def dot(xp: Any, a: Values, b: Values | None = None) -> Values:
    """The sum over each row of a, or of the products with b, in the widest dtype."""
    if xp is not np:
        return xp.astype(xp.sum(a if b is None else a * b, axis=-1), wide(xp))
    # Short pieces, summed in float64: exact where float32 is not. Of NumPy's ways to sum, einsum lets other threads
    # run beside it.
    arrays = [a] if b is None else [a, b]
    subscripts = "...k->..." if b is None else "...k,...k->..."
    whole = a.shape[-1] - a.shape[-1] % PIECE
    total = np.einsum(subscripts, *(array[..., whole:] for array in arrays)).astype(np.float64)
    if not whole:
        return total
    pieces = [array[..., :whole].reshape(*array.shape[:-1], -1, PIECE) for array in arrays]
    return total + np.einsum(subscripts, *pieces).sum(axis=-1, dtype=np.float64)


def _leading(xp: Any, name: str, domain: Domain, value: Values, shape: tuple[int, ...], like: Values) -> Values:
    """A value as a vector with one entry per row, checked."""
    place = {} if xp.__name__.startswith("jax") else {"device": like.device}
    value = value.detach() if hasattr(value, "detach") else value
    array = xp.asarray(value, dtype=wide(xp), **place)
    check(xp, {name: domain}, [array])
    return xp.reshape(xp.broadcast_to(array, shape), (-1,))


def _rows_block(rows: Values) -> int:
    return ROWS_BLOCK_CPU if "cpu" in str(rows.device).lower() else ROWS_BLOCK_ELSEWHERE


def _join(xp: Any, parts: Sequence[Values], leading: tuple[int, ...], axis: int, dtype: Any) -> Values:
    """The results of all blocks as one array of the caller's shape; a single position gives a single value."""
    whole = parts[0] if len(parts) == 1 else xp.concat(parts)
    if xp.isdtype(whole.dtype, "real floating"):
        whole = xp.astype(whole, dtype, copy=False)
    if whole.ndim == 1:
        whole = xp.reshape(whole, leading)
        return whole[()] if xp is np else whole
    return xp.moveaxis(xp.reshape(whole, (*leading, whole.shape[-1])), -1, axis)
