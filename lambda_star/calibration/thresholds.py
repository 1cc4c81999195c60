"""λ*, flip points and deaths of measured positions, as intervals where the numbers behind them are intervals.

λ* falls in p and rises in b, and the flip point rises in p and falls in b, so that the ends of one are those of the
other crosswise. A rule's death need not be monotone; its ends are the least and the greatest of the four corners.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from lambda_star._core.namespaces import Floats
from lambda_star.bernoulli import flip_point_from_logits, threshold_from_logits
from lambda_star.calibration.table import Table
from lambda_star.updates import Rule

__all__ = ["Thresholds", "corners", "log_odds", "of_sums", "of_table"]

SMALLEST, LARGEST = 5e-324, 1 - 2.0**-53
"""The probabilities nearest to 0 and to 1 that a float64 can hold."""

FARTHEST = float(np.finfo(np.float64).max)
"""The log-odds that stand for those of the probabilities 0 and 1."""

ROUNDED_TAIL = 2.0**-24
"""The tail mass that a log-probability of exactly 0 stands for: half the spacing of float32 just below 1."""


class Thresholds(NamedTuple):
    """The numbers of some positions, one entry in each array.

    ``sums`` has the masses p, 1−p, b and 1−b at the ends that give the least λ*, then at those that give the greatest.
    ``low`` and ``high`` are the ends of λ*, ``flip`` is the lower end of the flip point, ``dies`` the ends of the death
    under a rule, and ``censored`` tells where b is only bounded from above.
    """

    sums: Floats
    low: Floats
    high: Floats
    flip: Floats
    dies: tuple[Floats, Floats] | None
    censored: Any


def of_table(table: Table, clip: float, rule: Rule | None = None, least_b: float = 0.0) -> Thresholds:
    """Return λ* and what goes with it at every row of a table; the options are those of :func:`lambda_star.calibrate`.

    Source: paper, Eq. 4, in the log-odds form of ``derivations/bernoulli.md``; extension for the ends.

    >>> row = {"sequence": 0, "position": 0, "token": "[", "modal": "[", "log_p": -.01, "log_b": -3}
    >>> found = of_table(Table.from_rows([row | {"log_b_low": "-inf"}]), 5.0)
    >>> found.low, found.high.round(3)
    (array([1.]), array([1.214]))
    """
    (p_low, p_high), (b_low, b_high) = table.ends("log_p"), table.ends("log_b")
    censored = b_low == -math.inf
    if least_b:
        b_low = np.where(censored, np.minimum(math.log(least_b), b_high), b_low)
    far = _Masses.of(p_low, b_high)
    near = far if p_high is p_low and b_low is b_high else _Masses.of(p_high, b_low)
    low = threshold_from_logits(near.log_odds_p, near.log_odds_b, clip)
    return Thresholds(
        sums=np.stack([near.p, near.tail, near.b, near.base_tail, far.p, far.tail, far.b, far.base_tail], axis=1),
        low=low,
        high=low if near is far else threshold_from_logits(far.log_odds_p, far.log_odds_b, clip),
        flip=flip_point_from_logits(far.log_odds_p, far.log_odds_b),
        dies=None if rule is None else corners(rule, near.p, near.b, far.p, far.b),
        censored=censored,
    )


def of_sums(sums: Any, clip: float) -> Any:
    """Return λ* from sums or means of the masses p, 1−p, b and 1−b in the last axis, which keep the digits of a small
    tail.

    >>> round(float(of_sums(np.array([0.9, 0.1, 0.5, 0.5]), 5.0)), 3)
    1.771
    """
    return threshold_from_logits(*log_odds(sums), clip)


def log_odds(sums: Any) -> tuple[Any, Any]:
    """Return the log-odds of p and of b, finite, from sums or means of p, 1−p, b and 1−b in the last axis."""
    with np.errstate(divide="ignore"):
        p, tail, b, base_tail = np.moveaxis(np.log(sums), -1, 0)
    return _finite(p - tail), _finite(b - base_tail)


def corners(rule: Rule, *ends: Any) -> tuple[Any, Any]:
    """Return the least and the greatest λ at which the tail dies under a rule, over the corners of two intervals.

    The ``ends`` are one end of p and of b, then the other end of each.
    """
    p, b, other_p, other_b = (np.clip(end, SMALLEST, LARGEST) for end in ends)
    first = rule.dies(p, b)
    if np.array_equal(p, other_p) and np.array_equal(b, other_b):
        return first, first
    found = np.stack([first, rule.dies(p, other_b), rule.dies(other_p, b), rule.dies(other_p, other_b)])
    return found.min(axis=0), found.max(axis=0)


class _Masses(NamedTuple):
    """Modal and tail masses of teacher and base, with their log-odds, to the precision that the logarithms carry."""

    p: Floats
    tail: Floats
    b: Floats
    base_tail: Floats
    log_odds_p: Floats
    log_odds_b: Floats

    @classmethod
    def of(cls, log_p: Floats, log_b: Floats) -> _Masses:
        p, tail, log_odds_p = _masses(log_p)
        b, base_tail, log_odds_b = _masses(log_b)
        return cls(p, tail, b, base_tail, log_odds_p, log_odds_b)


def _masses(log_probability: Floats) -> tuple[Floats, Floats, Floats]:
    log_probability = np.where(log_probability == 0, np.log1p(-ROUNDED_TAIL), log_probability)
    tail = -np.expm1(log_probability)
    modal = np.minimum(np.exp(log_probability), LARGEST)
    return modal, tail, _finite(log_probability - np.log(tail))


def _finite(log_odds: Any) -> Any:
    return np.clip(log_odds, -FARTHEST, FARTHEST)
