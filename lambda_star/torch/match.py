"""Which known update rule a loss behaves like, from its velocity at several positions and λ."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq, minimize_scalar

from lambda_star import updates
from lambda_star._core.namespaces import Floats
from lambda_star.torch.velocity import Velocity

__all__ = ["Match", "find_rule"]

# Besides the position that is probed: one so near to deterministic that a clamp of the tail's log-ratio acts from both
# sides, and an undecided one.
PAIRS = ((1 - 1e-9, 0.5), (0.6, 0.3))
LAMS = (0.5, 1.0, 1.5, 3.0)
LOG_ODDS = np.arange(-20.0, 50.0, 0.37)
BOUNDS = np.geomspace(0.01, 48.0, 32)  # of a bound in nats, or of log c
FITTED = 3  # families whose bound is refined, those that come nearest on the grid of bounds

FAMILIES: tuple[Callable[[float], updates.Rule], ...] = (
    lambda bound: updates.log_ratio_cap(math.exp(bound)),
    lambda bound: updates.log_ratio_cap(math.exp(bound), through=True),
    updates.log_ratio_clamp,
    lambda bound: updates.log_ratio_clamp(bound, "extrapolated"),
    updates.log_prob_floor,
    lambda bound: updates.kl_to_base_cap(math.exp(bound)),
    updates.advantage_clamp,
    lambda bound: updates.advantage_clamp(bound, centred=True),
    updates.reward_clip,
    lambda bound: updates.teacher_weight(math.exp(bound)),
    lambda bound: updates.teacher_weight(math.exp(bound), centred=False),
)
SINGLE: tuple[updates.Rule, ...] = (updates.none(), updates.top_k(1), updates.top_k(1, through=True))
CLIFFS = tuple(FAMILIES[at] for at in (0, 1, 4, 5))
"""The families whose bound follows from where the tail dies."""


class Match(NamedTuple):
    """A rule, and whether the whole force is its own up to a factor; if not, only the direction is.

    ``near`` says that even the direction is another in some small region: the loss leaves q_λ elsewhere.
    """

    rule: updates.Rule
    exact: bool
    near: bool = False


class _Seen(NamedTuple):
    """Velocities of a loss over log-odds, positions and λ, in one row."""

    log_odds: Floats
    p: Floats
    b: Floats
    lam: Floats
    values: Floats
    unit: float
    tolerance: float

    def of(self, rule: updates.Rule) -> Floats:
        modal, tail = rule.force(self.log_odds, self.p, self.b, self.lam)
        velocities: Floats = modal - tail
        return velocities

    def mismatch(self, rule: updates.Rule, worst: bool = False) -> float:
        """Return how far the loss is from a positive multiple of a rule, in units of the loss's median velocity.

        Velocities far beyond that unit count by their logarithm.
        """
        known = self.of(rule)
        moving = (np.abs(known) > 1e-6) & np.isfinite(known)
        factor = float(np.median(self.values[moving] / known[moving])) if moving.any() else 0.0
        if not 0 < factor < math.inf:
            return math.inf
        apart = np.abs(np.arcsinh(self.values / self.unit) - np.arcsinh(factor * known / self.unit))
        return float(apart.max() if worst else apart.mean())

    def fits(self, rule: updates.Rule) -> bool:
        return self.mismatch(rule, worst=True) <= self.tolerance

    def directed_as(self, rule: updates.Rule) -> bool:
        """Tell whether the loss moves every student the way that a rule moves it."""
        known = self.of(rule)
        clear = np.abs(known) > 1e-4
        return bool((np.sign(self.values[clear]) == np.sign(known[clear])).all())


def find_rule(velocity: Velocity, p: float, b: float, leaves: float, dies: float) -> Match | None:
    """Find the rule whose force a loss has, up to a positive factor, or else one with the same directions.

    Args:
        velocity: the velocity of the loss.
        p: teacher's modal probability, in (b, 1).
        b: base's probability of the same token, in (0, 1).
        leaves: the λ at which the student leaves q_λ under the loss.
        dies: the λ at which its tail dies.

    Returns:
        The match, or None if there is no such rule.

    >>> from lambda_star.torch import opd_loss
    >>> from lambda_star.torch.losses import read_loss
    >>> from lambda_star.torch.velocity import read_velocity
    >>> def loss(student, teacher, base, lam): return 3 * opd_loss(student, teacher, base, lam, clip=5.0)
    >>> str(find_rule(read_velocity(read_loss(loss), 0.9, 0.5), 0.9, 0.5, 1.7712, 1.7804).rule)
    'log_ratio_cap(c=5)'
    """
    seen = _look(velocity, p, b)
    for single in SINGLE:
        if seen.fits(single):
            return Match(_over(single, velocity), True)
    fitted = [fit for family in _nearest(seen) if (fit := _fit(seen, family))]
    if fitted:
        return Match(min(fitted, key=seen.mismatch), True)
    for rule in (*_of_draw(velocity), *SINGLE, *_of_cliff(p, b, dies)):
        if seen.directed_as(rule):
            known = float(rule.leaves(p, b))
            same = known == leaves or abs(known - leaves) <= 1e-2 * leaves
            return Match(_over(rule, velocity), False, not same)
    return None


def _look(velocity: Velocity, p: float, b: float) -> _Seen:
    """Ask the loss everywhere; what is not finite is left out."""
    settings = [(*pair, lam) for pair in ((p, b), *PAIRS) for lam in LAMS]
    # With more than two tokens the tail is asked about where it is the rarest token, as two outcomes know no other way.
    log_odds = LOG_ODDS if velocity.outcomes == 2 else LOG_ODDS[math.log(velocity.outcomes - 1) < LOG_ODDS]
    log_odds = log_odds[::4] if velocity.slow else log_odds
    values = np.concatenate([velocity(log_odds, *setting) for setting in settings])
    columns = np.repeat(np.array(settings), len(log_odds), axis=0)
    finite = np.isfinite(values)
    everywhere = np.tile(log_odds, len(settings))[finite]
    unit = float(np.median(np.abs(values[finite]))) or 1.0
    tolerance = 1e-6 if velocity.rounding < 1e-6 else 2e-3
    of_teacher, of_base, lam = columns[finite].T
    return _Seen(everywhere, of_teacher, of_base, lam, values[finite], unit, tolerance)


def _over(rule: updates.Rule, velocity: Velocity) -> updates.Rule:
    """Return a rule with the k of as many outcomes as there were."""
    if isinstance(rule, updates.top_k):
        return updates.top_k(velocity.outcomes - 1, through=rule.through)
    return rule


def _nearest(seen: _Seen) -> list[tuple[Callable[[float], updates.Rule], int]]:
    """Return the families that come nearest, each with the best place on the grid of bounds."""
    few = seen._replace(**{name: getattr(seen, name)[::3] for name in ("log_odds", "p", "b", "lam", "values")})
    found = []
    for family in FAMILIES:
        apart = [few.mismatch(family(float(bound))) for bound in BOUNDS]
        at = int(np.argmin(apart))
        found.append((apart[at], family, at))
    return [(family, at) for _, family, at in sorted(found, key=lambda each: each[0])[:FITTED]]


def _fit(seen: _Seen, nearest: tuple[Callable[[float], updates.Rule], int]) -> updates.Rule | None:
    """Refine the bound of a family; return the rule with the shortest number that fits, or None."""
    family, at = nearest
    ends = float(BOUNDS[max(at - 1, 0)]), float(BOUNDS[min(at + 1, len(BOUNDS) - 1)])
    best = minimize_scalar(lambda bound: seen.mismatch(family(float(bound))), bounds=ends, options={"xatol": 1e-11})
    rule = family(float(best.x))
    if not seen.fits(rule):
        return None
    return next((short for short in _rounded(rule) if seen.fits(short)), rule)


def _rounded(rule: updates.Rule) -> Iterator[updates.Rule]:
    name = "c" if hasattr(rule, "c") else "bound"
    for digits in range(1, 10):
        number = float(f"{getattr(rule, name):.{digits}g}")
        if number >= (1.0 if name == "c" else 0.0):
            yield updates.RULES[rule.name](**{**vars(rule), name: number})


def _of_draw(velocity: Velocity) -> list[updates.Rule]:
    draw = velocity.draw
    if not velocity.loss.sampled:
        return []
    if draw.top_p is not None and draw.top_k is None:
        return [updates.truncated_sampling(top_p=draw.top_p)]
    return [updates.truncated_sampling(top_k=1)] if draw.top_p is None and draw.top_k is not None else []


def _of_cliff(p: float, b: float, dies: float) -> list[updates.Rule]:
    """Return the rules whose tail dies at a λ, one of each family that can."""
    found = []
    for family in CLIFFS:

        def early(bound: float, family: Callable[[float], updates.Rule] = family) -> float:
            return float(family(bound).dies(p, b)) - dies

        low, high = 1e-6, 300.0
        if math.isfinite(dies) and early(low) < 0 < early(high):
            found.append(family(float(brentq(early, low, high, xtol=1e-13))))
    return found
