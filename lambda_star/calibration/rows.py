"""Check rows of measured log-probabilities one by one, and gather the good ones in a table."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from lambda_star.calibration.table import COLUMNS, ENDS, Problem, Table, TableError, Top
from lambda_star.calibration.texts import Texts

__all__ = [
    "LEAST",
    "REMEDY",
    "ROUNDING",
    "Row",
    "gather",
    "is_integer",
    "is_missing",
    "nothing",
    "require_whole",
    "top_of",
]

ROUNDING = 1e-6
"""The largest difference between two numbers that count as equal, because tables are written with few digits."""

LEAST = -9000.0
"""Numbers below this are no log-probabilities: vLLM writes -9999 for -inf, llama.cpp the least number of float32."""

INTEGER = re.compile(r"\s*[+-]?[0-9]{1,19}\s*")

REMEDY = "correct it, or pass `keep_going=True` to leave bad rows out and list them"

Row = Mapping[str, Any] | str
"""The values of a row by column, or a sentence about why the row cannot be read."""


def gather(source: str, rows: Iterable[tuple[int, Row]], keep_going: bool, *, empty: bool = False) -> Table:
    """Return the table of the good rows among some, each with its line, or the sentence about why it cannot be read.

    A bad row is a ``TableError``, or with ``keep_going`` a problem of the table. No good row at all is one as well,
    unless the table may be ``empty``, as a part of a file may.

    >>> row = {"sequence": 0, "position": 0, "token": "[", "modal": "[", "log_p": -0.001, "log_b": -0.7}
    >>> gather("rows", [(1, row), (2, "broken JSON")], keep_going=True).problems
    (Problem(line=2, message='broken JSON', source=''),)
    """
    good: dict[tuple[str, int], tuple[int, tuple[Any, ...]]] = {}
    problems: list[Problem] = []
    for line, row in rows:
        wrong = _add(good, line, row)
        if wrong and not keep_going:
            raise TableError(source, f"{wrong}; {REMEDY}", line)
        if wrong:
            problems.append(Problem(line, wrong))
    if not good and not empty:
        raise nothing(source, problems)
    *columns, ends, contract, top = zip(*(values for _, values in good.values()), strict=True) if good else [()] * 9
    return Table(
        source=source,
        **{name: make(column) for (name, (_, make)), column in zip(PARSERS.items(), columns, strict=True)},
        **_ends(ends, dict(zip(PARSERS, columns, strict=True))),
        contract=None if set(contract) <= {None} else Texts.of(label or "" for label in contract),
        top=top if any(top) else None,
        problems=tuple(problems),
    )


def nothing(source: str, problems: Sequence[Problem]) -> TableError:
    """Return the error that says that no row is usable, and shows the first problem.

    >>> nothing("rows", ())
    TableError('rows: there are no rows; write one row per output position')
    """
    found = "there are no rows"
    if problems:
        found = f"none of {len(problems)} rows is usable; line {problems[0].line}: {problems[0].message}"
    return TableError(source, f"{found}; write one row per output position")


def _ends(ends: Iterable[dict[str, float]], columns: Mapping[str, Iterable[float]]) -> dict[str, Any]:
    """The columns of the ends of intervals that some row has; a row without an end has the number itself."""
    rows = list(ends)
    return {
        name: np.array([row.get(name, number) for row, number in zip(rows, columns[name[:5]], strict=True)])
        for name in dict.fromkeys(name for row in rows for name in row)
    }


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
    label = None if "contract" not in row else "" if is_missing(label) else _text("contract", label)
    return *values, _intervals(row, *values[-2:]), label, top_of(row.get("top"), row.get("rest"), *values[-2:])


def _intervals(row: Mapping[str, Any], log_p: float, log_b: float) -> dict[str, float]:
    """The ends of the intervals of a row by column, as far as it has some."""
    ends = {}
    for name in ENDS:
        if is_missing(row.get(name)) or row[name] == "":
            continue
        end, number, below = _number(row[name]), log_p if name.startswith("log_p") else log_b, name.endswith("low")
        if end is None or not (end <= number if below else number <= end <= 0):
            bound = f"at most {name[:5]}, {number:g}" if below else f"at least {name[:5]}, {number:g}, and at most 0"
            raise ValueError(f"{name} is {row[name]!r}; it must be {bound}")
        ends[name] = end
    return ends


def top_of(top: Any, rest: Any, log_p: float, log_b: float) -> Top | None:
    """Return the listed tokens of a row, the modal token first, and the range of the unlisted tokens' log-ratios.

    ``top`` is a list of [token, log_p, log_b], ``rest`` the least and the greatest log(p/b) of the other tokens; each
    may be JSON text, and empty text, None or NaN where there is none. Lists that do not fit the row are a
    ``ValueError``.

    >>> top_of('[["[", -0.1, -0.7]]', None, -0.1, -0.7).tokens
    ('[',)
    """
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
    if is_missing(value) or (isinstance(value, str) and not value.strip()):
        return []
    try:
        value = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} is not a JSON list ({error})") from None
    value = value.tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(value, list | tuple):
        raise ValueError(f"{name} is {value!r}, which is not a list")
    return list(value)


def is_missing(value: Any) -> bool:
    """Return whether a value is None, or the NaN with which data frames mark a missing value."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _text(name: str, value: Any) -> str:
    if is_missing(value):
        raise ValueError(f"no value for {name}")
    if isinstance(value, bytes):
        raise ValueError(f"{name} is {value!r}, which is bytes; write text")
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # data frames make floats of whole numbers where one is missing
    text = str(value)
    require_whole(name, text)
    if "\0" in text:
        raise ValueError(f"{name} is {text[:60]!a}, which has a null character; the file may be damaged")
    return text


def require_whole(name: str, text: str) -> None:
    """Raise an error if a text has half a surrogate pair, so that it cannot be written anywhere."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name} is {text!a}, which has half a surrogate pair; write whole characters") from None


def is_integer(text: str) -> bool:
    """Return whether a text is an integer in plain digits: no underscores, and no digits of other scripts.

    >>> is_integer(" 12"), is_integer("1_2")
    (True, False)
    """
    return INTEGER.fullmatch(text) is not None


def _number(value: Any) -> float | None:
    """The value as a float; None for truth values and for everything that is not a number in plain digits."""
    if isinstance(value, str) and ("_" in value or not value.isascii()):
        return None
    try:
        return None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _position(name: str, value: Any) -> int:
    try:
        position = -1 if isinstance(value, str) and not is_integer(value) else int(value)
    except (TypeError, ValueError, OverflowError):
        position = -1
    if _number(value) is None or (not isinstance(value, str) and position != value) or not 0 <= position < 2**63:
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
    if number < LEAST:
        what = "is" if number == -math.inf else f"is {number:g}, which stands for"
        raise ValueError(f"{name} {what} -inf, so the modal token has no mass; score it without top-k or masking")
    return number


PARSERS: dict[str, tuple[Callable[[str, Any], Any], Callable[[Any], Any]]] = {
    "sequence": (_text, Texts.of),
    "position": (_position, lambda column: np.array(column, dtype=np.int64)),
    "token": (_text, Texts.of),
    "modal": (_text, Texts.of),
    "log_p": (_log_probability, np.array),
    "log_b": (_log_probability, np.array),
}
"""The parser of every column, and the function that makes its array."""
