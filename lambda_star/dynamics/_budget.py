"""How long a student takes to reach the clip edge and to collapse, and at which λ a budget just reaches the edge."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lambda_star._core.namespaces import Floats
from lambda_star._core.quantities import LAM, B, C, P, Quantity, reals
from lambda_star.bernoulli import formulas, threshold
from lambda_star.dynamics._arguments import RATE, STEPS, Flow, as_float64, as_longdouble, checked_arrays, require_flow
from lambda_star.dynamics._times import COARSE, FINE, clipped_time, free_time, policy_time
from lambda_star.dynamics.formulas import inverse_rate, natural_threshold

BUDGET = Quantity("budget", 0.0, math.inf, "[]")
TAIL = Quantity("tail", 0.0, 1.0)

FARTHEST = 700.0  # past this log(1 + distance/beyond), ``beyond`` underflows and the budget counts as infinite
BLOCK = 2**14  # roots found side by side: their temporaries stay in cache
ITERATIONS = 60  # most steps of the root finder, which bisects its bracket where a Newton step would leave it
ROUGH = 2  # number of first steps of the root finder for which the coarse nodes are enough


class _Path(NamedTuple):
    """The student's path in log-odds: from the base over the clip edge of the tail to the fixed point."""

    base: Floats
    gap: Floats
    distance: Floats  # from the base to the clip edge
    beyond: Floats  # from the edge to the fixed point; a small difference for λ close to λ*, hence the widest floats
    surplus: Floats  # (λ−1)Δ − log(c/p), to which w = −log q is added to give the velocity once the clip acts

    @classmethod
    def of(cls, p: Floats, b: Floats, c: Floats, lam: Floats) -> _Path:
        p, b, c, lam = (as_longdouble(value) for value in (p, b, c, lam))
        gap = np.asarray(formulas.log_odds_gap(np, p, b))
        to_edge = np.asarray(formulas.push_to_edge(np, p, c))
        push = (lam - 1) * gap
        surplus = push - formulas.push_to_collapse(np, p, c)
        return cls(formulas.logit(np, b), gap, gap + to_edge, push - to_edge, surplus)


def time_to_edge(p: ArrayLike, b: ArrayLike, c: ArrayLike, lam: ArrayLike, *, flow: Flow = "natural") -> Any:
    """Return the time that a student takes from the base to the clip edge, where its tail is (1−p)/c.

    Under the natural flow it is log(λ/(λ−λ*)). Under policy gradient it is
    2 log(u₀/u_c) + e^θ_λ [E₁(u_c) − E₁(u₀)] + e^−θ_λ [Ei(u₀) − Ei(u_c)], where u₀ = λΔ and u_c = (λ−λ*)Δ are the
    distances of the base and of the edge to the fixed point θ_λ, and E₁ and Ei are exponential integrals.

    Args:
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1); below p/c the answer is a lower bound.
        c: cap on the tail ratio (1−p)/(1−q), in [1, inf]; inf means no clip.
        lam: extrapolation coefficient λ, finite.
        flow: "natural" or "policy-gradient".

    Returns:
        A float, or an array of the broadcast shape; +inf at λ ≤ λ*, where the edge is never passed; 0 where the base
        lies past the edge (only possible for p < b) and moves on from there; NaN where an argument is NaN.

    Raises:
        ValueError: a value is outside its range.

    Source: extension, for the two flows; ``derivations/dynamics.md``.

    >>> float(time_to_edge(0.9, 0.5, 2.0, 1.5)), float(time_to_edge(0.9, 0.5, 2.0, 1.5, flow="policy-gradient"))
    (2.2384..., 26.054...)
    """
    require_flow(flow)
    p, b, c, lam = checked_arrays((P, p), (B, b), (C, c), (LAM, lam))
    with np.errstate(all="ignore"):  # 0/0 and the like arise only in entries that the limits below replace
        path = _Path.of(p, b, c, lam)
        # A base past the edge has passed it at time 0 if its velocity there is positive; otherwise it never passes.
        from_past = np.where(path.surplus - np.log(as_longdouble(b)) > 0, 0.0, math.inf)
        time = np.where(path.distance > 0, free_time(flow, path.base, path.distance, path.beyond), from_past)
    return as_float64(time, p, b, c, lam)


def steps_to_edge(
    p: ArrayLike, b: ArrayLike, c: ArrayLike, lam: ArrayLike, rate: ArrayLike, *, flow: Flow = "natural"
) -> Any:
    """Return the largest number of steps that a λ above λ* may be trained without passing the clip edge.

    It is exact for the natural flow. For policy gradient it holds in the limit of small steps.

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
        ValueError: a value is outside its range.

    Source: extension, for the two flows; ``derivations/dynamics.md``.

    >>> float(steps_to_edge(0.9, 0.5, 2.0, 1.5, rate=0.1))
    21.0
    """
    time, rate = np.broadcast_arrays(time_to_edge(p, b, c, lam, flow=flow), checked_arrays((RATE, rate))[0])
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # more steps than a float holds are infinite
        steps = np.where(time == math.inf, math.inf, time / _step_time(rate, flow))
    return as_float64(np.floor(steps), time, rate)


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
    """Return the λ at which the student reaches the clip edge exactly at the end of the budget.

    It is above λ* and falls to λ* as the budget grows. Under the natural flow it is λ*/(1 − e^−budget), or
    λ*/(1 − (1−rate)^steps) for discrete steps. Under policy gradient it is the root of :func:`time_to_edge` = budget,
    found between two bounds in closed form. It says when the edge is reached, not which λ is safe: at every λ above λ*,
    further training passes the edge.

    Args:
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1); below p/c the answer is a lower bound.
        c: cap on the tail ratio (1−p)/(1−q), in [1, inf]; inf means no clip.
        budget: training time (learning rate times steps), in [0, inf]; or give ``steps`` and ``rate``.
        flow: "natural" or "policy-gradient".
        steps: number of steps, in [0, inf).
        rate: size η of a step, in (0, 1]; for policy gradient the answer holds in the limit of small steps.

    Returns:
        A float, or an array of the broadcast shape; +inf where p ≤ b, where c is inf, and at budget 0; NaN where an
        argument is NaN.

    Raises:
        ValueError: a value is outside its range, or not exactly one of ``budget`` and (``steps``, ``rate``) is given.

    Source: extension, for the two flows (the paper's Corollary 4.2 treats finite budgets too);
    ``derivations/dynamics.md``.

    >>> float(budget_threshold(0.9, 0.5, 2.0, 3.0)), float(budget_threshold(0.9, 0.5, 2.0, steps=30, rate=0.1))
    (1.4102..., 1.3993...)
    >>> float(budget_threshold(0.9, 0.5, 2.0, 3.0, flow="policy-gradient"))
    4.67...
    """
    require_flow(flow)
    p, b, c, time = checked_arrays((P, p), (B, b), (C, c), (BUDGET, _duration(budget, steps, rate, flow)))
    star = threshold(p, b, c)
    with np.errstate(all="ignore"):
        if flow == "natural":
            found = natural_threshold(star, time)
        else:
            gap = formulas.log_odds_gap(np, p, b)
            found = star + _beyond(formulas.logit(np, b), gap + formulas.push_to_edge(np, p, c), time) / gap
    unreachable = (p <= b) | (c == math.inf)
    return as_float64(np.where(unreachable, math.inf, found), p, b, c, time)


def _step_time(rate: Floats, flow: Flow) -> Floats:
    """Return the time that one step stands for; under the natural flow it reproduces discrete steps exactly."""
    return -np.log1p(-rate) if flow == "natural" else rate


def _duration(budget: ArrayLike | None, steps: ArrayLike | None, rate: ArrayLike | None, flow: Flow) -> Floats:
    """Return the time of a budget."""
    if budget is not None and steps is None and rate is None:
        return reals("budget", budget)
    if budget is not None or steps is None or rate is None:
        raise ValueError("budget must be given, or steps and rate in its place")
    count, size = checked_arrays((STEPS, steps), (RATE, rate))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((count == 0) & (size == 1), 0.0, count * _step_time(size, flow))  # 0·∞ where rate is 1


def _beyond(start: Floats, distance: Floats, budget: Floats) -> Floats:
    """Return how far beyond the clip edge the fixed point lies if policy gradient takes the whole budget to the edge.

    The unknown is y = log(1 + distance/beyond). The time is y times the inverse rate 2 + e^θ + e^−θ at some θ between
    base and edge, which brackets y. On logarithmic axes, time against y is nearly a line of slope 1.
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
    """Return the roots that :func:`_beyond` brackets, by Newton's method on the logarithms of time and y."""
    y, active = np.sqrt(low) * np.sqrt(high), np.arange(len(low))
    for step in range(ITERATIONS):
        at, length, bottom, top = y[active], distance[active], low[active], high[active]
        rough = step < ROUGH  # the coarse nodes are not exact enough to move the bracket
        time, slope = policy_time(start[active], length, length / np.expm1(at), COARSE if rough else FINE)
        residual = np.log(budget[active] / time)
        if not rough:
            low[active] = bottom = np.where(residual > 0, at, bottom)
            high[active] = top = np.where(residual < 0, at, top)
        # Newton's step in log y; ``slope`` is in log(beyond), and −d log y/d log(beyond) = (1 − e^−y)/y.
        following = at * np.exp(residual * -time / slope * -np.expm1(-at) / at)
        inside = (following >= bottom) & (following <= top)
        y[active] = following = np.where(inside, following, at if rough else np.sqrt(bottom) * np.sqrt(top))
        if rough:
            continue
        # Newton's method squares the residual, so from 1e-8 the step just taken reaches the last digit.
        solved = (np.abs(residual) < 4e-15) | (inside & (np.abs(residual) < 1e-8)) | (top <= bottom * (1 + 1e-15))
        active = active[~solved]
        if not len(active):
            break
    beyond: Floats = distance / np.expm1(y)
    return beyond


def time_to_collapse(
    p: ArrayLike, b: ArrayLike, c: ArrayLike, lam: ArrayLike, *, tail: ArrayLike, flow: Flow = "natural"
) -> Any:
    """Return the time from the base until the student's tail mass has fallen to ``tail``.

    For p > b every tail is reached at λ ≥ λ_c. Below λ_c the tail settles at a positive mass, and smaller tails are
    never reached.

    Args:
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1); below p/c the answer is a lower bound.
        c: cap on the tail ratio (1−p)/(1−q), in [1, inf]; inf means no clip.
        lam: extrapolation coefficient λ, finite.
        tail: tail mass 1−q to be reached, in (0, 1).
        flow: "natural" or "policy-gradient".

    Returns:
        A float, or an array of the broadcast shape; 0 where the base's tail is no larger, +inf where that tail is never
        reached, NaN where an argument is NaN. The relative error is about 1e-12, except for tails close to the base's
        or to where the student settles: there the last digits of ``lam`` and ``tail`` decide.

    Raises:
        ValueError: a value is outside its range.

    Source: extension, for the two flows with the clip inside the advantage; ``derivations/dynamics.md``.

    >>> time_to_collapse(0.99, 0.9, 5.0, [1.6, 1.68, 1.8], tail=1e-6).round(1)
    array([  inf, 676.9,  28.1])
    """
    require_flow(flow)
    p, b, c, lam, tail = checked_arrays((P, p), (B, b), (C, c), (LAM, lam), (TAIL, tail))
    with np.errstate(all="ignore"):
        path, log_q = _Path.of(p, b, c, lam), np.log1p(-as_longdouble(tail))
        to_goal = -formulas.logit(np, as_longdouble(tail)) - path.base
        base_before_edge = path.distance > 0
        before_edge = to_goal <= np.maximum(path.distance, 0.0)  # no clipped stretch, or no stretch at all
        # The first stretch, without the clip, ends at the goal or at the edge; a base past the edge skips it.
        beyond_stretch = np.where(before_edge, lam * path.gap - to_goal, path.beyond)
        free = free_time(flow, path.base, np.minimum(to_goal, path.distance), beyond_stretch)
        # The second stretch, with the clip, leads from the edge or from a base past it to the goal, in w = −log q.
        w_edge = np.log1p((1 - as_longdouble(p)) / (as_longdouble(c) - 1 + p))
        ends = path.surplus, np.where(base_before_edge, w_edge, -np.log(as_longdouble(b))), -log_q
        clipped = clipped_time(flow, *(np.where(before_edge, 1.0, end) for end in ends))  # 1.0: any valid number
        time = np.where(base_before_edge, free, 0.0) + np.where(before_edge, 0.0, clipped)
    return as_float64(np.where(to_goal <= 0, 0.0, time), p, b, c, lam, tail)
