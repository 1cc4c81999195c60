"""Read Parquet and Arrow files batch by batch: every checksum checked, every row counted, every size bounded."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from lambda_star.calibration.readers.bytes import unpacked
from lambda_star.calibration.table import COLUMNS, OPTIONAL_COLUMNS, TableError

__all__ = [
    "COLUMNS_KEY",
    "Groups",
    "batches",
    "check_columns",
    "footer_mark",
    "names_in",
    "row_groups",
    "table_columns",
]

COLUMNS_KEY = b"lambda_star.columns"
"""The key of the file's own list of its columns, which shows a damaged name."""

FOOTER_KEY = b"lambda_star.footer"

LARGEST = 2**30
"""The most bytes that one batch of Arrow may expand to, which is in memory as a whole."""

SWELLING, SMALL = 200, 2**26
"""Parquet may expand by this factor, far above what packing does to measurements, or to this number of bytes."""

NESTED_ROWS = 1024
"""The most rows of a batch with lists, in which a text takes memory each time that it stands there."""


class Groups(NamedTuple):
    """Some row groups of a Parquet file: the first, the one after the last, and the rows before and in them."""

    first: int
    stop: int
    before: int
    rows: int


END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"


def check_columns(source: str, header: Sequence[str], line: int | None = None) -> None:
    """Raise an error unless a header names every column of a table, and none of them twice.

    A header without a name stands for a file without rows.

    >>> check_columns("a.csv", ["sequence", "position", "token", "modal", "log_p"], line=1)
    Traceback (most recent call last):
    lambda_star.calibration.table.TableError: a.csv, line 1: there is no column log_b; the header must name ...
    """
    missing = [name for name in COLUMNS if name not in header]
    twice = [name for name in (*COLUMNS, *OPTIONAL_COLUMNS) if header.count(name) > 1]
    if twice:
        raise TableError(source, f"there are two columns {', '.join(twice)}; keep one of each", line)
    if header and missing:
        said = f"there is no column {', '.join(missing)}; the header must name {', '.join(COLUMNS)}"
        raise TableError(source, said, line)


def table_columns(source: str, header: Sequence[str]) -> list[str]:
    """Return the columns of a table among some, in their order, after :func:`check_columns`."""
    check_columns(source, header)
    return [name for name in (*COLUMNS, *OPTIONAL_COLUMNS) if name in header]


def names_in(path: Path, source: str, kind: str) -> list[str]:
    """Return the names of the columns of a Parquet or Arrow file."""
    found: list[str] = []

    def keep(_: str, names: Sequence[str]) -> list[str]:
        found.extend(names)
        return []

    with batches(path, source, kind, 1, keep) as opened:
        next(opened, None)
    return found


def row_groups(path: Path) -> tuple[list[str], list[int]] | None:
    """Return the columns of a Parquet file and the rows of each of its row groups; None for any other file.

    One that is packed, cut or damaged is taken for another: reading it tells more.

    >>> row_groups(Path("examples/rank_by_price/logprobs.csv"))
    """
    import pyarrow
    from pyarrow import parquet

    try:
        with pyarrow.OSFile(str(path), "rb") as raw:
            if raw.read(4) != b"PAR1":
                return None
            _check_footer(raw)
            found = parquet.read_metadata(raw)
    except (pyarrow.ArrowException, OSError):
        return None
    return [*found.schema.to_arrow_schema().names], [
        found.row_group(group).num_rows for group in range(found.num_row_groups)
    ]


@contextmanager
def batches(
    path: Path,
    source: str,
    kind: str,
    rows: int,
    choose: Callable[[str, Sequence[str]], list[str]] | None = None,
    groups: Groups | None = None,
) -> Iterator[Iterator[Any]]:
    """Give an iterator of the record batches of a Parquet or Arrow file, of at most so many rows.

    From the source and the names of all columns, ``choose`` tells which are read; ``groups`` are the row groups of
    Parquet that are, by default all. A file that is cut or damaged, or of which too large a part must be in memory at
    once, is a ``TableError``.
    """
    import pyarrow

    parquet = kind == "parquet"
    name = "a Parquet" if parquet else "an Arrow"
    try:
        with unpacked(path, source) as file, pyarrow.OSFile(str(file), "rb") as raw:
            yield _parquet(raw, source, rows, choose, groups) if parquet else _arrow(raw, source, rows, choose)
    except TableError:
        raise
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError, EOFError, struct.error) as error:
        said = f"the file is damaged or not {name} file ({error}); check the file type, or make it again"
        raise TableError(source, said) from error


def _names(schema: Any, source: str, choose: Callable[[str, Sequence[str]], list[str]] | None) -> list[str]:
    """The columns to read, whose names must be those that were written."""
    import pyarrow

    written = (schema.metadata or {}).get(COLUMNS_KEY)
    if written is not None and written != ",".join(schema.names).encode():
        raise pyarrow.ArrowInvalid("the names of its columns are not those that were written")
    return list(schema.names) if choose is None else choose(source, schema.names)


def _parquet(raw: Any, source: str, rows: int, choose: Any, groups: Groups | None) -> Iterator[Any]:
    """The batches of a Parquet file; texts come with each distinct text once."""
    import pyarrow
    from pyarrow import parquet, types

    _check_footer(raw)
    checked = {"page_checksum_verification": True, "buffer_size": 2**20}
    with parquet.ParquetFile(raw, **checked) as file:
        schema, metadata = file.schema_arrow, file.metadata
    wanted = _names(schema, source, choose)
    _refuse_swelling(source, raw.size(), metadata)
    kinds = {field.name: field.type for field in schema}
    texts = [name for name, kind in kinds.items() if _is_text(kind)]
    if any(types.is_nested(kinds[name]) for name in wanted):
        rows = min(rows, NESTED_ROWS)
    groups = groups or Groups(0, metadata.num_row_groups, 0, metadata.num_rows)
    raw.seek(0)
    with parquet.ParquetFile(raw, read_dictionary=texts, **checked) as file:
        count = 0
        for batch in file.iter_batches(batch_size=rows, columns=wanted, row_groups=range(groups.first, groups.stop)):
            count += batch.num_rows
            yield batch
        if count != groups.rows:
            raise pyarrow.ArrowInvalid(f"it holds {count} rows, and says that it holds {groups.rows}")


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    return any(test(kind) for test in (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary))


def _check_footer(raw: Any) -> None:
    """Compare the footer with its checksum if there is one, since Arrow ends the process over some damaged footers."""
    import pyarrow

    raw.seek(max(0, raw.size() - 8))
    size = int.from_bytes(raw.read(4), "little")
    start = raw.size() - 8 - size - len(FOOTER_KEY) - 4
    if start < 0:
        return
    raw.seek(start)
    mark, footer = raw.read(len(FOOTER_KEY) + 4), raw.read(size)
    if mark.startswith(FOOTER_KEY) and mark != footer_mark(footer):
        raise pyarrow.ArrowInvalid("its footer does not have the checksum that was written")
    raw.seek(0)


def footer_mark(footer: bytes) -> bytes:
    """Return the checksum that stands before the footer of a Parquet file of ours, where no reader looks."""
    return FOOTER_KEY + zlib.crc32(footer).to_bytes(4, "little")


def _refuse_large(source: str, size: int) -> None:
    if size > LARGEST:
        said = f"a batch expands to {size} bytes, above {LARGEST}; write the file again in smaller batches"
        raise TableError(source, said)


def _refuse_swelling(source: str, size: int, metadata: Any) -> None:
    """Refuse a Parquet file that expands beyond reason; one that is merely large is read page by page."""
    expanded = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
    if expanded > max(SMALL, SWELLING * size):
        said = (
            f"the file expands to {expanded} bytes, more than {SWELLING} times its size; write it again from its source"
        )
        raise TableError(source, said)


def _arrow(raw: Any, source: str, rows: int, choose: Any) -> Iterator[Any]:
    """The batches of an Arrow IPC file or stream."""
    import pyarrow
    from pyarrow import ipc

    is_file = raw.read(6) == b"ARROW1"
    if not is_file:
        raw.seek(max(0, raw.size() - len(END_OF_STREAM)))
        if raw.read() != END_OF_STREAM:
            raise pyarrow.ArrowInvalid("the mark at the end of a stream is missing")
        raw.seek(0)
    for message in _file_messages(raw, source) if is_file else ipc.MessageReader.open_stream(raw):
        _refuse_large(source, _expanded(message))
    raw.seek(0)
    reader = ipc.open_file(raw) if is_file else ipc.open_stream(raw)
    wanted = _names(reader.schema, source, choose)
    for batch in map(reader.get_batch, range(reader.num_record_batches)) if is_file else reader:
        batch.validate(full=True)
        chosen = batch.select(wanted)
        yield from (chosen.slice(start, rows) for start in range(0, batch.num_rows, rows))


def _file_messages(raw: Any, source: str) -> Iterator[Any]:
    """The messages of an Arrow file, which its footer locates: dictionaries are its field 2, and batches field 3."""
    from pyarrow import ipc

    raw.seek(max(0, raw.size() - 10))
    size = int.from_bytes(raw.read(4), "little")
    raw.seek(max(0, raw.size() - 10 - size))
    footer = memoryview(raw.read(size))
    for blocks in (_field(footer, struct.unpack_from("<I", footer)[0], field) for field in (2, 3)):
        for index in range(struct.unpack_from("<I", footer, blocks)[0] if blocks else 0):
            start, _, length = struct.unpack_from("<qi4xq", footer, blocks + 4 + 24 * index)
            _refuse_large(source, length)
            raw.seek(start)
            yield ipc.read_message(raw)


def _expanded(message: Any) -> int:
    """The bytes of a message of Arrow once its buffers are unpacked, by the length that stands before each of them.

    The places are those of the flatbuffers schema of the Arrow format: a message has its header as field 2, and a
    record batch its buffers as field 2 and its compression as field 3; a dictionary holds a record batch as field 1.
    """
    metadata, body = memoryview(message.metadata), message.body
    batch = _field(metadata, struct.unpack_from("<I", metadata)[0], 2)
    if batch and message.type == "dictionary":
        batch = _field(metadata, batch, 1)
    buffers = batch and _field(metadata, batch, 2)
    if message.type not in {"record batch", "dictionary"} or not buffers or not _field(metadata, batch, 3):
        return int(body.size) if body is not None else 0
    view, total = memoryview(body), 0
    for index in range(struct.unpack_from("<I", metadata, buffers)[0]):
        start, length = struct.unpack_from("<qq", metadata, buffers + 4 + 16 * index)
        total += max(0, struct.unpack_from("<q", view, start)[0]) if length >= 8 else 0
    return total


def _field(data: memoryview, table: int, index: int) -> int:
    """The place of a table, vector or text that a table of flatbuffers holds as its field; 0 where it has none."""
    entries = table - struct.unpack_from("<i", data, table)[0]
    if struct.unpack_from("<H", data, entries)[0] <= 4 + 2 * index:
        return 0
    offset = struct.unpack_from("<H", data, entries + 4 + 2 * index)[0]
    return table + offset + int(struct.unpack_from("<I", data, table + offset)[0]) if offset else 0
