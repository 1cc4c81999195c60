"""A prediction on file before its outcome: written once with its hash and the time, and refused if it was touched."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

__all__ = ["conclude", "digest", "finished", "lock"]

Record = dict[str, Any]


def lock(path: Path, predict: Callable[[], Record]) -> Record:
    """The record of a file, made with a fresh prediction if there is none yet.

    Args:
        path: a JSON file; its folder is made if it is missing.
        predict: makes the prediction, of numbers, texts, lists and dictionaries; asked only if there is no file.

    Returns:
        ``prediction``, its ``sha256`` and the time ``locked`` in UTC; also ``outcome`` and ``finished`` if it has one.

    Raises:
        ValueError: the file holds a prediction that does not fit its hash, or is no such file.

    Source: extension.

    >>> from tempfile import mkdtemp
    >>> path = Path(mkdtemp()) / "run.json"
    >>> lock(path, lambda: {"onset": 1.7})["prediction"]
    {'onset': 1.7}
    >>> lock(path, lambda: {"onset": 1.8})["prediction"]                                   # it is locked
    {'onset': 1.7}
    """
    if path.exists():
        return _read(path)
    prediction = json.loads(json.dumps(predict(), allow_nan=False))  # what a reader will see, and its hash
    record = {"prediction": prediction, "sha256": digest(prediction), "locked": _now()}
    _write(path, record)
    return record


def conclude(path: Path, record: Record, outcome: Record) -> Record:
    """Add what was seen to a locked prediction, in its file too.

    Args:
        path: the file of the record.
        record: as :func:`lock` returned it.
        outcome: of numbers, texts, lists and dictionaries.

    Returns:
        The record with ``outcome`` and the time ``finished`` in UTC.

    Raises:
        ValueError: the file holds another prediction, or an outcome already.

    Source: extension.

    >>> from tempfile import mkdtemp
    >>> path = Path(mkdtemp()) / "run.json"
    >>> record = lock(path, lambda: {"onset": 1.7})
    >>> conclude(path, record, {"onset": 1.69})["outcome"]
    {'onset': 1.69}
    """
    there = _read(path)
    if there["sha256"] != record["sha256"] or "outcome" in there:
        raise ValueError(f"{path} must hold the locked prediction without an outcome; it was written by another run")
    record = there | {"outcome": json.loads(json.dumps(outcome, allow_nan=False)), "finished": _now()}
    _write(path, record)
    return record


def finished(paths: Iterable[Path]) -> list[Record]:
    """The records that have an outcome.

    Args:
        paths: files that :func:`lock` wrote.

    Returns:
        One record per file with an outcome, in the given order.

    Raises:
        ValueError: a file holds a prediction that does not fit its hash, or is no such file.

    Source: extension.

    >>> finished([])
    []
    """
    return [record for record in map(_read, paths) if "outcome" in record]


def digest(prediction: Record) -> str:
    """The SHA-256 of a prediction, written as JSON with sorted keys.

    Args:
        prediction: of numbers, texts, lists and dictionaries.

    Returns:
        64 hexadecimal digits.

    Raises:
        TypeError: something in it cannot be written as JSON.

    Source: extension.

    >>> digest({"onset": 1.7})[:8]
    '93289d43'
    """
    return hashlib.sha256(json.dumps(prediction, sort_keys=True).encode()).hexdigest()


def _read(path: Path) -> Record:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        locked = record["sha256"] == digest(record["prediction"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} must hold a locked prediction, got no such JSON ({error!r}); remove it") from error
    if not locked:
        raise ValueError(
            f"{path} must hold the prediction that was locked, got one with another hash; remove it to start anew"
        )
    return dict(record)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _write(path: Path, record: Record) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(".part")  # so that a run that is cut off leaves the old file or the new one, whole
    half.write_text(json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    half.replace(path)
