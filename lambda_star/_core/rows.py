"""Evaluate a formula over the tokens of positions, block by block.

The formula is a kernel ``f(xp, log_t, log_b, ...)`` of two matrices, one row per position, that :func:`by_rows` feeds
with blocks of the caller's arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lambda_star._core.namespaces import Values, as_read, cpus, in_threads, keep_freed_memory, numpy, on_device_of, wide
from lambda_star._core.quantities import Quantity, check, reals, require_real, require_representable

# Tokens per block of rows: enough to keep two threads, or an accelerator, busy with each operation.
ROWS_BLOCK_CPU, ROWS_BLOCK_ELSEWHERE = 2**20, 2**25

PIECE = 2**11  # elements of a sum in the caller's precision; longer ones are float64 sums of such pieces


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
    *arguments: tuple[Quantity, Values],
) -> tuple[Values, ...]:
    """Evaluate a kernel on the rows of two arrays along an axis, block by block; extra memory is a few blocks.

    The kernel gets the namespace, two matrices of one row per position in the caller's floating dtype (float32 at
    least) and the other arguments as vectors in the widest dtype; it returns one entry or one row per position.
    Floating results come back in the dtype of the matrices.
    """
    xp, rows_t, rows_b = _row_arrays(log_t, log_b)
    dtype = xp.result_type(rows_t.dtype, rows_b.dtype, xp.float32)
    rows_t, rows_b = xp.broadcast_arrays(rows_t, rows_b)
    if not tokens_along(rows_t, rows_b, axis):
        raise ValueError(f"log_t must have at least one token, got shape {tuple(rows_t.shape)} with axis={axis}")
    rows_t, rows_b = (xp.moveaxis(rows, axis, -1) for rows in (rows_t, rows_b))
    tokens = rows_t.shape[-1]
    leading = np.broadcast_shapes(tuple(rows_t.shape[:-1]), *(np.shape(value) for _, value in arguments))
    rows_t, rows_b = (xp.broadcast_to(rows, (*leading, tokens)) for rows in (rows_t, rows_b))
    vectors = [_leading(xp, quantity, value, leading, rows_t) for quantity, value in arguments]
    rows_t, rows_b = (xp.reshape(rows, (-1, tokens)) for rows in (rows_t, rows_b))
    count = rows_t.shape[0]
    on_cpu = "cpu" in str(getattr(rows_t, "device", "cpu")).lower()
    step = max(1, (ROWS_BLOCK_CPU if on_cpu else ROWS_BLOCK_ELSEWHERE) // tokens)

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
    keep_freed_memory(2**22 - 2**13)
    blocks = in_threads(min(cpus(), len(starts)) if xp is numpy else 1, evaluate, starts)
    return tuple(_join(xp, parts, leading, axis, dtype) for parts in zip(*blocks, strict=True))


def tokens_along(log_t: Values, log_b: Values, axis: int) -> int:
    """The number of tokens of two arrays that broadcast."""
    shape = np.broadcast_shapes(np.shape(log_t), np.shape(log_b))
    if not -len(shape) <= axis < len(shape):
        raise ValueError(f"axis must lie in [{-len(shape)}, {len(shape) - 1}], got {axis}; log_t has {len(shape)} axes")
    return int(shape[axis])


def _row_arrays(log_t: Values, log_b: Values) -> tuple[Any, Values, Values]:
    """The array namespace of two arrays of log-probabilities, and the two as real arrays without gradient."""
    log_t, log_b = as_read(log_t), as_read(log_b)
    arrays = [value for value in (log_t, log_b) if hasattr(value, "shape")]
    if any(not isinstance(value, (np.ndarray, np.generic)) for value in arrays):
        from array_api_compat import array_namespace

        xp = array_namespace(*arrays)
        rows = [value if hasattr(value, "shape") else on_device_of(xp, arrays[0], value) for value in (log_t, log_b)]
        rows = [value.detach() if hasattr(value, "detach") else value for value in rows]
    else:
        xp = numpy
        rows = [np.asarray(value) for value in (log_t, log_b)]
    for name, value in zip(("log_t", "log_b"), rows, strict=True):
        if not xp.isdtype(value.dtype, ("real floating", "integral")):
            raise TypeError(f"{name} must hold real numbers, got dtype {value.dtype}")
        if not value.ndim:
            raise ValueError(f"{name} must have an axis of tokens, got a single number")
    rows = [value if xp.isdtype(value.dtype, "real floating") else xp.astype(value, wide(xp)) for value in rows]
    return xp, rows[0], rows[1]


def dot(xp: Any, a: Values, b: Values | None = None) -> Values:
    """The sum over each row of a, or of the products with b, in the widest dtype."""
    if xp is not numpy:
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


def _leading(xp: Any, quantity: Quantity, value: Values, shape: tuple[int, ...], like: Values) -> Values:
    """A value as a vector with one entry per row, checked."""
    value = value.detach() if hasattr(value, "detach") else value
    value = value if hasattr(value, "dtype") else reals(quantity.name, value)
    largest = float(xp.finfo(wide(xp)).max)
    if xp is not numpy and (not hasattr(value, "shape") or isinstance(value, (np.ndarray, np.generic))):
        numbers = np.ravel(reals(quantity.name, value))
        for number in numbers[np.abs(numbers) > largest]:  # without float64, as in JAX, it would become +inf
            require_representable(quantity, number, largest)
    if not isinstance(value, (np.ndarray, np.generic)):
        require_real(quantity.name, value.dtype, xp.isdtype(value.dtype, ("real floating", "integral")))
    elif value.dtype.kind != "f":
        value = reals(quantity.name, value)
    array = on_device_of(xp, like, value, wide(xp))
    check(xp, (quantity, array))
    return xp.reshape(xp.broadcast_to(array, shape), (-1,))


def _join(xp: Any, parts: Sequence[Values], leading: tuple[int, ...], axis: int, dtype: Any) -> Values:
    """The results of all blocks as one array of the caller's shape; a single position gives a single value."""
    if xp.isdtype(parts[0].dtype, "real floating"):
        parts = [xp.astype(part, dtype, copy=False) for part in parts]
    whole = parts[0] if len(parts) == 1 else xp.concat(parts)
    if whole.ndim == 1:
        whole = xp.reshape(whole, leading)
        return whole[()] if xp is numpy else whole
    return xp.moveaxis(xp.reshape(whole, (*leading, whole.shape[-1])), -1, axis)
