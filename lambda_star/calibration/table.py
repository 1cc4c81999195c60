"""A table of measured log-probabilities: one array per column, and the ends of numbers that are only bounded."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lambda_star._core.namespaces import Floats
from lambda_star.calibration.texts import Texts

__all__ = ["COLUMNS", "ENDS", "OPTIONAL_COLUMNS", "Problem", "Table", "TableError", "Top"]

COLUMNS = ("sequence", "position", "token", "modal", "log_p", "log_b")
ENDS = ("log_p_low", "log_p_high", "log_b_low", "log_b_high")
OPTIONAL_COLUMNS = (*ENDS, "contract", "top", "rest")


class Problem(NamedTuple):
    """A row that was left out: its line (counted from 1; the row number where there are no lines), why, and its file.

    Line 0 stands for the whole file, and empty text for the source of the table.
    """

    line: int
    message: str
    source: str = ""

    def place(self, source: str) -> str:
        """Return the file and the line, or the file alone where the whole of it is meant, which has line 0.

        >>> Problem(3, "log_p is NaN").place("rows.csv"), Problem(0, "it is cut", "a.csv").place("rows.csv")
        ('rows.csv, line 3', 'a.csv')
        """
        return f"{self.source or source}, line {self.line}" if self.line else self.source or source


class Top(NamedTuple):
    """The listed tokens of one position, and the range of log(p/b) among its unlisted tokens (None where unknown)."""

    tokens: tuple[str, ...]
    log_p: tuple[float, ...]
    log_b: tuple[float, ...]
    low: float | None = None
    high: float | None = None


class TableError(ValueError):
    """A table cannot be used; the message gives its source, the line at fault if there is one, and the remedy.

    >>> raise TableError("answers.csv", "log_p is NaN; score the position again", line=12)
    Traceback (most recent call last):
    lambda_star.calibration.table.TableError: answers.csv, line 12: log_p is NaN; score the position again
    """

    def __init__(self, source: str, problem: str, line: int | None = None) -> None:
        super().__init__(f"{source}{f', line {line}' if line else ''}: {problem}")
        self.source, self.problem, self.line = source, problem, line

    def __reduce__(self) -> tuple[Any, ...]:
        return TableError, (self.source, self.problem, self.line)


@dataclass(frozen=True)
class Table:
    """Measured log-probabilities, one array per column and one entry per usable row.

    Attributes:
        source: where the rows came from.
        sequence: identifier of the answer, as text.
        position: index of the position in its answer, counted from 0.
        token, modal: texts of the sampled token and of the teacher's modal token.
        log_p, log_b: natural log-probabilities of the modal token under teacher and base, at most 0. A ``log_b`` that
            is only bounded from above is that bound.
        contract: the ``contract`` column (empty text outside the contract), or None if no row has one.
        top: the ``top`` and ``rest`` columns, None in rows without them; None if no row has them.
        log_p_low, log_p_high, log_b_low, log_b_high: the ends of numbers that are known to lie in an interval; None if
            every number is its own end. A lower end of -inf says that only the upper end is known.
        problems: the rows that were left out, and why.

    >>> table = Table.from_rows([
    ...     {"sequence": 0, "position": 0, "token": "[", "modal": "[", "log_p": -0.001, "log_b": -0.7},
    ...     {"sequence": 0, "position": 1, "token": "7", "modal": "7", "log_p": 0.3, "log_b": -0.7},
    ... ], keep_going=True)
    >>> table.modal.tolist(), table.problems[0].message.split(";")[0]
    (['['], 'log_p is 0.3, above 0')
    """

    source: str
    sequence: Texts
    position: NDArray[np.int64]
    token: Texts
    modal: Texts
    log_p: Floats
    log_b: Floats
    contract: Texts | None = None
    top: tuple[Top | None, ...] | None = None
    log_p_low: Floats | None = None
    log_p_high: Floats | None = None
    log_b_low: Floats | None = None
    log_b_high: Floats | None = None
    problems: tuple[Problem, ...] = ()

    @classmethod
    def from_rows(cls, rows: Iterable[Mapping[str, Any]], *, keep_going: bool = False, source: str = "rows") -> Table:
        """Build a table from rows in memory, with the checks that a file gets.

        Args:
            rows: mappings with the columns above, for instance ``frame.to_dict("records")`` of a data frame.
            keep_going: whether to list bad rows in ``problems`` instead of raising an error for the first one.
            source: the name of the rows in messages.

        Returns:
            A :class:`Table`.

        Raises:
            TableError: a row is bad (unless ``keep_going``), or no row is usable.
        """
        from lambda_star.calibration.rows import gather

        return gather(source, enumerate(rows, start=1), keep_going)

    @classmethod
    def from_frame(cls, frame: Any, *, keep_going: bool = False) -> Table:
        """Build a table from a data frame, with the checks that a file gets.

        Args:
            frame: a frame with the columns above, of pandas, polars, Arrow or any other library that offers the Arrow C
                stream interface.
            keep_going: whether to list bad rows in ``problems`` instead of raising an error for the first one.

        Returns:
            A :class:`Table`.

        Raises:
            TypeError: the object is no such frame.
            TableError: a column is missing, a row is bad (unless ``keep_going``), or no row is usable.

        >>> import pyarrow
        >>> row = {"sequence": 0, "position": 0, "token": "[", "modal": "[", "log_p": -.1, "log_b": -.7}
        >>> len(Table.from_frame(pyarrow.Table.from_pylist([row])))
        1
        """
        from lambda_star.calibration.readers import read_table

        if not hasattr(frame, "__arrow_c_stream__"):
            kind = type(frame).__name__
            raise TypeError(f"`frame` must be a data frame with the Arrow C stream interface, got {kind}")
        return read_table(frame, keep_going=keep_going)

    @classmethod
    def concatenate(cls, tables: Iterable[Table]) -> Table:
        """Return several tables after one another as one.

        Args:
            tables: one table or more, whose answers have different names where they are different answers.

        Returns:
            A :class:`Table`, whose problems keep the source of their own table.

        Raises:
            ValueError: there is no table.

        >>> rows = [{"sequence": at, "position": 0, "token": "[", "modal": "[", "log_p": -.1, "log_b": -.7}
        ...         for at in range(2)]
        >>> Table.concatenate([Table.from_rows(rows[:1]), Table.from_rows(rows[1:])]).sequence.tolist()
        ['0', '1']
        """
        parts = list(tables)
        if not parts:
            raise ValueError("tables must hold at least one table, got none")
        if len(parts) == 1:
            return parts[0]
        joined: dict[str, Any] = {name: _join([getattr(part, name) for part in parts]) for name in COLUMNS}
        for name in ENDS:
            if any(getattr(part, name) is not None for part in parts):
                ends = [getattr(part, name) for part in parts]
                numbers = [getattr(part, name[:5]) for part in parts]
                joined[name] = _join([own if end is None else end for end, own in zip(ends, numbers, strict=True)])
        if any(part.contract is not None for part in parts):
            joined["contract"] = Texts.joined(part.contract or Texts.of([""] * len(part)) for part in parts)
        if any(part.top is not None for part in parts):
            joined["top"] = tuple(top for part in parts for top in part.top or [None] * len(part))
        return cls(
            source=", ".join(dict.fromkeys(part.source for part in parts)),
            **joined,
            problems=tuple(problem for part in parts for problem in part.named_problems()),
        )

    def __len__(self) -> int:
        return len(self.log_p)

    def named_problems(self) -> list[Problem]:
        """Return the problems, each with its file."""
        return [problem._replace(source=problem.source or self.source) for problem in self.problems]

    def take(self, rows: slice | Sequence[int] | NDArray[Any]) -> Table:
        """Return the table of some rows.

        Args:
            rows: a slice, the indices of the rows, or a mask.

        Returns:
            A :class:`Table` without the problems of this one.
        """
        chosen = np.arange(len(self))[rows]
        columns = {name: getattr(self, name) for name in (*COLUMNS, *ENDS, "contract")}
        taken: dict[str, Any] = {name: None if column is None else column[chosen] for name, column in columns.items()}
        top = None if self.top is None else tuple(self.top[row] for row in chosen)
        return dataclasses.replace(self, **taken, top=top, problems=())

    def ends(self, name: str) -> tuple[Floats, Floats]:
        """Return the lower and the upper ends of the numbers of a column.

        Args:
            name: ``log_p`` or ``log_b``.

        Returns:
            Two arrays, the column itself where the numbers are their own ends.

        >>> row = {"sequence": 0, "position": 0, "token": "[", "modal": "[", "log_p": -.1, "log_b": -3}
        >>> Table.from_rows([row | {"log_b_low": "-inf"}]).ends("log_b")
        (array([-inf]), array([-3.]))
        """
        low, high = getattr(self, f"{name}_low"), getattr(self, f"{name}_high")
        number = getattr(self, name)
        return (number if low is None else low), (number if high is None else high)


def _join(columns: Sequence[Any]) -> Any:
    return Texts.joined(columns) if isinstance(columns[0], Texts) else np.concatenate(columns)
