"""What a calibration reports: the contract classes, the advice, the readings of λ*, and their form as JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, is_dataclass
from typing import Any, NamedTuple

import numpy as np

from lambda_star import _deprecated
from lambda_star._core.namespaces import Floats
from lambda_star.calibration.contracts import Fit
from lambda_star.calibration.readings import Reading
from lambda_star.calibration.statistics import Estimate
from lambda_star.calibration.table import Problem

__all__ = ["ClassReport", "Place", "Report"]

QUANTILES = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9)


class Place(NamedTuple):
    """Where an output position is: its answer, its index in that answer, and the teacher's modal token there."""

    sequence: str
    position: int
    modal: str


@dataclass(frozen=True)
class ClassReport:
    """What a calibration found for one contract class.

    Attributes:
        name: name of the class, by default the modal token without white space around it.
        positions: number of positions used.
        tail: the teacher's mean tail mass 1−p.
        p, b: the mean probabilities of the modal tokens under teacher and base.
        value, low, high: λ* of (p, b) and the ends of its interval, which are NaN if only one answer has the class.
        collapse_point, flip_point: λ_c of (p, b), and the λ past which the modal token loses its majority.
        dies: the λ at which the tail of (p, b) dies under the update rule, +inf for never; None if no rule was given.
        least, median: the least and the median λ* of the positions of the class.
        share_past: share of its positions whose own λ* lies below the λ asked about; None if none was asked about.
        budget_threshold: the λ at which a run of the planned budget just reaches the clip edge, at least λ*; None if no
            budget was given.
        allowed_tail: share of the teacher's listed tail that the contract allows; None where it cannot tell, or where
            no position lists its most probable tokens.
        needs_tail: share of the positions at which allowed tokens hold at least 1 % of that tail.
    """

    name: str
    positions: int
    tail: float
    p: float
    b: float
    value: float
    low: float
    high: float
    collapse_point: float
    dies: float | None
    flip_point: float
    least: float
    median: float
    share_past: float | None
    budget_threshold: float | None
    allowed_tail: float | None = None
    needs_tail: float | None = None


_deprecated.renamed_fields(ClassReport, threshold="")


@dataclass(frozen=True)
class Report:
    """What a table of log-probabilities says about λ.

    Attributes:
        source: where the rows came from.
        clip, lam, margin, quantile, confidence, budget: the arguments of :func:`lambda_star.calibrate`.
        classes: the contract classes, the least λ* first; classes seen in only one answer, without interval, come last.
        strict, strict_at: the least λ* of all positions, and the position that has it.
        quantiles: quantiles of the per-position λ*, by level.
        rule: the update rule, as text; None if none was given.
        advised: the per-position λ* at ``quantile``, with its interval.
        dies: the per-position λ at which the tail dies under the rule, at ``quantile``, with its interval; None if no
            rule was given.
        operating_point: 1 + (1−margin)(λ−1), with its interval, of ``advised``, or of ``dies`` where that is less.
        flip_point: the least flip point of all positions.
        answers: number of answers that the used positions come from.
        used, skipped: how many rows are used, and how many are not, by reason.
        rounded: number of used rows whose teacher log-probability was exactly 0; their λ* is an upper bound.
        problems: bad rows that were left out, with line and reason.
        readings: the three readings of λ*, for every class with rows that list their most probable tokens.
        contract: name of the contract; None where the classes are the table's own or a labeller's.
        fit: how the contract fits the answers; None where it cannot tell.
        thresholds, flips: the per-position λ* and flip points, in the order of the used rows.

    >>> from lambda_star import calibrate, read_table
    >>> report = calibrate(read_table("examples/rank_by_price/logprobs.csv"), clip=5.0)
    >>> report.binding.name, round(report.binding.value, 3), round(report.share_past(1.25), 3)
    ('["', 1.293, 0.452)
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
    strict_at: Place
    quantiles: dict[float, float]
    rule: str | None
    advised: Estimate
    dies: Estimate | None
    operating_point: Estimate
    flip_point: float
    answers: int
    used: int
    skipped: dict[str, int]
    rounded: int
    problems: tuple[Problem, ...]
    readings: tuple[Reading, ...]
    thresholds: Floats = field(repr=False)
    flips: Floats = field(repr=False)
    contract: str | None = None
    fit: Fit | None = None

    @property
    def binding(self) -> ClassReport:
        """The binding class: the least λ* among the classes seen in several answers, or among all if there are none."""
        return self.classes[0]

    def share_past(self, lam: float) -> float:
        """The share of positions whose own λ* lies below ``lam``."""
        return float(np.mean(self.thresholds < lam))

    def share_flipped(self, lam: float) -> float:
        """The share of positions whose modal token has lost its majority at ``lam``."""
        return float(np.mean(self.flips < lam))

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values, with ``binding``, the name of the binding class, in front.

        The keys are the attributes of this class and of its records, without the per-position arrays ``thresholds`` and
        ``flips``. The text "inf" stands for +inf, and null for NaN.
        """
        values = {name: value for name, value in vars(self).items() if name not in {"thresholds", "flips"}}
        return {"binding": self.binding.name, **_to_json(values)}


_deprecated.renamed_fields(Report, sequences="answers", resolutions="readings")


def _to_json(value: Any) -> Any:
    """The value in the types of JSON."""
    if is_dataclass(value) or hasattr(value, "_asdict"):
        value = vars(value) if is_dataclass(value) else value._asdict()
    if isinstance(value, dict):
        return {str(key): _to_json(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_to_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf"
    return value
