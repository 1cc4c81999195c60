r"""LaTeX in the order in which a person writes a formula, not in SymPy's.

A sum starts with a positive term and then names the clip and λ, numbers, and the other symbols: ``c - 1 + p``. A product
names numbers, coefficients, probabilities, brackets such as ``1 - q``, other symbols, the gap Δ, exponentials, and
logarithms: ``p (\lambda - 1) \Delta``.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import sympy as sp
from sympy.printing.latex import LatexPrinter

from lambda_star.symbolic.symbols import Delta, c, gap, lam

__all__ = ["Printer", "alike", "formula", "named"]

FIRST = ("lambda", "eta", "alpha", "c", "p", "t", "b", "q")
"""Symbols that a product names first, in this order: coefficients, then probabilities, with any index."""

FLAT = re.compile(r"\\left\(((?:(?!\\left|\\right|\\frac|\\begin|\\int|\^(?!\{\*\})).)*?)\s*\\right\)")
"""Brackets around something no taller than a letter."""

NESTED = re.compile(r"\\frac\{(?:[^{}]*\}\{)?[^{}]*\\frac")
"""A fraction in a fraction, which is too small to read as an exponent."""

QUOTIENT = re.compile(r"(- |)\\frac\{([^{} ]+)\}\{([^{} ]+)\}")
"""A quotient of two letters or numbers, which an exponent shows on one line."""


def _term(term: sp.Expr) -> tuple[Any, ...]:
    """Where a term stands in a sum."""
    body = term.as_coeff_Mul()[1]
    if body in {c, lam}:
        rank = 0
    elif term.is_Number:
        rank = 1
    else:
        rank = 2 if body.is_Symbol else 4 if body.has(sp.Function, sp.exp) else 3
    return rank, term.could_extract_minus_sign(), sp.default_sort_key(body)


def _factor(factor: sp.Expr) -> tuple[Any, ...]:
    """Where a factor stands in a product."""
    base = factor.base if factor.is_Pow else factor
    place = len(FIRST)
    if base.is_Number:
        rank = 0
    elif base.is_Symbol and base != Delta:
        stem = base.name.partition("_")[0]
        rank, place = (1, FIRST.index(stem)) if stem in FIRST else (3, place)
    elif base.is_Add:
        affine = any(term.is_Number for term in base.args) and not base.has(sp.Function, sp.exp)
        rank = 2 if affine else 4
    else:
        rank = 5 + (base == Delta, isinstance(base, sp.exp), not isinstance(base, sp.log), True).index(True)
    return rank, place, sp.default_sort_key(factor)


class Printer(LatexPrinter):  # type: ignore[misc]
    r"""SymPy's LaTeX printer with another order of terms and factors, and logarithms without needless brackets.

    >>> Printer().doprint(sp.log(c / (1 - c)) - Delta * (lam - 1))
    '\\mathrm{logit}(c) - \\left(\\lambda - 1\\right) \\Delta'
    """

    def _as_ordered_terms(self, expr: sp.Add, order: str | None = None) -> list[sp.Expr]:
        terms = sorted(expr.args, key=_term)
        first = next((term for term in terms if not term.could_extract_minus_sign()), terms[0])
        terms.remove(first)
        return [first, *terms]

    def _as_ordered_factors(self, expr: sp.Expr) -> list[sp.Expr]:
        return sorted(sp.Mul.make_args(expr), key=_factor)

    def _product(self, expr: sp.Expr) -> str:
        factors = self._as_ordered_factors(expr)
        if len(factors) == 1:
            return str(self._print(expr))
        text = ""
        for place, factor in enumerate(factors):
            piece = self._print(factor)
            if self._needs_mul_brackets(factor, first=place == 0, last=place == len(factors) - 1):
                piece = rf"\left({piece}\right)"
            text += (r" \cdot " if piece[0].isdigit() else " ") * bool(place) + piece
        return text

    def _print_Mul(self, expr: sp.Expr) -> str:  # noqa: N802 (the name that SymPy calls)
        if expr.could_extract_minus_sign():
            opposite = -expr
            return rf"- \left({self._print(opposite)}\right)" if opposite.is_Add else f"- {self._print(opposite)}"
        above, below = sp.fraction(expr, exact=True)
        if above.is_Add and all(term.could_extract_minus_sign() for term in above.args):
            return rf"- \frac{{{self._print(-above)}}}{{{self._product(below)}}}"
        return self._product(above) if below == 1 else rf"\frac{{{self._product(above)}}}{{{self._product(below)}}}"

    def _print_ExpBase(self, expr: sp.Expr, exp: str | None = None) -> str:  # noqa: N802 (the name that SymPy calls)
        exponent = self._print(expr.args[0])
        if exp is None and NESTED.search(exponent):
            return rf"\exp\left({exponent}\right)"
        if exp is None and (quotient := QUOTIENT.fullmatch(exponent)):
            return f"e^{{{quotient[1]}{quotient[2]}/{quotient[3]}}}"
        return str(super()._print_ExpBase(expr, exp))

    def _print_log(self, expr: sp.Expr, exp: str | None = None) -> str:
        argument = expr.args[0]
        above, below = sp.fraction(argument)
        power = "" if exp is None else f"^{{{exp}}}"
        if above.is_Symbol and below == 1 - above:
            return rf"\mathrm{{logit}}{power}({self._print(above)})"
        text = self._print(argument)
        if argument.is_Atom:
            return rf"\log{power} {text}"
        return (
            rf"\log{power}{text}"
            if text.startswith(r"\frac") and not argument.is_Add
            else rf"\log{power}\left({text}\right)"
        )


def named(name: str, expr: Any, equals: str = " = ") -> str:
    r"""Return an expression in LaTeX behind its name, and an equation behind a colon.

    >>> named("q", 1 - c), named("q", sp.Eq(c, 1))
    ('q = 1 - c', 'q:\\quad c = 1')
    """
    between = r":\quad " if isinstance(expr, sp.Rel) else equals
    return f"{name}{between}{formula(expr)}"


def alike(name: str, text: str) -> bool:
    r"""Whether a name and a formula look the same, however their braces, spaces and fractions are written.

    >>> alike(r"\tfrac1c", r"\frac{1}{c}"), alike("q_c", "q_{m}")
    (True, False)
    """
    first, second = (re.sub(r"\\(left|right)\b|[{}\s]", "", one).replace(r"\tfrac", r"\frac") for one in (name, text))
    return first == second


@lru_cache(maxsize=16384)
def formula(expr: Any) -> str:
    r"""Return an expression in LaTeX that GitHub renders, with the log-odds gap called Δ.

    >>> formula((lam - 1) * gap)
    '(\\lambda - 1) \\Delta'
    """
    text = str(Printer().doprint(sp.sympify(expr).subs(gap, Delta))).replace(r"\operatorname", r"\mathrm")
    while (flat := FLAT.sub(r"(\1)", text)) != text:
        text = flat
    return text
