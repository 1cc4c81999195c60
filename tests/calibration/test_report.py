"""A report holds the three readings of its rows, and its JSON form holds the report."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest

from lambda_star.calibration import calibrate
from lambda_star.calibration.readers import read_table
from lambda_star.calibration.readings import readings
from lambda_star.calibration.report import QUANTILES, Report
from lambda_star.calibration.table import Table
from lambda_star.contract import json_structure
from tests import tables
from tests.calibration.recomputed import four, report_of, threshold, with_limits
from tests.tables import Row, one

# The most probable tokens

TABLE = read_table(Path(__file__).parent.parent.parent / "examples" / "rank_by_price" / "logprobs.csv")


def test_without_listed_tokens_there_is_one_threshold_per_class() -> None:
    assert report_of(with_limits()).readings == ()
    assert report_of([row | {"top": None, "rest": None} for row in tables.rows()]).readings == ()


def test_listed_tokens_change_nothing_but_the_readings() -> None:
    for table in (TABLE, Table.from_rows(tables.with_top(tables.rows()))):
        with_top, without = (
            calibrate(made, clip=5.0, lam=1.3).to_dict() for made in (table, dataclasses.replace(table, top=None))
        )
        assert with_top.pop("readings")
        assert without.pop("readings") == []
        for found in [*with_top["classes"], *without["classes"]]:
            del found["allowed_tail"], found["needs_tail"]
        assert with_top == without


@pytest.mark.parametrize("clip", [1.5, 5.0])
def test_readings_of_the_real_table_are_those_of_its_classes_in_their_order(clip: float) -> None:
    report = calibrate(TABLE, clip=clip)
    assert report.readings == tuple(sorted(report.readings, key=lambda each: each.name))
    assert {each.name: each.positions for each in report.readings} == {
        found.name: found.positions for found in report.classes
    }
    assert [each.bernoulli for each in report.readings] == [
        found.median for found in sorted(report.classes, key=lambda found: found.name)
    ]
    for each in report.readings:
        assert 1 < each.token.low <= each.token.high
        assert 1 < each.by_class.low <= each.by_class.high
        assert 0 <= each.same_class <= 1
        assert each.binding != each.name
        assert 0 < each.binding_mass < 0.1
    by_name = {each.name: each for each in report.readings}
    for name in ('["', '"]', '","'):
        found = by_name[name]
        assert found.token.high < found.bernoulli < found.by_class.low
        assert found.use == "bernoulli"


def test_readings_are_those_of_the_rows_that_list_their_tokens() -> None:
    made = tables.with_top(tables.rows())
    few = [row if row["sequence"] < "answer 3" else row | {"top": None, "rest": None} for row in made]
    counts = {each.name: each.positions for each in report_of(few).readings}
    listed = [row["modal"] for row in few if row["top"] is not None]
    assert counts == {name: listed.count(name) for name in tables.CENTERS}
    assert sum(counts.values()) < 48
    commas = [row if row["modal"] == '","' else row | {"top": None, "rest": None} for row in made]
    (found,) = report_of(commas).readings
    assert (found.name, found.positions) == ('","', 24)
    assert {each.name: each.median for each in report_of(commas).classes}['","'] == found.bernoulli
    assert len(report_of(commas).classes) == 3


def test_rows_that_are_not_used_have_no_reading() -> None:
    sure = one(0, 0, 0.0, 0.0, top=[['["', 0.0, 0.0]])
    content = one(1, 0, -0.1, -0.7, modal="B7", top=[["B7", -0.1, -0.7]])
    report = report_of([*tables.rows(), sure, content])
    assert report.skipped == {"not a contract position": 37, "teacher and base both rounded to probability 1": 1}
    assert report.readings == ()


def test_each_reading_is_worked_out_from_the_rows_of_its_class() -> None:
    made = tables.with_top(tables.rows(), listed=3)
    report = report_of(made)
    for found in report.readings:
        rows = [row for row in made if row["modal"] == found.name]
        tops = [tables.top_from(row["top"], *row["rest"]) for row in rows]
        eq4 = [float(threshold(5.0, *four(row))) for row in rows]
        (expected,) = readings(tops, [found.name] * len(rows), eq4, 5.0, json_structure)
        assert found == dataclasses.replace(expected, bernoulli=found.bernoulli, same_class=found.same_class)
        assert found.bernoulli == pytest.approx(expected.bernoulli, rel=1e-10)
        assert found.same_class == pytest.approx(tables.TAIL[0][1], rel=1e-9)
        assert found.use == "class"
        assert found.binding == "<"


def test_a_labeller_tells_which_tokens_share_a_class() -> None:
    made = tables.with_top(tables.rows())
    found = report_of(made, contract=lambda text: "mine" if text.strip() in {'["', "("} else None).readings
    assert [(each.name, each.positions) for each in found] == [("mine", 12)]
    assert found[0].same_class == pytest.approx(tables.TAIL[0][1] + tables.TAIL[1][1], rel=1e-9)


def test_a_contract_column_names_the_classes_and_leaves_shared_classes_to_the_default_labeller() -> None:
    made = [row | {"contract": "mark" if row["top"] else ""} for row in tables.with_top(tables.rows())]
    (found,) = report_of(made).readings
    assert (found.name, found.positions) == ("mark", 48)
    assert found.same_class == pytest.approx(tables.TAIL[0][1], rel=1e-9)


# JSON


@pytest.mark.parametrize(
    "rows",
    [
        with_limits(),
        [one(0, 0, -0.5, -0.4)],
        [one(0, 0, -0.01, -1.0), one(0, 1, 1.0, -1.0)],
        [one(answer, at, -0.5 + at, -0.4, modal='"]') for answer in range(3) for at in range(2)],
        tables.with_top(tables.rows()),
        [one(answer, 0, -0.1, -0.7, top=[['["', -0.1, -0.7]]) for answer in range(3)],
    ],
    ids=["limits", "one answer without threshold", "a bad row", "bad rows and no threshold", "tokens", "one token"],
)
def test_reports_are_strict_json_that_names_the_binding_class(rows: list[Row]) -> None:
    report = calibrate(Table.from_rows(rows, keep_going=True), clip=5.0, lam=1.3)
    values = report.to_dict()
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert values["binding"] == report.binding.name == values["classes"][0]["name"]
    fields = {field.name for field in dataclasses.fields(Report)}
    assert set(values) == fields | {"binding"}
    assert values["problems"] == [problem._asdict() for problem in report.problems]
    assert values["quantiles"].keys() == {str(level) for level in QUANTILES}
    assert values["by_position"] == {"count": report.used, "quantiles": values["quantiles"]}
    assert values["by_answer"]["count"] == report.answers
    for reading, plain in zip(report.readings, values["readings"], strict=True):
        low, high = reading.token
        assert plain["token"] == {"low": low, "high": "inf" if math.isinf(high) else high}
        mass = reading.binding_mass
        assert plain["binding_mass"] == (None if math.isnan(mass) else mass)
        assert [plain[name] for name in ("name", "use", "same_class")] == [
            reading.name,
            reading.use,
            reading.same_class,
        ]
    for found, plain in zip(report.classes, values["classes"], strict=True):
        low = found.low
        expected = None if math.isnan(low) else "inf" if math.isinf(low) else low
        assert plain["low"] == expected
        assert plain["collapse_point"] == ("inf" if math.isinf(found.collapse_point) else found.collapse_point)
