"""One verdict on λ from what was measured and what was rehearsed: safe, unsafe or unknown, and the λ to set.

A λ is *safe* if under the update rule the tail does not die there, and if the share of valid answers that was rehearsed
there is not below that at λ = 1 by more than a tolerance. Intervals decide: what they leave open is *unknown*.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from os import PathLike
from typing import TYPE_CHECKING, Any

from lambda_star._core.quantities import LAM, P, Quantity, require
from lambda_star.calibration.report import Report
from lambda_star.verdict.measured import Measured
from lambda_star.verdict.opinion import Opinion, worst
from lambda_star.verdict.record import Verdict
from lambda_star.verdict.rehearsed import Rehearsed

if TYPE_CHECKING:
    from lambda_star.rehearsal import Rehearsal

__all__ = ["Verdict", "decide"]

TOLERANCE = Quantity("tolerance", 0.0, 1.0, "[]")


def decide(
    report: Report | Measured | Mapping[str, Any] | str | PathLike[str] | None = None,
    rehearsal: Rehearsal | str | PathLike[str] | None = None,
    lam: float | None = None,
    *,
    tolerance: float = 0.05,
    confidence: float = 0.95,
) -> Verdict:
    """Return whether a λ is safe, or the largest λ that is, with the reason and the evidence.

    Args:
        report: what :func:`lambda_star.calibrate` returned, the JSON of it, the path of that JSON, or the
            :class:`~lambda_star.verdict.measured.Measured` numbers of it.
        rehearsal: a :class:`lambda_star.rehearsal.Rehearsal`, or the path of its file.
        lam: a λ to judge, finite; without it the largest λ that is known to be safe is sought.
        tolerance: the share of valid answers that λ may cost against λ = 1, in [0, 1].
        confidence: the confidence of the answer counts, in (0, 1), at most that of the report's intervals.

    Returns:
        A :class:`Verdict`.

    Raises:
        ValueError: neither a report nor a rehearsal is given, one of them cannot be read or they are for rules that
            differ, or a number lies outside its range.

    >>> from lambda_star import calibrate, read_table
    >>> report = calibrate(read_table("examples/rank_by_price/logprobs.csv"))
    >>> decide(report, lam=1.1).safety, decide(report, lam=1.25).safety
    ('safe', 'unknown')
    """
    require((LAM, lam), (TOLERANCE, tolerance), (P.named("confidence"), confidence))
    if report is None and rehearsal is None:
        raise ValueError("report or rehearsal must be given, got neither")
    measured = None if report is None else Measured.of(report)
    if measured and measured.confidence < confidence:
        raise ValueError(f"confidence must lie in (0, {measured.confidence:g}], as the report's, got {confidence!r}")
    rehearsed = None if rehearsal is None else Rehearsed.of(rehearsal, tolerance, confidence)
    if measured and rehearsed:
        rehearsed.refuse_other_rule(measured)
    return _verdict(_Sources(measured, rehearsed, confidence), lam)


class _Sources:
    """What is known, and what it says about a λ."""

    def __init__(self, measured: Measured | None, rehearsed: Rehearsed | None, confidence: float) -> None:
        self.measured, self.rehearsed, self.confidence = measured, rehearsed, confidence

    def opinion(self, lam: float) -> Opinion:
        """The worst of what is known about the death of the tail and about the answers at λ."""
        measured, rehearsed = self.measured, self.rehearsed
        death = measured.death(lam) if measured else None
        thin = measured.thin(lam) if measured else None
        if rehearsed is None:
            return worst([death, thin])
        death = death or rehearsed.death(lam)
        if lam not in rehearsed.points and thin and thin.safety == "safe":
            return worst([death, rehearsed.broken_before(lam), thin])
        return worst([death, rehearsed.validity(lam)])

    def candidates(self) -> list[float]:
        """The λ that may be advised, in falling order: those rehearsed, the operating point and λ = 1."""
        found = {1.0, *(self.rehearsed.points if self.rehearsed else ())}
        if self.measured:
            point = self.measured.operating
            found.add(point.estimate if math.isnan(point.value) else point.value)
        return sorted((value for value in found if not math.isnan(value)), reverse=True)

    def evidence(self) -> tuple[str, ...]:
        """What was measured and rehearsed."""
        measured = self.measured.evidence() if self.measured else ()
        both = self.measured and self.rehearsed and self.rehearsed.other_contract(self.measured)
        said = [both] if both else []
        return (*measured, *(self.rehearsed.evidence() if self.rehearsed else ()), *said)


def _verdict(sources: _Sources, lam: float | None) -> Verdict:
    opinions = {value: sources.opinion(value) for value in sources.candidates()}
    safe = next((value for value, opinion in opinions.items() if opinion.safety == "safe"), None)
    found = _advice(opinions, safe) if lam is None else sources.opinion(lam)
    verdict = Verdict(
        found.safety,
        lam,
        lam if lam is not None and found.safety == "safe" else safe,
        found.reason,
        sources.evidence(),
        needed=found.needed(),
    )
    if sources.rehearsed is None:
        return verdict
    unsafe = {value for value, opinion in opinions.items() if opinion.safety == "unsafe"}
    best = tuple(sources.rehearsed.best(unsafe))
    said = tuple(one.sentence for one in best)
    return replace(verdict, best={one.metric: one.lam for one in best}, evidence=(*verdict.evidence, *said))


def _advice(opinions: Mapping[float, Opinion], safe: float | None) -> Opinion:
    """What is said where no λ is asked about: the opinion on the largest safe λ, or why none above 1 is known to be."""
    if safe is not None and safe > 1:
        return opinions[safe]
    if opinions[1.0].safety != "safe":
        return opinions[1.0]
    above = [opinion for value, opinion in opinions.items() if value > 1]
    if not above:
        return Opinion("unknown", "No λ above 1 was rehearsed, so nothing is known of one; rehearse some.")
    least = next((opinion for opinion in reversed(above) if opinion.safety == "unknown"), None)
    return least or Opinion("safe", f"Every λ above 1 that was judged is unsafe: {above[-1].reason}")
