"""Where a student comes to rest under a loss, from the velocity of its log-odds alone: no formula of a rule is used."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from lambda_star._core.namespaces import Floats
from lambda_star.torch.velocity import Velocity

__all__ = ["Flow"]

STEP, FINE = 0.25, (-40.0, 60.0)  # evenly spaced log-odds, in the range where rules differ
ROUNDS, POINTS = 6, 33  # refinements of a bracket and points of each, down to 1e-10 of a step
HALVINGS = 60
LAMS = 48  # λ tried on the way up, before the bisection
BESIDE = np.outer([-1.0, 1.0], np.geomspace(1e-7, 1e-2, 6)).ravel()  # log-odds around q_λ
SHARE = 0.8  # of the reach: the fixed point must lie inside it at every λ that is tried
ASIDE = {False: (1e-3, 1e-7), True: (1e-2, 1e-2)}  # log-odds from q_λ that count as away from it, by a loss's digits

NOT_FINITE = (
    "loss must have a finite gradient between base and teacher, got none; is its value finite? "
    "A batch may be one row here, so do not divide by a standard deviation over it"
)


class Flow:
    """The motion of the student's log-odds at one position, teacher p and base b, from the base on.

    A velocity within rounding of 0 is neutral: the student stops there.
    """

    def __init__(self, velocity: Velocity, p: float, b: float) -> None:
        self.velocity, self.p, self.b = velocity, p, b
        self.start, self.teacher = (math.log(each) - math.log1p(-each) for each in (b, p))
        self.gap = math.log1p((p - b) / (b * (1 - p)))
        self.grid = self._grid()
        self.scale = self._scale()
        if not self.scale > 0:
            raise ValueError(
                "loss must have a gradient with respect to the student's logits, got 0 at every log-odds tried; is "
                "the student detached, or the advantage centred over a batch? Every row is a batch of its own here"
            )
        self.neutral = velocity.rounding * self.scale
        self.aside = ASIDE[velocity.rounding > 1e-6]
        log_odds = self._finite(2.0)[0]
        if not len(log_odds):
            raise ValueError(NOT_FINITE)
        self.lowest, self.highest = float(log_odds[0]), float(log_odds[-1])
        self.max_lam = max(1.0, 1 + (SHARE * self.highest - self.teacher) / self.gap)

    def _scale(self) -> float:
        """Return the median speed of students between base and teacher, or else the largest speed of all."""
        near = np.linspace(self.start - 2, self.teacher + 2, 40)
        speeds = np.abs(np.concatenate([self.velocity(near, self.p, self.b, lam) for lam in (1.0, 2.0)]))
        speeds = speeds[np.isfinite(speeds)]
        if not len(speeds):
            raise ValueError(NOT_FINITE)
        return float(np.median(speeds)) or float(np.max(np.abs(self._finite(2.0)[1]), initial=0.0))

    def _grid(self) -> Floats:
        reach = self.velocity.reach
        step = STEP * (4 if self.velocity.slow else 1)
        fine = np.arange(FINE[0], FINE[1] + step / 2, step)
        below, above = (np.geomspace(abs(end), max(reach, abs(end)), 40)[1:] for end in FINE)
        return np.unique(np.concatenate([-below, fine, above, [self.start]]))

    def _finite(self, lam: float) -> tuple[Floats, Floats]:
        """Return log-odds and velocities of the unbroken finite stretch around the base."""
        # Beside q_λ the velocity may change its sign twice within one step of the grid.
        beside = self.fixed_point(lam) + BESIDE
        log_odds = np.unique(np.concatenate([self.grid, beside[np.abs(beside) < self.velocity.reach]]))
        values = self.velocity(log_odds, self.p, self.b, lam)
        # A single student may divide 0 by 0, as a gradient that is normalised does at rest.
        finite = np.isfinite(values)
        alone = ~finite & np.append(finite[1:], False) & np.append(False, finite[:-1])
        log_odds, values = log_odds[~alone], values[~alone]
        broken = np.flatnonzero(~np.isfinite(values))
        at = int(np.searchsorted(log_odds, self.start))
        low = int(broken[broken < at].max(initial=-1)) + 1
        high = int(broken[broken >= at].min(initial=len(values)))
        return log_odds[low:high], values[low:high]

    def fixed_point(self, lam: float) -> float:
        """Return the log-odds of q_λ."""
        return self.teacher + (lam - 1) * self.gap

    def settle(self, lam: float) -> float:
        """Return the log-odds at which the student that starts at the base stops; ±inf where it runs away.

        NaN says that it passes the last log-odds with a finite gradient while the force that holds it back still grows.
        """
        moving, stopped = self._stop(lam)
        if moving == stopped or not math.isfinite(stopped):
            return stopped
        return self._refine(moving, stopped, lam)

    def _stop(self, lam: float) -> tuple[float, float]:
        """Return neighbours on the grid, at the first of which the student still moves and at the second no longer."""
        log_odds, values = self._finite(lam)
        if not len(values):
            return self.start, math.nan
        at = int(np.searchsorted(log_odds, self.start))
        if abs(values[at]) <= self.neutral:
            return self.start, self.start
        sign = 1.0 if values[at] > 0 else -1.0
        ahead, speeds = (log_odds[at:], values[at:]) if sign > 0 else (log_odds[at::-1], -values[at::-1])
        stops = np.flatnonzero(speeds <= self.neutral)
        if not len(stops):
            return float(ahead[-1]), math.nan if self._still_slows(ahead, speeds) else sign * math.inf
        return float(ahead[stops[0] - 1]), float(ahead[stops[0]])

    def _still_slows(self, log_odds: Floats, speeds: Floats) -> bool:
        """Tell whether the student still slows down over the last half of its way."""
        half = int(np.searchsorted(np.abs(log_odds - log_odds[0]), abs(log_odds[-1] - log_odds[0]) / 2))
        return bool(speeds[half] - speeds[-1] > 1e-3 * speeds[half])

    def _refine(self, moving: float, stopped: float, lam: float) -> float:
        """Return the first log-odds at which the student no longer moves on, between two such neighbours."""
        sign = math.copysign(1.0, stopped - moving)
        for _ in range(ROUNDS):
            points = np.linspace(moving, stopped, POINTS)
            speeds = sign * self.velocity(points, self.p, self.b, lam)
            first = int(np.argmax(~(speeds[1:] > self.neutral))) + 1
            moving, stopped = float(points[first - 1]), float(points[first])
        return (moving + stopped) / 2

    def dead(self, lam: float) -> bool:
        """Tell whether the tail runs to 0 from the base on."""
        return self._stop(lam)[1] == math.inf

    def left(self, lam: float, aside: float) -> bool:
        """Tell whether the student does not rest this near to q_λ: it must be driven towards it from both sides."""
        at = self.fixed_point(lam)
        below, above = self.velocity(np.array([at - aside, at + aside]), self.p, self.b, lam)
        return not (below > self.neutral and above < -self.neutral)

    def neutral_beyond(self, lam: float) -> bool:
        """Tell whether no force acts on students just past the one at rest, so that noise alone moves them on."""
        at = self.settle(lam)
        if not math.isfinite(at) or not self.start < at < self.highest - 2:
            return False
        return bool((np.abs(self.velocity(at + np.array([0.1, 0.5, 1.0]), self.p, self.b, lam)) <= self.neutral).all())

    def dies(self) -> float:
        """Return the λ from which on the tail dies: +inf if at none up to the largest, 0 if also at λ = 1 and λ = 0."""
        lams = [0.0, 0.25, 0.5, 0.75, 1.0] if self.dead(1.0) else [1.0, *self._above()]
        return self._first(self.dead, lams)

    def leaves(self) -> float:
        """Return the λ from which on the student does not rest at q_λ, searched from 1 upwards; +inf if there is none.

        A student that is elsewhere at λ = 1 already left at a smaller λ, which is then searched from 0 upwards. One
        that leaves gradually from λ = 1 on left at 1, one that does so later where it is a thousandth away.
        """
        far, near = self.aside
        if self.left(1.0, far):
            found = self._first(lambda lam: self.left(lam, near), [*np.linspace(0.0, 1.0, LAMS)])
            return found if found > near else 0.0
        lams = [1.0, *self._above()]
        found = self._first(lambda lam: self.left(lam, far), lams)
        if found == math.inf or near == far or self.left(1.0, near):
            return found
        sharp = self._first(lambda lam: self.left(lam, near), lams)
        if sharp - 1 < 0.05 * (found - 1):
            return 1.0
        return sharp if (found - sharp) * self.gap <= 3 * far else found

    def _above(self) -> Floats:
        room = self.max_lam - 1
        return 1 + np.geomspace(min(1e-3, room / 2), room, LAMS) if room > 0 else np.array([])

    def _first(self, holds: Callable[[float], bool], lams: list[float]) -> float:
        """Return the least of rising λ at which a condition holds, refined by bisection."""
        first = next((at for at, lam in enumerate(lams) if holds(lam)), None)
        if first is None:
            return math.inf
        if first == 0:
            return lams[0]
        low, high = lams[first - 1], lams[first]
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            if not low < middle < high or high - low <= 1e-12 * high:
                break
            low, high = (low, middle) if holds(middle) else (middle, high)
        return float(high)
