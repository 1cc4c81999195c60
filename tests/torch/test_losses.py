"""What a loss is given follows from the names of its parameters."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lambda_star import updates
from lambda_star.torch import advantage, probe
from lambda_star.torch.losses import read_loss
from lambda_star.torch.velocity import Draw, read_velocity
from tests.torch import losses

CAP = updates.log_ratio_cap(5.0)


def roles(loss: Callable[..., Any]) -> list[tuple[str, str]]:
    return [(each.role, each.form) for each in read_loss(loss).parameters]


LOGITS = [("student", "logits"), ("teacher", "logits"), ("base", "logits"), ("lam", "")]
LOGS = [(role, form and "log-probabilities") for role, form in LOGITS]


def spelled(student_logits: Any, teacher_logits: Any, ref_logits: Any, lmbda: Any, temperature: float = 1.0) -> Any: ...
def logarithmic(log_probs: Any, teacher_log_probs: Any, ref_logp: Any, lambda_: Any) -> Any: ...
def short(log_s: Any, log_t: Any, log_b: Any, lam: Any) -> Any: ...
def nameless(a: Any, b: Any, c: Any, d: Any) -> Any: ...
def named_alone(*, lam: Any, base: Any, teacher: Any, student: Any) -> Any: ...


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (spelled, LOGITS),
        (logarithmic, LOGS),
        (short, LOGS),
        (nameless, LOGITS),
        (named_alone, LOGITS[::-1]),
        (losses.sampled, [*LOGITS, ("tokens", "")]),
        (losses.ppo(), [*LOGITS, ("tokens", ""), ("rollout", "logits")]),
        (functools.partial(spelled, temperature=2.0), LOGITS),
        (lambda probs, teacher_probs: probs, [("student", "probabilities"), ("teacher", "probabilities")]),
    ],
)
def test_roles_and_forms_follow_from_names(loss: Callable[..., Any], expected: list[tuple[str, str]]) -> None:
    assert roles(loss) == expected


@pytest.mark.parametrize(
    "loss",
    [
        lambda student: student,
        lambda student, teacher, base: student,
        lambda student, policy, teacher: student,
        lambda: 0.0,
        lambda student, teacher, base, lam, tokens, rollout, another: student,
    ],
)
def test_a_signature_that_cannot_be_read_is_refused(loss: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match=r"loss must take .student, teacher, base, lam.*rename its parameters"):
        read_loss(loss)


def by_logs(log_student: Tensor, log_teacher: Tensor, log_base: Tensor, lam: float) -> Tensor:
    gain = (log_teacher - log_student).clamp(max=math.log(5)) + (lam - 1) * (log_teacher - log_base)
    return -(log_student.exp() * gain.detach()).sum(-1)


def capped_advantage(log_student: Tensor, log_teacher: Tensor, log_base: Tensor, lam: float) -> Tensor:
    return (log_teacher - log_student).clamp(max=math.log(5)) + (lam - 1) * (log_teacher - log_base)


def drawn_advantage(student: Tensor, teacher: Tensor, base: Tensor, lam: float, tokens: Tensor) -> Tensor:
    log_s, log_t, log_b = (losses.drawn(rows, tokens) for rows in losses.logs(student, teacher, base))
    return (log_t - log_s).clamp(max=math.log(5)) + (lam - 1) * (log_t - log_b)


def per_token(student: Tensor, teacher: Tensor, base: Tensor, lam: float) -> Tensor:
    log_s, log_t, log_b = losses.logs(student, teacher, base)
    return -log_s.exp() * ((log_t - log_s).clamp(max=math.log(5)) + (lam - 1) * (log_t - log_b)).detach()


@pytest.mark.parametrize("loss", [by_logs, capped_advantage, drawn_advantage, per_token])
def test_one_rule_is_recognised_in_every_form(loss: Callable[..., Any]) -> None:
    report = probe(loss, p=0.9, b=0.5)
    assert report.rule == CAP
    assert report.dies == pytest.approx(CAP.dies(0.9, 0.5), rel=1e-6)


def test_the_library_reads_its_own_advantage() -> None:
    report = probe(functools.partial(advantage, clip=5.0), p=0.9, b=0.5)
    assert report.rule == CAP


def test_an_advantage_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the advantage of every token must have shape \(1, 2\), got \(1,\)"):
        probe(lambda student, teacher, base, lam: student.sum(-1), p=0.9, b=0.5, returns="advantage")


def test_a_name_is_overruled() -> None:
    def no_advantage(student: Tensor, teacher: Tensor, base: Tensor, lam: float) -> Tensor:
        return losses.none(student, teacher, base, lam)

    assert probe(no_advantage, p=0.9, b=0.5, returns="loss").rule == updates.none()


def test_a_loss_without_a_base_has_an_extrapolated_teacher() -> None:
    seen = {}

    def loss(student: Tensor, teacher: Tensor) -> Tensor:
        seen["teacher"] = torch.softmax(teacher, -1)[0, 0]
        return student.sum()

    rows = {"teacher": torch.tensor([[0.9, 0.1]]).log(), "base": torch.tensor([[0.5, 0.5]]).log()}
    read_loss(loss)(torch.zeros(1, 2, requires_grad=True), rows, 1.5)
    assert float(seen["teacher"]) == pytest.approx(updates.none().student(0.9, 0.5, 1.5), rel=1e-6)


# Velocities


def test_the_velocity_is_the_difference_of_the_effective_advantages() -> None:
    log_odds = np.linspace(-30, 500, 97)
    for rule, loss in ((CAP, losses.log_ratio_cap(5.0)), (updates.none(), losses.sampled)):
        velocity = read_velocity(read_loss(loss), 0.9, 0.5)
        force = rule.force(log_odds, 0.9, 0.5, 1.7)
        assert np.allclose(velocity(log_odds, 0.9, 0.5, 1.7), force.modal - force.tail, rtol=1e-10, atol=1e-10)


def test_forces_of_single_tokens_carry_their_weights() -> None:
    velocity = read_velocity(read_loss(losses.importance_weight(2.0, centred=False)), 0.9, 0.5)
    log_odds = np.array([-1.0, 2.0, 9.0])
    plain = updates.none().force(log_odds, 0.9, 0.5, 1.3)
    for shift in (0.0, 0.2, -0.2):  # no weight reaches 2 here
        modal, tail = velocity.of_tokens(log_odds, 0.9, 0.5, 1.3, shift)
        ratios = [np.exp(np.logaddexp(0, -s * (log_odds + shift)) - np.logaddexp(0, -s * log_odds)) for s in (1, -1)]
        assert np.allclose(modal, plain.modal * ratios[0])
        assert np.allclose(tail, plain.tail * ratios[1])


@pytest.mark.parametrize(
    ("draw", "expected"),
    [
        (Draw(), [0.5, 0.3, 0.2]),
        (Draw(top_k=2), [0.625, 0.375, 0.0]),
        (Draw(top_p=0.5), [1.0, 0.0, 0.0]),
        (Draw(top_p=0.51), [0.625, 0.375, 0.0]),
        (Draw(top_p=0.9), [0.5, 0.3, 0.2]),
        (Draw(top_p=0.9, top_k=1), [1.0, 0.0, 0.0]),
    ],
)
def test_draws_are_truncated_and_renormalised(draw: Draw, expected: list[float]) -> None:
    logits = np.log([[0.2, 0.5, 0.3]])
    assert np.allclose(draw.probabilities(logits), [[expected[2], expected[0], expected[1]]])


def test_how_a_loss_can_be_asked_is_found_out() -> None:
    def ways(loss: losses.Loss) -> str:
        return read_velocity(read_loss(loss), 0.9, 0.5).ways

    def summed(student: Tensor, teacher: Tensor, base: Tensor, lam: float) -> Tensor:
        return losses.none(student, teacher, base, lam) * len(student)

    def mixed(student: Tensor, teacher: Tensor, base: Tensor, lam: float) -> Tensor:
        return losses.none(student, teacher, base, lam) * student.detach().std()

    def counted(student: Tensor, teacher: Tensor, base: Tensor, lam: float) -> Tensor:
        return losses.none(student, teacher, base, lam) * (1.0 if float(student.detach().std()) > 1 else 2.0)

    assert [ways(loss) for loss in (losses.none, summed, mixed, counted)] == ["mean", "sum", "vmap", "one by one"]
