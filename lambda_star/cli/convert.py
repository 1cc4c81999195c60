"""The command ``convert``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lambda_star._core.text import shown
from lambda_star.cli._files import forced, writable
from lambda_star.cli._output import (
    CONTRACT_HELP,
    as_failure,
    contract_option,
    input_options,
    json_option,
    output_option,
    with_flags,
    write_json,
)

if TYPE_CHECKING:
    from lambda_star.calibration.table import Problem, Table
    from lambda_star.contract import Contract

__all__ = ["convert"]

OUT_HELP = "Table to write: .parquet, .arrow, .csv, .tsv or .jsonl, text also with .gz or .zst."

CLASSES_HELP = CONTRACT_HELP + " The table then has the contract class of every position in its column contract."

PRINTED, KEPT = 5, 1000
"""How many problems are printed, and how many stand in the JSON file."""


@click.command(short_help="Write what engines returned as a plain table.")
@input_options
@output_option("--out", kind="table", required=True, help=OUT_HELP)
@contract_option(help=CLASSES_HELP)
@json_option()
def convert(
    files: tuple[Path, ...],
    teacher: Path | None,
    base: Path | None,
    out: Path,
    contract: Contract | None,
    keep_going: bool,
    json_path: Path | None,
) -> None:
    """Write what engines returned as a plain table: the rows that `calibrate` reads, one for each position.

    FILES hold the answers of both models in each record, or are plain tables, which become one. With --teacher and
    --base each file holds the answers of one model. The formats are those of vLLM, SGLang, llama.cpp and of
    OpenAI-compatible servers; docs/engines.md says what to ask each of them for.

    \b
    Examples:
      lambda-star convert --teacher teacher.jsonl --base base.jsonl --contract json --out rows.parquet
      lambda-star convert parts/*.csv --out rows.parquet

    A number that a file only bounds stands in the columns log_b_low and log_b_high, or log_p_low and log_p_high. What
    does not match is an error with its file and line; --keep-going leaves it out and lists it.
    """  # noqa: D301 (click wants the character \b)
    with as_failure(ValueError, ImportError):
        from lambda_star.calibration.contracts import classified
        from lambda_star.calibration.readers import stream
        from lambda_star.calibration.writers import table_writer, write_table

        table_writer(out)
        found = _Found()
        tables: Iterable[Table] = stream(files, teacher=teacher, base=base, keep_going=keep_going)
        if contract is not None:
            tables = classified(tables, contract)
        with writable(out):
            write_table(_read(found.counted(tables)), out, force=forced())
    _say(out, found)
    write_json(json_path, "convert", {"out": str(out), **found.payload()})


def _read(tables: Iterator[Table]) -> Iterator[Table]:
    """The tables; what cannot be read is no fault of the file that is written."""
    with as_failure(ValueError):
        yield from tables


@dataclass
class _Found:
    """What was read: the names of answers, by hash, the numbers of rows, and what was left out."""

    sources: dict[str, None] = field(default_factory=dict)
    answers: set[int] = field(default_factory=set)
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("positions", "contract", "censored"), 0))
    problems: list[Problem] = field(default_factory=list)
    left_out: int = 0

    def counted(self, tables: Iterable[Table]) -> Iterator[Table]:
        """Yield the tables that have rows, and count what they hold."""
        for table in tables:
            named = table.named_problems()
            self.problems += named[: KEPT - len(self.problems)]
            self.left_out += len(named)
            if not len(table):
                continue
            self.sources[table.source] = None
            self.answers |= {hash(name) for name in set(table.sequence)}
            inside = 0 if table.contract is None else sum(map(bool, table.contract))
            censored = int((table.ends("log_b")[0] == -float("inf")).sum())
            for name, count in zip(self.counts, (len(table), inside, censored), strict=True):
                self.counts[name] += count
            yield table

    def payload(self) -> dict[str, Any]:
        """What the JSON file says."""
        problems = [problem._asdict() for problem in self.problems]
        counts = {"answers": len(self.answers), **self.counts, "left_out": self.left_out}
        return {"sources": [*self.sources], **counts, "problems": problems}


def _say(out: Path, found: _Found) -> None:
    counts = found.counts
    inside = f", {counts['contract']} of them in the contract" if counts["contract"] else ""
    click.echo(f"wrote {shown(str(out))}: {counts['positions']} positions of {len(found.answers)} answers{inside}")
    for source in found.sources:
        click.echo(f"  from {shown(source)}")
    if counts["censored"]:
        click.echo(f"  at {counts['censored']} positions the base does not list the teacher's token, so b is bounded")
    for problem in found.problems[:PRINTED]:
        click.echo(f"  {shown(problem.place(''))}: {with_flags(shown(problem.message))}")
    if found.left_out > PRINTED:
        click.echo(f"  and {found.left_out - PRINTED} more problems; --json lists up to {KEPT}")
