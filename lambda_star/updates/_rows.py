"""K tokens: where training ends under a rule that acts token by token, and at which λ a condition first holds.

A rule gives token a the effective advantage F_a, which never rises with the token's own log-probability. Training ends
where F_a has one value ν on all tokens that survive, and where a token is dead it is at most ν. The masses that belong
to a value ν fall as ν rises, and their sum is 1 at one ν.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from lambda_star import categorical
from lambda_star._core.namespaces import Floats, Values, on_device_of
from lambda_star._core.quantities import reals

__all__ = ["Rows", "first", "of_rows", "settle"]

LARGEST = 1e6  # the largest λ that is looked at
HALVINGS = 64
DOUBLINGS = 60  # of the step by which ν is bracketed
ROUNDING = 1e-9  # of λ, within which a set of tokens at its edge is settled by rounding alone


class Rows(NamedTuple):
    """Positions as matrices of one row each, in float64; a token without mass under π_λ has −inf everywhere."""

    log_t: Floats
    log_b: Floats
    lam: Floats
    """λ, one per row."""
    power: Floats
    """log(π_T^λ·π_B^(1−λ)), not normalised."""

    @property
    def mixture(self) -> Floats:
        """Log π_λ."""
        normalised: Floats = self.power - log_sum(self.power)[:, None]
        return normalised

    @property
    def push(self) -> Floats:
        """(λ−1)·log(π_T/π_B)."""
        return np.where(self.power > -math.inf, self.power - self.log_t, -math.inf)

    @property
    def ratio(self) -> Floats:
        """log(π_T/π_B), and 0 for a token without mass."""
        present = self.power > -math.inf
        difference: Floats = np.where(present, self.log_t, 0.0) - np.where(present, self.log_b, 0.0)
        return difference

    def at(self, lam: Floats) -> Rows:
        """The same positions at other λ."""
        power = np.where(self.power > -math.inf, self.log_t + (lam - 1)[:, None] * self.ratio, -math.inf)
        return self._replace(lam=lam, power=power)


def log_sum(log_masses: Floats) -> Floats:
    """Return the logarithm of each row's sum."""
    total: Floats = np.logaddexp.reduce(log_masses, axis=-1)
    return total


def of_rows(
    evaluate: Callable[[Rows], Floats], log_t: Values, log_b: Values, lam: Values, axis: int, *, tokens: bool
) -> Any:
    """Evaluate a function of rows on arrays of any library, which gives one row per position or one number."""
    # The categorical wing checks and normalises; its students at λ = 0 and λ = 1 are base and teacher.
    mixture = categorical.fixed_point(log_t, log_b, lam, axis=axis)
    parts = [categorical.fixed_point(log_t, log_b, at, axis=axis) for at in (1.0, 0.0)]
    shape = tuple(mixture.shape)
    flat = [_matrix(part, shape, axis) for part in (mixture, *parts)]
    present = flat[0] > -math.inf
    teacher, base = (np.where(present | np.isnan(part), part, -math.inf) for part in flat[1:])
    lead = shape[:axis] + shape[axis % len(shape) + 1 :]
    rows = Rows(teacher, base, np.broadcast_to(reals("lam", lam), lead).reshape(-1), flat[0])
    known = ~np.isnan(flat[0]).any(axis=-1)
    result = np.full(flat[0].shape if tokens else flat[0].shape[:1], math.nan)
    if known.any():
        with np.errstate(all="ignore"):
            kept = Rows(*(part[known] for part in rows))
            result[known] = evaluate(kept.at(kept.lam))
    result = np.moveaxis(result.reshape((*lead, shape[axis])), -1, axis) if tokens else result.reshape(lead)
    return _like(mixture, result)


def _matrix(values: Values, shape: tuple[int, ...], axis: int) -> Floats:
    """A block of rows in float64, tokens last."""
    array = values.detach().cpu().numpy() if hasattr(values, "detach") else np.asarray(values)
    return np.moveaxis(np.broadcast_to(array.astype(np.float64), shape), axis, -1).reshape(-1, shape[axis])


def _like(model: Values, values: Floats) -> Any:
    """Values as an array of the library, dtype and device of a model."""
    if isinstance(model, (np.ndarray, np.generic)):
        return values.astype(model.dtype)[()]
    from array_api_compat import array_namespace

    return on_device_of(array_namespace(model), model, values, model.dtype)


def settle(rows: Rows, log_masses: Callable[[Floats], Floats]) -> Floats:
    """Return the log-masses that add up to 1, given the log-masses that belong to a value ν of each row.

    Where the sum jumps past 1 at one ν, the tokens that jump there share what is left.
    """

    def total(level: Floats) -> Floats:
        sums: Floats = np.exp(np.minimum(log_masses(level[:, None]), 700.0)).sum(axis=-1)
        return sums

    low = high = log_sum(rows.power)
    for step in 2.0 ** np.arange(DOUBLINGS):
        short, over = total(low) < 1, total(high) > 1
        if not (short | over).any():
            break
        low, high = np.where(short, low - step, low), np.where(over, high + step, high)
    while True:
        middle = low + (high - low) / 2
        if ((middle <= low) | (middle >= high)).all():
            break
        over = total(middle) >= 1
        low, high = np.where(over, middle, low), np.where(over, high, middle)
    log_less, log_more = (np.minimum(log_masses(level[:, None]), 700.0) for level in (high, low))
    less, more = np.exp(log_less).sum(axis=-1), np.exp(log_more).sum(axis=-1)
    share = np.where(more > less, (1 - less) / np.where(more > less, more - less, 1.0), 0.0)
    share = np.clip(share, 0.0, 1.0)[:, None]
    students: Floats = np.logaddexp(log_less + np.log1p(-share), log_more + np.log(share))
    return students


def first(holds: Callable[[Rows], Any], rows: Rows) -> Floats:
    """Return the λ ≥ 0 past which a condition holds that does not hold at λ = 1, or else at λ = 0.

    It is 0 where the condition holds at both, +inf where it does not hold up to a λ of a million, and NaN where the
    condition is not known (NaN) just below.
    """
    unknown = np.zeros(len(rows.lam), bool)

    def at(lam: Floats) -> Any:
        truth = holds(rows.at(lam))
        unknown[:] = np.isnan(truth)
        return truth == 1

    zero, one = np.zeros(len(rows.lam)), np.ones(len(rows.lam))
    started, hidden = at(zero), unknown.copy()
    begun = at(one)
    hidden = np.where(begun, hidden, unknown)  # whether the condition is unknown at the lower end
    low, high = np.where(begun, zero, one), np.where(begun, one, 1 + one)
    while (behind := ~at(high) & (high < LARGEST)).any():
        hidden = np.where(behind, unknown, hidden)
        low, high = np.where(behind, high, low), np.where(behind, 1 + 4 * (high - 1), high)
    never = ~at(high)
    hidden = np.where(never, unknown, hidden)
    for _ in range(HALVINGS):
        middle = low + (high - low) / 2
        past = at(middle)
        hidden = np.where(past | never | (high - low < ROUNDING * high), hidden, unknown)
        low, high = np.where(past, low, middle), np.where(past, middle, high)
    found = np.where(never, math.inf, low + (high - low) / 2)
    return np.where(hidden, math.nan, np.where(started & begun, 0.0, found))
