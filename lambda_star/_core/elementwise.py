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
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Concatenate, ParamSpec

import numpy as np

from lambda_star._core.namespaces import WORKERS, Values, cpus, is_compiling, scalar
from lambda_star._core.quantities import Domain, block_within, check

__all__ = ["elementwise"]

P = ParamSpec("P")


BLOCK = 2**16
"""Elements per NumPy block: its temporaries stay in cache, and threads meet seldom."""


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
    compiling = is_compiling()
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
    workers = max(1, min(WORKERS, cpus(), out.size // (4 * BLOCK)))
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
            if not all(block_within(domain, value) for domain, value in zip(domains.values(), values, strict=True)):
                return False
    return True
