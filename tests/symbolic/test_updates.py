"""The derived laws of the update rules agree with forces written here, followed by bisection, and with the code."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

import mpmath
import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

from lambda_star import updates
from lambda_star.symbolic.pages import derivations
from lambda_star.symbolic.prose import read
from tests.night import thinned
from tests.symbolic.test_symbolic import at, not_shown_otherwise

DERIVATIONS = {name: one for name, one in derivations().items() if one.module == "updates"}
FAR = mpmath.mpf(10) ** 6
"""Log-odds that stand for q = 1: the tail is then too small for any number of digits used here."""

METHODS = ("leaves", "dies", "student", "equivalent_clip")
Forces = tuple[Any, Any]


class Outcomes(NamedTuple):
    """The logarithms that forces are made of, each for modal token and tail, at one student."""

    log_q: Forces
    log_t: Forces
    log_b: Forces
    lam: Any

    @property
    def ratio(self) -> Forces:
        """log(π_T/π)."""
        return self.log_t[0] - self.log_q[0], self.log_t[1] - self.log_q[1]

    @property
    def push(self) -> Forces:
        """(λ−1)·log(π_T/π_B)."""
        modal, tail = (t - b for t, b in zip(self.log_t, self.log_b, strict=True))
        return (self.lam - 1) * modal, (self.lam - 1) * tail

    @property
    def advantage(self) -> Forces:
        """Without any bound."""
        return self.ratio[0] + self.push[0], self.ratio[1] + self.push[1]

    @property
    def modal_leads(self) -> bool:
        """Whether the student holds the modal token more probable than the tail."""
        return bool(self.log_q[0] > self.log_q[1])

    def centred(self) -> Forces:
        """The advantage less its mean under the student."""
        mean = sum(mpmath.exp(log_q) * a for log_q, a in zip(self.log_q, self.advantage, strict=True))
        return self.advantage[0] - mean, self.advantage[1] - mean


def clamp(value: Any, bound: Any) -> Any:
    return max(-bound, min(bound, value))


def each(function: Callable[..., Any], *pairs: Forces) -> Forces:
    """A function of each outcome's numbers."""
    modal, tail = (function(*values) for values in zip(*pairs, strict=True))
    return modal, tail


def capped(o: Outcomes, c: Any, *, cost: int) -> Forces:
    limit = mpmath.log(c)
    return each(lambda x, push: min(x, limit) - (cost if x < limit else 0) + push, o.ratio, o.push)


def extrapolated_clamp(o: Outcomes, bound: Any) -> Forces:
    total = mpmath.log(sum(mpmath.exp(t + push) for t, push in zip(o.log_t, o.push, strict=True)))
    return each(lambda t, push, q: clamp(t + push - total - q, bound), o.log_t, o.push, o.log_q)


def top_one(o: Outcomes, cost: int) -> Forces:
    modal, tail = o.advantage
    return (modal - cost, mpmath.mpf(0)) if o.modal_leads else (mpmath.mpf(0), tail - cost)


def nucleus(o: Outcomes, share: Any) -> Forces:
    modal, tail = o.advantage
    return (modal, mpmath.mpf(0)) if o.log_q[0] >= mpmath.log(share) else (modal, tail)


def weighted(o: Outcomes, c: Any, advantages: Forces) -> Forces:
    return each(lambda x, a: min(c, mpmath.exp(x)) * a, o.ratio, advantages)


class Case(NamedTuple):
    """A rule as forces, as a derivation and as a value."""

    derivation: str
    force: Callable[[Outcomes, Any], Forces]
    rule: Callable[[float], updates.Rule]
    symbol: str
    bounds: tuple[str, ...]
    places: tuple[tuple[str, str], ...] = (("0.999", "0.5"), ("0.9", "0.5"), ("0.6", "0.2"), ("0.3", "0.1"))


LEADING = (("0.999", "0.5"), ("0.9", "0.5"), ("0.6", "0.2"))
CASES = {
    "none": Case("none", lambda o, _: o.advantage, lambda _: updates.none(), "c", ("5",)),
    "cap": Case("log_ratio_cap", lambda o, c: capped(o, c, cost=0), updates.log_ratio_cap, "c", ("1.2", "5")),
    "cap, through": Case(
        "log_ratio_cap_through",
        lambda o, c: capped(o, c, cost=1),
        lambda c: updates.log_ratio_cap(c, through=True),
        "c",
        ("1.2", "5"),
    ),
    "clamp": Case(
        "log_ratio_clamp",
        lambda o, bound: each(lambda x, push: clamp(x, bound) + push, o.ratio, o.push),
        updates.log_ratio_clamp,
        "C",
        ("0.5", "1", "5"),
        (*LEADING, ("0.3", "0.1"), ("0.25", "0.1")),
    ),
    "lower bound": Case(
        "log_prob_floor",
        lambda o, bound: each(lambda t, q, push: t - max(q, -bound) + push, o.log_t, o.log_q, o.push),
        updates.log_prob_floor,
        "L",
        ("1.5", "8"),
    ),
    "KL": Case(
        "kl_to_base_cap",
        lambda o, c: each(lambda t, b, q: o.lam * (t - b) + min(b - q, mpmath.log(c)), o.log_t, o.log_b, o.log_q),
        updates.kl_to_base_cap,
        "c",
        ("1.2", "5", "2000"),
    ),
    "top-1": Case("top_k", lambda o, _: top_one(o, 0), lambda _: updates.top_k(1), "c", ("5",), LEADING),
    "top-1, through": Case(
        "top_k_through",
        lambda o, _: top_one(o, 1),
        lambda _: updates.top_k(1, through=True),
        "c",
        ("5",),
        LEADING,
    ),
    "advantage": Case(
        "advantage_clamp",
        lambda o, bound: each(lambda a: clamp(a, bound), o.advantage),
        updates.advantage_clamp,
        "C",
        ("0.1", "1"),
    ),
    "reward": Case(
        "reward_clip",
        lambda o, bound: each(lambda x, t, b: x + (o.lam - 1) * clamp(t - b, bound), o.ratio, o.log_t, o.log_b),
        updates.reward_clip,
        "R",
        ("0.3", "2", "50"),
    ),
    "importance": Case("importance_weight", lambda o, _: o.centred(), updates.importance_weight, "c", ("5",)),
    "PPO": Case("ppo", lambda o, _: o.centred(), lambda _: updates.ppo(), "c", ("5",)),
    "teacher": Case(
        "teacher_weight",
        lambda o, c: weighted(o, c, o.advantage),
        lambda c: updates.teacher_weight(c, centred=False),
        "c",
        ("1.2", "5"),
    ),
}
SETTINGS = [(name, bound, place) for name, case in CASES.items() for bound in case.bounds for place in case.places]
EXACT: dict[str, tuple[Callable[[Outcomes, Any], Forces], Callable[[float], updates.Rule]]] = {
    "centred weight": (lambda o, c: weighted(o, c, o.centred()), updates.teacher_weight),
    "centred clamp": (
        lambda o, c: each(lambda a: clamp(a, c), o.centred()),
        lambda c: updates.advantage_clamp(c, centred=True),
    ),
    "extrapolated clamp": (extrapolated_clamp, lambda c: updates.log_ratio_clamp(c, teacher="extrapolated")),
}


def velocity(force: Callable[[Outcomes, Any], Forces], theta: Any, lam: Any, bound: Any, place: Any) -> Any:
    """F_m − F_τ at a student, from its log-odds."""
    p, b = place
    log_q = -mpmath.log1p(mpmath.exp(-theta)), -mpmath.log1p(mpmath.exp(theta))
    log_t, log_b = ((mpmath.log(one), mpmath.log(1 - one)) for one in (p, b))
    modal, tail = force(Outcomes(log_q, log_t, log_b, lam), bound)
    return modal - tail


def last(holds: Callable[[Any], bool], low: Any, high: Any) -> Any:
    """The end of the first stretch on which a condition holds, by bisection."""
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return (low + high) / 2


def rest(force: Callable[[Outcomes, Any], Forces], lam: Any, bound: Any, place: Any) -> Any:
    """The modal probability up to which the velocity is positive."""
    if velocity(force, FAR, lam, bound, place) > 0:
        return mpmath.mpf(1)
    theta = last(lambda theta: velocity(force, theta, lam, bound, place) > 0, mpmath.mpf(-500), mpmath.mpf(500))
    return 1 / (1 + mpmath.exp(-theta))


def target(lam: Any, place: Any) -> Any:
    """The fixed point q_λ."""
    x, y = (mpmath.log(one / (1 - one)) for one in place)
    return 1 / (1 + mpmath.exp(-(lam * x + (1 - lam) * y)))


def known(case: Case, bound: str, place: tuple[str, str], lam: Any = 1) -> dict[str, Any]:
    """The numbers of a setting by the names of their symbols."""
    return {"p": place[0], "b": place[1], case.symbol: bound, "lambda": lam}


def derived(case: Case, method: str, values: Mapping[str, Any]) -> Any:
    expr = DERIVATIONS[case.derivation].results[method][1]
    return at(expr, values) if not isinstance(expr, sp.Eq) else [at(side, values) for side in expr.args]


@cache
def death(name: str, bound: str, place: tuple[str, str]) -> Any:
    """The λ at which the velocity at q = 1 becomes positive; +inf if it is not at 100."""
    with mpmath.workdps(50):
        case, numbers = CASES[name], [mpmath.mpf(one) for one in place]

        def lives(lam: Any) -> bool:
            return bool(velocity(case.force, FAR, lam, mpmath.mpf(bound), numbers) <= 0)

        return mpmath.inf if lives(mpmath.mpf(100)) else last(lives, mpmath.mpf(-20), mpmath.mpf(100))


def students(name: str, bound: str, place: tuple[str, str]) -> list[Any]:
    """Several λ around where something happens."""
    case = CASES[name]
    leaves = derived(case, "leaves", known(case, bound, place)) if name != "advantage" else mpmath.mpf(3)
    marks = [one for one in (leaves, death(name, bound, place)) if one < mpmath.inf]
    found = [mpmath.mpf(1.01), mpmath.mpf(1.7), mpmath.mpf(4)]
    found += [mark + step for mark in marks for step in (mpmath.mpf("-0.001"), mpmath.mpf("0.001"), mpmath.mpf("0.2"))]
    return [lam for lam in found if lam > (0 if name in {"KL", "lower bound"} else 1)]


# The closed forms


@pytest.mark.parametrize(("name", "bound", "place"), SETTINGS)
def test_the_tail_dies_where_the_velocity_at_the_end_becomes_positive(
    name: str, bound: str, place: tuple[str, str]
) -> None:
    case, exact = CASES[name], death(name, bound, place)
    found = derived(case, "dies", known(case, bound, place))
    clip = derived(case, "equivalent_clip", known(case, bound, place))
    if exact == mpmath.inf:
        assert found == clip == mpmath.inf
    else:
        with mpmath.workdps(50):
            p, b = (mpmath.mpf(one) for one in place)
            gap = mpmath.log(p * (1 - b) / (b * (1 - p)))
            assert abs(found - exact) < 1e-40
            assert abs(clip / (p * mpmath.exp((exact - 1) * gap)) - 1) < 1e-38
    p, b = map(float, place)
    rule = case.rule(float(bound))
    assert math.isclose(rule.dies(p, b), max(found, 0), rel_tol=1e-9, abs_tol=1e-12)
    if found >= 0:
        assert math.isclose(rule.equivalent_clip(p, b), clip, rel_tol=1e-9)


@pytest.mark.parametrize(("name", "bound", "place"), thinned(SETTINGS, 3))
def test_training_ends_where_the_velocity_changes_its_sign(name: str, bound: str, place: tuple[str, str]) -> None:
    case, rule = CASES[name], CASES[name].rule(float(bound))
    p, b = map(float, place)
    for lam in students(name, bound, place):
        with mpmath.workdps(50):
            exact = rest(case.force, lam, mpmath.mpf(bound), [mpmath.mpf(one) for one in place])
        found = derived(case, "student", known(case, bound, place, lam) | {"q": exact})
        if name == "teacher":
            assert abs(found[0] - found[1]) < 1e-30
        else:
            assert abs(found - exact) < 1e-30
        assert math.isclose(rule.student(p, b, float(lam)), exact, rel_tol=1e-9)


@pytest.mark.parametrize(("name", "bound", "place"), thinned(SETTINGS, 3))
def test_the_student_leaves_the_fixed_point_where_it_is_said_to(name: str, bound: str, place: tuple[str, str]) -> None:
    case, numbers = CASES[name], [mpmath.mpf(one) for one in place]
    by_code = CASES[name].rule(float(bound)).leaves(*map(float, place))
    values = known(case, bound, place)
    if name == "advantage":
        left, right = derived(case, "leaves", values | {"lambda": by_code})
        assert abs(left - right) < 1e-9
        leaves = mpmath.mpf(by_code)
    else:
        leaves = derived(case, "leaves", values)
        if leaves >= 1 or name == "KL":
            assert math.isclose(by_code, leaves, rel_tol=1e-9)
    steps = (1, 1) if leaves == mpmath.inf else (mpmath.mpf("-0.001"), mpmath.mpf("0.001"))
    for step, before in zip(steps, (True, leaves == mpmath.inf), strict=True):
        lam = mpmath.mpf(3) if leaves == mpmath.inf else leaves + step
        if before and leaves == 1:  # there is no λ ≥ 1 before it
            continue
        with mpmath.workdps(50):
            ends = rest(case.force, lam, mpmath.mpf(bound), numbers)
            assert (abs(ends - target(lam, numbers)) < 1e-30) == before


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("place", [("0.999", "0.5"), ("0.3", "0.1")])
def test_rules_that_keep_the_fixed_point(name: str, place: tuple[str, str]) -> None:
    (force, rule), (p, b) = EXACT[name], map(float, place)
    numbers = [mpmath.mpf(one) for one in place]
    for lam in (1.2, 2.0, 9.0):
        with mpmath.workdps(50):
            ends = rest(force, mpmath.mpf(lam), mpmath.mpf(2), numbers)
            assert abs(ends - target(mpmath.mpf(lam), numbers)) < 1e-30
        assert math.isclose(rule(2.0).student(p, b, lam), ends, rel_tol=1e-12)
    assert rule(2.0).leaves(p, b) == rule(2.0).dies(p, b) == math.inf


def test_the_reported_weight_without_centring_keeps_a_thicker_tail() -> None:
    place = [mpmath.mpf(one) for one in ("0.99934", "0.5")]
    with mpmath.workdps(50):
        star = 1 + mpmath.log1p(4 / place[0]) / mpmath.log(place[0] / (1 - place[0]))
        ends = rest(CASES["teacher"].force, star, mpmath.mpf(5), place)
        assert abs((1 - place[0]) / (1 - ends) - mpmath.mpf("4.445")) < 0.0005
        assert abs((1 - place[0]) / (1 - target(star, place)) - 5) < 1e-30


def test_nucleus_sampling_leaves_as_derived() -> None:
    values = {"p": "0.9", "b": "0.5", "nu": "0.95"}
    leaves = at(DERIVATIONS["truncated_sampling"].results["leaves"][1], values)
    place, share = [mpmath.mpf("0.9"), mpmath.mpf("0.5")], mpmath.mpf("0.95")
    with mpmath.workdps(50):
        edge, small = mpmath.log(19), mpmath.mpf("1e-9")
        for step, stays in ((mpmath.mpf("-0.01"), True), (mpmath.mpf("0.01"), False)):
            way = [edge * k / 50 - small for k in range(51)]
            speeds = [velocity(nucleus, theta, leaves + step, share, place) for theta in way]
            assert (min(speeds) < 0) == stays
        assert velocity(nucleus, edge + small, leaves, share, place) > 0.1
    assert math.isclose(updates.truncated_sampling(top_p=0.95).leaves(0.9, 0.5), leaves, rel_tol=1e-12)


# The two principles


def test_equal_limits_alone_do_not_kill_a_tail() -> None:
    """The forces of a clamp on the whole advantage have one limit past some λ, and the tail lives."""
    place, bound = [mpmath.mpf("0.9"), mpmath.mpf("0.5")], mpmath.mpf("0.2")
    step = DERIVATIONS["advantage_clamp"].steps[-1].after
    with mpmath.workdps(50):
        lam = at(step, {"p": "0.9", "b": "0.5", "C": "0.2"}) + mpmath.mpf("0.5")
        assert velocity(CASES["advantage"].force, FAR, lam, bound, place) == 0
        assert rest(CASES["advantage"].force, lam, bound, place) < 1 - mpmath.mpf("1e-6")
        assert velocity(CASES["advantage"].force, mpmath.mpf(0), lam, bound, place) > 0


weights = st.floats(1e-3, 1e3)


@given(weights, weights, st.floats(0, 1), st.floats(-50, 50), st.floats(-50, 50))
def test_weights_on_a_centred_advantage_keep_its_sign(
    modal: float, tail: float, share: float, first: float, second: float
) -> None:
    exact = at(
        DERIVATIONS["same_sign"].results["the velocity"][1],
        {"w_m": modal, r"w_\tau": tail, "x": share, "A_m": first, r"A_\tau": second},
    )
    mean = share * first + (1 - share) * second
    assert abs(modal * (first - mean) - tail * (second - mean) - exact) <= 1e-9 * (1 + abs(exact))
    assert mpmath.sign(exact) == mpmath.sign(mpmath.mpf(first) - second)


@given(st.floats(0.02, 0.999), st.floats(0.05, 0.95), st.floats(1.05, 100))
def test_rules_die_in_the_derived_order(p: float, share: float, c: float) -> None:
    b = p * share
    cap, through = (updates.log_ratio_cap(c, through=through).dies(p, b) for through in (False, True))
    kl = updates.kl_to_base_cap(c).dies(p, b)
    assert kl < cap < through
    values = {"p": p, "b": b, "c": c}
    results = DERIVATIONS["order"].results
    assert math.isclose(cap - kl, at(results["cap less KL"][1], values), rel_tol=1e-6, abs_tol=1e-9)
    if p > 0.5:
        exact = at(results["cap less top-1"][1], values)
        assert math.isclose(cap - updates.top_k(1).dies(p, b), exact, rel_tol=1e-6, abs_tol=1e-9)


# K tokens, and a push from outside

ROW = np.log([0.7, 0.2, 0.1]), np.log([0.5, 0.3, 0.2])


@pytest.mark.parametrize(
    ("rule", "own_clip"),
    [
        (updates.log_ratio_cap(1.5), 1.5),
        (updates.log_ratio_clamp(1.0), math.e),
        (updates.log_prob_floor(4.0), 0.1 * math.exp(4.0)),
        (updates.kl_to_base_cap(6.0), 6.0 * 0.1 / 0.2),
    ],
    ids=str,
)
def test_a_token_dies_where_the_others_reach_its_limit(rule: updates.Rule, own_clip: float) -> None:
    masses, ratios = np.exp(ROW[0]), ROW[0] - ROW[1]

    def lives(excess: Any) -> bool:
        weights = masses * np.exp(float(excess) * ratios)
        return bool(weights[:2].sum() < own_clip * math.exp(float(excess) * ratios[2]))

    assert math.isclose(rule.dies(*ROW), 1 + float(last(lives, -1.0, 50.0)), rel_tol=1e-9)


def test_tokens_outside_a_set_die_where_its_powers_sum_to_one() -> None:
    masses, ratios = np.exp(ROW[0][:2]), (ROW[0] - ROW[1])[:2]
    exact = last(lambda lam: bool((masses * np.exp((float(lam) - 1) * ratios)).sum() < 1), 1.0, 50.0)
    assert math.isclose(updates.top_k(2).dies(*ROW), float(exact), rel_tol=1e-9)


@pytest.mark.parametrize(
    ("c", "b", "lam", "centred"),
    thinned(itertools.product(["1", "5", "400"], ["0.5", "0.99"], ["1.05", "1.2"], [True, False]), 5),
)
def test_the_capacity_is_the_largest_restoring_force(c: str, b: str, lam: str, centred: bool) -> None:
    """The restoring force of plain gradient along the tail ratio, with a baseline and without."""
    force = EXACT["centred weight"][0] if centred else CASES["teacher"].force
    with mpmath.workdps(50):
        p, base, cap, coefficient = (mpmath.mpf(one) for one in ("0.99999999", b, c, lam))

        def restoring(log_ratio: Any) -> Any:
            tail = (1 - p) * mpmath.exp(-log_ratio)
            theta = mpmath.log((1 - tail) / tail)
            return -tail * (1 - tail) * velocity(force, theta, coefficient, cap, [p, base])

        found = max(map(restoring, [mpmath.log(cap), *(mpmath.mpf(k) / 150 for k in range(1, 1500))]))
        thinner, richer = mpmath.log((1 - base) / (1 - p)), mpmath.log(p / base)
        values = {"p": p, "c": cap, r"\kappa": (coefficient - 1) * (thinner + richer / (1 if centred else cap))}
    exact = at(DERIVATIONS["capacity"].results["capacity"][1], values)
    assert abs(found / exact - 1) < 1e-5
    by_code = updates.capacity(float(p), float(b), float(lam), float(c), centred=centred)
    assert math.isclose(by_code, exact, rel_tol=1e-6)


# The page


def test_every_rule_has_a_section_that_names_it_and_its_methods() -> None:
    names = {name.removesuffix("_through") for name in DERIVATIONS}
    assert set(updates.RULES) <= names
    for name, one in DERIVATIONS.items():
        if name.removesuffix("_through") in updates.RULES and name != "truncated_sampling":
            assert tuple(one.results) == METHODS
            assert f"of the rule\n`{name.removesuffix('_through')}`" in one.markdown().replace("rule `", "rule\n`")


def test_the_table_of_rules_shows_the_derived_numbers() -> None:
    rows = re.findall(r"^\| `(\w+)`, (.+?) \| (.+) \| (\S+) \| (\S+) \|$", read("updates").sections["order"].body, re.M)
    assert len(rows) == 7
    for name, setting, clip, *shown in rows:
        one = DERIVATIONS[name + "_through" * ("through" in setting)]
        values = {"p": "0.999", "b": "0.5", **dict(re.findall(r"(\w)=(\w+)", setting))}
        for method, text in zip(("leaves", "dies"), shown, strict=True):
            assert abs(at(one.results[method][1], values) - mpmath.mpf(text)) <= 5e-5
        found = at(one.results["equivalent_clip"][1], values)
        assert float(found) == pytest.approx(float(re.findall(r"=([\d.]+)", clip)[0]), rel=3e-4)


@pytest.mark.parametrize(
    ("name", "number"),
    thinned(
        (
            (name, number)
            for name, one in DERIVATIONS.items()
            for number, step in enumerate(one.steps)
            if step.name in {r"\lambda_{\mathrm{dies}}", r"\lambda_{\mathrm{leaves}}"}
            and not isinstance(step.after, sp.Rel)
            and step.after != sp.oo
        ),
        3,
    ),
)
def test_a_threshold_that_is_a_little_off_makes_its_step_fail(
    name: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lambda_star.symbolic.rules.is_zero", not_shown_otherwise)
    step = DERIVATIONS[name].steps[number]
    wrong = dataclasses.replace(step, after=step.after + sp.Rational(1, 1000))
    assert wrong.fault(wrong.assumptions or DERIVATIONS[name].assumptions, f"{name}/{number}")
