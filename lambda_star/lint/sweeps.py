"""The values that a setting may take: a number, a sweep, or a variable with a default, as numbers one by one."""

from __future__ import annotations

import math
import re
from functools import lru_cache
from itertools import islice

__all__ = ["DEEPEST", "LONGEST", "MOST_VALUES", "values"]

MOST_VALUES = 1000
"""More values than this of one setting are not judged one by one; the setting then counts as unreadable."""

LONGEST = 10_000
"""The characters of a value that are read; no sweep that is judged one by one has more."""

DEEPEST = 50
"""A setting nested deeper than anyone writes it is not read."""

DEFAULT = re.compile(r"\$\{oc\.(?:env|select):[^,{}$]+,([^{}$]*)\}|\$\{\w+:?-([^{}$]*)\}")
DECODED = re.compile(r"\$\{oc\.(?:decode|create):([^{}$]*)\}")
CALL = re.compile(r"(\w+)\((.*)\)", re.DOTALL)
NAMED = re.compile(r"\s*(start|stop|step)\s*=\s*")
ORDERED = ("sort", "shuffle")


@lru_cache(1000)
def values(text: str) -> tuple[float | str, ...]:
    """Return the values of a setting: a finite number for each one that can be read, and its text for each other.

    >>> values("1.0,1.25"), values("${oc.env:LAM,1.25}"), values("$LAM")
    ((1.0, 1.25), (1.25,), ('$LAM',))
    """
    if sum(map(text.count, "([{")) > DEEPEST or len(text) > LONGEST:
        return (text,)
    # Nested defaults resolve from the inside; each round removes at least one "$".
    for _ in range(min(text.count("$"), DEEPEST)):
        text = DECODED.sub(r"\1", DEFAULT.sub(lambda found: found[1] if found[2] is None else found[2], text))
    found = tuple(islice(_pieces(text.strip()), MOST_VALUES + 1))
    return found if len(found) <= MOST_VALUES else (text,)


def _pieces(text: str) -> list[float | str]:
    call = CALL.fullmatch(text)
    if call and call[1] in {"choice", *ORDERED}:
        first, *others = _split(call[2]) or [""]
        # The keywords of a sorted or shuffled sweep do not change its values.
        inner = [first, *(other for other in others if call[1] == "choice" or "=" not in other)]
        return [value for piece in inner for value in _pieces(piece)]
    if call and call[1] in {"range", "interval"}:
        ends = [_number(NAMED.sub("", end)) for end in _split(call[2])]
        numbers = [end for end in ends if isinstance(end, float)]
        if len(numbers) == len(ends):
            # Everything that is judged about λ is monotone in λ, so the ends of an interval stand for it.
            return [*numbers] if call[1] == "interval" else _range(numbers) or [text]
        return [text]
    if len(text) > 1 and text[0] in "[(" and text[-1] in "])":
        text = text[1:-1].strip().removesuffix(",")
    pieces = _split(text)
    if len(pieces) > 1:
        return [value for piece in pieces for value in _pieces(piece)]
    return [_number(text)]


def _split(text: str) -> list[str]:
    """The parts between the commas that stand outside of brackets."""
    parts, depth, start = [], 0, 0
    for place, mark in enumerate(text):
        depth += (mark in "([{") - (mark in ")]}")
        if mark == "," and depth == 0:
            parts.append(text[start:place].strip())
            start = place + 1
    return [*parts, text[start:].strip()]


def _range(ends: list[float]) -> list[float | str]:
    """The values of Hydra's ``range``, which like Python's leaves out its end; none if that has no sense."""
    first, last, step = (0.0, *ends, 1.0) if len(ends) == 1 else (*ends, 1.0)[:3]
    count = (last - first) / step if step else 0.0
    return [first + index * step for index in range(math.ceil(max(0, min(count - 1e-9, MOST_VALUES + 1))))]


def _number(text: str) -> float | str:
    try:
        number = float(text.strip().strip("'\""))
    except ValueError:
        return text
    return number if math.isfinite(number) else text
