"""Two tables are told apart where they differ, rarely where they do not, and answers are paired by their names."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from lambda_star import read_table
from lambda_star.calibration import answers, calibrate
from lambda_star.calibration.comparison import Comparison, compare, compare_states, difference
from lambda_star.calibration.shares import change_of_share
from lambda_star.calibration.state import Settings, State
from lambda_star.calibration.statistics import Estimate, limit
from lambda_star.calibration.table import Table
from lambda_star.cli import main
from tests import tables
from tests.tables import Row
from tests.tables import one as row_of

EXAMPLE = Path(__file__).parents[2] / "examples" / "rank_by_price" / "logprobs.csv"

Change = Callable[[np.random.Generator], float]


def moved(rows: list[Row], factor: Change, seed: int = 0) -> list[Row]:
    """The rows with the teacher's log-probabilities times a factor each, below 1 for a surer teacher."""
    rng = np.random.default_rng(seed)
    return [row | {"log_p": row["log_p"] * factor(rng)} for row in rows]


def renamed(rows: list[Row]) -> list[Row]:
    return [row | {"sequence": f"other {row['sequence']}"} for row in rows]


def compared(first: list[Row], second: list[Row], **options: Any) -> Comparison:
    return compare(Table.from_rows(first), Table.from_rows(second), **options)


FIRST = tables.rows(answers=90)
SURER = moved(FIRST, lambda rng: float(rng.uniform(0.5, 0.8)))


def stars(rows: list[Row]) -> dict[str, float]:
    """The least λ* of each answer, by the slow way of calibrating each alone."""
    names = dict.fromkeys(row["sequence"] for row in rows)
    return {name: calibrate(Table.from_rows([row for row in rows if row["sequence"] == name])).strict for name in names}


def test_numbers_by_answer_are_those_of_the_slow_way() -> None:
    found = compared(FIRST, SURER, lam=1.4, quantile=0.1, confidence=0.9)
    before, after = (stars(rows) for rows in (FIRST, SURER))
    assert found.pairs == 90
    assert found.answers == (90, 90)
    ends = [limit(list(each.values()), 0.1, 0.975) for each in (before, after)]
    assert (found.at_quantile.first, found.at_quantile.second) == (ends[0].estimate, ends[1].estimate)
    change = (ends[1].estimate - ends[0].estimate, ends[1].value - ends[0].high, ends[1].high - ends[0].value)
    assert found.at_quantile.change == change
    past = [[each[name] < 1.4 for name in before] for each in (before, after)]
    assert found.past is not None
    assert found.past.change == change_of_share(past[1], past[0], 0.9)
    assert (found.past.first, found.past.second) == tuple(np.mean(past, axis=1))
    wins = sum(after[name] < before[name] for name in before)
    ties = sum(after[name] == before[name] for name in before)
    assert found.lower is not None
    ends_of_share = binomtest(wins, 90 - ties).proportion_ci(0.9)
    assert found.lower == pytest.approx((wins / (90 - ties), ends_of_share.low, ends_of_share.high))


def test_classes_are_those_of_the_reports() -> None:
    found = compared(FIRST, SURER)
    reports = [{one.name: one for one in calibrate(Table.from_rows(rows)).classes} for rows in (FIRST, SURER)]
    assert {one.name for one in found.classes} == set(tables.CENTERS)
    for change in found.classes:
        before, after = (report[change.name] for report in reports)
        assert (change.first, change.second) == pytest.approx((before.value, after.value))
        assert change.change.value == pytest.approx(after.value - before.value)
        assert change.change.low <= change.change.value <= change.change.high
        apart = difference(*(Estimate(one.value, one.low, one.high) for one in (before, after)))
        assert change.change.high - change.change.low < 0.8 * (apart.high - apart.low)
    assert [one.name for one in found.classes] == [
        one.name for one in sorted(found.classes, key=lambda one: one.second)
    ]


def test_a_surer_teacher_has_a_lower_threshold_and_pairs_show_it_best() -> None:
    paired, apart = compared(FIRST, SURER), compared(FIRST, renamed(SURER))
    assert (paired.pairs, apart.pairs, apart.lower) == (90, 0, None)
    assert paired.lower is not None
    assert paired.lower.low > 0.9
    assert all(one.is_sure and one.change.high < 0 for one in paired.classes)
    assert paired.at_quantile == apart.at_quantile
    for one, other in zip(paired.classes, apart.classes, strict=True):
        assert one.change.value == pytest.approx(other.change.value)
        assert one.change.high - one.change.low < 0.8 * (other.change.high - other.change.low)


@settings(max_examples=20)
@given(st.integers(0, 2**32), st.floats(1.1, 2.0))
def test_exchanged_tables_have_opposite_changes(seed: int, lam: float) -> None:
    first = tables.rows(answers=8, seed=seed % 1000)
    second = moved(first, lambda rng: float(rng.uniform(0.3, 3.0)), seed)[7 * (seed % 3) :]
    there, back = compared(first, second, lam=lam, quantile=0.5), compared(second, first, lam=lam, quantile=0.5)
    for one, other in zip(
        (there.at_quantile, there.past, *there.classes), (back.at_quantile, back.past, *back.classes), strict=True
    ):
        assert one is not None
        assert other is not None
        assert (one.first, one.second) == (other.second, other.first)
        value, low, high = other.change
        assert one.change == pytest.approx((-value, -high, -low), nan_ok=True, rel=1e-6, abs=1e-9)
    assert there.lower is not None
    assert back.lower is not None
    if not math.isnan(there.lower.value):
        assert there.lower.value == pytest.approx(1 - back.lower.value)


def test_pairs_are_made_where_half_of_the_names_are_shared() -> None:
    some = [row for row in SURER if int(row["sequence"].split()[1]) < 50]
    few = [row for row in SURER if int(row["sequence"].split()[1]) < 20]
    assert compared(FIRST, some).pairs == 50
    assert compared(FIRST, few).pairs == 0
    assert compared(FIRST, few, paired=True).pairs == 20
    assert compared(FIRST, SURER, paired=False).pairs == 0
    with pytest.raises(ValueError, match="no answer has the same name in both tables; compare them without pairs"):
        compared(FIRST, renamed(FIRST), paired=True)


def test_intervals_of_numbers_widen_every_change() -> None:
    censored = [row | {"log_b_low": -math.inf if at % 40 == 0 else row["log_b"]} for at, row in enumerate(SURER)]
    exact, bounded = compared(FIRST, SURER, lam=1.3), compared(FIRST, censored, lam=1.3)
    for one, other in zip((exact.at_quantile, exact.past), (bounded.at_quantile, bounded.past), strict=True):
        assert one is not None
        assert other is not None
        assert other.change.low <= one.change.low <= one.change.high <= other.change.high
    unsure = compared(FIRST, [row | {"log_b_low": row["log_b"] - 0.1} for row in FIRST]).lower
    assert unsure is not None
    assert math.isnan(unsure.value)  # every λ* may be as before
    by_name = {one.name: one.change for one in bounded.classes}
    for change in exact.classes:
        assert by_name[change.name].low <= change.change.low + 1e-9
        assert by_name[change.name].high >= change.change.high - 1e-9


def test_a_class_of_one_table_or_of_one_answer_has_no_interval() -> None:
    extra = [*SURER, row_of("answer 3", 50, -1e-3, -2.0, modal="{")]
    (found,) = (one for one in compared(FIRST, extra).classes if one.name == "{")
    assert found is compared(FIRST, extra).classes[-1] or compared(FIRST, extra).classes[-1].name == "{"
    assert math.isnan(found.first)
    assert found.second > 1
    assert all(map(math.isnan, found.change))
    assert not found.is_sure


def test_differences_of_independent_numbers() -> None:
    first, second = Estimate(1.2, 1.1, 1.4), Estimate(1.5, 1.46, 1.53)
    found = difference(first, second)
    assert found == pytest.approx((0.3, 0.3 - math.hypot(0.04, 0.2), 0.3 + math.hypot(0.03, 0.1)))
    endless = Estimate(math.inf, 2.0, math.inf)
    assert difference(first, endless) == (math.inf, 2.0 - 1.4, math.inf)
    assert list(difference(endless, first)) == pytest.approx([-math.inf, -math.inf, -0.6])
    assert all(map(math.isnan, difference(endless, endless)))
    assert difference(first, Estimate(1.5, 1.4, math.inf)).high == math.inf


def test_states_are_compared_as_their_tables_and_need_equal_settings() -> None:
    states = []
    for rows in (FIRST, SURER):
        states.append(State(Settings(lam=1.3)))
        for start, stop in pairwise((0, 30 * 7, len(rows))):
            states[-1].add(Table.from_rows(rows[start:stop]))
    assert compare_states(*states).to_dict() == compared(FIRST, SURER, lam=1.3).to_dict() | {
        "sources": ["rows", "rows"]
    }
    with pytest.raises(ValueError, match=r"^second must have the same settings, got lam 1\.2 for 1\.3$"):
        compare_states(states[0], State(Settings(lam=1.2)))


def test_sampled_answers_are_paired_as_far_as_both_states_keep_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "ANSWERS", 40)
    some = [row for row in SURER if int(row["sequence"].split()[1]) < 60]
    names = [list(dict.fromkeys(row["sequence"] for row in rows)) for rows in (FIRST, some)]
    least = np.sort(answers.keys_of(names[0]))[:40]
    shared = np.intersect1d(least, answers.keys_of(names[1]))
    found = compared(FIRST, some, paired=True)
    assert (found.answers, found.pairs) == ((40, len(shared)), len(shared))
    assert 20 < found.pairs < 40


def test_halves_of_the_example_do_not_differ_and_a_surer_teacher_does() -> None:
    table = read_table(EXAMPLE)
    odd = np.array([int(name) % 2 == 1 for name in table.sequence])
    first, second = table.take(np.flatnonzero(~odd)), table.take(np.flatnonzero(odd))
    halves = compare(first, second, lam=1.2)
    assert (halves.answers, halves.pairs) == ((180, 180), 0)
    assert not any(one.is_sure for one in (halves.at_quantile, *halves.classes))
    surer = replace(table, log_p=table.log_p * np.random.default_rng(0).uniform(0.5, 0.9, len(table)))
    found = compare(table, surer)
    assert found.lower is not None
    assert found.lower.low > 0.95
    assert {one.name for one in found.classes if one.is_sure} >= {'"]', '","'}


@pytest.mark.parametrize(("options", "said"), [({"quantile": 1.5}, "quantile"), ({"confidence": 1}, "confidence")])
def test_arguments_are_checked(options: Any, said: str) -> None:
    with pytest.raises(ValueError, match=f"{said} must lie in"):
        compared(FIRST, SURER, **options)


def test_a_table_without_positions_of_the_contract_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="no row is a usable contract position"):
        compared(FIRST, [row_of(0, 0, -0.1, -0.2, modal="word")])


@pytest.mark.slow
def test_changes_of_equal_tables_are_rarely_sure_and_their_intervals_cover() -> None:
    sets, sure, covered = 100, 0, {'["': 0, '","': 0, '"]': 0}
    truth = compared(tables.rows(answers=6000, seed=1), moved(tables.rows(answers=6000, seed=1), noise, 1))
    means = {one.name: one.change.value for one in truth.classes}
    for seed in range(sets):
        first = tables.rows(answers=100, seed=seed + 10)
        found = compared(first, moved(first, noise, seed))
        sure += found.at_quantile.is_sure
        for change in found.classes:
            covered[change.name] += change.change.low <= means[change.name] <= change.change.high
    assert sure <= 0.05 * sets
    assert min(covered.values()) >= 0.9 * sets


def noise(rng: np.random.Generator) -> float:
    return float(np.exp(0.3 * rng.normal()))


# The command


def run(*arguments: object) -> Any:
    return CliRunner().invoke(main, ["compare", *map(str, arguments)])


def test_the_command_prints_and_writes_what_is_found(tmp_path: Path) -> None:
    first, second = tables.write_csv(tmp_path / "a.csv", FIRST), tables.write_jsonl(tmp_path / "b.jsonl", SURER)
    result = run(first, second, "--lam", 1.4, "--json", tmp_path / "c.json")
    assert result.exit_code == 0, result.output
    assert "paired by name (90 pairs)" in result.output
    for head in ("5% quantile of the answers' λ*", "share of answers past λ = 1.4", "the second is the lower in"):
        assert head in result.output
    written = json.loads((tmp_path / "c.json").read_text())
    found = compared(FIRST, SURER, lam=1.4).to_dict()
    assert written["schema"] == "lambda-star/compare/1"
    assert {name: written[name] for name in found} == json.loads(json.dumps(found)) | {"sources": written["sources"]}
    assert "not paired" in run(first, second, "--unpaired").output
    assert "takes 437 answers in each file" in run(first, second, "--quantile", 0.01).output
    assert "The λ* of no pair differ." in run(first, first).output


def test_the_command_ends_with_2_after_an_error(tmp_path: Path) -> None:
    first = tables.write_csv(tmp_path / "a.csv", FIRST)
    missing = run(first, tmp_path / "none.csv")
    assert missing.exit_code == 2
    assert "none.csv" in missing.output
    other = tables.write_csv(tmp_path / "b.csv", renamed(FIRST))
    unpaired = run(first, other, "--paired")
    assert unpaired.exit_code == 2
    assert "compare them without pairs" in unpaired.output
