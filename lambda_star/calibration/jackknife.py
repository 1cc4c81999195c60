"""An interval of any smooth function of sums over answers, without resampling."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from lambda_star._core.namespaces import Floats

__all__ = ["jackknife", "others"]


def jackknife(sums: Floats, statistic: Callable[[Floats], Floats], confidence: float) -> tuple[float, float]:
    """Return the ends of an interval of a smooth function of sums over independent answers, which may have heavy tails.

    The sums have one row per answer, at least two, and stand along the last axis of what the function gets. The
    interval is Student's, with the standard error of the jackknife. The degrees of freedom are those that the kurtosis
    of the jackknife leaves, since the few answers far from all others decide how surely the spread is known. Each end
    is computed a second time with the answer that moves the value most to its side counted twice, and the farther of
    both ends holds: a sample of heavy tails rarely has enough of them. The ends are infinite where the function is not
    finite without some answer.

    Source: extension; ``docs/limits.md`` says how often it covers. It joins J. Tukey's jackknife with the degrees of
    freedom that F. Satterthwaite, Biometrics Bulletin 2 (1946), gives to a mean of squares.

    >>> sums = np.array([[1.0, 2.0], [1.5, 2.0], [0.5, 1.0], [1.0, 1.5]])
    >>> low, high = jackknife(sums, lambda each: each[..., 0] / each[..., 1], 0.9)
    >>> round(low, 3), round(high, 3)
    (0.446, 0.784)
    """
    total, without = sums.sum(axis=0), others(sums)
    values = statistic(without)
    low, high = _span(statistic(total), values, confidence)
    for twice in sums[[np.argmax(values), np.argmin(values)]]:
        more = statistic(np.vstack([without + twice, total]))
        lower, higher = _span(statistic(total + twice), more, confidence)
        low, high = min(low, lower), max(high, higher)
    return low, high


def others(sums: Floats) -> Floats:
    """Return the sum of all other rows, for each row; subtracting a row from the sum of all would lose small masses.

    >>> others(np.array([[1.0], [2.0], [4.0]])).T
    array([[6., 5., 3.]])
    """
    found = np.zeros_like(sums)
    np.cumsum(sums[:0:-1], axis=0, out=found[-2::-1])
    found[1:] += np.cumsum(sums[:-1], axis=0)
    return found


def _span(center: Any, values: Floats, confidence: float) -> tuple[float, float]:
    """The ends of Student's interval around a center, from the values without each answer."""
    from scipy.special import stdtrit  # scipy.stats would take a second to import

    if not np.isfinite(values).all():
        return -math.inf, math.inf
    away = np.abs(values - values.mean())
    farthest, count = float(away.max()), len(values)
    if farthest == 0:
        return float(center), float(center)
    squares = (away / farthest) ** 2
    error = farthest * math.sqrt((count - 1) / count * float(squares.sum()))
    kurtosis = float(np.mean(squares**2) / np.mean(squares) ** 2)
    freedom = max(1.0, min(count - 1.0, 2 * count / max(kurtosis - 1, 1e-9)))
    half = float(stdtrit(freedom, (1 + confidence) / 2)) * error
    return float(center) - half, float(center) + half
