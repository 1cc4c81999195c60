"""Where a derivation holds, and what can be decided there: whether an expression is zero, its sign and its value.

SymPy recognises the sign of a sum or a product only if every part has one. Assumptions therefore express their symbols in
free positive parameters. Random values of the same parameters give the points for 50-digit arithmetic.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import mpmath
import sympy as sp

from lambda_star import _deprecated

__all__ = ["DIGITS", "GUARD", "Assumptions", "agree", "evaluate", "is_zero", "sign", "tidy"]

_deprecated.serve(__name__)

DIGITS = 50
GUARD = 40
"""Digits carried beyond those that are compared, because cancellation loses some."""
POINTS = 4


@dataclass(frozen=True)
class Assumptions:
    """The region in which a derivation or a step holds, written in free positive parameters.

    Attributes:
        text: the assumptions, in LaTeX.
        values: each symbol as an expression in positive symbols that may take any positive value.

    >>> p, u = sp.Symbol("p"), sp.Symbol("u", positive=True)
    >>> Assumptions("0<p<1", {p: u / (1 + u)}).insert(p / (1 - p)).simplify()
    u
    """

    text: str
    values: Mapping[sp.Symbol, sp.Expr]

    @cached_property
    def parameters(self) -> tuple[sp.Symbol, ...]:
        """The free positive parameters."""
        return tuple(sorted({s for value in self.values.values() for s in value.free_symbols}, key=str))

    def insert(self, expr: sp.Expr) -> sp.Expr:
        """Return an expression in the free parameters."""
        return expr.xreplace(dict(self.values))

    def points(self, seed: str) -> Iterator[tuple[mpmath.mpf, ...]]:
        """Yield random values of the free parameters, each between 0.1 and 10."""
        rng = random.Random(seed)
        for _ in range(POINTS):
            yield tuple(mpmath.mpf(10) ** mpmath.mpf(rng.uniform(-1, 1)) for _ in self.parameters)


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
        lambda e: sp.expand(sp.together(tidy(e))),
        lambda e: sp.simplify(tidy(e)),
        lambda e: sp.simplify(sp.powsimp(sp.expand_power_base(sp.expand_power_exp(tidy(e)), force=True), force=True)),
        lambda e: sp.simplify(tidy(e).rewrite(sp.exp)),
    )
    return any(attempt(expr) == 0 for attempt in attempts)


def sign(expr: sp.Expr) -> int | None:
    """Return the sign of an expression in positive parameters, or None if its factors and logarithms do not show it.

    >>> u = sp.Symbol("u", positive=True)
    >>> sign(sp.log(1 + u)), sign(sp.log(u))
    (1, None)
    """

    def log_with_sign(logarithm: sp.Expr) -> sp.Expr:
        above = sign(sp.factor(sp.together(logarithm.args[0] - 1)))
        return logarithm if above is None else above * sp.Dummy(positive=True)

    expr = expr.replace(lambda e: isinstance(e, sp.log), log_with_sign)
    for form in (expr, sp.factor(sp.together(expr))):
        if form.is_positive or form.is_negative or form.is_zero:
            return 0 if form.is_zero else 1 if form.is_positive else -1
    return None


def evaluate(assumptions: Assumptions, expr: sp.Expr, seed: str) -> list[mpmath.mpf]:
    """Evaluate an expression at the random points of a region.

    >>> p, u = sp.Symbol("p"), sp.Symbol("u", positive=True)
    >>> all(0 < value < 1 for value in evaluate(Assumptions("0<p<1", {p: u / (1 + u)}), p, "a seed"))
    True
    """
    function = sp.lambdify(assumptions.parameters, assumptions.insert(expr), "mpmath")
    with mpmath.workdps(DIGITS + GUARD):
        return [function(*point) for point in assumptions.points(seed)]


def agree(left: mpmath.mpf, right: mpmath.mpf) -> bool:
    """Return whether two values agree to 50 digits.

    >>> agree(mpmath.mpf(1), mpmath.mpf("1.0000000001"))
    False
    """
    with mpmath.workdps(DIGITS + GUARD):
        return bool(abs(left - right) <= mpmath.mpf(10) ** -DIGITS * max(1, abs(left), abs(right)))
