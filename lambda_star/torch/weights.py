"""How a loss of drawn tokens weights them by the ratio of their probability to the rollout's."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from lambda_star import updates
from lambda_star._core.namespaces import Floats
from lambda_star.torch.velocity import Velocity

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["find_weight"]

Truths: TypeAlias = "NDArray[np.bool_]"

SHIFTS = np.linspace(-8.0, 8.0, 65)  # of the rollout's log-odds over the student's
BEYOND = 2.71  # log-odds past the teacher, where the tail gains


def find_weight(velocity: Velocity, p: float, b: float, lam: float) -> updates.Rule | str | None:
    """Find how a sampled loss weights a token by the ratio of its probability to the rollout's.

    Args:
        velocity: the velocity of a sampled loss that takes the rollout.
        p: teacher's modal probability, in (b, 1).
        b: base's probability of the same token, in (0, 1).
        lam: extrapolation coefficient λ.

    Returns:
        An ``importance_weight`` or ``ppo``; a sentence if there is another weight; None if the rollout changes nothing.

    >>> def loss(student, teacher, base, lam, tokens, rollout):
    ...     logs = [rows.log_softmax(-1).gather(-1, tokens[:, None])[:, 0] for rows in (student, teacher, rollout)]
    ...     return -((logs[0] - logs[2]).exp().clamp(max=2.0) * (logs[1] - logs[0])).detach() @ logs[0]
    >>> from lambda_star.torch.losses import read_loss
    >>> from lambda_star.torch.velocity import read_velocity
    >>> str(find_weight(read_velocity(read_loss(loss), 0.9, 0.5), 0.9, 0.5, 1.0))
    'importance_weight(c=2, centred=False)'
    """
    ratios, weights, gains = _weights(velocity, p, b, lam)
    tolerance = 1e-6 if velocity.rounding < 1e-6 else 1e-3
    if np.allclose(weights, 1.0, rtol=0, atol=tolerance):
        return None
    if np.allclose(weights, ratios, rtol=tolerance, atol=0):
        return "Drawn tokens are weighted by π/μ without a bound, which corrects for another rollout in full."
    cap = float(weights.max())
    if np.allclose(weights, np.minimum(ratios, cap), rtol=tolerance, atol=0):
        modal, tail = velocity.of_tokens(np.array([0.0]), p, b, lam)
        centred = abs(float(modal[0] + tail[0])) <= 1e-6 * abs(float(modal[0] - tail[0]))
        return updates.importance_weight(float(f"{cap:.6g}"), centred=centred)
    spent = np.isclose(weights, 0.0, atol=tolerance)
    if np.allclose(weights[~spent], ratios[~spent], rtol=tolerance):
        return _ppo(velocity, p, b, lam, ratios, spent, gains)
    return "Drawn tokens are weighted by a function of π/μ that is no rule's."


def _weights(velocity: Velocity, p: float, b: float, lam: float) -> tuple[Floats, Floats, Floats]:
    """Return, over students, shifts of the rollout and both tokens, π/μ, the weight, and the advantage's sign."""
    rows = np.array([math.log(b) - math.log1p(-b) + 0.37, math.log(p) - math.log1p(-p) + BEYOND])
    still = velocity.of_tokens(rows, p, b, lam)
    ratios, weights, gains = [], [], []
    for shift in SHIFTS:
        moved = velocity.of_tokens(rows, p, b, lam, float(shift))
        for sign, before, after in zip((1, -1), still, moved, strict=True):
            ratios.append(np.exp(np.logaddexp(0, -sign * (rows + shift)) - np.logaddexp(0, -sign * rows)))
            weights.append(after / before)
            gains.append(np.sign(before))
    return np.concatenate(ratios), np.concatenate(weights), np.concatenate(gains)


def _ppo(
    velocity: Velocity, p: float, b: float, lam: float, ratios: Floats, spent: Truths, gains: Floats
) -> updates.Rule | str:
    """Return PPO's clip if the weights are its own: it ends a gain above 1 + ε, and a loss below 1 − ε."""
    up, down = (gains > 0) & spent, (gains < 0) & spent
    if up.any() and down.any():
        eps = _edge(velocity, p, b, lam)
        rule = updates.ppo(float(f"{eps:.4g}"))
        clipped = np.where(gains > 0, ratios > 1 + rule.eps, ratios < 1 - rule.eps)
        if (clipped == spent).all():
            return rule
    return "Drawn tokens whose π/μ is far from 1 are left out, as by a mask."


def _edge(velocity: Velocity, p: float, b: float, lam: float) -> float:
    """Return how far above 1 the ratio π/μ of a token that gains may get before its gradient ends."""
    row = np.array([math.log(p) - math.log1p(-p) + BEYOND])

    def ended(shift: float) -> float:
        return 1.0 if float(velocity.of_tokens(row, p, b, lam, shift)[1][0]) == 0 else -1.0

    low, high = 0.0, 8.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if ended(middle) > 0 else (middle, high)
    at = float(row[0])
    return math.exp(np.logaddexp(0, at + low) - np.logaddexp(0, at)) - 1
