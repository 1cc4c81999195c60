"""A loss is read off its gradient alone: every rule is told from the others, and so are losses that nobody foresaw."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lambda_star import updates
from lambda_star.torch import ProbeReport, probe
from lambda_star.torch.flow import Flow
from lambda_star.torch.losses import read_loss
from lambda_star.torch.probing import _limits
from lambda_star.torch.rules import rule_loss
from lambda_star.torch.velocity import read_velocity
from lambda_star.updates import Rule
from tests.night import thinned
from tests.torch import losses

P, B = 0.9, 0.5

CASES: dict[str, tuple[Rule, losses.Loss, dict[str, Any]]] = {
    "none": (updates.none(), losses.none, {}),
    "cap": (updates.log_ratio_cap(2.0), losses.log_ratio_cap(2.0), {}),
    "cap, other constant": (updates.log_ratio_cap(7.25), losses.log_ratio_cap(7.25), {}),
    "cap, through": (updates.log_ratio_cap(2.0, through=True), losses.log_ratio_cap(2.0, through=True), {}),
    "clamp": (updates.log_ratio_clamp(1.5), losses.log_ratio_clamp(1.5), {}),
    "clamp, extrapolated": (
        updates.log_ratio_clamp(1.5, "extrapolated"),
        losses.log_ratio_clamp(1.5, "extrapolated"),
        {},
    ),
    "least log-probability": (updates.log_prob_floor(5.0), losses.log_prob_floor(5.0), {}),
    "KL to base": (updates.kl_to_base_cap(3.0), losses.kl_to_base_cap(3.0), {}),
    "KL to base, below 1": (updates.kl_to_base_cap(1.5), losses.kl_to_base_cap(1.5), {}),
    "advantage": (updates.advantage_clamp(1.0), losses.advantage_clamp(1.0), {}),
    "advantage, centred": (updates.advantage_clamp(1.0, centred=True), losses.advantage_clamp(1.0, centred=True), {}),
    "reward": (updates.reward_clip(0.5), losses.reward_clip(0.5), {}),
    "importance weight": (updates.importance_weight(2.0), losses.importance_weight(2.0), {}),
    "importance weight, no baseline": (
        updates.importance_weight(5.0, centred=False),
        losses.importance_weight(5.0, centred=False),
        {},
    ),
    "PPO": (updates.ppo(), losses.ppo(), {}),
    "PPO, other constant": (updates.ppo(0.35), losses.ppo(0.35), {}),
    "teacher weight": (updates.teacher_weight(5.0), losses.teacher_weight(5.0), {}),
    "teacher weight, no baseline": (
        updates.teacher_weight(5.0, centred=False),
        losses.teacher_weight(5.0, centred=False),
        {},
    ),
    "top 1": (updates.top_k(1), losses.top_k(1), {}),
    "top 1, through": (updates.top_k(1, through=True), losses.top_k(1, through=True), {}),
    "top p": (updates.truncated_sampling(top_p=0.95), losses.sampled, {"top_p": 0.95}),
    "top 1 drawn": (updates.truncated_sampling(top_k=1), losses.sampled, {"top_k": 1}),
}


def same(found: float, known: float, relative: float = 1e-3) -> bool:
    return found == known or abs(found - known) <= relative * known


@pytest.mark.parametrize("case", thinned(CASES, 2))
def test_every_rule_is_told_from_the_others_by_its_loss(case: str) -> None:
    rule, loss, options = CASES[case]
    report = probe(loss, p=P, b=B, **options)
    assert report.rule == rule, str(report)
    assert report.direction == "towards the teacher"
    assert same(report.dies, rule.dies(P, B))
    # A rule that is elsewhere at every λ says 1, which is where one begins to look.
    assert same(report.leaves, 0.0 if case == "top 1, through" else rule.leaves(P, B))
    assert same(report.clip, rule.equivalent_clip(P, B))
    for rest in [rest for rest in report.stationary if not math.isclose(rest.lam, report.dies)]:
        assert rest.student == pytest.approx(rule.student(P, B, rest.lam), abs=1e-9)


@pytest.mark.parametrize("case", ["none", "cap", "cap, through", "least log-probability", "top 1", "KL to base"])
def test_a_nearly_deterministic_position_has_the_closed_forms_too(case: str) -> None:
    rule, loss, _ = CASES[case]
    report = probe(loss, p=0.9993, b=0.5)
    assert report.rule == rule
    assert same(report.dies, rule.dies(0.9993, 0.5), 1e-6)
    assert same(report.leaves, rule.leaves(0.9993, 0.5), 1e-6)


@pytest.mark.nightly
@given(st.sampled_from([case for case in CASES if "weight" not in case and "PPO" not in case]), st.data())
def test_the_tail_dies_where_the_closed_form_says_at_every_position(case: str, data: st.DataObject) -> None:
    rule, loss, options = CASES[case]
    p = data.draw(st.floats(0.55, 0.9999), label="p")
    b = data.draw(st.floats(0.05, 0.9), label="b") * p
    report = probe(loss, p=p, b=b, **options)
    # It costs 1 to be in the set, which up to λ = 4 outweighs the advantage at the base: the student falls to 1/2.
    if case == "top 1, through" and b > 0.5 and 4 * math.log(p / b) < 1:
        assert report.direction == "away from the teacher"
        assert math.isnan(report.dies)
    else:
        assert same(report.dies, rule.dies(p, b))


@pytest.mark.parametrize("rule", ["log_ratio_cap:3", "log_prob_floor:4", "advantage_clamp:2", "top_k:1"])
def test_the_loss_of_a_known_rule_is_read_as_that_rule(rule: str) -> None:
    known = updates.parse(rule)
    report = probe(rule_loss(known), p=P, b=B)
    assert report.rule == known
    assert same(report.dies, known.dies(P, B))


def test_k_outcomes_show_a_loss_over_the_top_k() -> None:
    report = probe(losses.top_k(3), p=P, b=B, outcomes=4)
    assert report.rule == updates.top_k(3)
    assert same(report.dies, updates.top_k(1).dies(P, B))
    assert probe(losses.top_k(3), p=P, b=B, outcomes=3).rule == updates.none()


def test_other_losses_do_not_care_how_many_outcomes_there_are() -> None:
    report = probe(losses.log_ratio_cap(2.0), p=P, b=B, outcomes=5)
    assert report.rule == updates.log_ratio_cap(2.0)
    assert same(report.dies, updates.log_ratio_cap(2.0).dies(P, B))


# Losses that nobody foresaw


def cap(student: Tensor, teacher: Tensor, base: Tensor, lam: float) -> Tensor:
    return losses.log_ratio_cap(5.0)(student, teacher, base, lam)


KNOWN = updates.log_ratio_cap(5.0)


def probed(loss: Callable[..., Any], **options: Any) -> ProbeReport:
    return probe(loss, **{"p": 0.99, "b": 0.6, **options})


def note(report: ProbeReport, text: str) -> bool:
    return any(text in each for each in report.notes)


def test_a_factor_changes_nothing() -> None:
    for factor in (1e-9, 1e9):
        report = probed(lambda student, teacher, base, lam, factor=factor: factor * cap(student, teacher, base, lam))
        assert (report.rule, report.exact) == (KNOWN, True)
        assert same(report.dies, KNOWN.dies(0.99, 0.6))


def test_a_sum_of_two_caps_is_neither_and_dies_where_their_mean_does() -> None:
    def both(student: Tensor, teacher: Tensor, base: Tensor, lam: float) -> Tensor:
        return losses.log_ratio_cap(2.0)(student, teacher, base, lam) + cap(student, teacher, base, lam)

    report = probed(both)
    assert report.rule is None
    assert same(report.leaves, updates.log_ratio_cap(2.0).leaves(0.99, 0.6))
    # The mean of the two capped log-ratios is log √10.
    assert same(report.dies, updates.log_ratio_cap(math.sqrt(10)).dies(0.99, 0.6))


def test_a_little_of_an_unbounded_force_saves_the_tail() -> None:
    def mixed(student: Tensor, teacher: Tensor, base: Tensor, lam: float) -> Tensor:
        return 0.1 * losses.none(student, teacher, base, lam) + cap(student, teacher, base, lam)

    report = probed(mixed)
    assert report.dies == math.inf
    assert report.rule is None
    assert same(report.leaves, KNOWN.leaves(0.99, 0.6))


def test_a_sign_error_is_reported_and_nothing_else() -> None:
    report = probed(lambda student, teacher, base, lam: -cap(student, teacher, base, lam))
    assert report.direction == "away from the teacher"
    assert report.rule is None
    assert all(math.isnan(value) for value in (report.leaves, report.dies, report.clip))
    assert report.stationary[0].student < 1e-6
    assert note(report, "check the sign of the loss")
    assert "not looked for" in str(report)


def test_a_loss_that_does_not_move_the_base_says_so() -> None:
    def positive(student: Tensor, teacher: Tensor, base: Tensor, lam: float) -> Tensor:
        """The reverse KL over the top token, whose negative values are set to 0."""
        log_s, log_t, _ = losses.logs(student, teacher, base)
        return (log_s.exp() * (log_s - log_t))[..., :1].sum(-1).clamp(min=0).mean()

    report = probed(positive)
    assert report.direction == "nowhere"
    assert math.isnan(report.dies)
    assert report.stationary[0].student == pytest.approx(0.6)


def test_a_weak_restoring_force_that_grows_is_enough() -> None:
    def weak(student: Tensor, teacher: Tensor, base: Tensor, lam: float) -> Tensor:
        log_s, log_t, log_b = losses.logs(student, teacher, base)
        return losses.policy_loss(log_s, 0.01 * (log_t - log_s) + (lam - 1) * (log_t - log_b))

    report = probed(weak, lam=[1.01, 50.0])
    assert report.dies == math.inf
    assert report.leaves == 1
    # log π_T/π is a hundredth of what it should be, so the excess over 1 counts a hundredfold.
    assert report.at(1.01).student == pytest.approx(updates.none().student(0.99, 0.6, 2.0))
    assert math.isnan(report.at(50.0).log_odds)  # it rests past what a float can follow


def test_a_wrong_sign_of_the_extrapolation_is_noted() -> None:
    report = probed(lambda student, teacher, base, lam: losses.none(student, teacher, base, 2 - lam))
    assert report.direction == "towards the teacher"
    assert report.leaves == 1
    assert note(report, "check the sign of λ − 1")


def test_a_loss_that_ignores_the_base_or_the_coefficient_says_so() -> None:
    no_base = probed(lambda student, teacher, base, lam: losses.none(student, teacher, torch.zeros_like(base), lam))
    assert note(no_base, "does not depend on the base")
    no_lam = probed(lambda student, teacher, base, lam: losses.none(student, teacher, base, 1.0))
    assert note(no_lam, "does not depend on λ")
    assert no_lam.leaves == 1
    assert no_lam.at(2.0).student == pytest.approx(0.99)


def of_float32(student: Tensor, teacher: Tensor, base: Tensor, lam: float) -> Tensor:
    return cap(student @ torch.eye(2), teacher @ torch.eye(2), base @ torch.eye(2), lam)


def inside_float32(student: Tensor, teacher: Tensor, base: Tensor, lam: float) -> Tensor:
    return cap(student.float(), teacher.float(), base.float(), lam).double()


@pytest.mark.parametrize("loss", [of_float32, inside_float32])
def test_a_loss_in_float32_is_read_to_fewer_digits(loss: losses.Loss) -> None:
    report = probed(loss)
    assert report.rule == KNOWN
    assert same(report.dies, KNOWN.dies(0.99, 0.6))
    assert note(report, "float32")


def test_gradients_that_are_not_finite_are_left_out() -> None:
    def naive(student: Tensor, teacher: Tensor, base: Tensor, lam: float) -> Tensor:
        """With log(1 − q), which is log 0 from the log-odds 37 on."""
        q = torch.softmax(student, -1)[:, 0]
        log_s = torch.stack([q.log(), (1 - q).log()], -1)
        log_t, log_b = losses.logs(teacher, base)
        gain = log_t - log_s + (lam - 1) * (log_t - log_b)
        return -(torch.stack([q, 1 - q], -1) * gain.detach()).sum()

    report = probed(naive)
    assert note(report, "not finite for students past the log-odds 36")
    assert report.dies == math.inf
    assert report.max_lam < 10


def test_a_loss_that_is_never_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="must have a finite gradient"):
        probed(lambda student, teacher, base, lam: cap(student, teacher, base, lam) * math.nan)


def test_a_guard_against_log_0_is_a_bound() -> None:
    def guarded(student: Tensor, teacher: Tensor, base: Tensor, lam: float) -> Tensor:
        q = torch.softmax(student, -1)
        log_t, log_b = losses.logs(teacher, base)
        return -(q * (log_t - (q + 1e-8).log() + (lam - 1) * (log_t - log_b)).detach()).sum()

    report = probed(guarded)
    assert same(report.dies, updates.log_prob_floor(-math.log(1e-8)).dies(0.99, 0.6))
    assert note(report, "as log_prob_floor")


@pytest.mark.parametrize("beta", [0.25, 0.5])
def test_a_divergence_between_forward_and_reverse_is_none_at_other_speeds(beta: float) -> None:
    def jsd(log_student: Tensor, log_teacher: Tensor) -> Tensor:
        middle = torch.logaddexp(log_student + math.log1p(-beta), log_teacher + math.log(beta))
        halves = (log_teacher.exp() * (log_teacher - middle), log_student.exp() * (log_student - middle))
        return (beta * halves[0] + (1 - beta) * halves[1]).sum(-1).mean()

    report = probed(jsd)
    assert (report.rule, report.exact) == (updates.none(), False)
    assert (report.leaves, report.dies) == (math.inf, math.inf)
    assert "with other speeds" in str(report)


def test_the_forward_divergence_pulls_ever_harder() -> None:
    report = probed(lambda log_student, log_teacher: -(log_teacher.exp() * log_student).sum(-1).mean())
    assert (report.rule, report.exact) == (updates.none(), False)
    assert (report.leaves, report.dies) == (math.inf, math.inf)


def test_an_entropy_bonus_moves_the_student_at_every_coefficient() -> None:
    def bonus(student: Tensor, teacher: Tensor, base: Tensor, lam: float) -> Tensor:
        (log_s,) = losses.logs(student)
        return losses.none(student, teacher, base, lam) + 0.5 * (log_s.exp() * log_s).sum(-1).mean()

    report = probed(bonus)
    assert report.leaves == 0
    assert report.dies == math.inf
    # log π is weighted by 1.5, so the log-odds at rest are those of q_λ over 1.5.
    assert report.stationary[0].log_odds == pytest.approx(math.log(99) / 1.5)


def test_normalising_over_the_batch_needs_rows_of_their_own() -> None:
    def scaled(student: Tensor, teacher: Tensor, base: Tensor, lam: float) -> Tensor:
        log_s, log_t, log_b = losses.logs(student, teacher, base)
        gain = log_t - log_s + (lam - 1) * (log_t - log_b)
        return losses.policy_loss(log_s, gain / gain.std())

    report = probed(scaled)
    assert (report.rule, report.exact) == (updates.none(), False)


def single(student: Tensor, teacher: Tensor, base: Tensor, lam: float) -> Tensor:
    if float(student[0, 0].detach()) > 1e9:  # reads a number, which vmap cannot
        raise ArithmeticError
    (row,) = student
    return cap(row[None], teacher, base, lam)


def test_a_loss_that_takes_one_row_alone_gets_one() -> None:
    alone, together = (read_velocity(read_loss(loss), 0.99, 0.6) for loss in (single, cap))
    assert (alone.slow, together.slow) == (True, False)
    log_odds = np.linspace(-3.0, 9.0, 13)
    np.testing.assert_allclose(alone(log_odds, 0.99, 0.6, 1.2), together(log_odds, 0.99, 0.6, 1.2), rtol=1e-12)
    assert "one row at a time" in "".join(_limits(alone, Flow(alone, 0.99, 0.6), 1.2))


@pytest.mark.nightly
def test_a_loss_that_takes_one_row_alone_is_probed_to_the_end() -> None:
    report = probed(single)
    assert report.rule == KNOWN
    assert note(report, "one row at a time")


def test_logits_taken_for_log_probabilities_are_noted() -> None:
    def wrong(student: Tensor, teacher: Tensor, base: Tensor, lam: float) -> Tensor:
        return -(student.exp() * (teacher - student + (lam - 1) * (teacher - base)).detach()).sum()

    assert note(probed(wrong), "logits for log-probabilities")


def test_students_without_a_force_are_noted() -> None:
    report = probe(losses.advantage_clamp(1.0), p=P, b=B)
    assert note(report, "no force acts")
    assert not note(probe(losses.none, p=P, b=B), "no force acts")


def test_a_tail_that_lives_from_the_base_and_dies_from_afar_is_noted() -> None:
    report = probe(losses.sampled, p=P, b=B, top_p=0.95)
    assert report.dies == pytest.approx(updates.log_ratio_cap(2.0).leaves(P, B))  # where q_λ reaches .95
    assert note(report, "one that is pushed far past the teacher loses it")


# What cannot be probed


def detached(student: Tensor, teacher: Tensor, base: Tensor, lam: float) -> Tensor:
    return cap(student.detach(), teacher, base, lam)


def centred_over_batch(student: Tensor, teacher: Tensor, base: Tensor, lam: float, tokens: Tensor) -> Tensor:
    log_s, log_t = (losses.drawn(rows, tokens) for rows in losses.logs(student, teacher))
    gain = (log_t - log_s).detach()
    return -((gain - gain.mean()) * log_s).mean()


def at_random(student: Tensor, teacher: Tensor, base: Tensor, lam: float) -> Tensor:
    return cap(student, teacher, base, lam) * torch.rand(())


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (detached, "must have a gradient with respect to the student's logits, got a value that does not depend"),
        (centred_over_batch, "got 0 at every log-odds tried"),
        (at_random, "must give the same gradient for the same rows"),
        (losses.top_k(3), "selected index k out of range; if it picks the top k tokens, give outcomes = k [+] 1"),
        (lambda student, teacher, base, lam: 1.0, "it must return a tensor, got float"),
    ],
)
def test_what_cannot_be_probed_is_refused_with_the_reason(loss: losses.Loss, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        probed(loss)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"p": 1.0}, r"p must lie in \(0, 1\), got 1.0"),
        ({"b": 0.99}, r"b must lie in \(0, 0.99\), got 0.99"),
        ({"b": math.nan}, "b must lie in"),
        ({"lam": [1.0, math.inf]}, "lam must lie in"),
        ({"lam": []}, "lam must hold at least one number"),
        ({"outcomes": 1}, r"outcomes must lie in \[2, inf\), got 1"),
        ({"top_p": 0.0}, r"top_p must lie in \(0, 1\], got 0.0"),
        ({"top_k": 0}, r"top_k must lie in \[1, inf\), got 0"),
        ({"top_p": 0.9}, "top_p and top_k belong to a loss that takes tokens"),
        ({"returns": "reward"}, "returns must be one of loss, advantage, got 'reward'"),
    ],
)
def test_arguments_outside_their_range_are_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        probed(cap, **changed)


# The report


def test_the_table_holds_the_asked_coefficients() -> None:
    report = probed(cap, lam=[1.0, 1.2, 5.0])
    assert [rest.lam for rest in report.stationary] == [1.0, 1.2, 5.0]
    assert report.at(4.0).tail == 0
    assert report.at(1.2).student == pytest.approx(KNOWN.student(0.99, 0.6, 1.2))
    assert report.fixed_point(1.2).student == pytest.approx(updates.none().student(0.99, 0.6, 1.2))


def test_the_report_prints_what_it_found() -> None:
    text = str(probed(cap))
    assert "log_ratio_cap(c=5). The log-ratio of teacher to student is capped" in text
    assert f"at λ = {KNOWN.dies(0.99, 0.6):.6g}" in text
    assert "c = 5, the log-ratio cap whose tail dies there" in text
    assert "never, up to λ = " in str(probed(losses.none))


def test_the_report_is_json() -> None:
    values = json.loads(json.dumps(probed(losses.none).to_dict(), allow_nan=False))
    assert values["dies"] == values["clip"] == "inf"
    assert values["rule"] == "none()"
    assert values["stationary"][0]["student"] == pytest.approx(0.99)
    wrong = json.loads(json.dumps(probed(lambda s, t, base, lam: -cap(s, t, base, lam)).to_dict(), allow_nan=False))
    assert wrong["dies"] is None


def test_the_number_of_threads_is_left_as_it_was() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        probed(cap)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


# Sampled training


def train(
    loss: Callable[[Tensor, Tensor], Tensor], steps: int, seed: int = 0, students: int = 128, draws: int = 64
) -> Tensor:
    """Train students of two outcomes on tokens that they draw, by plain gradient; return each step's mean tail."""
    generator = torch.Generator().manual_seed(seed)
    start = torch.tensor([[B, 1 - B]], dtype=torch.float64).log().repeat(students, 1)
    logits = start.requires_grad_()
    tails = []
    for _ in range(steps):
        q = torch.softmax(logits.detach(), -1)
        tokens = torch.multinomial(q, draws, replacement=True, generator=generator)
        rows = logits[:, None, :].expand(-1, draws, -1)
        # The mean over a student's draws, summed over students, which share nothing.
        value = loss(rows.reshape(-1, 2), tokens.reshape(-1)).sum() / draws
        (gradient,) = torch.autograd.grad(value, logits)
        logits = (logits.detach() - 0.5 * gradient).requires_grad_()
        tails.append(q[:, 1].mean())
    return torch.stack(tails)


ROWS = torch.tensor([[P, 1 - P], [B, 1 - B]], dtype=torch.float64).log()
LAM = 1.5


def drawn_advantage(rows: Tensor, tokens: Tensor, c: float = math.inf) -> tuple[Tensor, Tensor]:
    """The log-probability of drawn tokens, and their advantage with the log-ratio capped at log c."""
    log_s = losses.drawn(torch.log_softmax(rows, -1), tokens)
    log_t, log_b = ROWS[0][tokens], ROWS[1][tokens]
    return log_s, (log_t - log_s).clamp(max=math.log(c)) + (LAM - 1) * (log_t - log_b)


def plain(rows: Tensor, tokens: Tensor) -> Tensor:
    log_s, gain = drawn_advantage(rows, tokens)
    return -gain.detach() * log_s


def weighted(rows: Tensor, tokens: Tensor) -> Tensor:
    """The weight min(π/μ, 2) on a centred advantage; the rollout is a student whose tail is e^0.3 times thicker."""
    old = rows.detach() + torch.tensor([-0.15, 0.15], dtype=torch.float64)
    log_s, gain = drawn_advantage(rows, tokens)
    log_q = torch.log_softmax(rows.detach(), -1)
    all_gains = ROWS[0] - log_q + (LAM - 1) * (ROWS[0] - ROWS[1])
    centred = gain.detach() - (log_q.exp() * all_gains).sum(-1)
    ratio = (log_s - losses.drawn(torch.log_softmax(old, -1), tokens)).exp().clamp(max=2.0).detach()
    return -ratio * centred * log_s


def through(rows: Tensor, tokens: Tensor) -> Tensor:
    log_s, gain = drawn_advantage(rows, tokens, c=2.0)
    return -gain.detach() * log_s - gain


def capped(rows: Tensor, tokens: Tensor) -> Tensor:
    log_s, gain = drawn_advantage(rows, tokens, c=2.0)
    return -gain.detach() * log_s


@pytest.mark.slow
@pytest.mark.parametrize(("loss", "tail"), thinned([(through, 0.0501), (plain, 0.0357), (weighted, 0.0357)], 3))
def test_sampled_training_ends_at_the_predicted_tail(loss: Callable[[Tensor, Tensor], Tensor], tail: float) -> None:
    last = train(loss, 1200)[-400:]
    assert float(last.mean()) == pytest.approx(tail, abs=4e-4)


@pytest.mark.slow
def test_sampled_training_with_the_cap_loses_the_tail() -> None:
    tails = train(capped, 3000)
    # Past λ_c the tail obeys d(tail)/dt = −2Δ(λ−λ_c)·tail², so that it falls like 1/(2Δ(λ−λ_c)t).
    drift = 2 * (LAM - updates.log_ratio_cap(2.0).dies(P, B)) * math.log(9)
    assert float(tails[-1]) == pytest.approx(1 / (drift * 0.5 * 3000), rel=0.1)
    assert float(tails[-1]) == pytest.approx(0.0011, abs=1e-4)
    assert float(tails[-1]) < 0.8 * float(tails[-1000])


def test_tails_are_those_of_the_closed_forms() -> None:
    assert 1 - updates.none().student(P, B, LAM) == pytest.approx(0.0357, abs=1e-4)
    assert 1 - updates.log_ratio_cap(2.0, through=True).student(P, B, LAM) == pytest.approx(0.05)
    assert np.isclose(updates.log_ratio_cap(2.0).student(P, B, LAM), 1)
