"""Find what is wrong with the extrapolation of a training configuration before the run.

This module reads verl and G-OPD YAML files, shell scripts that launch verl with Hydra overrides (``key.sub=value``),
and TRL arguments as YAML, JSON or flags. It looks at λ, at the clips that may be mistaken for c, and at the settings
without which λ has no effect. What it knows of the training codes is data in :mod:`lambda_star.lint.bounds`, with the
key names of the public code of G-OPD (RUCBM/G-OPD, a fork of verl), verl and TRL 1.16; other forks may differ.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from lambda_star import _deprecated
from lambda_star._core.quantities import B, C, P, require
from lambda_star.bernoulli import operating_point, teacher_for, threshold
from lambda_star.lint import bounds as known
from lambda_star.lint.readers import Setting, read_settings

__all__ = ["Finding", "lint_config"]

_deprecated.serve(__name__)

Severity = Literal["error", "warning", "note"]

COMMON_LAMBDA = 1.25
"""The λ that G-OPD (arXiv:2602.12125) reports as the best of those it tried."""

TYPICAL_BASE, TYPICAL_CLIP = 0.5, 5.0
"""The b and c at which the paper states λ* = 1.22; they stand in where no measurements are given."""

NO_EXTRAPOLATION = (
    "an unmodified TRL trainer does not extrapolate; give it an ExtrapolatedTeacher of lambda_star.torch to do so"
)


class Finding(NamedTuple):
    """One thing to know about a configuration: its severity, the line and key it is about, and what to do."""

    severity: Severity
    line: int | None
    key: str | None
    message: str


def lint_config(
    path: str | PathLike[str],
    *,
    p: float | None = None,
    b: float | None = None,
    clip: float | None = None,
    bounds: Sequence[known.Bound] = known.BOUNDS,
) -> tuple[Finding, ...]:
    """Return what is wrong with the extrapolation of a training configuration.

    A λ above λ* is an error if ``clip`` is given. Otherwise a cap that the file sets is tried as c, and because it may
    bound another ratio, a λ above λ* is then a warning.

    Args:
        path: a .yaml, .yml or .json file, or a shell script (.sh, .bash, .slurm, or any name with a shell's ``#!``).
        p: teacher's probability of the most critical modal token, in (0, 1); needs ``b``.
        b: base's probability of the same token, in (0, 1); needs ``p``.
        clip: the clip c, the cap on the tail ratio (1−p)/(1−q), in [1, inf].
        bounds: what the clips of training codes bound; pass ``lambda_star.lint.bounds.BOUNDS`` with rows of your own.

    Returns:
        The findings, errors first, then by line; a single note if no setting of the file bears on extrapolation.

    Raises:
        ValueError: the file is missing, of another type or broken (the message gives path, line and remedy), or one of
            p, b and clip lies outside its range, or only one of p and b is given.

    Source: paper, Eq. 4, for λ*; extension for everything else.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     script = Path(folder, "run.sh")
    ...     _ = script.write_text("python -m verl.trainer.main_ppo actor.policy_loss.lambda_vals=1.25")
    ...     error, *others = lint_config(script, p=0.9993, b=0.5, clip=5.0)
    >>> error.line, error.message.split(";")[0]
    (1, 'λ = 1.25 is above λ* = 1.22165 (p = 0.9993, b = 0.5, c = 5)')
    >>> [finding.severity for finding in others]
    ['warning']
    """
    require((P, p), (B, b), (C.named("clip"), clip))
    if (p is None) != (b is None):
        raise ValueError("p and b belong together; give both `p` and `b`, or neither")
    settings = read_settings(Path(path))
    findings = [
        *_extrapolation(settings, p, b, clip, bounds),
        *_ignored(settings),
        *_on_policy_share(settings),
        *_other_ratios(settings, bounds),
    ]
    if not findings:
        nothing = "the file sets nothing about extrapolation: no lambda_vals, no clip, no TRL distillation; check it"
        findings.append(Finding("note", None, None, nothing))
    return tuple(sorted(findings, key=lambda one: (get_args(Severity).index(one.severity), one.line or math.inf)))


def _extrapolation(
    settings: Sequence[Setting], p: float | None, b: float | None, clip: float | None, bounds: Sequence[known.Bound]
) -> Iterator[Finding]:
    """One finding for each λ, or for the λ = 1 of a G-OPD configuration that sets none."""
    found = [setting for setting in settings if known.LAMBDA.fullmatch(setting.key)]
    for setting in found:
        severity, message = _verdict(setting.value, p, b, clip, _clip_of_the_file(settings, bounds))
        yield Finding(severity, setting.line, setting.key, message)
    switch = _last(settings, known.SWITCH)
    if not found and switch:
        message = "no lambda_vals is set, so λ is 1 and nothing is extrapolated; set policy_loss.lambda_vals"
        yield Finding("note", switch.line, known.SWITCH, message)


def _verdict(
    value: str, p: float | None, b: float | None, clip: float | None, cap: Setting | None
) -> tuple[Severity, str]:
    """What there is to say about a λ, compared with λ* for the given c or else for a cap of the file."""
    lam = _number(value)
    if lam is None:
        wrong = f"λ is {value!r}, which is not a finite number"
        return "warning", f"{wrong}; write one number here, and lint each value of a sweep on its own"
    if lam <= 1:
        return "note", f"λ = {lam:g} does not extrapolate; only λ > 1 goes past the teacher"
    if p is None or b is None:
        common = ", the common default," if lam == COMMON_LAMBDA else ""
        tail = max(1 - teacher_for(TYPICAL_BASE, TYPICAL_CLIP, lam), 2.0**-53)
        return "note", (
            f"λ = {lam:g}{common} is above λ* for near-deterministic tokens, which at b = {TYPICAL_BASE:g} and "
            f"c = {TYPICAL_CLIP:g} are those with 1−p below {tail:.2g}; give `clip`, and `p` and `b` as "
            "`lambda-star calibrate` measures them"
        )
    severity: Severity = "error"
    origin = ""
    if clip is None:
        if cap is None:
            return "note", f"whether λ = {lam:g} is safe at p = {p:g}, b = {b:g} depends on the cap c; give `clip`"
        clip, severity = float(cap.value), "warning"
        origin = f". c is read from {cap.key}, line {cap.line}, which bounds another ratio; give `clip`"
    star, safe = threshold(p, b, clip), operating_point(p, b, clip, margin=0.1)
    where = f"λ* = {star:g} (p = {p:g}, b = {b:g}, c = {clip:g})"
    if lam > star:
        advice = f"set at most {safe:g}, the operating point at margin 0.1{origin}"
        return severity, f"λ = {lam:g} is above {where}; {advice}"
    side = "not above it" if lam <= safe else "above it, so lower λ unless p and b are sure"
    return "note", f"λ = {lam:g} is at most {where}; the operating point at margin 0.1 is {safe:g}: λ is {side}{origin}"


def _clip_of_the_file(settings: Sequence[Setting], bounds: Sequence[known.Bound]) -> Setting | None:
    """The first setting that resembles c and has a value that c can have."""
    fitting = (
        setting
        for bound in bounds
        for setting in settings
        if bound.resembles_c and re.fullmatch(bound.pattern, setting.key) and (_number(setting.value) or 0) >= 1
    )
    return next(fitting, None)


def _ignored(settings: Sequence[Setting]) -> Iterator[Finding]:
    """A λ that G-OPD reads but does not apply, because its actor needs the log-probabilities of both bases."""
    found = [setting for setting in settings if known.LAMBDA.fullmatch(setting.key) and _number(setting.value) != 1]
    missing = "; ".join(f"{key} to {to}" for key, to in known.NEEDS if not _last(settings, key))
    for setting in found if missing else ():
        message = (
            "G-OPD ignores this λ and distils with λ = 1 or not at all, unless another file or a command line sets"
        )
        yield Finding("warning", setting.line, setting.key, f"{message} {missing}")
    several = _last(settings, known.SEVERAL_TEACHERS)
    if found and several:
        message = (
            "G-OPD applies λ only to samples whose opd_teacher is math or code; check that the data have that column, "
            "and compare λ with the λ* of each teacher, because all teachers share it"
        )
        yield Finding("note", several.line, several.key, message)


def _on_policy_share(settings: Sequence[Setting]) -> Iterator[Finding]:
    """TRL's ``lmbda``, which is not λ, and TRL's distillation, which has no λ."""
    found = [setting for setting in settings if known.ON_POLICY_SHARE.fullmatch(setting.key)]
    for setting in found:
        share = _number(setting.value)
        refused = share is not None and not 0 <= share <= 1
        message = f"TRL refuses lmbda = {share:g} outside [0, 1]: " if refused else ""
        message += f"lmbda is TRL's share of on-policy samples, not λ; {NO_EXTRAPOLATION}"
        yield Finding("error" if refused else "note", setting.line, setting.key, message)
    for setting in settings:
        if not found and known.TRL_TEACHER.fullmatch(setting.key) and _is_set(setting):
            yield Finding("note", setting.line, setting.key, f"TRL's distillation has no λ: {NO_EXTRAPOLATION}")


def _other_ratios(settings: Sequence[Setting], bounds: Sequence[known.Bound]) -> Iterator[Finding]:
    """A clip that may be mistaken for c."""
    for setting in settings:
        bound = next((bound for bound in bounds if re.fullmatch(bound.pattern, setting.key)), None)
        if bound and _is_set(setting):
            message = (
                f"{setting.key} = {setting.value} ({bound.whose}) bounds {bound.ratio}; c caps (1−p)/(1−q), the "
                "teacher's tail mass over the student's. Give it as `clip` only if your code bounds that ratio by it"
            )
            yield Finding("warning", setting.line, setting.key, message)


def _last(settings: Sequence[Setting], key: str) -> Setting | None:
    """The last setting of a key, which is the one that counts in YAML and in Hydra; None if that leaves it unset."""
    last = next((setting for setting in reversed(settings) if setting.key == key), None)
    return last if last and _is_set(last) else None


def _is_set(setting: Setting) -> bool:
    return setting.value.strip().lower() not in known.UNSET


def _number(text: str) -> float | None:
    """The text as a finite float, or None."""
    try:
        return float(text) if math.isfinite(float(text)) else None
    except ValueError:
        return None
