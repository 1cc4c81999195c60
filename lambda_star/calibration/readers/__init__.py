"""Read a table of measured log-probabilities from a CSV, JSON-lines or Parquet file.

The columns are the attributes of :class:`lambda_star.calibration.table.Table`. The optional columns ``top`` (a list of
[token, log_p, log_b]) and ``rest`` ([least, greatest] log(p/b) of the tokens outside ``top``) may be JSON text.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from os import PathLike
from pathlib import Path

from lambda_star.calibration.rows import Row, gather
from lambda_star.calibration.table import COLUMNS, OPTIONAL_COLUMNS, Table, TableError

__all__ = ["read_table"]


def read_table(path: str | PathLike[str], *, keep_going: bool = False) -> Table:
    """Read a table of log-probabilities from a file whose suffix (.csv, .jsonl, .ndjson, .parquet) gives its format.

    Args:
        path: the file.
        keep_going: whether to list bad rows in ``problems`` instead of raising an error for the first one.

    Returns:
        A :class:`lambda_star.calibration.table.Table` with every good row, in the order of the file.

    Raises:
        TableError: the file is missing, empty or of another type, lacks a column, or (unless ``keep_going``) has a bad
            row; the message gives the path, the line and the remedy.

    >>> table = read_table("examples/rank_by_price/logprobs.csv")
    >>> len(table.log_p) > 1000, bool((table.log_p <= 0).all())
    (True, True)
    """
    path = Path(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        kind = f"a {path.suffix} file" if path.suffix else "a file without a suffix"
        raise TableError(str(path), f"cannot read {kind}; give one of {', '.join(READERS)}")
    try:
        return gather(str(path), reader(path), keep_going)
    except OSError as error:
        raise TableError(str(path), f"{error.strerror or error}; check the path") from error
    except UnicodeDecodeError as error:
        raise TableError(str(path), "the file is not UTF-8 text; check its type, or convert it to UTF-8") from error


def _csv_rows(path: Path) -> Iterator[tuple[int, Row]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = file.readlines()
    line, header = next(_csv_records(lines), (1, []))
    if isinstance(header, str):
        raise TableError(str(path), header, line)
    _check_columns(path, header, line)
    for line, values in islice(_csv_records(lines, len(header)), 1, None):
        yield line, values if isinstance(values, str) else dict(zip(header, values, strict=True))


def _csv_records(lines: list[str], width: int | None = None) -> Iterator[tuple[int, list[str] | str]]:
    """The first line and the fields of every record, or a sentence about what is wrong with it.

    A quote that is never closed swallows the lines after it. Reading therefore resumes on the line after the start of a
    broken record or of one with the wrong number of fields, so that no good row is lost.
    """
    done = 0
    while done < len(lines):
        start = done
        reader = csv.reader(map(lines.__getitem__, range(start, len(lines))), strict=True)
        try:
            for values in reader:
                if values and len(values) != (width or len(values)):
                    done += 1
                    yield done, f"{len(values)} fields where the header has {width}; quote fields that contain commas"
                    break
                if values:
                    yield done + 1, values
                done = start + reader.line_num
        except csv.Error as error:
            done += 1
            yield done, f"broken CSV ({error}); quote the field and double the quotes inside it"


def _jsonl_rows(path: Path) -> Iterator[tuple[int, Row]]:
    with path.open(encoding="utf-8-sig") as file:
        for line, text in enumerate(file, start=1):
            if text.strip():
                yield line, _jsonl_row(text)


def _jsonl_row(text: str) -> Row:
    try:
        row = json.loads(text)
    except json.JSONDecodeError as error:
        return f"broken JSON ({error.msg} at column {error.colno}); write one object per line"
    except (ValueError, RecursionError) as error:  # Python refuses long numbers and deep nesting
        return f"broken JSON ({error}); write one object per line"
    return row if isinstance(row, dict) else "the line is not a JSON object; write one object per line"


def _parquet_rows(path: Path) -> Iterator[tuple[int, Row]]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise TableError(str(path), "Parquet needs pyarrow: pip install 'lambda-star[parquet]'") from error
    with path.open("rb") as raw:
        try:
            with ParquetFile(raw) as file:
                _check_columns(path, file.schema_arrow.names)
                columns = [name for name in (*COLUMNS, *OPTIONAL_COLUMNS) if name in file.schema_arrow.names]
                batches = (batch.to_pylist() for batch in file.iter_batches(columns=columns))
                yield from enumerate(chain.from_iterable(batches), start=1)
        except (ArrowException, OSError) as error:
            said = f"the file is damaged or not a Parquet file ({error}); check the file type"
            raise TableError(str(path), said) from error


READERS: dict[str, Callable[[Path], Iterator[tuple[int, Row]]]] = {
    ".csv": _csv_rows,
    ".jsonl": _jsonl_rows,
    ".ndjson": _jsonl_rows,
    ".parquet": _parquet_rows,
}


def _check_columns(path: Path, header: Sequence[str], line: int | None = None) -> None:
    missing = [name for name in COLUMNS if name not in header]
    twice = [name for name in (*COLUMNS, *OPTIONAL_COLUMNS) if header.count(name) > 1]
    if twice:
        raise TableError(str(path), f"there are two columns {', '.join(twice)}; keep one of each", line)
    if header and missing:
        said = f"there is no column {', '.join(missing)}; the header must name {', '.join(COLUMNS)}"
        raise TableError(str(path), said, line)
