"""What files consist of: pieces that are read by themselves, their sizes, and what tells that a file has changed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from lambda_star.calibration.readers import Groups, file_tables, stream
from lambda_star.calibration.readers.bytes import STANDARD_INPUT, expand, located
from lambda_star.calibration.table import COLUMNS, Table
from lambda_star.contract import Contract

__all__ = ["BATCH", "PIECE_ROWS", "Piece", "Source"]

PIECE_ROWS = 1_000_000
"""About the rows of a piece of a Parquet file, which is a run of its row groups."""

BATCH = 2**17
"""The rows of a table, which are summed at once."""

ROW_BYTES = 60
"""About the bytes of a row in a file that does not tell its rows."""


class Piece(NamedTuple):
    """What is read in one go: a file, some row groups of a Parquet file, or two sides that are joined.

    Attributes:
        path: the file; empty for two sides that are joined.
        groups: the row groups; None for the whole file.
        rows: its rows, about where the file does not tell them.
        size: its rows where every file tells them, and otherwise its bytes.
    """

    path: str
    groups: Groups | None
    rows: int
    size: int


@dataclass(frozen=True)
class Source:
    """Files of measured data, and how they are read.

    Attributes:
        paths: the files, in order.
        teacher, base: the files of the two sides that are joined, as :func:`calibrate_files` takes them.
        keep_going: whether bad rows are listed instead of raising an error for the first one.
        contract: what a valid answer is, which decides whether an answer may be cut.
    """

    paths: tuple[str, ...]
    teacher: Any
    base: Any
    keep_going: bool
    contract: Any

    @property
    def files(self) -> tuple[str, ...]:
        """Every file that is read."""
        sides = [side for side in (self.teacher, self.base) if side is not None]
        return self.paths + tuple(expand(path for side in sides for path in listed(side)))

    @property
    def name(self) -> str:
        """The name of the source in reports."""
        files = self.files
        return ", ".join(files[:2]) + (f" and {len(files) - 2} more" if len(files) > 2 else "")

    def stamps(self) -> list[list[Any]]:
        """Return the path, the size and the time of the last change of every file; nothing of standard input."""
        found = []
        for path in self.files:
            if path != STANDARD_INPUT:
                with located(path) as (file, _):
                    status = file.stat()
                found.append([path, status.st_size, status.st_mtime_ns])
        return found

    def pieces(self, stamps: list[list[Any]]) -> tuple[list[Piece], str]:
        """Return the pieces in order, and the unit of their sizes: ``rows`` or ``bytes``."""
        sizes = {path: size for path, size, _ in stamps}
        if self.teacher is not None or self.base is not None:
            return [Piece("", None, sum(sizes.values()) // ROW_BYTES, sum(sizes.values()))], "bytes"
        tables = {path: _parquet(path) for path in self.paths}
        tell = all(table is not None for table in tables.values())
        found: list[Piece] = []
        for path, table in tables.items():
            if table is None:
                size = sizes.get(path, 0)
                found.append(Piece(path, None, size // ROW_BYTES, size))
            else:
                runs = [None] if self._whole(table) else _runs(table)
                for groups in runs:
                    rows = groups.rows if groups else table.num_rows
                    size = rows if tell else sizes[path] * rows // max(1, table.num_rows)
                    found.append(Piece(path, groups, rows, size))
        return found, "rows" if tell else "bytes"

    def tables(self, piece: Piece) -> Iterator[Table]:
        """Yield the rows of a piece as tables, the same ones in the same order every time."""
        if not piece.path:
            return stream((), teacher=self.teacher, base=self.base, keep_going=self.keep_going, batch=BATCH)
        return file_tables(piece.path, groups=piece.groups, keep_going=self.keep_going, batch=BATCH)

    def _whole(self, table: Any) -> bool:
        """Whether the answers of a Parquet file must stay whole: a contract is judged along an answer."""
        if self.contract is None:
            return "contract" not in table.schema.names
        return isinstance(self.contract, str | Contract)


def listed(paths: Any) -> list[str]:
    """Return paths as a list, one path as a list of one."""
    return [os.fspath(path) for path in ([paths] if isinstance(paths, str | os.PathLike) else paths)]


def _parquet(path: str) -> Any:
    """The metadata of a Parquet file that is a plain table and not packed; None for any other file."""
    from pyarrow import ArrowException, parquet

    if path == STANDARD_INPUT:
        return None
    try:
        found = parquet.read_metadata(path)
    except (ArrowException, OSError):
        return None  # another format, or damaged, of which reading it tells more
    return found if {*COLUMNS} <= {*found.schema.names} else None


def _runs(table: Any) -> Iterator[Groups]:
    """Runs of row groups with about ``PIECE_ROWS`` rows."""
    first = before = rows = 0
    for group in range(table.num_row_groups):
        more = table.row_group(group).num_rows
        if group > first and rows + more > PIECE_ROWS:
            yield Groups(first, group, before, rows)
            first, before, rows = group, before + rows, 0
        rows += more
    if table.num_row_groups:
        yield Groups(first, table.num_row_groups, before, rows)
