"""The command ``lambda-star``: parses, calls the API, prints; computes nothing."""

from __future__ import annotations

import io
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lambda_star import __version__

if TYPE_CHECKING:
    from lambda_star.calibration import ClassReport, Estimate, Report
    from lambda_star.cliff import Comparison
    from lambda_star.dynamics import Flow
    from lambda_star.resolution import Bracket, Resolution
    from lambda_star.torch.check import StepReport

__all__ = ["main"]

CLIP_HELP = "The cap c on (1-p)/(1-q): how many times smaller than the teacher's the student's tail mass may become."

PROBABILITY = click.FloatRange(0, 1, min_open=True, max_open=True)
SHARE = click.FloatRange(0, 1, max_open=True)
FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)

CLIP_NOTE = """\
What CLIP means: the theory's c bounds how many times smaller the student's tail mass may become than the teacher's.
The clips of verl (2), TRL GRPO (3) and G-OPD (5) bound another ratio, training engine to rollout engine, and PPO's
epsilon is no cap on a ratio at all: copy such a number only if you know that it bounds the tail ratio in your code.
"""


RESOLUTION_NOTE = """\
Use modal | rest (Eq. 4): token by token, a token of no consequence binds. Use class | rest where most of the teacher's
tail is tokens of the modal token's own class, whose loss breaks nothing. a–b: all that the listed tokens tell."""


BUDGET_NOTE = """\
λ* by {budget:g}: where a natural-gradient run of that length first meets the cliff. It falls to λ* as training goes on,
so λ* is the safe one."""


class _Failure(click.ClickException):
    """An error with its remedy: one message, no traceback, exit code 2."""

    exit_code = 2


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="lambda-star")
def main() -> None:
    """How far may on-policy distillation extrapolate past its teacher?

    The coefficient lambda > 1 lifts the student past the teacher, until a threshold lambda*: there the output contract
    (valid JSON, say) collapses at once. `threshold` gives lambda* for one position, `calibrate` for measured answers.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


@main.command(epilog=CLIP_NOTE, short_help="Lambda* of one output position.")
@click.option("--p", type=PROBABILITY, required=True, help="The teacher's modal probability, in (0, 1).")
@click.option(
    "--b", type=PROBABILITY, required=True, help="The base's (warm start's) probability of that token, in (0, 1)."
)
@click.option("--clip", type=click.FloatRange(min=1), required=True, help=CLIP_HELP)
@click.option("--lam", type=float, help="A lambda to judge.")
@click.option("--margin", type=SHARE, default=0.1, show_default=True, help="Share of lambda*-1 to stay away from it.")
def threshold(p: float, b: float, clip: float, lam: float | None, margin: float) -> None:
    """Lambda* of one output position: the modal token against everything else.

    \b
    Example: a near-deterministic token under the paper's clip, and the common default of 1.25:
      lambda-star threshold --p 0.99933697778 --b 0.5 --clip 5 --lam 1.25
    """  # noqa: D301 (click wants the character \b)
    import lambda_star as ls

    try:
        rows: list[tuple[str, str, float | str]] = [
            ("λ*", "largest λ that keeps the tail", ls.threshold(p, b, clip)),
            ("λ_c", "collapse point of a clipped student", ls.collapse_point(p, b, clip)),
            ("λ_c − λ*", "width of the cliff", ls.cliff_width(p, b, clip)),
            ("λ_op", f"operating point, margin {margin:g}", ls.operating_point(p, b, clip, margin)),
            ("flip", "λ past which the modal token loses its majority", ls.flip_point(p, b)),
            ("two-sided", "largest λ safe for modal token and tail", ls.two_sided_threshold(p, b, clip)),
        ]
        if lam is not None:
            rows += [
                (f"R({lam:g})", "teacher tail over student tail", ls.tail_ratio(p, b, lam)),
                ("regime", f"at λ = {lam:g}", ls.regime(p, b, clip, lam).name.lower()),
                ("safe", f"R({lam:g}) ≤ {clip:g}", "yes" if ls.is_clip_safe(p, b, clip, lam) else "no"),
            ]
    except ValueError as error:
        raise _Failure(str(error)) from error
    _print_table(f"p = {p:g}, b = {b:g}, c = {clip:g}", ("", "", ""), [(a, _number(v), t) for a, t, v in rows])


@main.command(epilog=CLIP_NOTE, short_help="The safe lambda for measured answers.")
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
    from lambda_star.io import read_table

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
        raise _Failure(str(error)) from error
    _print_rows_used(report)
    _print_classes(report)
    _print_resolutions(report)
    _print_advice(report)
    if json_path:
        text = json.dumps(report.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
        _write(json_path, lambda: json_path.write_text(text + "\n", encoding="utf-8"))
    if plot_path:
        from lambda_star.plotting import plot_report

        ending = plot_path.suffix[1:] or "png"
        _write(plot_path, lambda: plot_report(report).savefig(plot_path, dpi=150, format=ending))


@main.command(epilog=CLIP_NOTE, short_help="Pictures of one position: regimes, budget, trajectory.")
@click.argument("picture", type=click.Choice(["regimes", "budget", "trajectory"]))
@click.option("--p", type=PROBABILITY, required=True, help="The teacher's modal probability, in (0, 1).")
@click.option("--b", type=PROBABILITY, required=True, help="The base's probability of that token, below p.")
@click.option("--clip", type=click.FloatRange(min=1, min_open=True), required=True, help=CLIP_HELP)
@click.option("--lam", "lams", type=float, multiple=True, help="trajectory: a lambda to draw; repeat for more.")
@click.option(
    "--flow",
    type=click.Choice(["natural", "policy-gradient"]),
    default="natural",
    show_default=True,
    help="budget, trajectory: natural gradient, or plain policy gradient on the logit.",
)
@click.option("--until", type=click.FloatRange(min=0, min_open=True), help="trajectory: the last time.")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The picture (.png, .pdf or .svg)."
)
def plot(
    picture: str,
    p: float,
    b: float,
    clip: float,
    lams: tuple[float, ...],
    flow: Flow,
    until: float | None,
    out: Path,
) -> None:
    """Draw PICTURE of one position with two outcomes.

    \b
    regimes     the tail mass that training ends at, over lambda, with the clip and without
    budget      the tail mass over training budget and lambda, and the budget threshold
    trajectory  the tail mass over time for some lambda

    \b
    Examples:
      lambda-star plot regimes --p 0.9 --b 0.5 --clip 2 --out regimes.png
      lambda-star plot trajectory --p 0.99 --b 0.9 --clip 5 --lam 1.67 --lam 1.68 --out fall.png
    """  # noqa: D301 (click wants the character \b)
    from lambda_star import plotting

    if picture == "trajectory" and not lams:
        raise _Failure("trajectory needs a lambda; give --lam, once or more")
    if picture != "trajectory" and (lams or until is not None):
        raise _Failure(f"--lam and --until belong to trajectory; leave them out for {picture}")
    try:
        if picture == "regimes":
            ax = plotting.plot_regimes(p, b, clip)
        elif picture == "budget":
            ax = plotting.plot_budget(p, b, clip, flow=flow)
        else:
            ax = plotting.plot_trajectory(p, b, clip, lams, flow=flow, until=until)
    except ValueError as error:
        raise _Failure(str(error)) from error
    figure: Any = ax.figure
    _write(out, lambda: figure.savefig(out, dpi=150, format=out.suffix[1:] or "png"))


@main.command(epilog=CLIP_NOTE, short_help="What a training configuration says of lambda, and gets wrong.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--p", type=PROBABILITY, help="The teacher's modal probability, in (0, 1).")
@click.option("--b", type=PROBABILITY, help="The base's (warm start's) probability of that token, in (0, 1).")
@click.option("--clip", type=click.FloatRange(min=1), help=CLIP_HELP)
def lint_config(file: Path, p: float | None, b: float | None, clip: float | None) -> None:
    """Read a training configuration, and say what is wrong with its extrapolation.

    FILE is a verl or G-OPD YAML, a shell script that starts such a run, or a TRL configuration (YAML, JSON, script).
    With --p and --b of a contract token, as `lambda-star calibrate` reports them, its lambda is compared with lambda*.
    The exit status is 1 if there is an error among the findings.

    \b
    Example:
      lambda-star lint-config run_gopd.sh --p 0.999 --b 0.5 --clip 5
    """  # noqa: D301 (click wants the character \b)
    from lambda_star import lint

    try:
        findings = lint.lint_config(file, p=p, b=b, clip=clip)
    except ValueError as error:
        raise _Failure(str(error)) from error
    for one in findings:
        place = f"{file}:{one.line}" if one.line else str(file)
        click.echo(f"{place}: {one.severity}: {one.key + ': ' if one.key else ''}{one.message}")
    if any(one.severity == "error" for one in findings):
        sys.exit(1)


@main.command(short_help="Predictions against real distillation steps.")
@click.option(
    "--teacher", type=FOLDER, help="Folder of a Hugging Face causal language model, or of an adapter for one."
)
@click.option("--base", type=FOLDER, help="The same for the base, from which the student starts.")
@click.option("--text", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Text to look at, UTF-8.")
@click.option("--lam", type=float, default=1.25, show_default=True, help="Extrapolation coefficient.")
@click.option("--clip", type=click.FloatRange(min=1, min_open=True), default=5, show_default=True, help=CLIP_HELP)
@click.option(
    "--positions", type=click.IntRange(min=1), default=64, show_default=True, help="Most positions to look at."
)
@click.option("--device", default="cpu", show_default=True, help="Where to run, for instance cuda.")
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float64", "bfloat16"]),
    default="float32",
    show_default=True,
    help="In what the models compute.",
)
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

    Without models a small built-in problem is used. With --teacher, --base and --text, two models score the text, and
    a copy of the base takes the step. The exit status is 1 if a prediction does not hold.

    \b
    Examples:
      lambda-star check-step
      lambda-star check-step --teacher runs/8b --base runs/1.7b --text answers.txt --device cuda --dtype bfloat16
    """  # noqa: D301 (click wants the character \b)
    if bool(teacher) != bool(base) or bool(teacher) != bool(text):
        raise _Failure("--teacher, --base and --text belong together; give all of them, or none")
    try:
        from lambda_star.torch import check, problems

        if teacher and base and text:
            models = problems.load_problem(teacher, base, text, device, dtype)
        else:
            models = problems.small_problem(device, dtype)
        report = check.check_step(*models, lam=lam, clip=clip, positions=positions)
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        raise _Failure(str(error)) from error
    _print_step(report)
    if not report.passed:
        sys.exit(1)


@main.command(short_help="The cliff on a laptop: predict, train, compare.")
@click.option(
    "--preset", "presets", multiple=True, metavar="NAME", help="A preset to run; repeat for more. All by default."
)
@click.option("--control", "controls", multiple=True, metavar="NAME", help="A control of the presets, in their place.")
@click.option(
    "--seed",
    "seeds",
    type=click.IntRange(min=0),
    multiple=True,
    default=(0,),
    show_default="0",
    help="A seed; repeat for more.",
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("results/cliff"),
    show_default=True,
    help="Where the runs are, one file each.",
)
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="CPU threads of PyTorch.")
@click.option(
    "--quick", is_flag=True, help="One small run, not kept; exit code 1 if validity does not fall in the band."
)
@click.option("--report", is_flag=True, help="Train nothing: print and draw what the folder holds.")
@click.option(
    "--plot", "plot_path", type=click.Path(path_type=Path, dir_okay=False), help="Draw the runs (.png, .pdf, .svg)."
)
def cliff(
    presets: tuple[str, ...],
    controls: tuple[str, ...],
    seeds: tuple[int, ...],
    folder: Path,
    threads: int,
    quick: bool,
    report: bool,
    plot_path: Path | None,
) -> None:
    """Train small transformers at a grid of lambda, after saying where their lists will stop being JSON.

    A run takes one to five minutes. It writes a file in FOLDER: the prediction with its hash and the time before the
    first step, what was seen after the last. Finished runs are only read; after Ctrl-C the same command goes on.

    \b
    Presets:  short, long, quoted, merged, wide
    Controls: no clip, no clip at double budget, plain, shuffled base, smaller clip,
              half budget, double budget, momentum

    \b
    Examples:
      lambda-star cliff --quick
      lambda-star cliff --preset short --seed 6 --folder mine
      lambda-star cliff --preset short --seed 6 --folder mine --control "no clip"
      lambda-star cliff --report --folder mine --plot mine.png
    """  # noqa: D301 (click wants the character \b)
    try:
        records = _finished_runs(folder) if report else _new_runs(presets, controls, seeds, folder, threads, quick)
    except (ImportError, OSError, ValueError) as error:
        raise _Failure(str(error)) from error
    _print_cliff(records)
    if plot_path:
        from lambda_star.plotting import plot_cliff

        try:
            figure = plot_cliff(records)
        except ValueError as error:
            raise _Failure(str(error)) from error
        _write(plot_path, lambda: figure.savefig(plot_path, dpi=150, format=plot_path.suffix[1:] or "png"))
    if quick:
        _require_the_fall(records[0])


def _finished_runs(folder: Path) -> list[dict[str, Any]]:
    from lambda_star.locked import finished

    paths = sorted(folder.glob("*.json"))
    records = finished(paths)
    if len(records) < len(paths):
        click.echo(
            f"{len(paths) - len(records)} of {len(paths)} runs in {folder} are locked and not finished", err=True
        )
    if not records:
        raise ValueError(f"{folder} must hold finished runs, got none; make some with `lambda-star cliff`")
    return records


def _new_runs(
    presets: tuple[str, ...],
    controls: tuple[str, ...],
    seeds: tuple[int, ...],
    folder: Path,
    threads: int,
    quick: bool,
) -> list[dict[str, Any]]:
    from tempfile import TemporaryDirectory

    from lambda_star.torch import experiment

    def one(preset: Any, seed: int, folder: Path) -> dict[str, Any]:
        label = f"{preset.name}, seed {seed}"
        with click.progressbar(length=preset.steps, label=label, file=sys.stderr) as bar:
            return experiment.run(preset, seed, folder, threads=threads, progress=lambda _: bar.update(1))

    if quick:
        with TemporaryDirectory() as nowhere:
            return [one(experiment.QUICK, 0, Path(nowhere))]
    chosen = [_named(experiment.PRESETS, name, "--preset") for name in presets or experiment.PRESETS]
    for name in controls:
        _named(experiment.CONTROLS, name, "--control")
    chosen = [experiment.variant(preset, name) for name in controls for preset in chosen] or chosen
    return [one(preset, seed, folder) for preset in chosen for seed in seeds]


def _named(table: Mapping[str, Any], name: str, option: str) -> Any:
    if name not in table:
        raise ValueError(f"{option} must be one of {', '.join(table)}, got {name!r}")
    return table[name]


def _require_the_fall(record: Mapping[str, Any]) -> None:
    """Exit with 1 unless validity fell where it was predicted to."""
    from lambda_star.cliff import compare

    run = compare(record)
    click.echo(
        "validity fell where it was predicted to" if run.inside else "validity did NOT fall in the predicted band"
    )
    if not run.inside:
        sys.exit(1)


@main.command(short_help="Where the formulas come from, step by step.")
@click.argument("name", required=False)
@click.option(
    "--write", "write_to", type=click.Path(path_type=Path, file_okay=False), help="Write every page into this folder."
)
@click.option(
    "--check",
    "compare_with",
    type=click.Path(path_type=Path, file_okay=False),
    help="Check every step, and fail naming the step that does not hold or the page that differs.",
)
def derive(name: str | None, write_to: Path | None, compare_with: Path | None) -> None:
    """Where the formulas come from: derived with SymPy, step by step, and checked.

    Without an option, NAME prints one derivation as Markdown; without NAME, the names are listed.

    \b
    Examples:
      lambda-star derive threshold
      lambda-star derive --write derivations
      lambda-star derive --check derivations
    """  # noqa: D301 (click wants the character \b)
    from lambda_star.symbolic import DerivationError
    from lambda_star.symbolic.pages import derivations, pages

    if sum(choice is not None for choice in (name, write_to, compare_with)) > 1:
        raise _Failure("give one of NAME, --write and --check")
    if name is not None:
        if name not in derivations():
            raise _Failure(f"no derivation {name!r}; choose from {', '.join(derivations())}")
        click.echo(derivations()[name].markdown(), nl=False)
    elif write_to is not None:
        for page, text in pages().items():
            path = write_to / page
            _write(path, partial(path.write_text, text, encoding="utf-8", newline="\n"))
    elif compare_with is not None:
        try:
            steps = sum(derivation.check() for derivation in derivations().values())
        except DerivationError as error:
            raise _Failure(str(error)) from error
        for page, text in pages().items():
            _compare(compare_with / page, text)
        click.echo(f"{len(derivations())} derivations, {steps} steps hold; {len(pages())} pages are up to date")
    else:
        for derivation in derivations().values():
            click.echo(f"{derivation.name:20} {derivation.title}")


def _compare(path: Path, text: str) -> None:
    remedy = f"run: lambda-star derive --write {path.parent}"
    try:
        found = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise _Failure(f"{path}: {error}; {remedy}") from error
    for number, (old, new) in enumerate(zip_longest(found, text.splitlines()), start=1):
        if old != new:
            raise _Failure(f"{path}, line {number}: not what the derivations say; {remedy}")


def _write(path: Path, write: Callable[[], object]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write()
    except (OSError, ValueError) as error:  # ValueError: matplotlib does not know the ending
        raise _Failure(f"{path}: {error}; give a path that can be written") from error
    click.echo(f"wrote {path}")


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
        "λ*": lambda one: _number(one.threshold.value),
        f"{report.confidence:.0%} interval": lambda one: _interval(one.threshold),
        "λ_c": lambda one: _number(one.collapse_point),
        "flip": lambda one: _number(one.flip_point),
        "least λ*": lambda one: _number(one.least),
        "median": lambda one: _number(one.median),
    }
    if report.budget is not None:
        columns[f"λ* by {report.budget:g}"] = lambda one: _number(one.budget_threshold or math.nan)
    if report.lam is not None:
        columns[f"past λ* at {report.lam:g}"] = lambda one: f"{one.share_past:.1%}"
    rows = [[column(one) for column in columns.values()] for one in report.classes]
    _print_table(f"Contract classes at clip c = {report.clip:g}, the binding one first", list(columns), rows)


def _print_resolutions(report: Report) -> None:
    if not report.resolutions:
        return
    columns: dict[str, Callable[[Resolution], str]] = {
        "class": lambda one: one.name,
        "positions": lambda one: str(one.positions),
        "token": lambda one: _bracket(one.token),
        "modal | rest": lambda one: _number(one.bernoulli),
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
    _print_table("Median λ* by position: token by token, modal token | rest, its class | rest", list(columns), rows)
    click.echo(RESOLUTION_NOTE)


def _print_step(report: StepReport) -> None:
    where = f"{report.positions} positions × {report.tokens} tokens, {report.dtype} on {report.device}"
    _print_table(
        f"λ = {report.lam:g}, c = {report.clip:g}; {where}",
        ("", "predicted", "measured", "tolerance", "holds"),
        [(one.what, *(_number(value) for value in one[1:]), "yes" if one.holds else "NO") for one in report.lines],
    )


def _print_cliff(records: Sequence[Mapping[str, Any]]) -> None:
    from lambda_star.cliff import compare, summarise

    runs = [compare(record) for record in records]
    heads = (
        "preset",
        "seed",
        "λ*",
        "λ_c",
        "λ* by budget",
        "band",
        "predicted",
        "seen",
        "95% interval",
        "inside",
        "off",
    )
    presets, controls = ([run for run in runs if bool(run.control) == wanted] for wanted in (False, True))
    if presets:
        _print_table("Where half of the valid answers are lost", heads, [_cliff_cells(run) for run in presets])
        total = summarise(presets)
        click.echo(f"{total.inside} of {total.runs} onsets in the predicted band; ", nl=False)
        click.echo(f"|seen − predicted|/(predicted − 1): median {total.off:.1%}, worst {total.worst:.1%}")
    if controls:
        _print_table("Controls", heads, [_cliff_cells(run) for run in controls])


def _cliff_cells(run: Comparison) -> tuple[str, ...]:
    def cell(value: float | None) -> str:
        return "none" if value is None else f"{value:.4g}"

    return (
        run.name,
        str(run.seed),
        *(cell(value) for value in (run.threshold, run.collapse, run.budget_threshold)),
        "" if run.band is None else "–".join(map(cell, run.band)),
        cell(run.predicted),
        cell(run.seen),
        "" if run.seen is None else "–".join(map(cell, run.interval)),
        {None: "", True: "yes", False: "no"}[run.inside],
        "" if math.isnan(run.off) else f"{run.off:+.1%}",
    )


def _print_advice(report: Report) -> None:
    binding, at, lam = report.binding, report.strict_at, report.lam
    quantiles = ", ".join(f"{share:.0%} {_number(value)}" for share, value in report.quantiles.items() if share)
    rows = [
        ["binding class", binding.name, f"λ* = {_number(binding.threshold.value)} {_interval(binding.threshold)}"],
        ["strict λ*", _number(report.strict), f"answer {at.sequence}, position {at.position}, token {at.modal}"],
        ["λ* by position", "", quantiles],
        ["least flip", _number(report.flip_point), "λ past which a modal token loses its majority"],
        [
            "operating λ",
            _number(report.operating_point.value),
            f"{_interval(report.operating_point)}: λ* = {_number(report.advised.value)}, "
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
    _print_table("Which λ is safe", ["", "", ""], rows)
    if report.budget is not None:
        click.echo(BUDGET_NOTE.format(budget=report.budget))


def _print_table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", show_header=any(heads), box=None, pad_edge=False)
    for index, head in enumerate(heads):
        table.add_column(head, justify="right" if index and any(heads) else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    click.echo()
    # Wide, so that a table loses no figure to a narrow terminal or a pipe; it takes the width it needs.
    Console(highlight=False, width=100_000).print(table)


def _number(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return "+inf" if value == math.inf else f"{value:.6g}"


def _bracket(bracket: Bracket) -> str:
    low, high = (f"{end:.4g}" if end < math.inf else "+inf" for end in bracket)
    return low if low == high else f"{low}–{high}"


def _interval(estimate: Estimate) -> str:
    if math.isnan(estimate.low):
        return "one answer only"
    return f"[{_number(estimate.low)}, {_number(estimate.high)}]"
