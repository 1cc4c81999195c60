"""Students over K tokens: the fixed point, its ratios, where training with the clip ends, where a token overtakes."""

from __future__ import annotations

import math
from typing import Any

from lambda_star._core.namespaces import Values
from lambda_star._core.quantities import LAM, C
from lambda_star._core.rows import dot
from lambda_star.categorical._rows import (
    Rows,
    first_flip,
    log_fixed_point,
    log_sum_exp,
    log_teacher,
    of_rows,
    push_of,
)


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
    return of_rows(lambda xp, rows: first_flip(xp, rows)[0], log_t, log_b, axis)


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

    def student_of(xp: Any, rows: Rows, c: Values, lam: Values) -> Values:
        log_t = log_teacher(xp, rows)
        push = push_of(xp, rows, lam)
        power = log_t + push
        last_push, release, total = _last_survivor(xp, power, push, xp.log(c)[:, None])
        # Where no token slides, the last survivor keeps its own mass: 1 minus the others' would lose its digits.
        student = xp.where(push >= last_push, power - xp.minimum(total, release), -math.inf)
        if bool(xp.any(total >= release)):
            left = xp.log1p(-xp.minimum(dot(xp, xp.where(push > last_push, xp.exp(student), 0.0)), xp.ones_like(c)))
            among = xp.where(push == last_push, log_t, -math.inf)
            slid = (left - log_sum_exp(xp, among))[:, None] + among
            student = xp.where((push == last_push) & (total >= release), slid, student)
        unknown = xp.isnan(rows.z[:, :1]) | xp.isnan(c + lam)[:, None]  # a row holds NaN everywhere or nowhere
        return xp.where(unknown, math.nan, student)

    return of_rows(student_of, log_t, log_b, axis, (C, c), (LAM, lam))


def _last_survivor(xp: Any, power: Values, push: Values, log_c: Values) -> tuple[Values, Values, Values]:
    """The least push of a survivor, the κ at which the clip releases that token, and log Σ e^power over all survivors.

    In the order of falling push, a token survives if those before it do not lift κ past its release. With S(x) for
    log Σ e^power over the tokens of a push above x, that is S(x) − log c ≤ x. Since S falls, S(x) − log c bounds the
    least push of a survivor from below where x survives and from above where it does not, so no token is sorted.
    """
    peak, most = xp.max(power, axis=-1, keepdims=True), xp.max(push, axis=-1, keepdims=True)
    weight = xp.exp(power - peak)

    def log_sum(among: Values) -> Values:
        return xp.log(dot(xp, xp.where(among, weight, 0.0)))[:, None] + peak

    dead = xp.full_like(most, -math.inf)
    low = log_sum(push > xp.minimum(log_sum(push > dead) - log_c, most)) - log_c
    while True:
        first = xp.min(xp.where((push >= xp.minimum(low, most)) & (push > dead), push, most), axis=-1, keepdims=True)
        high = log_sum(push > first) - log_c
        found = ~(high > first)
        if bool(xp.all(found)):
            return first, first + log_c, log_sum(push >= first)
        middle = (xp.maximum(low, first) + xp.minimum(high, most)) / 2
        bound = log_sum(push > middle) - log_c
        lives = bound <= middle
        low = xp.where(lives & ~found, xp.maximum(low, bound), low)
        dead = xp.where(found, dead, xp.where(lives, first, middle))
