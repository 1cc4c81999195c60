"""The command ``cliff``."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from lambda_star.cli._output import Failure, print_table, write
from lambda_star.cliff import Comparison, compare, summarise

__all__ = ["cliff"]

HEADS = ("preset", "seed", "λ*", "λ_c", "λ* by budget", "band", "predicted", "seen", "95% interval", "inside", "error")
SEED = click.IntRange(min=0)
THREADS = click.IntRange(min=1)
FOLDER = click.Path(path_type=Path, file_okay=False)
PICTURE = click.Path(path_type=Path, dir_okay=False)


@click.command(short_help="The cliff on a laptop: predict, train, compare.")
@click.option(
    "--preset", "presets", multiple=True, metavar="NAME", help="Preset to run; repeat for more. All by default."
)
@click.option(
    "--control", "controls", multiple=True, metavar="NAME", help="Run the presets under this control; repeat for more."
)
@click.option(
    "--seed", "seeds", type=SEED, multiple=True, default=(0,), show_default="0", help="Seed; repeat for more."
)
@click.option(
    "--folder", type=FOLDER, default="results/cliff", show_default=True, help="Folder of the runs, one file each."
)
@click.option("--threads", type=THREADS, default=1, show_default=True, help="Number of PyTorch's CPU threads.")
@click.option("--quick", is_flag=True, help="One small run, not kept; exit status 1 unless validity falls in the band.")
@click.option("--report", is_flag=True, help="Train nothing; print and draw the runs in the folder.")
@click.option("--plot", "plot_path", type=PICTURE, help="Draw the runs (.png, .pdf, .svg).")
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
    """Predict at which lambda the lists of small transformers stop being JSON, then train them and compare.

    A run takes one to five minutes. Before the first step it writes the prediction to a file in FOLDER, with its hash
    and the time; after the last step it adds what was seen. Finished runs are only read, and after Ctrl-C the same
    command goes on.

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
        raise Failure(str(error)) from error
    _print_cliff(records)
    if plot_path:
        from lambda_star.plotting import plot_cliff

        try:
            figure = plot_cliff(records)
        except ValueError as error:
            raise Failure(str(error)) from error
        write(plot_path, lambda: figure.savefig(plot_path, dpi=150, format=plot_path.suffix[1:] or "png"))
    if quick:
        inside = compare(records[0]).inside
        click.echo(f"validity {'fell where it was predicted to' if inside else 'did NOT fall in the predicted band'}")
        sys.exit(0 if inside else 1)


def _finished_runs(folder: Path) -> list[dict[str, Any]]:
    from lambda_star.cliff.record import finished

    paths = sorted(folder.glob("*.json"))
    records = finished(paths)
    if len(records) < len(paths):
        click.echo(
            f"{len(paths) - len(records)} of {len(paths)} runs in {folder} are locked but not finished", err=True
        )
    if not records:
        raise ValueError(f"{folder} must hold finished runs, got none; make some with `lambda-star cliff`")
    return records


def _new_runs(
    presets: tuple[str, ...], controls: tuple[str, ...], seeds: tuple[int, ...], folder: Path, threads: int, quick: bool
) -> list[dict[str, Any]]:
    from tempfile import TemporaryDirectory

    from lambda_star.cliff import presets as known
    from lambda_star.cliff import run as experiment

    def one(preset: known.Preset, seed: int, folder: Path) -> dict[str, Any]:
        label = f"{preset.label}, seed {seed}"
        with click.progressbar(length=preset.steps, label=label, file=sys.stderr) as bar:
            return experiment.run(preset, seed, folder, threads=threads, progress=lambda _: bar.update(1))

    if quick:
        with TemporaryDirectory() as nowhere:
            return [one(known.QUICK, 0, Path(nowhere))]
    chosen = [_named(known.PRESETS, name, "--preset") for name in presets or known.PRESETS]
    for name in controls:
        _named(known.CONTROLS, name, "--control")
    chosen = [known.variant(preset, name) for name in controls for preset in chosen] or chosen
    return [one(preset, seed, folder) for preset in chosen for seed in seeds]


def _named(table: Mapping[str, Any], name: str, option: str) -> Any:
    if name not in table:
        raise ValueError(f"{option} must be one of {', '.join(table)}, got {name!r}")
    return table[name]


def _print_cliff(records: Sequence[Mapping[str, Any]]) -> None:
    runs = [compare(record) for record in records]
    presets, controls = ([run for run in runs if bool(run.control) == wanted] for wanted in (False, True))
    if presets:
        print_table("Where half of the valid answers are lost", HEADS, [_cliff_cells(run) for run in presets])
        total = summarise(presets)
        click.echo(f"{total.inside} of {total.runs} onsets in the predicted band; ", nl=False)
        errors = f"median {total.median_error:.1%}, worst {total.worst_error:.1%}"
        click.echo(f"|seen − predicted|/(predicted − 1): {errors}")
    if controls:
        print_table("Controls", HEADS, [_cliff_cells(run) for run in controls])


def _cliff_cells(run: Comparison) -> tuple[str, ...]:
    def cell(value: float | None) -> str:
        return "none" if value is None else f"{value:.4g}"

    return (
        run.label,
        str(run.seed),
        *(cell(value) for value in (run.threshold, run.collapse, run.budget_threshold)),
        "" if run.band is None else "–".join(map(cell, run.band)),
        cell(run.predicted),
        cell(run.seen),
        "" if run.seen is None else "–".join(map(cell, run.interval)),
        {None: "", True: "yes", False: "no"}[run.inside],
        "" if math.isnan(run.relative_error) else f"{run.relative_error:+.1%}",
    )
