"""Compare a λ with what the update rules of a configuration do, at the measured p, b and operating point."""

from __future__ import annotations

import math
from collections.abc import Iterator
from os import PathLike
from typing import NamedTuple

from lambda_star._core.quantities import B, C, P, require
from lambda_star.bernoulli import operating_point, tail_ratio, teacher_for, threshold
from lambda_star.lint.findings import Finding, Severity
from lambda_star.lint.reading import Reading
from lambda_star.lint.settings import Setting
from lambda_star.lint.sweeps import values
from lambda_star.rehearsal import Rehearsal
from lambda_star.updates import Rule, log_ratio_clamp, top_k
from lambda_star.verdict import decide
from lambda_star.verdict.measured import Measured
from lambda_star.verdict.record import Safety
from lambda_star.verdict.rehearsed import read

__all__ = ["Point", "judge", "point"]

COMMON_LAMBDA = 1.25
"""The λ that G-OPD (arXiv:2602.12125) reports as the best of those it tried."""

TYPICAL_BASE, TYPICAL_CLIP = 0.5, 5.0
TYPICAL_TEACHER = 0.999
"""The b and c at which the paper states λ* = 1.22; they stand in where no measurements are given."""

MARGIN = 0.1
"""The share of the excess λ−1 that advice gives up, as that of ``calibrate`` does by default."""

LONGEST = 80
"""A value that is not judged is shown up to so many characters."""


SEVERITIES: dict[Safety, Severity] = {"safe": "note", "unsafe": "error", "unknown": "unknown"}
"""The severity of a verdict."""


class Point(NamedTuple):
    """Where λ is judged: p and b, and where from; with a tolerance also λ* and the operating point.

    Where ``measured``, the numbers of a report, or a ``rehearsal`` is given, the verdict on λ is theirs.
    """

    p: float
    b: float
    where: str
    star: float | None = None
    operating: float | None = None
    measured: Measured | None = None
    rehearsal: Rehearsal | None = None


def point(
    p: float | None,
    b: float | None,
    clip: float | None,
    report: str | PathLike[str] | None = None,
    rehearsal: str | PathLike[str] | None = None,
) -> Point | None:
    """Return the point of given probabilities or of a report, or None without either."""
    if report is not None:
        if (p, b, clip) != (None, None, None):
            raise ValueError("a report has its own p, b and c; give `report`, or `p`, `b` and `clip`")
        return _of_report(report, rehearsal)
    if rehearsal is not None:
        raise ValueError("a rehearsal has no p and b; give `rehearsal` together with `report`")
    require((P, p), (B, b), (C.named("clip"), clip))
    if (p is None) != (b is None):
        raise ValueError("p and b belong together; give both `p` and `b`, or neither")
    if p is None or b is None:
        return None
    where = f"p = {p:g}, b = {b:g}"
    if clip is None:
        return Point(p, b, where)
    return Point(p, b, f"{where}, c = {clip:g}", threshold(p, b, clip), operating_point(p, b, clip, margin=MARGIN))


def _of_report(report: str | PathLike[str], rehearsal: str | PathLike[str] | None) -> Point:
    """The point of the report that ``calibrate`` wrote as JSON: its binding class."""
    measured = Measured.of(report)
    p, b, clip = measured.p, measured.b, measured.clip
    where = f"{report}: class {measured.binding}, p = {p:g}, b = {b:g}, c = {clip:g}"
    return Point(p, b, where, measured=measured, rehearsal=None if rehearsal is None else read(rehearsal))


def judge(reading: Reading, at: Point | None) -> Iterator[Finding]:
    """Yield one finding for each value of λ, or for the λ = 1 of a code without one, and for truncated rollouts."""
    largest = 1.0
    for setting in reading.lambdas:
        for value in dict.fromkeys(values(setting.value)):
            severity, message = _verdict(reading, value, at)
            largest = max(largest, math.inf if isinstance(value, str) else value)
            yield Finding(severity, setting.line, setting.key, message)
    if reading.clamp and not reading.lambdas:
        yield _without_lambda(*reading.clamp, at)
    for setting, rule in reading.truncated:
        yield _truncated(setting, rule, largest, at)
    made = at.measured if at else None
    if made and made.rule and reading.rules and largest > 1 and not made.is_for(reading.rules[0]):
        said = f"the report was made for {made.rule}, and this configuration's rule is {reading.rules[0]}"
        yield Finding("warning", None, None, f"{said}; run `lambda-star calibrate` with that rule")


def _verdict(reading: Reading, lam: float | str, at: Point | None) -> tuple[Severity, str]:
    if isinstance(lam, str):
        said = f"λ is {_short(lam)!r}, which is not a finite number here, so it was not judged"
        return "unknown", f"{said}; write numbers or defaults where λ is set, or lint the file that sets it"
    if lam <= 1:
        return "note", f"λ = {lam:g} does not extrapolate; only λ > 1 goes past the teacher"
    if reading.capped:
        return "note", f"λ = {lam:g} is lowered at each position to that position's own operating point, by `clip`"
    if not reading.rules:
        return "note", f"λ = {lam:g} meets a loss that no known rule describes; see what is said of the loss"
    rule = _first_to_kill(reading, at)
    if at is None:
        return "note", _unmeasured(rule, lam)
    return _given(rule, lam, at) if at.measured is None else _measured(rule, lam, at, at.measured)


def _first_to_kill(reading: Reading, at: Point | None) -> Rule:
    """The rule of the loss, or that of the rollouts if the tail dies earlier under it."""
    p, b = (at.p, at.b) if at else (TYPICAL_TEACHER, TYPICAL_BASE)
    return min(reading.rules[:1] + [rule for _, rule in reading.truncated], key=lambda rule: float(rule.dies(p, b)))


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _unmeasured(rule: Rule, lam: float) -> str:
    common = ", the common default," if lam == COMMON_LAMBDA else ""
    give = "give `p` and `b`, or `report`, as `lambda-star calibrate` measures them"
    tail = 1 - _teacher_that_dies(rule, lam)
    if tail < 1:
        return (
            f"λ = {lam:g}{common} kills the tail of near-deterministic tokens under {rule}: at b = {TYPICAL_BASE:g} "
            f"those with 1−p below {max(tail, 2.0**-53):.2g}; {give}"
        )
    tail = max(1 - teacher_for(TYPICAL_BASE, TYPICAL_CLIP, lam), 2.0**-53)
    return (
        f"λ = {lam:g}{common} kills no tail in the mean under {rule}. It makes the tail of near-deterministic tokens "
        f"more than {TYPICAL_CLIP:g} times thinner than the teacher's: at b = {TYPICAL_BASE:g} those with 1−p below "
        f"{tail:.2g}; {give}"
    )


def _teacher_that_dies(rule: Rule, lam: float) -> float:
    """The least p, at a typical b, at which a rule kills the tail at λ, since λ_dies falls in p; 0 for no such p."""
    low, high = 0.0, 37.0  # log-odds
    if not rule.dies(_probability(high), TYPICAL_BASE) <= lam:
        return 0.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if rule.dies(_probability(middle), TYPICAL_BASE) <= lam else (middle, high)
    return _probability(high)


def _probability(log_odds: float) -> float:
    return min(1 / (1 + math.exp(-log_odds)), 1 - 2.0**-53)


def _measured(rule: Rule, lam: float, at: Point, measured: Measured) -> tuple[Severity, str]:
    """The verdict of the report, read for the rule of the configuration."""
    found = decide(measured.under(rule), at.rehearsal, lam, confidence=measured.confidence)
    return SEVERITIES[found.safety], f"λ = {lam:g} is {found.safety} ({at.where}): {found.said}"


def _given(rule: Rule, lam: float, at: Point) -> tuple[Severity, str]:
    """The verdict at one p and b, which are taken to be sure."""
    dies, leaves = float(rule.dies(at.p, at.b)), float(rule.leaves(at.p, at.b))
    under = f"no tail dies in the mean under {rule}" if dies == math.inf else f"λ_dies = {dies:g} under {rule}"
    safe = min(at.operating or math.inf, 1 + (1 - MARGIN) * max(leaves - 1, 0.0) if dies < math.inf else math.inf)
    advice = f"; set at most {safe:g}, the operating point" if safe < math.inf else ""
    if lam >= dies:
        return "error", f"λ = {lam:g} is past {under}: there the tail dies ({at.where}){advice}"
    if dies < math.inf and lam > leaves:
        said = f"is above {leaves:g}, where the student leaves q_λ, and below {under}"
        return "warning", f"λ = {lam:g} {said} ({at.where}){advice}"
    thinner = f"the student's tail ends {_times(rule, lam, at)} times thinner than the teacher's"
    if at.star is None:
        tolerance = "give `clip`, the factor from which on you would mind, to compare λ with its λ*"
        return "note", f"λ = {lam:g}: {under}; {thinner} ({at.where}); {tolerance}"
    if lam > at.star:
        return "warning", f"λ = {lam:g} is above λ* = {at.star:g} ({at.where}); {under}, but {thinner}{advice}"
    where = f"λ = {lam:g} is at most λ* = {at.star:g} ({at.where}); {under}; the operating point is {safe:g}"
    if lam > safe:
        return "note", f"{where}: λ is above it, so lower λ unless p and b are sure"
    return "note", f"{where}: λ is not above it"


def _times(rule: Rule, lam: float, at: Point) -> str:
    """How many times thinner than the teacher's the tail gets, from the student of the rule."""
    if lam <= rule.leaves(at.p, at.b):
        ratio = float(tail_ratio(at.p, at.b, lam))
        return f"{ratio:.3g}" if ratio < math.inf else "countless"
    tail = 1 - float(rule.student(at.p, at.b, lam))
    return f"{(1 - at.p) / tail:.3g}" if tail > 0 else "countless"


def _without_lambda(setting: Setting | None, bound: float, at: Point | None) -> Finding:
    """What a clamp of the log-ratio does, by where a user adds λ."""
    cap = f"c = {math.exp(bound):.4g}" if bound < 700 else "no cap in effect"
    dies = f", so that the tail dies at λ = {log_ratio_clamp(bound).dies(at.p, at.b):.6g} ({at.where})" if at else ""
    message = (
        f"the clamp ±{bound:g} bounds log π_T − log π. The file sets no λ that is known by name. "
        f"With an extrapolated teacher inside the clamp no tail dies; with λ added outside it is {cap}{dies}"
    )
    return Finding("note", setting and setting.line, setting and setting.key, message)


def _truncated(setting: Setting, rule: Rule, lam: float, at: Point | None) -> Finding:
    """Tokens that are never drawn: they die from a λ on that is hardly above 1."""
    said = f"{setting.key} = {setting.value} draws rollouts from a part of the vocabulary"
    if lam <= 1:
        said += "; tokens outside that part get no force, and at λ = 1 they do not die of it"
        return Finding("note", setting.line, setting.key, said)
    said += ", and nothing restores a token that is never drawn"
    severity: Severity = "warning"
    if at and at.p > at.b:
        dies, latest = float(rule.dies(at.p, at.b)), float(top_k(1).dies(at.p, at.b))
        severity = "note" if lam < dies < math.inf else "warning" if dies == math.inf else "error"
        when = f"from λ = {dies:.6g} on" if dies < math.inf else f"from λ = {latest:.6g} on at the latest"
        said += f": tokens outside die {when} ({at.where})"
    return Finding(severity, setting.line, setting.key, f"{said}; sample with top_p = 1 and without top_k")
