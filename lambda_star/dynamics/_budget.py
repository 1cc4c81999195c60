"""How long a student takes to the clip edge and to collapse, and where a budget meets the cliff."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lambda_star._core.namespaces import Floats
from lambda_star._core.quantities import LAM, B, C, P, Quantity
from lambda_star.bernoulli import formulas, threshold
from lambda_star.dynamics._arguments import RATE, STEPS, Flow, arguments, checked_flow, plain, wide_floats
from lambda_star.dynamics._times import (
    COARSE,
    FINE,
    clipped_time,
    free_time,
    policy_time,
)
from lambda_star.dynamics.formulas import inverse_rate, natural_threshold

__all__ = ["steps_to_edge", "budget_threshold", "time_to_collapse", "time_to_edge"]

BUDGET = Quantity("budget", 0.0, math.inf, "[]")
TAIL = Quantity("tail", 0.0, 1.0)


FARTHEST = 700.0
"""The log(1 + distance/beyond) past which ``beyond`` is no float, and the budget as good as endless."""


BLOCK = 2**14
"""Roots found side by side: their temporaries stay in cache."""


ITERATIONS = 60
"""Most steps of the root finder; each at least halves its bracket."""


ROUGH = 2
"""The first of them, for which a few nodes are enough."""


class _Way(NamedTuple):
    """From the base to the clip edge of the tail, and beyond it to the fixed point, in log-odds.

    Where λ is close to λ* the last is a small difference: the widest floats there are carry all of it.
    """

    base: Floats
    gap: Floats
    distance: Floats
    beyond: Floats
    surplus: Floats
    """(λ−1)Δ − log(c/p), which w = −log q joins in the velocity once the clip acts."""

    @classmethod
    def of(cls, p: Floats, b: Floats, c: Floats, lam: Floats) -> _Way:
        p, b, c, lam = (wide_floats(value) for value in (p, b, c, lam))
        gap, edge = (np.asarray(part) for part in (formulas.gap(np, p, b), formulas.edge(np, p, c)))
        push = (lam - 1) * gap
        return cls(np.log(b / (1 - b)), gap, gap + edge, push - edge, push - np.log(c / p))


def time_to_edge(p: ArrayLike, b: ArrayLike, c: ArrayLike, lam: ArrayLike, *, flow: Flow = "natural") -> Any:
    """The time that a student which starts at the base takes to the clip edge, where its tail is (1−p)/c.

    Natural: log(λ/(λ−λ*)). Policy gradient: 2 log(u₀/u_c) + e^θ_λ [E₁(u_c) − E₁(u₀)] + e^−θ_λ [Ei(u₀) − Ei(u_c)] with
    u₀ = λΔ and u_c = (λ−λ*)Δ, from base and edge to the fixed point θ_λ.

    Args:
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1); below p/c the answer is a lower bound.
        c: cap on the tail ratio (1−p)/(1−q), in [1, inf]; inf means no clip.
        lam: extrapolation coefficient λ, finite.
        flow: "natural" or "policy-gradient".

    Returns:
        A float, or an array of the broadcast shape; +inf at λ ≤ λ*, where the edge is never passed; 0 where the base
        lies past the edge, which takes p < b, and goes on from there; NaN where an argument is NaN.

    Raises:
        ValueError: a value lies outside its range; the message names argument, range, value and index.

    Source: extension, for the two flows; ``derivations/dynamics.md``.

    >>> float(time_to_edge(0.9, 0.5, 2.0, 1.5)), float(time_to_edge(0.9, 0.5, 2.0, 1.5, flow="policy-gradient"))
    (2.2384..., 26.054...)
    """
    p, b, c, lam = arguments((P, p), (B, b), (C, c), (LAM, lam))
    with np.errstate(all="ignore"):  # what has no limit is looked at after the fact
        time = _to_edge(_Way.of(p, b, c, lam), b, checked_flow(flow))
    return plain(time, p, b, c, lam)


def _to_edge(way: _Way, b: Floats, flow: str) -> Floats:
    """The time to the edge; a base past it is at the edge if from there the clip lets it go on, and else never."""
    past = np.where(way.surplus - np.log(wide_floats(b)) > 0, 0.0, math.inf)
    return np.where(way.distance > 0, free_time(flow, way.base, way.distance, way.beyond), past)


def steps_to_edge(
    p: ArrayLike, b: ArrayLike, c: ArrayLike, lam: ArrayLike, rate: ArrayLike, *, flow: Flow = "natural"
) -> Any:
    """The greatest whole number of steps that a λ above λ* may be trained without passing the clip edge.

    It is exact for the natural flow, and for the policy gradient it holds in the limit of small steps.

    Args:
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1); below p/c the answer is a lower bound.
        c: cap on the tail ratio (1−p)/(1−q), in [1, inf]; inf means no clip.
        lam: extrapolation coefficient λ, finite.
        rate: size η of a step, in (0, 1].
        flow: "natural" or "policy-gradient".

    Returns:
        A float, or an array of the broadcast shape; +inf at λ ≤ λ*; NaN where an argument is NaN.

    Raises:
        ValueError: a value lies outside its range; the message names argument, range, value and index.

    Source: extension, for the two flows; ``derivations/dynamics.md``.

    >>> float(steps_to_edge(0.9, 0.5, 2.0, 1.5, rate=0.1))
    21.0
    """
    time, rate = np.broadcast_arrays(time_to_edge(p, b, c, lam, flow=flow), arguments((RATE, rate))[0])
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.where(time == math.inf, math.inf, time / (-np.log1p(-rate) if flow == "natural" else rate))
    return plain(np.floor(steps), time, rate)


def budget_threshold(
    p: ArrayLike,
    b: ArrayLike,
    c: ArrayLike,
    budget: ArrayLike | None = None,
    *,
    flow: Flow = "natural",
    steps: ArrayLike | None = None,
    rate: ArrayLike | None = None,
) -> Any:
    """The λ at which the clip edge is reached exactly at the end of the budget; above λ*, and falling to it.

    Natural: λ*/(1 − e^−budget), and λ*/(1 − (1−rate)^steps) for discrete steps. Policy gradient: the root of
    :func:`time_to_edge` = budget, found between two bounds in closed form. It says where the cliff is met, not what is
    safe: whoever trains on from there falls at every λ above λ*.

    Args:
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1); below p/c the answer is a lower bound.
        c: cap on the tail ratio (1−p)/(1−q), in [1, inf]; inf means no clip.
        budget: time that is trained, learning rate times steps, in [0, inf]; or give ``steps`` and ``rate``.
        flow: "natural" or "policy-gradient".
        steps: number of steps, in [0, inf).
        rate: size η of a step, in (0, 1]; exact for the natural flow, for policy gradient in the limit of small steps.

    Returns:
        A float, or an array of the broadcast shape; +inf where p ≤ b, where c is inf and without a budget; NaN where an
        argument is NaN.

    Raises:
        ValueError: a value lies outside its range; the message names argument, range, value and index. Or neither or
            both of ``budget`` and the pair ``steps`` and ``rate`` are given.

    Source: extension, for the two flows (the paper's Corollary 4.2 treats finite budgets too);
    ``derivations/dynamics.md``.

    >>> float(budget_threshold(0.9, 0.5, 2.0, 3.0)), float(budget_threshold(0.9, 0.5, 2.0, steps=30, rate=0.1))
    (1.4102..., 1.3993...)
    >>> float(budget_threshold(0.9, 0.5, 2.0, 3.0, flow="policy-gradient"))
    4.67...
    """
    whole = checked_flow(flow) == "natural"
    p, b, c, time = arguments((P, p), (B, b), (C, c), (BUDGET, _duration(budget, steps, rate, whole)))
    edge = threshold(p, b, c)
    with np.errstate(all="ignore"):
        gap = formulas.gap(np, p, b)
        distance = gap + formulas.edge(np, p, c)
        found = natural_threshold(edge, time) if whole else edge + _beyond(np.log(b / (1 - b)), distance, time) / gap
    unreachable = (p <= b) | (c == math.inf)
    return plain(np.where(unreachable, math.inf, found), p, b, c, time)


def _duration(budget: ArrayLike | None, steps: ArrayLike | None, rate: ArrayLike | None, natural: bool) -> Floats:
    """The time of a budget; for the natural flow discrete steps have an exact equivalent."""
    if budget is not None and steps is None and rate is None:
        return np.asarray(budget, dtype=np.float64)
    if budget is not None or steps is None or rate is None:
        raise ValueError("budget must be given, or steps and rate in its place")
    count, size = arguments((STEPS, steps), (RATE, rate))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(count == 0, 0.0, -count * np.log1p(-size)) if natural else count * size


def _beyond(start: Floats, distance: Floats, budget: Floats) -> Floats:
    """How far beyond the clip edge the fixed point lies for which policy gradient takes the budget to the edge.

    In y = log(1 + distance/beyond) the time is y times an inverse rate 2 + e^θ + e^−θ from somewhere on the way, which
    brackets y; its logarithm in that of y is nearly a line of slope 1.
    """
    end = start + distance
    crossed = (start < 0) & (end > 0)
    nearest = np.where(crossed, 0.0, np.minimum(np.abs(start), np.abs(end)))
    low, high = budget / inverse_rate(np.maximum(np.abs(start), np.abs(end))), budget / inverse_rate(nearest)
    live = (budget > 0) & (low < FARTHEST) & (distance > 0) & np.isfinite(distance)
    beyond = np.where(budget == 0, math.inf, np.where(np.isnan(distance + budget), np.nan, 0.0))
    todo = [values[live] for values in (start, distance, budget, low, np.minimum(high, FARTHEST))]
    blocks = [slice(first, first + BLOCK) for first in range(0, len(todo[0]), BLOCK)]
    beyond[live] = np.concatenate([np.empty(0), *(_root(*(values[block] for values in todo)) for block in blocks)])
    return beyond


def _root(start: Floats, distance: Floats, budget: Floats, low: Floats, high: Floats) -> Floats:
    """The bracketed root of :func:`_beyond`, by Newton's method in the logarithms; the first steps are rough."""
    y, active = np.sqrt(low) * np.sqrt(high), np.arange(len(low))
    for step in range(ITERATIONS):
        at, way, bottom, top = y[active], distance[active], low[active], high[active]
        rough = step < ROUGH
        time, slope = policy_time(start[active], way, way / np.expm1(at), COARSE if rough else FINE)
        gap = np.log(budget[active] / time)
        if not rough:
            low[active] = bottom = np.where(gap > 0, at, bottom)
            high[active] = top = np.where(gap < 0, at, top)
        following = at * np.exp(gap * -time / slope * -np.expm1(-at) / at)  # −d log y/d log beyond = (1 − e^−y)/y
        inside = (following >= bottom) & (following <= top)
        y[active] = following = np.where(inside, following, at if rough else np.sqrt(bottom) * np.sqrt(top))
        if rough:
            continue
        active = active[~((np.abs(gap) < 4e-15) | (inside & (np.abs(gap) < 1e-8)) | (top <= bottom * (1 + 1e-15)))]
        if not len(active):
            break
    beyond: Floats = distance / np.expm1(y)
    return beyond


def time_to_collapse(
    p: ArrayLike, b: ArrayLike, c: ArrayLike, lam: ArrayLike, *, tail: ArrayLike, flow: Flow = "natural"
) -> Any:
    """The time until the student's tail mass has fallen to ``tail``, from the base over the clip edge.

    Args:
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1); below p/c the answer is a lower bound.
        c: cap on the tail ratio (1−p)/(1−q), in [1, inf]; inf means no clip.
        lam: extrapolation coefficient λ, finite.
        tail: tail mass 1−q to be reached, in (0, 1).
        flow: "natural" or "policy-gradient".

    Returns:
        A float, or an array of the broadcast shape; 0 where the base's tail is no larger, +inf where the student
        settles at a larger tail or never gets there; NaN where an argument is NaN. Exact to about 1e-12 of itself, but
        close to the base and to where the student settles: there the last digits of ``lam`` and ``tail`` decide.

    Raises:
        ValueError: a value lies outside its range; the message names argument, range, value and index.

    Source: extension, for the two flows with the clip inside the update; ``derivations/dynamics.md``.

    >>> time_to_collapse(0.99, 0.9, 5.0, [1.6, 1.68, 1.8], tail=1e-6).round(1)
    array([  inf, 676.9,  28.1])
    """
    p, b, c, lam, tail = arguments((P, p), (B, b), (C, c), (LAM, lam), (TAIL, tail))
    checked_flow(flow)
    with np.errstate(all="ignore"):
        way, goal = _Way.of(p, b, c, lam), np.log1p(-wide_floats(tail)) - np.log(wide_floats(tail))
        left = goal - way.base
        # Straight to the goal, or to the edge and on with the clip; a base past the edge starts there.
        short = left <= way.distance
        rest = np.where(short, lam * way.gap - left, way.beyond)
        before = np.where(way.distance > 0, free_time(flow, way.base, np.minimum(left, way.distance), rest), 0.0)
        edge = np.log1p((1 - wide_floats(p)) / (wide_floats(c) - 1 + p))
        start, end = np.where(way.distance > 0, edge, -np.log(wide_floats(b))), -np.log1p(-wide_floats(tail))
        surplus, start, end = (np.where(short, 1.0, values) for values in (way.surplus, start, end))
        total = np.where(left <= 0, 0.0, before + np.where(short, 0.0, clipped_time(flow, surplus, start, end)))
    return plain(total, p, b, c, lam, tail)
