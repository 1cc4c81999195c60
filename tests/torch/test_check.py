"""Predictions against real steps: all hold where the library is right, and each fault fells those that rest on it."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from itertools import product
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lambda_star import categorical
from lambda_star.torch.check import Line, StepReport, check_step
from lambda_star.torch.models import small_problem
from lambda_star.updates import parse
from tests.night import thinned

# It is untyped, because the tests patch what it imports.
check: Any = import_module("lambda_star.torch.check")

AT_REST = "gradient at the fixed point / elsewhere"
TABLE = "log-odds after 250 natural-gradient steps, without a clip"
RATIO = "largest teacher / student ratio at λ = 1.25"
ONSET = "least λ at which the clip acts on a token"
NATURAL = "log-odds after 250 natural steps past λ*, clip 5"
POLICY = "log-odds after 250 policy-gradient steps past λ*, clip 5"
MODEL_AT_REST = "model: gradient at the fixed point / elsewhere"
MODEL_STEP = "model: step's gradient − gradient of the divergence, relative"
MODEL_GAIN = "model: gain of a step / its first order"
OF_LOGITS = [AT_REST, TABLE, RATIO, ONSET, NATURAL, POLICY]
OF_A_MODEL = [MODEL_AT_REST, MODEL_STEP, MODEL_GAIN]

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def names(report: StepReport) -> list[str]:
    return [line.what for line in report.lines]


def fallen(report: StepReport) -> set[str]:
    return {line.what for line in report.lines if not line.holds}


def problem(device: str, dtype: str) -> Any:
    return small_problem(device, dtype)


def bare(dtype: str = "float64") -> tuple[Tensor, Tensor]:
    """Return the small problem's logits of teacher and base, 24 positions × 32 tokens."""
    teacher, base, _, inputs = small_problem("cpu", dtype)
    return teacher(inputs).detach(), base(inputs).detach()


# Predictions that hold


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_every_prediction_holds_for_the_small_problem(dtype: str) -> None:
    report = check_step(*small_problem("cpu", dtype))
    assert names(report) == [*OF_LOGITS, *OF_A_MODEL]
    assert not fallen(report)
    assert report.passed
    assert (report.device, report.dtype, report.positions, report.tokens) == ("cpu", dtype, 24, 32)
    assert (report.lam, report.clip) == (1.25, 5.0)


@pytest.mark.parametrize(("lam", "clip"), thinned(product([-1.0, 1.0, 1.02, 3.0], [2.0, 100.0]), 3))
def test_every_prediction_holds_for_other_coefficients_and_clips(lam: float, clip: float) -> None:
    assert not fallen(check_step(*small_problem("cpu", "float64"), lam=lam, clip=clip))


def test_predictions_hold_with_teacher_and_base_exchanged() -> None:
    base, teacher, _, inputs = small_problem("cpu", "float64")
    assert not fallen(check_step(teacher, base, copy.deepcopy(base), inputs))


def test_predictions_are_numbers_to_go_by() -> None:
    lines = {line.what: line for line in check_step(*small_problem("cpu", "float64")).lines}
    for name, largest in ((TABLE, 1e-11), (ONSET, 1e-12), (NATURAL, 0.2), (POLICY, 0.1)):
        assert 1 < lines[name].predicted < 20
        assert 0 < lines[name].tolerance < largest
    for name in (AT_REST, MODEL_AT_REST, MODEL_STEP):
        assert 0 < lines[name].measured < lines[name].tolerance < 1e-12
    assert lines[RATIO].predicted > 5


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_every_prediction_holds_on_a_gpu(dtype: str) -> None:
    report = check_step(*small_problem("cuda", dtype))
    assert names(report) == [*OF_LOGITS, *OF_A_MODEL]
    assert not fallen(report)
    assert (report.device, report.dtype) == ("cuda:0", dtype)


# Faults


def off(function: Callable[..., Any], by: float) -> Callable[..., Any]:
    """Return the function with its result multiplied."""
    return lambda *arguments, **options: by * function(*arguments, **options)


def wrong_coefficient(patch: pytest.MonkeyPatch) -> None:
    loss = check.opd_loss
    patch.setattr(check, "opd_loss", lambda s, teacher, base, lam, **more: loss(s, teacher, base, lam + 1e-6, **more))


def wrong_size_of_the_gradient(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(check, "opd_loss", off(check.opd_loss, 1 + 1e-6))


def teacher_and_base_exchanged(patch: pytest.MonkeyPatch) -> None:
    loss = check.opd_loss
    patch.setattr(check, "opd_loss", lambda s, teacher, base, lam, **more: loss(s, base, teacher, lam, **more))


def clip_left_out_of_the_loss(patch: pytest.MonkeyPatch) -> None:
    other_clip_in_the_loss(patch, None)


def other_clip_in_the_loss(patch: pytest.MonkeyPatch, share: float | None = 0.5) -> None:
    loss = check.opd_loss

    def with_another(*rows: Any, clip: float | None = None, **more: Any) -> Any:
        return loss(*rows, clip=share and clip and share * clip, **more)

    patch.setattr(check, "opd_loss", with_another)


def other_clip_in_the_advantage(patch: pytest.MonkeyPatch) -> None:
    gain = check.advantage

    def advantage(log_t: Tensor, log_s: Tensor, log_b: Tensor, lam: float, clip: float | None = None) -> Any:
        return gain(log_t, log_s, log_b, lam, clip and 1.0001 * clip)

    patch.setattr(check, "advantage", advantage)


def wrong_ratio(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(check.categorical, "ratio", off(check.categorical.ratio, 1 + 1e-9))


def wrong_threshold(patch: pytest.MonkeyPatch) -> None:
    found = check.categorical.threshold
    patch.setattr(
        check.categorical,
        "threshold",
        lambda *rows: SimpleNamespace(value=found(*rows).value * (1 + 1e-9)),
    )


def wrong_flow(name: str) -> Callable[[pytest.MonkeyPatch], None]:
    def fault(patch: pytest.MonkeyPatch) -> None:
        path = check.dynamics.trajectory
        patch.setattr(
            check.dynamics,
            "trajectory",
            lambda *point, flow: path(*point, flow=flow) * (1.1 if flow == name else 1.0),
        )

    return fault


def reverse_divergence(patch: pytest.MonkeyPatch) -> None:
    def divergence(rows: Any, student: Tensor) -> Any:
        log_s, log_fixed = check.log_softmax(student), check.log_softmax(rows.mixture())
        return (log_fixed.exp() * (log_fixed - log_s)).sum(dim=-1).mean()

    patch.setattr(check._Rows, "divergence", divergence)


def steps_of_twice_the_size(patch: pytest.MonkeyPatch) -> None:
    descent = torch.optim.SGD
    patch.setattr(torch.optim, "SGD", lambda weights, lr: descent(weights, lr=2 * lr))


FAULTS: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], set[str]]] = {
    "coefficient": (wrong_coefficient, {AT_REST, TABLE, MODEL_AT_REST, MODEL_STEP}),
    "size of the gradient": (wrong_size_of_the_gradient, {TABLE, MODEL_STEP}),
    "teacher": (teacher_and_base_exchanged, {AT_REST, TABLE, NATURAL, POLICY, MODEL_AT_REST, MODEL_STEP}),
    "no clip": (clip_left_out_of_the_loss, {NATURAL}),
    "half the clip": (other_clip_in_the_loss, {NATURAL, POLICY}),
    "clip of the advantage": (other_clip_in_the_advantage, {ONSET}),
    "ratio": (wrong_ratio, {RATIO}),
    "threshold": (wrong_threshold, {ONSET}),
    "natural flow": (wrong_flow("natural"), {NATURAL}),
    "policy-gradient flow": (wrong_flow("policy-gradient"), {POLICY}),
    "divergence": (reverse_divergence, {MODEL_STEP}),
    "size of a step": (steps_of_twice_the_size, {TABLE, NATURAL, POLICY, MODEL_GAIN}),
}


@pytest.mark.parametrize("fault", thinned(FAULTS, 2))
def test_a_fault_fells_the_predictions_that_rest_on_it_and_no_other(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, expected = FAULTS[fault]
    commit(monkeypatch)
    report = check_step(*small_problem("cpu", "float64"))
    assert fallen(report) == expected
    assert not report.passed


# Inputs and positions


def test_without_a_student_there_are_no_lines_of_a_model() -> None:
    report = check_step(*bare())
    assert names(report) == OF_LOGITS
    assert report.passed
    teacher, base, _, inputs = small_problem("cpu", "float64")
    assert check_step(teacher, base, inputs=inputs) == report


@pytest.mark.slow
def test_logits_may_have_any_shape_before_the_tokens() -> None:
    teacher, base = bare()
    report = check_step(teacher, base)
    assert check_step(teacher.reshape(2, 3, 4, 32), base.reshape(2, 3, 4, 32)) == report
    assert check_step(teacher[0], base[0]).positions == 1


class Wrapped(nn.Module):
    """A model with the interface of a causal language model of transformers."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *, input_ids: Tensor, attention_mask: Tensor) -> Any:
        assert attention_mask.shape == input_ids.shape
        return SimpleNamespace(logits=self.inner(input_ids))


def test_modules_may_take_a_mapping_and_give_their_logits_as_an_attribute() -> None:
    *models, ids = problem("cpu", "float64")
    teacher, base, student = map(Wrapped, models)
    inputs = {"input_ids": ids[None], "attention_mask": torch.ones_like(ids)[None]}
    assert check_step(teacher, base, student, inputs) == check_step(models[0], models[1], models[2], ids)


def test_the_student_is_left_as_it_is() -> None:
    teacher, base, student, inputs = problem("cpu", "float32")
    student.train()
    for count, weight in enumerate(student.parameters()):
        weight.grad = torch.full_like(weight, count)
    weights, grads = copy.deepcopy(student.state_dict()), [weight.grad.clone() for weight in student.parameters()]
    check_step(teacher, base, student, inputs)
    assert student.training
    for name, weight in student.state_dict().items():
        assert torch.equal(weight, weights[name])
    for weight, grad in zip(student.parameters(), grads, strict=True):
        assert weight.requires_grad
        assert torch.equal(weight.grad, grad)
    for model in (teacher, base):
        assert all(weight.grad is None for weight in model.parameters())


def test_frozen_weights_of_a_student_are_no_part_of_its_step() -> None:
    teacher, base, student, inputs = problem("cpu", "float64")
    for weight in student[0].parameters():
        weight.requires_grad_(False)
    assert check_step(teacher, base, student, inputs).passed


@pytest.mark.parametrize(("most", "chosen"), [(1, [0]), (3, [0, 11, 23]), (5, [0, 5, 11, 17, 23])])
def test_positions_are_spread_evenly_from_the_first_to_the_last(most: int, chosen: list[int]) -> None:
    teacher, base = bare()
    report = check_step(teacher, base, positions=most)
    assert report.positions == most
    assert report.lines == check_step(teacher[chosen], base[chosen]).lines


def test_fewer_positions_than_asked_for_are_all_looked_at() -> None:
    teacher, base = bare()
    assert check_step(teacher, base, positions=1000) == check_step(teacher, base, positions=24)


def test_where_the_base_is_ahead_of_the_teacher_there_is_nothing_of_two_outcomes() -> None:
    teacher = torch.tensor([[1.0, 0.5, 0.0], [0.0, 2.0, 0.0]], dtype=torch.float64)
    report = check_step(teacher, 2 * teacher)
    assert names(report) == [AT_REST, TABLE, RATIO, ONSET]
    assert report.passed


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"clip": 1.0}, "clip must lie in (1, inf), got 1.0"),
        ({"clip": math.inf}, "clip must lie in (1, inf), got inf"),
        ({"clip": math.nan}, "clip must lie in (1, inf), got nan"),
        ({"lam": math.nan}, "lam must lie in (-inf, inf), got nan"),
        ({"lam": -math.inf}, "lam must lie in (-inf, inf), got -inf"),
        ({"positions": 0}, "positions must lie in [1, inf), got 0"),
        ({"inputs": None}, "inputs must be given where teacher is a module"),
        ({"inputs": None, "teacher": bare()[0]}, "inputs must be given where base is a module"),
        (
            {"inputs": None, "teacher": bare()[0], "base": bare()[1]},
            "inputs must be given where student is a module",
        ),
        (
            {"base": torch.zeros(24, 31)},
            "base must have the shape of the teacher's logits, (24, 32), got (24, 31)",
        ),
        (
            {"student": small_problem()[2].requires_grad_(False)},
            "student must have weights that require a gradient, got none",
        ),
    ],
)
def test_what_cannot_be_checked_is_refused(changed: dict[str, Any], message: str) -> None:
    given = dict(zip(("teacher", "base", "student", "inputs"), small_problem(), strict=True)) | changed
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        check_step(**given)


# Lines


@pytest.mark.parametrize(
    ("predicted", "measured", "tolerance", "holds"),
    [
        (1.5, 1.5, 0.0, True),
        (1.5, 1.75, 0.25, True),
        (1.75, 1.5, 0.25, True),
        (1.5, 1.75, 0.249, False),
        (math.inf, math.inf, 0.0, True),
        (math.inf, 1.5, 1.0, False),
        (1.5, math.inf, 1.0, False),
        (math.inf, -math.inf, 1.0, False),
        (math.nan, math.nan, 1.0, False),
        (0.0, math.nan, math.inf, False),
        (math.nan, 0.0, math.inf, False),
    ],
)
def test_a_line_holds_within_its_tolerance(predicted: float, measured: float, tolerance: float, holds: bool) -> None:
    assert Line("number", predicted, measured, tolerance).holds == holds


def test_a_report_has_passed_if_every_line_holds() -> None:
    good, bad = Line("good", 1.0, 1.0, 0.0), Line("bad", 1.0, 2.0, 0.5)
    report = StepReport((good, good), "cpu", "float32", 1, 2, 1.25, 5.0)
    assert report.passed
    assert not replace(report, lines=(good, bad)).passed


# Zero gradients, infinite thresholds and masked tokens


def test_teacher_and_base_may_be_the_same_and_never_clip() -> None:
    logits = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    report = check_step(logits, logits)
    assert report.passed
    assert report.lines[-1].predicted == report.lines[-1].measured == math.inf


def test_a_threshold_said_to_be_endless_is_measured_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    threshold = categorical.threshold
    endless = replace(threshold([0.0], [0.0], 2.0), value=torch.tensor([math.inf]))
    monkeypatch.setattr(categorical, "threshold", lambda *_: endless)
    line = check_step(torch.tensor([[4.0, 0.0, -1.0]]), torch.tensor([[1.0, 0.0, 0.0]])).lines[3]
    assert line.predicted == math.inf
    assert line.measured < math.inf
    assert not line.holds


@pytest.mark.parametrize("lam", [0.0, 1.0])
def test_a_student_may_stand_at_the_fixed_point_already(lam: float) -> None:
    teacher, base, _, inputs = small_problem()
    report = check_step(teacher, base, base if lam == 0 else teacher, inputs, lam=lam)
    assert report.passed
    assert not [line for line in report.lines if "gain" in line.what]


def test_logits_may_carry_a_gradient() -> None:
    teacher, base, _, inputs = small_problem()
    assert check_step(teacher(inputs), base(inputs)).passed


def test_tokens_masked_in_teacher_and_base_change_nothing() -> None:
    teacher, base = (torch.randn(5, 7, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    masked = [torch.cat([rows, torch.full((5, 2), -math.inf)], dim=1) for rows in (teacher, base)]
    with_mask, without = check_step(masked[0], masked[1]), check_step(teacher, base)
    assert with_mask.passed
    for one, other in zip(with_mask.lines, without.lines, strict=True):
        assert one.what == other.what
        assert one.predicted == pytest.approx(other.predicted, rel=1e-5)


# A rule in the place of the clip


RULES = ["none", "log_ratio_cap:2", "log_prob_floor:6", "top_k:1", "top_k:1,through=true", "advantage_clamp:0.5"]
SURE = torch.tensor([[5.0, 0.0, -1.0]]), torch.tensor([[1.0, 0.0, 0.0]])


@pytest.mark.parametrize("rule", RULES)
def test_the_closed_forms_of_a_rule_are_what_its_loss_does(rule: str) -> None:
    report = check_step(*SURE, lam=1.5, rule=parse(rule))
    assert names(report)[3:] == [
        f"log-odds where training ends at λ = 1.5, {parse(rule)}",
        f"λ from 1 on at which the student is not at the fixed point, {parse(rule)}",
        f"λ at which the tail dies, {parse(rule)}",
    ]
    assert report.passed
    assert report.rule == parse(rule)


@pytest.mark.parametrize("method", ["student", "leaves", "dies"])
@pytest.mark.parametrize("rule", ["log_ratio_cap:2", "none"])
def test_a_wrong_closed_form_fells_its_line(rule: str, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    known = parse(rule)
    right = getattr(type(known), method)
    monkeypatch.setattr(type(known), method, lambda *arguments: min(1.001 * right(*arguments), 1e3) * 0.999999)
    report = check_step(*SURE, lam=1.1, rule=known)  # where the tail lives
    assert fallen(report) == {report.lines[3 + ["student", "leaves", "dies"].index(method)].what}


def test_a_rule_is_not_asked_for_students_below_the_base() -> None:
    assert len(check_step(*SURE, lam=-0.5, rule=parse("none")).lines) == 3
