"""The closed forms over their whole domain, against the same formulas at 50 digits."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mpmath
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from lambda_star import updates
from lambda_star.updates import Rule
from tests.strategies import ordered

mp = mpmath.mp.clone()
mp.dps = 50
Formula = Callable[[Any, Any, Any], Any]


def gap(p: Any, b: Any) -> Any:
    return mp.log(p / (1 - p)) - mp.log(b / (1 - b))


DEATHS: dict[str, tuple[Callable[[float], Rule], Formula]] = {
    "cap": (updates.log_ratio_cap, lambda p, b, c: 1 + mp.log(c / p) / gap(p, b)),
    "through": (
        lambda c: updates.log_ratio_cap(c, through=True),
        lambda p, b, c: 1 + (1 + mp.log(c / p)) / gap(p, b),
    ),
    "clamp": (updates.log_ratio_clamp, lambda p, b, bound: 1 + min(bound - mp.log(p), 2 * bound) / gap(p, b)),
    "least log-probability": (
        updates.log_prob_floor,
        lambda p, b, bound: max(0, 1 + (bound - mp.log(p / (1 - p))) / gap(p, b)),
    ),
    "KL to base": (updates.kl_to_base_cap, lambda p, b, c: mp.log(c / b) / gap(p, b)),
}


def clamp_edge(p: Any, bound: Any) -> Any:
    """The push at which the first of the two log-ratios reaches the bound."""
    tail, modal = (1 - p) * mp.exp(-bound), p * mp.exp(bound)
    return min(mp.log((1 - tail) / tail) - mp.log(p / (1 - p)), gap(modal, p) if modal < 1 else mp.inf)


def floor_leaves(p: Any, b: Any, bound: Any) -> Any:
    """Where the tail falls to the floor; 0 if an outcome of both base and teacher is below it."""
    edge = bound + mp.log(1 - mp.exp(-bound))
    ends = [mp.log(q / (1 - q)) for q in (p, b)]
    return (edge - ends[1]) / (ends[0] - ends[1]) if min(map(abs, ends)) <= edge else mp.mpf(0)


LEAVES: dict[str, tuple[Callable[[float], Rule], Formula]] = {
    "cap": (updates.log_ratio_cap, lambda p, b, c: 1 + mp.log((c - 1 + p) / p) / gap(p, b)),
    "least log-probability": (updates.log_prob_floor, floor_leaves),
    "clamp": (updates.log_ratio_clamp, lambda p, b, bound: 1 + clamp_edge(p, bound) / gap(p, b)),
    "KL to base": (updates.kl_to_base_cap, lambda p, b, c: mp.log(1 + (c - 1) / b) / gap(p, b)),
}


def agree(value: float, exact: Any, digits: float = 1e-13) -> bool:
    # λ−1 may be far below a float's spacing at 1, or beyond its range.
    return bool(abs(mp.mpf(value) - exact) <= digits * max(1, abs(exact))) if value < math.inf else exact > 1e300


@pytest.mark.parametrize("name", DEATHS)
@given(ordered(), st.floats(1.0, 100.0))
def test_the_tail_dies_where_the_formula_says(name: str, pair: tuple[float, float], value: float) -> None:
    rule, formula = DEATHS[name]
    p, b = pair
    assert agree(rule(value).dies(p, b), formula(mp.mpf(p), mp.mpf(b), mp.mpf(value)))


@pytest.mark.parametrize("name", LEAVES)
@given(ordered(), st.floats(1.0, 100.0))
@example((0.1, 0.05), 1.0)
@example((0.3, 0.2), 1.0)
@example((0.6, 0.5), 2.0)
@example((0.7, 0.6), 20.0)
@example((math.exp(-1.0), 0.2), 1.0)
def test_the_student_leaves_where_the_formula_says(name: str, pair: tuple[float, float], value: float) -> None:
    rule, formula = LEAVES[name]
    p, b = pair
    assert agree(rule(value).leaves(p, b), formula(mp.mpf(p), mp.mpf(b), mp.mpf(value)))


@given(ordered(), st.floats(0.01, 50.0))
def test_the_clamped_advantage_leaves_at_the_root(pair: tuple[float, float], bound: float) -> None:
    p, b = map(mp.mpf, pair)
    star = updates.advantage_clamp(bound).leaves(*pair)
    if star == math.inf:
        return
    ratio, tail = mp.log(p / b), mp.log((1 - p) / (1 - b))

    def value(lam: Any) -> Any:
        return mp.log(p * mp.exp((lam - 1) * ratio) + (1 - p) * mp.exp((lam - 1) * tail))

    slack = 1e-12 * max(1.0, star) + 1e-9 * (star - 1)
    assert value(mp.mpf(star) - slack) <= bound <= value(mp.mpf(star) + slack)


@given(*2 * [st.floats(1e-6, 1 - 1e-6)], st.floats(0.0, 20.0), st.floats(0.01, 5.0))
@example(0.98, 0.82, 2.0, 0.1)
@example(0.07, 0.71, 0.5, 0.1)
@example(0.0004, 0.9992, 5.0, 5.0)
def test_beyond_the_clamped_advantage_the_student_ends_at_the_neutral_one_nearest_to_the_base(
    p: float, b: float, lam: float, bound: float
) -> None:
    found, (p, b) = updates.advantage_clamp(bound).student(p, b, lam), map(mp.mpf, (p, b))
    modal, tail = (mp.log(one) + (lam - 1) * mp.log(one / other) for one, other in ((p, b), (1 - p, 1 - b)))
    value = mp.log(mp.exp(modal) + mp.exp(tail))
    assume(abs(value) > bound + 1e-9)
    level = bound if value > 0 else -bound
    low, high = sorted([mp.exp(modal - level), max(0, 1 - mp.exp(tail - level))])
    assert agree(found, max(low, min(high, b)), 1e-11)


@given(ordered())
def test_one_token_alone_dies_where_the_formula_says(pair: tuple[float, float]) -> None:
    p, b = map(mp.mpf, pair)
    if b >= 0.5:
        exact = 1 + mp.log(1 / p) / mp.log(p / b)
        assert agree(updates.top_k(1).dies(*pair), exact)
        assert agree(updates.top_k(1, through=True).dies(*pair), exact + 1 / mp.log(p / b))


small = st.floats(-300.0, -0.31).map(lambda exponent: 10.0**exponent)


@given(small, st.floats(1.0, 1e6), st.floats(0.01, 0.99))
def test_a_modal_token_that_loses_keeps_its_digits_beside_a_cap_that_is_differentiated_through(
    p: float, c: float, past: float
) -> None:
    edge = math.log((c - p) / (1 - p))  # the push at which the cap is reached; the student stays there for one nat
    lam = 1 + (edge + past) / float(-gap(mp.mpf(p), mp.mpf(0.5)))
    q = updates.log_ratio_cap(c, through=True).student(p, 0.5, lam)
    assert abs(q - mp.mpf(p) / c) <= 4 * 2.0**-52 * mp.mpf(p) / c


@given(small, st.floats(0.01, 0.99))
@pytest.mark.parametrize("rule", [updates.top_k(1), updates.truncated_sampling(top_p=0.95)], ids=str)
def test_at_lambda_0_a_student_of_a_set_is_the_base(rule: Rule, b: float, p: float) -> None:
    assert rule.student(p, b, 0.0) == pytest.approx(b, rel=1e-15)
