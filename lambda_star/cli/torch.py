"""The command ``check-step``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lambda_star.cli._output import CLIP_HELP, FOLDER, Failure, number, print_table

if TYPE_CHECKING:
    from lambda_star.torch.check import StepReport

__all__ = ["check_step"]

DTYPES = click.Choice(["float32", "float64", "bfloat16"])


@click.command(short_help="Predictions against real distillation steps.")
@click.option(
    "--teacher", type=FOLDER, help="Folder of a Hugging Face causal language model, or of an adapter for one."
)
@click.option("--base", type=FOLDER, help="The same for the base, from which the student starts.")
@click.option(
    "--text", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="UTF-8 text that the models score."
)
@click.option("--lam", type=float, default=1.25, show_default=True, help="Extrapolation coefficient.")
@click.option("--clip", type=click.FloatRange(min=1, min_open=True), default=5, show_default=True, help=CLIP_HELP)
@click.option(
    "--positions", type=click.IntRange(min=1), default=64, show_default=True, help="The most positions to look at."
)
@click.option("--device", default="cpu", show_default=True, help="Where the models run, for instance cuda.")
@click.option("--dtype", type=DTYPES, default="float32", show_default=True, help="Dtype in which the models compute.")
def check_step(
    teacher: Path | None,
    base: Path | None,
    text: Path | None,
    lam: float,
    clip: float,
    positions: int,
    device: str,
    dtype: str,
) -> None:
    """Run real distillation steps with PyTorch, and compare them with what the formulas predict.

    Without models a small built-in problem is used. With --teacher, --base and --text two models score the text, and
    a copy of the base takes the step. The exit status is 1 if a prediction does not hold.

    \b
    Examples:
      lambda-star check-step
      lambda-star check-step --teacher runs/8b --base runs/1.7b --text answers.txt --device cuda --dtype bfloat16
    """  # noqa: D301 (click wants the character \b)
    if bool(teacher) != bool(base) or bool(teacher) != bool(text):
        raise Failure("--teacher, --base and --text belong together; give all of them, or none")
    try:
        from lambda_star.torch import check, models

        if teacher and base and text:
            problem = models.load_problem(teacher, base, text, device, dtype)
        else:
            problem = models.small_problem(device, dtype)
        report = check.check_step(*problem, lam=lam, clip=clip, positions=positions)
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        raise Failure(str(error)) from error
    _print_step(report)
    if not report.passed:
        sys.exit(1)


def _print_step(report: StepReport) -> None:
    where = f"{report.positions} positions × {report.tokens} tokens, {report.dtype} on {report.device}"
    print_table(
        f"λ = {report.lam:g}, c = {report.clip:g}; {where}",
        ("", "predicted", "measured", "tolerance", "holds"),
        [(one.what, *(number(value) for value in one[1:]), "yes" if one.holds else "NO") for one in report.lines],
    )
