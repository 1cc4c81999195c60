"""The command ``calibrate``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lambda_star._core.quantities import LAM, MARGIN, P, Quantity
from lambda_star._core.text import shown
from lambda_star.cli._files import Output
from lambda_star.cli._output import (
    CLIP_NOTE,
    CONTRACT_HELP,
    OPEN_CLIP,
    Stopped,
    as_failure,
    contract_option,
    input_options,
    json_option,
    least_b_option,
    output_option,
    plot_option,
    print_table,
    quantity_option,
    rule_option,
    say,
    token_option,
    with_flags,
    write,
    write_json,
)

if TYPE_CHECKING:
    from lambda_star.calibration.grids import Cell
    from lambda_star.calibration.report import Report
    from lambda_star.verdict import Verdict

__all__ = ["calibrate", "print_report"]

QUANTILE_HELP = "Quantile of the answers' least lambda* whose lower confidence limit is advised."

BUDGET_HELP = """\
Planned training time: the learning rate times the number of natural-gradient steps. Adds the lambda at which such a run
just reaches the clip edge."""

CLIP_HELP = """\
How many times thinner than the teacher's the student's tail may become, a tolerance. What the update rule caps belongs
to --rule."""

ENGINE_HELP = "Where the rows are read: here, or on the workers of a Ray cluster."

STATE_HELP = "Keep in this file what has been read, so that --resume goes on after an interrupt."

KEPT = "what has been read is in {state}, and the same command with --resume goes on from there"

MORE = "More: --all prints every table, --html report.html writes them as one page with pictures."

BUDGET = Quantity("budget", 0.0, float("inf"))

SETTINGS = ("clip", "rule", "lam", "contract", "tokens", "least_b")
"""The options that decide what is summed, the fields of :class:`lambda_star.calibration.state.Settings`."""

FIRST = 3
"""The bad rows that are printed without --all."""


@click.command(epilog=CLIP_NOTE, short_help="Print the safe lambda for measured answers.")
@input_options
@quantity_option(OPEN_CLIP, "--clip", default=5, help=CLIP_HELP)
@rule_option()
@quantity_option(LAM, help="A lambda to judge, for instance the one in your training configuration.")
@contract_option(help=CONTRACT_HELP + " The default is the file's contract column, or else json.")
@token_option()
@quantity_option(MARGIN, default=0.1, help="Share of lambda*-1 that the operating point gives up.")
@click.option("--quantile", type=click.FloatRange(0, 1), default=0.05, show_default=True, help=QUANTILE_HELP)
@quantity_option(P, "--confidence", default=0.95, help="Confidence of the limits and level of the intervals.")
@quantity_option(BUDGET, help=BUDGET_HELP)
@least_b_option()
@click.option("--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True, help=ENGINE_HELP)
@click.option("--state", type=Output(grows=True), help=STATE_HELP)
@click.option("--resume", is_flag=True, help="Go on from the file of --state.")
@click.option("--all", "everything", is_flag=True, help="Print every table, and every bad row.")
@json_option()
@output_option("--markdown", dash=True, help="Write the report as Markdown, or to standard output with -.")
@output_option("--html", dash=True, help="Write it as one HTML page with pictures, or to standard output with -.")
@plot_option()
def calibrate(
    everything: bool,
    json_path: Path | None,
    markdown: Path | None,
    html: Path | None,
    plot: Path | None,
    **options: Any,
) -> None:
    """Print the safe lambda for measured answers.

    The exit status is 0 if the lambda asked about is safe, or if one can be advised where none is asked about; 1 if it
    is unsafe, 2 after an error and 3 if it is unknown, as `lambda-star decide` says.

    FILES hold what an inference engine wrote, with the log-probabilities of teacher and base together or, with
    --teacher and --base, in two files; or plain tables, which `lambda-star convert` writes, with one row for each
    output position of answers sampled from the base. A file, several, a glob in quotes, a folder or - is read, and
    also .gz and .zst.

    \b
    A plain table is a .csv, .tsv, .jsonl, .parquet or .arrow file with the columns
      sequence  which answer         position  its index in the answer, from 0
      token     sampled text         modal     text of the teacher's most probable token there
      log_p     log-probability of the modal token under the teacher (natural logarithm)
      log_b     log-probability of the same token under the base
      contract  optional: contract class of the position, empty outside the contract
      top       optional: the most probable tokens of both models, a JSON list of [token, log_p, log_b]
      rest      optional, with top: [least, greatest] log(p/b) of the unlisted tokens
      log_p_low, log_p_high, log_b_low, log_b_high
                optional: the ends of log_p and log_b where they are not exact; -inf where log_b is only a bound

    \b
    Examples:
      lambda-star calibrate examples/rank_by_price/logprobs.csv --clip 5 --lam 1.25 --plot report.png
      lambda-star calibrate --teacher vllm_teacher.jsonl.gz --base vllm_base.jsonl.gz --rule trl --html report.html
    """  # noqa: D301 (click wants the character \b)
    from lambda_star.calibration import forms
    from lambda_star.verdict import decide

    with as_failure(ValueError, ImportError):
        report = _report(**options)
    verdict = decide(report, lam=report.lam, confidence=report.confidence)
    print_report(report, verdict, everything)
    if not everything:
        click.echo(MORE)
    write_json(json_path, "calibrate", report.to_dict() | {"verdict": verdict.to_dict()})
    if markdown:
        write(markdown, forms.markdown(report, verdict))
    if html:
        from lambda_star.plotting import report_pictures

        write(html, forms.html(report, verdict, report_pictures(report)))
    if plot:
        from lambda_star.plotting import plot_report

        write(plot, plot_report(report))
    click.get_current_context().exit(verdict.exit_status)


def _report(files: tuple[Path, ...], **options: Any) -> Report:
    """Read the files, or raise a ``ValueError`` about an option or a file."""
    from lambda_star.calibration.large import calibrate_files
    from lambda_star.calibration.state import Settings

    sides = options["teacher"], options["base"]
    if None in sides and (not files or any(sides)):
        raise click.UsageError("give FILES that hold both models, or --teacher and --base with one file each")
    advice = {name: options.pop(name) for name in ("margin", "quantile", "confidence", "budget")}
    settings = Settings(**{name: options.pop(name) for name in SETTINGS})
    try:
        with _progress() as told:
            found = calibrate_files(files, settings, **options, progress=told)
    except KeyboardInterrupt as error:
        if options["state"] is None:
            raise
        raise Stopped(error, KEPT.format(state=options["state"])) from error
    return found.report(**advice)


def _progress() -> AbstractContextManager[Callable[[str, int, int], None] | None]:
    """Progress on a terminal, and none elsewhere."""
    from lambda_star.cli._progress import progress

    return progress("") if sys.stderr.isatty() else nullcontext()


def print_report(report: Report, verdict: Verdict, everything: bool = False) -> None:
    """Print one screen, the verdict first, or every table."""
    from lambda_star.calibration.grids import advice, details, rows_used

    say(str(verdict))
    print_table("", advice(report), wrap=True)
    click.echo()
    for concern in report.warnings:
        say(f"Warning: {with_flags(str(concern))}", "  ")
    for index, sentence in enumerate(rows_used(report)):
        say(f"{'  ' if index else ''}{sentence}", "  ")
    if not everything:
        for problem in report.problems[:FIRST]:
            click.echo(f"    {shown(problem.place(report.source))}: {shown(problem.message)}")
        return
    for grid in details(report):
        columns = {head: partial(_text, index) for index, head in enumerate(grid.heads)}
        print_table(grid.title, grid.rows, columns, prose="sampled text")
        if grid.note:
            say(grid.note)


def _text(index: int, row: tuple[Cell, ...]) -> str:
    return row[index].text
