"""The row of a table that two models' numbers for one position give, exact or as an interval."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from lambda_star.calibration.readers.rounding import Digits
from lambda_star.calibration.readers.steps import PLACEHOLDER, Entry, Step, is_telling
from lambda_star.calibration.table import Top

__all__ = ["Position", "position"]

HALF = math.log(0.5)

SLACK = 1e-6
"""What engines' float32 numbers may miss of a sum of probabilities."""

UNKNOWN = """\
the teacher's most probable token is not listed: the token that stands there has probability {:.3g} alone; score the \
answer with more listed tokens (`prompt_logprobs`, `top_logprobs` or `top_logprobs_num` of at least 1)"""


class Position(NamedTuple):
    """The numbers of one position: log p and log b of the teacher's modal token, each with its ends."""

    token: str
    modal: str
    log_p: float
    log_b: float
    log_p_low: float
    log_p_high: float
    log_b_low: float
    log_b_high: float
    top: Top | None


def position(teacher: Step, base: Step, digits: Digits, base_digits: Digits) -> Position:
    """Return what two models say about the teacher's modal token at one position, with how their numbers were rounded.

    If the base does not list the modal token, ``log_b`` is the greatest value that the listed tokens leave, and
    ``log_b_low`` is -inf. It is a ``ValueError`` if the teacher's modal token, or its number, is not known.

    Source: extension. The unlisted tokens share what the listed ones leave of 1, and none of them has more than the
    least of the most probable ones.

    >>> teacher = Step("[", 28, math.log(0.1), (Entry("{", 9, math.log(0.8)), Entry("[", 28, math.log(0.1))))
    >>> base = Step("[", 28, math.log(0.7), (Entry("[", 28, math.log(0.7)), Entry("(", 4, math.log(0.2))))
    >>> found = position(teacher, base, Digits(), Digits())
    >>> found.modal, round(math.exp(found.log_b), 6), found.log_b_low
    ('{', 0.100001, -inf)
    """
    ours, theirs = _tables(teacher, base)
    best, tied = _modal(teacher, ours, digits)
    log_p = ours[best].log
    half = digits.half(log_p)
    known = [_base_ends(theirs.get(key), base, base_digits) for key in tied]
    low, high = min(low for _, low, _ in known), max(high for _, _, high in known)
    log_b = known[0][0] if len(tied) == 1 else high
    exact = len(tied) == 1 and best in theirs
    return Position(
        token=_text(teacher, base),
        modal=_text(ours[best], theirs.get(best, ours[best])),
        log_p=log_p,
        log_b=log_b,
        log_p_low=log_p - half,
        log_p_high=min(log_p + half, 0.0),
        log_b_low=low,
        log_b_high=high,
        top=_top(ours, theirs, best) if exact else None,
    )


def _tables(teacher: Step, base: Step) -> tuple[dict[Any, Entry], dict[Any, Entry]]:
    """The tokens of both lists by what tells them apart: ids, or else bytes, or else texts that only one token has."""
    ours, theirs = teacher.entries(), base.entries()
    everything = [*ours, *theirs]
    if all(entry.id is not None for entry in everything):
        return {entry.id: entry for entry in ours}, {entry.id: entry for entry in theirs}
    if all(entry.raw is not None for entry in everything):
        return {entry.raw: entry for entry in ours}, {entry.raw: entry for entry in theirs}
    return _by_text(ours, 0), _by_text(theirs, 1)


def _by_text(entries: list[Entry], side: int) -> dict[Any, Entry]:
    """Tokens by text; one whose text others may have too gets a key of its own, which the other list cannot have."""
    texts = [entry.text for entry in entries]
    return {
        (entry.text if texts.count(entry.text) == 1 and not _ambiguous(entry) else (side, place)): entry
        for place, entry in enumerate(entries)
    }


def _ambiguous(entry: Entry) -> bool:
    return not is_telling(entry.text) or entry.text.startswith(PLACEHOLDER)


def _modal(teacher: Step, listed: dict[Any, Entry], digits: Digits) -> tuple[Any, list[Any]]:
    """The key of the teacher's modal token, and of all that may be it within rounding."""
    if not listed:
        raise ValueError(
            "there is no log-probability of the teacher; where a prompt is scored, score it one token earlier"
        )
    best = max(listed, key=lambda key: listed[key].log)
    log_p = listed[best].log
    if not teacher.top and log_p - digits.half(log_p) <= HALF:
        raise ValueError(UNKNOWN.format(math.exp(log_p)))
    if isinstance(best, tuple):
        raise ValueError(
            f"the teacher's most probable token {listed[best].text!r} has neither id nor bytes; ask for them"
        )
    least = log_p - digits.half(log_p)
    return best, [key for key, entry in listed.items() if entry.log + digits.half(entry.log) >= least]


def _base_ends(entry: Entry | None, base: Step, digits: Digits) -> tuple[float, float, float]:
    """The number of the base for a token, and its ends; for a token that it does not list the greatest that is left."""
    if entry is not None:
        half = digits.half(entry.log)
        return entry.log, entry.log - half, min(entry.log + half, 0.0)
    listed = base.entries()
    if not listed:
        raise ValueError("there is no log-probability of the base; sample with `logprobs`")
    left = 1 - math.fsum(math.exp(one.log - digits.half(one.log)) for one in listed)
    bounds = [math.log(max(left, 0.0) + SLACK), 0.0]
    if base.top:
        least = min(one.log for one in base.top)
        bounds.append(least + digits.half(least))
    return min(bounds), -math.inf, min(bounds)


def _text(one: Entry | Step, other: Entry | Step) -> str:
    """The text of a token, from whichever list has it."""
    found = next((each.text for each in (one, other) if not each.text.startswith(PLACEHOLDER)), None)
    if found is None:
        raise ValueError(f"there is no text of the token {one.id}; ask the engine for texts beside the ids")
    return found


def _top(ours: dict[Any, Entry], theirs: dict[Any, Entry], best: Any) -> Top | None:
    """The tokens that both models list, the modal token first; None if there is but one."""
    keys = [best, *(key for key in ours if key in theirs and key != best)]
    log_p, log_b = (tuple(listed[key].log for key in keys) for listed in (ours, theirs))
    if len(keys) < 2 or any(math.fsum(map(math.exp, side)) > 1 + SLACK for side in (log_p, log_b)):
        return None
    try:
        texts = tuple(_text(ours[key], theirs[key]) for key in keys)
    except ValueError:
        return None
    return Top(texts, log_p, log_b)
