"""One step of on-policy distillation: its gradient by hand and by autograd, and the students at which it vanishes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

import lambda_star as ls
from lambda_star.torch.step import advantage, log_softmax, opd_loss

Rows = tuple[Tensor, Tensor, Tensor]

EXACT: Any = {"rtol": 0, "atol": 1e-13}
POINTS = [(0.9, 0.5, 2.0), (0.7, 0.2, 1.5), (0.99, 0.9, 5.0), (0.6, 0.5, 10.0)]
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def draw(*shape: int, seed: int = 0, dtype: Any = torch.float64) -> Rows:
    """Draw logits of student, teacher and base."""
    generator = torch.Generator().manual_seed(seed)
    student, teacher, base = (2 * torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(3))
    return student.to(dtype), teacher.to(dtype), base.to(dtype)


def loss_of(rows: Any, lam: Any, **options: Any) -> Tensor:
    student, teacher, base = rows
    return opd_loss(student, teacher, base, lam, **options)


def gradient(rows: Any, lam: Any, **options: Any) -> Tensor:
    student, *others = rows
    leaf = student.detach().clone().requires_grad_()
    found: Tensor = torch.autograd.grad(loss_of((leaf, *others), lam, **options), leaf)[0]
    return found


def probabilities(logits: Tensor) -> NDArray[np.float64]:
    weights = np.exp(logits.numpy() - logits.numpy().max(axis=-1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def gradient_by_hand(rows: Rows, lam: float, clip: float = math.inf) -> NDArray[np.float64]:
    """Compute −π(a)(A(a) − Ā) for every token a, averaged over positions."""
    s, t, b = map(probabilities, rows)
    gain = np.log(np.minimum(t / s, clip)) + (lam - 1) * np.log(t / b)
    mean = (s * gain).sum(axis=-1, keepdims=True)
    return np.asarray(-s * (gain - mean) / max(1, s[..., 0].size))


def two_outcomes(p: float) -> Tensor:
    """Return logits of tail and modal token."""
    return torch.tensor([math.log1p(-p), math.log(p)], dtype=torch.float64)


@st.composite
def logits(draw: st.DrawFn) -> Rows:
    """Draw student, teacher and base over a few tokens."""
    count = draw(st.integers(2, 7))
    row = st.lists(st.floats(-5.0, 5.0), min_size=count, max_size=count)
    student, teacher, base = (torch.tensor(draw(row), dtype=torch.float64) for _ in range(3))
    return student, teacher, base


coefficients = st.floats(-1.0, 3.0)


# Log-probabilities


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_log_probabilities_are_float32_at_least(dtype: Any) -> None:
    rows = draw(3, 7, dtype=dtype)[0]
    found = log_softmax(rows)
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    expected = np.log(probabilities(rows.double()))
    np.testing.assert_allclose(found.double().numpy(), expected, rtol=0, atol=16 * torch.finfo(found.dtype).eps)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_temperature_divides_the_logits(temperature: float) -> None:
    rows = draw(3, 7)[0]
    assert torch.equal(log_softmax(rows, temperature), log_softmax(rows / temperature))
    assert not torch.equal(log_softmax(rows, temperature), log_softmax(rows))


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.inf, math.nan])
def test_a_temperature_out_of_range_is_refused(temperature: float) -> None:
    calls: list[Callable[[], Tensor]] = [
        lambda: log_softmax(torch.zeros(2), temperature),
        lambda: loss_of(draw(2), 1.2, temperature=temperature),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=rf"^temperature must lie in \(0, inf\), got {temperature!r}$"):
            call()


# Advantage


@given(logits(), coefficients)
def test_without_a_clip_the_advantage_is_the_weighted_sum_of_log_probabilities(rows: Rows, lam: float) -> None:
    log_s, log_t, log_b = map(log_softmax, rows)
    expected = lam * log_t - log_s - (lam - 1) * log_b
    for clip in (None, math.inf):
        torch.testing.assert_close(advantage(log_t, log_s, log_b, lam, clip), expected, **EXACT)


@given(logits(), coefficients, st.floats(1.0, 20.0))
def test_the_clip_caps_the_ratio_of_teacher_to_student_and_not_the_push(rows: Rows, lam: float, clip: float) -> None:
    log_s, log_t, log_b = map(log_softmax, rows)
    capped = np.log(np.minimum(np.exp((log_t - log_s).numpy()), clip))
    expected = capped + (lam - 1) * (log_t - log_b).numpy()
    np.testing.assert_allclose(advantage(log_t, log_s, log_b, lam, clip).numpy(), expected, atol=1e-13)


def test_coefficient_and_clip_may_differ_from_position_to_position() -> None:
    log_s, log_t, log_b = map(log_softmax, draw(3, 5))
    lams, clips = torch.tensor([[0.5], [1.0], [2.0]], dtype=torch.float64), torch.tensor([[1.0], [1.5], [math.inf]])
    found = advantage(log_t, log_s, log_b, lams, clips)
    for row, (lam, clip) in enumerate([(0.5, 1.0), (1.0, 1.5), (2.0, math.inf)]):
        assert torch.equal(found[row], advantage(log_t[row], log_s[row], log_b[row], lam, clip))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("clip", [None, 1.5, torch.tensor(1.5)])
def test_the_advantage_is_in_the_dtype_of_the_log_probabilities(dtype: Any, clip: Any) -> None:
    log_s, log_t, log_b = (log_softmax(row).to(dtype) for row in draw(20, 5))
    found = advantage(log_t, log_s, log_b, 1.25, clip)
    assert found.dtype == dtype
    exact = advantage(log_t.double(), log_s.double(), log_b.double(), 1.25, clip)
    scale = float(exact.abs().max())
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=2 * scale * torch.finfo(dtype).eps)


@pytest.mark.parametrize(
    ("lam", "clip", "message"),
    [
        (math.inf, None, "lam must lie in (-inf, inf), got inf"),
        (math.nan, None, "lam must lie in (-inf, inf), got nan"),
        (1.2, 0.5, "clip must lie in [1, inf], got 0.5"),
        (1.2, math.nan, "clip must lie in [1, inf], got nan"),
        (1.2, -2, "clip must lie in [1, inf], got -2"),
    ],
)
def test_coefficient_and_clip_out_of_range_are_refused(lam: float, clip: float | None, message: str) -> None:
    student, teacher, base = draw(2, 3)
    for call in (advantage, opd_loss):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            call(student, teacher, base, lam, clip=clip)


# The gradient


@pytest.mark.parametrize("lam", [-0.5, 0.0, 1.0, 1.25, 3.0])
@pytest.mark.parametrize("clip", [None, 1.0, 1.5, 5.0])
def test_gradient_is_the_advantage_over_its_mean_times_probability(lam: float, clip: float | None) -> None:
    rows = draw(2, 3, 6)
    expected = gradient_by_hand(rows, lam, math.inf if clip is None else clip)
    np.testing.assert_allclose(gradient(rows, lam, clip=clip).numpy(), expected, **EXACT)


@given(logits(), coefficients)
def test_gradient_is_that_of_the_divergence_from_the_fixed_point(rows: Rows, lam: float) -> None:
    student, teacher, base = rows
    leaf: Any = student.clone().requires_grad_()
    log_s, log_fixed = log_softmax(leaf), log_softmax(lam * teacher + (1 - lam) * base)
    divergence = (log_s.exp() * (log_s - log_fixed)).sum()
    (expected,) = torch.autograd.grad(divergence, leaf)
    torch.testing.assert_close(gradient(rows, lam), expected, **EXACT)


@given(logits(), coefficients)
def test_without_a_clip_the_gradient_vanishes_at_the_fixed_point(rows: Rows, lam: float) -> None:
    _, teacher, base = rows
    assert float(gradient((lam * teacher + (1 - lam) * base, teacher, base), lam).abs().max()) < 1e-13


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
@pytest.mark.parametrize(("p", "b", "c"), POINTS)
def test_between_threshold_and_collapse_the_clipped_gradient_vanishes_at_the_stationary_student(
    p: float, b: float, c: float, share: float
) -> None:
    start, end = ls.threshold(p, b, c), ls.collapse_point(p, b, c)
    lam = start + share * (end - start)
    teacher, base = two_outcomes(p), two_outcomes(b)
    q = ls.bernoulli.stationary_student(p, b, c, lam)
    assert float(gradient((two_outcomes(q), teacher, base), lam, clip=c).abs().max()) < 1e-15
    # On either side the gradient leads back, because descent raises the logit of the smaller probability.
    less, more = (
        float(gradient((two_outcomes(at), teacher, base), lam, clip=c)[1])
        for at in (q - (1 - q) / 10, q + (1 - q) / 10)
    )
    assert less < -1e-9 < 1e-9 < more
    assert float(gradient((two_outcomes(ls.fixed_point(p, b, lam)), teacher, base), lam, clip=c)[1]) < -1e-9


@pytest.mark.parametrize(("p", "b", "c"), POINTS)
def test_below_the_threshold_the_clip_leaves_the_fixed_point_alone(p: float, b: float, c: float) -> None:
    lam = 1 + 0.99 * ls.bernoulli.excess(p, b, c)
    student = two_outcomes(ls.fixed_point(p, b, lam))
    assert float(gradient((student, two_outcomes(p), two_outcomes(b)), lam, clip=c).abs().max()) < 1e-15


@pytest.mark.parametrize("more", [1e-3, 0.5])
@pytest.mark.parametrize(("p", "b", "c"), POINTS)
def test_past_the_collapse_point_the_clipped_gradient_pushes_the_tail_down_everywhere(
    p: float, b: float, c: float, more: float
) -> None:
    lam = ls.collapse_point(p, b, c) + more
    odds = torch.linspace(-30, 30, 601, dtype=torch.float64)
    students = torch.stack([torch.zeros_like(odds), odds], dim=-1)
    teacher, base = (two_outcomes(value).expand_as(students) for value in (p, b))
    tail, modal = gradient((students, teacher, base), lam, clip=c).unbind(-1)
    assert bool((tail > 0).all())
    assert bool((modal < 0).all())
    assert float(gradient((students, teacher, base), lam)[-1, 0]) < 0  # without the clip the tail is lifted


# The sampled estimator


@given(logits(), coefficients, st.one_of(st.none(), st.floats(1.0, 10.0)))
def test_sampled_gradients_have_the_full_one_as_their_mean(rows: Rows, lam: float, clip: float | None) -> None:
    share = probabilities(rows[0])
    drawn = [
        gradient(rows, lam, clip=clip, estimator="sampled", tokens=torch.tensor(token)).numpy()
        for token in range(len(share))
    ]
    mean = sum(weight * each for weight, each in zip(share, drawn, strict=True))
    np.testing.assert_allclose(mean, gradient(rows, lam, clip=clip).numpy(), **EXACT)


def test_drawn_tokens_give_the_full_gradient_up_to_their_noise() -> None:
    rows, count = draw(5), 20_000
    tokens = torch.multinomial(log_softmax(rows[0]).exp(), count, True, generator=torch.Generator().manual_seed(1))
    many: Any = [row.expand(count, 5) for row in rows]
    each = count * gradient(many, 1.25, clip=2.0, estimator="sampled", tokens=tokens)
    error = each.std(dim=0) / math.sqrt(count)
    assert float(error.min()) > 0
    assert float(error.max()) < 0.02
    assert bool(((each.mean(dim=0) - gradient(rows, 1.25, clip=2.0)).abs() < 4 * error).all())


def test_a_sampled_loss_is_minus_advantage_times_log_probability() -> None:
    rows, tokens = draw(2, 3, 5), torch.tensor([[0, 4, 2], [1, 1, 3]])
    log_s, log_t, log_b = (log_softmax(row).gather(-1, tokens[..., None])[..., 0] for row in rows)
    expected = -(log_s * advantage(log_t, log_s, log_b, 1.25, 2.0)).mean()
    torch.testing.assert_close(loss_of(rows, 1.25, clip=2.0, estimator="sampled", tokens=tokens), expected, **EXACT)


# Options


def test_each_position_may_have_its_own_coefficient() -> None:
    rows, lams = draw(2, 3, 5), [[0.5, 1.0, 1.25], [1.5, 2.0, 3.0]]
    for dtype in (torch.float32, torch.float64):  # the coefficients are exact in both
        found = gradient(rows, torch.tensor(lams, dtype=dtype), clip=2.0)
        for place in np.ndindex(2, 3):
            alone = gradient((row[place] for row in rows), lams[place[0]][place[1]], clip=2.0)
            torch.testing.assert_close(6 * found[place], alone, **EXACT)
    assert torch.equal(gradient(rows, torch.tensor(1.25)), gradient(rows, 1.25))
    narrow = [row.float() for row in rows]
    assert loss_of(narrow, torch.tensor(lams, dtype=torch.float64)).dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32])
@pytest.mark.parametrize("estimator", ["full", "sampled"])
def test_a_mask_takes_the_mean_over_the_positions_that_count(estimator: Any, dtype: Any) -> None:
    rows, mask = draw(2, 3, 5), torch.tensor([[True, True, False], [True, False, True]])
    tokens = torch.tensor([[0, 4, 2], [1, 1, 3]]) if estimator == "sampled" else None
    few: Any = [row[mask] for row in rows]
    options: Any = {"clip": 2.0, "estimator": estimator}
    alone = options | {"tokens": None if tokens is None else tokens[mask]}
    options |= {"tokens": tokens, "mask": mask.to(dtype)}
    torch.testing.assert_close(loss_of(rows, 1.25, **options), loss_of(few, 1.25, **alone), **EXACT)
    found = gradient(rows, 1.25, **options)
    torch.testing.assert_close(found[mask], gradient(few, 1.25, **alone), **EXACT)
    assert not found[~mask].any()


@pytest.mark.parametrize("filler", [math.nan, math.inf, -math.inf])
def test_what_stands_at_ignored_positions_changes_nothing_at_the_others(filler: float) -> None:
    rows, mask = draw(2, 5), torch.tensor([True, False])
    filled: Any = [row.clone() for row in rows]
    for row in filled:
        row[1] = filler
    assert loss_of(filled, 1.25, mask=mask) == loss_of(rows, 1.25, mask=mask)
    assert torch.equal(gradient(filled, 1.25, mask=mask)[0], gradient(rows, 1.25, mask=mask)[0])


def test_an_empty_mask_gives_no_loss_and_no_gradient() -> None:
    rows, mask = draw(2, 3, 5), torch.zeros(2, 3)
    assert float(loss_of(rows, 1.25, mask=mask)) == 0.0
    assert torch.equal(gradient(rows, 1.25, mask=mask), torch.zeros(2, 3, 5, dtype=torch.float64))


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_temperature_is_that_of_all_three_models(temperature: float) -> None:
    rows = draw(2, 5)
    cool: Any = [row / temperature for row in rows]
    assert loss_of(rows, 1.25, temperature=temperature) == loss_of(cool, 1.25)
    torch.testing.assert_close(
        gradient(rows, 1.25, temperature=temperature), gradient(cool, 1.25) / temperature, **EXACT
    )


@pytest.mark.parametrize("clip", [None, 2.0])
@pytest.mark.parametrize(("dtype", "rounding"), [(torch.bfloat16, 2**-8), (torch.float16, 2**-11)])
def test_half_precision_logits_lose_no_more_than_the_rounding_of_the_gradient(
    dtype: Any, rounding: float, clip: float | None
) -> None:
    rows = draw(4, 50, dtype=dtype)
    wide: Any = [row.double() for row in rows]
    loss, found = loss_of(rows, 1.25, clip=clip), gradient(rows, 1.25, clip=clip)
    assert (loss.dtype, found.dtype) == (torch.float32, dtype)
    torch.testing.assert_close(loss.double(), loss_of(wide, 1.25, clip=clip), rtol=1e-6, atol=0)
    torch.testing.assert_close(found.double(), gradient(wide, 1.25, clip=clip), rtol=1.01 * rounding, atol=1e-6)


@pytest.mark.parametrize("clip", [None, 2.0])
def test_a_token_masked_in_all_models_does_not_count(clip: float | None) -> None:
    rows, others = draw(3, 5), [0, 1, 3, 4]
    few: Any = [row[:, others] for row in rows]
    for row in rows:
        row[:, 2] = -math.inf
    torch.testing.assert_close(loss_of(rows, 1.25, clip=clip), loss_of(few, 1.25, clip=clip), **EXACT)
    found = gradient(rows, 1.25, clip=clip)
    torch.testing.assert_close(found[:, others], gradient(few, 1.25, clip=clip), **EXACT)
    assert not found[:, 2].any()


def test_a_token_masked_in_all_models_costs_nothing_if_it_is_drawn_nonetheless() -> None:
    rows = draw(2, 5)
    for row in rows:
        row[0, 2] = -math.inf
    options: Any = {"estimator": "sampled", "tokens": torch.tensor([2, 1])}
    alone = loss_of((row[1:] for row in rows), 1.25, estimator="sampled", tokens=torch.tensor([1]))
    torch.testing.assert_close(2 * loss_of(rows, 1.25, **options), alone, **EXACT)
    assert not gradient(rows, 1.25, **options)[0].any()


def test_a_token_that_the_teacher_alone_rules_out_costs_without_bound() -> None:
    student, teacher, base = draw(5)
    teacher[2] = -math.inf
    assert opd_loss(student, teacher, base, 1.25) == math.inf
    for token, cost in ((2, -math.inf), (1, None)):
        loss = float(opd_loss(student, teacher, base, 1.25, estimator="sampled", tokens=torch.tensor(token)))
        assert loss == cost if cost else math.isfinite(loss)


def test_gradients_flow_to_the_student_alone() -> None:
    student, teacher, base = (row.requires_grad_() for row in draw(2, 5))
    loss = opd_loss(student, teacher, base, 1.25)
    found = torch.autograd.grad(loss, (student, teacher, base), allow_unused=True)
    assert bool(found[0].any())
    assert [row is None for row in found] == [False, True, True]


SHAPES = "; models with different vocabularies cannot be compared token by token"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"estimator": "half"}, "estimator must be one of full, sampled, got 'half'"),
        ({"estimator": "sampled"}, "tokens must be given for estimator 'sampled' alone, got estimator 'sampled'"),
        ({"tokens": torch.tensor([0, 1])}, "tokens must be given for estimator 'sampled' alone, got estimator 'full'"),
        (
            {"teacher": torch.zeros(2, 4)},
            f"teacher must have the shape of the student's logits, (2, 3), got (2, 4){SHAPES}",
        ),
        ({"base": torch.zeros(3)}, f"base must have the shape of the student's logits, (2, 3), got (3,){SHAPES}"),
    ],
)
def test_options_and_shapes_that_do_not_fit_are_refused(changed: dict[str, Any], message: str) -> None:
    given = {name: torch.zeros(2, 3) for name in ("student", "teacher", "base")} | changed
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        opd_loss(lam=1.25, **given)


# Published code


def test_a_denominator_clamped_from_both_sides_is_a_constant_and_the_threshold_is_not() -> None:
    """`clamp(min=1e-8)` lifts every number to at least 1e-8, and `clamp(max=-1e-8)` takes all of these to −1e-8: so
    published code that means to keep the denominator of Eq. 4 from 0 answers with its cap, 10, wherever p > b.
    """
    p, b, c = (torch.tensor(row, dtype=torch.float64) for row in ([0.9, 0.95, 0.999], [0.5, 0.3, 0.5], [2.0, 5.0, 5.0]))
    over, under = torch.log((1 - p) / (c - 1 + p)) - torch.log((1 - b) / b), torch.log((1 - p) / p * b / (1 - b))
    clamped = under.clamp(min=1e-8).clamp(max=-1e-8)
    assert clamped.tolist() == [-1e-8] * 3
    assert (-under).clamp(min=1e-8).clamp(max=-1e-8).tolist() == [-1e-8] * 3
    assert (over / clamped).clamp(1.0, 10.0).tolist() == [10.0] * 3
    right = [
        math.log(19) / math.log(9),
        1 + math.log(1 + 4 / 0.95) / math.log(19 * 7 / 3),
        math.log(4999) / math.log(999),
    ]
    assert (over / under).tolist() == pytest.approx(right, rel=1e-12)
    assert ls.threshold(p, b, c).tolist() == pytest.approx(right, rel=1e-12)


# On a GPU


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("clip", [None, 2.0])
def test_loss_and_gradient_on_a_gpu_are_those_on_the_processor(clip: float | None, dtype: Any) -> None:
    rows, tokens = draw(4, 50, dtype=dtype), torch.tensor([0, 7, 7, 49])
    there: Any = [row.cuda() for row in rows]
    close = 16 * torch.finfo(dtype).eps
    for estimator in ("full", "sampled"):
        options: Any = {"clip": clip, "estimator": estimator, "tokens": tokens if estimator == "sampled" else None}
        onto: Any = options | {"tokens": tokens.cuda() if estimator == "sampled" else None}
        loss = loss_of(there, torch.tensor(1.25).cuda(), **onto)
        assert loss.device.type == "cuda"
        torch.testing.assert_close(loss.cpu(), loss_of(rows, 1.25, **options), rtol=1e-5, atol=1e-6)
        found = gradient(there, 1.25, **onto)
        torch.testing.assert_close(found.cpu(), gradient(rows, 1.25, **options), rtol=close, atol=close)


# NaN and wrong shapes


@pytest.mark.parametrize("place", ["teacher", "base", "lam"])
def test_a_missing_number_is_not_swallowed(place: str) -> None:
    values: dict[str, Any] = {"teacher": torch.zeros(2, 3), "base": torch.zeros(2, 3), "lam": torch.ones(2)}
    values[place][0] = math.nan
    assert torch.isnan(opd_loss(torch.randn(2, 3), **values))


@pytest.mark.parametrize("shape", [(1,), (3,), (2, 1), (2, 3, 5)])
def test_masks_tokens_and_coefficients_have_one_entry_per_position(shape: tuple[int, ...]) -> None:
    student, teacher, base = (torch.randn(2, 3, 5) for _ in range(3))
    said = re.escape(f"must have one entry per position, shape (2, 3), got {shape}")
    with pytest.raises(ValueError, match=f"^mask {said}$"):
        opd_loss(student, teacher, base, 1.2, mask=torch.ones(shape))
    with pytest.raises(ValueError, match=f"^tokens {said}$"):
        opd_loss(student, teacher, base, 1.2, estimator="sampled", tokens=torch.zeros(shape, dtype=torch.long))
    with pytest.raises(ValueError, match=f"^lam {said}$"):
        opd_loss(student, teacher, base, torch.ones(shape))


@pytest.mark.parametrize("filler", [math.nan, math.inf, -math.inf])
def test_a_position_that_does_not_count_has_no_gradient_whatever_stands_there(filler: float) -> None:
    student = torch.randn(2, 5)
    student[1] = filler
    student.requires_grad_()
    loss = opd_loss(student, torch.randn(2, 5), torch.randn(2, 5), 1.2, mask=torch.tensor([1, 0]))
    (gradient,) = torch.autograd.grad(loss, student)
    assert torch.equal(gradient[1], torch.zeros(5))
    assert gradient[0].abs().sum() > 0


def test_a_token_that_the_student_alone_cannot_draw_has_no_part_in_the_loss() -> None:
    student, teacher, base = (torch.randn(4, dtype=torch.float64) for _ in range(3))
    student[2] = -math.inf
    kept = torch.tensor([0, 1, 3])
    log_t, log_b, log_s = (torch.log_softmax(rows, -1)[kept] for rows in (teacher, base, student))
    by_hand = -(log_s.exp() * advantage(log_t, log_s, log_b, 1.2)).sum()
    assert opd_loss(student, teacher, base, 1.2).item() == pytest.approx(by_hand.item(), rel=1e-12)
