"""Warnings about measured data: what makes the λ* of a report mean less than it seems to, each with its remedy."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from lambda_star._core.text import counted, named, number, percent

if TYPE_CHECKING:
    from lambda_star.calibration.report import Report

__all__ = ["Concern", "concerns"]

UNSURE = 0.1
"""The mean tail mass of a class from which on its teacher is not near-deterministic.

Where the teacher gives a tenth or more to other tokens, several continuations are right there, and the modal token is
not what the contract demands.
"""

THICKENED = 0.5
"""The share of positions with p ≤ b from which on the roles are suspect.

A teacher that is worth extrapolating from is surer than its base at most positions of the contract.
"""

FLIPPED = 0.01
"""The share of positions whose modal token loses its majority between λ = 1 and the operating point.

One position in a hundred breaks about one answer in ten of ten contract positions, more than the advice allows for.
"""

APART = 10.0
"""How many times the excess λ*−1 of the binding class is that of the strictest position where the two lie far apart.

A margin gives up a tenth of the excess; a factor of ten between two readings is what no margin covers.
"""

CENSORED = 0.05
"""The share of the operating point's excess over 1 that unlisted probabilities leave open from which on they decide it.

It is half of the excess that the default margin gives up, so that the interval is no longer hidden in the margin.
"""


class Concern(NamedTuple):
    """A warning: what it is called, what is seen, and what to do."""

    name: str
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy}."


def concerns(report: Report) -> tuple[Concern, ...]:
    """Return the warnings that a report gives rise to, the gravest first; its own ``warnings`` are not read.

    Source: extension; the module's constants say from where on each warning holds, and why.

    >>> from lambda_star import calibrate, read_table
    >>> concerns(calibrate(read_table("examples/rank_by_price/logprobs.csv")))
    ()
    """
    return tuple(_found(report))


def _found(report: Report) -> Iterator[Concern]:
    if report.fit and report.fit.remedy:
        yield Concern("contract", *_split(report.fit.remedy))
    yield from _few(report)
    yield from _censored(report)
    yield from _thickened(report)
    yield from _unsure(report)
    yield from _flipped(report)
    yield from _apart(report)
    if report.rounded:
        found = f"{counted(report.rounded, 'row')} with p = 1 (log_p = 0), of which λ* is an upper bound"
        yield Concern("rounded", found, "log more digits")


def _split(sentence: str) -> tuple[str, str]:
    found, _, remedy = sentence.partition("; ")
    return found, remedy.rstrip(".")


def _few(report: Report) -> Iterator[Concern]:
    limit = report.advised
    if not math.isnan(limit.value):
        return
    if math.isinf(limit.needed):
        remedy = f"ask for a `quantile` of at least {limit.level:.2g}"
        yield Concern("few answers", "no number of answers shows the least λ* of all", remedy)
        return
    found = f"{counted(limit.answers, 'answer')} cannot show the {percent(limit.quantile)} quantile"
    found += f", which takes {limit.needed:g}"
    remedy = (
        f"score {counted(limit.needed - limit.answers, 'answer')} more, or ask for the {percent(limit.level)} quantile"
    )
    yield Concern("few answers", found, remedy)


def _censored(report: Report) -> Iterator[Concern]:
    point = report.operating_point
    if not report.censored or math.isnan(point.value) or point.at_most == point.value:
        return
    if point.at_most < math.inf and point.at_most - point.value < CENSORED * (point.at_most - 1):
        return
    found = (
        f"the base does not list the teacher's modal token in {counted(report.censored, 'row')}, which leaves the "
        f"operating point between {number(point.value)} and {number(point.at_most)}"
    )
    remedy = "ask the engine for more top log-probabilities of the base, or say with `least_b` what it gives at least"
    yield Concern("censored", found, remedy)


def _thickened(report: Report) -> Iterator[Concern]:
    share = 1 - report.by_position.share_below(math.inf)
    if report.binding.value == math.inf:
        found = "the teacher is no surer than the base (p ≤ b) in every class, so that no class binds"
    elif share >= THICKENED:
        found = f"the teacher is no surer than the base (p ≤ b) at {percent(share)} of the positions"
    else:
        return
    yield Concern(
        "p ≤ b", found, "check that teacher and base are not swapped, and that the base is the student's start"
    )


def _unsure(report: Report) -> Iterator[Concern]:
    binding = report.binding
    if binding.tail < UNSURE or binding.value == math.inf:
        return
    found = (
        f"the teacher is not near-deterministic at the binding class {named(binding.name)}: it gives "
        f"{percent(binding.tail)} to other tokens"
    )
    remedy = (
        "see in the readings which tokens these are, and name finer classes in a `contract` column if some are valid"
    )
    yield Concern("unsure teacher", found, remedy)


def _flipped(report: Report) -> Iterator[Concern]:
    binding, point = report.binding, report.operating_point.value
    if binding.flip_point < binding.value:
        found = f"the modal token of the binding class {named(binding.name)} loses its majority before its λ*"
        yield Concern(
            "flip", f"{found}, at {number(binding.flip_point)}", "stay below that λ, or rehearse the λ that you want"
        )
        return
    share = 0.0 if math.isnan(point) else report.share_flipped(point) - report.share_flipped(math.nextafter(1, 2))
    if share >= FLIPPED:
        found = f"the modal token loses its majority at {percent(share)} of the positions before the operating point"
        yield Concern("flip", found, "rehearse the λ that you want, and see whether answers break")


def _apart(report: Report) -> Iterator[Concern]:
    at, binding = report.strict_at, report.binding
    if report.censored or math.isinf(binding.value) or binding.value - 1 < APART * (report.strict - 1):
        return  # where b is only bounded, the strict λ* is that of a bound
    found = (
        f"λ* of the strictest position ({number(report.strict)}: answer {named(at.sequence)}, position {at.position}) "
        f"lies far below that of the binding class ({number(binding.value)}), a mean that a few thick tails decide"
    )
    yield Concern("far apart", found, "go by the operating point, and look at the worst positions")
