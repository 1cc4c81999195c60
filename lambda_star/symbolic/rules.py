"""The rules that lead from one expression of a derivation to the next; each can show its step and check it.

Each check is made twice: symbolically, and in 50-digit arithmetic at seeded random points of the region.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice

import mpmath
import sympy as sp

from lambda_star.symbolic.assumptions import DIGITS, GUARD, Assumptions, decide, is_zero, same, sign, signs, tidy
from lambda_star.symbolic.latex import alike, formula, named
from lambda_star.symbolic.regions import at

__all__ = ["Differentiate", "Join", "Limit", "Rewrite", "Rule", "Sign", "Solve", "Substitute", "formula", "has_sign"]

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
        return named(name, after)

    def show_next(self, before: sp.Expr, after: sp.Expr) -> str:
        """Continue a formula in LaTeX that ends with ``before``."""
        return f" = {formula(after)}"

    def check(self, before: sp.Expr, after: sp.Expr, assumptions: Assumptions, seed: str) -> str | None:
        """Return what is wrong with the step, or None if it holds."""
        made = self.apply(before)
        if isinstance(made, sp.Rel):
            pairs = zip(made.args, after.args, strict=True)
            faults = [self._differ(one, other, assumptions, seed) for one, other in pairs]
            return next(filter(None, faults), None if made.func == after.func else "the relation is another one")
        return self._differ(made, after, assumptions, seed)

    def _differ(self, made: sp.Expr, after: sp.Expr, assumptions: Assumptions, seed: str) -> str | None:
        """What is wrong with two forms of the same number, or None."""
        if made == after:
            return None
        left, right = (decide(one, assumptions) for one in (made, after))
        if left == right:
            return None
        if not same(assumptions, made, after, seed):
            return (
                f"SymPy makes {sp.sstr(made)} of it, which differs from {sp.sstr(after)} in {DIGITS}-digit arithmetic"
            )
        left, right = assumptions.insert(left), assumptions.insert(right)
        if left.has(sp.Piecewise, sp.Min, sp.Max) or not is_zero(left - right):
            return f"SymPy makes {sp.sstr(made)} of it and does not see that it is {sp.sstr(after)}"
        return None


@dataclass(frozen=True)
class Rewrite(Rule):
    """Write the same number or equation in another form; ``how`` names the manipulation, such as factor or collect.

    Both sides of an equation may be multiplied by ``factor``.

    >>> Rewrite("factor").word
    'factor'
    """

    how: str = "rewrite"
    factor: sp.Expr | None = None

    @property
    def word(self) -> str:  # type: ignore[override]
        """The manipulation."""
        return self.how

    def show(self, before: sp.Basic, after: sp.Basic) -> str:
        """Write both forms; two forms of an equation are equivalent."""
        joint = r"\iff" if isinstance(before, sp.Rel) else "="
        return f"{formula(before)} {joint} {formula(after)}"

    def check(self, before: sp.Basic, after: sp.Basic, assumptions: Assumptions, seed: str) -> str | None:
        """Compare the two forms; of an equation, the differences of the sides may have a factor that is not 0."""
        if self.factor is None:
            return super().check(before, after, assumptions, seed)
        if sign(assumptions.insert(self.factor)) not in {1, -1}:
            return f"the factor {sp.sstr(self.factor)} may be 0"
        left, right = (one.args[0] - one.args[1] for one in (before, after))
        return self._differ(left * self.factor, right, assumptions, seed)

    def show_named(self, name: str, before: sp.Expr, after: sp.Expr) -> str:
        """Write the name, the old form if it is short and looks different, and the new form; of an equation, the forms."""
        if isinstance(after, sp.Rel):
            return self.show(before, after)
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
        """Write the expression, the inserted values and the outcome; of an equation, the outcome and the values."""
        inserted = r",\; ".join(f"{formula(s)} = {formula(v)}" for s, v in self.values.items())
        if isinstance(after, sp.Rel):
            return rf"{formula(after)} \quad\text{{for}}\; {inserted}"
        return rf"\left.{formula(before)}\right|_{{{inserted}}} = {formula(after)}"


@dataclass(frozen=True)
class Limit(Rule):
    """Take a limit: a symbol goes to an end of its range, that is, its own parameter goes to 0 or ∞.

    >>> from lambda_star.symbolic.assumptions import assume
    >>> from lambda_star.symbolic.regions import between
    >>> p = sp.Symbol("p")
    >>> Limit(p, sp.Integer(1)).check(p, sp.Integer(1), assume(between(0, p, 1)), "a seed")
    """

    symbol: sp.Symbol
    point: sp.Expr
    word = "limit"

    def show(self, before: sp.Expr, after: sp.Expr) -> str:
        """Write the limit with its operator."""
        return rf"\lim_{{{formula(self.symbol)} \to {formula(self.point)}}}\left[{formula(before)}\right] = {formula(after)}"

    def check(self, before: sp.Expr, after: sp.Expr, assumptions: Assumptions, seed: str) -> str | None:
        """Compare with SymPy's limit, and see that values along the way come closer and closer."""
        inner, target = tidy(sp.together(assumptions.insert(before))), assumptions.insert(after)
        own = assumptions.own(self.symbol)
        if len(own) != 1:
            return f"{self.symbol} has no range of its own"
        place, goal = assumptions.insert(self.symbol), assumptions.insert(self.point)
        ends = [end for end in (sp.Integer(0), sp.oo) if _equal(sp.limit(place, own[0], end), goal)]
        if not ends:
            return f"{self.symbol} does not go to {sp.sstr(self.point)} at an end of its range"
        found = sp.limit(inner, own[0], ends[0]).replace(
            lambda e: isinstance(e, sp.sign), lambda e: sp.Integer(sign(sp.logcombine(e.args[0], force=True)) or 0)
        )
        if not _equal(found, target):
            return f"SymPy finds the limit {sp.sstr(found)}, not {sp.sstr(after)}"
        return _approaches(inner, target, assumptions, (own[0], ends[0]), seed)


def _equal(left: sp.Expr, right: sp.Expr) -> bool:
    return bool(
        left == right or (left.is_finite is not False and right.is_finite is not False and is_zero(left - right))
    )


def _approaches(
    inner: sp.Expr, target: sp.Expr, assumptions: Assumptions, way: tuple[sp.Symbol, sp.Expr], seed: str
) -> str | None:
    """See that values come closer to a limit as one parameter goes to an end of its range."""
    function = sp.lambdify(assumptions.parameters, (inner, target), "mpmath")
    place = assumptions.parameters.index(way[0])
    for point in islice(assumptions.points(seed), 2):
        with mpmath.workdps(DIGITS + GUARD + 700):
            powers = (mpmath.mpf(10) ** (k if way[1] == sp.oo else -k) for k in (20, 80, 320))
            pairs = [function(*point[:place], power, *point[place + 1 :]) for power in powers]
            far = [-value if goal == mpmath.inf else abs(value - goal) for value, goal in pairs]
        if not far[0] > far[1] > far[2] and far[2] != 0:
            return "the values do not come closer"
    return None


@dataclass(frozen=True)
class Solve(Rule):
    r"""Solve an equation for a symbol: the solution satisfies it, and no other value in the range of the symbol does.

    The second half is shown by the slope of the difference of the two sides, or of their logarithms, which has one sign.

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
        return rf"{formula(before)} \iff {symbol if alike(name, symbol) else f'{symbol} = {name}'} = {formula(after)}"

    def check(self, before: sp.Expr, after: sp.Expr, assumptions: Assumptions, seed: str) -> str | None:
        """Insert the solution into the equation, see that it lies in the range, and exclude any other there."""
        left, right = (side.subs(self.symbol, after) for side in before.args)
        if fault := Rewrite().check(left, right, assumptions, seed):
            return f"the solution does not satisfy the equation: {fault}"
        if not assumptions.own(self.symbol):
            return f"{self.symbol} has no range of its own"
        for place in assumptions.places(seed):
            if not assumptions.holds({**place, self.symbol: at(after, place)}, {self.symbol}):
                return f"the solution {sp.sstr(after)} leaves the range of {self.symbol}"
        left, right = before.args
        return None if self._only_one(left, right, assumptions) else f"another {self.symbol} may solve the equation"

    def _only_one(self, left: sp.Expr, right: sp.Expr, assumptions: Assumptions) -> bool:
        """Whether the two sides, or their logarithms, part in one direction only."""
        forms = (lambda e: e, lambda e: sp.factor(sp.together(tidy(e))), sp.simplify)
        if any(sign(form(assumptions.insert(sp.diff(left - right, self.symbol)))) in {1, -1} for form in forms):
            return True
        if any(sign(assumptions.insert(side)) != 1 for side in (left, right)):
            return False
        quotient = sp.expand_log(sp.log(left), force=True) - sp.expand_log(sp.log(right), force=True)
        return any(sign(form(assumptions.insert(sp.diff(quotient, self.symbol)))) in {1, -1} for form in forms)


@dataclass(frozen=True)
class Sign(Rule):
    """Show an inequality by a form whose sign is plain, such as a sum or product of positive terms.

    >>> from lambda_star.symbolic.assumptions import assume
    >>> from lambda_star.symbolic.regions import above
    >>> u = sp.Symbol("u", positive=True)
    >>> Sign(">").check(u - 1, u - 1, assume(above(0, u)), "a seed")
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
        left = "" if alike(name, form) else f"{name} = "
        return f"{left}{form} {self.relation} 0"

    def check(self, before: sp.Expr, after: sp.Expr, assumptions: Assumptions, seed: str) -> str | None:
        """See that the two forms agree and that the second has the sign."""
        if fault := super().check(before, after, assumptions, seed):
            return fault
        return has_sign(self.relation, before, after, assumptions, seed)


def has_sign(relation: str, expr: sp.Expr, form: sp.Expr, assumptions: Assumptions, seed: str) -> str | None:
    """Return what is wrong with the sign of an expression that a form of it is to show.

    >>> from lambda_star.symbolic.assumptions import assume
    >>> from lambda_star.symbolic.regions import above
    >>> c = sp.Symbol("c", positive=True)
    >>> has_sign(">", c - 1, c - 1, assume(above(1, c)), "a seed")
    """
    wanted = {">": (1,), "<": (-1,), r"\ge": (0, 1), r"\le": (0, -1)}[relation]
    bare = assumptions.insert(form)
    plain = (relation == r"\ge" and bare.is_nonnegative) or (relation == r"\le" and bare.is_nonpositive)
    if not plain and sign(bare) not in wanted:
        return f"the form {sp.sstr(form)} does not show {relation} 0"
    found = signs(assumptions, expr, seed)
    return None if found <= set(wanted) else f"the sign is {found} at some points"


@dataclass(frozen=True)
class Join(Rule):
    """Put the values that hold in parts of a region together into one expression for the whole of it.

    Attributes:
        regions: where each of the values was found; together they cover the region of the step.

    >>> from lambda_star.symbolic.assumptions import assume
    >>> from lambda_star.symbolic.regions import above, between
    >>> c = sp.Symbol("c", positive=True)
    >>> either = Join((assume(between(0, c, 1)), assume(above(1, c))))
    >>> either.check(sp.Tuple(c, 1), sp.Min(c, 1), assume(above(0, c)), "a seed")
    """

    regions: tuple[Assumptions, ...]
    word = "join"

    def show(self, before: sp.Expr, after: sp.Expr) -> str:
        """Write the expression alone."""
        return formula(after)

    def check(self, before: sp.Expr, after: sp.Expr, assumptions: Assumptions, seed: str) -> str | None:
        """See that the expression has each value where it was found, and that no place of the region is left out."""
        for value, where in zip(before, self.regions, strict=True):
            if fault := Rewrite().check(after, value, where, seed):
                return f"for {where.text}: {fault}"
        used = before.free_symbols | after.free_symbols
        for place in (place for more in range(5) for place in assumptions.places(f"{seed}/{more}")):
            if not any(where.holds(place, used) for where in self.regions):
                return f"no case covers {', '.join(f'{s}={mpmath.nstr(v, 5)}' for s, v in place.items())}"
        return None
