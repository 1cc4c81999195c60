"""Whether λ* differs between two tables, such as those of two checkpoints or of two sets of prompts.

Answers are paired by their names where the tables share them. Everything here is an extension.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lambda_star._core.namespaces import Floats
from lambda_star._core.quantities import require
from lambda_star.calibration.jackknife import jackknife
from lambda_star.calibration.report import to_json
from lambda_star.calibration.settings import Settings
from lambda_star.calibration.shares import change_of_share, exact_share
from lambda_star.calibration.state import State
from lambda_star.calibration.statistics import (
    CONFIDENCE,
    QUANTILE,
    Estimate,
    answers_for,
    class_interval,
    each_of_four,
    limit,
)
from lambda_star.calibration.table import Table
from lambda_star.calibration.thresholds import of_sums
from lambda_star.contract import Contract, Labeller

__all__ = ["Change", "Comparison", "compare", "compare_states", "difference"]

UNKNOWN = Estimate(math.nan, math.nan, math.nan)


class Change(NamedTuple):
    """A number in the first table and in the second, and the second less the first with its interval.

    ``name`` is that of the contract class, or empty. A number is NaN where a table does not have it, and an end of the
    interval is NaN where there are too few answers.
    """

    name: str
    first: float
    second: float
    change: Estimate

    @property
    def is_sure(self) -> bool:
        """Whether the interval of the change leaves out 0."""
        return self.change.low > 0 or self.change.high < 0


@dataclass(frozen=True)
class Comparison:
    """How λ* differs between two tables; every change is that of the second less the first.

    Attributes:
        sources: where the rows of each table came from.
        clip, lam, quantile, confidence: the arguments of :func:`compare`.
        answers: the number of answers with a contract position in each table, as far as they are kept.
        needed: the number of answers in each table that the interval of ``at_quantile`` takes.
        pairs: the number of answers that both have, by which they were paired; 0 if they were not.
        at_quantile: the quantile of the per-answer λ*. Its interval needs no assumption about their distribution, and
            holds for paired tables as for others.
        past: the share of answers past their λ* at ``lam``, with an exact interval; None if no λ was given.
        lower: among the pairs whose λ* surely differ, the share in which the second is the lower, with an exact
            interval; None if the tables were not paired. Half means that neither table tends to have the lower λ*.
        classes: λ* of each contract class that either table has, with intervals over answers.

    >>> from lambda_star import read_table
    >>> table = read_table("examples/rank_by_price/logprobs.csv")
    >>> found = compare(table, table)
    >>> found.pairs, found.at_quantile.change.value, found.at_quantile.is_sure
    (360, 0.0, False)
    """

    sources: tuple[str, str]
    clip: float
    lam: float | None
    quantile: float
    confidence: float
    answers: tuple[int, int]
    needed: float
    pairs: int
    at_quantile: Change
    past: Change | None
    lower: Estimate | None
    classes: tuple[Change, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as JSON values, as :meth:`lambda_star.calibration.report.Report.to_dict` does."""
        return dict(to_json(vars(self)))


def compare(
    first: Table,
    second: Table,
    *,
    clip: float = 5.0,
    lam: float | None = None,
    contract: Contract | Labeller | str | None = None,
    tokens: Sequence[str] = (),
    least_b: float = 0.0,
    quantile: float = 0.05,
    confidence: float = 0.95,
    paired: bool | None = None,
) -> Comparison:
    """Return how λ* differs between two tables.

    Args:
        first, second: rows from :func:`lambda_star.read_table`.
        clip: the clip c, in (1, inf).
        lam: a λ to judge, chosen before the tables were looked at.
        contract, tokens, least_b: as for :func:`lambda_star.calibrate`.
        quantile: the quantile of the per-answer λ* to compare, in [0, 1].
        confidence: confidence of every interval, in (0, 1).
        paired: whether answers of the same name belong together, such as those to one prompt. By default they do if at
            least half of the answers of each table have a partner. Answers without one are left out of paired numbers.

    Returns:
        A :class:`Comparison`.

    Raises:
        ValueError: an option lies outside its range, a table has no usable contract position, or ``paired`` is True
            and no name is in both tables.

    Source: extension.

    >>> from lambda_star import read_table
    >>> table = read_table("examples/rank_by_price/logprobs.csv")
    >>> compare(table, table, lam=1.25).past
    Change(name='', first=1.0, second=1.0, change=Estimate(value=0.0, low=-0.01..., high=0.01...))
    """
    settings = Settings(clip, None, lam, contract, tuple(tokens), least_b)
    states = [State(settings, table.source) for table in (first, second)]
    for state, table in zip(states, (first, second), strict=True):
        state.add(table)
    return compare_states(*states, quantile=quantile, confidence=confidence, paired=paired)


def compare_states(
    first: State, second: State, *, quantile: float = 0.05, confidence: float = 0.95, paired: bool | None = None
) -> Comparison:
    """Return how λ* differs between what two states have seen, as :func:`compare` does for tables of any size.

    Args:
        first: the state of the first files.
        second: that of the second, with the same settings.
        quantile, confidence, paired: as for :func:`compare`.

    Returns:
        A :class:`Comparison`.

    Raises:
        ValueError: as for :func:`compare`, or the settings differ.

    Source: extension.

    >>> from lambda_star import read_table
    >>> state = State(Settings())
    >>> state.add(read_table("examples/rank_by_price/logprobs.csv"))
    >>> [one.name for one in compare_states(state, state).classes][:3]
    ['["', '"]', '","']
    """
    require((QUANTILE, quantile), (CONFIDENCE, confidence))
    first.settings.refuse_other("second", second.settings)
    for state in (first, second):
        state.check()
    bound = min(first.answers.bound, second.answers.bound)
    left, right = (_Side.of(state, bound) for state in (first, second))
    shared = _shared(left, right, paired)
    both = (left, right) if shared is None else (left.only(shared), right.only(shared))
    settings = first.settings
    return Comparison(
        sources=(first.source, second.source),
        clip=settings.clip,
        lam=settings.lam,
        quantile=quantile,
        confidence=confidence,
        answers=(len(left.keys), len(right.keys)),
        needed=max(answers_for(level, each_of_four(confidence)) for level in (quantile, 1 - quantile)),
        pairs=0 if shared is None else len(shared),
        at_quantile=_at_quantile(left, right, quantile, confidence),
        past=None if settings.lam is None else _past(both, settings.lam, confidence, shared is not None),
        lower=None if shared is None else _lower(both, confidence),
        classes=_classes(left, right, settings.clip, confidence, shared is not None),
    )


class _Sums(NamedTuple):
    """The answers of a contract class: their keys in order, and the sums of their eight masses."""

    keys: NDArray[np.uint64]
    sums: Floats


NOWHERE = _Sums(np.zeros(0, dtype=np.uint64), np.zeros((0, 8)))


class _Side(NamedTuple):
    """The answers of a table that have a contract position: their keys in order, and the ends of their least λ*."""

    keys: NDArray[np.uint64]
    low: Floats
    high: Floats
    classes: Mapping[str, _Sums]

    @classmethod
    def of(cls, state: State, bound: np.uint64) -> _Side:
        columns, found = state.answers.columns, state.answers.classes
        if not columns or not columns["used"].any():
            raise ValueError(f"{state.source}: no row is a usable contract position; give `contract` or `tokens`")
        inside = (columns["used"] > 0) & (columns["key"] <= bound)
        classes = {}
        for number, name in enumerate(state.classes):
            rows = (found["label"] == number) & (found["key"] <= bound)
            classes[name] = _Sums(found["key"][rows], found["sums"][rows])
        return cls(columns["key"][inside], columns["low"][inside], columns["high"][inside], classes)

    def only(self, keys: NDArray[np.uint64]) -> _Side:
        """The answers with some keys."""
        rows = np.searchsorted(self.keys, keys)
        return self._replace(keys=keys, low=self.low[rows], high=self.high[rows])


def _shared(first: _Side, second: _Side, paired: bool | None) -> NDArray[np.uint64] | None:
    """The keys of the pairs, None if the tables are not paired."""
    shared: NDArray[np.uint64] = np.intersect1d(first.keys, second.keys)
    if paired and not len(shared):
        raise ValueError("paired is True, but no answer has the same name in both tables; compare them without pairs")
    enough = 2 * len(shared) >= max(len(first.keys), len(second.keys))
    return shared if (enough if paired is None else paired) else None


def _at_quantile(first: _Side, second: _Side, quantile: float, confidence: float) -> Change:
    """The change of a quantile, which lies between the differences of opposite limits wherever all four limits hold."""
    before, after = (limit(table.low, quantile, each_of_four(confidence), table.high) for table in (first, second))
    value = _less(after.estimate, before.estimate)
    change = Estimate(value, _less(after.value, before.high), _less(after.high, before.value))
    return Change("", before.estimate, after.estimate, change)


def _less(number: float, other: float) -> float:
    """The difference of two numbers, NaN where both are +inf."""
    return math.nan if number == other == math.inf else number - other


def _past(both: tuple[_Side, _Side], lam: float, confidence: float, paired: bool) -> Change:
    """The change of the share of answers that may be past their λ*; its interval holds wherever intervals lie."""
    (maybe, sure), (maybe_too, sure_too) = ((table.low < lam, table.high < lam) for table in both)
    if paired:
        value = change_of_share(maybe_too, maybe, confidence).value
        low = change_of_share(sure_too, maybe, confidence).low
        high = change_of_share(maybe_too, sure, confidence).high
        return Change("", float(maybe.mean()), float(maybe_too.mean()), Estimate(value, low, high))
    before, before_sure, after, after_sure = (
        exact_share(int(past.sum()), len(past), (1 + confidence) / 2) for past in (maybe, sure, maybe_too, sure_too)
    )
    change = Estimate(after.value - before.value, after_sure.low - before.high, after.high - before_sure.low)
    return Change("", before.value, after.value, change)


def _lower(both: tuple[_Side, _Side], confidence: float) -> Estimate:
    """The share of pairs with a lower λ* in the second table among those that surely differ."""
    first, second = both
    wins, losses = (int(np.count_nonzero(one.high < other.low)) for one, other in ((second, first), (first, second)))
    return exact_share(wins, wins + losses, confidence)


def _classes(first: _Side, second: _Side, clip: float, confidence: float, paired: bool) -> tuple[Change, ...]:
    """The changes of the contract classes, the least λ* first."""
    found = []
    for name in dict.fromkeys((*first.classes, *second.classes)):
        one, other = first.classes.get(name, NOWHERE), second.classes.get(name, NOWHERE)
        before, after = (
            class_interval(side.sums, clip, confidence) if len(side.sums) else UNKNOWN for side in (one, other)
        )
        change = difference(before, after)
        if paired and math.isfinite(change.value) and not math.isnan(change.low):
            change = _paired(one, other, change, clip, confidence)
        if len(one.sums) or len(other.sums):
            found.append(Change(name, before.value, after.value, change))

    def order(one: Change) -> tuple[bool, float, str]:
        return math.isnan(one.change.low), float(np.nanmin([one.first, one.second])), one.name

    return tuple(sorted(found, key=order))


def _paired(first: _Sums, second: _Sums, change: Estimate, clip: float, confidence: float) -> Estimate:
    """The change of λ* of a class with the interval of its jackknife over the answers that either table has."""
    keys = np.union1d(first.keys, second.keys)
    sums = np.zeros((2, len(keys), 8))
    for side, found in zip((first, second), sums, strict=True):
        found[np.searchsorted(keys, side.keys)] = side.sums
    before, after = sums
    pairs = (before[:, 4:], after[:, :4]), (before[:, :4], after[:, 4:])
    (low, _), (_, high) = (jackknife(np.hstack(pair), partial(_change, clip=clip), confidence) for pair in pairs)
    if not math.isfinite(high - low):
        return change
    return Estimate(change.value, min(change.value, low), max(change.value, high))


def _change(sums: Floats, clip: float) -> Floats:
    """λ* of the last four sums less that of the first four."""
    with np.errstate(invalid="ignore"):  # both may be +inf
        found: Floats = of_sums(sums[..., 4:], clip) - of_sums(sums[..., :4], clip)
    return found


def difference(first: Estimate, second: Estimate) -> Estimate:
    """Return the second of two independent numbers less the first, with an interval from those of both.

    Where one number is +inf, its ends are the differences of opposite ends; where both are, nothing is known.

    Source: G. Zou and A. Donner, Statistics in Medicine 27 (2008), 1693–1702.

    >>> difference(Estimate(1.2, 1.1, 1.4), Estimate(1.5, 1.46, 1.53))
    Estimate(value=0.3..., low=0.09..., high=0.40...)
    """
    value = _less(second.value, first.value)
    if math.isnan(value):
        return UNKNOWN
    if math.isinf(value):
        return Estimate(value, _less(second.low, first.high), _less(second.high, first.low))
    low = math.hypot(second.value - second.low, first.high - first.value)
    high = math.hypot(second.high - second.value, first.value - first.low)
    return Estimate(value, value - low, value + high)
