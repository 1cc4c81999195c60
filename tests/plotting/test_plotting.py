"""The pictures show the numbers of the report, on the axes they are given, whatever the report holds."""

from __future__ import annotations

import html
import io
import json
import math
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, cast, get_args

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray
from scipy.special import expit

import lambda_star as ls
from lambda_star import dynamics, updates
from lambda_star.calibration import calibrate
from lambda_star.calibration.report import Report
from lambda_star.calibration.table import Table
from lambda_star.cliff import compare
from lambda_star.dynamics import Flow
from lambda_star.plotting import (
    STYLE,
    plot_budget,
    plot_cliff,
    plot_readings,
    plot_regimes,
    plot_report,
    plot_run,
    plot_tail_ratio,
    plot_thresholds,
    plot_trajectory,
)
from tests import tables
from tests.night import thinned
from tests.tables import Row, one

PLOTS: list[Callable[..., Axes]] = [plot_tail_ratio, plot_thresholds]
SIGNATURES = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}


def report_of(rows: list[Row] | None = None, **options: Any) -> Report:
    return calibrate(Table.from_rows(rows or tables.rows()), **{"clip": 5.0} | options)


def draw(figure: Figure) -> None:
    figure.savefig(io.BytesIO(), format="png")


def lines(ax: Axes, label: str) -> list[Line2D]:
    return [line for line in ax.lines if str(line.get_label()).startswith(label)]


def where(line: Line2D, axis: str = "x") -> float:
    """The place of a line that is parallel to an axis."""
    values = np.unique(np.asarray(line.get_xdata() if axis == "x" else line.get_ydata(), dtype=float))
    assert len(values) == 1
    return float(values[0])


@pytest.mark.parametrize("plot", PLOTS)
def test_given_axes_are_drawn_on_and_returned(plot: Callable[..., Axes]) -> None:
    given = Figure().subplots()
    assert plot(report_of(), given) is given
    assert plot(report_of(), ax=Figure().subplots()).has_data()
    assert given.has_data()


@pytest.mark.parametrize("plot", PLOTS)
def test_new_axes_leave_no_trace_in_pyplot(plot: Callable[..., Axes]) -> None:
    ax = plot(report_of())
    assert isinstance(ax, Axes)
    assert plt.get_fignums() == []
    figure = ax.get_figure()
    assert isinstance(figure, Figure)
    draw(figure)
    assert plot(report_of()).get_figure() is not figure
    assert isinstance(plot_report(report_of()), Figure)
    assert plt.get_fignums() == []


@pytest.mark.parametrize("plot", PLOTS)
def test_axes_and_legend_are_labelled(plot: Callable[..., Axes]) -> None:
    ax = plot(report_of())
    legend = ax.get_legend()
    assert ax.get_xlabel() == "λ"
    assert ax.get_ylabel()
    assert legend is not None
    assert len(legend.get_texts()) >= 3
    assert all(text.get_text() for text in legend.get_texts())


def test_tail_ratio_lines_stand_at_the_numbers_of_the_report() -> None:
    report = report_of(rule=updates.log_ratio_cap(5.0))
    ax = plot_tail_ratio(report)
    left, right = ax.get_xlim()
    (clip,) = [line for line in ax.lines if len(set(np.asarray(line.get_ydata()))) == 1]
    assert where(clip, "y") == report.clip
    assert [text.get_text() for text in ax.texts] == ["clip c = 5"]
    (threshold,) = lines(ax, "λ* of ")
    assert where(threshold) == report.binding.value
    (collapsing,) = ax.patches
    edges = collapsing.get_extents().transformed(ax.transData.inverted())
    assert edges.x0 == pytest.approx(report.binding.collapse_point, rel=1e-12) == report.binding.dies
    assert edges.x1 == pytest.approx(right, rel=1e-12)
    assert left < 1 < report.binding.value < report.binding.collapse_point < right
    bottom, top = ax.get_ylim()
    assert bottom < 1 < report.clip < top
    assert ax.get_yscale() == "log"


@pytest.mark.parametrize("clip", [1.05, 5.0, 1e6])
def test_tail_ratio_curves_cross_the_clip_at_their_threshold(clip: float) -> None:
    report = report_of(clip=clip)
    ax = plot_tail_ratio(report)
    curves = lines(ax, "λ* = ")
    assert len(curves) == len(report.classes) == 3
    assert len({curve.get_linestyle() for curve in curves}) == 3
    for curve, found in zip(curves, report.classes, strict=True):
        assert str(curve.get_label()).endswith(found.name)
        x, y = np.asarray(curve.get_xdata(), dtype=float), np.asarray(curve.get_ydata(), dtype=float)
        if found.value < x[-1]:
            assert np.interp(found.value, x, np.log(y)) == pytest.approx(math.log(clip), rel=1e-2)
        assert np.interp(1.0, x, np.log(y)) == pytest.approx(0, abs=1e-2)


def test_the_classes_with_the_least_thresholds_are_shown() -> None:
    rows = [one(answer, at, -0.001 * (at + 1), -2.0, modal="[" * (at + 1)) for answer in range(3) for at in range(6)]
    report = report_of(rows)
    names = [str(curve.get_label()).split()[-1] for curve in lines(plot_tail_ratio(report), "λ* = ")]
    assert names == [found.name for found in report.classes[:4]]


def test_threshold_lines_stand_at_the_numbers_of_the_report() -> None:
    report = report_of(tables.rows(30), quantile=0.2)
    ax = plot_thresholds(report)
    for label, value in {
        "least λ*": report.strict,
        "advised limit": report.advised.value,
        "operating point": report.operating_point.value,
    }.items():
        (line,) = lines(ax, label)
        assert where(line) == value
        assert f"{value:.4g}" in str(line.get_label())
    assert len({report.strict, report.advised.value, report.operating_point.value}) == 3
    assert ax.get_ylim() == (0, 1)


def test_the_curves_are_the_shares_past() -> None:
    report = report_of()
    ax = plot_thresholds(report)
    for label, distribution in {"48 positions": report.by_position, "12 answers": report.by_answer}.items():
        (curve,) = lines(ax, label)
        x, y = np.asarray(curve.get_xdata(), dtype=float), np.asarray(curve.get_ydata(), dtype=float)
        for lam in (1.0, 1.36, 1.4, 1.5, 2.0, 9.0):
            assert y[x < lam].max(initial=0.0) == pytest.approx(distribution.share_below(lam), abs=1e-12)
    assert 0.1 < report.share_past(1.5) < 0.9


def test_a_limit_that_is_unknown_is_not_drawn() -> None:
    ax = plot_thresholds(report_of())
    assert len(lines(ax, "operating point")) == len(lines(ax, "advised limit")) == 0
    assert len(lines(ax, "least λ*")) == 1


@pytest.mark.parametrize("plot", PLOTS)
def test_the_lambda_asked_about_is_marked(plot: Callable[..., Axes]) -> None:
    (line,) = lines(plot(report_of(lam=1.25)), "λ asked = 1.25")
    assert where(line) == 1.25
    assert lines(plot(report_of()), "λ asked") == []


@pytest.mark.parametrize("plot", PLOTS)
def test_the_lambda_asked_about_is_in_view(plot: Callable[..., Axes]) -> None:
    for lam in (1.0, 1.25, 5.0, 40.0):
        left, right = plot(report_of(lam=lam)).get_xlim()
        assert left < lam < right


@pytest.mark.parametrize("lam", [-3.0, 0.0, 40.0, 1000.0, 1e6])
def test_any_lambda_asked_about_is_drawn(lam: float) -> None:
    figure = plot_report(report_of(lam=lam))
    draw(figure)
    assert [len(lines(ax, "λ asked")) for ax in figure.axes] == [1, 1]


def test_a_report_is_two_pictures_over_the_same_lambda() -> None:
    report = report_of(lam=1.25)
    figure = plot_report(report)
    upper, lower = figure.axes
    assert upper.get_shared_x_axes().joined(upper, lower)
    assert upper.get_xlim() == lower.get_xlim()
    assert [len(ax.lines) for ax in figure.axes] == [len(plot(report).lines) for plot in PLOTS]
    assert (upper.get_ylabel(), lower.get_ylabel()) == tuple(plot(report).get_ylabel() for plot in PLOTS)
    assert (upper.get_xlabel(), lower.get_xlabel()) == ("", "λ")


def test_a_given_figure_is_drawn_on_and_returned() -> None:
    given = Figure()
    assert plot_report(report_of(), given) is given
    assert len(given.axes) == 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", SIGNATURES)
def test_pictures_are_saved_in_every_format(kind: str) -> None:
    file = io.BytesIO()
    plot_report(report_of()).savefig(file, format=kind)
    assert file.getvalue().startswith(SIGNATURES[kind])


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", thinned(["$\\frac{$", "$", "a\nb", "$x$", "_hidden", "%s", r"\$", "{}", "^_", "a$b$c"], 2)
)
def test_any_token_is_drawn_as_text(name: str) -> None:
    rows = [one(answer, 0, -0.01 * (answer + 1), -1.0, contract=name) for answer in range(4)]
    figure = plot_report(report_of(rows))
    draw(figure)
    file = io.BytesIO()
    with plt.rc_context({"svg.fonttype": "none"}):  # letters stay letters
        figure.savefig(file, format="svg")
    drawn = html.unescape(file.getvalue().decode())
    shown = name.replace("\n", r"\n")
    assert f">λ* of {shown}<" in drawn


@pytest.mark.parametrize(
    "rows",
    [
        [one(answer, 0, -0.5, -0.4) for answer in range(5)],
        [one(0, 0, -0.5, -0.4)],
        [one(0, 0, -0.1, -0.4)],
        [one(answer, at, -0.1 - at, -0.4) for answer in range(5) for at in range(3)],
        [one(answer, 0, -1e-17 * (answer + 1), -1e-16) for answer in range(5)],
        [one(answer, 0, -1e-16, -1e-17 * (answer + 1)) for answer in range(5)],
        [one(answer, 0, -1e-300, -700.0) for answer in range(5)],
        [one(answer, 0, -0.1, -0.1 - 1e-12 * (answer + 1)) for answer in range(5)],
    ],
    ids=["no threshold", "one row, no threshold", "one row", "most none", "sure", "sure base", "far", "close"],
)
@pytest.mark.parametrize("clip", thinned([1e80, 5.0, 1.0001], 3))
def test_reports_at_the_limits_are_drawn_without_a_warning(rows: list[Row], clip: float) -> None:
    draw(plot_report(report_of(rows, clip=clip)))


@pytest.mark.parametrize("rule", [None, updates.none()])
def test_no_death_is_drawn_where_no_rule_says_that_the_tail_dies(rule: updates.Rule | None) -> None:
    assert len(plot_tail_ratio(report_of(rule=rule)).patches) == 0


def test_without_a_threshold_no_line_claims_one() -> None:
    ax = plot_tail_ratio(report_of([one(answer, 0, -0.5, -0.4) for answer in range(5)]))
    assert lines(ax, "λ* of ") == []
    assert len(ax.patches) == 0
    assert len(lines(ax, "λ* = inf")) == 1


# The three readings

KINDS = ("token", "bernoulli (Eq. 4)", "class")


def with_top(listed: int = 2, **options: Any) -> Report:
    return report_of(tables.with_top(tables.rows(), listed), **options)


def brackets(report: Report) -> dict[str, list[tuple[float, float]]]:
    """The bounds of every reading, class after class in the order of the report."""
    found = {one.name: one for one in report.readings}
    shown = [found[one.name] for one in report.classes if one.name in found]
    columns = [(one.token, (one.bernoulli, one.bernoulli), one.by_class) for one in shown]
    return {kind: [tuple(ends[place]) for ends in columns] for place, kind in enumerate(KINDS)}  # type: ignore[misc]


def ticks(ax: Axes) -> list[str]:
    return [label.get_text() for label in ax.get_yticklabels()]


def marks(ax: Axes, kind: str) -> list[tuple[float, int]]:
    """Where the marks of a reading are: its value, and the class whose line is nearest."""
    (line,) = lines(ax, kind)
    places = zip(np.asarray(line.get_xdata(), dtype=float), np.asarray(line.get_ydata(), dtype=float), strict=True)
    return [(float(x), round(float(y))) for x, y in places]


def hollow(ax: Axes, kind: str) -> list[tuple[float, int]]:
    """Where the hollow marks of a reading are: in its own shape and colour, without an entry in the legend."""
    (like,) = lines(ax, kind)
    found = [
        line
        for line in ax.lines
        if line.get_markerfacecolor() == "white" and line.get_marker() == like.get_marker() and line is not like
    ]
    assert all(line.get_color() == like.get_color() for line in found)
    points = [point for line in found for point in np.asarray(line.get_xydata()).tolist()]
    return [(x, round(y)) for x, y in points]


@pytest.mark.parametrize("listed", [1, 2, 3])
def test_three_readings_are_drawn_for_every_class(listed: int) -> None:
    report = with_top(listed)
    ax = plot_readings(report)
    right = ax.get_xlim()[1]
    assert ax.get_xlim()[0] == 1
    bars = [collection for collection in ax.collections if isinstance(collection, LineCollection)]
    assert len(bars) == len(KINDS)
    for (kind, ends), bar in zip(brackets(report).items(), bars, strict=True):
        assert marks(ax, kind) == [(low, place) for place, (low, _) in enumerate(ends) if low <= right]
        segments = [(float(path[0, 0]), float(path[1, 0]), round(float(path[0, 1]))) for path in bar.get_segments()]
        assert segments == [(min(low, right), min(high, right), place) for place, (low, high) in enumerate(ends)]
        assert hollow(ax, kind) == [(right, place) for place, (_, high) in enumerate(ends) if high > right]
    assert sum(len(marks(ax, kind)) for kind in KINDS) >= 6
    assert sum(len(hollow(ax, kind)) for kind in KINDS) >= 1


def test_the_three_readings_of_a_class_do_not_lie_on_each_other() -> None:
    ax = plot_readings(with_top())
    heights = {float(y) for line in ax.lines for y in np.asarray(line.get_ydata())}
    assert len(heights) == 9
    assert len({line.get_marker() for kind in KINDS for line in lines(ax, kind)}) == 3
    assert len({line.get_color() for kind in KINDS for line in lines(ax, kind)}) == 3


def test_a_hollow_mark_says_that_nothing_binds_or_no_upper_bound_is_known() -> None:
    report = report_of([row | {"rest": None} for row in tables.with_top(tables.rows())])
    assert [one.by_class.high for one in report.readings] == [math.inf] * 3
    ax = plot_readings(report)
    assert hollow(ax, KINDS[2]) == [(ax.get_xlim()[1], place) for place in range(3)]
    below = [one(answer, 0, -0.5, -0.4, top=[['["', -0.5, -0.4], ["(", -2.0, -2.5]]) for answer in range(3)]
    report = report_of(below)
    assert report.readings[0].bernoulli == math.inf
    ax = plot_readings(report)
    assert marks(ax, KINDS[1]) == []
    assert hollow(ax, KINDS[1]) == [(ax.get_xlim()[1], 0)]


def test_classes_are_named_once_in_the_order_of_the_report_with_their_positions() -> None:
    report = with_top()
    ax = plot_readings(report)
    counts = {one.name: one.positions for one in report.readings}
    assert ticks(ax) == [f"{one.name}  ({counts[one.name]})" for one in report.classes]
    assert list(ax.get_yticks()) == [0, 1, 2]
    assert ax.yaxis_inverted()
    assert ax.get_xlabel() == "λ*, median over the positions"
    assert ax.get_ylabel() == "contract class (positions)"
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == list(KINDS)


def test_a_class_without_listed_tokens_is_not_drawn() -> None:
    made = [
        row if row["modal"] != '","' else row | {"top": None, "rest": None} for row in tables.with_top(tables.rows())
    ]
    report = report_of(made)
    assert ticks(plot_readings(report)) == [f"{one.name}  (12)" for one in report.classes if one.name != '","']


@pytest.mark.parametrize("name", ["$", "$x$", r"\$", "$\\frac{$", "_hidden", "%s", "{}", "^_"])
def test_any_class_name_is_a_label_of_its_own(name: str) -> None:
    made = [row | {"contract": name if row["top"] else ""} for row in tables.with_top(tables.rows())]
    ax = plot_readings(report_of(made))
    assert len(ticks(ax)) == 1
    figure = ax.get_figure()
    assert isinstance(figure, Figure)
    file = io.BytesIO()
    with plt.rc_context({"svg.fonttype": "none"}):
        figure.savefig(file, format="svg")
    assert f">{name}  (48)<" in html.unescape(file.getvalue().decode())


def test_a_report_without_listed_tokens_has_no_readings_to_draw() -> None:
    with pytest.raises(ValueError, match=r"^report must come from a table with a top column, got none; "):
        plot_readings(report_of())
    given = Figure().subplots()
    with pytest.raises(ValueError, match="top column"):
        plot_readings(report_of(), ax=given)
    assert not given.has_data()


def test_readings_go_on_given_axes_or_on_new_ones() -> None:
    given = Figure().subplots()
    assert plot_readings(with_top(), given) is given
    assert plot_readings(with_top(), ax=given) is given
    assert given.has_data()
    new = plot_readings(with_top())
    figure = new.get_figure()
    assert isinstance(figure, Figure)
    draw(figure)
    assert plot_readings(with_top()).get_figure() is not figure
    assert plt.get_fignums() == []


EQUAL = [['["', -0.5, -0.5], ["(", -2.0, -2.0]]


def test_where_nothing_binds_every_mark_is_hollow_on_an_axis_of_ordinary_width() -> None:
    made = [one(answer, 0, -0.5, -0.5, top=EQUAL, rest=[0.0, 0.0]) for answer in range(3)]
    ax = plot_readings(report_of(made))
    right = ax.get_xlim()[1]
    assert 2 < right < 3
    assert [marks(ax, kind) for kind in KINDS] == [[]] * 3
    assert [hollow(ax, kind) for kind in KINDS] == [[(right, 0)]] * 3


@pytest.mark.parametrize(
    ("top", "rest", "log_p", "log_b"),
    [
        (EQUAL, [0.0, 0.0], -0.5, -0.5),
        (EQUAL[:1], None, -0.5, -0.5),
        (EQUAL[:1], [0.0, 0.0], -0.5, -0.5),
        ([['["', -0.1, -0.7]], None, -0.1, -0.7),
        ([['["', -0.5, -0.4]], None, -0.5, -0.4),
        ([['["', -0.5, -0.4]], [-1.0, 2.0], -0.5, -0.4),
        ([['["', -1e-12, -1e-3], ["(", -30.0, -7.5]], [-20.0, 1.0], -1e-12, -1e-3),
    ],
    ids=["equal", "equal, one token", "equal, a range", "one token", "below", "below, a range", "sure"],
)
@pytest.mark.parametrize("clip", [1.0001, 5.0, 1e80])
def test_readings_at_the_limits_are_drawn_without_a_warning(
    top: list[Any], rest: list[float] | None, log_p: float, log_b: float, clip: float
) -> None:
    made = [one(answer, 0, log_p, log_b, top=top, rest=rest) for answer in range(3)]
    figure = plot_readings(report_of(made, clip=clip)).get_figure()
    assert isinstance(figure, Figure)
    draw(figure)


# The dynamics of one position

CLIFFS = [(0.9, 0.5, 2.0), (0.99, 0.9, 5.0), (1 - 1e-6, 0.5, 5.0)]
"""Positions (p, b, c) with b above p/c, where the clip does not act at the start."""
FLOWS: tuple[Flow, ...] = get_args(Flow)


def trajectories(p: float, b: float, c: float, **options: Any) -> Axes:
    return plot_trajectory(p, b, c, [1.2, 1.5], **options)


OF_POSITION: list[Callable[..., Axes]] = [plot_regimes, trajectories, plot_budget]


def data(line: Line2D) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.asarray(line.get_xdata(), dtype=float), np.asarray(line.get_ydata(), dtype=float)


def only(ax: Axes, label: str) -> Line2D:
    (line,) = lines(ax, label)
    return line


def span(patch: Patch, ax: Axes) -> tuple[float, float]:
    """From where to where a patch goes in x."""
    extents = patch.get_extents().transformed(ax.transData.inverted())
    return extents.x0, extents.x1


def legend_of(ax: Axes) -> list[str]:
    legend = ax.get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


def test_the_style_sheet_is_one_of_matplotlib() -> None:
    with plt.rc_context(STYLE):
        assert {name: plt.rcParams[name] for name in STYLE} == STYLE | {"figure.figsize": [7.0, 4.0]}


@pytest.mark.slow
@pytest.mark.parametrize("plot", thinned(OF_POSITION, 2))
def test_pictures_of_a_position_go_on_given_axes_or_on_new_ones(plot: Callable[..., Axes]) -> None:
    given = Figure().subplots()
    assert plot(*CLIFFS[0], ax=given) is given
    assert given.has_data()
    figure = plot(*CLIFFS[0]).figure
    assert isinstance(figure, Figure)
    draw(figure)
    assert plot(*CLIFFS[0]).figure is not figure
    assert plt.get_fignums() == []


@pytest.mark.parametrize("plot", OF_POSITION)
@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((1.5, 0.5, 2.0), r"^p must lie in \(0, 1\), got 1\.5$"),
        ((0.9, 0.0, 2.0), r"^b must lie in \(0, 1\), got 0\.0$"),
        ((0.9, 0.5, 0.5), r"^c must lie in \[1, inf\], got 0\.5$"),
        ((0.9, 0.5, math.inf), r"^p, b and c must have a cliff, .* got λ\* = inf and λ_c = inf; give b < p"),
        ((0.5, 0.6, 2.0), r"^p, b and c must have a cliff, .* got λ\* = inf and λ_c = inf; give b < p"),
        (
            (0.9, 0.5, 1.0),
            r"^p, b and c must have a cliff, .* got λ\* = 1 and .* a clip above 1 at which",
        ),
        ((0.9, 0.5, 1e80), r"^p, b and c must have a cliff, .* wider than a float$"),
        ((math.nan, 0.5, 2.0), r"^p, b and c must have a cliff, .* got λ\* = nan"),
    ],
    ids=["p", "b", "c", "no clip", "p below b", "clip 1", "narrow", "nan"],
)
def test_a_position_without_a_cliff_is_refused_and_nothing_drawn(
    plot: Callable[..., Axes], values: tuple[float, ...], said: str
) -> None:
    given = Figure().subplots()
    with pytest.raises(ValueError, match=said):
        plot(*values, ax=given)
    assert not given.has_data()


@pytest.mark.parametrize("plot", [trajectories, plot_budget])
def test_an_unknown_flow_is_refused_with_the_known_ones(plot: Callable[..., Axes]) -> None:
    with pytest.raises(ValueError, match=r"^flow must be one of natural, policy-gradient, got 'adam'$"):
        plot(*CLIFFS[0], flow="adam")


# Regimes


@pytest.mark.parametrize(("p", "b", "c"), [*CLIFFS, (0.9, 0.1, 2.0), (1e-6, 1e-7, 3.0)])
def test_regime_curves_are_where_training_ends_with_and_without_the_clip(p: float, b: float, c: float) -> None:
    ax = plot_regimes(p, b, c)
    star, end, edge = ls.threshold(p, b, c), ls.collapse_point(p, b, c), (1 - p) / c
    x, y = data(only(ax, "without a clip"))
    np.testing.assert_array_equal(y, 1 - ls.fixed_point(p, b, x))
    assert x[0] < star < end < x[-1]
    assert (x[0], x[-1]) == ax.get_xlim()
    assert where(only(ax, "clip edge (1−p)/c"), "y") == edge
    assert np.interp(star, x, np.log(y)) == pytest.approx(math.log(edge), rel=1e-3)
    at, tail = data(only(ax, f"clip c = {c:g}"))
    np.testing.assert_array_equal(tail, 1 - ls.bernoulli.stationary_student(p, b, c, at))
    assert end - 1e-5 * (end - star) < at[-1] < end
    kept, past = (at >= 1) & (at < star), at > star
    assert tail[kept] == pytest.approx(1 - ls.fixed_point(p, b, at[kept]), rel=1e-9)
    assert tail[kept].min() > edge > tail[past].max()
    assert (tail[past] < 1 - ls.fixed_point(p, b, at[past])).all()


@pytest.mark.parametrize(("p", "b", "c"), CLIFFS)
def test_regimes_are_told_apart_by_name_hatch_and_line_style(p: float, b: float, c: float) -> None:
    ax = plot_regimes(p, b, c)
    star, end, (left, right) = ls.threshold(p, b, c), ls.collapse_point(p, b, c), ax.get_xlim()
    saturated, collapsing = ax.patches
    assert span(saturated, ax) == pytest.approx((star, end), rel=1e-12)
    assert span(collapsing, ax) == pytest.approx((end, right), rel=1e-12)
    assert [patch.get_hatch() for patch in (saturated, collapsing)] == [None, "//"]
    bounds = {"preserving": (left, star), "saturated": (star, end), "collapsing": (end, right)}
    assert {text.get_text(): text.get_position()[0] for text in ax.texts} == {
        name: pytest.approx((low + high) / 2, rel=1e-12) for name, (low, high) in bounds.items()
    }
    for name, (low, high) in bounds.items():
        assert ls.regime(p, b, c, float(low + high) / 2).name.lower() == name
    assert len({line.get_linestyle() for line in ax.lines}) == len(ax.lines) == 3
    assert legend_of(ax) == ["without a clip", f"clip c = {c:g}", "clip edge (1−p)/c"]


def test_regimes_are_labelled_and_name_both_ends_of_the_cliff() -> None:
    ax = plot_regimes(0.9, 0.5, 2.0)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("λ", "tail mass 1 − q of the student")
    assert ax.get_yscale() == "log"
    assert [label.get_text().strip() for label in ax.get_xticklabels()] == ["λ* = 1.3401", "λ$_c$ = 1.3634"]
    assert list(ax.get_xticks()) == [ls.threshold(0.9, 0.5, 2.0), ls.collapse_point(0.9, 0.5, 2.0)]
    bottom, top = ax.get_ylim()
    assert bottom < 0.05 < top


# Trajectories


def lams_around(p: float, b: float, c: float) -> list[float]:
    """Preserving, saturated, and collapsing slowly and fast."""
    star, end = float(ls.threshold(p, b, c)), float(ls.collapse_point(p, b, c))
    return [1 + 0.9 * (star - 1), (star + end) / 2, end + 0.1 * (star - 1), end + star - 1]


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize(("p", "b", "c"), CLIFFS)
def test_trajectories_are_those_of_the_dynamics(p: float, b: float, c: float, flow: Flow) -> None:
    lams = lams_around(p, b, c)
    ax = plot_trajectory(p, b, c, lams, flow=flow)
    left, last = ax.get_xlim()
    curves = [only(ax, f"λ = {lam:g}, ") for lam in lams]
    for curve, lam in zip(curves, lams, strict=True):
        times, tail = data(curve)
        assert (times[0], times[-1]) == (left, last)
        expected = expit(-dynamics.trajectory(p, b, c, lam, times, flow=flow))
        shown = expected > 1e-30
        np.testing.assert_allclose(tail[shown], expected[shown], rtol=1e-6)
        assert str(curve.get_label()) == f"λ = {lam:g}, {ls.regime(p, b, c, lam).name.lower()}"
    assert [str(curve.get_label()).split(", ")[1] for curve in curves] == [
        "preserving",
        "saturated",
        "collapsing",
        "collapsing",
    ]
    assert len({curve.get_linestyle() for curve in curves}) == 4
    longest = dynamics.time_to_edge(p, b, c, lams[1], flow=flow)
    assert last == pytest.approx(100 * longest, rel=1e-12)


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize(("p", "b", "c"), CLIFFS)
def test_a_mark_stands_where_a_trajectory_crosses_the_clip_edge(p: float, b: float, c: float, flow: Flow) -> None:
    lams, edge = lams_around(p, b, c), (1 - p) / c
    ax = plot_trajectory(p, b, c, lams, flow=flow)
    assert where(only(ax, "clip edge (1−p)/c"), "y") == edge
    marks = [line for line in ax.lines if line.get_marker() == "o"]
    assert [(where(mark), where(mark, "y")) for mark in marks] == [
        (dynamics.time_to_edge(p, b, c, lam, flow=flow), edge) for lam in lams[1:]
    ]
    for mark, lam in zip(marks, lams[1:], strict=True):
        curve = only(ax, f"λ = {lam:g}, ")
        times, tail = data(curve)
        time = where(mark)
        assert mark.get_color() == curve.get_color()
        assert tail[times < time].min() > edge > tail[times > time].max()
    times, tail = data(only(ax, f"λ = {lams[0]:g}, "))
    assert tail.min() > edge


def test_trajectories_end_where_they_are_told_to_and_marks_beyond_are_left_out() -> None:
    p, b, c = CLIFFS[0]
    soon, late = (float(dynamics.time_to_edge(p, b, c, lam)) for lam in (1.8, 1.4))
    ax = plot_trajectory(p, b, c, [1.4, 1.8], until=(soon + late) / 2)
    assert ax.get_xlim()[1] == (soon + late) / 2
    assert [where(line) for line in ax.lines if line.get_marker() == "o"] == [soon]
    preserving = plot_trajectory(p, b, c, [1.1])
    assert preserving.get_xlim()[1] == 100
    assert [line for line in preserving.lines if line.get_marker() == "o"] == []


def test_trajectories_are_labelled_with_the_unit_of_time() -> None:
    ax = trajectories(*CLIFFS[0])
    assert ax.get_xlabel() == "time (learning rate times steps), natural flow"
    assert ax.get_ylabel() == "tail mass 1 − q of the student"
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert legend_of(ax) == ["λ = 1.2, preserving", "λ = 1.5, collapsing", "clip edge (1−p)/c"]
    bottom, top = ax.get_ylim()
    assert (bottom, top) == (1e-30, 1)


@pytest.mark.parametrize("lams", [[1.5, math.inf], [-math.inf], [math.nan], []])
def test_a_trajectory_needs_a_finite_lambda(lams: list[float]) -> None:
    said = f"lams must hold at least one number, all in (-inf, inf), got {lams!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        plot_trajectory(*CLIFFS[0], lams)


@pytest.mark.parametrize("until", [0.0, -1.0, math.inf, math.nan])
def test_the_last_time_is_positive_and_finite(until: float) -> None:
    with pytest.raises(ValueError, match=rf"^until must lie in \(0, inf\), got {until!r}$"):
        plot_trajectory(*CLIFFS[0], [1.5], until=until)


def test_a_base_that_the_clip_holds_back_has_no_budget_curve_and_no_marks() -> None:
    with pytest.raises(ValueError, match=r"^b must lie in \[p/c, 1\) = \[0\.495, 1\), got 0\.01$"):
        plot_budget(0.99, 0.01, 2.0)
    assert not [line for line in plot_trajectory(0.99, 0.01, 2.0, [1.8]).lines if line.get_marker() == "o"]
    assert [line for line in plot_trajectory(0.99, 0.6, 2.0, [1.8]).lines if line.get_marker() == "o"]


def test_a_tail_beyond_the_floats_is_drawn_as_the_deepest_colour() -> None:
    assert plot_budget(0.9, 0.5, 1e6).get_ylabel() == "λ"


# Budgets

budget_drawn = cache(plot_budget)  # a second or more each, so several tests look at one picture


@pytest.mark.slow
@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize(("p", "b", "c"), thinned(CLIFFS, 2))
def test_the_budget_curve_is_the_budget_threshold_and_lies_above_the_safe_line(
    p: float, b: float, c: float, flow: Flow
) -> None:
    ax = budget_drawn(p, b, c, flow=flow)
    curve, line, star = only(ax, "budget threshold"), only(ax, "λ* = "), ls.threshold(p, b, c)
    budgets, lams = data(curve)
    np.testing.assert_array_equal(lams, dynamics.budget_threshold(p, b, c, budgets, flow=flow))
    assert (budgets[0], budgets[-1]) == ax.get_xlim()
    assert where(line, "y") == star
    assert str(line.get_label()) == f"λ* = {star:.5g}, the limit and the safe one"
    assert (lams[:30] > star).all()
    assert (np.diff(lams[:30]) < 0).all()
    assert np.diff(lams).max() <= 0
    assert lams[-1] == pytest.approx(star, rel=1e-12)
    assert curve.get_linestyle() != line.get_linestyle()
    bottom, top = ax.get_ylim()
    assert bottom < star < top == pytest.approx(lams[0], rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize(("p", "b", "c"), CLIFFS)
def test_tails_are_past_the_clip_edge_above_the_budget_curve_and_within_it_below(
    p: float, b: float, c: float, flow: Flow
) -> None:
    ax = budget_drawn(p, b, c, flow=flow)
    (filled,) = [found for found in ax.collections if isinstance(found, QuadContourSet)]
    levels = list(filled.levels)
    assert levels == [-4, -3, -2, -1, 0, 1]
    *past, within = filled.get_paths()
    assert len(past) == len(levels) - 1
    budgets, lams = data(only(ax, "budget threshold"))
    inset = 0.02 * (ax.get_ylim()[1] - ls.threshold(p, b, c))
    for budget, lam in list(zip(budgets, lams, strict=True))[5:-1:6]:
        assert any(path.contains_point((budget, lam + inset)) for path in past), (budget, lam)
        assert not within.contains_point((budget, lam + inset)), (budget, lam)
        assert within.contains_point((budget, lam - inset)), (budget, lam)
        assert not any(path.contains_point((budget, lam - inset)) for path in past), (budget, lam)


@pytest.mark.slow
@pytest.mark.parametrize("flow", FLOWS)
def test_budgets_are_labelled_with_their_unit_and_flow(flow: Flow) -> None:
    ax = budget_drawn(*CLIFFS[0], flow=flow)
    assert ax.get_xlabel() == f"budget (learning rate times steps), {flow} flow"
    assert ax.get_ylabel() == "λ"
    assert ax.get_xscale() == "log"
    assert legend_of(ax) == ["budget threshold", "λ* = 1.3401, the limit and the safe one"]
    (bar,) = [each for each in ax.figure.axes if each is not ax]
    assert bar.get_ylabel() == "log$_{10}$ of tail mass over (1−p)/c"


RECORDS = [
    json.loads(path.read_text(encoding="utf-8"))
    for path in sorted(Path(__file__).parent.parent.parent.joinpath("results", "cliff").glob("*.json"))
]


@pytest.mark.slow
@pytest.mark.parametrize("record", thinned(RECORDS, 10), ids=lambda record: str(record["sha256"][:8]))
def test_a_run_of_the_cliff_is_drawn_as_it_was_seen(record: dict[str, Any]) -> None:
    axes = plot_run(record)
    draw(cast(Figure, axes[0].get_figure()))
    said, seen = record["prediction"], record["outcome"]
    (predicted,) = lines(axes[0], "valid answers, predicted")
    np.testing.assert_array_equal(predicted.get_ydata(), said["validity"])
    for ax, values in ((axes[0], seen["validity"]), (axes[1], [tail[1] for tail in seen["tail"]])):
        bars = ax.containers[0]
        np.testing.assert_array_equal(bars[0].get_xdata(), said["grid"])
        np.testing.assert_array_equal(bars[0].get_ydata(), values)
    assert [text.get_text() for text in axes[1].texts] == ["preserving", "sat.", "collapsing"]


def test_the_cliff_shows_every_fall_and_every_onset() -> None:
    figure = plot_cliff(RECORDS)
    draw(figure)
    runs = [compare(record) for record in RECORDS]
    fall, _, onsets = figure.axes
    shown = [run for run in runs if run.control in {"", "no clip"}]
    assert len(fall.lines) == len(shown) + 1  # and the predicted onset
    (mark,) = lines(fall, "predicted onset")
    assert where(mark) == 1
    points = np.concatenate([np.column_stack(bars[0].get_data()) for bars in onsets.containers])
    expected = [(run.predicted, run.seen) for run in runs if run.predicted is not None and run.seen is not None]
    assert sorted(map(tuple, points.tolist())) == sorted(expected)


def test_a_cliff_without_a_run_to_scale_by_is_refused() -> None:
    controls = [record for record in RECORDS if compare(record).control]
    for records in ([], controls):
        with pytest.raises(ValueError, match=r"records must hold a finished run .* got none"):
            plot_cliff(records)
