"""What can be said of λ* from so many answers: exact limits of quantiles, and intervals of a contract class.

The positions of one answer are not independent, so the answer is the sampling unit. Of each answer one value counts,
for instance the least λ* of its positions; these values are independent, and order statistics bound their quantiles
whatever their distribution. Everything here is an extension.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lambda_star._core.namespaces import Floats
from lambda_star._core.quantities import P, Quantity, check, reals, require
from lambda_star.bernoulli import formulas
from lambda_star.calibration.jackknife import jackknife
from lambda_star.calibration.settings import CLIP
from lambda_star.calibration.thresholds import log_odds
from lambda_star.sequence import lower_quantile

__all__ = [
    "Estimate",
    "Limit",
    "answers_for",
    "class_interval",
    "each_of_four",
    "limit",
    "rate",
    "sample_size",
]

QUANTILE = Quantity("quantile", 0.0, 1.0, "[]")
CONFIDENCE = P.named("confidence")
WITHIN = Quantity("within", 0.0, math.inf)
SUMS = Quantity("sums", 0.0, math.inf, "[)")

MOST = 10_000_000
"""The most answers that are thought of."""

FAR = 1e100
"""Log-odds that stand for infinite ones, whose squares do not overflow."""


class Limit(NamedTuple):
    """A quantile of independent values, one per answer, and what is sure of it.

    Attributes:
        value: the lower confidence limit, NaN where there are too few answers.
        estimate: the sample quantile; NaN without answers.
        high: the upper limit at the same one-sided confidence, NaN where there are too few answers.
        at_most: ``value`` if every answer had the upper end of its interval.
        quantile, confidence: the level of the quantile, and the confidence of each limit.
        answers: how many answers there are.
        level: the least quantile that has a lower limit with so many answers.
        needed: the number of answers that a lower limit of ``quantile`` takes; +inf for the quantile 0.
    """

    value: float
    estimate: float
    high: float
    at_most: float
    quantile: float
    confidence: float
    answers: int
    level: float
    needed: float


def answers_for(quantile: float, confidence: float) -> float:
    """Return how many answers a lower limit of a quantile takes, whatever the distribution.

    Args:
        quantile: the level of the quantile, in [0, 1].
        confidence: the confidence of the limit, in (0, 1).

    Returns:
        The least number of answers of which one lies at or below the quantile with that confidence; +inf for the
        quantile 0.

    Raises:
        ValueError: an argument lies outside its range.

    Source: extension; order statistics, (1−quantile)^answers ≤ 1−confidence.

    >>> answers_for(0.01, 0.95), answers_for(0.05, 0.95)
    (299.0, 59.0)
    """
    require((QUANTILE, quantile), (CONFIDENCE, confidence))
    if quantile in {0, 1}:
        return math.inf if quantile == 0 else 1.0
    exact = math.log1p(-confidence) / math.log1p(-quantile)
    whole = round(exact) if exact < 2**53 else exact
    return float(max(1, whole if math.isclose(exact, whole, rel_tol=1e-12) else math.ceil(exact)))


def sample_size(
    quantile: float = 0.05,
    confidence: float = 0.95,
    *,
    pilot: ArrayLike | None = None,
    within: float | None = None,
    other: ArrayLike | None = None,
) -> float:
    """Return how many answers to score for a limit of a quantile, for a near one, or to tell two quantiles apart.

    Without a pilot it is the number that a lower limit takes at all. A pilot, the values of some answers, tells how far
    below the quantile the limits of more answers would lie; half of them would lie at least as near as this promises.
    A pilot of n answers tells that to steps of 1/n in the level.

    Args:
        quantile: the level of the quantile, in [0, 1].
        confidence: the confidence of the limit, in (0, 1).
        pilot: the values of some answers, such as the least λ* of each.
        within: how far below the pilot's quantile the lower limit may lie, in (0, inf).
        other: the values of a second pilot; then it is the number of answers of each kind with which
            :func:`lambda_star.calibration.comparison.compare` would tell the two quantiles apart.

    Returns:
        The number, +inf where no number up to ten million does it.

    Raises:
        ValueError: an argument lies outside its range, or there is a pilot without exactly one of the other two.

    Source: extension; the median of an order statistic is that of a beta distribution.

    >>> sample_size(0.01)
    299.0
    >>> pilot = [1 + 0.002 * answer for answer in range(100)]
    >>> sample_size(0.05, pilot=pilot, within=0.005), sample_size(0.05, pilot=pilot, within=0.003)
    (153.0, 336.0)
    """
    if pilot is None and within is None and other is None:
        return answers_for(quantile, confidence)
    if pilot is None or (within is None) == (other is None):
        raise ValueError("pilot must be given with one of within and other")
    first, second = _values("pilot", pilot), _values("other", pilot if other is None else other)
    if within is None:
        confidence = each_of_four(confidence)
        lower, upper = sorted((first, second), key=lambda values: lower_quantile(values, quantile))
    else:
        require((WITHIN, within))
        lower = upper = first

    def enough(count: int) -> bool:
        low, high = (_likely(values, count, quantile, confidence) for values in (upper, lower))
        return low[0] > high[1] if within is None else low[0] >= lower_quantile(first, quantile) - within

    return _first(answers_for(quantile, confidence), enough)


def each_of_four(confidence: float) -> float:
    """Return the confidence that four limits need each for all to hold together, as a change of a quantile needs it.

    Args:
        confidence: the confidence that all four hold, in (0, 1).

    Returns:
        A number in (0, 1).

    Source: extension; Boole's inequality.

    >>> each_of_four(0.95)
    0.9875
    """
    return 1 - (1 - confidence) / 4


def _first(needed: float, enough: Callable[[int], bool]) -> float:
    """The least number from some number on that is enough, by doubling and halving; +inf where none is."""
    if needed > MOST:
        return math.inf
    low, high = int(needed) - 1, int(needed)
    while not enough(high):
        low, high = high, 2 * high
        if low >= MOST:
            return math.inf
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return float(high)


def _likely(values: Floats, count: int, quantile: float, confidence: float) -> tuple[float, float]:
    """The medians of the limits of a quantile among so many answers that are distributed like the values."""
    from scipy.special import betaincinv

    below, above = _ranks(count, quantile, confidence)
    low, high = (
        lower_quantile(values, float(betaincinv(rank, count + 1 - rank, 0.5))) if rank else math.inf
        for rank in (below, above)
    )
    return low, high


def limit(low: ArrayLike, quantile: float, confidence: float, high: ArrayLike | None = None) -> Limit:
    """Return a quantile of independent values with exact confidence limits, whatever their distribution.

    With N values and the level q, the k-th smallest value is at most the quantile with a probability of at least
    P(Bin(N, q) ≥ k); the lower limit takes the largest k for which that reaches the confidence. The upper limit is the
    k-th smallest with the least k for which P(Bin(N, q) < k) reaches it.

    Args:
        low: one value per answer, +inf allowed; where a value is known as an interval, its lower end.
        quantile: the level of the quantile, in [0, 1].
        confidence: the confidence of each limit, in (0, 1).
        high: the upper ends, by default ``low``.

    Returns:
        A :class:`Limit`; its limits are NaN where there are too few values, with ``level`` and ``needed`` to say what
        so many can show and how many it takes.

    Raises:
        ValueError: an argument lies outside its range, a value is NaN, or the shapes differ.

    Source: extension; H. David and H. Nagaraja, Order Statistics, 3rd edition, section 7.1.

    >>> values = [1.0 + 0.01 * answer for answer in range(100)]
    >>> found = limit(values, 0.05, 0.95)
    >>> found.value, found.estimate, found.high
    (1.01, 1.04, 1.09)
    >>> few = limit(values[:30], 0.05, 0.95)
    >>> few.value, round(few.level, 3), few.needed
    (nan, 0.095, 59.0)
    """
    require((QUANTILE, quantile), (CONFIDENCE, confidence))
    least = _values("low", low)
    most = least if high is None else _values("high", high)
    if len(most) != len(least):
        raise ValueError(f"low and high must have one value per answer, got {len(least)} and {len(most)}")
    count = len(least)
    below, above = _ranks(count, quantile, confidence)
    return Limit(
        value=_smallest(least, below),
        estimate=lower_quantile(least, quantile) if count else math.nan,
        high=_smallest(most, above),
        at_most=_smallest(most, below),
        quantile=quantile,
        confidence=confidence,
        answers=count,
        level=-math.expm1(math.log1p(-confidence) / count) if count else 1.0,
        needed=answers_for(quantile, confidence),
    )


def _values(name: str, values: ArrayLike) -> Floats:
    array = reals(name, values)
    if array.ndim != 1 or np.isnan(array).any():
        raise ValueError(f"{name} must be one number per answer, without NaN, got {values!r}")
    return array


def _ranks(count: int, quantile: float, confidence: float) -> tuple[int, int]:
    """The ranks, counted from 1, of the lower and the upper limit among so many values; 0 for an unknown one."""
    from scipy.special import bdtr

    if not count:
        return 0, 0
    ends = (1 - confidence, confidence)
    least, most = (bisect_left(range(count), end, key=lambda rank: bdtr(rank, count, quantile)) for end in ends)
    below = max(1, least) if count >= answers_for(quantile, confidence) else 0
    return below, most + 1 if most < count else 0


def _smallest(values: Floats, rank: int) -> float:
    """The value of a rank, NaN for rank 0."""
    return float(np.partition(values, rank - 1)[rank - 1]) if rank else math.nan


class Estimate(NamedTuple):
    """A value and the ends of its confidence interval, which are NaN if only one answer supports the value."""

    value: float
    low: float
    high: float


def class_interval(sums: ArrayLike, clip: float, confidence: float) -> Estimate:
    """Return the λ* of a contract class with an interval over answers, from the sums of their masses.

    The interval is that of :func:`lambda_star.calibration.jackknife.jackknife` on the scale 1/(λ*−1), which is
    Δ/log((c−1+p)/p) and so smooth also where λ* is +inf.

    Args:
        sums: one row per answer that has the class: the sums of p, 1−p, b and 1−b over its positions of the class. Four
            more columns are the same at the other ends of numbers that are known as intervals, for the upper end.
        clip: the clip c, in (1, inf).
        confidence: level of the two-sided interval, in (0, 1).

    Returns:
        λ* of the mean masses with the ends of its interval, which are NaN if there is one answer only.

    Raises:
        ValueError: an argument lies outside its range, or the sums do not have a row, or four or eight columns.

    Source: extension; ``docs/limits.md`` says how often it covers.

    >>> sums = [[1.9, 0.1, 1.0, 1.0], [1.8, 0.2, 0.9, 1.1], [1.9, 0.1, 1.1, 0.9], [0.9, 0.1, 0.4, 0.6]]
    >>> class_interval(sums, 5.0, 0.95)
    Estimate(value=1.63..., low=1.53..., high=1.79...)
    """
    require((CLIP, clip), (CONFIDENCE, confidence))
    masses = reals("sums", sums)
    check(np, (SUMS, masses))
    if masses.ndim != 2 or masses.shape[1] not in {4, 8} or not len(masses):
        raise ValueError(f"sums must have a row of four or eight sums for each answer, got the shape {masses.shape}")
    near, far = masses[:, :4], masses[:, 4:]
    value = _threshold(rate(near.sum(axis=0), clip))
    if len(masses) == 1:
        return Estimate(value, math.nan, math.nan)
    slow, fast = jackknife(near, partial(rate, clip=clip), confidence)
    if far.size and not np.array_equal(near, far):
        slow, _ = jackknife(far, partial(rate, clip=clip), confidence)
    low, high = _threshold(fast), _threshold(slow)
    return Estimate(value, min(value, low), max(value, high))


def rate(sums: Floats, clip: float) -> Floats:
    """Return 1/(λ*−1) = Δ/log((c−1+p)/p) of sums of masses, which is smooth also where λ* is +inf.

    Args:
        sums: the sums of p, 1−p, b and 1−b, along the last axis.
        clip: the clip c, in (1, inf).

    Returns:
        The numbers, negative where p < b.

    Source: paper, Eq. 4, at mean masses; extension.

    >>> 1 + 1 / rate(np.array([[1.8, 0.2, 1.0, 1.0]]), 5.0)  # λ* of p = 0.9 and b = 0.5
    array([1.77...])
    """
    teacher, base = (np.clip(odds, -FAR, FAR) for odds in log_odds(sums))
    with np.errstate(over="ignore"):  # a great clip over a small p
        push = formulas.push_to_edge(np, sums[..., 0] / (sums[..., 0] + sums[..., 1]), clip)
    found: Floats = (teacher - base) / push
    return found


def _threshold(slope: Any) -> float:
    """λ* of 1/(λ*−1), +inf where extrapolation never thins the tail."""
    return 1 + float(formulas.excess_from_gap(np, np.float64(1.0), np.float64(slope)))
