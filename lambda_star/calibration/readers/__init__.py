"""Read measured log-probabilities: plain tables and what serving engines write, in every common format.

The columns of a plain table are the attributes of :class:`lambda_star.calibration.table.Table`. The optional columns
``top`` (a list of [token, log_p, log_b]) and ``rest`` ([least, greatest] log(p/b) of the tokens outside ``top``) may be
JSON text.
"""

# A file goes through these modules, each of which stands on those above it:
#    bytes         find files, tell their format, and open them, packed or not
#    columnar      record batches of Parquet and Arrow, and their checksums
#    records       records of JSON and of Parquet and Arrow as Python objects
#    parts         stretches of a table with the line of each row: cut between answers, and searched for repeated rows
#    listed        the column `top`
#    plain         plain columns as tables, all at once or row by row; data frames
#    delimited     CSV and TSV
#    rounding      how numbers were rounded
#    steps         what an engine says about an answer, in one form for all engines
#    engines       from the format of one engine to that form
#    scores        which engine wrote a record, and its answers
#    positions     the row that both models' numbers for one position give
#    join          which answers, and which of their tokens, belong together
#    engine_files  from files of engines to tables

from __future__ import annotations

import dataclasses
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from os import PathLike, fspath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lambda_star.calibration.readers import delimited
from lambda_star.calibration.readers.bytes import expand, kind, located
from lambda_star.calibration.readers.columnar import Groups, names_in
from lambda_star.calibration.readers.engine_files import any_parts, joined_parts
from lambda_star.calibration.readers.parts import Part, cut, repeats
from lambda_star.calibration.readers.plain import batch_parts, frame_parts
from lambda_star.calibration.readers.records import records
from lambda_star.calibration.readers.scores import KINDS
from lambda_star.calibration.rows import REMEDY, gather, nothing
from lambda_star.calibration.table import COLUMNS, Problem, Table, TableError

__all__ = ["Groups", "file_tables", "read_table", "stream"]

ENGINES = frozenset({"teacher", "base", *KINDS, "response"})
"""Columns that an engine's answers have in Parquet and Arrow."""

Paths = str | PathLike[str]


def read_table(*paths: Any, teacher: Paths | None = None, base: Paths | None = None, keep_going: bool = False) -> Table:
    """Read measured log-probabilities as one table.

    Args:
        paths: files, patterns such as ``runs/*.parquet``, folders, or ``-`` for standard input, in CSV, TSV, JSON, JSON
            lines, Parquet or Arrow, each also packed with gzip or zstd; or one data frame (pandas, polars, Arrow, ...).
        teacher: an engine's answers with the teacher's log-probabilities, in the place of ``paths``.
        base: the same answers with the base's.
        keep_going: whether to list bad rows in ``problems`` instead of raising an error for the first one.

    Returns:
        A :class:`lambda_star.calibration.table.Table` with every good row, in the order of the files.

    Raises:
        TableError: a file is missing, empty, cut, damaged or of another type, lacks a column, or (unless
            ``keep_going``) has a bad row; the message gives the path, the line and the remedy.

    >>> table = read_table("examples/rank_by_price/logprobs.csv")
    >>> len(table.log_p) > 1000, bool((table.log_p <= 0).all())
    (True, True)
    """
    if len(paths) == 1 and hasattr(paths[0], "__arrow_c_stream__"):
        return _whole("frame", [frame_parts(paths[0], "frame", keep_going)], keep_going)
    return _whole(_named(paths, teacher, base), _files(paths, teacher, base, keep_going), keep_going)


def stream(
    paths: Iterable[Paths] = (),
    *,
    teacher: Paths | None = None,
    base: Paths | None = None,
    keep_going: bool = False,
    whole_answers: bool = True,
    batch: int = 65_536,
) -> Iterator[Table]:
    """Yield measured log-probabilities table by table, so that files of any size can be read.

    Args:
        paths: what :func:`read_table` takes.
        teacher: an engine's answers with the teacher's log-probabilities, in the place of ``paths``.
        base: the same answers with the base's.
        keep_going: whether to list bad rows in ``problems`` instead of raising an error for the first one.
        whole_answers: whether to cut only between answers.
        batch: the most rows of a table, unless a single answer has more.

    Returns:
        An iterator of tables whose ``source`` is the file; those without a good row only have problems.

    Raises:
        TableError: as for :func:`read_table`, but an answer that stands in several places is not noticed.

    >>> tables = [*stream(["examples/rank_by_price/logprobs.csv"], batch=1000)]
    >>> len(tables), max(map(len, tables)) <= 1000
    (10, True)
    """
    count = 0
    problems: list[Problem] = []
    for parts in _files(paths, teacher, base, keep_going):
        for table in _tables(parts, batch, whole_answers, keep_going):
            count += len(table)
            problems += table.problems if not count else ()
            yield table
    if not count:
        raise nothing(_named(paths, teacher, base), problems)


def file_tables(
    path: Paths, *, groups: Groups | None = None, keep_going: bool = False, batch: int = 65_536
) -> Iterator[Table]:
    """Yield one file, or some row groups of a Parquet file, table by table; nothing if there is no row.

    Args:
        path: the file.
        groups: the row groups, between which answers may be cut; by default the whole file, cut between answers.
        keep_going: whether to list bad rows in ``problems`` instead of raising an error for the first one.
        batch: the most rows of a table, unless a single answer has more.

    Returns:
        An iterator of tables whose ``source`` is the file.

    Raises:
        TableError: as for :func:`stream`, but a file may be without rows.

    >>> sum(map(len, file_tables("examples/rank_by_price/logprobs.csv")))
    9359
    """
    parts = _kept(_file_parts(fspath(path), keep_going, groups), keep_going, only=False)
    yield from _tables(parts, batch, groups is None, keep_going)


def _tables(parts: Iterator[Part], batch: int, whole_answers: bool, keep_going: bool) -> Iterator[Table]:
    for part in cut(parts, batch, whole_answers):
        yield _once(part.table, part.lines, [(0, part.table.source)], keep_going)


def _named(paths: Iterable[Paths], *more: Paths | None) -> str:
    return ", ".join(fspath(path) for path in (*paths, *more) if path is not None)


def _files(
    paths: Iterable[Paths], teacher: Paths | None, base: Paths | None, keep_going: bool
) -> Iterator[Iterator[Part]]:
    """The parts of every file."""
    if teacher is not None or base is not None:
        if teacher is None or base is None or [*paths]:
            raise ValueError("`teacher` and `base` must be given together, and in the place of other files")
        yield joined_parts(teacher, base, keep_going)
        return
    found = expand(paths)
    if not found:
        raise ValueError("`paths` must hold at least one file, got none")
    for path in found:
        yield _kept(_file_parts(path, keep_going), keep_going, len(found) == 1)


def _kept(parts: Iterator[Part], keep_going: bool, only: bool) -> Iterator[Part]:
    """The parts of a file; where it cannot be read on, that is a problem if there is anything to be kept."""
    try:
        for part in parts:
            only = only and not len(part.table)
            yield part
    except TableError as error:
        if not keep_going or only:
            raise
        table = gather(error.source, [(error.line or 0, error.problem)], keep_going, empty=True)
        yield Part(table, np.empty(0, dtype=np.int64))


def _file_parts(path: str, keep_going: bool, groups: Groups | None = None) -> Iterator[Part]:
    with located(path) as (file, source):
        form = kind(file, source)
        if form in delimited.DELIMITERS:
            yield from delimited.parts(file, source, form, keep_going)
        elif form in {"parquet", "arrow"} and not _is_engine({*names_in(file, source, form)}):
            yield from batch_parts(file, source, form, keep_going, groups)
        else:
            yield from any_parts(records(file, source, form), source, keep_going)


def _is_engine(names: set[str]) -> bool:
    """Whether a file with these columns holds an engine's answers, and not a plain table."""
    return bool(names & ENGINES) and not names >= {*COLUMNS}


def _whole(source: str, files: Iterable[Iterator[Part]], keep_going: bool) -> Table:
    """All rows of some files as one table."""
    parts = [part for file in files for part in file]
    if not any(len(part.table) for part in parts):
        raise nothing(source, [problem for part in parts for problem in part.table.named_problems()])
    table = Table.concatenate(part.table for part in parts)
    starts = np.cumsum([0] + [len(part.table) for part in parts])
    lines = np.concatenate([part.lines for part in parts])
    table = _once(table, lines, [*zip(starts, (part.table.source for part in parts), strict=False)], keep_going)
    found, single = table.named_problems(), len({part.table.source for part in parts}) == 1
    sources = (*(part.table.source for part in parts), *(problem.source for problem in found))
    order = {source: number for number, source in enumerate(dict.fromkeys(sources))}
    found.sort(key=lambda problem: (order[problem.source], problem.line))
    source = table.source if single else source
    own = (problem._replace(source="") if problem.source == source else problem for problem in found)
    return dataclasses.replace(table, source=source, problems=tuple(own))


def _once(table: Table, lines: NDArray[np.int64], starts: list[tuple[int, str]], keep_going: bool) -> Table:
    """The table without rows whose position stood in a row before; ``starts`` is where the rows of a file begin."""
    rows, firsts = repeats(table)
    if not len(rows):
        return table
    sources = [starts[bisect_right(starts, row, key=lambda start: start[0]) - 1][1] for row in (*rows, *firsts)]
    problems = []
    for row, first, source, earlier in zip(rows, firsts, sources, sources[len(rows) :], strict=False):
        place = f"line {lines[first]}" + (f" of {earlier}" if earlier != source else "")
        named = f"sequence {table.sequence[row]}, position {table.position[row]}"
        said = f"{named} is also on {place}; keep one of them"
        if not keep_going:
            raise TableError(source, f"{said}; {REMEDY}", int(lines[row]))
        problems.append(Problem(int(lines[row]), said, source))
    kept = np.delete(np.arange(len(table)), rows)
    return dataclasses.replace(table.take(kept), problems=(*table.named_problems(), *problems))
