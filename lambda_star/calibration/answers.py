"""What a state keeps of each answer, up to a stated number of them: its least λ*, and sums over its classes.

An answer is known by a hash of its name. Beyond ``ANSWERS`` answers those with the least hashes are kept, which is a
uniform sample of the answers whatever the order in which they come.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lambda_star._core.namespaces import Floats

__all__ = ["ANSWERS", "Answers", "grouped", "keys_of", "place_keys"]

ANSWERS = 200_000
"""The most answers that are all kept."""

Columns = dict[str, NDArray[Any]]

BY_ANSWER: dict[str, Any] = {
    "name": None,
    "tables": np.add,
    "rows": np.add,
    "used": np.add,
    "last": np.maximum,
    "low": np.minimum,
    "high": np.minimum,
    "dies_low": np.minimum,
    "dies_high": np.minimum,
}
"""How the columns of one answer are put together; None keeps the first."""

BY_CLASS: dict[str, Any] = {"positions": np.add, "sums": np.add}
"""How the columns of one class in one answer are put together."""


def keys_of(names: Sequence[str] | NDArray[np.object_]) -> NDArray[np.uint64]:
    """Return the 64-bit hashes of names, the same in every run and on every machine.

    >>> keys_of(["answer 1"]) == keys_of(["answer 1", "answer 2"])[:1]
    array([ True])
    """
    hashes = b"".join(hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names)
    return np.frombuffer(hashes, dtype="<u8").astype(np.uint64)


def place_keys(keys: NDArray[np.uint64], positions: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return 64-bit hashes of places, from the hashes of their answers and their indices in them.

    Source: the finalizer of SplitMix64 (Steele, Lea and Flood, 2014).

    >>> len(set(place_keys(np.zeros(5, dtype=np.uint64), np.arange(5)).tolist()))
    5
    """
    mixed: NDArray[np.uint64] = keys + (positions.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def grouped(by: Sequence[str], parts: Sequence[Columns], how: Mapping[str, Any]) -> Columns:
    """Return columns with one entry for each group of entries, in the order of the groups.

    The sets of columns in ``parts`` follow one another, ``by`` names the columns that are grouped by, the first first,
    and ``how`` has the function that puts each other column of a group together, as :data:`BY_ANSWER` does.

    >>> made = grouped(["key"], [{"key": np.array([2, 1, 2]), "rows": np.ones(3)}], {"rows": np.add})
    >>> made["key"].tolist(), made["rows"].tolist()
    ([1, 2], [1.0, 2.0])
    """
    groups = {name: np.concatenate([part[name] for part in parts]) for name in by}
    order = np.lexsort([groups[name] for name in reversed(by)])
    groups = {name: group[order] for name, group in groups.items()}
    first = np.ones(len(order), dtype=np.bool_)
    first[1:] = np.logical_or.reduce([group[1:] != group[:-1] for group in groups.values()])
    starts = np.flatnonzero(first)
    made = {name: group[starts] for name, group in groups.items()}
    for name in parts[0].keys() - made.keys():
        column = np.concatenate([part[name] for part in parts])[order]  # one at a time, to spare memory
        made[name] = column[starts] if how[name] is None or not len(starts) else how[name].reduceat(column, starts)
    return made


class Answers:
    """The answers of a state, and the classes in each of them, as columns put together when they are asked for.

    A class is known by its number in the list of the state.

    >>> found = Answers()
    >>> found.add_answers({"key": np.array([3, 3], dtype=np.uint64), "rows": np.array([1, 2])})
    >>> found.columns["rows"].tolist(), found.total
    ([3], 1.0)
    """

    def __init__(self) -> None:
        self.bound = np.uint64(2**64 - 1)
        self._settled: list[Columns] = [{}, {}]
        self._waiting: list[list[Columns]] = [[], []]
        self._size = 0

    def add_answers(self, columns: Columns) -> None:
        """Take in columns of :data:`BY_ANSWER` and ``key``."""
        self._add(0, columns)

    def add_classes(self, columns: Columns) -> None:
        """Take in columns of :data:`BY_CLASS`, ``key`` and ``label``."""
        self._add(1, columns)

    def _add(self, kind: int, columns: Columns) -> None:
        inside = columns["key"] <= self.bound
        self._waiting[kind].append({name: column[inside] for name, column in columns.items()})
        self._size += int(np.count_nonzero(inside))
        if self._size > 2 * ANSWERS:
            self._settle()

    def merge(self, other: Answers, labels: NDArray[np.intp]) -> None:
        """Take in the answers of another state; ``labels`` has the number of each of its classes in this one."""
        self._settle()
        other._settle()
        self.bound = min(self.bound, other.bound)
        answers, classes = other._settled
        if answers:
            self.add_answers(answers)
        if classes:
            self.add_classes(classes | {"label": labels[classes["label"]]})

    @property
    def columns(self) -> Columns:
        """The columns of :data:`BY_ANSWER` and ``key``, one entry for each answer that is kept."""
        self._settle()
        return self._settled[0]

    @property
    def classes(self) -> Columns:
        """The columns of :data:`BY_CLASS`, ``key`` and ``label``, one entry for each class in an answer."""
        self._settle()
        return self._settled[1]

    def used(self, name: str) -> Floats:
        """Return a column of those answers that have a used position."""
        columns = self.columns
        found: Floats = columns[name][columns["used"] > 0]
        return found

    @property
    def share(self) -> float:
        """The share of all answers that are kept, by their hashes; 1 where all are."""
        self._settle()
        return 1.0 if self.bound == 2**64 - 1 else (int(self.bound) + 1) / 2**64

    @property
    def total(self) -> float:
        """The number of all answers; an estimate where not all are kept."""
        return len(self.columns["key"]) / self.share if self.columns else 0.0

    def restore(self, answers: Columns, classes: Columns, bound: int) -> None:
        """Take over what ``columns``, ``classes`` and ``bound`` were in another process."""
        self._settled, self.bound = [answers, classes], np.uint64(bound)

    def _settle(self) -> None:
        """Put what came together with what was there, and keep the answers with the least hashes."""
        waiting, self._waiting, self._size = self._waiting, [[], []], 0
        for kind, (by, how) in enumerate(((("key",), BY_ANSWER), (("key", "label"), BY_CLASS))):
            if waiting[kind]:
                parts = [part for part in (self._settled[kind], *waiting[kind]) if part]
                self._settled[kind] = grouped(by, parts, how)
        self._cut()

    def _cut(self) -> None:
        answers, _ = self._settled
        if answers and len(answers["key"]) > ANSWERS:
            self.bound = min(self.bound, answers["key"][ANSWERS - 1])
        for kind, columns in enumerate(self._settled):
            if columns and columns["key"][-1] > self.bound:
                inside = columns["key"] <= self.bound
                self._settled[kind] = {name: column[inside] for name, column in columns.items()}
