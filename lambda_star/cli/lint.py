"""The command ``lint-config``."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lambda_star._core.quantities import B, C, P
from lambda_star._core.text import shown
from lambda_star.cli._output import CLIP_NOTE, FILE, as_failure, json_option, quantity_option, with_flags, write_json

if TYPE_CHECKING:
    from lambda_star.lint import Finding
    from lambda_star.lint.judge import Point

__all__ = ["lint_config"]

STATUS = {"error": 1, "unknown": 3, "warning": 0, "note": 0}


@click.command(epilog=CLIP_NOTE, short_help="Check what a training configuration says about lambda.")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@quantity_option(P)
@quantity_option(B)
@quantity_option(C, "--clip", help="How many times thinner than the teacher's the student's tail may become.")
@click.option("--report", type=FILE, help="JSON file of `calibrate`, whose verdict each lambda then gets.")
@click.option("--rehearsal", type=FILE, help="File of `rehearse`, for the verdict of --report.")
@click.option("--strict", is_flag=True, help="End with status 1 on warnings too.")
@json_option()
def lint_config(files: tuple[Path, ...], strict: bool, json_path: Path | None, **measured: Any) -> None:
    """Print what is wrong with the extrapolation of training configurations.

    FILES are configurations of verl, G-OPD, slime, miles, NeMo-RL, ROLL, rLLM, SkyRL, ms-swift, LightRFT or TRL: YAML,
    JSON, TOML, a shell script that starts a run, or Python, which is read and never run. Each is mapped to its update
    rule, and every value of its lambda, those of a sweep too, is compared with what that rule does at the p and b of a
    contract token, as `lambda-star calibrate` measures them.

    The exit status is 1 if a finding is an error, which is an unsafe lambda or a loss that pushes the wrong way; else 3
    if something could not be read, or the report cannot tell whether lambda is safe; else 0. The worst file decides.

    \b
    Examples:
      lambda-star lint-config run_verl.sh --p 0.999 --b 0.5
      lambda-star lint-config configs/*.yaml --report report.json --strict
    """  # noqa: D301 (click wants the character \b)
    from lambda_star.lint.check import check
    from lambda_star.lint.judge import point

    with as_failure(ValueError):
        at = point(**measured)
    found = {str(file): list(_print(file, check, at)) for file in files}
    severities = {finding.severity for findings in found.values() for finding in findings}
    statuses = {STATUS[severity] for severity in severities} | {int(strict and "warning" in severities)}
    status = next(status for status in (1, 3, 0) if status in statuses)
    findings = [{"file": file, **finding._asdict()} for file, findings in found.items() for finding in findings]
    write_json(json_path, "lint-config", {"findings": findings, "exit_status": status})
    if status:
        sys.exit(status)


def _print(file: Path, check: Callable[..., Iterable[Finding]], at: Point | None) -> Iterator[Finding]:
    """Print and yield the findings of a file; that it cannot be read is one of them."""
    from lambda_star.lint import Finding

    try:
        findings = check(file, at)
    except ValueError as error:
        # The library names the path and then the line, in words.
        said = str(error).removeprefix(str(file))
        found = re.match(r"(?:, line (\d+))?: ", said)
        line = int(found[1]) if found and found[1] else None
        findings = (Finding("unknown", line, None, said[found.end() :] if found else said),)
    for one in findings:
        place = f"{file}:{one.line}" if one.line else str(file)
        said = f"{place}: {one.severity}: {one.key + ': ' if one.key else ''}{with_flags(one.message)}"
        click.echo(shown(said))
        yield one
