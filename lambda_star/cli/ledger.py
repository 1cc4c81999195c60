"""The command ``ledger``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from lambda_star.cli._output import FOLDER, as_failure, json_option, plot_option, print_table, say, write, write_json
from lambda_star.ledger import STANDINGS, Entry, judge, markdown, read

__all__ = ["ledger"]

COLUMNS: dict[str, Any] = {
    "claim": lambda entry: entry.claim.id,
    "by": lambda entry: entry.claim.source.name,
    "known": lambda entry: entry.claim.known,
    "claimed": lambda entry: ", ".join(entry.claim.claimed.values()),
    "found": lambda entry: entry.numbers,
    "what is claimed": lambda entry: entry.claim.claim,
}


@click.command(short_help="Print what is claimed about lambda*, and how it stands.")
@click.argument("claims", nargs=-1)
@click.option(
    "--standing", "standings", type=click.Choice(STANDINGS), multiple=True, help="Only these; repeat for more."
)
@click.option("--by", "sources", multiple=True, metavar="NAME", help="Only claims of this source; repeat for more.")
@click.option("--root", type=FOLDER, default=".", help="A clone of the repository, whose results are read.")
@click.option("--markdown", "in_markdown", is_flag=True, help="Print whole entries as tables in Markdown.")
@plot_option("plot_path", what="claims")
@json_option()
def ledger(
    claims: tuple[str, ...],
    standings: tuple[str, ...],
    sources: tuple[str, ...],
    root: Path,
    in_markdown: bool,
    plot_path: Path | None,
    json_path: Path | None,
) -> None:
    """Print every published claim about lambda* beside what this library finds, contradictions first.

    The claims are those of the paper, of other measurements, of what training codes cap, and of this project's own
    README. "Known" says how surely a claim is known: seen in the source's own text or code, reported by a reader of it,
    inferred, or ours. What is found is computed anew each time, from the library or from the results of the repository.
    CLAIMS are names from the first column; they are shown in full.

    The exit status is 0, or 1 if a claim stands otherwise than the ledger says, or 3 if files of a clone are missing.

    \b
    Examples:
      lambda-star ledger
      lambda-star ledger paper-collapse
      lambda-star ledger --standing contradicts --by paper
    """  # noqa: D301 (click wants the character \b)
    with as_failure(OSError, ValueError):
        entries = _chosen(judge(read(), root), claims, standings, sources)
    if in_markdown:
        click.echo(markdown(entries))
    elif claims:
        for entry in entries:
            _print_whole(entry)
    else:
        _print_tables(entries)
    write_json(json_path, "ledger", {"claims": [_facts(entry) for entry in entries]})
    if plot_path:
        from lambda_star.plotting import plot_ledger

        write(plot_path, plot_ledger(entries))
    _finish(entries)


def _chosen(entries: Sequence[Entry], *wanted: Sequence[str]) -> list[Entry]:
    """Return the entries of these claims, standings and sources; an empty list asks for all."""
    for entry_names, names, what in (
        ({entry.claim.id for entry in entries}, wanted[0], "CLAIMS"),
        ({entry.claim.source.name for entry in entries}, wanted[2], "--by"),
    ):
        for name in names:
            if name not in entry_names:
                raise ValueError(f"{what} must be one of {', '.join(sorted(entry_names))}, got {name!r}")
    of = [lambda entry: entry.claim.id, lambda entry: entry.standing, lambda entry: entry.claim.source.name]
    return [
        entry
        for entry in entries
        if all(not names or get(entry) in names for names, get in zip(wanted, of, strict=True))
    ]


def _print_tables(entries: Sequence[Entry]) -> None:
    for standing in STANDINGS:
        rows = [entry for entry in entries if entry.standing == standing]
        if rows:
            print_table(f"{standing[:1].upper()}{standing[1:]}: {len(rows)}", rows, COLUMNS, prose="what is claimed")
    counts = Counter(entry.standing for entry in entries)
    said = ", ".join(f"{name} {counts[name]}" for name in STANDINGS if counts[name])
    say(
        f"\n{len(entries)} claims: {said}. `lambda-star ledger CLAIM` shows one in full, with the command that shows it."
    )


def _print_whole(entry: Entry) -> None:
    claim = entry.claim
    rows = {
        "claimed": claim.claim,
        "by": " ".join(filter(None, (claim.source.title, claim.source.url))),
        "known": claim.known,
        "stands": entry.standing,
        "found": entry.finding,
        "but": claim.limits,
        "shown by": claim.shows,
    }
    print_table(claim.id, [row for row in rows.items() if row[1]], wrap=True)


def _facts(entry: Entry) -> dict[str, Any]:
    claim = entry.claim
    facts = {name: getattr(claim, name) for name in ("id", "claim", "known", "claimed", "limits", "shows")}
    source = claim.source._asdict()
    return {**facts, "source": source, "standing": entry.standing, "finding": entry.finding, "found": entry.found}


def _finish(entries: Sequence[Entry]) -> None:
    for entry in entries:
        if entry.stale:
            click.echo(
                f"{entry.claim.id} stands as {entry.standing!r}, the ledger says {entry.claim.standing!r}", err=True
            )
        if entry.missing:
            click.echo(f"{entry.claim.id} was not computed: {entry.missing}; give a clone as --root", err=True)
    stale, missing = (any(getattr(entry, name) for entry in entries) for name in ("stale", "missing"))
    click.get_current_context().exit(1 if stale else 3 if missing else 0)
