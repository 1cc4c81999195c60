"""Pictures of update rules: why the tail dies under some of them, and at which λ.

Every function raises ``ValueError`` where a value lies outside its range. That includes p ≤ b, where no λ > 1 thins the
tail. ``derivations/updates.md`` derives what they show, which is an extension of the paper.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import logit

from lambda_star import bernoulli, updates
from lambda_star._core.namespaces import Floats
from lambda_star._core.quantities import LAM, B, P, require
from lambda_star.plotting._axes import LINE_STYLES, TAIL, new_figure
from lambda_star.updates import Rule

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_forces", "plot_rules", "plot_updates"]

CAP = updates.log_ratio_cap(5.0)
RULES: tuple[Rule, ...] = (
    updates.none(),
    updates.importance_weight(5.0),
    updates.ppo(),
    updates.teacher_weight(5.0),
    CAP,
    updates.log_ratio_cap(5.0, through=True),
    updates.top_k(1),
    updates.log_prob_floor(10.0),
    updates.log_ratio_clamp(10.0),
    updates.reward_clip(5.0),
)
"""Rules of every kind, drawn where no others are given; the first four never leave q_λ and share one line."""

Look = dict[str, Any]
LOOKS: tuple[Look, ...] = tuple(
    {"color": colour, "linestyle": style}
    for colour, style in (
        ("#d55e00", "-"),
        ("#cc79a7", "--"),
        ("#e69f00", "-."),
        ("#009e73", (0, (5, 1, 1, 1, 1, 1))),
        ("#0072b2", (0, (6, 2))),
        ("black", ":"),
    )
)
"""The colours are those of Okabe and Ito, which the colour-blind tell apart."""

KEPT: Look = {"color": "0.65", "linewidth": 3}
FIXED: Look = {"color": "0.75", "linewidth": 6, "solid_capstyle": "butt", "zorder": 1}
LEAVES: Look = {"marker": "o", "markerfacecolor": "white", "linestyle": "none"}
DIES: Look = {"marker": "X", "markeredgecolor": "white", "markersize": 10, "linestyle": "none"}
BESIDE: Look = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.02), "frameon": False, "fontsize": "small"}
THINNEST = 1e-12  # 1 − q of a float q keeps few digits below


def plot_forces(p: float, b: float, lam: float, rules: Sequence[Rule] | None = None, ax: Axes | None = None) -> Axes:
    """Draw the forces on modal token and tail over the student's log-odds; a dot marks where the student rests.

    The force F_m on the modal token pushes the student on, and the force F_τ on the tail restores the tail. Without a
    bound F_τ grows until it meets F_m. Where a rule bounds it, the two may never meet; the gap is shaded then, for
    nothing stops the student in it.

    Args:
        p: teacher's modal probability, in (b, 1).
        b: base's probability of the same token, in (0, 1).
        lam: extrapolation coefficient λ, in [0, inf).
        rules: the update rules, at least one; by default none without a bound, and the cap c = 5 on the log-ratio.
        ax: axes to draw on; new ones by default.

    Returns:
        The axes.

    Raises:
        ValueError: a value lies outside its range, or there is no rule.

    Source: extension; ``derivations/updates.md``.

    >>> from lambda_star import updates
    >>> plot_forces(0.9, 0.5, 1.5, [updates.none(), updates.log_ratio_cap(2.0)]).get_ylabel()
    'force at λ = 1.5'
    """
    rules = _checked(p, b, (updates.none(), CAP) if rules is None else rules, lam)
    ends = {rule: float(rule.student(p, b, lam)) for rule in rules}
    ax = ax or new_figure((7, max(3.6, 0.4 * len(rules)))).subplots()
    return _draw_forces(ax, p, b, lam, ends, _looks(p, b, rules))


def _draw_forces(ax: Axes, p: float, b: float, lam: float, ends: dict[Rule, float], looks: dict[Rule, Look]) -> Axes:
    start, teacher = float(logit(b)), float(logit(p))
    target = start + lam * (teacher - start)
    theta = np.linspace(max(start, min(teacher, target) - 2), target + max(2.0, 0.5 * (target - start)), 1001)
    pushes: list[Floats] = []  # rules that bound the restoring force alone share one F_m
    for rule, end in ends.items():
        force, look = rule.force(theta, p, b, lam), looks[rule]
        if not any(np.allclose(force.modal, push, rtol=1e-9) for push in pushes):
            colour, label = (look["color"], f"F$_m$, {rule}") if pushes else ("k", "F$_m$, pushes on")
            ax.plot(theta, force.modal, color=colour, linewidth=1, label=label)
            pushes.append(force.modal)
        tail, label = 1 - end, f"F$_τ$, {rule}:"
        if lam >= rule.dies(p, b):
            ax.fill_between(theta, force.tail, force.modal, color=look["color"], alpha=0.15, linewidth=0)
            label += "\nnever meets F$_m$, its tail dies"
        else:
            label += f"\nmeets F$_m$ at 1 − q {f'= {tail:.3g}' if tail > THINNEST else f'< {THINNEST:g}'}"
        if THINNEST < tail < 1:
            at = float(logit(end))
            ax.plot(at, rule.force(at, p, b, lam).modal, "o", color=look["color"], markeredgecolor="k", zorder=3)
        ax.plot(theta, force.tail, **look, label=label)
    ax.set(xlabel="log-odds θ of the student", ylabel=f"force at λ = {lam:.5g}", xlim=(theta[0], theta[-1]))
    _name_tails(ax)
    ax.legend(**BESIDE)
    return ax


def plot_rules(p: float, b: float, rules: Sequence[Rule] | None = None, ax: Axes | None = None) -> Axes:
    """Draw the tail at which training ends against λ, under several update rules.

    The broad grey line is the fixed point q_λ. A circle marks where a student departs from it, and a cross where its
    tail dies. Rules that do neither share the grey line. The axis ends where q_λ leaves a tail of 1e-12.

    Args:
        p: teacher's modal probability, in (b, 1).
        b: base's probability of the same token, in (0, 1).
        rules: the update rules, at least one; by default some of every kind.
        ax: axes to draw on; new ones by default.

    Returns:
        The axes.

    Raises:
        ValueError: a value lies outside its range, or there is no rule.

    Source: extension; ``derivations/updates.md``.

    >>> from lambda_star import updates
    >>> plot_rules(0.999, 0.5, [updates.none(), updates.log_ratio_cap(5.0)]).get_ylabel()
    'tail mass 1 − q of the student'
    """
    rules = _checked(p, b, RULES if rules is None else rules)
    left, right = _lambdas(p, b, rules)
    lam = np.linspace(left, right, 1001)
    fixed = 1 - bernoulli.fixed_point(p, b, lam)
    bottom = max(float(fixed[-1]) / 30, THINNEST / 100)
    looks = _looks(p, b, rules)
    ends = {rule: (float(rule.leaves(p, b)), float(rule.dies(p, b))) for rule in rules}
    kept = [str(rule) for rule in ends if ends[rule] == (math.inf, math.inf)]
    departing = [(rule, *ends[rule]) for rule in ends if str(rule) not in kept]
    ax = ax or new_figure((7, max(4.2, 0.4 * len(rules)))).subplots()
    ax.plot(lam, fixed, **FIXED, label="\n".join(["fixed point q$_λ$", *kept]))
    for place, (rule, leaves, dies) in enumerate(departing):
        look, colour = looks[rule], looks[rule]["color"]
        ax.plot(*_tail_until(rule, p, b, lam, dies), **look, label=f"{rule}\n{_when(leaves, dies)}")
        if left <= leaves <= right:
            later = sum(other == leaves for _, other, _ in departing[place + 1 :])  # their circles go inside
            tail = 1 - bernoulli.fixed_point(p, b, leaves)
            ax.plot(leaves, tail, color=colour, **LEAVES, markersize=6 + 4 * later, zorder=3)
        if left <= dies <= right:
            ax.plot(dies, bottom, color=colour, **DIES, clip_on=False, zorder=4)
    ax.plot([], [], color="0.3", **LEAVES, markersize=6, label="leaves q$_λ$")
    ax.plot([], [], color="0.3", **DIES, label="its tail dies")
    ax.set(yscale="log", xlim=(left, right), ylim=(bottom, 3 * max(float(fixed[0]), bottom)), xlabel="λ", ylabel=TAIL)
    ax.legend(**BESIDE)
    return ax


def plot_updates(
    p: float,
    b: float,
    lam: float | None = None,
    rules: Sequence[Rule] | None = None,
    figure: Figure | None = None,
) -> Figure:
    """Draw why the tail dies above where it does: ``plot_forces`` over ``plot_rules``.

    The upper picture shows an update without a bound beside the first of the rules whose tail dies past λ = 1.

    Args:
        p: teacher's modal probability, in (b, 1).
        b: base's probability of the same token, in (0, 1).
        lam: the λ of the forces, in [0, inf); by default half as far again from 1 as where the tail of that rule dies.
        rules: the update rules, at least one; by default some of every kind.
        figure: figure to draw on; a new one by default.

    Returns:
        The figure.

    Raises:
        ValueError: a value lies outside its range, or there is no rule.

    Source: extension; ``derivations/updates.md``.

    >>> len(plot_updates(0.999, 0.5).axes)
    2
    """
    shown = _checked(p, b, RULES if rules is None else rules, lam)
    bounded = next((rule for rule in shown if 1 < rule.dies(p, b) < math.inf), shown[0])
    dies = float(bounded.dies(p, b))
    if lam is None:
        lam = 1 + 1.5 * (dies - 1) if 1 < dies < math.inf else 1.25
    figure = figure or new_figure((7, 7.4))
    upper, lower = figure.subplots(2, 1, height_ratios=(3, 4))
    ends = {rule: float(rule.student(p, b, lam)) for rule in (updates.none(), bounded)}
    _draw_forces(upper, p, b, lam, ends, _looks(p, b, (updates.none(), *shown)))
    plot_rules(p, b, shown, lower)
    return figure


def _checked(p: float, b: float, rules: Sequence[Rule], lam: float | None = None) -> Sequence[Rule]:
    require((P, p), (B, b), (LAM._replace(low=0.0, ends="[)"), lam))
    if p <= b:
        raise ValueError(f"p must lie in (b, 1) = ({b:g}, 1), got {p!r}; no λ > 1 thins the tail where p ≤ b")
    if not len(rules):
        raise ValueError("rules must hold at least one rule, got none; updates.RULES names them")
    return rules


def _looks(p: float, b: float, rules: Sequence[Rule]) -> dict[Rule, Look]:
    """The line of each rule: grey where it keeps q_λ at every λ, else one of ``LOOKS``."""
    kept = {rule: rule.leaves(p, b) == rule.dies(p, b) == math.inf for rule in rules}
    greys, others = cycle(LINE_STYLES), cycle(LOOKS)
    return {rule: KEPT | {"linestyle": next(greys)} if kept[rule] else next(others) for rule in kept}


def _lambdas(p: float, b: float, rules: Sequence[Rule]) -> tuple[float, float]:
    """The ends of the axis, with every departure and death in view for which q_λ is not too thin."""
    events = [float(event) for rule in rules for event in (rule.leaves(p, b), rule.dies(p, b))]
    farthest = max((event for event in events if 1 < event < math.inf), default=2.0)
    thinnest = float((logit(1 - THINNEST) - logit(b)) / (logit(p) - logit(b)))
    right = 1 + min(1.1 * (farthest - 1), max(thinnest - 1, 0.1))
    return (0.0 if min(events) < 1 else 1 - 0.1 * (right - 1)), right


def _tail_until(rule: Rule, p: float, b: float, lam: Floats, dies: float) -> tuple[Floats, Floats]:
    """The student's tail over λ up to where it dies, where a last point draws the fall to the end of the axis."""
    if isinstance(rule, updates.teacher_weight):
        lam = lam[lam >= 1]  # without a baseline it has no student below
    near = dies - np.geomspace(1e-12, 1, 100) * dies if dies < math.inf else lam[:0]
    lam = np.sort(np.concatenate([lam, near[near > lam[0]]]))
    tail = 1 - rule.student(p, b, lam)
    lam, tail = lam[tail > THINNEST / 100], tail[tail > THINNEST / 100]
    return (np.append(lam, dies), np.append(tail, 1e-300)) if dies < math.inf else (lam, tail)


def _when(leaves: float, dies: float) -> str:
    """What becomes of a student, as a line of the legend."""
    left = "never leaves" if leaves == math.inf else f"leaves at {leaves:.5g}"
    return f"{left}, {'never dies' if dies == math.inf else f'dies at {dies:.5g}'}"


def _name_tails(ax: Axes) -> None:
    """Name some tail masses along the upper end of an axis of log-odds."""
    powers = [power for power in range(1, 13) if ax.get_xlim()[0] <= -logit(10.0**-power) <= ax.get_xlim()[1]]
    shown = powers[:: 1 + len(powers) // 7]
    above = ax.secondary_xaxis("top")
    above.set_xticks([-logit(10.0**-power) for power in shown], [f"10$^{{−{power}}}$" for power in shown])
    above.set_xlabel("tail mass 1 − q")
