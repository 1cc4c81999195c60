"""The tables of a report, which its forms share: the few rows that carry the advice, and all others."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from lambda_star._core.text import counted, named, number, percent, shown

if TYPE_CHECKING:
    from lambda_star.calibration.report import Report

__all__ = ["Cell", "Grid", "Line", "advice", "details", "rows_used"]

READINGS_NOTE = """\
The readings are λ* for any single token (token), for everything but the modal token (bernoulli, Eq. 4), and for \
everything outside the modal token's class (class); a range a–b is all that the listed tokens tell. Use bernoulli, \
which no token of negligible mass decides, unless most of the teacher's tail is in the modal token's own class: losing \
those tokens breaks no contract, so use class there."""

BUDGET_NOTE = """\
The column λ* by {budget:g} is the λ at which a natural-gradient run of that length just reaches the clip edge. It \
falls to λ* as training goes on, so λ* is the safe one."""

SHARES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9)
"""The quantiles that the table of the distribution shows."""

NO_RULE = "no update rule was given, so it is not known where; `lambda-star updates` lists the rules"


LONG = 120
"""The characters of a path that are shown."""


class Cell(NamedTuple):
    """A cell of a table: its text, and what the table is sorted by."""

    text: str
    key: float | str

    @classmethod
    def of(cls, value: float | str | Cell) -> Cell:
        """Return the cell of a number or a text."""
        if isinstance(value, Cell):
            return value
        return cls(value, value) if isinstance(value, str) else cls(number(value), value)


class Grid(NamedTuple):
    """A table with its title, its heads, its cells, and a note that says how to read it."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    @classmethod
    def of(cls, title: str, items: Sequence[Any], columns: dict[str, Callable[[Any], Any]], note: str = "") -> Grid:
        """Return the table of some items, from each head with the function that computes its cell."""
        rows = (tuple(Cell.of(cell(item)) for cell in columns.values()) for item in items)
        return cls(title, tuple(columns), tuple(rows), note)


class Line(NamedTuple):
    """A row of the advice: what it is about, its value, and what that means."""

    name: str
    value: str
    meaning: str


def advice(report: Report) -> tuple[Line, ...]:
    """Return the few rows that carry the advice of a report, the binding class first.

    >>> from lambda_star import calibrate, read_table
    >>> found = calibrate(read_table("examples/rank_by_price/logprobs.csv"))
    >>> [line.name for line in advice(found)]
    ['binding class', 'advised limit', 'tails die', 'operating point']
    """
    return tuple(_advice(report))


def _advice(report: Report) -> Iterator[Line]:
    binding, limit, point = report.binding, report.advised, report.operating_point
    ends = _interval(binding.low, binding.high)
    yield Line("binding class", named(binding.name), f"λ* = {number(binding.value)} {ends} at the mean of its tails")
    level = f"{percent(limit.quantile)} quantile of λ* by answer"
    if math.isnan(limit.value):
        yield Line("advised limit", "unknown", _too_few(report))
    else:
        sure = f"at least this with {percent(report.confidence)} confidence (estimate {number(limit.estimate)})"
        yield Line(
            "advised limit",
            number(limit.value),
            f"the {level} is {sure}; {counted(limit.answers, 'answer')}, of {limit.needed:g} needed",
        )
    yield _of_rule(report)
    rests = "the λ at which tails die" if report.dies and report.dies.value < limit.value else "the advised limit"
    means = f"{rests}, with its excess over 1 cut by {percent(report.margin)}"
    yield Line("operating point", number(point.value), means)
    if report.censored:
        means = "b is known only to be below a bound"
        if not math.isnan(point.value):
            means += f", so the operating point lies between {number(point.value)} and {number(point.at_most)}"
        means += "; more top log-probabilities of the base narrow it"
        yield Line("censored", counted(report.censored, "row"), means)
    if report.lam is not None:
        yield Line(f"λ = {report.lam:g}", "", _asked(report, report.lam))


def _too_few(report: Report) -> str:
    limit = report.advised
    needed = "more than any number" if math.isinf(limit.needed) else f"{limit.needed:g}"
    can = f"{counted(limit.answers, 'answer')} can show the {percent(limit.level)} quantile"
    return f"{can}; the {percent(limit.quantile)} quantile takes {needed}"


def _of_rule(report: Report) -> Line:
    """The row that says where tails die under the update rule."""
    dies = report.dies
    if dies is None:
        return Line("tails die", "unknown", NO_RULE)
    under = f"under {report.rule}"
    if math.isnan(dies.value):
        return Line("tails die", "unknown", f"{under}, for the same reason")
    if dies.value == math.inf:
        return Line(
            "tails die",
            "never",
            f"in the mean, {under}; past λ* they are thin, not dead",
        )
    return Line(
        "tails die", number(dies.value), f"{under}: in at most {percent(dies.quantile)} of the answers below this λ"
    )


def _asked(report: Report, lam: float) -> str:
    past = sum(one.value < lam for one in report.classes)
    answers, positions = report.by_answer.share_below(lam), report.share_past(lam)
    return (
        f"past λ* of {past} of {len(report.classes)} classes, of {percent(answers)} of the answers and "
        f"{percent(positions)} of the positions; past the flip point of {percent(report.share_flipped(lam))}"
    )


def rows_used(report: Report) -> tuple[str, ...]:
    """Return the sentences that say which rows a report is made from; the first names the source."""
    used = f"{counted(report.used, 'contract position')} of {counted(report.answers, 'answer')} used"
    said = [f"{named(report.source, LONG)}: {used}"]
    said += [f"{counted(count, 'row')} not used: {reason}" for reason, count in report.skipped.items()]
    if report.sampled:
        said.append(f"limits and intervals are those of a uniform sample of {report.sampled} answers")
    if report.sketch_error:
        said.append(
            f"shares of positions come from a sketch and are within {percent(report.sketch_error)} of themselves"
        )
    if report.least_b:
        said.append(f"assumed: the base gives {report.least_b:g} at least to a token that it does not list")
    return tuple(said)


def details(report: Report) -> tuple[Grid, ...]:
    """Return all tables of a report that have rows."""
    grids = [_classes(report), _readings(report), _distribution(report), _worst(report), _problems(report)]
    return tuple(grid for grid in grids if grid.rows)


def _classes(report: Report) -> Grid:
    columns: dict[str, Callable[[Any], Any]] = {
        "contract class": lambda one: named(one.name),
        "positions": lambda one: one.positions,
        "answers": lambda one: one.answers,
        "1−p": lambda one: Cell(f"{one.tail:.2e}", one.tail),
        "b": lambda one: Cell(f"{one.b:.4f}", one.b),
        "λ*": lambda one: one.value,
        f"{report.confidence:.0%} interval": lambda one: Cell(_interval(one.low, one.high), one.low),
        "flip": lambda one: one.flip_point,
        "least λ*": lambda one: one.least,
        "median": lambda one: one.median,
    }
    if report.censored:
        columns["censored"] = lambda one: one.censored
        columns["λ* at most"] = lambda one: one.at_most
    if any(one.allowed_tail is not None for one in report.classes):
        columns["tail allowed, needed"] = lambda one: _shares(one.allowed_tail, one.needs_tail)
    if report.rule is not None:
        columns["tail dies"] = lambda one: one.dies
    if report.budget is not None:
        columns[f"λ* by {report.budget:g}"] = lambda one: one.budget_threshold or math.nan
    if report.lam is not None:
        columns[f"past λ* at {report.lam:g}"] = lambda one: Cell(f"{one.share_past:.1%}", one.share_past)
    note = "" if report.budget is None else BUDGET_NOTE.format(budget=report.budget)
    return Grid.of(
        f"Contract classes at clip c = {report.clip:g}, the binding one first", report.classes, columns, note
    )


def _readings(report: Report) -> Grid:
    columns: dict[str, Callable[[Any], Any]] = {
        "contract class": lambda one: named(one.name),
        "positions": lambda one: one.positions,
        "token": lambda one: _bounds(*one.token),
        "bernoulli": lambda one: one.bernoulli,
        "class": lambda one: _bounds(*one.by_class),
        "use": lambda one: one.use,
        "binding token": lambda one: named(one.binding),
        "its teacher mass": lambda one: Cell(f"{one.binding_mass:.1e}", one.binding_mass),
        "tail in own class": lambda one: Cell(f"{one.same_class:.0%}", one.same_class),
    }
    order = [one.name for one in report.classes]
    found = sorted(report.readings, key=lambda one: order.index(one.name))
    return Grid.of("Three readings of λ*, medians over the positions", found, columns, READINGS_NOTE)


def _distribution(report: Report) -> Grid:
    columns: dict[str, Callable[[Any], Any]] = {
        "share": lambda share: Cell(percent(share), share),
        "λ* by position": report.by_position.quantile,
        "λ* by answer": report.by_answer.quantile,
    }
    note = "λ* of an answer is the least of its positions; that share of positions or answers has at most this λ*."
    return Grid.of("The distribution of λ*", SHARES, columns, note)


def _worst(report: Report) -> Grid:
    columns: dict[str, Callable[[Any], Any]] = {
        "λ*": lambda one: one.value,
        "answer": lambda one: named(one.place.sequence),
        "position": lambda one: one.place.position,
        "class": lambda one: named(one.label),
        "text before": lambda one: shown(one.before),
        "modal token": lambda one: named(one.place.modal),
        "sampled text": lambda one: shown(one.after),
    }
    return Grid.of("The worst positions, where they stand", report.worst, columns)


def _problems(report: Report) -> Grid:
    columns: dict[str, Callable[[Any], Any]] = {
        "file": lambda one: shown(one.source or report.source),
        "line": lambda one: one.line or "",
        "problem": lambda one: shown(one.message),
    }
    more = report.problem_count - len(report.problems)
    return Grid.of("Rows left out", report.problems, columns, f"and {more} more" if more else "")


def _bounds(low: float, high: float) -> Cell:
    ends = [f"{end:.4g}" if end < math.inf else "+inf" for end in (low, high)]
    return Cell("–".join(dict.fromkeys(ends)), low)


def _shares(*shares: float | None) -> Cell:
    text = ", ".join("unknown" if share is None else f"{share:.0%}" for share in shares)
    return Cell(text, math.nan if shares[0] is None else shares[0])


def _interval(low: float, high: float) -> str:
    """The ends of an interval as text."""
    return "one answer only" if math.isnan(low) else f"[{number(low)}, {number(high)}]"
