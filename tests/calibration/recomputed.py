"""A slow recomputation of what a report says, and the rows that the tests of reports share."""

from __future__ import annotations

import math
from typing import Any

import mpmath
import pytest

from lambda_star.calibration import calibrate
from lambda_star.calibration.report import ClassReport, Report
from lambda_star.calibration.table import Table
from tests import tables
from tests.oracle import CONTEXT, real
from tests.tables import Row, one


def report_of(rows: list[Row], **options: Any) -> Report:
    return calibrate(Table.from_rows(rows), **{"clip": 5.0} | options)


def stars(report: Report) -> list[float]:
    """λ* of every used position, the least first."""
    return list(map(float, report.by_position.values(10**9)))


def interval_of(found: ClassReport) -> tuple[float, float, float]:
    return found.value, found.low, found.high


def masses(log_probability: float) -> tuple[mpmath.mpf, mpmath.mpf]:
    """Modal and tail mass; an exact 0 stands for half a spacing of float32 below 1."""
    if log_probability == 0:
        return 1 - CONTEXT.mpf(2) ** -24, CONTEXT.mpf(2) ** -24
    return CONTEXT.exp(real(log_probability)), -CONTEXT.expm1(real(log_probability))


def gap(p: mpmath.mpf, tail: mpmath.mpf, b: mpmath.mpf, base_tail: mpmath.mpf) -> mpmath.mpf:
    return CONTEXT.log(p / tail) - CONTEXT.log(b / base_tail)


def threshold(clip: float, p: mpmath.mpf, tail: mpmath.mpf, b: mpmath.mpf, base_tail: mpmath.mpf) -> mpmath.mpf:
    """Eq. 4 of the paper as printed."""
    if gap(p, tail, b, base_tail) <= 0:
        return CONTEXT.inf
    base_odds = CONTEXT.log(base_tail / b)
    return (CONTEXT.log(tail / (clip - 1 + p)) - base_odds) / (CONTEXT.log(tail / p) - base_odds)


def collapse_point(clip: float, p: mpmath.mpf, tail: mpmath.mpf, b: mpmath.mpf, base_tail: mpmath.mpf) -> mpmath.mpf:
    between = gap(p, tail, b, base_tail)
    return 1 + CONTEXT.log(clip / p) / between if between > 0 else CONTEXT.inf


def flip_point(p: mpmath.mpf, tail: mpmath.mpf, b: mpmath.mpf, base_tail: mpmath.mpf) -> mpmath.mpf:
    if p < tail:
        return CONTEXT.mpf(1)
    base_odds = CONTEXT.log(b / base_tail)
    return base_odds / (base_odds - CONTEXT.log(p / tail)) if p < b else CONTEXT.inf


def four(row: Row) -> tuple[Any, ...]:
    return (*masses(row["log_p"]), *masses(row["log_b"]))


def mean(values: list[Any]) -> Any:
    return sum(values[1:], values[0]) / len(values)


def used_of(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row["modal"] in tables.CENTERS and not row["log_p"] == row["log_b"] == 0]


def quantile_of(values: list[float], level: float) -> float:
    """The least value that at least this share of the values does not exceed."""
    return min(one for one in values if sum(other <= one for other in values) / len(values) >= level)


def least_of(rows: list[Row], values: list[float]) -> list[float]:
    """The least value of each answer, in rising order."""
    found: dict[str, float] = {}
    for row, value in zip(rows, values, strict=True):
        name = str(row["sequence"])
        found[name] = min(value, found.get(name, value))
    return sorted(found.values())


def rank_below(answers: int, quantile: float, confidence: float) -> int:
    """The greatest k for which P(Bin(answers, quantile) ≥ k) reaches the confidence, 0 for none."""
    reached, k = 0, 1
    while k <= answers:
        missing = sum(math.comb(answers, j) * quantile**j * (1 - quantile) ** (answers - j) for j in range(k))
        if 1 - missing < confidence:
            break
        reached, k = k, k + 1
    return reached


def near(value: mpmath.mpf) -> Any:
    return pytest.approx(float(value), rel=1e-10)


def with_limits() -> list[Row]:
    """Synthetic rows, and the limits: one side rounded, both rounded, equal, no majority, next to nothing."""
    limits = [(0.0, -1e-3), (-1e-3, 0.0), (0.0, 0.0), (-0.3, -0.3), (-2.0, -1.5), (-1.5, -2.0), (-700.0, -800.0)]
    return tables.rows() + [one("limits", at, *pair, modal='","', token="[") for at, pair in enumerate(limits)]
