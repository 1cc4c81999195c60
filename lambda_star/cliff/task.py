"""The task of the cliff experiment: JSON lists of digits, in which the next digit is usually one more than the last."""

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
    "unary": ("[", "1,", "1]"),
}
"""The marks that are tokens; the last two are the separator and the token that takes its place at the end of a list.

In the style ``unary`` every item is a 1, one token with the mark behind it, so there is no digit to choose.
"""

DIGITS = 10
# The start of any valid list becomes a valid list with one of these endings.
ENDINGS = ("", "]", "0]", '"]', '0"]', '"0"]', '["0"]', "[0]")


@dataclass(frozen=True)
class Task:
    """Lists of at most ``items`` digits; a longer list is cut off, so it is not JSON.

    Token 0 starts and stops an answer, tokens 1 to 10 are the digits, and after them come the marks of the
    style, a key of ``STYLES``. Lists of ones have no digits among their tokens.

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
        digits = () if self.style == "unary" else map(str, range(DIGITS))
        return ("", *digits, *STYLES[self.style])

    @property
    def separator(self) -> int:
        """The token between two items; the token after it in ``words`` ends a list, and may stand wherever it may."""
        return len(self.words) - 2

    @property
    def length(self) -> int:
        """The number of tokens of the longest answer that may be sampled, start and stop included, or no stop if unary.

        One more token would let a list of ones have one more item.
        """
        return len(self.encode(self.text([0] * self.items))) + (self.style != "unary")

    def text(self, digits: list[int]) -> str:
        """Write a list in the style."""
        if self.style == "unary":
            return json.dumps([1] * len(digits), separators=(",", ":"))
        quoted = digits if self.style == "plain" else map(str, digits)
        return json.dumps(list(quoted), separators=(",", ":"))

    def encode(self, text: str) -> list[int]:
        """Turn a text into tokens, the start first; the longest token that fits is always taken."""
        marks = sorted(self.words[1:], key=len, reverse=True)
        return [0, *map(self.words.index, re.findall("|".join(map(re.escape, marks)), text))]

    def decode(self, tokens: list[int]) -> str:
        """Turn the tokens of an answer into text."""
        return "".join(self.words[token] for token in tokens)

    def answers(self, count: int, ends: float, right: float, rng: np.random.Generator) -> Tensor:
        """Draw answers of the training data, shape (count, ``length``), filled up with the stop.

        Each item is the last with probability ``ends``. The next digit is one more than the last with probability
        ``right``, and random otherwise. A list that is too long is cut off: if the data closed every list in time,
        validity could never fall.
        """
        rows = []
        for _ in range(count):
            digits = [int(rng.integers(DIGITS))]
            while len(digits) <= self.items and rng.random() >= ends:
                follows = rng.random() < right
                digits.append((digits[-1] + 1) % DIGITS if follows else int(rng.integers(DIGITS)))
            rows.append([*self.encode(self.text(digits)), *[0] * self.length][: self.length])
        return torch.tensor(rows)

    def contract(self, answer: list[int]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Tell which tokens may follow each token of an answer, and which end it validly, shape (tokens, vocabulary).

        A token after which only the end is possible also ends a list. After the last item that fits, no token continues
        the list.
        """
        goes, ends = (np.zeros((len(answer), len(self.words)), dtype=bool) for _ in range(2))
        text = ""
        for place, token in enumerate(answer):
            word = self.words[token]
            text += "0" if word.isdigit() else word  # all digits are alike, which helps the cache
            goes[place], ends[place] = _following(self.words, text)
            items = sum(map(str.isdigit, text)) + (self.style == "unary")  # a token that ends a list of ones is an item
            goes[place] &= items < self.items or not ends[place].any()
        return goes, ends

    def going_on(self) -> Tensor:
        """Tell which token may follow which in a list that never ends, shape (vocabulary, vocabulary)."""
        allowed = torch.zeros(len(self.words), len(self.words), dtype=torch.bool)
        opening, digits = self.encode(self.text([0]))[1], slice(1, DIGITS + 1)
        allowed[0, opening] = True
        if self.style == "unary":
            allowed[[opening, self.separator], self.separator] = True
            return allowed
        allowed[[opening, self.separator], digits] = True
        allowed[digits, self.separator] = True
        return allowed


@cache
def _following(words: tuple[str, ...], text: str) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Tell which tokens continue a text within the contract, and which end it validly."""
    starts = np.array([bool(word) and any(parsed(text + word + end) is not None for end in ENDINGS) for word in words])
    # No style has a comma as a token of its own, so only the bracket can follow a closed string.
    ends = [parsed(whole) is not None for whole in (text + word + "]" * word.endswith('"') for word in words)]
    return starts & ~np.array(ends), starts & np.array(ends)


def parsed(text: str) -> list[int] | None:
    """Parse an answer as a JSON list of digits, or of strings of one digit; None if it is not such a list.

    >>> parsed('["1","2"]'), parsed("[1,2"), parsed("[12]")
    ([1, 2], None, None)
    """
    try:
        value = json.loads(text)
    except ValueError:
        return None
    digits = isinstance(value, list) and all(re.fullmatch("[0-9]", str(one)) for one in value)
    return [int(one) for one in value] if digits else None


def closes(text: str) -> bool:
    """Tell whether the text up to its first closing bracket is a list, whatever follows.

    >>> closes("[1,2]"), closes("[1,2]3"), closes("[1,2"), closes("[1,]")
    (True, True, False, False)
    """
    start, bracket, _ = text.partition("]")
    return bool(bracket) and parsed(start + bracket) is not None


def counted(tokens: Tensor) -> Tensor:
    """Tell which tokens belong to an answer: all after the start, up to and including the first stop.

    >>> counted(torch.tensor([[0, 11, 13, 0, 0]]))
    tensor([[False,  True,  True,  True, False]])
    """
    stops = tokens[..., 1:] == 0
    inside = stops.cumsum(-1) - stops.long() == 0
    return torch.cat([torch.zeros_like(inside[..., :1]), inside], dim=-1)
