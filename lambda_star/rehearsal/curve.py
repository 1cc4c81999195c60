"""What the answers tell about each λ, and at which further λ to look."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from lambda_star.calibration.shares import change_of_share, exact_share
from lambda_star.calibration.statistics import Estimate
from lambda_star.rehearsal.statistics import change_of_mean, mean

if TYPE_CHECKING:
    from lambda_star.rehearsal.answers import Answer

__all__ = ["REFERENCE", "Answers", "Metric", "Point", "curve_of", "next_lam"]

REFERENCE = 1.0
"""The λ against which changes are: the teacher itself."""

NARROWEST = 0.02
"""The least distance of two λ between which a third is worth its answers."""

Answers = Mapping[tuple[int, int], "Answer"]
"""The answers at one λ, by prompt and sample."""


class Metric(NamedTuple):
    """The mean of a metric over the answers to which it applies, and its paired change against λ = 1."""

    value: float
    low: float
    high: float
    change: float
    change_low: float
    change_high: float
    answers: int


@dataclass(frozen=True)
class Point:
    """What the answers at one λ tell.

    Attributes:
        lam: the λ.
        answers: number of answers.
        valid, low, high: share of valid answers with its exact interval; NaN without a contract.
        change, change_low, change_high: paired change of that share against λ = 1, with an interval that covers at
            least as often as it says; NaN where no answer has a partner at λ = 1, and all 0 at λ = 1 itself.
        pairs: number of answers with a partner at λ = 1: the same prompt and the same random numbers.
        metrics: the user's metrics by name.
        length: mean number of tokens.
        cut: share of answers that the limit on tokens cut, which count as not valid.
        broken_at: median over the answers that broke of the index of the token that broke them, NaN if none did.
        broken: number of answers that broke, by contract class of that token, the most frequent first; a token without
            a class counts under the empty text.
    """

    lam: float
    answers: int
    valid: float
    low: float
    high: float
    change: float
    change_low: float
    change_high: float
    pairs: int
    metrics: dict[str, Metric]
    length: float
    cut: float
    broken_at: float
    broken: dict[str, int]


def curve_of(by_lam: Mapping[float, Answers], confidence: float = 0.95) -> tuple[Point, ...]:
    """Return the point of every λ.

    Args:
        by_lam: the answers by λ, and at each λ by prompt and sample.
        confidence: level of all intervals, in (0, 1).

    Returns:
        One :class:`Point` per λ, in the order of the mapping.

    Raises:
        ValueError: the confidence is outside (0, 1).
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie in (0, 1), got {confidence}")
    reference = by_lam.get(REFERENCE, {})
    return tuple(_point(lam, answers, reference, confidence) for lam, answers in by_lam.items())


def next_lam(by_lam: Mapping[float, Answers], confidence: float = 0.95) -> float | None:
    """Return the λ at which further answers say most about where the curve turns.

    Among neighbouring λ of at least 1 between which the valid share or a metric changes, paired, by more than its
    interval allows for chance, it is the middle of the two with the largest change, unless they are closer than 0.02.

    Args:
        by_lam: the answers by λ, rising, and at each λ by prompt and sample.
        confidence: level of the intervals, in (0, 1).

    Returns:
        A λ, or None if no change goes beyond chance.

    >>> from lambda_star.rehearsal import Answer
    >>> def at(lam, valid):
    ...     return {(prompt, 0): Answer(lam, prompt, 0, "", 1, True, valid) for prompt in range(40)}
    >>> next_lam({1.0: at(1.0, True), 1.5: at(1.5, True), 2.0: at(2.0, False)})
    1.75
    """
    lams = [lam for lam in by_lam if lam >= REFERENCE]
    best, middle = 0.0, None
    for low, high in pairwise(lams):
        for change in _changes(by_lam[high], by_lam[low], confidence).values():
            beyond = change.low > 0 or change.high < 0
            if beyond and abs(change.value) > best and high - low >= NARROWEST:
                best, middle = abs(change.value), (low + high) / 2
    return middle


def _point(lam: float, answers: Answers, reference: Answers, confidence: float) -> Point:
    every = list(answers.values())
    judged = [answer.valid for answer in every if answer.valid is not None]
    share = exact_share(sum(judged), len(judged), confidence) if judged else NOTHING
    changes = _changes(answers, reference, confidence)
    if lam == REFERENCE:
        changes = dict.fromkeys(changes, Estimate(0.0, 0.0, 0.0))
    broken = [answer for answer in every if answer.broken_at is not None]
    return Point(
        lam,
        len(every),
        *share,
        *changes.get("", NOTHING),
        pairs=len(answers.keys() & reference.keys()),
        metrics=_metrics(every, changes, confidence),
        length=statistics.fmean(answer.tokens for answer in every),
        cut=statistics.fmean(not answer.ended for answer in every),
        broken_at=float(statistics.median(answer.broken_at or 0 for answer in broken)) if broken else math.nan,
        broken=dict(Counter(answer.broken_class or "" for answer in broken).most_common()),
    )


NOTHING = Estimate(math.nan, math.nan, math.nan)


def _metrics(every: list[Answer], changes: Mapping[str, Estimate], confidence: float) -> dict[str, Metric]:
    """Every metric of the answers, by name."""
    values: dict[str, list[float]] = {}
    for answer in every:
        for name, value in answer.metrics.items():
            values.setdefault(name, []).append(value)
    return {
        name: Metric(*mean(found, confidence), *changes.get(name, NOTHING), answers=len(found))
        for name, found in sorted(values.items())
    }


def _changes(answers: Answers, reference: Answers, confidence: float) -> dict[str, Estimate]:
    """The paired changes, by metric; the valid share stands under the empty name."""
    pairs = [(answer, reference[key]) for key, answer in answers.items() if key in reference]
    judged = [(one.valid, other.valid) for one, other in pairs if one.valid is not None and other.valid is not None]
    found = (
        {"": change_of_share([one for one, _ in judged], [other for _, other in judged], confidence)} if judged else {}
    )
    for name in sorted({name for one, other in pairs for name in one.metrics.keys() & other.metrics.keys()}):
        both = [(a.metrics[name], b.metrics[name]) for a, b in pairs if name in a.metrics and name in b.metrics]
        found[name] = change_of_mean([one for one, _ in both], [other for _, other in both], confidence)
    return found
