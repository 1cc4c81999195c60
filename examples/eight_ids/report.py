"""What the accounts said of the runs, and what was seen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from accounts import JUDGED, LAMS, SEEDS, STEPS, fallen
from eight_ids import UPDATES, VARIATIONS
from numpy.typing import NDArray

from lambda_star.cliff.record import finished

ORDER = [*UPDATES, *VARIATIONS]
ACCOUNTS = ("mean", "capacity", "starvation")
SHOWN = (1.0, 1.15, 1.23, 1.3, 1.6)
COLUMNS = [LAMS.index(lam) for lam in SHOWN]
WINDOW = (1.204, 1.228)
"""Between which λ the paper's answers fell, as a reader reports."""


class Cell(NamedTuple):
    """The runs of one base, one update and one number of steps; arrays have one row per seed, one column per λ.

    The tails are those of the seventh separator, in units of the teacher's.
    """

    base: str
    update: str
    steps: int
    valid: NDArray[np.float64]
    missing: NDArray[np.float64]
    expected: NDArray[np.float64]
    tails: NDArray[np.float64]
    expected_tails: NDArray[np.float64]
    said: dict[str, bool]
    at: dict[str, float | None]

    @property
    def falls(self) -> float | None:
        """The λ from which on the mean validity over the seeds has fallen, or None."""
        return fallen(self.valid.mean(0).tolist())

    @property
    def least(self) -> tuple[float, float]:
        """The least change of validity from λ = 1 to a greater λ, as the mean over seeds, and its standard error."""
        change = self.valid[:, 1:] - self.valid[:, :1]
        worst = int(np.argmin(change.mean(0)))
        return float(change.mean(0)[worst]), float(change.std(0, ddof=1)[worst] / len(change) ** 0.5)

    def right(self, account: str) -> bool:
        """Whether an account said what was seen."""
        return self.said[account] == (self.falls is not None)


def cells(records: Sequence[dict[str, Any]]) -> list[Cell]:
    """Group finished runs into cells, and leave out what lacks a seed."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for record in records:
        groups[record["settings"]["base"], record["settings"]["update"]].append(record)
    return [cell(*key, steps, runs) for key, runs in groups.items() if len(runs) == len(SEEDS) for steps in STEPS]


def cell(base: str, update: str, steps: int, runs: Sequence[dict[str, Any]]) -> Cell:
    """Return the cell of some runs."""
    seen = [run["outcome"][str(steps)]["students"] for run in runs]
    valid, missing = (np.array([[one[name] for one in each] for each in seen]) for name in ("valid", "one missing"))
    said, index = [run["prediction"] for run in runs], STEPS.index(steps)
    claims = {name: sum(each["falls"][name][index] for each in said) * 2 > len(said) for name in ACCOUNTS}
    places = {
        "capacity": [each["capacity"] for each in said],
        "starvation": [each["starvation"][index] for each in said],
    }
    at = {name: None if None in found else float(np.mean(found)) for name, found in places.items()}
    expected, expected_tails = (
        np.array([each["mean"][str(steps)][name] for each in said]) for name in ("valid", "tail")
    )
    units = np.array([[each["tails"]["teacher"][-1]] for each in said])
    tails = np.array([np.array(run["outcome"][str(steps)]["tails"])[:, -1] for run in runs])
    arrays = valid, missing, expected, tails / units, expected_tails / units
    return Cell(base, update, steps, *arrays, claims, at)


def lines(all_cells: Sequence[Cell]) -> list[str]:
    """Return the two tables and what follows from them."""
    lams = [f"λ={lam:g}" for lam in SHOWN]
    head = ["base", "update", "steps", *lams, "7 ids", "least change", "seen", "mean", "capacity", "starvation"]
    text = table([head, *map(of_validity, all_cells)])
    text += [
        f"{name}: right in {sum(each.right(name) for each in all_cells)} of {len(all_cells)} cells" for name in ACCOUNTS
    ]
    off = [abs(float(value)) for each in all_cells for value in (each.valid - each.expected).mean(0)]
    text.append(f"distance of validity from the mean dynamics: median {np.median(off):.3f}, worst {max(off):.3f}")
    text += ["", "Tail of the seventh separator in units of the teacher's, and (expected of the mean dynamics)"]
    last = [each for each in all_cells if each.base == "last"]
    return text + table([["update", "steps", *lams], *map(of_tails, last)])


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows of text in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = [[value.ljust(width) for value, width in zip(row, widths, strict=True)] for row in rows]
    return ["  ".join(row).rstrip() for row in padded]


def of_validity(each: Cell) -> list[str]:
    """Return a cell's row of the first table."""
    change, error = each.least

    def place(name: str) -> str:
        at = each.at[name]
        return f"falls at {at:.2f}" if each.said[name] and at is not None else "no fall"

    return [
        each.base,
        each.update,
        str(each.steps),
        *(f"{value:.3f}" for value in each.valid.mean(0)[COLUMNS]),
        f"{each.missing.mean(0)[-1]:.3f}",
        f"{change:+.3f} ± {error:.3f}",
        "no fall" if each.falls is None else f"falls at {each.falls:g}",
        "falls" if each.said["mean"] else "no fall",
        place("capacity"),
        place("starvation"),
    ]


def of_tails(each: Cell) -> list[str]:
    """Return a cell's row of the second table; a value is the geometric mean over the seeds."""
    seen, said = (np.exp(np.log(tails).mean(0))[COLUMNS] for tails in (each.tails, each.expected_tails))
    return [each.update, str(each.steps), *(f"{one:.2g} ({other:.2g})" for one, other in zip(seen, said, strict=True))]


def show(folder: Path, plot: Path | None) -> None:
    """Print the tables, and draw the picture if a file is given."""
    paths = sorted(folder.glob("*.json"))
    records = finished(paths)
    found = sorted(cells(records), key=lambda each: (each.base != "last", ORDER.index(each.update), each.steps))
    if not found:
        raise SystemExit(f"{folder} must hold the finished runs of all seeds of an update, got {len(records)} runs")
    print(f"Share of valid answers, the mean over {len(SEEDS)} seeds; {JUDGED} answers per student")
    print("\n".join(lines(found)))
    if len(records) < len(paths):
        print(f"{len(paths) - len(records)} of {len(paths)} runs are locked and not finished")
    if plot:
        draw(found).savefig(plot)


def draw(found: Sequence[Cell]) -> Any:
    """Draw validity against λ for each base and number of steps."""
    from matplotlib.figure import Figure

    updates = [*[*UPDATES][:4], "c=5, uniform base"]
    bases = list(dict.fromkeys(each.base for each in found))
    figure = Figure(figsize=(9, 6.4), layout="constrained", dpi=110)
    axes = figure.subplots(len(bases), len(STEPS), sharex=True, sharey=True, squeeze=False)
    for each in found:
        if each.update not in updates:
            continue
        ax, colour = axes[bases.index(each.base)][STEPS.index(each.steps)], f"C{updates.index(each.update)}"
        ax.plot(LAMS, each.valid.mean(0), "o-", color=colour, label=f"{each.update}, mean", markersize=4)
        ax.plot(LAMS, each.valid.T, ".", color=colour, markersize=3, alpha=0.6)
        ax.plot(LAMS, each.expected.mean(0), ":", color=colour)
        ax.set_title(f"base “{each.base}”, {each.steps} steps", fontsize="medium")
    for ax in axes.flat:
        ax.axvspan(*WINDOW, color="0.88", zorder=0)
    for ax in axes[-1]:
        ax.set_xlabel("λ")
    for ax in axes[:, 0]:
        ax.set_ylabel("share of valid answers")
    axes.flat[0].set_ylim(0, 1.02)
    axes.flat[0].legend(loc="lower left", fontsize="small", title="dotted: mean dynamics\ngrey: reported fall")
    return figure
