"""The command ``cliff``."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from operator import itemgetter
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import click

from lambda_star._core.text import shown
from lambda_star.cli._output import FOLDER, as_failure, json_option, plot_option, print_table, write, write_json
from lambda_star.cliff import compare, summarise
from lambda_star.cliff.presets import CONTROLS, PRESETS, QUICK, Preset, variant
from lambda_star.cliff.record import files, named, read

__all__ = ["cliff"]

COLUMNS = {
    "preset": lambda run: run.label,
    "seed": lambda run: str(run.seed),
    "λ*": lambda run: _cell(run.threshold),
    "λ_c": lambda run: _cell(run.collapse),
    "λ* by budget": lambda run: _cell(run.budget_threshold),
    "band": lambda run: "" if run.band is None else "–".join(map(_cell, run.band)),
    "predicted": lambda run: _cell(run.predicted),
    "seen": lambda run: _cell(run.seen),
    "95% interval": lambda run: "" if run.seen is None else "–".join(map(_cell, run.interval)),
    "inside": lambda run: {None: "", True: "yes", False: "no"}[run.inside],
    "error": lambda run: "" if math.isnan(run.relative_error) else f"{run.relative_error:+.1%}",
}
AGREEMENT: dict[str, Any] = {
    "preset": lambda run: run.label,
    "seed": lambda run: str(run.seed),
    "rehearsed": lambda run: _cell(run.rehearsed),
    "seen": lambda run: _cell(run.seen),
    "error": lambda run: "" if math.isnan(run.onset_error) else f"{run.onset_error:+.1%}",
    "seen less rehearsed validity at each λ, in points; (in the band)": lambda run: " ".join(
        f"({100 * difference:+.1f})" if here else f"{100 * difference:+.1f}"
        for difference, here in zip(run.differences, run.falls, strict=True)
    ),
}
SEED, THREADS = click.IntRange(min=0), click.IntRange(min=1)
NAMES: dict[str, Any] = {"multiple": True, "metavar": "NAME"}


@click.command(short_help="Predict where small students fall, train them, compare.")
@click.option("--preset", "presets", **NAMES, help="Preset to run; repeat for more. All by default.")
@click.option("--control", "controls", **NAMES, help="Run the presets under this control; repeat for more.")
@click.option("--seed", "seeds", type=SEED, multiple=True, default=(0,), help="Seed; repeat for more.")
@click.option("--folder", type=FOLDER, default="results/cliff", help="Folder of the runs, one file each.")
@click.option("--threads", type=THREADS, default=1, help="Number of PyTorch's CPU threads.")
@click.option("--lock", is_flag=True, help="Train nothing; lock the predictions, to be committed before a run.")
@click.option("--quick", is_flag=True, help="One small run, not kept; exit status 1 unless validity falls in the band.")
@click.option("--report", is_flag=True, help="Train nothing; print and draw the runs in the folder.")
@click.option("--rehearse", is_flag=True, help="Train nothing; sample the predicted students of these runs.")
@plot_option("plot_path", what="runs")
@json_option()
def cliff(
    folder: Path,
    lock: bool,
    quick: bool,
    report: bool,
    rehearse: bool,
    plot_path: Path | None,
    json_path: Path | None,
    **options: Any,
) -> None:
    """Predict at which lambda the lists of small transformers stop being JSON, then train them and compare.

    A run takes one to five minutes. Before the first step it writes the prediction to a file in FOLDER, with its hash
    and the time; after the last step it adds what was seen. Finished runs are only read, and after Ctrl-C the same
    command goes on.

    So that others can check that a prediction is older than its outcome, lock it with --lock, commit the files, and
    run the same command again without --lock. `lambda-star locks` checks it.

    \b
    Presets:  short, long, quoted, merged, wide
    Controls: no clip, no clip at double budget, plain, shuffled base, smaller clip,
              half budget, double budget, momentum

    \b
    Examples:
      lambda-star cliff --quick
      lambda-star cliff --preset short --seed 6 --folder mine --lock
      lambda-star cliff --preset short --seed 6 --folder mine
      lambda-star cliff --preset short --seed 6 --folder mine --control "no clip"
      lambda-star cliff --report --folder mine --plot mine.png
      lambda-star cliff --rehearse --folder mine
    """  # noqa: D301 (click wants the character \b)
    if lock and (quick or report or rehearse or plot_path or json_path):
        raise click.UsageError("--lock goes with --preset, --control, --seed, --folder and --threads alone")
    if rehearse:
        with as_failure(ImportError, OSError, ValueError):
            _print_rehearsals(folder, **options)
        return
    with as_failure(ImportError, OSError, ValueError), TemporaryDirectory() if quick else nullcontext(folder) as place:
        if lock:
            _print_locks(folder, **options)
            return
        records = _finished_runs(folder) if report else _new_runs(Path(place), quick, **options)
    _print_runs(records)
    write_json(json_path, "cliff", {"runs": [_facts(record) for record in records]})
    if plot_path:
        from lambda_star.plotting import plot_cliff

        with as_failure(ValueError):
            write(plot_path, plot_cliff(records))
    if quick:
        inside = compare(records[0]).inside
        click.echo(f"validity {'fell where it was predicted to' if inside else 'did NOT fall in the predicted band'}")
        sys.exit(0 if inside else 1)


def _facts(record: Mapping[str, Any]) -> dict[str, Any]:
    run = compare(record)
    return {"label": run.label, **run._asdict(), "inside": run.inside, "relative_error": run.relative_error}


def _finished_runs(folder: Path) -> list[dict[str, Any]]:
    paths = files(folder)
    records: list[dict[str, Any]] = []
    for path in paths:
        record = read(path)
        with named(path):
            records += [record] if "outcome" in record and compare(record) else []
    if missing := len(paths) - len(records):
        click.echo(shown(f"{missing} of {len(paths)} runs in {folder} are locked but not finished"), err=True)
    if not records:
        raise ValueError(f"{folder} must hold finished runs, got none; make some with `lambda-star cliff`")
    return records


def _new_runs(folder: Path, quick: bool, threads: int, **options: Any) -> list[dict[str, Any]]:
    chosen = [(QUICK, 0)] if quick else _chosen(**options)
    return [_run(preset, seed, folder, threads) for preset, seed in chosen]


def _chosen(presets: Sequence[str], controls: Sequence[str], seeds: Sequence[int]) -> list[tuple[Preset, int]]:
    for option, names, known in (("--preset", presets, PRESETS), ("--control", controls, CONTROLS)):
        for name in names:
            if name not in known:
                raise ValueError(f"{option} must be one of {', '.join(known)}, got {name!r}")
    chosen = [PRESETS[name] for name in presets or PRESETS]
    chosen = [variant(preset, name) for name in controls for preset in chosen] or chosen
    return [(preset, seed) for preset in chosen for seed in seeds]


def _run(preset: Preset, seed: int, folder: Path, threads: int) -> dict[str, Any]:
    from lambda_star.cliff import run as experiment

    with click.progressbar(length=preset.steps, label=f"{preset.label}, seed {seed}", file=sys.stderr) as bar:
        return experiment.run(preset, seed, folder, threads=threads, progress=lambda _: bar.update(1))


def _print_locks(folder: Path, threads: int, **options: Any) -> None:
    from lambda_star.cliff import run as experiment

    with click.progressbar(_chosen(**options), label="predictions", file=sys.stderr) as each:
        pairs = [(run, experiment.run(*run, folder, threads=threads, train=False)) for run in each]
    rows = [
        (preset.label, str(seed), _cell(record["prediction"]["onset"]), record["locked"])
        for (preset, seed), record in pairs
    ]
    heads = ("preset", "seed", "predicted", "locked")
    print_table("Locked", rows, {head: itemgetter(place) for place, head in enumerate(heads)})
    click.echo(shown(f"commit the files in {folder}, then run the same command without --lock"))


def _print_runs(records: Sequence[Mapping[str, Any]]) -> None:
    runs = [compare(record) for record in records]
    presets, controls = ([run for run in runs if bool(run.control) == wanted] for wanted in (False, True))
    if presets:
        print_table("Where half of the valid answers are lost", presets, COLUMNS)
        total = summarise(presets)
        said = f"{total.inside} of {total.runs} onsets in the predicted band; |seen − predicted|/(predicted − 1): "
        click.echo(f"{said}median {total.median_error:.1%}, worst {total.worst_error:.1%}")
    if controls:
        print_table("Controls", controls, COLUMNS)


def _print_rehearsals(folder: Path, presets: Sequence[str], controls: Sequence[str], threads: int, **_: Any) -> None:
    from lambda_star.cliff.rehearsed import agree, rehearsed

    pairs = [(compare(record), record) for record in _finished_runs(folder)]
    wanted = {"preset": presets or list(PRESETS), "control": controls or [""]}
    records = [record for run, record in pairs if all(getattr(run, name) in wanted[name] for name in wanted)]
    if not records:
        raise ValueError(f"{folder} must hold finished runs of these presets and controls, got none")
    with click.progressbar(records, label="rehearsals", file=sys.stderr) as each:
        runs = [agree(record, rehearsed(record, folder / "rehearsed", threads=threads)) for record in each]
    print_table("The predicted students, sampled without training, against the trained ones", runs, AGREEMENT)
    for falls, where in ((False, "outside the band in which it falls"), (True, "in the band")):
        found = [distance for run in runs for distance in run.distances(falls=falls)]
        if found:
            click.echo(f"distance of validity {where}: median {median(found):.3f}, worst {max(found):.3f}")
    errors = [abs(run.onset_error) for run in runs if not math.isnan(run.onset_error)]
    if errors:
        said = f"median {median(errors):.1%}, worst {max(errors):.1%}"
        click.echo(f"|onset seen − rehearsed|/(rehearsed − 1): {said}")


def _cell(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"
