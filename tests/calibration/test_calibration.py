"""The report is what a slow recomputation finds, and its options, limits and invariances are what they say."""

from __future__ import annotations

import dataclasses
import math
import random
from typing import Any

import numpy as np
import pandas
import polars
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lambda_star as ls
from lambda_star import updates
from lambda_star.calibration import calibrate
from lambda_star.calibration.report import QUANTILES
from lambda_star.calibration.table import Table
from lambda_star.contract import by_patterns
from lambda_star.dynamics import budget_threshold
from tests import tables
from tests.calibration.recomputed import (
    collapse_point,
    flip_point,
    four,
    interval_of,
    least_of,
    mean,
    near,
    quantile_of,
    rank_below,
    report_of,
    stars,
    threshold,
    used_of,
    with_limits,
)
from tests.oracle import CONTEXT, real
from tests.tables import one


@pytest.mark.parametrize("clip", [1.01, 2.0, 5.0, 1e6])
def test_report_is_the_slow_recomputation(clip: float) -> None:
    rows = with_limits()
    report = report_of(rows, clip=clip, lam=1.3)
    used = used_of(rows)
    thresholds = [float(threshold(clip, *four(row))) for row in used]
    flips = [float(flip_point(*four(row))) for row in used]
    assert stars(report) == pytest.approx(sorted(thresholds), rel=1e-10)
    assert report.flips.values(10**9).tolist() == pytest.approx(sorted(flips), rel=1e-9)
    assert report.by_answer.values(10**9).tolist() == pytest.approx(least_of(used, thresholds), rel=1e-10)
    assert report.used == len(used) == len(rows) - 12 * 3 - 1
    assert report.answers == 13
    assert report.rounded == 1
    assert report.skipped == {"not a contract position": 36, "teacher and base both rounded to probability 1": 1}

    for found in report.classes:
        members = [row for row in used if row["modal"] == found.name]
        mass = [mean(list(column)) for column in zip(*map(four, members), strict=True)]
        own = [value for row, value in zip(used, thresholds, strict=True) if row["modal"] == found.name]
        assert found.positions == len(members)
        assert found.answers == len({row["sequence"] for row in members})
        assert [found.p, found.tail, found.b] == [near(value) for value in mass[:3]]
        assert found.value == found.at_most == near(threshold(clip, *mass))
        assert found.collapse_point == near(collapse_point(clip, *mass))
        assert found.flip_point == near(flip_point(*mass))
        assert found.least == near(min(own))
        assert found.median == near(sorted(own)[math.ceil(len(own) / 2) - 1])
        assert [*found.quantiles.values()] == pytest.approx([quantile_of(own, q) for q in QUANTILES], rel=1e-10)
        assert found.share_past == sum(value < 1.3 for value in own) / len(own)
    values = [found.value for found in report.classes]
    assert values == sorted(values)
    assert {found.name for found in report.classes} == set(tables.CENTERS)
    assert report.binding is report.classes[0]

    first = thresholds.index(min(thresholds))
    assert report.strict == near(thresholds[first])
    assert report.strict_at == (used[first]["sequence"], used[first]["position"], used[first]["modal"])
    assert report.flip_point == near(min(flips))
    assert list(report.quantiles) == list(QUANTILES)
    assert [*report.quantiles.values()] == pytest.approx([quantile_of(thresholds, q) for q in QUANTILES], rel=1e-10)
    assert report.share_past(1.5) == sum(value < 1.5 for value in thresholds) / len(used)
    assert report.share_flipped(1.5) == sum(value < 1.5 for value in flips) / len(used)


def test_a_lambda_at_the_threshold_is_not_past_it() -> None:
    rows = with_limits()
    strict = report_of(rows).strict
    report = report_of(rows, lam=strict)
    assert report.share_past(strict) == 0 < report.share_past(math.nextafter(strict, 2))
    assert [found.share_past for found in report.classes] == [0, 0, 0]
    flip = min(value for value in report.flips.values(10**9).tolist() if value > 1)
    at_once = report.share_flipped(math.nextafter(1, 2))
    assert report.share_flipped(flip) == at_once < report.share_flipped(math.nextafter(flip, math.inf))
    assert [found.share_past for found in report_of(rows).classes] == [None] * 3


@pytest.mark.parametrize("quantile", [0.05, 0.1, 0.37, 0.5])
@pytest.mark.parametrize("margin", [0.0, 0.1, 0.75])
def test_advice_is_the_limit_of_a_quantile_of_the_answers_less_a_margin(quantile: float, margin: float) -> None:
    rows = tables.rows(answers=64)
    report = report_of(rows, quantile=quantile, margin=margin)
    used = used_of(rows)
    least = least_of(used, [float(threshold(5.0, *four(row))) for row in used])
    advised = report.advised
    assert advised.value == near(least[rank_below(64, quantile, 0.95) - 1])
    assert advised.estimate == near(quantile_of(least, quantile))
    assert advised.at_most == advised.value <= advised.estimate < advised.high
    for name in ("value", "estimate", "high", "at_most"):
        expected = 1 + (1 - margin) * (getattr(advised, name) - 1)
        assert getattr(report.operating_point, name) == pytest.approx(expected, rel=1e-15)
    assert report.operating_point[4:] == advised[4:] == (quantile, 0.95, 64, advised.level, advised.needed)
    assert 1 < report.operating_point.value <= advised.value


def test_with_too_few_answers_the_advice_is_unknown_and_says_what_it_takes() -> None:
    report = report_of(tables.rows(answers=58))
    for limit in (report.advised, report.operating_point):
        assert math.isnan(limit.value)
        assert math.isnan(limit.at_most)
        assert limit.estimate > 1
        assert (limit.answers, limit.needed) == (58, 59)
        assert 0.05 < limit.level < 0.0505
    assert report.to_dict()["operating_point"]["value"] is None
    assert report_of(tables.rows(answers=59)).operating_point.value > 1


def test_the_operating_point_rests_on_the_lesser_of_advice_and_death() -> None:
    rows = tables.rows(answers=64)
    for cap, name in ((1.5, "dies"), (1e6, "advised")):
        report = report_of(rows, rule=updates.log_ratio_cap(cap), margin=0.0)
        assert report.dies is not None
        used = used_of(rows)
        dies = [updates.log_ratio_cap(cap).dies(math.exp(row["log_p"]), math.exp(row["log_b"])) for row in used]
        assert report.dies.value == pytest.approx(least_of(used, dies)[rank_below(64, 0.05, 0.95) - 1], rel=1e-9)
        assert report.operating_point.value == pytest.approx(getattr(report, name).value, rel=1e-15)
        assert report.rule == str(updates.log_ratio_cap(cap))
    assert report_of(rows, rule=updates.none()).dies.value == math.inf  # type: ignore[union-attr]


@given(st.lists(st.tuples(*[st.floats(-40, -1e-12)] * 2), min_size=1, max_size=30), st.floats(0, 1))
def test_quantiles_are_thresholds_of_the_table_and_never_between(pairs: list[tuple[float, float]], q: float) -> None:
    report = report_of([one(at, 0, *pair) for at, pair in enumerate(pairs)], quantile=q)
    thresholds = stars(report)
    assert report.advised.estimate == quantile_of(thresholds, q)
    assert {*report.quantiles.values()} <= {*thresholds}
    assert report.quantiles[0.0] == report.strict == min(thresholds)


@pytest.mark.parametrize("power", [1e-9, 1e-12, 1e-15, 1e-18, 1e-100])
def test_small_tail_masses_keep_their_digits(power: float) -> None:
    rows = [one(answer, 0, -power * (answer + 1.1), -1e-3 / (answer + 1)) for answer in range(6)]
    report = report_of(rows)
    found, mass = report.binding, [mean(list(column)) for column in zip(*map(four, rows), strict=True)]
    assert found.tail == pytest.approx(float(mass[1]), rel=1e-15)
    assert found.value == pytest.approx(float(threshold(5.0, *mass)), rel=1e-15)
    assert found.collapse_point == pytest.approx(float(collapse_point(5.0, *mass)), rel=1e-15)
    excess = [float(threshold(5.0, *four(row)) - 1) for row in rows]
    assert [star - 1 for star in stars(report)] == pytest.approx(sorted(excess), rel=1e-13)


@pytest.mark.parametrize("power", [1e-9, 1e-12, 1e-15, 1e-18])
def test_flip_points_of_small_tail_masses_keep_their_digits(power: float) -> None:
    rows = [one(answer, 0, -power * (answer + 2.1), -power) for answer in range(6)]
    report = report_of(rows)
    flips = sorted(float(flip_point(*four(row))) for row in rows)
    assert report.flips.values(10**9).tolist() == pytest.approx(flips, rel=1e-12)
    mass = [mean(list(column)) for column in zip(*map(four, rows), strict=True)]
    assert report.binding.flip_point == pytest.approx(float(flip_point(*mass)), rel=1e-12)


def test_one_position_is_the_threshold_of_its_probabilities() -> None:
    report = report_of([one(0, 0, math.log(0.99933697778), math.log(0.5))])
    assert report.strict == pytest.approx(1.22, abs=1e-9)
    assert report.strict == pytest.approx(ls.threshold(0.99933697778, 0.5, 5.0), rel=1e-12)


def test_a_data_frame_is_a_table() -> None:
    rows = tables.rows(answers=60)
    frames = (pandas.DataFrame(rows), polars.DataFrame(rows), pyarrow.Table.from_pylist(rows))
    expected = report_of(rows).to_dict() | {"source": None}
    for frame in frames:
        assert calibrate(frame).to_dict() | {"source": None} == expected


# The contract


def test_by_default_the_classes_are_json_structure() -> None:
    report = report_of([*tables.rows(), one("spaced", 0, -0.01, -1.0, modal=' ["\n')])
    counts = {found.name: found.positions for found in report.classes}
    assert counts == {'["': 13, '","': 24, '"]': 12}


def test_contract_column_wins_over_the_default() -> None:
    rows = [row | {"contract": "letter" if row["modal"] in tables.CONTENT else ""} for row in tables.rows()]
    report = report_of(rows)
    assert [(found.name, found.positions) for found in report.classes] == [("letter", 36)]
    assert report.skipped == {"not a contract position": 48}


def test_a_labeller_wins_over_the_contract_column() -> None:
    rows = [row | {"contract": "all"} for row in tables.rows()]
    report = report_of(rows, contract=lambda text: "mine" if text == "B7" else None)
    assert [(found.name, found.positions) for found in report.classes] == [("mine", 12)]
    assert report_of(rows).binding.positions == len(rows)


def test_patterns_make_a_labeller_for_a_contract() -> None:
    rules = [("close", '"?]'), ("letter", "[A-Z][0-9]")]
    report = report_of(tables.rows(), contract=by_patterns(rules))
    assert {found.name: found.positions for found in report.classes} == {"close": 12, "letter": 36}


@pytest.mark.parametrize("column", [None, ""])
def test_no_contract_position_asks_for_a_labeller(column: str | None) -> None:
    rows = [row for row in tables.rows() if row["modal"] in tables.CONTENT]
    if column is not None:
        rows = [row | {"contract": column} for row in tables.rows()]
    bad = [one(0, 0, 1.0, 1.0)]
    table = Table.from_rows(rows + bad, keep_going=True, source="mine.csv")
    why = rf"\({len(rows)} not a contract position, 1 bad row\)"
    said = rf"^mine\.csv: no row is a usable contract position {why}; .* `tokens`$"
    with pytest.raises(ValueError, match=said):
        calibrate(table, clip=5.0)


# Options


@pytest.mark.parametrize(
    ("name", "values", "allowed"),
    [
        ("clip", [1.0, 0.5, 0.0, -5.0, math.inf, math.nan], r"\(1, inf\)"),
        ("lam", [math.inf, -math.inf, math.nan], r"\(-inf, inf\)"),
        ("margin", [-0.01, 1.0, 10.0, math.nan], r"\[0, 1\)"),
        ("quantile", [-0.01, 1.01, math.nan], r"\[0, 1\]"),
        ("confidence", [0.0, 1.0, 95.0, math.nan], r"\(0, 1\)"),
        ("least_b", [-0.1, 1.0, math.nan], r"\[0, 1\)"),
        ("budget", [0.0, -1.0, -math.inf, math.nan], r"\(0, inf\]"),
    ],
)
def test_options_out_of_range_are_named_with_range_and_value(
    name: str, values: list[float], allowed: str, table: Table
) -> None:
    for value in values:
        with pytest.raises(ValueError, match=rf"^{name} must lie in {allowed}, got {value}$"):
            calibrate(table, **{"clip": 5.0, name: value})  # type: ignore[arg-type]


def test_options_at_the_ends_of_their_ranges_are_taken() -> None:
    report = report_of(tables.rows(), margin=0.0, quantile=1.0, lam=-3.0, confidence=0.01)
    assert report.operating_point[:2] == report.advised[:2]
    assert report.share_past(-3.0) == 0


def test_monotone_in_clip_margin_and_quantile() -> None:
    rows = tables.rows(answers=64) + with_limits()[12 * len(tables.ANSWER) :]
    for name, values, sign in (
        ("clip", [1.1, 2.0, 3.0, 5.0, 50.0], 1),
        ("margin", [0.0, 0.1, 0.5, 0.9], -1),
        ("quantile", [0.05, 0.1, 0.3, 0.5, 0.9], 1),
    ):
        points = [report_of(rows, **{name: value}).operating_point.value for value in values]
        assert [sign * point for point in points] == sorted(sign * point for point in points), name
        assert len(set(points)) >= 4, name


def test_a_higher_clip_raises_every_finite_threshold() -> None:
    low, high = (report_of(with_limits(), clip=clip) for clip in (2.0, 5.0))
    pairs = [pair for pair in zip(stars(low), stars(high), strict=True) if pair[0] < math.inf]
    assert len(pairs) > 30
    assert all(left < right for left, right in pairs)
    by_name = {found.name: found.value for found in high.classes}
    assert all(found.value < by_name[found.name] for found in low.classes)


# A planned budget


@pytest.mark.parametrize(("clip", "budget"), [(5.0, 0.5), (5.0, 3.0), (5.0, 20.0), (2.0, 3.0), (1e6, 3.0)])
def test_a_budget_meets_the_cliff_where_the_dynamics_say_above_the_safe_threshold(clip: float, budget: float) -> None:
    report = report_of(tables.rows(), clip=clip, budget=budget)
    assert report.budget == budget
    for found in report.classes:
        assert found.budget_threshold is not None
        assert found.budget_threshold == pytest.approx(budget_threshold(found.p, found.b, clip, budget), rel=1e-9)
        assert 1 < found.value < found.budget_threshold
    assert len(report.classes) == 3


@pytest.mark.parametrize("tail", [1e-9, 1e-15, 1e-18, 1e-100])
def test_a_budget_keeps_the_digits_of_small_tail_masses(tail: float) -> None:
    rows = [one(answer, 0, -tail * (answer + 1.1), -1e-3 / (answer + 1)) for answer in range(6)]
    mass = [mean(list(column)) for column in zip(*map(four, rows), strict=True)]
    for budget in (1e-9, 1e-3, 2.0, 30.0):
        expected = float(threshold(5.0, *mass) / -CONTEXT.expm1(-real(budget)))
        assert report_of(rows, budget=budget).binding.budget_threshold == pytest.approx(expected, rel=1e-14)


def test_the_longer_the_budget_the_nearer_the_safe_threshold() -> None:
    reports = [report_of(tables.rows(), budget=budget) for budget in (0.1, 1.0, 5.0, 30.0, math.inf)]
    for same in zip(*(report.classes for report in reports), strict=True):
        met = [found.budget_threshold for found in same if found.budget_threshold is not None]
        assert met == sorted(set(met), reverse=True)
        assert len(met) == 5
        assert met[-1] == same[0].value


def test_a_budget_changes_nothing_but_its_own_threshold() -> None:
    without, planned = (report_of(with_limits(), lam=1.3, budget=budget).to_dict() for budget in (None, 3.0))
    assert (without.pop("budget"), planned.pop("budget")) == (None, 3.0)
    assert [found.pop("budget_threshold") for found in without["classes"]] == [None] * 3
    assert all(found.pop("budget_threshold") > found["value"] for found in planned["classes"])
    assert without == planned


def test_a_class_without_threshold_has_none_for_a_budget_either() -> None:
    report = report_of([one(answer, 0, -0.5, -0.4) for answer in range(3)], budget=3.0)
    assert report.binding.budget_threshold == math.inf
    assert report.to_dict()["classes"][0]["budget_threshold"] == "inf"


# Rows at the limits


def test_a_rounded_teacher_is_counted_and_gets_an_upper_bound() -> None:
    report = report_of([one(0, 0, 0.0, -1.0), one(1, 0, -1e-3, -1.0)])
    assert report.rounded == 1
    finer = [report_of([one(0, 0, -tail, -1.0)]).strict for tail in (5.9e-8, 1e-9, 1e-16)]
    assert finer == sorted(finer, reverse=True)
    assert finer[0] < stars(report)[0] < finer[0] + 1e-4


def test_a_base_that_is_rounded_alone_is_used() -> None:
    report = report_of([one(0, 0, -1e-3, 0.0), one(1, 0, -1e-3, -1.0)])
    assert report.used == 2
    assert stars(report)[1] == math.inf
    assert report.rounded == 0


def test_rounded_on_both_sides_everywhere_is_an_error_with_the_reason() -> None:
    with pytest.raises(ValueError, match=r"\(2 teacher and base both rounded to probability 1\)"):
        report_of([one(0, 0, 0.0, 0.0), one(1, 0, 0.0, -0.0)])


def test_used_and_skipped_are_all_rows() -> None:
    rows = with_limits() + [one("bad", at, *pair) for at, pair in enumerate([(1.0, -1.0), (-1.0, math.nan)])]
    report = calibrate(Table.from_rows(rows, keep_going=True), clip=5.0)
    assert report.used + sum(report.skipped.values()) == len(rows)
    assert report.skipped["bad row"] == len(report.problems) == 2
    assert report.by_position.count == report.flips.count == report.used


def test_positions_below_the_base_have_no_threshold_and_spoil_nothing() -> None:
    above = [one(answer, 0, -0.01 * (answer + 1), -1.0) for answer in range(4)]
    below = [one(answer, 1, -0.5, -0.4, modal='"]') for answer in range(4)]
    report = report_of(above + below)
    assert np.isinf(stars(report)[4:]).all()
    assert np.isfinite(stars(report)[:4]).all()
    assert [report.quantiles[level] < math.inf for level in QUANTILES] == [level <= 0.5 for level in QUANTILES]
    assert interval_of(report.classes[1]) == (math.inf, math.inf, math.inf)
    assert report.classes[1].collapse_point == report.classes[1].least == math.inf
    assert not any(map(math.isnan, [report.advised.estimate, *report.quantiles.values()]))


def test_a_class_without_threshold_has_no_collapse_point_either() -> None:
    for pair, clip in [((-5e-324, -5e-324), 5.0), ((-1.0, -0.5), 1e308)]:
        found = report_of([one(answer, 0, *pair) for answer in range(3)], clip=clip).binding
        assert (found.value, found.collapse_point) == (math.inf, math.inf)


def test_intervals_of_thresholds_next_to_1_are_numbers() -> None:
    report = report_of([one(answer, 0, -0.01 * (answer + 1), -3.0) for answer in range(9)], clip=1 + 2.0**-52)
    assert [*interval_of(report.binding), report.advised.estimate] == pytest.approx([1.0] * 4)


def test_the_report_is_frozen(table: Table) -> None:
    report = calibrate(table, clip=5.0)
    for thing, name in ((report, "clip"), (report.binding, "value"), (table, "log_p")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(thing, name, 1.0)


# Invariance


def approximately(values: Any) -> Any:
    """The same structure, floats up to the order of summation."""
    if isinstance(values, dict):
        return {key: approximately(value) for key, value in values.items()}
    if isinstance(values, list):
        return [approximately(value) for value in values]
    return pytest.approx(values, rel=1e-12) if isinstance(values, float) else values


@settings(max_examples=25)
@given(st.randoms(use_true_random=False))
def test_order_of_the_rows_does_not_matter(shuffler: random.Random) -> None:
    rows = with_limits()
    before = report_of(rows, lam=1.3).to_dict()
    shuffler.shuffle(rows)
    assert report_of(rows, lam=1.3).to_dict() == approximately(before)


def test_names_of_the_answers_do_not_matter() -> None:
    rows = tables.rows()
    before = report_of(rows, lam=1.3)
    names = {f"answer {number}": str(97 - number) for number in range(12)}
    after = report_of([row | {"sequence": names[row["sequence"]]} for row in rows], lam=1.3)
    expected = before.to_dict()
    for place in [expected["strict_at"], *(each["place"] for each in expected["worst"])]:
        place["sequence"] = names[place["sequence"]]
    assert after.to_dict() == approximately(expected)
