"""Numbers that are known as intervals make λ* intervals, which hold whatever the numbers are inside theirs."""

from __future__ import annotations

import dataclasses
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambda_star import updates
from lambda_star.calibration import calibrate
from lambda_star.calibration.readers import read_table
from lambda_star.calibration.report import Report
from lambda_star.calibration.table import Table
from lambda_star.calibration.thresholds import SMALLEST, of_table
from tests import tables
from tests.calibration.recomputed import report_of, stars
from tests.tables import Row, one

EXAMPLE = Path(__file__).parents[2] / "examples" / "rank_by_price" / "logprobs.csv"

RULES = (None, updates.log_ratio_cap(5.0), updates.log_prob_floor(8.0), updates.kl_to_base_cap(1.5))


def blurred(rows: list[Row], rng: random.Random) -> list[Row]:
    """The rows, where some numbers are known as intervals, and some b are only bounded from above."""
    made = []
    for row in rows:
        own = dict(row)
        if rng.random() < 0.3:
            own |= {"log_p_low": row["log_p"] * rng.uniform(1, 3), "log_p_high": row["log_p"] * rng.uniform(0.3, 1)}
        kind = rng.random()
        if kind < 0.2:
            own |= {"log_b_low": -math.inf}
        elif kind < 0.5:
            own |= {"log_b_low": row["log_b"] * rng.uniform(1, 2), "log_b_high": row["log_b"] * rng.uniform(0.5, 1)}
        made.append(own)
    return made


def chosen(rows: list[Row], rng: random.Random) -> list[Row]:
    """The rows with numbers inside their intervals, often at an end."""
    made = []
    for row in rows:
        own: Row = {name: row[name] for name in ("sequence", "position", "token", "modal")}
        for name in ("log_p", "log_b"):
            low, high = (float(row.get(f"{name}_{end}", row[name]) or 0) for end in ("low", "high"))
            share = rng.choice([0.0, 1.0, rng.random()])
            own[name] = max(low, -300.0) * share + high * (1 - share)
        made.append(own)
    return made


def numbers(report: Report) -> dict[str, float]:
    """The numbers of a report that grow with λ* of its positions, the lower ends of the intervals."""
    found = {"advised": report.advised.value, "estimate": report.advised.estimate, "strict": report.strict}
    found |= {f"quantile {level}": value for level, value in report.quantiles.items()}
    found |= {f"class {one.name}": one.value for one in report.classes}
    found |= {f"least {one.name}": one.least for one in report.classes}
    return found | ({} if report.dies is None else {"dies": report.dies.value})


@pytest.mark.parametrize("rule", RULES, ids=str)
@settings(max_examples=15)
@given(st.integers(0, 2**32))
def test_every_choice_of_the_numbers_lies_inside(rule: updates.Rule | None, seed: int) -> None:
    rng = random.Random(seed)
    rows = blurred(tables.rows(answers=60, seed=seed), rng)
    whole = report_of(rows, rule=rule)
    for _ in range(3):
        report = report_of(chosen(rows, rng), rule=rule)
        for name, value in numbers(report).items():
            assert numbers(whole)[name] <= value * (1 + 1e-12), name
        assert report.advised.value <= whole.advised.at_most * (1 + 1e-12)
        assert report.advised.high <= whole.advised.high * (1 + 1e-12)
        assert whole.operating_point.value * (1 - 1e-12) <= report.operating_point.value
        assert report.operating_point.value <= whole.operating_point.at_most * (1 + 1e-12)
        assert whole.flip_point <= report.flip_point * (1 + 1e-12)
        for found in report.classes:
            (same,) = (one for one in whole.classes if one.name == found.name)
            assert same.value * (1 - 1e-12) <= found.value <= same.at_most * (1 + 1e-12)
            assert same.flip_point <= found.flip_point * (1 + 1e-12)
            assert rule is None or same.dies <= found.dies * (1 + 1e-12)  # type: ignore[operator]


def test_the_ends_of_a_position_are_those_of_its_corners() -> None:
    row = one(0, 0, -0.02, -0.9, log_p_low=-0.05, log_p_high=-0.01, log_b_low=-2.0, log_b_high=-0.7)
    rule = updates.log_ratio_cap(5.0)
    found = of_table(Table.from_rows([row]), 5.0, rule)
    corners = [of_table(Table.from_rows([one(0, 0, p, b)]), 5.0, rule) for p in (-0.05, -0.01) for b in (-2.0, -0.7)]
    assert (found.low[0], found.high[0]) == (min(each.low[0] for each in corners), max(each.low[0] for each in corners))
    assert found.flip[0] == min(each.flip[0] for each in corners)
    assert found.dies is not None
    deaths = [each.dies[0][0] for each in corners if each.dies is not None]
    assert (found.dies[0][0], found.dies[1][0]) == (min(deaths), max(deaths))


def test_a_base_that_is_only_bounded_from_above_allows_no_extrapolation() -> None:
    rows = tables.rows(answers=60)
    censored = [row | {"log_b_low": "-inf"} if row["modal"] == '["' else row for row in rows]
    report = report_of(censored)
    (found,) = (each for each in report.classes if each.name == '["')
    assert (found.value, found.low, found.censored, found.b) == (1, 1, 60, 0)
    assert found.at_most == pytest.approx(next(each.value for each in report_of(rows).classes if each.name == '["'))
    assert report.censored == 60
    assert (report.strict, report.operating_point.value) == (1, 1)
    assert report.operating_point.at_most == report_of(rows).operating_point.value > 1
    few = [row | {"log_b_low": "-inf"} if row["sequence"] == "answer 7" else row for row in rows]
    assert (report_of(few).strict, report_of(few).censored) == (1, 4)
    assert report_of(few, quantile=0.1).operating_point.value > 1  # one of 60 answers does not decide


def test_an_assumed_least_mass_of_the_base_lifts_the_lower_end_and_is_stated() -> None:
    rows = [row | {"log_b_low": "-inf"} for row in tables.rows(answers=60)]
    points = [report_of(rows, least_b=mass).operating_point for mass in (0.0, 1e-12, 1e-6, 1e-3, 0.999)]
    values = [point.value for point in points]
    assert values == sorted(values)
    assert values[0] == 1 < values[1]
    assert values[-1] == points[0].at_most  # the base cannot have more than its upper end
    assert report_of(rows, least_b=1e-6).least_b == 1e-6
    assert report_of(rows, least_b=1e-6).to_dict()["least_b"] == 1e-6
    known = tables.rows(answers=60)
    assert report_of(known, least_b=0.1).operating_point == report_of(known).operating_point


def test_without_intervals_both_ends_are_equal() -> None:
    report = report_of(tables.rows(answers=60), rule=updates.log_ratio_cap(5.0))
    for limit in (report.advised, report.dies, report.operating_point):
        assert limit is not None
        assert limit.value == limit.at_most
    assert all(found.value == found.at_most and found.censored == 0 for found in report.classes)
    assert report.censored == 0


def test_a_teacher_whose_token_may_have_no_mass_has_no_upper_end() -> None:
    found = of_table(Table.from_rows([one(0, 0, -0.01, -1.0, log_p_low=-math.inf)]), 5.0)
    assert 1 < found.low[0] < found.high[0] == math.inf
    assert found.flip[0] == 1  # without majority from the start


@pytest.mark.parametrize("rule", RULES[1:], ids=str)
def test_tails_die_at_1_at_the_latest_where_the_base_may_have_no_mass(rule: updates.Rule) -> None:
    found = of_table(Table.from_rows([one(0, 0, -0.01, -1.0, log_b_low=-math.inf)]), 5.0, rule)
    assert found.dies is not None
    p = math.exp(-0.01)
    assert found.dies[0][0] == min(rule.dies(p, b) for b in (SMALLEST, math.exp(-1.0)))
    assert found.dies[0][0] <= found.dies[1][0]


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ({"log_b_low": -0.5}, "log_b_low is -0.5; it must be at most log_b, -1"),
        ({"log_b_high": -1.5}, "log_b_high is -1.5; it must be at least log_b, -1, and at most 0"),
        ({"log_p_high": 0.1}, "log_p_high is 0.1; it must be at least log_p, -0.1, and at most 0"),
        ({"log_p_low": "low"}, "log_p_low is 'low'; it must be at most log_p, -0.1"),
        ({"log_b_low": True}, "log_b_low is True; it must be at most log_b, -1"),
    ],
)
def test_ends_that_do_not_hold_the_number_are_refused(ends: dict[str, Any], said: str) -> None:
    table = Table.from_rows([one(0, 0, -0.1, -1.0), one(1, 0, -0.1, -1.0, **ends)], keep_going=True)
    assert [each.message for each in table.problems] == [said]


def test_a_missing_end_is_the_number_itself() -> None:
    rows = [one(0, 0, -0.1, -1.0, log_b_low="-inf"), one(1, 0, -0.2, -2.0), one(2, 0, -0.3, -3.0, log_b_low="")]
    table = Table.from_rows(rows)
    assert table.log_p_low is table.log_p_high is table.log_b_high is None
    assert [each.tolist() for each in table.ends("log_b")] == [[-math.inf, -2.0, -3.0], [-1.0, -2.0, -3.0]]
    assert [each.tolist() for each in table.ends("log_p")] == [table.log_p.tolist()] * 2
    joined = Table.concatenate([table, Table.from_rows([one(3, 0, -0.4, -4.0, log_p_high=-0.35)])])
    assert joined.ends("log_b")[0].tolist() == [-math.inf, -2.0, -3.0, -4.0]
    assert joined.ends("log_p")[1].tolist() == [-0.1, -0.2, -0.3, -0.35]


def test_dropping_censored_rows_moves_the_advice_of_real_data_up_and_the_interval_holds_it() -> None:
    """What a join of two listings drops: the rows whose modal token is not among the base's most probable three."""
    table = read_table(EXAMPLE)
    assert table.top is not None
    tops = [(row, top) for row, top in enumerate(table.top) if top is not None]
    bounds = {row: sorted(top.log_b)[-3] for row, top in tops if len(top.log_b) >= 3}
    missed = np.array([table.log_b[row] < bounds.get(row, -math.inf) for row in range(len(table))])
    bound = np.array([bounds.get(row, 0.0) for row in range(len(table))])
    upper = np.where(missed, bound, table.log_b)
    censored = dataclasses.replace(table, log_b=upper, log_b_low=np.where(missed, -math.inf, table.log_b))
    bare = dataclasses.replace(table, top=None)
    true, dropped, kept = (
        calibrate(each).operating_point for each in (bare, bare.take(~missed), dataclasses.replace(censored, top=None))
    )
    assert 10 < np.count_nonzero(missed) < 200
    assert dropped.value > true.value  # the unsafe way
    assert kept.value <= true.value <= kept.at_most
    assert kept.value < true.value
    assert kept.at_most < dropped.value  # what dropping says is not even possible


def test_the_least_ends_are_kept_position_by_position() -> None:
    rows = blurred(tables.rows(), random.Random(3))
    table = Table.from_rows(rows)
    found = of_table(table, 5.0)
    slow = []
    for row in rows:
        if row["modal"] in tables.CENTERS:
            p, b = row.get("log_p_high", row["log_p"]), row.get("log_b_low", row["log_b"])
            slow.append(1.0 if b == -math.inf else report_of([one(0, 0, p, b)]).strict)
    assert stars(report_of(rows)) == pytest.approx(sorted(slow), rel=1e-14)
    assert (found.low <= found.high).all()


def test_numbers_that_are_0_only_after_rounding_count() -> None:
    rows = tables.rows(answers=60)
    rounded = [row | {"log_p": 0, "log_b": 0} if row["modal"] == '["' else row for row in rows]
    known = [row | {"log_b_low": -0.005} if row["modal"] == '["' else row for row in rounded]
    assert sum(report_of(rounded).skipped.values()) == 60 + sum(report_of(rows).skipped.values())
    report = report_of(known)
    assert report.skipped == report_of(rows).skipped
    (found,) = (each for each in report.classes if each.name == '["')
    assert 1 < found.value < found.at_most
