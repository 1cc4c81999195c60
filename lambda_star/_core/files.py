"""Files that are written whole or not at all, and never over a file of somebody else.

Everything that lambda_star writes goes through :func:`write_whole`, except files that grow line by line and are gone
on with, whose last line may be cut. A file says what made it: JSON by its schema, a page by its first line, a picture
or a Parquet file by :data:`MARK` among its metadata, and a plain table by its columns.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import shutil
import stat
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

__all__ = [
    "MARK",
    "PACKED",
    "go_on",
    "made_here",
    "refuse_clash",
    "refuse_overwrite",
    "refuse_unwritable",
    "write_whole",
]

MARK = "Written by lambda-star"
"""What a binary file of ours holds among its metadata."""

ENDS = 1 << 20
"""How many bytes of each end of a file are looked at: a row of a table with its listed tokens may be long."""

SCHEMA = re.compile(rb'\s*\{\s*"schema":\s*"lambda-star/([\w-]+)/')
PAGE = re.compile(rb"(?:<!doctype html>\s*)?<!-- Written by `lambda-star ([\w-]+)", re.IGNORECASE)
BINARY = {
    b"\x89PNG": "picture",
    b"%PDF": "picture",
    b"<?xml": "picture",
    b"PAR1": "table",
    b"ARROW1": "table",
    b"PK": "state",  # a zip file, one of whose members has the mark as its name
}
PACKED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
"""The first bytes of packed data, which tell more than a suffix."""

TABLE = {"sequence", "position", "token", "modal", "log_p", "log_b"}


def write_whole(
    path: str | Path,
    write: Callable[[Path], object] | str | bytes,
    *,
    force: bool = False,
    kind: str | None = None,
) -> None:
    """Write a file whole, or leave what is there as it is.

    The content is text, bytes, or a function that writes it to the path that it is given, which has another ending. It
    goes to a new file in the same folder, which then takes the place of the old one at once, unless
    :func:`refuse_overwrite` keeps that. After an error or an interrupt nothing of it is left. A link stays, and the
    file that it leads to is written; a device or a pipe gets the finished content. A new file has the permissions of
    any other, and a file that is replaced keeps its own; its folder may be new.

    >>> from tempfile import mkdtemp
    >>> path = Path(mkdtemp(), "new", "report.json")
    >>> write_whole(path, '{"schema": "lambda-star/calibrate/2"}')
    >>> write_whole(path, lambda part: part.write_text("{}"), kind="calibrate")
    >>> path.read_text(), [*path.parent.iterdir()] == [path]
    ('{}', True)
    >>> write_whole(path, "[]")                                                               # doctest: +ELLIPSIS
    Traceback (most recent call last):
    FileExistsError: ...report.json: the file that is there is not one that lambda_star wrote, so it stays; ...
    """
    path = Path(path)
    refuse_unwritable(path)
    refuse_overwrite(path, force=force, kind=kind)
    there = _status(path)
    fill = write if callable(write) else partial(_fill, write)
    if there is not None and not stat.S_ISREG(there.st_mode):
        _stream(path, fill)
        return
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{secrets.token_hex(8)}.part")
    part.open("xb").close()  # made anew, so nobody can have laid a link there
    try:
        fill(part)
        _to_disk(part)
        if there is None:
            _name(part, target, force, kind)
        else:
            with suppress(PermissionError):  # some disks know no permissions
                part.chmod(stat.S_IMODE(there.st_mode))
            part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    with suppress(OSError):  # not every system lets a folder be opened
        _to_disk(target.parent, os.O_RDONLY)


def _name(part: Path, target: Path, force: bool, kind: str | None) -> None:
    """Give a finished file its name, where there was none when the work began."""
    try:
        os.link(part, target)
        return
    except FileExistsError:  # it came meanwhile
        refuse_overwrite(target, force=force, kind=kind)
    except OSError:  # this disk has no hard links
        pass
    part.replace(target)


def go_on(path: Path, whole: int, header: bytes, kind: str) -> IO[bytes]:
    r"""Return a file at its end, to which lines can be added by one process at a time.

    Its first ``whole`` bytes stay, up to the end of its last whole line; with 0 it begins with the line ``header``. It
    is an error if another process writes to the file, or if it is not of the kind that :func:`refuse_overwrite` is
    told.

    >>> from tempfile import mkdtemp
    >>> path = Path(mkdtemp(), "answers.jsonl")
    >>> header = b'{"schema": "lambda-star/answers/1"}\n'
    >>> go_on(path, 0, header, "answers").close()
    >>> _ = path.write_bytes(header + b'{"cut": ')
    >>> go_on(path, len(header), header, "answers").close()
    >>> path.read_bytes() == header
    True
    """
    if not path.exists() or not path.stat().st_size:
        write_whole(path, header, kind=kind)
        whole = len(header)
    refuse_overwrite(path, kind=kind)
    file = path.open("r+b")
    try:
        _alone(file, path)
        file.seek(whole)
        if whole and b"\n" in file.read():  # whole lines that were not there when the file was read
            raise _busy(path)
        file.truncate(whole)
        file.seek(whole)
        file.write(b"" if whole else header)
        file.flush()
    except BaseException:
        file.close()
        raise
    return file


def _alone(file: IO[bytes], path: Path) -> None:
    """Hold a file until it is closed, as far as the system can."""
    try:
        from fcntl import LOCK_EX, LOCK_NB, flock

        flock(file, LOCK_EX | LOCK_NB)
    except BlockingIOError as error:
        raise _busy(path) from error
    except (ImportError, OSError):  # Windows, and disks without locks
        return
    if not os.path.samestat(os.fstat(file.fileno()), path.stat()):  # the process that had it put another in its place
        raise _busy(path)


def _busy(path: Path) -> OSError:
    return BlockingIOError(f"{path}: another process adds to this file; wait for it, or give another path")


def _fill(content: str | bytes, path: Path) -> None:
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def _stream(path: Path, fill: Callable[[Path], object]) -> None:
    """Write to what is no regular file, such as a pipe, once the content is finished."""
    with TemporaryDirectory() as folder:
        part = Path(folder, "part")
        fill(part)
        with part.open("rb") as source, path.open("wb") as file:
            shutil.copyfileobj(source, file)


def _to_disk(path: Path, how: int = os.O_RDWR) -> None:
    handle = os.open(path, how)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _status(path: Path) -> os.stat_result | None:
    """What there is behind all links, None for nothing."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def refuse_overwrite(path: str | Path, *, force: bool = False, kind: str | None = None) -> None:
    """Raise an error where writing to a path would lose a file that did not come from there.

    It may go if it is empty, or if :func:`made_here` says that it is of the kind, by default of any kind of
    lambda_star.

    >>> from tempfile import mkdtemp
    >>> path = Path(mkdtemp(), "notes.txt")
    >>> refuse_overwrite(path)
    >>> _ = path.write_text("mine")
    >>> refuse_overwrite(path, force=True)
    >>> refuse_overwrite(path)                                                                # doctest: +ELLIPSIS
    Traceback (most recent call last):
    FileExistsError: ...notes.txt: the file that is there is not one that lambda_star wrote, so it stays; ...
    """
    path = Path(path)
    there = _status(path)
    if force or there is None or not stat.S_ISREG(there.st_mode) or not there.st_size:
        return
    made = made_here(path)
    if made and kind in {None, made}:
        return
    what = f"a {kind} of lambda_star but a {made}" if made else "one that lambda_star wrote"
    raise FileExistsError(
        f"{path}: the file that is there is not {what}, so it stays; give another path, or replace it with `force=True`"
    )


def refuse_unwritable(path: str | Path) -> None:
    """Raise an error if a file can surely not be written, before the work for it begins; its folder may be new.

    >>> refuse_unwritable("/")
    Traceback (most recent call last):
    IsADirectoryError: [Errno 21] Is a directory: '/'
    """
    path = Path(path)
    there = _status(path)
    if there is not None:
        if stat.S_ISDIR(there.st_mode):
            raise _error(errno.EISDIR, path)
        if not os.access(path, os.W_OK):
            raise _error(errno.EACCES, path)
        if not stat.S_ISREG(there.st_mode):
            return
    folder = next(each for each in Path(os.path.realpath(path)).parents if each.exists())
    if not folder.is_dir():
        raise _error(errno.ENOTDIR, folder)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise _error(errno.EACCES, folder)


def _error(code: int, path: Path) -> OSError:
    """What the system itself says of a path."""
    return OSError(code, os.strerror(code), str(path))


def made_here(path: str | Path) -> str:
    r"""Return what lambda_star made a file as, by its content, and "" for any other file.

    It is "picture", "table", "state", the command that wrote a page or JSON, such as "calibrate", or the name in the
    schema of a file that grows, such as "rehearsal" and "answers".

    >>> from tempfile import mkdtemp
    >>> path = Path(mkdtemp(), "rows.csv")
    >>> _ = path.write_text("sequence,position,token,modal,log_p,log_b\n0,0,[,[,-0.1,-0.7\n")
    >>> made_here(path)
    'table'
    """
    with Path(path).open("rb") as file:
        head = file.read(ENDS)
        file.seek(max(0, file.seek(0, os.SEEK_END) - ENDS))
        tail = file.read(ENDS)
    head = _unpacked(head)
    if found := SCHEMA.match(head) or PAGE.match(head):
        return found[1].decode()
    for start, kind in BINARY.items():
        if head.startswith(start):
            return kind if MARK.encode() in head or MARK.encode() in tail else ""
    return "table" if _columns(head.partition(b"\n")[0]) >= TABLE else ""


def _unpacked(head: bytes) -> bytes:
    """The beginning of what is packed, or the bytes as they are."""
    for start, codec in PACKED.items():
        if head.startswith(start):
            import pyarrow

            with suppress(OSError), pyarrow.CompressedInputStream(pyarrow.BufferReader(head), codec) as stream:
                return bytes(stream.read(ENDS // 2))  # no more, as what follows in the file is not there
    return head


def _columns(line: bytes) -> set[str]:
    """The names of the columns that the first line of a plain table shows."""
    text = line.decode("utf-8-sig", errors="replace").strip()
    if not text.startswith("{"):
        return {name.strip().strip('"') for name in re.split("[,\t]", text)}
    try:
        return {*json.loads(text)}
    except (ValueError, RecursionError):
        return set()


def refuse_clash(outputs: Mapping[str, Path | None], inputs: Iterable[Path] = ()) -> None:
    """Raise an error where an output is an input, or two outputs are one file; outputs are by what a message calls
    them.

    Files are the same if a link of either sort leads from one to the other, or if their paths differ only in case,
    which is the same file on many disks.

    >>> refuse_clash({"--json": Path("found"), "--plot": Path("./Found")})
    Traceback (most recent call last):
    ValueError: --json and --plot must be two files, got Found for both
    """
    read = {key for path in inputs for key in _inode(path)}
    taken: dict[object, str] = {}
    for name, path in outputs.items():
        keys = set() if path is None else {*_inode(path), *_place(path)}
        if keys & read:
            raise ValueError(f"{name} must not be a file that is read, got {path}")
        for key in keys:
            if taken.setdefault(key, name) != name:
                raise ValueError(f"{taken[key]} and {name} must be two files, got {path} for both")
    for name, path in outputs.items():
        above = set() if path is None else {key for each in path.absolute().parents for key in _place(each)}
        for key in above & taken.keys():
            raise ValueError(f"{name} must not lie below {taken[key]}, which is a file, got {path}")


def _inode(path: Path) -> Iterator[tuple[int, int]]:
    """What tells a regular file from all others; nothing for a device, which many may write to."""
    with suppress(OSError, ValueError):
        there = path.stat()
        if stat.S_ISREG(there.st_mode):
            yield there.st_dev, there.st_ino


def _place(path: Path) -> Iterator[str]:
    """The place of a regular or a new file without links, case and ways to write a letter."""
    if not path.exists() or path.is_file():
        yield unicodedata.normalize("NFC", os.path.realpath(path)).casefold()
