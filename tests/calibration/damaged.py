"""Good rows, and their writers for every format, also with values that no table can hold."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import ipc, parquet

from lambda_star.calibration.readers import read_table
from lambda_star.calibration.table import COLUMNS, Table, TableError
from tests.tables import Row

GOOD = [
    {"sequence": f"s{at // 3}", "position": at % 3, "token": t, "modal": t, "log_p": -0.1 - at, "log_b": -0.7 - at}
    for at, t in enumerate(['["', "B7", 'a"b', "x,y", "é", "\t"])
]


def write_text(path: Path, rows: list[Row], delimiter: str = ",") -> None:
    names = [*COLUMNS, *sorted({name for row in rows for name in row} - {*COLUMNS})]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, delimiter=delimiter, lineterminator="\n", restval="")
        writer.writeheader()
        writer.writerows(rows)


def write_lines(path: Path, rows: list[Row]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8", newline="")


def write_array(path: Path, rows: list[Row]) -> None:
    path.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def as_columns(rows: list[Row]) -> pyarrow.Table:
    """Columns of one type each: where one value is a text, all are."""
    names = dict.fromkeys(name for row in rows for name in row)
    made = {name: [row.get(name) for row in rows] for name in names}
    for name, values in made.items():
        if any(isinstance(value, str) for value in values):
            made[name] = [None if value is None else str(value) for value in values]
    return pyarrow.table(made)


def write_parquet(path: Path, rows: list[Row]) -> None:
    parquet.write_table(as_columns(rows), path)


def write_arrow(path: Path, rows: list[Row]) -> None:
    table = as_columns(rows)
    with path.open("wb") as file, ipc.new_file(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=4)


def write_stream(path: Path, rows: list[Row]) -> None:
    table = as_columns(rows)
    with path.open("wb") as file, ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=4)


def packed(writer: Callable[[Path, list[Row]], None], name: str, packing: str) -> Callable[[Path, list[Row]], None]:
    def write(path: Path, rows: list[Row]) -> None:
        plain = path.with_name(name)
        writer(plain, rows)
        with pyarrow.CompressedOutputStream(str(path), packing) as file:
            file.write(plain.read_bytes())
        plain.unlink()

    return write


WRITERS: dict[str, Callable[[Path, list[Row]], None]] = {
    "rows.csv": write_text,
    "rows.tsv": lambda path, rows: write_text(path, rows, "\t"),
    "rows.jsonl": write_lines,
    "rows.json": write_array,
    "rows.parquet": write_parquet,
    "rows.arrow": write_arrow,
    "rows.arrows": write_stream,
    "rows.csv.gz": packed(write_text, "plain.csv", "gzip"),
    "rows.jsonl.zst": packed(write_lines, "plain.jsonl", "zstd"),
    "rows.parquet.gz": packed(write_parquet, "plain.parquet", "gzip"),
}


def outcome(path: Path, **options: Any) -> Table | str:
    """The table, or what the error says, which must begin with the path; nothing else may be raised."""
    try:
        return read_table(path, **options)
    except TableError as error:
        said = str(error)
    assert said.startswith(str(path)), said
    return said.removeprefix(str(path))


def arrow_of(table: pyarrow.Table, *, is_file: bool = True, compression: str | None = None) -> bytes:
    buffer = io.BytesIO()
    options = ipc.IpcWriteOptions(compression=compression)
    with (ipc.new_file if is_file else ipc.new_stream)(buffer, table.schema, options=options) as writer:
        writer.write_table(table)
    return buffer.getvalue()


def parquet_of(table: pyarrow.Table) -> bytes:
    buffer = io.BytesIO()
    parquet.write_table(table, buffer)
    return buffer.getvalue()
