"""The slow, obvious reference: the textbook formulas at 50 digits, on the exact values of the floats given."""

from __future__ import annotations

import math
from typing import Any

import mpmath
import numpy as np

CONTEXT = mpmath.MPContext()
CONTEXT.dps = 50
mpf = CONTEXT.mpf
Number = float | np.floating[Any]


def real(x: Number) -> mpmath.mpf:
    """The exact value of a float of any width."""
    return mpf(float(x))


def logit(p: Number) -> mpmath.mpf:
    return CONTEXT.log(real(p)) - CONTEXT.log1p(-real(p))


def gap(p: Number, b: Number) -> mpmath.mpf:
    with CONTEXT.workdps(400):  # log-odds of near-equal p and b cancel
        return logit(p) - logit(b)


def excess(p: Number, b: Number, c: Number) -> mpmath.mpf:
    """Eq. 4 of the paper as printed, minus 1; the 400 digits pay for its cancellation."""
    if p <= b or math.isinf(c):
        return CONTEXT.inf
    with CONTEXT.workdps(400):
        p, b, c = real(p), real(b), real(c)
        log = CONTEXT.log
        textbook = (log((1 - p) / (c - 1 + p)) - log((1 - b) / b)) / (log((1 - p) / p) - log((1 - b) / b))
        return textbook - 1


def threshold(p: Number, b: Number, c: Number) -> mpmath.mpf:
    return 1 + excess(p, b, c)


def threshold_from_logits(x: Number, y: Number, c: Number) -> mpmath.mpf:
    if x <= y or math.isinf(c):
        return CONTEXT.inf
    with CONTEXT.workdps(700):
        x, y, c = real(x), real(y), real(c)
        return 1 + CONTEXT.log1p((c - 1) * (1 + CONTEXT.exp(-x))) / (x - y)


def push(p: Number, b: Number, lam: Number) -> mpmath.mpf:
    return (real(lam) - 1) * gap(p, b)


def tail_ratio(p: Number, b: Number, lam: Number) -> mpmath.mpf:
    """(1−p)/(1−q) from the log-linear mixture itself, not from the closed form."""
    with CONTEXT.workdps(400):
        p, b, lam = real(p), real(b), real(lam)
        modal, tail = p**lam * b ** (1 - lam), (1 - p) ** lam * (1 - b) ** (1 - lam)
        return (1 - p) * (modal + tail) / tail


def fixed_point(p: Number, b: Number, lam: Number) -> mpmath.mpf:
    with CONTEXT.workdps(400):
        p, b, lam = real(p), real(b), real(lam)
        modal, tail = p**lam * b ** (1 - lam), (1 - p) ** lam * (1 - b) ** (1 - lam)
        return modal / (modal + tail)


def collapse_point(p: Number, b: Number, c: Number) -> mpmath.mpf:
    return CONTEXT.inf if p <= b or math.isinf(c) else 1 + CONTEXT.log(real(c) / real(p)) / gap(p, b)


def cliff_width(p: Number, b: Number, c: Number) -> mpmath.mpf:
    if p <= b:
        return CONTEXT.inf
    with CONTEXT.workdps(400):
        return -CONTEXT.log(1 - (1 - real(p)) / real(c)) / gap(p, b)


def flip_point(p: Number, b: Number) -> mpmath.mpf:
    if p < 0.5:
        return mpf(1)
    return CONTEXT.inf if p >= b else logit(b) / (logit(b) - logit(p))


def ulps(value: Any, exact: mpmath.mpf) -> float:
    """The distance between a float and the exact answer, in units of the last place of that float's type."""
    value = np.float64(value) if isinstance(value, float) else value
    if not CONTEXT.isfinite(exact) or not np.isfinite(value):
        same = CONTEXT.isinf(exact) and np.isinf(value) and (exact > 0) == (value > 0)
        overflowed = np.isinf(value) and abs(exact) > real(np.finfo(value.dtype).max)
        return 0.0 if same or overflowed else math.inf
    unit = np.spacing(np.abs(value.dtype.type(float(exact))))
    return float(abs(real(value) - exact) / real(unit))
