"""The picture of a rehearsal: validity, what changes against λ = 1, the user's metrics, and where answers break."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lambda_star.calibration.statistics import Estimate
from lambda_star.plotting._axes import code, finish, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lambda_star.rehearsal import Point, Rehearsal

__all__ = ["plot_rehearsal"]

MARKS = "osD^vP"
MOST = 4  # classes of tokens that are told apart; the others share a bar


def plot_rehearsal(rehearsal: Rehearsal, figure: Figure | None = None) -> Figure:
    """Draw a rehearsal: validity over λ, paired changes against λ = 1, metrics, and where answers break.

    Bars are 95 % intervals. The changes are drawn from λ = 1 on, where λ extrapolates.

    Args:
        rehearsal: what :func:`lambda_star.torch.rehearse` or :func:`lambda_star.rehearsal.read_rehearsal` returned.
        figure: figure to draw on; a new one by default.

    Returns:
        The figure, with four axes; ``figure.savefig(path)`` writes it.

    >>> from lambda_star.rehearsal import read_rehearsal
    >>> figure = plot_rehearsal(read_rehearsal("examples/rank_by_price/rehearsal.jsonl"))
    >>> [axes.get_ylabel() for axes in figure.axes]
    ['share of valid answers', 'paired change from λ = 1', 'mean of metric', 'share of answers that are not valid']
    """
    figure = figure or new_figure((10, 7.5))
    (valid, change), (metrics, breaks) = figure.subplots(2, 2)
    curve, header = rehearsal.curve, rehearsal.header
    least = min(point.answers for point in curve)
    figure.suptitle(code(f"Predicted students under {header.get('rule', 'none()')}, {least} answers or more at each λ"))
    _draw_valid(valid, curve, code(str(header.get("contract") or "no contract")))
    _draw_changes(change, [point for point in curve if point.lam >= 1])
    _draw_metrics(metrics, curve)
    _draw_breaks(breaks, curve)
    return figure


def _draw_valid(ax: Axes, curve: Sequence[Point], contract: str) -> None:
    shares = [Estimate(point.valid, point.low, point.high) for point in curve]
    _bars(ax, [point.lam for point in curve], shares, "C0o", f"valid by {contract}")
    finish(ax, "above", xlabel="λ", ylabel="share of valid answers", ylim=(-0.03, 1.03))
    ax.grid(alpha=0.3)


def _draw_changes(ax: Axes, curve: Sequence[Point]) -> None:
    lams = [point.lam for point in curve]
    names = _names(curve)
    shift = 0.012 * (max(lams) - min(lams))
    ax.axhline(0, color="0.5", linewidth=0.8)
    changes = [Estimate(point.change, point.change_low, point.change_high) for point in curve]
    _bars(ax, lams, changes, "C0o", "valid")
    for index, name in enumerate(names, start=1):
        changes = [_of(point, name, 3) for point in curve]
        _bars(ax, [lam + index * shift for lam in lams], changes, f"C{index}{MARKS[index % len(MARKS)]}", code(name))
    finish(ax, "above", xlabel="λ", ylabel="paired change from λ = 1")
    ax.grid(alpha=0.3)


def _draw_metrics(ax: Axes, curve: Sequence[Point]) -> None:
    """The means of the metrics, or the length of the answers where there are none."""
    lams, names = [point.lam for point in curve], _names(curve)
    for index, name in enumerate(names, start=1):
        means = [_of(point, name, 0) for point in curve]
        _bars(ax, lams, means, f"C{index}{MARKS[index % len(MARKS)]}", code(name))
    if not names:
        ax.plot(lams, [point.length for point in curve], "k.-", label="answers")
    finish(ax, "above", xlabel="λ", ylabel="mean of metric" if names else "mean length, tokens")
    ax.grid(alpha=0.3)


def _draw_breaks(ax: Axes, curve: Sequence[Point]) -> None:
    """One bar for each λ: the share of answers that are not valid, by the class of the token that breaks them."""
    every = Counter(
        {name: sum(point.broken.get(name, 0) for point in curve) for point in curve for name in point.broken}
    )
    shown = [name for name, _ in every.most_common(MOST)]
    places, bottom = np.arange(len(curve)), np.zeros(len(curve))
    heights = {
        code(name) or "no class": [point.broken.get(name, 0) / point.answers for point in curve] for name in shown
    }
    others = [
        sum(count for name, count in point.broken.items() if name not in shown) / point.answers for point in curve
    ]
    if any(others):
        heights["other classes"] = others
    judged = [max(0.0, 1 - point.valid - sum(point.broken.values()) / point.answers) for point in curve]
    heights["never, but not valid at the end"] = judged
    for index, (name, share) in enumerate(heights.items()):
        ax.bar(places, share, 0.6, bottom, label=name, color=f"C{index}", edgecolor="white")
        bottom = bottom + np.array(share)
    for place, point in zip(places, curve, strict=True):
        if not math.isnan(point.broken_at):
            said = f"median\ntoken {point.broken_at:g}"
            ax.annotate(said, (place, bottom[place]), (0, 3), textcoords="offset points", ha="center", fontsize="small")
    ax.set_xticks(places, [f"{point.lam:g}" for point in curve])
    finish(
        ax, "upper right", xlabel="λ", ylabel="share of answers that are not valid", ylim=(0, 1.2 * max(0.1, *bottom))
    )
    ax.legend(title="class of the token that breaks", loc="upper right", fontsize="small", title_fontsize="small")


def _names(curve: Sequence[Point]) -> list[str]:
    return sorted({name for point in curve for name in point.metrics})


def _of(point: Point, name: str, start: int) -> Estimate:
    """The mean of a metric (from 0) or its change (from 3), NaN where it applies to no answer."""
    return Estimate(*point.metrics[name][start : start + 3]) if name in point.metrics else Estimate(*3 * [math.nan])


def _bars(ax: Axes, lams: Sequence[float], estimates: Sequence[Estimate], style: str, label: str) -> None:
    value, low, high = np.array(estimates, dtype=float).T
    ends: Any = np.nan_to_num([value - low, high - value])
    ax.errorbar(lams, value, ends, fmt=style + "-", capsize=3, markersize=5, linewidth=1.2, label=label)
