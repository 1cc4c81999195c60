"""Strict JSON by the rules of RFC 8259: whether a text is JSON, and whether it can still become JSON."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from lambda_star.contract.base import Contract, Masks
from lambda_star.contract.classes import ends_answer, json_structure

__all__ = ["GRAMMAR", "Json", "label", "scan"]

STRING = r'"([^"\\\x00-\x1f]|\\(["\\\/bfnrt]|u[0-9a-fA-F]{4}))*"'
NUMBER = r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?"

GRAMMAR = rf"""
value: object | array | STRING | NUMBER | "true" | "false" | "null"
object: "{{" (pair ("," pair)*)? "}}"
pair: STRING ":" value
array: "[" (value ("," value)*)? "]"
STRING: /{STRING}/
NUMBER: /{NUMBER}/
WS: /[ \t\n\r]+/
%ignore /[ \t\n\r]+/
"""
"""JSON in the grammar language of llguidance; a rule ``start`` is to be added."""

WHOLE = re.compile(rf"{STRING}|{NUMBER}|true|false|null")

CUT_STRING = re.compile(STRING.removesuffix('"') + r"(\\(u[0-9a-fA-F]{0,3})?)?")
CUT_NUMBER = re.compile(r"-?((0|[1-9][0-9]*)(\.[0-9]*)?((?<=[0-9])[eE][+-]?[0-9]*)?)?")

SPACE = re.compile(r"[ \t\n\r]*")


def scan(text: str) -> bool | None:
    """Return whether a text is JSON, without recursion, so that deep nesting does no harm.

    Args:
        text: the text.

    Returns:
        True if the text is JSON, None if it is not yet, but can become JSON, and False if it never can.

    >>> [scan(text) for text in ('["A7"]', '["A7", ', "['")]
    [True, None, False]
    """
    closers: list[str] = []
    wanted, place = "value", 0
    while True:
        place = _skip(text, place)
        if place == len(text):
            return True if wanted == "end" else None
        mark = text[place]
        if wanted in {"value", "first item", "key", "first key"} and mark not in "[]{}":
            match = WHOLE.match(text, place)
            if "key" in wanted and mark != '"':
                return False
            if (match is None or (mark != '"' and match.end() < len(text))) and _is_cut(text, place):
                return None
            if match is None:
                return False
            place, wanted = match.end(), "colon" if "key" in wanted else _after(closers)
            continue
        found = _next(wanted, mark, closers)
        if found is None:
            return False
        place, wanted = place + 1, found


def _skip(text: str, place: int) -> int:
    match = SPACE.match(text, place)
    return match.end() if match else place


def _after(closers: list[str]) -> str:
    """What is wanted after a value."""
    return "comma" if closers else "end"


def _next(wanted: str, mark: str, closers: list[str]) -> str | None:
    """What is wanted after a mark, or None if the mark is wrong; open brackets are kept in ``closers``."""
    if mark in "[{" and wanted in {"value", "first item"}:
        closers.append("]" if mark == "[" else "}")
        return "first item" if mark == "[" else "first key"
    if mark in "]}" and closers and mark == closers[-1] and wanted in {"comma", "first item", "first key"}:
        closers.pop()
        return _after(closers)
    if mark == "," and wanted == "comma":
        return "value" if closers[-1] == "]" else "key"
    return "value" if mark == ":" and wanted == "colon" else None


def _is_cut(text: str, place: int) -> bool:
    """Whether the text ends within a string, a number or a word of JSON that starts at a place."""
    cut = CUT_STRING.fullmatch(text, place) or CUT_NUMBER.fullmatch(text, place)
    return bool(cut) or any(word.startswith(text[place : place + 6]) for word in ("true", "false", "null"))


def label(token: str) -> str | None:
    """Return the class of a token in JSON: the text of its punctuation, or of a token that ends the answer.

    Args:
        token: text of the token.

    Returns:
        The text without white space around it, or None if it is of no class.

    >>> label(' ["'), label("</s>"), label("A7"), label(" ")
    ('["', '</s>', None, None)
    """
    return token.strip() if ends_answer(token) else json_structure(token)


@dataclass(frozen=True)
class Json(Contract):
    """Any JSON value.

    >>> Json().valid('{"a": 1}'), Json().prefix('{"a": 1,'), Json().prefix("{a")
    (True, True, False)
    """

    name: str = "json"

    def valid(self, text: str) -> bool:
        """Return whether the text is JSON."""
        return scan(text) is True

    def prefix(self, text: str) -> bool:
        """Return whether the text can still become JSON."""
        return scan(text) is not False

    def label(self, token: str) -> str | None:
        """Return the class of a token: its punctuation."""
        return label(token)

    def masks(self, tokenizer: Any) -> Masks:
        """Return the masks over the vocabulary of a fast tokenizer."""
        from lambda_star.contract.grammar import GrammarMasks

        return GrammarMasks(self, "start: WS? value WS?" + GRAMMAR, tokenizer)
