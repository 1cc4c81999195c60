"""The pictures of update rules show the rules' own forces, students and λ."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.special import logit

import lambda_star as ls
from lambda_star import updates
from lambda_star.plotting import plot_forces, plot_rules, plot_updates
from lambda_star.updates import Rule
from tests.night import thinned
from tests.plotting.test_plotting import data, draw, legend_of, lines, only, where
from tests.updates.rules import EXAMPLES

POSITIONS = [(0.9, 0.5), (0.999, 0.5), (0.9, 0.1), (0.7, 0.6)]
CAP, THROUGH, NONE = updates.log_ratio_cap(2.0), updates.log_ratio_cap(2.0, through=True), updates.none()
NEVER = (updates.importance_weight(5.0), updates.ppo(), updates.log_ratio_clamp(10.0, teacher="extrapolated"))


def marked(ax: Axes, marker: str) -> list[Line2D]:
    """The marks in a picture, without those of the legend."""
    return [line for line in ax.lines if line.get_marker() == marker and len(np.asarray(line.get_xdata()))]


def places(ax: Axes, marker: str) -> list[tuple[float, float]]:
    return [(where(mark), where(mark, "y")) for mark in marked(ax, marker)]


def shaded(ax: Axes) -> list[PolyCollection]:
    return [found for found in ax.collections if isinstance(found, PolyCollection)]


@pytest.mark.slow
def test_pictures_of_rules_go_on_given_axes_or_on_new_ones() -> None:
    given = Figure().subplots()
    assert plot_forces(0.9, 0.5, 1.5, ax=given) is given
    assert plot_rules(0.9, 0.5, [CAP], ax=Figure().subplots()).has_data()
    figure = Figure()
    assert plot_updates(0.9, 0.5, figure=figure, rules=[CAP]) is figure
    assert given.has_data()
    assert len(figure.axes) == 2
    draw(figure)
    assert plot_rules(0.9, 0.5).figure is not plot_rules(0.9, 0.5).figure
    assert plt.get_fignums() == []


@pytest.mark.parametrize("draw_it", [lambda *a: plot_forces(a[0], a[1], 1.5), plot_rules, plot_updates])
@pytest.mark.parametrize(
    ("p", "b", "said"),
    [
        (1.0, 0.5, "p must lie in (0, 1), got 1.0"),
        (0.9, 0.0, "b must lie in (0, 1), got 0.0"),
        (math.nan, 0.5, "p must lie in (0, 1), got nan"),
        (0.4, 0.5, "p must lie in (b, 1) = (0.5, 1), got 0.4; no λ > 1 thins the tail where p ≤ b"),
        (0.5, 0.5, "p must lie in (b, 1) = (0.5, 1), got 0.5; no λ > 1 thins the tail where p ≤ b"),
    ],
)
def test_a_position_outside_the_range_is_refused(draw_it: Any, p: float, b: float, said: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        draw_it(p, b)


def test_lambda_is_a_number_from_zero_and_there_is_a_rule() -> None:
    for lam in (-0.1, math.inf, math.nan):
        said = re.escape(f"lam must lie in [0, inf), got {lam}")
        with pytest.raises(ValueError, match=said):
            plot_forces(0.9, 0.5, lam)
        with pytest.raises(ValueError, match=said):
            plot_updates(0.9, 0.5, lam)
    for empty in (
        lambda: plot_forces(0.9, 0.5, 1.5, []),
        lambda: plot_rules(0.9, 0.5, []),
        lambda: plot_updates(0.9, 0.5, rules=()),
    ):
        with pytest.raises(ValueError, match=r"^rules must hold at least one rule, got none; updates\.RULES names"):
            empty()


def restoring(ax: Axes) -> list[str]:
    """The rules whose forces on the tail are drawn."""
    return [text.split(":")[0].removeprefix("F$_τ$, ") for text in legend_of(ax) if text.startswith("F$_τ$")]


# Forces


@pytest.mark.parametrize("rule", EXAMPLES, ids=str)
@pytest.mark.parametrize(("p", "b"), POSITIONS)
def test_the_curves_are_the_forces_of_the_rule(rule: Rule, p: float, b: float) -> None:
    ax = plot_forces(p, b, 1.3, [rule])
    theta, tail = data(only(ax, f"F$_τ$, {rule}:"))
    at, modal = data(only(ax, "F$_m$, pushes on"))
    np.testing.assert_array_equal(at, theta)
    expected = rule.force(theta, p, b, 1.3)
    np.testing.assert_array_equal(modal, expected.modal)
    np.testing.assert_array_equal(tail, expected.tail)
    assert (theta[0], theta[-1]) == ax.get_xlim()
    assert theta[0] >= logit(b)
    assert theta[-1] >= logit(p) + 0.3 * (logit(p) - logit(b)) + 2


@pytest.mark.parametrize(("p", "b"), POSITIONS)
def test_forces_meet_in_a_dot_where_the_student_rests_and_never_where_the_tail_dies(p: float, b: float) -> None:
    dies = CAP.dies(p, b)
    before, after = 1 + 0.9 * (dies - 1), 1 + 1.5 * (dies - 1)
    for lam in (before, after):
        ax = plot_forces(p, b, lam, [NONE, CAP])
        gap = shaded(ax)
        assert len(gap) == (lam == after)
        resting = [rule for rule in (NONE, CAP) if rule.dies(p, b) > lam]
        dots = places(ax, "o")
        assert len(dots) == len(resting) == 2 - len(gap)
        for rule, (x, y) in zip(resting, dots, strict=True):
            assert x == pytest.approx(logit(rule.student(p, b, lam)), rel=1e-9)
            assert rule.force(x, p, b, lam) == pytest.approx((y, y), abs=1e-6)
            shown = 1 - rule.student(p, b, lam)
            (name,) = [text for text in legend_of(ax) if str(rule) in text]
            assert name == f"F$_τ$, {rule}:\nmeets F$_m$ at 1 − q = {shown:.3g}"
    (name,) = [text for text in legend_of(ax) if str(CAP) in text]
    assert name == f"F$_τ$, {CAP}:\nnever meets F$_m$, its tail dies"
    theta, tail = data(only(ax, f"F$_τ$, {CAP}"))
    modal = CAP.force(theta, p, b, after).modal
    assert (tail < modal).all()
    assert tail[-1] == tail[-50]  # bounded
    unbounded = data(only(ax, f"F$_τ$, {NONE}"))[1]
    assert unbounded[-1] > modal[-1]


def test_the_gap_of_a_rule_is_shaded_in_its_colour_between_its_forces() -> None:
    ax = plot_forces(0.9, 0.5, 1.5, [NONE, CAP])
    (gap,) = shaded(ax)
    line = only(ax, f"F$_τ$, {CAP}")
    np.testing.assert_array_equal(np.asarray(gap.get_facecolor())[0, :3], to_rgb(line.get_color()))
    theta, tail = data(line)
    corners = gap.get_paths()[0].vertices
    assert np.asarray(corners)[:, 1].min() == pytest.approx(tail.min())
    assert np.asarray(corners)[:, 1].max() == pytest.approx(CAP.force(theta, 0.9, 0.5, 1.5).modal.max())


def test_rules_that_push_alike_share_one_curve_and_the_others_have_their_own() -> None:
    assert len(lines(plot_forces(0.9, 0.5, 1.5, [NONE, CAP]), "F$_m$")) == 1
    ax = plot_forces(0.9, 0.5, 1.5, [NONE, CAP, THROUGH])
    shared, own = lines(ax, "F$_m$")
    assert own.get_label() == f"F$_m$, {THROUGH}"
    np.testing.assert_allclose(data(own)[1], data(shared)[1] - 1)
    assert own.get_color() == only(ax, f"F$_τ$, {THROUGH}").get_color()


def test_tail_masses_are_named_where_they_are() -> None:
    ax = plot_forces(0.999, 0.5, 1.35)
    (above,) = ax.child_axes
    ticks = {label.get_text(): at for at, label in zip(above.get_xticks(), above.get_xticklabels(), strict=True)}
    assert {"10$^{−3}$", "10$^{−4}$"} <= set(ticks)
    for text, at in ticks.items():
        power = int(text.removeprefix("10$^{−").removesuffix("}$"))
        assert at == pytest.approx(math.log(10.0**power - 1), rel=1e-12)
        assert ax.get_xlim()[0] <= at <= ax.get_xlim()[1]
    assert above.get_xlabel() == "tail mass 1 − q"


def test_a_tail_beyond_the_floats_is_said_to_be_so_and_has_no_dot() -> None:
    ax = plot_forces(0.999, 0.5, 20.0, [NONE])
    assert places(ax, "o") == []
    assert legend_of(ax)[1] == "F$_τ$, none():\nmeets F$_m$ at 1 − q < 1e-12"
    assert shaded(ax) == []


# Rules


@pytest.mark.parametrize(("p", "b"), POSITIONS)
def test_curves_are_where_training_ends_until_the_tail_dies(p: float, b: float) -> None:
    ax = plot_rules(p, b, EXAMPLES)
    left, right = ax.get_xlim()
    x, fixed = data(only(ax, "fixed point"))
    np.testing.assert_array_equal(fixed, 1 - ls.fixed_point(p, b, x))
    assert (x[0], x[-1]) == (left, right)
    departing = [rule for rule in EXAMPLES if min(rule.leaves(p, b), rule.dies(p, b)) < math.inf]
    assert len(departing) > 8
    for rule in departing:
        lam, tail = data(only(ax, f"{rule}\n"))
        dies = rule.dies(p, b)
        if dies < math.inf:
            assert lam[-1] == dies
            assert tail[-1] < 1e-200  # the fall goes to the end of the axis
            lam, tail = lam[:-1], tail[:-1]
            assert lam.max(initial=0.0) < dies
        np.testing.assert_array_equal(tail, 1 - rule.student(p, b, lam))


@pytest.mark.parametrize(("p", "b"), POSITIONS)
def test_marks_stand_at_the_lambda_that_the_rules_give(p: float, b: float) -> None:
    ax = plot_rules(p, b, EXAMPLES)
    left, right = ax.get_xlim()
    bottom = ax.get_ylim()[0]
    departing = [rule for rule in EXAMPLES if min(rule.leaves(p, b), rule.dies(p, b)) < math.inf]
    leaves = [rule.leaves(p, b) for rule in departing]
    dies = [rule.dies(p, b) for rule in departing]
    assert places(ax, "o") == [(lam, 1 - ls.fixed_point(p, b, lam)) for lam in leaves if left <= lam <= right]
    assert places(ax, "X") == [(lam, bottom) for lam in dies if left <= lam <= right]
    assert len(places(ax, "X")) >= 5
    for rule, first, last in zip(departing, leaves, dies, strict=True):
        (said,) = [text for text in legend_of(ax) if text.startswith(f"{rule}\n")]
        for word, value in (("leaves", first), ("dies", last)):
            assert (f"never {word}" if value == math.inf else f"{word} at {value:.5g}") in said


def test_rules_that_keep_the_fixed_point_share_its_line() -> None:
    ax = plot_rules(0.9, 0.5, [*NEVER, CAP])
    assert legend_of(ax) == [
        "\n".join(["fixed point q$_λ$", *map(str, NEVER)]),
        f"{CAP}\nleaves at 1.3401, dies at 1.3634",
        "leaves q$_λ$",
        "its tail dies",
    ]
    assert len([line for line in ax.lines if len(data(line)[0]) > 1]) == 2


def test_circles_at_the_same_place_stand_inside_each_other() -> None:
    ax = plot_rules(0.9, 0.5, [CAP, THROUGH, updates.log_prob_floor(5.0)])
    sizes = [mark.get_markersize() for mark in marked(ax, "o")]
    assert sizes[0] > sizes[1] == sizes[2]
    assert len(set(places(ax, "o"))) == 2


@pytest.mark.parametrize("rules", [None, [CAP, THROUGH]])
@pytest.mark.parametrize(("p", "b"), POSITIONS)
def test_curves_are_few_and_told_apart_by_colour_and_style(p: float, b: float, rules: Sequence[Rule] | None) -> None:
    ax = plot_rules(p, b, rules)
    curves = [line for line in ax.lines if len(data(line)[0]) > 1]
    assert 3 <= len(curves) <= 8
    assert len({line.get_color() for line in curves}) == len(curves)
    assert len({(line.get_color(), line.get_linestyle()) for line in curves}) == len(curves)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("λ", "tail mass 1 − q of the student")
    assert ax.get_yscale() == "log"


def test_the_axis_starts_at_the_base_only_where_something_happens_below_the_teacher() -> None:
    early = updates.kl_to_base_cap(3.0)
    assert early.dies(0.9, 0.5) < 1
    assert plot_rules(0.9, 0.5, [CAP, early]).get_xlim()[0] == 0
    assert 0.9 < plot_rules(0.9, 0.5, [CAP]).get_xlim()[0] < 1


# Both


def test_both_pictures_show_the_bounded_rule_alike() -> None:
    rules = [updates.ppo(), updates.reward_clip(0.5), CAP, updates.top_k(1), THROUGH]
    figure = plot_updates(0.9, 0.5, rules=rules)
    upper, lower = figure.axes
    assert restoring(upper) == [str(NONE), str(CAP)]
    assert only(upper, f"F$_τ$, {CAP}").get_color() == only(lower, f"{CAP}\n").get_color()
    lam = 1 + 1.5 * (CAP.dies(0.9, 0.5) - 1)
    assert upper.get_ylabel() == f"force at λ = {lam:.5g}"
    assert legend_of(lower) == legend_of(plot_rules(0.9, 0.5, rules))
    upper, lower = plot_updates(0.9, 0.5, 1.2, rules).axes
    assert upper.get_ylabel() == "force at λ = 1.2"
    assert legend_of(upper)[2].startswith(f"F$_τ$, {CAP}:\nmeets")


def test_without_a_death_the_first_rule_stands_beside_none() -> None:
    clipped = updates.reward_clip(0.5)
    upper, _ = plot_updates(0.9, 0.5, rules=[clipped, updates.ppo()]).axes
    assert restoring(upper) == [str(NONE), str(clipped)]
    assert upper.get_ylabel() == "force at λ = 1.25"
    upper, _ = plot_updates(0.9, 0.5, rules=[NONE]).axes
    assert restoring(upper) == [str(NONE)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("p", "b"),
    thinned(
        [
            (1 - 1e-13, 0.5),
            (1e-6, 1e-7),
            (1 - 1e-16, 1e-300),
            (0.5 + 1e-9, 0.5),
            (1e-323, 5e-324),
            (1 - 1e-14, 1 - 1e-12),
        ],
        2,
    ),
)
def test_positions_at_the_limits_are_drawn_without_a_warning(p: float, b: float) -> None:
    for rules in (None, EXAMPLES):
        draw(plot_updates(p, b, rules=rules))
    for lam in (0.0, 1.0, 1e6):
        figure = plot_forces(p, b, lam).figure
        assert isinstance(figure, Figure)
        draw(figure)
