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
"""The length of LaTeX up to which an old form is shown beside the new one."""


class Rule:
    """A rule says how one expression leads to the next, shows the step in LaTeX and checks it.

    >>> Rule().show(sp.Symbol("p"), sp.Symbol("q"))
    'p = q'
    """

    word = ""

    def apply(self, before: sp.Expr) -> sp.Expr:
        """Apply the rule to an expression."""
        return before

    def show(self, before: sp.Expr, after: sp.Expr) -> str:
        """Write the step in LaTeX."""
        return f"{formula(before)} = {formula(after)}"

    def show_named(self, name: str, before: sp.Expr, after: sp.Expr) -> str:
        """Write the step in LaTeX when its left side has a name."""
        return f"{name} = {formula(after)}"

    def show_next(self, before: sp.Expr, after: sp.Expr) -> str:
        """Continue a formula in LaTeX that ends with ``before``."""
        return f" = {formula(after)}"

    def check(self, before: sp.Expr, after: sp.Expr, assumptions: Assumptions, seed: str) -> str | None:
        """Return what is wrong with the step, or None if it holds."""
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
        """Write the expression alone."""
        return formula(after)


@dataclass(frozen=True)
class Rewrite(Rule):
    """Write the same number in another form; ``how`` names the manipulation, such as factor, expand or collect.

    >>> Rewrite("factor").word
    'factor'
    """

    how: str = "rewrite"

    @property
    def word(self) -> str:  # type: ignore[override]
        """The manipulation."""
        return self.how

    def show_named(self, name: str, before: sp.Expr, after: sp.Expr) -> str:
        """Write the name, the old form if it is short and looks different, and the new form."""
        old, new = formula(before), formula(after)
        return f"{name} = {new}" if old == new or len(old) > WIDE else f"{name} = {old} = {new}"


@dataclass(frozen=True)
class Differentiate(Rule):
    """Take the partial derivative in a symbol.

    >>> p = sp.Symbol("p")
    >>> Differentiate(p).apply(p**2)
    2*p
    """

    symbol: sp.Symbol
    word = "differentiate"

    def apply(self, before: sp.Expr) -> sp.Expr:
        """Differentiate."""
        return sp.diff(before, self.symbol)

    def show(self, before: sp.Expr, after: sp.Expr) -> str:
        """Write the derivative with its operator."""
        return rf"\frac{{\partial}}{{\partial {formula(self.symbol)}}}\left[{formula(before)}\right] = {formula(after)}"


@dataclass(frozen=True)
class Substitute(Rule):
    """Insert values for symbols.

    >>> p, q = sp.symbols("p q")
    >>> Substitute({p: q}).apply(p**2)
    q**2
    """

    values: Mapping[sp.Symbol, sp.Expr]
    word = "substitute"

    def apply(self, before: sp.Expr) -> sp.Expr:
        """Insert the values, all at once."""
        return before.subs(dict(self.values), simultaneous=True)

    def show(self, before: sp.Expr, after: sp.Expr) -> str:
        """Write the expression, the inserted values and the outcome."""
        inserted = r",\; ".join(f"{formula(s)} = {formula(v)}" for s, v in self.values.items())
        return rf"\left.{formula(before)}\right|_{{{inserted}}} = {formula(after)}"


@dataclass(frozen=True)
class Limit(Rule):
    """Take a limit: a symbol goes to the border of the region as one free parameter goes to 0 or ∞.

    >>> p, u = sp.Symbol("p"), sp.Symbol("u", positive=True)
    >>> Limit(p, sp.Integer(1), u, sp.oo).check(p, sp.Integer(1), Assumptions("0<p<1", {p: u / (1 + u)}), "a seed")
    """

    symbol: sp.Symbol
    point: sp.Expr
    parameter: sp.Symbol
    end: sp.Expr
    word = "limit"

    def show(self, before: sp.Expr, after: sp.Expr) -> str:
        """Write the limit with its operator."""
        return rf"\lim_{{{formula(self.symbol)} \to {formula(self.point)}}}\left[{formula(before)}\right] = {formula(after)}"

    def check(self, before: sp.Expr, after: sp.Expr, assumptions: Assumptions, seed: str) -> str | None:
        """Compare with SymPy's limit, and see that values along the way come closer and closer."""
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
    r"""Solve an equation for a symbol. That there is no other solution is for a step on a sign to show.

    >>> p, q = sp.symbols("p q")
    >>> Solve(p).show(sp.Eq(p, q), q)
    'p = q \\iff p = q'
    """

    symbol: sp.Symbol
    word = "solve"

    def show(self, before: sp.Expr, after: sp.Expr) -> str:
        """Write the equation and its solution."""
        return rf"{formula(before)} \iff {formula(self.symbol)} = {formula(after)}"

    def show_named(self, name: str, before: sp.Expr, after: sp.Expr) -> str:
        """Write the equation and its solution with the name of the latter."""
        symbol = formula(self.symbol)
        return rf"{formula(before)} \iff {symbol if name == symbol else f'{symbol} = {name}'} = {formula(after)}"

    def check(self, before: sp.Expr, after: sp.Expr, assumptions: Assumptions, seed: str) -> str | None:
        """Insert the solution into the equation, and compare it with SymPy's own solution."""
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
    """Show an inequality by a form whose sign is plain, such as a sum or product of positive terms.

    >>> u = sp.Symbol("u", positive=True)
    >>> Sign(">").check(u - 1, u - 1, Assumptions("u>0", {u: u}), "a seed")
    'the form u - 1 does not show > 0'
    """

    relation: str
    word = "sign"

    def show(self, before: sp.Expr, after: sp.Expr) -> str:
        """Write the expression, the form that shows its sign, and the sign."""
        return formula(before) + self.show_next(before, after)

    def show_next(self, before: sp.Expr, after: sp.Expr) -> str:
        """Continue with the form that shows the sign, if it is another one, and the sign."""
        return f"{'' if before == after else f' = {formula(after)}'} {self.relation} 0"

    def show_named(self, name: str, before: sp.Expr, after: sp.Expr) -> str:
        """Write the name if it is not the form itself, the form that shows the sign, and the sign."""
        form = formula(after)
        bare = str.maketrans("", "", " {}")
        left = "" if name.translate(bare) == form.translate(bare) else f"{name} = "
        return f"{left}{form} {self.relation} 0"

    def check(self, before: sp.Expr, after: sp.Expr, assumptions: Assumptions, seed: str) -> str | None:
        """See that the two forms agree and that the second has the sign."""
        if fault := super().check(before, after, assumptions, seed):
            return fault
        wanted = {">": (1,), "<": (-1,), r"\ge": (0, 1), r"\le": (0, -1)}[self.relation]
        if sign(assumptions.insert(after)) not in wanted:
            return f"the form {sp.sstr(after)} does not show {self.relation} 0"
        signs = {int(mpmath.sign(value)) for value in evaluate(assumptions, before, seed)}
        return None if signs <= set(wanted) else f"the sign is {signs} at some points"
