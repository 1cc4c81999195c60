"""The losses of training codes: TRL's own functions, and formulas of codes that a package index does not hold.

TRL's functions are called as they are installed, with the mixture λ z_T + (1−λ) z_B as the teacher, which is what
``ExtrapolatedTeacher`` gives a trainer. The other losses were written for this project from the formulas that the codes
document; they were read between May and August 2026, and are not those codes.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

Loss = Callable[..., Tensor]
Gain = Callable[[Tensor, Tensor, Tensor, float], Tensor]


def drawn(rows: Tensor, tokens: Tensor) -> Tensor:
    """Return the entry of each row at its token."""
    return rows.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)


# TRL


def trl_distillation(beta: float) -> Loss:
    """DistillationTrainer's loss. It multiplies hidden states by output embeddings; here they are logits and ones."""

    def loss(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        module = import_module("trl.trainer.distillation_trainer")
        head = torch.eye(student_logits.shape[-1], dtype=student_logits.dtype)
        mask = torch.ones(len(student_logits), 1)
        hidden = student_logits.unsqueeze(1), teacher_logits.unsqueeze(1)
        value: Tensor = module._chunked_divergence_loss(*hidden, head, head, mask, beta)[0]
        return value

    return loss


def trl_jsd(home: str, trainer: str, **options: Any) -> Loss:
    """The static ``generalized_jsd_loss`` of a trainer."""

    def loss(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        kind = getattr(import_module(f"trl.experimental.{home}"), trainer)
        value: Tensor = kind.generalized_jsd_loss(student_logits.unsqueeze(1), teacher_logits.unsqueeze(1), **options)
        return value

    return loss


def trl_self_distillation(alpha: float, topk: int, add_tail: bool) -> Loss:
    """The top-k loss of the SDFT and SDPO trainers."""

    def loss(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        module = import_module("trl.experimental.sdft.loss_utils")
        options = {"distillation_topk": topk, "distillation_alpha": alpha, "distillation_add_tail": add_tail}
        value: Tensor = module.compute_topk_self_distillation_loss(student_logits, teacher_logits, **options)
        return value

    return loss


class _Grpo(SimpleNamespace):
    """What GRPOTrainer's loss reads of its trainer: the numbers of a configuration, and one process."""

    def __init__(self, loss_type: str, epsilon: float, epsilon_high: float) -> None:
        one = {"gather": lambda x: x, "reduce": lambda x, reduction: x, "num_processes": 1}
        super().__init__(
            loss_type=loss_type,
            epsilon_low=epsilon,
            epsilon_high=epsilon_high,
            beta=0.0,
            top_entropy_quantile=1.0,
            off_policy_mask_threshold=None,
            importance_sampling_level="token",
            use_vllm=False,
            aux_loss_enabled=False,
            _entropy_bonus_enabled=False,
            current_gradient_accumulation_steps=1,
            args=SimpleNamespace(delta=None, steps_per_generation=1),
            model=SimpleNamespace(training=True),
            accelerator=SimpleNamespace(**one),
            _metrics=_Ignored(),
        )

    def _get_per_token_logps_and_entropies(self, model: Tensor, ids: Tensor, *_: Any, **__: Any) -> Any:
        """Return the log-probability of the one token of each answer, its entropy, and no auxiliary loss."""
        log_s = torch.log_softmax(model, dim=-1)
        return drawn(log_s, ids[:, -1]).unsqueeze(1), -(log_s.exp() * log_s).sum(-1, keepdim=True).detach(), None


class _Ignored(dict[str, Any]):
    """A metrics dictionary that keeps nothing."""

    def __missing__(self, key: str) -> Any:
        return _Ignored()

    def append(self, value: Any) -> None:
        """Drop a value."""


def trl_grpo(loss_type: str, epsilon: float = 0.2, epsilon_high: float = 0.2) -> Loss:
    """GRPOTrainer's loss, with the extrapolated reward less its mean as the advantage of the drawn token."""

    def loss(student: Tensor, teacher: Tensor, base: Tensor, lam: float, tokens: Tensor, rollout: Tensor) -> Tensor:
        trainer = import_module("trl.trainer.grpo_trainer").GRPOTrainer
        old, log_t, log_b = (torch.log_softmax(rows, dim=-1) for rows in (rollout, teacher, base))
        log_s = torch.log_softmax(student.detach(), dim=-1)
        gain = log_t - log_s + (lam - 1) * (log_t - log_b)
        gain = gain - (log_s.exp() * gain).sum(-1, keepdim=True)
        ones = torch.ones(len(tokens), 1, dtype=student.dtype)
        inputs = {
            "prompt_ids": tokens.unsqueeze(1),
            "prompt_mask": ones,
            "completion_ids": tokens.unsqueeze(1),
            "completion_mask": ones,
            "advantages": drawn(gain, tokens),
            "old_per_token_logps": drawn(old, tokens).unsqueeze(1),
            "num_items_in_batch": torch.tensor(float(len(tokens))),
        }
        value: Tensor = trainer._compute_loss(_Grpo(loss_type, epsilon, epsilon_high), student, inputs)
        return value

    return loss


# Formulas of other codes


def policy_gradient(gain: Gain) -> Loss:
    """−A log π of the drawn token, with A a function of whole rows of log-probabilities and λ, detached."""

    def loss(student: Tensor, teacher: Tensor, base: Tensor, lam: float, tokens: Tensor) -> Tensor:
        log_s, log_t, log_b = (torch.log_softmax(rows, dim=-1) for rows in (student, teacher, base))
        return -(drawn(gain(log_s, log_t, log_b, lam).detach(), tokens) * drawn(log_s, tokens)).mean()

    return loss


def weighted(gain: Gain, cap: float) -> Loss:
    """The same with a truncated importance weight min(π_train/π_rollout, cap)."""

    def loss(student: Tensor, teacher: Tensor, base: Tensor, lam: float, tokens: Tensor, rollout: Tensor) -> Tensor:
        log_s, log_t, log_b, log_r = (torch.log_softmax(rows, dim=-1) for rows in (student, teacher, base, rollout))
        advantage = drawn(gain(log_s, log_t, log_b, lam), tokens)
        weight = (drawn(log_s, tokens) - drawn(log_r, tokens)).exp().clamp(max=cap)
        return -((weight * advantage).detach() * drawn(log_s, tokens)).mean()

    return loss


def extrapolated(log_t: Tensor, log_b: Tensor, lam: float) -> Tensor:
    """Return log-probabilities of π_λ."""
    return torch.log_softmax(lam * log_t + (1 - lam) * log_b, dim=-1)


def reverse_kl(log_s: Tensor, log_t: Tensor, log_b: Tensor, lam: float) -> Tensor:
    """G-OPD's advantage: log(π_T/π) + (λ−1)·log(π_T/π_B)."""
    return log_t - log_s + (lam - 1) * (log_t - log_b)


def clamped_inside(bound: float | None) -> Gain:
    """A trainer without λ that clamps log(π_T/π), with an extrapolated teacher in π_T's place."""

    def gain(log_s: Tensor, log_t: Tensor, log_b: Tensor, lam: float) -> Tensor:
        ratio = extrapolated(log_t, log_b, lam) - log_s
        return ratio if bound is None else ratio.clamp(-bound, bound)

    return gain


def clamped_outside(bound: float) -> Gain:
    """The same trainer, with (λ−1)·log(π_T/π_B) added to what it has clamped."""

    def gain(log_s: Tensor, log_t: Tensor, log_b: Tensor, lam: float) -> Tensor:
        return (log_t - log_s).clamp(-bound, bound) + (lam - 1) * (log_t - log_b)

    return gain


def clamped_advantage(bound: float) -> Gain:
    """The whole advantage, clamped."""
    return lambda log_s, log_t, log_b, lam: reverse_kl(log_s, log_t, log_b, lam).clamp(-bound, bound)


def verl_k3(student: Tensor, teacher: Tensor, base: Tensor, lam: float, tokens: Tensor) -> Tensor:
    """The low-variance estimator, clamped at 20 and at 10, differentiated; the teacher is extrapolated."""
    log_s = torch.log_softmax(student, dim=-1)
    goal = extrapolated(torch.log_softmax(teacher, dim=-1), torch.log_softmax(base, dim=-1), lam)
    ratio = drawn(goal - log_s, tokens).clamp(-20, 20)
    return (ratio.exp() - ratio - 1).clamp(-10, 10).mean()


def verl_forward_topk(k: int, least: float | None = None) -> Loss:
    """The forward KL over the teacher's top k without a bucket for the others, negative losses set to 0."""

    def loss(student: Tensor, teacher: Tensor, base: Tensor, lam: float) -> Tensor:
        log_s = torch.log_softmax(student, dim=-1)
        goal = extrapolated(torch.log_softmax(teacher, dim=-1), torch.log_softmax(base, dim=-1), lam)
        goal, top = goal.topk(k, dim=-1)
        log_s = log_s.gather(-1, top)
        if least is not None:
            goal, log_s = goal.clamp(min=least), log_s.clamp(min=least)
        return (goal.exp() * (goal - log_s)).sum(-1).clamp(min=0).mean()

    return loss


def verl_reverse_topk(k: int, outside: bool = False) -> Loss:
    """The reverse KL over the student's top k without a bucket for the others, as in earlier versions.

    With λ outside, (λ−1)·log(π_T/π_B) is added, so that the goal is not normalised.
    """

    def loss(student: Tensor, teacher: Tensor, base: Tensor, lam: float) -> Tensor:
        log_s, log_t, log_b = (torch.log_softmax(rows, dim=-1) for rows in (student, teacher, base))
        goal = log_t + (lam - 1) * (log_t - log_b) if outside else extrapolated(log_t, log_b, lam)
        log_s, top = log_s.topk(k, dim=-1)
        return (log_s.exp() * (log_s - goal.gather(-1, top))).sum(-1).mean()

    return loss
