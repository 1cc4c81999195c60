"""Make a function of floats or arrays from a formula.

A formula is written once, as a *kernel* ``f(xp, p, b, ...)``. :func:`elementwise` turns it into a public function
that takes Python floats or arrays of any array API library. ``xp`` is then one of three things:
:data:`~lambda_star._core.namespaces.scalar` (Python floats, the fastest way for one number), NumPy (evaluated in blocks
that stay in cache), or the namespace of the caller's own library (PyTorch, JAX, ...), so that device, dtype and
gradients are the caller's.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeAlias, TypeVar, overload

import numpy as np

from lambda_star._core.namespaces import (
    Exact,
    Values,
    as_read,
    cpus,
    in_threads,
    is_compiling,
    keep_freed_memory,
    numpy,
    on_device_of,
    scalar,
)
from lambda_star._core.quantities import (
    QUANTITIES,
    Quantity,
    as_float,
    check,
    fills,
    require_real,
    require_representable,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Real: TypeAlias = float  # what a kernel says it takes and returns; at run time it may be an array of ``xp``

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)

BLOCK = 2**16  # elements per NumPy block: its temporaries stay in cache, and threads meet seldom


class Array(Protocol):
    """An array of some library, as far as a type checker needs to know it."""

    @property
    def shape(self) -> Any: ...


A = TypeVar("A", bound=Array)


class Elementwise(Protocol[P, R_co]):
    """A function that gives a float for floats, the caller's kind of array for arrays, and a NumPy array for lists."""

    __name__: str
    quantities: tuple[Quantity, ...]

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...
    @overload
    def __call__(self, *args: A | float, **kwargs: A | float) -> A: ...
    @overload
    def __call__(self, *args: ArrayLike, **kwargs: ArrayLike) -> NDArray[Any]: ...


def elementwise(
    *narrower: Quantity,
) -> Callable[[Callable[Concatenate[Any, P], R_co]], Elementwise[P, R_co]]:
    """Make a public function of a kernel ``f(xp, *values)``, whose arguments are quantities by their names.

    The result takes Python floats (and returns one) or anything that broadcasts, and raises ``ValueError`` for a
    value outside its range; ``narrower`` gives the quantities whose range is narrower here than elsewhere. Values that
    only a tracer knows (``jax.jit``, ``torch.compile``) are not checked. A Python number takes the floating dtype of
    the arrays beside it; one that would become infinite there, such as c = 1e39 beside float32, is refused.
    """
    ranges = QUANTITIES | {quantity.name: quantity for quantity in narrower}

    def decorate(kernel: Any) -> Any:
        signature = inspect.signature(kernel)
        signature = signature.replace(parameters=list(signature.parameters.values())[1:])
        quantities = tuple(ranges[name] for name in signature.parameters)
        # Written out argument by argument, as dataclasses does: a loop here would cost a float more than its formula.
        scope = {"kernel": kernel, "scalar": scalar, "evaluate": _evaluate, "quantities": quantities}
        for quantity in quantities:
            scope[f"{quantity.name}_low"], scope[f"{quantity.name}_high"] = quantity.float_bounds()
        inside = " and ".join(f"type({n}) is float and {n}_low <= {n} <= {n}_high" for n in signature.parameters)
        names = ", ".join(signature.parameters)
        source = (
            f"def {kernel.__name__}({names}):\n"
            f"    if {inside}:\n"
            f"        return kernel(scalar, {names})\n"
            f"    return evaluate(kernel, quantities, ({names},))\n"
        )
        exec(source, scope)
        function: Any = scope[kernel.__name__]
        functools.update_wrapper(function, kernel)
        function.__defaults__, function.__signature__, function.quantities = kernel.__defaults__, signature, quantities
        del function.__wrapped__
        return function

    return decorate


def _evaluate(kernel: Any, quantities: Sequence[Quantity], args: Sequence[Values]) -> Any:
    """Evaluate a kernel on all but valid floats: NaN, other scalars, arrays, columns, values outside their range."""
    exact = [value for value in args if isinstance(getattr(value, "namespace", None), Exact)]
    if exact:
        return kernel(exact[0].namespace, *args)
    if all(type(value) in (float, int) for value in args):
        numbers = [as_float(quantity, value) for quantity, value in zip(quantities, args, strict=True)]
        check(np, *zip(quantities, map(np.float64, numbers), strict=True))
        return kernel(scalar, *numbers)
    args = [as_read(value) for value in args]
    if any(hasattr(value, "shape") and not isinstance(value, (np.ndarray, np.generic)) for value in args):
        return _in_namespace(kernel, quantities, args)
    return _in_numpy(kernel, quantities, args)


def _in_namespace(kernel: Any, quantities: Sequence[Quantity], args: Sequence[Values]) -> Any:
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
    if not compiling:
        _require_representable(quantities, args, float(xp.finfo(dtype).max))
    values = [
        xp.astype(value, dtype, copy=False) if hasattr(value, "shape") else on_device_of(xp, arrays[0], value, dtype)
        for value in args
    ]
    if compiling:  # a check would cut the compiler's graph in two
        return kernel(xp, *values)
    check(xp, *zip(quantities, values, strict=True))
    with np.errstate(over="ignore", under="ignore"):  # for libraries that compute with NumPy
        return kernel(xp, *values)


def _in_numpy(kernel: Any, quantities: Sequence[Quantity], args: Sequence[Values]) -> Any:
    """Evaluate a kernel with NumPy: whole when small, else block by block, so that temporaries stay small."""
    arrays = [np.asarray(value) for value in args]
    for quantity, array in zip(quantities, arrays, strict=True):
        require_real(quantity.name, array.dtype, array.dtype.kind in "fiu")
    floating = [
        a.dtype for a, value in zip(arrays, args, strict=True) if a.dtype.kind == "f" and type(value) is not float
    ]
    dtype = np.result_type(*floating) if floating else np.dtype(np.float64)
    _require_representable(quantities, args, float(np.finfo(dtype).max))
    with np.errstate(over="ignore", under="ignore"):  # an overflow here is a limit, +inf or 0, and the right answer
        if np.broadcast(*arrays).size <= BLOCK:
            arrays = [array.astype(dtype, copy=False) for array in arrays]
            check(np, *zip(quantities, arrays, strict=True))
            shape = np.broadcast(*arrays).shape
            if numpy is not np:  # NumPy 1 promotes arrays without dimensions as if they were Python numbers
                arrays = [np.broadcast_to(array, shape or (1,)) for array in arrays]
            return np.asarray(kernel(numpy, *arrays)).reshape(shape)[()]
        return _in_blocks(kernel, quantities, arrays, dtype)


def _require_representable(quantities: Sequence[Quantity], args: Sequence[Values], largest: float) -> None:
    """Refuse the Python numbers that the dtype of the arrays beside them cannot hold."""
    for quantity, value in zip(quantities, args, strict=True):
        if type(value) in (float, int):
            require_representable(quantity, value, largest)


def _in_blocks(kernel: Any, quantities: Sequence[Quantity], arrays: Sequence[Any], dtype: np.dtype[Any]) -> Any:
    """Evaluate a kernel over blocks of the broadcast arrays, large ones in threads; extra memory is a few blocks."""
    sample = np.asarray(kernel(numpy, *(np.empty(0, dtype) for _ in arrays)))
    operands: Any = [*arrays, None]
    out: Any = np.nditer(operands, op_dtypes=[*(a.dtype for a in arrays), sample.dtype]).operands[-1]
    keep_freed_memory(2**18)
    workers = max(1, min(cpus(), out.size // (4 * BLOCK)))
    axis = int(np.argmax(out.shape))
    shares = [np.array_split(np.broadcast_to(a, out.shape), workers, axis) if a.ndim else [a] * workers for a in arrays]
    shares.append(np.array_split(out, workers, axis))
    fill = functools.partial(_fill, kernel, quantities, dtype)
    if not all(in_threads(workers, fill, *shares)):
        check(np, *zip(quantities, arrays, strict=True))
    return out


def _fill(kernel: Any, quantities: Sequence[Quantity], dtype: np.dtype[Any], *arrays: Any) -> bool:
    """Write a kernel of all arrays but the last to the last; tell whether all values lay inside their ranges."""
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
    # The check comes last, when the block is in cache; until then a value outside its range may do anything.
    with np.errstate(all="ignore"), blocks:
        for *parts, out in blocks:
            part = iter(parts)
            values = [next(part) if array.ndim else dtype.type(array) for array in arrays[:-1]]
            out[...] = kernel(numpy, *values)
            if not all(fills(quantity, value) for quantity, value in zip(quantities, values, strict=True)):
                return False
    return True
