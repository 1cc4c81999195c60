"""The engine that evaluates kernels over rows, with a probe kernel whose results NumPy gives at once."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lambda_star._core import rows as engine
from lambda_star._core.namespaces import numpy
from lambda_star._core.quantities import Quantity
from lambda_star._core.rows import RowError, by_rows, dot, tokens_along
from tests.libraries import LIBRARIES

FACTOR = Quantity("factor", 0.0, 10.0, "[]")
RNG = np.random.default_rng(4)
FIRST, SECOND = (np.round(RNG.normal(size=(6, 5)), 3) for _ in range(2))
FACTORS = np.array([0.0, 0.5, 1.0, 2.0, 3.0, 10.0])
Parts = tuple[Any, ...]


def kernel(xp: Any, log_t: Any, log_b: Any, factor: Any) -> Parts:
    """A floating number, an index, a flag and a row per position; +inf in the second matrix is an error."""
    if bool(xp.any(log_b == math.inf)):
        raise RowError(xp, log_b == math.inf, "log_b must be below inf")
    mixed = log_t + xp.astype(factor, log_t.dtype)[:, None] * log_b
    return dot(xp, mixed), xp.argmax(mixed, axis=-1), factor > 1, mixed


def probe(log_t: Any, log_b: Any, factor: Any = 2.0, *, axis: int = -1) -> Parts:
    return by_rows(kernel, log_t, log_b, axis, (FACTOR, factor))


def expected(log_t: NDArray[Any], log_b: NDArray[Any], factor: Any = 2.0, *, axis: int = -1) -> Parts:
    """The same at once, for arrays of one shape."""
    log_t, log_b = np.moveaxis(log_t, axis, -1), np.moveaxis(log_b, axis, -1)
    factor = np.broadcast_to(factor, log_t.shape[:-1])
    mixed = log_t + factor[..., None] * log_b
    return mixed.sum(axis=-1), mixed.argmax(axis=-1), factor > 1, np.moveaxis(mixed, -1, axis)


def same(found: Parts, right: Parts, rtol: float = 1e-14) -> None:
    for one, other in zip(found, right, strict=True):
        assert np.shape(one) == np.shape(other)
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=rtol, atol=rtol)


# Shapes


def test_one_position_gives_single_values_and_a_row() -> None:
    found = probe(FIRST[0], SECOND[0])
    same(found, expected(FIRST[0], SECOND[0]))
    assert [type(value) for value in found[:3]] == [np.float64, np.int64, np.bool_]


@pytest.mark.parametrize("shape", [(6, 5), (2, 3, 5), (3, 1, 2, 5)])
def test_results_keep_the_leading_shape(shape: tuple[int, ...]) -> None:
    grids = FIRST.reshape(shape), SECOND.reshape(shape)
    same(probe(*grids), expected(*grids))


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3])
def test_tokens_may_lie_along_any_axis(axis: int) -> None:
    grids = [np.moveaxis(rows.reshape(2, 3, 5), -1, axis) for rows in (FIRST, SECOND)]
    same(probe(*grids, axis=axis), expected(*grids, axis=axis))
    assert tokens_along(grids[0], grids[1], axis) == 5


def test_rows_broadcast_against_each_other() -> None:
    many = np.broadcast_arrays(FIRST[:, None, :], SECOND[None, :, :])
    same(probe(FIRST[:, None, :], SECOND[None, :, :]), expected(*many))
    same(probe(FIRST, SECOND[0]), expected(FIRST, np.tile(SECOND[0], (6, 1))))
    same(probe(FIRST[0], SECOND), expected(np.tile(FIRST[0], (6, 1)), SECOND))


def test_every_position_may_have_its_own_number() -> None:
    same(probe(FIRST, SECOND, FACTORS), expected(FIRST, SECOND, FACTORS))
    same(probe(FIRST, SECOND, list(FACTORS)), expected(FIRST, SECOND, FACTORS))
    one_row = np.tile(FIRST[0], (6, 1)), np.tile(SECOND[0], (6, 1))
    same(probe(FIRST[0], SECOND[0], FACTORS), expected(*one_row, FACTORS))


@pytest.mark.parametrize("shape", [(0, 5), (2, 0, 5)])
def test_no_position_is_no_error(shape: tuple[int, ...]) -> None:
    found = probe(np.zeros(shape), np.zeros(shape))
    assert [array.shape for array in found] == [shape[:-1], shape[:-1], shape[:-1], shape]


# Dtypes


def test_lists_and_integers_are_read_as_double_precision() -> None:
    whole = np.array([[0, -1, -3], [0, -2, 1]])
    right = expected(*whole.astype(float))
    for rows in (whole, whole.astype(np.int8), whole.tolist()):
        found = probe(*rows)
        same(found, right)
        assert found[0].dtype == np.float64


@pytest.mark.parametrize(
    ("given", "returned"), [("float16", "float32"), ("float32", "float32"), ("float64", "float64")]
)
def test_results_have_the_dtype_of_the_rows_and_at_least_single_precision(given: str, returned: str) -> None:
    rows = FIRST.astype(given), SECOND.astype(given)
    found = probe(*rows)
    assert (found[0].dtype, found[3].dtype) == (returned, returned)
    assert (found[1].dtype, found[2].dtype) == (np.int64, np.bool_)
    same(found, expected(rows[0].astype(float), rows[1].astype(float)), rtol=1e-6)


def test_rows_of_two_dtypes_give_the_wider_one() -> None:
    assert probe(FIRST.astype(np.float32), SECOND)[0].dtype == np.float64


def test_kernels_see_numbers_in_double_precision() -> None:
    def third(xp: Any, log_t: Any, log_b: Any, factor: Any) -> Parts:
        return (factor * 3 == 1.0,)

    (exact,) = by_rows(third, FIRST.astype(np.float32), SECOND.astype(np.float32), -1, (FACTOR, 1 / 3))
    assert np.all(exact)


@pytest.mark.parametrize("count", [1, 5, engine.PIECE - 1, engine.PIECE, 3 * engine.PIECE + 7])
def test_long_sums_of_single_precision_are_those_of_short_pieces(count: int) -> None:
    a, b = (RNG.uniform(0.5, 1, (2, count)).astype(np.float32) for _ in range(2))
    for found, terms in ((dot(numpy, a), a.astype(float)), (dot(numpy, a, b), a.astype(float) * b)):
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, [math.fsum(row) for row in terms], rtol=1e-5)
    wide = a.astype(float)
    np.testing.assert_allclose(dot(numpy, wide), np.array([math.fsum(row) for row in wide]), rtol=1e-14)


# Blocks


@pytest.mark.parametrize(("threads", "block"), [*itertools.product((1, 2), (1, 15, 22, 10_000))])
def test_many_blocks_give_what_one_gives(threads: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = RNG.normal(size=(2, 41, 5))
    factors = np.linspace(0, 10, 41)
    monkeypatch.setattr(engine, "ROWS_BLOCK_CPU", block)
    monkeypatch.setattr(engine, "cpus", lambda: threads)
    same(probe(first, second, factors), expected(first, second, factors))


def test_a_block_holds_at_most_its_tokens_or_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def spy(xp: Any, log_t: Any, log_b: Any) -> Parts:
        seen.append(log_t.shape)
        return (log_t[:, 0],)

    monkeypatch.setattr(engine, "cpus", lambda: 1)
    for block, shapes in ((12, [(2, 5), (2, 5), (2, 5)]), (20, [(4, 5), (2, 5)]), (3, [(1, 5)] * 6)):
        seen.clear()
        monkeypatch.setattr(engine, "ROWS_BLOCK_CPU", block)
        by_rows(spy, FIRST, SECOND, -1)
        assert seen == shapes


# Errors


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("shape", "axis", "index"),
    [
        ((3,), -1, (2,)),
        ((40, 3), -1, (33, 1)),
        ((3, 40), 0, (1, 33)),
        ((5, 8, 3), 2, (4, 1, 2)),
        ((3, 5, 8), 0, (2, 4, 1)),
        ((5, 3, 8), -2, (4, 0, 1)),
    ],
)
def test_errors_name_the_index_in_the_whole_array(
    shape: tuple[int, ...], axis: int, index: tuple[int, ...], threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "ROWS_BLOCK_CPU", 12)
    monkeypatch.setattr(engine, "cpus", lambda: threads)
    bad = np.zeros(shape)
    bad[index] = math.inf
    said = str(index[0]) if len(index) == 1 else rf"\({', '.join(map(str, index))}\)"
    with pytest.raises(ValueError, match=rf"^log_b must be below inf at index {said}$"):
        probe(np.zeros(shape), bad, axis=axis)


def test_the_first_of_several_errors_is_the_one_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "ROWS_BLOCK_CPU", 12)
    monkeypatch.setattr(engine, "cpus", lambda: 2)
    bad = np.zeros((40, 3))
    bad[12, 2] = bad[30, 0] = math.inf
    with pytest.raises(ValueError, match=r"at index \(12, 2\)$"):
        probe(np.zeros((40, 3)), bad)


def test_numbers_outside_their_range_are_refused_with_value_and_index() -> None:
    with pytest.raises(ValueError, match=r"^factor must lie in \[0, 10\], got 10\.5$"):
        probe(FIRST, SECOND, 10.5)
    with pytest.raises(ValueError, match=r"^factor must lie in \[0, 10\], got -1\.0 at index 1$"):
        probe(FIRST[:2], SECOND[:2], [2.0, -1.0])
    assert np.isnan(probe(FIRST[:2], SECOND[:2], [2.0, math.nan])[0]).tolist() == [False, True]


@pytest.mark.parametrize(
    ("rows", "axis", "said"),
    [
        (np.zeros((2, 0)), -1, r"\(2, 0\) with axis=-1"),
        (np.zeros((0, 2)), 0, r"\(0, 2\) with axis=0"),
        ([], -1, r"\(0,\) with axis=-1"),
    ],
)
def test_rows_need_at_least_one_token(rows: Any, axis: int, said: str) -> None:
    with pytest.raises(ValueError, match=rf"^log_t must have at least one token, got shape {said}$"):
        probe(rows, rows, axis=axis)


def test_a_single_number_is_no_row() -> None:
    with pytest.raises(ValueError, match=r"^log_t must have an axis of tokens, got a single number$"):
        probe(-1.0, [-1.0, -2.0])
    with pytest.raises(ValueError, match=r"^log_b must have an axis of tokens, got a single number$"):
        probe([-1.0, -2.0], np.float64(-1.0))


@pytest.mark.parametrize("axis", [1, -2])
def test_an_axis_that_the_rows_do_not_have_is_refused(axis: int) -> None:
    with pytest.raises(ValueError, match=rf"^axis must lie in \[-1, 0\], got {axis}; log_t has 1 axes$"):
        probe(np.zeros(3), np.zeros(3), axis=axis)


@pytest.mark.parametrize("bad", [np.zeros(3, complex), ["a", "b", "c"], None, [True, False, True]])
def test_what_is_no_real_number_is_a_type_error(bad: Any) -> None:
    with pytest.raises(TypeError, match=r"^log_t must hold real numbers, got dtype"):
        probe(bad, np.zeros(3))
    with pytest.raises(TypeError, match=r"^log_b must hold real numbers, got dtype"):
        probe(np.zeros(3), bad)


# Array libraries


@pytest.mark.slow
@pytest.mark.parametrize(
    ("library", "dtype"), [(name, dtype) for name, one in LIBRARIES.items() for dtype in one.dtypes]
)
def test_same_kind_dtype_and_values_in_every_library(library: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one = LIBRARIES[library]
    grids = [np.moveaxis(rows.reshape(2, 3, 5), -1, 1).astype(dtype) for rows in (FIRST, SECOND)]
    factors = FACTORS.reshape(2, 3).astype(dtype)
    right = expected(grids[0], grids[1], factors, axis=1)
    for block, given in ((15, one.make(factors)), (10_000, factors.tolist())):
        monkeypatch.setattr(engine, "ROWS_BLOCK_CPU", block)
        found = probe(one.make(grids[0]), one.make(grids[1]), given, axis=1)
        assert all(isinstance(array, one.kind) for array in found)
        assert dtype in str(found[0].dtype)
        same(found, right, rtol=1e-6 if dtype == "float32" else 1e-14)
    grids[1][1, 3, 2] = math.inf
    with pytest.raises(ValueError, match=r"at index \(1, 3, 2\)$"):
        probe(*map(one.make, grids), axis=1)
    with pytest.raises(ValueError, match=r"^factor must lie in \[0, 10\], got 11\.0 at index \(1, 2\)$"):
        probe(one.make(grids[0]), one.make(grids[0]), one.make(np.array([[1, 1, 1], [1, 1, 11]], dtype)), axis=1)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_list_beside_an_array_becomes_an_array_of_its_library(library: str) -> None:
    one = LIBRARIES[library]
    found = probe(one.make(FIRST.astype(np.float32)), SECOND.tolist())
    assert all(isinstance(array, one.kind) for array in found)
    same(found, expected(FIRST, SECOND), rtol=1e-5)


def test_brain_floats_are_read_and_single_precision_returned() -> None:
    found = probe(*(torch.tensor(rows, dtype=torch.bfloat16) for rows in (FIRST, SECOND)))
    assert (found[0].dtype, found[3].dtype) == (torch.float32, torch.float32)


def test_no_gradient_flows() -> None:
    leaves = [torch.tensor(array, requires_grad=True) for array in (FIRST, SECOND, FACTORS)]
    found = probe(*leaves)
    assert not any(array.requires_grad for array in found)
    same(found, expected(FIRST, SECOND, FACTORS))


def test_a_library_without_float64_refuses_a_number_that_it_cannot_hold() -> None:
    rows = [LIBRARIES["jax"].make(array.astype(np.float32)) for array in (FIRST, SECOND)]
    with pytest.raises(
        ValueError, match=r"^factor must lie in \[0, 10\], got 1e\+39, but the dtype of these arrays ends"
    ):
        probe(rows[0], rows[1], 1e39)
