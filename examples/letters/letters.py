"""Two tasks with letters, whose prompts and answers take a few tokens each.

**Copy**: five letters, to be listed as they stand. One answer is right.
**Open**: a list that starts at a given letter and goes on in alphabetical order; how long it gets is left open.

Both answers are JSON lists of letters. A question depends only on the name of a split and a number.
"""

from __future__ import annotations

import json
import random
import string
from itertools import combinations
from typing import Any

LETTERS = string.ascii_lowercase
NAMED = 5
"""How many letters a question of the task "copy" names."""
STARTS = LETTERS[:6]
"""Where a list of the task "open" may start."""
ROOM = {"copy": 14, "open": 14}
"""The most tokens of an answer, with the one that ends it; an open list of six letters just fits."""


def make_prompt(task: str, split: str, index: int) -> str:
    """Return the text of a question, sent as it stands."""
    rng = random.Random(f"letters/{task}/{split}/{index}")
    if task == "copy":
        return f"List {' '.join(rng.sample(LETTERS, NAMED))}:"
    return f"From {rng.choice(STARTS)}:"


def asked(prompt: str) -> list[str]:
    """Return the letters that a prompt names."""
    return prompt.rstrip(":").split()[1:]


def target(letters: list[str]) -> str:
    """Return an answer with these letters."""
    return json.dumps(letters, separators=(",", ":"))


def copied_letters(prompt: str, rng: random.Random, mistakes: float) -> list[str]:
    """Return the letters of a prompt, of which each is replaced by any letter with a probability."""
    return [rng.choice(LETTERS) if rng.random() < mistakes else letter for letter in asked(prompt)]


def open_letters(prompt: str, rng: random.Random, ends: float, ordered: float) -> list[str]:
    """Draw an open list: after each letter it ends with a probability; else the next letter follows, or just any.

    Args:
        prompt: the question.
        rng: source of the draws.
        ends: probability that a letter is the last one.
        ordered: probability that the next letter is the one after it; else, and after z, it is any letter.
    """
    found = asked(prompt)
    while rng.random() >= ends:
        after = LETTERS[LETTERS.index(found[-1]) + 1 :][:1]
        found.append(after if after and rng.random() < ordered else rng.choice(LETTERS))
    return found


def parse_answer(answer: str) -> list[str] | None:
    """Parse an answer as strict JSON, and return its list of letters, or None if it is anything else."""
    try:
        value = json.loads(answer)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, list) or not all(isinstance(one, str) and one in LETTERS and one for one in value):
        return None
    return value


def right(answer: str, prompt: Any) -> float:
    """Tell whether the answer is the list of the prompt's letters in their order: 1 or 0."""
    return float(parse_answer(answer) == asked(prompt))


def tau(answer: str) -> float | None:
    """Return Kendall's τ between the places and the letters of a list; None without two different letters."""
    parsed = parse_answer(answer) or []
    signs = [(first < second) - (first > second) for first, second in combinations(parsed, 2)]
    return sum(signs) / len(signs) if any(signs) else None
