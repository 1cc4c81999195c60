"""Predictions that are locked in a file before their outcome is known.

A record of format 2 holds what was locked, the ``prediction``, its ``settings``, ``seed`` and ``code`` and the time
``locked`` in UTC, with the hash of all this as ``sha256``; the ``attempts`` to train; and, once there is an
``outcome``, the time ``finished`` and ``outcome_sha256``, the hash of that first hash, the attempts and the outcome. A
record of the first format has a hash of the prediction alone; it is still read. Every function raises ``ValueError``
for a file that does not match its hashes.

>>> from tempfile import mkdtemp
>>> path = Path(mkdtemp()) / "run.json"
>>> record = lock(path, lambda: {"onset": 1.7}, settings={"clip": 2.0}, seed=3)
>>> lock(path, lambda: {"onset": 1.8}, settings={"clip": 2.0}, seed=3)["prediction"]  # the first prediction stays
{'onset': 1.7}
>>> record = attempt(path, record)
>>> conclude(path, record, {"onset": 1.69}) == finished([path])[0]
True
"""

from __future__ import annotations

import atexit
import hashlib
import json
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lambda_star import __version__
from lambda_star._core.files import write_whole

__all__ = ["attempt", "conclude", "figure", "files", "finished", "held", "lock", "named", "read"]

Record = dict[str, Any]

LOCKED = ("format", "prediction", "settings", "seed", "code", "locked")  # what the first hash covers
CONCLUDED = ("sha256", "attempts", "outcome", "finished")  # what the second one covers
PACKAGES = ("numpy", "scipy", "torch", "transformers", "tokenizers", "peft", "gguf")  # a record names those in use

_held: dict[Path, int] = {}  # open files that keep other processes away, by the record that they belong to


def lock(
    path: Path, predict: Callable[[], Record], *, settings: Mapping[str, Any], seed: int, sources: Iterable[Path] = ()
) -> Record:
    """Return the record in a JSON file; only if there is no file, make one with a fresh prediction.

    Of several processes at once one calls ``predict``; the others wait for it and return its record.

    Args:
        path: the file, whose folder may be new.
        predict: computes the prediction, of values that JSON has.
        settings: all that the run depends on besides its seed, of values that JSON has.
        seed: the seed of the run.
        sources: Python files outside the package that the run uses; their content goes into the hash of the code.

    Returns:
        The record.

    Raises:
        ValueError: the file holds other settings or another seed, or is not as it was written.

    >>> from tempfile import mkdtemp
    >>> record = lock(Path(mkdtemp(), "run.json"), lambda: {"onset": 1.7}, settings={"clip": 2.0}, seed=3)
    >>> record["prediction"], record["settings"], record["attempts"]
    ({'onset': 1.7}, {'clip': 2.0}, [])
    """
    asked = {"settings": _as_read(settings), "seed": seed}
    if not path.exists():
        alone = _alone(path, wait=True)
        try:
            if not path.exists():
                said = {"format": 2, "prediction": _as_read(predict()), **asked, "code": _code(sources)}
                said["locked"] = _now()
                with suppress(FileExistsError):  # made by a process on a disk that knows no locks
                    _write(path, said | {"sha256": _digest(said), "attempts": []})
        finally:
            if alone:
                _release(path)
    record = read(path)
    for name in asked if "format" in record else ():
        if record[name] != asked[name]:
            raise ValueError(
                f"{path} must hold a lock with `{name}` = {asked[name]}, got {record[name]}; give another path"
            )
    return record


def attempt(path: Path, record: Record, *, sources: Iterable[Path] = ()) -> Record:
    """Note in the record that training starts, and return it; to be called before the first step.

    Until the record is concluded or this process ends, by whatever cause, no other process can start an attempt.

    Args:
        path: the file of the record.
        record: the record that :func:`lock` returned.
        sources: as for :func:`lock`.

    Returns:
        The record with one more of its ``attempts``.

    Raises:
        ValueError: the file holds another prediction, or already an outcome, or is of the first format.
        BlockingIOError: another process is at it.

    >>> from tempfile import mkdtemp
    >>> path = Path(mkdtemp(), "run.json")
    >>> begun = attempt(path, lock(path, lambda: {"onset": 1.7}, settings={}, seed=3))
    >>> [sorted(one) for one in begun["attempts"]]
    [['code', 'started']]
    """
    _alone(path)
    try:
        there = _open(path, record)
        begun = {"started": _now(), "code": _code(sources)}
        _write(path, there | {"attempts": [*there["attempts"], begun]}, force=True)
    except BaseException:
        _release(path)
        raise
    return read(path)


def conclude(path: Path, record: Record, outcome: Record) -> Record:
    """Add the outcome to a record after an attempt, in its file too, and return both together.

    Args:
        path: the file of the record.
        record: the record that :func:`attempt` returned.
        outcome: what was seen, of values that JSON has.

    Returns:
        The record with its outcome.

    Raises:
        ValueError: the file holds another prediction, or already an outcome, or there was no attempt.

    >>> from tempfile import mkdtemp
    >>> path = Path(mkdtemp(), "run.json")
    >>> record = lock(path, lambda: {"onset": 1.7}, settings={}, seed=3)
    >>> conclude(path, attempt(path, record), {"onset": 1.69})["outcome"]
    {'onset': 1.69}
    """
    there = _open(path, record)
    if not there["attempts"]:
        raise ValueError(f"{path} must hold an attempt before its outcome, got none; call `attempt` before training")
    done = there | {"outcome": _as_read(outcome), "finished": _now()}
    _write(path, done | {"outcome_sha256": _digest({name: done[name] for name in CONCLUDED})}, force=True)
    _release(path)
    return read(path)


def files(folder: Path) -> list[Path]:
    """Return the regular files of a folder that may be records, in the order of their names."""
    return sorted(path for path in folder.glob("*.json") if path.is_file())


@contextmanager
def held(to: str) -> Iterator[None]:
    """Turn what goes wrong with the values of a record into one error, ``to`` being what the record must do.

    >>> with held("be that of a trial"):
    ...     {}["settings"]
    Traceback (most recent call last):
    ValueError: record must be that of a trial, got one without 'settings'
    """
    try:
        yield
    except KeyError as error:
        raise ValueError(f"record must {to}, got one without {error}") from error
    except (ArithmeticError, AttributeError, IndexError, TypeError) as error:
        raise ValueError(f"record must {to}, got one with a value of another kind: {error}") from error


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Put the file of a record in front of what is wrong with it."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def figure(value: Any) -> Any:
    """Return a value of a record that is a finite number, or None; raise ``TypeError`` for any other."""
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)):
        return value
    raise TypeError(f"{value!r} is not a number")


def finished(paths: Iterable[Path]) -> list[Record]:
    """Return the records of those files that have an outcome, in the given order."""
    return [record for record in map(read, paths) if "outcome" in record]


def read(path: Path) -> Record:
    """Return the record in a file, of either format.

    Args:
        path: the file.

    Returns:
        The record, which matches its hashes.

    Raises:
        ValueError: the file is no record, or is not as it was written.

    >>> read(Path("results/cliff/short-3.json"))["locked"]
    '2026-11-23T01:57:11+00:00'
    """
    try:
        return _parsed(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} {error}") from error


def _parsed(text: str) -> Record:
    """Return the record that a text holds, as :func:`read` does; the message of an error names no file."""
    try:
        record = json.loads(text)
        changed = _changed(record)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"must hold a locked prediction as JSON, got {error!r}; remove it") from error
    if changed:
        raise ValueError(f"must hold the {changed}, got one with another hash; remove it to start anew")
    return dict(record)


def _changed(record: Record) -> str:
    """What does not match its hash, or empty text."""
    if "format" not in record:
        return "" if record["sha256"] == _digest(record["prediction"]) else "prediction that was locked"
    names = {*LOCKED, "sha256", "attempts"}
    done = {*CONCLUDED, "outcome_sha256"}
    if record["format"] != 2 or set(record) not in (names, names | done):
        raise ValueError(f"format {record['format']} with {', '.join(sorted(record))}")
    if record["sha256"] != _digest({name: record[name] for name in LOCKED}):
        return "prediction that was locked"
    if "outcome" in record and record["outcome_sha256"] != _digest({name: record[name] for name in CONCLUDED}):
        return "outcome that was added"
    return ""


def _open(path: Path, record: Record) -> Record:
    """The record in the file, if it is that one and waits for its outcome."""
    there = read(path)
    if there["sha256"] != record["sha256"] or "outcome" in there:
        raise ValueError(f"{path} must hold the locked prediction without an outcome; it was written by another run")
    if "format" not in there:
        raise ValueError(f"{path} must hold a lock of format 2, got one of the first format; remove it to start anew")
    return there


def _digest(content: Any) -> str:
    """Return the SHA-256 of a value, written as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _as_read(value: Any) -> Any:
    """What a reader of the file will see, so that the hash is of that."""
    return json.loads(json.dumps(value, allow_nan=False))


def _code(sources: Iterable[Path]) -> Record:
    """Which code runs: versions, and a hash of all Python sources of the package and of ``sources``."""
    root, digest = Path(__file__).parents[1], hashlib.sha256()
    inside = [(path.relative_to(root).as_posix(), path) for path in sorted(root.rglob("*.py"))]
    for name, path in [*inside, *((path.name, path) for path in sources)]:
        content = path.read_bytes().replace(b"\r\n", b"\n")
        digest.update(f"{name}\n{len(content)}\n".encode() + content)
    packages = {name: version(name) for name in PACKAGES if name in sys.modules}
    made = {"version": __version__, "sha256": digest.hexdigest()}
    return made | {"python": platform.python_version(), "packages": packages}


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())


def _write(path: Path, record: Record, force: bool = False) -> None:
    text = json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_whole(path, text + "\n", force=force)


def _alone(path: Path, wait: bool = False) -> bool:
    """Keep other processes away from a record, as far as the system can; tell whether this process just began to.

    The system lets go of the lock when the process ends, however it ends; a child process does not inherit it. So that
    a record can be replaced meanwhile, the lock is on a file beside it, which is removed with the lock.
    """
    path = path.resolve()
    if path in _held:
        return False
    try:
        from fcntl import LOCK_EX, LOCK_NB, lockf
    except ImportError:  # Windows
        return False
    beside = _beside(path)
    beside.parent.mkdir(parents=True, exist_ok=True)
    while True:
        file = os.open(beside, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            lockf(file, LOCK_EX | (0 if wait else LOCK_NB))
            if os.path.samestat(os.fstat(file), os.stat(beside)):
                _held[path] = file
                return True
        except FileNotFoundError:  # the process that held it has removed the file just now
            pass
        except (BlockingIOError, PermissionError) as error:
            raise BlockingIOError(
                f"{path}: another process is training this run; wait for it, stop it, or give another folder"
            ) from error
        except OSError:  # a disk without locks
            return False
        finally:
            if _held.get(path) != file:
                os.close(file)


def _beside(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def _release(path: Path) -> None:
    """Let other processes at a record again."""
    path = path.resolve()
    if (file := _held.pop(path, None)) is not None:
        _beside(path).unlink(missing_ok=True)
        os.close(file)


def _release_all(process: int) -> None:
    for path in [*_held] if os.getpid() == process else ():  # not at the end of a child process
        _release(path)


atexit.register(_release_all, os.getpid())
