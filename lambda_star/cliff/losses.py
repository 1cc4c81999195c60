"""The losses of the update rules over K tokens, as a trainer would write them.

A loss is the expectation over the vocabulary with the advantage detached, except where a rule says otherwise:
``log_ratio_cap(through=True)`` is differentiated through its advantage, and PPO and the truncated importance weight
take the expectation under the policy that drew the answers.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lambda_star.updates import (
    Rule,
    importance_weight,
    log_ratio_cap,
    log_ratio_clamp,
    none,
    ppo,
    teacher_weight,
    top_k,
    truncated_sampling,
)

__all__ = ["loss", "nucleus"]


def loss(
    rule: Rule,
    log_s: Tensor,
    log_t: Tensor,
    log_b: Tensor,
    lam: Tensor,
    *,
    log_r: Tensor | None = None,
    draws: int = 0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Compute the loss of one step under an update rule at each position.

    Args:
        rule: an update rule of ``lambda_star.updates``; those that are not on this module's list are refused.
        log_s: the student's log-probabilities, shape (..., tokens); gradients flow to them.
        log_t: the teacher's, of the same shape.
        log_b: the base's, of the same shape.
        lam: λ, of a shape that broadcasts against the rows.
        log_r: those of the policy that drew the answers, for PPO and importance weights; the student's by default.
        draws: how many tokens are drawn from the student at each position in place of the expectation over all; 0 for
            the expectation.
        generator: source of the random numbers of the draws.

    Returns:
        One loss per position, shape (...).

    Raises:
        ValueError: there is no loss for the rule, or none for drawn tokens.

    Source: extension; ``derivations/updates.md``.

    >>> teacher, base = torch.tensor([0.9, 0.1]).log(), torch.tensor([0.5, 0.5]).log()
    >>> student = (1.5 * teacher - 0.5 * base).requires_grad_()  # its distribution is the fixed point at λ = 1.5
    >>> loss(none(), torch.log_softmax(student, -1), teacher, base, torch.tensor(1.5)).backward()
    >>> bool(student.grad.abs().max() < 1e-6)
    True
    """
    push, drawn = (lam - 1) * (log_t - log_b), log_s.detach() if log_r is None else log_r
    if isinstance(rule, log_ratio_cap) and rule.through and not draws:
        return -(log_s.exp() * ((log_t - log_s).clamp(max=math.log(rule.c)) + push)).sum(-1)
    if isinstance(rule, (ppo, importance_weight)) and not draws:
        gain = log_t - log_s.detach() + push
        if isinstance(rule, ppo):
            gain, ratio = _centred(gain, drawn), (log_s - drawn).exp()
            surrogate = torch.minimum(ratio * gain, ratio.clamp(1 - rule.eps, 1 + rule.eps) * gain)
            return -(drawn.exp() * surrogate).sum(-1)
        weight = (log_s.detach() - drawn).exp().clamp(max=rule.c)
        return -(drawn.exp() * weight * (_centred(gain, drawn) if rule.centred else gain) * log_s).sum(-1)
    gain = _advantage(rule, log_s.detach(), log_t, push)
    if not draws:
        return -(log_s.exp() * gain).sum(-1)
    rows = log_s.detach().exp().reshape(-1, log_s.shape[-1])
    tokens = torch.multinomial(rows, draws, replacement=True, generator=generator).reshape(*log_s.shape[:-1], draws)
    return -(log_s.gather(-1, tokens) * gain.gather(-1, tokens)).mean(-1)


def _advantage(rule: Rule, log_s: Tensor, log_t: Tensor, push: Tensor) -> Tensor:
    """Compute what stands in place of the advantage of every token."""
    ratio = log_t - log_s
    if isinstance(rule, none):
        return ratio + push
    if isinstance(rule, log_ratio_cap) and not rule.through:
        return ratio.clamp(max=math.log(rule.c)) + push
    if isinstance(rule, log_ratio_clamp) and rule.teacher == "extrapolated":
        return (torch.log_softmax(log_t + push, -1) - log_s).clamp(-rule.bound, rule.bound)
    if isinstance(rule, teacher_weight):
        gain = ratio + push
        return ratio.exp().clamp(max=rule.c) * (_centred(gain, log_s) if rule.centred else gain)
    if isinstance(rule, top_k) and not rule.through:
        inside = torch.zeros_like(log_s, dtype=torch.bool)
        inside.scatter_(-1, log_s.topk(min(rule.k, log_s.shape[-1]), dim=-1).indices, value=True)
        return (ratio + push) * inside
    if isinstance(rule, truncated_sampling) and rule.top_p is not None:
        return (ratio + push) * nucleus(log_s, rule.top_p)
    raise ValueError(f"rule must be one that has a loss here, and for draws one with a detached advantage, got {rule}")


def _centred(gain: Tensor, log_weights: Tensor) -> Tensor:
    return gain - (log_weights.exp() * gain).sum(-1, keepdim=True)


def nucleus(log_s: Tensor, top_p: float | Tensor) -> Tensor:
    """Tell which tokens are among the fewest that hold a share of the mass.

    >>> nucleus(torch.tensor([0.1, 0.6, 0.3]).log(), 0.9)
    tensor([False,  True,  True])
    """
    masses, order = log_s.exp().sort(dim=-1, descending=True, stable=True)
    before = masses.cumsum(-1) - masses
    return torch.zeros_like(log_s, dtype=torch.bool).scatter_(-1, order, before < top_p)
