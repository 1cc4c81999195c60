"""Check plain columns all at once, or row by row where anything is amiss."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lambda_star._core.namespaces import Floats
from lambda_star.calibration.readers.columnar import Groups, batches, table_columns
from lambda_star.calibration.readers.listed import tops
from lambda_star.calibration.readers.parts import Part
from lambda_star.calibration.readers.records import rows_of
from lambda_star.calibration.rows import LEAST, Row, gather, is_integer
from lambda_star.calibration.table import COLUMNS, ENDS, OPTIONAL_COLUMNS, Problem, Table, TableError
from lambda_star.calibration.texts import Texts

__all__ = [
    "CELL",
    "batch_parts",
    "careful",
    "frame_parts",
    "record_parts",
    "whole",
]

CELL = 131_072
"""The most characters of a text, as in the ``csv`` module."""

TEXTS = ("sequence", "token", "modal")

ROWS = 2**16
"""The rows that are checked at a time."""


def batch_parts(path: Path, source: str, kind: str, keep_going: bool, groups: Groups | None = None) -> Iterator[Part]:
    """Yield the rows of a Parquet or Arrow file, or of some row groups of Parquet, part by part."""
    with batches(path, source, kind, ROWS, table_columns, groups) as found:
        yield from _arrow_parts(found, source, keep_going, 1 + (groups.before if groups else 0))


def frame_parts(frame: Any, source: str, keep_going: bool) -> Iterator[Part]:
    """Yield the rows of an object with ``__arrow_c_stream__``, part by part.

    >>> import pyarrow
    >>> row = {"sequence": 0, "position": 0, "token": "[", "modal": "[", "log_p": -0.001, "log_b": -0.7}
    >>> next(frame_parts(pyarrow.Table.from_pylist([row]), "frame", False)).table.modal.tolist()
    ['[']
    """
    import pyarrow

    try:
        with pyarrow.RecordBatchReader.from_stream(frame) as reader:
            wanted = table_columns(source, reader.schema.names)
            chosen = (batch.select(wanted) for batch in reader)
            slices = (batch.slice(start, ROWS) for batch in chosen for start in range(0, batch.num_rows, ROWS))
            yield from _arrow_parts(slices, source, keep_going)
    except pyarrow.ArrowException as error:
        said = f'a column cannot be read ({error}); give `Table.from_rows` its rows, `frame.to_dict("records")`'
        raise TableError(source, said) from error


def _arrow_parts(found: Iterable[Any], source: str, keep_going: bool, first: int = 1) -> Iterator[Part]:
    """Yield the rows of Arrow batches with the columns of a table, part by part; ``first`` is the number of the first
    row.
    """
    for batch in found:
        table = whole(source, partial(_named, batch))
        lines = np.arange(first, first + batch.num_rows)
        yield careful(source, rows_of(batch, first), keep_going) if table is None else Part(table, lines)
        first += batch.num_rows


def record_parts(items: Iterable[tuple[int, Any] | Problem], source: str, keep_going: bool) -> Iterator[Part]:
    """Yield the rows that stand in records of JSON, part by part.

    An item is a record with its line, or the problem that stands in its place. One object that holds a list for every
    column of a table stands for all its rows.
    """
    for chunk in _chunks(items):
        rows = [row for item in chunk for row in _rows(item)]
        table = whole(source, partial(_columns_of, [row for _, row in rows]))
        lines = np.array([line for line, _ in rows], dtype=np.int64)
        yield careful(source, rows, keep_going) if table is None else Part(table, lines)


def _chunks(items: Iterable[tuple[int, Any] | Problem]) -> Iterator[list[tuple[int, Any] | Problem]]:
    """The items in lists, also those before an error."""
    chunk: list[tuple[int, Any] | Problem] = []
    try:
        for item in items:
            chunk.append(item)
            if len(chunk) == ROWS:
                yield chunk
                chunk = []
    except TableError:
        yield chunk
        raise
    yield chunk


def _named(batch: Any) -> dict[str, Any]:
    return dict(zip(batch.schema.names, batch.columns, strict=True))


def _rows(item: tuple[int, Any] | Problem) -> Iterable[tuple[int, Row]]:
    """The rows that one record holds."""
    if isinstance(item, Problem):
        return [(item.line, item.message)]
    line, record = item
    if not isinstance(record, dict):
        return [(line, "the line is not a JSON object; write one object per line")]
    if not isinstance(record.get("sequence"), list | dict):
        return [(line, record)]
    columns = {name: record[name] for name in (*COLUMNS, *OPTIONAL_COLUMNS) if name in record}
    listed = {name: list(value.values()) if isinstance(value, dict) else value for name, value in columns.items()}
    if not all(isinstance(listed.get(name), list) for name in COLUMNS):
        return [(line, columns)]
    lengths = {name: len(value) for name, value in listed.items() if isinstance(value, list)}
    if len(lengths) != len(listed) or len(set(lengths.values())) > 1:
        return [(line, f"the columns do not have the same number of rows: {lengths}")]
    return enumerate((dict(zip(listed, row, strict=True)) for row in zip(*listed.values(), strict=True)), start=1)


def _columns_of(rows: list[Any]) -> dict[str, Any]:
    """The columns of rows as Arrow arrays; an error where they have other types than those of a table."""
    import pyarrow

    kinds: dict[str, set[type]] = {name: {str, int} for name in TEXTS} | {"position": {int}}
    kinds |= {name: {float, int} for name in ("log_p", "log_b")}
    columns: dict[str, Any] = {name: [row[name] for row in rows] for name in COLUMNS}
    for name in {*chain.from_iterable(rows)} & {*OPTIONAL_COLUMNS}:
        columns[name] = [row.get(name) for row in rows]
    for name, values in columns.items():
        if name in {"top", "rest"}:
            continue
        found = {type(value) for value in values if not (name in ENDS and value == "-inf")}
        if not found <= kinds.get(name, {str, NoneType} if name == "contract" else {float, int, NoneType}):
            raise TypeError("a value has another type")
        columns[name] = pyarrow.array(_as_arrow(name, values, found))
    return columns


def _as_arrow(name: str, values: list[Any], kinds: set[type]) -> list[Any]:
    """Values of one type: numbers that name answers are texts, and the text -inf is a number."""
    if name in TEXTS:
        return [str(value) for value in values] if int in kinds else values
    return [-math.inf if value == "-inf" else value for value in values] if name in ENDS else values


def whole(source: str, columns: Callable[[], Mapping[str, Any]]) -> Table | None:
    """Return a stretch of a file as a table, or None where only a look at every row can tell what is amiss, if any is.

    The columns are Arrow arrays by name; ``top`` and ``rest`` may be lists.
    """
    import pyarrow

    try:
        return Table(source=source, **_columns(columns()))
    except (pyarrow.ArrowException, ValueError, TypeError, OverflowError, LookupError):
        return None


def careful(source: str, rows: Iterable[tuple[int, Row]], keep_going: bool) -> Part:
    """Return a stretch of a file as a table, row by row; each row has a line of its own."""
    found = list(rows)
    table = gather(source, found, keep_going, empty=True)
    bad = {problem.line for problem in table.problems}
    return Part(table, np.array([line for line, _ in found if line not in bad], dtype=np.int64))


def _columns(columns: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a table; ``ValueError`` where only a closer look can tell what is wrong, if anything is."""
    made: dict[str, Any] = {name: _texts(columns[name]) for name in TEXTS}
    made["position"] = _positions(columns["position"])
    for name in ("log_p", "log_b"):
        made[name] = _floats(columns[name])
        _require((made[name] <= 0) & (made[name] >= LEAST))
    for name in ENDS:
        if name in columns:
            made[name] = _end(columns[name], made[name[:5]], below=name.endswith("low"))
    if "contract" in columns:
        made["contract"] = _texts(columns["contract"], missing="")
    if "top" in columns or "rest" in columns:
        top, rest = (_cells(columns.get(name), len(made["position"])) for name in ("top", "rest"))
        made["top"] = tops(top, rest, made["log_p"], made["log_b"])
    return made


def _require(holds: NDArray[np.bool_]) -> None:
    if not holds.all():
        raise ValueError("a row is amiss")


def _single(column: Any) -> Any:
    """One Arrow array from an array or a chunked array."""
    import pyarrow

    if not isinstance(column, pyarrow.ChunkedArray):
        return column
    return column.unify_dictionaries().combine_chunks()


def _texts(column: Any, missing: str | None = None) -> Texts:
    """The texts of an Arrow array of texts or integers, with each distinct text once."""
    from pyarrow import types

    column = _single(column)
    encoded = column if types.is_dictionary(column.type) else column.dictionary_encode()
    encoded = _compact(encoded) if len(encoded.dictionary) > len(encoded) // 16 else encoded
    kind = encoded.dictionary.type
    if not (types.is_string(kind) or types.is_large_string(kind) or types.is_integer(kind) or types.is_null(kind)):
        raise TypeError("a column of texts has another type")
    distinct = [missing if value is None else str(value) for value in encoded.dictionary.to_pylist()]
    indices = encoded.indices.cast("int64")
    if indices.null_count:
        indices = indices.fill_null(len(distinct))
        distinct.append(missing)
    if None in distinct:
        raise ValueError("a text is missing")
    texts = Texts.of(str(text) for text in distinct)
    codes = np.from_dlpack(indices)
    _require(np.array([len(text) <= CELL and "\0" not in text for text in texts.values], dtype=bool))
    return Texts(texts.values, texts.codes[codes])


def _compact(encoded: Any) -> Any:
    """The same texts without those that do not occur, which belong to other batches of a file."""
    import pyarrow
    from pyarrow import compute

    used = encoded.indices.drop_null().unique()
    return pyarrow.DictionaryArray.from_arrays(compute.index_in(encoded.indices, used), encoded.dictionary.take(used))


def _positions(column: Any) -> NDArray[np.int64]:
    import pyarrow
    from pyarrow import types

    column = _single(column)
    if types.is_integer(column.type) and not column.null_count:
        positions: NDArray[np.int64] = np.asarray(np.from_dlpack(column.cast(pyarrow.int64())), dtype=np.int64)
    else:
        texts = _texts(column)
        _require(np.array([is_integer(text) for text in texts.values if text], dtype=bool))
        positions = np.array([int(text or -1) for text in texts.values], dtype=np.int64)[texts.codes]
    _require(positions >= 0)
    return positions


def _floats(column: Any) -> Floats:
    """The numbers of an Arrow array, NaN where they are missing."""
    import pyarrow
    from pyarrow import types

    column = _single(column)
    if not (types.is_floating(column.type) or types.is_integer(column.type) or types.is_null(column.type)):
        raise TypeError("a column of numbers has another type")
    column = column.cast(pyarrow.float64())
    column = column.fill_null(math.nan) if column.null_count else column
    return np.asarray(np.from_dlpack(column), dtype=np.float64)


def _end(column: Any, numbers: Floats, *, below: bool) -> Floats | None:
    """The ends of intervals, which are the numbers themselves where the column has none."""
    ends = _floats(column)
    missing = np.isnan(ends)
    if missing.sum() != column.null_count:
        raise ValueError("NaN is a missing number in some formats only")
    if missing.all():
        return None
    ends = np.where(missing, numbers, ends)
    _require(ends <= numbers if below else (numbers <= ends) & (ends <= 0))
    return ends


def _cells(column: Any, rows: int) -> list[Any]:
    if column is None:
        return [None] * rows
    return column if isinstance(column, list) else list(column.to_pylist())
