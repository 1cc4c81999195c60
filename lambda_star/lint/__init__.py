"""What is wrong with the extrapolation of a training configuration, before the run: λ, its clip, and what it needs.

Read are verl and G-OPD YAML, shell scripts that launch verl with Hydra overrides (``key.sub=value``), and TRL arguments
as YAML, JSON or flags. What is known of the training codes is data: ``BOUNDS`` says which ratio each clip bounds,
``NEEDS`` what G-OPD must find to apply λ. The names are those of the public code of G-OPD (RUCBM/G-OPD, a fork of
verl), verl and TRL 1.16; another fork may differ. An extension.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from lambda_star.bernoulli import operating_point, teacher_for, threshold
from lambda_star.lint.bounds import (
    BOUNDS,
    LAMBDA,
    NEEDS,
    ON_POLICY_SHARE,
    SEVERAL_TEACHERS,
    SWITCH,
    TRL_TEACHER,
    UNSET,
    Bound,
)
from lambda_star.lint.readers import Setting, read_settings

__all__ = ["Finding", "lint_config"]

Severity = Literal["error", "warning", "note"]


class Finding(NamedTuple):
    """One thing to know about a configuration: how bad, on which line, about which key, and what to do.

    >>> Finding("note", 3, "lmbda", "no extrapolation").severity
    'note'
    """

    severity: Severity
    line: int | None
    key: str | None
    message: str


COMMON_LAMBDA = 1.25


TYPICAL_BASE, TYPICAL_CLIP = 0.5, 5.0


def lint_config(
    path: str | PathLike[str],
    *,
    p: float | None = None,
    b: float | None = None,
    clip: float | None = None,
    bounds: Sequence[Bound] = BOUNDS,
) -> tuple[Finding, ...]:
    """Read a training configuration and say what is wrong with its extrapolation.

    Whether λ is too large is an error where ``clip`` is given. Without it a cap of the file is tried as c, which it
    may not be, so that the same is a warning.

    Args:
        path: a .yaml, .yml or .json file, or a shell script (.sh, .bash, .slurm, or any name with a shell's ``#!``).
        p: teacher's probability of the most critical modal token, in (0, 1); with ``b``.
        b: base's probability of the same token, in (0, 1); with ``p``.
        clip: cap c on the tail ratio (1−p)/(1−q), in [1, inf].
        bounds: what the clips of training codes bound; ``BOUNDS`` and rows of your own.

    Returns:
        The findings, errors first, then by line; one note where the file sets nothing that bears on extrapolation.

    Raises:
        ValueError: the file is missing, of another type or broken (the message gives path, line and remedy), or p, b
            or clip lies outside its range or lacks its partner.

    Source: extension, on the threshold of the paper, Eq. 4.

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
    _check_arguments(p, b, clip)
    settings = read_settings(Path(path))
    findings = [*_extrapolation(settings, p, b, clip, bounds), *_ignored(settings)]
    findings += [*_on_policy_share(settings), *_other_ratios(settings, bounds)]
    if not findings:
        nothing = "nothing about extrapolation found: no lambda_vals, no clip and no TRL distillation; check the file"
        findings.append(Finding("note", None, None, nothing))
    return tuple(sorted(findings, key=_rank))


def _rank(finding: Finding) -> tuple[int, float]:
    return get_args(Severity).index(finding.severity), math.inf if finding.line is None else finding.line


def _check_arguments(p: float | None, b: float | None, clip: float | None) -> None:
    """Have ``threshold`` name the argument that lies outside its range, also where the file has no λ."""
    if (p is None) != (b is None):
        raise ValueError("p and b belong together; give both (--p and --b) or neither")
    filled = (0.5 if p is None else p), (0.5 if b is None else b), (1.0 if clip is None else clip)
    if math.isnan(threshold(*filled)):
        raise ValueError(f"p, b and clip must be numbers, got p = {p}, b = {b}, clip = {clip}")


# What is found


def _extrapolation(
    settings: Sequence[Setting], p: float | None, b: float | None, clip: float | None, bounds: Sequence[Bound]
) -> Iterator[Finding]:
    """One finding for each λ, or for the λ = 1 of a G-OPD configuration without one."""
    found = [setting for setting in settings if LAMBDA.fullmatch(setting.key)]
    for setting in found:
        lam = _number(setting.value)
        if lam is None:
            message = f"λ is {setting.value!r}, no number; write one number here, and lint the values of a sweep singly"
            severity: Severity = "warning"
        elif lam <= 1:
            severity, message = "note", f"λ = {lam:g} extrapolates nothing; past the teacher leads only λ > 1"
        elif p is None or b is None:
            severity, message = "note", _without_measurements(lam)
        else:
            severity, message = _against_threshold(lam, p, b, clip, _clip_of_the_file(settings, bounds))
        yield Finding(severity, setting.line, setting.key, message)
    switch = _last(settings, SWITCH)
    if not found and switch and _is_set(switch):
        message = "no lambda_vals: λ is 1 by default and nothing is extrapolated; set policy_loss.lambda_vals"
        yield Finding("note", switch.line, SWITCH, message)


def _without_measurements(lam: float) -> str:
    common = ", the common default," if lam == COMMON_LAMBDA else ""
    tail = max(1 - teacher_for(TYPICAL_BASE, TYPICAL_CLIP, lam), 2.0**-53)
    return (
        f"λ = {lam:g}{common} is above λ* for near-deterministic tokens, at b = {TYPICAL_BASE:g} and c = "
        f"{TYPICAL_CLIP:g} those with 1−p below {tail:.2g}; give --p, --b and --clip, or measure with "
        "`lambda-star calibrate`"
    )


def _against_threshold(
    lam: float, p: float, b: float, clip: float | None, candidate: Setting | None
) -> tuple[Severity, str]:
    """How λ lies to λ*, with the c of the argument or, with that said, of the file."""
    severity: Severity
    if clip is not None:
        c, severity, origin = clip, "error", ""
    elif candidate:
        c, severity = float(candidate.value), "warning"
        origin = f". c is read from {candidate.key}, line {candidate.line}, which bounds another ratio; give --clip"
    else:
        return "note", f"whether λ = {lam:g} is safe at p = {p:g}, b = {b:g} takes the cap c; give --clip"
    star, safe = threshold(p, b, c), operating_point(p, b, c, margin=0.1)
    where = f"λ* = {star:g} (p = {p:g}, b = {b:g}, c = {c:g})"
    if lam > star:
        message = f"λ = {lam:g} is above {where}; set at most {safe:g}, the operating point at margin 0.1"
        return severity, message + origin
    side = "not above it" if lam <= safe else "above it, so lower λ unless p and b are sure"
    message = f"λ = {lam:g} is at most {where}; the operating point at margin 0.1 is {safe:g}: λ is {side}"
    return "note", message + origin


def _clip_of_the_file(settings: Sequence[Setting], bounds: Sequence[Bound]) -> Setting | None:
    """The first setting that resembles c and has a value that c can have."""
    for bound in bounds:
        for setting in settings:
            if bound.resembles_c and re.fullmatch(bound.pattern, setting.key) and (_number(setting.value) or 0) >= 1:
                return setting
    return None


def _ignored(settings: Sequence[Setting]) -> Iterator[Finding]:
    """A λ that G-OPD reads but does not apply: its actor tests for the log-probabilities of both bases."""
    found = [setting for setting in settings if LAMBDA.fullmatch(setting.key) and _number(setting.value) != 1]
    missing = [(key, to) for key, to in NEEDS if not ((setting := _last(settings, key)) and _is_set(setting))]
    for setting in found if missing else ():
        message = (
            "G-OPD ignores this λ and distils with λ = 1 or not at all, unless another file or a command line sets "
            + "; ".join(f"{key} ({to})" for key, to in missing)
        )
        yield Finding("warning", setting.line, setting.key, message)
    several = _last(settings, SEVERAL_TEACHERS)
    if found and several and _is_set(several):
        message = (
            "G-OPD applies λ only to samples whose opd_teacher is math or code; check that the data have that "
            "column, and λ against the p of each teacher, since all share it"
        )
        yield Finding("note", several.line, several.key, message)


def _on_policy_share(settings: Sequence[Setting]) -> Iterator[Finding]:
    """TRL's ``lmbda``, which is no λ, and its distillation, which has none."""
    nothing = "an unmodified TRL trainer extrapolates nothing; give it an ExtrapolatedTeacher of lambda_star.torch"
    found = [setting for setting in settings if ON_POLICY_SHARE.fullmatch(setting.key)]
    for setting in found:
        share = _number(setting.value)
        if share is not None and not 0 <= share <= 1:
            message = (
                f"TRL refuses lmbda = {share:g}: it is the share of on-policy samples, in [0, 1], not λ; {nothing}"
            )
            yield Finding("error", setting.line, setting.key, message)
        else:
            message = f"lmbda is TRL's share of on-policy samples, not λ; {nothing}"
            yield Finding("note", setting.line, setting.key, message)
    for setting in settings:
        if not found and TRL_TEACHER.fullmatch(setting.key) and _is_set(setting):
            yield Finding("note", setting.line, setting.key, f"TRL's distillation has no λ: {nothing}")


def _other_ratios(settings: Sequence[Setting], bounds: Sequence[Bound]) -> Iterator[Finding]:
    for setting in settings:
        bound = next((bound for bound in bounds if re.fullmatch(bound.pattern, setting.key)), None)
        if bound and _is_set(setting):
            message = (
                f"{setting.key} = {setting.value} ({bound.whose}) bounds {bound.ratio}; c caps (1−p)/(1−q), the "
                "teacher's tail mass over the student's. Give it as --clip only if your code bounds that ratio by it"
            )
            yield Finding("warning", setting.line, setting.key, message)


def _last(settings: Sequence[Setting], key: str) -> Setting | None:
    """The setting that counts: of two the later one wins, in YAML as in Hydra."""
    return next((setting for setting in reversed(settings) if setting.key == key), None)


def _is_set(setting: Setting) -> bool:
    return setting.value.strip().lower() not in UNSET


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
