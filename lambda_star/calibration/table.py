"""What a row of measured log-probabilities is, and what is wrong with one."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["COLUMNS", "OPTIONAL_COLUMNS", "Problem", "Table", "TableError", "Top"]

COLUMNS = ("sequence", "position", "token", "modal", "log_p", "log_b")


OPTIONAL_COLUMNS = ("contract", "top", "rest")


TEXT = np.dtypes.StringDType()


ROUNDING = 1e-6
"""How far numbers in ``top`` may be from what they must be, since tables are written with few digits."""


Row = Mapping[str, Any] | str
"""The values by column, or what is wrong with the row."""


class Problem(NamedTuple):
    """A row that cannot be used: its line (1-based; a row number for Parquet and for rows in memory) and why.

    >>> Problem(12, "log_p is 0.3, above 0").line
    12
    """

    line: int
    message: str


class Top(NamedTuple):
    """The known tokens of one position, and the range of the log-ratio of teacher to base among the others.

    >>> Top(("[", "{"), (-0.1, -2.5), (-0.7, -1.2), low=-3.0, high=0.4).tokens
    ('[', '{')
    """

    tokens: tuple[str, ...]
    log_p: tuple[float, ...]
    log_b: tuple[float, ...]
    low: float | None = None
    high: float | None = None


class TableError(ValueError):
    """A file that cannot be used, with its path, its line where one is to blame, and the remedy.

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
        sequence: id of the answer, as text.
        position: 0-based place in the answer.
        token: text of the sampled token.
        modal: text of the teacher's modal token.
        log_p: log-probability of the modal token under the teacher, at most 0.
        log_b: log-probability of the same token under the base, at most 0.
        contract: the ``contract`` column (empty text outside the contract), or None without such a column.
        top: the ``top`` and ``rest`` columns, None in rows without; None without such columns.
        problems: the rows that were left out, and why.

    >>> table = Table.from_rows([
    ...     {"sequence": 0, "position": 0, "token": "[", "modal": "[", "log_p": -0.001, "log_b": -0.7},
    ... ])
    >>> table.modal.tolist(), table.problems
    (['['], ())
    """

    source: str
    sequence: NDArray[Any]
    position: NDArray[np.int64]
    token: NDArray[Any]
    modal: NDArray[Any]
    log_p: NDArray[np.float64]
    log_b: NDArray[np.float64]
    contract: NDArray[Any] | None = None
    top: tuple[Top | None, ...] | None = None
    problems: tuple[Problem, ...] = field(default=())

    @classmethod
    def from_rows(cls, rows: Iterable[Mapping[str, Any]], *, keep_going: bool = False, source: str = "rows") -> Table:
        """Build a table from rows in memory, with the checks that a file gets.

        Args:
            rows: mappings with the columns above, for instance ``frame.to_dict("records")`` of a data frame.
            keep_going: leave bad rows out and list them in ``problems``, in place of raising for the first.
            source: what messages call the rows.

        Raises:
            TableError: a row is bad (unless ``keep_going``), or no row is usable.

        >>> Table.from_rows([])
        Traceback (most recent call last):
        lambda_star.calibration.table.TableError: rows: no rows; write one row per output position
        """
        return _build(source, enumerate(rows, start=1), keep_going)


def _build(source: str, rows: Iterator[tuple[int, Row]] | Iterable[tuple[int, Row]], keep_going: bool) -> Table:
    """Check every row, and gather the good ones column by column."""
    good: list[tuple[Any, ...]] = []
    problems: list[Problem] = []
    seen: dict[tuple[str, int], int] = {}
    for line, row in rows:
        try:
            values = _parse(row)
            first = seen.setdefault(values[:2], line)
            if first != line:
                raise ValueError(
                    f"sequence {values[0]}, position {values[1]} is also on line {first}; keep one of them"
                )
            good.append(values)
        except ValueError as error:
            if not keep_going:
                hint = "; correct it, or leave bad rows out and list them with --keep-going (keep_going=True)"
                raise TableError(source, f"{error}{hint}", line) from error
            problems.append(Problem(line, str(error)))
    if not good:
        found = (
            f"none of {len(problems)} rows is usable; line {problems[0].line}: {problems[0].message}"
            if problems
            else "no rows"
        )
        raise TableError(source, f"{found}; write one row per output position")
    sequence, position, token, modal, log_p, log_b, contract, top = zip(*good, strict=True)
    return Table(
        source=source,
        sequence=np.array(sequence, dtype=TEXT),
        position=np.array(position, dtype=np.int64),
        token=np.array(token, dtype=TEXT),
        modal=np.array(modal, dtype=TEXT),
        log_p=np.array(log_p),
        log_b=np.array(log_b),
        contract=None if set(contract) == {None} else np.array([label or "" for label in contract], dtype=TEXT),
        top=top if any(top) else None,
        problems=tuple(problems),
    )


def _parse(row: Row) -> tuple[Any, ...]:
    """The values of one row in the order of the columns, or ``ValueError`` saying what is wrong with it."""
    if isinstance(row, str):
        raise ValueError(row)
    missing = [name for name in COLUMNS if row.get(name) is None]
    if missing:
        raise ValueError(f"no value for {', '.join(missing)}")
    log_p, log_b = (_log_probability(name, row[name]) for name in ("log_p", "log_b"))
    return (
        _text("sequence", row["sequence"]),
        _position(row["position"]),
        _text("token", row["token"]),
        _text("modal", row["modal"]),
        log_p,
        log_b,
        _label(row["contract"]) if "contract" in row else None,
        _top(row.get("top"), row.get("rest"), log_p, log_b),
    )


def _label(value: Any) -> str:
    return "" if value is None or _is_nan(value) else _text("contract", value)


def _top(top: Any, rest: Any, log_p: float, log_b: float) -> Top | None:
    """The known tokens of a row, the modal one among them, and the range of the others."""
    entries, ends = _list("top", top), _list("rest", rest)
    if not entries:
        if ends:
            raise ValueError("rest without top; write the tokens that it leaves out")
        return None
    tokens, known_p, known_b = zip(*_known(entries, log_p, log_b), strict=True)
    if not ends:
        return Top(tokens, known_p, known_b)
    try:
        low, high = (float(_no_truth_value(end)) for end in ends)
        ordered = -math.inf < low <= high < math.inf
    except (TypeError, ValueError, OverflowError):
        ordered = False
    if not ordered:
        raise ValueError(f"rest is {rest!r}; it must be [least, greatest] log(p/b) of the tokens outside top")
    return Top(tokens, known_p, known_b, low, high)


def _known(entries: list[Any], log_p: float, log_b: float) -> list[tuple[str, float, float]]:
    """The known tokens with both log-probabilities; among tokens that are as probable the modal one comes first."""
    entries = [entry.tolist() if isinstance(entry, np.ndarray) else entry for entry in entries]
    if not all(isinstance(entry, list | tuple) and len(entry) == 3 for entry in entries):
        raise ValueError("top is not a list of [token, log_p, log_b]")
    known = [(_text("top", text), _log_probability("top", p), _log_probability("top", b)) for text, p, b in entries]
    for name, values in (("log_p", [p for _, p, _ in known]), ("log_b", [b for _, _, b in known])):
        if math.fsum(map(math.exp, values)) > 1 + ROUNDING:
            raise ValueError(f"top has probabilities whose sum is above 1 in {name}; write natural log-probabilities")
    most = max(p for _, p, _ in known)
    tied = [place for place, (_, p, _) in enumerate(known) if p == most]
    modal = next((place for place in tied if _agree(known[place][2], log_b)), tied[0])
    for name, value, own in (("log_p", known[modal][1], log_p), ("log_b", known[modal][2], log_b)):
        if not _agree(value, own):
            raise ValueError(f"top has a most probable token whose {name} is not that of the row; score both at once")
    known[tied[0]], known[modal] = known[modal], known[tied[0]]
    return known


def _agree(value: float, other: float) -> bool:
    return abs(value - other) <= ROUNDING * (1 + abs(other))


def _list(name: str, value: Any) -> list[Any]:
    """A list from a list, an array, or JSON text; empty where there is no value."""
    if value is None or _is_nan(value) or (isinstance(value, str) and not value.strip()):
        return []
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{name} is no JSON list ({error})") from None
    value = value.tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(value, list | tuple):
        raise ValueError(f"{name} is {value!r}, no list")
    return list(value)


def _is_nan(value: Any) -> bool:
    """Whether a value is how data frames say that there is none."""
    return isinstance(value, float) and math.isnan(value)


def _no_truth_value(value: Any) -> Any:
    if isinstance(value, bool):
        raise TypeError("a truth value is no number")
    return value


def _text(name: str, value: Any) -> str:
    if value is None or _is_nan(value):
        raise ValueError(f"no value for {name}")
    if isinstance(value, bytes):
        raise ValueError(f"{name} is {value!r}, bytes; write text")
    text = str(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name} is {text!a}, half a surrogate pair; write whole characters") from None
    return text


def _position(value: Any) -> int:
    try:
        position = int(_no_truth_value(value))
        exact = position == float(value)
    except (TypeError, ValueError, OverflowError):
        position, exact = -1, False
    if not exact or not 0 <= position < 2**63:
        raise ValueError(f"position is {value!r}; it must be an integer from 0")
    return position


def _log_probability(name: str, value: Any) -> float:
    try:
        number = float(_no_truth_value(value))
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} is {value!r}; it must be a natural log-probability") from None
    if math.isnan(number):
        raise ValueError(f"{name} is NaN; score the position again")
    if number > 0:
        raise ValueError(f"{name} is {number:g}, above 0; write natural log-probabilities, not probabilities or logits")
    if number == -math.inf:
        raise ValueError(f"{name} is -inf: no mass on the modal token; score it without top-k or masking")
    return number
