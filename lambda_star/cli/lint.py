"""The command ``lint-config``."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from lambda_star.cli._output import CLIP_HELP, CLIP_NOTE, PROBABILITY, Failure

__all__ = ["lint_config"]


@click.command(epilog=CLIP_NOTE, short_help="Check what a training configuration says about lambda.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--p", type=PROBABILITY, help="The teacher's modal probability, in (0, 1).")
@click.option("--b", type=PROBABILITY, help="The base's (warm start's) probability of that token, in (0, 1).")
@click.option("--clip", type=click.FloatRange(min=1), help=CLIP_HELP)
def lint_config(file: Path, p: float | None, b: float | None, clip: float | None) -> None:
    """Print what is wrong with the extrapolation of a training configuration.

    FILE is a verl or G-OPD YAML file, a shell script that starts such a run, or a TRL configuration (YAML, JSON,
    script). With --p and --b of a contract token, as `lambda-star calibrate` reports them, its lambda is compared with
    lambda*. The exit status is 1 if there is an error among the findings.

    \b
    Example:
      lambda-star lint-config run_gopd.sh --p 0.999 --b 0.5 --clip 5
    """  # noqa: D301 (click wants the character \b)
    from lambda_star import lint

    try:
        findings = lint.lint_config(file, p=p, b=b, clip=clip)
    except ValueError as error:
        raise Failure(_with_flags(str(error))) from error
    for one in findings:
        place = f"{file}:{one.line}" if one.line else str(file)
        click.echo(f"{place}: {one.severity}: {one.key + ': ' if one.key else ''}{_with_flags(one.message)}")
    if any(one.severity == "error" for one in findings):
        sys.exit(1)


def _with_flags(message: str) -> str:
    """The message with the options of the command line where the library names its arguments."""
    return re.sub("`(p|b|clip)`", r"--\1", message)
