"""Students over K tokens: the fixed point, its ratios, where training with the clip ends, where a token overtakes."""

from __future__ import annotations

import math
from typing import Any

from lambda_star._core.namespaces import Values, numpy
from lambda_star._core.quantities import LAM, C
from lambda_star._core.rows import by_rows
from lambda_star.categorical._rows import (
    Rows,
    as_vector,
    first_flip,
    log_fixed_point,
    log_sum_of,
    log_teacher,
    of_rows,
    prepare_unnamed,
    push_of,
    weigh,
)
from lambda_star.categorical._survivors import Block, survivors


def fixed_point(log_t: Values, log_b: Values, lam: Values, *, axis: int = -1) -> Values:
    """Log π_λ, the student that training without a clip ends at: λ log π_T + (1−λ) log π_B, normalised.

    Args:
        log_t: log-probabilities or logits of the teacher, tokens along ``axis``, below +inf; -inf masks a token.
        log_b: the same of the base; broadcasts against ``log_t``.
        lam: extrapolation coefficient λ, in (-inf, inf); a number, or one per position.
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
    return of_rows(log_fixed_point, log_t, log_b, axis, (LAM, lam))


def ratio(log_t: Values, log_b: Values, lam: Values, *, axis: int = -1) -> Values:
    """R_a(λ) = π_T(a)/π_λ(a), how many times smaller each token is under the fixed point than under the teacher.

    Args:
        log_t: log-probabilities or logits of the teacher, tokens along ``axis``, below +inf; -inf masks a token.
        log_b: the same of the base; broadcasts against ``log_t``.
        lam: extrapolation coefficient λ, in (-inf, inf); a number, or one per position. R(1) = 1.
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

    def ratio_of(xp: Any, rows: Rows, lam: Values) -> Values:
        log_ratio = log_teacher(xp, rows) - log_fixed_point(xp, rows, lam)
        return xp.where(rows.z == -math.inf, 1.0, xp.exp(log_ratio))

    return of_rows(ratio_of, log_t, log_b, axis, (LAM, lam))


def flip_point(log_t: Values, log_b: Values, *, axis: int = -1) -> Values:
    """The λ past which some token is more probable under π_λ than the teacher's modal token.

    Token k overtakes the modal token m at λ = δ_B/(δ_B − δ_T), with δ_T = log(π_T(m)/π_T(k)) and
    δ_B = log(π_B(m)/π_B(k)), if δ_B > δ_T; the flip point is the least of these λ.

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

    def flip_of(xp: Any, rows: Rows) -> Values:
        return first_flip(xp, rows._replace(modal=xp.argmax(rows.z, axis=-1)))[0]

    return of_rows(flip_of, log_t, log_b, axis)


def stationary_student(log_t: Values, log_b: Values, c: Values, lam: Values, *, axis: int = -1) -> Values:
    """Log-probabilities of the student that training with the clip inside the update ends at.

    Its advantage is min(log(π_T/π), log c) + (λ−1) r, which settles at one value κ on every token that survives. A
    token that the clip does not reach has π = π_T·exp((λ−1)r − κ). Past its threshold the binding token's mass slides
    to 0, then the next one's; tokens of equal r slide together, and so do tokens whose r differ only by rounding.

    Args:
        log_t: log-probabilities or logits of the teacher, tokens along ``axis``, below +inf; -inf masks a token.
        log_b: the same of the base; broadcasts against ``log_t``.
        c: cap on the ratio of teacher to student probability, in [1, inf]; a number, or one per position.
        lam: extrapolation coefficient λ, in (-inf, inf); a number, or one per position.
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
    return by_rows(_student, log_t, log_b, axis, (C, c), (LAM, lam))[0]


def _student(xp: Any, log_t: Values, log_b: Values, c: Values, lam: Values) -> tuple[Values]:
    rows = prepare_unnamed(xp, log_t, log_b)
    push = push_of(xp, rows, lam)
    power = rows.z + push
    masses, total, top = weigh(xp, power)
    level = xp.log(total) + top
    reach = xp.log(c) + log_sum_of(xp, rows.z)
    least = -xp.abs(lam - 1) * as_vector(xp, rows.high - rows.low)
    if bool(xp.all(least + reach >= level)):  # the clip reaches no token
        power -= level[:, None]
        return (power,)
    found = survivors(xp, Block(rows.z, push, masses, top, reach), level, least)
    power -= xp.where(xp.isnan(reach), math.nan, found.level)[:, None]
    if bool(xp.any(found.slides)):
        sliding = (push == found.last[:, None]) & found.slides[:, None]
        power = xp.where(sliding, rows.z + found.slid[:, None], power)
    student = xp.astype(power, log_t.dtype, copy=False)
    if xp is not numpy:
        return (xp.where(push < found.last[:, None], -math.inf, student),)
    student += _barred(xp, push >= found.last[:, None], student.dtype)
    return (student,)


def _barred(xp: Any, alive: Values, dtype: Any) -> Values:
    """Return 0 for the living and -inf for the dead, by arithmetic: NumPy is slow to choose where the two alternate."""
    values = xp.astype(alive, dtype)
    values -= 1
    for _ in range(2):
        values *= float(xp.finfo(dtype).max)
    return values
