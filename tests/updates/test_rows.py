"""K tokens: two of them are the two outcomes, and many obey the general law token by token."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from lambda_star import categorical, updates
from lambda_star.updates import Rule, general
from tests.night import thinned
from tests.strategies import Floats, Pair, moderate, token_rows
from tests.updates.rules import EXAMPLES, NAMES, first_lambda, rules

MANY = [rule for rule in EXAMPLES if not (getattr(rule, "k", 0) and getattr(rule, "through", False))]


def two(p: float) -> Floats:
    return np.log([p, 1 - p])


def is_undecided(rule: Rule, p: float, b: float, lam: float) -> bool:
    """Whether rounding decides on the student, or on the λ of 0 and 1 from which the death is sought."""
    if not isinstance(rule, updates.log_prob_floor):
        return False
    sizes = [abs(at * math.log(p / (1 - p)) + (1 - at) * math.log(b / (1 - b))) for at in (lam, 1.0, 0.0)]
    even = rule.bound <= math.log(2) and min(sizes) < 1e-9
    return even or min(abs(size - rule.bound) for size in sizes) < 1e-9


@pytest.mark.parametrize(
    ("rule", "p", "b", "lam"),
    [
        *thinned(
            ((rule, *place) for rule in EXAMPLES for place in ((0.9, 0.5, 1.5), (0.9993, 0.2, 1.1), (0.6, 0.8, 3.0))),
            2,
        ),
        (updates.advantage_clamp(0.05), 0.9, 0.2, 0.5),
        (updates.log_prob_floor(0.5), 0.5, 0.731, 1.0),
        (updates.log_prob_floor(0.05078125), 1 / (1 + math.exp(-0.05078125)), 0.731, 1.0),
        (updates.truncated_sampling(top_p=0.8771829103508422), 0.5, 0.00028884900657658, 3.97),
        *(
            (updates.log_prob_floor(1.05078125 + off), 0.740924892403682, 0.8807970779778823, 1.0)
            for off in (-2e-9, 2e-9)
        ),
    ],
    ids=str,
)
def test_two_tokens_are_the_two_outcomes(rule: Rule, p: float, b: float, lam: float) -> None:
    if not is_undecided(rule, p, b, lam):
        two_tokens_are_the_two_outcomes(rule, p, b, lam)


@pytest.mark.nightly
@given(rules, moderate, moderate, st.floats(1.0, 6.0))
def test_two_tokens_are_the_two_outcomes_everywhere(rule: Rule, p: float, b: float, lam: float) -> None:
    assume(p >= 0.5 and abs(p - b) > 1e-6)
    assume(not is_undecided(rule, p, b, lam))
    two_tokens_are_the_two_outcomes(rule, p, b, lam)


def two_tokens_are_the_two_outcomes(rule: Rule, p: float, b: float, lam: float) -> None:
    student = rule.student(two(p), two(b), lam)
    if not np.isnan(student).any():  # no set of tokens is settled on; two outcomes know what happens then
        assert math.exp(student[0]) == pytest.approx(rule.student(p, b, lam), rel=1e-9, abs=1e-12)
    star = rule.dies(p, b)
    if star == math.inf or star < 1e5:
        assert float(rule.dies(two(p), two(b))) == pytest.approx(star, rel=1e-7, abs=1e-9)
    leaves = rule.leaves(p, b)
    if leaves == math.inf or leaves < 1e5:
        assert float(rule.leaves(two(p), two(b))) == pytest.approx(leaves, rel=1e-6, abs=1e-9)


def test_below_a_floor_that_both_outcomes_reach_nothing_moves_an_undecided_student() -> None:
    """The general law: one number is the first of many students at rest, and rows name another of them."""
    rule, p, b = updates.log_prob_floor(0.5), 0.5, 0.731
    first = rule.student(p, b, 1.0)
    assert first == pytest.approx(general.student(rule.force, p, b, 1.0), rel=1e-9)
    assert first == pytest.approx(math.exp(-0.5))
    of_rows = math.exp(rule.student(two(p), two(b), 1.0)[0])
    assert of_rows == pytest.approx(0.5)
    for q in (first - 1e-9, of_rows):
        modal, tail = rule.force(np.array([math.log(q / (1 - q))]), p, b, 1.0)
        assert modal == tail


def test_a_death_at_one_is_a_matter_of_rounding() -> None:
    """Where the base is dead at λ = 0 and λ = 1 is the edge, the death is at 0 on one side and never on the other."""
    rule, edge, b = updates.log_prob_floor(0.05078125), 1 / (1 + math.exp(-0.05078125)), 0.731
    for p, star in ((edge - 1e-9, math.inf), (edge + 1e-9, 0.0)):
        assert rule.dies(p, b) == float(rule.dies(two(p), two(b))) == general.dies(rule.force, p, b) == star


@pytest.mark.parametrize("rule", thinned(MANY, 2), ids=str)
@given(token_rows(fewest=3, masks=False), st.floats(1.0, 3.0))
def test_a_student_over_k_tokens_is_stationary(rule: Rule, rows: Pair, lam: float) -> None:
    """One value lies between the forces on both sides of each living token's mass, and above those of dead tokens."""
    log_t, log_b = (row - np.logaddexp.reduce(row) for row in rows)
    assume(np.abs(log_t - log_b).max() > 1e-6)
    student = rule.student(log_t, log_b, lam)
    assume(not np.isnan(student).any())
    assert np.exp(student).sum() == pytest.approx(1.0, rel=1e-9)
    alive = student > -300
    near = np.where(alive, student, -700.0)
    less, more = (rule._forces(near + side, log_t, log_b, np.array([lam]), near + side) for side in (-1e-9, 1e-9))
    assert np.where(alive, more, less).max() <= np.where(alive, less, math.inf).min() + 1e-7


@given(token_rows(fewest=2), st.floats(1.0, 4.0))
def test_the_cap_is_the_categorical_student(rows: Pair, lam: float) -> None:
    log_t, log_b = (row - np.logaddexp.reduce(row) for row in rows)
    rule = updates.log_ratio_cap(2.0)
    np.testing.assert_allclose(
        rule.student(log_t, log_b, lam), categorical.stationary_student(log_t, log_b, 2.0, lam), rtol=1e-9
    )
    assert rule.leaves(log_t, log_b) == categorical.threshold(log_t, log_b, 2.0).value


def test_many_tokens_die_where_the_least_ratio_does() -> None:
    log_t, log_b = np.log([0.9, 0.07, 0.03]), np.log([0.5, 0.3, 0.2])
    rule = updates.log_ratio_cap(2.0)
    star = float(rule.dies(log_t, log_b))
    before, after = (np.exp(rule.student(log_t, log_b, lam)) for lam in (star - 1e-6, star + 1e-6))
    assert before[2] > 0 == after[2]
    assert before.argmin() == 2


def test_top_k_dies_where_the_set_alone_would_have_all_the_mass() -> None:
    rng = np.random.default_rng(3)
    log_t = np.log(rng.dirichlet(np.full(12, 0.3)))
    log_b = np.log(rng.dirichlet(np.full(12, 3.0)))
    kept = np.argsort(-log_t)[:4]
    for rule, total in ((updates.top_k(4), 0.0), (updates.truncated_sampling(top_k=4), 0.0)):
        star = float(rule.dies(log_t, log_b))
        student = rule.student(log_t, log_b, star + 1e-9)
        inside = np.flatnonzero(student > -math.inf)
        assert set(inside) <= set(kept) | set(np.argsort(-log_b)[:4]) | set(inside)
        power = star * log_t + (1 - star) * log_b
        assert np.logaddexp.reduce(power[inside]) == pytest.approx(total, abs=1e-7)


@pytest.mark.parametrize("rule", EXAMPLES, ids=NAMES)
def test_rows_keep_shape_library_and_nan(rule: Rule) -> None:
    rng = np.random.default_rng(1)
    log_t, log_b = (np.log(rng.dirichlet(np.ones(5), (2, 3))) for _ in range(2))
    log_t[1, 2, 0] = math.nan
    lam = np.linspace(1.1, 1.4, 3)
    student, moved = rule.student(log_t, log_b, lam), np.moveaxis(log_t, -1, 0)
    assert student.shape == (2, 3, 5)
    assert np.isnan(student[1, 2]).all()
    along = rule.student(moved, np.moveaxis(log_b, -1, 0), lam, axis=0)
    np.testing.assert_allclose(np.moveaxis(along, 0, -1), student, rtol=1e-12)
    dies = rule.dies(log_t, log_b)
    assert dies.shape == rule.leaves(log_t, log_b).shape == (2, 3)
    assert np.isnan(dies[1, 2])
    tensor = rule.student(torch.tensor(log_t), torch.tensor(log_b), 1.2)
    assert isinstance(tensor, torch.Tensor)
    np.testing.assert_allclose(tensor.numpy(), rule.student(log_t, log_b, 1.2), rtol=1e-12)
    assert rule.dies(log_t[:0], log_b[:0], axis=-1).shape == (0, 3)


def test_logits_are_rows_if_an_axis_says_so() -> None:
    rule = updates.log_ratio_cap(2.0)
    logits, base = np.array([3.0, 1.0, 0.0]), np.array([1.0, 0.5, 0.2])
    assert float(rule.dies(logits, base, axis=-1)) > 1
    with pytest.raises(ValueError, match=r"p must lie in \(0, 1\), got 3.0 at index 0"):
        rule.dies(logits, base)


def test_a_token_that_only_the_teacher_has_is_an_error() -> None:
    with pytest.raises(ValueError, match="log_b"):
        updates.none().dies(np.log([0.5, 0.5]), np.array([0.0, -math.inf]))


def test_masked_tokens_stay_masked() -> None:
    log_t, log_b = np.array([*np.log([0.7, 0.3]), -math.inf]), np.array([*np.log([0.5, 0.5]), -math.inf])
    for rule in EXAMPLES:
        lam = max(1.2, first_lambda(rule))
        student = rule.student(log_t, log_b, lam)
        assert student[2] == -math.inf or np.isnan(student).all()
        np.testing.assert_allclose(student[:2], rule.student(log_t[:2], log_b[:2], lam), rtol=1e-12)


def followed(rule: Rule, log_t: Floats, log_b: Floats, lam: float) -> Floats:
    """The student after natural gradient from the base in tiny steps, without any closed form."""
    log_q, log_u = log_b, lam * log_t + (1 - lam) * log_b
    for _ in range(15_000):
        force = rule._forces(log_q, log_t, log_b, np.array([lam]), log_q)
        log_q = log_q + 0.02 * np.where(np.isfinite(log_u), force, 0.0)
        log_q = log_q - np.logaddexp.reduce(log_q)
    return np.exp(log_q)


def test_a_set_that_changes_on_the_way_is_followed() -> None:
    """The student's second token overtakes another on the way, so the set of the base is not the one at the end."""
    log_t = np.array([-0.601, -1.576, -2.774, -4.549, -1.759])
    log_b = np.array([-0.916, -1.493, -2.541, -3.986, -1.281])
    log_t, log_b = (row - np.logaddexp.reduce(row) for row in (log_t, log_b))
    rule = updates.top_k(2)
    np.testing.assert_allclose(np.exp(rule.student(log_t, log_b, 2.0)), followed(rule, log_t, log_b, 2.0), rtol=0.02)
    star = float(rule.dies(log_t, log_b))
    power = star * log_t + (1 - star) * log_b
    assert np.logaddexp.reduce(power[:2]) == pytest.approx(0.0, abs=1e-7)


def test_a_set_that_never_settles_is_not_called_alive() -> None:
    log_t, log_b = np.log([0.5, 0.3, 0.1, 0.1]), np.log([0.1, 0.2, 0.3, 0.4])
    rule = updates.top_k(1, through=True)
    assert np.isnan(rule.student(log_t, log_b, 1.0)).all()
    assert rule.dies(log_t, log_b) < math.inf
