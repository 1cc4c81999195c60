"""NumPy, PyTorch, JAX and array-api-strict give the same float64 numbers on one grid, in threads and in forks too.

Two libraries round the same formula differently, and their logarithms and exponentials differ: those of JAX 0.10 are
off by up to 3.4 units in the last place (`expm1`), those of NumPy and PyTorch by up to 1. A result may therefore
differ by as much as four units of its own, each with what one unit of an argument moves it by.
"""

from __future__ import annotations

import inspect
import math
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lambda_star import bernoulli, updates
from tests.categorical.cases import ALL, MASKED, MASKED_BASE, parts
from tests.strategies import Floats
from tests.updates.rules import EXAMPLES, first_lambda

UNITS = 4
STEP = 2.0**12
"""How many units an argument is moved by, so that what is seen is the function and not its rounding."""

NEAR = 1 - 1e-9
GRID = np.array([*product([1e-9, 0.3, 0.5, 0.9, NEAR], [1e-6, 0.3, 0.9 * NEAR, 0.999], [1.0, 1 / NEAR, 1.5, 100.0])])
P, B, C = np.repeat(GRID, 4, axis=0).T
LAM = np.tile([0.0, 1.0, 1.2, 2.5], len(GRID))
COLUMNS = {"p": P, "b": B, "c": C, "lam": LAM, "margin": LAM / 3, "x": np.log(P / (1 - P)), "y": np.log(B / (1 - B))}
ABOVE_ONE = np.where(LAM > 1, LAM, 1.5)
Case = tuple[Callable[..., Any], list[Floats]]
Make = Callable[[Floats], Any]


def of_bernoulli(name: str) -> Case:
    function = getattr(bernoulli, name)
    columns = {**COLUMNS, "lam": ABOVE_ONE} if name in {"base_for", "teacher_for"} else COLUMNS
    return function, [columns[argument] for argument in inspect.signature(function).parameters]


def of_row(name: str, *columns: Any) -> Any:
    """A function of rows as one of their columns; log-probabilities as probabilities."""
    import array_api_compat

    xp = array_api_compat.array_namespace(*columns)
    found = parts(ALL[name](xp.stack(columns[:5], axis=-1), xp.stack(columns[5:], axis=-1)))
    found = {key: np.asarray(value) for key, value in found.items() if key != "steps"}
    logs = name in {"fixed_point", "stationary_student", "with_unlisted"}
    return tuple(np.exp(value) if logs else value for value in found.values())


CASES: dict[str, Case] = {
    name: of_bernoulli(name) for name in bernoulli.__all__ if inspect.isfunction(getattr(bernoulli, name))
}
CASES |= {f"{rule}.{name}": (getattr(rule, name), [P, B]) for rule in EXAMPLES for name in ("leaves", "dies")}
CASES |= {f"{rule}.equivalent_clip": (rule.equivalent_clip, [P, B]) for rule in EXAMPLES}
CASES |= {f"{rule}.student": (rule.student, [P, B, np.maximum(LAM, first_lambda(rule))]) for rule in EXAMPLES}
CASES |= {
    f"capacity, {centred}": (partial(updates.capacity, centred=centred), [P, B, np.maximum(LAM, 1), C])
    for centred in (False, True)
}
ROWS = [*MASKED.T, *MASKED_BASE.T]
CASES |= {f"categorical, {name}": (partial(of_row, name), ROWS) for name in ALL}


def fields(found: Any) -> list[Floats]:
    return [np.asarray(value, np.float64) for value in (found if isinstance(found, tuple) else (found,))]


def units(case: Case) -> tuple[list[Floats], list[Floats]]:
    """The results of NumPy, and one unit of each: its last place, and what one of an argument moves it by."""
    function, columns = case
    found = fields(function(*columns))
    moves = [np.zeros(value.shape) for value in found]
    for place, column in enumerate(columns):
        for sign in (-1, 1):
            moved = column * (1 + sign * STEP * 2.0**-52)
            lost = ((moved >= 1) != (column >= 1)) | ((moved > 1) != (column > 1)) | np.isinf(column)
            changed = fields(function(*columns[:place], np.where(lost, column, moved), *columns[place + 1 :]))
            with np.errstate(invalid="ignore"):
                sizes = [np.nan_to_num(abs(new - old)) / STEP for new, old in zip(changed, found, strict=True)]
            moves = [np.maximum(*pair) for pair in zip(moves, sizes, strict=True)]
    with np.errstate(invalid="ignore"):
        return found, [np.spacing(abs(value)) + move for value, move in zip(found, moves, strict=True)]


def worst(found: Any, expected: Sequence[Floats], unit: Sequence[Floats]) -> float:
    """By how many units a result is off at most; infinitely many where one of two is NaN or infinite."""
    off = 0.0
    for value, exact, one in zip(fields(found), expected, unit, strict=True):
        assert value.shape == exact.shape
        same = (value == exact) | (np.isnan(value) & np.isnan(exact))
        with np.errstate(invalid="ignore"):
            distance = np.where(same, 0.0, np.nan_to_num(abs(value - exact) / one, nan=math.inf))
        off = max(off, float(distance.max()))
    return off


def makers() -> dict[str, Make]:
    import array_api_strict
    import torch

    return {"torch": torch.from_numpy, "strict": array_api_strict.asarray}


@pytest.mark.parametrize("name", CASES)
def test_torch_and_strict_arrays_agree_with_numpy(name: str) -> None:
    function, columns = CASES[name]
    expected, unit = units(CASES[name])
    for library, make in makers().items():
        assert worst(function(*map(make, columns)), expected, unit) <= UNITS, library


COMPILED = [
    pytest.param(name, marks=[] if name in bernoulli.__all__ else [pytest.mark.nightly])  # it compiles for long
    for name in CASES
    if name != "categorical, classes"  # every size of a class is compiled anew
]


@pytest.mark.parametrize("name", COMPILED)
def test_jax_agrees_with_numpy(name: str) -> None:
    import jax
    import jax.numpy as jnp

    function, columns = CASES[name]
    with (jax if hasattr(jax, "enable_x64") else jax.experimental).enable_x64(True):
        assert worst(function(*map(jnp.asarray, columns)), *units(CASES[name])) <= UNITS


def everything(make: Make) -> list[bytes]:
    """The bits of every result in one library, a block that is computed in threads among them."""
    many = [np.resize(column, 600_000) for column in (P, B, C)]
    found = [function(*map(make, columns)) for function, columns in CASES.values()]
    return [value.tobytes() for one in [*found, bernoulli.threshold(*map(make, many))] for value in fields(one)]


def in_fork(make: Make) -> bytes:
    """A digest of every result, from a child of this process."""
    from hashlib import sha256

    ends, answer = os.pipe()
    if not (child := os.fork()):
        try:
            os.write(answer, sha256(b"".join(everything(make))).digest())
        finally:
            os._exit(0)
    os.close(answer)
    with os.fdopen(ends, "rb") as file:
        said = file.read()
    os.waitpid(child, 0)
    return said


def check_processes(library: str) -> None:
    """Compare threads and a fork with one thread."""
    from hashlib import sha256

    make: Make = np.asarray if library == "NumPy" else makers()[library]
    alone = everything(make)
    with ThreadPoolExecutor(2) as pool:
        assert all(found == alone for found in pool.map(everything, [make] * 2))
    assert in_fork(make) == sha256(b"".join(alone)).digest()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("library", ["NumPy", pytest.param("torch", marks=pytest.mark.nightly)])
def test_threads_and_forks_give_the_same_bits(library: str) -> None:
    """JAX lets no process fork, and strict arrays are those of NumPy."""
    code = f"from tests.test_arrays import check_processes; check_processes({library!r})"
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
