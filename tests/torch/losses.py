"""Losses of every update rule, written as a user of a trainer would write them, without the library."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Loss = Callable[..., Tensor]


def logs(*logits: Tensor) -> list[Tensor]:
    return [torch.log_softmax(rows, dim=-1) for rows in logits]


def drawn(rows: Tensor, tokens: Tensor) -> Tensor:
    return rows.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)


def policy_loss(log_s: Tensor, advantage: Tensor) -> Tensor:
    """The expectation over the vocabulary, advantage detached."""
    return -(log_s.exp() * advantage.detach()).sum(-1).mean()


def centre(log_s: Tensor, advantage: Tensor) -> Tensor:
    return advantage - (log_s.exp() * advantage).sum(-1, keepdim=True)


def none(student: Tensor, teacher: Tensor, base: Tensor, lam: float) -> Tensor:
    log_s, log_t, log_b = logs(student, teacher, base)
    return policy_loss(log_s, log_t - log_s + (lam - 1) * (log_t - log_b))


def log_ratio_cap(c: float, through: bool = False) -> Loss:
    def loss(student: Tensor, teacher: Tensor, base: Tensor, lam: float) -> Tensor:
        log_s, log_t, log_b = logs(student, teacher, base)
        gain = (log_t - log_s).clamp(max=math.log(c)) + (lam - 1) * (log_t - log_b)
        return -(log_s.exp() * gain).sum(-1).mean() if through else policy_loss(log_s, gain)

    return loss


def log_ratio_clamp(bound: float, teacher: str = "plain") -> Loss:
    extrapolated = teacher == "extrapolated"

    def loss(student: Tensor, teacher: Tensor, base: Tensor, lam: float) -> Tensor:
        log_s, log_t, log_b = logs(student, teacher, base)
        if extrapolated:
            (log_t,) = logs(lam * log_t + (1 - lam) * log_b)
        gain = (log_t - log_s).clamp(-bound, bound)
        return policy_loss(log_s, gain if extrapolated else gain + (lam - 1) * (log_t - log_b))

    return loss


def log_prob_floor(bound: float) -> Loss:
    def loss(student: Tensor, teacher: Tensor, base: Tensor, lam: float) -> Tensor:
        log_s, log_t, log_b = logs(student, teacher, base)
        return policy_loss(log_s, log_t - log_s.clamp(min=-bound) + (lam - 1) * (log_t - log_b))

    return loss


def kl_to_base_cap(c: float) -> Loss:
    def loss(student: Tensor, teacher: Tensor, base: Tensor, lam: float) -> Tensor:
        log_s, log_t, log_b = logs(student, teacher, base)
        return policy_loss(log_s, lam * (log_t - log_b) + (log_b - log_s).clamp(max=math.log(c)))

    return loss


def advantage_clamp(bound: float, centred: bool = False) -> Loss:
    def loss(student: Tensor, teacher: Tensor, base: Tensor, lam: float) -> Tensor:
        log_s, log_t, log_b = logs(student, teacher, base)
        gain = log_t - log_s + (lam - 1) * (log_t - log_b)
        return policy_loss(log_s, (centre(log_s, gain) if centred else gain).clamp(-bound, bound))

    return loss


def reward_clip(bound: float) -> Loss:
    def loss(student: Tensor, teacher: Tensor, base: Tensor, lam: float) -> Tensor:
        log_s, log_t, log_b = logs(student, teacher, base)
        return policy_loss(log_s, log_t - log_s + (lam - 1) * (log_t - log_b).clamp(-bound, bound))

    return loss


def importance_weight(c: float, centred: bool = True) -> Loss:
    def loss(
        student: Tensor, teacher: Tensor, base: Tensor, lam: float, tokens: Tensor, rollout_logits: Tensor
    ) -> Tensor:
        log_s, log_t, log_b, log_r = logs(student, teacher, base, rollout_logits)
        gain = (log_t - log_s + (lam - 1) * (log_t - log_b)).detach()
        gain = centre(log_s.detach(), gain) if centred else gain
        weight = (drawn(log_s, tokens) - drawn(log_r, tokens)).exp().clamp(max=c).detach()
        return -(weight * drawn(gain, tokens) * drawn(log_s, tokens)).mean()

    return loss


def ppo(eps: float = 0.2) -> Loss:
    def loss(student: Tensor, teacher: Tensor, base: Tensor, lam: float, tokens: Tensor, old_logits: Tensor) -> Tensor:
        log_s, log_t, log_b, log_old = logs(student, teacher, base, old_logits)
        gain = (log_t - log_s + (lam - 1) * (log_t - log_b)).detach()
        gain = drawn(centre(log_s.detach(), gain), tokens)
        ratio = (drawn(log_s, tokens) - drawn(log_old, tokens)).exp()
        return -torch.minimum(ratio * gain, ratio.clamp(1 - eps, 1 + eps) * gain).mean()

    return loss


def teacher_weight(c: float, centred: bool = True) -> Loss:
    def loss(student: Tensor, teacher: Tensor, base: Tensor, lam: float) -> Tensor:
        log_s, log_t, log_b = logs(student, teacher, base)
        gain = log_t - log_s + (lam - 1) * (log_t - log_b)
        weight = (log_t - log_s).exp().clamp(max=c)
        return policy_loss(log_s, weight * (centre(log_s, gain) if centred else gain))

    return loss


def top_k(k: int, through: bool = False) -> Loss:
    def loss(student: Tensor, teacher: Tensor, base: Tensor, lam: float) -> Tensor:
        log_s, log_t, log_b = logs(student, teacher, base)
        top = log_s.topk(k, dim=-1).indices
        log_s, log_t, log_b = (rows.gather(-1, top) for rows in (log_s, log_t, log_b))
        gain = log_t - log_s + (lam - 1) * (log_t - log_b)
        return -(log_s.exp() * gain).sum(-1).mean() if through else policy_loss(log_s, gain)

    return loss


def sampled(student: Tensor, teacher: Tensor, base: Tensor, lam: float, tokens: Tensor) -> Tensor:
    """A plain sampled policy gradient, for truncated sampling."""
    log_s, log_t, log_b = (drawn(rows, tokens) for rows in logs(student, teacher, base))
    gain = log_t - log_s + (lam - 1) * (log_t - log_b)
    return -(gain.detach() * log_s).mean()
