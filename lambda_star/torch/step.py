"""One step of on-policy distillation: the extrapolated advantage of a token, and the loss whose gradient it gives.

The distribution that maximises E_π[A] is π_λ ∝ π_T^λ π_B^(1−λ).
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor

from lambda_star._core.quantities import LAM, C, Quantity, require

__all__ = ["advantage", "log_softmax", "opd_loss"]

CLIP = C.named("clip")

Estimator = Literal["full", "sampled"]


def advantage(
    log_t: Tensor, log_s: Tensor, log_b: Tensor, lam: float | Tensor, clip: float | Tensor | None = None
) -> Tensor:
    """Compute the advantage of tokens, min(log(π_T/π), log c) + (λ−1) log(π_T/π_B).

    Without a clip it is A = λ log π_T − log π − (λ−1) log π_B.

    Args:
        log_t: log-probabilities of the teacher, for all tokens or for sampled ones, any shape.
        log_s: the same of the student.
        log_b: the same of the base.
        lam: extrapolation coefficient λ; a number, or a tensor that broadcasts against the log-probabilities.
        clip: cap c on the ratio of teacher to student probability, at least 1; None or inf for no cap.

    Returns:
        A tensor of the broadcast shape, in the dtype of the log-probabilities.

    Raises:
        ValueError: λ is not finite or the clip is below 1.

    Source: paper for the advantage, which G-OPD shares; extension for the clip in it, ``derivations/bernoulli.md``.

    >>> log_t, log_s, log_b = (torch.log(torch.tensor(row)) for row in ([0.9, 0.1], [0.5, 0.5], [0.5, 0.5]))
    >>> advantage(log_t, log_s, log_b, 1.5, clip=1.5)
    tensor([ 0.6994, -2.4142])
    """
    require(*((of, value) for of, value in ((LAM, lam), (CLIP, clip)) if not isinstance(value, Tensor)))
    ratio = log_t - log_s
    lam = lam.to(ratio.dtype) if isinstance(lam, Tensor) else lam
    if clip is not None:
        ratio = torch.minimum(ratio, torch.log(torch.as_tensor(clip, dtype=ratio.dtype, device=ratio.device)))
    return ratio + (lam - 1) * (log_t - log_b)


def log_softmax(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Compute log-probabilities from logits along the last axis, in float32 or wider.

    Args:
        logits: any floating dtype, shape (..., tokens).
        temperature: the number by which the logits are divided, above 0.

    Returns:
        A tensor of the same shape, float32 or float64.

    Raises:
        ValueError: the temperature is not positive and finite.

    >>> log_softmax(torch.tensor([0.0, 0.0], dtype=torch.bfloat16)).exp()
    tensor([0.5000, 0.5000])
    """
    require((Quantity("temperature", 0.0, math.inf), temperature))
    wide = torch.promote_types(logits.dtype, torch.float32)
    return torch.log_softmax(logits.to(wide) / temperature, dim=-1)


def opd_loss(
    student: Tensor,
    teacher: Tensor,
    base: Tensor,
    lam: float | Tensor,
    *,
    clip: float | None = None,
    estimator: Estimator = "full",
    tokens: Tensor | None = None,
    mask: Tensor | None = None,
    temperature: float = 1.0,
) -> Tensor:
    """Compute the loss of on-policy distillation, whose gradient is −E_π[A ∇ log π]; the advantage A is detached.

    ``"full"`` takes the expectation over the vocabulary; ``"sampled"`` uses the one token drawn at each position, as
    policy-gradient codes do. Both gradients have the same mean.

    With ``clip`` this is one particular update rule: the log-ratio inside the advantage is capped. Under this rule the
    tail slides to zero between λ* and the collapse point. The losses of TRL and G-OPD have no such cap, and with them
    nothing collapses in the mean. The paper, as a reader reports it, instead weights the advantage with min(c, π_T/π)
    at the sampled token; with that rule the tail does not die in the mean at λ* either.

    Args:
        student: logits of the student, shape (..., tokens), any floating dtype; gradients flow to them.
        teacher: logits of the teacher, of the same shape.
        base: logits of the base, of the same shape.
        lam: extrapolation coefficient λ; a number, or one per position.
        clip: cap c on the ratio of teacher to student probability, at least 1; None for no cap.
        estimator: "full" or "sampled".
        tokens: indices of the tokens that the student drew, shape (...); only for "sampled".
        mask: which positions count, shape (...); all by default.
        temperature: temperature of all three models, above 0.

    Returns:
        The mean over the positions that count, a scalar in float32 or wider. It is 0 if no position counts, NaN where
        an input is NaN, and +inf where the student may draw a token that the teacher alone rules out.

    Raises:
        ValueError: shapes differ, a value lies outside its range, or ``tokens`` does not fit the estimator.

    Source: paper for the objective; extension for the clip inside it, ``derivations/bernoulli.md``.

    >>> teacher, base = torch.log(torch.tensor([0.9, 0.1])), torch.log(torch.tensor([0.5, 0.5]))
    >>> student = (1.5 * teacher - 0.5 * base).requires_grad_()  # the fixed point at λ = 1.5
    >>> opd_loss(student, teacher, base, 1.5).backward()
    >>> bool(student.grad.abs().max() < 1e-7)
    True
    """
    if estimator not in get_args(Estimator):
        raise ValueError(f"estimator must be one of {', '.join(get_args(Estimator))}, got {estimator!r}")
    if (tokens is None) != (estimator == "full"):
        raise ValueError(f"tokens must be given for estimator 'sampled' alone, got estimator {estimator!r}")
    _check_shapes(student, teacher=teacher, base=base)
    _check_positions(student, lam=lam, tokens=tokens, mask=mask)
    if mask is not None:  # done first, because a NaN at another position would give a NaN gradient even if masked later
        student = torch.where(mask.bool().unsqueeze(-1), student, 0.0)
    log_s, log_t, log_b = (log_softmax(logits, temperature) for logits in (student, teacher.detach(), base.detach()))
    if tokens is not None:
        log_s, log_t, log_b = (rows.gather(-1, tokens.unsqueeze(-1)) for rows in (log_s, log_t, log_b))
    at = lam.unsqueeze(-1) if isinstance(lam, Tensor) and lam.ndim else lam
    gain = advantage(log_t, log_s.detach(), log_b, at, clip)
    # A token counts only if the student can draw it and teacher or base can produce it; otherwise A is ∞ − ∞.
    absent = (log_s.detach() == -math.inf) | ((log_t == -math.inf) & (log_b == -math.inf))
    gain = torch.where(absent, 0.0, gain)
    weight = torch.where(absent, 0.0, log_s) if tokens is not None else log_s.exp()
    losses = -(weight * gain).sum(dim=-1)
    if mask is None:
        return losses.mean()
    return torch.where(mask.bool(), losses, 0.0).sum() / mask.bool().sum().clamp(min=1)


def _check_shapes(student: Tensor, **others: Tensor) -> None:
    for name, other in others.items():
        if other.shape != student.shape:
            raise ValueError(
                f"{name} must have the shape of the student's logits, {tuple(student.shape)}, got {tuple(other.shape)};"
                " models with different vocabularies cannot be compared token by token"
            )


def _check_positions(student: Tensor, **others: object) -> None:
    for name, other in others.items():
        if isinstance(other, Tensor) and other.ndim + (name != "lam") and other.shape != student.shape[:-1]:
            shape = tuple(student.shape[:-1])
            raise ValueError(f"{name} must have one entry per position, shape {shape}, got {tuple(other.shape)}")
