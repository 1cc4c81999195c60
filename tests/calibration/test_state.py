"""A state is the same whatever the tables are cut into, in whatever order they come and however parts are merged."""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import math
import random
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambda_star import updates
from lambda_star.calibration import Settings, State, answers, calibrate, distribution, samples, state
from lambda_star.calibration.answers import keys_of
from lambda_star.calibration.readers import read_table
from lambda_star.calibration.report import QUANTILES, Report
from lambda_star.calibration.table import Problem, Table
from lambda_star.contract import json_structure
from tests import tables
from tests.calibration.recomputed import stars, with_limits
from tests.calibration.test_intervals import blurred
from tests.tables import Row, one

EXAMPLE = read_table(Path(__file__).parents[2] / "examples" / "rank_by_price" / "logprobs.csv")
RULE = updates.log_ratio_cap(5.0)
SETTINGS = Settings(rule=RULE, lam=1.3, contract=json_structure, tokens=("B7",))


def measured(tables_: Sequence[Table], settings: Settings = SETTINGS) -> State:
    found = State(settings)
    for each in tables_:
        found.add(each)
    return found


def tree(parts: list[State], rng: random.Random) -> State:
    """The parts merged two by two in random order."""
    parts = list(parts)
    while len(parts) > 1:
        one_, other = (parts.pop(rng.randrange(len(parts))) for _ in range(2))
        parts.append(one_.merge(other))
    return parts[0]


def cut(table: Table, rng: random.Random, most: int = 6) -> list[Table]:
    """A table in random order, cut into random parts, of which some are empty."""
    order = rng.sample(range(len(table)), len(table))
    ends = sorted(rng.randrange(len(table) + 1) for _ in range(rng.randrange(most)))
    return [table.take(order[start:stop]) for start, stop in zip([0, *ends], [*ends, len(table)], strict=True)]


def almost(value: Any) -> Any:
    """A report in JSON, up to the order of summation."""
    if isinstance(value, dict):
        return {name: almost(item) for name, item in value.items()}
    if isinstance(value, list):
        return [almost(item) for item in value]
    return pytest.approx(value, rel=1e-9) if isinstance(value, float) else value


@functools.cache
def many(seed: int = 0, answers_: int = 40) -> Table:
    rng = random.Random(seed)
    rows = blurred(tables.with_top(tables.rows(answers=answers_, seed=seed), listed=3), rng)
    return Table.from_rows(rows + with_limits()[12 * len(tables.ANSWER) :])


# Splits and merges


@settings(max_examples=20)
@given(st.integers(0, 2**32))
def test_any_split_in_any_order_merged_in_any_tree_gives_the_same_report(seed: int) -> None:
    rng = random.Random(seed)
    table = many()
    whole = measured([table]).report(budget=3.0)
    parts = [measured(rng.sample(made, len(made))) for made in [[each] for each in cut(table, rng)]]
    found = tree(parts, rng).report(budget=3.0)
    assert without_text(found) == almost(without_text(whole))
    assert stars(found) == stars(whole)
    assert found.flips.values(10**9).tolist() == whole.flips.values(10**9).tolist()
    assert found.by_answer.values(10**9).tolist() == whole.by_answer.values(10**9).tolist()
    for name in ("advised", "dies", "operating_point", "strict", "strict_at", "quantiles"):
        assert repr(getattr(found, name)) == repr(getattr(whole, name))  # exactly: nothing is summed


def without_text(report: Report) -> Any:
    values = report.to_dict()
    for each in values["worst"]:
        del each["before"], each["after"]
    return values


@settings(max_examples=15)
@given(st.integers(0, 2**32))
def test_beyond_the_exact_sizes_a_split_changes_only_what_the_sketch_may(seed: int) -> None:
    rng = random.Random(seed)
    table = many(answers_=60)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answers, "ANSWERS", 20)
        patch.setattr(distribution, "EXACT", 50)
        patch.setattr(samples, "LISTED", 15)
        patch.setattr(state, "BLOCK", 16)
        whole = measured([table]).report()
        merged = tree([measured([each]) for each in cut(table, rng)], rng)
        found = State(SETTINGS).merge(merged).report()  # an empty state takes over what is kept
    exact = measured([table]).report()
    assert found.sampled == whole.sampled <= 20 < exact.answers
    assert found.by_answer.values(99).tolist() == whole.by_answer.values(99).tolist()
    for name in ("advised", "dies", "operating_point", "strict", "strict_at", "answers", "used", "skipped"):
        assert repr(getattr(found, name)) == repr(getattr(whole, name))
    assert [each.bernoulli for each in found.readings] == [each.bernoulli for each in whole.readings]
    assert sum(each.positions for each in found.readings) == 15
    for left, right in zip(found.classes, exact.classes, strict=True):
        for name in ("name", "positions", "censored", "share_past"):
            assert getattr(left, name) == getattr(right, name)
        for name in ("value", "at_most", "p", "b", "tail", "flip_point", "dies"):
            assert getattr(left, name) == pytest.approx(getattr(right, name), rel=1e-9), name
        assert left.least == right.least
    assert found.sketch_error >= 0
    for level in QUANTILES[1:]:
        share = exact.share_past(found.quantiles[level] * (1 + 1e-6))
        assert share >= level * (1 - 2 * found.sketch_error) - 1 / exact.used
    assert abs(found.answers - exact.answers) < 3 * exact.answers / math.sqrt(20)


def test_the_answers_that_are_kept_are_those_with_the_least_hashes() -> None:
    table = many(answers_=80)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answers, "ANSWERS", 25)
        kept = measured([table.take(slice(start, start + 50)) for start in range(0, len(table), 50)])
        names = kept.answers.columns["name"].tolist()
    every = sorted(set(table.sequence.tolist()), key=lambda name: int(keys_of([name])[0]))
    assert names == every[:25]
    full = measured([table]).answers.columns
    rows = [full["name"].tolist().index(name) for name in names]
    for column in ("rows", "used", "last", "low", "high", "dies_low", "dies_high"):
        assert kept.answers.columns[column].tolist() == full[column][rows].tolist()


def test_a_merge_leaves_the_other_state_as_it_is() -> None:
    first, second = (measured([table]) for table in (many(0), Table.from_rows(renamed(tables.rows(seed=5)))))
    before = second.to_bytes()
    first.merge(second)
    first.add(Table.from_rows(renamed(tables.rows(seed=6), "z ")))
    assert second.to_bytes() == before


def renamed(rows: list[Row], start: str = "other ") -> list[Row]:
    return [row | {"sequence": start + row["sequence"]} for row in rows]


def test_answers_judged_by_a_contract_are_the_same_in_any_split_at_answer_ends() -> None:
    ends = [0, *(np.flatnonzero(np.diff(EXAMPLE.sequence.codes)) + 1).tolist(), len(EXAMPLE)]
    whole = State(Settings(contract="json"))
    whole.add(EXAMPLE)
    for step in (7, 100):
        found = State(Settings(contract="json"))
        for start, stop in zip(ends[::step], [*ends[step::step], len(EXAMPLE)], strict=False):
            found.add(EXAMPLE.take(slice(start, stop)))
        assert found.report().to_dict() == almost(whole.report().to_dict())
        assert found.report().fit == whole.report().fit


def test_calibrate_is_a_state_of_one_table() -> None:
    table = many()
    options: dict[str, Any] = {"rule": RULE, "lam": 1.3, "contract": json_structure, "tokens": ("B7",)}
    assert calibrate(table, **options, margin=0.2).to_dict() == measured([table]).report(margin=0.2).to_dict()


# What must not happen


def test_an_answer_that_comes_back_under_a_contract_is_an_error_with_the_remedy() -> None:
    table = Table.from_rows(tables.rows())
    halves = [table.take(slice(0, 10)), table.take(slice(10, None))]
    found = measured(halves, Settings())
    said = "the rows of answer 'answer 1' do not stand together, and json judges answers .*`lambda-star convert --con"
    with pytest.raises(ValueError, match=said):
        found.report()
    with pytest.raises(ValueError, match=said):
        found.to_bytes()
    with pytest.raises(ValueError, match=said):
        measured(halves[:1], Settings()).merge(measured(halves[1:], Settings()))
    labelled = [row | {"contract": row["modal"] if row["modal"] in tables.CENTERS else ""} for row in tables.rows()]
    table = Table.from_rows(labelled)
    apart = measured([table.take(slice(0, 10)), table.take(slice(10, None))], Settings()).report()
    assert apart.used == measured([table], Settings()).report().used


def test_whole_numbers_name_the_same_answer_in_every_type() -> None:
    made = [tables.one(name, place, -0.1, -0.7, contract="all") for place, name in enumerate((1, 1.0, "1"))]
    assert Table.from_rows(made).sequence.tolist() == ["1", "1", "1"]


def test_positions_that_stand_twice_are_an_error() -> None:
    table = many()
    with pytest.raises(ValueError, match="positions stand twice; give the answers of different files different names"):
        measured([table, table]).report()


def test_tables_with_and_without_a_contract_column_do_not_mix() -> None:
    plain = Table.from_rows(tables.rows())
    labelled = Table.from_rows([row | {"contract": "all"} for row in renamed(tables.rows())])
    with pytest.raises(ValueError, match="only some of the tables have a `contract` column; give `contract`"):
        measured([plain, labelled], Settings())
    with pytest.raises(ValueError, match="only some of the tables have a `contract` column"):
        measured([plain], Settings()).merge(measured([labelled], Settings()))
    assert measured([plain, labelled], Settings(contract=json_structure)).report().answers == 24


def test_settings_must_agree() -> None:
    found = measured([many()])
    changes: list[tuple[str, Any]] = [
        ("clip", 4.0),
        ("rule", None),
        ("lam", 1.2),
        ("contract", "json"),
        ("tokens", ()),
        ("least_b", 1e-6),
    ]
    for name, value in changes:
        other = dataclasses.replace(SETTINGS, **{name: value})
        with pytest.raises(ValueError, match=f"^other must have the same settings, got {name} "):
            measured([many(answers_=2)]).merge(State(other))
        with pytest.raises(ValueError, match=f"a state for {name} .* is asked for; begin again without it$"):
            State.from_bytes(found.to_bytes(), other)


def test_too_many_classes_are_an_error_that_says_what_a_class_is() -> None:
    rows = [one(answer, 0, -0.01, -1.0, contract=f"class {answer}") for answer in range(1001)]
    with pytest.raises(ValueError, match="at most 1000 contract classes"):
        measured([Table.from_rows(rows)], Settings())
    assert len(measured([Table.from_rows(rows[1:])], Settings()).report().classes) == 1000


def test_a_set_rule_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^rule must be one that p and b show"):
        Settings(rule=updates.top_k(4))


# Counts, problems and the worst positions


def test_problems_are_kept_up_to_a_number_and_counted_beyond() -> None:
    bad = [one("bad", at, 1.0, -1.0) for at in range(600)]
    parts = [
        dataclasses.replace(Table.from_rows([one(name, 0, -0.01, -1.0), *bad], keep_going=True), source=name)
        for name in "ba"
    ]
    forward, backward = measured(parts, Settings()), measured(parts[::-1], Settings())
    for found in (forward, backward):
        assert found.report().problem_count == 1200
        assert found.report().skipped["bad row"] == 1200
        assert len(found.report().problems) == 1000
    assert forward.report().problems == backward.report().problems
    assert forward.report().problems[0][:1] + forward.report().problems[0][2:] == (2, "a")


def test_a_table_of_problems_alone_is_counted() -> None:
    empty = dataclasses.replace(many().take([]), problems=(Problem(3, "broken JSON", "part.jsonl"),))
    found = measured([empty, many()])
    assert found.report().problems[0] == (3, "broken JSON", "part.jsonl")
    assert found.rows == len(many())
    with pytest.raises(ValueError, match=r"no row is a usable contract position \(1 bad row\)"):
        measured([empty]).report()


def test_the_worst_positions_are_the_least_with_their_answer_around_them() -> None:
    table = Table.from_rows(tables.rows())
    report = calibrate(table)
    assert [each.value for each in report.worst] == stars(report)[:10]
    assert (report.strict, report.strict_at) == (report.worst[0].value, report.worst[0].place)
    for each in report.worst:
        rows = [row for row in tables.rows() if row["sequence"] == each.place.sequence]
        text = [row["token"] for row in rows]
        assert (each.before, each.after) == ("".join(text[: each.place.position]), "".join(text[each.place.position :]))
        assert each.place.modal == rows[each.place.position]["modal"] == each.label
    long = [one("long", at, -0.01, -1.0 - at / 100, token="word ", modal='["') for at in range(200)]
    (worst, *_) = calibrate(Table.from_rows(long), contract=json_structure).worst
    assert (len(worst.before), worst.after) == (60, "word ")


# Bytes and files


@pytest.mark.parametrize("small", [False, True])
def test_a_saved_state_is_the_state(small: bool, tmp_path: Path) -> None:
    table = many(answers_=60)
    with pytest.MonkeyPatch.context() as patch:
        if small:
            patch.setattr(answers, "ANSWERS", 20)
            patch.setattr(distribution, "EXACT", 50)
        half = len(table) // 2
        first = measured([table.take(slice(half))])
        first.save(tmp_path / "state")
        loaded = State.load(tmp_path / "state", SETTINGS)
        assert loaded.to_bytes() == first.to_bytes() == (tmp_path / "state").read_bytes()
        assert loaded.report().to_dict() == first.report().to_dict()
        for each in (first, loaded):
            each.add(table.take(slice(half, None)))
        if not small:
            assert loaded.report().to_dict() == first.report().to_dict()
        assert loaded.report().advised == first.report().advised


def test_an_empty_state_is_saved_too() -> None:
    loaded = State.from_bytes(State(SETTINGS).to_bytes(), SETTINGS)
    loaded.add(many())
    assert loaded.report().to_dict() == measured([many()]).report().to_dict()


def test_a_damaged_state_is_named_and_never_taken(tmp_path: Path) -> None:
    found = measured([many()])
    found.save(tmp_path / "state")
    data = (tmp_path / "state").read_bytes()
    rng = random.Random(0)
    for at in [0, 1, len(data) - 1, *(rng.randrange(len(data)) for _ in range(40))]:
        (tmp_path / "state").write_bytes(data[:at])
        with pytest.raises(
            ValueError, match=r"state: damaged, or not a state of lambda-star .*; give another path, or"
        ):
            State.load(tmp_path / "state", SETTINGS)
        flipped = bytearray(data)
        flipped[at] ^= 0x55
        (tmp_path / "state").write_bytes(flipped)
        # Some bytes of the zip format say nothing of the content, such as a time.
        assert loaded_or_refused(tmp_path / "state") in {None, json.dumps(found.report().to_dict())}
    with pytest.raises(FileNotFoundError):
        State.load(tmp_path / "none", SETTINGS)


def loaded_or_refused(path: Path) -> str | None:
    """The report of a file as JSON, or None if it is refused by name."""
    try:
        return json.dumps(State.load(path, SETTINGS).report().to_dict())
    except ValueError as error:
        return None if str(error).startswith(f"{path}: ") else str(error)


def test_a_state_that_is_not_whole_inside_is_refused() -> None:
    with np.load(io.BytesIO(measured([many()]).to_bytes()), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    for name in arrays:
        rest = {other: array for other, array in arrays.items() if other != name}
        made = io.BytesIO()
        np.savez(made, **rest)
        with pytest.raises(ValueError, match="damaged, or not a state"):
            State.from_bytes(made.getvalue(), SETTINGS)


# Size


def test_memory_does_not_grow_with_the_rows() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answers, "ANSWERS", 200)
        patch.setattr(distribution, "EXACT", 500)
        sizes = []
        for rounds in (4, 16):
            tracemalloc.start()
            found = State(Settings(contract=json_structure))
            for seed in range(rounds):
                found.add(Table.from_rows(renamed(tables.rows(answers=100, seed=seed), f"{seed} ")))
            found.check()
            sizes.append(tracemalloc.get_traced_memory()[0])
            tracemalloc.stop()
    assert sizes[1] < 1.3 * sizes[0]
