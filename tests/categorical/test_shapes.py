"""How functions of K tokens take rows: shapes, numbers per position, dtypes, NaN; ``_core`` tests the engine itself."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_star import categorical
from lambda_star.categorical import Threshold
from lambda_star.categorical._rows import prepare
from tests.categorical.cases import (
    ALL,
    BASE,
    MASKED,
    MASKED_BASE,
    MODES,
    OF_ROWS,
    OF_TOKENS,
    RNG,
    TEACHER,
    log,
    parts,
    pick,
    same,
)


@pytest.mark.parametrize("name", ALL)
def test_every_function_passes_axis_leading_shape_and_dtype_on(name: str) -> None:
    grids = [rows.reshape(2, 3, 5).astype(np.float32) for rows in (TEACHER, BASE)]
    found = ALL[name](*(np.moveaxis(grid, -1, 1) for grid in grids), axis=1)
    single = [ALL[name](TEACHER[k].astype(np.float32), BASE[k].astype(np.float32)) for k in range(6)]
    for key, array in parts(found).items():
        one = np.moveaxis(array, 1, -1) if name in OF_TOKENS else array
        expected = np.stack([parts(row)[key] for row in single])
        assert one.dtype == expected.dtype != np.float64
        assert one.shape[:2] == (2, 3)
        if key != "steps":
            np.testing.assert_allclose(one.reshape(expected.shape), expected, rtol=1e-6, atol=1e-6, err_msg=key)


@pytest.mark.parametrize("name", ALL)
def test_a_row_alone_gives_what_it_gives_among_others(name: str) -> None:
    """Rows with masked tokens and equal rows decide which branches a whole block takes."""
    rng = np.random.default_rng(3)
    teacher, base = (rng.normal(size=(12, 5)) * 2 for _ in range(2))
    teacher[::7, 3] = base[::7, 3] = -math.inf
    teacher[5], base[5] = 0.0, 0.0
    found = ALL[name](teacher, base)
    for index, rows in enumerate(zip(teacher, base, strict=True)):
        same(pick(found, index), ALL[name](*rows), skip=("steps", "upper"))


def test_every_position_may_have_its_own_numbers() -> None:
    c, min_mass, lam = np.array([1.5, 2, 3, 4, 5, math.inf]), np.array([0, 0.1, 0, 0.2, 0.05, 0]), np.linspace(-1, 4, 6)
    found: dict[str, Any] = {
        "threshold": categorical.threshold(TEACHER, BASE, c, min_mass=min_mass),
        "class": categorical.threshold(TEACHER, BASE, c, min_mass=min_mass, mode="class"),
        "bernoulli": categorical.threshold(TEACHER, BASE, c, min_mass=min_mass, mode="bernoulli"),
        "fixed_point": categorical.fixed_point(TEACHER, BASE, lam),
        "ratio": categorical.ratio(TEACHER, BASE, lam),
        "renyi": categorical.renyi(TEACHER, BASE, c[:1]),
        "stationary_student": categorical.stationary_student(TEACHER, BASE, c, lam),
        "with_unlisted": categorical.with_unlisted(TEACHER - 9, BASE - 9, -min_mass, lam + 1),
    }
    for index in range(5):
        t, b, f = TEACHER[index], BASE[index], min_mass[index]
        for name, mode in (("threshold", "token"), ("class", "class"), ("bernoulli", "bernoulli")):
            single = categorical.threshold(t, b, c[index], min_mass=f, mode=mode)  # type: ignore[arg-type]
            same(pick(found[name], index), single, skip=("steps", "upper"))
        same(pick(found["fixed_point"], index), categorical.fixed_point(t, b, lam[index]))
        same(pick(found["ratio"], index), categorical.ratio(t, b, lam[index]))
        same(pick(found["renyi"], index), categorical.renyi(t, b, c[0]))
        same(pick(found["stationary_student"], index), categorical.stationary_student(t, b, c[index], lam[index]))
        same(pick(found["with_unlisted"], index), categorical.with_unlisted(t - 9, b - 9, -f, lam[index] + 1))


def test_modal_tokens_come_one_for_all_or_one_per_position() -> None:
    rows = (np.tile(TEACHER[0], (3, 1)), np.tile(BASE[0], (3, 1)))
    found = categorical.threshold(*rows, 2.0, modal=[0, 3, 1], mode="bernoulli")
    np.testing.assert_array_equal(found.modal, [0, 3, 1])
    for place, modal in enumerate((0, 3, 1)):
        same(pick(found, place), categorical.threshold(TEACHER[0], BASE[0], 2.0, modal=modal, mode="bernoulli"))
    mixed = categorical.threshold(TEACHER[0], BASE[0], 2.0, modal=np.array([0, 3, 1]), mode="bernoulli")
    same(mixed, found)


@given(st.integers(0, 2**32 - 1), st.sampled_from((1e-6, 1e-3, 1.0, 5.0)), st.sampled_from((1.001, 1.1, 2.0, 5.0, 1e3)))
def test_single_precision_is_as_good_as_its_digits(seed: int, scale: float, c: float) -> None:
    rng = np.random.default_rng(seed)
    teacher = rng.normal(size=(20, int(rng.integers(2, 40)))).astype(np.float32) * 3
    base = (teacher - scale * rng.normal(size=teacher.shape)).astype(np.float32)
    ways: tuple[dict[str, Any], ...] = ({}, {"min_mass": 0.01}, {"mode": "class"}, {"mode": "bernoulli"})
    for options in ways:
        found = categorical.threshold(teacher, base, c, **options)
        exact = categorical.threshold(teacher.astype(float), base.astype(float), c, **options)
        np.testing.assert_array_equal(found.binding, exact.binding)
        for name in ("value", "lower", "flip"):
            one, other = getattr(found, name), getattr(exact, name)
            assert one.dtype == np.float32
            finite = np.isfinite(other)
            np.testing.assert_array_equal(one[~finite], other[~finite])
            allowed = 1e-5 * (other[finite] - 1) + 2.0**-23 * other[finite]  # a float32 near 1 holds 1 + x, not x
            assert np.all(np.abs(one[finite] - other[finite]) <= allowed), (name, options)


@pytest.mark.parametrize(("scale", "c"), [(1e-5, 2.0), (3.0, 1.001)])
def test_rows_too_delicate_for_single_precision_are_computed_in_double(scale: float, c: float) -> None:
    teacher = (RNG.normal(size=(50, 9)) * 3).astype(np.float32)
    base = (teacher - scale * RNG.normal(size=teacher.shape)).astype(np.float32)
    found, exact = (categorical.threshold(teacher.astype(kind), base.astype(kind), c) for kind in (np.float32, float))
    np.testing.assert_array_equal(found.value, exact.value.astype(np.float32))
    np.testing.assert_array_equal(found.steps, exact.steps)


def test_ordinary_rows_in_single_precision_stay_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def spy(xp: Any, log_t: Any, *arguments: Any) -> Any:
        seen.append(log_t.dtype)
        return prepare(xp, log_t, *arguments)

    monkeypatch.setattr("lambda_star.categorical._threshold.prepare", spy)
    categorical.threshold(TEACHER.astype(np.float32), BASE.astype(np.float32), 5.0)
    assert seen == [np.float32]


@pytest.mark.parametrize("name", ALL)
def test_a_row_with_nan_is_unknown_and_spoils_no_other(name: str) -> None:
    for place, rows in ((0, MASKED), (1, MASKED_BASE)):
        pair = [MASKED.copy(), MASKED_BASE.copy()]
        pair[place][2, 3] = math.nan
        found, expected = ALL[name](*pair), ALL[name](MASKED, MASKED_BASE)
        others = np.arange(len(rows)) != 2
        same(pick(found, others), pick(expected, others))
        row = pick(found, 2)
        if isinstance(row, Threshold):
            assert all(math.isnan(getattr(row, field)) for field in ("value", "lower", "upper", "flip"))
            assert (row.binding, row.flips_to, bool(row.converged)) == (-1, -1, False)
        elif name != "with_unlisted":
            assert np.all(np.isnan(row))
        else:
            assert np.all(np.isnan(row[place][5:]))


@pytest.mark.parametrize("name", list(OF_ROWS))
def test_a_row_with_nan_is_not_looked_at_any_further(name: str) -> None:
    for teacher, base in (
        ([0.0, math.nan, -1.0, 0.0, 0.0], [0.0, 0.0, -math.inf, 0.0, 0.0]),
        ([0.0, -math.inf, 0.0, 0.0, 0.0], [0.0, -1.0, math.nan, 0.0, 0.0]),
        ([-math.inf] * 5, [math.nan] * 5),
    ):
        found = OF_ROWS[name](np.array(teacher), np.array(base))
        assert math.isnan(found.value if isinstance(found, Threshold) else found)


@pytest.mark.parametrize("mode", MODES)
def test_a_clip_that_is_nan_gives_nan(mode: Any) -> None:
    found = categorical.threshold(TEACHER, BASE, [2.0, math.nan, 2.0, 2.0, 2.0, 2.0], mode=mode)
    assert math.isnan(found.value[1])
    assert not found.converged[1]
    same(pick(found, 0), categorical.threshold(TEACHER[0], BASE[0], 2.0, mode=mode))


def test_a_row_does_not_depend_on_the_rows_beside_it() -> None:
    # In the last row the modal token binds, and the mean log-ratio is below its own: Jensen's bound does not exist.
    teacher = np.vstack([TEACHER, log(0.96, 0.01, 0.01, 0.01, 0.01)])
    base = np.vstack([BASE, teacher[6] - [0.0, 2.0, -60.0, -60.0, -60.0]])
    alone, together = OF_ROWS["min_mass"](TEACHER, BASE), OF_ROWS["min_mass"](teacher, base)
    assert (together.binding[6], together.value[6] < math.inf) == (0, True)
    same(pick(together, slice(0, 6)), alone)
