"""A picture of the ledger: who claims how much and how it stands, and each claimed λ beside the one that is found."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lambda_star.ledger import STANDINGS, Entry
from lambda_star.ledger.claims import interval
from lambda_star.plotting._axes import finish, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_ledger"]

COLOURS = dict(zip(STANDINGS, ("#d55e00", "#009e73", "#56b4e9", "0.75"), strict=True))
LEAST, MOST = 1.0, 1.4
"""The λ that are drawn; what lies beyond stands at the edge, as an arrow with its number."""


def plot_ledger(entries: Sequence[Entry], figure: Figure | None = None) -> Figure:
    """Draw how claims stand, by who makes them, and every claimed λ beside the one that was found.

    Args:
        entries: what :func:`lambda_star.ledger.judge` returns.
        figure: figure to draw on; a new one by default.

    Returns:
        The figure, with two axes.

    >>> from lambda_star import ledger
    >>> figure = plot_ledger(ledger.judge(claim for claim in ledger.read() if claim.lambdas))
    >>> [ax.get_xlabel() for ax in figure.axes]
    ['claims', 'λ']
    """
    figure = figure or new_figure((12, 4.8))
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.4))
    _draw_counts(left, entries)
    _draw_lambdas(right, [entry for entry in entries if entry.claim.lambdas and not entry.missing])
    return figure


def _draw_counts(ax: Axes, entries: Sequence[Entry]) -> None:
    sources = list(dict.fromkeys(entry.claim.title for entry in reversed(entries)))
    ends = Counter[str]()
    for standing, colour in COLOURS.items():
        counts = Counter(entry.claim.title for entry in entries if entry.standing == standing)
        widths = [counts[name] for name in sources]
        bars = ax.barh(sources, widths, left=[ends[name] for name in sources], color=colour, label=standing)
        ax.bar_label(bars, [str(width or "") for width in widths], label_type="center", fontsize="small")
        ends.update(counts)
    finish(ax, "lower right", xlabel="claims")


def _draw_lambdas(ax: Axes, entries: Sequence[Entry]) -> None:
    rows = [(entry, name) for entry in reversed(entries) for name in entry.claim.lambdas]
    for place, (entry, name) in enumerate(rows):
        ends, found = interval(entry.claim.claimed[name]), entry.found[name]
        low, high = (min(max(end, LEAST), MOST) for end in ends)
        if ends[0] <= MOST:
            bar = [low, max(high, low + 0.004)]  # else an interval as narrow as its digits would not be seen
            ax.plot(bar, [place, place], color=COLOURS[entry.standing], linewidth=7, solid_capstyle="butt")
        if found <= MOST:
            ax.plot(found, place, "kD", markersize=5)
        beyond = {"claimed": sum(ends) / 2 if ends[0] > MOST else LEAST, "found": found}
        far = [f"{what} {_far(value)}" for what, value in beyond.items() if value > MOST]
        ax.text(MOST + 0.01, place, ", ".join(far), va="center", fontsize="small")
    ax.plot([], [], color="0.4", linewidth=7, label="claimed, as rounded")
    ax.plot([], [], "kD", markersize=5, label="found")
    ax.axvspan(MOST, MOST + 0.2, color="0.95", zorder=0, label="beyond the axis")
    ax.set_yticks(range(len(rows)), [_label(entry, name) for entry, name in rows], fontsize="small")
    ax.grid(axis="x", alpha=0.3)
    finish(
        ax,
        "above",
        xlabel="λ",
        xlim=(LEAST - 0.01, MOST + 0.2),
        ylim=(-0.6, len(rows) - 0.4),
        xticks=[1, 1.1, 1.2, 1.3, 1.4],
    )


def _far(value: float) -> str:
    return "never" if value == math.inf else f"{value:.3g}"


def _label(entry: Entry, name: str) -> str:
    return f"{entry.claim.id}, {name}" if len(entry.claim.lambdas) > 1 else entry.claim.id
