"""Predictions that are locked in a file before their outcome is known.

A prediction is written once, with its hash and the time. A file whose prediction was changed afterwards is refused.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

__all__ = ["conclude", "finished", "lock"]

Record = dict[str, Any]


def lock(path: Path, predict: Callable[[], Record]) -> Record:
    """Return the record in a file; if there is no file, make one with a fresh prediction.

    Args:
        path: a JSON file; its folder is made if it is missing.
        predict: makes the prediction, of numbers, texts, lists and dictionaries; called only if there is no file.

    Returns:
        ``prediction``, its ``sha256`` and the time ``locked`` in UTC; also ``outcome`` and ``finished`` if it has one.

    Raises:
        ValueError: the file holds a prediction that does not match its hash, or no prediction.

    >>> from tempfile import mkdtemp
    >>> path = Path(mkdtemp()) / "run.json"
    >>> lock(path, lambda: {"onset": 1.7})["prediction"]
    {'onset': 1.7}
    >>> lock(path, lambda: {"onset": 1.8})["prediction"]  # the first prediction stays
    {'onset': 1.7}
    """
    if path.exists():
        return _read(path)
    prediction = json.loads(json.dumps(predict(), allow_nan=False))  # so that the hash is of what a reader will see
    record = {"prediction": prediction, "sha256": _digest(prediction), "locked": _now()}
    _write(path, record)
    return record


def conclude(path: Path, record: Record, outcome: Record) -> Record:
    """Add the outcome to a locked prediction, in its file too.

    Args:
        path: the file of the record.
        record: the record that :func:`lock` returned.
        outcome: what was seen, of numbers, texts, lists and dictionaries.

    Returns:
        The record with ``outcome`` and the time ``finished`` in UTC.

    Raises:
        ValueError: the file holds another prediction, or already an outcome.

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
    """Return the records that have an outcome.

    Args:
        paths: files that :func:`lock` wrote.

    Returns:
        One record per file with an outcome, in the given order.

    Raises:
        ValueError: a file holds a prediction that does not match its hash, or no prediction.

    >>> finished([])
    []
    """
    return [record for record in map(_read, paths) if "outcome" in record]


def _digest(prediction: Record) -> str:
    """Return the SHA-256 of a prediction, written as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(prediction, sort_keys=True).encode()).hexdigest()


def _read(path: Path) -> Record:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        locked = record["sha256"] == _digest(record["prediction"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} must hold a locked prediction as JSON, got {error!r}; remove it") from error
    if not locked:
        raise ValueError(
            f"{path} must hold the prediction that was locked, got one with another hash; remove it to start anew"
        )
    return dict(record)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())


def _write(path: Path, record: Record) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(".part")  # a run that is cut off while writing leaves the old file whole
    half.write_text(json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    half.replace(path)
