"""The command ``calibrate``."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lambda_star.cli._output import CLIP_HELP, CLIP_NOTE, PROBABILITY, SHARE, Failure, number, print_table, write

if TYPE_CHECKING:
    from lambda_star.calibration.readings import Bracket, Resolution
    from lambda_star.calibration.report import ClassReport, Report
    from lambda_star.calibration.statistics import Estimate

__all__ = ["calibrate"]

RESOLUTION_NOTE = """\
Use modal | rest (Eq. 4): token by token, a token of no consequence binds. Use class | rest where most of the teacher's
tail is tokens of the modal token's own class, whose loss breaks nothing. a–b: all that the listed tokens tell."""


BUDGET_NOTE = """\
λ* by {budget:g}: where a natural-gradient run of that length first meets the cliff. It falls to λ* as training goes on,
so λ* is the safe one."""


@click.command(epilog=CLIP_NOTE, short_help="The safe lambda for measured answers.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--clip", type=click.FloatRange(min=1, min_open=True), required=True, help=CLIP_HELP)
@click.option("--lam", type=float, help="A lambda to judge, for instance the one in your training configuration.")
@click.option(
    "--contract",
    multiple=True,
    metavar="TOKEN",
    help="Modal token of the contract; repeat for more. Default: the file's contract column, else JSON punctuation.",
)
@click.option(
    "--margin", type=SHARE, default=0.1, show_default=True, help="Share of lambda*-1 that the operating point gives up."
)
@click.option(
    "--quantile",
    type=click.FloatRange(0, 1),
    default=0.01,
    show_default=True,
    help="Quantile of the per-position lambda* that the operating point rests on; 0 is the strictest.",
)
@click.option("--confidence", type=PROBABILITY, default=0.95, show_default=True, help="Level of the intervals.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the bootstrap.")
@click.option(
    "--budget",
    type=click.FloatRange(min=0, min_open=True),
    help="Planned training time, learning rate times steps of natural gradient: where the cliff is met by then.",
)
@click.option(
    "--keep-going",
    is_flag=True,
    help="Use the good rows and list the bad ones; without it the first bad row is an error.",
)
@click.option("--json", "json_path", type=click.Path(path_type=Path, dir_okay=False), help="Write the report as JSON.")
@click.option(
    "--plot", "plot_path", type=click.Path(path_type=Path, dir_okay=False), help="Draw the report (.png, .pdf or .svg)."
)
def calibrate(
    file: Path,
    clip: float,
    lam: float | None,
    contract: tuple[str, ...],
    margin: float,
    quantile: float,
    confidence: float,
    seed: int,
    budget: float | None,
    keep_going: bool,
    json_path: Path | None,
    plot_path: Path | None,
) -> None:
    """The safe lambda for measured answers: FILE has one row per output position of answers sampled from the base.

    \b
    FILE is .csv, .jsonl or .parquet with the columns
      sequence  which answer         position  place in it, from 0
      token     sampled text         modal     text of the teacher's most probable token there
      log_p     log-probability of the modal token under the teacher (natural logarithm)
      log_b     log-probability of the same token under the base
      contract  optional: class of contract tokens that the position belongs to, empty outside the contract
      top       optional: the most probable tokens of both models, a JSON list of [token, log_p, log_b]
      rest      optional, beside top: [least, greatest] log(p/b) of all other tokens

    \b
    Example:
      lambda-star calibrate examples/rank_by_price/logprobs.csv --clip 5 --lam 1.25 --plot report.png
    """  # noqa: D301 (click wants the character \b)
    from lambda_star import calibration
    from lambda_star.calibration.readers import read_table

    asked = {token.strip() for token in contract}
    rule = (lambda token: token.strip() if token.strip() in asked else None) if asked else None
    try:
        table = read_table(file, keep_going=keep_going)
        report = calibration.calibrate(
            table,
            clip=clip,
            lam=lam,
            contract=rule,
            margin=margin,
            quantile=quantile,
            confidence=confidence,
            seed=seed,
            budget=budget,
        )
    except ValueError as error:
        raise Failure(str(error)) from error
    _print_rows_used(report)
    _print_classes(report)
    _print_resolutions(report)
    _print_advice(report)
    if json_path:
        text = json.dumps(report.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
        write(json_path, lambda: json_path.write_text(text + "\n", encoding="utf-8"))
    if plot_path:
        from lambda_star.plotting import plot_report

        ending = plot_path.suffix[1:] or "png"
        write(plot_path, lambda: plot_report(report).savefig(plot_path, dpi=150, format=ending))


def _print_rows_used(report: Report) -> None:
    click.echo(f"{report.source}: {report.used} contract positions of {report.sequences} answers used")
    for reason, count in report.skipped.items():
        click.echo(f"  {count} rows not used: {reason}")
    for problem in report.problems:
        click.echo(f"    line {problem.line}: {problem.message}")
    if report.rounded:
        click.echo(f"  {report.rounded} rows say p = 1 (log_p = 0): their λ* is an upper bound; log more digits")


def _print_classes(report: Report) -> None:
    columns: dict[str, Callable[[ClassReport], str]] = {
        "class": lambda one: one.name,
        "positions": lambda one: str(one.positions),
        "1−p": lambda one: f"{one.tail:.2e}",
        "b": lambda one: f"{one.b:.4f}",
        "λ*": lambda one: number(one.threshold.value),
        f"{report.confidence:.0%} interval": lambda one: _interval(one.threshold),
        "λ_c": lambda one: number(one.collapse_point),
        "flip": lambda one: number(one.flip_point),
        "least λ*": lambda one: number(one.least),
        "median": lambda one: number(one.median),
    }
    if report.budget is not None:
        columns[f"λ* by {report.budget:g}"] = lambda one: number(one.budget_threshold or math.nan)
    if report.lam is not None:
        columns[f"past λ* at {report.lam:g}"] = lambda one: f"{one.share_past:.1%}"
    rows = [[column(one) for column in columns.values()] for one in report.classes]
    print_table(f"Contract classes at clip c = {report.clip:g}, the binding one first", list(columns), rows)


def _print_resolutions(report: Report) -> None:
    if not report.resolutions:
        return
    columns: dict[str, Callable[[Resolution], str]] = {
        "class": lambda one: one.name,
        "positions": lambda one: str(one.positions),
        "token": lambda one: _bracket(one.token),
        "modal | rest": lambda one: number(one.bernoulli),
        "class | rest": lambda one: _bracket(one.classes),
        "use": lambda one: "class | rest" if one.use == "classes" else "modal | rest",
        "binding token": lambda one: one.binding if one.binding.strip() else repr(one.binding),
        "its teacher mass": lambda one: f"{one.binding_mass:.1e}",
        "own class in tail": lambda one: f"{one.mates:.0%}",
    }
    order = {one.name: place for place, one in enumerate(report.classes)}
    rows = [
        [column(one) for column in columns.values()]
        for one in sorted(report.resolutions, key=lambda one: order[one.name])
    ]
    print_table("Median λ* by position: token by token, modal token | rest, its class | rest", list(columns), rows)
    click.echo(RESOLUTION_NOTE)


def _print_advice(report: Report) -> None:
    binding, at, lam = report.binding, report.strict_at, report.lam
    quantiles = ", ".join(f"{share:.0%} {number(value)}" for share, value in report.quantiles.items() if share)
    rows = [
        ["binding class", binding.name, f"λ* = {number(binding.threshold.value)} {_interval(binding.threshold)}"],
        ["strict λ*", number(report.strict), f"answer {at.sequence}, position {at.position}, token {at.modal}"],
        ["λ* by position", "", quantiles],
        ["least flip", number(report.flip_point), "λ past which a modal token loses its majority"],
        [
            "operating λ",
            number(report.operating_point.value),
            f"{_interval(report.operating_point)}: λ* = {number(report.advised.value)}, "
            f"the {100 * report.quantile:.3g}% quantile by position, with λ*−1 cut by {report.margin:.0%}",
        ],
    ]
    if lam is not None:
        past = sum(one.threshold.value < lam for one in report.classes)
        rows.append(
            [
                f"λ = {lam:g}",
                "within" if lam <= report.operating_point.value else "ABOVE",
                f"the operating λ; past λ* of {past} of {len(report.classes)} classes, past λ* of "
                f"{report.share_past(lam):.1%} and the flip point of {report.share_flipped(lam):.1%} of the positions",
            ]
        )
    print_table("Which λ is safe", ["", "", ""], rows)
    if report.budget is not None:
        click.echo(BUDGET_NOTE.format(budget=report.budget))


def _bracket(bracket: Bracket) -> str:
    low, high = (f"{end:.4g}" if end < math.inf else "+inf" for end in bracket)
    return low if low == high else f"{low}–{high}"


def _interval(estimate: Estimate) -> str:
    if math.isnan(estimate.low):
        return "one answer only"
    return f"[{number(estimate.low)}, {number(estimate.high)}]"
