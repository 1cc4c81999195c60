"""The inverses undo the threshold and have its limits."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

import lambda_star as ls
from tests import oracle
from tests.strategies import clips, moderate, open_clips, ordered, probabilities

coefficients = st.one_of(st.floats(1.001, 5.0), st.floats(-9.0, 3.0).map(lambda k: 1 + 10.0**k))


@given(probabilities, probabilities, st.floats(-3.0, 6.0))
def test_clip_needed_is_the_tail_ratio(p: float, b: float, lam: float) -> None:
    assert ls.clip_for(p, b, lam) == pytest.approx(max(1.0, ls.tail_ratio(p, b, lam)), rel=1e-13)


@given(ordered(moderate), open_clips)
def test_clip_undoes_the_threshold(pair: tuple[float, float], c: float) -> None:
    p, b = pair
    lam = ls.threshold(p, b, c)
    assume(lam < 1e6)
    slope = abs(ls.bernoulli.sensitivity(p, b, c).c)  # a rounded λ moves the clip by ulp(λ)/slope
    assert ls.clip_for(p, b, lam) == pytest.approx(c, rel=1e-11, abs=4 * np.spacing(lam) / slope)


@given(moderate, open_clips, st.floats(1.001, 5.0))
def test_base_undoes_the_threshold(p: float, c: float, lam: float) -> None:
    b = ls.base_for(p, c, lam)
    assume(b > 1e-290)
    assert 0 < b <= p
    assume(p - b > 1e-4 * p)
    assert ls.threshold(p, b, c) == pytest.approx(lam, rel=1e-9)


@given(probabilities, clips, coefficients)
def test_base_needed_in_log_odds(p: float, c: float, lam: float) -> None:
    context = oracle.CONTEXT
    edge = context.log1p((oracle.real(c) - 1) / oracle.real(p)) / (oracle.real(lam) - 1)
    exact = 1 / (1 + context.exp(edge - oracle.logit(p)))
    found = ls.base_for(p, c, lam)
    assert found == pytest.approx(float(exact), rel=float(8 * 2.0**-52 * (2 + edge)), abs=1e-307)


def exact_teacher(b: float, c: float, lam: float) -> tuple[mpmath.mpf, mpmath.mpf]:
    """The teacher and its Δ, found by bisection at 50 digits."""
    base, clip, k = oracle.real(b), oracle.real(c), oracle.real(lam) - 1
    context = oracle.CONTEXT
    low, high = context.mpf(0), context.log1p((clip - 1) / base) / k
    for _ in range(200):
        middle = (low + high) / 2
        if k * middle < context.log(clip + (clip - 1) * (1 - base) / base * context.exp(-middle)):
            low = middle
        else:
            high = middle
    return base / (base + (1 - base) * context.exp(-low)), low


@given(probabilities, clips, coefficients)
@example(5e-301, 1 + 1e-12, 1 + 1e-9)
@example(1e-10, 1 + 2.0**-52, 1.5)
@example(0.5, 5.0, 1 + 1e-9)
@example(1 - 2.0**-53, 5.0, 1.25)
def test_teacher_is_the_root(b: float, c: float, lam: float) -> None:
    exact, gap = exact_teacher(b, c, lam)
    digits = float(8 * 2.0**-52 * (4 + gap + abs(oracle.logit(b))))
    assert ls.teacher_for(b, c, lam) == pytest.approx(float(exact), rel=digits)


@given(moderate, st.floats(1.01, 20.0), st.floats(1.05, 5.0))
def test_teacher_undoes_the_threshold(b: float, c: float, lam: float) -> None:
    p = ls.teacher_for(b, c, lam)
    assume(p < 1 - 1e-9 and p - b > 1e-4 * b)
    assert ls.threshold(p, b, c) == pytest.approx(lam, rel=1e-6)
    assert ls.threshold(p + 0.01 * (1 - p), b, c) < lam < ls.threshold(p - 0.01 * (p - b), b, c)


def test_limits() -> None:
    assert ls.base_for(0.9, 1.0, 2.0) == pytest.approx(0.9, rel=1e-15)
    assert ls.teacher_for(0.9, 1.0, 2.0) == pytest.approx(0.9, rel=1e-15)
    assert ls.teacher_for(0.5, 5.0, 1 + 1e-6) == 1.0
    assert ls.base_for(0.9, 5.0, 1 + 1e-6) == 0.0
    assert ls.clip_for(0.3, 0.5, 2.0) == 1.0


@pytest.mark.parametrize("function", [ls.base_for, ls.teacher_for])
@pytest.mark.parametrize(("c", "lam", "name"), [(5.0, 1.0, "lam"), (math.inf, 1.2, "c"), (0.5, 1.2, "c")])
def test_where_there_is_nothing_to_solve(function: object, c: float, lam: float, name: str) -> None:
    assert callable(function)
    with pytest.raises(ValueError, match=rf"^{name} must lie in "):
        function(0.5, c, lam)
