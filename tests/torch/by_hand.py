"""The metrics computed slowly, one position at a time in float64, by the formulas of one position."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import lambda_star as ls
from lambda_star.torch.metrics import PREFIX, safety_metrics

VOCABULARY = 32
LAM, CLIP = 1.5, 2.0
STUDENT_NAMES = {"tail_ratio_median", "tail_ratio_max", "clipped", "tail_over_predicted"}
NAMES = {"lam", "positions", "not_judged", "p", "b", "threshold_median", "threshold_least", "past", "flipped"}


def logits(*shape: int) -> tuple[Tensor, Tensor, Tensor]:
    """Draw teacher, base and student over a vocabulary; rows are sharp or flat, and share the modal token or not."""
    teacher = 4 * torch.randn(*shape, VOCABULARY)
    base = 0.6 * teacher + torch.randn(*shape, VOCABULARY)
    return teacher, base, 1.2 * teacher + 0.5 * torch.randn(*shape, VOCABULARY)


def middle(values: list[float]) -> float:
    return sorted(values)[(len(values) - 1) // 2]


def row_by_row(of: Iterable[Tensor], lam: float, clip: float) -> dict[str, float]:
    """Compute the metrics of rows of logits, one position at a time in float64."""
    found: list[tuple[float, ...]] = []
    for triple in zip(*of, strict=True):
        rows = [row.double().log_softmax(-1).tolist() for row in triple]
        modal = int(np.argmax(rows[0]))
        p, modal_b, q = (math.exp(row[modal]) for row in rows)
        tails = [math.fsum(math.exp(x) for k, x in enumerate(row) if k != modal) for row in rows]
        flips = []
        for log_t, log_b in zip(rows[0], rows[1], strict=True):
            ahead_t, ahead_b = rows[0][modal] - log_t, rows[1][modal] - log_b
            flips.append(ahead_b / (ahead_b - ahead_t) if ahead_b > ahead_t else math.inf)
        star = ls.bernoulli.threshold_from_logits(math.log(p / tails[0]), math.log(modal_b / tails[1]), clip)
        mixed = [math.exp(lam * log_t + (1 - lam) * log_b) for log_t, log_b in zip(*rows[:2], strict=True)]
        predicted = math.fsum(mass for k, mass in enumerate(mixed) if k != modal) / math.fsum(mixed)
        found.append((p, modal_b, star, tails[0] / tails[2], min(flips), tails[2] / predicted))
        assert p + tails[0] == pytest.approx(1)
        assert q + tails[2] == pytest.approx(1)
    p_, b_, stars, ratios, flipping, over = (list(column) for column in zip(*found, strict=True))
    return {
        "lam": lam,
        "positions": len(found),
        "not_judged": 0,
        "p": middle(p_),
        "b": middle(b_),
        "threshold_median": middle(stars),
        "threshold_least": min(stars),
        "past": sum(star < lam for star in stars) / len(found),
        "flipped": sum(flip < lam for flip in flipping) / len(found),
        "tail_ratio_median": middle(ratios),
        "tail_ratio_max": max(ratios),
        "clipped": sum(ratio >= clip for ratio in ratios) / len(found),
        "tail_over_predicted": middle(over),
    }


def short(metrics: dict[str, float]) -> dict[str, float]:
    assert all(name.startswith(PREFIX) for name in metrics)
    assert all(type(value) is float for value in metrics.values())
    return {name.removeprefix(PREFIX): value for name, value in metrics.items()}


def close(expected: dict[str, float], relative: float = 2e-5) -> Any:
    return pytest.approx(expected, rel=relative, nan_ok=True)


def json_share(texts: list[str]) -> float:
    rows = logits(1)
    return safety_metrics(*rows[:2], lam=LAM, clip=CLIP, completions=texts)[f"{PREFIX}json"]
