"""Each warning holds from its constant on and not below, comes with a remedy, and the example gives rise to none."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest

from lambda_star import updates
from lambda_star.calibration import calibrate
from lambda_star.calibration.concerns import APART, CENSORED, FLIPPED, THICKENED, UNSURE, concerns
from lambda_star.calibration.distribution import Distribution
from lambda_star.calibration.readers import read_table
from lambda_star.calibration.report import Report
from lambda_star.calibration.table import Table
from tests import tables
from tests.tables import one

EXAMPLE = Path(__file__).parents[2] / "examples" / "rank_by_price" / "logprobs.csv"
REPORT = calibrate(Table.from_rows(tables.rows(100)))


def names(report: Report) -> list[str]:
    return [each.name for each in concerns(report)]


def with_binding(report: Report, **changes: Any) -> Report:
    binding, *others = report.classes
    return dataclasses.replace(report, classes=(dataclasses.replace(binding, **changes), *others))


def test_the_example_gives_rise_to_no_warning() -> None:
    table = read_table(EXAMPLE)
    choices: tuple[dict[str, Any], ...] = ({}, {"rule": updates.log_ratio_cap(5.0), "lam": 1.25})
    for options in choices:
        report = calibrate(table, **options)
        assert report.warnings == concerns(report) == ()


def test_synthetic_rows_give_rise_to_no_warning() -> None:
    assert names(REPORT) == []


def test_every_warning_is_one_sentence_with_a_remedy() -> None:
    swapped = [row | {"log_p": row["log_b"], "log_b": row["log_p"]} for row in tables.rows(10)]
    found = concerns(calibrate(Table.from_rows(swapped)))
    assert [each.name for each in found] == ["few answers", "p ≤ b", "flip"]
    for each in found:
        assert str(each) == f"{each.message}; {each.remedy}."
        assert "\n" not in str(each)
        assert "." not in each.remedy[-1]


@pytest.mark.parametrize(("answers", "said"), [(58, ["few answers"]), (59, [])])
def test_too_few_answers(answers: int, said: list[str]) -> None:
    report = calibrate(Table.from_rows(tables.rows(answers)))
    assert names(report) == said
    assert math.isnan(report.advised.value) == bool(said)
    if said:
        (found,) = concerns(report)
        assert found.message == "58 answers cannot show the 5 % quantile, which takes 59"
        assert found.remedy == "score 1 answer more, or ask for the 5.03 % quantile"


def test_no_number_of_answers_shows_the_least_of_all() -> None:
    (found,) = concerns(calibrate(Table.from_rows(tables.rows(30)), quantile=0))
    assert found.message == "no number of answers shows the least λ* of all"
    assert found.remedy == "ask for a `quantile` of at least 0.095"


@pytest.mark.parametrize(("tail", "said"), [(UNSURE, ["unsure teacher"]), (math.nextafter(UNSURE, 0), [])])
def test_an_unsure_teacher_at_the_binding_class(tail: float, said: list[str]) -> None:
    assert names(with_binding(REPORT, tail=tail)) == said


def test_an_unsure_teacher_elsewhere_does_not_matter() -> None:
    binding, *others = REPORT.classes
    unsure = tuple(dataclasses.replace(each, tail=0.5) for each in others)
    assert names(dataclasses.replace(REPORT, classes=(binding, *unsure))) == []


@pytest.mark.parametrize(("thickened", "said"), [(THICKENED, ["p ≤ b"]), (THICKENED - 0.01, [])])
def test_a_base_that_is_surer_than_its_teacher(thickened: float, said: list[str]) -> None:
    never = round(100 * thickened)
    by_position = Distribution([math.inf] * never + [1.4] * (100 - never))
    assert names(dataclasses.replace(REPORT, by_position=by_position)) == said


def test_no_class_binds() -> None:
    report = calibrate(Table.from_rows([one(answer, 0, -0.5, -0.4) for answer in range(100)]))
    assert names(report) == ["p ≤ b", "flip"]
    assert "in every class" in concerns(report)[0].message


def test_the_modal_token_of_the_binding_class_flips_before_its_threshold() -> None:
    value = REPORT.binding.value
    assert names(with_binding(REPORT, flip_point=value)) == []
    assert names(with_binding(REPORT, flip_point=math.nextafter(value, 1))) == ["flip"]


@pytest.mark.parametrize(("share", "said"), [(FLIPPED, ["flip"]), (FLIPPED - 0.002, [])])
def test_positions_flip_before_the_operating_point(share: float, said: list[str]) -> None:
    point = REPORT.operating_point.value
    flips = round(1000 * share)
    early = Distribution([1 + (point - 1) / 2] * flips + [math.inf] * (1000 - flips))
    assert names(dataclasses.replace(REPORT, flips=early)) == said


def test_positions_without_a_majority_under_the_teacher_do_not_flip() -> None:
    assert names(dataclasses.replace(REPORT, flips=Distribution([1.0] * 500 + [math.inf] * 500))) == []


@pytest.mark.parametrize(("factor", "said"), [(APART, ["far apart"]), (0.99 * APART, [])])
def test_the_strict_and_the_class_value_far_apart(factor: float, said: list[str]) -> None:
    strict = 1 + (REPORT.binding.value - 1) / factor
    assert names(dataclasses.replace(REPORT, strict=strict)) == said
    if said:
        (found,) = concerns(dataclasses.replace(REPORT, strict=strict))
        assert f"answer {REPORT.strict_at.sequence}, position {REPORT.strict_at.position}" in found.message


@pytest.mark.parametrize(("share", "said"), [(CENSORED, ["censored"]), (0.9 * CENSORED, [])])
def test_unlisted_probabilities_that_decide_the_operating_point(share: float, said: list[str]) -> None:
    point = REPORT.operating_point
    high = point._replace(at_most=1 + (point.value - 1) / (1 - 1.0001 * share))
    assert names(dataclasses.replace(REPORT, operating_point=high, censored=3)) == said
    assert names(dataclasses.replace(REPORT, operating_point=high, censored=0)) == []
    assert names(dataclasses.replace(REPORT, operating_point=point._replace(at_most=math.inf), censored=3)) == [
        "censored"
    ]


def test_rounded_rows_and_a_contract_that_does_not_fit_are_warnings() -> None:
    assert names(dataclasses.replace(REPORT, rounded=2)) == ["rounded"]
    assert REPORT.fit is not None
    remedy = "the contract csv does not fit; --contract json does"
    found = concerns(dataclasses.replace(REPORT, fit=REPORT.fit._replace(remedy=remedy)))
    assert [str(each) for each in found] == [f"{remedy}."]
