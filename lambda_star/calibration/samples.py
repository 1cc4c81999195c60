"""The positions, answers and problems that a state shows or works on one by one: those with the least keys.

A key is a hash of the place or of the answer, so that what is kept is a uniform sample that does not depend on the
order in which the tables come.
"""

from __future__ import annotations

import heapq
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lambda_star.calibration.contracts import Judgement
from lambda_star.calibration.report import Place, Worst
from lambda_star.calibration.table import Problem, Table, Top
from lambda_star.calibration.thresholds import Thresholds

__all__ = [
    "CERTAIN",
    "FIT",
    "GUESSED",
    "LATE",
    "LISTED",
    "OUTSIDE",
    "PROBLEMS",
    "REASONS",
    "ROUNDED",
    "WORST",
    "Listed",
    "Samples",
    "least",
]

LISTED = 20_000
"""The most positions that list their most probable tokens and are kept for the readings."""

WORST, PROBLEMS, GUESSED = 10, 1_000, 100
"""The most positions that are shown, bad rows that are kept, and answers on which other contracts are tried."""

AROUND = 60
"""The characters that are shown before and after one of the worst positions."""

REASONS = OUTSIDE, LATE, CERTAIN = (
    "not a contract position",
    "after the token that broke the answer",
    "teacher and base both rounded to probability 1",
)
"""Why a good row is not used."""

ROUNDED, *FIT = "rounded", "answers", "broken", "misfits"
"""What else is counted: used rows whose teacher is rounded, and how a contract fits the answers that it judges."""


class Listed(NamedTuple):
    """A position that lists its most probable tokens: the hash of its place, its class, its λ* and the tokens."""

    key: int
    label: str
    star: float
    top: Top


def least(keys: NDArray[np.uint64], among: NDArray[np.intp], bound: int, most: int) -> NDArray[np.intp]:
    """Return at most so many indices of the least keys among some that do not exceed a bound, in order.

    >>> least(np.array([5, 1, 4, 2], dtype=np.uint64), np.arange(4), 4, 2).tolist()
    [1, 3]
    """
    inside = among[keys[among] <= bound]
    return inside[np.argsort(keys[inside], kind="stable")[:most]]


class Samples:
    """Bounded samples of positions, answers and problems.

    Attributes:
        listed: positions that list their most probable tokens.
        worst: the λ* and the key of the positions with the least λ*, and what is shown of them.
        texts: keys and texts of answers.
        problems, problem_count: bad rows, and how many there are in all.
    """

    def __init__(self) -> None:
        self.listed: list[Listed] = []
        self.worst: list[tuple[float, int, Worst]] = []
        self.texts: list[tuple[int, str]] = []
        self.problems: list[Problem] = []
        self.problem_count = 0

    def merge(self, other: Samples) -> None:
        """Take in the samples of another state, which stay as they are."""
        self._list(other.listed)
        self.worst = heapq.nsmallest(WORST, self.worst + other.worst)
        self.texts = heapq.nsmallest(GUESSED, self.texts + other.texts)
        self.add_problems(other.problems, other.problem_count)

    def add_problems(self, problems: list[Problem], count: int) -> None:
        """Take in some of so many problems."""
        self.problem_count += count
        self.problems = heapq.nsmallest(PROBLEMS, self.problems + problems, key=lambda each: (each.source, each[:2]))

    def add_positions(
        self,
        table: Table,
        judged: Judgement,
        rows: NDArray[np.intp],
        keys: NDArray[np.uint64],
        found: Thresholds,
        listing: NDArray[np.bool_],
    ) -> None:
        """Take in used positions of a table: their rows, the hashes of their places, their λ*, and whether they list
        tokens.
        """
        self._add_worst(table, judged, rows, keys, found.low)
        if table.top is None:
            return
        bound = self.listed[-1].key if len(self.listed) >= LISTED else 2**64 - 1
        chosen = least(keys, np.flatnonzero(listing), bound, LISTED)
        labels = judged.codes[rows[chosen]]
        made = zip(
            rows[chosen].tolist(), keys[chosen].tolist(), labels.tolist(), found.low[chosen].tolist(), strict=True
        )
        tops = ((table.top[row], key, judged.names[label], star) for row, key, label, star in made)
        self._list([Listed(key, label, star, top) for top, key, label, star in tops if top is not None])

    def add_texts(self, table: Table, judged: Judgement, keys: NDArray[np.uint64]) -> None:
        """Take in the answers of a table, by the hashes of its distinct names."""
        names, first = np.unique(table.sequence.codes, return_index=True)
        bound = self.texts[-1][0] if len(self.texts) >= GUESSED else 2**64 - 1
        chosen = least(keys[names], np.arange(len(names)), bound, GUESSED)
        made = [(int(keys[names[at]]), judged.text(int(first[at]))) for at in chosen.tolist()]
        self.texts = heapq.nsmallest(GUESSED, self.texts + made)

    def _list(self, made: list[Listed]) -> None:
        if made:
            self.listed = sorted(self.listed + made)[:LISTED]

    def _add_worst(
        self,
        table: Table,
        judged: Judgement,
        rows: NDArray[np.intp],
        keys: NDArray[np.uint64],
        low: NDArray[np.float64],
    ) -> None:
        last = self.worst[-1][:2] if len(self.worst) == WORST else (math.inf, 2**64)
        bound = last[0]
        if len(low) > WORST:
            bound = min(bound, np.partition(low, WORST - 1)[WORST - 1])
        near = np.flatnonzero(low <= bound)
        near = near[np.lexsort((keys[near], low[near]))[:WORST]]
        for at in near.tolist():
            rank = (float(low[at]), int(keys[at]))
            if rank < last:
                self.worst.append((*rank, _worst(table, judged, int(rows[at]), rank[0])))
        self.worst = heapq.nsmallest(WORST, self.worst)


def _worst(table: Table, judged: Judgement, row: int, value: float) -> Worst:
    """What is shown of a row: its place, and its answer around it as far as the table has it."""
    code = table.sequence.codes[row]
    answer = np.flatnonzero(table.sequence.codes == code)
    answer = answer[np.argsort(table.position[answer], kind="stable")]
    at = int(np.flatnonzero(answer == row)[0])
    before, after = (
        table.token[rows].tolist() for rows in (answer[max(0, at - AROUND) : at], answer[at : at + AROUND])
    )
    place = Place(table.sequence[row], int(table.position[row]), table.modal[row])
    label = judged.names[judged.codes[row]]
    return Worst(place, value, label, "".join(before)[-AROUND:], "".join(after)[:AROUND])
