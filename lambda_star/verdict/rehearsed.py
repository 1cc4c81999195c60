"""What a rehearsal says about any λ: whether answers stay valid there, and which λ its metrics like best."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from os import PathLike, fspath
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lambda_star.rehearsal import Answer, Point, Rehearsal, change_of_share, read_rehearsal
from lambda_star.updates import Rule, none, parse
from lambda_star.verdict.measured import SURE, UNDECIDED, Measured, never_kills
from lambda_star.verdict.opinion import Opinion

if TYPE_CHECKING:
    from lambda_star.calibration.statistics import Estimate

__all__ = ["Best", "Rehearsed", "read", "rule_of"]

ONLY = "That holds for a run that is stopped at flow time {:g}, and not for one that goes on."

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
    if not isinstance(rule, str | None):
        raise ValueError(f"rehearsal must have a rule as text in its header, got {rule!r}; rehearse again")
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
        rows = made is not None and (made.needs_rows or self.rule.needs_rows)
        if made and made != self.rule and (rows or not measured.is_for(self.rule)):
            raise ValueError(
                f"rehearsal must be for the rule of the report, {made}, got {self.rule}; give both the same --rule"
            )

    def other_contract(self, measured: Measured) -> str | None:
        """A sentence where the report was made for another contract; it may be the coarser one of the same answers."""
        contract = self.rehearsal.header.get("contract")
        if not contract or not measured.contract or contract == measured.contract:
            return None
        return f"The report is for the contract {measured.contract}, and the rehearsal for {contract}."

    def death(self, lam: float) -> Opinion:
        """Say whether the tail dies at λ, as far as the rule alone tells."""
        if lam <= 1 and (self.rule.needs_rows or self.rule.dies(SURE, UNDECIDED) > 1):
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
        found = self._change_at(point)
        budget = self.rehearsal.header.get("budget")
        return found if budget is None else found._replace(reason=f"{found.reason} {ONLY.format(budget)}")

    def broken_before(self, lam: float) -> Opinion | None:
        """Say that a λ that was not rehearsed lies beyond one at which answers break; None if it does not."""
        broken = [at for at in self.points if 1 < at < lam and self.validity(at).safety == "unsafe"]
        if not broken:
            return None
        said = f"The report allows λ, but in the rehearsal answers break at λ = {min(broken):g} already"
        return Opinion("unknown", f"{said}; run `lambda-star rehearse` with --lam {lam:g} too.")

    def _change_at(self, point: Point) -> Opinion:
        """Compare the paired change of the share of valid answers with the tolerance."""
        missing, worst, best = self._without_answers(point.lam)
        point = replace(point, change_low=worst.low, change_high=best.high) if missing else point
        allowed, change = f"the tolerance of {_percent(self.tolerance)}", _interval(point)
        if point.change_low >= -self.tolerance:
            lost = f"loses at most {_percent(-point.change_low)}" if point.change_low < 0 else "loses nothing"
            return Opinion("safe", f"Against λ = 1 the share of valid answers {lost}, within {allowed}.")
        if point.change_high < -self.tolerance:
            return Opinion("unsafe", f"Against λ = 1 the share of valid answers changes by {change}, past {allowed}.")
        if missing:
            said = f"{missing} answers are missing or not judged at λ = {point.lam:g} or at λ = 1, and may decide"
            return Opinion("unknown", f"{said}; the same `lambda-star rehearse` goes on where it was stopped.")
        said = f"{point.pairs} pairs of answers leave open whether λ costs more than {allowed}: {change}."
        return Opinion("unknown", said, partial(self._to_tell, point.lam))

    def _without_answers(self, lam: float) -> tuple[int, Estimate, Estimate]:
        """How many answers lack a judgement at λ or 1, and the change if all of them lost, and if all of them gained.

        A run that was stopped lacks the answers that were still growing, which are not like the others.
        """
        by_lam = self.rehearsal.by_lam()
        keys = {(prompt, sample) for answers in by_lam.values() for prompt, sample in answers}
        now, reference = ([_judged(by_lam[at], key) for key in keys] for at in (lam, 1.0))
        missing = sum(None in pair for pair in zip(now, reference, strict=True))

        def change(gained: bool) -> Estimate:
            here = [gained if valid is None else valid for valid in now]
            there = [not gained if valid is None else valid for valid in reference]
            return change_of_share(here, there, self.confidence)

        return missing, change(gained=False), change(gained=True)

    def evidence(self) -> Iterator[str]:
        """Yield what was rehearsed, one sentence for each λ."""
        budget = self.rehearsal.header.get("budget")
        run = "converged training" if budget is None else f"a run that is stopped at flow time {budget:g}"
        yield f"The rehearsal predicts {run} under {self.rule}."
        if any(answer.sample for answer in self.rehearsal.answers):
            yield "Prompts were answered several times, so the intervals hold for these prompts and not for others."
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


def _judged(answers: Mapping[tuple[int, int], Answer], key: tuple[int, int]) -> bool | None:
    """Whether an answer is valid; None if it is not there or not judged."""
    return answers[key].valid if key in answers else None


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
