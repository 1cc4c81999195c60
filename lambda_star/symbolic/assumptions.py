"""Where a derivation holds, and what can be decided there: whether an expression is zero, its sign and its value.

SymPy recognises the sign of a sum or a product only if every part has one. Assumptions therefore express their symbols in
free positive parameters. Random values of the same parameters give the points for 50-digit arithmetic.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

import mpmath
import sympy as sp

from lambda_star import _deprecated
from lambda_star.symbolic.regions import Part, at, numeric

__all__ = ["DIGITS", "GUARD", "Assumptions", "agree", "assume", "at", "decide", "is_zero", "same", "sign", "signs"]
__all__ += ["tidy"]

_deprecated.serve(__name__)

DIGITS = 50
GUARD = 40
"""Digits carried beyond those that are compared, because cancellation loses some."""
PRECISIONS = (DIGITS + GUARD, 600, 8000)
"""Digits to compute with, in turn: near a corner of a region more than the first of them can cancel."""
BASE = 1 + sp.Dummy("e", positive=True)
"""Euler's number where only its being above 1 matters, so that SymPy multiplies it out like any other symbol."""
SPANS = (1, 1, 3, 3)
"""The random points of a region: the powers of ten by which their parameters may differ from 1."""


@dataclass(frozen=True)
class Assumptions:
    r"""The region in which a derivation or a step holds; its words and its parameters come from the same parts.

    Attributes:
        parts: what is assumed, each part after those whose symbols it uses.

    >>> from lambda_star.symbolic.regions import above, between
    >>> p, c = sp.symbols("p c", positive=True)
    >>> assume(between(0, p, 1), above(1, c)).text
    '0<p<1,\\quad c>1'
    """

    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        known: set[sp.Symbol] = set()
        for part in self.parts:
            if lost := part.needs - known:
                raise ValueError(f"{part.latex()} needs {lost}, which no part before it declares")
            if twice := known & set(part.symbols):
                raise ValueError(f"{part.latex()} declares {twice} once more")
            if part.kind == "let" and not part.needs:
                raise ValueError(f"{part.latex()} leaves one value only")
            known |= set(part.symbols)

    @cached_property
    def text(self) -> str:
        """All that is assumed, in LaTeX."""
        return self.about(None)

    def about(self, used: set[sp.Symbol] | None) -> str:
        """What is assumed of the symbols that are used, and of those in their bounds."""
        parts = []
        for part in reversed(self.parts):
            if used is None or not part.symbols or used & set(part.symbols):
                parts.append(part.latex(used))
                used = None if used is None else used | part.needs
        return r",\quad ".join(filter(None, reversed(parts)))

    @cached_property
    def _filled(self) -> tuple[dict[sp.Symbol, sp.Expr], dict[sp.Symbol, tuple[sp.Symbol, ...]]]:
        values: dict[sp.Symbol, sp.Expr] = {}
        own: dict[sp.Symbol, tuple[sp.Symbol, ...]] = {}
        fresh = (sp.Symbol(f"xi{number}", positive=True) for number in range(1, 99))
        seen: set[sp.Symbol] = set()
        for part in self.parts:
            for symbol, value in part.values(fresh).items():
                values[symbol] = value.xreplace(values)
                new = values[symbol].free_symbols - seen
                own[symbol] = tuple(sorted(new, key=str))
                seen |= new
        return values, own

    @property
    def values(self) -> Mapping[sp.Symbol, sp.Expr]:
        """Each symbol as an expression in positive symbols that may take any positive value."""
        return self._filled[0]

    def own(self, symbol: sp.Symbol) -> tuple[sp.Symbol, ...]:
        """The parameters that this symbol has beyond those of the symbols before it."""
        return self._filled[1].get(symbol, ())

    @cached_property
    def parameters(self) -> tuple[sp.Symbol, ...]:
        """The free positive parameters."""
        return tuple(sorted({s for value in self.values.values() for s in value.free_symbols}, key=str))

    def use(self, *parts: Part) -> Assumptions:
        """Return the region with other parts in place of those about the same symbols."""
        new = {symbol for part in parts for symbol in part.symbols}
        return Assumptions((*(part for part in self.parts if not new & set(part.symbols)), *parts))

    def insert(self, expr: sp.Expr) -> sp.Expr:
        """Return an expression in the free parameters."""
        return expr.xreplace(dict(self.values))

    def points(self, seed: str) -> Iterator[tuple[mpmath.mpf, ...]]:
        """Yield random values of the free parameters, some of them far out."""
        return _points(self.parameters, seed)

    def places(self, seed: str) -> Iterator[dict[sp.Symbol, mpmath.mpf]]:
        """Yield random values of the symbols."""
        function = numeric(self.parameters, tuple(self.values.values()))
        for point in self.points(seed):
            with mpmath.workdps(PRECISIONS[1]):
                yield dict(zip(self.values, function(*point), strict=True))

    def holds(self, place: Mapping[sp.Symbol, mpmath.mpf], used: set[sp.Symbol]) -> bool:
        """Whether values of the symbols that are used lie in the region."""
        with mpmath.workdps(PRECISIONS[1]):
            return all(part.holds(place) for part in self.parts if used & set(part.symbols))


def assume(*parts: Part) -> Assumptions:
    """Return the region in which all parts hold.

    >>> from lambda_star.symbolic.regions import above
    >>> c = sp.Symbol("c", positive=True)
    >>> assume(above(1, c)).insert(c)
    xi1 + 1
    """
    return Assumptions(parts)


def _points(parameters: tuple[sp.Symbol, ...], seed: str) -> Iterator[tuple[mpmath.mpf, ...]]:
    rng = random.Random(seed)
    for span in SPANS:
        yield tuple(mpmath.mpf(10) ** mpmath.mpf(rng.uniform(-span, span)) for _ in parameters)


def tidy(expr: sp.Expr) -> sp.Expr:
    """Split each logarithm of positive parameters into the logarithms of its factors.

    >>> u, v = sp.symbols("u v", positive=True)
    >>> tidy(sp.log(u / v))
    log(u) - log(v)
    """
    return sp.expand_log(
        expr.replace(lambda e: isinstance(e, sp.log), lambda e: sp.log(sp.factor(sp.together(e.args[0])))), force=True
    )


def is_zero(expr: sp.Expr) -> bool:
    """Return whether SymPy can show that an expression in positive parameters is zero.

    >>> u, v = sp.symbols("u v", positive=True)
    >>> is_zero(sp.log(u / v) - sp.log(u) + sp.log(v))
    True
    """
    attempts: tuple[Callable[[sp.Expr], sp.Expr], ...] = (
        lambda e: e,
        _cancelled,
        lambda e: sp.expand(sp.together(tidy(e))),
        lambda e: sp.simplify(tidy(e)),
        lambda e: sp.simplify(sp.powsimp(sp.expand_power_base(sp.expand_power_exp(tidy(e)), force=True), force=True)),
        lambda e: sp.simplify(tidy(e).rewrite(sp.exp)),
    )
    return any(attempt(expr) == 0 for attempt in attempts)


def _cancelled(expr: sp.Expr) -> sp.Expr:
    """Multiply out the terms, but nothing inside them, so that a factor cancels against its inverse."""
    terms = expr.replace(lambda e: isinstance(e, sp.exp), lambda e: sp.exp(_terms(e.args[0])))
    return _terms(terms)


def _terms(expr: sp.Expr) -> sp.Expr:
    return sp.Add(*(sp.expand(term, deep=False) for term in sp.Add.make_args(expr)))


@lru_cache(maxsize=4096)
def sign(expr: sp.Expr) -> int | None:
    """Return the sign of an expression in positive parameters, or None if its factors and logarithms do not show it.

    >>> u = sp.Symbol("u", positive=True)
    >>> sign(sp.log(1 + u)), sign(sp.exp(-u) - 1), sign(sp.log(u))
    (1, -1, None)
    """
    if expr.is_Mul:
        factors = [sign(factor) for factor in expr.args]
        if None not in factors:
            return int(sp.prod(factors))

    expr = expr.replace(lambda e: isinstance(e, sp.exp) and e.args[0].is_Number, lambda e: BASE ** e.args[0])
    expr = expr.xreplace({sp.E: BASE})
    for form in (expr, _one_logarithm(expr)):
        logs = {one: _signed(one, sign(one.args[0] - 1)) for one in form.atoms(sp.log)}
        powers = {one: _signed(one, sign(one.args[0])) for one in form.atoms(sp.exp)}
        for known in ({}, logs, powers, logs | powers) if logs or powers else ({},):
            if (found := _plain_sign(form.xreplace(known))) is not None:
                return found
        if not expr.has(sp.log):
            break
    return None


def _plain_sign(expr: sp.Expr) -> int | None:
    """The sign of an expression as it stands, of its terms over a common denominator, or of its factors."""
    if (found := _seen_sign(expr)) is not None:
        return found
    above, below = sp.fraction(sp.together(expr))
    under = _seen_sign(below)
    if under:
        found = _seen_sign(sp.expand(above))
        found = _seen_sign(sp.factor(above)) if found is None else found
        return None if found is None else found * under
    return _seen_sign(sp.factor(above / below))


def _seen_sign(expr: sp.Expr) -> int | None:
    return 1 if expr.is_positive else -1 if expr.is_negative else 0 if expr.is_zero else None


def _one_logarithm(expr: sp.Expr) -> sp.Expr:
    """A logarithm and other terms as one logarithm."""
    whole = sp.logcombine(sp.expand(expr), force=True)
    logs = [term for term in sp.Add.make_args(whole) if isinstance(term, sp.log)]
    if len(logs) != 1 or whole == logs[0]:
        return whole
    if not (whole - logs[0]).free_symbols:
        return sp.log(logs[0].args[0] * sp.exp(whole - logs[0]))
    above, below = sp.fraction(sp.together(logs[0].args[0]))
    return sp.log(sp.expand(above * sp.exp(whole - logs[0])) / below)


def _signed(expr: sp.Expr, beyond: int | None) -> sp.Expr:
    """A logarithm, or an exponential, by what is known of its sign, or of that of its argument."""
    if not beyond:
        return expr
    size = sp.Dummy(positive=True)
    return beyond * size if isinstance(expr, sp.log) else (1 + size) ** beyond


def decide(expr: sp.Expr, assumptions: Assumptions) -> sp.Expr:
    """Return an expression with the cases, minima and maxima decided that the signs of differences decide.

    >>> from lambda_star.symbolic.regions import above
    >>> c = sp.Symbol("c", positive=True)
    >>> decide(sp.Piecewise((c, c > 1), (0, True)), assume(above(1, c)))
    c
    """
    if not expr.has(sp.Piecewise, sp.Min, sp.Max):
        return expr
    if isinstance(expr, sp.Piecewise):
        return _case(expr, assumptions)
    expr = expr.func(*(decide(one, assumptions) for one in expr.args))
    return _extreme(expr, assumptions) if isinstance(expr, sp.Min | sp.Max) else expr


def _compared(left: sp.Expr, right: sp.Expr, assumptions: Assumptions) -> int | None:
    return sign(assumptions.insert(left - right))


def _truth(relation: sp.Rel, assumptions: Assumptions) -> sp.Basic:
    found = _compared(decide(relation.lhs, assumptions), decide(relation.rhs, assumptions), assumptions)
    holds = {sp.Gt: (1,), sp.Lt: (-1,), sp.Ge: (0, 1), sp.Le: (-1, 0), sp.Eq: (0,), sp.Ne: (-1, 1)}[relation.func]
    return relation if found is None else sp.true if found in holds else sp.false


def _case(pieces: sp.Piecewise, assumptions: Assumptions) -> sp.Expr:
    for value, condition in pieces.args:
        known = condition.xreplace({one: _truth(one, assumptions) for one in condition.atoms(sp.Rel)})
        if known == sp.true:
            return decide(value, assumptions)
        if known != sp.false:
            break
    return pieces


def _extreme(choice: sp.Expr, assumptions: Assumptions) -> sp.Expr:
    wanted = (0, 1) if isinstance(choice, sp.Max) else (0, -1)
    for one in choice.args:
        if all(_compared(one, other, assumptions) in wanted for other in choice.args if other is not one):
            return one
    return choice


def _evaluated(
    assumptions: Assumptions, exprs: tuple[sp.Expr, ...], seed: str, digits: int
) -> Iterator[list[mpmath.mpf]]:
    function = numeric(assumptions.parameters, tuple(assumptions.insert(one) for one in exprs))
    for point in assumptions.points(seed):
        with mpmath.workdps(digits):
            yield function(*point)


def same(assumptions: Assumptions, left: sp.Expr, right: sp.Expr, seed: str) -> bool:
    """Whether two expressions agree to 50 digits at the random points of a region.

    >>> from lambda_star.symbolic.regions import above
    >>> c = sp.Symbol("c", positive=True)
    >>> same(assume(above(1, c)), c / 3, c / 3 + sp.Float("1e-45"), "a seed")
    False
    """
    for digits in PRECISIONS:
        try:
            pairs = list(_evaluated(assumptions, (left, right), seed, digits))
        except ZeroDivisionError:  # a difference that is 0 to so many digits
            continue
        if all(agree(one, other) for one, other in pairs):
            return True
        if all(abs(one - other) > abs(other) / 1000 for one, other in pairs):
            return False
    return False


def signs(assumptions: Assumptions, expr: sp.Expr, seed: str) -> set[int]:
    """The signs of an expression at the random points of a region.

    >>> from lambda_star.symbolic.regions import above
    >>> c = sp.Symbol("c", positive=True)
    >>> signs(assume(above(1, c)), c - 1, "a seed")
    {1}
    """
    found: set[int] = set()
    for digits in PRECISIONS:
        try:
            values = [value for (value,) in _evaluated(assumptions, (expr,), seed, digits)]
        except ZeroDivisionError:
            continue
        found = {int(mpmath.sign(value)) for value in values}
        if all(abs(value) > mpmath.mpf(10) ** (GUARD - digits) for value in values):
            break
    return found


def agree(left: mpmath.mpf, right: mpmath.mpf) -> bool:
    """Return whether two values agree to 50 digits.

    >>> agree(mpmath.mpf(1), mpmath.mpf("1.0000000001"))
    False
    """
    with mpmath.workdps(DIGITS + GUARD):
        return bool(left == right or abs(left - right) <= mpmath.mpf(10) ** -DIGITS * max(1, abs(left), abs(right)))
