"""Intervals resample whole answers, cover the truth, and are reproducible."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

import lambda_star as ls
from tests import tables
from tests.calibration.recomputed import interval_of, report_of, used_of, values_only
from tests.tables import Row, one


def test_seeds_reproduce_and_change_nothing_but_intervals() -> None:
    first, again, other = (report_of(tables.rows(), lam=1.3, seed=seed) for seed in (1, 1, 2))
    assert first.to_dict() == again.to_dict()
    assert first.to_dict() != other.to_dict()
    assert values_only(first) == values_only(other)


def test_a_single_answer_gives_no_interval() -> None:
    report = report_of([row for row in tables.rows() if row["sequence"] == "answer 3"])
    for value, low, high in [*map(interval_of, report.classes), report.advised, report.operating_point]:
        assert math.isfinite(value)
        assert math.isnan(low)
        assert math.isnan(high)


def test_a_class_in_a_single_answer_has_no_interval() -> None:
    report = report_of(tables.rows() + [one("answer 3", 50 + at, -1e-9, -9.0, modal="{") for at in range(9)])
    ends = {found.name: found.low for found in report.classes}
    assert [name for name, low in ends.items() if math.isnan(low)] == ["{"]


def test_a_class_in_a_single_answer_does_not_bind_unless_there_is_no_other() -> None:
    report = report_of(tables.rows() + [one("answer 3", 50 + at, -1e-9, -9.0, modal="{") for at in range(9)])
    *others, last = report.classes
    assert last.name == "{"
    assert all(last.value < other.value for other in others)
    assert report.binding is others[0]
    assert report.strict == last.least
    assert report_of([one("answer 3", at, -1e-9, -9.0, modal="{") for at in range(9)]).binding.name == "{"


def test_copies_of_positions_within_an_answer_add_no_certainty() -> None:
    rows = tables.rows()
    copies = [row | {"position": row["position"] + 100 * copy} for row in rows for copy in range(5)]
    once, often = report_of(rows, quantile=0.1), report_of(copies, quantile=0.1)
    for left, right in zip(once.classes, often.classes, strict=True):
        assert interval_of(right) == pytest.approx(interval_of(left), rel=1e-12)
    assert often.advised == pytest.approx(once.advised, rel=1e-12)
    apart = [row | {"sequence": f"{row['sequence']} {row['position']}"} for row in copies]
    width = {name: report_of(made).binding for name, made in {"together": copies, "apart": apart}.items()}
    assert width["together"].high - width["together"].low > 1.5 * (width["apart"].high - width["apart"].low)


def test_higher_confidence_widens_and_more_answers_narrow_the_intervals() -> None:
    low, high = (report_of(tables.rows(), confidence=level, resamples=400).binding for level in (0.5, 0.99))
    assert high.low < low.low < low.value < low.high < high.high
    few, many = (report_of(tables.rows(answers=count), resamples=400).binding for count in (8, 200))
    assert many.high - many.low < 0.5 * (few.high - few.low)


def test_intervals_reach_infinity_where_some_resamples_do() -> None:
    rows = [one(answer, 0, -0.2 if answer % 2 else -0.01, -0.11) for answer in range(8)]
    estimate = report_of(rows, resamples=200).binding
    assert 1 < estimate.low < estimate.value
    assert estimate.high == math.inf


def resampled_interval(answers: list[list[Any]], statistic: Any) -> tuple[float, float]:
    """The middle 95% of a statistic of all items, over answers drawn with replacement."""
    rng = random.Random(0)
    draws = [[item for answer in rng.choices(answers, k=len(answers)) for item in answer] for _ in range(800)]
    values = sorted(statistic(draw) for draw in draws)
    return values[20], values[-21]


def threshold_of_means(pairs: list[tuple[float, float]]) -> float:
    p, b = (sum(map(math.exp, column)) / len(pairs) for column in zip(*pairs, strict=True))
    return ls.threshold(p, b, 5.0)


def test_intervals_are_those_of_a_plain_bootstrap_over_answers() -> None:
    rows = tables.rows(answers=40)
    report = report_of(rows, resamples=999, quantile=0.25)
    names = list(dict.fromkeys(row["sequence"] for row in rows))
    for found in report.classes:
        chosen = [row for row in rows if row["modal"] == found.name]
        pairs = [[(row["log_p"], row["log_b"]) for row in chosen if row["sequence"] == name] for name in names]
        low, high = resampled_interval(pairs, threshold_of_means)
        assert (found.low, found.high) == pytest.approx((low, high), abs=0.15 * (high - low))
    used = zip(used_of(rows), report.thresholds.tolist(), strict=True)
    by_answer: dict[str, list[float]] = {}
    for row, value in used:
        by_answer.setdefault(row["sequence"], []).append(value)
    low, high = resampled_interval([*by_answer.values()], lambda values: sorted(values)[math.ceil(len(values) / 4) - 1])
    assert low < report.advised.value < high
    assert report.advised[1:] == pytest.approx((low, high), abs=0.15 * (high - low))


def clustered(seed: int) -> list[Row]:
    """30 answers of 10 positions; the tails of an answer share a factor, their means are 0.01 and 0.5."""
    rng = random.Random(seed)
    made = []
    for answer in range(30):
        sure, base_sure = rng.uniform(0.1, 1.9), rng.uniform(0.5, 1.5)
        for position in range(10):
            tail = 0.01 * sure * rng.uniform(0.8, 1.2)
            base_tail = 0.5 * base_sure * rng.uniform(0.9, 1.1)
            made.append(one(answer, position, math.log1p(-tail), math.log1p(-base_tail)))
    return made


@pytest.mark.slow
def test_intervals_over_answers_cover_the_truth_where_intervals_over_positions_do_not() -> None:
    truth, datasets = ls.threshold(0.99, 0.5, 5.0), 200
    covered = {"answers": 0, "positions": 0}
    for seed in range(datasets):
        rows = clustered(seed)
        apart = [row | {"sequence": number} for number, row in enumerate(rows)]
        for unit, made in (("answers", rows), ("positions", apart)):
            _, low, high = interval_of(report_of(made, resamples=60, seed=seed).binding)
            covered[unit] += low <= truth <= high
    assert covered["answers"] >= 0.88 * datasets
    assert covered["positions"] <= 0.6 * datasets
