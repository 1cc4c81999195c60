"""What a derivation is: numbered steps, each with a rule that leads from one expression to the next and a check.

A step that fails raises :class:`DerivationError`, which names it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import sympy as sp

from lambda_star.symbolic.assumptions import Domain
from lambda_star.symbolic.rules import Rule, formula

__all__ = ["Derivation", "DerivationError", "Step"]


class DerivationError(AssertionError):
    """A step that does not hold; the message names derivation, step and what disagrees.

    >>> raise DerivationError("threshold, step 3 (…): the two sides differ")
    Traceback (most recent call last):
    lambda_star.symbolic.derivation.DerivationError: threshold, step 3 (…): the two sides differ
    """


@dataclass(frozen=True)
class Step:
    """One step of a derivation.

    Attributes:
        statement: what the step says, in words.
        rule: how ``before`` leads to ``after``.
        before: an expression, or an equation to solve.
        after: what it becomes.
        source: "paper, …" or "extension".
        name: LaTeX name of the expression, if it has one.
        domain: where the step holds, if not where the whole derivation does.

    >>> from lambda_star.symbolic.rules import Differentiate
    >>> p = sp.Symbol("p")
    >>> Step("The slope.", Differentiate(p), p**2, 2 * p, name="f'(p)").latex()
    "f'(p) = 2 p"
    """

    statement: str
    rule: Rule
    before: sp.Expr
    after: sp.Expr
    source: str = "extension"
    name: str = ""
    domain: Domain | None = None

    def latex(self) -> str:
        """The step as a formula."""
        if self.name:
            return self.rule.show_named(self.name, self.before, self.after)
        return self.rule.show(self.before, self.after)


@dataclass(frozen=True)
class Derivation:
    """A result and the steps that lead to it.

    Attributes:
        name: short name, as on the command line.
        title: heading of its section.
        domain: the assumptions.
        steps: the steps, in order.
        results: LaTeX name and expression of each result, by the numeric function that evaluates it.
        module: module of the numeric functions, "" where there is none yet.
        spot: values at which the page evaluates the first result.
        remarks: closing words.

    >>> from lambda_star import symbolic
    >>> threshold = symbolic.bernoulli.threshold_derivation()
    >>> threshold.title, len(threshold.steps)
    ('Clip-safe region and threshold', 10)
    """

    name: str
    title: str
    domain: Domain
    steps: tuple[Step, ...]
    results: Mapping[str, tuple[str, sp.Basic]]
    module: str = "bernoulli"
    spot: Mapping[sp.Symbol, str] = field(default_factory=dict)
    remarks: str = ""

    @property
    def expr(self) -> sp.Basic:
        """The first result, in the declared symbols."""
        return next(iter(self.results.values()))[1]

    def latex(self) -> str:
        """The first result as a formula, with its name."""
        name, expr = next(iter(self.results.values()))
        return f"{name} = {formula(expr)}"

    def lambdify(self, *symbols: sp.Symbol, modules: Any = "mpmath") -> Callable[..., Any]:
        """The first result as a function of the given symbols; the numeric layer is faster and keeps more digits."""
        function: Callable[..., Any] = sp.lambdify(symbols, self.expr, modules)
        return function

    def check(self) -> int:
        """Check every step and return their number; a step that fails raises :class:`DerivationError`."""
        for number, step in enumerate(self.steps, start=1):
            fault = step.rule.check(step.before, step.after, step.domain or self.domain, f"{self.name}/{number}")
            if fault:
                raise DerivationError(f"{self.name}, step {number} ({step.statement}): {fault}")
        return len(self.steps)

    def markdown(self) -> str:
        """The derivation as a section of a page."""
        from lambda_star.symbolic.pages import section

        return section(self)

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"

    def _repr_markdown_(self) -> str:
        return self.markdown().replace("```math", "$$").replace("```", "$$")
