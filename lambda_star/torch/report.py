"""What a probe of a loss finds, and its forms: text, JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from lambda_star.updates import Rule

__all__ = ["Curve", "ProbeReport", "Rest"]

ROWS = 8  # of the table in the text


class Rest(NamedTuple):
    """Where a student that starts at the base comes to rest at one λ; ``log_odds`` is inf where its tail dies."""

    lam: float
    log_odds: float

    @property
    def student(self) -> float:
        """The student's modal probability."""
        return math.exp(-float(np.logaddexp(0.0, -self.log_odds)))

    @property
    def tail(self) -> float:
        """The student's tail mass."""
        return math.exp(-float(np.logaddexp(0.0, self.log_odds)))


class Curve(NamedTuple):
    """The force on the student's log-odds, F_m − F_τ, at one λ."""

    lam: float
    log_odds: tuple[float, ...]
    force: tuple[float, ...]


@dataclass(frozen=True)
class ProbeReport:
    """What a loss does to a student, as :func:`lambda_star.torch.probe` found it.

    ``str`` prints it, :func:`lambda_star.plotting.plot_probe` draws it. ``leaves`` is the λ at which the student first
    departs from q_λ and ``dies`` the λ at which its tail dies, both +inf for never up to ``max_lam``, the largest λ
    that was tried. ``clip`` is the cap on the log-ratio whose tail dies at the same λ. ``rule`` is the known rule that
    the loss behaves like, or None; ``exact`` tells whether its whole force is the rule's up to a factor, or only its
    direction. If ``direction`` is "away from the teacher", the three numbers are NaN.

    >>> from lambda_star.torch import opd_loss, probe
    >>> def capped(student, teacher, base, lam): return opd_loss(student, teacher, base, lam, clip=2.0)
    >>> report = probe(capped, p=0.9, b=0.5, lam=[1.35])
    >>> report.at(1.35).student, report.fixed_point(1.35).student
    (0.97095..., 0.95102...)
    """

    p: float
    b: float
    leaves: float
    dies: float
    clip: float
    rule: Rule | None
    exact: bool
    direction: str
    stationary: tuple[Rest, ...]
    curves: tuple[Curve, ...]
    max_lam: float
    notes: tuple[str, ...]

    def at(self, lam: float) -> Rest:
        """Return the row of ``stationary`` whose λ is nearest."""
        return min(self.stationary, key=lambda rest: abs(rest.lam - lam))

    def fixed_point(self, lam: float) -> Rest:
        """Return q_λ in the form of a row."""
        teacher, base = (math.log(each) - math.log1p(-each) for each in (self.p, self.b))
        return Rest(lam, lam * teacher + (1 - lam) * base)

    def findings(self) -> dict[str, str]:
        """Return what was found as text, by name."""
        return {
            "direction": self.direction,
            "leaves q_λ": self._threshold(self.leaves),
            "tail dies": self._threshold(self.dies),
            "clip": _clip(self.clip),
            "rule": "none of the known ones" if self.rule is None else self._rule(self.rule),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values: the text "inf" stands for +inf, null for NaN, text for the rule."""
        values = vars(self) | {"rule": None if self.rule is None else str(self.rule)}
        values["stationary"] = [
            rest._asdict() | {"student": rest.student, "tail": rest.tail} for rest in self.stationary
        ]
        return {name: _to_json(value) for name, value in values.items()}

    def __str__(self) -> str:
        lines = [f"Loss probed at p = {self.p:g}, b = {self.b:g}"]
        lines += [f"  {name:10}  {text}" for name, text in self.findings().items()]
        lines += ["", "        λ   student's tail   tail of q_λ"]
        for rest in self.stationary[:: max(1, len(self.stationary) // ROWS)]:
            lines.append(f"{rest.lam:9.6g}   {rest.tail:14.4g}   {self.fixed_point(rest.lam).tail:11.4g}")
        return "\n".join([*lines, *(f"\nNote: {note}" for note in self.notes)])

    def _threshold(self, value: float) -> str:
        if math.isnan(value):
            return "not looked for"
        if value == 0:
            return "at every λ"
        return f"never, up to λ = {self.max_lam:.4g}" if value == math.inf else f"at λ = {value:.6g}"

    def _rule(self, rule: Rule) -> str:
        speeds = "" if self.exact else ", with other speeds"
        return f"{rule}{speeds}. {rule.summary}"


def _clip(value: float) -> str:
    if math.isnan(value):
        return "not looked for"
    if value < 1:
        return f"c = {value:.5g}: no cap of at least 1 lets the tail die that early"
    return "none" if value == math.inf else f"c = {value:.5g}, the log-ratio cap whose tail dies there"


def _to_json(value: Any) -> Any:
    """Return a value in the types of JSON."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {name: _to_json(item) for name, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_to_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf" if value > 0 else "-inf"
    return value
