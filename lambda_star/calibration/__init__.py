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
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lambda_star._core.namespaces import Floats
from lambda_star._core.quantities import LAM, MARGIN, C, Quantity, require
from lambda_star.bernoulli import flip_point_from_logits, threshold_from_logits
from lambda_star.calibration.readings import Resolution, resolve
from lambda_star.calibration.report import QUANTILES, ClassReport, Position, Report
from lambda_star.calibration.statistics import Estimate, _Bootstrap
from lambda_star.calibration.table import Table
from lambda_star.contract import json_structure
from lambda_star.dynamics.formulas import natural_threshold
from lambda_star.sequence import lower_quantile

__all__ = ["calibrate"]

Rule = Callable[[str], str | None]


CLIP = C.named("clip")._replace(ends="()")
QUANTILE, CONFIDENCE = Quantity("quantile", 0.0, 1.0, "[]"), Quantity("confidence", 0.0, 1.0)
RESAMPLES, SEED = Quantity("resamples", 2, math.inf, "[)"), Quantity("seed", 0, math.inf, "[)")
BUDGET = Quantity("budget", 0.0, math.inf, "(]")

SMALLEST, LARGEST = 5e-324, 1 - 2.0**-53
"""The probabilities nearest to 0 and to 1 that a float64 can hold."""


ROUNDED_TAIL = 2.0**-24
"""The tail mass that a log-probability of exactly 0 stands for: half the spacing of float32 just below 1."""


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
        table: rows from :func:`lambda_star.calibration.readers.read_table` or :meth:`lambda_star.calibration.table.Table.from_rows`.
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

    >>> from lambda_star import calibrate, read_table
    >>> report = calibrate(read_table("examples/rank_by_price/logprobs.csv"), clip=5.0, lam=1.25)
    >>> 1 < report.operating_point.value <= report.advised.value < report.binding.threshold.high
    True
    """
    require(
        (CLIP, clip),
        (LAM, lam),
        (MARGIN, margin),
        (QUANTILE, quantile),
        (CONFIDENCE, confidence),
        (RESAMPLES, resamples),
        (SEED, seed),
        (BUDGET, budget),
    )
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
