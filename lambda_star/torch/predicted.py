"""The student that converged training would reach, as logits of two models at any prefix."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from lambda_star import categorical
from lambda_star.updates import Rule, log_ratio_cap

__all__ = ["mixture", "predicted_student"]


def predicted_student(rule: Rule) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Return the function that predicts a rule's student from the logits of teacher and base.

    Args:
        rule: the update rule. Where nothing is capped, and under ``log_ratio_cap``, tensors stay on their device; the
            students of the other rules are computed in NumPy.

    Returns:
        A function of the teacher's logits, the base's logits, shape (rows, tokens), and λ, one per row. It returns
        logits or log-probabilities of the student, -inf where a token is masked or has died. It raises ``ValueError``
        where the rule settles on no student.

    Source: paper, Theorem 4.1, for K tokens; ``derivations/categorical.md`` and ``derivations/updates.md``.

    >>> from lambda_star import updates
    >>> student = predicted_student(updates.top_k(1))
    >>> student(torch.tensor([[3.0, 0.0]]), torch.tensor([[1.0, 0.0]]), torch.tensor([1.5])).exp()
    tensor([[1., 0.]])
    """
    if rule.keeps_fixed_point:
        return mixture

    def student(logits_t: Tensor, logits_b: Tensor, lam: Tensor) -> Tensor:
        rows: Tensor
        if isinstance(rule, log_ratio_cap) and not rule.through:
            rows = categorical.stationary_student(logits_t, logits_b, rule.c, lam)
        else:
            rows = rule.student(logits_t, logits_b, lam.cpu().numpy(), axis=-1)
        unsettled = rows.isnan().any(dim=-1)
        if unsettled.any():
            at = float(lam[unsettled][0])
            known = logits_t.isfinite().any() and logits_b.isfinite().any()
            why = "training goes round for ever there and settles on no student" if known else "the logits are NaN"
            raise ValueError(f"rule must have a student at every prefix, got none under {rule} at λ = {at:g}: {why}")
        return rows

    return student


def mixture(logits_t: Tensor, logits_b: Tensor, lam: Tensor) -> Tensor:
    """Return λ z_T + (1−λ) z_B, which is exactly the base's row at λ = 0 and the teacher's at λ = 1.

    Args:
        logits_t: logits of the teacher, shape (rows, tokens); -inf masks a token.
        logits_b: the same of the base.
        lam: λ, one per row.

    Returns:
        The logits of the fixed point, -inf where either model masks a token.

    Source: paper, Theorem 4.1, for K tokens; ``derivations/categorical.md``.

    >>> mixture(torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0, 0.0]]), torch.tensor([1.5]))
    tensor([[2.5000, 0.0000]])
    """
    mixed = torch.lerp(logits_b, logits_t, lam[:, None].to(logits_t))
    if not mixed.isfinite().all():
        masked = (logits_t == -math.inf) | (logits_b == -math.inf)
        mixed = mixed.masked_fill(masked, -math.inf)
    return mixed
