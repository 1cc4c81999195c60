"""The command ``locks``."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from lambda_star.cli._output import as_failure, json_option, print_table, write_json
from lambda_star.cliff.history import Age, Commit, ages

__all__ = ["locks"]

COLUMNS: dict[str, Callable[[Age], Any]] = {
    "record": lambda age: str(age.path),
    "verdict": lambda age: age.verdict,
    "locked in": lambda age: _cell(age.locked),
    "outcome in": lambda age: _cell(age.finished),
    "attempts": lambda age: age.attempts,
}


@click.command(short_help="Check that predictions were committed before their outcomes.")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@json_option()
def locks(paths: tuple[Path, ...], json_path: Path | None) -> None:
    """Check in git's history that each locked prediction was committed before its outcome.

    PATHS are records, or folders of them; by default the folder results. All commits up to the one that is checked out
    are looked at. Records of the first format, whose predictions were committed with their outcomes, are only counted.

    \b
    before     committed without an outcome, before there was one
    together   the first commit that has the prediction has the outcome too, or is dated after it
    waiting    committed, and there is no outcome yet
    changed    prediction, attempts or outcome differ from those in an earlier commit
    untracked  in no commit
    removed    in an earlier commit, and no longer there
    unknown    git is missing, or has only a part of the history: `git fetch --unshallow`

    The exit status is 0 if every prediction was committed before its outcome, 1 if one was not or is in no commit, 2
    for an error, and 3 if that is unknown. docs/cliff.md says what this proves.

    \b
    Examples:
      lambda-star locks
      lambda-star locks mine/short-6.json
    """  # noqa: D301 (click wants the character \b)
    with as_failure(OSError, ValueError):
        found = ages(paths or [Path("results")])
        if not found:
            raise ValueError(f"PATHS must hold records, got none in {', '.join(map(str, paths)) or 'results'}")
    first, later = ([age for age in found if (age.format == 1) == wanted] for wanted in (True, False))
    for title, removed in (("Locked predictions", False), ("Removed since they were locked", True)):
        if rows := [age for age in later if (age.verdict == "removed") == removed]:
            print_table(title, rows, COLUMNS)
            click.echo(_counted(rows))
    if first:
        click.echo(f"\nfirst format, not judged: {_counted(first)}")
    write_json(json_path, "locks", {"records": [{**age._asdict(), "path": str(age.path)} for age in found]})
    sys.exit(_status(found, later))


def _status(found: Sequence[Age], judged: Sequence[Age]) -> int:
    if any(age.verdict == "unknown" for age in found):
        return 3
    return int(any(age.verdict in {"together", "changed", "untracked"} for age in judged))


def _counted(rows: Sequence[Age]) -> str:
    counts = ", ".join(f"{count} {verdict}" for verdict, count in Counter(age.verdict for age in rows).items())
    return f"{len(rows)} record{'s' * (len(rows) > 1)}: {counts}"


def _cell(commit: Commit | None) -> str:
    return f"{commit.name[:10]} {commit.time[:16].replace('T', ' ')}" if commit else ""
