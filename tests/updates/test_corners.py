"""The corners of the rules: values at a bound, sets that just fit, masked tokens, and steps of the reference."""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np
import pytest
import torch

from lambda_star import bernoulli, updates
from lambda_star.updates import Rule, general
from lambda_star.updates._rows import Rows, first, settle
from tests.updates.rules import EXAMPLES, NAMES


def rows(log_t: list[float], log_b: list[float], lam: float) -> Rows:
    """One position, whose log(π_T^λ·π_B^(1−λ)) is taken without rounding where the numbers are whole."""
    power = [t + (lam - 1) * (t - b) if t > -math.inf else t for t, b in zip(log_t, log_b, strict=True)]
    return Rows(np.array([log_t]), np.array([log_b]), np.array([lam]), np.array([power]))


def test_a_reward_at_its_bound_is_not_clipped() -> None:
    at = rows([0.0, -2.0], [-1.0, -1.0], 2.0)
    assert [bool(updates.reward_clip(bound)._departed(at)) for bound in (0.75, 1.0, 1.25)] == [True, False, False]
    assert not updates.reward_clip(0.75)._departed(at.at(np.array([1.0])))


@pytest.mark.parametrize("rule", EXAMPLES, ids=NAMES)
def test_two_tokens_end_where_the_two_outcomes_do(rule: Rule) -> None:
    p, b, lam = np.array([(0.9, 0.5, 1.5), (0.9993, 0.2, 1.1), (0.6, 0.8, 3.0), (0.3, 0.6, 1.0)]).T
    log_t, log_b = (np.log([modal, 1 - modal]).T for modal in (p, b))
    student = rule.student(log_t, log_b, lam)
    settled = ~np.isnan(student).any(axis=-1)
    assert settled.all() or (rule == updates.top_k(1, through=True) and settled.any())
    np.testing.assert_allclose(np.exp(student[:, 0])[settled], rule.student(p, b, lam)[settled], rtol=1e-9, atol=1e-12)


def test_a_floor_holds_a_modal_token_that_is_the_less_probable_one() -> None:
    p = 1 / (1 + math.exp(0.8))  # past the edge, log-odds of 0.54, on the other side
    assert updates.log_prob_floor(1.0).student(p, 0.5, 1.0) == pytest.approx(1 - math.exp(0.8 - 1.0), rel=1e-14)
    assert updates.log_prob_floor(2.0).leaves(0.5, 0.5) == math.inf


@pytest.mark.parametrize("p", [0.4, 0.6])
def test_a_set_of_one_that_costs_more_than_it_gives_keeps_a_student_at_its_border(p: float) -> None:
    assert updates.top_k(1, through=True).student(p, 0.5, 1.0) == 0.5


def test_a_set_of_one_that_costs_departs_though_teacher_and_base_agree() -> None:
    for rule, star, end in ((updates.top_k(1), math.inf, 0.9), (updates.top_k(1, through=True), 1.0, 0.5)):
        assert rule.leaves(0.9, 0.9) == star
        assert rule.student(0.9, 0.9, 1.0) == pytest.approx(end, rel=1e-15)


def test_the_slope_of_a_student_under_a_capped_weight() -> None:
    rule, p = updates.teacher_weight(1.02, centred=False), torch.tensor([0.9, 0.7], dtype=torch.float64)
    (slope,) = torch.autograd.grad(rule.student(p.requires_grad_(), 0.5, 1.3).sum(), p)
    low, high = (rule.student(p.detach() + step, 0.5, 1.3) for step in (-1e-6, 1e-6))
    torch.testing.assert_close(slope, (high - low) / 2e-6, rtol=1e-6, atol=1e-6)


def test_only_sets_of_several_tokens_need_rows() -> None:
    sets = updates.top_k(1), updates.top_k(2), *(updates.truncated_sampling(top_k=k) for k in (1, 2))
    assert [rule.needs_rows for rule in (*sets, updates.truncated_sampling(top_p=0.5))] == [False, True] * 2 + [False]


@pytest.mark.parametrize(
    "make",
    [
        lambda: updates.log_ratio_cap(2.0, True),  # type: ignore[call-arg]
        lambda: updates.advantage_clamp(2.0, True),  # type: ignore[call-arg]
        lambda: updates.importance_weight(2.0, False),  # type: ignore[call-arg]
        lambda: updates.teacher_weight(2.0, False),  # type: ignore[call-arg]
        lambda: updates.top_k(1, True),  # type: ignore[call-arg]
    ],
)
def test_switches_of_rules_are_named(make: Any) -> None:
    with pytest.raises(TypeError, match="positional"):
        make()


def test_a_set_departs_where_a_living_token_is_outside() -> None:
    for rule in (updates.top_k(1), updates.truncated_sampling(top_p=0.5)):
        assert rule._departed(rows([-0.5, -1.0], [-0.75, -0.75], 1.0))
        assert not rule._departed(rows([0.0, -math.inf], [0.0, -math.inf], 1.0))


def test_a_nucleus_is_the_fewest_tokens_that_hold_the_share() -> None:
    log_q = np.log([[0.25, 0.5, 0.25]])
    for top_p, inside in ((0.5, [0, 1, 0]), (0.625, [1, 1, 0]), (0.75, [1, 1, 0]), (0.875, [1, 1, 1])):
        assert updates.truncated_sampling(top_p=top_p)._inside(log_q).tolist() == [list(map(bool, inside))]


def test_a_set_that_holds_every_living_token_has_the_fixed_point() -> None:
    log_t, log_b = np.log([0.7, 0.3]), np.log([0.5, 0.5])
    for lam in (0.5, 1.5):
        fixed = bernoulli.fixed_point(0.7, 0.5, lam)
        for rule in (updates.top_k(2), updates.truncated_sampling(top_k=2), updates.truncated_sampling(top_p=1.0)):
            assert rule.student(0.7, 0.5, lam) == fixed
            student = rule.student(np.array([*log_t, -math.inf]), np.array([*log_b, -math.inf]), lam)
            assert np.exp(student) == pytest.approx([fixed, 1 - fixed, 0.0], rel=1e-9)


def test_a_ratio_past_the_clip_spends_an_advantage_of_its_sign_alone() -> None:
    rule = updates.ppo(0.2)
    assert rule.force(1.5, 0.9, 0.5, 1.0, rollout=0.5) == (0.0, 0.0)  # 0.82 over 0.62, and 0.18 over 0.38
    modal, tail = rule.force(1.5, 0.9, 0.5, 1.0, rollout=2.5)
    assert 0 < modal < 0.1 < -tail < 1


@pytest.mark.parametrize("value", [None, True, "2", [2.0], np.array([2.0, 3.0])])
def test_an_argument_of_a_rule_is_one_number(value: Any) -> None:
    with pytest.raises(ValueError, match=r"c must be a number in \[1, inf\], got"):
        updates.log_ratio_cap(value)


def test_zeros_are_taken_for_probabilities() -> None:
    with pytest.raises(ValueError, match=r"p must lie in \(0, 1\), got 0.0 at index 0"):
        updates.none().dies(np.zeros(2), np.zeros(2))


# Rows


def test_the_axis_of_rows_is_named() -> None:
    for method in (Rule.leaves, Rule.dies, Rule.student, Rule.equivalent_clip):
        axis = inspect.signature(method).parameters.get("axis")
        assert axis is None or axis.kind is inspect.Parameter.KEYWORD_ONLY


def many(lams: list[float]) -> Rows:
    """Positions alike but for λ."""
    one = rows([-0.5, -1.0, -2.0], [-1.0, -1.0, -1.0], 1.0)
    count = len(lams)
    return Rows(*(np.repeat(matrix, count, axis=0) for matrix in one)).at(np.array(lams))


@pytest.mark.parametrize(
    ("holds", "star"),
    [
        (lambda lam: lam > 1.7, 1.7),
        (lambda lam: lam >= 900_000.0, 900_000.0),
        (lambda lam: lam > 3e6, math.inf),
        (lambda lam: lam > 0.3, 0.3),
        (lambda lam: lam >= 0, 0.0),
        (lambda lam: lam > 1, 1.0),
        (lambda lam: np.where(lam > 1.7, 1.0, np.where(lam > 1.2, math.nan, 0.0)), math.nan),
        (lambda lam: np.where(lam > 1.7, 1.0, np.where(lam < 1.2, math.nan, 0.0)), 1.7),
        (lambda lam: np.where(lam > 1.7, 1.0, np.where(lam > 1.7 - 1e-10, math.nan, 0.0)), 1.7),
        (lambda lam: np.where(lam > 3e5, math.nan, 0.0), math.nan),
        (lambda lam: np.where(lam > 0.3, 1.0, math.nan), math.nan),
    ],
)
def test_the_first_lambda_at_which_a_condition_holds(holds: Any, star: float) -> None:
    found = first(lambda at: holds(at.lam), many([1.0, 2.0]))
    np.testing.assert_allclose(found, [star, star], rtol=1e-15, atol=1e-15)


def test_masses_that_belong_to_a_level_settle_where_their_sum_is_one() -> None:
    at = many([1.0, 2.0])
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(settle(at, lambda level: at.power - level), at.mixture, rtol=1e-14)
        # At the level 1/4 the second token jumps from 1/8 to 3/4, and takes half of that jump.
        less, more = [0.5, 0.125, 0.0625], [0.5, 0.75, 0.0625]
        jumping = settle(at, lambda level: np.log(np.where(level < 0.25, more, less)))
    np.testing.assert_allclose(np.exp(jumping), [[0.5, 0.4375, 0.0625]] * 2, rtol=1e-14)


def test_a_tail_is_bereft_where_a_token_but_the_modal_one_is_dead() -> None:
    at = Rows(*(np.repeat(matrix, 2, axis=0) for matrix in rows([-2.0, -0.25, -3.0], [-1.5, -1.0, -1.5], 1.0)))
    rule = updates.log_ratio_cap(2.0)
    assert rule._bereft(at.at(np.array([1.0, 9.0]))).tolist() == [0.0, 1.0]
    masked = rows([-0.5, -math.inf], [-0.75, -math.inf], 1.0)
    assert not rule._bereft(masked)
    assert masked.ratio.tolist() == [[0.25, 0.0]]


# The general law


def test_what_lies_beside_a_jump_stops_the_reference() -> None:
    """A student is stopped by a stretch beside a jump that is narrower than a step of the grid."""

    def force(theta: Any, *_: float) -> tuple[Any, Any]:
        return np.where((theta > 1.0) & (theta < 1.0 + 1e-6), -1.0, 1.0), 0.0 * theta

    assert general.student(force, 0.9, 0.5, 1.0, jumps=(1.0,)) == pytest.approx(1 / (1 + math.exp(-1.0)), rel=1e-9)
    assert general.student(force, 0.9, 0.5, 1.0) == 1.0


def test_the_reference_rests_at_the_first_neutral_student() -> None:
    for sign, edge in ((1.0, 1.0), (-1.0, -1.0)):

        def force(theta: Any, *_: float, sign: float = sign, edge: float = edge) -> tuple[Any, Any]:
            return np.where(sign * (theta - edge) < 0, sign, 0.0), 0.0 * theta

        assert general.student(force, 0.9, 0.5, 1.0) == pytest.approx(1 / (1 + math.exp(-edge)), rel=1e-9)


def test_the_reference_looks_ahead_of_the_base_alone() -> None:
    def force(theta: Any, *_: float) -> tuple[Any, Any]:
        return np.where(theta < -0.5, -1.0, 1.0), 0.0 * theta

    assert general.student(force, 0.9, 0.5, 1.0) == 1.0
    assert general.student(force, 0.9, 0.3, 1.0) == 0.0


def test_the_reference_departs_where_the_force_no_longer_pulls() -> None:
    rule = updates.advantage_clamp(1.0)
    assert general.leaves(rule.force, 0.9, 0.5) == pytest.approx(rule.leaves(0.9, 0.5), rel=1e-8)
