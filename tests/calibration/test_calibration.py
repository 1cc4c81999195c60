"""The report is what a slow recomputation finds; its options, intervals and limits are what they say."""

from __future__ import annotations

import dataclasses
import json
import math
import random
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lambda_star as ls
from lambda_star.calibration import calibrate
from lambda_star.calibration.readers import read_table
from lambda_star.calibration.readings import resolve
from lambda_star.calibration.report import QUANTILES, Report
from lambda_star.calibration.table import Table
from lambda_star.contract import json_structure
from lambda_star.dynamics import budget_threshold
from tests import tables
from tests.oracle import CONTEXT, real
from tests.tables import Row, one

FEW = 50
"""Resamples where the interval is not the subject."""


def report_of(rows: list[Row], **options: Any) -> Report:
    return calibrate(Table.from_rows(rows), **{"clip": 5.0, "resamples": FEW} | options)


# The slow recomputation


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


def near(value: mpmath.mpf) -> Any:
    return pytest.approx(float(value), rel=1e-10)


def with_limits() -> list[Row]:
    """Synthetic rows, and the limits: one side rounded, both rounded, equal, no majority, next to nothing."""
    limits = [(0.0, -1e-3), (-1e-3, 0.0), (0.0, 0.0), (-0.3, -0.3), (-2.0, -1.5), (-1.5, -2.0), (-700.0, -800.0)]
    return tables.rows() + [one("limits", at, *pair, modal='","') for at, pair in enumerate(limits)]


@pytest.mark.parametrize("clip", [1.01, 2.0, 5.0, 1e6])
def test_report_is_the_slow_recomputation(clip: float) -> None:
    rows = with_limits()
    report = report_of(rows, clip=clip, lam=1.3)
    used = used_of(rows)
    thresholds = [float(threshold(clip, *four(row))) for row in used]
    flips = [float(flip_point(*four(row))) for row in used]
    assert report.thresholds.tolist() == pytest.approx(thresholds, rel=1e-10)
    assert report.flips.tolist() == pytest.approx(flips, rel=1e-9)
    assert report.used == len(used) == len(rows) - 12 * 3 - 1
    assert report.sequences == 13
    assert report.rounded == 1
    assert report.skipped == {"not a contract position": 36, "teacher and base both rounded to probability 1": 1}

    for found in report.classes:
        members = [row for row in used if row["modal"] == found.name]
        mass = [mean(list(column)) for column in zip(*map(four, members), strict=True)]
        own = [value for row, value in zip(used, thresholds, strict=True) if row["modal"] == found.name]
        assert found.positions == len(members)
        assert [found.p, found.tail, found.b] == [near(value) for value in mass[:3]]
        assert found.threshold.value == near(threshold(clip, *mass))
        assert found.collapse_point == near(collapse_point(clip, *mass))
        assert found.flip_point == near(flip_point(*mass))
        assert found.least == near(min(own))
        assert found.median == near(sorted(own)[math.ceil(len(own) / 2) - 1])
        assert found.share_past == sum(value < 1.3 for value in own) / len(own)
    values = [found.threshold.value for found in report.classes]
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
    flip = min(value for value in report.flips.tolist() if value > 1)
    at_once = (report.flips == 1).sum() / report.used
    assert report.share_flipped(flip) == at_once < report.share_flipped(math.nextafter(flip, math.inf))
    assert [found.share_past for found in report_of(rows).classes] == [None] * 3


@pytest.mark.parametrize("quantile", [0.0, 0.01, 0.05, 0.37, 0.5, 1.0])
@pytest.mark.parametrize("margin", [0.0, 0.1, 0.75])
def test_advice_is_a_quantile_less_a_margin(quantile: float, margin: float) -> None:
    report = report_of(tables.rows(), quantile=quantile, margin=margin)
    assert report.advised.value == quantile_of(report.thresholds.tolist(), quantile)
    expected = [1 + (1 - margin) * (value - 1) for value in report.advised]
    assert list(report.operating_point) == pytest.approx(expected, rel=1e-15)
    assert 1 < report.operating_point.value <= report.advised.value


@given(st.lists(st.tuples(*[st.floats(-40, -1e-12)] * 2), min_size=1, max_size=30), st.floats(0, 1))
def test_quantiles_are_thresholds_of_the_table_and_never_between(pairs: list[tuple[float, float]], q: float) -> None:
    report = report_of([one(0, at, *pair) for at, pair in enumerate(pairs)], quantile=q)
    thresholds = report.thresholds.tolist()
    assert report.advised.value == quantile_of(thresholds, q)
    assert {*report.quantiles.values()} <= {*thresholds}
    assert report.quantiles[0.0] == report.strict == min(thresholds)


@pytest.mark.parametrize("power", [1e-9, 1e-12, 1e-15, 1e-18, 1e-100])
def test_small_tail_masses_keep_their_digits(power: float) -> None:
    rows = [one(answer, 0, -power * (answer + 1.1), -1e-3 / (answer + 1)) for answer in range(6)]
    report = report_of(rows)
    found, mass = report.binding, [mean(list(column)) for column in zip(*map(four, rows), strict=True)]
    assert found.tail == pytest.approx(float(mass[1]), rel=1e-15)
    assert found.threshold.value == pytest.approx(float(threshold(5.0, *mass)), rel=1e-15)
    assert found.collapse_point == pytest.approx(float(collapse_point(5.0, *mass)), rel=1e-15)
    excess = [float(threshold(5.0, *four(row)) - 1) for row in rows]
    assert (report.thresholds - 1).tolist() == pytest.approx(excess, rel=1e-13)


@pytest.mark.parametrize("power", [1e-9, 1e-12, 1e-15, 1e-18])
def test_flip_points_of_small_tail_masses_keep_their_digits(power: float) -> None:
    rows = [one(answer, 0, -power * (answer + 2.1), -power) for answer in range(6)]
    report = report_of(rows)
    assert report.flips.tolist() == pytest.approx([float(flip_point(*four(row))) for row in rows], rel=1e-12)
    mass = [mean(list(column)) for column in zip(*map(four, rows), strict=True)]
    assert report.binding.flip_point == pytest.approx(float(flip_point(*mass)), rel=1e-12)


def test_one_position_is_the_threshold_of_its_probabilities() -> None:
    report = report_of([one(0, 0, math.log(0.99933697778), math.log(0.5))])
    assert report.strict == pytest.approx(1.22, abs=1e-9)
    assert report.strict == pytest.approx(ls.threshold(0.99933697778, 0.5, 5.0), rel=1e-12)


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


def test_a_rule_wins_over_the_contract_column() -> None:
    rows = [row | {"contract": "all"} for row in tables.rows()]
    report = report_of(rows, contract=lambda text: "mine" if text == "B7" else None)
    assert [(found.name, found.positions) for found in report.classes] == [("mine", 12)]
    assert report_of(rows).binding.positions == len(rows)


@pytest.mark.parametrize("column", [None, ""])
def test_no_contract_position_asks_for_a_rule(column: str | None) -> None:
    rows = [row for row in tables.rows() if row["modal"] in tables.CONTENT]
    if column is not None:
        rows = [row | {"contract": column} for row in tables.rows()]
    bad = [one(0, 0, 1.0, 1.0)]
    table = Table.from_rows(rows + bad, keep_going=True, source="mine.csv")
    said = (
        rf"^mine\.csv: no contract position to use \({len(rows)} not a contract position, 1 bad row\); .* `contract`$"
    )
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
        ("resamples", [1, 0, -5], r"\[2, inf\)"),
        ("seed", [-1], r"\[0, inf\)"),
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
    report = report_of(tables.rows(), margin=0.0, quantile=1.0, resamples=2, seed=0, lam=-3.0, confidence=0.01)
    assert report.operating_point == report.advised
    assert report.share_past(-3.0) == 0


def test_monotone_in_clip_margin_and_quantile() -> None:
    rows = with_limits()
    for name, values, sign in (
        ("clip", [1.1, 2.0, 3.0, 5.0, 50.0], 1),
        ("margin", [0.0, 0.1, 0.5, 0.9], -1),
        ("quantile", [0.0, 0.01, 0.1, 0.5, 0.9], 1),
    ):
        points = [report_of(rows, **{name: value}).operating_point.value for value in values]
        assert [sign * point for point in points] == sorted(sign * point for point in points), name
        assert len(set(points)) >= 4, name


def test_a_higher_clip_raises_every_finite_threshold() -> None:
    low, high = (report_of(with_limits(), clip=clip) for clip in (2.0, 5.0))
    finite = np.isfinite(low.thresholds)
    assert finite.sum() > 30
    assert (low.thresholds[finite] < high.thresholds[finite]).all()
    by_name = {found.name: found.threshold.value for found in high.classes}
    assert all(found.threshold.value < by_name[found.name] for found in low.classes)


# A planned budget


@pytest.mark.parametrize(("clip", "budget"), [(5.0, 0.5), (5.0, 3.0), (5.0, 20.0), (2.0, 3.0), (1e6, 3.0)])
def test_a_budget_meets_the_cliff_where_the_dynamics_say_above_the_safe_threshold(clip: float, budget: float) -> None:
    report = report_of(tables.rows(), clip=clip, budget=budget)
    assert report.budget == budget
    for found in report.classes:
        assert found.budget_threshold is not None
        assert found.budget_threshold == pytest.approx(budget_threshold(found.p, found.b, clip, budget), rel=1e-9)
        assert 1 < found.threshold.value < found.budget_threshold
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
        assert met[-1] == same[0].threshold.value


def test_a_budget_changes_nothing_but_its_own_threshold() -> None:
    without, beside = (report_of(with_limits(), lam=1.3, budget=budget).to_dict() for budget in (None, 3.0))
    assert (without.pop("budget"), beside.pop("budget")) == (None, 3.0)
    assert [found.pop("budget_threshold") for found in without["classes"]] == [None] * 3
    assert all(found.pop("budget_threshold") > found["threshold"]["value"] for found in beside["classes"])
    assert without == beside


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
    assert finer[0] < report.thresholds[0] < finer[0] + 1e-4


def test_a_base_that_is_rounded_alone_is_used() -> None:
    report = report_of([one(0, 0, -1e-3, 0.0), one(1, 0, -1e-3, -1.0)])
    assert report.used == 2
    assert report.thresholds[0] == math.inf
    assert report.rounded == 0


def test_rounded_on_both_sides_everywhere_is_an_error_with_the_reason() -> None:
    with pytest.raises(ValueError, match=r"\(2 teacher and base both rounded to probability 1\)"):
        report_of([one(0, 0, 0.0, 0.0), one(1, 0, 0.0, -0.0)])


def test_used_and_skipped_are_all_rows() -> None:
    rows = with_limits() + [one("bad", at, *pair) for at, pair in enumerate([(1.0, -1.0), (-1.0, math.nan)])]
    report = calibrate(Table.from_rows(rows, keep_going=True), clip=5.0, resamples=FEW)
    assert report.used + sum(report.skipped.values()) == len(rows)
    assert report.skipped["bad row"] == len(report.problems) == 2
    assert len(report.thresholds) == len(report.flips) == report.used


def test_positions_below_the_base_have_no_threshold_and_spoil_nothing() -> None:
    above = [one(answer, 0, -0.01 * (answer + 1), -1.0) for answer in range(4)]
    below = [one(answer, 1, -0.5, -0.4, modal='"]') for answer in range(4)]
    report = report_of(above + below)
    assert np.isinf(report.thresholds[4:]).all()
    assert np.isfinite(report.thresholds[:4]).all()
    assert [report.quantiles[level] < math.inf for level in QUANTILES] == [level <= 0.5 for level in QUANTILES]
    assert report.classes[1].threshold == (math.inf, math.inf, math.inf)
    assert report.classes[1].collapse_point == report.classes[1].least == math.inf
    assert not any(map(math.isnan, [*report.advised, *report.operating_point, *report.quantiles.values()]))


def test_a_class_without_threshold_has_no_collapse_point_either() -> None:
    for pair, clip in [((-5e-324, -5e-324), 5.0), ((-1.0, -0.5), 1e308)]:
        found = report_of([one(answer, 0, *pair) for answer in range(3)], clip=clip).binding
        assert (found.threshold.value, found.collapse_point) == (math.inf, math.inf)


def test_intervals_of_thresholds_next_to_1_are_numbers() -> None:
    report = report_of([one(answer, 0, -0.01 * (answer + 1), -3.0) for answer in range(9)], clip=1 + 2.0**-52)
    assert [*report.binding.threshold, *report.advised] == pytest.approx([1.0] * 6)


def test_the_report_is_frozen(table: Table) -> None:
    report = calibrate(table, clip=5.0, resamples=FEW)
    for thing, name in ((report, "clip"), (report.binding, "threshold"), (table, "log_p")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(thing, name, 1.0)


# Invariance


def values_only(report: Report) -> dict[str, Any]:
    """The report without interval ends and positions."""
    values = report.to_dict()
    for estimate in [
        *(found["threshold"] for found in values["classes"]),
        values["advised"],
        values["operating_point"],
    ]:
        del estimate["low"], estimate["high"]
    return values


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
    expected = values_only(before)
    expected["strict_at"]["sequence"] = names[expected["strict_at"]["sequence"]]
    assert values_only(after) == approximately(expected)


# The most probable tokens

TABLE = read_table(Path(__file__).parent.parent.parent / "examples" / "rank_by_price" / "logprobs.csv")


def test_without_known_tokens_there_is_one_threshold_per_class() -> None:
    assert report_of(with_limits()).resolutions == ()
    assert report_of([row | {"top": None, "rest": None} for row in tables.rows()]).resolutions == ()


def test_known_tokens_change_nothing_but_the_resolutions() -> None:
    for table in (TABLE, Table.from_rows(tables.with_top(tables.rows()))):
        with_top, without = (
            calibrate(made, clip=5.0, lam=1.3, resamples=FEW).to_dict()
            for made in (table, dataclasses.replace(table, top=None))
        )
        assert with_top.pop("resolutions")
        assert without.pop("resolutions") == []
        assert with_top == without


@pytest.mark.parametrize("clip", [1.5, 5.0])
def test_resolutions_of_the_real_table_are_those_of_its_classes_in_their_order(clip: float) -> None:
    report = calibrate(TABLE, clip=clip, resamples=FEW)
    assert report.resolutions == tuple(sorted(report.resolutions, key=lambda each: each.name))
    assert {each.name: each.positions for each in report.resolutions} == {
        found.name: found.positions for found in report.classes
    }
    assert [each.bernoulli for each in report.resolutions] == [
        found.median for found in sorted(report.classes, key=lambda found: found.name)
    ]
    for each in report.resolutions:
        assert 1 < each.token.low <= each.token.high
        assert 1 < each.classes.low <= each.classes.high
        assert 0 <= each.mates <= 1
        assert each.binding != each.name
        assert 0 < each.binding_mass < 0.1
    by_name = {each.name: each for each in report.resolutions}
    for name in ('["', '"]', '","'):
        found = by_name[name]
        assert found.token.high < found.bernoulli < found.classes.low
        assert found.use == "bernoulli"


def test_resolutions_are_those_of_the_rows_that_list_their_tokens() -> None:
    made = tables.with_top(tables.rows())
    few = [row if row["sequence"] < "answer 3" else row | {"top": None, "rest": None} for row in made]
    counts = {each.name: each.positions for each in report_of(few).resolutions}
    listed = [row["modal"] for row in few if row["top"] is not None]
    assert counts == {name: listed.count(name) for name in tables.CENTERS}
    assert sum(counts.values()) < 48
    commas = [row if row["modal"] == '","' else row | {"top": None, "rest": None} for row in made]
    (found,) = report_of(commas).resolutions
    assert (found.name, found.positions) == ('","', 24)
    assert {each.name: each.median for each in report_of(commas).classes}['","'] == found.bernoulli
    assert len(report_of(commas).classes) == 3


def test_rows_that_are_not_used_have_no_resolution() -> None:
    sure = one(0, 0, 0.0, 0.0, top=[['["', 0.0, 0.0]])
    content = one(1, 0, -0.1, -0.7, modal="B7", top=[["B7", -0.1, -0.7]])
    report = report_of([*tables.rows(), sure, content])
    assert report.skipped == {"not a contract position": 37, "teacher and base both rounded to probability 1": 1}
    assert report.resolutions == ()


def test_each_resolution_is_worked_out_from_the_rows_of_its_class() -> None:
    made = tables.with_top(tables.rows(), known=3)
    report = report_of(made)
    for found in report.resolutions:
        rows = [row for row in made if row["modal"] == found.name]
        tops = [tables.top_from(row["top"], *row["rest"]) for row in rows]
        eq4 = [float(threshold(5.0, *four(row))) for row in rows]
        (expected,) = resolve(tops, [found.name] * len(rows), eq4, 5.0, json_structure)
        assert found == dataclasses.replace(expected, bernoulli=found.bernoulli)
        assert found.bernoulli == pytest.approx(expected.bernoulli, rel=1e-10)
        assert found.mates == pytest.approx(tables.TAIL[0][1], rel=1e-9)
        assert found.use == "classes"
        assert found.binding == "<"


def test_a_rule_tells_which_tokens_are_mates() -> None:
    made = tables.with_top(tables.rows())
    found = report_of(made, contract=lambda text: "mine" if text.strip() in {'["', "("} else None).resolutions
    assert [(each.name, each.positions) for each in found] == [("mine", 12)]
    assert found[0].mates == pytest.approx(tables.TAIL[0][1] + tables.TAIL[1][1], rel=1e-9)


def test_a_contract_column_names_the_classes_and_leaves_the_mates_to_the_default_rule() -> None:
    made = [row | {"contract": "mark" if row["top"] else ""} for row in tables.with_top(tables.rows())]
    (found,) = report_of(made).resolutions
    assert (found.name, found.positions) == ("mark", 48)
    assert found.mates == pytest.approx(tables.TAIL[0][1], rel=1e-9)


# Intervals


def test_seeds_reproduce_and_change_nothing_but_intervals() -> None:
    first, again, other = (report_of(tables.rows(), lam=1.3, seed=seed) for seed in (1, 1, 2))
    assert first.to_dict() == again.to_dict()
    assert first.to_dict() != other.to_dict()
    assert values_only(first) == values_only(other)


def test_a_single_answer_gives_no_interval() -> None:
    report = report_of([row for row in tables.rows() if row["sequence"] == "answer 3"])
    for estimate in [*(found.threshold for found in report.classes), report.advised, report.operating_point]:
        assert math.isfinite(estimate.value)
        assert math.isnan(estimate.low)
        assert math.isnan(estimate.high)


def test_a_class_in_a_single_answer_has_no_interval() -> None:
    report = report_of(tables.rows() + [one("answer 3", 50 + at, -1e-9, -9.0, modal="{") for at in range(9)])
    ends = {found.name: found.threshold.low for found in report.classes}
    assert [name for name, low in ends.items() if math.isnan(low)] == ["{"]


def test_a_class_in_a_single_answer_does_not_bind_unless_there_is_no_other() -> None:
    report = report_of(tables.rows() + [one("answer 3", 50 + at, -1e-9, -9.0, modal="{") for at in range(9)])
    *others, last = report.classes
    assert last.name == "{"
    assert all(last.threshold.value < other.threshold.value for other in others)
    assert report.binding is others[0]
    assert report.strict == last.least
    assert report_of([one("answer 3", at, -1e-9, -9.0, modal="{") for at in range(9)]).binding.name == "{"


def test_copies_of_positions_within_an_answer_add_no_certainty() -> None:
    rows = tables.rows()
    copies = [row | {"position": row["position"] + 100 * copy} for row in rows for copy in range(5)]
    once, often = report_of(rows, quantile=0.1), report_of(copies, quantile=0.1)
    for left, right in zip(once.classes, often.classes, strict=True):
        assert right.threshold == pytest.approx(left.threshold, rel=1e-12)
    assert often.advised == pytest.approx(once.advised, rel=1e-12)
    apart = [row | {"sequence": f"{row['sequence']} {row['position']}"} for row in copies]
    width = {name: report_of(made).binding.threshold for name, made in {"together": copies, "apart": apart}.items()}
    assert width["together"].high - width["together"].low > 1.5 * (width["apart"].high - width["apart"].low)


def test_higher_confidence_widens_and_more_answers_narrow_the_intervals() -> None:
    low, high = (report_of(tables.rows(), confidence=level, resamples=400).binding.threshold for level in (0.5, 0.99))
    assert high.low < low.low < low.value < low.high < high.high
    few, many = (report_of(tables.rows(answers=count), resamples=400).binding.threshold for count in (8, 200))
    assert many.high - many.low < 0.5 * (few.high - few.low)


def test_intervals_reach_infinity_where_some_resamples_do() -> None:
    rows = [one(answer, 0, -0.2 if answer % 2 else -0.01, -0.11) for answer in range(8)]
    estimate = report_of(rows, resamples=200).binding.threshold
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
        assert found.threshold[1:] == pytest.approx((low, high), abs=0.15 * (high - low))
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


def test_intervals_over_answers_cover_the_truth_where_intervals_over_positions_do_not() -> None:
    truth, datasets = ls.threshold(0.99, 0.5, 5.0), 200
    covered = {"answers": 0, "positions": 0}
    for seed in range(datasets):
        rows = clustered(seed)
        apart = [row | {"sequence": number} for number, row in enumerate(rows)]
        for unit, made in (("answers", rows), ("positions", apart)):
            _, low, high = report_of(made, resamples=60, seed=seed).binding.threshold
            covered[unit] += low <= truth <= high
    assert covered["answers"] >= 0.88 * datasets
    assert covered["positions"] <= 0.6 * datasets


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
    report = calibrate(Table.from_rows(rows, keep_going=True), clip=5.0, lam=1.3, resamples=FEW)
    values = report.to_dict()
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert values["binding"] == report.binding.name == values["classes"][0]["name"]
    fields = {field.name for field in dataclasses.fields(Report)} - {"thresholds", "flips"}
    assert set(values) == fields | {"binding"}
    assert values["problems"] == [{"line": problem.line, "message": problem.message} for problem in report.problems]
    assert values["quantiles"].keys() == {str(level) for level in QUANTILES}
    for resolution, plain in zip(report.resolutions, values["resolutions"], strict=True):
        low, high = resolution.token
        assert plain["token"] == {"low": low, "high": "inf" if math.isinf(high) else high}
        mass = resolution.binding_mass
        assert plain["binding_mass"] == (None if math.isnan(mass) else mass)
        assert [plain[name] for name in ("name", "use", "mates")] == [resolution.name, resolution.use, resolution.mates]
    for found, plain in zip(report.classes, values["classes"], strict=True):
        low = found.threshold.low
        expected = None if math.isnan(low) else "inf" if math.isinf(low) else low
        assert plain["threshold"]["low"] == expected
        assert plain["collapse_point"] == ("inf" if math.isinf(found.collapse_point) else found.collapse_point)
