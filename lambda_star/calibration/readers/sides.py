"""Read the files of two models, or the records that hold both, as the tables that they give together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, zip_longest
from os import PathLike
from pathlib import Path
from typing import Any

from lambda_star.calibration.readers import delimited
from lambda_star.calibration.readers.bytes import expand, kind, located
from lambda_star.calibration.readers.join import Pair, join, tabulate
from lambda_star.calibration.readers.records import records
from lambda_star.calibration.readers.scores import answers, holds_both, scored
from lambda_star.calibration.readers.steps import Answer
from lambda_star.calibration.rows import REMEDY
from lambda_star.calibration.table import Problem, Table, TableError

__all__ = ["single_tables", "two_tables"]

Record = tuple[int, Any] | Problem
Paths = str | PathLike[str]

ONE_MODEL = """\
the records hold the log-probabilities of one model; give the files of both, as `teacher` and `base`"""

BOTH = "both `teacher` and `base` must be given, each an engine's answers, and no further files; got {}"


def two_tables(paths: Iterable[Paths], teacher: Paths | None, base: Paths | None, keep_going: bool) -> Iterator[Table]:
    """Yield the tables of the answers that two models scored.

    Args:
        paths: must be empty.
        teacher: the teacher's answers: a file, a pattern, a folder or ``-``.
        base: the base's.
        keep_going: whether to list what does not match in ``problems`` instead of raising an error for the first.

    Yields:
        Tables that hold whole answers.

    Raises:
        TableError: a file cannot be read, or (unless ``keep_going``) something in it cannot be used.

    >>> folder = "tests/calibration/engines/samples/vllm/generate"
    >>> [len(table) for table in two_tables([], f"{folder}_teacher.jsonl", f"{folder}_base.jsonl", False)]
    [19]
    """
    others = [str(path) for path in paths]
    if teacher is None or base is None or others:
        given = {"teacher": teacher, "base": base}
        named = [f"`{name}` {path}" for name, path in given.items() if path is not None] + others
        raise TableError(", ".join(map(str, filter(None, (*others, teacher, base)))), BOTH.format(", ".join(named)))
    if str(teacher) == str(base) == "-":
        raise TableError("-", "`teacher` and `base` cannot both be standard input; give a file for one of them")
    yield from _checked(join(_side(teacher), _side(base)), keep_going)


def single_tables(file: Path, source: str, form: str, keep_going: bool) -> Iterator[Table] | None:
    """Return the tables of one file of engines' records, or None if its records are rows of a plain table.

    Args:
        file: the file.
        source: its name in messages.
        form: what :func:`lambda_star.calibration.readers.bytes.kind` says of it.
        keep_going: whether to list bad records in ``problems`` instead of raising an error for the first.

    Returns:
        The tables, if each record holds the answers of both models.

    Raises:
        TableError: the records hold the answers of one model alone.

    >>> path = Path("tests/calibration/engines/samples/openai/both.jsonl")
    >>> [len(table) for table in single_tables(path, "both.jsonl", "lines", False)]
    [19]
    """
    found = records(file, source, form)
    first = next(found, None)
    if first is None or isinstance(first, Problem):
        return None
    if holds_both(first[1]):
        return _checked(tabulate(_pairs(chain([first], found), source), source), keep_going)
    if scored(first[1], first[0], source) is not None:
        raise TableError(source, ONE_MODEL, first[0])
    return None


def _side(paths: Paths) -> Iterator[Answer | Problem]:
    for path in expand([paths]):
        with located(path) as (file, source):
            form = kind(file, source)
            if form in delimited.DELIMITERS:
                said = (
                    "this is a table, not an engine's answers; give it alone, without `teacher` and `base`"
                )
                raise TableError(source, said)
            yield from answers(records(file, source, form), source)


def _pairs(found: Iterable[Record], source: str) -> Iterator[Pair]:
    for item in found:
        yield from _pair(item, source)


def _pair(item: Record, source: str) -> Iterator[Pair]:
    """The answers of both models in one record; what stands beside them counts for both."""
    if isinstance(item, Problem):
        yield item, None
        return
    line, record = item
    if not holds_both(record):
        yield Problem(line, "the record has no fields `teacher` and `base`, as the first one has", source), None
        return
    shared = {name: value for name, value in record.items() if name not in {"teacher", "base"}}
    sides = [scored(shared | dict(record[name]), line, source) for name in ("teacher", "base")]
    for name, side in zip(("teacher", "base"), sides, strict=True):
        if side is None:
            yield Problem(line, f"`{name}` is not an answer of a known engine; see docs/engines.md", source), None
            return
    yield from zip_longest(*(side or [] for side in sides))


def _checked(tables: Iterable[Table], keep_going: bool) -> Iterator[Table]:
    """The tables, or an error for the first problem."""
    for table in tables:
        if table.problems and not keep_going:
            first = table.problems[0]
            raise TableError(first.source or table.source, f"{first.message}; {REMEDY}", first.line)
        yield table
