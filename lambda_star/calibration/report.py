"""The report of a calibration, and its forms."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from lambda_star._core.namespaces import Floats
from lambda_star.calibration.readings import Resolution
from lambda_star.calibration.statistics import Estimate
from lambda_star.calibration.table import Problem

__all__ = ["ClassReport", "Position", "Report"]

QUANTILES = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9)


class Position(NamedTuple):
    """One output position: the answer, the place in it, and the teacher's modal token there.

    >>> Position("answer 3", 7, '","').modal
    '","'
    """

    sequence: str
    position: int
    modal: str


@dataclass(frozen=True)
class ClassReport:
    """One contract class of tokens.

    Attributes:
        name: label of the class, by default the modal token without white space.
        positions: number of positions used.
        tail: the teacher's mean tail mass 1−p.
        p: the teacher's mean modal probability.
        b: the base's mean probability of the same tokens.
        threshold: λ* of (p, b), with its interval.
        collapse_point: λ_c of (p, b).
        flip_point: λ past which the modal token loses its majority, for (p, b).
        least: the least λ* of any position of the class.
        median: the median of the λ* of its positions.
        share_past: share of the class's positions whose λ* lies below the λ asked about; None if none was.
        budget_threshold: the λ at which the planned budget just reaches the clip edge; None if none was given. Above
            λ*, which is the safe one.

    >>> from lambda_star import calibrate, read_table
    >>> binding = calibrate(read_table("examples/rank_by_price/logprobs.csv"), clip=5.0).binding
    >>> binding.name, binding.p > binding.b, binding.least <= binding.median
    ('["', True, True)
    """

    name: str
    positions: int
    tail: float
    p: float
    b: float
    threshold: Estimate
    collapse_point: float
    flip_point: float
    least: float
    median: float
    share_past: float | None
    budget_threshold: float | None


@dataclass(frozen=True)
class Report:
    """What a table of log-probabilities says about λ.

    Attributes:
        source: where the rows came from.
        clip: the cap c on the tail ratio that everything here holds for.
        lam: the λ asked about, or None.
        margin: share of the excess λ*−1 that the operating point gives up.
        quantile: the quantile of the per-position λ* that the operating point rests on.
        confidence: level of the intervals.
        budget: the planned training time, or None.
        classes: contract classes, the least λ* first; those seen in one answer only, which have no interval, come last.
        strict: the least λ* of all positions.
        strict_at: the position that has it.
        quantiles: quantiles of the per-position λ*, by level.
        advised: the per-position λ* at ``quantile``, with its interval.
        operating_point: 1 + (1−margin)(λ*−1) of ``advised``, with its interval.
        flip_point: the least flip point of all positions.
        sequences: number of answers that the used positions come from.
        used: number of rows used.
        skipped: rows not used, by reason.
        rounded: used rows whose teacher log-probability was exactly 0: their λ* is an upper bound.
        problems: bad rows that were left out, with line and reason.
        resolutions: token by token, Eq. 4 and class by class, for every class whose rows list the most probable tokens.
        thresholds: the per-position λ*, in the order of the used rows.
        flips: the per-position flip points, in the same order.

    >>> from lambda_star import calibrate, read_table
    >>> report = calibrate(read_table("examples/rank_by_price/logprobs.csv"), clip=5.0)
    >>> report.used == len(report.thresholds), bool(report.strict == report.thresholds.min())
    (True, True)
    """

    source: str
    clip: float
    lam: float | None
    margin: float
    quantile: float
    confidence: float
    budget: float | None
    classes: tuple[ClassReport, ...]
    strict: float
    strict_at: Position
    quantiles: dict[float, float]
    advised: Estimate
    operating_point: Estimate
    flip_point: float
    sequences: int
    used: int
    skipped: dict[str, int]
    rounded: int
    problems: tuple[Problem, ...]
    resolutions: tuple[Resolution, ...]
    thresholds: Floats = field(repr=False)
    flips: Floats = field(repr=False)

    @property
    def binding(self) -> ClassReport:
        """The class that binds: the least λ* among those seen in more than one answer, if there are any."""
        return self.classes[0]

    def share_past(self, lam: float) -> float:
        """The share of positions whose own λ* lies below ``lam``."""
        return float(np.mean(self.thresholds < lam))

    def share_flipped(self, lam: float) -> float:
        """The share of positions whose modal token has lost its majority at ``lam``."""
        return float(np.mean(self.flips < lam))

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON values, without the per-position arrays; +inf becomes the text "inf"."""
        arrays = ("thresholds", "flips")
        values = {name: value for name, value in vars(self).items() if name not in arrays}
        return {"binding": self.binding.name, **_plain(values)}


def _plain(value: Any) -> Any:
    """A value in the types of JSON."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return _plain(value._asdict())
    if hasattr(value, "__dataclass_fields__"):
        return _plain(vars(value))
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf"
    return value
