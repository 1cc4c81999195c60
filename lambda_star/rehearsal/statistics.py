"""Intervals of means over answers, and of their paired changes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lambda_star.calibration.shares import change_of_share, exact_share
from lambda_star.calibration.statistics import Estimate

__all__ = ["change_of_mean", "mean"]


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
