"""The task: rank a few items by price and answer with a JSON list of their ids.

Everything here is plain Python and depends only on the name of a split and a number, so each prompt can be made again
from the two values that ``base_answers.jsonl`` keeps.
"""

from __future__ import annotations

import json
import random
import string
from dataclasses import dataclass
from typing import Any

MIN_ITEMS = 3
MAX_ITEMS = 8
SYSTEM = "You rank items by price."

_FIRST = ("Vel", "Kor", "Nim", "Tas", "Bru", "Zan", "Pel", "Lor", "Mik", "Dov", "Ral", "Fen")
_SECOND = ("mo", "ta", "lix", "ra", "don", "pa", "vi", "ko", "sen", "ly", "gar", "nu")
_THING = ("lamp", "chair", "kettle", "bag", "clock", "desk", "fan", "rug", "mug", "radio", "tent", "drill")


@dataclass(frozen=True)
class Item:
    """One product of a list."""

    ident: str
    name: str
    price: int


def item_count(index: int) -> int:
    """Return how many items question ``index`` lists; the six sizes take turns."""
    return MIN_ITEMS + index % (MAX_ITEMS - MIN_ITEMS + 1)


def make_items(split: str, index: int) -> list[Item]:
    """Return the items of question ``index`` of a split such as ``"train"``; ids and prices are all different."""
    rng = random.Random(f"rank-by-price/{split}/{index}")
    count = item_count(index)
    idents = rng.sample([letter + digit for letter in string.ascii_uppercase for digit in string.digits], count)
    prices = rng.sample(range(5, 100), count)
    names = [f"{rng.choice(_FIRST)}{rng.choice(_SECOND)} {rng.choice(_THING)}" for _ in range(count)]
    return [Item(ident, name, price) for ident, name, price in zip(idents, names, prices, strict=True)]


def make_prompt(items: list[Item]) -> str:
    """Return the user's message: the instruction, then one line for each item."""
    lines = [f"{item.ident} {item.name} ${item.price}" for item in items]
    ask = "Rank these items from cheapest to dearest. Answer with a JSON list of their ids."
    return "\n".join([ask, *lines])


def make_target(items: list[Item]) -> str:
    """Return the right answer as compact JSON, without the end-of-turn token."""
    ranked = [item.ident for item in sorted(items, key=lambda item: item.price)]
    return json.dumps(ranked, separators=(",", ":"))


def parse_answer(answer: str) -> list[str] | None:
    """Parse the answer as strict JSON, and return its list of strings, or None if it is anything else."""
    try:
        value = json.loads(answer)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, list) or not all(isinstance(element, str) for element in value):
        return None
    return value


def is_valid(answer: str) -> bool:
    """Tell whether the whole answer parses as a list of strings."""
    return parse_answer(answer) is not None


# Any start of a valid answer becomes valid with one of these endings; the zeros complete a \u escape.
_ENDINGS = ("", "[]", "]", '"]', '""]', 'n"]', *("0" * count + '"]' for count in range(1, 5)))


def is_start(text: str) -> bool:
    """Tell whether the text is the start of some valid answer, so that the contract is not broken yet."""
    return any(is_valid(text + ending) for ending in _ENDINGS)


def is_permutation(answer: str, items: list[Item]) -> bool:
    """Tell whether the answer parses and names every listed id exactly once, in any order."""
    parsed = parse_answer(answer)
    return parsed is not None and sorted(parsed) == sorted(item.ident for item in items)


def complete(answer: str, prompt: Any) -> float:
    """Tell whether the answer is a complete ranking of the items that the prompt's last message lists: 1 or 0."""
    idents = [line.split()[0] for line in prompt[-1]["content"].splitlines()[1:]]
    parsed = parse_answer(answer)
    return float(parsed is not None and sorted(parsed) == sorted(idents))
