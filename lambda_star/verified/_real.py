"""Interval arithmetic that the kernels of the numeric layer run on: a :class:`Real` in place of a float.

The two ends of a Real are Arb numbers that are rounded outwards at ``flint.ctx.prec`` bits, so that the interval holds
every value that the operation takes. With a *jet*, a Real also encloses derivatives along one argument. A comparison
that the ends do not decide is :data:`UNDECIDED`, and a ``where`` on it gives the hull of both answers.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from flint import arb, ctx, fmpq

from lambda_star._core.namespaces import Exact

INF, ZERO, ONE = arb("inf"), arb(0), arb(1)
EXTRA = 40  # halvings past the precision, for a root that is small beside the interval in which it is sought
LONGEST = 20_000  # bits that an exact number may take
MOST_HALVINGS = 2400  # from the widest interval of float64 to the last bit of the least number


class UndecidedError(ArithmeticError):
    """A program branched on a comparison that an interval does not decide."""


class _Undecided:
    """The truth of a condition that holds on a part of the intervals, or that they are too coarse to tell."""

    def __and__(self, other: Any) -> Any:
        return False if other is False else self

    def __or__(self, other: Any) -> Any:
        return True if other is True else self

    __rand__, __ror__ = __and__, __or__

    def __bool__(self) -> bool:
        raise UndecidedError


UNDECIDED = _Undecided()


class Real:
    """The interval from ``low`` to ``high``, and in ``jet`` the intervals of its first derivatives.

    ``exact`` is the value of a decimal number that binary ones only enclose: sums and comparisons use it, so that two
    equal decimals are equal.
    """

    __slots__ = ("exact", "high", "jet", "low")
    __array_ufunc__ = None  # NumPy's numbers leave the arithmetic to this class

    def __init__(self, low: Any, high: Any, jet: tuple[Real, ...] = (), exact: fmpq | None = None) -> None:
        self.low, self.high, self.jet, self.exact = low, high, jet, exact

    @property
    def namespace(self) -> Balls:
        """What the kernels take for ``xp``."""
        return balls

    def at(self, *jet: float) -> Real:
        """Return the interval with the derivatives of the variable itself: 1, or 1 and 0."""
        return Real(self.low, self.high, tuple(map(real, jet)))

    def __neg__(self) -> Real:
        exact = None if self.exact is None else -self.exact
        return Real(-self.high, -self.low, tuple(-one for one in self.jet), exact)

    def __add__(self, other: Any) -> Real:
        other = real(other)
        if pair := _decimals(self, other):
            return _rational(pair[0] + pair[1])
        low, high = _down(self.low + other.low), _up(self.high + other.high)
        return Real(low, high, _sum(self.jet, other.jet) if self.jet or other.jet else ())

    __radd__ = __add__

    def __sub__(self, other: Any) -> Real:
        return self + (-real(other))

    def __rsub__(self, other: Any) -> Real:
        return real(other) + (-self)

    def __mul__(self, other: Any) -> Real:
        other = real(other)
        jet: tuple[Real, ...] = ()
        if self.jet or other.jet:
            a, b = _padded(self.jet, other.jet)
            u, v = Real(self.low, self.high), Real(other.low, other.high)
            jet = (a[0] * v + u * b[0], *(a[1] * v + 2 * a[0] * b[0] + u * b[1] for _ in a[1:]))
        return Real(*_product(self, other), jet)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Real:
        other = real(other)
        jet: tuple[Real, ...] = ()
        value = Real(*_quotient(self, other))
        if self.jet or other.jet:
            a, b = _padded(self.jet, other.jet)
            v = Real(other.low, other.high)
            first = (a[0] - value * b[0]) / v
            jet = (first, *((a[1] - 2 * first * b[0] - value * b[1]) / v for _ in a[1:]))
        value.jet = jet
        return value

    def __rtruediv__(self, other: Any) -> Real:
        return real(other) / self

    def __lt__(self, other: Any) -> Any:
        other = real(other)
        if pair := _decimals(self, other):
            return pair[0] < pair[1]
        return True if self.high < other.low else False if self.low >= other.high else UNDECIDED

    def __le__(self, other: Any) -> Any:
        other = real(other)
        if pair := _decimals(self, other):
            return pair[0] <= pair[1]
        return True if self.high <= other.low else False if self.low > other.high else UNDECIDED

    def __gt__(self, other: Any) -> Any:
        return real(other) < self

    def __ge__(self, other: Any) -> Any:
        return real(other) <= self

    def __eq__(self, other: Any) -> Any:
        other = real(other)
        if pair := _decimals(self, other):
            return pair[0] == pair[1]
        if self.high < other.low or self.low > other.high:
            return False
        return True if self.low == self.high == other.low == other.high else UNDECIDED

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"[{self.low.str(12, radius=False)}, {self.high.str(12, radius=False)}]"


def real(value: Any) -> Real:
    """Return a number as the interval that holds it alone, as far as the precision goes."""
    kind = type(value)
    if kind is Real:
        return value  # type: ignore[no-any-return]
    if kind is Fraction:
        return _rational(fmpq(value.numerator, value.denominator))
    exact = arb(value)
    return Real(exact, exact)


def _rational(exact: fmpq) -> Real:
    ball = arb(exact)
    return Real(ball.lower(), ball.upper(), exact=exact)


def _decimals(a: Real, b: Real) -> tuple[fmpq, fmpq] | None:
    """The exact values of two numbers, if one of them is a decimal and no derivative is asked for."""
    if (a.exact is None and b.exact is None) or a.jet or b.jet:
        return None
    one, other = _fraction(a), _fraction(b)
    return None if one is None or other is None else (one, other)


def _fraction(value: Real) -> fmpq | None:
    if value.exact is not None:
        return value.exact
    if value.low != value.high or not value.low.is_finite():
        return None
    mantissa, exponent = value.low.man_exp()
    return fmpq(mantissa) * fmpq(2) ** int(exponent) if abs(exponent) < LONGEST else None


def hull(a: Any, b: Any) -> Real:
    """Return the least interval that holds two."""
    a, b = real(a), real(b)
    return Real(a.low if a.low <= b.low else b.low, a.high if a.high >= b.high else b.high)


EVERYTHING = Real(-INF, INF)


class Balls(Exact):
    """The part of an array namespace that kernels use, over intervals.

    ``continuous`` says that the function being evaluated is continuous as a whole. Then the derivatives on both sides
    of an undecided ``where`` enclose its slope; otherwise it may jump there, and nothing is known of the slope.
    """

    continuous = False

    def where(self, condition: Any, yes: Any, no: Any) -> Any:
        """Return one of two values, or their hull."""
        if condition is not UNDECIDED:
            return yes if condition else no
        found, jets = hull(yes, no), (real(yes).jet, real(no).jet)
        if not self.continuous:
            found.jet = (EVERYTHING, EVERYTHING)
        elif any(jets):
            slopes = [hull(*pair) for pair in zip(*_padded(*jets), strict=True)]
            found.jet = (slopes[0], *(EVERYTHING for _ in slopes[1:]))
        return found

    @staticmethod
    def isnan(value: Any) -> bool:
        """Tell that an interval is never NaN: what is not known is any number."""
        del value
        return False

    @staticmethod
    def log(x: Any) -> Real:
        """Return the natural logarithm."""
        x = real(x)
        return _rising(x, _log, lambda v: (1 / v, -1 / (v * v)))

    @staticmethod
    def log1p(x: Any) -> Real:
        """Return log(1 + x)."""
        x = real(x)
        return _rising(x, _log1p, lambda v: (1 / (1 + v), -1 / ((1 + v) * (1 + v))))

    @staticmethod
    def exp(x: Any) -> Real:
        """Return e^x."""
        x = real(x)
        found = _rising(x, _exp, None)
        return _chained(found, x, (found, found)) if x.jet else found

    @staticmethod
    def expm1(x: Any) -> Real:
        """Return e^x − 1."""
        x = real(x)
        found = _rising(x, _expm1, None)
        return _chained(found, x, (found + 1, found + 1)) if x.jet else found

    @staticmethod
    def positive(x: Real) -> Real:
        """Return the part of an interval that is at least 0, where what is below is known not to be used."""
        return x if x.low >= 0 or x.high < 0 else Real(ZERO, x.high, x.jet)

    @staticmethod
    def root(rises: Callable[[Real], Any], low: Any, high: Any) -> Real:
        """Return an interval that holds the point up to which a condition holds, by halving."""
        low, high = (Real(end.low, end.high) for end in (real(low), real(high)))
        for halving in range(MOST_HALVINGS):
            middle = low + (high - low) / 2
            up = rises(middle)
            if up is UNDECIDED:
                break
            low, high = (middle, high) if up else (low, middle)
            if halving > EXTRA and high.high - low.low < abs(low.low) * arb(2) ** (8 - ctx.prec):
                break
        return hull(low, high)


balls = Balls()


def _down(value: Any) -> Any:
    return _end(value, -INF) if not value.is_finite() else value.lower()


def _up(value: Any) -> Any:
    return _end(value, INF) if not value.is_finite() else value.upper()


def _end(value: Any, unknown: Any) -> Any:
    """An infinite end as it is, and the widest one for a value that is undefined."""
    return value if value == INF or value == -INF else unknown  # noqa: PLR1714 (Arb numbers have no hash to rely on)


def _sum(a: tuple[Real, ...], b: tuple[Real, ...]) -> tuple[Real, ...]:
    return tuple(one + other for one, other in zip(*_padded(a, b), strict=True))


def _padded(a: tuple[Real, ...], b: tuple[Real, ...]) -> tuple[tuple[Real, ...], tuple[Real, ...]]:
    """Two jets of the same length; a constant has derivatives 0."""
    order = min(len(a) or 2, len(b) or 2)
    nought = (Real(ZERO, ZERO),) * order
    return (a or nought)[:order], (b or nought)[:order]


def _product(a: Real, b: Real) -> tuple[Any, Any]:
    if a.low >= 0 and b.low >= 0:
        return _down(_times(a.low, b.low)), _up(_times(a.high, b.high))
    ends = [_times(x, y) for x in (a.low, a.high) for y in (b.low, b.high)]
    return min(map(_down, ends)), max(map(_up, ends))


def _times(x: Any, y: Any) -> Any:
    """A product of ends, in which 0 wins over ∞: no interval with an infinite end and a finite one holds ∞."""
    return ZERO if (x == 0 and not y.is_finite()) or (y == 0 and not x.is_finite()) else x * y


def _quotient(a: Real, b: Real) -> tuple[Any, Any]:
    if b.low > 0:
        low = a.low / (b.high if a.low >= 0 else b.low)
        high = a.high / (b.low if a.high >= 0 else b.high)
        return _down(low), _up(high)
    if b.high < 0 or (b.high == 0 and b.low < 0):
        low, high = _quotient(-a, -b)
        return low, high
    if b.low == 0 and b.high > 0:
        return (_down(a.low / b.high) if a.low >= 0 else -INF), (_up(a.high / b.high) if a.high <= 0 else INF)
    return -INF, INF


def _rising(x: Real, at: Callable[[Any], Any], slopes: Callable[[Real], tuple[Real, Real]] | None) -> Real:
    """Return a function that rises, and its jet by the chain rule."""
    if x.low == x.high:
        value = at(x.low)
        found = Real(_down(value), _up(value))
    else:
        found = Real(_down(at(x.low)), _up(at(x.high)))
    return _chained(found, x, slopes(Real(x.low, x.high))) if x.jet and slopes else found


def _chained(found: Real, x: Real, slopes: tuple[Real, Real]) -> Real:
    first, second = (Real(slope.low, slope.high) for slope in slopes)
    one = x.jet[0]
    found.jet = (first * one, *(second * one * one + first * x.jet[1] for _ in x.jet[1:]))
    return found


def _log(x: Any) -> Any:
    """A logarithm of an end; a negative one comes of rounding, or from a branch that is not used."""
    return -INF if x <= 0 else x.log() if x.is_finite() else x


def _log1p(x: Any) -> Any:
    return -INF if x <= -1 else x.log1p() if x.is_finite() else x


def _exp(x: Any) -> Any:
    return x.exp() if x.is_finite() else (INF if x > 0 else ZERO)


def _expm1(x: Any) -> Any:
    return x.expm1() if x.is_finite() else (INF if x > 0 else -ONE)
