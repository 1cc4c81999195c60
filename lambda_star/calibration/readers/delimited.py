"""Read CSV and TSV in blocks: a clean block column by column, and any other record by record."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lambda_star.calibration.readers.bytes import opened
from lambda_star.calibration.readers.columnar import check_columns, table_columns
from lambda_star.calibration.readers.parts import Part
from lambda_star.calibration.readers.plain import CELL, careful, whole
from lambda_star.calibration.rows import Row
from lambda_star.calibration.table import ENDS, TableError

__all__ = ["Records", "parts"]

BLOCK = 2**23
"""The bytes that are read at a time, many times the longest record of several lines."""

DELIMITERS = {"csv": ",", "tsv": "\t"}

MARK = b"\xef\xbb\xbf"

QUOTE, LINE_END, RETURN = b'"\n\r'


def parts(path: Path, source: str, kind: str, keep_going: bool) -> Iterator[Part]:
    """Yield the rows of a CSV or TSV file, part by part.

    >>> next(parts(Path("examples/rank_by_price/logprobs.csv"), "logprobs.csv", "csv", False)).table.modal[0]
    '["'
    """
    with opened(path, source) as stream:
        file = _Delimited(stream, source, DELIMITERS[kind])
        while file.fill():
            yield file.part(keep_going)


class _Delimited:
    """A file of records, whose bytes wait in ``data`` until they are taken record by record."""

    def __init__(self, stream: Any, source: str, delimiter: str) -> None:
        self.stream, self.source, self.delimiter = stream, source, delimiter
        self.line, self.ended = 1, False
        self.failure: TableError | None = None
        self.data: bytes = stream.read(len(MARK)).removeprefix(MARK)
        self.header: list[str] = []
        while self.fill() and not self.header:
            self._read_header()

    def fill(self) -> bool:
        """Read on until a block waits, and return whether anything does."""
        while not (self.ended or self.failure) and (len(self.data) < BLOCK or self.data.endswith(b"\r")):
            self._read()
        if self.failure and not Records(self.data, self.line, self.delimiter, ended=False).lines:
            raise self.failure
        return bool(self.data)

    def _read(self) -> None:
        try:
            more = self.stream.read1(BLOCK)
        except TableError as error:
            self.failure = error
        else:
            self.ended = not more
            self.data += more

    def _read_header(self) -> None:
        records = Records(self.data, self.line, self.delimiter, ended=self.ended)
        if not records.lines:
            raise TableError(self.source, f"the header is longer than {BLOCK} bytes; check the type of the file")
        line, header = next(records.rows(), (self.line, []))
        if isinstance(header, str):
            remedy = "" if "UTF-8" not in header else "; check the type of the file"
            raise TableError(self.source, header + remedy, line)
        check_columns(self.source, header, line)
        self.header = header
        self._take(records.consumed)

    def _take(self, size: int) -> bytes:
        taken, self.data = self.data[:size], self.data[size:]
        self.line += _line_ends(taken)
        return taken

    def part(self, keep_going: bool) -> Part:
        """Take the next records: all whole ones that wait if they are clean, and otherwise those before trouble."""
        marks = _marks(self.data, ord(self.delimiter))
        if marks is not None:
            block, lines = self.data[: int(marks.ends[-1]) + 1], self.line + marks.lines
            table = whole(self.source, lambda: self._columns(block, marks.wraps))
            if table is not None and len(table) == len(lines):
                self._take(len(block))
                return Part(table, lines)
        records = Records(self.data, self.line, self.delimiter, width=len(self.header), ended=self.ended)
        if not records.lines:
            return careful(self.source, [(self.line, self._skip_line())], keep_going)
        rows = list(self._rows(records))
        self._take(records.consumed)
        if self.failure and not records.consumed:
            raise self.failure
        return careful(self.source, rows, keep_going)

    def _skip_line(self) -> str:
        """Leave out a line that is longer than a block, and say so."""
        while not self.ended and b"\n" not in self.data:
            self.data = b""
            self.fill()
        self.data = self.data[self.data.find(b"\n") + 1 :] if b"\n" in self.data else b""
        self.line += 1
        return f"the line is longer than {BLOCK} bytes; check the type of the file"

    def _rows(self, records: Records) -> Iterator[tuple[int, Row]]:
        for line, values in records.rows():
            yield line, values if isinstance(values, str) else dict(zip(self.header, values, strict=True))

    def _columns(self, block: bytes, wraps: bool) -> dict[str, Any]:
        """The columns of a clean block as Arrow arrays."""
        import pyarrow
        from pyarrow import csv as arrow

        block.decode()
        text = pyarrow.dictionary(pyarrow.int32(), pyarrow.string())
        types = dict.fromkeys(("sequence", "position", "token", "modal", "contract"), text)
        types |= dict.fromkeys(("log_p", "log_b", *ENDS), pyarrow.float64())
        types |= dict.fromkeys(("top", "rest"), pyarrow.string())
        wanted = table_columns(self.source, self.header)
        convert = arrow.ConvertOptions(
            column_types=types,
            include_columns=wanted,
            null_values=[""],
            strings_can_be_null=False,
            check_utf8=False,
        )
        read = arrow.ReadOptions(column_names=self.header)
        parse = arrow.ParseOptions(delimiter=self.delimiter, newlines_in_values=wraps)
        table = arrow.read_csv(pyarrow.BufferReader(block), read, parse, convert)
        return {name: table.column(name) for name in wanted}


class _Marks(NamedTuple):
    """Where the records of a clean block end, the line of each counted from 0, and whether one has several lines."""

    ends: NDArray[np.intp]
    lines: NDArray[np.int64]
    wraps: bool


def _marks(data: bytes, delimiter: int) -> _Marks | None:
    """The records of a block; None where it is not clean, so that only a closer look can tell what they are.

    A block is clean if every quote opens a field, closes it, or stands doubled inside it, and if its records are text
    of ordinary length with the line ends of one system.
    """
    if b"\0" in data or data.count(b"\r") != data.count(b"\r\n"):
        return None
    array = np.frombuffer(data, dtype=np.uint8)
    breaks = np.flatnonzero(array == LINE_END)
    quotes = np.flatnonzero(array == QUOTE)
    outside = np.searchsorted(quotes, breaks) % 2 == 0
    ends = breaks[outside]
    if not len(ends):
        return None
    quotes = quotes[: np.searchsorted(quotes, ends[-1])]
    if not _are_well_placed(array, quotes, delimiter):
        return None
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts
    if lengths.max() > CELL:
        return None
    filled = (lengths > 0) & ~((lengths == 1) & (array[starts] == RETURN))
    lines = np.searchsorted(breaks, starts[filled])
    return _Marks(ends, lines, not outside[: np.searchsorted(breaks, ends[-1])].all())


def _are_well_placed(array: NDArray[np.uint8], quotes: NDArray[np.intp], delimiter: int) -> bool:
    opening, closing = quotes[0::2], quotes[1::2]
    before = array[np.maximum(opening - 1, 0)]
    after = array[closing + 1]  # a record ends behind the last quote
    opens = (opening == 0) | (before == delimiter) | (before == LINE_END)
    closes = (after == delimiter) | (after == LINE_END) | (after == RETURN)
    doubled = np.diff(quotes)[1::2] == 1
    return bool(np.all(opens[1:] | doubled) and opens[:1].all() and np.all(closes[:-1] | doubled) and closes[-1:].all())


def _line_ends(data: bytes) -> int:
    return data.count(b"\n") + data.count(b"\r") - data.count(b"\r\n")


class _Scan(NamedTuple):
    """What a line, or the lines up to the end of a record, hold: fields, the last line (-1 if none), what is wrong."""

    fields: int
    last: int
    wrong: str


class Records:
    """The records of some lines, each with its line, or a sentence about what is wrong with it.

    A quote that is never closed swallows the lines after it. Reading therefore resumes on the line after the start of a
    broken record, or of one with the wrong number of fields, so that no good row is lost. Where a record goes that has
    an open quote at the start of a line does not depend on where it began, so that every line is looked at twice at
    most, however many records are broken.

    Attributes:
        consumed: the number of bytes of the records that were given; what follows has no end yet.
        looks: how often a line was looked at.
    """

    def __init__(self, data: bytes, line: int, delimiter: str, *, width: int | None = None, ended: bool = True) -> None:
        self.lines, self.line, self.delimiter = data.splitlines(keepends=True), line, delimiter
        self.width, self.ended = width, ended
        self.offsets = np.concatenate([[0], np.cumsum([len(text) for text in self.lines], dtype=np.int64)])
        if not ended and self.lines and not self.lines[-1].endswith((b"\n", b"\r")):
            self.lines.pop()
        self.consumed = self.looks = 0
        self._inside: dict[int, _Scan] = {}

    def rows(self) -> Iterator[tuple[int, list[str] | str]]:
        """Yield the first line and the fields of every record."""
        at = 0
        while at < len(self.lines):
            last, values = self._record(at)
            if last is None:
                return
            self.consumed = int(self.offsets[last + 1])
            if values:
                yield self.line + at, values
            at = last + 1

    def _record(self, at: int) -> tuple[int | None, list[str] | str]:
        """The last line and the fields of the record at a line, or what is wrong with it; None if it has no end yet."""
        try:
            text = self._text(at)
            self.looks += 1
            values = next(csv.reader([text], strict=True, delimiter=self.delimiter), [])
        except ValueError as error:
            return at, str(error)
        except csv.Error as error:
            if not _is_open(error):
                return at, _broken(error)
            return self._long_record(at, text)
        return at, self._of_width(values, len(values))

    def _long_record(self, at: int, text: str) -> tuple[int | None, list[str] | str]:
        opened = len(next(csv.reader([text + '"'], delimiter=self.delimiter)))
        scan = self._from_inside(at + 1)
        reach = self.offsets[scan.last + 1 if scan.last >= 0 else -1] - self.offsets[at]
        if reach > CELL:
            said = f"a quote is not closed within {CELL} bytes" if scan.last < 0 else f"longer than {CELL} bytes"
            return at, f"broken CSV ({said}); quote the field and double the quotes inside it"
        if scan.last < 0:
            return (at, _broken("unexpected end of data")) if self.ended else (None, [])
        if scan.wrong:
            return at, scan.wrong
        count = opened + scan.fields - 1
        wrong = self._of_width([], count)
        if isinstance(wrong, str):
            return at, wrong
        lines = map(self._text, range(at, scan.last + 1))
        return scan.last, next(csv.reader(lines, strict=True, delimiter=self.delimiter))

    def _of_width(self, values: list[str], count: int) -> list[str] | str:
        if count and count != (self.width or count):
            what = "commas" if self.delimiter == "," else "tabs"
            return f"{count} fields where the header has {self.width}; quote fields that contain {what}"
        return values

    def _text(self, at: int) -> str:
        """The text of a line; ``ValueError`` says why it is none."""
        raw = self.lines[at]
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            raise ValueError("the line is not UTF-8 text; convert it to UTF-8") from None
        if "\0" in text:
            raise ValueError("the line has a null character; the file may be damaged, so write it again")
        if not text.endswith(("\n", "\r")):
            raise ValueError("the last line has no line end, so that the file may be cut; write it again")
        return text

    def _from_inside(self, at: int) -> _Scan:
        """Where a record ends that has an open quote at the start of a line."""
        chain = []
        while at < len(self.lines) and at not in self._inside:
            chain.append((at, self._look(at)))
            if chain[-1][1].last >= 0:
                break
            at += 1
        end = self._inside.get(at, _Scan(1, -1, ""))
        for line, scan in reversed(chain):
            end = scan if scan.last >= 0 else _Scan(scan.fields + end.fields - 1, end.last, end.wrong)
            self._inside[line] = end
        return end

    def _look(self, at: int) -> _Scan:
        """What one line holds behind an open quote."""
        self.looks += 1
        try:
            text = self._text(at)
            return _Scan(len(next(csv.reader(['"' + text], strict=True, delimiter=self.delimiter))), at, "")
        except ValueError as error:
            return _Scan(0, at, str(error))
        except csv.Error as error:
            if not _is_open(error):
                return _Scan(0, at, _broken(error))
        return _Scan(len(next(csv.reader(['"' + text + '"'], delimiter=self.delimiter))), -1, "")


def _is_open(error: csv.Error) -> bool:
    return "unexpected end of data" in str(error)


def _broken(error: csv.Error | str) -> str:
    return f"broken CSV ({error}); quote the field and double the quotes inside it"
