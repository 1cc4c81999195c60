"""What files consist of: pieces that are read by themselves, their sizes, and what tells that a file has changed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from lambda_star.calibration.readers import Groups, file_tables, stream
from lambda_star.calibration.readers.bytes import STANDARD_INPUT, expand, located
from lambda_star.calibration.readers.columnar import row_groups
from lambda_star.calibration.table import COLUMNS, Table
from lambda_star.contract import Contract

__all__ = ["BATCH", "PIECE_ROWS", "Piece", "Source", "listed"]

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

    def named(self, table: Table) -> str:
        """Return the name of the source, with how the two sides of a table were joined."""
        if self.base is None:
            return self.name
        _, joined, how = table.source.rpartition(", joined by ")
        return f"{self.name}{joined}{how}"

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
        found: list[Piece] = []
        tables = {path: None if path == STANDARD_INPUT else _table(path) for path in self.paths}
        tell = all(table is not None for table in tables.values())
        for path, table in tables.items():
            size = sizes.get(path, 0)
            if table is None:
                found.append(Piece(path, None, size // ROW_BYTES, size))
                continue
            names, rows = table
            total = sum(rows)
            runs = [None] if self._whole(names) else _runs(rows)
            for groups in runs:
                inside = groups.rows if groups else total
                found.append(Piece(path, groups, inside, inside if tell else size * inside // max(1, total)))
        return found, "rows" if tell else "bytes"

    def tables(self, piece: Piece) -> Iterator[Table]:
        """Yield the rows of a piece as tables, the same ones in the same order every time."""
        if not piece.path:
            return stream((), teacher=self.teacher, base=self.base, keep_going=self.keep_going, batch=BATCH)
        return file_tables(piece.path, groups=piece.groups, keep_going=self.keep_going, batch=BATCH)

    def _whole(self, columns: Sequence[str]) -> bool:
        """Whether the answers of a Parquet file must stay whole: a contract is judged along an answer."""
        if self.contract is None:
            return "contract" not in columns
        return isinstance(self.contract, str | Contract)


def listed(paths: Any) -> list[str]:
    """Return paths as a list, one path as a list of one."""
    return [os.fspath(path) for path in ([paths] if isinstance(paths, str | os.PathLike) else paths)]


def _table(path: str) -> tuple[list[str], list[int]] | None:
    """The columns and row groups of a plain table in Parquet; None for any other file."""
    found = row_groups(Path(path))
    return found if found and {*COLUMNS} <= {*found[0]} else None


def _runs(rows: Sequence[int]) -> Iterator[Groups]:
    """Runs of row groups with about ``PIECE_ROWS`` rows."""
    first = before = inside = 0
    for group, more in enumerate(rows):
        if group > first and inside + more > PIECE_ROWS:
            yield Groups(first, group, before, inside)
            first, before, inside = group, before + inside, 0
        inside += more
    if rows:
        yield Groups(first, len(rows), before, inside)
