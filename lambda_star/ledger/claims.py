"""What is claimed: the file of claims, and when a number that was found lies within a claimed one."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

__all__ = ["KNOWN", "STANDINGS", "Claim", "holds", "interval", "read"]

STANDINGS = ("contradicts", "agrees", "consistent", "out of reach")
"""How a claim may stand beside the library, in the order in which a ledger shows them."""

KNOWN = ("seen", "reported", "inferred", "ours")
"""How surely a claim is known: seen in the source's own text or code, reported by a reader of it, inferred from that,
or made by this project.
"""

FILE = Path(__file__).with_name("claims.yaml")


@dataclass(frozen=True)
class Claim:
    """One claim.

    Attributes:
        id: its name.
        by: the source that makes it; ``title`` and ``url`` say which that is.
        known: ``seen``, ``reported``, ``inferred`` or ``ours``.
        claim: what is claimed, one sentence.
        standing: how the file expects it to stand, ``contradicts``, ``agrees``, ``consistent`` or ``out of reach``.
        finding: what the library finds, with names of ``values`` in braces.
        shows: the command that shows it, empty where nothing does; ``costly`` says that it takes more than seconds.
        prints: what that command prints of it, with names of ``values`` in braces.
        values: the numbers that are found: by name, one function of ``checks`` with its arguments.
        claimed: what is claimed of some of them, as text, so that it keeps its digits.
        lambdas: the names in ``claimed`` of numbers that are a λ.
        limits: why agreement of the numbers would not yet be agreement with the claim.
        quote: fragments of this project's README that make the claim.
    """

    id: str
    by: str
    known: str
    claim: str
    standing: str
    finding: str
    shows: str = ""
    prints: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    claimed: Mapping[str, str] = field(default_factory=dict)
    lambdas: Sequence[str] = ()
    limits: str = ""
    quote: Sequence[str] = ()
    costly: bool = False
    title: str = ""
    url: str = ""


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
        sources, claims = data["sources"], [dict(row) for row in data["claims"]]
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} must hold sources and claims as YAML, got {error!r}") from error
    names: set[str] = set()
    for row in claims:
        if fault := _fault(row, sources, names):
            raise ValueError(f"{path}, claim {row.get('id')!r}: {fault}")
        names.add(row["id"])
    return tuple(Claim(**row, **sources[row["by"]]) for row in claims)


def _fault(row: Mapping[str, Any], sources: Mapping[str, Any], before: set[str]) -> str:
    allowed = {"by": sources, "known": KNOWN, "standing": STANDINGS}
    for name, values in allowed.items():
        if row.get(name) not in values:
            return f"{name} must be one of {', '.join(values)}, got {row.get(name)!r}"
    if row.get("id") in before:
        return "id must name one claim, got a second one"
    known = {each.name for each in fields(Claim)} - {"title", "url"}
    if wrong := [*(row.keys() - known), *({"id", "claim", "finding"} - row.keys())]:
        return f"{', '.join(sorted(wrong))} must be there if it is one of {', '.join(sorted(known))}, and not else"
    texts = row.get("claimed", {})
    if not all(isinstance(text, str) and name in row["values"] for name, text in texts.items()):
        return f"claimed must say as text, in quotes, what is claimed of names in values, got {texts}"
    return ""


NUMBER = r"(-?\d+(?:\.\d+)?(?:e-?\d+)?)( ?%)?"
BETWEEN = re.compile(rf"{NUMBER} to {NUMBER}")
BOUND = re.compile(rf"(at most|at least|below|above) {NUMBER}")
LOOSE = 1e-9
"""Decimals such as 1.215 are not floats."""


def holds(claimed: str, found: Any, others: Mapping[str, Any] | None = None) -> bool:
    """Return whether what was found is what was claimed; NaN is not.

    A claimed number stands for all that round to it, so 1.22 is 1.215 to 1.225. It may also be an interval "1.18 to
    1.28", a bound "at least", "at most", "above" or "below" a number, "never" for infinity, "yes" or "no", or a text;
    "=name" stands for another value that was found.

    >>> holds("1.22", 1.2199), holds("1.22", 1.23), holds("4.2 %", 0.0421), holds("above 1.25", 1.25)
    (True, False, True, False)
    >>> holds("never", float("inf")), holds("none()", "none()"), holds("above =star", 1.6, {"star": 1.5})
    (True, True, True)
    """
    if isinstance(found, str | bool):
        return bool(claimed == (found if isinstance(found, str) else "yes" if found else "no"))
    word, _, name = claimed.rpartition("=")
    if name != claimed:
        other = float((others or {})[name])
        return _bounded(word.strip(), found, other) if word else math.isclose(found, other, rel_tol=LOOSE)
    if bound := BOUND.fullmatch(claimed):
        return _bounded(bound[1], found, _value(bound[2], bound[3]))
    low, high = interval(claimed)
    return bool(low <= found <= high)


def interval(claimed: str) -> tuple[float, float]:
    """Return the least and the greatest number that a claimed number, interval or bound admits."""
    if claimed == "never":
        return math.inf, math.inf
    if both := BETWEEN.fullmatch(claimed):
        return _value(both[1], both[2]), _value(both[3], both[4])
    if bound := BOUND.fullmatch(claimed):
        value = _value(bound[2], bound[3])
        return (-math.inf, value) if bound[1] in {"at most", "below"} else (value, math.inf)
    if one := re.fullmatch(NUMBER, claimed):
        digits, _, exponent = one[1].partition("e")
        half = _value(f"0.5e{int(exponent or 0) - len(digits.partition('.')[2])}", one[2]) * (1 + LOOSE)
        return _value(one[1], one[2]) - half, _value(one[1], one[2]) + half
    raise ValueError(f"claimed must be a number, an interval or a bound beside a number, got {claimed!r}")


def _bounded(word: str, found: float, limit: float) -> bool:
    return bool(
        {"at most": found <= limit, "at least": found >= limit, "below": found < limit}.get(word, found > limit)
    )


def _value(digits: str, percent: str | None) -> float:
    return float(digits) * (0.01 if percent else 1)
