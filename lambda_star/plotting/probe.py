"""The picture of a probed loss."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np

from lambda_star.bernoulli import fixed_point
from lambda_star.plotting._axes import LINE_STYLES, TAIL, finish, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lambda_star.torch.report import ProbeReport

__all__ = ["plot_probe"]

THINNEST = 1e-30  # the thinnest tail that is drawn, if none is dead


def plot_probe(report: ProbeReport, figure: Figure | None = None) -> Figure:
    """Draw what a probe found: the force on the student's log-odds at some λ, and the student's tail against λ.

    Where the force crosses zero downwards the student rests; where it stays above zero the tail dies.

    Args:
        report: what :func:`lambda_star.torch.probe` returned.
        figure: figure to draw on; a new one by default.

    Returns:
        The figure, with two axes; ``figure.savefig(path)`` writes it.

    >>> from lambda_star.torch import opd_loss, probe
    >>> def capped(student, teacher, base, lam): return opd_loss(student, teacher, base, lam, clip=2.0)
    >>> [axes.get_xlabel() for axes in plot_probe(probe(capped, p=0.9, b=0.5)).axes]
    ["log-odds of the student's modal token", 'λ']
    """
    figure = figure or new_figure((9, 4))
    left, right = figure.subplots(1, 2)
    _draw_force(report, left)
    _draw_tail(report, right)
    return figure


def _draw_force(report: ProbeReport, ax: Axes) -> None:
    speeds = []
    for curve, style in zip(report.curves, cycle(LINE_STYLES)):
        log_odds, velocity = np.array(curve.log_odds), np.array(curve.force)
        ax.plot(log_odds, velocity, style, label=f"λ = {curve.lam:.5g}")
        speeds.append(np.abs(velocity[np.isfinite(velocity) & (np.abs(log_odds) < 15)]))
    ax.axhline(0, color="0.5", linewidth=0.8)
    height = 1.2 * float(np.quantile(np.concatenate([*speeds, [1e-9]]), 0.9))
    ends = {"xlim": (-6, 20), "ylim": (-height, height)}
    finish(ax, "upper right", **ends, xlabel="log-odds of the student's modal token", ylabel="force $F_m − F_τ$")


def _draw_tail(report: ProbeReport, ax: Axes) -> None:
    lams = np.array([rest.lam for rest in report.stationary])
    tails = np.array([rest.tail for rest in report.stationary])
    at_fixed_point = 1 - fixed_point(report.p, report.b, lams)
    alive = tails > 0
    ax.plot(lams, at_fixed_point, "--", color="C0", label="q_λ, nothing bounded")
    ax.plot(lams[alive], tails[alive], "k.-", label="under the loss")
    if lams[0] <= report.leaves <= lams[-1]:
        ax.axvline(report.leaves, color="0.5", linewidth=0.8, linestyle="-.", label=f"leaves q_λ: {report.leaves:.5g}")
    if report.dies <= lams[-1]:
        ax.axvspan(max(report.dies, lams[0]), lams[-1], color="0.85", zorder=0, label=f"tail dies: {report.dies:.5g}")
    shown = np.concatenate([tails[alive], at_fixed_point[at_fixed_point > 0], [1.0]])
    limits = {"ylim": (max(shown.min() / 3, THINNEST), 1)}
    title = str(report.rule) if report.rule else "no known rule"
    finish(ax, "lower left", **limits, yscale="log", xlabel="λ", ylabel=TAIL, title=title)
