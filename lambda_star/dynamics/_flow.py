"""The student's log-odds over time: the flow, and its sampled version."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lambda_star._core.namespaces import Floats
from lambda_star._core.quantities import LAM, B, C, P, Quantity, require
from lambda_star.dynamics._arguments import RATE, STEPS, Flow, arguments, checked_flow

__all__ = ["simulate", "trajectory"]

ROLLOUTS = Quantity("rollouts", 1, math.inf, "[)")

NEGLIGIBLE = 1e-30
"""A time within which no log-odds move by as much as a float can show."""


TOLERANCE = 1e-12
"""What one step of integrating a trajectory may err by, between the kinks where the clip starts or stops."""


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
    arrays = arguments((P, p), (B, b), (C, c), (LAM, lam))
    if any(value.ndim for value in arrays):
        raise ValueError("p, b, c and lam must be numbers, got an array; call once for each")
    moments = arguments((STEPS.named("times"), times))[0]
    if moments.ndim != 1 or np.any(np.diff(moments) < 0):
        raise ValueError(f"times must be a list of rising times, got {times!r}")
    if np.isnan([float(value) for value in arrays]).any() or np.isnan(moments).any():
        return np.full(moments.shape, np.nan)
    position = _Clipped(*(float(value) for value in arrays)) if clipped else _Clipped(float(p), float(b), math.inf, lam)
    moments, places = np.unique(moments, return_inverse=True)
    return _integrated(position, checked_flow(flow), moments)[places]


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

    *_, lams = arguments((P, p), (B, b), (C, c), (RATE, rate), (LAM, lam))
    require((ROLLOUTS, rollouts), (STEPS, steps), (STEPS.named("seed"), seed))
    checked_flow(flow)
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
