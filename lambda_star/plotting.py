"""Pictures of what :mod:`lambda_star.calibration` reports; each takes ``ax=None`` and returns what it drew on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lambda_star.bernoulli import tail_ratio
from lambda_star.calibration import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_report", "plot_tail_ratio", "plot_thresholds"]

CLASSES_SHOWN = 4
LINE_STYLES = ("-", "--", "-.", ":")


def plot_tail_ratio(report: Report, ax: Axes | None = None) -> Axes:
    """Draw R(λ) of the contract classes with the least λ*, the clip line, and λ* and λ_c of the binding class.

    Args:
        report: what :func:`lambda_star.calibration.calibrate` returned.
        ax: axes to draw on; new ones by default.

    Returns:
        The axes.

    Source: paper, Theorem 4.1 for R(λ); ``derivations/bernoulli.md``.

    >>> from lambda_star import calibrate, read_table
    >>> plot_tail_ratio(calibrate(read_table("examples/rank_by_price/logprobs.csv"), clip=5.0)).get_ylabel()
    'tail ratio R(λ)'
    """
    ax = ax or _new_axes()
    left, right = _span(report)
    grid = np.linspace(left, right, 400)
    for one, style in zip(report.classes[:CLASSES_SHOWN], LINE_STYLES, strict=False):
        curve = tail_ratio(min(one.p, 1 - 2.0**-53), one.b, grid)
        ax.plot(grid, curve, style, label=f"λ* = {one.threshold.value:.4g}  {_code(one.name)}")
    ax.axhline(report.clip, color="0.3", linewidth=1)
    ax.annotate(f"clip c = {report.clip:g}", (left, report.clip), xytext=(4, 3), textcoords="offset points")
    binding = report.binding
    if np.isfinite(binding.threshold.value):
        ax.axvline(binding.threshold.value, color="C3", linewidth=1, label=f"λ* of {_code(binding.name)}")
        ax.axvspan(
            binding.collapse_point, right, color="C3", alpha=0.08, label=f"λ ≥ λ_c = {binding.collapse_point:.5g}"
        )
    _mark_asked(ax, report)
    ax.set(
        xlim=(left, right), ylim=(0.8, min(report.clip, 1e75) ** 2), yscale="log", ylabel="tail ratio R(λ)", xlabel="λ"
    )
    ax.legend(fontsize="small", loc="upper left")
    return ax


def plot_thresholds(report: Report, ax: Axes | None = None) -> Axes:
    """Draw the share of contract positions past their own λ*, the strict threshold and the operating point.

    Args:
        report: what :func:`lambda_star.calibration.calibrate` returned.
        ax: axes to draw on; new ones by default.

    Returns:
        The axes.

    Source: extension.

    >>> from lambda_star import calibrate, read_table
    >>> plot_thresholds(calibrate(read_table("examples/rank_by_price/logprobs.csv"), clip=5.0)).get_xlabel()
    'λ'
    """
    ax = ax or _new_axes()
    ax.ecdf(report.thresholds, color="C0", label=f"{report.used} positions, {report.sequences} answers")
    ax.axvline(report.strict, color="C3", linestyle=":", label=f"strict λ* = {report.strict:.4g}")
    level, advised, point = report.quantile, report.advised, report.operating_point
    ax.axvline(advised.value, color="C2", linestyle="--", label=f"{100 * level:.3g} % quantile = {advised.value:.4g}")
    ax.axvline(point.value, color="C2", label=f"operating point = {point.value:.4g}")
    _mark_asked(ax, report)
    ax.set(xlim=_span(report), ylim=(0, 1), xlabel="λ", ylabel="share of positions past their λ*")
    ax.legend(fontsize="small", loc="lower right")
    return ax


def plot_report(report: Report, figure: Figure | None = None) -> Figure:
    """Draw both pictures of a report above each other, over the same λ.

    Args:
        report: what :func:`lambda_star.calibration.calibrate` returned.
        figure: figure to draw on; a new one by default.

    Returns:
        The figure; ``figure.savefig(path)`` writes it.

    Source: the sources of :func:`plot_tail_ratio` and :func:`plot_thresholds`.

    >>> from lambda_star import calibrate, read_table
    >>> len(plot_report(calibrate(read_table("examples/rank_by_price/logprobs.csv"), clip=5.0)).axes)
    2
    """
    if figure is None:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7.5, 7.5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    plot_tail_ratio(report, upper)
    plot_thresholds(report, lower)
    upper.set_xlabel("")
    return figure


def _new_axes() -> Axes:
    from matplotlib.figure import Figure

    return Figure(layout="constrained").subplots()


def _span(report: Report) -> tuple[float, float]:
    """The λ worth showing: from 1 to past the binding class and the bulk of the positions."""
    marks = [report.binding.collapse_point, report.quantiles[0.5], report.lam or 1.0]
    excess = max([mark - 1 for mark in marks if np.isfinite(mark)] + [1e-6])
    return 1 - 0.05 * excess, 1 + 1.5 * excess


def _mark_asked(ax: Axes, report: Report) -> None:
    if report.lam is not None:
        ax.axvline(report.lam, color="k", linestyle=(0, (1, 3)), label=f"λ asked = {report.lam:g}")


def _code(text: str) -> str:
    """A token as matplotlib prints it: a dollar sign is no mathematics."""
    return text.replace("$", r"\$")
