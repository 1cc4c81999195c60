"""Pictures of reports and of the dynamics of one position; each takes ``ax=None`` and returns what it drew on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from lambda_star.bernoulli import collapse_point, fixed_point, regime, stationary_student, tail_ratio, threshold
from lambda_star.calibration import Report
from lambda_star.cliff import Comparison, compare
from lambda_star.dynamics import Flow, budget_threshold, time_to_edge, trajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "plot_budget",
    "plot_cliff",
    "plot_regimes",
    "plot_report",
    "plot_resolutions",
    "plot_run",
    "plot_tail_ratio",
    "plot_thresholds",
    "plot_trajectory",
]

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


def plot_resolutions(report: Report, ax: Axes | None = None) -> Axes:
    """Draw the three thresholds of every contract class: token by token, modal token | rest, its class | rest.

    Medians over the positions. Where the known tokens leave a bracket it is a bar; a hollow mark at the right edge
    means that nothing binds, or that no upper value is known.

    Args:
        report: what :func:`lambda_star.calibration.calibrate` returned, from a table with a ``top`` column.
        ax: axes to draw on; new ones by default.

    Returns:
        The axes.

    Raises:
        ValueError: no row of the report's table lists its most probable tokens.

    Source: extension; ``derivations/categorical.md``.

    >>> from lambda_star import calibrate, read_table
    >>> plot_resolutions(calibrate(read_table("examples/rank_by_price/logprobs.csv"), clip=5.0)).get_xlabel()
    'λ*, median over the positions'
    """
    if not report.resolutions:
        raise ValueError("report must come from a table with a top column, got none; write [token, log_p, log_b] lists")
    ax = ax or _new_axes()
    order = {one.name: place for place, one in enumerate(report.classes)}
    shown = sorted(report.resolutions, key=lambda one: order[one.name])
    kinds: dict[str, tuple[list[tuple[float, float]], str, str]] = {
        "token by token": ([one.token for one in shown], "C3", "v"),
        "modal token | rest (Eq. 4)": ([(one.bernoulli, one.bernoulli) for one in shown], "C0", "o"),
        "its class | rest": ([one.classes for one in shown], "C2", "^"),
    }
    finite = [end for brackets, _, _ in kinds.values() for pair in brackets for end in pair if np.isfinite(end)]
    right = 1 + max(1.15 * (float(np.quantile(finite or [2.0], 0.8)) - 1), 1e-6)
    for shift, (label, (brackets, colour, marker)) in zip((-0.22, 0.0, 0.22), kinds.items(), strict=True):
        places = np.arange(len(shown)) + shift
        low, high = np.array(brackets).T
        ax.hlines(places, np.minimum(low, right), np.minimum(high, right), color=colour, linewidth=2)
        inside = low <= right
        ax.plot(low[inside], places[inside], marker, color=colour, label=label)
        beyond = high > right
        if np.any(beyond):
            edge = np.full(np.sum(beyond), right)
            ax.plot(edge, places[beyond], marker, color=colour, markerfacecolor="white", linestyle="", clip_on=False)
    ax.set_yticks(range(len(shown)), [f"{_code(one.name)}  ({one.positions})" for one in shown], family="monospace")
    ax.invert_yaxis()
    ax.set(xlim=(1, right), xlabel="λ*, median over the positions", ylabel="contract class (positions)")
    ax.grid(axis="x", alpha=0.3)
    ax.legend(fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, frameon=False)
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


def plot_regimes(p: float, b: float, c: float, ax: Axes | None = None) -> Axes:
    """Draw the tail mass that training ends at against λ: preserving, saturated, collapsing, and without the clip.

    Args:
        p: teacher's modal probability, in (b, 1).
        b: base's probability of the same token, in (0, 1).
        c: cap on the tail ratio, in (1, inf).
        ax: axes to draw on; new ones by default.

    Returns:
        The axes.

    Raises:
        ValueError: a value lies outside its range, or there is no cliff to draw.

    Source: extension; ``derivations/bernoulli.md``.

    >>> plot_regimes(0.9, 0.5, 2.0).get_ylabel()
    'tail mass 1 − q of the student'
    """
    star, end = _cliff(p, b, c)
    ax = ax or _new_axes()
    width = end - star
    left, right = star - 2 * width, end + 2 * width
    lam = np.sort(np.concatenate([np.linspace(left, right, 400), end - np.geomspace(width, 1e-6 * width, 200)]))
    edge = (1 - p) / c
    ax.plot(lam, 1 - fixed_point(p, b, lam), "--", color="C0", label="without a clip")
    ax.plot(lam[lam < end], (1 - stationary_student(p, b, c, lam))[lam < end], color="k", label=f"clip c = {c:g}")
    ax.axhline(edge, color="0.5", linewidth=0.8, linestyle=":", label="clip edge (1−p)/c")
    ax.axvspan(star, end, color="0.85", zorder=0)
    ax.axvspan(end, right, facecolor="0.95", hatch="//", edgecolor="0.8", linewidth=0, zorder=0)
    for middle, name in ((left + star, "preserving"), (star + end, "saturated"), (end + right, "collapsing")):
        ax.text(middle / 2, 1.02, name, ha="center", va="bottom", transform=ax.get_xaxis_transform(), fontsize="small")
    ax.set(xlim=(left, right), ylim=(edge / 1000, 10 * edge), yscale="log", xlabel="λ")
    ax.set_ylabel("tail mass 1 − q of the student")
    ax.set_xticks([star, end], [f"λ* = {star:.5g} ", f" λ$_c$ = {end:.5g}"])
    for label, side in zip(ax.get_xticklabels(), ("right", "left"), strict=True):
        label.set(horizontalalignment=side)
    ax.legend(fontsize="small", loc="lower left")
    return ax


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
    """Draw the student's tail mass over time for several λ, from the base over the clip edge.

    Args:
        p: teacher's modal probability, in (b, 1).
        b: base's probability of the same token, in (0, 1).
        c: cap on the tail ratio, in (1, inf).
        lams: the λ to draw, at least one.
        flow: "natural" or "policy-gradient".
        until: the last time; by default a hundred times the longest finite time to the edge.
        ax: axes to draw on; new ones by default.

    Returns:
        The axes.

    Raises:
        ValueError: a value lies outside its range, or there is no cliff to draw.

    Source: extension; ``derivations/dynamics.md``.

    >>> plot_trajectory(0.99, 0.9, 5.0, [1.6, 1.7]).get_xlabel()
    'time (learning rate times steps), natural flow'
    """
    _cliff(p, b, c)
    if not len(lams) or not np.isfinite(lams).all():
        raise ValueError(f"lams must hold at least one number, all in (-inf, inf), got {lams!r}")
    if until is not None and not 0 < until < np.inf:
        raise ValueError(f"until must lie in (0, inf), got {until!r}")
    ax = ax or _new_axes()
    # A base below p/c is held back at first, which these times do not count.
    edges = [float(time_to_edge(p, b, c, lam, flow=flow)) if b * c >= p else np.inf for lam in lams]
    last = until or 100 * max([time for time in edges if np.isfinite(time)], default=1.0)
    times = np.concatenate([[0.0], np.geomspace(last / 1e4, last, 400)])
    for lam, time, style in zip(lams, edges, cycle(LINE_STYLES)):
        tail = _expit(-trajectory(p, b, c, lam, times, flow=flow))
        (line,) = ax.plot(times[1:], tail[1:], style, label=f"λ = {lam:g}, {regime(p, b, c, lam).name.lower()}")
        if time < last:
            ax.plot(time, (1 - p) / c, "o", color=line.get_color(), markersize=5)
    ax.axhline((1 - p) / c, color="0.5", linewidth=0.8, linestyle=":", label="clip edge (1−p)/c")
    ax.set(xscale="log", yscale="log", xlim=(times[1], last), xlabel=f"time (learning rate times steps), {flow} flow")
    ax.set_ylim(max(ax.get_ylim()[0], 1e-30), 1)
    ax.set_ylabel("tail mass 1 − q of the student")
    ax.legend(fontsize="small", loc="lower left")
    return ax


def plot_budget(p: float, b: float, c: float, *, flow: Flow = "natural", ax: Axes | None = None) -> Axes:
    """Draw the tail mass of the student over budget and λ, with the λ at which the budget just reaches the clip edge.

    Args:
        p: teacher's modal probability, in (b, 1).
        b: base's probability of the same token, in [p/c, 1): a lower one is held back by the clip, for which the
            threshold of a budget is but a lower bound.
        c: cap on the tail ratio, in (1, inf).
        flow: "natural" or "policy-gradient".
        ax: axes to draw on; new ones by default.

    Returns:
        The axes.

    Raises:
        ValueError: a value lies outside its range, or there is no cliff to draw.

    Source: extension; ``derivations/dynamics.md``.

    >>> plot_budget(0.9, 0.5, 2.0).get_ylabel()
    'λ'
    """
    star, end = _cliff(p, b, c)
    if b * c < p:
        raise ValueError(f"b must lie in [p/c, 1) = [{p / c:g}, 1), got {b!r}")
    ax = ax or _new_axes()
    top = 1 + 2 * (star - 1)
    shortest, longest = (float(time_to_edge(p, b, c, lam, flow=flow)) for lam in (top, star + (end - star) / 10))
    budgets = np.geomspace(shortest, 10 * longest, 60)
    lams = np.linspace(1 + 0.7 * (star - 1), top, 80)
    tails = np.array([_expit(-trajectory(p, b, c, lam, budgets, flow=flow)) for lam in lams])
    depth = np.log10(np.maximum(tails, np.finfo(float).tiny) * c / (1 - p))
    levels = np.arange(-4, 2.0)
    shown = ax.contourf(budgets, lams, np.clip(depth, -6, None), levels=levels, cmap="Greys_r", extend="min")
    figure = ax.figure
    figure.colorbar(shown, ax=ax, label="log$_{10}$ of tail mass over (1−p)/c")
    ax.plot(budgets, budget_threshold(p, b, c, budgets, flow=flow), color="C3", linewidth=2, label="budget threshold")
    ax.axhline(star, color="C0", linestyle="--", label=f"λ* = {star:.5g}, the limit and the safe one")
    ax.set(xscale="log", xlim=(budgets[0], budgets[-1]), ylim=(lams[0], top), ylabel="λ")
    ax.set_xlabel(f"budget (learning rate times steps), {flow} flow")
    ax.xaxis.set_minor_formatter(lambda *_: "")
    ax.legend(fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False)
    return ax


def plot_run(record: Mapping[str, Any], axes: Sequence[Axes] | None = None) -> Sequence[Axes]:
    """Draw one run of the cliff experiment: validity, tail mass and quality of the answers against λ.

    Args:
        record: a finished run, as :func:`lambda_star.torch.experiment.run` returns it.
        axes: two axes to draw on; new ones by default.

    Returns:
        The axes: validity, predicted and seen, with the quality of valid answers; tail mass with the three regimes.

    Raises:
        ValueError: the record is not that of a finished run.

    Source: extension; ``derivations/sequence.md`` for the curve, ``derivations/bernoulli.md`` for the regimes.

    >>> import json
    >>> from pathlib import Path
    >>> axes = plot_run(json.loads(Path("results/cliff/short-3.json").read_text()))
    >>> [ax.get_ylabel() for ax in axes]
    ['share', 'tail mass 1 − q where a list may end']
    """
    from matplotlib.figure import Figure

    run = compare(record)
    if axes is None:
        axes = Figure(figsize=(9, 3.6), layout="constrained").subplots(1, 2)
    said, seen = record["prediction"], record["outcome"]
    grid, upper, lower = said["grid"], axes[0], axes[1]
    upper.plot(said["lam"], said["validity"], color="0.5", label="valid answers, predicted")
    upper.errorbar(
        grid, seen["validity"], _sampling_error(seen), fmt="o", color="k", markersize=4, label="valid answers, seen"
    )
    right = [math.nan if share is None else share for share in seen["right"]]
    upper.plot(grid, right, "^", color="C2", markersize=4, label="right digits in valid answers")
    if run.band:
        upper.axvspan(*run.band, color="0.92", zorder=0, label="predicted band")
    upper.set(xlabel="λ", ylabel="share", ylim=(0, 1.03), title=f"{run.name}, seed {run.seed}")
    upper.legend(fontsize="small", loc="lower left")
    _draw_tail(lower, record, run)
    return axes


def plot_cliff(records: Sequence[Mapping[str, Any]], figure: Figure | None = None) -> Figure:
    """Draw runs of the cliff experiment: the fall, the tail, and predicted against seen onsets.

    Args:
        records: finished runs, as :func:`lambda_star.torch.experiment.run` returns them; one of them at least without
            a control and with a predicted onset.
        figure: figure to draw on; a new one by default.

    Returns:
        The figure, with three axes: validity of all runs against (λ−1)/(predicted onset−1), those without a clip on the
        scale of the run with one; tail mass of the first run, with the three regimes; onsets with their intervals.

    Raises:
        ValueError: there is no such run.

    Source: extension; ``derivations/sequence.md`` for the curve, ``derivations/bernoulli.md`` for the regimes.

    >>> import json
    >>> from pathlib import Path
    >>> figure = plot_cliff([json.loads(path.read_text()) for path in sorted(Path("results/cliff").glob("*.json"))])
    >>> [ax.get_ylabel() for ax in figure.axes]
    ['share of valid answers', 'tail mass 1 − q where a list may end', 'onset seen']
    """
    from matplotlib.figure import Figure

    pairs = [(compare(record), record) for record in records]
    plain = [(run, record) for run, record in pairs if not run.control and run.predicted is not None]
    if not plain:
        raise ValueError("records must hold a finished run with a predicted onset that is no control, got none")
    figure = figure or Figure(figsize=(13, 3.9), layout="constrained")
    fall, tail, onsets = figure.subplots(1, 3, width_ratios=(1.2, 1, 1))
    scales = {(run.name, run.seed): run.predicted for run, _ in plain}
    _draw_falls(fall, pairs, scales)
    _draw_tail(tail, plain[0][1], plain[0][0])
    _draw_onsets(onsets, [run for run, _ in pairs])
    return figure


def _draw_falls(ax: Axes, pairs: Sequence[tuple[Comparison, Mapping[str, Any]]], scales: Mapping[Any, Any]) -> None:
    styles = dict(zip(dict.fromkeys(run.name for run, _ in pairs if not run.control), cycle("os^Dv"), strict=False))
    named: set[str] = set()
    for run, record in sorted(pairs, key=lambda pair: bool(pair[0].control)):
        scale = scales.get((run.name.partition(", ")[0], run.seed))
        if run.control not in {"", "no clip"} or scale is None:
            continue
        at = (np.array(record["prediction"]["grid"]) - 1) / (scale - 1)
        label, colour, marker = (run.name, "k", styles[run.name]) if not run.control else ("no clip", "C0", "x")
        ax.plot(
            at,
            record["outcome"]["validity"],
            marker,
            color=colour,
            markersize=4,
            fillstyle="none",
            linestyle="-",
            linewidth=0.5,
            label=None if label in named else label,
        )
        named.add(label)
    ax.axvline(1, color="C3", linewidth=1, label="predicted onset")
    ax.set(xlabel="(λ − 1) / (predicted onset − 1)", ylabel="share of valid answers", ylim=(0, 1))
    ax.legend(fontsize="small", loc="lower left")


def _draw_tail(ax: Axes, record: Mapping[str, Any], run: Comparison) -> None:
    said, seen = record["prediction"], record["outcome"]
    low, middle, high = np.array(seen["tail"]).T
    lam, tail = np.array(said["lam"]), np.array(said["tail"])
    alive = tail > 0
    ax.plot(lam[alive], tail[alive], color="0.5", label="predicted, at median p and b")
    ax.errorbar(
        said["grid"],
        middle,
        (middle - low, high - middle),
        fmt="o",
        color="k",
        markersize=4,
        label="seen: median, 10–90 %",
    )
    right = lam[-1]
    ax.axvspan(run.threshold, run.collapse, color="0.85", zorder=0)
    ax.axvspan(run.collapse, right, facecolor="0.95", hatch="//", edgecolor="0.8", linewidth=0, zorder=0)
    spans = (
        (1.0, run.threshold, "preserving"),
        (run.threshold, run.collapse, "sat."),
        (run.collapse, right, "collapsing"),
    )
    for start, end, name in spans:
        ax.text(
            (start + end) / 2,
            1.02,
            name,
            ha="center",
            va="bottom",
            transform=ax.get_xaxis_transform(),
            fontsize="small",
        )
    ax.set(xlabel=f"λ ({run.name}, seed {run.seed})", ylabel="tail mass 1 − q where a list may end", yscale="log")
    ax.set(xlim=(0.98, right), ylim=(low.min() / 2, 1))
    ax.legend(fontsize="small", loc="lower left")


def _draw_onsets(ax: Axes, runs: Sequence[Comparison]) -> None:
    found = [run for run in runs if run.seen is not None and run.predicted is not None]
    for wanted, colour, label in ((False, "k", "preset"), (True, "C0", "control")):
        here = [run for run in found if bool(run.control) == wanted]
        predicted, seen = (
            np.array([getattr(run, name) for run in here], dtype=float) for name in ("predicted", "seen")
        )
        ends = np.array([run.interval for run in here], dtype=float).reshape(-1, 2)
        bars = np.abs(np.where(np.isnan(ends), seen[:, None], ends) - seen[:, None]).T
        if here:
            ax.errorbar(
                predicted,
                seen,
                bars,
                fmt="o",
                color=colour,
                markersize=4,
                fillstyle="none",
                label=f"{label}, 95 % interval",
            )
    every = [value for run in found for value in (run.seen, run.predicted) if value is not None]
    line = np.array([min(every, default=1.0) - 0.03, max(every, default=2.0) + 0.03])
    ax.plot(line, line, color="C3", linewidth=1, label="seen = predicted")
    ax.fill_between(line, 1 + 0.9 * (line - 1), 1 + 1.1 * (line - 1), color="0.92", zorder=0, label="±10 % of λ − 1")
    ax.set(xlabel="onset predicted", ylabel="onset seen", xlim=line, ylim=line)
    ax.legend(fontsize="small", loc="upper left")


def _sampling_error(seen: Mapping[str, Any]) -> Any:
    """Two standard errors of shares."""
    share = np.array(seen["validity"])
    return 2 * np.sqrt(share * (1 - share) / seen["judged"])


def _expit(x: Any) -> Any:
    """1/(1 + e^−x)."""
    from scipy.special import expit

    return expit(x)


def _cliff(p: float, b: float, c: float) -> tuple[float, float]:
    """λ* and λ_c, where there are any."""
    star, end = float(threshold(p, b, c)), float(collapse_point(p, b, c))
    if not 1 < star < end < np.inf:
        raise ValueError(
            f"p, b and c must have a cliff, 1 < λ* < λ_c < inf, got λ* = {star:g} and λ_c = {end:g};"
            " give b < p and a clip above 1 at which the cliff is wider than a float"
        )
    return star, end


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
