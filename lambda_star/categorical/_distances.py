"""Distances of teacher and base, and rows of which only some tokens are known."""

from __future__ import annotations

import math
from typing import Any

from lambda_star._core.namespaces import Values, wide
from lambda_star._core.quantities import Quantity
from lambda_star._core.rows import by_rows, dot
from lambda_star.categorical._rows import log_sum_exp, of_rows, prepare_wide, raise_at

ORDER = Quantity("order", 0.0, math.inf)
LOW, HIGH = (Quantity(end, -math.inf, math.inf) for end in ("low", "high"))

EXPONENT = 600.0
"""Log-ratios beyond ±600 count as ±600, so that their exponentials stay finite."""

SERIES, TERMS = 0.05, 10
"""Up to which exponent e^u − 1 − u is summed as a series, and its last term, u^10/10!: below rounding there."""

ROUNDING = 1e-6
"""How far the logarithm of a sum of rounded probabilities may exceed 0."""


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
    >>> float(renyi(np.log([0.9, 0.1]), np.log([0.5, 0.5]), 2.0))  # log(2·0.82)
    0.494696...
    """

    def kernel(xp: Any, log_t: Values, log_b: Values, order: Values) -> tuple[Values, ...]:
        prepare_wide(xp, log_t, log_b)
        log_t, log_b = (xp.astype(rows, wide(xp), copy=False) for rows in (log_t, log_b))
        # D_α(T‖B) = α/(1−α)·D_{1−α}(B‖T), and for small α the right-hand side cancels no digits.
        swap = order < 0.5
        first, second = (xp.where(swap[:, None], *pair) for pair in ((log_b, log_t), (log_t, log_b)))
        found = _divergence(xp, first, second, xp.where(swap, -order, order - 1))
        found = xp.where(swap, order / (1 - order), 1.0) * found
        return (xp.where(found <= 0, 0.0, found),)  # a divergence of 0 may be rounded to a negative number

    return by_rows(kernel, log_t, log_b, axis, (ORDER, order))[0]


def _divergence(xp: Any, log_p: Values, log_q: Values, excess: Values) -> Values:
    """D_{1+excess}(p‖q) = log E[e^(excess·s)]/excess + log E[e^−s] under p, where s is log p/q less its mean.

    The mean of s is 0, so E[e^u] − 1 is the mean of e^u − 1 − u, in which no term is negative and no digit cancels.
    """
    s = xp.where(log_p == -math.inf, 0.0, log_p - log_q)  # of the given numbers: exact where they nearly agree
    log_p = log_p - log_sum_exp(xp, log_p)[:, None]
    mass = xp.exp(log_p)
    s = s - dot(xp, mass, s)[:, None]
    top = xp.max(xp.where(log_p == -math.inf, -math.inf, s), axis=-1)
    power = xp.where(log_p == -math.inf, -math.inf, excess[:, None] * (s - top[:, None]))
    divisor = xp.where(excess == 0, 1.0, excess)
    far = top + log_sum_exp(xp, log_p + power) / divisor
    near = _log_mean_exp(xp, mass, excess[:, None] * s) / divisor
    small = xp.abs(excess) * xp.max(xp.abs(s), axis=-1) < EXPONENT
    tilted = xp.where(excess == 0, 0.0, xp.where(small, near, far))
    within = xp.max(-s, axis=-1) < EXPONENT
    return tilted + xp.where(within, _log_mean_exp(xp, mass, -s), log_sum_exp(xp, log_p - s))


def _log_mean_exp(xp: Any, mass: Values, u: Values) -> Values:
    """Return log E[e^u] for u of mean 0."""
    total = xp.ones_like(u)
    for k in range(TERMS, 2, -1):  # the series of (e^u − 1 − u)·2/u², where the difference would lose digits
        total = 1 + total * u / k
    g = xp.where(xp.abs(u) < SERIES, u * u / 2 * total, xp.expm1(u) - u)
    return xp.log1p(dot(xp, mass, g))


def hilbert_distance(log_t: Values, log_b: Values, *, axis: int = -1) -> Values:
    """Hilbert's projective distance of teacher and base, max r − min r; λ*_token ≥ 1 + log(c) over this distance.

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
    return of_rows(lambda xp, rows: rows.high[:, 0] - rows.low[:, 0], log_t, log_b, axis)


def with_unlisted(
    log_t: Values, log_b: Values, low: Values | None = None, high: Values | None = None, *, axis: int = -1
) -> tuple[Values, Values]:
    """Complete rows of which only some tokens are known, so that their threshold bounds the true one.

    The mass that is missing from 1 is appended. Appended as one token it makes log Σ π_T^λ π_B^(1−λ) least, and so the
    λ* of a known token greatest; appended as two tokens, at the ends of the range of the unlisted log-ratios, it makes
    that sum greatest, and λ* least. For a class that holds the unlisted tokens it is the other way round.

    Args:
        log_t: log-probabilities (not logits) of the known tokens under the teacher, tokens along ``axis``.
        log_b: the same of the base; broadcasts against ``log_t``.
        low: least log-ratio log(π_T/π_B) of the unlisted tokens, in (-inf, inf); a number, or one per position.
        high: greatest log-ratio of the unlisted tokens, at least ``low``. Without a range one token is appended; with a
            range two are, first the one with the least log-ratio.
        axis: the axis of the tokens.

    Returns:
        ``log_t`` and ``log_b`` with the tokens appended; -inf where nothing is missing. Give the new tokens a negative
        class to keep them from binding.

    Raises:
        ValueError: as for :func:`threshold`; or the probabilities of a row sum to more than 1; or only one end of the
            range is given, or ``low`` exceeds ``high``.

    Source: extension; ``derivations/categorical.md``.

    >>> import numpy as np
    >>> np.exp(with_unlisted(np.log([0.9, 0.06]), np.log([0.5, 0.3]))).round(2)
    array([[0.9 , 0.06, 0.04],
           [0.5 , 0.3 , 0.2 ]])
    """
    if (low is None) != (high is None):
        raise ValueError("low and high must be given together, got one of them")

    def kernel(xp: Any, log_t: Values, log_b: Values, *ends: Values) -> tuple[Values, ...]:
        log_t, log_b = (xp.astype(rows, wide(xp), copy=False) for rows in (log_t, log_b))
        teacher, base = (_missing(xp, name, rows) for name, rows in (("log_t", log_t), ("log_b", log_b)))
        new = _split(xp, teacher, base, *ends) if ends else [(xp.where(base > 0, teacher, 0.0), base)]
        return tuple(
            xp.concat([rows, xp.log(xp.stack(masses, axis=-1))], axis=-1)
            for rows, masses in zip((log_t, log_b), zip(*new, strict=True), strict=True)
        )

    ranges = [] if low is None else [(LOW, low), (HIGH, high)]
    teacher, base = by_rows(kernel, log_t, log_b, axis, *ranges)
    return teacher, base


def _missing(xp: Any, name: str, rows: Values) -> Values:
    """The mass that each row lacks."""
    raise_at(xp, rows == math.inf, f"{name} must lie in [-inf, inf), got inf")
    total = log_sum_exp(xp, rows)
    raise_at(xp, (total > ROUNDING)[:, None], f"{name} must be log-probabilities that sum to at most 1")
    return xp.maximum(-xp.expm1(total), xp.zeros_like(total))


def _split(xp: Any, teacher: Values, base: Values, low: Values, high: Values) -> list[tuple[Values, Values]]:
    """The missing masses of teacher and base as two tokens, with the least and with the greatest log-ratio."""
    raise_at(xp, (low > high)[:, None], "low must be at most high")
    least, most = (xp.exp(xp.clip(end, -EXPONENT, EXPONENT)) for end in (low, high))
    teacher = xp.clip(teacher, least * base, most * base)
    high_base = (teacher - least * base) / xp.where(most > least, most - least, 1.0)
    high_base = xp.clip(high_base, xp.zeros_like(base), base)
    low_base = base - high_base
    return [(low_base * least, low_base), (high_base * most, high_base)]
