"""The closed forms of two outcomes, modal token and tail, as kernels of the update rules.

``bound`` is the positive number that a rule takes: C of a clamp, L of a least log-probability, R of a reward clip.
Where the push favours the tail (p < b and λ > 1), modal token and tail exchange roles: *favoured* is the side that
grows, *losing* the one that shrinks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from lambda_star._core.elementwise import Real, elementwise
from lambda_star._core.namespaces import Exact, Values, log1p_quotient, where
from lambda_star._core.quantities import LAM, Quantity
from lambda_star.bernoulli import formulas

BOUND = Quantity("bound", 0.0, math.inf, "(]", meaning="the bound of a rule, in nats")
FROM_ZERO = Quantity("lam", 0.0, math.inf, "[)", LAM.symbol, LAM.meaning)
FROM_ONE = FROM_ZERO._replace(low=1.0)
SHARE = Quantity("share", 0.5, 1.0, "[)", meaning="the student's probability from which on an outcome is alone drawn")
COST = Quantity("cost", 0.0, 1.0, "[]", meaning="1 where the loss is differentiated through, else 0")
STAR = Quantity("star", -math.inf, math.inf, "[]", meaning="the λ at which the tail dies")
CERTAIN = 1e4  # log-odds past which a probability is 0 or 1
HALVINGS = 80  # of an interval; float64 has no use for more


def known(xp: Any, value: Values, *arguments: Values) -> Values:
    """Return a value, but NaN where an argument is NaN."""
    total = sum(arguments[1:], arguments[0])
    return where(xp, xp.isnan(total), total, value)


def least(xp: Any, a: Values, b: Values) -> Values:
    """Return the lesser of two values."""
    return where(xp, a < b, a, b)


def greatest(xp: Any, a: Values, b: Values) -> Values:
    """Return the greater of two values."""
    return where(xp, a > b, a, b)


def log_ratios(xp: Any, p: Values, b: Values) -> tuple[Values, Values]:
    """Return r_m = log(p/b) and r_τ = log((1−p)/(1−b)) with their digits at p ≈ b."""
    above = p >= b
    high, low = where(xp, above, p, b), where(xp, above, b, p)
    of_modal, of_tail = log1p_quotient(xp, high - low, low), log1p_quotient(xp, high - low, 1 - high)
    return where(xp, above, of_modal, -of_modal), where(xp, above, -of_tail, of_tail)


def root(xp: Any, rises: Callable[[Values], Values], low: Values, high: Values) -> Values:
    """Return the point of [low, high] up to which a condition holds, by halving."""
    if isinstance(xp, Exact):
        return xp.root(rises, low, high)
    for _ in range(HALVINGS):
        middle = low + (high - low) / 2
        up = rises(middle)
        low, high = where(xp, up, middle, low), where(xp, up, high, middle)
    return low + (high - low) / 2


def either_side(xp: Any, up: Values, log_favoured: Values) -> Values:
    """Return the modal probability, given the logarithm of the favoured side's mass and whether that is the modal."""
    return where(xp, up, xp.exp(log_favoured), 0.0 - xp.expm1(log_favoured))


@elementwise()
def never(xp: Any, p: Real, b: Real) -> Real:
    """Return +inf."""
    return known(xp, math.inf, p, b)


@elementwise()
def at_once(xp: Any, p: Real, b: Real) -> Real:
    """Return 1: every λ > 1 departs, unless teacher and base agree."""
    return known(xp, where(xp, p == b, math.inf, 1.0 + 0 * p), p, b)


@elementwise()
def always(xp: Any, p: Real, b: Real) -> Real:
    """Return 1 also where teacher and base agree."""
    return known(xp, 1.0, p, b)


# A cap that is differentiated through.


@elementwise()
def through_dies(xp: Any, p: Real, b: Real, c: Real) -> Real:
    """Return λ_c + 1/Δ."""
    return 1 + formulas.excess_for(xp, 1 + formulas.push_to_collapse(xp, p, c), p, b)


@elementwise()
def through_student(xp: Any, p: Real, b: Real, lam: Real, c: Real) -> Real:
    """Return q_λ to λ*, then 1−(1−p)/c to λ* + 1/Δ, then (p/(e·c))·e^t."""
    push = formulas.push(xp, p, b, lam)
    favoured, size = formulas.favoured_side(xp, p, push)
    past = size - formulas.push_to_edge(xp, favoured, c)
    beyond = least(xp, size - 1 - formulas.push_to_collapse(xp, favoured, c), 0.0)
    up = push >= 0
    held = where(xp, past > 1, either_side(xp, up, beyond), where(xp, up, 1 - (1 - p) / c, p / c))
    return known(xp, where(xp, past > 0, held, formulas.fixed_point(xp, p, push)), push, c)


# A clamp of the log-ratio to ±bound; the log-odds push is outside it.


def _clamp_edge(xp: Any, favoured: Values, bound: Values) -> tuple[Values, Values]:
    """Return the push at which the clamp first binds, and whether it binds on the losing side.

    The favoured side is clamped first, at favoured·e^bound, if that is a probability and the other is still within.
    """
    losing = bound + log1p_quotient(xp, (favoured - 1) * xp.expm1(-bound), favoured)
    reachable = xp.log(favoured) + bound < 0
    fits = where(xp, reachable, bound, 0.0 * bound)
    short = where(xp, reachable, xp.log(favoured) + bound, -1.0)
    own = fits + xp.log1p(favoured * xp.expm1(fits) / -xp.expm1(short))
    own = where(xp, reachable, own, math.inf)
    return least(xp, losing, own), losing <= own


@elementwise(BOUND)
def clamp_leaves(xp: Any, p: Real, b: Real, bound: Real) -> Real:
    """Return the λ at which a log-ratio of the fixed point first reaches ±bound."""
    above = p >= b
    high, low = where(xp, above, p, b), where(xp, above, b, p)
    edge, _ = _clamp_edge(xp, where(xp, above, p, 1 - p), bound)
    return 1 + formulas.excess_for(xp, edge, high, low)


@elementwise(BOUND)
def clamp_dies(xp: Any, p: Real, b: Real, bound: Real) -> Real:
    """Return 1 + min(bound − log p, 2·bound)/Δ."""
    return 1 + formulas.excess_for(xp, bound + least(xp, -xp.log(p), bound), p, b)


@elementwise(BOUND)
def clamp_student(xp: Any, p: Real, b: Real, lam: Real, bound: Real) -> Real:
    """Return q_λ while nothing is clamped, then what balances the one clamped side, then a death."""
    push = formulas.push(xp, p, b, lam)
    favoured, size = formulas.favoured_side(xp, p, push)
    edge, losing_first = _clamp_edge(xp, favoured, bound)
    log_p = xp.log(favoured)
    alive = (size > edge) & (size < bound + least(xp, -log_p, bound))
    excess = where(xp, alive, size - bound, 1.0)
    held = where(xp, losing_first, log_p + excess, xp.log1p((favoured - 1) * xp.exp(-excess)))
    clamped = either_side(xp, push >= 0, where(xp, alive, held, 0.0))
    return known(xp, where(xp, size > edge, clamped, formulas.fixed_point(xp, p, push)), push, bound)


# A lower bound of −bound on the student's log-probabilities.


def _log_odds_at(xp: Any, bound: Values) -> Values:
    """Return the log-odds at which the losing side has mass e^−bound."""
    return bound + xp.log(-xp.expm1(-bound))


@elementwise(BOUND)
def floor_leaves(xp: Any, p: Real, b: Real, bound: Real) -> Real:
    """Return the λ at which one side of the fixed point falls below e^−bound; 0 if neither λ = 0 nor 1 is above."""
    edge, start, end = _log_odds_at(xp, bound), formulas.logit(xp, b), formulas.logit(xp, p)
    gap = formulas.log_odds_gap(xp, p, b)
    seen = ((end <= edge) & (-end <= edge)) | ((start <= edge) & (-start <= edge))
    way = where(xp, gap >= 0, edge - start, edge + start)
    star = where(xp, gap == 0, math.inf, way / where(xp, gap == 0, 1.0, where(xp, gap >= 0, gap, -gap)))
    return known(xp, where(xp, seen, star, 0.0), gap, bound)


@elementwise(BOUND)
def floor_dies(xp: Any, p: Real, b: Real, bound: Real) -> Real:
    """Return (bound − logit b)/Δ = 1 + (bound − logit p)/Δ, at least 0."""
    gap, way = formulas.log_odds_gap(xp, p, b), bound - formulas.logit(xp, b)
    risen = where(xp, way > 0, way, 0.0) / where(xp, gap > 0, gap, 1.0)
    still = where(xp, formulas.logit(xp, p) >= bound, 0.0 * gap * gap, math.inf)
    return known(xp, where(xp, gap > 0, risen, still), gap, bound)


@elementwise(BOUND)
def floor_student(xp: Any, p: Real, b: Real, lam: Real, bound: Real) -> Real:
    """Return q_λ while both sides exceed e^−bound, then e^(θ_λ−bound); where θ_λ is 0, the nearest to b that rests."""
    push = formulas.push(xp, p, b, lam)
    target = formulas.logit(xp, p) + push
    size = where(xp, target >= 0, target, -target)
    free = size <= _log_odds_at(xp, bound)
    held = either_side(xp, target >= 0, where(xp, free, 0.0, least(xp, size - bound, 0.0)))
    high = xp.exp(-bound)  # nothing moves a student between 1 − high and high if the mixture is undecided
    resting = where(xp, b > high, high, where(xp, b < 1 - high, 1 - high, b))
    held = where(xp, target == 0, resting, held)
    return known(xp, where(xp, free, formulas.fixed_point(xp, p, push), held), push, bound)


# A cap on the KL-to-base term: the base stands where the teacher stood, and λΔ is the push.


@elementwise()
def kl_leaves(xp: Any, p: Real, b: Real, c: Real) -> Real:
    """Return log(1 + (c−1)/b)/Δ."""
    above = p >= b
    high, low = where(xp, above, p, b), where(xp, above, b, p)
    return formulas.excess_for(xp, formulas.push_to_edge(xp, where(xp, above, b, 1 - b), c), high, low)


@elementwise()
def kl_dies(xp: Any, p: Real, b: Real, c: Real) -> Real:
    """Return log(c/b)/Δ."""
    return formulas.excess_for(xp, formulas.push_to_collapse(xp, b, c), p, b)


@elementwise()
def kl_student(xp: Any, p: Real, b: Real, lam: Real, c: Real) -> Real:
    """Return the capped student whose teacher is the base and whose push is λΔ."""
    return formulas.capped_student(xp, b, lam * formulas.log_odds_gap(xp, p, b), c)


# A clamp of the whole advantage to ±bound, without baseline.


def _log_normaliser(xp: Any, p: Values, excess: Values, of_modal: Values, of_tail: Values) -> Values:
    """Return log Z_λ = log(p·e^(x·r_m) + (1−p)·e^(x·r_τ)), the value of the advantage at the fixed point."""
    modal, tail = xp.log(p) + excess * of_modal, xp.log1p(-p) + excess * of_tail
    high, low = greatest(xp, modal, tail), least(xp, modal, tail)
    return high + xp.log1p(xp.exp(low - high))


@elementwise(BOUND)
def advantage_leaves(xp: Any, p: Real, b: Real, bound: Real) -> Real:
    """Return the λ > 1 at which the advantage at the fixed point, log Z_λ = (λ−1)·D_λ, reaches the bound."""
    of_modal, of_tail = log_ratios(xp, p, b)
    mass = where(xp, p >= b, p, 1 - p)
    ratio = greatest(xp, of_modal, of_tail)
    ratio, far = where(xp, p == b, 1.0, ratio), (p == b) | (bound == math.inf)
    reach = where(xp, far, 1.0, bound)

    def below(excess: Values) -> Values:
        return _log_normaliser(xp, p, excess, of_modal, of_tail) < reach

    low, high = reach / ratio, (reach - xp.log(mass)) / ratio
    excess = root(xp, below, low, greatest(xp, low, high))
    # One Newton step from the root carries the exact gradient, which halving does not have.
    share = formulas.fixed_point(xp, p, excess * (of_modal - of_tail))
    slope = share * of_modal + (1 - share) * of_tail
    left = reach - _log_normaliser(xp, p, excess, of_modal, of_tail)
    excess = excess + left / where(xp, far, 1.0, slope)
    return known(xp, where(xp, far, math.inf, 1 + excess), p, b, bound)


@elementwise(BOUND)
def advantage_student(xp: Any, p: Real, b: Real, lam: Real, bound: Real) -> Real:
    """Return q_λ while |log Z_λ| ≤ bound; beyond, the end nearer to the base of an interval of neutral students."""
    of_modal, of_tail = log_ratios(xp, p, b)
    value = _log_normaliser(xp, p, lam - 1, of_modal, of_tail)
    size = where(xp, value >= 0, value, -value)
    level = least(xp, bound, 2 + size)  # the bound where it acts; finite where it does not
    level = where(xp, value >= 0, level, -level)
    one_end = xp.exp(xp.log(p) + (lam - 1) * of_modal - level)
    other = -xp.expm1(least(xp, xp.log1p(-p) + (lam - 1) * of_tail - level, 0.0))
    low, high = least(xp, one_end, other), greatest(xp, one_end, other)
    neutral = greatest(xp, low, least(xp, high, b))
    preserved = formulas.fixed_point(xp, p, formulas.push(xp, p, b, lam))
    return known(xp, where(xp, size > bound, neutral, preserved), p, b, lam, bound)


# A reward that is clipped to ±bound.


def _clipped(xp: Any, ratio: Values, bound: Values) -> Values:
    return greatest(xp, -bound, least(xp, bound, ratio))


@elementwise(BOUND)
def reward_leaves(xp: Any, p: Real, b: Real, bound: Real) -> Real:
    """Return 1 where the clip acts on either outcome."""
    of_modal, of_tail = log_ratios(xp, p, b)
    acts = greatest(xp, of_modal, -of_modal) > bound
    acts = acts | (greatest(xp, of_tail, -of_tail) > bound)
    return known(xp, where(xp, acts, 1.0 + 0 * p, math.inf), p, b, bound)


@elementwise(BOUND)
def reward_student(xp: Any, p: Real, b: Real, lam: Real, bound: Real) -> Real:
    """Return the fixed point with clip(r_m) − clip(r_τ) in place of Δ."""
    of_modal, of_tail = log_ratios(xp, p, b)
    gap = _clipped(xp, of_modal, bound) - _clipped(xp, of_tail, bound)
    return known(xp, formulas.fixed_point(xp, p, (lam - 1) * gap), p, b, bound)


# The reported weight min(c, π_T/π) on an advantage without baseline.


@elementwise(FROM_ONE)
def weighted_student(xp: Any, p: Real, b: Real, lam: Real, c: Real) -> Real:
    """Return the q at which min(c, p/q)·A_m = min(c, r)·A_τ, with r the tail ratio."""
    of_modal, of_tail = log_ratios(xp, p, b)
    teacher = formulas.logit(xp, p)
    certain = math.inf if isinstance(xp, Exact) else CERTAIN
    target = least(xp, greatest(xp, teacher + formulas.push(xp, p, b, lam), -certain), certain)

    def force(log_odds: Values, log_p: Values, ratio: Values, sign: float) -> tuple[Values, Values]:
        """One side's weighted advantage, and its derivative by that side's log-probability."""
        log_q = where(xp, sign * log_odds >= 0, 0.0, sign * log_odds)
        log_q = log_q - xp.log1p(xp.exp(-where(xp, log_odds >= 0, log_odds, -log_odds)))
        away = log_p - log_q
        capped = away >= xp.log(c)
        weight = where(xp, capped, c, xp.exp(where(xp, capped, 0.0, away)))
        advantage = away + (lam - 1) * ratio
        return weight * advantage, -weight * (1 + where(xp, capped, 0.0, advantage))

    def forces(log_odds: Values) -> tuple[Values, Values, Values, Values]:
        return (*force(log_odds, xp.log(p), of_modal, 1.0), *force(log_odds, xp.log1p(-p), of_tail, -1.0))

    def rises(log_odds: Values) -> Values:
        modal, _, tail, _ = forces(log_odds)
        return modal > tail

    found = root(xp, rises, least(xp, target, teacher), greatest(xp, target, teacher))
    q = formulas.fixed_point(xp, 0.5 + 0 * found, found)
    modal, modal_slope, tail, tail_slope = forces(found)
    slope = (1 - q) * modal_slope + q * tail_slope
    step = (modal - tail) / where(xp, slope == 0, 1.0, slope)  # Newton: the gradient, as above
    found = found - where(xp, (step > -1) & (step < 1), step, 0.0)
    return known(xp, formulas.fixed_point(xp, 0.5 + 0 * found, found), p, b, lam, c)


# Outcomes that a set leaves out: with `share` s, an outcome of student probability ≥ s is alone in the set.


@elementwise(SHARE, COST)
def set_dies(xp: Any, p: Real, b: Real, share: Real, cost: Real) -> Real:
    """Return the λ at which the modal token alone would have all the mass, and the student has come to be there."""
    of_modal, of_tail = log_ratios(xp, p, b)
    rises = p > b
    up, down = where(xp, rises, of_modal, 1.0), where(xp, rises, -of_tail, 1.0)
    alone = 1 + (cost - xp.log(p)) / up
    mixed = (formulas.logit(xp, share) - formulas.logit(xp, b)) / where(xp, rises, formulas.log_odds_gap(xp, p, b), 1.0)
    freed = 1 + (xp.log1p(-p) - xp.log(share) - cost) / down
    star = where(xp, b < share, greatest(xp, alone, mixed), alone)
    # Where b > 1 − share, the tail of any p > b is below the share too, and so freed is below 1.
    star = greatest(xp, star, freed)
    return known(xp, where(xp, rises, star, math.inf), p, b)


@elementwise(SHARE)
def nucleus_leaves(xp: Any, p: Real, b: Real, share: Real) -> Real:
    """Return the λ at which an outcome of the fixed point reaches the share; 1 if the teacher is there already."""
    gap, edge, start = formulas.log_odds_gap(xp, p, b), formulas.logit(xp, share), formulas.logit(xp, b)
    way = where(xp, gap > 0, edge - start, edge + start)
    way = way / where(xp, gap == 0, 1.0, where(xp, gap > 0, gap, -gap))
    star = where(xp, (p >= share) | (p <= 1 - share), 1.0 + 0 * p, way)
    return known(xp, where(xp, gap == 0, math.inf, star), p, b)


@elementwise(SHARE, COST)
def set_student(xp: Any, p: Real, b: Real, lam: Real, share: Real, cost: Real) -> Real:
    """Return where training from the base ends when an outcome of student probability ≥ share is alone in the set."""
    of_modal, of_tail = log_ratios(xp, p, b)
    alone = xp.exp(least(xp, xp.log(p) + (lam - 1) * of_modal - cost, 0.0))
    log_losing = where(xp, lam < 0.5, xp.log1p(-b) + lam * of_tail, xp.log1p(-p) + (lam - 1) * of_tail)
    log_losing = least(xp, log_losing - cost, 0.0)
    losing = xp.exp(log_losing)
    both = formulas.fixed_point(xp, p, formulas.push(xp, p, b, lam))
    # A student that is pushed to a border of the sets from both sides stays there.
    upper, lower = greatest(xp, alone, share + 0 * alone), where(xp, losing > share, -xp.expm1(log_losing), 1 - share)
    end = where(xp, both >= share, upper, where(xp, both <= 1 - share, lower, both))
    end = where(xp, (b >= share) & (alone >= share), alone, end)
    end = where(xp, (b <= 1 - share) & (b < share) & (losing >= share), lower, end)
    return known(xp, end, p, b, lam)


@elementwise(STAR)
def clip_at(xp: Any, p: Real, b: Real, star: Real) -> Real:
    """Return p·e^((λ−1)Δ), the clip of the log-ratio cap whose tail dies at λ = star; +inf where it never does."""
    far = star == math.inf
    push = where(xp, far, 0.0, star - 1) * formulas.log_odds_gap(xp, p, b)
    return known(xp, where(xp, far, math.inf, xp.exp(xp.log(p) + push)), p, b, star)
