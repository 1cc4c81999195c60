"""Blocks of rows, one output position each: log-weights, log-ratios, sums over tokens."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from lambda_star._core.namespaces import Values, wide
from lambda_star._core.quantities import Quantity
from lambda_star._core.rows import RowError, by_rows, dot

TINY = 1e-30
"""Keeps 0/0 away from the modal token; a float32 holds it, and no log-probability is so near to 0."""


class Rows(NamedTuple):
    """A block of rows: the modal token, the log-weights z (at most 0), the log-ratios r up to a constant per row, the
    token with the least r, the range of r, and which tokens the teacher can produce (None: all).
    """

    modal: Values
    z: Values
    r: Values
    least: Values
    low: Values
    high: Values
    alive: Values | None


def prepare(
    xp: Any, log_t: Values, log_b: Values, may_vanish: Values | bool = False, modal: Values | None = None
) -> Rows:
    """Prepare a block, or raise an error at the first token that has no meaning.

    ``may_vanish`` tells which tokens only the base may be able to produce. ``modal`` names the modal tokens; by default
    they are the teacher's most probable ones.
    """
    most = xp.argmax(log_t, axis=-1)
    z, r = log_t - take(xp, log_t, most), log_t - log_b
    if modal is not None:
        raise_at(xp, (modal != xp.floor(modal))[:, None], "modal must be the index of a token, got a fraction")
        most = xp.astype(modal, most.dtype)
    least = xp.argmin(r, axis=-1)
    low, high = take(xp, r, least), xp.max(r, axis=-1, keepdims=True)
    if bool(xp.all(xp.isfinite(low) & xp.isfinite(high))):
        return Rows(most, z, r, least, low, high, None)
    alive = log_t > -math.inf
    unknown = xp.any(xp.isnan(log_t) | xp.isnan(log_b), axis=-1, keepdims=True)
    _check_infinite(xp, log_t, log_b, unknown, may_vanish)
    z, r = (xp.where(unknown, math.nan, values) for values in (z, xp.where(alive, r, 0.0)))
    among = xp.where(alive | unknown, r, math.inf)
    least = xp.argmin(among, axis=-1)
    high = xp.max(xp.where(alive | unknown, r, -math.inf), axis=-1, keepdims=True)
    return Rows(most, z, r, least, take(xp, among, least), high, alive)


def _check_infinite(xp: Any, log_t: Values, log_b: Values, unknown: Values, may_vanish: Values | bool) -> None:
    """Raise an error where an infinite log-probability has no meaning; unknown rows hold NaN and are left alone."""
    alive, in_base = log_t > -math.inf, log_b > -math.inf
    raise_at(xp, log_t == math.inf, "log_t must lie in [-inf, inf), got inf")
    raise_at(xp, log_b == math.inf, "log_b must lie in [-inf, inf), got inf")
    raise_at(xp, xp.all(~alive, axis=-1, keepdims=True) & ~unknown, "log_t must have a token above -inf, got none")
    raise_at(
        xp,
        alive & ~in_base & ~unknown,
        "log_b must be above -inf where log_t is, got -inf: the base cannot produce a token that the teacher can, and"
        " for lambda > 1 all others vanish; score it without top-k, or mask it in both",
    )
    alone = ~alive & in_base & ~unknown
    raise_at(
        xp,
        alone & ~may_vanish if not isinstance(may_vanish, bool) else alone & (alone != may_vanish),
        "log_t must be above -inf where log_b is, got -inf: the teacher cannot produce a token that the base can, and"
        " it vanishes for lambda > 1; keep it from binding (min_mass > 0 or a negative class), or mask it in both",
    )


def prepare_wide(
    xp: Any, log_t: Values, log_b: Values, may_vanish: Values | bool = False, modal: Values | None = None
) -> Rows:
    """Prepare a block in the widest dtype."""
    log_t, log_b = (xp.astype(values, wide(xp), copy=False) for values in (log_t, log_b))
    return prepare(xp, log_t, log_b, may_vanish, modal)


def prepare_unnamed(xp: Any, log_t: Values, log_b: Values) -> Rows:
    """Prepare a block in the widest dtype; which tokens are modal and least is left out, because that is slow."""
    top = xp.max(log_t, axis=-1, keepdims=True)
    log_t, log_b = (xp.astype(values, wide(xp), copy=False) for values in (log_t, log_b))
    r = log_t - log_b
    low, high = xp.min(r, axis=-1, keepdims=True), xp.max(r, axis=-1, keepdims=True)
    finite = xp.isfinite(low) & xp.isfinite(high)
    if xp.__name__.startswith("jax"):  # on a CPU its min and max drop NaN among thousands of numbers
        finite &= xp.isfinite(xp.sum(r, axis=-1, keepdims=True))
    if not bool(xp.all(finite)):
        return prepare(xp, log_t, log_b)
    return Rows(None, log_t - xp.astype(top, log_t.dtype), r, None, low, high, None)


def of_rows(
    function: Callable[..., Values], log_t: Values, log_b: Values, axis: int, *arguments: tuple[Quantity, Values]
) -> Values:
    """Evaluate a function of rows without named tokens, block by block, in the widest dtype."""

    def kernel(xp: Any, log_t: Values, log_b: Values, *values: Values) -> tuple[Values, ...]:
        return (function(xp, prepare_unnamed(xp, log_t, log_b), *values),)

    return by_rows(kernel, log_t, log_b, axis, *arguments)[0]


def raise_at(xp: Any, culprits: Values, text: str) -> None:
    """Raise an error that names the place of the first culprit, if there is one."""
    if bool(xp.any(culprits)):
        raise RowError(xp, culprits, text)


def take(xp: Any, rows: Values, index: Values) -> Values:
    """Take one entry of every row, as a column."""
    return xp.take_along_axis(rows, index[:, None], axis=-1)


def as_vector(xp: Any, column: Values) -> Values:
    """Return a column as a vector in the widest dtype, in which all arithmetic on rows goes on."""
    return xp.astype(column[:, 0], wide(xp))


def as_column(xp: Any, vector: Values, like: Values) -> Values:
    """Return a vector as a column in the dtype of the rows."""
    return xp.astype(vector, like.dtype)[:, None]


def log_sum_exp(xp: Any, rows: Values) -> Values:
    """Log Σ exp over each row, as a vector."""
    top = xp.max(rows, axis=-1, keepdims=True)
    top = xp.where(top == -math.inf, 0.0, top)
    return as_vector(xp, top) + xp.log(dot(xp, xp.exp(rows - top)))


def weigh(xp: Any, weights: Values) -> tuple[Values, Values, Values]:
    """Return e^(weights − top), its sum over each row, and top, for log-weights that are at most 0.

    Top is 0, which saves two passes, unless a sum would then lose digits.
    """
    masses = xp.exp(weights)
    total = dot(xp, masses)
    if bool(xp.all(total > float(xp.finfo(weights.dtype).smallest_normal) ** 0.5)):
        return masses, total, xp.zeros_like(total)
    top = xp.max(weights, axis=-1, keepdims=True)
    top = xp.where(top == -math.inf, 0.0, top)
    masses = xp.exp(weights - top)
    return masses, dot(xp, masses), as_vector(xp, top)


def log_sum_of(xp: Any, weights: Values) -> Values:
    """Log Σ exp over each row of log-weights that are at most 0, as a vector."""
    _, total, top = weigh(xp, weights)
    return top + xp.log(total)


def softplus(xp: Any, u: Values) -> Values:
    """Return log(1 + e^u) without overflow."""
    return xp.where(u > 0, u, 0.0) + xp.log1p(xp.exp(-xp.abs(u)))


def log_teacher(xp: Any, rows: Rows) -> Values:
    """The teacher's log-probabilities."""
    return rows.z - log_sum_of(xp, rows.z)[:, None]


def push_of(xp: Any, rows: Rows, lam: Values) -> Values:
    """Return (λ−1)·r, -inf if masked, less a constant per row that makes the greatest 0: no λ overflows to +inf."""
    most = xp.where((lam >= 1)[:, None], rows.high, rows.low)
    push = rows.r - most
    push *= (lam - 1)[:, None]
    return push if rows.alive is None else xp.where(rows.z == -math.inf, -math.inf, push)


def log_fixed_point(xp: Any, rows: Rows, lam: Values) -> Values:
    """Log π_λ."""
    power = rows.z + push_of(xp, rows, lam)
    power -= log_sum_of(xp, power)[:, None]
    return power


def first_flip(xp: Any, rows: Rows) -> tuple[Values, Values]:
    """The least λ ≥ 1 at which a token is ahead of the modal one, λ−1 = −z/(r − r_modal), and which token that is."""
    own, start = take(xp, rows.r, rows.modal), take(xp, rows.z, rows.modal)
    named = bool(xp.any(start < 0))  # a modal token that is named may be behind from the start
    if not named and bool(xp.all(rows.high <= own)):  # no token gains on the modal one
        return xp.full_like(as_vector(xp, own), math.inf), xp.full_like(rows.modal, -1)
    behind = rows.z - start if named else rows.z
    speed = rows.r - own
    speed /= behind - TINY
    if named:
        speed = xp.where(behind > 0, -math.inf, speed)
    first = xp.argmin(speed, axis=-1)
    fastest = as_vector(xp, take(xp, speed, first))
    flips = fastest < 0
    value = xp.where(flips, 1 - 1 / xp.where(flips, fastest, -1.0), math.inf)
    return xp.where(xp.isnan(fastest), math.nan, value), xp.where(flips, first, -1)
