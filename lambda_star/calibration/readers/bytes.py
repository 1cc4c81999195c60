"""Find the files of measured data, and open them: from a path, a pattern, a folder or standard input, packed or not."""

from __future__ import annotations

import glob
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from lambda_star._core.files import PACKED
from lambda_star.calibration.table import TableError

__all__ = ["FORMATS", "STANDARD_INPUT", "expand", "kind", "located", "opened", "unpacked"]

STANDARD_INPUT = "-"
"""The path that stands for standard input."""

FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".json": "json",
    ".jsonl": "lines",
    ".ndjson": "lines",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".arrows": "arrow",
    ".ipc": "arrow",
    ".feather": "arrow",
}
"""The format that a suffix stands for; `arrow` is an IPC file or an IPC stream, `lines` is JSON lines."""

SUFFIXES = (".gz", ".gzip", ".zst", ".zstd")

EXPANSION = 100
SMALL = 2**26
"""A packed file that must be unpacked as a whole may grow by this factor, or to this number of bytes."""

BUFFER, STEP = 2**20, 2**16

LISTENER: ContextVar[Callable[[int], None] | None] = ContextVar("LISTENER", default=None)
"""Is told how many more bytes of a file were read, packed as they are."""


def expand(paths: Iterable[str | os.PathLike[str]]) -> list[str]:
    """Return the files that paths, patterns and folders stand for, in the order of the arguments and otherwise sorted.

    A folder stands for all its files, in folders below it too, except those whose name begins with a dot or an
    underscore, and ``-`` for standard input. A pattern or a folder without a file is a ``TableError``, and so is a file
    that is given twice.

    >>> expand(["examples/rank_by_price/logp*.csv"])
    ['examples/rank_by_price/logprobs.csv']
    """
    found: list[str] = []
    for path in [os.fspath(path) for path in paths]:
        members = _members(path)
        if not members:
            what = "the folder holds no file" if os.path.isdir(path) else "no file matches the pattern"
            raise TableError(path, f"{what}; check the path")
        found += members
    seen: set[str] = set()
    for path in found:
        real = path if path == STANDARD_INPUT or "\0" in path else os.path.realpath(path)
        if real in seen:
            raise TableError(path, "the file is given twice; give it once")
        seen.add(real)
    return found


def _members(path: str) -> list[str]:
    if path != STANDARD_INPUT and os.path.isdir(path):
        hidden = (".", "_")
        inside = ((file, file.relative_to(path).parts) for file in sorted(Path(path).rglob("*")) if not file.is_dir())
        return [str(file) for file, parts in inside if not any(part.startswith(hidden) for part in parts)]
    if glob.has_magic(path) and not os.path.exists(path):
        matches = sorted(glob.glob(path, recursive=True))
        return [member for match in matches for member in _members(match)]
    return [path]


@contextmanager
def located(path: str | os.PathLike[str]) -> Iterator[tuple[Path, str]]:
    """Give the file of a path, and its name in messages; standard input is copied to a temporary file first.

    A file that is missing or cannot be read, a pipe or a device is a ``TableError``.
    """
    if os.fspath(path) == STANDARD_INPUT:
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder, "input")
            with copy.open("wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file, BUFFER)
            yield copy, "standard input"
        return
    file_path, source = Path(path), os.fspath(path)
    try:
        if file_path.stat() and not file_path.is_file():
            raise TableError(source, "this is a pipe or a device; send it to standard input, and give `-` as the path")
    except (OSError, ValueError) as error:  # ValueError: a null character in the path, or our own error
        if isinstance(error, TableError):
            raise
        raise TableError(source, f"{getattr(error, 'strerror', None) or error}; check the path") from error
    yield file_path, source


class _Unpacked(io.RawIOBase):
    """The bytes of a file without its packing; what is cut or damaged is an error that names the file."""

    def __init__(self, file: Any, packing: str | None, source: str) -> None:
        import pyarrow

        self._source = source
        self._error: OSError | None = None
        self._file, self._told = file, 0
        self._stream = file if packing is None else pyarrow.CompressedInputStream(pyarrow.PythonFile(file), packing)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer; what comes before a damaged place is given before the error is raised."""
        done = 0
        try:
            while self._error is None and (data := self._stream.read(min(STEP, len(buffer) - done))):
                buffer[done : done + len(data)] = data
                done += len(data)
        except OSError as error:
            self._error = error
        if self._error is not None and not done:
            said = f"the file cannot be read to its end ({self._error}); it is cut or damaged, so make it again"
            raise TableError(self._source, said) from self._error
        if tell := LISTENER.get():
            tell(self._file.tell() - self._told)
            self._told = self._file.tell()
        return done

    def close(self) -> None:
        self._file.close()
        super().close()


def opened(path: Path, source: str) -> io.BufferedReader:
    """Return the bytes of a file, without the packing of gzip or zstd that its first bytes tell.

    Reading raises ``TableError`` where packed data are cut or damaged.

    >>> with opened(Path("examples/rank_by_price/logprobs.csv"), "logprobs.csv") as file:
    ...     file.read(17)
    b'sequence,position'
    """
    try:
        file = path.open("rb")
        return io.BufferedReader(_Unpacked(file, _packing(file), source), BUFFER)
    except OSError as error:
        raise TableError(source, f"{error.strerror or error}; check the path") from error


def _packing(file: Any) -> str | None:
    first = file.read(4)
    file.seek(0)
    return next((name for magic, name in PACKED.items() if first.startswith(magic)), None)


@contextmanager
def unpacked(path: Path, source: str) -> Iterator[Path]:
    """Give a file without packing: the file itself, or a temporary one for the formats that are read out of order.

    A file that expands beyond reason is a ``TableError``.
    """
    with opened(path, source) as stream, tempfile.TemporaryDirectory() as folder:
        if not _is_packed(path):
            yield path
            return
        limit = max(SMALL, EXPANSION * path.stat().st_size)
        copy = Path(folder, "unpacked")
        with copy.open("wb") as file:
            while block := stream.read(BUFFER):
                if file.tell() + len(block) > limit:
                    said = f"the file expands to more than {limit} bytes; unpack it with gzip or zstd first"
                    raise TableError(source, said)
                file.write(block)
        yield copy


def _is_packed(path: Path) -> bool:
    with path.open("rb") as file:
        return _packing(file) is not None


def kind(path: Path, source: str) -> str:
    """Return the format of a file, by its suffix, or by its first bytes where the suffix is none that is known.

    It is one of the values of ``FORMATS``; a file of another type is a ``TableError``.

    >>> kind(Path("examples/rank_by_price/logprobs.csv"), "logprobs.csv")
    'csv'
    """
    name = Path(path.name.lower())
    if name.suffix in SUFFIXES:
        name = name.with_suffix("")
    found = FORMATS.get(name.suffix) or _kind_of(path, source)
    if found is None:
        shown = f"a {name.suffix} file" if name.suffix else "a file without a suffix"
        raise TableError(source, f"cannot read {shown}; give one of {', '.join(FORMATS)}, each also .gz or .zst")
    return found


def _kind_of(path: Path, source: str) -> str | None:
    with opened(path, source) as file:
        head = file.read(BUFFER)
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
        return "arrow"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith((b"{", b"[")):
        return "json"
    first = text.splitlines()[0] if text else b","
    return "tsv" if b"\t" in first else "csv" if b"," in first else None
