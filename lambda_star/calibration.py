"""From measured log-probabilities to a λ that is safe, and how sure that is.

One position of one sampled answer gives one (p, b): the probability of the teacher's modal token there under teacher
and base. Positions of the output contract are grouped into classes of tokens. A class has one λ*, from its mean tail
masses, with a bootstrap interval over whole answers, since positions of one answer are not independent. Every position
also has its own λ*; the low quantiles of those carry the advice, because positions share the student's parameters
and the first to collapse can drag the others along. All of this is an extension.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lambda_star._times import natural_threshold
from lambda_star.bernoulli import flip_point_from_logits, threshold_from_logits
from lambda_star.contract import json_structure
from lambda_star.io import Problem, Table
from lambda_star.resolution import Resolution, resolve
from lambda_star.sequence import lower_quantile

__all__ = ["ClassReport", "Estimate", "Position", "Report", "calibrate"]

Rule = Callable[[str], str | None]
Floats = NDArray[np.float64]

QUANTILES = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9)

SMALLEST, LARGEST = 5e-324, 1 - 2.0**-53
"""The probabilities nearest to 0 and to 1 that a float64 can hold."""

ROUNDED_TAIL = 2.0**-24
"""The tail mass that a log-probability of exactly 0 stands for: half the spacing of float32 just below 1."""


class Estimate(NamedTuple):
    """A value and the ends of its confidence interval; NaN ends where one answer is all there is.

    >>> Estimate(1.2, 1.15, 1.25).low
    1.15
    """

    value: float
    low: float
    high: float


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

    >>> from lambda_star.io import read_table
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

    >>> from lambda_star.io import read_table
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


def calibrate(
    table: Table,
    *,
    clip: float,
    lam: float | None = None,
    contract: Rule | None = None,
    margin: float = 0.1,
    quantile: float = 0.01,
    confidence: float = 0.95,
    resamples: int = 999,
    seed: int = 0,
    budget: float | None = None,
) -> Report:
    """Which λ is safe for the answers in a table, per contract class and per position.

    Args:
        table: rows from :func:`lambda_star.io.read_table` or :meth:`lambda_star.io.Table.from_rows`.
        clip: the cap c on (1−p)/(1−q), how many times smaller than the teacher's the student's tail may become;
            in (1, inf).
        lam: a λ to judge, for instance the one in a training configuration.
        contract: rule from the text of the modal token to its class, or None for tokens outside the contract. The
            default is the table's ``contract`` column if it has one, else :func:`lambda_star.contract.json_structure`.
        margin: share of the excess λ*−1 that the operating point gives up, in [0, 1).
        quantile: the quantile of the per-position λ* that the operating point rests on, in [0, 1]; 0 is the strict
            threshold of all positions.
        confidence: level of the bootstrap intervals, in (0, 1).
        resamples: number of bootstrap resamples, at least 2.
        seed: seed of the bootstrap, at least 0.
        budget: a planned training time, learning rate times steps of natural gradient, in (0, inf]: each class then
            also gets the λ at which such a run first meets the cliff. λ* itself stays the safe one.

    Returns:
        A :class:`Report`.

    Raises:
        ValueError: an option is out of range, or no row of the table is a usable contract position.

    Source: extension; the λ* of each (p, b) is Eq. 4 of the paper.

    >>> from lambda_star.io import read_table
    >>> report = calibrate(read_table("examples/rank_by_price/logprobs.csv"), clip=5.0, lam=1.25)
    >>> 1 < report.operating_point.value <= report.advised.value < report.binding.threshold.high
    True
    """
    _check_options(clip, lam, margin, quantile, confidence, resamples, seed, budget)
    labels = _labels(table, contract)
    rounded_p, rounded_b = table.log_p == 0, table.log_b == 0
    inside = np.array([label is not None for label in labels])
    used = inside & ~(rounded_p & rounded_b)
    skipped = Counter({"not a contract position": int(np.sum(~inside))})
    skipped["teacher and base both rounded to probability 1"] = int(np.sum(inside & ~used))
    skipped["bad row"] = len(table.problems)
    if not used.any():
        why = ", ".join(f"{count} {reason}" for reason, count in skipped.items() if count)
        raise ValueError(f"{table.source}: no contract position to use ({why}); name its tokens with `contract`")
    sample = _Sample.of(table, labels, used, clip)
    bootstrap = _Bootstrap(sample.answer, confidence, resamples, seed)
    classes = [_class_report(sample, name, clip, lam, bootstrap, budget) for name in sorted(set(sample.label.tolist()))]
    first = int(np.argmin(sample.threshold))
    row = np.flatnonzero(used)[first]
    advised = bootstrap.quantile(sample.threshold, quantile)
    return Report(
        source=table.source,
        clip=clip,
        lam=lam,
        margin=margin,
        quantile=quantile,
        confidence=confidence,
        budget=budget,
        classes=tuple(sorted(classes, key=lambda one: (math.isnan(one.threshold.low), one.threshold.value, one.name))),
        strict=float(sample.threshold[first]),
        strict_at=Position(str(table.sequence[row]), int(table.position[row]), str(table.modal[row])),
        quantiles={level: lower_quantile(sample.threshold, level) for level in QUANTILES},
        advised=advised,
        operating_point=Estimate(*(1 + (1 - margin) * (value - 1) for value in advised)),
        flip_point=float(sample.flip.min()),
        sequences=len(np.unique(sample.answer)),
        used=int(used.sum()),
        skipped={reason: count for reason, count in skipped.items() if count},
        rounded=int(np.sum(used & rounded_p)),
        problems=table.problems,
        resolutions=_resolutions(table, sample, used, clip, contract or json_structure),
        thresholds=sample.threshold,
        flips=sample.flip,
    )


def _check_options(
    clip: float,
    lam: float | None,
    margin: float,
    quantile: float,
    confidence: float,
    resamples: int,
    seed: int,
    budget: float | None,
) -> None:
    for name, value, inside, allowed in (
        ("clip", clip, 1 < clip < math.inf, "(1, inf)"),
        ("lam", lam, lam is None or math.isfinite(lam), "(-inf, inf)"),
        ("margin", margin, 0 <= margin < 1, "[0, 1)"),
        ("quantile", quantile, 0 <= quantile <= 1, "[0, 1]"),
        ("confidence", confidence, 0 < confidence < 1, "(0, 1)"),
        ("resamples", resamples, resamples >= 2, "[2, inf)"),
        ("seed", seed, seed >= 0, "[0, inf)"),
        ("budget", budget, budget is None or budget > 0, "(0, inf]"),
    ):
        if not inside:
            raise ValueError(f"{name} must lie in {allowed}, got {value!r}")


def _labels(table: Table, rule: Rule | None) -> list[str | None]:
    """The contract class of every row, None outside the contract."""
    if rule is None and table.contract is not None:
        return [label or None for label in table.contract.tolist()]
    rule = rule or json_structure
    classes = {text: rule(text) for text in set(table.modal.tolist())}
    return [classes[text] for text in table.modal.tolist()]


@dataclass(frozen=True)
class _Sample:
    """The used positions, one array entry each: answer, class, masses of modal token and tail, λ*, flip point."""

    answer: NDArray[np.intp]
    label: NDArray[Any]
    p: Floats
    tail: Floats
    b: Floats
    base_tail: Floats
    threshold: Floats
    flip: Floats

    @classmethod
    def of(cls, table: Table, labels: Sequence[str | None], used: NDArray[np.bool_], clip: float) -> _Sample:
        p, tail, log_odds_p = _masses(table.log_p[used])
        b, base_tail, log_odds_b = _masses(table.log_b[used])
        return cls(
            answer=np.unique(table.sequence[used], return_inverse=True)[1],
            label=np.array(labels, dtype=object)[used],
            p=p,
            tail=tail,
            b=b,
            base_tail=base_tail,
            threshold=threshold_from_logits(log_odds_p, log_odds_b, clip),
            flip=flip_point_from_logits(log_odds_p, log_odds_b),
        )


def _masses(log_probability: Floats) -> tuple[Floats, Floats, Floats]:
    """Modal mass, tail mass and log-odds from log-probabilities, each with the digits that the logarithm carries."""
    log_probability = np.where(log_probability == 0, np.log1p(-ROUNDED_TAIL), log_probability)
    tail = -np.expm1(log_probability)
    modal = np.clip(np.exp(log_probability), SMALLEST, LARGEST)
    return modal, tail, log_probability - np.log(tail)


def _class_threshold(clip: float, p: Floats, tail: Floats, b: Floats, base_tail: Floats) -> Floats:
    """λ* from mean (or summed) masses; log-odds keep the digits of a tail that 1−p would lose."""
    return np.asarray(threshold_from_logits(np.log(p) - np.log(tail), np.log(b) - np.log(base_tail), clip))


def _collapse_point(threshold: float, p: float, tail: float, clip: float) -> float:
    """λ_c from λ*: (λ_c−λ*)/(λ*−1) is free of the log-odds gap and so of the digits that p and b near 1 have lost."""
    if threshold == math.inf:
        return math.inf
    return threshold - (threshold - 1) * math.log1p(-tail / clip) / math.log1p((clip - 1) / p)


def _resolutions(
    table: Table, sample: _Sample, used: NDArray[np.bool_], clip: float, rule: Rule
) -> tuple[Resolution, ...]:
    """The three thresholds of the classes, from the used rows that list their most probable tokens."""
    tops = [None] * int(used.sum()) if table.top is None else [table.top[row] for row in np.flatnonzero(used)]
    known = [place for place, top in enumerate(tops) if top is not None]
    if not known:
        return ()
    listed = [top for top in tops if top is not None]
    return resolve(listed, sample.label[known].tolist(), sample.threshold[known], clip, rule)


def _class_report(
    sample: _Sample, name: str, clip: float, lam: float | None, bootstrap: _Bootstrap, budget: float | None
) -> ClassReport:
    members = sample.label == name
    masses = [mass[members] for mass in (sample.p, sample.tail, sample.b, sample.base_tail)]
    p, tail, b, base_tail = (float(mass.mean()) for mass in masses)
    threshold = bootstrap.sums(masses, members, partial(_class_threshold, clip))
    return ClassReport(
        name=name,
        positions=int(members.sum()),
        tail=tail,
        p=p,
        b=b,
        threshold=threshold,
        collapse_point=_collapse_point(threshold.value, p, tail, clip),
        flip_point=flip_point_from_logits(math.log(p) - math.log(tail), math.log(b) - math.log(base_tail)),
        least=float(sample.threshold[members].min()),
        median=lower_quantile(sample.threshold[members], 0.5),
        share_past=None if lam is None else float(np.mean(sample.threshold[members] < lam)),
        budget_threshold=None if budget is None else float(natural_threshold(threshold.value, budget)),
    )


@dataclass(frozen=True)
class _Bootstrap:
    """Percentile intervals from resampled answers: positions of one answer stay together, as they were sampled."""

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
            weights = np.bincount(chosen, minlength=len(answers))[self.answer]
            return lower_quantile(thresholds[weights > 0], level, weights[weights > 0])

        return self._interval(lower_quantile(thresholds, level), [answers], resampled, False)

    def _interval(self, value: float, data: Sequence[Any], statistic: Callable[..., Any], vectorized: bool) -> Estimate:
        if len(data[0]) < 2:
            return Estimate(value, math.nan, math.nan)
        from scipy.stats import bootstrap

        # 1/λ* is finite where λ* is +inf, so that percentiles can be taken; it turns the order round.
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
