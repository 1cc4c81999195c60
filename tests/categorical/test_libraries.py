"""Every kernel of K tokens runs in every array library. The engine around them is tested in ``_core``."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from lambda_star import categorical
from tests.categorical.cases import ALL, BASE, MASKED, MASKED_BASE, TEACHER, parts
from tests.libraries import LIBRARIES
from tests.night import thinned
from tests.strategies import Pair

CASES = [
    (name, library, dtype)
    for name in ALL
    for library, one in LIBRARIES.items()
    for dtype in one.dtypes
    if (name, library) != ("classes", "jax")  # every size of a class is compiled anew
]


def check_library(name: str, library: str, dtype: str, pair: Pair) -> None:
    one = LIBRARIES[library]
    rows = [array.astype(dtype) for array in pair]
    found, expected = parts(ALL[name](*map(one.make, rows))), parts(ALL[name](*(row.astype(float) for row in rows)))
    for key, array in found.items():
        assert isinstance(array, one.kind), key
        exact = np.asarray(expected[key])
        assert tuple(array.shape) == exact.shape
        if exact.dtype.kind == "f":
            assert dtype in str(array.dtype)
        if key == "steps":
            continue
        rtol = 1e-12 if dtype == "float64" else 3e-5
        value, exact = np.asarray(array).astype(float), exact.astype(float)
        np.testing.assert_allclose(value, exact, rtol=rtol, atol=rtol / 10, err_msg=key)


@pytest.mark.parametrize(("name", "library", "dtype"), [case for case in CASES if case[1] != "jax"])
def test_same_kind_dtype_and_values_in_every_library(name: str, library: str, dtype: str) -> None:
    check_library(name, library, dtype, (TEACHER, BASE))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "library", "dtype"), thinned(CASES, 7))
def test_masked_tokens_and_unknown_rows_in_every_library(name: str, library: str, dtype: str) -> None:
    teacher = MASKED.copy()
    teacher[3, 1] = math.nan
    check_library(name, library, dtype, (teacher, MASKED_BASE))


@pytest.mark.slow
@pytest.mark.parametrize("library", LIBRARIES)
def test_numbers_per_position_come_as_lists_or_arrays_of_the_library(library: str) -> None:
    one = LIBRARIES[library]
    c = np.array([1.5, 2.0, 3.0, 4.0, 5.0, 9.0], dtype=np.float32)
    rows = (one.make(TEACHER.astype(np.float32)), one.make(BASE.astype(np.float32)))
    expected: Any = categorical.threshold(TEACHER, BASE, c).value
    for clip in (one.make(c), [float(value) for value in c]):
        np.testing.assert_allclose(np.asarray(categorical.threshold(*rows, clip).value), expected, rtol=3e-5)
    labels = one.make(np.array([0, 1, 1, 2, 2]))
    found = categorical.threshold(*rows, 2.0, classes=labels, mode="bernoulli").value
    expected = categorical.threshold(TEACHER, BASE, 2.0, classes=[0, 1, 1, 2, 2], mode="bernoulli").value
    np.testing.assert_allclose(np.asarray(found), expected, rtol=3e-5)


def test_brain_floats_are_read_and_single_precision_returned() -> None:
    rows = (torch.tensor(TEACHER, dtype=torch.bfloat16), torch.tensor(BASE, dtype=torch.bfloat16))
    for function in ALL.values():
        found = parts(function(*rows))
        assert not {torch.bfloat16, torch.float64} & {array.dtype for array in found.values()}
    single = categorical.threshold(*rows, 2.0).value
    double = categorical.threshold(rows[0].double(), rows[1].double(), 2.0).value
    torch.testing.assert_close(single.double(), double, rtol=1e-5, atol=0)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("unknown", thinned([True, False], 2))
def test_masked_tokens_and_unknown_rows_of_a_whole_vocabulary(library: str, unknown: bool) -> None:
    """JAX drops NaN from the extremes of rows of thousands of tokens, and so did every check that rests on them."""
    rng = np.random.default_rng(0)
    log_t = 2.5 * rng.standard_normal((2, 60_000))
    log_b = log_t + 0.7 * rng.standard_normal(log_t.shape)
    masked = rng.random(log_t.shape) < 0.5
    log_t[masked] = log_b[masked] = -math.inf
    if unknown:
        log_b[1, ~masked[1]] = math.nan
    one = LIBRARIES[library]
    rows = [one.make(row.astype(np.float32)) for row in (log_t, log_b)]
    students: tuple[Callable[..., Any], ...] = (
        categorical.fixed_point,
        lambda *both: categorical.stationary_student(both[0], both[1], 1.5, both[2]),
    )
    for student in students:
        found, exact = np.exp(np.asarray(student(*rows, 1.4))), np.exp(student(log_t, log_b, 1.4))
        np.testing.assert_allclose(found, exact, rtol=1e-4, atol=1e-6)  # a sliding token has what the others leave of 1
        assert np.isnan(exact).any() == unknown
