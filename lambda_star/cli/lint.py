"""The command ``lint-config``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from lambda_star._core.quantities import B, C, P
from lambda_star.cli._output import CLIP_NOTE, as_failure, quantity_option, with_flags

__all__ = ["lint_config"]


@click.command(epilog=CLIP_NOTE, short_help="Check what a training configuration says about lambda.")
@click.argument("file", type=click.Path(path_type=Path))
@quantity_option(P)
@quantity_option(B)
@quantity_option(C, "--clip")
def lint_config(file: Path, **measured: Any) -> None:
    """Print what is wrong with the extrapolation of a training configuration.

    FILE is a verl or G-OPD YAML file, a shell script that starts such a run, or a TRL configuration (YAML, JSON,
    script). Given --p and --b of a contract token, as `lambda-star calibrate` measures them, the command compares the
    configuration's lambda with lambda*. The exit status is 1 if there is an error among the findings.

    \b
    Example:
      lambda-star lint-config run_gopd.sh --p 0.999 --b 0.5 --clip 5
    """  # noqa: D301 (click wants the character \b)
    from lambda_star import lint

    with as_failure(ValueError):
        findings = lint.lint_config(file, **measured)
    for one in findings:
        place = f"{file}:{one.line}" if one.line else str(file)
        click.echo(f"{place}: {one.severity}: {one.key + ': ' if one.key else ''}{with_flags(one.message)}")
    if any(one.severity == "error" for one in findings):
        sys.exit(1)
