"""Labellers tell which class of an output contract a token belongs to, by a function or by patterns that are data.

A contract says what a valid answer is, and its classes gather tokens with the same effect on the answer: tokens that
open a list, close it, separate its items. Tokens merged from several marks, such as ``",`` and ``"]``, get the class
that the labeller gives their whole text. A labeller sees the text of a token and not its position, so a comma inside
a string counts as a separator.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "JSON_RULES",
    "Labeller",
    "Labels",
    "TokenClasses",
    "by_patterns",
    "classify",
    "ends_answer",
    "json_structure",
]

Labeller = Callable[[str], str | None]
"""A function from the text of a token to the name of its class, or to None if the token is in no class."""

MARKS = r'[\[\]{}:,"]'

END = r"(?i:</s>|<[|｜]?(?:\w+[_-])?(?:end|eos|eot)(?:oftext|[_▁ -]\w[\w▁ -]*)?[|｜]?>)"
"""How tokens are written that end an answer: SmolLM2 and Qwen, Llama, Gemma, Phi, Mistral, Command R, DeepSeek."""

JSON_RULES: tuple[tuple[str, str], ...] = (
    ("end", END),
    ("close", rf"(?=.*[\]}}]){MARKS}+"),
    ("open", rf"(?=.*[\[{{]){MARKS}+"),
    ("separate", rf"(?=.*[,:]){MARKS}+"),
    ("quote", r'"+'),
    ("space", r"\s*"),
    ("content", r"(?s:.*)"),
)
"""Patterns for JSON answers: tokens that end the answer, close, open, separate, quote, are white space, and others."""

SPACE = str.maketrans("ĠĊĉ▁", " \n\t ")
"""How tokenizers write white space: byte-level tokenizers shift the letter, SentencePiece writes a block."""


@runtime_checkable
class Labels(Protocol):
    """Whatever tells the class of a token, as a contract does."""

    def label(self, token: str, /) -> str | None:
        """Return the class of a token."""


class TokenClasses(NamedTuple):
    """The class of every token of a vocabulary: an index into ``names``, or −1 for a token in no class.

    :func:`lambda_star.categorical.threshold` takes ``labels`` as its argument ``classes``.
    """

    labels: NDArray[np.int64]
    names: tuple[str, ...]


def by_patterns(rules: Sequence[tuple[str, str]]) -> Labeller:
    """Return the labeller that gives a token the name of the first pattern that matches all of its text.

    Args:
        rules: pairs of a class name and a regular expression; a name may stand in several pairs. White space around a
            token is removed before matching, unless the token is nothing else.

    Returns:
        A :data:`Labeller`.

    Raises:
        ValueError: a pattern is not a valid regular expression, or there is no pair.

    >>> label = by_patterns([("close", '"?]'), ("comma", '"?,"?')])
    >>> label(' "]'), label('","'), label("price")
    ('close', 'comma', None)
    """
    if not rules:
        raise ValueError("rules must hold at least one pair of a name and a regular expression, got none")
    try:
        compiled = [(name, re.compile(pattern)) for name, pattern in rules]
    except re.error as error:
        name = next(name for name, pattern in rules if pattern == error.pattern)
        said = f"rules: {name} has {error.pattern!r}, which is not a regular expression ({error})"
        raise ValueError(said) from error
    return lambda text: next((name for name, pattern in compiled if pattern.fullmatch(text.strip() or text)), None)


def classify(tokens: Iterable[str], rules: Labels | Labeller | Sequence[tuple[str, str]] = JSON_RULES) -> TokenClasses:
    """Return the class of every token of a vocabulary.

    Args:
        tokens: the vocabulary in the order of its ids, decoded or as the tokenizer has it (``Ġ``, ``▁``, ``<0x22>``).
        rules: a contract, a labeller, or the pairs that :func:`by_patterns` takes. Pairs name all their classes in
            their order, the others name the classes that occur in the order in which they do.

    Returns:
        A :class:`TokenClasses`.

    Raises:
        ValueError: a pattern is not a valid regular expression, or there is no pair.

    >>> found = classify(['["', 'A7', 'Ġ","'])
    >>> [found.names[label] for label in found.labels]
    ['open', 'content', 'separate']
    """
    known: list[str] = []
    if isinstance(rules, Labels):
        label: Labeller = rules.label
    elif callable(rules):
        label = rules
    else:
        label, known = by_patterns(rules), [name for name, _ in rules]
    found = [label(_text(token)) for token in tokens]
    names = tuple(name for name in dict.fromkeys([*known, *found]) if name is not None)
    index: dict[str | None, int] = {None: -1} | {name: place for place, name in enumerate(names)}
    return TokenClasses(np.array([index[name] for name in found], dtype=np.int64), names)


def json_structure(token: str) -> str | None:
    """Return the class of JSON punctuation, which is its own text; :func:`lambda_star.calibrate` uses it by default.

    Args:
        token: text of the teacher's modal token.

    Returns:
        The text without white space around it, or None if it holds anything but punctuation of JSON.

    >>> json_structure(' ["'), json_structure('B7')
    ('["', None)
    """
    text = token.strip()
    return text if re.fullmatch(f"{MARKS}+", text) else None


def ends_answer(token: str) -> bool:
    """Return whether a token ends an answer, such as ``</s>`` and ``<|im_end|>``.

    Args:
        token: text of the token.

    Returns:
        Whether it is an end token; white space around it does not matter.

    >>> ends_answer("<|im_end|>"), ends_answer("</a>")
    (True, False)
    """
    return re.fullmatch(END, token.strip()) is not None


def _text(token: str) -> str:
    """The text that a token stands for."""
    byte = re.fullmatch(r"<0x([0-9A-Fa-f]{2})>", token)
    return chr(int(byte[1], 16)) if byte else token.translate(SPACE)
