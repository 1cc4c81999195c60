"""Everything there is to say about one configuration file."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from lambda_star.lint import bounds as known
from lambda_star.lint.codes import CODES, read
from lambda_star.lint.findings import SEVERITIES, Finding
from lambda_star.lint.judge import Point, judge
from lambda_star.lint.readers import read_settings
from lambda_star.lint.reading import Reading
from lambda_star.lint.settings import Setting, Settings
from lambda_star.updates import log_ratio_cap

__all__ = ["check"]

NOTHING = "the file sets nothing about extrapolation: no lambda_vals, no clamp, no distillation that is known; check it"

TOLD = ("gopd", "trl")
"""Codes for which a λ that is missing is told with the key that is missing."""


def check(path: Path, at: Point | None, bounds: Sequence[known.Bound] = known.BOUNDS) -> tuple[Finding, ...]:
    """Return the findings of a file at a point that is known already."""
    settings = Settings(read_settings(path))
    reading = _with_caps(read(settings), settings, bounds)
    findings = [*(reading.findings if reading else ()), *_other_ratios(settings, bounds)]
    if reading:
        findings += judge(reading, at)
    if not findings or (reading and not reading.lambdas and not reading.clamp and reading.code not in TOLD):
        findings.append(Finding("note", None, None, _nothing(reading)))
    return tuple(sorted(findings, key=lambda one: (SEVERITIES.index(one.severity), one.line or math.inf)))


def _with_caps(reading: Reading | None, settings: Settings, bounds: Sequence[known.Bound]) -> Reading | None:
    """The reading, with a user's own cap of the log-ratio as its rule."""
    for setting in settings.found if reading else ():
        bound = _bound(setting, bounds)
        if reading and bound and bound.resembles_c and setting.number >= 1:
            reading.rules = [log_ratio_cap(setting.number)]
    return reading


def _other_ratios(settings: Settings, bounds: Sequence[known.Bound]) -> Iterator[Finding]:
    """A cap that may be mistaken for c."""
    for setting in settings.found:
        bound = _bound(setting, bounds)
        if bound and setting.is_set:
            said = f"{setting.key} = {setting.value} ({bound.whose}) bounds {bound.ratio}"
            harmless = "it changes the speed of training and not where it ends, so it makes no cliff"
            other = "it is not c, which caps (1−p)/(1−q), the teacher's tail mass over the student's"
            message = f"{said}, which is c" if bound.resembles_c else f"{said}; {harmless}, and {other}"
            yield Finding("note", setting.line, setting.key, message)


def _bound(setting: Setting, bounds: Sequence[known.Bound]) -> known.Bound | None:
    return next((bound for bound in bounds if re.fullmatch(bound.pattern, setting.key)), None)


def _nothing(reading: Reading | None) -> str:
    if reading is None:
        return NOTHING
    said = f"{CODES[reading.code].title} has no λ and the file adds none, so λ is 1 and nothing is extrapolated"
    if not reading.rules:
        return said
    safe = reading.rules[0].dies(0.999, 0.5) == math.inf
    what = "no tail dies in the mean at any λ" if safe else "a tail can die once λ is added"
    return f"{said}; under {reading.rules[0]} {what}"
