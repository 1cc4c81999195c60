"""Arguments as exact numbers: floats, decimal strings and intervals of both, each held to the range of its quantity."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from lambda_star._core.namespaces import Values, as_read
from lambda_star._core.quantities import Quantity, outside

Number: TypeAlias = "float | Fraction"
Argument: TypeAlias = Any  # a number, a decimal string, a pair of them, or arrays of numbers or strings

DECIMAL = re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,5})?\s*")
"""Decimal numbers; five digits of an exponent keep the exact value small enough to hold."""
LONGEST = 10_000  # characters of a decimal number
FARTHEST = 1e300  # a float that is finite after every rounding
WORDS = {"inf": math.inf, "+inf": math.inf, "-inf": -math.inf, "nan": math.nan}


class Interval(NamedTuple):
    """An interval that holds the exact value for every choice of the arguments inside theirs.

    ``cut`` names the arguments that reach beyond their range: the interval then holds the values at what lies inside.
    """

    lower: Values
    """The lower end, a float or an array."""
    upper: Values
    """The upper end."""
    cut: tuple[str, ...] = ()
    """The names of the arguments that were cut to their range."""


class Span(NamedTuple):
    """One argument: its ends, and whether each is the open end of its range, which is approached and not reached."""

    low: Number
    high: Number
    open_low: bool = False
    open_high: bool = False

    @property
    def thin(self) -> bool:
        """Whether it is a single number."""
        return self.low == self.high


def middle(span: Span) -> float:
    """Return a float in the middle, finite."""
    low, high = (max(min(float(end), FARTHEST), -FARTHEST) for end in (span.low, span.high))
    return low / 2 + high / 2


def exact(value: Any, name: str) -> Number:
    """Return the exact value of a number: a float is the binary number that it is, a string the decimal one.

    >>> exact(0.1, "p") == Fraction(1, 10), exact("0.1", "p") == Fraction(1, 10)
    (False, True)
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str):
        text = value.strip().lower()
        if text in WORDS:
            return WORDS[text]
        if len(text) <= LONGEST and DECIMAL.fullmatch(text):
            return Fraction(text)
    if isinstance(value, float):
        return value
    if isinstance(value, (int, Fraction)) and not isinstance(value, bool):
        return Fraction(value)
    if isinstance(value, Decimal):
        return exact(str(value), name)
    said = f"{name} must be a number, a decimal string such as '0.999', or a pair of them, got {_short(value)}"
    raise (ValueError if isinstance(value, str) else TypeError)(said)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:40]}… ({len(text)} characters)"


def _ends(argument: Argument) -> tuple[Any, Any]:
    pair = argument[:2] if isinstance(argument, tuple) and len(argument) in {2, 3} else (argument, argument)
    low, high = map(as_read, pair)
    return low, high


def _is_array(value: Any) -> bool:
    return bool(getattr(value, "shape", ())) or isinstance(value, (list, tuple))


def is_nan(value: Number) -> bool:
    """Whether a number is NaN; the exact value of a decimal never is, and may be too large for a float."""
    return isinstance(value, float) and math.isnan(value)


def span(quantity: Quantity, low: Any, high: Any, place: str) -> tuple[Span | None, bool]:
    """Return an argument cut to its range, None for NaN, and whether it was cut; outside of it is an error."""
    low, high = exact(low, quantity.name), exact(high, quantity.name)
    if is_nan(low) or is_nan(high):
        return None, False
    if low > high:
        said = f"{quantity.name} must be a pair of a lower and an upper end, got ({_text(low)}, {_text(high)})"
        raise ValueError(said + place)
    outer = Span(low, high)
    low, open_low = (quantity.low, quantity.ends[0] == "(") if low <= quantity.low else (low, False)
    high, open_high = (quantity.high, quantity.ends[1] == ")") if high >= quantity.high else (high, False)
    if low > high or (low == high and (open_low or open_high)):
        value = _text(outer.low) if outer.thin else f"({_text(outer.low)}, {_text(outer.high)})"
        outside(quantity, _Shown(value), place)
    return Span(low, high, open_low, open_high), outer.low < low or outer.high > high or open_low or open_high


class _Shown(str):
    """A number as it is shown in a message."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _text(value: Number) -> str:
    return repr(value if isinstance(value, float) else float(value) if abs(value) < 10**300 else value)


def over(
    arguments: Mapping[str, Argument],
    quantities: Sequence[Quantity],
    enclose: Callable[[dict[str, Span]], tuple[float, float]],
) -> Interval:
    """Return the enclosure of every element of the broadcast arguments."""
    ends = {name: _ends(argument) for name, argument in arguments.items()}
    cut: dict[str, None] = {}

    def bounds(pairs: Iterable[tuple[Any, Any]], place: str = "") -> tuple[float, float]:
        spans = _spans(zip(quantities, pairs, strict=True), place, cut)
        return (math.nan, math.nan) if spans is None else enclose(spans)

    if not any(_is_array(end) for pair in ends.values() for end in pair):
        return Interval(*bounds(ends.values()), tuple(cut))
    sides = [np.array(end, dtype=object) for pair in ends.values() for end in pair]
    table = np.broadcast_arrays(*sides)
    shape = table[0].shape
    lower, upper = np.empty(shape), np.empty(shape)
    for index in np.ndindex(shape):
        row = [side[index] for side in table]
        place = f" at index {index[0] if len(index) == 1 else index}"
        lower[index], upper[index] = bounds(zip(row[::2], row[1::2], strict=True), place)
    return Interval(lower, upper, tuple(cut))


def _spans(
    arguments: Iterable[tuple[Quantity, tuple[Any, Any]]], place: str, cut: dict[str, None]
) -> dict[str, Span] | None:
    """Return one number or interval of each argument, all of them checked; None if one is NaN."""
    found = {}
    for quantity, (low, high) in arguments:
        one, was_cut = span(quantity, low, high, place)
        found[quantity.name] = one
        if was_cut:
            cut[quantity.name] = None
    known = {name: one for name, one in found.items() if one is not None}
    return known if len(known) == len(found) else None


def spans_of(values: Sequence[Argument], name: str) -> Iterator[tuple[Number, Number]]:
    """Return the ends of each of a row of arguments."""
    for value in values:
        low, high = value[:2] if isinstance(value, tuple) else (value, value)
        yield exact(low, name), exact(high, name)
