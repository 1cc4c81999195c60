"""What a rehearsal says about any λ: whether answers stay valid there, and which λ its metrics like best."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from os import PathLike, fspath
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lambda_star.rehearsal import Point, Rehearsal, change_of_share, read_rehearsal
from lambda_star.updates import Rule, none, parse
from lambda_star.verdict.measured import Measured, never_kills
from lambda_star.verdict.opinion import Opinion

if TYPE_CHECKING:
    from lambda_star.calibration.statistics import Estimate

__all__ = ["Best", "Rehearsed", "read", "rule_of"]

MOST = 1_000_000
"""More answers than that are not asked for."""

LEAST = 0.05
"""Share of valid answers at λ = 1 below which the contract does not fit the answers, and nothing is concluded."""


def read(rehearsal: Rehearsal | str | PathLike[str]) -> Rehearsal:
    """Return a rehearsal, read from its file unless it is one; ``ValueError`` tells what is wrong with the file."""
    if isinstance(rehearsal, Rehearsal):
        return rehearsal
    try:
        return read_rehearsal(fspath(rehearsal))
    except OSError as error:
        raise ValueError(f"{rehearsal}: cannot read the rehearsal ({error}); check the path") from error


def rule_of(rehearsal: Rehearsal | str | PathLike[str]) -> Rule:
    """Return the rule that a rehearsal was made for, ``none()`` where nothing is capped."""
    rule = read(rehearsal).header.get("rule")
    return parse(rule) if rule else none()


class Best(NamedTuple):
    """The λ with the greatest mean of a metric, and a sentence that says how sure that is."""

    metric: str
    lam: float
    sentence: str


@dataclass(frozen=True)
class Rehearsed:
    """The points of a rehearsal by λ, the rule that it was made for, and what one tolerates."""

    rehearsal: Rehearsal
    points: Mapping[float, Point]
    rule: Rule
    tolerance: float
    confidence: float

    @classmethod
    def of(cls, rehearsal: Rehearsal | str | PathLike[str], tolerance: float, confidence: float) -> Rehearsed:
        """Return what a rehearsal, or its file, says."""
        rehearsal = read(rehearsal)
        points = {point.lam: point for point in rehearsal.points(confidence)}
        return cls(rehearsal, points, rule_of(rehearsal), tolerance, confidence)

    @property
    def lams(self) -> tuple[float, ...]:
        """The λ that were rehearsed."""
        return tuple(self.points)

    def refuse_other_rule(self, measured: Measured) -> None:
        """Raise ``ValueError`` if a report was made for a rule that does something else."""
        made = measured.rule
        if made and made != self.rule and not (self.rule.needs_rows or measured.is_for(self.rule)):
            raise ValueError(
                f"rehearsal must be for the rule of the report, {made}, got {self.rule}; give both the same --rule"
            )

    def death(self, lam: float) -> Opinion:
        """Say whether the tail dies at λ, as far as the rule alone tells."""
        if lam <= 1:
            return Opinion("safe", f"λ = {lam:g} does not go past the teacher.")
        if never_kills(self.rule):
            return Opinion("safe", f"Under {self.rule} no tail dies in the mean.")
        remedy = "run `lambda-star calibrate` with that rule, and give its report"
        return Opinion("unknown", f"Under {self.rule} tails can die, and a rehearsal does not say where; {remedy}.")

    def validity(self, lam: float) -> Opinion:
        """Say whether answers at λ are as often valid as at λ = 1, up to the tolerance."""
        if lam == 1:
            return Opinion("safe", "λ = 1 is plain distillation, which the others are compared with.")
        if lam not in self.points:
            remedy = f"run `lambda-star rehearse` with --lam {lam:g} too"
            return Opinion("unknown", f"No answer was rehearsed at λ = {lam:g}; {remedy}.")
        if all(math.isnan(each.valid) for each in self.points.values()):
            said = "The rehearsal has no contract that says which answers are valid"
            return Opinion("unknown", f"{said}; run `lambda-star rehearse` with --contract.")
        point = self.points[lam]
        if not point.pairs or math.isnan(point.change):
            return Opinion("unknown", "No answer at λ = 1 is paired with those at λ; rehearse with --lam 1 too.")
        if (share := self.points[1.0].valid) < LEAST:
            said = f"Only {_percent(share)} of the answers are valid at λ = 1, so that there is hardly one to lose"
            return Opinion("unknown", f"{said}; check contract, prompts and teacher.")
        return self._change_at(point)

    def _change_at(self, point: Point) -> Opinion:
        """Compare the paired change of the share of valid answers with the tolerance."""
        allowed, change = f"the tolerance of {_percent(self.tolerance)}", _interval(point)
        if point.change_low >= -self.tolerance:
            lost = f"loses at most {_percent(-point.change_low)}" if point.change_low < 0 else "loses nothing"
            return Opinion("safe", f"Against λ = 1 the share of valid answers {lost}, within {allowed}.")
        if point.change_high < -self.tolerance:
            return Opinion("unsafe", f"Against λ = 1 the share of valid answers changes by {change}, past {allowed}.")
        said = f"{point.pairs} pairs of answers leave open whether λ costs more than {allowed}: {change}."
        return Opinion("unknown", said, partial(self._to_tell, point.lam))

    def evidence(self) -> Iterator[str]:
        """Yield what was rehearsed, one sentence for each λ."""
        budget = self.rehearsal.header.get("budget")
        run = "converged training" if budget is None else f"a run that is stopped at flow time {budget:g}"
        yield f"The rehearsal predicts {run} under {self.rule}."
        for point in self.points.values():
            said = f"At λ = {point.lam:g} {point.answers} answers were rehearsed"
            if not math.isnan(point.valid):
                said += f", {_percent(point.valid)} valid [{_percent(point.low)}, {_percent(point.high)}]"
            if point.lam != 1 and not math.isnan(point.change):
                said += f", a change of {_interval(point)} against λ = 1"
            yield f"{said}."

    def best(self, unsafe: Collection[float]) -> Iterator[Best]:
        """Yield for each metric the λ with the greatest mean among those that are not unsafe."""
        open_ones = [point for lam, point in self.points.items() if lam not in unsafe]
        for name in sorted({name for point in open_ones for name in point.metrics}):
            at = [point for point in open_ones if name in point.metrics]
            point = max(at, key=lambda each: each.metrics[name].value)
            metric = point.metrics[name]
            said = f"{name} is greatest at λ = {point.lam:g}, {metric.value:.3g}"
            if point.lam != 1 and not math.isnan(metric.change):
                beyond = metric.change_low > 0 or metric.change_high < 0
                ends = f"{metric.change:+.3g} [{metric.change_low:+.3g}, {metric.change_high:+.3g}]"
                said += f"; its change against λ = 1, {ends}, is {'beyond' if beyond else 'within'} chance"
            yield Best(name, point.lam, f"{said}.")

    def _to_tell(self, lam: float) -> int | None:
        """The least number of pairs with the same shares at which the interval decides, sought by halving."""
        by_lam = self.rehearsal.by_lam()
        here, there = by_lam[lam], by_lam[1.0]
        pairs = [(answer.valid, there[key].valid) for key, answer in here.items() if key in there]
        shares = [np.mean([pair == kind for pair in pairs]) for kind in ((True, False), (False, True))]

        def tells(answers: int) -> bool:
            gains, losses = (round(share * answers) for share in shares)
            change = _change(gains, losses, answers, self.confidence)
            return change.low >= -self.tolerance or change.high < -self.tolerance

        low = high = len(pairs)
        while not tells(high):
            low, high = high, 2 * high
            if low > MOST:
                return None
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if tells(middle) else (middle, high)
        return high


def _change(gains: int, losses: int, pairs: int, confidence: float) -> Estimate:
    """The paired change of so many gains and losses, with its interval."""
    place = np.arange(pairs)
    return change_of_share(place >= losses, (place < losses) | (place >= losses + gains), confidence)


def _percent(share: float) -> str:
    """Return a share in per cent."""
    return f"{100 * share:.3g} %"


def _interval(point: Point) -> str:
    """The paired change of a point with its interval, in per cent."""
    change, low, high = (f"{100 * share:+.3g}" for share in (point.change, point.change_low, point.change_high))
    return f"{change} % [{low}, {high}]"
