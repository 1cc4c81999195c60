"""Which tokens of a vocabulary do what for an output contract, by rules that are data.

A rule is a name and a regular expression; a token belongs to the first rule whose expression matches all of it, once
white space around it (also as tokenizers write it) is gone. Tokens merged from several marks, such as ``",`` and
``"]``, belong where the rules say, so that one class stands for one effect on the answer. Only the text of a token
counts, not its place: a comma inside a string is still a separator here. An extension.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["JSON_RULES", "TokenClasses", "classify", "json_structure"]

MARKS = r'[\[\]{}:,"]'


JSON_RULES: tuple[tuple[str, str], ...] = (
    ("end", r"</s>|<\|?(?:\w+[_-])?(?:end|eos|eot)(?:oftext|[_-]\w[\w-]*)?\|?>"),
    ("close", rf"(?=.*[\]}}]){MARKS}+"),
    ("open", rf"(?=.*[\[{{]){MARKS}+"),
    ("separate", rf"(?=.*[,:]){MARKS}+"),
    ("quote", r'"+'),
    ("content", r"(?s:.*)"),
)
"""The default contract: what ends an answer, closes, opens or separates a list or object, quotes, or is content."""


SPACE = str.maketrans("ĠĊĉ▁", " \n\t ")
"""How tokenizers write white space: byte-level ones with a shifted letter, SentencePiece with a block."""


class TokenClasses(NamedTuple):
    """The class of every token of a vocabulary.

    ``labels`` is what :func:`lambda_star.categorical.threshold` takes as ``classes``: an index into ``names``, or −1
    for a token that no rule matches.

    >>> found = classify(['["', 'A7', '","'])
    >>> [found.names[label] for label in found.labels]
    ['open', 'content', 'separate']
    """

    labels: NDArray[np.int64]
    names: tuple[str, ...]


def classify(tokens: Iterable[str], rules: Sequence[tuple[str, str]] = JSON_RULES) -> TokenClasses:
    """The class of every token, by the first rule that matches all of its text.

    Args:
        tokens: the vocabulary in the order of its ids, decoded or as the tokenizer has it (``Ġ``, ``▁``, ``<0x22>``).
        rules: pairs of a name and a regular expression; a name may stand more than once.

    Returns:
        A :class:`TokenClasses`.

    Raises:
        ValueError: a rule is no valid regular expression, or there is no rule.

    Source: extension.

    >>> found = classify(['",', '"]', 'Ġ]', '"', 'price'], rules=[("close", '"?]'), ("comma", '"?,"?')])
    >>> found.labels.tolist(), found.names
    ([1, 0, 0, -1, -1], ('close', 'comma'))
    """
    if not rules:
        raise ValueError("rules must hold at least one pair of a name and a regular expression, got none")
    names = tuple(dict.fromkeys(name for name, _ in rules))
    compiled = [(names.index(name), _compile(name, pattern)) for name, pattern in rules]
    labels = [_label(_text(token), compiled) for token in tokens]
    return TokenClasses(np.array(labels, dtype=np.int64), names)


def json_structure(token: str) -> str | None:
    """The default rule of :func:`lambda_star.calibrate`: tokens of JSON punctuation only, each text its own class.

    Args:
        token: text of the teacher's modal token.

    Returns:
        The token without surrounding white space, or None if it is not structural.

    Source: extension.

    >>> json_structure(' ["'), json_structure('B7')
    ('["', None)
    """
    text = token.strip()
    return text if re.fullmatch(f"{MARKS}+", text) else None


def _compile(name: str, pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(f"rules: {name} has {pattern!r}, which is no regular expression ({error})") from error


def _label(text: str, rules: Sequence[tuple[int, re.Pattern[str]]]) -> int:
    return next((label for label, pattern in rules if pattern.fullmatch(text)), -1)


def _text(token: str) -> str:
    """The text that a token stands for, without white space around it."""
    byte = re.fullmatch(r"<0x([0-9A-Fa-f]{2})>", token)
    return (chr(int(byte[1], 16)) if byte else token.translate(SPACE)).strip()
