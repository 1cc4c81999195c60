"""One formula for every array library: same values, same kind out, gradients and compilers intact, errors that help."""

from __future__ import annotations

import inspect
import math
import tracemalloc
from collections.abc import Callable
from typing import Any, NamedTuple

import array_api_strict
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from typing_extensions import assert_type

import lambda_star as ls
from lambda_star._core import elementwise
from tests import oracle
from tests.strategies import clips, probabilities

P = np.array([0.9, 0.99, 0.3, 0.5, math.nan, 0.9, 0.4, 1e-5])
B = np.array([0.5, 0.2, 0.5, 0.5, 0.5, math.nan, 0.8, 1e-7])
LAM = np.array([1.1, 3.0, 1.2, 9.0, 1.5, 1.1, 2.0, 1.01])
FULL: dict[str, Any] = {
    "p": P,
    "b": B,
    "c": np.full(8, 5.0),
    "lam": LAM,
    "x": 3 * LAM,
    "y": P,
    "margin": np.full(8, 0.25),
}

FUNCTIONS: dict[str, Callable[..., Any]] = {
    name: getattr(ls.bernoulli, name)
    for name in ls.bernoulli.__all__
    if inspect.isfunction(getattr(ls.bernoulli, name)) and name != "sensitivity"
}
DISCRETE = {"is_clip_safe", "regime"}


def arguments(name: str) -> list[Any]:
    """One array for each argument of a function, all of the same length."""
    return [FULL[argument] for argument in inspect.signature(FUNCTIONS[name]).parameters]


class Library(NamedTuple):
    """An array library under test."""

    make: Callable[..., Any]
    dtypes: tuple[str, ...]
    kind: type[Any]


LIBRARIES = {
    "numpy": Library(np.asarray, ("float32", "float64"), np.ndarray),
    "torch": Library(torch.tensor, ("float32", "float64"), torch.Tensor),
    "jax": Library(jnp.asarray, ("float32",), jax.Array),
    "strict": Library(array_api_strict.asarray, ("float32", "float64"), type(array_api_strict.asarray(1.0))),
}
CASES = [(library, dtype) for library, one in LIBRARIES.items() for dtype in one.dtypes]


def to_numpy(array: Any) -> Any:
    return np.asarray(array).astype(float)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_arrays_hold_what_floats_give(name: str) -> None:
    arrays = arguments(name)
    single = [FUNCTIONS[name](*map(float, values)) for values in zip(*arrays, strict=True)]
    np.testing.assert_allclose(to_numpy(FUNCTIONS[name](*arrays)), np.array(single, dtype=float), rtol=1e-14)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_floats_in_floats_out_and_integers_too(name: str) -> None:
    values = [float(array[0]) for array in arguments(name)]
    kind = {"is_clip_safe": bool, "regime": ls.bernoulli.Regime}.get(name, float)
    assert type(FUNCTIONS[name](*values)) is kind
    whole = [int(value) if value.is_integer() else value for value in values]
    assert FUNCTIONS[name](*whole) == FUNCTIONS[name](*values)
    assert type(FUNCTIONS[name](*whole)) is kind


@pytest.mark.parametrize(("library", "dtype"), CASES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_same_kind_dtype_and_values_in_every_library(name: str, library: str, dtype: str) -> None:
    one = LIBRARIES[library]
    exact = [array.astype(dtype) for array in arguments(name)]
    found: Any = FUNCTIONS[name](*map(one.make, exact))
    assert isinstance(found, one.kind)
    assert name in DISCRETE or dtype in str(found.dtype)
    expected = to_numpy(FUNCTIONS[name](*(array.astype(float) for array in exact)))
    np.testing.assert_allclose(to_numpy(found), expected, rtol=1e-13 if dtype == "float64" else 3e-5)


@pytest.mark.parametrize(("library", "dtype"), CASES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_python_scalars_take_the_dtype_of_the_arrays(name: str, library: str, dtype: str) -> None:
    one = LIBRARIES[library]
    first, *rest = arguments(name)
    found = FUNCTIONS[name](one.make(first.astype(dtype)), *(float(values[0]) for values in rest))
    expected = FUNCTIONS[name](one.make(first.astype(dtype)), *(one.make(np.full(8, v[0], dtype)) for v in rest))
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(to_numpy(found), to_numpy(expected), rtol=1e-5)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_nan_in_any_argument_is_nan_out(name: str) -> None:
    for place in range(len(arguments(name))):
        values = [float(array[0]) for array in arguments(name)]
        values[place] = math.nan
        for found in (FUNCTIONS[name](*values), FUNCTIONS[name](*map(np.float64, values))):
            assert (found == {"regime": -1, "is_clip_safe": False}[name]) if name in DISCRETE else math.isnan(found)


@given(
    hnp.mutually_broadcastable_shapes(num_shapes=3, max_dims=3, max_side=4, min_side=0),
    st.integers(0, 2**32 - 1),
)
def test_arguments_broadcast(shapes: hnp.BroadcastableShapes, seed: int) -> None:
    rng = np.random.default_rng(seed)
    p, b = (rng.uniform(0.01, 0.99, shape) for shape in shapes.input_shapes[:2])
    c = rng.uniform(1, 9, shapes.input_shapes[2])
    found = ls.threshold(p, b, c)
    assert np.shape(found) == shapes.result_shape
    expected: Any = [ls.threshold(*map(float, values)) for values in np.broadcast(p, b, c)]
    np.testing.assert_allclose(np.ravel(found), expected, rtol=1e-14)


@given(st.lists(st.tuples(probabilities, probabilities, clips), min_size=1, max_size=8))
def test_float32_is_accurate_to_its_own_last_digits(rows: list[tuple[float, float, float]]) -> None:
    p, b, c = (np.array(column, dtype=np.float32) for column in zip(*rows, strict=True))
    tiny = np.finfo(np.float32).tiny
    p, b = np.clip(p, tiny, 1 - 2.0**-24), np.clip(b, tiny, 1 - 2.0**-24)
    for name in ("threshold", "excess", "collapse_point", "cliff_width"):
        found, exact = FUNCTIONS[name](p, b, c), getattr(oracle, name)
        assert found.dtype == np.float32
        assert max(oracle.ulps(f, exact(*values)) for f, *values in zip(found, p, b, c, strict=True)) <= 6


# Blocks


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_blocks_equal_the_whole(name: str, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elementwise, "cpus", lambda: threads)
    arrays = [np.tile(array, (3, 5)) for array in arguments(name)]
    whole = FUNCTIONS[name](*arrays)
    monkeypatch.setattr(elementwise, "BLOCK", 7)
    for variant in (arrays, [array.T for array in arrays], [array[::-1, ::2] for array in arrays]):
        blocked = FUNCTIONS[name](*variant)
        monkeypatch.setattr(elementwise, "BLOCK", 10**9)
        np.testing.assert_array_equal(blocked, FUNCTIONS[name](*variant))
        monkeypatch.setattr(elementwise, "BLOCK", 7)
    assert FUNCTIONS[name](*arrays).dtype == whole.dtype


def test_blocks_mix_dtypes_shapes_and_scalars(monkeypatch: pytest.MonkeyPatch) -> None:
    p = np.linspace(0.6, 0.9, 12, dtype=np.float32).reshape(12, 1)
    b, c = np.linspace(0.1, 0.5, 5), np.array(5)
    expected = ls.threshold(p.astype(float), b, 5.0)
    monkeypatch.setattr(elementwise, "BLOCK", 4)
    np.testing.assert_array_equal(ls.threshold(p, b, c), expected)


def test_large_arrays_need_little_more_memory_than_their_result() -> None:
    p, b = np.full(2**22, 0.9), np.full(2**22, 0.5)
    ls.threshold(p, b, 5.0)
    tracemalloc.start()
    result = ls.threshold(p, b, 5.0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak - result.nbytes < 5e6


# Errors


def test_scalar_errors_name_argument_range_and_value() -> None:
    with pytest.raises(ValueError, match=r"^p must lie in \(0, 1\), got 1\.5$"):
        ls.threshold(1.5, 0.5, 5.0)
    with pytest.raises(ValueError, match=r"^c must lie in \[1, inf\], got 0\.5$"):
        ls.threshold(0.9, 0.5, 0.5)
    with pytest.raises(ValueError, match=r"^lam must lie in \(-inf, inf\), got inf$"):
        ls.fixed_point(0.9, 0.5, math.inf)
    with pytest.raises(ValueError, match=r"^margin must lie in \[0, 1\), got 1\.0$"):
        ls.operating_point(0.9, 0.5, 5.0, margin=1.0)


@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["p", "b"])
def test_probabilities_exclude_their_ends(name: str, value: float) -> None:
    values = {"p": 0.9, "b": 0.5, "c": 5.0} | {name: value}
    with pytest.raises(ValueError, match=rf"^{name} must lie in \(0, 1\)"):
        ls.threshold(**values)


@pytest.mark.parametrize("library", LIBRARIES)
def test_array_errors_name_the_first_index(library: str) -> None:
    make = LIBRARIES[library].make
    p = np.full((2, 3), 0.5, dtype=np.float32)
    p[0, 1], p[1, 0], p[1, 2] = math.nan, 2.0, 3.0
    with pytest.raises(ValueError, match=r"^p must lie in \(0, 1\), got 2\.0 at index \(1, 0\)$"):
        ls.threshold(make(p), 0.5, 5.0)
    with pytest.raises(ValueError, match=r"^b must lie in \(0, 1\), got -1\.0 at index 2$"):
        ls.threshold(0.5, make(np.array([0.5, 0.5, -1.0], dtype=np.float32)), 5.0)


def test_block_errors_name_the_index_in_the_whole_array(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elementwise, "BLOCK", 4)
    p = np.full(11, 0.5)
    p[2], p[9] = math.nan, 0.0
    with pytest.raises(ValueError, match=r"^p must lie in \(0, 1\), got 0\.0 at index 9$"):
        ls.threshold(p, 0.4, 5.0)


@pytest.mark.parametrize("value", ["0.9", None, 1j, [True, False]])
def test_what_is_no_number_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError, match=r"^p must be a real number or an array of real numbers, got dtype"):
        ls.threshold(value, 0.5, 5.0)


def test_wrong_arguments_are_the_usual_type_errors() -> None:
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'c'"):
        ls.threshold(0.9, 0.5)
    with pytest.raises(TypeError, match="unexpected keyword argument 'clip'"):
        ls.threshold(0.9, 0.5, clip=5.0)
    with pytest.raises(TypeError, match="Multiple namespaces"):
        ls.threshold(torch.tensor(0.9), jnp.asarray(0.5), 5.0)


def test_keywords_lists_and_empty_arrays() -> None:
    assert ls.threshold(c=5.0, b=0.5, p=0.9) == ls.threshold(0.9, 0.5, 5.0)
    assert ls.threshold([0.9, 0.99], 0.5, 5).shape == (2,)
    assert ls.threshold(np.array([]), 0.5, 5.0).shape == (0,)
    assert ls.threshold(torch.zeros(0, 3), 0.5, 5.0).shape == (0, 3)
    assert isinstance(ls.threshold(np.float32(0.9), 0.5, 5.0), np.float32)


def test_an_argument_without_a_quantity_is_refused() -> None:
    with pytest.raises(KeyError, match="unheard"):
        elementwise.elementwise()(lambda xp, unheard: unheard)


@pytest.mark.parametrize("columns", ["pandas", "polars", "pyarrow"])
def test_columns_of_tables_are_taken_as_arrays(columns: str) -> None:
    p = [0.9, 0.99, 0.999]
    library = pytest.importorskip(columns)
    column = {
        "pandas": lambda: library.Series(p),
        "polars": lambda: library.Series(p),
        "pyarrow": lambda: library.array(p),
    }
    found = ls.threshold(column[columns](), 0.5, 5.0)
    assert type(found) is np.ndarray
    np.testing.assert_array_equal(found, ls.threshold(np.array(p), 0.5, 5.0))


def test_a_column_that_is_not_of_numbers_is_refused_with_what_to_pass() -> None:
    pandas = pytest.importorskip("pandas")
    with pytest.raises(TypeError, match=r"p must be .* got dtype .*; pass floats, such as column\.to_numpy\(float\)"):
        ls.threshold(pandas.Series(["0.9"], dtype=object), 0.5, 5.0)


def test_floats_give_floats_and_arrays_give_arrays_to_a_type_checker_too() -> None:
    # `make check` reads these lines: at run time, assert_type gives back its first argument.
    assert type(assert_type(ls.threshold(0.9, 0.5, 5.0), float)) is float
    assert isinstance(assert_type(ls.threshold(np.array([0.9]), 0.5, 5.0), "np.typing.NDArray[Any]"), np.ndarray)
    assert isinstance(assert_type(ls.threshold([0.9], 0.5, 5.0), "np.typing.NDArray[Any]"), np.ndarray)
    assert isinstance(assert_type(ls.threshold(torch.tensor([0.9]), 0.5, 5.0), torch.Tensor), torch.Tensor)
    assert type(assert_type(ls.is_clip_safe(0.9, 0.5, 5.0, 1.2), bool)) is bool
    assert type(assert_type(ls.regime(0.9, 0.5, 5.0, lam=1.2), ls.bernoulli.Regime)) is ls.bernoulli.Regime


# Gradients and compilers

SMOOTH = [name for name in FUNCTIONS if name not in DISCRETE]
FINITE = slice(0, 4)  # the rows without NaN, p < b and p = b among them


@pytest.mark.slow
@pytest.mark.parametrize("name", SMOOTH)
def test_no_gradient_is_nan(name: str) -> None:
    arrays = [np.concatenate([array[FINITE], array[6:]]) for array in arguments(name)]
    leaves = [torch.tensor(array, requires_grad=True) for array in arrays]
    result = FUNCTIONS[name](*leaves)
    result.backward(torch.ones_like(result))
    assert all(torch.isfinite(leaf.grad).all() for leaf in leaves if leaf.grad is not None)
    places = tuple(range(len(arrays)))
    gradients = jax.grad(lambda *values: FUNCTIONS[name](*values).sum(), argnums=places)(*map(jnp.asarray, arrays))
    assert all(bool(jnp.isfinite(gradient).all()) for gradient in gradients)
    for leaf, gradient in zip(leaves, gradients, strict=True):
        found = np.zeros(len(arrays[0])) if leaf.grad is None else leaf.grad.numpy()
        np.testing.assert_allclose(gradient, found, rtol=2e-3, atol=1e-5)


def test_gradients_of_the_threshold_are_its_sensitivity() -> None:
    leaves = [torch.tensor(array[FINITE], requires_grad=True) for array in arguments("threshold")]
    result = ls.threshold(*leaves)
    result.backward(torch.ones_like(result))  # type: ignore[no-untyped-call]
    for leaf, slope in zip(leaves, ls.bernoulli.sensitivity(*(leaf.detach() for leaf in leaves)), strict=True):
        torch.testing.assert_close(leaf.grad, slope, rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", ["fixed_point", "tail_ratio"])
def test_gradients_are_right_where_teacher_and_base_agree(name: str) -> None:
    p = torch.tensor([0.3, 0.8], dtype=torch.float64, requires_grad=True)
    b = torch.tensor([0.3, 0.8], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p, b: FUNCTIONS[name](p, b, 1.5), (p, b))


QUICK = {"threshold", "regime", "stationary_student", "teacher_for"}
"""One formula, one name for each value, one with cases, and one that is solved for: the others compile in the night."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.nightly) for name in FUNCTIONS]
)
def test_compilers_keep_the_values(name: str) -> None:
    function, arrays = FUNCTIONS[name], arguments(name)
    expected = to_numpy(function(*arrays))
    tensors = [torch.tensor(array) for array in arrays]
    compiled = torch.compile(function, fullgraph=True, backend="eager")
    np.testing.assert_allclose(to_numpy(compiled(*tensors)), expected, rtol=1e-12)
    np.testing.assert_allclose(to_numpy(torch.func.vmap(function)(*tensors)), expected, rtol=1e-12)
    singles = [jnp.asarray(array) for array in arrays]
    for transformed in (jax.jit(function), jax.vmap(function), jax.jit(jax.vmap(function))):
        np.testing.assert_allclose(to_numpy(transformed(*singles)), to_numpy(function(*singles)), rtol=1e-4)


def test_traced_values_are_not_checked() -> None:
    assert jax.jit(ls.threshold)(1.5, 0.5, 5.0).shape == ()

    def at_half(p: Any) -> Any:
        return ls.threshold(p, 0.5, 5.0)

    compiled = torch.compile(at_half, fullgraph=True, backend="eager")
    assert compiled(torch.tensor([1.5, 0.9])).shape == (2,)


def test_device_of_the_arrays_is_kept() -> None:
    assert ls.threshold(torch.empty(3, device="meta"), 0.5, 5.0).device.type == "meta"


# Numbers that a narrow dtype cannot hold


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_number_that_the_dtype_would_make_infinite_is_refused(library: str) -> None:
    p = LIBRARIES[library].make(np.array([0.9], dtype=np.float32))
    text = r"^c must lie in \[1, inf\], got 1e\+39, but .* ends at 3\.40282e\+38; pass float64 arrays, or inf$"
    with pytest.raises(ValueError, match=text):
        ls.threshold(p, 0.5, 1e39)
    with pytest.raises(ValueError, match=r"^lam must lie in \(-inf, inf\), got -1e\+39, but .*; pass float64 arrays$"):
        ls.fixed_point(p, 0.5, -1e39)
    assert math.isinf(float(ls.threshold(p, 0.5, math.inf)[0]))
    assert math.isfinite(float(ls.threshold(p, 0.5, 3e38)[0]))
    assert math.isnan(float(ls.threshold(p, 0.5, math.nan)[0]))


def test_a_number_that_float64_holds_is_taken() -> None:
    expected = ls.threshold(0.9, 0.5, 1e39)
    assert ls.threshold(np.array([0.9]), 0.5, 1e39)[0] == pytest.approx(expected, rel=1e-14)
    assert ls.threshold(np.array([0.9]), np.float32(0.5), np.array([1e39]))[0] == pytest.approx(expected, rel=1e-14)
