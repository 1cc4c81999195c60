"""Write a table of measured log-probabilities in every format that is read, whole or not at all."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from lambda_star._core.files import MARK, write_whole
from lambda_star.calibration.readers.columnar import COLUMNS_KEY, footer_mark
from lambda_star.calibration.table import COLUMNS, ENDS, Table
from lambda_star.calibration.texts import Texts

__all__ = ["table_writer", "write_table"]

ROWS = 2**16
"""The rows that become Python objects at a time."""

Writer = Callable[[Iterable[Table], Path], None]


def write_table(table: Table | Iterable[Table], path: str | Path, *, force: bool = False) -> None:
    """Write a table to a file that :func:`lambda_star.read_table` reads as the same table.

    The file appears when it is complete, so a run that is cut leaves none or the old one. Parquet has checksums.

    Args:
        table: the table, or its parts in order, which are written one after another.
        path: a .csv, .tsv, .jsonl, .parquet or .arrow file, one of text also with .gz or .zst; its folder may be new.
        force: replace a file that is not such a table.

    Raises:
        ValueError: the file has another suffix, or only some parts have a ``contract`` column.
        FileExistsError: there is a file that is not such a table, and ``force`` is not given.
        OSError: the file cannot be written.

    >>> import tempfile
    >>> from lambda_star import read_table
    >>> path = Path(tempfile.mkdtemp(), "rows.csv")
    >>> row = {"sequence": 0, "position": 0, "token": "[", "modal": "[", "log_p": -0.001, "log_b": -0.7}
    >>> write_table(Table.from_rows([row]), path)
    >>> read_table(path).log_b.tolist()
    [-0.7]
    """
    path = Path(path)
    writer = table_writer(path)
    parts = [table] if isinstance(table, Table) else table
    write_whole(path, lambda part: writer(parts, part), force=force, kind="table")


def table_writer(path: Path) -> Writer:
    """Return the function that writes the parts of a table to a path, in the format of a file's suffix.

    >>> table_writer(Path("rows.md"))
    Traceback (most recent call last):
    ValueError: a table must be written to one of .csv, .tsv, .jsonl, .parquet, .arrow, got rows.md
    """
    name = Path(path.name.lower())
    packing = name.suffix if name.suffix in SINKS else ""
    suffix = Path(name.stem).suffix if packing else name.suffix
    if suffix in TEXTS:
        return partial(_text, TEXTS[suffix], SINKS[packing])
    if suffix in BINARY and not packing:
        return BINARY[suffix]
    raise ValueError(f"a table must be written to one of {', '.join((*TEXTS, *BINARY))}, got {path}")


class _Columns:
    """The columns of a file: those of one table, or all optional ones where more parts may come."""

    def __init__(self, tables: Iterable[Table]) -> None:
        parts = iter(tables)
        first, second = next(parts, None), next(parts, None)
        if first is None:
            raise ValueError("`table` must hold at least one part, got none")
        ends: tuple[str, ...] = ENDS
        contract, top = first.contract is not None, True
        if second is None:
            ends, top = tuple(name for name in ENDS if getattr(first, name) is not None), first.top is not None
        self.names = (*COLUMNS, *ends, *["contract"][: int(contract)], *["top", "rest"][: 2 * int(top)])
        self.parts = chain([first], [] if second is None else [second], parts)

    def tables(self) -> Iterator[Table]:
        """The parts, cut into pieces; all of them have a ``contract`` column, or none has."""
        for part in self.parts:
            if (part.contract is not None) != ("contract" in self.names):
                raise ValueError("`table` must have a `contract` column in every part or in none")
            for start in range(0, len(part), ROWS):
                yield part.take(slice(start, start + ROWS))

    def lists(self, table: Table) -> dict[str, list[Any]]:
        """The values of every column, None where a row has none."""
        found: dict[str, list[Any]] = {}
        for name in self.names:
            column = getattr(table, name, None)
            found[name] = [None] * len(table) if column is None else _listed(column)
        if "top" in found:
            tops = found["top"]
            ranges = [None if top is None or top.low is None else [top.low, top.high] for top in tops]
            listed = [top and [*zip(top.tokens, top.log_p, top.log_b, strict=True)] for top in tops]
            found |= {"top": listed, "rest": ranges}
        return found

    def cells(self, table: Table) -> dict[str, list[Any]]:
        """The values of every column, those of lists as JSON, and empty text where a row has none."""
        found = self.lists(table)
        for name in {"top", "rest"} & found.keys():
            found[name] = ["" if value is None else _compact(value) for value in found[name]]
        return found


def _listed(column: Any) -> list[Any]:
    return list(column if isinstance(column, tuple) else column.tolist())


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _delimited(delimiter: str, columns: _Columns) -> Iterator[str]:
    yield delimiter.join(columns.names) + "\n"
    for table in columns.tables():
        cells = columns.cells(table)
        # Before Python 3.13 the csv module does not quote a carriage return where the lines end otherwise.
        returns = any("\r" in text for name in TEXT_COLUMNS & cells.keys() for text in getattr(table, name).values)
        buffer = io.StringIO()
        writer = csv.writer(buffer, delimiter=delimiter, lineterminator="\n", quoting=QUOTING[returns])
        writer.writerows(zip(*cells.values(), strict=True))
        yield buffer.getvalue()


def _lines(columns: _Columns) -> Iterator[str]:
    for table in columns.tables():
        found = columns.lists(table)
        for row in zip(*found.values(), strict=True):
            filled = {name: value for name, value in zip(found, row, strict=True) if value is not None}
            yield _compact({name: "-inf" if value == -math.inf else value for name, value in filled.items()}) + "\n"


def _text(lines: Callable[[_Columns], Iterator[str]], sink: Any, tables: Iterable[Table], path: Path) -> None:
    with path.open("wb") as file, sink(file) as stream:
        for text in lines(_Columns(tables)):
            stream.write(text.encode())


def _zstd(file: Any) -> Any:
    import pyarrow

    return pyarrow.CompressedOutputStream(pyarrow.PythonFile(file, "w"), "zstd")


def _gzip(file: Any) -> Any:
    return gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=file, mtime=0)


def _batches(columns: _Columns) -> Iterator[Any]:
    """The schema of a file, and then its parts as Arrow tables."""
    import pyarrow

    types = dict.fromkeys((*TEXT_COLUMNS, "top", "rest"), pyarrow.string()) | {"position": pyarrow.int64()}
    fields = [(name, types.get(name, pyarrow.float64())) for name in columns.names]
    metadata = {"creator": MARK, COLUMNS_KEY: ",".join(columns.names)}
    schema = pyarrow.schema(fields, metadata=metadata)
    yield schema
    for table in columns.tables():
        cells = columns.cells(table) if "top" in columns.names else {}
        arrays = [_array(getattr(table, name, None), cells.get(name), kind) for name, kind in fields]
        yield pyarrow.Table.from_arrays(arrays, schema=schema)


def _array(column: Any, cells: list[Any] | None, kind: Any) -> Any:
    import pyarrow

    if not isinstance(column, Texts):
        return pyarrow.array(column if isinstance(column, np.ndarray) else cells, kind)
    used, codes = np.unique(column.codes, return_inverse=True)
    return pyarrow.array(column.values[used].tolist(), kind).take(pyarrow.array(codes))


def _parquet(tables: Iterable[Table], path: Path) -> None:
    from pyarrow import parquet

    batches = _batches(_Columns(tables))
    with parquet.ParquetWriter(path, next(batches), write_page_checksum=True) as writer:
        for batch in batches:
            writer.write_table(batch)
    with path.open("r+b") as file:
        file.seek(-8, os.SEEK_END)
        size = int.from_bytes(file.read(4), "little")
        file.seek(-8 - size, os.SEEK_END)
        footer = file.read()
        file.seek(-len(footer), os.SEEK_END)
        file.write(footer_mark(footer[:-8]) + footer)


def _arrow(tables: Iterable[Table], path: Path) -> None:
    from pyarrow import ipc

    batches = _batches(_Columns(tables))
    with path.open("wb") as file, ipc.new_file(file, next(batches)) as writer:
        for batch in batches:
            writer.write_table(batch)


QUOTING: Any = {False: csv.QUOTE_MINIMAL, True: csv.QUOTE_NONNUMERIC}

TEXT_COLUMNS = {"sequence", "token", "modal", "contract"}

TEXTS: dict[str, Callable[[_Columns], Iterator[str]]] = {
    ".csv": partial(_delimited, ","),
    ".tsv": partial(_delimited, "\t"),
    ".jsonl": _lines,
}
BINARY: dict[str, Writer] = {".parquet": _parquet, ".arrow": _arrow}
SINKS: dict[str, Callable[[Any], Any]] = {"": nullcontext, ".gz": _gzip, ".zst": _zstd}
