"""Pictures of the cliff experiment: ``derivations/sequence.md`` derives the curve of validity, and
``derivations/bernoulli.md`` the regimes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from lambda_star.cliff import Comparison, compare
from lambda_star.plotting._axes import code, finish, new_figure, shade_regimes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_cliff", "plot_run"]

SEEN: dict[str, Any] = {"fmt": "o", "color": "k", "markersize": 4}
"""How measured points with error bars look."""


def plot_run(record: Mapping[str, Any], axes: Sequence[Axes] | None = None) -> Sequence[Axes]:
    """Draw one run of the cliff experiment: validity, tail mass and quality of the answers against λ.

    Args:
        record: a finished run, as :func:`lambda_star.cliff.run.run` returns it.
        axes: two axes to draw on; new ones by default.

    Returns:
        The two axes, one with predicted and seen validity and the quality of valid answers, one with the tail mass and
        the three regimes.

    Raises:
        ValueError: the record is not that of a finished run.

    >>> import json
    >>> from pathlib import Path
    >>> axes = plot_run(json.loads(Path("results/cliff/short-3.json").read_text()))
    >>> [ax.get_ylabel() for ax in axes]
    ['share', 'tail mass 1 − q where a list may end']
    """
    run = compare(record)
    axes = new_figure((9, 3.6)).subplots(1, 2) if axes is None else axes
    said, seen, (upper, lower) = record["prediction"], record["outcome"], axes
    grid = said["grid"]
    upper.plot(said["lam"], said["validity"], color="0.5", label="valid answers, predicted")
    share = np.array(seen["validity"])
    error = 2 * np.sqrt(share * (1 - share) / seen["judged"])  # two standard errors of a share
    upper.errorbar(grid, share, error, **SEEN, label="valid answers, seen")
    right = np.array(seen["right"], dtype=float)  # NaN where no answer was valid
    upper.plot(grid, right, "^", color="C2", markersize=4, label="right digits in valid answers")
    if run.band:
        upper.axvspan(*run.band, color="0.92", zorder=0, label="predicted band")
    title = code(f"{run.label}, seed {run.seed}")
    finish(upper, "lower left", xlabel="λ", ylabel="share", ylim=(0, 1.03), title=title)
    _draw_tail(lower, record, run)
    return axes


def plot_cliff(records: Sequence[Mapping[str, Any]], figure: Figure | None = None) -> Figure:
    """Draw runs of the cliff experiment: the falls of validity, the tail, and predicted against seen onsets.

    Args:
        records: finished runs, at least one of them without a control and with a predicted onset.
        figure: figure to draw on; a new one by default.

    Returns:
        The figure, whose three axes show the validity of all runs against (λ−1)/(predicted onset−1), where runs without
        a clip use the scale of the run with one; the tail mass of the first run, with the three regimes; and onsets
        with their intervals.

    Raises:
        ValueError: there is no such run.

    >>> import json
    >>> from pathlib import Path
    >>> figure = plot_cliff([json.loads(path.read_text()) for path in sorted(Path("results/cliff").glob("*.json"))])
    >>> [ax.get_ylabel() for ax in figure.axes]
    ['share of valid answers', 'tail mass 1 − q where a list may end', 'onset seen']
    """
    pairs = [(compare(record), record) for record in records]
    plain = [(run, record) for run, record in pairs if not run.control and run.predicted is not None]
    if not plain:
        raise ValueError("records must hold a finished run with a predicted onset and without a control, got none")
    figure = figure or new_figure((13, 3.9))
    fall, tail, onsets = figure.subplots(1, 3, width_ratios=(1.2, 1, 1))
    _draw_falls(fall, pairs, {(run.preset, run.seed): run.predicted for run, _ in plain})
    _draw_tail(tail, plain[0][1], plain[0][0])
    _draw_onsets(onsets, [run for run, _ in pairs])
    return figure


def _draw_falls(ax: Axes, pairs: Sequence[tuple[Comparison, Mapping[str, Any]]], scales: Mapping[Any, Any]) -> None:
    markers = dict(zip(dict.fromkeys(run.preset for run, _ in pairs if not run.control), cycle("os^Dv"), strict=False))
    style: dict[str, Any] = {"markersize": 4, "fillstyle": "none", "linestyle": "-", "linewidth": 0.5}
    labelled: set[str] = set()
    for run, record in sorted(pairs, key=lambda pair: bool(pair[0].control)):
        scale = scales.get((run.preset, run.seed))
        if run.control not in {"", "no clip"} or scale is None:
            continue
        at = (np.array(record["prediction"]["grid"]) - 1) / (scale - 1)
        label, colour, marker = (run.control, "C0", "x") if run.control else (run.preset, "k", markers[run.preset])
        once = None if label in labelled else label  # one entry in the legend for all seeds
        ax.plot(at, record["outcome"]["validity"], marker, color=colour, label=once and code(once), **style)
        labelled.add(label)
    ax.axvline(1, color="C3", linewidth=1, label="predicted onset")
    label = "(λ − 1) / (predicted onset − 1)"
    finish(ax, "lower left", xlabel=label, ylabel="share of valid answers", ylim=(0, 1))


def _draw_tail(ax: Axes, record: Mapping[str, Any], run: Comparison) -> None:
    said, seen = record["prediction"], record["outcome"]
    low, middle, high = np.array(seen["tail"]).T
    lam, tail = np.array(said["lam"]), np.array(said["tail"])
    alive = tail > 0  # the axis is logarithmic
    ax.plot(lam[alive], tail[alive], color="0.5", label="predicted, at median p and b")
    ax.errorbar(said["grid"], middle, np.stack([middle - low, high - middle]), **SEEN, label="seen: median, 10–90 %")
    shade_regimes(ax, (1.0, run.threshold, run.collapse, lam[-1]), ("preserving", "sat.", "collapsing"))
    ax.set(ylabel="tail mass 1 − q where a list may end", yscale="log")
    label = code(f"λ ({run.label}, seed {run.seed})")
    finish(ax, "lower left", xlabel=label, xlim=(0.98, lam[-1]), ylim=(low.min() / 2, 1))


def _draw_onsets(ax: Axes, runs: Sequence[Comparison]) -> None:
    found = [run for run in runs if run.seen is not None and run.predicted is not None]
    for control, colour, label in ((False, "k", "preset"), (True, "C0", "control")):
        here = [run for run in found if bool(run.control) == control]
        if not here:
            continue
        predicted, seen = (np.array([getattr(run, name) for run in here]) for name in ("predicted", "seen"))
        ends = np.array([run.interval for run in here], dtype=float)
        bars = np.abs(np.where(np.isnan(ends), seen[:, None], ends) - seen[:, None]).T
        style = SEEN | {"color": colour, "fillstyle": "none"}
        ax.errorbar(predicted, seen, bars, **style, label=f"{label}, 95 % interval")
    every = [value for run in found for value in (run.seen, run.predicted) if value is not None]
    line = np.array([min(every, default=1.0) - 0.03, max(every, default=2.0) + 0.03])
    ax.plot(line, line, color="C3", linewidth=1, label="seen = predicted")
    ax.fill_between(line, 1 + 0.9 * (line - 1), 1 + 1.1 * (line - 1), color="0.92", zorder=0, label="±10 % of λ − 1")
    finish(ax, "upper left", xlabel="onset predicted", ylabel="onset seen", xlim=line, ylim=line)
