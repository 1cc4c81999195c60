"""The command ``calibrate``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lambda_star._core.quantities import LAM, MARGIN, P, Quantity
from lambda_star.cli._output import (
    CLIP_NOTE,
    CONTRACT_HELP,
    OPEN_CLIP,
    as_failure,
    contract_option,
    finish,
    json_option,
    number,
    plot_option,
    print_table,
    quantity_option,
    rule_option,
    with_flags,
    write,
    write_json,
)

if TYPE_CHECKING:
    from lambda_star.calibration.report import Report

__all__ = ["calibrate"]

READINGS_NOTE = """\
The readings are λ* for any single token (token), for everything but the modal token (bernoulli, Eq. 4), and for
everything outside the modal token's class (class); a range a–b is all that the listed tokens tell.
Use bernoulli, which no token of negligible mass decides, unless most of the teacher's tail is in the modal token's own
class: losing those tokens breaks no contract, so use class there."""

BUDGET_NOTE = """\
The column λ* by {budget:g} is the λ at which a natural-gradient run of that length just reaches the clip edge.
It falls to λ* as training goes on, so λ* is the safe one."""

TOKEN_HELP = "A modal token that belongs to the contract beside its own; repeat it for more."

QUANTILE_HELP = "Quantile of the least lambda* of each answer on which the operating point rests."

BUDGET_HELP = """\
Planned training time: the learning rate times the number of natural-gradient steps. Adds the lambda at which such a run
just reaches the clip edge."""

CLIP_HELP = """\
How many times thinner than the teacher's the student's tail may become, a tolerance. What the update rule caps belongs
to --rule."""

WITHOUT_RULE = """\
No --rule says what your trainer's update bounds, so this report cannot say that tails die anywhere. λ* is the λ from
which on the converged student's tail is more than {clip:g} times thinner than the teacher's; whether training collapses
there depends on the trainer. `lambda-star updates` shows the rules; --rule trl, for instance, names yours."""

BUDGET = Quantity("budget", 0.0, math.inf)


@click.command(epilog=CLIP_NOTE, short_help="Print the safe lambda for measured answers.")
@click.argument("file", type=click.Path(path_type=Path))
@quantity_option(OPEN_CLIP, "--clip", default=5, help=CLIP_HELP)
@rule_option()
@quantity_option(LAM, help="A lambda to judge, for instance the one in your training configuration.")
@contract_option(help=CONTRACT_HELP + " The default is the file's contract column, or else json.")
@click.option("--token", "tokens", multiple=True, help=TOKEN_HELP)
@quantity_option(MARGIN, default=0.1, help="Share of lambda*-1 that the operating point gives up.")
@click.option("--quantile", type=click.FloatRange(0, 1), default=0.05, help=QUANTILE_HELP)
@quantity_option(P, "--confidence", default=0.95, help="Level of the intervals.")
@quantity_option(BUDGET, help=BUDGET_HELP)
@click.option("--keep-going", is_flag=True, help="Use the good rows and list the bad ones, instead of stopping.")
@json_option()
@plot_option()
def calibrate(file: Path, keep_going: bool, json_path: Path | None, plot: Path | None, **options: Any) -> None:
    """Print the safe lambda for measured answers.

    The exit status is 0 if the lambda asked about is safe, or if one can be advised where none is asked about; 1 if it
    is unsafe, 2 after an error and 3 if it is unknown, as `lambda-star decide` says.

    FILE has one row for each output position of answers sampled from the base.

    \b
    It is a .csv, .jsonl or .parquet file with the columns
      sequence  which answer         position  its index in the answer, from 0
      token     sampled text         modal     text of the teacher's most probable token there
      log_p     log-probability of the modal token under the teacher (natural logarithm)
      log_b     log-probability of the same token under the base
      contract  optional: contract class of the position, empty outside the contract
      top       optional: the most probable tokens of both models, a JSON list of [token, log_p, log_b]
      rest      optional, with top: [least, greatest] log(p/b) of the unlisted tokens

    \b
    Example:
      lambda-star calibrate examples/rank_by_price/logprobs.csv --clip 5 --lam 1.25 --plot report.png
    """  # noqa: D301 (click wants the character \b)
    from lambda_star import calibration
    from lambda_star.calibration.readers import read_table
    from lambda_star.verdict import decide

    with as_failure(ValueError):
        report = calibration.calibrate(read_table(file, keep_going=keep_going), **options)
    _print_rows_used(report)
    _print_classes(report)
    _print_readings(report)
    _print_advice(report)
    verdict = decide(report, lam=report.lam, confidence=report.confidence)
    write_json(json_path, "calibrate", report.to_dict() | {"verdict": verdict.to_dict()})
    if plot:
        from lambda_star.plotting import plot_report

        write(plot, plot_report(report))
    finish(verdict)


def _print_rows_used(report: Report) -> None:
    click.echo(f"{report.source}: {report.used} contract positions of {report.answers} answers used")
    for reason, count in report.skipped.items():
        click.echo(f"  {count} rows not used: {reason}")
    for problem in report.problems:
        click.echo(f"    line {problem.line}: {problem.message}")
    if report.fit and report.fit.remedy:
        click.echo(f"  {with_flags(report.fit.remedy)}")
    if report.rounded:
        click.echo(f"  {report.rounded} rows say p = 1 (log_p = 0), so their λ* is an upper bound; log more digits")


def _print_classes(report: Report) -> None:
    columns = {
        "contract class": lambda one: one.name,
        "positions": lambda one: str(one.positions),
        "1−p": lambda one: f"{one.tail:.2e}",
        "b": lambda one: f"{one.b:.4f}",
        "λ*": lambda one: one.value,
        f"{report.confidence:.0%} interval": lambda one: _interval(one.low, one.high),
        "flip": lambda one: one.flip_point,
        "least λ*": lambda one: one.least,
        "median": lambda one: one.median,
    }
    if any(one.allowed_tail is not None for one in report.classes):
        columns["tail allowed, needed"] = lambda one: _shares(one.allowed_tail, one.needs_tail)
    if report.rule is not None:
        columns["tail dies"] = lambda one: one.dies
    if report.budget is not None:
        columns[f"λ* by {report.budget:g}"] = lambda one: one.budget_threshold or math.nan
    if report.lam is not None:
        columns[f"past λ* at {report.lam:g}"] = lambda one: f"{one.share_past:.1%}"
    print_table(f"Contract classes at clip c = {report.clip:g}, the binding one first", report.classes, columns)


def _print_readings(report: Report) -> None:
    if not report.readings:
        return
    columns = {
        "contract class": lambda one: one.name,
        "positions": lambda one: str(one.positions),
        "token": lambda one: _bounds(*one.token),
        "bernoulli": lambda one: one.bernoulli,
        "class": lambda one: _bounds(*one.by_class),
        "use": lambda one: one.use,
        "binding token": lambda one: one.binding if one.binding.strip() else repr(one.binding),
        "its teacher mass": lambda one: f"{one.binding_mass:.1e}",
        "tail in own class": lambda one: f"{one.same_class:.0%}",
    }
    order = [one.name for one in report.classes]
    readings = sorted(report.readings, key=lambda one: order.index(one.name))
    print_table("Three readings of λ*, medians over the positions", readings, columns)
    click.echo(READINGS_NOTE)


def _print_advice(report: Report) -> None:
    binding, at, lam, point = report.binding, report.strict_at, report.lam, report.operating_point
    quantiles = ", ".join(f"{share:.0%} {number(value)}" for share, value in report.quantiles.items() if share)
    dies, level = report.dies, f"the {100 * report.quantile:.3g}% quantile of the answers"
    rests = f"λ* = {number(report.advised.value)}, the lower limit of {level}, with λ*−1 cut"
    if dies is not None and dies.value < report.advised.value:
        rests = f"tails die at {number(dies.value)}, {level}; its excess over 1 is cut"
    rows = [
        ("binding class", binding.name, f"λ* = {number(binding.value)} {_interval(binding.low, binding.high)}"),
        ("strict λ*", report.strict, f"answer {at.sequence}, position {at.position}, token {at.modal}"),
        ("λ* by position", "", quantiles),
        *_of_rule(report),
        ("least flip", report.flip_point, "λ past which a modal token loses its majority"),
        ("operating λ", point.value, f"{rests} by {report.margin:.0%}"),
    ]
    if lam is not None:
        past = sum(one.value < lam for one in report.classes)
        judged = (
            f"past λ* of {past} of {len(report.classes)} classes, past λ* of {report.share_past(lam):.1%} and the flip "
            f"point of {report.share_flipped(lam):.1%} of the positions"
        )
        rows.append((f"λ = {lam:g}", "", judged))
    print_table("Which λ is safe", rows)
    if report.rule is None:
        click.echo(WITHOUT_RULE.format(clip=report.clip))
    if report.budget is not None:
        click.echo(BUDGET_NOTE.format(budget=report.budget))


def _of_rule(report: Report) -> list[tuple[str, float | str, str]]:
    """The row that says where tails die under the update rule."""
    if report.dies is None or report.rule is None:
        return []
    if report.dies.value == math.inf:
        means = f"in the mean, under {report.rule}; past λ* a tail is more than {report.clip:g} times thinner, not dead"
        return [("tails die", "never", means)]
    place = f"under {report.rule}, the {100 * report.quantile:.3g}% quantile of the answers"
    return [("tails die", report.dies.value, f"{_interval(report.dies.value, report.dies.high)}: {place}")]


def _bounds(low: float, high: float) -> str:
    ends = [f"{end:.4g}" if end < math.inf else "+inf" for end in (low, high)]
    return "–".join(dict.fromkeys(ends))


def _shares(*shares: float | None) -> str:
    return ", ".join("unknown" if share is None else f"{share:.0%}" for share in shares)


def _interval(low: float, high: float) -> str:
    return "one answer only" if math.isnan(low) else f"[{number(low)}, {number(high)}]"
