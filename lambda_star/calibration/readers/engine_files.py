"""Read engines' answers from files: one file per model, or one file that holds both."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, zip_longest
from os import PathLike
from typing import Any

import numpy as np

from lambda_star.calibration.readers.bytes import expand, kind, located
from lambda_star.calibration.readers.join import join, tabulate
from lambda_star.calibration.readers.parts import Part
from lambda_star.calibration.readers.plain import record_parts
from lambda_star.calibration.readers.records import records
from lambda_star.calibration.readers.scores import answers, holds_both, scored
from lambda_star.calibration.readers.steps import Answer
from lambda_star.calibration.rows import REMEDY
from lambda_star.calibration.table import COLUMNS, Problem, Table, TableError

__all__ = ["any_parts", "joined_parts"]

Item = tuple[int, Any] | Problem

SHAPES = frozenset({"json", "lines", "parquet", "arrow"})
"""The formats that can hold an engine's records."""


def joined_parts(teacher: str | PathLike[str], base: str | PathLike[str], keep_going: bool) -> Iterator[Part]:
    """Yield the rows of two engines' answers, teacher and base: each a file, a pattern, a folder or ``-``."""
    return _parts(join(_answers(teacher), _answers(base)), keep_going)


def _answers(path: str | PathLike[str]) -> Iterator[Answer | Problem]:
    for each in expand([path]):
        with located(each) as (file, source):
            form = kind(file, source)
            if form not in SHAPES:
                said = "an engine's answers must be in JSON, JSON lines, Parquet or Arrow; a plain table stands alone"
                raise TableError(source, said)
            yield from answers(records(file, source, form), source)


def any_parts(items: Iterable[Item], source: str, keep_going: bool) -> Iterator[Part]:
    """Yield the rows of records that are rows of a plain table, or engines' answers of both models.

    An item is a record with its line, or the problem that stands in its place; the answers of one model alone are a
    ``TableError``.
    """
    rest = iter(items)
    first: list[Item] = []
    for item in rest:
        first.append(item)
        if not isinstance(item, Problem):
            break
    record = None if not first or isinstance(first[-1], Problem) else first[-1][1]
    items = chain(first, rest)
    if isinstance(record, dict) and record.keys() >= {*COLUMNS}:
        return record_parts(items, source, keep_going)
    if holds_both(record):
        return _parts(tabulate(_pairs(items, source), source), keep_going)
    if scored(record, 1, source) is not None:
        said = "the file holds the answers of one model; `calibrate` and `convert` take both files"
        raise TableError(source, f"{said}, as `teacher` and `base`")
    return record_parts(items, source, keep_going)


def _pairs(items: Iterable[Item], source: str) -> Iterator[tuple[Answer | Problem | None, Answer | Problem | None]]:
    """The answers of both models in every record, whose own fields name them."""
    for item in items:
        if isinstance(item, Problem):
            yield item, None
            continue
        line, record = item
        if not holds_both(record):
            yield Problem(line, "the record does not hold `teacher` and `base`, as those before it do", source), None
            continue
        own = {name: value for name, value in record.items() if name not in {"teacher", "base"}}
        sides: list[Sequence[Answer | Problem]] = []
        for name in ("teacher", "base"):
            found = scored(own | record[name], line, source)
            unknown = Problem(line, f"`{name}` is not of a known engine; see docs/engines.md", source)
            sides.append([unknown] if found is None else found)
        yield from zip_longest(*sides)


def _parts(tables: Iterable[Table], keep_going: bool) -> Iterator[Part]:
    for table in tables:
        if table.problems and not keep_going:
            first = table.problems[0]
            raise TableError(first.source or table.source, f"{first.message}; {REMEDY}", first.line)
        yield Part(table, np.zeros(len(table), dtype=np.int64))
