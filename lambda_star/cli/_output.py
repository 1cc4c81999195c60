"""What the commands share: options, failures, tables, files that are written."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import click

__all__ = ["Failure", "number", "print_table", "write"]

CLIP_HELP = "The cap c on (1-p)/(1-q): how many times smaller than the teacher's the student's tail mass may become."


PROBABILITY = click.FloatRange(0, 1, min_open=True, max_open=True)


SHARE = click.FloatRange(0, 1, max_open=True)


FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


CLIP_NOTE = """\
What CLIP means: the theory's c bounds how many times smaller the student's tail mass may become than the teacher's.
The clips of verl (2), TRL GRPO (3) and G-OPD (5) bound another ratio, training engine to rollout engine, and PPO's
epsilon is no cap on a ratio at all: copy such a number only if you know that it bounds the tail ratio in your code.
"""


class Failure(click.ClickException):
    """An error with its remedy: one message, no traceback, exit code 2."""

    exit_code = 2


def write(path: Path, write: Callable[[], object]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write()
    except (OSError, ValueError) as error:  # ValueError: matplotlib does not know the ending
        raise Failure(f"{path}: {error}; give a path that can be written") from error
    click.echo(f"wrote {path}")


def print_table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", show_header=any(heads), box=None, pad_edge=False)
    for index, head in enumerate(heads):
        table.add_column(head, justify="right" if index and any(heads) else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    click.echo()
    # Wide, so that a table loses no figure to a narrow terminal or a pipe; it takes the width it needs.
    Console(highlight=False, width=100_000).print(table)


def number(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return "+inf" if value == math.inf else f"{value:.6g}"
