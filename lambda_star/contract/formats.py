"""CSV, YAML and XML, read by their parsers: what a parser refuses before it has seen the end is broken for good."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from functools import cache
from typing import Any
from xml.parsers import expat

from lambda_star.contract.base import Contract

__all__ = ["Csv", "Xml", "Yaml"]

LARGEST = 100_000
"""The most nodes that a YAML answer may stand for once its aliases are followed."""

DEEPEST = 100
"""The most collections of a YAML answer that may be nested."""


class _Lines(Contract):
    """A contract in which the end of a line is a mark of its own."""

    def label(self, token: str) -> str | None:
        """Return the class of a token: its marks, and ``newline`` where it ends a line."""
        marks = super().label(token)
        if marks is None and token.strip():
            return None
        return " ".join([*([marks] if marks else []), *(["newline"] if "\n" in token else [])]) or None


@dataclass(frozen=True)
class Csv(_Lines):
    r"""Rows of fields in which every row has as many fields as the first; at least one row.

    >>> Csv().valid("id,price\nA7,3\n"), Csv().prefix("id,price\nA7,"), Csv().prefix("id,price\nA7\nB2")
    (True, True, False)
    """

    name: str = "csv"

    def valid(self, text: str) -> bool:
        """Return whether every row has as many fields as the first."""
        rows = _rows(text)
        return rows is not None and rows != [] and {len(row) for row in rows} == {max(1, len(rows[0]))}

    def prefix(self, text: str) -> bool:
        """Return whether the text can still become such rows; the last row may still grow."""
        rows, ends = _rows(text), text.endswith(("\n", "\r"))
        if rows is None:
            rows, ends = _rows(text + '"'), False  # a field in quotes may still be open
        if not rows:
            return rows == []
        whole = rows if ends else rows[:-1]
        return {len(row) for row in whole} <= {max(1, len(rows[0]))} and len(rows[-1]) <= len(rows[0])


def _rows(text: str) -> list[list[str]] | None:
    """The rows of a CSV text, or None if its quotes are wrong; an empty line is a row without fields."""
    try:
        return list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error:
        return None


@dataclass(frozen=True)
class Yaml(_Lines):
    r"""One YAML document that holds a mapping or a list; bare text is YAML too, but never what is meant.

    Nothing in the document is run, and its aliases may not blow it up.

    >>> Yaml().valid("name: A7\nprice: 3"), Yaml().prefix("a: [1, "), Yaml().prefix("a: b: c")
    (True, True, False)
    """

    name: str = "yaml"

    def valid(self, text: str) -> bool:
        """Return whether the text is one YAML document that the safe loader reads as a mapping or a list."""
        import yaml

        try:
            if not self.prefix(text):
                return False
            node = yaml.compose(text, yaml.SafeLoader)
            if not isinstance(node, yaml.CollectionNode) or _size(node, {}) > LARGEST:
                return False
            yaml.safe_load(text)
        except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, OverflowError):
            return False
        return True

    def prefix(self, text: str) -> bool:
        """Return whether the text can still become YAML; an error that the parser finds at the very end may go away."""
        import yaml

        try:
            loader = _watching_loader()(text)
        except yaml.reader.ReaderError:
            return False
        documents = depth = 0
        try:
            while loader.check_event():
                event = loader.get_event()
                documents += isinstance(event, yaml.DocumentStartEvent)
                depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
                if depth > DEEPEST or (documents > 1 and event.end_mark.index < len(text)):
                    return False
                start: Any = event.start_mark
                if isinstance(event, yaml.ScalarEvent) and not loader.states:  # no key of a mapping, unless ":" follows
                    return event.style not in {"|", ">"} and "\n" not in text[start.index :]
        except yaml.YAMLError:
            return bool(loader.looked)
        return True

    def label(self, token: str) -> str | None:
        """Return the class of a token: its marks, ``newline``, or ``space`` for what indents."""
        return "space" if token and not token.strip(" \t") else super().label(token)


@cache
def _watching_loader() -> Any:
    """A YAML loader that notes whether it has looked past the end of its text."""
    import yaml

    class Loader(yaml.SafeLoader):
        looked = False

        def peek(self, index: int = 0) -> str:
            char: str = super().peek(index)
            self.looked = self.looked or char == "\0"
            return char

        def prefix(self, length: int = 1) -> str:
            found: str = super().prefix(length)
            self.looked = self.looked or "\0" in found or len(found) < length
            return found

    return Loader


def _size(node: Any, known: dict[int, int]) -> int:
    """How many nodes a document stands for, each alias counted as what it names; too many if it holds itself."""
    if id(node) not in known:
        known[id(node)] = LARGEST + 1  # until its parts are counted
        parts = [] if isinstance(node.value, str) else node.value
        flat = [each for part in parts for each in (part if isinstance(part, tuple) else (part,))]
        known[id(node)] = 1 + sum(_size(each, known) for each in flat)
    return known[id(node)]


@dataclass(frozen=True)
class Xml(Contract):
    """A well-formed XML document; it may not declare entities, which can blow it up or read files.

    >>> Xml().valid("<a><b/></a>"), Xml().prefix("<a><b"), Xml().prefix("<a></b>")
    (True, True, False)
    """

    name: str = "xml"

    def valid(self, text: str) -> bool:
        """Return whether the text is a well-formed XML document."""
        return _parses(text, True)

    def prefix(self, text: str) -> bool:
        """Return whether the text can still become one."""
        return _parses(text, False)


def _parses(text: str, whole: bool) -> bool:
    if text.strip()[:1] not in {"", "<"}:
        return False
    parser = expat.ParserCreate()
    if hasattr(parser, "SetReparseDeferralEnabled"):  # not before expat 2.6
        parser.SetReparseDeferralEnabled(False)

    def refuse(*_: Any) -> None:
        raise ValueError("an answer may not declare entities")

    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(text, whole)
    except (expat.ExpatError, ValueError):
        return False
    return True
