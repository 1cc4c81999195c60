"""The listed tokens of a row are read from every format, and a bad list costs its row alone."""

from __future__ import annotations

import json
import math
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from lambda_star.calibration.readers import read_table
from lambda_star.calibration.table import Table, TableError, Top
from tests import tables
from tests.tables import CHARACTERS, GOOD, HEADER, HINT, Row, columns, message, one, write

MODAL = ["[", -0.1, -0.7]
OTHER = ["(", -3.0, -1.5]
LISTED = one(0, 0, -0.1, -0.7, modal="[", top=[MODAL, OTHER], rest=[-2.5, 0.75])
TOP = Top(("[", "("), (-0.1, -3.0), (-0.7, -1.5), low=-2.5, high=0.75)


def tops(table: Table) -> tuple[Top | None, ...]:
    assert table.top is not None
    assert len(table.top) == len(table.log_p)
    return table.top


@pytest.mark.parametrize("suffix", tables.WRITERS)
def test_most_probable_tokens_are_read_from_every_format(suffix: str, tmp_path: Path) -> None:
    made = tables.with_top(tables.rows())
    found = read_table(tables.WRITERS[suffix](tmp_path / f"rows{suffix}", made))
    assert columns(found) == columns(Table.from_rows(made))
    for row, top in zip(made, tops(found), strict=True):
        if row["top"] is None:
            assert top is None
        else:
            assert top == tables.top_from(row["top"], *row["rest"])
    assert sum(top is not None for top in tops(found)) == 48


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_lists_may_be_json_text_in_every_format(suffix: str, tmp_path: Path) -> None:
    path = tables.WRITERS[suffix](tmp_path / f"rows{suffix}", tables.as_text([LISTED]))
    assert tops(read_table(path)) == (TOP,)


def test_lists_may_be_nested_in_parquet(tmp_path: Path) -> None:
    """Arrow has one type per list, so the numbers beside a text are texts too."""
    made = [
        row | {"top": row["top"] and [[str(value) for value in entry] for entry in row["top"]]}
        for row in tables.with_top(tables.rows())
    ]
    parquet.write_table(pyarrow.Table.from_pylist(made), tmp_path / "rows.parquet")
    assert columns(read_table(tmp_path / "rows.parquet")) == columns(Table.from_rows(tables.with_top(tables.rows())))


@pytest.mark.parametrize(
    "values",
    [
        {"top": [tuple(MODAL), tuple(OTHER)], "rest": (-2.5, 0.75)},
        {"top": (MODAL, OTHER), "rest": np.array([-2.5, 0.75])},
        {"top": np.array([MODAL, OTHER], dtype=object)},
        {"top": [["[", "-0.1", "-0.7"], ["(", np.float64(-3), -1.5]], "rest": ["-2.5", 0.75]},
        {"top": '[["[", -0.1, -0.7], ["(", -3, -1.5]]', "rest": " [-2.5, 0.75]\n"},
    ],
)
def test_lists_in_memory_may_be_tuples_arrays_or_text(values: Row) -> None:
    assert tops(Table.from_rows([LISTED | values])) == (TOP,)


def test_arrays_of_arrays_are_lists() -> None:
    """What a data frame holds that was read from Parquet."""
    nested = np.empty(2, dtype=object)
    nested[:] = [np.array(MODAL, dtype=object), np.array(OTHER, dtype=object)]
    assert tops(Table.from_rows([LISTED | {"top": nested}])) == (TOP,)


@pytest.mark.parametrize("nothing", [None, math.nan, "", "  ", "[]", [], (), np.array([])])
def test_no_list_is_no_listed_token(nothing: Any) -> None:
    row = one(1, 0, -0.5, -0.6, modal="[")
    made = [LISTED, row | {"top": nothing}, row | {"sequence": 2, "top": nothing, "rest": nothing}]
    assert tops(Table.from_rows(made)) == (TOP, None, None)
    assert Table.from_rows(made[1:]).top is None
    assert tops(Table.from_rows([LISTED | {"rest": nothing}])) == (TOP._replace(low=None, high=None),)


def test_rows_may_lack_the_columns_that_others_have() -> None:
    assert tops(Table.from_rows([one(1, 0, -0.5, -0.6), LISTED])) == (None, TOP)
    bare = {name: value for name, value in LISTED.items() if name != "rest"}
    assert tops(Table.from_rows([bare])) == (TOP._replace(low=None, high=None),)


texts = st.text(CHARACTERS, max_size=4)


@settings(max_examples=50)
@given(
    st.lists(st.tuples(texts, st.floats(-50, -4), st.floats(-50, -4)), max_size=6), texts, st.floats(-9, 0), st.data()
)
def test_any_listed_token_survives_every_format(
    others: list[tuple[str, float, float]], modal: str, low: float, data: st.DataObject
) -> None:
    entries = data.draw(st.permutations([(modal, -0.5, -0.25), *others]))
    row = one(0, 0, -0.5, -0.25, modal=modal, top=[[*entry] for entry in entries], rest=[low, 0.0])
    expected = tables.top_from(entries, low, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        for suffix, writer in tables.WRITERS.items():
            assert tops(read_table(writer(Path(folder) / f"rows{suffix}", [row]))) == (expected,)


SMALL = 5e-7
"""Less than the rounding of a table."""


@pytest.mark.parametrize(
    "change",
    [
        {"top": [MODAL, ["(", math.log1p(-math.exp(-0.1)) + SMALL, -1.5]]},
        {"top": [MODAL, ["(", -3.0, math.log1p(-math.exp(-0.7)) + SMALL]]},
        {"log_p": -0.1 + SMALL},
        {"log_p": -0.1 - SMALL},
        {"log_b": -0.7 + SMALL},
        {"log_b": -100.0, "top": [["[", -0.1, -100.00005], OTHER]},
        {"rest": [0.75, 0.75]},
        {"top": [OTHER, MODAL]},
        {"top": [MODAL]},
        {"top": [["", -0.1, -0.7], ["", -3.0, -1.5]]},
    ],
)
def test_what_is_right_up_to_rounding_is_taken(change: Row) -> None:
    assert tops(Table.from_rows([LISTED | change]))[0] is not None


def test_two_tokens_may_be_equally_probable() -> None:
    """The teacher's numbers tie once they are written with few digits; the row's own is one of the two."""
    tied = one(0, 0, -0.7, -1.0, modal="B", top=[["A", -0.7, -2.0], ["B", -0.7, -1.0]])
    expected = tables.top_from([("B", -0.7, -1.0), ("A", -0.7, -2.0)])
    assert tops(Table.from_rows([tied])) == (expected,)  # the modal token comes first
    assert tops(Table.from_rows([tied | {"modal": "A", "log_b": -2.0}])) == (tables.top_from(tied["top"]),)
    with pytest.raises(TableError, match="most probable token whose log_b is not that of the row"):
        Table.from_rows([tied | {"log_b": -1.5}])


NO_ENTRIES = r"top is not a list of \[token, log_p, log_b\]"
NO_RANGE = r"; it must be \[least, greatest\] log\(p/b\) of the tokens outside top"
BAD_TOPS: dict[str, tuple[Row, str]] = {
    "top is broken JSON": ({"top": '[["[", -0.1'}, r"top is not a JSON list \(Expecting .*\)"),
    "top is a Python list": ({"top": "[['[', -0.1, -0.7]]"}, r"top is not a JSON list \(Expecting .*\)"),
    "top is too deep": ({"top": "[" * 100_000}, r"top is not a JSON list \(.*\)"),
    "top is an object": ({"top": '{"[": -0.1}'}, r"top is \{'\[': -0.1\}, which is not a list"),
    "top is a number": ({"top": "7"}, "top is 7, which is not a list"),
    "top is a text": ({"top": '"["'}, r"top is '\[', which is not a list"),
    "top is one token": ({"top": '["[", -0.1, -0.7]'}, NO_ENTRIES),
    "two values of a token": ({"top": '[["[", -0.1]]'}, NO_ENTRIES),
    "four values of a token": ({"top": '[["[", -0.1, -0.7, 0]]'}, NO_ENTRIES),
    "three letters": ({"top": '["abc"]'}, NO_ENTRIES),
    "a token that is an object": ({"top": '[{"token": "[", "log_p": -0.1, "log_b": -0.7}]'}, NO_ENTRIES),
    "a probability": (
        {"top": '[["[", -0.1, -0.7], ["(", -3, 0.25]]'},
        "top is 0.25, above 0; write natural log-prob.*",
    ),
    "no mass": ({"top": '[["[", -0.1, -0.7], ["(", -Infinity, -1]]'}, "top is -inf, .*; score it without top-k .*"),
    "NaN in top": ({"top": '[["[", -0.1, NaN]]'}, "top is NaN; score the position again"),
    "a text in top": ({"top": '[["[", "high", -0.7]]'}, "top is 'high'; it must be a natural log-probability"),
    "null in top": ({"top": '[["[", null, -0.7]]'}, "top is None; it must be a natural log-probability"),
    "a truth value in top": ({"top": '[["[", -0.1, false]]'}, "top is False; it must be a natural log-probability"),
    "more than 1 for the teacher": (
        {"top": '[["[", -0.1, -0.7], ["(", -0.2, -1.5]]'},
        "top has probabilities whose sum is above 1 in log_p; write natural log-probabilities",
    ),
    "just more than 1": (
        {"top": json.dumps([MODAL, ["(", math.log1p(-math.exp(-0.1)) + 3e-5, -1.5]])},
        "top has probabilities whose sum is above 1 in log_p; write natural log-probabilities",
    ),
    "more than 1 for the base": (
        {"top": '[["[", -0.1, -0.7], ["(", -3, -0.1]]'},
        "top has probabilities whose sum is above 1 in log_b; write natural log-probabilities",
    ),
    "another teacher": (
        {"top": '[["[", -0.10001, -0.7]]'},
        "top has a most probable token whose log_p is not that of the row; score both at once",
    ),
    "another base": (
        {"top": '[["[", -0.1, -0.69999]]'},
        "top has a most probable token whose log_b is not that of the row; score both at once",
    ),
    "the modal token left out": (
        {"top": '[["(", -3, -1.5]]'},
        "top has a most probable token whose log_p is not that of the row; score both at once",
    ),
    "rest without top": ({"top": None}, "rest is given without top; write the tokens that rest leaves out"),
    "rest beside an empty top": ({"top": "[]"}, "rest is given without top; write the tokens that rest leaves out"),
    "rest is broken JSON": ({"rest": "[-2.5, "}, r"rest is not a JSON list \(Expecting .*\)"),
    "rest is a number": ({"rest": "0.5"}, "rest is 0.5, which is not a list"),
    "rest is an object": ({"rest": '{"low": 1}'}, r"rest is \{'low': 1\}, which is not a list"),
    "rest reversed": ({"rest": "[0.75, -2.5]"}, f"rest is .*{NO_RANGE}"),
    "rest is texts": ({"rest": '["low", "high"]'}, rf"rest is .*{NO_RANGE}"),
    "NaN in rest": ({"rest": "[NaN, 0.75]"}, f"rest is .*{NO_RANGE}"),
    "NaN at the end of rest": ({"rest": "[-2.5, NaN]"}, f"rest is .*{NO_RANGE}"),
    "no least in rest": ({"rest": "[-Infinity, 0.75]"}, f"rest is .*{NO_RANGE}"),
    "no greatest in rest": ({"rest": "[-2.5, Infinity]"}, f"rest is .*{NO_RANGE}"),
    "one number in rest": ({"rest": "[0.75]"}, f"rest is .*{NO_RANGE}"),
    "three numbers in rest": ({"rest": "[-2.5, 0, 0.75]"}, f"rest is .*{NO_RANGE}"),
    "truth values in rest": ({"rest": "[false, true]"}, f"rest is .*{NO_RANGE}"),
    "a number too large in rest": ({"rest": f"[0, {10**400}]"}, f"rest is .*{NO_RANGE}"),
    "lists in rest": ({"rest": "[[0], [1]]"}, f"rest is .*{NO_RANGE}"),
}


@pytest.mark.parametrize("suffix", tables.WRITERS)
@pytest.mark.parametrize(("change", "said"), BAD_TOPS.values(), ids=BAD_TOPS)
def test_a_bad_list_is_blamed_by_line_and_costs_its_row_alone(
    change: Row, said: str, suffix: str, tmp_path: Path
) -> None:
    made = tables.as_text([LISTED, LISTED | {"sequence": 1}, LISTED | {"sequence": 2}])
    made[1] |= change
    line = 3 if suffix == ".csv" else 2
    path = tables.WRITERS[suffix](tmp_path / f"rows{suffix}", made)
    with pytest.raises(TableError, match=rf"rows{re.escape(suffix)}, line {line}: {said}{HINT}"):
        read_table(path)
    found = read_table(path, keep_going=True)
    ((number, problem, _),) = found.problems
    assert number == line
    assert re.fullmatch(said, problem)
    assert found.sequence.tolist() == ["0", "2"]
    assert tops(found) == (TOP, TOP)


BAD_LISTS: dict[str, tuple[Row, str]] = {
    "top is a mapping": ({"top": {"[": -0.1}}, r"top is \{'\[': -0.1\}, which is not a list"),
    "top is a number": ({"top": 7}, "top is 7, which is not a list"),
    "top is a truth value": ({"top": True}, "top is True, which is not a list"),
    "a token of bytes": ({"top": [[b"[", -0.1, -0.7]]}, r"top is b'\[', which is bytes; write text"),
    "a token NaN": ({"top": [[math.nan, -0.1, -0.7]]}, "no value for top"),
    "a token None": ({"top": [[None, -0.1, -0.7]]}, "no value for top"),
    "half a character": ({"top": [["\ud83d", -0.1, -0.7]]}, r"top is '\\ud83d', which has half a surrogate pair; .*"),
    "a number too large": ({"top": [["[", -(10**400), -0.7]]}, "top is .*; it must be a natural log-probability"),
    "rest of bytes": ({"rest": b"[1, 2]"}, r"rest is b'\[1, 2\]', which is not a list"),
}


@pytest.mark.parametrize(("change", "said"), BAD_LISTS.values(), ids=BAD_LISTS)
def test_a_bad_list_in_memory_is_blamed_by_row(change: Row, said: str) -> None:
    made = [LISTED, LISTED | {"sequence": 1} | change]
    with pytest.raises(TableError, match=rf"^mine, line 2: {said}{HINT}"):
        Table.from_rows(made, source="mine")
    assert tops(Table.from_rows(made, keep_going=True)) == (TOP,)


@pytest.mark.parametrize("name", ["top", "rest"])
def test_an_optional_column_named_twice_is_refused(name: str, tmp_path: Path) -> None:
    said = message(write(tmp_path / "rows.csv", f"{HEADER},{name},{name}", f"{GOOD},,"), keep_going=True)
    assert said == f", line 1: there are two columns {name}; keep one of each"
