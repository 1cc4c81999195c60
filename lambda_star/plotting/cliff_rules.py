"""The picture of the update rules in training: for each rule, where a fall was predicted and where it was seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lambda_star.cliff.rules import Finding
from lambda_star.plotting._axes import code, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_cliff_rules"]

STEP = 0.22  # between the seeds of one rule


def plot_cliff_rules(findings: Sequence[Finding], figure: Figure | None = None) -> Figure:
    """Draw where each trial was predicted to fall and where it fell; trials that do not fall stand at the right.

    Args:
        findings: results of :func:`lambda_star.cliff.rules.find`, at least one of them with an outcome.
        figure: figure to draw on; a new one by default.

    Returns:
        The figure, with one axes for each setting.

    Raises:
        ValueError: no finding has an outcome.

    >>> from pathlib import Path
    >>> from lambda_star.cliff.rules import findings
    >>> [ax.get_title() for ax in plot_cliff_rules(findings(Path("results/rules"))).axes]
    ['short', 'sparse']
    """
    done = [one for one in findings if one.hit is not None]
    if not done:
        raise ValueError("findings must hold one with an outcome, got none")
    settings = list(dict.fromkeys(one.setting for one in done))
    labels = list(dict.fromkeys(one.name for one in done))
    figure = figure or new_figure((5.2 + 3.2 * len(settings), 1.2 + 0.36 * len(labels)))
    many = figure.subplots(1, len(settings), sharey=True, squeeze=False)[0]
    for ax, setting in zip(many, settings, strict=True):
        _draw(ax, [one for one in done if one.setting == setting], labels)
        ax.set(title=code(setting), xlabel="λ at which half of the validity of π_λ is lost")
    handles, names = many[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=4, frameon=False, fontsize="small")
    many[0].set_yticks(range(len(labels)), map(code, labels))
    many[0].invert_yaxis()
    return figure


def _draw(ax: Axes, findings: Sequence[Finding], labels: Sequence[str]) -> None:
    falls = [value for one in findings for value in (one.predicted, one.seen, *(one.band or ())) if value is not None]
    low, high = min(falls, default=1.0), max(falls, default=2.0)
    edge, none = high + 0.06 * (high - low), high + 0.14 * (high - low)
    seeds = sorted({one.seed for one in findings})
    styles: dict[str, dict[str, Any]] = {
        "predicted": {"marker": "o", "color": "0.6", "markersize": 8, "fillstyle": "none"},
        "seen, as predicted": {"marker": "o", "color": "k", "markersize": 3.5},
        "seen, not as predicted": {"marker": "X", "color": "C3", "markersize": 6},
    }
    for one in findings:
        at = labels.index(one.name) + STEP * (seeds.index(one.seed) - (len(seeds) - 1) / 2)
        if one.band is not None:
            ax.plot(one.band, (at, at), color="0.8", linewidth=4, solid_capstyle="butt")
        seen = "seen, as predicted" if one.hit else "seen, not as predicted"
        for what, value in (("predicted", one.predicted), (seen, one.seen)):
            ax.plot(none if value is None else value, at, linestyle="none", **styles[what])
    for what, style in styles.items():
        ax.plot([], [], linestyle="none", label=what, **style)
    ax.plot([], [], color="0.8", linewidth=4, label="band")
    ax.axvline(edge, color="0.8", linewidth=0.8)
    ticks = [tick for tick in ax.get_xticks() if 1 <= tick <= high]
    ax.set_xticks([*ticks, none], [*(f"{tick:g}" for tick in ticks), "none"])
    ax.set_xlim(min(1.0, low - 0.05), none + 0.06 * (high - low))
    for row in range(1, len(labels)):
        ax.axhline(row - 0.5, color="0.93", linewidth=0.8, zorder=0)
