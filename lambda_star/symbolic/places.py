"""The regions and the formulas of one output position that all derivations share."""

from __future__ import annotations

import sympy as sp

from lambda_star.symbolic.assumptions import assume
from lambda_star.symbolic.derivation import Step
from lambda_star.symbolic.regions import Part, above, between, free, let, rising
from lambda_star.symbolic.rules import Join
from lambda_star.symbolic.symbols import b, c, eps, gap, lam, p, q, x, y

__all__ = [
    "AHEAD",
    "ANY",
    "BEHIND",
    "EQUAL",
    "EVERY",
    "LOG_BEHIND",
    "LOG_ODDS",
    "Z",
    "ahead_only",
    "collapse",
    "edge",
    "fixed",
    "peak",
    "push",
    "ratio",
    "s",
    "star",
    "tail_thinning",
    "unless_behind",
]

Z, peak = sp.symbols(r"Z_{\lambda} q^{\dagger}", positive=True)
"""The normaliser of the fixed point, and its modal probability."""
s = sp.Symbol("s", real=True)
"""The push (λ−1)Δ, where it does not matter what it is made of."""

_modal, _tail = p**lam * b ** (1 - lam), (1 - p) ** lam * (1 - b) ** (1 - lam)
ANY = assume(between(0, p, b, q, 1, each=True), free(lam), let(Z, _modal + _tail), let(peak, _modal / Z))
EVERY = assume(between(0, p, b, q, 1, each=True), above(1, c), free(lam))
AHEAD = assume(between(0, b, p, 1), above(1, c), above(1, lam), between(0, eps, 1), between(0, q, 1), free(y, log=1))
BEHIND = assume(between(0, p, b, 1), above(1, c), above(1, lam), between(0, q, 1))
EQUAL = assume(between(0, p, 1), let(b, p), above(1, c), above(1, lam))
LOG_ODDS = assume(rising(y, x, log=1), above(1, c), above(1, lam))
LOG_BEHIND = assume(rising(x, y, log=1), above(1, c), above(1, lam))

push = (lam - 1) * gap
edge = sp.log((c - 1 + p) / p)
star = 1 + edge / gap
ratio = (1 - p) + p * sp.exp(push)
fixed = p * sp.exp(push) / (p * sp.exp(push) + 1 - p)
collapse = 1 + sp.log(c / p) / gap
tail_thinning = (1 - p) / (1 - q)
"""How many times thinner the student's tail is than the teacher's."""


def unless_behind(value: sp.Expr) -> sp.Piecewise:
    """Return a value where the teacher is ahead of the base, and infinity elsewhere.

    >>> unless_behind(c)
    Piecewise((c, b < p), (oo, True))
    """
    return sp.Piecewise((value, p > b), (sp.oo, True))


def ahead_only(value: sp.Expr, name: str, *parts: Part) -> Step:
    """Return the step to a value where the teacher is ahead of the base and to infinity where the base is.

    >>> ahead_only(star, "x").latex().startswith("x = ")
    True
    """
    ahead, behind, every = (where.use(*parts) for where in (AHEAD, BEHIND, EVERY))
    return Step(Join((ahead, behind)), sp.Tuple(value, sp.oo), unless_behind(value), name, every)
