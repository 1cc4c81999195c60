"""The slow, obvious reference: the textbook formulas at 50 digits, on the exact values of the floats given."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Sequence
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


# K tokens: everything from the probabilities of a row of floats, and from the mixture itself.

Row = Sequence[Number] | np.ndarray[Any, Any]
NEVER = CONTEXT.inf


def probabilities(logs: Row) -> list[mpmath.mpf]:
    """The probabilities that a row of log-weights stands for; a masked token has none."""
    weights = [CONTEXT.exp(real(log)) for log in logs]
    return [weight / CONTEXT.fsum(weights) for weight in weights]


class Position:
    """The tokens of a teacher and a base that exist, and their mixtures π_T^λ·π_B^(1−λ), normalised."""

    def __init__(self, log_t: Row, log_b: Row) -> None:
        teacher, base = probabilities(log_t), probabilities(log_b)
        self.tokens = [token for token, mass in enumerate(teacher) if mass > 0]
        self.t, self.b = ({token: masses[token] for token in self.tokens} for masses in (teacher, base))
        self.log_t, self.log_b = ({k: CONTEXT.log(v) for k, v in masses.items()} for masses in (self.t, self.b))
        self.r = {token: self.log_t[token] - self.log_b[token] for token in self.tokens}
        self.modal = max(self.tokens, key=self.t.__getitem__)

    def masses(self, lam: mpmath.mpf) -> dict[int, mpmath.mpf]:
        return {k: CONTEXT.exp(lam * self.log_t[k] + (1 - lam) * self.log_b[k]) for k in self.tokens}

    def mixture(self, lam: mpmath.mpf) -> dict[int, mpmath.mpf]:
        masses = self.masses(lam)
        total = CONTEXT.fsum(masses.values())
        return {token: mass / total for token, mass in masses.items()}

    def mean(self, mixture: dict[int, mpmath.mpf], tokens: Iterable[int]) -> mpmath.mpf:
        """The mean log-ratio over some tokens."""
        tokens = list(tokens)
        return CONTEXT.fsum(mixture[k] * self.r[k] for k in tokens) / CONTEXT.fsum(mixture[k] for k in tokens)

    def ratio(self, lam: mpmath.mpf, tokens: Sequence[int]) -> mpmath.mpf:
        """How many times smaller the mass of some tokens is in the mixture than under the teacher."""
        mixture = self.mixture(lam)
        return CONTEXT.fsum(self.t[k] for k in tokens) / CONTEXT.fsum(mixture[k] for k in tokens)

    def slope(self, lam: mpmath.mpf, tokens: Sequence[int]) -> mpmath.mpf:
        """How fast the logarithm of that ratio grows with λ."""
        mixture = self.mixture(lam)
        return self.mean(mixture, self.tokens) - self.mean(mixture, tokens)


def root(function: Callable[[mpmath.mpf], mpmath.mpf], low: mpmath.mpf, high: mpmath.mpf) -> mpmath.mpf:
    """Where a function that is negative at the low end and not at the high end changes its sign: regula falsi."""
    below, above = function(low), function(high)
    for _ in range(400):
        if abs(high - low) <= mpf(10) ** -35 * high:
            break
        middle = (low * above - high * below) / (above - below)
        value = function(middle)
        if abs(value) < mpf(10) ** -35:
            return middle
        if value < 0:
            low, below, above = middle, value, above / 2
        else:
            high, above, below = middle, value, below / 2
    return high


def token_excess(log_t: Row, log_b: Row, c: Number, may: Iterable[int] | None = None) -> mpmath.mpf:
    """The first λ−1 > 0 at which the largest ratio of the tokens that may bind is c > 1; log R is convex."""
    at = Position(log_t, log_b)
    may = [token for token in (at.tokens if may is None else may) if token in at.t]
    span = max(at.r.values()) - min((at.r[token] for token in may), default=NEVER)
    if math.isinf(c) or not span > mpf(10) ** -45:
        return NEVER

    def gap(excess: mpmath.mpf) -> mpmath.mpf:
        mixture = at.mixture(1 + excess)
        return CONTEXT.log(max(at.t[token] / mixture[token] for token in may) / real(c))

    high = CONTEXT.log(real(c)) / span
    while gap(high) < 0:
        high *= 2
    return root(gap, CONTEXT.zero, high)


def class_excess(
    log_t: Row,
    log_b: Row,
    log_c: mpmath.mpf,
    labels: Sequence[int],
    never: Container[int] = (),
    modal: int | None = None,
) -> mpmath.mpf:
    """The first λ−1 > 0 at which a class that may bind shrinks by e^log_c > 1: intervals are proved free of it."""
    at = Position(log_t, log_b)
    members = {label: [k for k in at.tokens if labels[k] == label] for label in set(labels) if label >= 0}
    members = {label: tokens for label, tokens in members.items() if tokens}
    own = labels[at.modal if modal is None else modal]
    if own < 0:
        own = max(members, key=lambda label: CONTEXT.fsum(at.t[k] for k in members[label]), default=-1)
    others = [label for label in members if label != own and label not in never]
    return min((_first(at, members[label], log_c) for label in others), default=NEVER)


def _first(at: Position, tokens: Sequence[int], log_c: mpmath.mpf) -> mpmath.mpf:
    high = max(at.r.values())
    top = [token for token in tokens if high - at.r[token] < mpf(10) ** -45]
    span = high - min(at.r.values())
    share = CONTEXT.fsum(at.t[k] for k in tokens)

    def gap(excess: mpmath.mpf) -> mpmath.mpf:
        return CONTEXT.log(at.ratio(1 + excess, tokens)) - log_c

    def means(excess: mpmath.mpf) -> tuple[mpmath.mpf, mpmath.mpf]:
        mixture = at.mixture(1 + excess)
        return at.mean(mixture, at.tokens), at.mean(mixture, tokens)

    if span < mpf(10) ** -45:
        return NEVER
    start, width = CONTEXT.zero, log_c / span
    while True:
        mixture = at.mixture(1 + start)
        if CONTEXT.fsum(mixture[k] for k in top) >= share * CONTEXT.exp(-log_c):
            return NEVER  # the tokens with the greatest log-ratio only gain, and are enough
        end = start + width
        # Both means only grow with λ, so their ends bound the slope of the gap in between.
        (all_low, own_low), (all_high, own_high) = means(start), means(end)
        if gap(start) + width * (all_high - own_low) < 0:
            start, width = end, 2 * width
        elif all_low >= own_high and gap(end) >= 0:
            return root(gap, start, end)
        elif all_low >= own_high:
            start, width = end, 2 * width
        elif width < mpf(10) ** -25 * end:  # touched
            return end
        else:
            width /= 2


def lower_bound_excess(log_t: Row, log_b: Row, c: Number, may: Iterable[int] | None = None) -> mpmath.mpf:
    """Eq. 4 with w for p and d for Δ; tokens below the binding one count as level with it."""
    at = Position(log_t, log_b)
    may = [token for token in (at.tokens if may is None else may) if token in at.t]
    low = min((at.r[token] for token in may), default=NEVER)
    d = max(at.r.values()) - low
    if math.isinf(c) or not d > mpf(10) ** -45:
        return NEVER
    w = CONTEXT.fsum(at.t[k] * max(at.r[k] - low, 0) for k in at.tokens) / d
    return CONTEXT.log1p((real(c) - 1) / w) / d


def log_fixed_point(log_t: Row, log_b: Row, lam: Number) -> list[mpmath.mpf]:
    mixture = Position(log_t, log_b).mixture(real(lam))
    return [CONTEXT.log(mixture[k]) if k in mixture else -CONTEXT.inf for k in range(len(log_t))]


def token_ratios(log_t: Row, log_b: Row, lam: Number) -> list[mpmath.mpf]:
    at = Position(log_t, log_b)
    mixture = at.mixture(real(lam))
    return [at.t[k] / mixture[k] if k in mixture else mpf(1) for k in range(len(log_t))]


def renyi(log_t: Row, log_b: Row, order: Number) -> mpmath.mpf:
    at = Position(log_t, log_b)
    if order == 1:
        return CONTEXT.fsum(at.t[k] * at.r[k] for k in at.tokens)
    return CONTEXT.log(CONTEXT.fsum(at.masses(real(order)).values())) / (real(order) - 1)


def hilbert_distance(log_t: Row, log_b: Row) -> mpmath.mpf:
    ratios = Position(log_t, log_b).r.values()
    return max(ratios) - min(ratios)


def token_flip(log_t: Row, log_b: Row) -> tuple[mpmath.mpf, int]:
    """The least λ ≥ 1 from which on a token has more log-mass than the modal one; the difference is linear in λ."""
    at = Position(log_t, log_b)

    def lead(token: int, lam: int) -> mpmath.mpf:
        own, other = (lam * at.log_t[k] + (1 - lam) * at.log_b[k] for k in (at.modal, token))
        return own - other

    falls = {k: lead(k, 1) - lead(k, 2) for k in at.tokens}
    meets = {k: 1 + lead(k, 1) / fall for k, fall in falls.items() if fall > mpf(10) ** -45}
    first = min(meets, key=meets.__getitem__, default=-1)
    return meets.get(first, NEVER), first


def clipped_student(log_t: Row, log_b: Row, c: Number, lam: Number) -> list[mpmath.mpf]:
    """Where the clipped dynamics rest: one level κ of the clipped advantage for all that survive, by bisection.

    Below its edge a token has the mass at which its unclipped advantage is κ; past it none; at it whatever is left.
    """
    at = Position(log_t, log_b)
    push = {k: (real(lam) - 1) * at.r[k] for k in at.tokens}
    edge = {k: push[k] + CONTEXT.log(real(c)) for k in at.tokens}

    def held(level: mpmath.mpf) -> mpmath.mpf:
        return CONTEXT.fsum(at.t[k] * CONTEXT.exp(push[k] - level) for k in at.tokens if edge[k] > level)

    low, high = min(push.values()), max(push.values())
    for _ in range(170):  # at the greatest push the mass is at most 1, at the least it is at least 1
        middle = (low + high) / 2
        low, high = (middle, high) if held(middle) > 1 else (low, middle)
    near = mpf(10) ** -40 * (1 + abs(high))
    student = {k: at.t[k] * CONTEXT.exp(push[k] - high) for k in at.tokens if edge[k] > high + near}
    sliding = [k for k in at.tokens if abs(edge[k] - high) <= near]
    left, share = 1 - CONTEXT.fsum(student.values()), CONTEXT.fsum(at.t[k] for k in sliding)
    student |= {k: left * at.t[k] / share for k in sliding}
    return [student.get(k, mpf(0)) for k in range(len(log_t))]


def merged_excess(log_t: Row, log_b: Row, c: Number, own: Sequence[int]) -> mpmath.mpf:
    """λ*−1 of Eq. 4 for some tokens as one outcome and all the others as another, merged before extrapolation."""
    teacher, base = probabilities(log_t), probabilities(log_b)
    with CONTEXT.workdps(120):
        p, b = (CONTEXT.fsum(masses[k] for k in own) / CONTEXT.fsum(masses) for masses in (teacher, base))
        difference = CONTEXT.log(p / (1 - p)) - CONTEXT.log(b / (1 - b))
        if math.isinf(c) or difference <= mpf(10) ** -45:
            return NEVER
        return CONTEXT.log1p((real(c) - 1) / p) / difference
