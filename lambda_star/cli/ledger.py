"""The command ``ledger``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from lambda_star.cli._output import as_failure, json_option, plot_option, print_table, write, write_json
from lambda_star.ledger import STANDINGS, Entry, judge, read

__all__ = ["ledger"]

COLUMNS: dict[str, Any] = {
    "claim": lambda entry: entry.claim.id,
    "by": lambda entry: entry.claim.by,
    "known": lambda entry: entry.claim.known,
    "claimed": lambda entry: entry.claimed,
    "found": lambda entry: entry.numbers,
    "what is claimed": lambda entry: entry.claim.claim,
}


@click.command(short_help="Print what is claimed about lambda*, and how it stands.")
@click.argument("claims", nargs=-1)
@click.option("--standing", "standings", type=click.Choice(STANDINGS), multiple=True, help="Only these.")
@click.option("--by", "sources", multiple=True, metavar="NAME", help="Only claims of this source; repeat for more.")
@plot_option("plot_path", what="claims")
@json_option()
def ledger(
    claims: tuple[str, ...],
    standings: tuple[str, ...],
    sources: tuple[str, ...],
    plot_path: Path | None,
    json_path: Path | None,
) -> None:
    """Print every published claim about lambda* beside what this library finds, contradictions first.

    The claims are those of the paper, of other measurements, of what training codes cap, and of this project's own
    README. "Known" says how surely a claim is known: seen in the source's own text or code, reported by a reader of it,
    inferred, or ours. What is found is computed anew, from the library and, in a clone of the repository, from its
    results. CLAIMS are names from the first column; they are shown in full.

    The exit status is 0, or 1 if a claim stands otherwise than the ledger says, or 3 outside of a clone.

    \b
    Examples:
      lambda-star ledger
      lambda-star ledger paper-collapse
      lambda-star ledger --standing contradicts --by paper
    """  # noqa: D301 (click wants the character \b)
    with as_failure(OSError, ValueError):
        entries = _chosen(judge(read()), claims, standings, sources)
    if claims:
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
    rows = [((entry.claim.id, entry.standing, entry.claim.by), entry) for entry in entries]
    for place, (names, what) in enumerate(zip(wanted, ("CLAIMS", "--standing", "--by"), strict=True)):
        there = {key[place] for key, _ in rows}
        if place != 1 and (unknown := [name for name in names if name not in there]):
            raise ValueError(f"{what} must be one of {', '.join(sorted(there))}, got {unknown[0]!r}")
    return [
        entry for key, entry in rows if all(not names or one in names for one, names in zip(key, wanted, strict=True))
    ]


def _print_tables(entries: Sequence[Entry]) -> None:
    counts = Counter(entry.standing for entry in entries)
    for standing in counts:
        rows = [entry for entry in entries if entry.standing == standing]
        print_table(f"{standing.capitalize()}: {len(rows)}", rows, COLUMNS, prose="what is claimed")
    said = ", ".join(f"{name} {count}" for name, count in counts.items())
    click.echo(
        f"\n{len(entries)} claims: {said}. `lambda-star ledger CLAIM` shows one in full, and the command for it."
    )


def _print_whole(entry: Entry) -> None:
    claim = entry.claim
    rows = {
        "claimed": claim.claim,
        "by": f"{claim.title} {claim.url}".strip(),
        "known": claim.known,
        "stands": entry.standing,
        "found": entry.finding,
        "but": claim.limits,
        "shown by": claim.shows,
    }
    print_table(claim.id, [row for row in rows.items() if row[1]], wrap=True)


def _facts(entry: Entry) -> dict[str, Any]:
    facts = {
        name: getattr(entry.claim, name) for name in ("id", "claim", "by", "url", "known", "claimed", "limits", "shows")
    }
    return {**facts, "standing": entry.standing, "finding": entry.finding, "found": entry.found}


def _finish(entries: Sequence[Entry]) -> None:
    status = 0
    for entry in entries:
        if entry.standing != entry.claim.standing:
            status = 1
            click.echo(f"{entry.claim.id}: {entry.standing}, where the ledger says {entry.claim.standing}", err=True)
        if entry.missing:
            status = status or 3
            click.echo(
                f"{entry.claim.id}: not computed outside of a clone of the repository, {entry.missing}", err=True
            )
    click.get_current_context().exit(status)
