"""One output position over K tokens: the thresholds of tokens, of two outcomes and of classes.

``log_t`` and ``log_b`` are log-probabilities or unnormalised logits of teacher and base, arrays of any array API
library with the tokens along ``axis`` and any leading shape; they broadcast against each other. r = log(π_T/π_B) is a
token's log-ratio, R_a(λ) = π_T(a)/π_λ(a) how many times smaller token a is under the fixed point than under the
teacher. The token with the least r has the largest R for every λ > 1: it *binds*. Everything here is an extension.

A token that is -inf for both models does not exist. A token that only the teacher can produce is refused, since then
every other token vanishes at once for λ > 1; so is one that only the base can produce, where it might bind. No gradient
flows through these functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from lambda_star._array import Domain, Values, by_rows, dot, tokens_along, wide
from lambda_star._classes import Classes, Search, beside, modal_class, pieces_of, places
from lambda_star._rows import (
    Rows,
    as_column,
    as_vector,
    entry,
    first_flip,
    log_fixed_point,
    log_sum_exp,
    log_teacher,
    prepare,
    prepare_wide,
    refuse,
)
from lambda_star.bernoulli import CLIP, REAL, threshold_from_logits

__all__ = [
    "Threshold",
    "fixed_point",
    "flip_point",
    "hilbert_distance",
    "lower_bound",
    "ratio",
    "renyi",
    "stationary_student",
    "threshold",
    "with_rest",
]

Mode = Literal["token", "class", "bernoulli"]

ORDER = Domain(0.0, math.inf)
SHARE = Domain(0.0, 1.0, low_closed=True)

STEPS = 100
"""Most evaluations of the ratio before a row is given up as not converged."""

NARROW = 1e-4
"""Relative width of a bracket inside which second derivatives no longer matter."""

COARSE = 5e-6
"""The relative error of λ*−1 above which a block of float32 rows is computed in float64."""

EXPONENT = 600.0
"""Log-ratios further out than this count as this: no probability ratio of floats is larger."""

ROUNDING = 1e-6
"""How far the logarithm of a sum of rounded probabilities may exceed 0."""


@dataclass(frozen=True)
class Threshold:
    """λ* over K tokens, and how it was found. Every field has the leading shape of the rows.

    Attributes:
        threshold: λ*; +inf where nothing binds.
        lower: closed-form lower bound of ``threshold``.
        upper: closed-form upper bound, +inf where none is known.
        binding: index of the token that binds (mode "token"), or label of the class (mode "class" with ``classes``);
            −1 where all but the modal token or class bind together, and where nothing does.
        steps: evaluations of the ratio that the root took; 0 where the answer is a closed form.
        converged: whether the root was found to rounding.
        modal: index of the modal token.
        flip: λ past which another token is more probable than that one; +inf if none ever is.
        flips_to: index of that other token, −1 if there is none.

    >>> found = threshold([-0.1, -2.5, -4.6], [-0.7, -1.2, -1.6], 2.0)
    >>> int(found.binding), bool(found.lower <= found.threshold <= found.upper)
    (2, True)
    """

    threshold: Values
    lower: Values
    upper: Values
    binding: Values
    steps: Values
    converged: Values
    modal: Values
    flip: Values
    flips_to: Values


class _Bound(NamedTuple):
    """The binding token of every row, and what bounds its threshold. y = r − r_binding; log R = log Σ t e^((λ−1)y)."""

    y: Values
    binding: Values
    binds: Values
    log_total: Values
    mean: Values
    start: Values
    lower: Values
    upper: Values


def _bound(xp: Any, rows: Rows, c: Values, floor: Values, may: Values | bool) -> _Bound:
    """Find the binding token, and the excess λ*−1 that one pass over the tokens proves to be safe, or not to be."""
    z, r = rows.z, rows.r
    weight = xp.exp(z)
    total = dot(xp, weight)
    log_total, log_c = xp.log(total), xp.log(c)
    everywhere = may is True and rows.alive is None and not bool(xp.any(floor > 0))
    if everywhere:
        binding, low, binds = rows.least, rows.low, xp.ones_like(total, dtype=xp.bool)
    else:
        allowed = (z >= as_column(xp, xp.log(floor) + log_total, z)) & may
        allowed = allowed if rows.alive is None else allowed & rows.alive
        among = xp.where(allowed, r, math.inf)
        binding = xp.argmin(among, axis=-1)
        low, binds = entry(xp, among, binding), xp.any(allowed, axis=-1)
        low = xp.where(binds[:, None], low, rows.low)
    y = r - low
    mean = dot(xp, weight, y) / total
    # Only tokens ahead of the binding one raise its ratio: the others, below it where they may not bind, count as 0.
    mean_ahead = mean if everywhere else dot(xp, weight, xp.where(y > 0, y, 0.0)) / total
    span = as_vector(xp, rows.high - low)
    unknown = xp.isnan(total + c + floor)
    binds = binds & (span > 0) & (c < math.inf) | unknown
    span, log_c = xp.where(binds, span, 1.0), xp.where(binds, log_c, 1.0)
    chord = xp.log1p((c - 1) * span / mean_ahead) / span
    lower = xp.where(mean_ahead > 0, chord, log_c / span)
    # Ceilings: Jensen's, and the λ at which a single token ahead would by itself bring the ratio to c.
    ahead = as_vector(xp, entry(xp, y, rows.modal))
    upper = xp.where(ahead > 0, (log_c + log_total - as_vector(xp, entry(xp, z, rows.modal))) / ahead, math.inf)
    upper = xp.where(mean > 0, xp.minimum(log_c / mean, upper), upper)
    if not bool(xp.all(upper < math.inf)):
        farthest = as_vector(xp, xp.max(xp.where(r == rows.high, z, -math.inf), axis=-1, keepdims=True))
        upper = xp.where(upper < math.inf, upper, (log_c + log_total - farthest) / span)
    lower = xp.where(unknown, math.nan, lower)
    upper = xp.maximum(lower, upper)
    start = lower
    if not bool(xp.all((upper - lower <= NARROW * lower) | ~binds)):
        weight *= y
        variance = dot(xp, weight, y) / total - mean * mean
        start = _parabola_root(xp, -log_c, mean, variance)
        start = xp.clip(xp.where(xp.isnan(start), lower, start), lower, upper)
    return _Bound(y, binding, binds, log_total, mean, start, lower, upper)


def _too_coarse(xp: Any, rows: Rows, bound: _Bound, c: Values) -> bool:
    """Whether the dtype of the rows is too coarse for some of them: log-ratios that nearly agree, or c close to 1."""
    if rows.z.dtype == wide(xp):
        return False
    largest = as_vector(xp, xp.maximum(xp.abs(rows.low), xp.abs(rows.high)))
    error = float(xp.finfo(rows.z.dtype).eps) * (largest / bound.mean + 1 / xp.log(c))
    return bool(xp.any(bound.binds & (xp.abs(error) > COARSE)))


def _root(xp: Any, z: Values, bound: _Bound, log_c: Values) -> tuple[Values, Values, Values]:
    """The excess at which log R reaches log c, the evaluations that took, and whether it was found.

    log R is convex in λ, so a step to the root of its parabola converges with order three; the closed forms bracket it.
    """
    low, high = bound.lower, bound.upper
    excess = xp.where(bound.binds, bound.start, 0.0)
    steps = xp.zeros_like(bound.binding)
    done = ~bound.binds | xp.isnan(bound.mean)
    epsilon = float(xp.finfo(z.dtype).eps)
    for _ in range(STEPS):
        if bool(xp.all(done)):
            break
        at = as_column(xp, excess, z)
        excess = xp.where(done, excess, as_vector(xp, at))  # the λ that the rows see, rounded to their dtype
        power = at * bound.y
        power += z
        weight = xp.exp(power)
        total = dot(xp, weight)
        gap = xp.log(total) - bound.log_total - log_c
        mean = dot(xp, weight, bound.y) / total
        if bool(xp.all((high - low <= NARROW * low) | done)):  # Newton's step is cheaper, and as good here
            order, step = 2, -gap / mean
        else:
            weight *= bound.y
            order, step = 3, _parabola_root(xp, gap, mean, dot(xp, weight, bound.y) / total - mean * mean)
        low, high = xp.where(gap < 0, excess, low), xp.where(gap > 0, excess, high)
        following = excess + step
        middle = (low + high) / 2
        following = xp.where(xp.isnan(following), middle, xp.clip(following, low, high))
        near = (xp.abs(step) <= epsilon ** (1 / order) / 8 * excess) | (xp.abs(gap) <= 4 * epsilon)
        excess = xp.where(done, excess, following)
        steps = xp.where(done, steps, steps + 1)
        done = done | near
    return excess, steps, done


def _parabola_root(xp: Any, value: Values, slope: Values, curvature: Values) -> Values:
    """The right-hand root of value + slope·x + curvature·x²/2, or Newton's step where the parabola has none."""
    square = slope * slope - 2 * value * curvature
    root = xp.sqrt(xp.where(square > 0, square, 0.0))
    down = xp.where(slope < 0, (root - slope) / curvature, -2 * value / (slope + root))
    return xp.where(square > 0, down, -value / slope)


def _token_threshold(
    classes: Classes | None,
    xp: Any,
    log_t: Values,
    log_b: Values,
    c: Values,
    floor: Values,
    modal: Values | None = None,
) -> tuple[Values, ...]:
    has_class = True if classes is None else classes.has_token(xp, log_t)
    may_vanish = (floor > 0)[:, None] if classes is None else (floor > 0)[:, None] | ~has_class
    rows = prepare(xp, log_t, log_b, may_vanish, modal)
    bound = _bound(xp, rows, c, floor, has_class)
    if _too_coarse(xp, rows, bound, c):
        log_t, log_b = xp.astype(log_t, wide(xp)), xp.astype(log_b, wide(xp))
        return _token_threshold(classes, xp, log_t, log_b, c, floor, modal)
    excess, steps, converged = _root(xp, rows.z, bound, xp.log(c))
    flip, flips_to = first_flip(xp, rows)
    value, lower, upper = (xp.where(bound.binds, 1 + found, math.inf) for found in (excess, bound.lower, bound.upper))
    unknown = xp.isnan(bound.mean)
    binding = xp.where(bound.binds & ~unknown, bound.binding, -1)
    return value, lower, upper, binding, steps, converged & ~unknown, rows.modal, flip, flips_to


def _class_threshold(
    classes: Classes | None,
    xp: Any,
    log_t: Values,
    log_b: Values,
    c: Values,
    floor: Values,
    modal: Values | None = None,
) -> tuple[Values, ...]:
    rows = prepare_wide(xp, log_t, log_b, True, modal)
    search = Search(xp, rows, classes, c, floor)
    excess, binding, steps, converged = search.first()
    lower, upper = search.bounds()
    lower, upper = xp.minimum(lower, excess), xp.maximum(upper, excess)  # but for rounding they are so ordered
    labels = beside(xp, np.array([*(classes.labels if classes else (-1, -1)), -1]), rows.modal)
    label = xp.where(excess < math.inf, xp.take(labels, binding), -1)
    return 1 + excess, 1 + lower, 1 + upper, label, steps, converged, rows.modal, *first_flip(xp, rows)


def _bernoulli_threshold(
    classes: Classes | None,
    xp: Any,
    log_t: Values,
    log_b: Values,
    c: Values,
    floor: Values,
    modal: Values | None = None,
) -> tuple[Values, ...]:
    rows = prepare_wide(xp, log_t, log_b, True, modal)
    teacher, base = (
        xp.stack([log_sum_exp(xp, piece[0]) for piece in pieces_of(xp, classes, rows.modal, weights)], axis=-1)
        for weights in (xp.astype(log_t, wide(xp)), xp.astype(log_b, wide(xp)))
    )
    own = modal_class(xp, classes, rows.modal, teacher)
    others = places(xp, teacher) != own[:, None]
    tail_t, tail_b = (log_sum_exp(xp, xp.where(others, logs, -math.inf)) for logs in (teacher, base))
    x, y = (as_vector(xp, entry(xp, logs, own)) - tail for logs, tail in ((teacher, tail_t), (base, tail_b)))
    # Without a tail in the base nothing can bind; with one that the teacher rules out it vanishes at once.
    none, at_once = tail_b == -math.inf, tail_t == -math.inf
    known = ~none & ~at_once & (x > -math.inf) & (y > -math.inf)
    value = threshold_from_logits(xp.where(known, x, 1.0), xp.where(known, y, 0.0), c)
    value = xp.where(at_once & (c < math.inf), 1.0, value)
    binds = (known | at_once) & ~none & (tail_t - log_sum_exp(xp, teacher) >= xp.log(floor))
    unknown = xp.isnan(as_vector(xp, rows.z[:, :1])) | xp.isnan(c) | xp.isnan(floor)
    value = xp.where(unknown, math.nan, xp.where(binds, value, math.inf))
    steps = xp.zeros_like(rows.modal)
    return value, value, value, steps - 1, steps, ~xp.isnan(value), rows.modal, *first_flip(xp, rows)


KERNELS: dict[str, Callable[..., tuple[Values, ...]]] = {
    "token": _token_threshold,
    "class": _class_threshold,
    "bernoulli": _bernoulli_threshold,
}


def threshold(
    log_t: Values,
    log_b: Values,
    c: Values,
    *,
    axis: int = -1,
    floor: Values = 0.0,
    classes: Sequence[int] | Values | None = None,
    modal: Values | None = None,
    mode: Mode = "token",
) -> Threshold:
    """λ* over K tokens: the first λ > 1 at which something becomes c times less probable than under the teacher.

    What that something is, is the mode. ``"token"``: any single token, the root of
    (λ−1)·[D_λ(π_T‖π_B) − min r] = log c, strictest. ``"bernoulli"``: all but the modal token (or class) merged before
    the model extrapolates, Eq. 4 of the paper. ``"class"``: a class of tokens other than the modal one, as a whole,
    under the K-token fixed point. Where the modal class is one token with p > b and the binding token is another one,
    token ≤ bernoulli ≤ class for the two classes {modal, rest}. The modal class itself never binds in the last two
    modes; ``flip`` tells where a modal token gives way.

    Args:
        log_t: log-probabilities or logits of the teacher, tokens along ``axis``, below +inf; -inf masks a token.
        log_b: the same of the base; broadcasts against ``log_t``.
        c: cap on the ratio of teacher to student probability, in [1, inf]; a number, or one per position.
        axis: the axis of the tokens.
        floor: least teacher mass of a token or class that may bind, in [0, 1); a number, or one per position.
        classes: one integer label per token. The modal class is that of the modal token or, where it has none, the one
            with the most teacher mass. Negative: in no class; such a token counts in every sum, but binds nothing. By
            default the modal token and all others.
        modal: index of the modal token; a number, or one per position. By default the teacher's most probable token;
            name it where an entry of the row is no single token, such as the rest of a vocabulary.
        mode: "token", "class" or "bernoulli".

    Returns:
        A :class:`Threshold`, whose fields have the leading shape; NaN rows give NaN.

    Raises:
        ValueError: a value lies outside its range, or one model cannot produce a token that the other can (the message
            names argument, value and index); ``classes`` is no label per token; an unknown mode.

    Source: extension; ``derivations/categorical.md``.

    >>> import numpy as np
    >>> teacher, base = np.log([0.9, 0.07, 0.03]), np.log([0.5, 0.3, 0.2])
    >>> [float(threshold(teacher, base, 2.0, mode=mode).threshold) for mode in ("token", "bernoulli", "class")]
    [1.29..., 1.340..., 1.344...]
    """
    if mode not in KERNELS:
        raise ValueError(f"mode must be one of {', '.join(get_args(Mode))}, got {mode!r}")
    labels = None if classes is None else Classes.of(classes, tokens_along(log_t, log_b, axis))
    named = {}
    if modal is not None:
        last = tokens_along(log_t, log_b, axis) - 1
        named = {"modal": (Domain(0, last, low_closed=True, high_closed=True), modal)}
    found = by_rows(partial(KERNELS[mode], labels), log_t, log_b, axis, c=(CLIP, c), floor=(SHARE, floor), **named)
    return Threshold(*found)


def lower_bound(log_t: Values, log_b: Values, c: Values, *, axis: int = -1, floor: Values = 0.0) -> Values:
    """The closed form below λ* of the binding token: 1 + log(1 + (c−1)/w)/d, Eq. 4 with p → w and Δ → d.

    d = max r − r_binding and w·d is the teacher's mean of r − r_binding; an equality for K = 2, and wherever the
    log-ratios take two values only.

    Args:
        log_t: log-probabilities or logits of the teacher, tokens along ``axis``, below +inf; -inf masks a token.
        log_b: the same of the base; broadcasts against ``log_t``.
        c: cap on the ratio of teacher to student probability, in [1, inf]; a number, or one per position.
        axis: the axis of the tokens.
        floor: least teacher mass of a token that may bind, in [0, 1); a number, or one per position.

    Returns:
        An array of the leading shape; +inf where nothing binds, NaN where a row holds NaN.

    Raises:
        ValueError: as for :func:`threshold`.

    Source: extension; ``derivations/categorical.md``.

    >>> import numpy as np
    >>> float(lower_bound(np.log([0.9, 0.1]), np.log([0.7, 0.3]), 2.0))
    1.5535...
    """

    def kernel(xp: Any, log_t: Values, log_b: Values, c: Values, floor: Values) -> tuple[Values, ...]:
        bound = _bound(xp, prepare(xp, log_t, log_b, (floor > 0)[:, None]), c, floor, True)
        return (xp.where(bound.binds, 1 + bound.lower, math.inf),)

    return by_rows(kernel, log_t, log_b, axis, c=(CLIP, c), floor=(SHARE, floor))[0]


def fixed_point(log_t: Values, log_b: Values, lam: Values, *, axis: int = -1) -> Values:
    """Log π_λ, the student that training without a clip ends at: λ log π_T + (1−λ) log π_B, normalised.

    Args:
        log_t: log-probabilities or logits of the teacher, tokens along ``axis``, below +inf; -inf masks a token.
        log_b: the same of the base; broadcasts against ``log_t``.
        lam: extrapolation coefficient λ, finite; a number, or one per position.
        axis: the axis of the tokens.

    Returns:
        Log-probabilities of the broadcast shape; -inf where a token is masked, NaN where a row holds NaN.

    Raises:
        ValueError: as for :func:`threshold`.

    Source: paper, Theorem 4.1, for K tokens; ``derivations/categorical.md``.

    >>> import numpy as np
    >>> np.exp(fixed_point(np.log([0.9, 0.1]), np.log([0.5, 0.5]), 2.0))
    array([0.98780..., 0.01219...])
    """

    def kernel(xp: Any, log_t: Values, log_b: Values, lam: Values) -> tuple[Values, ...]:
        return (log_fixed_point(xp, prepare_wide(xp, log_t, log_b), lam),)

    return by_rows(kernel, log_t, log_b, axis, lam=(REAL, lam))[0]


def ratio(log_t: Values, log_b: Values, lam: Values, *, axis: int = -1) -> Values:
    """R_a(λ) = π_T(a)/π_λ(a), how many times smaller each token is under the fixed point than under the teacher.

    Args:
        log_t: log-probabilities or logits of the teacher, tokens along ``axis``, below +inf; -inf masks a token.
        log_b: the same of the base; broadcasts against ``log_t``.
        lam: extrapolation coefficient λ, finite; a number, or one per position. R(1) = 1.
        axis: the axis of the tokens.

    Returns:
        An array of the broadcast shape, > 0; 1 for a masked token, NaN where a row holds NaN.

    Raises:
        ValueError: as for :func:`threshold`.

    Source: extension; ``derivations/categorical.md``.

    >>> import numpy as np
    >>> ratio(np.log([0.9, 0.1]), np.log([0.5, 0.5]), 2.0)
    array([0.911..., 8.2...])
    """

    def kernel(xp: Any, log_t: Values, log_b: Values, lam: Values) -> tuple[Values, ...]:
        rows = prepare_wide(xp, log_t, log_b)
        log_ratio = log_teacher(xp, rows) - log_fixed_point(xp, rows, lam)
        return (xp.where(rows.z == -math.inf, 1.0, xp.exp(log_ratio)),)

    return by_rows(kernel, log_t, log_b, axis, lam=(REAL, lam))[0]


def renyi(log_t: Values, log_b: Values, order: Values, *, axis: int = -1) -> Values:
    """D_α(π_T‖π_B), the Rényi divergence of teacher from base; the KL divergence at α = 1.

    D_α = log Σ π_T^α π_B^(1−α) / (α−1); λ*_token solves (λ−1)(D_λ − min r) = log c.

    Args:
        log_t: log-probabilities or logits of the teacher, tokens along ``axis``, below +inf; -inf masks a token.
        log_b: the same of the base; broadcasts against ``log_t``.
        order: α, in (0, inf); a number, or one per position.
        axis: the axis of the tokens.

    Returns:
        An array of the leading shape, ≥ 0; NaN where a row holds NaN.

    Raises:
        ValueError: as for :func:`threshold`.

    Source: extension; ``derivations/categorical.md``.

    >>> import numpy as np
    >>> float(renyi(np.log([0.9, 0.1]), np.log([0.5, 0.5]), 2.0)) == float(np.log(2 * 0.82))
    True
    """

    def kernel(xp: Any, log_t: Values, log_b: Values, order: Values) -> tuple[Values, ...]:
        log_t = log_teacher(xp, prepare_wide(xp, log_t, log_b))
        excess = (order - 1)[:, None]
        log_base = xp.astype(log_b, wide(xp))
        r = xp.where(log_t == -math.inf, 0.0, log_t - (log_base - log_sum_exp(xp, log_base)[:, None]))
        divisor = xp.where(excess == 0, 1.0, excess)
        # Near α = 1 the sum is close to 1, and its logarithm would lose the digits that the division brings up.
        near = xp.where(excess == 0, r, xp.expm1(excess * r) / divisor)
        mean = dot(xp, xp.exp(log_t), near)
        close = xp.where(order == 1, mean, xp.log1p(xp.where(order == 1, 0.0, (order - 1) * mean)) / divisor[:, 0])
        far = log_sum_exp(xp, log_t + excess * r) / divisor[:, 0]
        small = xp.abs(order - 1) * xp.max(xp.abs(r), axis=-1) < 0.5
        found = xp.where(small | (order == 1), close, far)
        return (xp.where(found < 0, 0.0, found),)  # rounding may put 0 below itself

    return by_rows(kernel, log_t, log_b, axis, order=(ORDER, order))[0]


def hilbert_distance(log_t: Values, log_b: Values, *, axis: int = -1) -> Values:
    """Hilbert's projective distance of teacher and base, max r − min r: λ*_token ≥ 1 + log(c) over it.

    Args:
        log_t: log-probabilities or logits of the teacher, tokens along ``axis``, below +inf; -inf masks a token.
        log_b: the same of the base; broadcasts against ``log_t``.
        axis: the axis of the tokens.

    Returns:
        An array of the leading shape, ≥ 0; NaN where a row holds NaN.

    Raises:
        ValueError: as for :func:`threshold`.

    Source: extension; ``derivations/categorical.md``.

    >>> import numpy as np
    >>> float(hilbert_distance(np.log([0.9, 0.1]), np.log([0.5, 0.5])))
    2.19722...
    """

    def kernel(xp: Any, log_t: Values, log_b: Values) -> tuple[Values, ...]:
        rows = prepare_wide(xp, log_t, log_b)
        return (rows.high[:, 0] - rows.low[:, 0],)

    return by_rows(kernel, log_t, log_b, axis)[0]


def flip_point(log_t: Values, log_b: Values, *, axis: int = -1) -> Values:
    """The λ past which some token is more probable under π_λ than the teacher's modal token.

    Token k overtakes the modal token m at λ = δ_B/(δ_B − δ_T), δ_T = log(π_T(m)/π_T(k)), δ_B = log(π_B(m)/π_B(k)), if
    δ_B > δ_T; the least over k.

    Args:
        log_t: log-probabilities or logits of the teacher, tokens along ``axis``, below +inf; -inf masks a token.
        log_b: the same of the base; broadcasts against ``log_t``.
        axis: the axis of the tokens.

    Returns:
        An array of the leading shape, ≥ 1; +inf where no token ever overtakes, NaN where a row holds NaN.

    Raises:
        ValueError: as for :func:`threshold`.

    Source: extension; ``derivations/categorical.md``.

    >>> import numpy as np
    >>> float(flip_point(np.log([0.6, 0.4]), np.log([0.9, 0.1])))
    1.226...
    """

    def kernel(xp: Any, log_t: Values, log_b: Values) -> tuple[Values, ...]:
        return (first_flip(xp, prepare_wide(xp, log_t, log_b))[0],)

    return by_rows(kernel, log_t, log_b, axis)[0]


def stationary_student(log_t: Values, log_b: Values, c: Values, lam: Values, *, axis: int = -1) -> Values:
    """Log-probabilities of the student that training with the clip inside the update ends at.

    Its advantage is min(log(π_T/π), log c) + (λ−1) r, which settles at one value κ on every token that survives.
    Tokens that the clip leaves alone have π = π_T·exp((λ−1)r − κ); past its threshold the binding token's mass slides
    to 0, then the next one's. Tokens of equal r slide together, also those whose r rounding cannot tell apart.

    Args:
        log_t: log-probabilities or logits of the teacher, tokens along ``axis``, below +inf; -inf masks a token.
        log_b: the same of the base; broadcasts against ``log_t``.
        c: cap on the ratio of teacher to student probability, in [1, inf]; a number, or one per position.
        lam: extrapolation coefficient λ, finite; a number, or one per position.
        axis: the axis of the tokens.

    Returns:
        An array of the broadcast shape; -inf where a token is masked or has died out, NaN where a row holds NaN.

    Raises:
        ValueError: as for :func:`threshold`.

    Source: extension, for the model with the clip inside the update; ``derivations/categorical.md``.

    >>> import numpy as np
    >>> np.exp(stationary_student(np.log([0.9, 0.07, 0.03]), np.log([0.5, 0.3, 0.2]), 2.0, 1.35)).round(4)
    array([0.9633, 0.0367, 0.    ])
    """

    def kernel(xp: Any, log_t: Values, log_b: Values, c: Values, lam: Values) -> tuple[Values, ...]:
        rows = prepare_wide(xp, log_t, log_b)
        log_t = log_teacher(xp, rows)
        push = xp.where(rows.z == -math.inf, -math.inf, (lam - 1)[:, None] * rows.r)
        power = xp.where(rows.z == -math.inf, -math.inf, log_t + push)
        order = xp.argsort(push, axis=-1, descending=True) if xp is not np else np.argsort(-push, axis=-1)
        falling, peak = xp.take_along_axis(push, order, axis=-1), xp.max(power, axis=-1, keepdims=True)
        mass = xp.cumulative_sum(xp.exp(xp.take_along_axis(power, order, axis=-1) - peak), axis=-1)
        before = xp.concat([xp.zeros_like(mass[:, :1]), mass[:, :-1]], axis=-1)
        edge = falling + xp.log(c)[:, None]  # κ at which the clip lets a token go
        alive = (xp.log(before) + peak <= edge) & (falling > -math.inf)
        last = xp.sum(xp.astype(alive, rows.modal.dtype), axis=-1) - 1
        last = xp.where(last < 0, 0, last)
        level = xp.minimum(entry(xp, xp.log(mass) + peak, last), entry(xp, edge, last))
        sliding = push == entry(xp, falling, last)
        student = xp.where(push > entry(xp, falling, last), power - level, -math.inf)
        left = xp.log1p(-xp.minimum(dot(xp, xp.exp(student)), xp.ones_like(c)))[:, None]
        share = xp.where(sliding, log_t, -math.inf)
        slid = xp.where(sliding, left + share - log_sum_exp(xp, share)[:, None], student)
        # A row without a sliding token keeps all of its own: 1 − rest would lose the last one's digits.
        student = xp.where(sliding & (level < entry(xp, edge, last)), power - level, slid)
        unknown = xp.isnan(rows.z) | xp.isnan(c + lam)[:, None]
        return (xp.where(unknown, math.nan, student),)

    return by_rows(kernel, log_t, log_b, axis, c=(CLIP, c), lam=(REAL, lam))[0]


def with_rest(
    log_t: Values, log_b: Values, low: Values | None = None, high: Values | None = None, *, axis: int = -1
) -> tuple[Values, Values]:
    """Complete rows of which only some tokens are known, so that a threshold of theirs bounds the true one.

    What is missing from 1 is appended. As one token it makes log Σ π_T^λ π_B^(1−λ) least, and so the λ* of a known
    token greatest; as two tokens at the ends of the range of its log-ratios it makes that sum greatest, and λ* least.
    For a class that holds the rest it is the other way round.

    Args:
        log_t: log-probabilities (no logits) of the known tokens under the teacher, tokens along ``axis``.
        log_b: the same of the base; broadcasts against ``log_t``.
        low: least log-ratio log(π_T/π_B) of the missing tokens; a number, or one per position.
        high: greatest log-ratio of the missing tokens, at least ``low``. Without a range one token is appended, with it
            two, the one of the least log-ratio first.
        axis: the axis of the tokens.

    Returns:
        ``log_t`` and ``log_b`` with the tokens appended; -inf where nothing is missing. Give them a negative class to
        keep them from binding.

    Raises:
        ValueError: as for :func:`threshold`; or the probabilities of a row sum to more than 1; or a range of which one
            end is missing, or that is empty.

    Source: extension; ``derivations/categorical.md``.

    >>> import numpy as np
    >>> np.exp(with_rest(np.log([0.9, 0.06]), np.log([0.5, 0.3]))).round(2)
    array([[0.9 , 0.06, 0.04],
           [0.5 , 0.3 , 0.2 ]])
    """
    if (low is None) != (high is None):
        raise ValueError("low and high must be given together, got one of them")

    def kernel(xp: Any, log_t: Values, log_b: Values, *ends: Values) -> tuple[Values, ...]:
        log_t, log_b = (xp.astype(rows, wide(xp), copy=False) for rows in (log_t, log_b))
        missing = []
        for name, rows in (("log_t", log_t), ("log_b", log_b)):
            refuse(xp, rows == math.inf, f"{name} must lie in [-inf, inf), got inf")
            total = log_sum_exp(xp, rows)
            refuse(xp, (total > ROUNDING)[:, None], f"{name} must be log-probabilities that sum to at most 1")
            missing.append(xp.maximum(-xp.expm1(total), xp.zeros_like(total)))
        teacher, base = missing
        if not ends:
            teacher = xp.where(base > 0, teacher, 0.0)
            added = [(teacher, base)]
        else:
            refuse(xp, (ends[0] > ends[1])[:, None], "low must be at most high")
            least, most = (xp.exp(xp.clip(end, -EXPONENT, EXPONENT)) for end in ends)
            teacher = xp.clip(teacher, least * base, most * base)
            share = (teacher - least * base) / xp.where(most > least, most - least, 1.0)
            high_base = xp.clip(share, xp.zeros_like(base), base)
            low_base = base - high_base
            added = [(low_base * least, low_base), (high_base * most, high_base)]
        return tuple(
            xp.concat([rows, xp.log(xp.stack(new, axis=-1))], axis=-1)
            for rows, new in zip((log_t, log_b), zip(*added, strict=True), strict=True)
        )

    ranges = {} if low is None else {"low": (REAL, low), "high": (REAL, high)}
    teacher, base = by_rows(kernel, log_t, log_b, axis, **ranges)
    return teacher, base
