r"""The parts of a region: each says which values its symbols take, in words for the page and in free positive parameters.

A part is read after those that stand before it, and its bounds may use their symbols. Every value between the bounds
belongs to exactly one choice of the parameters, so what a page prints and what is checked are the same region.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import sympy as sp

from lambda_star.symbolic.latex import formula

__all__ = ["Part", "above", "at", "below", "between", "decay", "free", "let", "note", "numeric", "rising", "shares"]


@dataclass(frozen=True)
class Part:
    """What is assumed of some symbols.

    Attributes:
        symbols: the symbols, in rising order if they form a chain.
        lower: what all of them exceed, or None.
        upper: what none of them reaches, or None.
        kind: "chain", "each" (apart from one another), "decay" (with an exponential), "shares" (positive, with the sum 1), "let" or "note".
        scale: divides the logarithm of a parameter, if the symbols are written with logarithms.
        text: LaTeX in place of what the other attributes say, of a note or a definition.

    >>> p, b = sp.symbols("p b", positive=True)
    >>> between(0, b, p, 1).latex()
    '0<b<p<1'
    """

    symbols: tuple[sp.Symbol, ...]
    lower: sp.Expr | None = None
    upper: sp.Expr | None = None
    kind: str = "chain"
    scale: sp.Expr | None = None
    text: str = ""

    @property
    def needs(self) -> set[sp.Symbol]:
        """The symbols of earlier parts that the bounds use."""
        found = {s for one in (self.lower, self.upper, self.scale) if one is not None for s in one.free_symbols}
        return found - set(self.symbols)

    def latex(self, used: set[sp.Symbol] | None = None) -> str:
        """The part as it is printed, of symbols that are apart only those that are used."""
        if self.kind in {"note", "let"}:
            return self.text
        shown = self.symbols if used is None or self.kind != "each" else [one for one in self.symbols if one in used]
        names = [formula(symbol) for symbol in shown]
        if self.kind == "shares":
            return rf"{'+'.join(names)}=1,\quad {','.join(names)}>0"
        low, high = (None if one is None else formula(one) for one in (self.lower, self.upper))
        joined = ("," if self.kind == "each" else "<").join(names)
        if low is None and high is None:
            return rf"{joined}\in\mathbb{{R}}" if self.kind == "each" or len(names) == 1 else joined
        if high is None:
            return f"{joined}>{low}" if self.kind == "each" or len(names) == 1 else f"{low}<{joined}"
        return f"{joined}<{high}" if low is None else f"{low}<{joined}<{high}"

    def values(self, fresh: Iterator[sp.Symbol]) -> dict[sp.Symbol, sp.Expr]:
        """Return each symbol in fresh positive parameters and the symbols of earlier parts."""
        if self.kind in {"note", "let"}:
            return dict.fromkeys(self.symbols, self.lower)
        if self.kind == "shares":
            weights = [next(fresh) for _ in self.symbols]
            return {symbol: weight / sum(weights) for symbol, weight in zip(self.symbols, weights, strict=True)}
        if self.kind == "each":
            return {symbol: self._chain((symbol,), fresh)[symbol] for symbol in self.symbols}
        return self._chain(self.symbols, fresh)

    def _chain(self, symbols: tuple[sp.Symbol, ...], fresh: Iterator[sp.Symbol]) -> dict[sp.Symbol, sp.Expr]:
        """Symbols in rising order: each exceeds the one before by a parameter, or by the logarithm of one."""
        if self.lower is not None and self.upper is not None and self.kind == "decay":
            width = self.upper - self.lower
            return {symbol: self.upper - width * sp.exp(-next(fresh)) for symbol in symbols}
        if self.lower is not None and self.upper is not None:
            ends = [self.lower, self.upper]
            ends = ends if self.scale is None else [sp.exp(sp.expand(end * self.scale)) for end in ends]
            odds, found = next(fresh), {}
            for place, symbol in enumerate(symbols):
                odds = odds * (1 + next(fresh)) if place else odds
                inside = (ends[0] + ends[1] * odds) / (1 + odds)
                found[symbol] = inside if self.scale is None else sp.log(inside) / self.scale
            return found
        if self.scale is not None and self.lower is self.upper is None:
            total, found = sp.Integer(0), {}
            for symbol in symbols:
                total += next(fresh)
                found[symbol] = sp.log(total) / self.scale
            return found
        down = self.upper is not None
        here = self.upper if down else self.lower if self.lower is not None else next(fresh) - next(fresh)
        found = {}
        for place, symbol in enumerate(reversed(symbols) if down else symbols):
            if place or self.lower is not None or down:
                size = next(fresh)
                size = size if self.scale is None else sp.log(1 + size) / self.scale
                here = here - size if down else here + size
            found[symbol] = here
        return found

    def holds(self, place: Mapping[sp.Symbol, Any]) -> bool:
        """Whether numbers of the symbols lie in the part."""
        if self.kind in {"note", "let", "shares"}:
            return True
        bounds = [None if one is None else at(one, place) for one in (self.lower, self.upper)]
        numbers = [place[symbol] for symbol in self.symbols]
        inside = all((bounds[0] is None or bounds[0] < x) and (bounds[1] is None or x < bounds[1]) for x in numbers)
        return inside and (self.kind == "each" or all(x < y for x, y in pairwise(numbers)))


def at(expr: sp.Basic, place: Mapping[sp.Symbol, Any]) -> Any:
    """Return an expression at numbers of its symbols.

    >>> at(sp.Symbol("p") ** 2, {sp.Symbol("p"): 3})
    9
    """
    return numeric(tuple(place), (expr,))(*place.values())[0]


@lru_cache(maxsize=4096)
def numeric(symbols: tuple[sp.Symbol, ...], exprs: tuple[sp.Basic, ...]) -> Callable[..., list[Any]]:
    """Return expressions as a function of numbers, in the precision of mpmath.

    >>> numeric((sp.Symbol("p"),), (sp.Symbol("p") * 2,))(1)
    [2]
    """
    function: Callable[..., list[Any]] = sp.lambdify(symbols, list(exprs), "mpmath")
    return function


def _bounded(items: tuple[Any, ...], lower: bool, upper: bool, each: bool, scale: Any) -> Part:
    items = tuple(map(sp.sympify, items))
    symbols = items[lower : len(items) - upper]
    return Part(
        symbols,
        items[0] if lower else None,
        items[-1] if upper else None,
        "each" if each else "chain",
        None if scale is None else sp.sympify(scale),
    )


def between(*items: Any, each: bool = False, log: Any = None) -> Part:
    """Symbols between two bounds, in rising order or each by itself.

    >>> between(0, *sp.symbols("p q"), 1, each=True).latex()
    '0<p,q<1'
    """
    return _bounded(items, True, True, each, log)


def decay(lower: Any, symbol: sp.Symbol, upper: Any) -> Part:
    """A symbol between two bounds, written with an exponential, for powers of its distance from the upper one.

    >>> decay(0, sp.Symbol("h"), 1).latex()
    '0<h<1'
    """
    return Part((symbol,), sp.sympify(lower), sp.sympify(upper), "decay")


def above(*items: Any, each: bool = False, log: Any = None) -> Part:
    """Symbols above a bound; with ``log`` the excess is a logarithm, divided by what is given.

    >>> above(1, sp.Symbol("c")).latex()
    'c>1'
    """
    return _bounded(items, True, False, each, log)


def below(*items: Any, log: Any = None) -> Part:
    """Symbols below a bound, which is named last.

    >>> below(sp.Symbol("y"), 0).latex()
    'y<0'
    """
    return _bounded(items, False, True, False, log)


def free(*symbols: sp.Symbol, log: Any = None) -> Part:
    r"""Any real numbers; with ``log`` each is the logarithm of a parameter, divided by what is given.

    >>> free(sp.Symbol("x")).latex()
    'x\\in\\mathbb{R}'
    """
    return _bounded(symbols, False, False, True, log)


def rising(*symbols: sp.Symbol, log: Any = None) -> Part:
    """Any real numbers in rising order.

    >>> rising(*sp.symbols("x y")).latex()
    'x<y'
    """
    return _bounded(symbols, False, False, False, log)


def shares(*symbols: sp.Symbol) -> Part:
    r"""Positive numbers whose sum is 1.

    >>> shares(*sp.symbols("t b")).latex()
    't+b=1,\\quad t,b>0'
    """
    return Part(symbols, kind="shares")


def let(symbol: sp.Symbol, value: Any, text: str | None = None) -> Part:
    """A symbol that stands for an expression in symbols of earlier parts.

    >>> let(sp.Symbol("d"), 2).latex()
    'd=2'
    """
    value = sp.sympify(value)
    return Part((symbol,), value, None, "let", None, f"{formula(symbol)}={formula(value)}" if text is None else text)


def note(text: str) -> Part:
    """What is assumed of no symbol, such as the number of tokens.

    >>> note("K=3").latex()
    'K=3'
    """
    return Part((), kind="note", text=text)
