"""The command ``decide``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lambda_star._core.quantities import LAM, P, Quantity
from lambda_star._core.text import shown
from lambda_star.cli._output import FILE, as_failure, finish, json_option, quantity_option, write_json

__all__ = ["decide"]

TOLERANCE = Quantity("tolerance", 0.0, 1.0, "[]", meaning="the share of valid answers that lambda may cost")
CONFIDENCE_HELP = "Confidence that the counts of answers must give; at most that of the report's intervals."


@click.command(short_help="Say whether a lambda is safe: safe, unsafe or unknown.")
@click.argument("report", type=FILE, required=False)
@click.option("--rehearsal", type=FILE, help="File of `lambda-star rehearse`.")
@quantity_option(LAM, help="A lambda to judge; without it the largest that is known to be safe.")
@quantity_option(TOLERANCE, default=0.05, help="Share of valid answers that lambda may cost against lambda = 1.")
@quantity_option(P, "--confidence", default=0.95, help=CONFIDENCE_HELP)
@json_option()
def decide(report: Path | None, json_path: Path | None, **options: Any) -> None:
    """Say whether a lambda is safe, which one to set, and why.

    REPORT is the JSON file of `lambda-star calibrate`. Safe means that under the update rule of the report the tail
    does not die, and that the rehearsed share of valid answers is not below that at lambda = 1 by more than the
    tolerance; intervals decide. Without a rehearsal a lambda up to the operating point is safe.

    The exit status is 0 if lambda is safe, 1 if it is unsafe, 2 after an error and 3 if it is unknown.

    \b
    Examples:
      lambda-star decide report.json --lam 1.25
      lambda-star decide report.json --rehearsal rehearsal.jsonl --lam 1.25 --json -
    """  # noqa: D301 (click wants the character \b)
    from lambda_star import verdict

    with as_failure(ValueError):
        found = verdict.decide(report, **options)
    for sentence in found.evidence:
        click.echo(shown(sentence))
    write_json(json_path, "decide", found.to_dict())
    finish(found)
