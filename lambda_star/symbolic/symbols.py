"""The symbols that all derivations share, each declared once with the assumptions that SymPy uses."""

from __future__ import annotations

import sympy as sp

__all__ = [
    "Delta",
    "b",
    "c",
    "eps",
    "gap",
    "lam",
    "lam_star",
    "logit",
    "p",
    "positive",
    "q",
    "real",
    "sigmoid",
    "x",
    "y",
]

p, b, q = sp.symbols("p b q", positive=True)
"""The modal probability of teacher, base and student. That they lie below 1 is an assumption of each derivation."""

c = sp.Symbol("c", positive=True)
lam = sp.Symbol("lambda", real=True)
lam_star = sp.Symbol(r"\lambda^*", real=True)
eps = sp.Symbol("varepsilon", positive=True)
Delta = sp.Symbol("Delta", real=True)
x, y = sp.symbols("x y", real=True)
"""The log-odds of teacher and base."""


def positive(names: str) -> tuple[sp.Symbol, ...]:
    """Return positive symbols, such as the free parameters of assumptions.

    >>> positive("u v")[0].is_positive
    True
    """
    return tuple(sp.symbols(names, positive=True, seq=True))


def real(names: str) -> tuple[sp.Symbol, ...]:
    """Return real symbols.

    >>> real("s t")
    (s, t)
    """
    return tuple(sp.symbols(names, real=True, seq=True))


def logit(probability: sp.Expr) -> sp.Expr:
    """Return the log-odds of a probability.

    >>> logit(p)
    log(p/(1 - p))
    """
    return sp.log(probability / (1 - probability))


def sigmoid(log_odds: sp.Expr) -> sp.Expr:
    """Return the probability that has the given log-odds.

    >>> sigmoid(x)
    1/(1 + exp(-x))
    """
    return 1 / (1 + sp.exp(-log_odds))


gap = sp.log(p * (1 - b) / (b * (1 - p)))
"""Δ, the log-odds gap between teacher and base, written out."""
