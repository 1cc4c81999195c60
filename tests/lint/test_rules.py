"""A short text names the rule of a training code, or a rule."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from lambda_star import updates
from lambda_star.lint import rule_of
from lambda_star.lint.codes import CODES
from lambda_star.lint.rules import NAMED


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("trl", updates.none()),
        ("gopd", updates.none()),
        ("G-OPD", updates.none()),
        ("gopd:rollout_is=token,rollout_is_threshold=5", updates.importance_weight(5.0)),
        ("verl", updates.log_ratio_clamp(10.0)),
        ("verl:loss_max_clamp=5", updates.log_ratio_clamp(5.0)),
        ("verl: loss_max_clamp=5, teacher=extrapolated", updates.log_ratio_clamp(5.0, teacher="extrapolated")),
        ("verl:loss_max_clamp=null", updates.none()),
        ("verl:loss_mode=k1,topk=64", updates.log_ratio_clamp(10.0)),
        ("verl:loss_mode=k3", updates.none()),
        ("verl:loss_mode=forward_kl_topk,topk=64", updates.top_k(64)),
        ("verl:loss_mode=forward_kl_topk,log_prob_min_clamp=-10", updates.log_prob_floor(10.0)),
        ("verl:distillation.distillation_loss.loss_max_clamp=5", updates.log_ratio_clamp(5.0)),
        ("nemo", updates.none()),
        ("NeMo-RL", updates.none()),
        ("slime", updates.none()),
        ("slime:--use-tis=true,--tis-clip=2", updates.importance_weight(2.0)),
        ("miles", updates.none()),
        ("roll", updates.none()),
        ("roll:advantage_clip=5", updates.log_ratio_clamp(5.0)),
        ("roll:advantage_clip=5,opd_kl_coef=2", updates.log_ratio_clamp(2.5)),
        ("rllm", updates.advantage_clamp(5.0)),
        ("skyrl", updates.none()),
        ("swift", updates.none()),
        ("ms-swift", updates.none()),
        ("lightrft", updates.log_ratio_clamp(20.0)),
        ("lightrft:advantage_clip=5", updates.log_ratio_clamp(5.0)),
        ("cap:5", updates.log_ratio_cap(5.0)),
        ("log_ratio_clamp(bound=5)", updates.log_ratio_clamp(5.0)),
        ("top_k:1", updates.top_k(1)),
    ],
)
def test_a_text_names_a_rule(text: str, rule: updates.Rule) -> None:
    assert rule_of(text) == rule


def test_the_page_on_clips_has_the_numbers_of_every_rule_that_it_names() -> None:
    page = (Path(__file__).parents[2] / "docs" / "clip.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("|")]
    named = {rule: row[3:] for row in rows if len(row) == 5 for rule in re.findall("`([^`]+)`", row[2])}
    assert {text.partition(":")[0] for text in named} == {*CODES, "cap"}
    for text, told in named.items():
        rule = rule_of(text)
        found = [value(0.999, 0.5) for value in (rule.leaves, rule.dies)]
        assert told == ["never" if value == math.inf else f"{value:.3f}" for value in found], text


def test_every_code_has_a_rule_without_settings() -> None:
    assert {*NAMED} == {*CODES}
    assert all(isinstance(rule_of(code), updates.Rule) for code in CODES)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("foo", "'foo' names no training code (verl, gopd, "),
        ("", "'' names no training code"),
        ("verl:5", "'5' is no setting of verl; write key=value"),
        ("verl:loss_max_clamp=", "is no setting of verl"),
        ("verl:loss_max_clmp=5", "'loss_max_clmp' decides nothing about verl's rule; what does is loss_mode, "),
        ("verl:loss_max_clamp=abc", "so the bound is unknown; write a number"),
        ("verl:loss_mode=zz", "loss_mode = zz is not known"),
        ("verl:loss_mode=k3,use_policy_gradient=true", "pushed out further, at every λ"),
        ("verl:teacher=mine", "teacher must be plain or extrapolated, got 'mine'"),
        ("miles:opd_log_prob_top_k=16", "has no mean effect"),
        ("cap", "log_ratio_cap needs a value of c"),
        ("cap:0.5", "c must lie in [1, inf], got 0.5"),
    ],
)
def test_a_text_that_names_no_rule_says_what_does(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        rule_of(text)
