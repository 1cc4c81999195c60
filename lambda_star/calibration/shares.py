"""Exact intervals of shares of answers, and of their changes."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from lambda_star.calibration.statistics import Estimate

__all__ = ["change_of_share", "exact_share"]


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
    from scipy.special import betainccinv, betaincinv

    failures, missed = trials - successes, (1 - confidence) / 2
    low = betaincinv(successes, failures + 1, missed) if successes else 0.0
    high = betainccinv(successes + 1, failures, missed) if failures else 1.0
    return Estimate(successes / trials, float(low), float(high))


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
