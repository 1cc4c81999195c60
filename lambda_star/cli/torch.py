"""The command ``check-step``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from lambda_star._core.quantities import LAM
from lambda_star.cli._output import OPEN_CLIP, as_failure, json_option, print_table, quantity_option, write_json

__all__ = ["check_step"]

MODEL = click.Path(path_type=Path, exists=True, file_okay=False)
TEXT = click.Path(path_type=Path, exists=True, dir_okay=False)
DTYPES = click.Choice(["float32", "float64", "bfloat16"])


@click.command(short_help="Compare predictions with real distillation steps.")
@click.option("--teacher", type=MODEL, help="Folder of a Hugging Face causal language model or of an adapter for one.")
@click.option("--base", type=MODEL, help="The same for the base, from which the student starts.")
@click.option("--text", type=TEXT, help="UTF-8 text that the models score.")
@quantity_option(LAM, default=1.25)
@quantity_option(OPEN_CLIP, "--clip", default=5)
@click.option("--rule", help="Update rule whose students are predicted, such as log_prob_floor:8; replaces --clip.")
@click.option("--positions", type=click.IntRange(min=1), default=64, help="The most positions to look at.")
@click.option("--device", default="cpu", help="Where the models run, for instance cuda.")
@click.option("--dtype", type=DTYPES, default="float32", help="Dtype in which the models compute.")
@json_option()
def check_step(
    teacher: Path | None,
    base: Path | None,
    text: Path | None,
    device: str,
    dtype: str,
    rule: str | None,
    json_path: Path | None,
    **options: Any,
) -> None:
    """Run real distillation steps with PyTorch, and compare them with what the formulas predict.

    Without models a small built-in problem is used. With --teacher, --base and --text two models score the text, and
    a copy of the base takes the step. The exit status is 1 if a prediction does not hold.

    \b
    Examples:
      lambda-star check-step
      lambda-star check-step --rule log_prob_floor:8
      lambda-star check-step --teacher runs/8b --base runs/1.7b --text answers.txt --device cuda --dtype bfloat16
    """  # noqa: D301 (click wants the character \b)
    with as_failure(ImportError, OSError, RuntimeError, ValueError):
        if bool(teacher) != bool(base) or bool(teacher) != bool(text):
            raise ValueError("--teacher, --base and --text belong together; give all of them, or none")
        from lambda_star.lint import rule_of
        from lambda_star.torch import check, models

        if teacher and base and text:
            problem = models.load_problem(teacher, base, text, device, dtype)
        else:
            problem = models.small_problem(device, dtype)
        report = check.check_step(*problem, rule=rule_of(rule) if rule else None, **options)
    where = f"{report.positions} positions × {report.tokens} tokens, {report.dtype} on {report.device}"
    columns = {
        "": lambda line: line.what,
        "predicted": lambda line: line.predicted,
        "measured": lambda line: line.measured,
        "tolerance": lambda line: line.tolerance,
        "holds": lambda line: "yes" if line.holds else "NO",
    }
    bound = f"c = {report.clip:g}" if report.rule is None else str(report.rule)
    print_table(f"λ = {report.lam:g}, {bound}; {where}", report.lines, columns)
    lines = [line._asdict() | {"holds": line.holds} for line in report.lines]
    found = vars(report) | {"rule": None if report.rule is None else str(report.rule), "lines": lines}
    write_json(json_path, "check-step", found | {"passed": report.passed})
    if not report.passed:
        sys.exit(1)
