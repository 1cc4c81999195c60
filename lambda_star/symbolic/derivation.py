"""What a derivation is: numbered steps, each with a rule that leads from one expression to the next and a check.

A check is done twice: symbolically, in parameters for which SymPy can see every sign, and in 50-digit arithmetic at
seeded random points of the domain. A step that fails either raises :class:`DerivationError`, which names it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import mpmath
import sympy as sp

from lambda_star.symbolic.symbols import Delta, gap

__all__ = [
    "Define",
    "Derivation",
    "DerivationError",
    "Differentiate",
    "Domain",
    "Limit",
    "Rewrite",
    "Rule",
    "Sign",
    "Solve",
    "Step",
    "Substitute",
    "formula",
]

DIGITS = 50
GUARD = 40
"""Digits beyond those asked for, lost to cancellation."""
POINTS = 4
WIDE = 200
"""Characters of LaTeX that fit beside another form on one line."""


class DerivationError(AssertionError):
    """A step that does not hold; the message names derivation, step and what disagrees.

    >>> raise DerivationError("threshold, step 3 (…): the two sides differ")
    Traceback (most recent call last):
    lambda_star.symbolic.derivation.DerivationError: threshold, step 3 (…): the two sides differ
    """


@dataclass(frozen=True)
class Domain:
    """A part of the space of the symbols, written in free positive parameters.

    Attributes:
        text: the assumptions, in LaTeX.
        values: each symbol as an expression in positive symbols that may take any positive value.

    >>> p, u = sp.Symbol("p"), sp.Symbol("u", positive=True)
    >>> Domain("0<p<1", {p: u / (1 + u)}).insert(p / (1 - p)).simplify()
    u
    """

    text: str
    values: Mapping[sp.Symbol, sp.Expr]

    @cached_property
    def parameters(self) -> tuple[sp.Symbol, ...]:
        """The free positive parameters."""
        return tuple(sorted({s for value in self.values.values() for s in value.free_symbols}, key=str))

    def insert(self, expr: sp.Expr) -> sp.Expr:
        """An expression in the free parameters."""
        return expr.xreplace(dict(self.values))

    def points(self, seed: str) -> Iterator[tuple[mpmath.mpf, ...]]:
        """Random values of the free parameters, each spread over two powers of ten."""
        rng = random.Random(seed)
        for _ in range(POINTS):
            yield tuple(mpmath.mpf(10) ** mpmath.mpf(rng.uniform(-1, 1)) for _ in self.parameters)


def _tidy(expr: sp.Expr) -> sp.Expr:
    """Logarithms of positive parameters, taken apart into logarithms of their factors."""
    return sp.expand_log(
        expr.replace(lambda e: isinstance(e, sp.log), lambda e: sp.log(sp.factor(sp.together(e.args[0])))), force=True
    )


def _is_zero(expr: sp.Expr) -> bool:
    """Whether an expression in positive parameters is zero; SymPy may fail to see that it is."""
    attempts: tuple[Callable[[sp.Expr], sp.Expr], ...] = (
        lambda e: e,
        lambda e: sp.expand(sp.together(_tidy(e))),
        lambda e: sp.simplify(_tidy(e)),
        lambda e: sp.simplify(sp.powsimp(sp.expand_power_base(sp.expand_power_exp(_tidy(e)), force=True), force=True)),
        lambda e: sp.simplify(_tidy(e).rewrite(sp.exp)),
    )
    return any(attempt(expr) == 0 for attempt in attempts)


def _sign(expr: sp.Expr) -> int | None:
    """The sign of an expression in positive parameters, if factors and logarithms show it."""

    def log_with_sign(logarithm: sp.Expr) -> sp.Expr:
        above = _sign(sp.factor(sp.together(logarithm.args[0] - 1)))
        return logarithm if above is None else above * sp.Dummy(positive=True)

    expr = expr.replace(lambda e: isinstance(e, sp.log), log_with_sign)
    for form in (expr, sp.factor(sp.together(expr))):
        if form.is_positive or form.is_negative or form.is_zero:
            return 0 if form.is_zero else 1 if form.is_positive else -1
    return None


def _evaluate(domain: Domain, expr: sp.Expr, seed: str) -> list[mpmath.mpf]:
    """An expression at the random points of a domain."""
    function = sp.lambdify(domain.parameters, domain.insert(expr), "mpmath")
    with mpmath.workdps(DIGITS + GUARD):
        return [function(*point) for point in domain.points(seed)]


def _agree(left: mpmath.mpf, right: mpmath.mpf) -> bool:
    with mpmath.workdps(DIGITS + GUARD):
        return bool(abs(left - right) <= mpmath.mpf(10) ** -DIGITS * max(1, abs(left), abs(right)))


def formula(expr: Any) -> str:
    r"""An expression in LaTeX that GitHub renders, with the log-odds gap called Δ.

    >>> formula(1 / gap)
    '\\frac{1}{\\Delta}'
    """
    return str(sp.latex(sp.sympify(expr).subs(gap, Delta))).replace(r"\operatorname", r"\mathrm")


class Rule:
    """How one expression leads to the next; each kind says what it does, shows it and checks it.

    >>> Rule().show(sp.Symbol("p"), sp.Symbol("q"))
    'p = q'
    """

    word = ""

    def apply(self, before: sp.Expr) -> sp.Expr:
        """What the rule makes of an expression."""
        return before

    def show(self, before: sp.Expr, after: sp.Expr) -> str:
        """The step in LaTeX."""
        return f"{formula(before)} = {formula(after)}"

    def show_named(self, name: str, before: sp.Expr, after: sp.Expr) -> str:
        """The step in LaTeX where the left side has a name."""
        return f"{name} = {formula(after)}"

    def check(self, before: sp.Expr, after: sp.Expr, domain: Domain, seed: str) -> str | None:
        """What is wrong with the step, if anything is."""
        made = self.apply(before)
        if not _is_zero(domain.insert(made) - domain.insert(after)):
            return f"SymPy makes {sp.sstr(made)} of it, not {sp.sstr(after)}"
        pairs = zip(_evaluate(domain, made, seed), _evaluate(domain, after, seed), strict=True)
        if not all(_agree(left, right) for left, right in pairs):
            return f"the two sides differ in {DIGITS}-digit arithmetic"
        return None


@dataclass(frozen=True)
class Define(Rule):
    """Give an expression its name.

    >>> Define().show(sp.Symbol("p"), sp.Symbol("p"))
    'p'
    """

    word = "define"

    def show(self, before: sp.Expr, after: sp.Expr) -> str:
        """The expression alone."""
        return formula(after)


@dataclass(frozen=True)
class Rewrite(Rule):
    """The same number in another form; ``how`` says how: factor, expand, collect.

    >>> Rewrite("factor").word
    'factor'
    """

    how: str = "rewrite"

    @property
    def word(self) -> str:  # type: ignore[override]
        """What is done."""
        return self.how

    def show_named(self, name: str, before: sp.Expr, after: sp.Expr) -> str:
        """Name, old and new form, the old one only where it is short."""
        short = len(formula(before)) <= WIDE
        return f"{name} = {self.show(before, after) if short else formula(after)}"


@dataclass(frozen=True)
class Differentiate(Rule):
    """The partial derivative in a symbol.

    >>> p = sp.Symbol("p")
    >>> Differentiate(p).apply(p**2)
    2*p
    """

    symbol: sp.Symbol
    word = "differentiate"

    def apply(self, before: sp.Expr) -> sp.Expr:
        """The derivative."""
        return sp.diff(before, self.symbol)

    def show(self, before: sp.Expr, after: sp.Expr) -> str:
        """The derivative, written out."""
        return rf"\frac{{\partial}}{{\partial {formula(self.symbol)}}}\left[{formula(before)}\right] = {formula(after)}"


@dataclass(frozen=True)
class Substitute(Rule):
    """Values in place of symbols.

    >>> p, q = sp.symbols("p q")
    >>> Substitute({p: q}).apply(p**2)
    q**2
    """

    values: Mapping[sp.Symbol, sp.Expr]
    word = "substitute"

    def apply(self, before: sp.Expr) -> sp.Expr:
        """The expression with the values inserted."""
        return before.subs(dict(self.values), simultaneous=True)

    def show(self, before: sp.Expr, after: sp.Expr) -> str:
        """The expression, what is inserted, and what comes of it."""
        inserted = r",\; ".join(f"{formula(s)} = {formula(v)}" for s, v in self.values.items())
        return rf"\left.{formula(before)}\right|_{{{inserted}}} = {formula(after)}"


@dataclass(frozen=True)
class Limit(Rule):
    """The limit as a symbol goes to a point of the domain's border, along which one free parameter runs to 0 or ∞.

    >>> p, u = sp.Symbol("p"), sp.Symbol("u", positive=True)
    >>> Limit(p, sp.Integer(1), u, sp.oo).check(p, sp.Integer(1), Domain("0<p<1", {p: u / (1 + u)}), "a seed")
    """

    symbol: sp.Symbol
    point: sp.Expr
    parameter: sp.Symbol
    end: sp.Expr
    word = "take the limit"

    def show(self, before: sp.Expr, after: sp.Expr) -> str:
        """The limit, written out."""
        return rf"\lim_{{{formula(self.symbol)} \to {formula(self.point)}}}\left[{formula(before)}\right] = {formula(after)}"

    def check(self, before: sp.Expr, after: sp.Expr, domain: Domain, seed: str) -> str | None:
        """SymPy's limit, and values that come closer and closer."""
        inner, target = _tidy(sp.together(domain.insert(before))), domain.insert(after)
        found = sp.limit(inner, self.parameter, self.end).replace(
            lambda e: isinstance(e, sp.sign), lambda e: sp.Integer(_sign(sp.logcombine(e.args[0], force=True)) or 0)
        )
        if found != target and not _is_zero(found - target):
            return f"SymPy finds the limit {sp.sstr(found)}, not {sp.sstr(after)}"
        here = sp.limit(domain.insert(self.symbol), self.parameter, self.end)
        if here != self.point and not _is_zero(here - domain.insert(self.point)):
            return f"the symbol goes to {sp.sstr(here)}, not to {sp.sstr(self.point)}"
        function = sp.lambdify(domain.parameters, (inner, target), "mpmath")
        place = domain.parameters.index(self.parameter)
        for point in domain.points(seed):
            with mpmath.workdps(DIGITS + GUARD + 700):
                powers = (mpmath.mpf(10) ** (k if self.end == sp.oo else -k) for k in (20, 80, 320))
                pairs = [function(*point[:place], power, *point[place + 1 :]) for power in powers]
                far = [-value if goal == mpmath.inf else abs(value - goal) for value, goal in pairs]
            if not far[0] > far[1] > far[2] and far[2] != 0:
                return "the values do not come closer"
        return None


@dataclass(frozen=True)
class Solve(Rule):
    r"""The value of a symbol at which an equation holds; a step on a sign says that there is no other.

    >>> p, q = sp.symbols("p q")
    >>> Solve(p).show(sp.Eq(p, q), q)
    'p = q \\iff p = q'
    """

    symbol: sp.Symbol
    word = "solve"

    def show(self, before: sp.Expr, after: sp.Expr) -> str:
        """The equation and its solution."""
        return rf"{formula(before)} \iff {formula(self.symbol)} = {formula(after)}"

    def show_named(self, name: str, before: sp.Expr, after: sp.Expr) -> str:
        """The equation and its solution under its own name."""
        symbol = formula(self.symbol)
        return rf"{formula(before)} \iff {symbol if name == symbol else f'{symbol} = {name}'} = {formula(after)}"

    def check(self, before: sp.Expr, after: sp.Expr, domain: Domain, seed: str) -> str | None:
        """The solution satisfies the equation, and SymPy's own solution is the same."""
        left, right = (side.subs(self.symbol, after) for side in before.args)
        if fault := Rewrite().check(left, right, domain, seed):
            return f"the solution does not satisfy the equation: {fault}"
        expected = _evaluate(domain, after, seed)
        others = [_evaluate(domain, other, seed) for other in sp.solve(before, self.symbol)]
        if others and not any(all(map(_agree, other, expected)) for other in others):
            return f"SymPy solves it otherwise than by {sp.sstr(after)}"
        return None


@dataclass(frozen=True)
class Sign(Rule):
    """An inequality, by a form whose sign is plain: a product or sum of terms that are positive on the domain.

    >>> u = sp.Symbol("u", positive=True)
    >>> Sign(">").check(u - 1, u - 1, Domain("u>0", {u: u}), "a seed")
    'the form u - 1 does not show > 0'
    """

    relation: str
    word = "show the sign"

    def show(self, before: sp.Expr, after: sp.Expr) -> str:
        """The expression, the form that shows its sign, and the sign."""
        form = "" if before == after else f" = {formula(after)}"
        return rf"{formula(before)}{form} {self.relation} 0"

    def show_named(self, name: str, before: sp.Expr, after: sp.Expr) -> str:
        """The same under a name."""
        return f"{name} = {formula(after)} {self.relation} 0"

    def check(self, before: sp.Expr, after: sp.Expr, domain: Domain, seed: str) -> str | None:
        """The two forms agree, and the second has the sign."""
        if fault := super().check(before, after, domain, seed):
            return fault
        wanted = {">": (1,), "<": (-1,), r"\ge": (0, 1), r"\le": (0, -1)}[self.relation]
        if _sign(domain.insert(after)) not in wanted:
            return f"the form {sp.sstr(after)} does not show {self.relation} 0"
        signs = {int(mpmath.sign(value)) for value in _evaluate(domain, before, seed)}
        return None if signs <= set(wanted) else f"the sign is {signs} at some points"


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
