"""The command ``rehearse``."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lambda_star._core.quantities import LAM
from lambda_star._core.text import shown
from lambda_star.cli._files import Output
from lambda_star.cli._functions import load_function
from lambda_star.cli._output import (
    FILE,
    Stopped,
    as_failure,
    contract_option,
    finish,
    json_option,
    need_models,
    number,
    plot_option,
    print_table,
    quantity_option,
    rule_option,
    write,
    write_json,
)
from lambda_star.cli.score import DTYPES, MODEL_HELP, PROMPTS_HELP, UNDER_HELP
from lambda_star.cli.verdict import TOLERANCE

if TYPE_CHECKING:
    from lambda_star.rehearsal import Point, Rehearsal

__all__ = ["rehearse"]

COUNT = click.IntRange(min=1)
COEFFICIENT = LAM._replace(low=0.0, ends="[)")
DEFAULT_LAMS = (1.25, 1.5, 2.0)
LAM_HELP = "A lambda; give several to find the largest that is safe, or one above 1 to have that one judged."
FINE = """\
Halve the distance between neighbouring lambda of at least 1 where the valid share or a metric changes by more than
chance, paired, the largest change first; at most so many lambda are added."""
METRIC = """\
A function of an answer's text and its prompt, which returns a number, or None where it does not apply; its name is that
of the metric. This runs the file or module."""
BUDGET = """\
Flow time s of an unfinished run: the student is then the mixture at lambda (1 - exp(-s)). Only where nothing is
bounded."""
OUT_HELP = "File of the answers, JSON lines; one that is there is resumed."
NEEDED = ("teacher", "base", "prompts")
ALL = "--teacher, --base and --prompts"

ASSUMES = """
This is the student of converged training that can represent its target, with each position trained on its own{short}.
It knows nothing of the optimiser, its momentum, or the noise of sampled tokens. Whether a run has arrived shows in its
tails at contract positions: seen over predicted, near 1."""
ENDS = "At λ = 0 the student is the base and at λ = 1 the teacher: compare both rows with the models' own answers."


@click.command(short_help="Sample from the student that training would reach, before training it.")
@click.option("--teacher", metavar="MODEL", help=MODEL_HELP)
@click.option("--base", metavar="MODEL", help="The same for the base, from which the student would start.")
@click.option("--prompts", type=FILE, help=PROMPTS_HELP)
@contract_option()
@quantity_option(COEFFICIENT, "--lam", "lams", multiple=True, show_default="1.25, 1.5, 2", help=LAM_HELP)
@rule_option()
@click.option("--metric", multiple=True, metavar="FILE.py:FUNCTION|MODULE:FUNCTION", help=METRIC)
@click.option("--answers", type=COUNT, help="Answers at each lambda; by default one per prompt.")
@click.option("--fine", type=click.IntRange(min=0), is_flag=False, flag_value=4, default=0, help=FINE)
@click.option("--budget", type=click.FloatRange(0, min_open=True), help=BUDGET)
@click.option("--model", metavar="MODEL", help=UNDER_HELP)
@click.option("--batch", type=COUNT, default=32, help="Answers that run side by side.")
@click.option("--max-tokens", type=COUNT, default=256, help="The most tokens of an answer.")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Seed of the random numbers.")
@click.option("--device", default="cpu", help="Where the models run, for instance cuda.")
@click.option("--dtype", type=DTYPES, default="float32", help="Dtype in which the models compute.")
@click.option("--trust-remote-code", is_flag=True, help="Let Python code that comes with a model run.")
@click.option("--report", type=FILE, help="JSON file of `lambda-star calibrate` for the same rule, for the verdict.")
@quantity_option(TOLERANCE, default=0.05, help="Share of valid answers that lambda may cost against lambda = 1.")
@json_option()
@plot_option(what="rehearsal")
@click.option("--out", type=Output(grows=True), required=True, help=OUT_HELP)
def rehearse(
    out: Path,
    lams: tuple[float, ...],
    report: Path | None,
    tolerance: float,
    json_path: Path | None,
    plot: Path | None,
    **options: Any,
) -> None:
    """Sample answers of the predicted student at several lambda, judge them, and say which lambda is safe.

    At every prefix the student that converged training would reach follows from teacher, base, lambda and the update
    rule, so it can be sampled from without training it. Answers to the same prompt draw the same random numbers at
    every lambda. lambda = 1 is always rehearsed, and lambda = 0 where nothing is capped.

    Every answer is in the file OUT at once. The same command goes on where it was stopped, and a finished file is only
    read: give --out alone to look at one. A contract, --contract, is needed for a verdict.

    The verdict is on the one --lam above 1; with several it is the largest lambda that is known to be safe, which may
    be 1. The exit status is 0 for safe, 1 for unsafe, 2 after an error and 3 for unknown.

    \b
    Examples:
      lambda-star rehearse --teacher runs/teacher --base runs/base --prompts prompts.jsonl \\
        --contract json --lam 1.25 --lam 1.6 --out rehearsal.jsonl --plot rehearsal.png
      lambda-star rehearse --out rehearsal.jsonl
    """  # noqa: D301 (click wants the character \b)
    from lambda_star.rehearsal import Rehearsal as RehearsalOf
    from lambda_star.updates import none
    from lambda_star.verdict import decide

    with as_failure(ImportError, OSError, RuntimeError, ValueError), _stoppable(out):
        if report:  # before any answer is drawn
            decide(report, RehearsalOf({"rule": str(options["rule"] or none())}, ()) if options["teacher"] else None)
        found = _rehearsal(out, lams=lams or DEFAULT_LAMS, **options)
        asked = [lam for lam in lams if lam > 1]
        verdict = decide(report, found, asked[0] if len(asked) == 1 else None, tolerance=tolerance)
    _print(found)
    if plot:
        from lambda_star.plotting.rehearsal import plot_rehearsal

        write(plot, plot_rehearsal(found))
    for sentence in verdict.evidence[0 if report else len(verdict.evidence) - len(verdict.best) :]:
        click.echo(shown(sentence))
    write_json(json_path, "rehearse", {**found.to_dict(), "verdict": verdict.to_dict()})
    finish(verdict)


def _rehearsal(out: Path, metric: Sequence[str], lams: Sequence[float], **options: Any) -> Rehearsal:
    """Return the rehearsal in a file, or go on with it if models and prompts are named."""
    missing = [name for name in NEEDED if options[name] is None]
    if len(missing) == len(NEEDED):
        from lambda_star.rehearsal import read_rehearsal

        if not out.exists():
            raise ValueError(f"--out must be a file that is there, got {out}; to make it give {ALL}")
        found = read_rehearsal(out)
        _refuse_other(found, options)
        return found
    if missing:
        raise ValueError(f"{ALL} must be given together, got no --{missing[0]}")
    need_models()
    if options["contract"] is None:
        click.echo("without --contract there is no verdict, only answers, their lengths and metrics", err=True)
    from lambda_star import torch as bridge
    from lambda_star.cli._progress import progress

    functions = {text.rpartition(":")[2]: load_function(text) for text in metric}
    if len(functions) < len(metric):
        raise ValueError(f"--metric must name functions with different names, got {', '.join(metric)}")
    loading = {name: options.pop(name) for name in ("model", "device", "dtype", "trust_remote_code")}
    with progress("answers") as show:
        return bridge.rehearse(
            lams=lams, metrics=functions, path=out, progress=partial(show, "rehearse"), loading=loading, **options
        )


def _refuse_other(found: Rehearsal, options: dict[str, Any]) -> None:
    """Refuse options by which the answers of a file that is only read were not made."""
    contract = options["contract"]
    given = {"contract": contract and contract.name, "rule": options["rule"] and str(options["rule"])}
    for name, value in {**given, "budget": options["budget"]}.items():
        if value is not None and value != (there := found.header.get(name)):
            raise ValueError(f"--{name} must be that of the file, {there}, got {value}; for another rehearse again")


@contextmanager
def _stoppable(out: Path) -> Iterator[None]:
    """Say that a run that is stopped can go on."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise Stopped(error, f"the answers so far are in {out}, and the same command goes on from there") from error


def _print(found: Rehearsal) -> None:
    for problem in found.problems:
        click.echo(shown(f"line {problem.line}: {problem.message}"))
    said = {name: found.header.get(name) for name in ("teacher", "base", "rule", "contract")}
    click.echo(shown(", ".join(f"{name} {value or 'none'}" for name, value in said.items())))
    metrics = sorted({name for point in found.curve for name in point.metrics})
    columns: dict[str, Callable[[Point], float | str]] = {
        "λ": lambda one: one.lam,
        "answers": lambda one: str(one.answers),
        "valid": lambda one: _percent(one.valid),
        "exact 95% interval": lambda one: _interval(one.low, one.high, _percent),
        "change from λ = 1": lambda one: _change(one.change, one.change_low, one.change_high, _percent),
    }
    for name in metrics:
        columns |= _of_metric(name)
    columns |= {
        "tokens": lambda one: f"{one.length:.1f}",
        "cut": lambda one: _percent(one.cut),
        "break at token": lambda one: "" if math.isnan(one.broken_at) else number(one.broken_at),
        "of class": lambda one: ", ".join(f"{name or 'no class'} {count}" for name, count in [*one.broken.items()][:3]),
    }
    print_table(f"Predicted students, {_of_budget(found)}", found.curve, columns)
    budget = found.header.get("budget")
    click.echo(ASSUMES.format(short="" if budget is None else f", stopped at flow time s = {budget:g}"))
    if budget is None and found.lams[0] == 0:
        click.echo(ENDS)


def _of_budget(found: Rehearsal) -> str:
    budget = found.header.get("budget")
    if budget is None:
        return "sampled without training; changes are paired"
    return f"at {-math.expm1(-budget):.4g} of their λ, as a run stopped at flow time {budget:g}; changes are paired"


def _of_metric(name: str) -> dict[str, Callable[[Point], float | str]]:
    """The two columns of a metric: its mean, and its paired change."""

    def mean(one: Point) -> str:
        return f"{one.metrics[name].value:.4g}" if name in one.metrics else ""

    def change(one: Point) -> str:
        found = one.metrics.get(name)
        return _change(found.change, found.change_low, found.change_high, "{:+.3f}".format) if found else ""

    return {name: mean, f"its change ({name})": change}


def _percent(share: float) -> str:
    return "" if math.isnan(share) else f"{100 * share:.1f}%"


def _interval(low: float, high: float, write: Callable[[float], str]) -> str:
    return "" if math.isnan(low) else f"[{write(low)}, {write(high)}]"


def _change(change: float, low: float, high: float, write: Callable[[float], str]) -> str:
    if math.isnan(change) or low == high == 0:
        return ""
    sign = "+" if write is _percent and change > 0 else ""
    return f"{sign}{write(change)} {_interval(low, high, write)}"
