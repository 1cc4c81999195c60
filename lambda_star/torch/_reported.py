"""What a monitor takes from a report: its options, the verdict on λ, and the share of positions that is too much."""

from __future__ import annotations

from typing import Any, NamedTuple

from lambda_star.contract import json_structure, parse
from lambda_star.rehearsal import Rehearsal
from lambda_star.verdict import Verdict, decide
from lambda_star.verdict.measured import Measured
from lambda_star.verdict.rehearsed import read, rule_of

CHANCE = 1e-6
"""At so small a share of the logs a run like the answers of the report exceeds the limit by chance."""

OWN = ("python:", "command:")
"""Contracts that run a user's program; a report is only read, so the user has to name them again."""


class Reported(NamedTuple):
    """A report and a rehearsal that a run is compared with."""

    measured: Measured
    rehearsal: Rehearsal | None
    tolerance: float

    @classmethod
    def of(cls, report: Any, rehearsal: Any, tolerance: float) -> Reported:
        """Return a report, or its file, and a rehearsal, or its file."""
        return cls(Measured.of(report), None if rehearsal is None else read(rehearsal), tolerance)

    def verdict(self, lam: float | None = None) -> Verdict:
        """Return the verdict on a λ, or on the largest that is safe."""
        confidence = self.measured.confidence
        return decide(self.measured, self.rehearsal, lam, tolerance=self.tolerance, confidence=confidence)

    def options(self) -> dict[str, Any]:
        """Return the options of a monitor."""
        measured = self.measured
        rule = measured.rule if self.rehearsal is None or measured.rule else rule_of(self.rehearsal)
        found = {"rule": rule, "margin": measured.margin, "clip": measured.clip}
        if measured.contract is None or measured.contract.startswith(OWN):
            return found | ({"contract": json_structure} if measured.contract is None else {})
        contract = parse(measured.contract)
        return found | {"contract": contract.label, "valid": contract.valid}

    def stop_above(self, lam: float, positions: int) -> float | None:
        """Return the share of positions past λ* that hardly any sample of the report's answers has; None for no limit.

        Positions of one answer resemble each other, so a sample counts as its number of answers.
        """
        from scipy.stats import binom

        measured = self.measured
        share = measured.share_past(lam)
        if share is None or not measured.used:
            return None
        answers = max(1, round(positions * measured.answers / measured.used))
        limit = float(binom.isf(CHANCE, answers, share)) / answers
        return limit if limit < 1 else None
