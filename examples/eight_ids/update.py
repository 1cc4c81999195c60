"""Students by the paper's update as a reader reports it: sampled tokens, and min(c, π_T/π_S) on the advantage."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from lists import TASK
from torch import Tensor

from lambda_star.cliff.model import Weights, forward, repeat, sample
from lambda_star.cliff.task import counted

ANSWERS = 128  # of each student in each step


@dataclass(frozen=True)
class Rule:
    """What one run changes.

    Attributes:
        clip: cap c on the weight π_T/π_S; None for a weight without cap.
        base_term: whether the advantage is λ log(π_T/π_B) − log(π_S/π_B); if not it is λ log π_T − log π_S.
        centred: whether the mean advantage of the 128 answers at the same place is subtracted from the advantage.
        rate: AdamW's rate, constant; its other settings are PyTorch's defaults.
        from_teacher: whether students start at the teacher, so that their tails have arrived, and not at the base.
        flipped: whether the weight of a token with a positive advantage is min(c, π_S/π_T).
        uniform: whether a uniform base takes the place of the base; for runs without a base term.
    """

    clip: float | None
    base_term: bool = True
    centred: bool = False
    rate: float = 1e-3
    from_teacher: bool = False
    flipped: bool = False
    uniform: bool = False


def losses(
    rule: Rule, log_s: Tensor, log_t: Tensor, log_b: Tensor, lams: Tensor, tokens: Tensor, inside: Tensor
) -> Tensor:
    """Return the loss of each student: −Σ ρ A log π_S over its sampled tokens, divided by their number.

    Args:
        rule: the update.
        log_s, log_t, log_b: log-probabilities of student, teacher and base, shape (students, answers, places, tokens).
        lams: λ of each student.
        tokens: the sampled tokens, shape (students, answers, places).
        inside: which of them belong to an answer.
    """
    of_s, of_t, of_b = (rows.gather(-1, tokens[..., None])[..., 0] for rows in (log_s, log_t, log_b))
    constant = -math.log(log_s.shape[-1]) if rule.uniform else 0.0
    now, base = of_s.detach(), of_b if rule.base_term else torch.full_like(of_b, constant)
    advantage = lams[:, None, None] * (of_t - base) - (now - base)
    if rule.centred:
        here = inside.sum(1, keepdim=True).clamp(min=1)
        advantage = advantage - (advantage * inside).sum(1, keepdim=True) / here
    log_weight = torch.where(advantage > 0, now - of_t, of_t - now) if rule.flipped else of_t - now
    weight = log_weight.exp().clamp(max=math.inf if rule.clip is None else rule.clip)
    return -(weight * advantage * of_s * inside).sum((1, 2)) / inside.sum((1, 2))


def distilled(
    models: tuple[Weights, Weights], rule: Rule, lams: Sequence[float], stops: Sequence[int], generator: torch.Generator
) -> Iterator[Weights]:
    """Train students side by side, one for each λ, and yield them after each number of steps."""
    teacher, base = models
    students = {
        name: weight.requires_grad_()
        for name, weight in repeat(teacher if rule.from_teacher else base, len(lams)).items()
    }
    optimizer = torch.optim.AdamW(students.values(), lr=rule.rate)
    at = torch.tensor(lams)
    for step in range(1, max(stops) + 1):
        tokens = sample(students, ANSWERS, TASK.length, generator)
        inputs, inside = tokens[..., :-1], counted(tokens)[..., 1:]
        with torch.no_grad():
            flat = inputs.flatten(0, 1)[None]
            log_t, log_b = (
                torch.log_softmax(forward(each, flat)[0].reshape(*inputs.shape, -1), -1) for each in (teacher, base)
            )
        log_s = torch.log_softmax(forward(students, inputs), -1)
        optimizer.zero_grad()
        losses(rule, log_s, log_t, log_b, at, tokens[..., 1:], inside).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step in stops:
            yield {name: weight.detach().clone() for name, weight in students.items()}
