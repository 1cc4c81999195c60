"""Predictions that are locked in a file before their outcome is known.

A record holds the ``prediction``, its ``sha256`` and the time ``locked`` in UTC, and once there is an ``outcome`` also
the time ``finished``. A prediction is written once. Every function raises ``ValueError`` for a file whose prediction
does not match its hash.

>>> from tempfile import mkdtemp
>>> path = Path(mkdtemp()) / "run.json"
>>> record = lock(path, lambda: {"onset": 1.7})
>>> lock(path, lambda: {"onset": 1.8})["prediction"]  # the first prediction stays
{'onset': 1.7}
>>> conclude(path, record, {"onset": 1.69}) == finished([path])[0]
True
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from lambda_star._core.files import write_whole

__all__ = ["conclude", "finished", "lock"]

Record = dict[str, Any]


def lock(path: Path, predict: Callable[[], Record]) -> Record:
    """Return the record in a JSON file; only if there is no file, make one with a fresh prediction."""
    if not path.exists():
        prediction = json.loads(json.dumps(predict()))  # so that the hash is of what a reader will see
        with suppress(FileExistsError):  # another process was first, and its prediction stays
            _write(path, {"prediction": prediction, "sha256": _digest(prediction), "locked": _now()})
    return _read(path)


def conclude(path: Path, record: Record, outcome: Record) -> Record:
    """Add the outcome to the record that :func:`lock` returned, in its file too, and return both together.

    A file that holds another prediction, or already an outcome, raises ``ValueError``.
    """
    there = _read(path)
    if there["sha256"] != record["sha256"] or "outcome" in there:
        raise ValueError(f"{path} must hold the locked prediction without an outcome; it was written by another run")
    _write(path, there | {"outcome": outcome, "finished": _now()}, force=True)
    return _read(path)


def finished(paths: Iterable[Path]) -> list[Record]:
    """Return the records of those files that have an outcome, in the given order."""
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


def _write(path: Path, record: Record, force: bool = False) -> None:
    text = json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_whole(path, text + "\n", force=force)
