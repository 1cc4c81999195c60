"""The task of the cliff experiment: JSON lists of digits, each likely one more than the last."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lambda_star._core.quantities import Quantity, require

__all__ = ["STYLES", "Task", "closes", "counted", "parsed"]

STYLES: dict[str, tuple[str, ...]] = {
    "plain": ("[", ",", "]"),
    "merged": ('["', '","', '"]'),
    "quoted": ('["', "]", '","', '"'),
}
"""The marks that are tokens of their own, last the separator and what stands in its place at the end of a list."""


DIGITS = 10


ENDINGS = ("", "]", "0]", '"]', '0"]', '"0"]', '["0"]', "[0]")
"""One of these ends whatever is the start of a list validly."""


@dataclass(frozen=True)
class Task:
    """Lists of at most ``items`` digits; a longer one is cut off, and then no JSON.

    Token 0 starts an answer and stops it, tokens 1 to 10 are the digits, then come the marks of the style.

    Attributes:
        style: one of ``STYLES``.
        items: the most items that fit, at least 1.

    >>> task = Task("plain", 3)
    >>> task.encode("[1,2]"), task.decode([0, 11, 2, 12, 3, 13, 0])
    ([0, 11, 2, 12, 3, 13], '[1,2]')
    """

    style: str
    items: int

    def __post_init__(self) -> None:
        if self.style not in STYLES:
            raise ValueError(f"style must be one of {', '.join(STYLES)}, got {self.style!r}")
        require((Quantity("items", 1, math.inf, "[)"), self.items))

    @property
    def words(self) -> tuple[str, ...]:
        """The text of every token."""
        return ("", *map(str, range(DIGITS)), *STYLES[self.style])

    @property
    def separator(self) -> int:
        """The token that parts two items: where it may stand, the closer may stand too."""
        return len(self.words) - 2

    @property
    def closer(self) -> int:
        """The token that ends a list, in ``quoted`` but for the bracket after it."""
        return len(self.words) - 1

    @property
    def length(self) -> int:
        """Tokens of the longest answer that may be sampled, start and stop included."""
        return len(self.encode(self.text([0] * self.items))) + 1

    def text(self, digits: list[int]) -> str:
        """A list as the style writes it."""
        quoted = digits if self.style == "plain" else map(str, digits)
        return json.dumps(list(quoted), separators=(",", ":"))

    def encode(self, text: str) -> list[int]:
        """Tokens of a text, the start first; always the longest token that fits."""
        marks = sorted(self.words[1:], key=len, reverse=True)
        return [0, *map(self.words.index, re.findall("|".join(map(re.escape, marks)), text))]

    def decode(self, tokens: list[int]) -> str:
        """The text of an answer."""
        return "".join(self.words[token] for token in tokens)

    def answers(self, count: int, ends: float, right: float, rng: np.random.Generator) -> Tensor:
        """Answers as the data have them, count × ``length``, filled up with the stop.

        Each item is the last with probability ``ends``, and the next digit is one more than the last with probability
        ``right``, else any. A list too long is cut off: if the data closed it in time, validity could never fall.
        """
        rows = torch.zeros(count, self.length, dtype=torch.long)
        for row in range(count):
            digits = [int(rng.integers(DIGITS))]
            while len(digits) <= self.items and rng.random() >= ends:
                follows = rng.random() < right
                digits.append((digits[-1] + 1) % DIGITS if follows else int(rng.integers(DIGITS)))
            tokens = self.encode(self.text(digits))[: self.length]
            rows[row, : len(tokens)] = torch.tensor(tokens)
        return rows

    def contract(self, answer: list[int]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which tokens may follow each token of an answer, and which end it validly, shape (tokens, vocabulary).

        A token ends a list too if all that may follow it is the end. After the last item that fits nothing goes on.
        """
        goes, ends = (np.zeros((len(answer), len(self.words)), dtype=bool) for _ in range(2))
        text = ""
        for place, token in enumerate(answer):
            text += "0" if 1 <= token <= DIGITS else self.words[token]  # one digit is as good as another
            goes[place], ends[place] = _following(self.words, text)
            goes[place] &= text.count("0") < self.items or not ends[place].any()
        return goes, ends

    def going_on(self) -> Tensor:
        """Which token may follow which in a list that never ends, shape (vocabulary, vocabulary)."""
        allowed = torch.zeros(len(self.words), len(self.words), dtype=torch.bool)
        opening, digits = self.encode(self.text([0]))[1], range(1, DIGITS + 1)
        allowed[0, opening] = True
        for digit in digits:
            allowed[[opening, self.separator], digit] = True
            allowed[digit, self.separator] = True
        return allowed


@cache
def _following(words: tuple[str, ...], text: str) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which tokens go on within the contract after a text, and which end it validly."""
    starts = np.array([bool(word) and any(parsed(text + word + end) is not None for end in ENDINGS) for word in words])
    # No style has a comma by itself, so what stands after a closed string can only be the bracket.
    ends = [parsed(whole) is not None for whole in (text + word + "]" * word.endswith('"') for word in words)]
    return starts & ~np.array(ends), starts & np.array(ends)


def parsed(text: str) -> list[int] | None:
    """The digits of an answer, by JSON's rules.

    Args:
        text: any.

    Returns:
        The digits; None if the text is no list of digits, or of strings of one digit.

    Source: extension.

    >>> parsed('["1","2"]'), parsed("[1,2"), parsed("[12]")
    ([1, 2], None, None)
    """
    try:
        value = json.loads(text)
    except ValueError:
        return None
    if not isinstance(value, list) or not all(re.fullmatch("[0-9]", str(one)) for one in value):
        return None
    return [int(one) for one in value]


def closes(text: str) -> bool:
    """Whether an answer closes a list, whatever follows.

    Args:
        text: any.

    Returns:
        True if the text up to its first closing bracket is a list.

    Source: extension.

    >>> closes("[1,2]"), closes("[1,2]3"), closes("[1,2"), closes("[1,]")
    (True, True, False, False)
    """
    start, bracket, _ = text.partition("]")
    return bool(bracket) and parsed(start + bracket) is not None


def counted(tokens: Tensor) -> Tensor:
    """Which tokens belong to an answer: all up to its first stop, the start aside.

    Args:
        tokens: answers, shape (..., length), with 0 for start and stop.

    Returns:
        A tensor of booleans of the same shape.

    Source: extension.

    >>> counted(torch.tensor([[0, 11, 13, 0, 0]]))
    tensor([[False,  True,  True,  True, False]])
    """
    stops = tokens[..., 1:] == 0
    inside = stops.cumsum(-1) - stops.long() == 0
    return torch.cat([torch.zeros_like(inside[..., :1]), inside], dim=-1)
