"""The command ``compare``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lambda_star._core.quantities import LAM, P
from lambda_star._core.text import shown
from lambda_star.cli._output import (
    CLIP_NOTE,
    CONTRACT_HELP,
    OPEN_CLIP,
    as_failure,
    contract_option,
    json_option,
    least_b_option,
    number,
    print_table,
    quantity_option,
    token_option,
    write_json,
)

if TYPE_CHECKING:
    from lambda_star.calibration.comparison import Change, Comparison
    from lambda_star.calibration.statistics import Estimate
    from lambda_star.contract import Contract

__all__ = ["compare"]

CLIP_HELP = "How many times thinner than the teacher's the student's tail may become."
LAM_HELP = "A lambda to judge, chosen before the files were looked at."
QUANTILE_HELP = "The quantile of the answers' least lambda* to compare."
PAIRED_HELP = """\
Whether answers of the same name belong together, such as those to one prompt. By default they do if at least half of
the answers of each file have a partner."""


@click.command(epilog=CLIP_NOTE, short_help="Say how lambda* differs between two measurements.")
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
@quantity_option(OPEN_CLIP, "--clip", default=5, help=CLIP_HELP)
@quantity_option(LAM, help=LAM_HELP)
@contract_option(help=CONTRACT_HELP + " The default is the files' contract column, or else json.")
@token_option()
@least_b_option()
@click.option("--quantile", type=click.FloatRange(0, 1), default=0.05, help=QUANTILE_HELP)
@quantity_option(P, "--confidence", default=0.95, help="Confidence of every interval.")
@click.option("--paired/--unpaired", default=None, help=PAIRED_HELP)
@click.option("--keep-going", is_flag=True, help="Use the good rows of the files instead of stopping at a bad one.")
@json_option()
def compare(
    first: Path,
    second: Path,
    clip: float,
    lam: float | None,
    contract: Contract | None,
    tokens: tuple[str, ...],
    least_b: float,
    keep_going: bool,
    json_path: Path | None,
    **options: Any,
) -> None:
    """Say how lambda* differs between two measurements, such as those of two checkpoints or of two sets of prompts.

    FIRST and SECOND are files, patterns or folders as `lambda-star calibrate` reads them. Every change is the second's
    number less the first's. The line of the quantile needs no assumption about how lambda* is distributed.

    \b
    Example:
      lambda-star compare checkpoint-100.csv checkpoint-200.csv --lam 1.15
    """  # noqa: D301 (click wants the character \b)
    from lambda_star.calibration.comparison import compare_states
    from lambda_star.calibration.large import calibrate_files
    from lambda_star.calibration.settings import Settings

    with as_failure(ValueError):
        settings = Settings(clip, None, lam, contract, tokens, least_b)
        states = [calibrate_files(path, settings, keep_going=keep_going) for path in (first, second)]
        found = compare_states(*states, **options)
    _print_answers(found)
    _print_classes(found)
    write_json(json_path, "compare", found.to_dict())


def _print_answers(found: Comparison) -> None:
    for source, answers in zip(found.sources, found.answers, strict=True):
        click.echo(f"{shown(source)}: {answers} answers used")
    level, rows = f"{100 * found.quantile:.3g}%", [_row(found.at_quantile)]
    names = [f"{level} quantile of the answers' λ*"]
    if found.past is not None:
        names.append(f"share of answers past λ = {found.lam:g}")
        rows.append(_row(found.past))
    title = f"Answers, paired by name ({found.pairs} pairs)" if found.pairs else "Answers, not paired"
    print_table(title, [(name, *row) for name, row in zip(names, rows, strict=True)], _heads("", found.confidence))
    if min(found.answers) < found.needed:
        click.echo(f"An interval of the {level} quantile takes {found.needed:g} answers in each file.")
    if found.lower is not None and not math.isnan(found.lower.value):
        share, low, high = (f"{100 * end:.3g}%" for end in found.lower)
        click.echo(f"Where the λ* of a pair differ, the second is the lower in {share} [{low}, {high}] of the pairs.")
    elif found.lower is not None:
        click.echo("The λ* of no pair differ.")


def _print_classes(found: Comparison) -> None:
    rows = [(one.name, *_row(one)) for one in found.classes]
    print_table(
        f"λ* of the contract classes at clip c = {found.clip:g}", rows, _heads("contract class", found.confidence)
    )


def _heads(first: str, confidence: float) -> dict[str, Any]:
    heads = (first, "first", "second", "change", f"{confidence:.0%} interval", "differ")
    return {head: lambda row, at=at: row[at] for at, head in enumerate(heads)}


def _row(one: Change) -> tuple[str, str, str, str, str]:
    surely = "yes" if one.is_sure else "unknown" if math.isnan(one.change.low + one.change.high) else "not sure"
    return _known(one.first), _known(one.second), _known(one.change.value), _interval(one.change), surely


def _known(value: float) -> str:
    return "unknown" if math.isnan(value) else number(value)


def _interval(change: Estimate) -> str:
    ends = [_known(end) for end in (change.low, change.high)]
    return "unknown" if ends == ["unknown", "unknown"] else f"[{', '.join(ends)}]"
