"""From exact arguments to an interval of floats that holds the value: the precision and the pieces that this takes."""

from __future__ import annotations

import heapq
import itertools
import math
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import Any, NamedTuple, TypeAlias

from flint import arb, ctx

from lambda_star._core.quantities import Quantity
from lambda_star.verified._arguments import Argument, Interval, Number, Span, over
from lambda_star.verified._real import EVERYTHING, Real, UndecidedError, balls, real

Function: TypeAlias = Callable[..., Any]
Codomain: TypeAlias = tuple[float, float]

PRECISIONS = (80, 160, 400, 1300, 4200)  # bits; λΔ takes up to 1,100 of them before the first of a probability is known
SURE_BITS = 58  # relative bits of a value after which its ends are the floats beside it
TOLERANCE = 2.0**-48  # of the end of a result over a box
PIECES = 160  # into which an argument that is an interval may be cut
NEAR_END = 4000  # an open end is approached to 2^−NEAR_END

EVERY, PROBABILITY, FROM_ONE, FROM_ZERO = (-math.inf, math.inf), (0.0, 1.0), (1.0, math.inf), (0.0, math.inf)


@contextmanager
def precision(bits: int) -> Iterator[None]:
    """Compute with so many bits; Arb's precision is a global of the thread's library, so it is set back."""
    before = ctx.prec
    ctx.prec = bits
    try:
        yield
    finally:
        ctx.prec = before


class Law(NamedTuple):
    """What is proved of a function, and used where an argument is an interval."""

    monotone: frozenset[str] = frozenset()
    """The arguments in which it only rises or only falls while the others stay the same."""
    continuous: bool = False
    """Whether it is continuous as a whole."""

    @classmethod
    def of(cls, monotone: str, continuous: bool = False) -> Law:
        """Return a law with its arguments in one text."""
        return cls(frozenset(monotone.split()), continuous)


NOTHING = Law()


def enclosure(
    function: Function, arguments: Mapping[str, Argument], codomain: Codomain = EVERY, law: Law = NOTHING
) -> Interval:
    """Return the interval of an elementwise function of the numeric layer, whose kernel runs over intervals."""
    quantities: Sequence[Quantity] = function.quantities  # type: ignore[attr-defined]
    return over(arguments, quantities, lambda spans: of_box(function, spans, codomain, law))


def of_box(function: Function, spans: Mapping[str, Span], codomain: Codomain, law: Law) -> tuple[float, float]:
    """Return floats between which all values of a function over a box lie.

    A function that is monotone in an argument takes its least and its greatest value at ends of it, whichever.
    """
    box = tuple(spans.values())
    if all(span.thin for span in box):
        return of_point(function, box, codomain)
    fixed = [name in law.monotone for name in spans]

    def opposite(*values: Real) -> Real:
        return -real(function(*values))

    balls.continuous = law.continuous
    try:
        least = _over_corners(function, box, codomain, fixed)
        most = _over_corners(opposite, box, (-codomain[1], -codomain[0]), fixed)
    finally:
        balls.continuous = False
    return max(least, codomain[0]), min(0.0 - most, codomain[1])


def _over_corners(function: Function, box: tuple[Span, ...], codomain: Codomain, fixed: Sequence[bool]) -> float:
    """Return a float below all values over a box: the least over the ends of the arguments that cannot turn."""
    box, _ = _contracted(function, box)
    sides = [
        (_end(span, high=False), _end(span, high=True)) if cannot_turn and not _is_small(span) else (span,)
        for span, cannot_turn in zip(box, fixed, strict=True)
    ]
    return min(_least(function, corner, codomain) for corner in itertools.product(*sides))


def of_point(function: Function, spans: Sequence[Span], codomain: Codomain) -> tuple[float, float]:
    """Return the floats beside a value, at the precision that it takes to know them."""
    for bits in PRECISIONS:
        with precision(bits):
            value = _inside(_value(function, [as_real(span) for span in spans]), codomain)
            if _is_sure(value):
                break
    return floats(value)


def sign_of(function: Function, spans: Sequence[Span], target: Span) -> int:
    """Return 1 if all values over a box are above a target, −1 if they are below, 0 if neither is certain."""
    for bits in PRECISIONS[:-1]:
        with precision(bits):
            value, goal = _value(function, list(map(as_real, spans))), as_real(target)
            if value.low > goal.high or value.high < goal.low:
                return 1 if value.low > goal.high else -1
        if not all(span.thin for span in (*spans, target)):
            break
    return 0


def floats(value: Real) -> tuple[float, float]:
    """Return the greatest float that is not above an interval, and the least that is not below it."""
    return _float(value.low, -math.inf), _float(value.high, math.inf)


def _float(end: Any, towards: float) -> float:
    found = float(end)
    while (arb(found) > end) if towards < 0 else (arb(found) < end):
        found = math.nextafter(found, towards)
    return found


def _is_sure(value: Real) -> bool:
    if not (value.low.is_finite() and value.high.is_finite()):
        return bool(value.low == value.high)
    return bool(value.high - value.low <= max(abs(value.low), abs(value.high)) * arb(2) ** -SURE_BITS)


def _value(function: Function, values: Sequence[Real]) -> Real:
    try:
        return real(function(*values))
    except UndecidedError:
        return Real(EVERYTHING.low, EVERYTHING.high, (EVERYTHING, EVERYTHING))


def _inside(value: Real, codomain: Codomain) -> Real:
    low, high = map(arb, codomain)
    return Real(max(value.low, low), min(value.high, high), value.jet)


def as_real(span: Span) -> Real:
    """Return the ends of an argument as one interval."""
    if span.low == span.high:
        return real(span.low)
    return Real(real(span.low).low, real(span.high).high)


def _end(span: Span, high: bool) -> Span:
    """One end of an argument; an open end of the range as what lies near it."""
    end, is_open = (span.high, span.open_high) if high else (span.low, span.open_low)
    if not is_open:
        return Span(end, end)
    near: Number
    if math.isinf(end):
        near = Fraction(2**NEAR_END) * (1 if high else -1)
    else:
        near = Fraction(end) + Fraction(-1 if high else 1, 2**NEAR_END)
    return Span(near, end, open_high=True) if high else Span(end, near, open_low=True)


def _least(function: Function, box: tuple[Span, ...], codomain: Codomain) -> float:
    """Return a float below all values over a box, by branch and bound.

    Along an argument by which the derivative has one sign the least value is at an end; without one the box is cut in
    two. What is left when the pieces are used up is bounded by interval arithmetic alone.
    """
    count = itertools.count()
    best, done = math.inf, math.inf
    heap = [(-math.inf, next(count), box)]
    for _ in range(PIECES):
        if not heap or heap[0][0] >= min(done, best - TOLERANCE * abs(best)):
            break
        piece, slopes = _contracted(function, heapq.heappop(heap)[-1])
        if all(map(_is_small, piece)):
            low, high = of_point(function, piece, codomain)
            best, done = min(best, high), min(done, low)
            continue
        low, high = _by_mean_value(function, piece, slopes)
        best = min(best, high)
        if low >= best - TOLERANCE * abs(best):
            done = min(done, low)
            continue
        for half in _halves(piece):
            with precision(PRECISIONS[0]):
                low, high = floats(_inside(_value(function, list(map(as_real, half))), codomain))
            best = min(best, high)
            heapq.heappush(heap, (low, next(count), half))
    return min(done, heap[0][0]) if heap else done


def _by_mean_value(function: Function, box: Sequence[Span], slopes: Sequence[Real]) -> tuple[float, float]:
    """Return a float below all values over a box, from the value in the middle and the slopes, and one above that."""
    with precision(PRECISIONS[0]):
        middles = [_centre(span) for span in box]
        at = bound = _value(function, list(map(as_real, middles)))
        for span, middle, slope in zip(box, middles, slopes, strict=True):
            bound = bound + slope * (as_real(span) - as_real(middle))
        return floats(bound)[0], floats(at)[1]


def _centre(span: Span) -> Span:
    middle = _middle(span)
    return span if _is_small(span) or middle is None else Span(middle, middle)


def _is_small(span: Span) -> bool:
    """Whether nothing is left to cut: a number, what lies near an open end, or two floats without one between."""
    return span.thin or span.open_low or span.open_high or _middle(span) is None


def _contracted(function: Function, box: tuple[Span, ...]) -> tuple[tuple[Span, ...], list[Real]]:
    """Move every argument by which the function rises or falls on the whole box to the end of the least value.

    The slopes along the others are returned too.
    """
    spans, slopes = list(box), [real(0)] * len(box)
    for place, span in enumerate(spans):
        if span.thin:
            continue
        with precision(PRECISIONS[0]):
            values = list(map(as_real, spans))
            values[place] = values[place].at(1.0)
            jet = _value(function, values).jet
        slope = jet[0] if jet else real(0)
        if slope.low >= 0 or slope.high <= 0:
            spans[place] = _end(span, high=slope.low < 0)
        else:
            slopes[place] = slope
    return tuple(spans), slopes


def _halves(box: tuple[Span, ...]) -> Iterator[tuple[Span, ...]]:
    """Cut a box in two, along its relatively widest side."""
    places = [place for place, span in enumerate(box) if not _is_small(span)]
    place = max(places, key=lambda place: _width(box[place]))
    span, middle = box[place], _middle(box[place])
    assert middle is not None
    for half in (Span(span.low, middle, open_low=span.open_low), Span(middle, span.high, open_high=span.open_high)):
        yield (*box[:place], half, *box[place + 1 :])


def _width(span: Span) -> float:
    low, high = float(max(span.low, -1e300)), float(min(span.high, 1e300))
    return (high - low) / max(abs(low), abs(high), 1e-300)


def _middle(span: Span) -> float | None:
    """Return a float inside, in the middle of the exponents where they differ; None if there is none."""
    low, high = float(max(span.low, -1e308)), float(min(span.high, 1e308))
    if low > 0 and 4 * low < high:
        middle = math.sqrt(low) * math.sqrt(high)
    elif low == 0 and high > 1e-300:
        middle = high / 1024
    else:
        middle = low + (high - low) / 2
    return middle if span.low < middle < span.high else None


def first_float(side: Callable[[float], int], low: float, high: float, guess: float) -> tuple[float, float]:
    """Return floats between which a function changes its sign once, as narrow as its sign is known.

    ``side`` says whether a float is certainly below the root (−1), certainly above (1), or neither (0). The root lies
    between ``low`` and ``high``, both floats from 0 on.
    """
    below, above = _rank(low), _rank(high)
    at = min(max(_rank(guess), below), above)
    return _number(_last(lambda rank: side(_number(rank)) < 0, below, above, at)), _number(
        -_last(lambda rank: side(_number(-rank)) > 0, -above, -below, -at)
    )


def _last(holds: Callable[[int], bool], low: int, high: int, guess: int) -> int:
    """Return the last whole number from low on, below high, of which a condition is seen to hold; begin at a guess."""
    step = 1
    if low < guess < high:
        if holds(guess):
            low = guess
            while low + step < high and holds(low + step):
                low, step = low + step, 4 * step
            high = min(high, low + step)
        else:
            high = guess
            while high - step > low and not holds(high - step):
                high, step = high - step, 4 * step
            low = max(low, high - step)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _rank(value: float) -> int:
    """The place of a float from 0 on among all floats."""
    return int(struct.unpack("<q", struct.pack("<d", value))[0])


def _number(rank: int) -> float:
    return float(struct.unpack("<d", struct.pack("<q", rank))[0])
