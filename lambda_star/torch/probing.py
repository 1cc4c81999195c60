"""Bring your own loss: what does the student do at λ* under it, and what do the losses of training codes do?

No formula of an update rule is used to find where the student stops. The loss is asked for its gradient, as training
would ask it, at students from far below the base to far above the teacher.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from lambda_star import updates
from lambda_star._core.namespaces import Floats
from lambda_star._core.quantities import LAM, B, P, Quantity, require
from lambda_star.torch.flow import Flow
from lambda_star.torch.losses import Returns, read_loss
from lambda_star.torch.match import Match, find_rule
from lambda_star.torch.report import Curve, ProbeReport, Rest
from lambda_star.torch.velocity import Draw, Velocity, one_thread, read_velocity
from lambda_star.torch.weights import find_weight

__all__ = ["probe"]

TOWARDS, AWAY, NOWHERE = "towards the teacher", "away from the teacher", "nowhere"
LOST = {
    AWAY: "A student that starts at the base moves away from the teacher: check the sign of the loss.",
    NOWHERE: "No finite force acts on a student that stands at the base, so it is never trained.",
}
SHOWN = 25  # λ of the table, unless the caller names them
DRAWN = np.arange(-6.0, 40.01, 0.25)  # log-odds of the curves
THIN = math.log(100.0)  # without a threshold the table ends where the tail of q_λ is about 100 times thinner


def probe(
    loss: Callable[..., Any],
    *,
    p: float,
    b: float,
    lam: Sequence[float] | None = None,
    outcomes: int = 2,
    top_p: float | None = None,
    top_k: int | None = None,
    returns: Returns | None = None,
) -> ProbeReport:
    """Find out from its gradient where a loss takes the student: where it leaves q_λ, and whether its tail dies.

    The loss is called as ``loss(student, teacher, base, lam)`` with logits of shape (rows, tokens) on the CPU, float64
    if it bears that, and λ as a float. Only the student requires a gradient. Each row is a position of its own, so the
    loss is to be a sum or a mean over rows; one that mixes rows gets each as a batch of its own. Parameters named
    otherwise are read as :func:`lambda_star.torch.losses.read_loss` says: log-probabilities for ``log_…``, an
    extrapolated teacher for a loss without ``base``, the advantage of every token for a function called so.

    A loss that takes ``tokens``, shape (rows,), is one of drawn tokens. Every token is tried, and the gradients are
    averaged with the probabilities of the draw. A loss that takes ``rollout``, the logits of the policy that drew the
    tokens, is asked with the student in its place, and then with others, which shows truncated importance weights and
    PPO's clip. Without that parameter they cannot be told from no bound at all.

    Args:
        loss: the callable.
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, p).
        lam: the λ of the table of stationary students, at least one; by default 25 from 1 to past the thresholds.
        outcomes: number of tokens, at least 2. The teacher's modal outcome is all but the last of them, in equal
            shares; for a loss over the top k tokens give k + 1.
        top_p: rollouts draw from the nucleus of this mass of the student, in (0, 1]; only for a loss that takes tokens.
        top_k: rollouts draw from so many of the student's likeliest tokens, at least 1; only for such a loss.
        returns: "loss" or "advantage"; by default the callable's name tells.

    Returns:
        A :class:`ProbeReport`.

    Raises:
        ValueError: a value lies outside its range, the loss raises an error, its signature cannot be read, it has no
            gradient with respect to the student, or it gives another gradient each time.

    Source: extension; ``derivations/updates.md``, Principle 1.

    >>> from lambda_star.torch import opd_loss
    >>> def capped(student, teacher, base, lam): return opd_loss(student, teacher, base, lam, clip=5.0)
    >>> report = probe(capped, p=0.999, b=0.5)
    >>> str(report.rule), round(report.leaves, 4), round(report.dies, 4), round(report.clip, 4)
    ('log_ratio_cap(c=5)', 1.2331, 1.2332, 5.0)
    """
    require((P, p), (B._replace(high=p), b), (TOKENS, outcomes), (MASS, top_p), (COUNT, top_k))
    for value in () if lam is None else lam:
        require((LAM, value))
    if lam is not None and not len(lam):
        raise ValueError("lam must hold at least one number, got none; leave it out for the default")
    read = read_loss(loss, returns)
    if (top_p, top_k) != (None, None) and not read.sampled:
        raise ValueError(
            "top_p and top_k belong to a loss that takes tokens; leave them out, or let the loss take them"
        )
    with one_thread(), np.errstate(all="ignore"):  # a loss may give what is not finite
        draw = Draw(None if top_p == 1 else top_p, top_k)
        velocity = read_velocity(read, p, b, outcomes=outcomes, draw=draw)
        return _report(velocity, Flow(velocity, p, b), lam)


TOKENS = Quantity("outcomes", 2.0, math.inf, "[)")
MASS = Quantity("top_p", 0.0, 1.0, "(]")
COUNT = Quantity("top_k", 1.0, math.inf, "[)")


def _report(velocity: Velocity, flow: Flow, lam: Sequence[float] | None) -> ProbeReport:
    direction = _direction(flow)
    towards = direction == TOWARDS
    leaves, dies = (flow.leaves(), flow.dies()) if towards else (math.nan, math.nan)
    notes = [*_notes(velocity, flow, leaves, dies)] if towards else []
    match = find_rule(velocity, flow.p, flow.b, leaves, dies) if towards else None
    if match and match.near:
        notes.append(f"It moves nearly every student as {match.rule} does, but leaves q_λ elsewhere.")
        match = None
    if towards and "rollout" in velocity.loss.roles:
        match, weight = _with_weight(velocity, flow, match)
        notes += [weight] if weight else []
    if match and match.exact and isinstance(match.rule, CAPS):
        dies, said = _agreed(match.rule, flow, dies)
        notes += said
    if not towards:
        notes.append(LOST[direction])
    lams = _lams(flow, leaves, dies) if lam is None else [float(value) for value in lam]
    stationary = tuple(Rest(value, flow.settle(value)) for value in lams)
    return ProbeReport(
        flow.p,
        flow.b,
        leaves,
        dies,
        _clip_of(flow, dies),
        match.rule if match else None,
        bool(match and match.exact),
        direction,
        stationary,
        tuple(_curve(flow, value) for value in _few(flow, lams, leaves, dies)),
        flow.max_lam,
        (*notes, *_limits(velocity, flow, dies)),
    )


CAPS = (updates.log_ratio_cap, updates.log_ratio_clamp, updates.log_prob_floor, updates.kl_to_base_cap)
"""Rules whose closed form checks the λ that was found."""


def _agreed(rule: updates.Rule, flow: Flow, dies: float) -> tuple[float, list[str]]:
    """Return the lesser of the λ that was found and the rule's own, and what to say where they differ."""
    own = float(rule.dies(flow.p, flow.b))
    if own > flow.max_lam or abs(own - dies) <= 1e-2 * own:
        return dies, []
    found = f"{dies:.6g}" if dies < math.inf else "none"
    said = f"Under {rule} the tail dies at λ = {own:.6g}, and the search found {found}; the lesser is reported."
    return min(own, dies), [said]


def _direction(flow: Flow) -> str:
    """Return where students are moved from the base: some losses need an extrapolation to move them up at all."""
    lams = (1.0, 2.0, 4.0)
    if any(flow.settle(lam) > flow.start for lam in lams):
        return TOWARDS
    forces = [float(flow.velocity(np.array([flow.start]), flow.p, flow.b, lam)[0]) for lam in lams]
    return AWAY if any(abs(force) > flow.neutral for force in forces) else NOWHERE


def _clip_of(flow: Flow, dies: float) -> float:
    """Return p·e^((λ−1)Δ), the clip of the log-ratio cap under which the tail dies at the same λ."""
    return math.exp(min(math.log(flow.p) + (dies - 1) * flow.gap, 709.0)) if math.isfinite(dies) else dies


def _with_weight(velocity: Velocity, flow: Flow, match: Match | None) -> tuple[Match | None, str]:
    """Return the rule of a loss that takes the rollout, with a note where the weight is not the rule."""
    if not velocity.loss.sampled:
        return match, "The rollout was the student: its effect on a loss over whole distributions is not looked at."
    weight = find_weight(velocity, flow.p, flow.b, 1.0)
    if weight is None:
        return match, "The loss does not weight drawn tokens by their ratio to the rollout."
    if isinstance(weight, str):
        return match, weight
    if match and match.rule == updates.none():
        return Match(weight, match.exact), ""
    return match, f"Drawn tokens are weighted as under {weight}; the rule is that of rollouts by the student itself."


def _lams(flow: Flow, leaves: float, dies: float) -> list[float]:
    far = [1 + 1.5 * (each - 1) for each in (leaves, dies) if 1 < each < math.inf]
    last = min(max(far or [1 + THIN / flow.gap]), flow.max_lam)
    return [float(each) for each in np.linspace(1.0, last, SHOWN)] if last > 1 else [1.0]


def _few(flow: Flow, lams: Sequence[float], leaves: float, dies: float) -> list[float]:
    """Return the λ whose curves are drawn: the first of the table, the thresholds inside it, and the last."""
    inside = [each for each in (leaves, dies) if lams and min(lams) < each < max(lams)]
    if len(inside) == 2 and abs(dies - leaves) < 0.02 * (max(lams) - min(lams)):
        inside = inside[1:]  # two curves that nobody could tell apart
    return sorted({min(lams), *inside, max(lams)}) if lams else []


def _curve(flow: Flow, lam: float) -> Curve:
    around = flow.fixed_point(lam) + np.array([-1e-6, 1e-6])
    log_odds: Floats = np.unique(np.concatenate([DRAWN, around]))
    values = flow.velocity(log_odds, flow.p, flow.b, lam)
    return Curve(lam, tuple(map(float, log_odds)), tuple(map(float, values)))


def _notes(velocity: Velocity, flow: Flow, leaves: float, dies: float) -> Iterator[str]:
    """Say what a user may not expect of the loss."""
    p, b = flow.p, flow.b
    one, two = (velocity(DRAWN, p, b, lam) for lam in (1.0, 2.0))
    other = velocity(DRAWN, p, b / 2, 2.0)
    small = max(velocity.rounding, 1e-9) * flow.scale
    if np.allclose(one, two, rtol=0, atol=small, equal_nan=True):
        yield "The loss does not depend on λ: it trains the same student at every λ."
    elif flow.settle(1.0) > flow.settle(1.5):
        yield "A larger λ pulls the student back towards the base: check the sign of λ − 1."
    elif np.allclose(two, other, rtol=0, atol=small, equal_nan=True):
        yield "The loss does not depend on the base, so its λ is not an extrapolation past a base."
    if velocity.total(0.5 * (flow.start + flow.teacher) + 0.1, p, b, 1.3) > 1e-3:
        yield "Adding a number to all logits changes the loss: does it take logits for log-probabilities?"
    if (loose := next((lam for lam in _steps(flow, leaves, dies) if flow.neutral_beyond(lam)), None)) is not None:
        yield f"At λ = {loose:.4g} no force acts on students past the one at rest: noise alone can move them on."
    far = flow.highest
    if (
        apart := next((lam for lam in _steps(flow, leaves, dies) if _runs(velocity, flow, far, lam)), None)
    ) is not None:
        yield (
            f"At λ = {apart:.4g}, where a student from the base still keeps its tail, one that is pushed far past the "
            "teacher loses it."
        )
    if velocity.loss.sampled and "rollout" not in velocity.loss.roles:
        yield (
            "Tokens are drawn by the student itself. Importance weights and PPO's clip then change nothing in the "
            "mean; to see them, let the loss take `rollout`, the logits of the policy that drew the tokens."
        )


def _steps(flow: Flow, leaves: float, dies: float) -> list[float]:
    """Return some rising λ from 1 to just below the λ at which the tail dies."""
    last = min(dies, flow.max_lam)
    lams = [
        1.0,
        1.25,
        1.5,
        2.0,
        1 + 1.05 * (leaves - 1),
        *(1 + (last - 1) * share for share in (0.25, 0.5, 0.75, 0.99)),
    ]
    return sorted(lam for lam in lams if 1 <= lam < last)


def _runs(velocity: Velocity, flow: Flow, far: float, lam: float) -> bool:
    return bool(velocity(np.array([far]), flow.p, flow.b, lam)[0] > flow.neutral) and flow.settle(lam) < math.inf


def _limits(velocity: Velocity, flow: Flow, dies: float) -> Iterator[str]:
    """Say what the probe could not see."""
    if math.isfinite(dies) and flow.fixed_point(dies) > -math.log(velocity.epsilon):
        yield "Where the tail dies, q_λ is 1 up to rounding; in exact arithmetic it may live."
    if velocity.rounding > 1e-6:
        yield "The loss computes in float32, so thresholds have three to four digits."
    if flow.highest < velocity.reach:
        yield f"The gradient is not finite for students past the log-odds {flow.highest:.4g}, which were left out."
    if flow.max_lam <= 1:
        yield "No λ above 1 could be tried, because the gradient is not finite that near to the teacher."
    if velocity.slow:
        yield "The loss mixes its rows, so it was given one row at a time."
