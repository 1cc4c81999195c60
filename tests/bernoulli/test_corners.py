"""The corners of one position: no clip, NaN, subnormal probabilities, p within a rounding of b, and huge λ."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st

import lambda_star as ls
from lambda_star import bernoulli
from tests import oracle
from tests.strategies import hostile_clips, hostile_lams, hostile_pairs, hostile_probabilities, margins

EPS, LEAST = 2.0**-52, 5e-324
CONTEXT = oracle.CONTEXT

FUNCTIONS: dict[str, Callable[..., Any]] = {
    name: getattr(bernoulli, name) for name in bernoulli.__all__ if inspect.isfunction(getattr(bernoulli, name))
}
INVERSES = {"base_for", "teacher_for"}  # they need a finite clip, and λ > 1
ORDINARY = {"p": 0.9, "b": 0.5, "c": 2.0, "lam": 1.2, "x": 3.0, "y": 0.5, "margin": 0.25}
WITH_CLIP = [name for name in FUNCTIONS if "c" in inspect.signature(FUNCTIONS[name]).parameters]
SMOOTH = [name for name in WITH_CLIP if name not in INVERSES | {"is_clip_safe", "regime", "sensitivity"}]


def arguments_of(name: str) -> list[str]:
    return list(inspect.signature(FUNCTIONS[name]).parameters)


# Arrays of corners

ENDS, FAR = [1e-300, 0.3, 0.5, 0.9, 1 - 1e-12], [-700.0, 0.0, 3.0, 700.0]
SIDE_BY_SIDE = {"p": ENDS, "b": ENDS, "x": FAR, "y": FAR, "margin": [0.0, 0.25]}
SIDE_BY_SIDE |= {"c": [1.0, 2.0, 1e300, math.inf], "lam": [-3.0, 1.0, 1.5, 6.0, 1e6]}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_stands_beside_a_point_does_not_change_it(name: str) -> None:
    values = [np.array(SIDE_BY_SIDE[argument]) for argument in arguments_of(name)]
    columns = [column.ravel() for column in np.meshgrid(*values)]
    if name in INVERSES:
        inside = (columns[1] < math.inf) & (columns[2] > 1)
        columns = [column[inside] for column in columns]
    together = np.atleast_2d(np.asarray(FUNCTIONS[name](*columns)))
    alone = [FUNCTIONS[name](*(np.array([value]) for value in point)) for point in zip(*columns, strict=True)]
    np.testing.assert_allclose(together, np.hstack([np.atleast_2d(np.asarray(one)) for one in alone]), rtol=1e-12)


# Gradients without a clip


def torch_gradients(name: str, *columns: Any, at: int | None = None) -> tuple[Any, list[Any]]:
    """The values of a function of columns, and the gradients of their sum or of one of them."""
    leaves = [torch.tensor(column, dtype=torch.float64, requires_grad=True) for column in columns]
    values = FUNCTIONS[name](*leaves)
    gradients = torch.autograd.grad(values.sum() if at is None else values[at], leaves, allow_unused=True)
    slopes = [np.zeros(leaf.shape) if g is None else g.numpy() for g, leaf in zip(gradients, leaves, strict=True)]
    return values.detach().numpy(), slopes


def jax_gradients(name: str, *columns: Any, at: int | None = None) -> list[Any]:
    def total(*values: Any) -> Any:
        found = FUNCTIONS[name](*values)
        return found.sum() if at is None else found[at]

    places = tuple(range(len(columns)))
    return [np.asarray(g) for g in jax.grad(total, argnums=places)(*(jnp.asarray(c, jnp.float32) for c in columns))]


def test_published_slopes_beside_an_infinite_clip() -> None:
    slope = 0.8313479963668875  # of the fixed point at p = .9, b = .5, λ = 1.2
    assert torch_gradients("stationary_student", 0.9, 0.5, math.inf, 1.2)[1][0] == pytest.approx(slope, rel=1e-12)
    assert jax_gradients("stationary_student", 0.9, 0.5, math.inf, 1.2)[0] == pytest.approx(slope, rel=1e-5)
    clips, slope = [2.0, math.inf], bernoulli.sensitivity(0.9, 0.5, 2.0).p
    assert slope == pytest.approx(-1.98586, rel=1e-5)
    assert torch_gradients("threshold", 0.9, 0.5, clips, at=0)[1][0] == pytest.approx(slope, rel=1e-12)
    assert jax_gradients("threshold", 0.9, 0.5, clips, at=0)[0] == pytest.approx(slope, rel=1e-5)


@pytest.mark.parametrize("name", SMOOTH)
def test_an_infinite_clip_leaves_the_gradients_of_its_neighbours_alone(name: str) -> None:
    alone = [ORDINARY[argument] for argument in arguments_of(name)]
    clip = arguments_of(name).index("c")
    both = [[value, math.inf] if place == clip else value for place, value in enumerate(alone)]
    slopes = torch_gradients(name, *alone)[1]
    found, in_jax = torch_gradients(name, *both, at=0)[1], jax_gradients(name, *both, at=0)
    for place, slope in enumerate(slopes):
        expected = [slope, 0.0] if place == clip else slope
        np.testing.assert_allclose(found[place], expected, rtol=1e-12)
        np.testing.assert_allclose(in_jax[place], expected, rtol=1e-4)


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("p", [0.9, 0.5, 0.3])
def test_gradients_without_a_clip_are_those_of_what_is_left(name: str, p: float) -> None:
    values = [p if argument == "p" else ORDINARY[argument] for argument in arguments_of(name)]
    values[arguments_of(name).index("c")] = math.inf
    found, slopes = torch_gradients(name, *values)
    if name == "stationary_student":  # without a clip it is the fixed point
        exact, (in_p, in_b, in_lam) = torch_gradients("fixed_point", p, 0.5, 1.2)
        assert (found, *slopes) == (exact, in_p, in_b, 0.0, in_lam)
    else:
        assert found == (0.0 if name == "cliff_width" and p > 0.5 else math.inf)
        assert not any(slopes)
    assert all(np.isfinite(slope) for slope in jax_gradients(name, *values))


@given(hostile_pairs(), st.one_of(hostile_clips, st.just(math.inf)), hostile_lams, margins)
def test_no_gradient_is_nan_in_the_corners(pair: tuple[float, float], c: float, lam: float, margin: float) -> None:
    p, b = pair
    assume(min(p, b) > 1e-290)  # the slope of log p overflows for a subnormal p
    values = {"p": p, "b": b, "c": c, "lam": lam, "margin": margin, "x": 700 * (2 * p - 1), "y": 700 * (2 * b - 1)}
    for name in SMOOTH:
        slopes = torch_gradients(name, *(values[argument] for argument in arguments_of(name)))[1]
        assert not any(np.isnan(slope) for slope in slopes), name


# NaN


KINDS: dict[str, Callable[[float], Any]] = {
    "float": float,
    "NumPy scalar": np.float64,
    "NumPy array": lambda value: np.array([value]),
    "torch": lambda value: torch.tensor([value], dtype=torch.float64),
    "jax": lambda value: jnp.asarray([value], jnp.float32),
}


@st.composite
def corner_arguments(draw: st.DrawFn, name: str) -> dict[str, float]:
    """Arguments of a function, in the corners of their ranges."""
    p, b = draw(hostile_pairs())
    values = {"p": p, "b": b, "c": draw(hostile_clips), "lam": draw(hostile_lams), "margin": draw(margins)}
    values |= {"x": draw(hostile_lams), "y": draw(hostile_lams)}
    if name in INVERSES:
        values["lam"] = max(abs(values["lam"]), 1 + EPS)
    elif draw(st.booleans()):
        values["c"] = math.inf
    return {argument: values[argument] for argument in arguments_of(name)}


@pytest.mark.parametrize("name", FUNCTIONS)
@given(data=st.data())
def test_nan_comes_out_where_nan_goes_in_and_nowhere_else(name: str, data: st.DataObject) -> None:
    values = data.draw(corner_arguments(name))
    place = data.draw(st.sampled_from([None, *values]))
    given_values = values | ({place: math.nan} if place else {})
    for kind, make in KINDS.items():
        if kind == "jax" and not all(in_float32(argument, value) for argument, value in values.items()):
            continue
        found = FUNCTIONS[name](*map(make, given_values.values()))
        for field in found if name == "sensitivity" else (found,):
            value = float(np.asarray(field).reshape(-1)[0])
            unknown = value == -1 if name == "regime" else math.isnan(value)
            assert unknown == (place is not None and name != "is_clip_safe"), (kind, given_values, field)
        assert name != "is_clip_safe" or place is None or not np.any(np.asarray(found))


def in_float32(argument: str, value: float) -> bool:
    """Whether a value stays inside its range when it is rounded to float32."""
    rounded = float(np.float32(value)) if abs(value) < 3e38 else value
    if argument in ("p", "b"):
        return 1e-37 < rounded < 1
    if argument == "margin":
        return rounded < 1
    return (abs(rounded) < 1e6 and (rounded > 1) == (value > 1)) or value == math.inf


@given(hostile_pairs(), hostile_lams)
@example((0.5, 0.5), 2.0)
@example((1e-20, 0.5), 2.0)
def test_floats_arrays_and_tensors_agree_in_the_corners(pair: tuple[float, float], lam: float) -> None:
    p, b = pair
    for name, values in {
        "fixed_point": (p, b, lam),
        "tail_ratio": (p, b, lam),
        "threshold": (p, b, 2.0),
        "stationary_student": (p, b, 2.0, lam),
        "regime": (p, b, math.inf, lam),
    }.items():
        expected = float(FUNCTIONS[name](*values))
        for kind in ("NumPy scalar", "NumPy array", "torch"):
            found = float(np.asarray(FUNCTIONS[name](*map(KINDS[kind], values))).reshape(-1)[0])
            assert found == pytest.approx(expected, rel=1e-12, abs=4 * LEAST, nan_ok=False), (name, kind)


# Digits


def within(found: float, exact: mpmath.mpf, rtol: float) -> bool:
    """Whether a probability has so many digits, or those that a subnormal number has."""
    return bool(abs(oracle.real(found) - exact) <= rtol * exact + oracle.real(LEAST))


def student(p: float, push: mpmath.mpf) -> mpmath.mpf:
    """The probability whose log-odds are those of p plus a push."""
    push = max(min(push, CONTEXT.mpf(10) ** 4), -(CONTEXT.mpf(10) ** 4))
    return 1 / (1 + (1 - oracle.real(p)) / oracle.real(p) * CONTEXT.exp(-push))


@given(hostile_pairs(), hostile_lams)
@example((5e-324, 0.75), 0.0)
@example((1 - 2.0**-53, 0.25), 0.0)
@example((5e-324, 2.5e-310), 0.0)
@example((0.5, 1 - 2.0**-53), 20.0)
def test_fixed_point_keeps_its_digits_at_subnormal_probabilities(pair: tuple[float, float], lam: float) -> None:
    p, b = pair
    push = oracle.push(p, b, lam)
    assert within(ls.fixed_point(p, b, lam), student(p, push), float(4 * EPS * (1 + min(abs(push), 2000))))


def test_fixed_point_at_lambda_0_is_the_base() -> None:
    for p in (5e-324, 1e-310, 1e-300, 0.5, 1 - 2.0**-53):
        for b in (0.75, 0.25, 1e-308, 1 - 2.0**-53):
            assert ls.fixed_point(p, b, 0.0) == pytest.approx(b, rel=1e-12)


above_one = st.one_of(st.floats(1.001, 5.0), st.floats(-15.0, 300.0).map(lambda k: 1 + 10.0**k))


@given(hostile_probabilities, hostile_clips, above_one)
@example(1 - 2.0**-53, 1.7e308, 1.96)
@example(1 - 2.0**-52, 2.0, 1 + 1 / 1024)
@example(5e-324, 2.0, 1e308)
def test_base_for_keeps_its_digits(p: float, c: float, lam: float) -> None:
    edge = CONTEXT.log1p((oracle.real(c) - 1) / oracle.real(p)) / (oracle.real(lam) - 1)
    digits = float(4 * EPS * (1 + min(edge, 2000)))
    assert within(bernoulli.base_for(p, c, lam), student(p, -edge), digits)


@given(hostile_probabilities, hostile_clips, above_one)
@example(5e-324, 1e300, 1.5)
@example(5e-324, 1.0, 1.5)
@example(2.5e-310, 1 + 2.0**-52, 1.5)
@example(1 - 2.0**-53, 2.0, 1e308)
def test_teacher_for_keeps_its_digits(b: float, c: float, lam: float) -> None:
    base, clip, k = oracle.real(b), oracle.real(c), oracle.real(lam) - 1
    low, high = CONTEXT.zero, CONTEXT.log1p((clip - 1) / base) / k
    for _ in range(200):
        middle = (low + high) / 2
        if k * middle < CONTEXT.log(clip + (clip - 1) * (1 - base) / base * CONTEXT.exp(-middle)):
            low = middle
        else:
            high = middle
    digits = float(8 * EPS * (1 + min(low, 2000)))
    assert within(bernoulli.teacher_for(b, c, lam), student(b, low), digits)


@given(hostile_pairs(), hostile_clips)
def test_thresholds_keep_their_digits_in_the_corners(pair: tuple[float, float], c: float) -> None:
    p, b = pair
    for name in ("threshold", "excess", "collapse_point"):
        assert oracle.ulps(FUNCTIONS[name](p, b, c), getattr(oracle, name)(p, b, c)) <= 6, name


# Huge λ without a clip


@given(hostile_pairs(), hostile_lams)
@example((0.9, 0.5), 1e308)
@example((5e-324, 2.5e-310), 1e308)
def test_without_a_clip_every_lambda_preserves(pair: tuple[float, float], lam: float) -> None:
    p, b = pair
    assert bernoulli.regime(p, b, math.inf, lam) is bernoulli.Regime.PRESERVING
    assert bernoulli.regime(np.array([p]), b, math.inf, lam)[0] == bernoulli.Regime.PRESERVING
    assert bernoulli.stationary_student(p, b, math.inf, lam) == ls.fixed_point(p, b, lam)
