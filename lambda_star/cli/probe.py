"""The command ``probe``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lambda_star._core.quantities import LAM, B, P
from lambda_star._core.text import shown
from lambda_star.cli._functions import load_function
from lambda_star.cli._output import (
    as_failure,
    json_option,
    plot_option,
    print_table,
    quantity_option,
    write,
    write_json,
)

if TYPE_CHECKING:
    from lambda_star.torch.report import ProbeReport

__all__ = ["probe"]

COUNT = click.IntRange(min=1)
MASS = click.FloatRange(0, 1, min_open=True)
RETURNS = click.Choice(["loss", "advantage"])
ROWS = 9  # of the table of students


@click.command(short_help="Find out what a loss of your own does at lambda*.")
@click.argument("loss", metavar="FILE.py:FUNCTION|RULE")
@quantity_option(P, required=True)
@quantity_option(B, required=True, help="The base's probability of the same token, below p.")
@quantity_option(LAM, help="A lambda to judge: the exit status is 1 if the tail dies at or below it.")
@click.option("--outcomes", type=click.IntRange(min=2), default=2, help="Tokens; k + 1 for a loss over the top k.")
@click.option("--top-p", type=MASS, help="Rollouts draw from the nucleus of this mass (a loss that takes tokens).")
@click.option("--top-k", type=COUNT, help="Rollouts draw from so many tokens (a loss that takes tokens).")
@click.option("--returns", type=RETURNS, help="What FUNCTION gives; its name tells by default.")
@json_option()
@plot_option("plot_path")
def probe(loss: str, lam: float | None, json_path: Path | None, plot_path: Path | None, **options: Any) -> None:
    """Find out where a loss takes the student: where it leaves q_lambda, whether its tail dies, and which rule it is.

    THIS RUNS THE PYTHON FILE THAT YOU NAME. Its FUNCTION is called as loss(student, teacher, base, lam) with PyTorch
    logits of shape (rows, tokens); parameters named log_... get log-probabilities, and a loss of drawn tokens takes
    `tokens`. A RULE such as log_ratio_cap:5 shows what a known update rule does.

    \b
    Examples:
      lambda-star probe losses.py:my_loss --p 0.999 --b 0.5
      lambda-star probe losses.py:my_loss --p 0.999 --b 0.5 --lam 1.25 --plot my_loss.png
      lambda-star probe log_ratio_cap:5 --p 0.999 --b 0.5
    """  # noqa: D301 (click wants the character \b)
    with as_failure(ImportError, OSError, ValueError):
        from lambda_star import torch as bridge

        report = bridge.probe(_callable(loss), **options)
    _print(loss, report)
    write_json(json_path, "probe", report.to_dict())
    if plot_path:
        from lambda_star.plotting.probe import plot_probe

        write(plot_path, plot_probe(report))
    if lam is not None:
        towards = report.direction.startswith("towards")
        lives = towards and not report.dies <= lam
        verdict = f"the tail {'lives' if lives else 'DIES'}" if towards else f"the student moves {report.direction}"
        click.echo(f"\nat λ = {lam:g} {verdict}")
        sys.exit(0 if lives else 1)


def _callable(text: str) -> Callable[..., Any]:
    """Return the function of a Python file, or the loss of a known rule."""
    path, separator, _ = text.rpartition(":")
    if text.endswith(".py") or (separator and path.endswith(".py")):
        return load_function(text)
    from lambda_star.lint import rule_of
    from lambda_star.torch.rules import rule_loss

    return rule_loss(rule_of(text))


def _print(title: str, report: ProbeReport) -> None:
    print_table(f"{title}; p = {report.p:g}, b = {report.b:g}", list(report.findings().items()))
    students = report.stationary[:: max(1, len(report.stationary) // (ROWS - 1))]
    columns = {
        "λ": lambda rest: rest.lam,
        "student's tail": lambda rest: rest.tail,
        "tail of q_λ": lambda rest: report.fixed_point(rest.lam).tail,
    }
    print_table("where the student comes to rest", students, columns)
    for note in report.notes:
        click.echo(f"\n{shown(f'Note: {note}')}")
