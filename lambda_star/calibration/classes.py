"""What a state knows of each contract class, and the report of it."""

from __future__ import annotations

import heapq
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lambda_star._core.namespaces import Floats
from lambda_star.bernoulli import flip_point_from_logits
from lambda_star.calibration import thresholds
from lambda_star.calibration.distribution import Distribution
from lambda_star.calibration.report import QUANTILES, ClassReport
from lambda_star.calibration.settings import Settings
from lambda_star.calibration.statistics import class_interval
from lambda_star.dynamics.formulas import natural_threshold

__all__ = ["SPLITS", "Class", "Split", "class_report"]

SPLITS = 200
"""The most positions of a class at which the tail is split: a slow contract takes milliseconds for each token."""

NEEDED = 0.01
"""The share of the teacher's listed tail that allowed tokens must hold for a position to need its tail."""


class Split(NamedTuple):
    """The allowed share and the mass of the listed tail of a position, NaN where unknown, by the hash of its place."""

    key: int
    share: float
    mass: float


class Class:
    """The totals of one contract class; they can be added to and merged.

    Attributes:
        positions, censored, past: the number of positions, of those with a bounded b, and of those past their λ*.
        sums: the sums of the eight masses of :class:`lambda_star.calibration.thresholds.Thresholds`.
        least: the least λ*.
        stars: the distribution of λ*.
        splits: the positions with the least keys, at most ``SPLITS``, and how their tail is split.
    """

    def __init__(self) -> None:
        self.positions = self.censored = self.past = 0
        self.sums: Floats = np.zeros(8)
        self.least = math.inf
        self.stars = Distribution()
        self.splits: list[Split] = []

    def add(self, found: thresholds.Thresholds, rows: NDArray[np.intp], lam: float | None) -> None:
        """Take in some of the positions of a table."""
        low = found.low[rows]
        self.positions += len(rows)
        self.censored += int(np.count_nonzero(found.censored[rows]))
        self.past += 0 if lam is None else int(np.count_nonzero(low < lam))
        self.sums = self.sums + found.sums[rows].sum(axis=0)
        self.least = min(self.least, float(low.min()))
        self.stars.add(low)

    def merge(self, other: Class) -> None:
        """Take in the totals of another one, which stays as it is."""
        self.positions += other.positions
        self.censored += other.censored
        self.past += other.past
        self.sums = self.sums + other.sums
        self.least = min(self.least, other.least)
        self.stars.merge(other.stars)
        self.add_splits(other.splits)

    def add_splits(self, splits: list[Split]) -> None:
        """Take in splits, and keep those with the least keys."""
        self.splits = heapq.nsmallest(SPLITS, self.splits + splits)

    @property
    def split_bound(self) -> int:
        """The greatest key with which the split of another position would be kept."""
        return self.splits[-1].key if len(self.splits) == SPLITS else 2**64 - 1


def class_report(
    name: str,
    found: Class,
    by_answer: Floats,
    share: float,
    settings: Settings,
    confidence: float,
    budget: float | None,
) -> ClassReport:
    """Return the report of one class, from its totals and the sums of the eight masses over each answer that is kept.

    ``share`` is the share of the answers that are kept; the options are those of :func:`lambda_star.calibrate`.
    """
    clip, rule = settings.clip, settings.rule
    means = found.sums / found.positions
    near, far = means[:4], means[4:]
    p, tail, b, _ = map(float, near)
    value, at_most = (float(thresholds.of_sums(ends, clip)) for ends in (near, far))
    _, low, high = class_interval(by_answer, clip, confidence)
    teacher, base = thresholds.log_odds(far)
    return ClassReport(
        name=name,
        positions=found.positions,
        answers=round(len(by_answer) / share),
        censored=found.censored,
        tail=tail,
        p=p,
        b=b,
        value=value,
        low=low,
        high=high,
        at_most=at_most,
        collapse_point=_collapse_point(value, p, tail, clip),
        dies=None if rule is None else float(thresholds.corners(rule, p, b, far[0], far[2])[0]),
        flip_point=flip_point_from_logits(float(teacher), float(base)),
        least=found.least,
        median=found.stars.quantile(0.5),
        share_past=None if settings.lam is None else found.past / found.positions,
        budget_threshold=None if budget is None else float(natural_threshold(value, budget)),
        quantiles={level: found.stars.quantile(level) for level in QUANTILES},
        **_tail(found.splits),
    )


def _tail(splits: list[Split]) -> dict[str, float]:
    """The share of the listed tail that is allowed, and of the positions that need theirs, as far as they are known."""
    known = [(share, mass) for _, share, mass in splits if not math.isnan(share)]
    if not known:
        return {}
    shares, masses = np.array(known).T
    return {
        "allowed_tail": float(np.average(shares, weights=masses)),
        "needs_tail": float(np.mean(shares >= NEEDED)),
    }


def _collapse_point(threshold: float, p: float, tail: float, clip: float) -> float:
    """λ_c from λ*, since (λ_c−λ*)/(λ*−1) does not depend on the gap Δ, which is inexact for p and b near 1."""
    if threshold == math.inf:
        return math.inf
    return threshold - (threshold - 1) * math.log1p(-tail / clip) / math.log1p((clip - 1) / p)
