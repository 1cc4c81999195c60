"""What is said of losses that no rule describes, or that one describes for another reason, checked on their forces."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lambda_star import fixed_point, updates
from lambda_star.lint import configuration, lint_config
from lambda_star.updates import Force

P, B = 0.9, 0.5

Loss = Callable[[float], float]
"""An estimate of the reverse KL, from the log-ratio log π − log π_T of a token."""

SIGNLESS: dict[str, Loss] = {
    "abs": abs,
    "k2": lambda ratio: 0.5 * ratio**2,
    "k3": lambda ratio: min(math.exp(-ratio) + ratio - 1, 10.0),
}


def log_ratios(theta: float, p: float) -> tuple[float, float]:
    """log π − log π_T of modal token and tail, at the student's log-odds."""
    log_q, log_tail = -np.logaddexp(0.0, -theta), -np.logaddexp(0.0, theta)
    return log_q - math.log(p), log_tail - math.log1p(-p)


@pytest.mark.parametrize("name", SIGNLESS)
@pytest.mark.parametrize("lam", [1.0, 1.25])
def test_an_estimate_without_a_sign_pushes_a_thin_tail_out_as_a_reward(name: str, lam: float) -> None:
    target = fixed_point(P, B, lam)
    start = math.log(target / (1 - target))
    for theta in np.linspace(start + 0.05, start + 5.0, 50):
        modal, tail = (-SIGNLESS[name](ratio) for ratio in log_ratios(float(theta), target))
        assert modal > tail


@pytest.mark.parametrize("clamp", [math.inf, 10.0, 1.0])
@pytest.mark.parametrize("name", SIGNLESS)
def test_the_same_estimate_differentiated_restores_the_tail_at_every_lambda(name: str, clamp: float) -> None:
    def slope(ratio: float) -> float:
        step = 1e-6
        low, high = (min(SIGNLESS[name](ratio + shift), clamp) for shift in (-step, step))
        return (high - low) / (2 * step)

    def force(theta: float, lam: float) -> float:
        modal, tail = (-slope(ratio) for ratio in log_ratios(theta, fixed_point(P, B, lam)))
        return modal - tail

    for lam in (1.0, 1.5, 3.0):
        target = fixed_point(P, B, lam)
        at = math.log(target / (1 - target))
        assert all(force(float(theta), lam) < 0 for theta in np.linspace(at + 0.01, at + 20.0, 100))
        assert force(at - 0.01, lam) > 0


def test_a_bound_under_log_probabilities_kills_the_tail_of_a_forward_kl_where_the_rule_says() -> None:
    rule = updates.log_prob_floor(10.0)
    # The tail's own term is constant below the bound, so the tail is lost once the target has less mass than e^−10.
    assert 1 - fixed_point(0.999, B, rule.leaves(0.999, B)) == pytest.approx(math.exp(-10.0), rel=1e-9)
    assert rule.dies(0.999, B) == pytest.approx(rule.leaves(0.999, B), rel=1e-5)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_a_larger_set_kills_what_is_outside_of_it_no_later_than_the_modal_token_alone(k: int) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        log_t, log_b = (np.log(rng.dirichlet(np.full(8, 0.5))) for _ in range(2))
        modal = int(np.argmax(log_t))
        p, b = math.exp(log_t[modal]), math.exp(log_b[modal])
        inside = [modal, *np.delete(np.arange(8), modal)[: k - 1]]
        latest = updates.top_k(1).dies(p, b)
        if p > b and latest < 50:
            total = np.exp(latest * log_t[inside] + (1 - latest) * log_b[inside]).sum()
            assert total >= 1 - 1e-9


def test_another_policy_loss_of_verl_is_a_note(tmp_path: Path) -> None:
    loss = "loss_mode: k1, use_policy_gradient: true, loss_max_clamp: 5.0"
    for mode, notes in (("vanilla", 0), ("gspo", 1)):
        path = tmp_path / "config.yaml"
        path.write_text(f"distillation: {{distillation_loss: {{{loss}, policy_loss_mode: {mode}}}}}", encoding="utf-8")
        assert configuration(path).rules == (updates.log_ratio_clamp(5.0),)
        assert sum("policy_loss_mode" in found.message for found in lint_config(path)) == notes


def test_a_weight_and_a_kl_to_the_base_have_the_fixed_point_that_is_said() -> None:
    alpha, beta = 1.0, 0.25

    def force(theta: float, p: float, b: float, lam: float) -> Force:
        del lam
        (to_p, to_p_tail), (to_b, to_b_tail) = log_ratios(theta, p), log_ratios(theta, b)
        return Force(-alpha * to_p - beta * to_b, -alpha * to_p_tail - beta * to_b_tail)

    theta = math.log(P / (1 - P)) * alpha / (alpha + beta) + math.log(B / (1 - B)) * beta / (alpha + beta)
    modal, tail = force(theta, P, B, 1.0)
    assert modal == pytest.approx(tail, abs=1e-12)
