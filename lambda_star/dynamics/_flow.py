"""The student's log-odds over time: the flow, and its sampled version."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lambda_star._core.namespaces import Floats, scalar
from lambda_star._core.quantities import LAM, B, C, P, Quantity, require
from lambda_star.bernoulli import formulas
from lambda_star.dynamics._arguments import RATE, STEPS, Flow, as_longdouble, checked_arrays, require_flow

ROLLOUTS = Quantity("rollouts", 1, math.inf, "[)")

OVERWHELMING = 1e18  # beside such a push, any log-ratio of two floats is below rounding
LARGEST = 1e300  # the size at which an advantage of a simulation ends
NEWTON_STEPS = 12  # from θ = arcsinh, where 2θ is all that is missing
NEGLIGIBLE = 1e-30  # within such a time the log-odds move by less than the spacing of floats
TOLERANCE = 1e-12  # largest error of one integration step, between the kinks where the clip starts or stops to act


class _Update(NamedTuple):
    """The update rule at one position: the advantage A(a) = min(log(π_T/π_S), log c) + (λ−1) log(π_T/π_B)."""

    p: float
    b: float
    c: float
    lam: Any

    def capped(self, theta: Any) -> tuple[Any, Any]:
        """Return the capped log-ratios of the modal token and of the tail at the student's log-odds."""
        from scipy.special import log_expit

        log_c = math.log(self.c)
        modal = np.minimum(math.log(self.p) - log_expit(theta), log_c)
        return modal, np.minimum(math.log1p(-self.p) - log_expit(-theta), log_c)

    def advantages(self, theta: Any) -> tuple[Any, Any]:
        """Return the advantages of the modal token and of the tail, within ±LARGEST, so that they have a difference."""
        excess = np.asarray(self.lam) - 1
        log_ratios = math.log(self.p) - math.log(self.b), math.log1p(-self.p) - math.log1p(-self.b)
        with np.errstate(over="ignore"):
            both = (capped + excess * r for capped, r in zip(self.capped(theta), log_ratios, strict=True))
            modal, tail = (np.clip(advantage, -LARGEST, LARGEST) for advantage in both)
        return modal, tail

    def push(self) -> float:
        """Return (λ−1)Δ, which keeps its digits where p and b nearly agree."""
        return float(formulas.push(scalar, self.p, self.b, self.lam))

    def kinks(self) -> list[float]:
        """Return the log-odds at which the clip stops to act on the modal token, and starts to act on the tail."""
        if self.c == math.inf:
            return []
        stops = math.log(self.p) - math.log(self.c - self.p)  # logit p/c, and minus logit (1−p)/c, without underflow
        return [stops, math.log(self.c - 1 + self.p) - math.log1p(-self.p)]


def trajectory(p: float, b: float, c: float, lam: float, times: ArrayLike, *, flow: Flow = "natural") -> Floats:
    """Return the student's log-odds at given times, with the base as the student at time 0.

    The clip acts on the modal token and on the tail. Where it starts or stops to act the velocity has a kink, so each
    stretch between kinks is integrated by itself. The error is at most 1e-12 per step and adds up to less than 1e-8 as
    long as the student moves; once its velocity is below 1e-7, rounding errors dominate. A push (λ−1)Δ beyond ±1e18 has
    a closed form, since no log-ratio of the student counts beside it; log-odds too large for a float are ±inf.

    Args:
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1).
        c: cap on the ratio of teacher to student probability, in [1, inf]; inf means no clip, and then the student
            goes to the fixed point at every λ.
        lam: extrapolation coefficient λ, finite.
        times: times to return, in [0, inf), in rising order, shape (n,).
        flow: "natural" or "policy-gradient".

    Returns:
        An array of shape (n,); NaN throughout where an argument is NaN.

    Raises:
        ValueError: a value is outside its range, or the times do not rise.

    Source: extension, for the two flows with the clip inside the advantage; ``derivations/dynamics.md``.

    λ = 1.5 is past the collapse point, 1.36, and the student runs away to the modal token:

    >>> trajectory(0.9, 0.5, 2.0, 1.5, [0.0, 1.0, 10.0]).round(3)
    array([0.   , 2.083, 5.419])
    """
    arrays = checked_arrays((P, p), (B, b), (C, c), (LAM, lam))
    if any(value.ndim for value in arrays):
        raise ValueError("p, b, c and lam must be numbers, got an array; call once for each")
    (moments,) = checked_arrays((STEPS.named("times"), times))
    if moments.ndim != 1 or np.any(np.diff(moments) < 0):
        raise ValueError(f"times must be a list of rising times, got {times!r}")
    require_flow(flow)
    update = _Update(*(float(value) for value in arrays))
    if np.isnan(update).any() or np.isnan(moments).any():
        return np.full(moments.shape, np.nan)
    if abs(update.push()) > OVERWHELMING:
        return _pushed(update, flow, moments)
    distinct, order = np.unique(moments, return_inverse=True)
    return _integrated(update, flow, distinct)[order]


def _pushed(update: _Update, flow: Flow, times: Floats) -> Floats:
    """Return the log-odds under a push beside which the student's log-ratios are below rounding, clipped or not."""
    start, push = as_longdouble(formulas.logit(scalar, update.b)), as_longdouble(update.lam - 1)
    push = push * formulas.log_odds_gap(scalar, update.p, update.b)
    with np.errstate(over="ignore"):
        if flow == "policy-gradient":  # θ' = q(1−q)·push, and so 2θ + 2 sinh θ grows by push per unit of time
            goal = 2 * start + 2 * np.sinh(start) + push * times
            theta = np.arcsinh(goal / 2)
            for _ in range(NEWTON_STEPS):
                theta = theta - (2 * theta + 2 * np.sinh(theta) - goal) / (2 + 2 * np.cosh(theta))
        elif update.c == math.inf:
            theta = start * np.exp(-times) - (push + formulas.logit(scalar, update.p)) * np.expm1(-times)
        else:
            theta = start + push * times
        return np.asarray(theta, dtype=np.float64)


def _integrated(update: _Update, flow: Flow, times: Floats) -> Floats:
    """Integrate the flow from the base and return the log-odds at distinct, rising times."""
    from scipy.integrate import solve_ivp
    from scipy.special import expit

    theta, now, push = formulas.logit(scalar, update.b), 0.0, update.push()
    # The unit of time is that in which the push moves θ by 1, for the solver knows the time of a kink to 1e-15.
    unit = max(1.0, abs(push))
    times = times * unit

    def velocity(_: float, theta: Any) -> Any:
        modal, tail = update.capped(theta)
        # Natural gradient divides out the factor q(1−q) of plain policy gradient.
        return (modal - tail + push) / unit * (1.0 if flow == "natural" else expit(theta) * expit(-theta))

    out = np.full(times.shape, theta)
    while len(times) and now < times[-1] > NEGLIGIBLE:
        kinks = [kink for kink in update.kinks() if kink != theta]
        events = [_crossing(kink) for kink in kinks] or None
        ahead = times[times > now]
        found = solve_ivp(
            velocity, (now, ahead[-1]), [theta], "LSODA", ahead, events=events, rtol=TOLERANCE, atol=TOLERANCE
        )
        out[np.flatnonzero(times > now)[: len(found.t)]] = found.y[0] if len(found.t) else []
        hits = [(moment[0], kink) for moment, kink in zip(found.t_events or [], kinks, strict=False) if len(moment)]
        if not hits:
            break
        now, theta = min(hits)
    return out


def _crossing(kink: float) -> Any:
    """Return the event that ends an integration where the student crosses a kink."""

    def event(_: float, theta: Any) -> float:
        return float(theta[0] - kink)

    event.terminal = True  # type: ignore[attr-defined]
    return event


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
    """Simulate the flow with sampled batches, for every λ at once, and return the student's log-odds after each step.

    Each step draws a batch of tokens from the student and adds rate times the batch mean of advantage times ∇ log π,
    with the clip inside the advantage. The expectation of a step is a step of the flow; the spread between seeds shows
    the noise.

    Args:
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1).
        c: cap on the ratio of teacher to student probability, in [1, inf]; inf means no clip.
        lam: extrapolation coefficients λ, finite; a number or an array, whose entries are independent runs.
        rollouts: tokens per step, in [1, inf).
        steps: number of steps, in [0, inf).
        seed: seed of the random numbers.
        rate: size of a step, in (0, 1].
        flow: "natural" or "policy-gradient".
        baseline: whether to subtract the mean advantage, which lowers the noise and leaves the expectation as it is.

    Returns:
        The student's log-odds in steps + 1 rows, each of the shape of ``lam``; the first row is the base.

    Raises:
        ValueError: a value is outside its range.

    Source: extension, for the two flows with the clip inside the advantage; ``derivations/dynamics.md``.

    The collapse point is 1.36; only the student above it has lost its tail after 200 steps:

    >>> last = simulate(0.9, 0.5, 2.0, [1.2, 1.5], rollouts=1000, steps=200, seed=0)[-1]
    >>> [bool(theta > 8) for theta in last]
    [False, True]
    """
    *_, lams = checked_arrays((P, p), (B, b), (C, c), (RATE, rate), (LAM, lam))
    require((ROLLOUTS, rollouts), (STEPS, steps), (STEPS.named("seed"), seed))
    require_flow(flow)
    rng, update = np.random.default_rng(seed), _Update(p, b, c, lams)
    theta = np.full((steps + 1, *lams.shape), formulas.logit(scalar, b))
    for step in range(steps):
        theta[step + 1] = theta[step] + rate * _sampled_gradient(update, theta[step], flow, baseline, rollouts, rng)
    return theta


def _sampled_gradient(
    update: _Update, theta: Floats, flow: Flow, baseline: bool, rollouts: int, rng: np.random.Generator
) -> Floats:
    """Draw a batch from the student and return its mean of advantage times ∇ log π."""
    from scipy.special import expit

    modal, tail = update.advantages(theta)
    q, tail_mass = expit(theta), expit(-theta)
    modal_share = rng.binomial(rollouts, np.where(np.isnan(q), 0.5, q)) / rollouts
    mean = q * modal + tail_mass * tail if baseline else 0.0
    if flow == "policy-gradient":
        modal_slope, tail_slope = tail_mass, q  # ∇ log π is 1−q for the modal token and −q for the tail
    else:
        # Natural gradient divides both by q(1−q). A side that was not drawn adds nothing, so it gets slope 1: its
        # probability may have become too small for a float.
        modal_slope = 1 / np.where(modal_share > 0, q, 1.0)
        tail_slope = 1 / np.where(modal_share < 1, tail_mass, 1.0)
    gradient: Floats = modal_share * (modal - mean) * modal_slope - (1 - modal_share) * (tail - mean) * tail_slope
    return gradient
