"""Pictures of one position over training time and budget.

Both functions raise ``ValueError`` where a value lies outside its range, or where λ* and λ_c are not two different
floats above 1. ``derivations/dynamics.md`` derives their formulas, which are extensions of the paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit

from lambda_star._core.quantities import Quantity, require
from lambda_star.bernoulli import regime
from lambda_star.dynamics import Flow, budget_threshold, time_to_edge, trajectory
from lambda_star.plotting._axes import CLIP_EDGE, LINE_STYLES, TAIL, finish, new_figure
from lambda_star.plotting.bernoulli import cliff_ends

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_budget", "plot_trajectory"]


def plot_trajectory(
    p: float,
    b: float,
    c: float,
    lams: Sequence[float],
    *,
    flow: Flow = "natural",
    until: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the student's tail mass over time for several λ; a dot marks where a curve crosses the clip edge.

    Args:
        p: teacher's modal probability, in (b, 1).
        b: base's probability of the same token, in (0, 1).
        c: cap on the tail ratio, in (1, inf).
        lams: the λ to draw, at least one.
        flow: "natural" or "policy-gradient".
        until: the last time, in (0, inf); by default a hundred times the longest finite time to the edge.
        ax: axes to draw on; new ones by default.

    Returns:
        The axes.

    >>> plot_trajectory(0.99, 0.9, 5.0, [1.6, 1.7]).get_xlabel()
    'time (learning rate times steps), natural flow'
    """
    cliff_ends(p, b, c)
    if not len(lams) or not np.isfinite(lams).all():
        raise ValueError(f"lams must hold at least one number, all in (-inf, inf), got {lams!r}")
    require((Quantity("until", 0.0, np.inf), until))
    ax = ax or new_figure().subplots()
    # The times leave out that the clip first holds back a base below p/c, so such a base gets no dots.
    crossings = [float(time_to_edge(p, b, c, lam, flow=flow)) if b * c >= p else np.inf for lam in lams]
    last = until or 100 * max([time for time in crossings if np.isfinite(time)], default=1.0)
    times = np.concatenate([[0.0], np.geomspace(last / 1e4, last, 400)])
    for lam, time, style in zip(lams, crossings, cycle(LINE_STYLES)):
        tail = expit(-trajectory(p, b, c, lam, times, flow=flow))
        (line,) = ax.plot(times[1:], tail[1:], style, label=f"λ = {lam:g}, {regime(p, b, c, lam).name.lower()}")
        if time < last:
            ax.plot(time, (1 - p) / c, "o", color=line.get_color(), markersize=5)
    ax.axhline((1 - p) / c, **CLIP_EDGE)
    ax.set(xscale="log", yscale="log", xlim=(times[1], last), xlabel=f"time (learning rate times steps), {flow} flow")
    return finish(ax, "lower left", ylim=(max(ax.get_ylim()[0], 1e-30), 1), ylabel=TAIL)


def plot_budget(p: float, b: float, c: float, *, flow: Flow = "natural", ax: Axes | None = None) -> Axes:
    """Draw the student's tail mass over budget and λ, with the λ at which the budget just reaches the clip edge.

    Args:
        p: teacher's modal probability, in (b, 1).
        b: base's probability of the same token, in [p/c, 1), because the clip first holds back a lower one.
        c: cap on the tail ratio, in (1, inf).
        flow: "natural" or "policy-gradient".
        ax: axes to draw on; new ones by default.

    Returns:
        The axes.

    >>> plot_budget(0.9, 0.5, 2.0).get_ylabel()
    'λ'
    """
    star, collapse = cliff_ends(p, b, c)
    if b * c < p:
        raise ValueError(f"b must lie in [p/c, 1) = [{p / c:g}, 1), got {b!r}")
    ax = ax or new_figure().subplots()
    top = 1 + 2 * (star - 1)
    shortest, longest = (float(time_to_edge(p, b, c, lam, flow=flow)) for lam in (top, star + (collapse - star) / 10))
    budgets = np.geomspace(shortest, 10 * longest, 60)
    lams = np.linspace(1 + 0.7 * (star - 1), top, 80)
    tails = np.array([expit(-trajectory(p, b, c, lam, budgets, flow=flow)) for lam in lams])
    depth = np.log10(np.maximum(tails, np.finfo(float).tiny) * c / (1 - p))
    depth = np.clip(depth, -6, None)  # far below the last level, a tail needs no further shades
    shown = ax.contourf(budgets, lams, depth, levels=np.arange(-4, 2.0), cmap="Greys_r", extend="min")
    ax.figure.colorbar(shown, ax=ax, label="log$_{10}$ of tail mass over (1−p)/c")
    ax.plot(budgets, budget_threshold(p, b, c, budgets, flow=flow), color="C3", linewidth=2, label="budget threshold")
    ax.axhline(star, color="C0", linestyle="--", label=f"λ* = {star:.5g}, the limit and the safe one")
    ax.set(xscale="log", xlim=(budgets[0], budgets[-1]), xlabel=f"budget (learning rate times steps), {flow} flow")
    ax.xaxis.set_minor_formatter(lambda *_: "")
    return finish(ax, "above", ylim=(lams[0], top), ylabel="λ")
