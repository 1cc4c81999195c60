"""Draw the report of a calibration: tail ratios, the λ* of the positions, and the three readings of λ*."""

from __future__ import annotations

import io
import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lambda_star._core.text import named
from lambda_star.bernoulli import tail_ratio
from lambda_star.calibration.report import Report
from lambda_star.plotting._axes import LINE_STYLES, code, finish, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_readings", "plot_report", "plot_tail_ratio", "plot_thresholds", "report_pictures"]


MOST = 2000
"""The most values of a distribution that are drawn."""


def plot_tail_ratio(report: Report, ax: Axes | None = None) -> Axes:
    """Draw R(λ) of the contract classes with the least λ*, the clip, and where the tail of the binding class dies.

    Args:
        report: what :func:`lambda_star.calibrate` returned.
        ax: axes to draw on; new ones by default.

    Returns:
        The axes.

    Source: paper, Theorem 4.1 for R(λ); ``derivations/bernoulli.md``.

    >>> from lambda_star import calibrate, read_table
    >>> plot_tail_ratio(calibrate(read_table("examples/rank_by_price/logprobs.csv"), clip=5.0)).get_ylabel()
    'tail ratio R(λ)'
    """
    ax = ax or new_figure().subplots()
    left, right = _span(report)
    grid = np.linspace(left, right, 400)
    for one, style in zip(report.classes, LINE_STYLES, strict=False):  # as many classes as there are styles
        curve = tail_ratio(min(one.p, 1 - 2.0**-53), max(one.b, 5e-324), grid)
        ax.plot(grid, curve, style, label=f"λ* = {one.value:.4g}  {code(named(one.name))}")
    ax.axhline(report.clip, color="0.3", linewidth=1)
    ax.annotate(f"clip c = {report.clip:g}", (left, report.clip), xytext=(4, 3), textcoords="offset points")
    star, dies = report.binding.value, report.binding.dies
    if np.isfinite(star):
        ax.axvline(star, color="C3", linewidth=1, label=f"λ* of {code(named(report.binding.name))}")
    if dies is not None and dies < right:  # without a rule it is not known where
        ax.axvspan(dies, right, color="C3", alpha=0.08, label=f"its tail dies: λ ≥ {dies:.5g}")
    _mark_asked(ax, report)
    top = min(report.clip, 1e75) ** 2  # the square of a greater clip may overflow
    limits = {"xlim": (left, right), "ylim": (0.8, top)}
    return finish(ax, "upper left", **limits, yscale="log", ylabel="tail ratio R(λ)", xlabel="λ")


def plot_thresholds(report: Report, ax: Axes | None = None) -> Axes:
    """Draw the shares of answers and positions past their λ*, the least λ*, the advised limit and the operating point.

    Args:
        report: what :func:`lambda_star.calibrate` returned.
        ax: axes to draw on; new ones by default.

    Returns:
        The axes.

    >>> from lambda_star import calibrate, read_table
    >>> plot_thresholds(calibrate(read_table("examples/rank_by_price/logprobs.csv"), clip=5.0)).get_xlabel()
    'λ'
    """
    ax = ax or new_figure().subplots()
    kinds = (("answers", report.answers, report.by_answer, "C0"), ("positions", report.used, report.by_position, "0.5"))
    for kind, count, distribution, color in kinds:
        ax.ecdf(distribution.values(MOST), color=color, label=f"{count} {kind}")
    ax.axvline(report.strict, color="C3", linestyle=":", label=f"least λ* = {report.strict:.4g}")
    advised, point = report.advised, report.operating_point
    if math.isfinite(advised.value):
        ax.axvline(advised.value, color="C2", linestyle="--", label=f"advised limit = {advised.value:.4g}")
    if math.isfinite(point.value):
        ax.axvline(point.value, color="C2", label=f"operating point = {point.value:.4g}")
    _mark_asked(ax, report)
    label = "share past their λ*"
    return finish(ax, "lower right", xlim=_span(report), ylim=(0, 1), xlabel="λ", ylabel=label)


def plot_readings(report: Report, ax: Axes | None = None) -> Axes:
    """Draw the token, bernoulli and class readings of λ* for every contract class, as medians over its positions.

    A bar spans the two bounds of a reading. A hollow mark at the right edge means that nothing binds, or that no upper
    bound is known.

    Args:
        report: what :func:`lambda_star.calibrate` returned for a table with a ``top`` column.
        ax: axes to draw on; new ones by default.

    Returns:
        The axes.

    Raises:
        ValueError: no row of the report's table lists its most probable tokens.

    >>> from lambda_star import calibrate, read_table
    >>> plot_readings(calibrate(read_table("examples/rank_by_price/logprobs.csv"), clip=5.0)).get_xlabel()
    'λ*, median over the positions'
    """
    if not report.readings:
        raise ValueError("report must come from a table with a top column, got none; write [token, log_p, log_b] lists")
    ax = ax or new_figure().subplots()
    order = [one.name for one in report.classes]
    shown = sorted(report.readings, key=lambda one: order.index(one.name))
    heads = (("token", "C3v", -0.22), ("bernoulli (Eq. 4)", "C0o", 0.0), ("class", "C2^", 0.22))
    ends = np.array([(one.token, (one.bernoulli, one.bernoulli), one.by_class) for one in shown])
    finite = ends[np.isfinite(ends)]
    right = 1 + max(1.15 * (float(np.quantile(finite if finite.size else 2.0, 0.8)) - 1), 1e-6)
    for index, (label, style, shift) in enumerate(heads):
        _draw_bounds(ax, ends[:, index], np.arange(len(shown)) + shift, right, style, label)
    ax.set_yticks(
        range(len(shown)), [f"{code(named(one.name))}  ({one.positions})" for one in shown], family="monospace"
    )
    ax.invert_yaxis()
    ax.grid(axis="x", alpha=0.3)
    labels = {"xlabel": "λ*, median over the positions", "ylabel": "contract class (positions)"}
    return finish(ax, "above", xlim=(1, right), **labels)


def plot_report(report: Report, figure: Figure | None = None) -> Figure:
    """Draw the tail ratios of a report above the λ* of its positions, over the same λ.

    Args:
        report: what :func:`lambda_star.calibrate` returned.
        figure: figure to draw on; a new one by default.

    Returns:
        The figure; ``figure.savefig(path)`` writes it.

    >>> from lambda_star import calibrate, read_table
    >>> len(plot_report(calibrate(read_table("examples/rank_by_price/logprobs.csv"), clip=5.0)).axes)
    2
    """
    figure = figure or new_figure((7.5, 7.5))
    upper, lower = figure.subplots(2, 1, sharex=True)
    plot_tail_ratio(report, upper)
    plot_thresholds(report, lower)
    upper.set_xlabel("")
    return figure


def report_pictures(report: Report) -> tuple[tuple[str, str], ...]:
    """Return the pictures of a report for an HTML page, which gives them its ink: each with its title, as SVG.

    Args:
        report: what :func:`lambda_star.calibrate` returned.

    Returns:
        Titles and SVG elements whose identifiers differ, so that they can stand in one page.

    >>> from lambda_star import calibrate, read_table
    >>> pictures = report_pictures(calibrate(read_table("examples/rank_by_price/logprobs.csv")))
    >>> [title for title, _ in pictures]
    ['Tail ratio by class', 'Shares past their own λ*', 'Three readings of λ*; hollow marks have no upper end']
    """
    drawn = {"Tail ratio by class": plot_tail_ratio, "Shares past their own λ*": plot_thresholds}
    if report.readings:
        drawn["Three readings of λ*; hollow marks have no upper end"] = plot_readings
    found = []
    for index, (title, draw) in enumerate(drawn.items()):
        figure = new_figure()
        draw(report, figure.subplots())
        found.append((title, _inline(figure, f"picture{index}")))
    return tuple(found)


INK = {"#000000": "currentColor", "#4d4d4d": "currentColor", "#ffffff": "var(--card)"}
"""The colours of matplotlib that a page sets, so that a picture can be read on a dark one."""


def _inline(figure: Figure, name: str) -> str:
    """A figure as an SVG element with identifiers of its own, without the head of an XML file."""
    import matplotlib

    target = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(target, format="svg", transparent=True, metadata={"Date": None})
    svg = re.sub(r"<metadata>.*?</metadata>", "", target.getvalue(), flags=re.DOTALL)
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'( id="|xlink:href="#|url\(#)', rf"\1{name}-", svg)
    return re.sub("|".join(INK), lambda color: INK[color[0]], svg)


def _draw_bounds(ax: Axes, ends: NDArray[Any], heights: NDArray[Any], right: float, style: str, label: str) -> None:
    """Draw a bar for each pair of bounds, a mark at its lower end, and a hollow mark where it leaves the axes."""
    low, high = ends.T
    ax.hlines(heights, np.minimum(low, right), np.minimum(high, right), color=style[:2], linewidth=2)
    ax.plot(low[low <= right], heights[low <= right], style, label=label)
    beyond = heights[high > right]
    if beyond.size:
        ax.plot(np.full(beyond.shape, right), beyond, style, markerfacecolor="white", clip_on=False)


def _span(report: Report) -> tuple[float, float]:
    """The λ worth showing: from 1 to past the binding class and the median position."""
    marks = [report.binding.collapse_point, report.by_position.quantile(0.5), report.lam or 1.0]
    excess = max([mark - 1 for mark in marks if np.isfinite(mark)] + [1e-6])
    return 1 - 0.05 * excess, 1 + 1.5 * excess


def _mark_asked(ax: Axes, report: Report) -> None:
    if report.lam is not None:
        ax.axvline(report.lam, color="k", linestyle=(0, (1, 3)), label=f"λ asked = {report.lam:g}")
