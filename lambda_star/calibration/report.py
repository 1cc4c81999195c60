"""What a calibration reports: the contract classes, the advice, the readings of λ*, and their form as JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from lambda_star import _deprecated
from lambda_star._core.text import named, number
from lambda_star.calibration.concerns import Concern, concerns
from lambda_star.calibration.contracts import Fit
from lambda_star.calibration.distribution import Distribution
from lambda_star.calibration.readings import Reading
from lambda_star.calibration.statistics import Limit
from lambda_star.calibration.table import Problem

if TYPE_CHECKING:
    import pyarrow

__all__ = ["QUANTILES", "ClassReport", "Place", "Report", "Worst", "to_json"]

QUANTILES = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9)

COUNTS = ("positions", "answers", "censored")
"""The whole numbers of a class."""


class Place(NamedTuple):
    """Where an output position is: its answer, its index in that answer, and the teacher's modal token there."""

    sequence: str
    position: int
    modal: str


class Worst(NamedTuple):
    """A position with one of the least λ*: where it is, its λ* and class, and its answer up to it and from it on."""

    place: Place
    value: float
    label: str
    before: str
    after: str


@dataclass(frozen=True)
class ClassReport:
    """What a calibration found for one contract class.

    Where numbers of the table are intervals, each number here is the one at their safe ends: the greatest p and the
    least b for λ*, the least p and the greatest b for the flip point.

    Attributes:
        name: name of the class, by default the modal token without white space around it.
        positions: number of positions used.
        answers: number of answers that they come from; an estimate if the report's answers are sampled.
        censored: number of positions whose b is only bounded from above.
        tail: the teacher's mean tail mass 1−p.
        p, b: the mean probabilities of the modal tokens under teacher and base.
        value, low, high: λ* of (p, b) and the ends of its interval, which are NaN if only one answer has the class.
        at_most: λ* at the other ends of the numbers, which equals ``value`` if none is an interval.
        collapse_point, flip_point: λ_c of (p, b), and the λ past which the modal token loses its majority.
        dies: the λ at which the tail of (p, b) dies under the update rule, +inf for never; None if no rule was given.
        least, median: the least and the median λ* of the positions of the class.
        quantiles: quantiles of the λ* of its positions, by level.
        share_past: share of its positions whose own λ* lies below the λ asked about; None if none was asked about.
        budget_threshold: the λ at which a run of the planned budget just reaches the clip edge, at least λ*; None if no
            budget was given.
        allowed_tail: share of the teacher's listed tail that the contract allows; None where it cannot tell, or where
            no position lists its most probable tokens.
        needs_tail: share of the positions at which allowed tokens hold at least 1 % of that tail.
    """

    name: str
    positions: int
    answers: int
    censored: int
    tail: float
    p: float
    b: float
    value: float
    low: float
    high: float
    at_most: float
    collapse_point: float
    dies: float | None
    flip_point: float
    least: float
    median: float
    share_past: float | None
    budget_threshold: float | None
    allowed_tail: float | None = None
    needs_tail: float | None = None
    quantiles: dict[float, float] = field(default_factory=dict)


_deprecated.renamed_fields(ClassReport, threshold="")


@dataclass(frozen=True, repr=False)
class Report:
    """What a table of log-probabilities says about λ.

    The advice is ``operating_point.value``. A :class:`lambda_star.calibration.statistics.Limit` is NaN where there are
    too few answers for it, and says how many it takes.

    Attributes:
        source: where the rows came from.
        clip, lam, margin, quantile, confidence, budget, least_b: the arguments of :func:`lambda_star.calibrate`.
        rule: the update rule, as text; None if none was given.
        contract: name of the contract; None where the classes are the table's own or a labeller's.
        classes: the contract classes, the least λ* first; classes seen in only one answer, without interval, come last.
        strict, strict_at: the least λ* of all positions, and the position that has it.
        quantiles: quantiles of the per-position λ*, by level.
        by_position: the distribution of the per-position λ*.
        by_answer: the distribution of the least λ* of each answer.
        advised: the limit of the per-answer λ* at ``quantile``.
        dies: the limit of the per-answer λ at which the first tail dies under the rule; None if no rule was given.
        operating_point: 1 + (1−margin)(λ−1) of the lesser of ``advised`` and ``dies``, number by number.
        flip_point, flips: the least flip point of all positions, and their distribution.
        answers: number of answers that the used positions come from; an estimate where they are sampled.
        used, skipped: how many rows are used, and how many are not, by reason.
        rounded: number of used rows whose teacher log-probability was exactly 0; their λ* is an upper bound.
        censored: number of used rows whose b is only bounded from above.
        sampled: number of answers that the limits rest on where there were too many to keep; 0 where all were kept.
        sketch_error: the share of itself by which a share of positions may be off; 0 where all positions are kept.
        problems, problem_count: bad rows that were left out, with line and reason, and how many there are in all.
        readings: the three readings of λ*, for every class with rows that list their most probable tokens.
        fit: how the contract fits the answers; None where it cannot tell.
        worst: the ten positions with the least λ*, the least first.
        warnings: what makes the advice weaker than it looks.

    >>> from lambda_star import calibrate, read_table
    >>> report = calibrate(read_table("examples/rank_by_price/logprobs.csv"), clip=5.0)
    >>> report.binding.name, round(report.binding.value, 3), round(report.share_past(1.25), 3)
    ('["', 1.293, 0.452)
    """

    source: str
    clip: float
    rule: str | None
    lam: float | None
    margin: float
    quantile: float
    confidence: float
    budget: float | None
    least_b: float
    contract: str | None
    classes: tuple[ClassReport, ...]
    strict: float
    strict_at: Place
    quantiles: dict[float, float]
    by_position: Distribution
    by_answer: Distribution
    advised: Limit
    dies: Limit | None
    operating_point: Limit
    flip_point: float
    flips: Distribution
    answers: int
    used: int
    skipped: dict[str, int]
    rounded: int
    censored: int
    sampled: int
    sketch_error: float
    problems: tuple[Problem, ...]
    problem_count: int
    readings: tuple[Reading, ...]
    fit: Fit | None
    worst: tuple[Worst, ...]
    warnings: tuple[Concern, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "warnings", concerns(self))

    def __repr__(self) -> str:
        """The report in one line."""
        point = number(self.operating_point.value)
        return f"<Report of {self.answers} answers: binding class {named(self.binding.name)}, operating point {point}>"

    @property
    def binding(self) -> ClassReport:
        """The binding class: the least λ* among the classes seen in several answers, or among all if there are none."""
        return self.classes[0]

    def share_past(self, lam: float) -> float:
        """The share of positions whose own λ* lies below ``lam``."""
        return self.by_position.share_below(lam)

    def share_flipped(self, lam: float) -> float:
        """The share of positions whose modal token has lost its majority at ``lam``."""
        return self.flips.share_below(lam)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values, with ``binding``, the name of the binding class, in front.

        The keys are the attributes of this class and of its records; a distribution is its count and its quantiles. The
        text "inf" stands for +inf, and null for NaN.
        """
        return {"binding": self.binding.name, **to_json(vars(self))}

    def to_frame(self) -> pyarrow.Table:
        """Return the contract classes as an Arrow table, one row each, which pandas, Polars and DuckDB take as it is.

        The quantiles of a class stay in :attr:`classes`.

        >>> from lambda_star import calibrate, read_table
        >>> report = calibrate(read_table("examples/rank_by_price/logprobs.csv"))
        >>> report.to_frame().select(["name", "positions"]).to_pylist()[0]
        {'name': '["', 'positions': 365}
        """
        import pyarrow

        types = {"name": pyarrow.string(), **dict.fromkeys(COUNTS, pyarrow.int64())}
        names = [one.name for one in fields(ClassReport) if one.name != "quantiles"]
        schema = pyarrow.schema([(name, types.get(name, pyarrow.float64())) for name in names])
        return pyarrow.Table.from_pylist([vars(one) for one in self.classes], schema)

    def _repr_html_(self) -> str:
        """The report as a notebook shows it."""
        from lambda_star.calibration.forms import fragment

        return fragment(self)


_deprecated.renamed_fields(Report, sequences="answers", resolutions="readings")


def to_json(value: Any) -> Any:
    """Return a value in the types of JSON.

    Args:
        value: numbers, texts, tuples, mappings, records and distributions in each other.

    Returns:
        The value with mappings for records, and for a distribution its count and quantiles.

    >>> to_json({"first": math.nan, "second": (math.inf, 1.5)})
    {'first': None, 'second': ['inf', 1.5]}
    """
    if isinstance(value, Distribution):
        value = {"count": value.count, "quantiles": {level: value.quantile(level) for level in QUANTILES}}
    if is_dataclass(value) or hasattr(value, "_asdict"):
        value = vars(value) if is_dataclass(value) else value._asdict()
    if isinstance(value, dict):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [to_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf"
    return value
