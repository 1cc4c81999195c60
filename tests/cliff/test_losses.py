"""The losses of the update rules: their gradients against the two-outcome forces, and the tokens they leave out."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lambda_star import updates
from lambda_star.cliff.losses import loss, nucleus
from lambda_star.cliff.rules import TRIALS

RULES = sorted({given["rule"] for given in TRIALS.values()} | {"truncated_sampling:0.7"})
SHARES = st.floats(0.02, 0.98)
THETAS = st.floats(-4.0, 4.0)


def two(theta: float) -> torch.Tensor:
    return torch.tensor([theta, 0.0], dtype=torch.float64).log_softmax(-1)


def logit(share: float) -> float:
    return math.log(share / (1 - share))


def slope(rule: updates.Rule, theta: float, p: float, b: float, lam: float, drawn: float | None) -> float:
    """How fast gradient descent on the loss moves the log-odds, the difference of two logits, by the first of them."""
    logits = torch.tensor([theta, 0.0], dtype=torch.float64, requires_grad=True)
    log_r = None if drawn is None else two(drawn)
    rows = logits.log_softmax(-1), two(logit(p)), two(logit(b))
    loss(rule, *rows, torch.tensor(lam, dtype=torch.float64), log_r=log_r).backward()  # type: ignore[no-untyped-call]
    return -float(logits.grad[0])  # type: ignore[index]


@pytest.mark.parametrize("text", RULES)
@settings(max_examples=25)
@given(theta=THETAS, p=SHARES, b=SHARES, lam=st.floats(1.0, 2.5), drawn=st.none() | THETAS)
def test_a_loss_moves_the_log_odds_as_the_force_says(
    text: str, theta: float, p: float, b: float, lam: float, drawn: float | None
) -> None:
    rule = updates.parse(text)
    q = 1 / (1 + math.exp(-theta))
    force = rule.force(theta, p, b, lam, rollout=drawn)
    found = slope(rule, theta, p, b, lam, drawn)
    edges = [abs(q - share) for share in (0.5, 0.95, 0.7)]
    if drawn is not None and isinstance(rule, updates.ppo):
        ratio = math.exp(math.log(q) - math.log(1 / (1 + math.exp(-drawn))))
        edges += [abs(ratio - 0.8), abs(ratio - 1.2)]
    if min(edges) > 1e-6:  # at an edge itself either side is right
        assert found == pytest.approx(q * (1 - q) * (force.modal - force.tail), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("name", [name for name, given in TRIALS.items() if given.get("draws")])
def test_drawn_tokens_have_the_mean_of_the_expectation(name: str) -> None:
    rule, rows = updates.parse(TRIALS[name]["rule"]), 40_000
    torch.manual_seed(0)
    logits = torch.tensor([1.5, 0.3, -0.7], dtype=torch.float64)
    log_t, log_b = (torch.tensor(values, dtype=torch.float64).log() for values in ((0.8, 0.15, 0.05), (0.4, 0.4, 0.2)))
    slopes = []
    for draws in (0, 4):
        student = logits.clone().expand(rows, 3).clone().requires_grad_()
        given = student.log_softmax(-1), log_t.expand(rows, 3), log_b.expand(rows, 3), torch.tensor(1.6)
        loss(rule, *given, draws=draws, generator=torch.Generator().manual_seed(1)).sum().backward()  # type: ignore[no-untyped-call]
        slopes.append(student.grad)
    full, drawn = slopes
    assert full is not None
    assert drawn is not None
    error = drawn.std(0) / math.sqrt(rows)
    assert ((drawn.mean(0) - full[0]).abs() < 5 * error).all()
    assert (drawn.std(0) > 0).all()


def test_the_fewest_tokens_that_hold_a_share() -> None:
    rows = torch.tensor([[0.2, 0.5, 0.3], [0.96, 0.03, 0.01]]).log()
    assert nucleus(rows, 0.45).tolist() == [[False, True, False], [True, False, False]]
    assert nucleus(rows, torch.tensor([[0.75], [0.97]])).tolist() == [[False, True, True], [True, True, False]]
    assert nucleus(rows, 2.0).all()


def test_rules_without_a_loss_are_refused() -> None:
    rows = torch.zeros(2).log_softmax(-1)
    for rule, draws in ((updates.log_prob_floor(3.0), 0), (updates.ppo(), 2)):
        with pytest.raises(ValueError, match="rule must be one that has a loss here"):
            loss(rule, rows, rows, rows, torch.tensor(1.0), draws=draws)
