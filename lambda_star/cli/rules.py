"""The command ``cliff-rules``."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from lambda_star.cli._output import FOLDER, as_failure, json_option, plot_option, print_table, write, write_json
from lambda_star.cliff import rules
from lambda_star.cliff.rules import SETTINGS, TRIALS, Finding

__all__ = ["cliff_rules"]

GROUP = 6  # rules whose students are trained side by side

COLUMNS: Mapping[str, Any] = {
    "rule": lambda same: same[0].name,
    "tail dies at": lambda same: _joined(same, lambda one: "never" if one.dies is None else f"{one.dies:.2f}"),
    "fall predicted": lambda same: _joined(same, lambda one: _fall(one.predicted)),
    "fall seen": lambda same: _joined(same, lambda one: "…" if one.hit is None else _fall(one.seen)),
    "error": lambda same: _joined(same, lambda one: "" if math.isnan(one.error) else f"{one.error:+.0%}"),
    "most below": lambda same: _joined(same, lambda one: "…" if one.hit is None else f"{round(100 * one.shortfall)}"),
    "hits": lambda same: f"{sum(bool(one.hit) for one in same)} of {sum(one.hit is not None for one in same)}",
}
"""The columns of a table whose rows are the findings of one trial, one for each seed."""


def _fall(lam: float | None) -> str:
    return "none" if lam is None else f"{lam:.3f}"


def _joined(same: Sequence[Finding], text: Any) -> str:
    """The texts of all seeds, or one that they share."""
    texts = [text(one) for one in same]
    return texts[0] if len(set(texts)) == 1 else " ".join(texts)


@click.command("cliff-rules", short_help="Predict where small students fall under ten update rules, and train them.")
@click.option("--setting", "settings", type=click.Choice([*SETTINGS]), multiple=True, help="Setting; both by default.")
@click.option(
    "--rule", "names", type=click.Choice([*TRIALS]), metavar="NAME", multiple=True, help="Rule; all by default."
)
@click.option("--seed", "seeds", type=click.IntRange(min=0), multiple=True, default=(0,), help="Seed; repeat for more.")
@click.option("--folder", type=FOLDER, default="results/rules", help="Folder of the records, one file each.")
@click.option("--threads", type=click.IntRange(min=1), default=1, help="Number of PyTorch's CPU threads.")
@click.option("--lock", "only_lock", is_flag=True, help="Lock the predictions and train nothing.")
@click.option("--report", is_flag=True, help="Predict and train nothing; print the records in the folder.")
@plot_option("plot_path", what="trials")
@json_option()
def cliff_rules(
    settings: tuple[str, ...],
    names: tuple[str, ...],
    seeds: tuple[int, ...],
    folder: Path,
    threads: int,
    only_lock: bool,
    report: bool,
    plot_path: Path | None,
    json_path: Path | None,
) -> None:
    """Predict under which update rule the lists of small transformers stop being JSON, and at which lambda.

    A trial is a setting under a rule. Its prediction is the validity of the student that training would converge to,
    sampled without training. Lock the predictions first, commit them, and then run the same command without --lock;
    `lambda-star locks` shows that each is older than its outcome. A trial takes about a minute. Finished trials are
    only read, and after Ctrl-C the same command goes on.

    \b
    Settings: short, sparse
    Rules:    cap, none, top-1, teacher-weight, teacher-weight-drawn, teacher-weight-uncentred,
              teacher-weight-uncentred-drawn, clamp-extrapolated, importance-weight, ppo, cap-through,
              top-2, top-p; in the setting short cap-momentum, teacher-weight-drawn-momentum,
              teacher-weight-uncentred-drawn-momentum; in sparse cap-longer, cap-through-longer

    \b
    Examples:
      lambda-star cliff-rules --seed 9 --folder mine --lock
      lambda-star cliff-rules --seed 9 --folder mine
      lambda-star cliff-rules --setting short --rule ppo --seed 9 --folder mine
      lambda-star cliff-rules --report --plot rules.png
    """  # noqa: D301 (click wants the character \b)
    with as_failure(ImportError, OSError, ValueError):
        if not report:
            _make(settings or tuple(SETTINGS), names, seeds, folder, threads, only_lock)
        found = rules.findings(folder)
        if not found:
            raise ValueError(f"{folder} must hold trials, got none; make some with `lambda-star cliff-rules`")
    _print(found)
    write_json(json_path, "cliff-rules", {"trials": [one._asdict() for one in found]})
    if plot_path:
        from lambda_star.plotting import plot_cliff_rules

        with as_failure(ValueError):
            write(plot_path, plot_cliff_rules(found))


def _make(
    settings: Sequence[str], names: Sequence[str], seeds: Sequence[int], folder: Path, threads: int, only_lock: bool
) -> None:
    from lambda_star.cliff.model import on_threads
    from lambda_star.cliff.trials import Runner

    with on_threads(threads):
        for seed in seeds:
            for setting in settings:
                trials = [rules.trial(setting, name) for name in names or rules.names(setting)]
                runner = Runner(trials[0], seed)
                label = f"{setting}, seed {seed}"
                with click.progressbar(trials, label=f"{label}, locks", file=sys.stderr) as each:
                    for one in each:
                        runner.locked(one, folder)
                for group in () if only_lock else rules.groups(trials, GROUP):
                    named = f"{label}: {', '.join(one.name for one in group)}"
                    with click.progressbar(length=group[0].preset.steps, label=named, file=sys.stderr) as bar:
                        runner.run(group, folder, lambda _, bar=bar: bar.update(1))  # type: ignore[misc]


def _print(found: Sequence[Finding]) -> None:
    for setting in dict.fromkeys(one.setting for one in found):
        here = [one for one in found if one.setting == setting]
        rows = [[one for one in here if one.name == name] for name in dict.fromkeys(one.name for one in here)]
        seeds = ", ".join(map(str, sorted({one.seed for one in here})))
        print_table(f"Falls in the setting {setting}, seeds {seeds}", rows, COLUMNS)
    click.echo()
    done = [one for one in found if one.hit is not None]
    for falls, what in ((True, "a fall was predicted"), (False, "no fall was predicted")):
        judged = [one for one in done if (one.predicted is not None) == falls]
        click.echo(f"{what}: {sum(bool(one.hit) for one in judged)} of {len(judged)} hit")
    powers = [one.power for one in done if one.predicted is None]
    if powers:
        click.echo(f"chance to see a true fall by 0.1 where none was predicted: at least {min(powers):.4f}")
    if waiting := len(found) - len(done):
        click.echo(f"{waiting} of {len(found)} trials are locked and wait for their outcome")
