"""Every format says the same, every bad row is found where it stands, and no good row is lost."""

from __future__ import annotations

import csv
import io
import json
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from lambda_star.calibration.readers import read_table
from lambda_star.calibration.rows import LEAST
from lambda_star.calibration.table import COLUMNS, Table, TableError
from tests import tables
from tests.tables import CHARACTERS, GOOD, HEADER, HINT, Row, columns, message, one, write

# Good files


@pytest.mark.parametrize("suffix", [*tables.WRITERS, ".CSV"])
def test_every_format_gives_the_same_table(suffix: str, tmp_path: Path, table: Table) -> None:
    path = tables.WRITERS[suffix.lower()](tmp_path / f"rows{suffix}", tables.rows())
    found = read_table(path)
    assert columns(found) == columns(table)
    assert found.source == str(path)
    assert columns(read_table(str(path), keep_going=True)) == columns(table)


def test_a_table_holds_its_rows_in_their_order(table: Table) -> None:
    expected = tables.rows()
    for name in COLUMNS:
        assert getattr(table, name).tolist() == [row[name] for row in expected]
    assert table.position.dtype == np.int64
    assert table.log_p.dtype == table.log_b.dtype == np.float64
    assert table.contract is None
    assert table.problems == ()


@pytest.mark.parametrize("suffix", tables.WRITERS)
def test_rows_keep_any_order_that_the_file_has(suffix: str, tmp_path: Path) -> None:
    shuffled = tables.rows()[::-1]
    shuffled = shuffled[1::2] + shuffled[::2]
    path = tables.WRITERS[suffix](tmp_path / f"rows{suffix}", shuffled)
    assert read_table(path).log_p.tolist() == [row["log_p"] for row in shuffled]


@pytest.mark.parametrize("suffix", tables.WRITERS)
def test_column_order_and_further_columns_do_not_matter(suffix: str, tmp_path: Path, table: Table) -> None:
    turned = [{"extra": 1.5, **dict(reversed(row.items()))} for row in tables.rows()]
    assert columns(read_table(tables.WRITERS[suffix](tmp_path / f"rows{suffix}", turned))) == columns(table)


rows_of_any_text = st.lists(st.tuples(*[st.text(CHARACTERS)] * 3, *[st.floats(LEAST, 0)] * 2), min_size=1)


@given(rows_of_any_text)
def test_any_text_and_any_log_probability_survive_every_format(values: list[tuple[Any, ...]]) -> None:
    made: list[Row] = [
        {"sequence": s, "position": i, "token": t, "modal": m, "log_p": p, "log_b": b, "contract": t}
        for i, (s, t, m, p, b) in enumerate(values)
    ]
    with tempfile.TemporaryDirectory() as folder:
        for suffix, writer in tables.WRITERS.items():
            found = columns(read_table(writer(Path(folder) / f"rows{suffix}", made)))
            assert found == {name: [row[name] for row in made] for name in made[0]} | {"top": None, "problems": ()}


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl"])
def test_byte_order_mark_and_blank_lines_are_skipped(name: str, tmp_path: Path, table: Table) -> None:
    path = tables.WRITERS[Path(name).suffix](tmp_path / name, tables.rows())
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\ufeff" + "\n\n".join(lines) + "\n\n", encoding="utf-8")
    assert columns(read_table(path)) == columns(table)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_line_end_is_one(end: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(end.join([HEADER, '0,0,"a\nb",a,-1,-2', GOOD.replace("0,0", "1,0"), ""]).encode())
    assert read_table(path).token.tolist() == ["a\nb", "a"]


@pytest.mark.parametrize("suffix", tables.WRITERS)
def test_contract_is_optional_and_may_be_empty_in_places(suffix: str, tmp_path: Path) -> None:
    labelled = [row | {"contract": "open" if row["position"] == 0 else ""} for row in tables.rows()]
    found = read_table(tables.WRITERS[suffix](tmp_path / f"rows{suffix}", labelled))
    assert found.contract is not None
    assert found.contract.tolist() == [row["contract"] for row in labelled]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_contract_without_a_value_is_outside_the_contract(suffix: str, tmp_path: Path) -> None:
    missing = [row | {"contract": "open" if row["position"] == 0 else None} for row in tables.rows()]
    found = read_table(tables.WRITERS[suffix](tmp_path / f"rows{suffix}", missing))
    assert found.contract is not None
    assert found.contract.tolist() == [row["contract"] or "" for row in missing]
    nowhere = [row | {"contract": None} for row in tables.rows()]
    everywhere = read_table(tables.WRITERS[suffix](tmp_path / f"rows{suffix}", nowhere)).contract
    assert everywhere is not None
    assert not any(everywhere.tolist())


def test_rows_of_a_data_frame_are_rows() -> None:
    frame = {name: np.array([row[name] for row in tables.rows()]) for name in COLUMNS}
    records = [{name: values[i] for name, values in frame.items()} for i in range(len(frame["log_p"]))]
    expected = columns(Table.from_rows(tables.rows()))
    assert columns(Table.from_rows(records)) == expected
    unlabelled = Table.from_rows(row | {"contract": math.nan} for row in records)
    assert columns(unlabelled) == expected | {"contract": [""] * len(records)}


# Files that cannot be used


@pytest.mark.parametrize("suffix", tables.WRITERS)
def test_missing_files_and_folders_ask_for_the_path(suffix: str, tmp_path: Path) -> None:
    assert "check the path" in message(tmp_path / f"nowhere{suffix}")
    folder = tmp_path / f"folder{suffix}"
    folder.mkdir()
    assert "check the path" in message(folder)


@pytest.mark.parametrize("name", ["rows.md", "rows"])
def test_other_files_list_the_known_endings(name: str, tmp_path: Path) -> None:
    said = message(write(tmp_path / name, "# Rows"))
    kind = f"a {Path(name).suffix} file" if Path(name).suffix else "a file without a suffix"
    assert said.startswith(f": cannot read {kind}; give one of .csv, .tsv, .json, .jsonl")
    assert all(suffix in said for suffix in tables.WRITERS)


@pytest.mark.parametrize("keep_going", [False, True])
def test_files_without_rows_ask_for_rows(keep_going: bool, tmp_path: Path) -> None:
    for name, lines in {"a.csv": [], "b.csv": [""], "c.csv": [HEADER], "d.jsonl": [], "e.jsonl": [" "]}.items():
        said = message(write(tmp_path / name, *lines), keep_going=keep_going)
        assert said == ": there are no rows; write one row per output position"
    path = tables.write_parquet(tmp_path / "f.parquet", tables.rows())
    parquet.write_table(parquet.read_table(path).slice(0, 0), path)
    assert message(path, keep_going=keep_going) == ": there are no rows; write one row per output position"


@pytest.mark.parametrize("suffix", tables.WRITERS)
@pytest.mark.parametrize("keep_going", [False, True])
def test_what_is_another_type_inside_says_so(suffix: str, keep_going: bool, tmp_path: Path) -> None:
    path = tmp_path / f"rows{suffix}"
    path.write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe" * 20)
    assert "type" in message(path, keep_going=keep_going)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_other_encodings_ask_for_utf_8(suffix: str, tmp_path: Path) -> None:
    path = tables.WRITERS[suffix](tmp_path / f"rows{suffix}", [*tables.rows(), one("ü", 0, -1.0, -1.0, "é")])
    path.write_bytes(path.read_text(encoding="utf-8").encode("latin-1"))
    assert "convert it to UTF-8" in message(path)


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.999])
def test_truncated_parquet_is_a_damaged_file(kept: float, tmp_path: Path) -> None:
    path = tables.write_parquet(tmp_path / "rows.parquet", tables.rows())
    raw = path.read_bytes()
    path.write_bytes(raw[: int(kept * len(raw))])
    assert "the file is damaged or not a Parquet file" in message(path)


def test_parquet_that_is_damaged_inside_is_a_damaged_file(tmp_path: Path) -> None:
    path = tables.write_parquet(tmp_path / "rows.parquet", tables.rows())
    raw = bytearray(path.read_bytes())
    raw[10:200] = bytes(255 - byte for byte in raw[10:200])
    path.write_bytes(raw)
    assert "the file is damaged or not a Parquet file" in message(path)


@pytest.mark.parametrize("name", COLUMNS)
def test_a_missing_column_is_named(name: str, tmp_path: Path) -> None:
    lacking = [{key: value for key, value in row.items() if key != name} for row in tables.rows()]
    csv_said = message(tables.write_csv(tmp_path / "rows.csv", lacking), keep_going=True)
    assert csv_said == f", line 1: there is no column {name}; the header must name {', '.join(COLUMNS)}"
    assert f"there is no column {name}; " in message(
        tables.write_parquet(tmp_path / "rows.parquet", lacking), keep_going=True
    )
    assert message(tables.write_jsonl(tmp_path / "rows.jsonl", lacking)).startswith(f", line 1: no value for {name}; ")


def test_a_column_named_twice_is_refused(tmp_path: Path) -> None:
    said = message(write(tmp_path / "rows.csv", f"{HEADER},log_p", f"{GOOD},-3.5"), keep_going=True)
    assert said.startswith(", line 1: ")
    assert "log_p" in said


def test_a_header_further_down_is_blamed_where_it_stands(tmp_path: Path) -> None:
    assert message(write(tmp_path / "rows.csv", "", "", "sequence,position")).startswith(
        ", line 3: there is no column token"
    )


def test_a_header_that_cannot_be_read_is_blamed(tmp_path: Path) -> None:
    assert message(write(tmp_path / "rows.csv", f'"{HEADER}', GOOD)).startswith(", line 1: broken CSV (unexpected end")


# Bad rows

BAD_FIELDS: dict[str, tuple[Row, str]] = {
    "log_p NaN": ({"log_p": math.nan}, "log_p is NaN; score the position again"),
    "log_b NaN": ({"log_b": math.nan}, "log_b is NaN; score the position again"),
    "log_p above 0": ({"log_p": 1e-9}, "log_p is 1e-09, above 0; write natural log-probabilities, not"),
    "log_b is a probability": ({"log_b": 0.25}, "log_b is 0.25, above 0; write natural log-probabilities, not"),
    "log_p +inf": ({"log_p": math.inf}, "log_p is inf, above 0; write natural log-probabilities, not"),
    "log_p -inf": ({"log_p": -math.inf}, "log_p is -inf, so the modal token has no mass; score it without top-k"),
    "log_b -inf": ({"log_b": -math.inf}, "log_b is -inf, so the modal token has no mass; score it without top-k"),
    "position below 0": ({"position": -1}, "position is .*; it must be an integer of at least 0"),
    "position beyond int64": ({"position": 2**63}, "position is .*; it must be an integer of at least 0"),
}
BAD_TEXTS: dict[str, tuple[Row, str]] = {
    "log_p text": ({"log_p": "high"}, "log_p is 'high'; it must be a natural log-probability"),
    "log_b empty": ({"log_b": ""}, "log_b is ''; it must be a natural log-probability"),
    "position a fraction": ({"position": "1.5"}, "position is '1.5'; it must be an integer of at least 0"),
    "position text": ({"position": "first"}, "position is 'first'; it must be an integer of at least 0"),
    "position NaN": ({"position": "nan"}, "position is 'nan'; it must be an integer of at least 0"),
}
BAD_VALUES: dict[str, tuple[Row, str]] = {
    "log_p missing": ({"log_p": None}, "no value for log_p"),
    "two missing": ({"token": None, "modal": None}, "no value for token, modal"),
    "token NaN": ({"token": math.nan}, "no value for token"),
    "position a float": ({"position": 1.5}, "position is 1.5; it must be an integer of at least 0"),
    "position infinite": ({"position": math.inf}, "position is inf; it must be an integer of at least 0"),
    "position a list": ({"position": [1]}, r"position is \[1\]; it must be an integer of at least 0"),
    "log_p a list": ({"log_p": [1]}, r"log_p is \[1\]; it must be a natural log-probability"),
    "log_p a truth value": ({"log_p": False}, "log_p is False; it must be a natural log-probability"),
    "a number too large": ({"log_p": -(10**400)}, "log_p is .*; it must be a natural log-probability"),
    "surrogate half": (
        {"token": "\ud83d"},
        r"token is '\\ud83d', which has half a surrogate pair; write whole characters",
    ),
}


@pytest.mark.parametrize(("change", "said"), [*(BAD_FIELDS | BAD_TEXTS).values()], ids=[*(BAD_FIELDS | BAD_TEXTS)])
def test_a_bad_field_in_csv_is_blamed_by_line(change: Row, said: str, tmp_path: Path) -> None:
    made = tables.rows()
    made[4] |= change
    with pytest.raises(TableError, match=rf"rows\.csv, line 6: {said}{HINT}"):
        read_table(tables.write_csv(tmp_path / "rows.csv", made))


BAD = BAD_FIELDS | BAD_TEXTS | BAD_VALUES


@pytest.mark.parametrize(("change", "said"), BAD.values(), ids=BAD)
def test_a_bad_value_is_blamed_by_row_and_left_out_on_request(change: Row, said: str, tmp_path: Path) -> None:
    made = tables.rows()
    made[4] |= change
    with pytest.raises(TableError, match=rf"^mine, line 5: {said}{HINT}"):
        Table.from_rows(made, source="mine")
    found = Table.from_rows(made, keep_going=True)
    assert [problem.line for problem in found.problems] == [5]
    assert found.log_p.tolist() == [row["log_p"] for row in made[:4] + made[5:]]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in made), encoding="utf-8")
    assert columns(read_table(path, keep_going=True)) == columns(found)


@pytest.mark.parametrize(("change", "said"), BAD_FIELDS.values(), ids=BAD_FIELDS)
def test_a_bad_value_in_parquet_is_blamed_by_row(change: Row, said: str, tmp_path: Path) -> None:
    made = tables.rows()
    made[4] |= change
    if isinstance(change.get("position"), int):
        made = [row | {"position": float(row["position"])} for row in made]
    path = tables.write_parquet(tmp_path / "rows.parquet", made)
    with pytest.raises(TableError, match=rf"rows\.parquet, line 5: {said}{HINT}"):
        read_table(path)
    assert [problem.line for problem in read_table(path, keep_going=True).problems] == [5]


def test_bytes_are_not_taken_for_their_python_spelling(tmp_path: Path) -> None:
    made = [row | {"modal": row["modal"].encode()} for row in tables.rows()]
    assert ", line 1: modal is b'" in message(tables.write_parquet(tmp_path / "rows.parquet", made))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1,0,a,a,-1", "5 fields where the header has 6; quote fields that contain commas"),
        ("1,0,a,a,-1,-1,", "7 fields where the header has 6; quote fields that contain commas"),
        ("1,0,[a,b],a,-1,-1", "7 fields where the header has 6; quote fields that contain commas"),
        ('1,0,"a,a,-1,-1', "broken CSV (unexpected end of data); quote the field and double the quotes inside it"),
        ('1,0,"a"b,a,-1,-1', "broken CSV (',' expected after '\"'); quote the field and double the quotes inside it"),
    ],
)
def test_a_broken_csv_line_is_blamed(line: str, said: str, tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", HEADER, GOOD, line, "2,0,a,a,-1,-1")
    assert message(path).startswith(f", line 3: {said}; correct it")
    found = read_table(path, keep_going=True)
    assert [each[:2] for each in found.problems] == [(3, said)]
    assert found.sequence.tolist() == ["0", "2"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"sequence": 1, ', "broken JSON (Expecting property name enclosed in double quotes at column "),
        ("{}{}", "broken JSON (Extra data at column 3); write one object per line"),
        ("sequence,position", "broken JSON (Expecting value at column 1); write one object per line"),
        ("[1, 2]", "the line is not a JSON object; write one object per line"),
        ("7", "the line is not a JSON object; write one object per line"),
        ("null", "the line is not a JSON object; write one object per line"),
        ('"text"', "the line is not a JSON object; write one object per line"),
        ("1" * 5000, "broken JSON (Exceeds the limit"),
        ("[" * 200_000, "broken JSON ("),
        ("{}", "no value for sequence, position, token, modal, log_p, log_b"),
    ],
    ids=lambda text: text[:20],
)
def test_a_broken_json_line_is_blamed(line: str, said: str, tmp_path: Path) -> None:
    first, last = (json.dumps(one(answer, 0, -1.0, -1.0)) for answer in (0, 2))
    path = write(tmp_path / "rows.jsonl", first, "", line, last)
    assert message(path).startswith(f", line 3: {said}")
    found = read_table(path, keep_going=True)
    assert [problem.line for problem in found.problems] == [3]
    assert found.sequence.tolist() == ["0", "2"]


@pytest.mark.parametrize("suffix", tables.WRITERS)
def test_a_second_row_for_a_position_is_blamed_with_the_first(suffix: str, tmp_path: Path) -> None:
    made = tables.rows()
    path = tables.WRITERS[suffix](tmp_path / f"rows{suffix}", [*made[:5], made[2] | {"log_p": -9.0}, *made[5:]])
    header = 1 if suffix == ".csv" else 0
    said = f", line {6 + header}: sequence answer 0, position 2 is also on line {3 + header}; keep one of them"
    assert message(path).startswith(said)
    found = read_table(path, keep_going=True)
    assert found.log_p.tolist() == [row["log_p"] for row in made]


def test_a_bad_row_does_not_take_the_place_of_a_good_one() -> None:
    found = Table.from_rows([one(0, 0, 1.0, -1.0), one(0, 0, -2.0, -1.0)], keep_going=True)
    assert found.log_p.tolist() == [-2.0]


def test_no_good_row_at_all_is_an_error_that_shows_the_first() -> None:
    said = r"^rows: none of 2 rows is usable; line 1: log_p is NaN; .*; write one row per output position$"
    with pytest.raises(TableError, match=said):
        Table.from_rows([one(0, 0, math.nan, -1.0), one(0, 1, 1.0, -1.0)], keep_going=True)


def test_only_the_first_bad_row_is_read_without_keep_going() -> None:
    def source() -> Any:
        yield one(0, 0, 1.0, -1.0)
        raise AssertionError("read on")

    with pytest.raises(TableError, match="line 1: log_p is 1, above 0"):
        Table.from_rows(source())


# Accounting

good_fields = st.tuples(
    st.text(CHARACTERS, max_size=4), st.sampled_from([*tables.ANSWER, ",", "a\nb", '"\r\n"', '","\n'])
)
bad_lines = st.sampled_from(
    ["x,y", "1,2,3,4,5,6,7", "s,p,t,m,-1,-1", "s,0,t,m,nan,-1", 's,0,"open,m,-1,-1', '"open', 's,0,"a\r\nb",m,1,-1']
)


@given(st.lists(st.one_of(good_fields, bad_lines, st.just("")), max_size=12))
def test_good_rows_and_problems_are_all_rows_each_at_its_line(records: list[tuple[str, str] | str]) -> None:
    """Good records of one or more lines between bad lines and blank ones."""
    text = io.StringIO(newline="")
    good: list[tuple[int, str, str]] = []
    bad: list[int] = []
    text.write(HEADER + "\r\n0,0,a,a,-1,-1\r\n")
    for number, record in enumerate(records, start=1):
        if isinstance(record, str):
            bad += [len(io.StringIO(text.getvalue(), newline="").readlines()) + 1] if record else []
            text.write(record + "\r\n")
        else:
            token, modal = record
            csv.writer(text).writerow(["good", number, token, modal, -1.0, -0.5])
            good.append((number, token, modal))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.csv"
        path.write_bytes(text.getvalue().encode())
        found = read_table(path, keep_going=True)
        assert [problem.line for problem in found.problems] == bad
        rows = zip(found.position.tolist(), found.token.tolist(), found.modal.tolist(), strict=True)
        assert [*rows] == [(0, "a", "a"), *good]
        if bad:
            assert message(path).startswith(f", line {bad[0]}: ")


def test_nothing_is_lost_behind_an_unclosed_quote(tmp_path: Path) -> None:
    path = tables.write_csv(tmp_path / "rows.csv", tables.rows(answers=40))
    lines = path.read_text(encoding="utf-8").splitlines()
    broken = {3: '"answer 0,2,a,a,-1,-1', 100: 'answer x,2,"a,a,-1,-1', len(lines): 'answer y,0,"'}
    for number, text in broken.items():
        lines[number - 1] = text
    found = read_table(write(path, *lines), keep_going=True)
    assert [problem.line for problem in found.problems] == list(broken)
    assert len(found.log_p) == len(lines) - 1 - len(broken)


def test_a_stray_quote_that_closes_an_open_one_swallows_no_rows(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", HEADER, '"0,0,a,a,-1,-1', "1,0,a,a,-1,-1", '2,0,a",a,-1,-1', "3,0,a,a,-1,-1")
    found = read_table(path, keep_going=True)
    assert [problem.line for problem in found.problems] == [2]
    assert found.sequence.tolist() == ["1", "2", "3"]


def test_a_long_file_behind_an_unclosed_quote_is_read(tmp_path: Path) -> None:
    lines = [f"{answer},0,{'x' * 200},a,-1,-1" for answer in range(2 * csv.field_size_limit() // 200)]
    path = write(tmp_path / "rows.csv", HEADER, '0,1,"open', *lines)
    found = read_table(path, keep_going=True)
    assert [problem.line for problem in found.problems] == [2]
    assert len(found.log_p) == len(lines)
