"""Read records of any shape: the values of JSON and of JSON lines, and the rows of Parquet and Arrow."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from lambda_star.calibration.readers.bytes import opened
from lambda_star.calibration.readers.columnar import batches
from lambda_star.calibration.table import Problem

__all__ = ["records", "rows_of"]

LONGEST = 2**28
"""The most bytes of one value of JSON, which is in memory as a whole."""

ROWS = 16
"""Rows of Parquet that become Python objects at a time: a row may hold all lists of a long answer."""

BLOCK = 2**20

SPACE = re.compile(r"[ \t\n\r]*")

REMEDY = "write one object per line"


def records(path: Path, source: str, kind: str) -> Iterator[tuple[int, Any] | Problem]:
    r"""Yield every record of a file as Python objects with its line, or the problem that stands in its place.

    The line is the number of the record, from 1, in an array, in Parquet and in Arrow. A file of the kind ``json`` may
    hold an array of records, one record, or one in each line, as a file of the kind ``lines`` does.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "t.jsonl")
    >>> _ = path.write_text('{"a": 1}\n{"a": 1, "a": 2}\n')
    >>> [*records(path, "t.jsonl", "lines")]
    [(1, {'a': 1}), Problem(line=2, message="broken JSON (the key 'a' stands twice); ...", source='t.jsonl')]
    """
    if kind in {"parquet", "arrow"}:
        with batches(path, source, kind, ROWS) as found:
            done = 1
            for batch in found:
                for line, row in rows_of(batch, done):
                    yield Problem(line, row, source) if isinstance(row, str) else (line, row)
                done += batch.num_rows
    elif kind == "lines" or _has_lines(path, source):
        yield from _lines(path, source)
    else:
        yield from _document(path, source)


def rows_of(batch: Any, first: int) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Yield the rows of an Arrow batch by number as Python objects, or a sentence about why one cannot be read."""
    try:
        yield from enumerate(batch.to_pylist(), start=first)
    except UnicodeDecodeError:
        if batch.num_rows == 1:
            yield first, "a text is not UTF-8; write the file again"
        else:
            for row in range(batch.num_rows):
                yield from rows_of(batch.slice(row, 1), first + row)


def _has_lines(path: Path, source: str) -> bool:
    """Whether the first line that is not blank is a whole object, so that the file holds JSON lines."""
    with opened(path, source) as stream:
        line = b"\n"
        while line and not line.removeprefix(codecs.BOM_UTF8).strip():
            line = stream.readline(LONGEST)
    value = _value(line)
    return isinstance(value, dict) or (isinstance(value, str) and line.lstrip()[:1] not in (b"{", b"["))


def _lines(path: Path, source: str) -> Iterator[tuple[int, Any] | Problem]:
    with opened(path, source) as stream:
        number = 0
        while line := stream.readline(LONGEST):
            number += 1
            whole = len(line) < LONGEST or line.endswith(b"\n")
            while not whole:
                rest = stream.readline(BLOCK)
                whole = not rest or rest.endswith(b"\n")
                line = b""
            if line == b"":
                yield Problem(number, f"the line is longer than {LONGEST} bytes; split its record", source)
                continue
            line = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            if line.strip():
                value = _value(line)
                yield Problem(number, value, source) if isinstance(value, _Broken) else (number, value)


class _Broken(str):
    """A sentence about why a text is not JSON."""

    __slots__ = ()


def _value(line: bytes) -> Any:
    try:
        return DECODER.decode(line.decode())
    except UnicodeDecodeError:
        return _Broken("the line is not UTF-8 text; check the type of the file, or convert it to UTF-8")
    except json.JSONDecodeError as error:
        return _Broken(f"broken JSON ({error.msg} at column {error.colno}); {REMEDY}")
    except (ValueError, RecursionError) as error:  # Python refuses long numbers and deep nesting
        return _Broken(f"broken JSON ({error}); {REMEDY}")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, none of whose keys stands twice."""
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice!r} stands twice")
    return found


DECODER = json.JSONDecoder(object_pairs_hook=_object)


def _document(path: Path, source: str) -> Iterator[tuple[int, Any] | Problem]:
    """The elements of an array, one after another, or the one value that the file holds."""
    with opened(path, source) as stream:
        text = _Text(stream)
        try:
            text.skip()
            if text.peek() != "[":
                if text.peek():
                    yield 1, text.value()
                    text.skip()
            else:
                text.at += 1
                yield from text.elements()
            text.skip()
            if text.peek():
                yield Problem(text.line, "there is more text behind the end of the JSON; write one array", source)
        except UnicodeDecodeError:
            yield Problem(text.line, "the file is not UTF-8 text; check its type, or convert it to UTF-8", source)
        except (ValueError, RecursionError) as error:
            said = getattr(error, "msg", None) or str(error)
            yield Problem(text.line, f"broken JSON ({said}); what follows cannot be read", source)


class _Text:
    """A text that is read as far as it is needed; ``at`` is the place in the part that is in memory."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self.text, self.at, self.before, self.ended = "", 0, 1, False

    @property
    def line(self) -> int:
        """The line of the place."""
        return self.before + self.text.count("\n", 0, self.at)

    def more(self, size: int) -> None:
        """Read on, and forget the text before the place."""
        self.before, self.text, self.at = self.line, self.text[self.at :], 0
        data = self.stream.read(size)
        self.ended = len(data) < size
        self.text += self.decoder.decode(data, final=self.ended)

    def peek(self) -> str:
        """The character at the place, empty at the end of the file."""
        while self.at >= len(self.text) and not self.ended:
            self.more(BLOCK)
        return self.text[self.at : self.at + 1]

    def skip(self) -> None:
        """Go past white space."""
        while True:
            self.at = cast(re.Match[str], SPACE.match(self.text, self.at)).end()
            if self.at < len(self.text) or self.ended:
                return
            self.more(BLOCK)

    def value(self) -> Any:
        """Read a value of JSON."""
        while True:
            wrong = None
            try:
                found, end = DECODER.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                wrong = error
            if wrong is None and (end < len(self.text) or self.ended):
                self.at = end
                return found
            if self.ended and wrong:
                raise wrong
            waiting = len(self.text) - self.at
            if waiting > LONGEST:
                raise ValueError(f"a value is longer than {LONGEST} characters; write JSON lines")
            self.more(max(BLOCK, waiting))

    def elements(self) -> Iterator[tuple[int, Any]]:
        """Yield the elements of an array, whose opening bracket is read."""
        self.skip()
        if self.peek() == "]":
            self.at += 1
            return
        number, mark = 1, ","
        while mark == ",":
            yield number, self.value()
            self.skip()
            mark, number = self.peek(), number + 1
            self.at += mark in {",", "]"}
            self.skip()
        if mark != "]":
            raise ValueError("the array is not closed, so that the file may be cut" if self.ended else "no comma")
