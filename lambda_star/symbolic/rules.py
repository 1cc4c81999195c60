"""The rules that lead from one expression of a derivation to the next; each can show its step and check it.

Each check is made twice: symbolically, and in 50-digit arithmetic at seeded random points of the region.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import mpmath
import sympy as sp

from lambda_star.symbolic.assumptions import DIGITS, GUARD, Assumptions, agree, evaluate, is_zero, sign, tidy
from lambda_star.symbolic.latex import formula

__all__ = ["Define", "Differentiate", "Limit", "Rewrite", "Rule", "Sign", "Solve", "Substitute", "formula"]

WIDE = 200
"""Characters of LaTeX that fit beside another form on one line."""


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

    def show_next(self, before: sp.Expr, after: sp.Expr) -> str:
        """The step in LaTeX where the formula before it ends with ``before``."""
        return f" = {formula(after)}"

    def check(self, before: sp.Expr, after: sp.Expr, assumptions: Assumptions, seed: str) -> str | None:
        """What is wrong with the step, or None if nothing is."""
        made = self.apply(before)
        if not is_zero(assumptions.insert(made) - assumptions.insert(after)):
            return f"SymPy makes {sp.sstr(made)} of it, not {sp.sstr(after)}"
        pairs = zip(evaluate(assumptions, made, seed), evaluate(assumptions, after, seed), strict=True)
        if not all(agree(left, right) for left, right in pairs):
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
    """The limit as a symbol goes to a point on the border of the region, reached as one free parameter runs to 0 or ∞.

    >>> p, u = sp.Symbol("p"), sp.Symbol("u", positive=True)
    >>> Limit(p, sp.Integer(1), u, sp.oo).check(p, sp.Integer(1), Assumptions("0<p<1", {p: u / (1 + u)}), "a seed")
    """

    symbol: sp.Symbol
    point: sp.Expr
    parameter: sp.Symbol
    end: sp.Expr
    word = "limit"

    def show(self, before: sp.Expr, after: sp.Expr) -> str:
        """The limit, written out."""
        return rf"\lim_{{{formula(self.symbol)} \to {formula(self.point)}}}\left[{formula(before)}\right] = {formula(after)}"

    def check(self, before: sp.Expr, after: sp.Expr, assumptions: Assumptions, seed: str) -> str | None:
        """SymPy's limit, and values that come closer and closer."""
        inner, target = tidy(sp.together(assumptions.insert(before))), assumptions.insert(after)
        found = sp.limit(inner, self.parameter, self.end).replace(
            lambda e: isinstance(e, sp.sign), lambda e: sp.Integer(sign(sp.logcombine(e.args[0], force=True)) or 0)
        )
        if found != target and not is_zero(found - target):
            return f"SymPy finds the limit {sp.sstr(found)}, not {sp.sstr(after)}"
        here = sp.limit(assumptions.insert(self.symbol), self.parameter, self.end)
        if here != self.point and not is_zero(here - assumptions.insert(self.point)):
            return f"the symbol goes to {sp.sstr(here)}, not to {sp.sstr(self.point)}"
        function = sp.lambdify(assumptions.parameters, (inner, target), "mpmath")
        place = assumptions.parameters.index(self.parameter)
        for point in assumptions.points(seed):
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

    def check(self, before: sp.Expr, after: sp.Expr, assumptions: Assumptions, seed: str) -> str | None:
        """The solution satisfies the equation, and SymPy's own solution is the same."""
        left, right = (side.subs(self.symbol, after) for side in before.args)
        if fault := Rewrite().check(left, right, assumptions, seed):
            return f"the solution does not satisfy the equation: {fault}"
        expected = evaluate(assumptions, after, seed)
        others = [evaluate(assumptions, other, seed) for other in sp.solve(before, self.symbol)]
        if others and not any(all(map(agree, other, expected)) for other in others):
            return f"SymPy solves it otherwise than by {sp.sstr(after)}"
        return None


@dataclass(frozen=True)
class Sign(Rule):
    """An inequality, by a form whose sign is plain: a product or sum of terms that are positive in the region.

    >>> u = sp.Symbol("u", positive=True)
    >>> Sign(">").check(u - 1, u - 1, Assumptions("u>0", {u: u}), "a seed")
    'the form u - 1 does not show > 0'
    """

    relation: str
    word = "sign"

    def show(self, before: sp.Expr, after: sp.Expr) -> str:
        """The expression, the form that shows its sign, and the sign."""
        return formula(before) + self.show_next(before, after)

    def show_next(self, before: sp.Expr, after: sp.Expr) -> str:
        """The sign, after the form that shows it where that is another one."""
        return f"{'' if before == after else f' = {formula(after)}'} {self.relation} 0"

    def show_named(self, name: str, before: sp.Expr, after: sp.Expr) -> str:
        """The same under a name."""
        return f"{name} = {formula(after)} {self.relation} 0"

    def check(self, before: sp.Expr, after: sp.Expr, assumptions: Assumptions, seed: str) -> str | None:
        """The two forms agree, and the second has the sign."""
        if fault := super().check(before, after, assumptions, seed):
            return fault
        wanted = {">": (1,), "<": (-1,), r"\ge": (0, 1), r"\le": (0, -1)}[self.relation]
        if sign(assumptions.insert(after)) not in wanted:
            return f"the form {sp.sstr(after)} does not show {self.relation} 0"
        signs = {int(mpmath.sign(value)) for value in evaluate(assumptions, before, seed)}
        return None if signs <= set(wanted) else f"the sign is {signs} at some points"
