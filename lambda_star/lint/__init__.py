"""Find what is wrong with the extrapolation of a training configuration before the run.

This module maps a configuration to its update rules (:mod:`lambda_star.updates`) and compares each λ with what those
rules do. It reads the files of verl, G-OPD, slime, miles, NeMo-RL, ROLL, rLLM, SkyRL, ms-swift, LightRFT and TRL: YAML,
JSON, TOML, shell scripts with Hydra overrides (``key.sub=value``) or flags, and Python files, whose syntax tree is read
and which are never run. What each code does is a function in ``lambda_star.lint.codes``, written from the version that
is named there; the caps that make no cliff are data in :mod:`lambda_star.lint.bounds`. Other versions may differ.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import NamedTuple

from lambda_star import _deprecated
from lambda_star.lint import bounds as known
from lambda_star.lint.codes import CODES, read
from lambda_star.lint.findings import SEVERITIES, Finding, Severity
from lambda_star.lint.readers import read_settings
from lambda_star.lint.reading import Reading
from lambda_star.lint.rules import rule_of
from lambda_star.lint.settings import Setting, Settings
from lambda_star.lint.sweeps import values
from lambda_star.lint.verdict import Point, judge, point
from lambda_star.updates import Rule, log_ratio_cap

__all__ = ["Configuration", "Finding", "Severity", "configuration", "lint_config", "rule_of"]

_deprecated.serve(__name__)

NOTHING = "the file sets nothing about extrapolation: no lambda_vals, no clamp, no distillation that is known; check it"

TOLD = ("gopd", "trl")
"""Codes for which a λ that is missing is told with the key that is missing."""


class Configuration(NamedTuple):
    """What a configuration does: its training code, its update rules, the loss first, and each value of its λ.

    ``code`` is None where no known code reads such keys, ``rules`` is empty where no rule describes the loss, and a λ
    that cannot be read is its text.
    """

    code: str | None
    rules: tuple[Rule, ...]
    lam: tuple[float | str, ...]


def lint_config(
    path: str | PathLike[str],
    *,
    p: float | None = None,
    b: float | None = None,
    clip: float | None = None,
    report: str | PathLike[str] | None = None,
    bounds: Sequence[known.Bound] = known.BOUNDS,
) -> tuple[Finding, ...]:
    """Return what is wrong with the extrapolation of a training configuration.

    A λ from which on the configuration's update rule kills the tail is an error, and one that a rule with a cliff lets
    leave the fixed point is a warning. Where no rule kills a tail, λ* only says from where on the tail is more than c
    times thinner than the teacher's: a λ above it is a warning if ``clip`` or a report says which c you allow. What
    cannot be read has the severity ``unknown``.

    Args:
        path: a .yaml, .yml, .json, .toml or .py file, or a shell script (.sh, .bash, .slurm, or any name with a shell's
            ``#!``).
        p: teacher's probability of the most critical modal token, in (0, 1); needs ``b``.
        b: base's probability of the same token, in (0, 1); needs ``p``.
        clip: tolerance c on the tail ratio (1−p)/(1−q), in [1, inf]: how many times thinner a tail may become.
        report: JSON file of ``lambda-star calibrate``, from which p, b, c and the operating point are taken instead.
        bounds: the caps of training codes; pass ``lambda_star.lint.bounds.BOUNDS`` with rows of your own.

    Returns:
        The findings, the worst first, then by line; a single note if no setting of the file bears on extrapolation.

    Raises:
        ValueError: the file or the report is missing, too large, of another type or broken (the message gives path,
            line and remedy), or one of p, b and clip lies outside its range, only one of p and b is given, or one of
            the three beside a report.

    Source: extension; ``derivations/updates.md`` for the rules, and paper, Eq. 4, for λ*.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     script = Path(folder, "run.sh")
    ...     _ = script.write_text("python -m verl.trainer.main_ppo actor.policy_loss.lambda_vals=1.25")
    ...     first, *others = lint_config(script, p=0.9993, b=0.5, clip=5.0)
    >>> first.severity, first.line, first.message.split(";")[0]
    ('warning', 1, 'λ = 1.25 is above λ* = 1.22165 (p = 0.9993, b = 0.5, c = 5)')
    """
    return check(Path(path), point(p, b, clip, report), bounds)


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


def configuration(path: str | PathLike[str]) -> Configuration:
    """Return what a training configuration does, as far as its file tells.

    Args:
        path: a file of any kind that :func:`lint_config` reads.

    Returns:
        The :class:`Configuration`.

    Raises:
        ValueError: the file is missing, too large, of another type or broken.

    Source: extension; ``derivations/updates.md``.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     script = Path(folder, "run.sh")
    ...     _ = script.write_text("python -m verl.trainer.main_ppo actor.policy_loss.lambda_vals=1.0,1.25")
    ...     configuration(script)
    Configuration(code='gopd', rules=(none(),), lam=(1.0, 1.25))
    """
    reading = read(Settings(read_settings(Path(path))))
    if reading is None:
        return Configuration(None, (), ())
    rules = (*reading.rules, *(rule for _, rule in reading.truncated))
    lam = (value for setting in reading.lambdas for value in values(setting.value))
    return Configuration(reading.code, rules, tuple(lam))


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
