"""How the steps of a derivation hang together: where each of them starts from, and which of them end in the results."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import sympy as sp

from lambda_star.symbolic.rules import Join

if TYPE_CHECKING:
    from lambda_star.symbolic.derivation import Derivation

__all__ = ["broken_link", "ends", "loose_end", "sources"]


def _sides(expr: sp.Basic) -> tuple[sp.Basic, ...]:
    """The sides of an equation, the values of a tuple, or the expression itself."""
    return tuple(expr.args) if isinstance(expr, sp.Rel | sp.Tuple) else (expr,)


def _borrowed(one: Derivation) -> Iterator[sp.Basic]:
    """What the derivations that are used state and what they end with."""
    from lambda_star.symbolic.derivation import REGISTRY  # the registry holds derivations, which are checked here

    for name in one.uses:
        other = REGISTRY[name]()
        yield from other.given.values()
        for step in other.steps:
            yield step.after


def _known(one: Derivation, number: int) -> list[tuple[int, sp.Basic]]:
    """What may be used in a step, with the numbers of the steps it comes from, 0 for what is given; the latest first."""
    found: list[tuple[int, sp.Basic]] = []
    for place in range(number - 1, 0, -1):
        step = one.steps[place - 1]
        found += [(place, side) for side in (step.after, *_sides(step.after))]
    for place in range(number - 1, 0, -1):
        step = one.steps[place - 1]
        found += [(place, side) for side in (step.before, *_sides(step.before))]
    found += [(0, side) for expr in (*one.given.values(), *_borrowed(one)) for side in (expr, *_sides(expr))]
    return found + [(place, term) for place, expr in found if expr.is_Add for term in expr.args if not term.is_Atom]


def _origin(side: sp.Basic, known: list[tuple[int, sp.Basic]]) -> list[int] | None:
    """The numbers of the steps from which one side of a step comes; None if it comes from nowhere."""
    if side.is_Atom:
        return []
    whole = [place for place, expr in known if expr == side]
    if whole:
        return [0 if 0 in whole else whole[0]]
    parts = [(place, expr) for place, expr in known if not expr.is_Atom and side.has(expr)]
    largest = [place for place, expr in parts if not any(expr != other and other.has(expr) for _, other in parts)]
    if largest:
        return sorted(set(largest))
    whole = [place for place, expr in known if expr.has(side)]
    return whole[:1] or None


def sources(one: Derivation) -> list[list[int]]:
    """For each step the numbers of the earlier ones that it starts from.

    >>> from lambda_star.symbolic.bernoulli import threshold
    >>> sources(threshold())[3]
    [1]
    """
    found = []
    for number, step in enumerate(one.steps, start=1):
        known = _known(one, number)
        origins = [_origin(side, known) or [] for side in _sides(step.before)]
        found.append(sorted({place for origin in origins for place in origin if place}))
    return found


def broken_link(one: Derivation) -> str | None:
    """What is wrong with the links between the steps, or None.

    >>> from dataclasses import replace
    >>> from lambda_star.symbolic.bernoulli import fixed_point
    >>> broken_link(replace(fixed_point(), steps=fixed_point().steps[2:]))[:24]
    'step 1 (differentiate): '
    """
    for number, step in enumerate(one.steps, start=1):
        known = _known(one, number)
        for side in _sides(step.before):
            if _origin(side, known) is None:
                return f"step {number} ({step.rule.word}): {sp.sstr(side)} comes from nothing before it"
        if isinstance(step.rule, Join) and (fault := _unproved_case(one, number, step.rule)):
            return f"step {number} ({step.rule.word}): {fault}"
    return None


def _unproved_case(one: Derivation, number: int, rule: Join) -> str | None:
    """A case of a join in whose region no step was made, or None."""
    from lambda_star.symbolic.derivation import REGISTRY

    earlier = [other.assumptions or one.assumptions for other in one.steps[: number - 1]]
    for name in one.uses:
        other = REGISTRY[name]()
        earlier += [other.assumptions, *(made.assumptions for made in other.steps if made.assumptions)]
    for value, where in zip(one.steps[number - 1].before, rule.regions, strict=True):
        if not value.free_symbols and not any(set(other.parts) <= set(where.parts) for other in earlier):
            return f"nothing was shown for {where.text}, where the value is to be {sp.sstr(value)}"
    return None


def ends(one: Derivation) -> dict[sp.Basic, set[str]]:
    r"""The expressions with which steps end, with the names they have there; an equation ends with its solution.

    >>> from lambda_star.symbolic.bernoulli import fixed_point
    >>> ends(fixed_point())[fixed_point().expr]
    {'q_\\lambda'}
    """
    found: dict[sp.Basic, set[str]] = {}
    for step in one.steps:
        found.setdefault(step.after, set()).add(step.name)
        if isinstance(step.before, sp.Rel):
            found.setdefault(step.before, set()).add(step.name)
    return found


def loose_end(one: Derivation) -> str | None:
    r"""A result with which no step of its name ends, or None.

    >>> from dataclasses import replace
    >>> from lambda_star.symbolic.bernoulli import fixed_point
    >>> loose_end(replace(fixed_point(), steps=()))
    'the result fixed_point is not the end of a step with the name q_\\lambda'
    """
    reached = ends(one)
    for key, (name, expr) in one.results.items():
        if (
            expr in set(_borrowed(one))
            or name in reached.get(expr, set())
            or (isinstance(expr, sp.Tuple) and all(part.is_Atom or part in reached for part in expr))
        ):
            continue
        return f"the result {key} is not the end of a step with the name {name}"
    return None
