"""The task of the cliff experiment: JSON lists of digits, each likely one more than the last."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

__all__ = ["STYLES", "Task", "counted"]

STYLES: dict[str, tuple[str, ...]] = {
    "plain": ("[", ",", "]"),
    "quoted": ("[", '"', ",", "]"),
    "merged": ('["', '","', '"]'),
}
"""The marks that are tokens of their own. In ``merged`` one token ends a string and what follows it."""

DIGITS = 10


@dataclass(frozen=True)
class Task:
    """Answers of at most ``items`` digits; longer ones are cut off, and then no JSON.

    Token 0 starts an answer and stops it, tokens 1 to 10 are the digits, then come the marks of the style.
    """

    style: str
    items: int

    @property
    def words(self) -> list[str]:
        """The text of every token."""
        return ["", *map(str, range(DIGITS)), *STYLES[self.style]]

    @property
    def marks(self) -> tuple[str, str, str]:
        """What opens a list, separates items, and closes it."""
        return ("[", ",", "]") if self.style == "plain" else ('["', '","', '"]')

    @property
    def length(self) -> int:
        """Tokens of the longest answer that may be sampled, start and stop included."""
        separator = len(self.encode(self.marks[1])) - 1
        return len(self.encode(self.marks[0])) + self.items * (1 + separator) + 1

    def encode(self, text: str) -> list[int]:
        """Tokens of a text, the start first."""
        words, tokens, place = self.words, [0], 0
        while place < len(text):
            word = max((word for word in words if word and text.startswith(word, place)), key=len)
            tokens.append(words.index(word))
            place += len(word)
        return tokens

    def decode(self, tokens: list[int]) -> str:
        """The text of an answer."""
        return "".join(self.words[token] for token in tokens)

    def answers(self, count: int, ends: float, right: float, rng: np.random.Generator) -> Tensor:
        """Answers as the data have them, count × length: each item is the last with probability ``ends``, and the next
        digit is the right one with probability ``right``, else any.
        """
        opened, separator, closed = self.marks
        rows = torch.zeros(count, self.length, dtype=torch.long)
        for row in range(count):
            digits = [int(rng.integers(DIGITS))]
            while len(digits) <= self.items and rng.random() >= ends:  # one more than fits, so that it is cut off
                follows = rng.random() < right
                digits.append((digits[-1] + 1) % DIGITS if follows else int(rng.integers(DIGITS)))
            tokens = self.encode(opened + separator.join(map(str, digits)) + closed)[: self.length]
            rows[row, : len(tokens)] = torch.tensor(tokens)
        return rows

    def parsed(self, tokens: list[int]) -> list[int] | None:
        """The digits of an answer, by JSON's rules; None if it is no list of digits."""
        try:
            value = json.loads(self.decode(tokens))
        except ValueError:
            return None
        if not isinstance(value, list) or not all(len(str(one)) == 1 and str(one).isdigit() for one in value):
            return None
        return [int(one) for one in value]


def counted(tokens: Tensor) -> Tensor:
    """Which tokens belong to an answer: all up to its first stop, the start aside."""
    stops = tokens[..., 1:] == 0
    inside = stops.cumsum(-1) - stops.long() == 0
    return torch.cat([torch.zeros_like(inside[..., :1]), inside], dim=-1)
