"""The metrics against a slow computation row by row, from whole vocabularies and from sampled tokens."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lambda_star as ls
from lambda_star import updates
from lambda_star.calibration.table import Table
from lambda_star.calibration.texts import Texts
from lambda_star.contract import classify, json_structure
from lambda_star.torch.metrics import PREFIX, safety_metrics, safety_metrics_from_sampled
from tests.torch.by_hand import (
    CLIP,
    LAM,
    NAMES,
    STUDENT_NAMES,
    VOCABULARY,
    close,
    json_share,
    logits,
    row_by_row,
    short,
)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(), (3,), (5, 40)])
def test_metrics_are_those_of_a_slow_computation(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    rows = [row.to(dtype) for row in logits(*shape)]
    expected = row_by_row((row.reshape(-1, VOCABULARY) for row in rows), LAM, CLIP)
    metrics = short(safety_metrics(*rows, lam=LAM, clip=CLIP))
    assert metrics.keys() == NAMES | STUDENT_NAMES
    assert metrics == close(expected)
    if shape == (5, 40):
        assert all(0 < metrics[name] < 1 for name in ("past", "clipped", "flipped")), "the case tests nothing"
        normalised = [row.float().log_softmax(-1) for row in rows]
        assert short(safety_metrics(*normalised, lam=LAM, clip=CLIP)) == close(expected, 1e-4)


@pytest.mark.parametrize("kind", [torch.bool, torch.int64, torch.float32])
def test_only_positions_in_the_mask_count(kind: torch.dtype) -> None:
    rows = logits(4, 30)
    mask = torch.rand(4, 30) < 0.4
    expected = row_by_row((row[mask] for row in rows), LAM, CLIP)
    for row in rows:
        row[~mask] = math.nan
    assert short(safety_metrics(*rows, lam=LAM, clip=CLIP, mask=mask.to(kind))) == close(expected)


@pytest.mark.parametrize("of", [safety_metrics, safety_metrics_from_sampled])
def test_an_empty_mask_gives_nan(of: Callable[..., dict[str, float]]) -> None:
    rows = [row.log_softmax(-1) for row in logits(2, 3)]
    if of is safety_metrics_from_sampled:
        rows = [row[..., 0] for row in rows]
    metrics = short(of(*rows, lam=LAM, clip=CLIP, mask=torch.zeros(2, 3)))
    assert (metrics.pop("positions"), metrics.pop("not_judged"), metrics.pop("lam")) == (0, 0, LAM)
    assert all(math.isnan(value) for value in metrics.values())
    assert len(metrics) == (10 if of is safety_metrics else 9)


@pytest.mark.parametrize("blind", ["teacher", "base", "student"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_position_that_cannot_be_judged_is_counted_and_left_out(blind: str, value: float) -> None:
    rows = logits(6, 6)
    seen = torch.ones(6, 6, dtype=torch.bool)
    seen[1, 2] = seen[4, 0] = False
    expected = row_by_row((row[seen] for row in rows), LAM, CLIP)
    rows[["teacher", "base", "student"].index(blind)][~seen] = value
    metrics = short(safety_metrics(*rows, lam=LAM, clip=CLIP))
    assert metrics == close(expected | {"positions": 36, "not_judged": 2})
    assert 0 < metrics["past"] < 1, "the case tests nothing"


def test_where_nothing_can_be_judged_the_shares_are_nan() -> None:
    rows = logits(2, 3)
    rows[0][:] = math.nan
    metrics = short(safety_metrics(*rows, lam=LAM, clip=CLIP))
    assert (metrics["lam"], metrics["positions"], metrics["not_judged"]) == (LAM, 6, 6)
    assert all(math.isnan(metrics[name]) for name in NAMES - {"lam", "positions", "not_judged"})


def test_sampled_tokens_that_cannot_be_judged_are_counted_and_left_out() -> None:
    log_t, log_b, log_s = torch.tensor([[0.9, 0.99, 0.8, 0.7], [0.5] * 4, [0.6] * 4]).log()
    expected = short(safety_metrics_from_sampled(log_t[:2], log_b[:2], log_s[:2], lam=1.4, clip=5.0))
    log_t[2], log_b[3] = math.nan, math.nan
    found = short(safety_metrics_from_sampled(log_t, log_b, log_s, lam=1.4, clip=5.0))
    assert found == expected | {"positions": 4.0, "not_judged": 2.0}
    assert found["past"] == 0.5


@pytest.mark.parametrize("sampled", [False, True])
def test_lam_may_differ_from_position_to_position(sampled: bool) -> None:
    teacher, base = torch.tensor([[0.9, 0.1], [0.99, 0.01], [0.99, 0.01]]).log(), torch.full((3, 2), 0.5).log()
    of: Callable[..., Any] = safety_metrics
    if sampled:
        of, teacher, base = safety_metrics_from_sampled, teacher[:, 0], base[:, 0]
    stars = [ls.threshold(p, 0.5, 5.0) for p in (0.9, 0.99)]
    lams = torch.tensor([stars[0] - 0.01, stars[1] + 0.01, stars[1] - 0.01])
    metrics = short(of(teacher, base, lam=lams, clip=5.0))
    assert metrics["past"] == pytest.approx(1 / 3)
    assert metrics["lam"] == pytest.approx(stars[1] + 0.01, rel=1e-6)  # the middle one of the three
    assert short(of(teacher, base, lam=lams, clip=5.0, mask=torch.tensor([1, 0, 1])))["past"] == 0


def test_only_positions_of_the_contract_count() -> None:
    rows = logits(5, 40)
    texts = [("[", "]", ",", '"')[k] if k < 4 else f"w{k}" for k in range(VOCABULARY)]
    classes = classify(texts, json_structure).labels
    inside = torch.from_numpy(classes)[rows[0].argmax(-1)] >= 0
    assert 10 < inside.sum() < 100
    expected = row_by_row((row[inside] for row in rows), LAM, CLIP)
    assert short(safety_metrics(*rows, lam=LAM, clip=CLIP, classes=classes)) == close(expected)
    rows[0][inside.nonzero()[0, 0], inside.nonzero()[0, 1], 9] = math.nan
    blind = short(safety_metrics(*rows, lam=LAM, clip=CLIP, classes=classes))
    assert (blind["positions"], blind["not_judged"]) == (int(inside.sum()), 1), "its modal token is not known"


def test_metrics_over_the_contract_are_those_of_calibrate() -> None:
    teacher, base = (row.log_softmax(-1) for row in logits(200)[:2])
    texts = [("[", "]", ",", '"')[k] if k < 4 else f"w{k}" for k in range(VOCABULARY)]
    modal = teacher.argmax(-1, keepdim=True)
    words = Texts.of(texts[token] for token in modal[:, 0])
    log_p, log_b = (row.gather(-1, modal)[:, 0].double().numpy() for row in (teacher, base))
    answers = Texts.of(f"answer {k // 10}" for k in range(200))
    report = ls.calibrate(Table("memory", answers, np.arange(200), words, words, log_p, log_b), clip=CLIP, lam=LAM)
    metrics = short(safety_metrics(teacher, base, lam=LAM, clip=CLIP, classes=classify(texts, json_structure).labels))
    assert 10 < metrics["positions"] == report.used < 190
    assert metrics["threshold_least"] == pytest.approx(report.strict, rel=1e-5)
    assert metrics["threshold_median"] == pytest.approx(report.by_position.quantile(0.5), rel=1e-5)
    assert metrics["past"] == pytest.approx(report.by_position.share_below(LAM))


def test_the_users_own_validity_replaces_json() -> None:
    rows = logits(1)
    asked: list[str] = []

    def valid(text: str) -> bool:
        asked.append(text)
        return text.endswith("]")

    metrics = short(safety_metrics(*rows, lam=LAM, clip=CLIP, completions=["[1]", "1]", "1"], valid=valid))
    assert metrics["valid"] == pytest.approx(2 / 3)
    assert "json" not in metrics
    assert asked == ["[1]", "1]", "1"]
    sampled = [row.log_softmax(-1)[..., 0] for row in rows]
    assert (
        short(safety_metrics_from_sampled(*sampled, lam=LAM, clip=CLIP, completions=["]"], valid=valid))["valid"] == 1
    )


def test_without_a_student_or_texts_nothing_is_told_of_them() -> None:
    rows = logits(2, 3)
    assert short(safety_metrics(*rows[:2], lam=LAM, clip=CLIP)).keys() == NAMES
    with_texts = safety_metrics(*rows[:2], lam=LAM, clip=CLIP, completions=["{}", "{"])
    assert short(with_texts).keys() == NAMES | {"json"}
    assert with_texts[f"{PREFIX}json"] == 0.5


def test_no_gradient_flows_and_nothing_is_changed() -> None:
    rows = [row.requires_grad_() for row in logits(2, 3)]
    before = [row.detach().clone() for row in rows]
    safety_metrics(*rows, lam=LAM, clip=CLIP)
    assert all(torch.equal(row, old) for row, old in zip(rows, before, strict=True))
    assert all(row.grad is None for row in rows)


def test_a_tail_below_the_resolution_of_probabilities_is_told() -> None:
    teacher, base, student = (torch.tensor([[x, 0.0]]) for x in (30.0, 10.0, 31.0))
    metrics = short(safety_metrics(teacher, base, student, lam=1.01, clip=2.0))
    assert metrics["p"] == 1
    assert metrics["threshold_least"] == pytest.approx(ls.bernoulli.threshold_from_logits(30.0, 10.0, 2.0), rel=1e-6)
    assert metrics["tail_ratio_max"] == pytest.approx(math.e, rel=1e-5)


@pytest.mark.parametrize("lam", [0.5, 1.0, 1.5])
def test_a_run_that_has_arrived_has_the_tails_of_the_predicted_student(lam: float) -> None:
    teacher, base, _ = logits(200)
    at = torch.full((200,), lam)
    arrived = safety_metrics(teacher, base, lam * teacher + (1 - lam) * base, lam=at, clip=CLIP)
    assert arrived[f"{PREFIX}tail_over_predicted"] == pytest.approx(1, rel=1e-5)
    for progress in (0.0, 0.5, 0.9):  # an unfinished run is the mixture at a smaller λ, and its tails are thicker
        unfinished = safety_metrics(
            teacher, base, lam * progress * teacher + (1 - lam * progress) * base, lam=at, clip=CLIP
        )
        assert unfinished[f"{PREFIX}tail_over_predicted"] > 1


def test_the_predicted_student_is_that_of_the_rule() -> None:
    teacher, base = torch.tensor([[2.0, 0.0]] * 3), torch.tensor([[0.0, 0.0]] * 3)
    p, b, rule = 1 / (1 + math.exp(-2)), 0.5, updates.log_ratio_cap(2.0)
    leaves, dies = rule.leaves(p, b), rule.dies(p, b)
    for lam in ((1 + leaves) / 2, (leaves + dies) / 2):
        q = rule.student(p, b, lam)
        arrived = torch.tensor([[math.log(q / (1 - q)), 0.0]] * 3)
        found = safety_metrics(teacher, base, arrived, lam=lam, clip=CLIP, rule=rule)
        assert found[f"{PREFIX}tail_over_predicted"] == pytest.approx(1, rel=1e-4)
    dead = safety_metrics(teacher, base, teacher, lam=dies + 0.1, clip=CLIP, rule=rule)
    assert dead[f"{PREFIX}tail_over_predicted"] == math.inf
    some = safety_metrics(teacher, base, base, lam=1.2, clip=CLIP, rule=updates.top_k(8))
    assert f"{PREFIX}tail_over_predicted" not in some


# Sampled tokens

OF_ALL_TOKENS = {"flipped", "tail_over_predicted"}
"""Metrics that need the whole vocabulary."""


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_sampled_tokens_give_the_metrics_of_positions_whose_modal_token_was_drawn(dtype: torch.dtype) -> None:
    rows = logits(20, 50)
    logs = [row.log_softmax(-1) for row in rows]
    drawn = torch.multinomial(logs[2].exp().flatten(0, 1), 1).reshape(20, 50, 1)
    sampled = [log.gather(-1, drawn).squeeze(-1) for log in logs]
    mask = torch.rand(20, 50) < 0.7
    modal = (sampled[0] > math.log(0.5)) & mask
    expected = row_by_row((row[modal] for row in rows), LAM, CLIP)
    found = short(safety_metrics_from_sampled(*(x.to(dtype) for x in sampled), lam=LAM, clip=CLIP, mask=mask))
    assert found.keys() == (NAMES | STUDENT_NAMES | {"known"}) - OF_ALL_TOKENS
    assert 0.3 < found["known"] < 1
    if dtype == torch.bfloat16:  # a log-probability of three digits determines the tail to a few per cent
        assert found["p"] == pytest.approx(expected["p"], rel=0.01)
        assert found["past"] == pytest.approx(expected["past"], abs=0.02)
        return
    assert found.pop("known") == pytest.approx(float(modal.sum() / mask.sum()))
    expected = {name: value for name, value in expected.items() if name not in OF_ALL_TOKENS}
    assert found == close(expected, 1e-3)  # the tail comes from a float32 logarithm of p


def test_a_sampled_probability_that_rounds_to_one_counts_as_the_resolution() -> None:
    teacher, base = torch.tensor([0.0, 0.0]), torch.tensor([math.log(0.5), 0.0])
    metrics = short(safety_metrics_from_sampled(teacher, base, lam=1.25, clip=5.0))
    resolution = torch.finfo(torch.float32).eps
    assert metrics["threshold_least"] == pytest.approx(ls.threshold(1 - resolution, 0.5, 5.0), rel=1e-6)
    assert metrics["threshold_median"] == metrics["threshold_least"]
    assert metrics["past"] == 0.5


def test_without_a_modal_token_there_is_nothing_but_its_share() -> None:
    metrics = short(safety_metrics_from_sampled(torch.full((3,), -2.0), torch.full((3,), -math.inf), lam=1.2, clip=5.0))
    assert (metrics["known"], metrics["positions"]) == (0, 0)
    assert math.isnan(metrics["past"])


# JSON


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ('["A7", "B2"]', True),
        (' {"a": [1, -2.5e3, null, true]}\n', True),
        ('"text"', True),
        ("9" * 5000, True),
        ("NaN", False),
        ('{"a": Infinity}', False),
        ("[-Infinity]", False),
        ("", False),
        ('["A7",]', False),
        ('["A7"] and', False),
        ("['A7']", False),
        ('"a\tb"', False),
        ("[" * 200_000, False),
    ],
)
def test_json_is_strict(text: str, valid: bool) -> None:
    assert json_share([text]) == valid


def test_the_share_of_no_text_is_nan() -> None:
    assert math.isnan(json_share([]))


# Errors of the metrics


@pytest.mark.parametrize("of", [safety_metrics, safety_metrics_from_sampled])
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"lam": math.nan}, r"^lam must lie in \(-inf, inf\), got nan$"),
        ({"clip": 0.5}, r"^clip must lie in \[1, inf\], got 0\.5$"),
        ({"clip": math.nan}, r"^clip must lie in \[1, inf\], got nan$"),
        ({"log_b": torch.zeros(2, 4)}, r"^log_b must have the shape of log_t, \(2, 3\), got \(2, 4\)$"),
        ({"log_s": torch.zeros(3)}, r"^log_s must have the shape of log_t, \(2, 3\), got \(3,\)$"),
        ({"log_s": torch.zeros(2, 3, dtype=torch.long)}, r"^log_s must have a floating dtype, got torch\.int64$"),
        ({"mask": torch.ones(3, 3)}, r"^mask must have the shape of the positions, \(2(, 3|,)\), got \(3, 3\)$"),
        ({"lam": torch.ones(4)}, r"^lam must have the shape of the positions, \(2(, 3|,)\), got \(4,\)$"),
    ],
)
def test_wrong_arguments_are_named(of: Callable[..., Any], changed: dict[str, Any], message: str) -> None:
    right: dict[str, Any] = {"log_t": torch.zeros(2, 3), "log_b": torch.zeros(2, 3), "lam": 1.2, "clip": 5.0}
    with pytest.raises(ValueError, match=message):
        of(**right | changed)


def test_logits_are_no_log_probabilities_of_sampled_tokens() -> None:
    with pytest.raises(ValueError, match=r"^log_t must lie in \(-inf, 0\], got 3\.0; give log-probabilities$"):
        safety_metrics_from_sampled(torch.tensor([3.0]), torch.tensor([-1.0]), lam=1.2, clip=5.0)
    with pytest.raises(ValueError, match=r"^log_b must lie in \(-inf, 0\], got -inf;"):
        safety_metrics_from_sampled(torch.tensor([-0.1]), torch.tensor([-math.inf]), lam=1.2, clip=5.0)


# Processes and missing packages


def python(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_metrics_need_torch_alone() -> None:
    code = """
import sys
sys.modules["transformers"] = None
import torch
from lambda_star.torch import safety_metrics
rows = torch.tensor([[0.9, 0.1]]).log()
print(safety_metrics(rows, rows, lam=1.2, clip=5.0)["lambda_star/past"])
try:
    from lambda_star.torch import SafetyMonitor
except ImportError as error:
    print(error)
"""
    said, _ = python(code).communicate(timeout=60)
    assert said.splitlines() == [
        "0.0",
        "SafetyMonitor needs transformers; install it with: pip install 'lambda-star[trl]'",
    ]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_processes_pool_their_positions(tmp_path: Path) -> None:
    code = """
import json, os, sys
import numpy as np, torch.distributed
from lambda_star.torch.metrics import _pooled
other = os.fork()  # PyTorch is imported once
rank = int(other == 0)
torch.distributed.init_process_group("gloo", init_method="file://" + sys.argv[1], rank=rank, world_size=2)
measured, valid = _pooled({"threshold": np.arange(float(rank + 1))}, {"json": [rank == 0]})
torch.distributed.destroy_process_group()
if other:
    os.waitpid(other, 0)
print(json.dumps([measured["threshold"].tolist(), valid["json"]]))
"""
    said = python(code, str(tmp_path / "meet")).communicate(timeout=60)[0]
    assert [json.loads(line) for line in said.splitlines()] == [[[0.0, 0.0, 1.0], [True, False]]] * 2
