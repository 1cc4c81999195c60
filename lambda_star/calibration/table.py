"""Check rows of measured log-probabilities, and hold the good ones as one array per column."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lambda_star._core.namespaces import Floats

__all__ = ["COLUMNS", "OPTIONAL_COLUMNS", "Problem", "Table", "TableError", "Top"]

COLUMNS = ("sequence", "position", "token", "modal", "log_p", "log_b")
OPTIONAL_COLUMNS = ("contract", "top", "rest")

ROUNDING = 1e-6
"""The largest difference between two numbers that count as equal, because tables are written with few digits."""

Row = Mapping[str, Any] | str
"""The values of a row by column, or a sentence about why the row cannot be read."""

Texts = NDArray[np.object_]
"""An array of Python strings, which also runs on NumPy 1.26 and keeps trailing null characters."""


class Problem(NamedTuple):
    """A row that was left out: its line (counted from 1; the row number for Parquet and rows in memory) and why."""

    line: int
    message: str


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


@dataclass(frozen=True)
class Table:
    """Measured log-probabilities, one array per column and one entry per usable row.

    Attributes:
        source: where the rows came from.
        sequence: identifier of the answer, as text.
        position: index of the position in its answer, counted from 0.
        token, modal: texts of the sampled token and of the teacher's modal token.
        log_p, log_b: natural log-probabilities of the modal token under teacher and base, at most 0.
        contract: the ``contract`` column (empty text outside the contract), or None if no row has one.
        top: the ``top`` and ``rest`` columns, None in rows without them; None if no row has them.
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
        return _build(source, enumerate(rows, start=1), keep_going)


def _build(source: str, rows: Iterable[tuple[int, Row]], keep_going: bool) -> Table:
    """Check every row, and gather the good ones column by column."""
    good: dict[tuple[str, int], tuple[int, tuple[Any, ...]]] = {}
    problems: list[Problem] = []
    for line, row in rows:
        wrong = _add(good, line, row)
        if wrong and not keep_going:
            remedy = "correct it, or pass `keep_going=True` to leave bad rows out and list them"
            raise TableError(source, f"{wrong}; {remedy}", line)
        if wrong:
            problems.append(Problem(line, wrong))
    if not good:
        found = "there are no rows"
        if problems:
            found = f"none of {len(problems)} rows is usable; line {problems[0].line}: {problems[0].message}"
        raise TableError(source, f"{found}; write one row per output position")
    *columns, contract, top = zip(*(values for _, values in good.values()), strict=True)
    types = ((name, dtype) for name, (_, dtype) in PARSERS.items())
    arrays = {name: np.array(column, dtype) for (name, dtype), column in zip(types, columns, strict=True)}
    return Table(
        source=source,
        **arrays,
        contract=None if set(contract) == {None} else np.array([label or "" for label in contract], dtype=object),
        top=top if any(top) else None,
        problems=tuple(problems),
    )


def _add(good: dict[tuple[str, int], tuple[int, tuple[Any, ...]]], line: int, row: Row) -> str:
    """Add the values of a row to those of the good rows, or return a sentence about what is wrong with it."""
    try:
        values = _parse(row)
    except ValueError as error:
        return str(error)
    first, _ = good.setdefault(values[:2], (line, values))
    if first == line:
        return ""
    return f"sequence {values[0]}, position {values[1]} is also on line {first}; keep one of them"


def _parse(row: Row) -> tuple[Any, ...]:
    """The values of one row in the order of the columns; ``ValueError`` says what is wrong with it."""
    if isinstance(row, str):
        raise ValueError(row)
    missing = [name for name in COLUMNS if row.get(name) is None]
    if missing:
        raise ValueError(f"no value for {', '.join(missing)}")
    values = [parse(name, row[name]) for name, (parse, _) in PARSERS.items()]
    label = row.get("contract")
    label = None if "contract" not in row else "" if _is_missing(label) else _text("contract", label)
    return *values, label, _top(row.get("top"), row.get("rest"), *values[-2:])


def _top(top: Any, rest: Any, log_p: float, log_b: float) -> Top | None:
    """The listed tokens of a row, the modal token first, and the range of the unlisted tokens' log-ratios."""
    entries, ends = _list("top", top), _list("rest", rest)
    if not entries:
        if ends:
            raise ValueError("rest is given without top; write the tokens that rest leaves out")
        return None
    tokens, listed_p, listed_b = zip(*_listed(entries, log_p, log_b), strict=True)
    if not ends:
        return Top(tokens, listed_p, listed_b)
    low, *others = (math.nan if number is None else number for number in map(_number, ends))
    if len(others) != 1 or not -math.inf < low <= others[0] < math.inf:
        raise ValueError(f"rest is {rest!r}; it must be [least, greatest] log(p/b) of the tokens outside top")
    return Top(tokens, listed_p, listed_b, low, others[0])


def _listed(entries: list[Any], log_p: float, log_b: float) -> list[tuple[str, float, float]]:
    """The listed tokens with both log-probabilities; the modal token comes first among equally probable tokens."""
    entries = [entry.tolist() if isinstance(entry, np.ndarray) else entry for entry in entries]
    if not all(isinstance(entry, list | tuple) and len(entry) == 3 for entry in entries):
        raise ValueError("top is not a list of [token, log_p, log_b]")
    listed = [(_text("top", text), _log_probability("top", p), _log_probability("top", b)) for text, p, b in entries]
    for name, values in (("log_p", [p for _, p, _ in listed]), ("log_b", [b for _, _, b in listed])):
        if math.fsum(map(math.exp, values)) > 1 + ROUNDING:
            raise ValueError(f"top has probabilities whose sum is above 1 in {name}; write natural log-probabilities")
    first = max(range(len(listed)), key=lambda index: listed[index][1])
    modal = max(range(len(listed)), key=lambda index: (listed[index][1], _agree(listed[index][2], log_b)))
    for name, value, own in (("log_p", listed[modal][1], log_p), ("log_b", listed[modal][2], log_b)):
        if not _agree(value, own):
            raise ValueError(f"top has a most probable token whose {name} is not that of the row; score both at once")
    listed[first], listed[modal] = listed[modal], listed[first]
    return listed


def _agree(value: float, other: float) -> bool:
    return abs(value - other) <= ROUNDING * (1 + abs(other))


def _list(name: str, value: Any) -> list[Any]:
    """A list from a list, an array, or JSON text; an empty list where there is no value."""
    if _is_missing(value) or (isinstance(value, str) and not value.strip()):
        return []
    try:
        value = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} is not a JSON list ({error})") from None
    value = value.tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(value, list | tuple):
        raise ValueError(f"{name} is {value!r}, which is not a list")
    return list(value)


def _is_missing(value: Any) -> bool:
    """Whether a value is None, or the NaN with which data frames mark a missing value."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _text(name: str, value: Any) -> str:
    if _is_missing(value):
        raise ValueError(f"no value for {name}")
    if isinstance(value, bytes):
        raise ValueError(f"{name} is {value!r}, which is bytes; write text")
    text = str(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name} is {text!a}, which has half a surrogate pair; write whole characters") from None
    return text


def _number(value: Any) -> float | None:
    """The value as a float; None for truth values and for everything that is not a number."""
    try:
        return None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _position(name: str, value: Any) -> int:
    try:
        position = int(value)
    except (TypeError, ValueError, OverflowError):
        position = -1
    if position != _number(value) or not 0 <= position < 2**63:
        raise ValueError(f"{name} is {value!r}; it must be an integer of at least 0")
    return position


def _log_probability(name: str, value: Any) -> float:
    number = _number(value)
    if number is None:
        raise ValueError(f"{name} is {value!r}; it must be a natural log-probability")
    if math.isnan(number):
        raise ValueError(f"{name} is NaN; score the position again")
    if number > 0:
        raise ValueError(f"{name} is {number:g}, above 0; write natural log-probabilities, not probabilities or logits")
    if number == -math.inf:
        raise ValueError(f"{name} is -inf, so the modal token has no mass; score it without top-k or masking")
    return number


PARSERS: dict[str, tuple[Callable[[str, Any], Any], Any]] = {
    "sequence": (_text, object),
    "position": (_position, np.int64),
    "token": (_text, object),
    "modal": (_text, object),
    "log_p": (_log_probability, np.float64),
    "log_b": (_log_probability, np.float64),
}
"""The parser of every column and the type of its array."""
