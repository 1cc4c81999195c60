"""What a derivation is: numbered steps, each with a rule that leads from one expression to the next and a check."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from hashlib import sha256
from typing import Any

import mpmath
import sympy as sp

from lambda_star.symbolic.assumptions import Assumptions
from lambda_star.symbolic.chain import broken_link, loose_end, sources
from lambda_star.symbolic.latex import alike, formula, named
from lambda_star.symbolic.prose import insert, read, slots, wrapped
from lambda_star.symbolic.rules import Rule, has_sign

__all__ = ["REGISTRY", "Derivation", "DerivationError", "Step", "derivation", "free_symbols", "linked"]
__all__ += ["renamed"]

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
        after: what it becomes.
        name: LaTeX name of the expression, if it has one.
        assumptions: where the step holds, if not where the whole derivation does.
        sign: the sign that ``after`` shows, if the step shows one.

    >>> from lambda_star.symbolic.rules import Differentiate
    >>> p = sp.Symbol("p", positive=True)
    >>> Step(Differentiate(p), p**2, 2 * p, "f'(p)", sign=">").latex()
    "f'(p) = 2 p > 0"
    """

    rule: Rule
    before: sp.Basic
    after: sp.Basic
    name: str = ""
    assumptions: Assumptions | None = None
    sign: str = ""

    def latex(self) -> str:
        """The step as a formula."""
        named = self.rule.show_named(self.name, self.before, self.after)
        shown = named if self.name else self.rule.show(self.before, self.after)
        return f"{shown} {self.sign} 0" if self.sign else shown

    def fault(self, assumptions: Assumptions, seed: str) -> str | None:
        """What is wrong with the step, or None if it holds."""
        if self.before == self.after:
            return "it cannot fail: both sides are written alike"
        if unknown := self.after.free_symbols - set(assumptions.values):
            return f"nothing is assumed of {', '.join(sorted(map(str, unknown)))}"
        if fault := self.rule.check(self.before, self.after, assumptions, seed):
            return fault
        return has_sign(self.sign, self.after, self.after, assumptions, seed) if self.sign else None


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
        given: LaTeX name and expression of what the derivation starts from.
        uses: the derivations whose steps it goes on from.

    >>> from lambda_star import symbolic
    >>> threshold = symbolic.bernoulli.threshold()
    >>> threshold.title, threshold.uses
    ('Clip-safe region and threshold', ('fixed_point',))
    """

    name: str
    assumptions: Assumptions = field(repr=False)
    steps: tuple[Step, ...] = field(repr=False)
    results: Mapping[str, tuple[str, sp.Basic]] = field(repr=False)
    module: str = "bernoulli"
    spot: Mapping[sp.Symbol, str] = field(default_factory=dict, repr=False)
    given: Mapping[str, sp.Basic] = field(default_factory=dict, repr=False)
    uses: tuple[str, ...] = field(default=(), repr=False)

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
        return named(*next(iter(self.results.values())))

    def lambdify(self, *symbols: sp.Symbol, modules: Any = "mpmath") -> Callable[..., Any]:
        """The first result as a function of the given symbols; the numeric layer is faster and keeps more digits."""
        function: Callable[..., Any] = sp.lambdify(symbols, self.expr, modules)
        return function

    def check(self) -> int:
        """Check the derivation and return the number of its steps; what breaks it raises :class:`DerivationError`.

        Each step has to hold and to start from what stands before it, each result has to be the end of a step, and the
        words have to stand beside the formulas for which they were written.
        """
        for fault in (broken_link(self), loose_end(self), self.misplaced()):
            if fault:
                raise DerivationError(f"{self.name}, {fault}")
        for number, step in enumerate(self.steps, start=1):
            if fault := step.fault(step.assumptions or self.assumptions, f"{self.name}/{number}"):
                raise DerivationError(f"{self.name}, step {number} ({step.rule.word}): {fault}")
        return len(self.steps)

    def markdown(self) -> str:
        """The derivation as a section of its page, without the heading."""
        body = insert(read(self.module).sections[self.name].body, self._slot)
        parts = [self._premises(), body, self._spot_check(), self._evaluated_by()]
        return "\n\n".join(filter(None, parts)) + "\n"

    def _premises(self) -> str:
        """What is assumed of the symbols in use, and what the derivation starts from."""
        used = {symbol for step in self.steps for symbol in free_symbols(step)}
        lines = [f"Assumptions: ${self.assumptions.about(used)}$."]
        shown = {slot.removeprefix("let ") for slot in slots(read(self.module).sections[self.name].body)}
        given = [(name, expr) for name, expr in self.given.items() if name not in shown]
        rest = [named(name, expr, "=") for name, expr in given if not alike(name, formula(expr))]
        inline = [f"${one}$" for one in rest if not re.search(r"\\\\|\\,", one)]
        apart = [_displayed(one) for one in rest if f"${one}$" not in inline]
        if rest:
            end = "." if not apart else ", and" if inline else ""
            lines.append(f"Definitions: {', '.join(inline)}{end}".rstrip())
        lines = [wrapped(line) for line in lines] + apart
        if self.uses:
            lines.append(wrapped(f"Results used: {', '.join(map(linked, self.uses))}."))
        return "\n\n".join(lines)

    def _slot(self, slot: str) -> str:
        """What stands in a slot: the results, a definition, or a step."""
        if slot.startswith("let "):
            name = slot.removeprefix("let ")
            return _displayed(named(name, self.given[name]))
        return self._shown(slot.partition(":")[0])

    @cached_property
    def _origins(self) -> list[list[int]]:
        return sources(self)

    def _shown(self, place: str) -> str:
        if place == "result":
            boxed = (rf"\boxed{{{named(name, expr)}}}" for name, expr in self.results.values())
            return "\n\n".join(map(_displayed, boxed))
        number, step = int(place), self.steps[int(place) - 1]
        text = step.latex()
        if step.assumptions and step.assumptions != self.assumptions:
            text = rf"\begin{{gathered}}{text}\\ {self._where(number)}\end{{gathered}}"
        came_from = self._origins[number - 1]
        origin = "" if came_from in ([], [number - 1]) else f" from {', '.join(map(str, came_from))}"
        return _displayed(rf"{text} \tag{{{number}, {step.rule.word}{origin}}}")

    def misplaced(self) -> str | None:
        """What is wrong with the places of the formulas among the words, or None."""
        section = read(self.module).sections.get(self.name)
        if section is None:
            return f"the page {self.module} has no section of this name"
        found = [slot for slot in slots(section.body) if not slot.startswith("let ")]
        wanted = ["result", *map(str, range(1, len(self.steps) + 1))]
        if [slot.partition(":")[0] for slot in found] != wanted:
            return f"the words have the formulas {', '.join(found)} and the derivation has {', '.join(wanted)}"
        claim = section.body.split("{{")[0]
        few = [step for step in self.steps if step.assumptions and any(p.text == "K=3" for p in step.assumptions.parts)]
        if few and not re.search("K=3|three", section.body.split("**Idea.**")[0]):
            return f"a step is shown for K=3, and the claim does not say so: {' '.join(claim.split())[:60]} …"
        for slot in found:
            place, _, mark = slot.partition(":")
            if mark != self.mark(place):
                return (
                    f"the words around formula {place} were written for another one; read them again, "
                    f"and write {{{{{place}:{self.mark(place)}}}}} if they hold"
                )
        return None

    def mark(self, place: str) -> str:
        """A mark of a formula as it is printed, by which the words remember for which formula they were written."""
        premises = ""
        if place == "result":
            premises = " ".join((self._premises() + read(self.module).sections[self.name].body.split("{{")[0]).split())
        return sha256((self._shown(place) + premises).encode()).hexdigest()[:4]

    def _where(self, number: int) -> str:
        """The assumptions of a step in LaTeX, long ones only where they first stand."""
        texts = [_about(step) for step in self.steps]
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
            found = mpmath.nstr(exact, 15).removesuffix(".0")
        return f"Spot check: {values} give ${next(iter(self.results.values()))[0]}={found}$."

    def _evaluated_by(self) -> str:
        names = ", ".join(f"`{name}`" for name in self.results if name.isidentifier())
        if not names:
            return ""
        if self.module == "updates" and self.name != "capacity":
            names = f"{names} of the rule `{self.name.removesuffix('_through')}`"
        home, tests = (f"{self.module}.py", "test_sequence.py") if self.module == "sequence" else (self.module,) * 2
        return wrapped(
            f"Evaluated by {names} in [`lambda_star.{self.module}`](../lambda_star/{home}). "
            "[`tests/symbolic`](../tests/symbolic) compares the code with this result, and "
            f"[`tests/{tests}`](../tests/{tests}) compares it with 50-digit arithmetic."
        )

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"

    def _repr_markdown_(self) -> str:
        return self.markdown().replace("```math", "$$").replace("```", "$$")


def free_symbols(step: Step) -> set[sp.Symbol]:
    """The symbols in a step.

    >>> from lambda_star.symbolic.rules import Rewrite
    >>> sorted(map(str, free_symbols(Step(Rewrite(), sp.Symbol("p"), sp.Symbol("q")))))
    ['p', 'q']
    """
    found: set[sp.Symbol] = step.before.free_symbols | step.after.free_symbols
    return found


def _about(step: Step) -> str:
    return step.assumptions.about(free_symbols(step)) if step.assumptions else ""


def linked(name: str) -> str:
    """Return a link to the section of a derivation.

    >>> linked("limits")
    '[Bounds and limits](bernoulli.md#3-bounds-and-limits)'
    """
    one = REGISTRY[name]()
    sections = list(read(one.module).sections)
    title = one.title
    anchor = re.sub(r"[^\w\- ]", "", f"{sections.index(name) + 1}. {title}".lower()).replace(" ", "-")
    return f"[{title}]({one.module}.md#{anchor})"


def _displayed(latex: str) -> str:
    """A formula of its own; a fenced block is the one form in which GitHub leaves every backslash alone."""
    return f"```math\n{latex}\n```"


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
