"""A known update rule as a loss of two outcomes, from which autograd computes its gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lambda_star.updates import Rule

__all__ = ["rule_loss"]


def rule_loss(rule: Rule) -> Callable[[Tensor, Tensor, Tensor, float], Tensor]:
    """Return the loss −E[F log π], whose gradient moves a student of two outcomes by the effective advantages F.

    Args:
        rule: the update rule.

    Returns:
        A callable of the logits of student, teacher and base, shape (rows, 2) with the modal token first, and of λ.

    Source: extension; ``derivations/updates.md``.

    >>> from lambda_star import updates
    >>> from lambda_star.torch import probe
    >>> round(probe(rule_loss(updates.log_prob_floor(8.0)), p=0.999, b=0.5).dies, 4)
    1.1583
    """

    def loss(student: Tensor, teacher: Tensor, base: Tensor, lam: float) -> Tensor:
        def outcomes(rows: Tensor) -> Any:
            return torch.softmax(rows.detach().double(), dim=-1).numpy()

        log_odds = (student[:, 0] - student[:, 1]).detach().double().numpy()
        force = rule.force(log_odds, outcomes(teacher)[:, 0], outcomes(base)[:, 0], lam)
        gain = torch.stack([torch.as_tensor(each) for each in force], dim=-1).to(student.dtype)
        return -(torch.softmax(student, dim=-1) * gain).sum()

    return loss
