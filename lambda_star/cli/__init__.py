"""The command ``lambda-star``: it parses, calls the library and prints, and computes nothing itself."""

from __future__ import annotations

import io
import sys

import click

from lambda_star import __version__
from lambda_star.cli._output import Group
from lambda_star.cli.bernoulli import plot, threshold
from lambda_star.cli.calibration import calibrate
from lambda_star.cli.cliff import cliff
from lambda_star.cli.comparison import compare
from lambda_star.cli.convert import convert
from lambda_star.cli.demo import demo
from lambda_star.cli.ledger import ledger
from lambda_star.cli.lint import lint_config
from lambda_star.cli.locks import locks
from lambda_star.cli.probe import probe
from lambda_star.cli.rehearsal import rehearse
from lambda_star.cli.rules import cliff_rules
from lambda_star.cli.score import score
from lambda_star.cli.symbolic import derive
from lambda_star.cli.torch import check_step
from lambda_star.cli.updates import updates
from lambda_star.cli.verdict import decide
from lambda_star.cli.verify import verify

__all__ = ["main"]


@click.group(
    cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110, "show_default": True}
)
@click.version_option(__version__, prog_name="lambda-star")
def main() -> None:
    """How far may on-policy distillation extrapolate past its teacher?

    A coefficient lambda > 1 takes the student past the teacher. At lambda* the student's tail, everything but the
    teacher's most likely token, becomes more than c times thinner than the teacher's. Whether training collapses there
    depends on the update rule: with a cap on the log-ratio inside the advantage the tail slides to zero from lambda* to
    a slightly larger lambda_c; with the losses of TRL and G-OPD nothing collapses in the mean.

    `threshold` gives lambda* for one position, `calibrate` for measured answers; `updates` says what each update rule
    does there, `probe` what a loss of your own does. `decide` says whether a lambda is safe. `demo` shows all this on
    real data.

    \b
    From what an engine returned to a verdict (docs/engines.md says what to ask it for):
      lambda-star calibrate --teacher teacher.jsonl --base base.jsonl --contract json --rule trl --lam 1.25

    \b
    From two models to a verdict:
      lambda-star score --teacher T --base B --prompts prompts.jsonl --contract json --out rows.csv
      lambda-star calibrate rows.csv --rule trl --lam 1.25 --json report.json
      lambda-star rehearse --teacher T --base B --prompts prompts.jsonl --contract json --lam 1.25 --out answers.jsonl
      lambda-star decide report.json --rehearsal answers.jsonl --lam 1.25

    The exit status of a command that judges a lambda is 0 for safe, 1 for unsafe, 2 for an error and 3 for unknown.
    """  # noqa: D301 (click wants the character \b)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


COMMANDS = (
    demo,
    threshold,
    updates,
    probe,
    score,
    convert,
    calibrate,
    compare,
    rehearse,
    decide,
    plot,
    lint_config,
    check_step,
    cliff,
    cliff_rules,
    locks,
    ledger,
    derive,
    verify,
)

for command in COMMANDS:
    main.add_command(command)
