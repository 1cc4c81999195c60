"""No damaged file is read as a whole one: bad values, broken records, cut files and changed bytes, in every format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest

from lambda_star.calibration.readers import read_table
from lambda_star.calibration.table import COLUMNS, Table
from tests.calibration.damaged import GOOD, WRITERS, arrow_of, as_columns, outcome, parquet_of
from tests.night import thinned
from tests.tables import HEADER, columns

BAD_CELLS: dict[str, list[str]] = {
    "log_p": [
        "nan",
        "1e-3abc",
        "0.25",
        "--1",
        "−1",
        "-1_0",
        "inf",
        "-inf",
        "high",
        "0x1p3",
        "-1 .0",
        "None",
        "-１",
        "-1,5",
        "-9999.0",
    ],
    "log_b": ["-9999", "-3.4028235e38", "NaN", "", "1e-300", "-1e400", "-Infinity", "True", "- 1"],
    "position": ["1.5", "-1", "first", "nan", "0x10", "1e3", "9" * 30, "1_0", "٣", "", "2.0"],
    "token": ["a\0b"],
    "modal": ["\0"],
    "sequence": ["s\0"],
    "contract": ["[\0"],
    "log_p_low": ["-0.01", "x", "-0.0_1"],
    "log_p_high": ["-50", "0.5"],
    "log_b_low": ["0", "low"],
    "log_b_high": ["-50", "1e-9", "inf"],
    "top": ['[["a"', '[["a", -0.1]]', "{}", "7", '[["a", 0.5, -1]]', '[["\\u0000", -0.1, -1]]', '[["a", -50, -50]]'],
    "rest": ["[1, 2]", "[1", "[2, 1, 3]"],
}
VARIANTS = [(name, cell) for name, cells in BAD_CELLS.items() for cell in cells]


@pytest.mark.parametrize("name", WRITERS)
def test_every_bad_value_is_named_by_its_line_and_costs_its_row_alone(name: str, tmp_path: Path) -> None:
    """More than thirty bad values in every format; the sixth row shows that reading goes on."""
    assert len(VARIANTS) >= 30
    path = tmp_path / name
    line = 5 if name.startswith(("rows.csv", "rows.tsv")) else 4
    for column, cell in VARIANTS:
        rows = [dict(row) for row in GOOD]
        rows[3][column] = cell
        WRITERS[name](path, rows)
        said = outcome(path)
        assert isinstance(said, str), (column, cell, said)
        assert said.startswith(f", line {line}: "), (column, cell, said)
        found = read_table(path, keep_going=True)
        assert [problem.line for problem in found.problems] == [line], (column, cell)
        assert found.log_p.tolist() == [row["log_p"] for row in GOOD[:3] + GOOD[4:]]
        assert found.modal.tolist() == [row["modal"] for row in GOOD[:3] + GOOD[4:]]


@pytest.mark.parametrize("name", WRITERS)
def test_good_values_are_read(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name, GOOD)
    assert columns(read_table(tmp_path / name)) == columns(Table.from_rows(GOOD))


ROW = "0,0,a,a,-1,-2"
LINES = "a\n" * 70_000
OBJECT = json.dumps(GOOD[0])
BY_COLUMN = {name: [row[name] for row in GOOD] for name in COLUMNS}

BROKEN_TEXT: dict[str, tuple[str, bytes]] = {
    "no header": ("rows.csv", f"{ROW}\n".encode()),
    "a header without its last column": ("rows.csv", f"{HEADER[:-6]}\n{ROW}\n".encode()),
    "a column twice": ("rows.csv", f"{HEADER},log_b\n{ROW},-3\n".encode()),
    "a header without a line end": ("rows.csv", HEADER.encode()),
    "no line end": ("rows.csv", f"{HEADER}\n{ROW}".encode()),
    "a number without its last digits": ("rows.csv", f"{HEADER}\n{ROW}\n1,0,a,a,-1,-2.125"[:-3].encode()),
    "an open quote": ("rows.csv", f'{HEADER}\n{ROW}\n1,0,"a,a,-1,-2\n2,0,a,a,-1,-2\n'.encode()),
    "an open quote in the header": ("rows.csv", f'"{HEADER}\n{ROW}\n'.encode()),
    "a letter behind a quote": ("rows.csv", f'{HEADER}\n0,0,"a"b,a,-1,-2\n'.encode()),
    "a field too few": ("rows.csv", f"{HEADER}\n{ROW}\n1,0,a,a,-1\n".encode()),
    "a field too many": ("rows.csv", f"{HEADER}\n{ROW},\n".encode()),
    "another delimiter": ("rows.csv", f"{HEADER}\n{ROW}\n".replace(",", ";").encode()),
    "tabs": ("rows.csv", f"{HEADER}\n{ROW}\n".replace(",", "\t").encode()),
    "commas": ("rows.tsv", f"{HEADER}\n{ROW}\n".encode()),
    "Latin-1": ("rows.csv", f"{HEADER}\n{ROW}\n1,0,é,é,-1,-2\n".encode("latin-1")),
    "Latin-1 in a further column": ("rows.csv", f"{HEADER},x\n{ROW},é\n".encode("latin-1")),
    "UTF-16": ("rows.csv", f"{HEADER}\n{ROW}\n".encode("utf-16")),
    "half a character": ("rows.csv", f"{HEADER}\n0,0,\ud83d,a,-1,-2\n".encode("utf-8", "surrogatepass")),
    "null characters": ("rows.csv", f"{HEADER}\n{ROW}\n".encode() + bytes(512)),
    "a null character": ("rows.csv", f"{HEADER}\n0,0,a\0,a,-1,-2\n".encode()),
    "a picture": ("rows.csv", b"\x89PNG\r\n\x1a\n\xff\xfe" * 20),
    "a picture for TSV": ("rows.tsv", b"\x89PNG\r\n\x1a\n\xff\xfe" * 20),
    "a very long field": ("rows.csv", f"{HEADER}\n0,0,{'a' * 140_000},a,-1,-2\n".encode()),
    "a very long quoted field": ("rows.csv", f'{HEADER}\n0,0,"{"a" * 140_000}",a,-1,-2\n'.encode()),
    "a very long field of lines": ("rows.csv", f'{HEADER}\n0,0,"{LINES}",a,-1,-2\n'.encode()),
    "a line without end": ("rows.csv", f"{HEADER}\n".encode() + b"a" * 2**19),
    "a header without end": ("rows.csv", b"a," * 2**18),
    "a position twice": ("rows.csv", f"{HEADER}\n{ROW}\n{ROW}\n".encode()),
    "nothing": ("rows.csv", b""),
    "a header alone": ("rows.csv", f"{HEADER}\n".encode()),
    "carriage returns and an open quote": ("rows.csv", f'{HEADER}\r0,0,"a,a,-1,-2\r'.encode()),
    "nothing in TSV": ("rows.tsv", b"\n\n"),
    "a quote too many in TSV": ("rows.tsv", f'{HEADER}\n{ROW}\n1,0,"a"",a,-1,-2\n'.replace(",", "\t").encode()),
}
BROKEN_JSON: dict[str, tuple[str, bytes]] = {
    "a cut line": ("rows.jsonl", f"{OBJECT}\n{OBJECT}"[:-5].encode()),
    "a key twice": ("rows.jsonl", f'{OBJECT[:-1]}, "log_b": -9}}\n'.encode()),
    "a key twice within": ("rows.jsonl", f'{OBJECT[:-1]}, "x": {{"a": 1, "a": 2}}}}\n'.encode()),
    "two objects on a line": ("rows.jsonl", f"{OBJECT}{OBJECT}\n".encode()),
    "a list": ("rows.jsonl", b"[1, 2]\n"),
    "a number": ("rows.jsonl", b"7\n"),
    "null": ("rows.jsonl", b"null\n"),
    "deep lists": ("rows.jsonl", b"[" * 200_000 + b"\n"),
    "deep objects": ("rows.jsonl", b'{"a":' * 100_000 + b"\n"),
    "a long number": ("rows.jsonl", OBJECT.replace("-0.1", "-" + "1" * 5000).encode() + b"\n"),
    "single quotes": ("rows.jsonl", OBJECT.replace('"', "'").encode() + b"\n"),
    "a comma too many": ("rows.jsonl", f"{OBJECT[:-1]},}}\n".encode()),
    "CSV": ("rows.jsonl", f"{HEADER}\n{ROW}\n".encode()),
    "Latin-1": ("rows.jsonl", OBJECT.replace('"B7"', '"é"').replace("s0", "é").encode("latin-1") + b"\n"),
    "UTF-16": ("rows.jsonl", f"{OBJECT}\n".encode("utf-16")),
    "a raw null character": ("rows.jsonl", OBJECT.replace("s0", "s\0").encode() + b"\n"),
    "an escaped null character": ("rows.jsonl", OBJECT.replace("s0", "s\\u0000").encode() + b"\n"),
    "half a character": ("rows.jsonl", OBJECT.replace("s0", "\\ud83d").encode() + b"\n"),
    "a key too few": ("rows.jsonl", OBJECT.replace('"log_b"', '"b"').encode() + b"\n"),
    "a picture": ("rows.jsonl", b"\x89PNG\r\n\x1a\n\xff\xfe" * 20),
    "nothing": ("rows.jsonl", b""),
    "an open array": ("rows.json", f"[{OBJECT}, {OBJECT}".encode()),
    "an open array behind a comma": ("rows.json", f"[{OBJECT},".encode()),
    "an array without commas": ("rows.json", f"[{OBJECT} {OBJECT}]".encode()),
    "an open object in an array": ("rows.json", f"[{OBJECT}, {OBJECT[:-4]}".encode()),
    "a key twice in an array": ("rows.json", f'[{OBJECT[:-1]}, "log_b": -9}}]'.encode()),
    "text behind an array": ("rows.json", f"[{OBJECT}] {OBJECT}".encode()),
    "an array of numbers": ("rows.json", b"[1, 2]"),
    "an array of arrays": ("rows.json", b"[[1], [2]]"),
    "an empty array": ("rows.json", b"[]"),
    "an open string": ("rows.json", b'["'),
    "a text": ("rows.json", b'"rows"'),
    "Latin-1 in an array": ("rows.json", f"[{OBJECT}]".replace("s0", "é").encode("latin-1")),
    "columns of two lengths": (
        "rows.json",
        json.dumps(BY_COLUMN | {"top": [1]}).encode(),
    ),
    "a column too few": ("rows.json", json.dumps({**BY_COLUMN, "sequence": None}).encode()),
    "columns cut": ("rows.json", json.dumps(BY_COLUMN).encode()[:-9]),
    "deep arrays": ("rows.json", b"[" * 200_000),
    "nothing at all": ("rows.json", b" \n "),
}


@pytest.mark.parametrize("packing", thinned([None, "gzip", "zstd"], 2))
@pytest.mark.parametrize("variants", [BROKEN_TEXT, BROKEN_JSON], ids=["text", "JSON"])
def test_a_broken_text_is_refused_with_its_path(
    variants: Any, packing: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(variants) >= 30
    monkeypatch.setattr("lambda_star.calibration.readers.delimited.BLOCK", 2**18)
    for case, (name, data) in variants.items():
        path = tmp_path / name
        if packing is None:
            path.write_bytes(data)
        else:
            with pyarrow.CompressedOutputStream(str(path), packing) as file:
                file.write(data)
        said = outcome(path)
        assert isinstance(said, str), (case, said)
        assert len(said) < 400, case
        kept = outcome(path, keep_going=True)
        assert isinstance(kept, str) or kept.problems, case


def changed(name: str, column: Any) -> pyarrow.Table:
    table = as_columns(GOOD)
    return table.set_column(table.column_names.index(name), name, pyarrow.array(column))


COLUMN_CHANGES: dict[str, pyarrow.Table] = {
    **{f"no column {name}": as_columns(GOOD).drop_columns([name]) for name in COLUMNS},
    **{f"nothing in {name}": changed(name, [None] * 6) for name in COLUMNS},
    **{f"a null in {name}": changed(name, [*as_columns(GOOD)[name].to_pylist()[:5], None]) for name in COLUMNS},
    **{f"bytes in {name}": changed(name, [b"a"] * 6) for name in COLUMNS},
    **{f"truth values in {name}": changed(name, [True] * 6) for name in COLUMNS[1:2] + COLUMNS[4:]},
    **{f"lists in {name}": changed(name, [[1]] * 6) for name in COLUMNS[1:2] + COLUMNS[4:]},
    "fractions in position": changed("position", [0.5] * 6),
    "a large position": changed("position", np.full(6, 2**64 - 1, dtype=np.uint64)),
    "NaN in log_p": changed("log_p", [np.nan] * 6),
    "probabilities": changed("log_p", [0.5] * 6),
    "no row": as_columns(GOOD).slice(0, 0),
    "twice the same": pyarrow.concat_tables([as_columns(GOOD)] * 2),
    "a name twice": as_columns(GOOD).append_column("log_b", pyarrow.array([-1.0] * 6)),
    "text that is not UTF-8": as_columns(GOOD).set_column(
        2, "token", pyarrow.StringArray.from_buffers(6, *pyarrow.array([b"\xff"] * 6).buffers()[1:])
    ),
}


@pytest.mark.parametrize("kind", ["parquet", "arrow", "arrows"])
def test_columns_that_do_not_hold_a_table_are_refused_with_the_path(kind: str, tmp_path: Path) -> None:
    assert len(COLUMN_CHANGES) >= 30
    path = tmp_path / f"rows.{kind}"
    for case, table in COLUMN_CHANGES.items():
        path.write_bytes(parquet_of(table) if kind == "parquet" else arrow_of(table, is_file=kind == "arrow"))
        said = outcome(path)
        assert isinstance(said, str), (case, said)
        kept = outcome(path, keep_going=True)
        assert isinstance(kept, str) or kept.problems, case
