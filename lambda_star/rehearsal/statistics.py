"""Intervals of shares and means over answers, and of their paired changes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lambda_star.calibration.statistics import Estimate

__all__ = ["change_of_mean", "change_of_share", "exact_share", "mean"]


def exact_share(successes: int, trials: int, confidence: float = 0.95) -> Estimate:
    """Return a share with its exact two-sided interval.

    Args:
        successes: number of successes, from 0 to ``trials``.
        trials: number of trials; without any the share is NaN and the interval is [0, 1].
        confidence: level of the interval, in (0, 1).

    Returns:
        The share with the ends of its interval.

    Source: C. Clopper and E. Pearson, Biometrika 26 (1934).

    >>> exact_share(300, 300)
    Estimate(value=1.0, low=0.98777..., high=1.0)
    """
    if not trials:
        return Estimate(math.nan, 0.0, 1.0)
    from scipy.stats import binomtest

    ends = binomtest(int(successes), int(trials)).proportion_ci(confidence, method="exact")
    return Estimate(successes / trials, float(ends.low), float(ends.high))


def change_of_share(now: ArrayLike, reference: ArrayLike, confidence: float = 0.95) -> Estimate:
    """Return the change of a share between paired answers, with an interval that covers at least as often as it says.

    Proof: among independent pairs the number of gains (only the new answer succeeds) and the number of losses are each
    binomial, so that each of their exact intervals at level 1 − α/2 misses its share with probability at most α/2. The
    change is the share of gains less the share of losses, so it lies between the least and the greatest difference of
    points of both intervals unless one of them misses, which has probability at most α.

    Args:
        now: whether each new answer succeeds, shape (pairs,).
        reference: the same for the answers of reference, in the same order.
        confidence: 1 − α, in (0, 1).

    Returns:
        The change, in [−1, 1], with the ends of its interval; without pairs it is NaN, and the interval is [−1, 1].

    Raises:
        ValueError: the shapes differ.

    >>> change_of_share([True, True, False, True] * 50, [True] * 200)
    Estimate(value=-0.25, low=-0.325..., high=-0.162...)
    """
    new, old = np.asarray(now, dtype=bool), np.asarray(reference, dtype=bool)
    if new.shape != old.shape or new.ndim != 1:
        raise ValueError(f"now and reference must have one value per pair, got shapes {new.shape} and {old.shape}")
    gains, losses = (
        exact_share(int(np.count_nonzero(one & ~other)), len(new), (1 + confidence) / 2)
        for one, other in ((new, old), (old, new))
    )
    return Estimate(gains.value - losses.value, gains.low - losses.high, gains.high - losses.low)


def mean(values: Sequence[float], confidence: float = 0.95) -> Estimate:
    """Return a mean over answers: a share with its exact interval if all values are 0 or 1, else with a t interval.

    Args:
        values: one value per answer.
        confidence: level of the interval, in (0, 1).

    Returns:
        The mean with the ends of its interval, which are NaN where fewer than two values other than 0 and 1 are given.

    >>> mean([1.0, 2.0, 3.0]).value, mean([0.0, 1.0]).high > 0.98
    (2.0, True)
    """
    array = np.asarray(values, dtype=np.float64)
    if _is_binary(array):
        return exact_share(int(array.sum()), len(array), confidence)
    return _t_interval(array, confidence)


def change_of_mean(now: Sequence[float], reference: Sequence[float], confidence: float = 0.95) -> Estimate:
    """Return the change of a mean between paired answers, as a share or with a t interval of the differences.

    Args:
        now: one value per new answer.
        reference: the values of the answers of reference, in the same order.
        confidence: level of the interval, in (0, 1).

    Returns:
        The change with the ends of its interval.

    >>> change_of_mean([1.5, 2.5, 3.0], [1.0, 2.0, 3.0]).value
    0.333...
    """
    new, old = np.asarray(now, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if _is_binary(new) and _is_binary(old):
        return change_of_share(new, old, confidence)
    return _t_interval(new - old, confidence)


def _is_binary(values: NDArray[np.float64]) -> bool:
    return bool(np.isin(values, (0.0, 1.0)).all())


def _t_interval(values: NDArray[np.float64], confidence: float) -> Estimate:
    """The mean of values that are not NaN, and Student's interval of it."""
    middle = float(values.mean())
    if len(values) < 2:
        return Estimate(middle, math.nan, math.nan)
    from scipy.stats import t

    half = float(t.ppf((1 + confidence) / 2, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    return Estimate(middle, middle - half, middle + half)
