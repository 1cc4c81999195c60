"""What is claimed: the file of claims, and when a number that was found lies within a claimed one."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["KNOWN", "STANDINGS", "Claim", "Source", "holds", "interval", "read"]

STANDINGS = ("contradicts", "agrees", "consistent", "out of reach")
"""How a claim may stand beside the library, in the order in which a ledger shows them."""

KNOWN = {
    "seen": "read in the source's own text or code",
    "reported": "told by a reader of the source",
    "inferred": "follows from what was seen or reported",
    "ours": "claimed by this project",
}
"""How surely it is known that something was claimed."""

FILE = Path(__file__).with_name("claims.yaml")


class Source(NamedTuple):
    """Who claims: a short ``name``, the ``title``, and the address ``url``, empty for this project."""

    name: str
    title: str
    url: str = ""


@dataclass(frozen=True)
class Claim:
    """One claim.

    Attributes:
        id: its name.
        source: who makes it.
        known: a key of ``KNOWN``.
        claim: what is claimed, one sentence.
        standing: how the file expects it to stand, one of ``STANDINGS``.
        finding: what the library finds, with names of ``values`` in braces.
        shows: the command that shows it, empty where nothing does; ``costly`` says that it takes more than seconds.
        values: the numbers that are found, each a name with one function of ``checks`` and its arguments.
        claimed: what is claimed of some of them, as text, so that it keeps its digits.
        limits: why agreement of the numbers would not yet be agreement with the claim.
        prints: what the command prints of it, with names of ``values`` in braces.
        quote: fragments of this project's README that make the claim.
        unit: "λ" if what is claimed is a λ.
    """

    id: str
    source: Source
    known: str
    claim: str
    standing: str
    finding: str
    shows: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    claimed: Mapping[str, str] = field(default_factory=dict)
    limits: str = ""
    prints: str = ""
    quote: Sequence[str] = ()
    unit: str = ""
    costly: bool = False


def read(path: str | Path = FILE) -> tuple[Claim, ...]:
    """Return the claims of a file, in its order.

    Args:
        path: a YAML file with ``sources`` and ``claims``; by default the one of this project.

    Returns:
        The claims.

    Raises:
        ValueError: the file is not of that form; the message names the claim and its fault.
        OSError: the file cannot be read.

    >>> next(claim.claim for claim in read() if claim.id == "paper-marker")
    'At b = 1/2 and c = 5 the base-neutral marker is λ* = 1.22.'
    """
    import yaml

    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        sources = {name: Source(name, **said) for name, said in data["sources"].items()}
        rows = [dict(row) for row in data["claims"]]
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path} must hold sources and claims as YAML, got {error!r}") from error
    claims = tuple(_claim(path, row, sources) for row in rows)
    names = [claim.id for claim in claims]
    if double := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"{path} must name every claim once, got {double!r} twice")
    return claims


def _claim(path: str | Path, row: dict[str, Any], sources: Mapping[str, Source]) -> Claim:
    said = f"{path}, claim {row.get('id', '?')!r}:"
    by = row.pop("by", None)
    known = {each.name for each in fields(Claim)}
    for name, value, allowed in (
        ("by", by, sources),
        ("known", row.get("known"), KNOWN),
        ("standing", row.get("standing"), STANDINGS),
        *(("a field", name, known) for name in row),
    ):
        if value not in allowed:
            raise ValueError(f"{said} {name} must be one of {', '.join(sorted(allowed))}, got {value!r}")
    try:
        claim = Claim(source=sources[str(by)], **row)
    except TypeError as error:
        raise ValueError(f"{said} {error}") from error
    for name, text in claim.claimed.items():
        if name not in claim.values or not isinstance(text, str):
            raise ValueError(f"{said} claimed must say of a name of values what is claimed, as text, got {name!r}")
    return claim


NUMBER = r"(-?\d+(?:\.\d+)?(?:e-?\d+)?)( ?%)?"
BETWEEN = re.compile(rf"{NUMBER} to {NUMBER}")
BOUND = re.compile(rf"(at most|at least|below|above) {NUMBER}")
ROUNDED = re.compile(NUMBER)
LOOSE = 1e-9
"""Decimals such as 1.215 are not floats."""


def holds(claimed: str, found: Any, others: Mapping[str, Any] | None = None) -> bool:
    """Return whether what was found is what was claimed.

    Args:
        claimed: a number, which stands for all that round to it, so that 1.22 is 1.215 to 1.225; an interval "1.18 to
            1.28"; a bound "at least", "at most", "above" or "below" before a number; "never" for infinity; "yes" or
            "no"; or a text. "=name" stands for another value.
        found: the number or text that was found.
        others: what else was found, by name.

    Returns:
        True or False; False for NaN.

    Raises:
        ValueError: a text is claimed of a number.

    >>> holds("1.22", 1.2199), holds("1.22", 1.23), holds("4.2 %", 0.0421), holds("above 1.25", 1.25)
    (True, False, True, False)
    >>> holds("never", float("inf")), holds("none()", "none()"), holds("above =star", 1.6, {"star": 1.5})
    (True, True, True)
    """
    if isinstance(found, str | bool):
        return claimed == (found if isinstance(found, str) else "yes" if found else "no")
    word, _, name = claimed.rpartition("=")
    if name != claimed:
        other = float((others or {})[name])
        return _bounded(word.strip(), found, other) if word else math.isclose(found, other, rel_tol=LOOSE)
    if bound := BOUND.fullmatch(claimed):
        return _bounded(bound[1], found, _value(bound[2], bound[3]))
    if (ends := interval(claimed)) is None:
        raise ValueError(f"claimed must be a number, an interval or a bound beside {found!r}, got {claimed!r}")
    return ends[0] <= found <= ends[1]


def interval(claimed: str) -> tuple[float, float] | None:
    """Return the least and the greatest number that a claimed number, interval or bound admits; None for a text."""
    if claimed == "never":
        return math.inf, math.inf
    if both := BETWEEN.fullmatch(claimed):
        return _value(both[1], both[2]), _value(both[3], both[4])
    if bound := BOUND.fullmatch(claimed):
        value = _value(bound[2], bound[3])
        return (-math.inf, value) if bound[1] in {"at most", "below"} else (value, math.inf)
    if one := ROUNDED.fullmatch(claimed):
        digits, _, exponent = one[1].partition("e")
        half = _value(f"0.5e{int(exponent or 0) - len(digits.partition('.')[2])}", one[2]) * (1 + LOOSE)
        value = _value(one[1], one[2])
        return value - half, value + half
    return None


def _bounded(word: str, found: float, limit: float) -> bool:
    return bool(
        {"at most": found <= limit, "at least": found >= limit, "below": found < limit}.get(word, found > limit)
    )


def _value(digits: str, percent: str | None) -> float:
    return float(digits) * (0.01 if percent else 1)
