"""How claims stand: their numbers computed, compared with what is claimed, and shown."""

from __future__ import annotations

import math
import re
import string
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lambda_star._core.text import number
from lambda_star.ledger.checks import compute
from lambda_star.ledger.claims import STANDINGS, Claim, holds

__all__ = ["Entry", "judge"]


class Entry(NamedTuple):
    """A claim beside what the library finds.

    Attributes:
        claim: the claim.
        found: its numbers by name; empty where files are missing.
        standing: how it stands: computed from the numbers where some are claimed, else as the file says.
        missing: why the numbers could not be computed, empty if they were.
    """

    claim: Claim
    found: Mapping[str, Any]
    standing: str
    missing: str = ""

    @property
    def finding(self) -> str:
        """What the library finds, with its numbers."""
        return self.filled(self.claim.finding)

    @property
    def claimed(self) -> str:
        """What is claimed of numbers."""
        named = re.compile(r"(?:^|(?<= ))=(\w+)")  # a value that is computed too, not the equals sign of an argument
        texts = self.claim.claimed.items()
        return _listed({name: named.sub(lambda at: self.filled(f"{{{at[1]}}}"), text) for name, text in texts})

    @property
    def numbers(self) -> str:
        """What was found of what is claimed."""
        return _listed({name: self.filled(f"{{{name}}}") for name in self.claim.claimed})

    def filled(self, text: str) -> str:
        """Return a text with the numbers in place of their names in braces."""
        return _Filler().vformat(text, (), defaultdict(lambda: math.nan) if self.missing else self.found)


def _listed(texts: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {text}" if len(texts) > 1 else text for name, text in texts.items())


class _Filler(string.Formatter):
    """A formatter that knows names alone, and writes an infinite λ as "never"."""

    def get_field(self, field_name: str, args: Any, kwargs: Any) -> Any:
        return kwargs[field_name], field_name

    def format_field(self, value: Any, format_spec: str) -> str:
        if isinstance(value, str | bool):
            return value if isinstance(value, str) else "yes" if value else "no"
        if math.isfinite(value) and format_spec:
            return format(value, format_spec)
        return "never" if value == math.inf else number(value)


def judge(claims: Iterable[Claim], root: str | Path = ".") -> tuple[Entry, ...]:
    """Compute the numbers of claims, and how the claims stand.

    Where numbers are claimed, a claim contradicts if one of those found lies outside, and else it agrees; it is only
    consistent if it says what agreement of the numbers leaves open. Other claims stand as the file says.

    Args:
        claims: what :func:`read` returns, or some of it.
        root: the folder of a clone of the repository, for figures out of its results.

    Returns:
        The entries, contradictions first.

    Raises:
        ValueError: a claim names a function that is not there, or arguments out of range.

    >>> from lambda_star.ledger import read
    >>> (entry,) = judge(claim for claim in read() if claim.id == "paper-marker")
    >>> entry.standing, entry.numbers
    ('consistent', '0.999337')
    """
    entries = [_entry(claim, Path(root).resolve()) for claim in claims]  # what is kept of files has whole paths
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
