"""Turn measured log-probabilities into a λ that is safe, and say how sure that is.

Each position of a sampled answer gives one pair (p, b), the probabilities of the teacher's modal token under the
teacher and under the base. Positions of the contract are grouped into contract classes. A class has one λ*, from its
mean tail masses, with a bootstrap interval over whole answers. Every position also has its own λ*, and the advice is a
low quantile of these, which bounds the share of positions whose tail the student makes more than c times thinner than
the teacher's. Eq. 4 of the paper gives the λ* of one pair; everything else here is an extension.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lambda_star import _deprecated
from lambda_star._core.namespaces import Floats
from lambda_star._core.quantities import LAM, MARGIN, C, Quantity, require
from lambda_star.bernoulli import flip_point_from_logits, formulas, threshold_from_logits
from lambda_star.calibration import readings
from lambda_star.calibration.contracts import Judgement, Tail, judge
from lambda_star.calibration.report import QUANTILES, ClassReport, Place, Report
from lambda_star.calibration.statistics import Estimate, _Bootstrap
from lambda_star.calibration.table import Table
from lambda_star.contract import Contract, Labeller
from lambda_star.dynamics.formulas import natural_threshold
from lambda_star.sequence import lower_quantile
from lambda_star.updates import Rule

__all__ = ["calibrate"]

_deprecated.serve(__name__)

OPTIONS = (
    C.named("clip")._replace(ends="()"),
    LAM,
    MARGIN,
    Quantity("quantile", 0.0, 1.0, "[]"),
    Quantity("confidence", 0.0, 1.0),
    Quantity("resamples", 2, math.inf, "[)"),
    Quantity("seed", 0, math.inf, "[)"),
    Quantity("budget", 0.0, math.inf, "(]"),
)
"""The numbers that :func:`calibrate` takes, in its order."""

TOLERANCE = 5.0
"""The clip where the caller gives none: the c that the paper runs, as a tolerance."""

SMALLEST, LARGEST = 5e-324, 1 - 2.0**-53
"""The probabilities nearest to 0 and to 1 that a float64 can hold."""

ROUNDED_TAIL = 2.0**-24
"""The tail mass that a log-probability of exactly 0 stands for: half the spacing of float32 just below 1."""


def calibrate(
    table: Table,
    *,
    clip: float = TOLERANCE,
    rule: Rule | None = None,
    lam: float | None = None,
    contract: Contract | Labeller | str | None = None,
    tokens: Sequence[str] = (),
    margin: float = 0.1,
    quantile: float = 0.01,
    confidence: float = 0.95,
    resamples: int = 999,
    seed: int = 0,
    budget: float | None = None,
) -> Report:
    """Return the λ* of every contract class and position of a table, and the λ that is advised.

    Args:
        table: rows from :func:`lambda_star.read_table` or :meth:`lambda_star.calibration.table.Table.from_rows`.
        clip: the clip c, how many times thinner than the teacher's the student's tail may become; in (1, inf). The
            default is 5, a tolerance.
        rule: what the trainer's update bounds, a value of :mod:`lambda_star.updates`. The report then says where tails
            die under it, and the operating point keeps its margin below that λ too.
        lam: a λ to judge, for instance the one in a training configuration.
        contract: what a valid answer is: a contract, its name for :func:`lambda_star.contract.parse`, or a labeller
            that tells the class of a position from the text of its modal token. The default is the table's ``contract``
            column, if it has one, and otherwise JSON. Positions after the token that broke their answer do not count.
        tokens: modal tokens that belong to the contract beside its own.
        margin: share of the excess λ*−1 that the operating point gives up, in [0, 1).
        quantile: the quantile of the per-position λ* on which the operating point rests, in [0, 1]; 0 is the least λ*
            of all positions.
        confidence: level of the bootstrap intervals, in (0, 1).
        resamples: number of bootstrap resamples, at least 2.
        seed: seed of the bootstrap, at least 0.
        budget: a planned training time, the learning rate times the number of steps of natural gradient, in (0, inf].
            Each class then also gets the λ at which such a run just reaches the clip edge.

    Returns:
        A :class:`lambda_star.calibration.report.Report`.

    Raises:
        ValueError: an option lies outside its range, or no row of the table is a usable contract position.

    Source: paper, Eq. 4, for the λ* of one (p, b); extension for everything else.

    >>> from lambda_star import calibrate, read_table
    >>> report = calibrate(read_table("examples/rank_by_price/logprobs.csv"), clip=5.0, lam=1.25)
    >>> 1 < report.operating_point.value <= report.advised.value < report.binding.high
    True
    """
    _refuse_sets(rule)
    require(*zip(OPTIONS, (clip, lam, margin, quantile, confidence, resamples, seed, budget), strict=True))
    judged = judge(table, contract, tokens)
    rows, skipped = _used_rows(table, judged)
    sample = _sample(table, judged.labels, rows, clip, rule)
    bootstrap = _Bootstrap(sample.answer, confidence, resamples, seed)
    tails = {name: judged.tails(table, rows[sample.label == name]) for name in sorted(set(sample.label.tolist()))}
    classes = [_class_report(sample, name, clip, rule, lam, bootstrap, budget, tails[name]) for name in tails]
    tops = [None if table.top is None else table.top[row] for row in rows]
    first = int(np.argmin(sample.threshold))
    advised = bootstrap.quantile(sample.threshold, quantile)
    dies = None if sample.death is None else bootstrap.quantile(sample.death, quantile)
    return Report(
        source=table.source,
        clip=clip,
        lam=lam,
        margin=margin,
        quantile=quantile,
        confidence=confidence,
        budget=budget,
        classes=tuple(sorted(classes, key=lambda one: (math.isnan(one.low), one.value, one.name))),
        strict=float(sample.threshold[first]),
        strict_at=Place(table.sequence[rows[first]], int(table.position[rows[first]]), table.modal[rows[first]]),
        quantiles={level: lower_quantile(sample.threshold, level) for level in QUANTILES},
        advised=advised,
        operating_point=_operating(margin, advised, dies or advised),
        rule=None if rule is None else str(rule),
        dies=dies,
        flip_point=float(sample.flip.min()),
        answers=len(np.unique(sample.answer)),
        used=len(rows),
        skipped=skipped,
        rounded=int(np.sum(table.log_p[rows] == 0)),
        problems=table.problems,
        readings=readings.readings(tops, sample.label.tolist(), sample.threshold, clip, judged.labeller),
        thresholds=sample.threshold,
        flips=sample.flip,
        contract=judged.name,
        fit=judged.fit,
    )


def _refuse_sets(rule: Rule | None) -> None:
    if rule is not None and rule.needs_rows:
        raise ValueError(
            f"rule must be one that p and b show, got {rule}: tokens outside its set lose their mass, and a table has "
            "no mass of that set; `top_k:1` is the case of the modal token alone"
        )


def _operating(margin: float, *limits: Estimate) -> Estimate:
    """What keeps a margin below the least of some λ, and its interval."""
    return Estimate(*(formulas.operating(min(ends), margin) for ends in zip(*limits, strict=True)))


def _used_rows(table: Table, judged: Judgement) -> tuple[NDArray[np.intp], dict[str, int]]:
    """The numbers of the usable rows, and how many rows are skipped for each reason."""
    inside = np.array([label is not None for label in judged.labels])
    certain = (table.log_p == 0) & (table.log_b == 0)
    counts = {
        "not a contract position": int(np.sum(~inside & ~judged.late)),
        "after the token that broke the answer": int(np.sum(judged.late)),
        "teacher and base both rounded to probability 1": int(np.sum(inside & ~judged.late & certain)),
        "bad row": len(table.problems),
    }
    skipped = {reason: count for reason, count in counts.items() if count}
    used = inside & ~judged.late & ~certain
    if not used.any():
        why = ", ".join(f"{count} {reason}" for reason, count in skipped.items())
        remedy = (judged.fit and judged.fit.remedy) or "give `contract`, or name its tokens with `tokens`"
        raise ValueError(f"{table.source}: no row is a usable contract position ({why}); {remedy}")
    return np.flatnonzero(used), skipped


class _Sample(NamedTuple):
    """The used positions, one array entry each; ``masses`` are p and 1−p, then b and 1−b."""

    answer: NDArray[np.intp]
    label: NDArray[np.object_]
    masses: tuple[Floats, Floats, Floats, Floats]
    threshold: Floats
    flip: Floats
    death: Floats | None


def _sample(
    table: Table, labels: Sequence[str | None], rows: NDArray[np.intp], clip: float, rule: Rule | None
) -> _Sample:
    p, tail, log_odds_p = _masses(table.log_p[rows])
    b, base_tail, log_odds_b = _masses(table.log_b[rows])
    return _Sample(
        np.unique(table.sequence[rows], return_inverse=True)[1],
        np.array(labels, dtype=object)[rows],
        (p, tail, b, base_tail),
        threshold_from_logits(log_odds_p, log_odds_b, clip),
        flip_point_from_logits(log_odds_p, log_odds_b),
        None if rule is None else rule.dies(p, b),
    )


def _masses(log_probability: Floats) -> tuple[Floats, Floats, Floats]:
    """Modal mass, tail mass and log-odds from log-probabilities, to the precision that the logarithms carry."""
    log_probability = np.where(log_probability == 0, np.log1p(-ROUNDED_TAIL), log_probability)
    tail = -np.expm1(log_probability)
    modal = np.clip(np.exp(log_probability), SMALLEST, LARGEST)
    return modal, tail, log_probability - np.log(tail)


def _log_odds(*masses: Floats | float) -> tuple[Any, Any]:
    """The log-odds of teacher and base from mean or summed masses, which keep the digits of a small tail."""
    p, tail, b, base_tail = map(np.log, masses)
    return p - tail, b - base_tail


def _collapse_point(threshold: float, p: float, tail: float, clip: float) -> float:
    """λ_c from λ*, since (λ_c−λ*)/(λ*−1) does not depend on the gap Δ, which is inexact for p and b near 1."""
    if threshold == math.inf:
        return math.inf
    return threshold - (threshold - 1) * math.log1p(-tail / clip) / math.log1p((clip - 1) / p)


def _class_report(
    sample: _Sample,
    name: str,
    clip: float,
    rule: Rule | None,
    lam: float | None,
    bootstrap: _Bootstrap,
    budget: float | None,
    tail_split: Tail,
) -> ClassReport:
    members = sample.label == name
    masses = [mass[members] for mass in sample.masses]
    p, tail, b, _ = means = [float(mass.mean()) for mass in masses]
    thresholds = sample.threshold[members]
    estimate = bootstrap.sums(masses, members, lambda *sums: threshold_from_logits(*_log_odds(*sums), clip))
    return ClassReport(
        name=name,
        positions=len(thresholds),
        tail=tail,
        p=p,
        b=b,
        **estimate._asdict(),
        collapse_point=_collapse_point(estimate.value, p, tail, clip),
        dies=None if rule is None else rule.dies(p, b),
        flip_point=flip_point_from_logits(*_log_odds(*means)),
        least=float(thresholds.min()),
        median=lower_quantile(thresholds, 0.5),
        share_past=None if lam is None else float(np.mean(thresholds < lam)),
        budget_threshold=None if budget is None else float(natural_threshold(estimate.value, budget)),
        **tail_split._asdict(),
    )
