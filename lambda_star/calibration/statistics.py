"""Bootstrap intervals that resample whole answers, because the positions of one answer are not independent."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lambda_star._core.namespaces import Floats
from lambda_star.sequence import lower_quantile

__all__ = ["Estimate"]


class Estimate(NamedTuple):
    """A value and the ends of its confidence interval, which are NaN if only one answer supports the value."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class _Bootstrap:
    """Percentile intervals; ``answer`` is the index of the answer of each position."""

    answer: NDArray[np.intp]
    confidence: float
    resamples: int
    seed: int

    def sums(self, columns: Sequence[Floats], members: NDArray[np.bool_], threshold: Callable[..., Floats]) -> Estimate:
        """The interval of a λ* that is a function of sums over the positions of a class."""
        _, answer = np.unique(self.answer[members], return_inverse=True)
        per_answer = [np.bincount(answer, weights=column) for column in columns]
        value = float(threshold(*(column.sum() for column in columns)))
        return self._interval(value, per_answer, lambda *sums, axis: threshold(*(s.sum(axis=axis) for s in sums)), True)

    def quantile(self, thresholds: Floats, level: float) -> Estimate:
        """The interval of a quantile of the per-position λ*."""
        answers = np.arange(self.answer.max() + 1)

        def resampled(chosen: NDArray[np.intp]) -> float:
            return lower_quantile(thresholds, level, np.bincount(chosen, minlength=len(answers))[self.answer])

        return self._interval(lower_quantile(thresholds, level), [answers], resampled, False)

    def _interval(self, value: float, data: Sequence[Any], statistic: Callable[..., Any], vectorized: bool) -> Estimate:
        if len(data[0]) < 2:
            return Estimate(value, math.nan, math.nan)
        from scipy.stats import bootstrap

        # SciPy takes percentiles of 1/λ*, which stays finite where λ* is +inf and reverses the order of the ends.
        with np.errstate(divide="ignore"):
            ends = bootstrap(
                data,
                lambda *args, **axis: 1 / np.asarray(statistic(*args, **axis)),
                paired=len(data) > 1,
                vectorized=vectorized,
                n_resamples=self.resamples,
                confidence_level=self.confidence,
                method="percentile",
                rng=self.seed,
            ).confidence_interval
            return Estimate(value, *(float(1 / np.float64(end)) for end in (ends.high, ends.low)))
