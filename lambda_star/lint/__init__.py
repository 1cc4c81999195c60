"""Find what is wrong with the extrapolation of a training configuration before the run.

This module maps a configuration to its update rules (:mod:`lambda_star.updates`) and compares each λ with what those
rules do. It reads the files of verl, G-OPD, slime, miles, NeMo-RL, ROLL, rLLM, SkyRL, ms-swift, LightRFT and TRL: YAML,
JSON, TOML, shell scripts with Hydra overrides (``key.sub=value``) or flags, and Python files, whose syntax tree is read
and which are never run. What each code does is a function in ``lambda_star.lint.codes``, written from the version that
is named there; the caps that make no cliff are data in :mod:`lambda_star.lint.bounds`. Other versions may differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import NamedTuple

from lambda_star import _deprecated
from lambda_star.lint import bounds as known
from lambda_star.lint.check import check
from lambda_star.lint.codes import read
from lambda_star.lint.findings import Finding, Severity
from lambda_star.lint.judge import point
from lambda_star.lint.readers import read_settings
from lambda_star.lint.rules import rule_of
from lambda_star.lint.settings import Settings
from lambda_star.lint.sweeps import values
from lambda_star.updates import Rule

__all__ = ["Configuration", "Finding", "Severity", "configuration", "lint_config", "rule_of"]

_deprecated.serve(__name__)


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
    rehearsal: str | PathLike[str] | None = None,
    bounds: Sequence[known.Bound] = known.BOUNDS,
) -> tuple[Finding, ...]:
    """Return what is wrong with the extrapolation of a training configuration.

    A λ from which on the configuration's update rule kills the tail is an error, and one that a rule with a cliff lets
    leave the fixed point is a warning. Where no rule kills a tail, λ* only says from where on the tail is more than c
    times thinner than the teacher's: a λ above it is a warning if ``clip`` says which c you allow. What
    cannot be read has the severity ``unknown``.

    Args:
        path: a .yaml, .yml, .json, .toml or .py file, or a shell script (.sh, .bash, .slurm, or any name with a shell's
            ``#!``).
        p: teacher's probability of the most critical modal token, in (0, 1); needs ``b``.
        b: base's probability of the same token, in (0, 1); needs ``p``.
        clip: tolerance c on the tail ratio (1−p)/(1−q), in [1, inf]: how many times thinner a tail may become.
        report: JSON file of ``lambda-star calibrate``. Each λ then gets the verdict of :func:`lambda_star.decide` under
            the rule of the configuration: unsafe is an error, and what it leaves open is unknown.
        rehearsal: file of ``lambda-star rehearse``, for the same verdict; needs ``report``.
        bounds: the caps of training codes; pass ``lambda_star.lint.bounds.BOUNDS`` with rows of your own.

    Returns:
        The findings, the worst first, then by line; a single note if no setting of the file bears on extrapolation.

    Raises:
        ValueError: the file or the report is missing, too large, of another type or broken (the message gives path,
            line and remedy), or one of p, b and clip lies outside its range, only one of p and b is given, or one of
            the three beside a report, or the rehearsal is for another rule than the configuration's.

    Source: extension; ``derivations/updates.md`` for the rules, and paper, Eq. 4, for λ*.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     step = Path(folder, "step.py")
    ...     _ = step.write_text("loss = opd_loss(student, teacher, base, lam=1.25, clip=5.0)")
    ...     (finding,) = lint_config(step, p=0.999, b=0.5)
    >>> finding.severity, finding.line, finding.message.split(":")[0]
    ('error', 1, 'λ = 1.25 is past λ_dies = 1.23317 under log_ratio_cap(c=5)')
    """
    return check(Path(path), point(p, b, clip, report, rehearsal), bounds)


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
