"""The parts in which a table is read: joined, cut where answers end, and searched for rows that stand twice."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lambda_star.calibration.table import Table, TableError

__all__ = ["Part", "cut", "repeats"]

LONGEST_ANSWER = 2**20
"""The most rows of an answer, whose rows are in memory together."""


class Part(NamedTuple):
    """The good rows of a stretch of a file, and the line of each."""

    table: Table
    lines: NDArray[np.int64]


def repeats(table: Table) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the rows whose answer and position stood in a row before, in order, and the first row that has them.

    >>> row = {"sequence": 0, "position": 0, "token": "[", "modal": "[", "log_p": -0.001, "log_b": -0.7}
    >>> repeats(Table.concatenate([Table.from_rows([row]), Table.from_rows([row])]))
    (array([1]), array([0]))
    """
    codes, position = table.sequence.codes, table.position
    changes = codes[1:] != codes[:-1]
    answers = np.count_nonzero(np.bincount(codes)) if len(codes) else 0
    if np.all(changes | (position[1:] > position[:-1])) and np.count_nonzero(changes) + 1 == max(1, answers):
        return np.empty(0, dtype=np.intp), np.empty(0, dtype=np.intp)
    order = np.lexsort((position, codes))
    same = (codes[order][1:] == codes[order][:-1]) & (position[order][1:] == position[order][:-1])
    starts = np.maximum.accumulate(np.where(np.concatenate([[True], ~same]), np.arange(len(order)), 0))
    later = np.flatnonzero(np.concatenate([[False], same]))
    rows, firsts = order[later], order[starts[later]]
    return rows[np.argsort(rows)], firsts[np.argsort(rows)]


def cut(parts: Iterable[Part], rows: int, whole_answers: bool) -> Iterator[Part]:
    """Yield all rows and all problems of the parts of a file in parts of at most so many rows.

    A single answer may have more rows, if only whole answers are wanted, but not more than memory may hold.
    """
    held: list[Part] = []
    for part in parts:
        held.append(part)
        if sum(len(each.lines) for each in held) > rows:
            *ready, last = _cut(_join(held), rows, whole_answers)
            yield from ready
            held = [last]
    if held:
        yield from _cut(_join(held), rows, whole_answers)


def _join(parts: list[Part]) -> Part:
    return Part(Table.concatenate(part.table for part in parts), np.concatenate([part.lines for part in parts]))


def _cut(part: Part, rows: int, whole_answers: bool) -> Iterator[Part]:
    """A part in parts, the first of which has its problems; the last may go on in the next part."""
    codes = part.table.sequence.codes
    ends = np.flatnonzero(codes[1:] != codes[:-1]) + 1 if whole_answers else np.arange(1, len(codes))
    cuts = [0]
    while len(codes) - cuts[-1] > rows:
        fitting = np.searchsorted(ends, cuts[-1] + rows, side="right")
        after = ends[max(0, fitting - 1) : fitting + 1]
        after = after[after > cuts[-1]]
        if not len(after):
            break
        cuts.append(int(after[0]))
    if len(codes) - cuts[-1] > max(rows, LONGEST_ANSWER):
        said = f"an answer has more than {LONGEST_ANSWER} rows; give every answer a `sequence` of its own"
        raise TableError(part.table.source, said, int(part.lines[cuts[-1]]))
    for index, (start, stop) in enumerate(pairwise([*cuts, len(codes)])):
        table = part.table.take(slice(start, stop))
        if index == 0 and part.table.problems:
            table = dataclasses.replace(table, problems=part.table.problems)
        yield Part(table, part.lines[start:stop])
