"""Whole derivations are damaged in every way that a forger might try, and ``check`` refuses each of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import pairwise

import pytest
import sympy as sp

from lambda_star.symbolic import prose, symbols
from lambda_star.symbolic.assumptions import Assumptions, assume
from lambda_star.symbolic.chain import broken_link, loose_end
from lambda_star.symbolic.derivation import Derivation, DerivationError, Step, free_symbols
from lambda_star.symbolic.pages import derivations
from lambda_star.symbolic.places import AHEAD, BEHIND, EVERY
from lambda_star.symbolic.regions import above, between, free, let
from lambda_star.symbolic.rules import Join, Rewrite, Solve
from tests.night import thinned

DERIVATIONS = derivations()
Damage = Callable[[Derivation], Derivation]


def with_steps(one: Derivation, steps: tuple[Step, ...]) -> Derivation:
    return dataclasses.replace(one, steps=steps)


def with_result(one: Derivation, name: str | None = None, expr: sp.Basic | None = None) -> Derivation:
    (key, (old, found)), *rest = one.results.items()
    new = {key: (name or old, found if expr is None else expr), **dict(rest)}
    return dataclasses.replace(one, results=new)


def with_step(one: Derivation, number: int, **changes: object) -> Derivation:
    steps = list(one.steps)
    steps[number] = dataclasses.replace(steps[number], **changes)  # type: ignore[arg-type]
    return with_steps(one, tuple(steps))


def narrowed(one: Derivation) -> Derivation:
    """The symbols of a part of the region, in which nothing else is measured by them, between a tenth and a fifth."""
    used = {symbol for step in one.steps for symbol in free_symbols(step)}
    parts = one.assumptions.parts
    free_parts = [
        part
        for part in parts
        if used & set(part.symbols) and not any(other.needs & set(part.symbols) for other in parts)
    ]
    tight = between(sp.Rational(1, 10), *free_parts[-1].symbols, sp.Rational(1, 5))
    return dataclasses.replace(one, assumptions=one.assumptions.use(tight))


ALWAYS: dict[str, Damage] = {
    "result": lambda one: with_result(one, expr=sp.Integer(42)),
    "name of the result": lambda one: with_result(one, name="X"),
    "last step deleted": lambda one: with_steps(one, one.steps[:-1]),
    "first step deleted": lambda one: with_steps(one, one.steps[1:]),
    "all steps deleted": lambda one: with_steps(one, ()),
    "a step twice": lambda one: with_steps(one, (*one.steps, one.steps[0])),
    "steps reversed": lambda one: with_steps(one, one.steps[::-1]),
    "steps rotated": lambda one: with_steps(one, (*one.steps[1:], one.steps[0])),
    "name of a step": lambda one: with_step(one, -1, name="X"),
    "name": lambda one: dataclasses.replace(one, name="forged"),
    "another section": lambda one: dataclasses.replace(one, name="limits" if one.name != "limits" else "threshold"),
    "narrower": narrowed,
    "nothing given": lambda one: dataclasses.replace(one, given={}, uses=()),
}
"""Damage to any derivation, by what it touches."""


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        (name, damage)
        for place, name in enumerate(DERIVATIONS)
        for kind, damage in enumerate(ALWAYS)
        if (place + kind) % 4 == 0  # each derivation meets every fourth kind, and each kind every fourth derivation
    ],
)
def test_a_damaged_derivation_is_refused(name: str, damage: str) -> None:
    wrong = ALWAYS[damage](DERIVATIONS[name])
    with pytest.raises(DerivationError):
        wrong.check()


@pytest.mark.parametrize("name", thinned(DERIVATIONS, 3))
def test_every_deleted_step_and_every_swap_of_two_neighbours_is_refused(name: str) -> None:
    one = DERIVATIONS[name]
    for number in range(len(one.steps)):
        assert with_steps(one, one.steps[:number] + one.steps[number + 1 :]).misplaced()
    for number, (first, second) in enumerate(pairwise(one.steps)):
        swapped = (*one.steps[:number], second, first, *one.steps[number + 2 :])
        wrong = with_steps(one, swapped)
        assert broken_link(wrong) or loose_end(wrong) or wrong.misplaced(), number


def test_forged_results_and_missing_premises_are_refused_without_the_marks() -> None:
    for name, one in DERIVATIONS.items():
        assert loose_end(with_result(one, expr=sp.Integer(42))), name
        stripped = dataclasses.replace(one, given={}, uses=())
        assert broken_link(stripped), name
    refused = [name for name, one in DERIVATIONS.items() if broken_link(with_steps(one, one.steps[::-1]))]
    assert len(refused) > len(DERIVATIONS) / 2
    emptied = [name for name, one in DERIVATIONS.items() if not loose_end(with_steps(one, ()))]
    assert emptied == ["none", "importance_weight", "ppo"]  # their results are those of sections that they use


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Paper, Theorem 4.1", "Extension"),
        ("exactly one maximiser", "a maximiser"),
        ("For every real λ", "For every λ above 1"),
    ],
)
def test_a_changed_claim_or_source_is_refused(old: str, new: str, monkeypatch: pytest.MonkeyPatch) -> None:
    page = prose.read("bernoulli")
    section = page.sections["fixed_point"]
    forged = dataclasses.replace(section, body=section.body.replace(old, new))
    assert forged != section
    sections = {**page.sections, "fixed_point": forged}
    monkeypatch.setattr("lambda_star.symbolic.derivation.read", lambda _: dataclasses.replace(page, sections=sections))
    with pytest.raises(DerivationError, match="read them again"):
        DERIVATIONS["fixed_point"].check()


# Rules and regions

x, q = sp.symbols("x q", real=True)
REAL = assume(free(x, q))


@pytest.mark.parametrize(
    ("equation", "solution", "region"),
    [
        (sp.Eq(q**2, 1), sp.Integer(1), REAL),
        (sp.Eq(x, x, evaluate=False), sp.Integer(7), REAL),
        (sp.Eq(q**3 - q, 0), sp.Integer(0), REAL),
        (sp.Eq(q * (q - 1), 0), sp.Integer(1), assume(above(-1, q))),
        (sp.Eq(sp.exp(q), 2), sp.log(2), assume(between(2, q, 3))),
        (sp.Eq(q, 2), sp.Integer(3), REAL),
        (sp.Eq(q**2, 1), sp.Integer(1), assume(above(0, x), let(q, x**2))),
    ],
    ids=str,
)
def test_solving_needs_both_directions(equation: sp.Eq, solution: sp.Expr, region: object) -> None:
    symbol = q if equation.has(q) else x
    assert Solve(symbol).check(equation, solution, region, "seed")  # type: ignore[arg-type]


def test_solving_finds_the_only_root_in_a_range() -> None:
    assert Solve(q).check(sp.Eq(q**2, 1), sp.Integer(1), assume(above(0, q)), "seed") is None


def test_a_step_that_cannot_fail_is_refused() -> None:
    assert "cannot fail" in (Step(Rewrite(), x + 1, x + 1).fault(REAL, "seed") or "")
    assert "nothing is assumed of p" in (Step(Rewrite(), x, x + symbols.p).fault(REAL, "seed") or "")


def test_a_region_is_no_point_and_names_no_unknown_bound() -> None:
    with pytest.raises(ValueError, match="one value"):
        EVERY.use(let(symbols.p, sp.Rational(1, 2)))
    with pytest.raises(ValueError, match="no part before it declares"):
        assume(between(0, symbols.b, symbols.p))
    with pytest.raises(ValueError, match="once more"):
        assume(above(0, symbols.p), between(0, symbols.p, 1))


@pytest.mark.parametrize(
    ("number", "region"),
    [(2, BEHIND), (7, AHEAD), pytest.param(7, EVERY, marks=pytest.mark.nightly)],  # of all, SymPy tries for long
    ids=["third", "eighth ahead", "eighth everywhere"],
)
def test_a_step_in_a_wider_region_is_refused(number: int, region: Assumptions) -> None:
    step = dataclasses.replace(DERIVATIONS["threshold"].steps[number], assumptions=region)
    assert step.fault(region, "seed"), region.text


def test_a_join_must_cover_its_region_and_rest_on_steps() -> None:
    step = next(step for step in DERIVATIONS["threshold"].steps if isinstance(step.rule, Join))
    gap = dataclasses.replace(step, rule=Join((AHEAD,)), before=sp.Tuple(step.before[0]))
    assert "no case covers" in (gap.fault(EVERY, "seed") or "")
    wrong = dataclasses.replace(step, before=sp.Tuple(sp.oo, *step.before[1:]))
    assert wrong.fault(EVERY, "seed")
