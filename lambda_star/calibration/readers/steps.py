"""What an engine said about one answer: its tokens, their log-probabilities, and the most probable tokens beside them.

Every engine's format is read into the same three types, and everything that is wrong with one number stays with the
position that holds it, so that the other positions can be used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from lambda_star.calibration.readers.rounding import Digits
from lambda_star.calibration.rows import LEAST, is_missing, require_whole

__all__ = [
    "Answer",
    "Entry",
    "Step",
    "as_list",
    "is_telling",
    "log_probability",
    "same_token",
    "step",
    "token",
    "whole",
]

REPLACEMENT = "\ufffd"
"""What a decoder writes for bytes that are not a whole character: many tokens have this one text."""

PLACEHOLDER = "token_id:"
"""What vLLM writes in place of a token's text when it is asked for ids."""

SLACK = 1e-3
"""How far a sum of probabilities may exceed 1, because engines compute in float32 and round."""

LONGEST_ID = 11
"""The most digits of a token id."""


class Entry(NamedTuple):
    """A listed token: text, id and bytes (None where not given), and natural log-probability (NaN where not given)."""

    text: str
    id: int | None
    log: float
    raw: bytes | None = None


class Step(NamedTuple):
    """One position of an answer.

    ``text``, ``id``, ``raw`` and ``log`` are those of the token that stands there. ``top`` holds the most probable
    tokens, so that no other token is more probable than the last of them; ``also`` holds further tokens whose numbers
    are given. ``wrong`` is a sentence about why the position cannot be used.
    """

    text: str
    id: int | None
    log: float | None
    top: tuple[Entry, ...] = ()
    raw: bytes | None = None
    also: tuple[Entry, ...] = ()
    wrong: str = ""

    def entries(self) -> list[Entry]:
        """Return every token whose number is given, each once; the one that stands there comes first."""
        own = [] if self.log is None else [Entry(self.text, self.id, self.log, self.raw)]
        return list(dict.fromkeys([*own, *self.top, *self.also]))


class Answer(NamedTuple):
    """The positions of one answer, as one engine gave them.

    ``start`` is the number of steps that belong to the prompt (None where the record does not tell), ``prompt`` the
    number of tokens of the whole prompt, and ``given`` says that the user named the start.
    """

    name: str
    steps: tuple[Step, ...]
    line: int
    source: str
    start: int | None = 0
    prompt: int | None = None
    given: bool = False

    def digits(self) -> Digits:
        """Return how the numbers of the answer were rounded."""
        return Digits.of(entry.log for one in self.steps for entry in one.entries())


def as_list(value: Any, what: str, ask: str = "") -> Sequence[Any]:
    """Return a value that is a list, or raise an error with its name and with what to ask the engine for.

    >>> as_list({}, "`choices`")
    Traceback (most recent call last):
    ValueError: `choices` is dict, not a list
    """
    value = value.tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(value, list | tuple):
        raise ValueError(f"{what} is {type(value).__name__}, not a list{ask and f'; {ask}'}")
    return value


def whole(value: Any) -> int | None:
    """Return a value as a whole number of at least 0, or None if it is none.

    >>> whole(3), whole(3.0), whole(-1), whole(True), whole("3")
    (3, 3, None, None, None)
    """
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
        return None
    return int(value)


def log_probability(value: Any) -> float:
    """Return a value as a natural log-probability, NaN for None and NaN.

    >>> log_probability(-9999.0)
    Traceback (most recent call last):
    ValueError: a log-probability is -9999, which stands for -inf; ask for raw log-probabilities, without a mask or cut
    """
    if type(value) is float and LEAST <= value <= 0:
        return value
    if is_missing(value):
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise ValueError(f"a log-probability is {_brief(value)}; it must be a number")
    number = _float(value)
    if number < LEAST:
        said = f"a log-probability is {number:g}, which stands for -inf"
        raise ValueError(f"{said}; ask for raw log-probabilities, without a mask or cut")
    if number > 0:
        raise ValueError(f"a log-probability is {number:g}, above 0; write natural log-probabilities")
    return number


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def token(text: Any, number: Any, name: Any = None, raw: Any = None) -> Entry:
    """Return a listed token from its text (None where only its id is given), number, id and bytes in a record.

    >>> token("token_id:28", -0.5)
    Entry(text='token_id:28', id=28, log=-0.5, raw=None)
    """
    log, own = log_probability(number), None if raw is None else _bytes(raw)
    if is_missing(text):
        text = None if name is None else f"{PLACEHOLDER}{_id(name)}"
    if not isinstance(text, str):
        raise ValueError(f"a token is {_brief(text)}; it must be text")
    if not text.isascii():
        require_whole("a token", text)
    if name is None and text.startswith(PLACEHOLDER) and text[len(PLACEHOLDER) :].isdecimal():
        name = text[len(PLACEHOLDER) :]
        if own is not None and own != text.encode():
            text = own.decode(errors="replace")
    if own is not None and not is_telling(own.decode(errors="ignore")) and own in {b"", text.encode()}:
        own = None  # they tell no more than the text
    return Entry(text, None if is_missing(name) else _id(name), log, own)


def step(
    own: Callable[[], Entry],
    top: Callable[[], Iterable[Entry]],
    *,
    proven: bool = False,
    also: Callable[[], Iterable[Entry]] = tuple,
) -> Step:
    """Return a position from functions that read its token and its listed tokens; ``wrong`` says what is wrong with it.

    A list that is ``proven`` holds the most probable tokens alone. Otherwise the token that stands there may have been
    added to it, and as the least of them it does not bound the tokens outside the list. ``also`` reads tokens with a
    number that are not known to be the most probable ones.

    >>> step(lambda: token("[", -0.1), lambda: [token("[", -0.1), token("{", -0.2)]).wrong
    'the listed probabilities add up to 1.724, above 1; write natural log-probabilities of the tokens of one position'
    """
    known = Entry("", None, math.nan)
    try:
        known = own()
        entries = [*top()]
        lacking = [entry for entry in entries if math.isnan(entry.log)]
        if lacking and not all(same_token(entry, known) for entry in lacking):
            raise ValueError(f"a listed token has no number, among {', '.join(repr(each.text) for each in lacking)}")
        listed = _once([entry for entry in entries if entry not in lacking] if lacking else entries)
        more = _once(also())
        known = _unified(known, [*listed, *more])
        if lacking:  # the one that stands there may be more probable than all others
            listed, more = [], [*listed, *more]
        elif not proven and all(known.log < one.log or same_token(one, known) for one in listed):
            listed = [one for one in listed if not same_token(one, known)]
        log = None if math.isnan(known.log) else known.log
        found = Step(known.text, known.id, log, tuple(listed), known.raw, tuple(more))
        _refuse_more_than_all(found)
    except ValueError as error:
        return Step(known.text, known.id, None, raw=known.raw, wrong=str(error))
    return found


def _refuse_more_than_all(found: Step) -> None:
    total = math.fsum(math.exp(entry.log) for entry in found.entries())
    if total > 1 + SLACK:
        said = f"the listed probabilities add up to {total:.4g}, above 1"
        raise ValueError(f"{said}; write natural log-probabilities of the tokens of one position")


def is_telling(text: str) -> bool:
    """Return whether only one token can have a text: not an empty one, and none that stands for unfinished bytes.

    >>> is_telling("["), is_telling(""), is_telling("\ufffd")
    (True, False, False)
    """
    return bool(text) and REPLACEMENT not in text


def same_token(one: Entry | Step, other: Entry | Step) -> bool:
    """Return whether two tokens are one, by id, or else by bytes, or else by a text that only one token can have.

    >>> same_token(Entry("a", 5, -0.1), Entry("a", None, -0.1))
    True
    """
    if one.id is not None and other.id is not None:
        return one.id == other.id
    if one.raw is not None and other.raw is not None:
        return one.raw == other.raw
    return one.text == other.text and is_telling(one.text)


def _unified(own: Entry, listed: Sequence[Entry]) -> Entry:
    """The token that stands at a position as the list beside it gives it, if it is there."""
    found = [entry for entry in listed if same_token(entry, own)]
    if len(found) != 1:
        return own
    if abs(found[0].log - own.log) > SLACK:  # not if the number of the token is missing
        raise ValueError(f"the token {own.text!r} has the number {own.log:g}, but {found[0].log:g} in the list")
    return found[0]


def _once(entries: Iterable[Entry]) -> list[Entry]:
    """The listed tokens, each once; a token with two numbers is an error."""
    listed: dict[Any, Entry] = {}
    for entry in entries:
        key: Any = next(each for each in (entry.id, entry.raw, entry.text) if each is not None)
        if key == entry.text and not is_telling(entry.text):
            key = len(listed)  # many tokens have this text
        if listed.setdefault(key, entry).log != entry.log:
            raise ValueError(f"the token {entry.text!r} is listed twice, with {listed[key].log:g} and {entry.log:g}")
    return list(listed.values())


def _id(value: Any) -> int:
    if isinstance(value, str) and value.isdecimal() and len(value) <= LONGEST_ID:
        return int(value)
    found = whole(value)
    if found is None:
        raise ValueError(f"a token id is {_brief(value)}; it must be a whole number of at least 0")
    return found


def _bytes(value: Any) -> bytes | None:
    if is_missing(value):
        return None
    try:
        return bytes(value) if isinstance(value, list) else bytes([*value])
    except (TypeError, ValueError):
        raise ValueError(f"the bytes of a token are {_brief(value)}; they must be numbers from 0 to 255") from None


def _brief(value: Any) -> str:
    """A value as it is shown in a message, cut to a few words."""
    text = ascii(value) if not isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
