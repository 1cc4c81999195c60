"""How claims stand: their numbers computed, compared with what is claimed, and shown."""

from __future__ import annotations

import math
import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lambda_star._core.text import number
from lambda_star.ledger.checks import compute
from lambda_star.ledger.claims import STANDINGS, Claim, holds

__all__ = ["Entry", "judge", "markdown"]


@dataclass(frozen=True)
class Entry:
    """A claim beside what the library finds.

    Attributes:
        claim: the claim.
        found: its numbers, empty where ``missing`` says which file is not at hand.
        standing: how it stands: computed from the numbers where some are claimed, else as the file says.
    """

    claim: Claim
    found: Mapping[str, Any] = field(default_factory=dict)
    standing: str = ""
    missing: str = ""

    @property
    def stale(self) -> bool:
        """Whether it stands otherwise than the file expects, so that the ledger is out of date."""
        return self.standing != self.claim.standing

    @property
    def finding(self) -> str:
        """What the library finds, one or more sentences with their numbers."""
        return self.filled(self.claim.finding)

    @property
    def numbers(self) -> str:
        """What was found of what is claimed."""
        return ", ".join(_shown(self.found.get(name, math.nan)) for name in self.claim.claimed)

    @property
    def printed(self) -> str:
        """What the command prints of it."""
        return self.filled(self.claim.prints)

    def filled(self, text: str) -> str:
        """Return a text with the numbers in place of their names in braces."""
        return _Filler().vformat(text, (), self.found if not self.missing else _Unknown())


class _Unknown(dict[str, Any]):
    def __missing__(self, name: str) -> float:
        return math.nan


class _Filler(string.Formatter):
    """A formatter that knows names alone, and writes an infinite λ as "never"."""

    def get_field(self, field_name: str, args: Any, kwargs: Any) -> Any:
        return kwargs[field_name], field_name

    def format_field(self, value: Any, format_spec: str) -> str:
        plain = isinstance(value, str | bool) or not math.isfinite(value) or not format_spec
        return _shown(value) if plain else format(value, format_spec)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else "never" if value == math.inf else number(value)


def judge(claims: Iterable[Claim], root: str | Path = ".") -> tuple[Entry, ...]:
    """Compute the numbers of claims, and how the claims stand.

    Where numbers are claimed, a claim contradicts if one of those found lies outside, and else it agrees; it is only
    consistent if it says what agreement of the numbers leaves open. Other claims stand as the file says.

    Args:
        claims: what :func:`read` returns, or some of it.
        root: the folder of a clone of the repository, for figures out of its results.

    Returns:
        The entries, contradictions first. An entry whose files are not there stands as the file says, and its
        ``missing`` names one.

    Raises:
        ValueError: a claim names a function that is not there, or arguments out of range.

    >>> from lambda_star.ledger import read
    >>> (entry,) = judge(claim for claim in read() if claim.id == "paper-marker")
    >>> entry.standing, entry.stale
    ('consistent', False)
    """
    entries = [_entry(claim, Path(root)) for claim in claims]
    return tuple(sorted(entries, key=lambda entry: STANDINGS.index(entry.standing)))


def _entry(claim: Claim, root: Path) -> Entry:
    try:
        found = compute(claim.values, root)
    except OSError as error:
        return Entry(claim, {}, claim.standing, str(error))
    if not claim.claimed:
        return Entry(claim, found, claim.standing)
    inside = all(holds(text, found[name], found) for name, text in claim.claimed.items())
    return Entry(claim, found, ("consistent" if claim.limits else "agrees") if inside else "contradicts")


def markdown(entries: Iterable[Entry]) -> str:
    """Return entries as tables in Markdown, one for each standing.

    Args:
        entries: what :func:`judge` returns.

    Returns:
        The text, without a last line break.

    >>> from lambda_star.ledger import read
    >>> print(markdown(judge(read()[:1])).splitlines()[0][:3])
    ###
    """
    entries, parts = list(entries), []
    for standing in STANDINGS:
        rows = [entry for entry in entries if entry.standing == standing]
        if rows:
            head = [f"### {standing[:1].upper()}{standing[1:]}: {len(rows)}", "", *HEAD]
            parts.append("\n".join([*head, *map(_row, rows)]))
    return "\n\n".join(parts)


HEAD = ("| claim | by, known | what the library finds | command |", "| --- | --- | --- | --- |")


def _row(entry: Entry) -> str:
    claim, source = entry.claim, entry.claim.source
    by = f"[{source.title}]({source.url})" if source.url else source.title
    said = " ".join(filter(None, (entry.finding, claim.limits)))
    cells = (claim.claim, f"{by}, {claim.known}", said, f"`{claim.shows}`")
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
