"""The command ``lambda-star``: parses, calls the API, prints; computes nothing."""

from __future__ import annotations

import io
import sys

import click

from lambda_star import __version__
from lambda_star.cli.bernoulli import plot, threshold
from lambda_star.cli.calibration import calibrate
from lambda_star.cli.cliff import cliff
from lambda_star.cli.lint import lint_config
from lambda_star.cli.symbolic import derive
from lambda_star.cli.torch import check_step

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="lambda-star")
def main() -> None:
    """How far may on-policy distillation extrapolate past its teacher?

    The coefficient lambda > 1 lifts the student past the teacher, until a threshold lambda*: there the output contract
    (valid JSON, say) collapses at once. `threshold` gives lambda* for one position, `calibrate` for measured answers.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


for command in (threshold, calibrate, plot, lint_config, check_step, cliff, derive):
    main.add_command(command)
