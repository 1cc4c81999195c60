"""A finite training budget: how long a λ above λ* may be trained, and where the student is until then.

The student starts at the base, and its log-odds θ = logit q follow one of two flows towards the fixed point θ_λ:
``"natural"``, θ' = θ_λ − θ (natural gradient), or ``"policy-gradient"``, θ' = q(1−q)·(θ_λ − θ) (plain policy gradient
on the logit). Time is learning rate times steps. Once the tail ratio has reached c, the clip acts inside the update,
and (λ−λ_c)Δ − log q takes the place of θ_λ − θ.

Everything here is an extension, and a statement about these two flows at one position with two outcomes. Optimisers
with momentum, shared parameters and sampling noise are not promised to obey it. A finite budget moves the cliff up; λ*
is where it goes as the budget grows, and the safe number. Where the base lies below p/c, the clip holds the modal token
back at first: :func:`trajectory` and :func:`simulate` do that, while the times count a way without it and so are lower
bounds, as is the threshold of a budget: the cliff is met no earlier.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lambda_star._array import Domain, check
from lambda_star._times import COARSE, FINE, clipped_time, free_time, inverse_rate, natural_threshold, policy_time
from lambda_star.bernoulli import CLIP, PROBABILITY, REAL, _edge, _gap, threshold

__all__ = ["budget_for", "budget_threshold", "simulate", "time_to_collapse", "time_to_edge", "trajectory"]

Flow = Literal["natural", "policy-gradient"]
Floats = NDArray[np.float64]

DURATION = Domain(0.0, math.inf, low_closed=True, high_closed=True)
COUNT = Domain(0.0, math.inf, low_closed=True)
RATE = Domain(0.0, 1.0, high_closed=True)

FARTHEST = 700.0
"""The log(1 + distance/beyond) past which ``beyond`` is no float, and the budget as good as endless."""

BLOCK = 2**14
"""Roots found side by side: their temporaries stay in cache."""

ITERATIONS = 60
"""Most steps of the root finder; each at least halves its bracket."""

ROUGH = 2
"""The first of them, for which a few nodes are enough."""

NEGLIGIBLE = 1e-30
"""A time within which no log-odds move by as much as a float can show."""

TOLERANCE = 1e-12
"""What one step of integrating a trajectory may err by, between the kinks where the clip starts or stops."""


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
        p, b, c, lam = (_wide(value) for value in (p, b, c, lam))
        gap, edge = (np.asarray(part) for part in (_gap(np, p, b), _edge(np, p, c)))
        push = (lam - 1) * gap
        return cls(np.log(b / (1 - b)), gap, gap + edge, push - edge, push - np.log(c / p))


def _wide(values: ArrayLike) -> Any:
    return np.asarray(values, dtype=np.longdouble)


def _arguments(**values: tuple[Domain, ArrayLike]) -> list[Floats]:
    """The values as arrays that broadcast, checked."""
    arrays = [np.asarray(value, dtype=np.float64) for _, value in values.values()]
    check(np, {name: domain for name, (domain, _) in values.items()}, arrays)
    return list(np.broadcast_arrays(*arrays))


def _flow(flow: str) -> str:
    if flow not in get_args(Flow):
        raise ValueError(f"flow must be one of {', '.join(get_args(Flow))}, got {flow!r}")
    return flow


def _plain(values: Floats, *arguments: Floats) -> Any:
    """As float64, NaN where an argument is NaN, and a NumPy scalar for no dimensions."""
    with np.errstate(over="ignore"):
        plain = np.asarray(values, dtype=np.float64)
    for argument in arguments:
        plain = np.where(np.isnan(argument), np.nan, plain)
    return plain[()]


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
    p, b, c, lam = _arguments(p=(PROBABILITY, p), b=(PROBABILITY, b), c=(CLIP, c), lam=(REAL, lam))
    with np.errstate(all="ignore"):  # what has no limit is looked at after the fact
        time = _to_edge(_Way.of(p, b, c, lam), b, _flow(flow))
    return _plain(time, p, b, c, lam)


def _to_edge(way: _Way, b: Floats, flow: str) -> Floats:
    """The time to the edge; a base past it is at the edge if from there the clip lets it go on, and else never."""
    past = np.where(way.surplus - np.log(_wide(b)) > 0, 0.0, math.inf)
    return np.where(way.distance > 0, free_time(flow, way.base, way.distance, way.beyond), past)


def budget_for(
    p: ArrayLike, b: ArrayLike, c: ArrayLike, lam: ArrayLike, *, flow: Flow = "natural", rate: ArrayLike | None = None
) -> Any:
    """How long a λ above λ* may be trained before the clip edge is reached, as time or as steps.

    Args:
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1); below p/c the answer is a lower bound.
        c: cap on the tail ratio (1−p)/(1−q), in [1, inf]; inf means no clip.
        lam: extrapolation coefficient λ, finite.
        flow: "natural" or "policy-gradient".
        rate: size η of a step, in (0, 1]; with it the answer is the greatest whole number of steps that stay within the
            edge, exact for the natural flow, for the policy gradient in the limit of small steps.

    Returns:
        A float, or an array of the broadcast shape; +inf at λ ≤ λ*; NaN where an argument is NaN.

    Raises:
        ValueError: a value lies outside its range; the message names argument, range, value and index.

    Source: extension, for the two flows; ``derivations/dynamics.md``.

    >>> float(budget_for(0.9, 0.5, 2.0, 1.5)), float(budget_for(0.9, 0.5, 2.0, 1.5, rate=0.1))
    (2.2384..., 21.0)
    """
    time = np.asarray(time_to_edge(p, b, c, lam, flow=flow))
    if rate is None:
        return _plain(time)
    time, rate = np.broadcast_arrays(time, _arguments(rate=(RATE, rate))[0])
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.where(time == math.inf, math.inf, time / (-np.log1p(-rate) if flow == "natural" else rate))
    return _plain(np.floor(steps), time, rate)


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
    whole = _flow(flow) == "natural"
    p, b, c, time = _arguments(
        p=(PROBABILITY, p), b=(PROBABILITY, b), c=(CLIP, c), budget=(DURATION, _duration(budget, steps, rate, whole))
    )
    edge = threshold(p, b, c)
    with np.errstate(all="ignore"):
        gap = _gap(np, p, b)
        distance = gap + _edge(np, p, c)
        found = natural_threshold(edge, time) if whole else edge + _beyond(np.log(b / (1 - b)), distance, time) / gap
    unreachable = (p <= b) | (c == math.inf)
    return _plain(np.where(unreachable, math.inf, found), p, b, c, time)


def _duration(budget: ArrayLike | None, steps: ArrayLike | None, rate: ArrayLike | None, natural: bool) -> Floats:
    """The time of a budget; for the natural flow discrete steps have an exact equivalent."""
    if budget is not None and steps is None and rate is None:
        return np.asarray(budget, dtype=np.float64)
    if budget is not None or steps is None or rate is None:
        raise ValueError("budget must be given, or steps and rate in its place")
    count, size = _arguments(steps=(COUNT, steps), rate=(RATE, rate))
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
    p, b, c, lam, tail = _arguments(
        p=(PROBABILITY, p), b=(PROBABILITY, b), c=(CLIP, c), lam=(REAL, lam), tail=(PROBABILITY, tail)
    )
    _flow(flow)
    with np.errstate(all="ignore"):
        way, goal = _Way.of(p, b, c, lam), np.log1p(-_wide(tail)) - np.log(_wide(tail))
        left = goal - way.base
        # Straight to the goal, or to the edge and on with the clip; a base past the edge starts there.
        short = left <= way.distance
        rest = np.where(short, lam * way.gap - left, way.beyond)
        before = np.where(way.distance > 0, free_time(flow, way.base, np.minimum(left, way.distance), rest), 0.0)
        edge = np.log1p((1 - _wide(p)) / (_wide(c) - 1 + p))
        start, end = np.where(way.distance > 0, edge, -np.log(_wide(b))), -np.log1p(-_wide(tail))
        surplus, start, end = (np.where(short, 1.0, values) for values in (way.surplus, start, end))
        total = np.where(left <= 0, 0.0, before + np.where(short, 0.0, clipped_time(flow, surplus, start, end)))
    return _plain(total, p, b, c, lam, tail)


class _Clipped(NamedTuple):
    """The advantage of the modal token over the tail, A_c(a) = min(log(π_T/π), log c) + (λ−1) log(π_T/π_B) of each."""

    p: float
    b: float
    c: float
    lam: Any

    def advantages(self, theta: Any) -> tuple[Any, Any]:
        """Of modal token and tail, at the student's log-odds."""
        from scipy.special import log_expit

        log_c, tail_p, tail_b = math.log(self.c), math.log1p(-self.p), math.log1p(-self.b)
        modal = np.minimum(math.log(self.p) - log_expit(theta), log_c)
        tail = np.minimum(tail_p - log_expit(-theta), log_c)
        push = np.asarray(self.lam) - 1
        return modal + push * (math.log(self.p) - math.log(self.b)), tail + push * (tail_p - tail_b)

    def kinks(self) -> list[float]:
        """The log-odds at which the clip lets go of the modal token, and at which it takes hold of the tail."""
        if self.c == math.inf:
            return []
        modal, tail = self.p / self.c, (1 - self.p) / self.c
        return [math.log(modal) - math.log1p(-modal), math.log1p(-tail) - math.log(tail)]


def trajectory(
    p: float, b: float, c: float, lam: float, times: ArrayLike, *, flow: Flow = "natural", clipped: bool = True
) -> Floats:
    """The student's log-odds over time, from the base on.

    The clip acts on modal token and tail alike. Where it starts or stops to act the velocity has a kink; each stretch
    between kinks is integrated on its own, to errors of 1e-12 a step, which add up to less than 1e-8 as long as the
    student moves: where its velocity has fallen below 1e-7, rounding decides how it goes on.

    Args:
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1).
        c: cap on the ratio of teacher to student probability, in [1, inf]; inf means no clip.
        lam: extrapolation coefficient λ, finite.
        times: times at which to look, in [0, inf), rising, shape (n,).
        flow: "natural" or "policy-gradient".
        clipped: whether the clip acts; without it the student goes to the fixed point at every λ.

    Returns:
        An array of shape (n,); NaN throughout where an argument is NaN.

    Raises:
        ValueError: a value lies outside its range, or the times do not rise.

    Source: extension, for the two flows with the clip inside the update; ``derivations/dynamics.md``.

    >>> trajectory(0.9, 0.5, 2.0, 1.5, [0.0, 1.0, 10.0]).round(3)
    array([0.   , 2.083, 5.419])
    """
    arrays = _arguments(p=(PROBABILITY, p), b=(PROBABILITY, b), c=(CLIP, c), lam=(REAL, lam))
    if any(value.ndim for value in arrays):
        raise ValueError("p, b, c and lam must be numbers, got an array; call once for each")
    moments = _arguments(times=(COUNT, times))[0]
    if moments.ndim != 1 or np.any(np.diff(moments) < 0):
        raise ValueError(f"times must be a list of rising times, got {times!r}")
    if np.isnan([float(value) for value in arrays]).any() or np.isnan(moments).any():
        return np.full(moments.shape, np.nan)
    position = _Clipped(*(float(value) for value in arrays)) if clipped else _Clipped(float(p), float(b), math.inf, lam)
    moments, places = np.unique(moments, return_inverse=True)
    return _integrated(position, _flow(flow), moments)[places]


def _integrated(position: _Clipped, flow: str, times: Floats) -> Floats:
    from scipy.integrate import solve_ivp

    def velocity(_: float, theta: Any) -> Any:
        modal, tail = position.advantages(theta)
        return (modal - tail) * _fisher(flow, theta)

    theta, now = math.log(position.b) - math.log1p(-position.b), 0.0
    out = np.full(times.shape, theta)
    while len(times) and now < times[-1] > NEGLIGIBLE:
        kinks = [kink for kink in position.kinks() if kink != theta]
        events = [_crossing(kink) for kink in kinks] or None
        left = times[times > now]
        found = solve_ivp(
            velocity, (now, left[-1]), [theta], "LSODA", left, events=events, rtol=TOLERANCE, atol=TOLERANCE
        )
        out[np.flatnonzero(times > now)[: len(found.t)]] = found.y[0] if len(found.t) else []
        hits = [(moment[0], kink) for moment, kink in zip(found.t_events or [], kinks, strict=False) if len(moment)]
        if not hits:
            break
        now, theta = min(hits)
    return out


def _crossing(kink: float) -> Any:
    def event(_: float, theta: Any) -> float:
        return float(theta[0] - kink)

    event.terminal = True  # type: ignore[attr-defined]
    return event


def _fisher(flow: str, theta: Any) -> Any:
    """The factor q(1−q) of plain policy gradient; natural gradient divides it out."""
    from scipy.special import expit

    return 1.0 if flow == "natural" else expit(theta) * expit(-theta)


def simulate(
    p: float,
    b: float,
    c: float,
    lam: ArrayLike,
    *,
    rollouts: int,
    steps: int,
    seed: int,
    rate: float = 0.1,
    flow: Flow = "natural",
    baseline: bool = True,
) -> Floats:
    """The sampled version of the flow: tokens drawn from the student, one batch per step, for every λ at once.

    Each step adds rate times the mean over the batch of advantage times ∇ log π, the clip inside the advantage; its
    expectation is the flow. What noise does shows in the spread between seeds.

    Args:
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1).
        c: cap on the ratio of teacher to student probability, in [1, inf]; inf means no clip.
        lam: extrapolation coefficients λ, finite; a number or an array, simulated side by side.
        rollouts: tokens per step, at least 1.
        steps: number of steps, at least 0.
        seed: seed of the random numbers.
        rate: size of a step, in (0, 1].
        flow: "natural" or "policy-gradient".
        baseline: take the mean advantage off, as policy-gradient codes do to lower the noise; the expectation stays.

    Returns:
        The student's log-odds, shape (steps + 1, …) with the shape of ``lam``; the first row is the base.

    Raises:
        ValueError: a value lies outside its range.

    Source: extension, for the two flows with the clip inside the update; ``derivations/dynamics.md``.

    >>> last = simulate(0.9, 0.5, 2.0, [1.2, 1.5], rollouts=1000, steps=200, seed=0)[-1]
    >>> [bool(theta > 8) for theta in last]                                                # λ_c is 1.36
    [False, True]
    """
    from scipy.special import expit

    *_, lams = _arguments(p=(PROBABILITY, p), b=(PROBABILITY, b), c=(CLIP, c), rate=(RATE, rate), lam=(REAL, lam))
    for name, value, least in (("rollouts", rollouts, 1), ("steps", steps, 0), ("seed", seed, 0)):
        if value < least:
            raise ValueError(f"{name} must lie in [{least}, inf), got {value!r}")
    _flow(flow)
    rng, position = np.random.default_rng(seed), _Clipped(p, b, c, lams)
    theta = np.full((steps + 1, *lams.shape), math.log(b) - math.log1p(-b))
    for step in range(steps):
        modal, tail = position.advantages(theta[step])
        q, rest = expit(theta[step]), expit(-theta[step])
        share = rng.binomial(rollouts, np.where(np.isnan(q), 0.5, q)) / rollouts
        mean = q * modal + rest * tail if baseline else 0.0
        # ∇ log π is 1−q for the modal token and −q for the tail; natural gradient divides by q(1−q), and what was not
        # drawn adds nothing, also where its probability is no longer a float.
        if flow == "natural":
            rest, q = 1 / np.where(share > 0, q, 1.0), 1 / np.where(share < 1, rest, 1.0)
        theta[step + 1] = theta[step] + rate * (share * (modal - mean) * rest - (1 - share) * (tail - mean) * q)
    return theta
