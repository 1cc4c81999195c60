"""Write a table of measured log-probabilities as a CSV, JSON-lines or Parquet file, whole or not at all."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lambda_star._core.files import MARK, write_whole
from lambda_star.calibration.table import COLUMNS, Table

__all__ = ["table_writer", "write_table"]


def write_table(table: Table, path: str | Path, *, force: bool = False) -> None:
    """Return nothing; write a table to a file that :func:`lambda_star.read_table` reads.

    The file appears when it is complete, so a run that is cut leaves none or the old one.

    Args:
        table: the table.
        path: a .csv, .jsonl or .parquet file; its folder may be new.
        force: replace a file that is not such a table.

    Returns:
        Nothing.

    Raises:
        ValueError: the file has another suffix, or Parquet is asked for without pyarrow.
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
    write_whole(path, lambda part: writer(table, part), force=force, kind="table")


def table_writer(path: Path) -> Callable[[Table, Path], None]:
    """Return the function that writes the format of a file's suffix.

    Args:
        path: the file.

    Returns:
        A function of a table and a path.

    Raises:
        ValueError: the file has another suffix, or Parquet is asked for without pyarrow.

    >>> table_writer(Path("rows.md"))
    Traceback (most recent call last):
    ValueError: a table must be written to one of .csv, .jsonl, .parquet, got rows.md
    """
    if path.suffix.lower() not in WRITERS:
        raise ValueError(f"a table must be written to one of {', '.join(WRITERS)}, got {path}")
    if path.suffix.lower() == ".parquet":
        try:
            import pyarrow  # noqa: F401
        except ImportError as error:
            raise ValueError(f"{path}: Parquet needs pyarrow: pip install 'lambda-star[parquet]'") from error
    return WRITERS[path.suffix.lower()]


def _rows(table: Table) -> Iterator[dict[str, Any]]:
    """The rows of a table, without values that are missing."""
    columns = [name for name in (*COLUMNS, "contract") if getattr(table, name) is not None]
    values = zip(*(getattr(table, name).tolist() for name in columns), strict=True)
    for row, top in zip(values, table.top or [None] * len(table.modal), strict=True):
        listed = {} if top is None else {"top": [*zip(top.tokens, top.log_p, top.log_b, strict=True)]}
        ends = {"rest": [top.low, top.high]} if top is not None and top.low is not None else {}
        yield dict(zip(columns, row, strict=True)) | listed | ends


def _flat(table: Table) -> Iterator[dict[str, Any]]:
    """The rows of a table with a value in every column; lists are JSON."""
    for row in _rows(table):
        yield row | {name: _compact(row[name]) if name in row else "" for name in ("top", "rest")}


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _csv(table: Table, path: Path) -> None:
    rows = [*_flat(table)]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0]], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _jsonl(table: Table, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(_compact(row) + "\n" for row in _rows(table))


def _parquet(table: Table, path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    made = pyarrow.Table.from_pylist([*_flat(table)])
    parquet.write_table(made.replace_schema_metadata({"creator": MARK}), path)


WRITERS: dict[str, Callable[[Table, Path], None]] = {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}
