"""What is kept of the tables that a calibration has seen: sums, minima and samples that can be merged in any order.

A state has a bounded size: the answers (:mod:`lambda_star.calibration.answers`), the positions of each contract class
(:mod:`lambda_star.calibration.distribution`), and what is shown one by one (:mod:`lambda_star.calibration.samples`)
are kept up to stated numbers, and above them a sample or a sketch that does not depend on the order of the tables.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lambda_star._core.files import write_whole
from lambda_star.calibration import distribution, saved, thresholds
from lambda_star.calibration.answers import BY_ANSWER, BY_CLASS, Answers, Columns, grouped, keys_of, place_keys
from lambda_star.calibration.classes import SPLITS, Class, Split
from lambda_star.calibration.contracts import GUESSES, Judgement, judge
from lambda_star.calibration.distribution import Distribution
from lambda_star.calibration.report import Report
from lambda_star.calibration.samples import CERTAIN, FIT, LATE, OUTSIDE, ROUNDED, Samples, least
from lambda_star.calibration.settings import Settings
from lambda_star.calibration.summary import summary
from lambda_star.calibration.table import Table, Top

__all__ = ["Settings", "State"]

BLOCK = 2**18
"""The rows that are worked on at once."""

CLASSES = 1_000
"""The most contract classes."""


class State:
    """What a calibration keeps of the tables that it has seen.

    Args:
        settings: what is summed.
        source: where the rows come from, for the report.

    Attributes:
        rows: the number of good rows seen.
        read: how far files are read, in the terms of :func:`lambda_star.calibration.large.calibrate_files`; it is saved
            with the state and not merged.

    >>> from lambda_star import read_table
    >>> table = read_table("examples/rank_by_price/logprobs.csv")
    >>> parts = State(Settings(contract="json")), State(Settings(contract="json"))
    >>> at = int(np.flatnonzero(np.diff(table.sequence.codes))[100]) + 1  # where an answer ends
    >>> parts[0].add(table.take(slice(at)))
    >>> parts[1].add(table.take(slice(at, None)))
    >>> parts[1].merge(parts[0]).rows == len(table)
    True
    """

    def __init__(self, settings: Settings, source: str = "rows") -> None:
        self.settings, self.source = settings, source
        self.rows = 0
        self.read: dict[str, Any] = {}
        self.counts = dict.fromkeys((OUTSIDE, LATE, CERTAIN, ROUNDED, *FIT), 0)
        self.contract: str | None = None
        self.whole: bool | None = None
        self.answers = Answers()
        self.classes: dict[str, Class] = {}
        self.flips = Distribution()
        self.samples = Samples()

    def add(self, table: Table) -> None:
        """Take in the rows of a table.

        Args:
            table: the table. A contract that judges answers from their beginning needs each answer in one table.

        Raises:
            ValueError: there are too many contract classes, or the classes of the table come from another place than
                those of the tables before.
        """
        problems = table.named_problems()
        self.samples.add_problems(problems, len(problems))
        if not len(table):
            return
        judged = judge(table, self.settings.contract, self.settings.tokens)
        self._agree(judged.name, judged.fit is not None)
        self.rows += len(table)
        keys = keys_of(table.sequence.values)
        if judged.fit is not None:
            for name in FIT:
                self.counts[name] += getattr(judged.fit, name)
            if judged.name in GUESSES:
                self.samples.add_texts(table, judged, keys)
        used = self._count(table, judged)
        blocks = [np.arange(start, min(start + BLOCK, len(table))) for start in range(0, len(table), BLOCK)]
        bare = dataclasses.replace(table, top=None)
        parts = [self._add_block(table, bare, judged, keys, used, block) for block in blocks]
        answers = grouped(("key",), parts, BY_ANSWER)
        self.answers.add_answers(answers | {"tables": np.ones(len(answers["key"]), dtype=np.int64)})

    def merge(self, other: State) -> State:
        """Return this state with what another one has seen.

        Args:
            other: a state with the same settings, which stays as it is.

        Returns:
            This state.

        Raises:
            ValueError: the settings differ, or the classes come from different places.
        """
        self.settings.refuse_other("other", other.settings)
        if other.whole is not None:
            self._agree(other.contract, other.whole)
        other.check()
        self.rows += other.rows
        self.counts = {name: count + other.counts[name] for name, count in self.counts.items()}
        numbers = self._numbers(list(other.classes))
        for name, found in other.classes.items():
            self.classes[name].merge(found)
        self.answers.merge(other.answers, numbers)
        self.flips.merge(other.flips)
        self.samples.merge(other.samples)
        self._bound()
        self.check()
        return self

    def _agree(self, contract: str | None, whole: bool) -> None:
        """Raise an error if the classes come from another place than before."""
        if self.whole is None:
            self.contract, self.whole = contract, whole
        if (self.contract, self.whole) != (contract, whole):
            raise ValueError(
                "only some of the tables have a `contract` column; give `contract`, or write the column in all of them"
            )

    def _count(self, table: Table, judged: Judgement) -> NDArray[np.bool_]:
        """Count the rows that are not used, and return which are."""
        certain, inside = (table.ends("log_p")[0] == 0) & (table.ends("log_b")[0] == 0), judged.codes >= 0
        used: NDArray[np.bool_] = inside & ~judged.late & ~certain
        for reason, rows in (
            (OUTSIDE, ~inside & ~judged.late),
            (LATE, judged.late),
            (CERTAIN, inside & ~judged.late & certain),
            (ROUNDED, used & (table.log_p == 0)),
        ):
            self.counts[reason] += int(np.count_nonzero(rows))
        return used

    def _add_block(
        self,
        table: Table,
        bare: Table,
        judged: Judgement,
        keys: NDArray[np.uint64],
        used: NDArray[np.bool_],
        block: NDArray[np.intp],
    ) -> Columns:
        """Take in a block of rows, and return the columns of its answers."""
        inside = used[block]
        rows = block[inside]
        found = thresholds.of_table(bare.take(rows), self.settings.clip, self.settings.rule, self.settings.least_b)
        codes = table.sequence.codes
        if len(rows):
            present = np.unique(judged.codes[rows])
            numbers = np.full(len(judged.names), -1)
            numbers[present] = self._numbers([judged.names[code] for code in present.tolist()])
            labels = numbers[judged.codes[rows]]
            sums = {"code": codes[rows], "label": labels, "positions": np.ones_like(rows), "sums": found.sums}
            self.answers.add_classes(_with_keys(grouped(("code", "label"), [sums], BY_CLASS), keys))
            self._add_positions(table, judged, rows, place_keys(keys[codes[rows]], table.position[rows]), found, labels)
        columns = {"code": codes[block], "rows": np.ones_like(block), "used": inside.astype(np.int64)}
        columns["last"] = table.position[block]
        ends = {"low": found.low, "high": found.high}
        if found.dies is not None:
            ends |= dict(zip(("dies_low", "dies_high"), found.dies, strict=True))
        for name, end in ends.items():
            columns[name] = np.full(len(block), math.inf)
            columns[name][inside] = end
        answers = grouped(("code",), [columns], BY_ANSWER)
        return _with_keys(answers | {"name": table.sequence.values[answers["code"]]}, keys)

    def _add_positions(
        self,
        table: Table,
        judged: Judgement,
        rows: NDArray[np.intp],
        keys: NDArray[np.uint64],
        found: thresholds.Thresholds,
        labels: NDArray[np.intp],
    ) -> None:
        """Take in used positions class by class, and some of them one by one."""
        top = table.top
        listing = np.zeros(len(rows), dtype=np.bool_)
        if top is not None:
            listing[:] = [top[row] is not None for row in rows.tolist()]
        order = np.argsort(labels, kind="stable")
        bounds = np.flatnonzero(np.diff(labels[order], prepend=-1, append=-1)).tolist()
        every = list(self.classes.values())
        for start, stop in pairwise(bounds):
            members = order[start:stop]
            one = every[labels[members[0]]]
            one.add(found, members, self.settings.lam)
            if judged.fit is not None and top is not None:
                chosen = least(keys, members[listing[members]], one.split_bound, SPLITS)
                one.add_splits([_split(judged, top[rows[at]], int(rows[at]), int(keys[at])) for at in chosen.tolist()])
        self.flips.add(found.flip)
        self.samples.add_positions(table, judged, rows, keys, found, listing)
        self._bound()

    def _numbers(self, names: Sequence[str]) -> NDArray[np.intp]:
        """The numbers of some classes in the order of ``classes``; new ones come last."""
        for name in names:
            self.classes.setdefault(name, Class())
        if len(self.classes) > CLASSES:
            raise ValueError(
                f"a table may have at most {CLASSES} contract classes, and there are more; a class is what tokens with "
                "the same effect on the answer share, such as an opening bracket: check the `contract` column"
            )
        number = {name: at for at, name in enumerate(self.classes)}
        return np.array([number[name] for name in names], dtype=np.intp)

    def _bound(self) -> None:
        """Let sketches stand for the positions of all classes once there are too many positions to keep them all."""
        if sum(found.positions for found in self.classes.values()) > distribution.EXACT:
            for found in self.classes.values():
                found.stars.compact()

    def check(self) -> None:
        """Raise an error if an answer was met twice that must be met once.

        Raises:
            ValueError: positions of an answer stand twice, or a contract that judges answers from their beginning met
                the rows of an answer in more than one table.
        """
        columns = self.answers.columns
        if not columns:
            return
        twice = np.flatnonzero(columns["rows"] > columns["last"] + 1)
        if len(twice):
            name, rows, last = (columns[column][twice[0]] for column in ("name", "rows", "last"))
            raise ValueError(
                f"{self.source}: answer {name!r} has {rows} rows, but its last position is {last}, so that positions "
                "stand twice; give the answers of different files different names, and each file once"
            )
        apart = np.flatnonzero(columns["tables"] > 1)
        if self.whole and len(apart):
            name = columns["name"][apart[0]]
            raise ValueError(
                f"{self.source}: the rows of answer {name!r} do not stand together, and {self.contract} judges answers "
                "from their beginning; put them together, or write a `contract` column with `lambda-star convert "
                f"--contract {self.contract}`, after which any order is right"
            )

    def report(
        self,
        *,
        margin: float = 0.1,
        quantile: float = 0.05,
        confidence: float = 0.95,
        budget: float | None = None,
    ) -> Report:
        """Return what the rows seen say about λ.

        Args:
            margin, quantile, confidence, budget: as for :func:`lambda_star.calibrate`.

        Returns:
            A :class:`lambda_star.calibration.report.Report`.

        Raises:
            ValueError: an option lies outside its range, no row is a usable contract position, or an answer was met
                twice (see :meth:`check`).
        """
        return summary(self, margin, quantile, confidence, budget)

    def to_bytes(self) -> bytes:
        """Return the state as bytes, for :meth:`from_bytes`."""
        self.check()
        return saved.to_bytes(self)

    @classmethod
    def from_bytes(cls, data: bytes, settings: Settings) -> State:
        """Return the state that :meth:`to_bytes` wrote.

        Args:
            data: the bytes.
            settings: what the state must sum.

        Returns:
            A :class:`State`.

        Raises:
            ValueError: the bytes are damaged or no state, or have other settings.

        >>> State.from_bytes(State(Settings()).to_bytes(), Settings()).rows
        0
        """
        return saved.from_bytes(data, cls(settings))

    def save(self, path: str | PathLike[str], *, force: bool = False) -> None:
        """Write the state to a file, whole or not at all.

        Args:
            path: the file; a state that is there is replaced.
            force: replace a file that is not a state.

        Raises:
            FileExistsError: there is a file that is not a state, and ``force`` is not given.
            OSError: the file cannot be written.
        """
        write_whole(Path(path), self.to_bytes(), force=force, kind="state")

    @classmethod
    def load(cls, path: str | PathLike[str], settings: Settings) -> State:
        """Return the state that :meth:`save` wrote.

        Args:
            path: the file.
            settings: what the state must sum.

        Returns:
            A :class:`State`.

        Raises:
            ValueError: the file is damaged or no state, or has other settings; the message names it.
            OSError: the file cannot be read.
        """
        try:
            return cls.from_bytes(Path(path).read_bytes(), settings)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def _with_keys(columns: Columns, keys: NDArray[np.uint64]) -> Columns:
    """Columns by the hash of the answer instead of its code."""
    code = columns.pop("code")
    return columns | {"key": keys[code]}


def _split(judged: Judgement, top: Top | None, row: int, key: int) -> Split:
    """How the tail of a row is split."""
    found = None if top is None else judged.split(row, top)
    return Split(key, *(found or (math.nan, math.nan)))
