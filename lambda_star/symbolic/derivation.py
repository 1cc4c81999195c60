"""What a derivation is: numbered steps, each with a rule that leads from one expression to the next and a check."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from textwrap import fill
from typing import Any

import mpmath
import sympy as sp

from lambda_star.symbolic.assumptions import Assumptions
from lambda_star.symbolic.latex import formula
from lambda_star.symbolic.prose import insert, read
from lambda_star.symbolic.rules import Rule

__all__ = ["REGISTRY", "Derivation", "DerivationError", "Step", "derivation", "renamed"]

SHORT = 40
"""The length of assumptions up to which they are repeated; longer ones are referred to by the number of a step."""

REGISTRY: dict[str, Callable[[], Derivation]] = {}
"""Every derivation by its name."""

RENAMED = {
    "inverse": "inverses",
    "collapse": "regimes",
    "two_sided": "two_sided_threshold",
    "collapse_time": "time_to_collapse",
    "floor": "token_bounds",
    "sandwich": "readings",
    "divergence": "distances",
    "class_march": "safe_step",
    "rest": "unlisted",
    "strict": "strict_threshold",
    "list": "listwise",
}
"""The new names of derivations that were renamed; the old ones work for one release."""


class DerivationError(AssertionError):
    """A step does not hold; the message names the derivation, the step and what disagrees.

    >>> raise DerivationError("threshold, step 3 (differentiate): the two sides differ in 50-digit arithmetic")
    Traceback (most recent call last):
    lambda_star.symbolic.derivation.DerivationError: threshold, step 3 (differentiate): the two sides differ in ...
    """


@dataclass(frozen=True)
class Step:
    """One step of a derivation.

    Attributes:
        rule: how ``before`` leads to ``after``.
        before: an expression, or an equation to solve.
        after: what it becomes; by default ``before`` itself.
        name: LaTeX name of the expression, if it has one.
        assumptions: where the step holds, if not where the whole derivation does.

    >>> from lambda_star.symbolic.rules import Differentiate
    >>> p = sp.Symbol("p")
    >>> Step(Differentiate(p), p**2, 2 * p, "f'(p)").latex()
    "f'(p) = 2 p"
    """

    rule: Rule
    before: sp.Expr
    after: sp.Expr = None
    name: str = ""
    assumptions: Assumptions | None = None

    def __post_init__(self) -> None:
        if self.after is None:
            object.__setattr__(self, "after", self.before)

    def latex(self) -> str:
        """The step as a formula."""
        if self.name:
            return self.rule.show_named(self.name, self.before, self.after)
        return self.rule.show(self.before, self.after)


@dataclass(frozen=True)
class Derivation:
    """A result and the steps that lead to it; the words around them stand in ``text/``.

    Attributes:
        name: short name, as on the command line.
        assumptions: where the derivation holds.
        steps: the steps, in order.
        results: LaTeX name and expression of each result, by the numeric function that evaluates it.
        module: module of these functions, and name of the page.
        spot: values at which the page evaluates the first result.

    >>> from lambda_star import symbolic
    >>> threshold = symbolic.bernoulli.threshold()
    >>> threshold.title, len(threshold.steps)
    ('Clip-safe region and threshold', 10)
    """

    name: str
    assumptions: Assumptions = field(repr=False)
    steps: tuple[Step, ...] = field(repr=False)
    results: Mapping[str, tuple[str, sp.Basic]] = field(repr=False)
    module: str = "bernoulli"
    spot: Mapping[sp.Symbol, str] = field(default_factory=dict, repr=False)

    @property
    def title(self) -> str:
        """The heading of the derivation's section."""
        return read(self.module).sections[self.name].title

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
            assumptions = step.assumptions or self.assumptions
            if fault := step.rule.check(step.before, step.after, assumptions, f"{self.name}/{number}"):
                raise DerivationError(f"{self.name}, step {number} ({step.rule.word}): {fault}")
        return len(self.steps)

    def markdown(self) -> str:
        """The derivation as a section of its page, without the heading."""
        body = insert(read(self.module).sections[self.name].body, self._slot)
        parts = [f"Assumptions: ${self.assumptions.text}$.", body, self._spot_check(), self._evaluated_by()]
        return "\n\n".join(filter(None, parts)) + "\n"

    def _slot(self, slot: str) -> str:
        """What stands in a slot: the results, or one step, or steps that go on from one another."""
        if slot == "result":
            return "\n\n".join(_boxed(name, expr) for name, expr in self.results.values())
        numbers = [int(number) for number in slot.split()]
        first, *others = steps = [self.steps[number - 1] for number in numbers]
        text = first.latex() + "".join(step.rule.show_next(step.before, step.after) for step in others)
        if first.assumptions and first.assumptions.text != self.assumptions.text:
            text = rf"\begin{{gathered}}{text}\\ {self._where(numbers[0])}\end{{gathered}}"
        words = "; ".join(f"{number}, {step.rule.word}" for number, step in zip(numbers, steps, strict=True))
        return _displayed(rf"{text} \tag{{{words}}}")

    def _where(self, number: int) -> str:
        """The assumptions of a step in LaTeX, long ones only where they first stand."""
        texts = [step.assumptions.text if step.assumptions else "" for step in self.steps]
        text = texts[number - 1]
        first = texts.index(text) + 1
        if first == number or len(text) <= SHORT:
            return rf"\text{{for }} {text}"
        return rf"\text{{under the assumptions of ({first})}}"

    def _spot_check(self) -> str:
        if not self.spot:
            return ""
        values = ", ".join(f"${sp.latex(symbol)}={value}$" for symbol, value in self.spot.items())
        with mpmath.workdps(50):
            exact = self.lambdify(*self.spot)(*(mpmath.mpf(value) for value in self.spot.values()))
            found = mpmath.nstr(exact, 15)
        return f"Spot check: {values} give ${next(iter(self.results.values()))[0]}={found}$."

    def _evaluated_by(self) -> str:
        names = ", ".join(f"`{name}`" for name in self.results if name.isidentifier())
        if not names:
            return ""
        if self.module == "updates" and self.name != "capacity":
            names = f"{names} of the rule `{self.name.removesuffix('_through')}`"
        home, tests = (f"{self.module}.py", "test_sequence.py") if self.module == "sequence" else (self.module,) * 2
        return fill(
            f"Evaluated by {names} in [`lambda_star.{self.module}`](../lambda_star/{home}). "
            "[`tests/symbolic`](../tests/symbolic) compares the code with this result, and "
            f"[`tests/{tests}`](../tests/{tests}) compares it with 50-digit arithmetic.",
            width=100,
            break_long_words=False,
            break_on_hyphens=False,
        )

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"

    def _repr_markdown_(self) -> str:
        return self.markdown().replace("```math", "$$").replace("```", "$$")


def _displayed(latex: str) -> str:
    """A formula of its own; a fenced block is the one form in which GitHub leaves every backslash alone."""
    return f"```math\n{latex}\n```"


def _boxed(name: str, expr: sp.Basic) -> str:
    between = r":\quad " if isinstance(expr, sp.Rel) else " = "
    return _displayed(rf"\boxed{{{name}{between}{formula(expr)}}}")


def derivation(function: Callable[[], Derivation]) -> Callable[[], Derivation]:
    """Register a derivation under the name of its function, and make it once only.

    >>> REGISTRY["threshold"]() is REGISTRY["threshold"]()
    True
    """
    REGISTRY[function.__name__] = cached = cache(function)
    return cached


def renamed(module: str) -> Callable[[str], Any]:
    """Return a module's ``__getattr__`` that still finds derivations by their old names, ``…_derivation``.

    >>> renamed("lambda_star.symbolic.bernoulli")("threshhold_derivation")
    Traceback (most recent call last):
    AttributeError: module 'lambda_star.symbolic.bernoulli' has no attribute 'threshhold_derivation'
    """

    def find(name: str) -> Any:
        old = name.removesuffix("_derivation")
        new = RENAMED.get(old, old)
        if old == name or new not in sys.modules[module].__all__:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        warnings.warn(f"{module}.{name} is now {module}.{new}", DeprecationWarning, stacklevel=2)
        return getattr(sys.modules[module], new)

    return find
