"""Whether a repository's history has each locked prediction without its outcome, before it has the outcome.

A commit names all that it holds by a hash, so a prediction that is in a commit which others have cannot have been
written after they had it. What a history proves is said in ``docs/cliff.md``.
"""

from __future__ import annotations

import io
import json
import re
import subprocess
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from lambda_star.cliff.record import Record, _digest, _parsed

__all__ = ["Age", "Commit", "ages"]

ENTRY = re.compile(rb"\x01(?P<commit>\w+) (?P<time>\S+)\x00|:\d+ \d+ \w+ (?P<blob>\w+) \w\x00(?P<path>[^\x00]*)\x00")


class Commit(NamedTuple):
    """The name of a commit, and the time at which it says that it was made."""

    name: str
    time: str


class Age(NamedTuple):
    """Where a repository's history first has a prediction, and where its outcome.

    Attributes:
        path: the file of the record.
        format: the format of the record, 0 for a file that cannot be read.
        verdict: ``before``, the prediction was committed without an outcome before there was one; ``together``, it was
            not; ``waiting``, it was, and there is no outcome; ``changed``, prediction, attempts or outcome are not
            those of an earlier commit; ``untracked``, no commit has the file; ``removed``, the file is gone;
            ``unknown``, there is no history to see, or only the end of it.
        locked: the first commit that has the record without an outcome, or None.
        finished: the first commit that has its outcome, or None.
        attempts: how often training was started, as the record says.
    """

    path: Path
    format: int
    verdict: str
    locked: Commit | None
    finished: Commit | None
    attempts: int


def ages(paths: Iterable[Path]) -> list[Age]:
    """Compare records with the history of the repository that they lie in, up to the commit that is checked out.

    Args:
        paths: files, and folders, of which every JSON file below them is looked at, also those that are gone.

    Returns:
        One :class:`Age` per record, in the order of their paths; files that are no records are left out.

    Raises:
        ValueError: a path is neither there nor in the history.

    >>> ages([Path("results/cliff/short-3.json")])[0].format
    1
    """
    return [age for path in paths for age in _ages_below(Path(path))]


def _ages_below(path: Path) -> Iterator[Age]:
    place = next(each for each in [path.absolute(), *path.absolute().parents] if each.is_dir())
    top = _git(place, "rev-parse", "--show-toplevel")
    whole = _git(place, "rev-parse", "--is-shallow-repository") == b"false\n"
    root = Path(top.decode().rstrip("\n")) if top and whole else None
    committed = _committed(root, path.resolve()) if root else {}
    there = {one.resolve(): one for one in (path.rglob("*.json") if path.is_dir() else [path]) if one.is_file()}
    if not there and not committed and not path.is_dir():
        raise ValueError(f"paths must be files or folders that there are, or once were, got {path}")
    for name in sorted({*there, *committed}):
        now = _version(there[name].read_bytes()) if name in there else None
        shown = there.get(name, path / name.relative_to(path.resolve()))
        versions = [(commit, _version(content)) for commit, content in committed.get(name, [])]
        records = [(commit, record) for commit, record in versions if record is not None]
        if now or any(record for _, record in records) or (now is not None and not records):
            yield _age(shown, now, records, root)


def _age(path: Path, now: Record | None, versions: list[tuple[Commit, Record]], root: Path | None) -> Age:
    """Judge one record by its versions, the oldest first."""
    locked = next((commit for commit, record in versions if record and "outcome" not in record), None)
    finished = next((commit for commit, record in versions if "outcome" in record), None)
    last = versions[-1][1] if now is None else now
    if root is None:
        verdict = "unknown"
    elif now is None:
        verdict = "removed"
    elif not _grows([*(record for _, record in versions), now]):
        verdict = "changed"
    elif not versions:
        verdict = "untracked"
    elif "outcome" not in now:
        verdict = "waiting"
    else:
        older = locked is not None and _time(locked.time) <= _time(now["finished"])
        if older and locked and finished:
            older = _is_ancestor(root, locked.name, finished.name)
        verdict = "before" if older else "together"
    form = last.get("format", 1) if last else 0
    return Age(path, form, verdict, locked, finished, len(last.get("attempts", ())))


def _grows(records: list[Record]) -> bool:
    """Whether all versions, of which the last is that on file, have one prediction, outcome and list of attempts."""
    if not all(records):
        return False
    outcomes = {_digest([record["outcome"], record["finished"]]) for record in records if "outcome" in record}
    attempts = [record.get("attempts", []) for record in records]
    return (
        len({record["sha256"] for record in records}) == 1
        and len(outcomes) == ("outcome" in records[-1])
        and all(one == attempts[-1][: len(one)] for one in attempts)
    )


def _version(content: bytes) -> Record | None:
    """The record that a file held, an empty one if it does not match its hashes, or None if it is no record."""
    try:
        found: Any = json.loads(content)
        if not isinstance(found, dict) or not {"prediction", "sha256"} <= set(found):
            return None
        return _parsed(content.decode())
    except (ValueError, RecursionError):
        return {}


def _committed(root: Path, path: Path) -> dict[Path, list[tuple[Commit, bytes]]]:
    """The content of each JSON file at or below a path in each commit that changed it, parents before children."""
    if _git(root, "rev-parse", "--verify", "--quiet", "HEAD") is None:
        return {}  # no commit yet
    how = ("--full-history", "--topo-order", "--reverse", "-m", "--raw", "--no-abbrev", "--no-renames", "-z")
    log = _git(root, "log", *how, "--format=%x01%H %cI", "HEAD", "--", f":(literal){path.relative_to(root.resolve())}")
    found: dict[Path, list[tuple[Commit, bytes]]] = {}
    commit = Commit("", "")
    for entry in ENTRY.finditer(log or b""):
        if entry["commit"]:
            commit = Commit(entry["commit"].decode(), entry["time"].decode())
        elif entry["blob"].strip(b"0") and entry["path"].endswith(b".json"):
            name = root.resolve() / entry["path"].decode(errors="surrogateescape")
            found.setdefault(name, []).append((commit, entry["blob"]))
    contents = _contents(root, [blob for versions in found.values() for _, blob in versions])
    return {name: [(commit, contents[blob]) for commit, blob in versions] for name, versions in found.items()}


def _contents(root: Path, blobs: list[bytes]) -> dict[bytes, bytes]:
    """The content of objects by their names."""
    answer = io.BytesIO(_git(root, "cat-file", "--batch", feed=b"".join(blob + b"\n" for blob in blobs)) or b"")
    found = {}
    for blob in blobs:
        size = int(answer.readline().split()[2])
        found[blob] = answer.read(size)
        answer.readline()
    return found


@cache
def _is_ancestor(root: Path, first: str, second: str) -> bool:
    return first != second and _git(root, "merge-base", "--is-ancestor", first, second) is not None


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _git(place: Path, *arguments: str, feed: bytes = b"") -> bytes | None:
    """What git answers, or None if it fails or is not there."""
    try:
        done = subprocess.run(["git", "-C", str(place), *arguments], input=feed, capture_output=True, check=False)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None
