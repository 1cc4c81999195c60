"""The quantities of the theory: the name, range, symbol and meaning of each argument, said once, and the check of it.

Decorated kernels, the options of the command line, the symbol table of the derivation pages, and the test that holds
docstrings to their ranges all read this module.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, NoReturn

import numpy as np

from lambda_star._core.namespaces import Floats, Values, as_read, known_truth, numpy


class Quantity(NamedTuple):
    """An argument: its name, the interval it must lie in (``ends`` are the brackets), its LaTeX symbol and meaning."""

    name: str
    low: float
    high: float
    ends: str = "()"
    symbol: str = ""
    meaning: str = ""

    @property
    def range(self) -> str:
        """The interval as text, such as ``[1, inf)``."""
        return f"{self.ends[0]}{self.low:g}, {self.high:g}{self.ends[1]}"

    def contains(self, values: Values) -> Values:
        """Tell where values lie in the interval, for one float or an array; NaN lies nowhere."""
        above = values >= self.low if self.ends[0] == "[" else values > self.low
        return above & (values <= self.high if self.ends[1] == "]" else values < self.high)

    def float_bounds(self) -> tuple[float, float]:
        """The least and the greatest Python float in the interval."""
        low = self.low if self.ends[0] == "[" else math.nextafter(self.low, math.inf)
        return low, self.high if self.ends[1] == "]" else math.nextafter(self.high, -math.inf)

    def named(self, name: str) -> Quantity:
        """The same quantity under the name that a function gives it."""
        return self._replace(name=name)


P = Quantity("p", 0.0, 1.0, "()", "p", "the teacher's probability of its modal token")
B = Quantity("b", 0.0, 1.0, "()", "b", "the base's (warm start's) probability of the same token")
C = Quantity("c", 1.0, math.inf, "[]", "c", "the cap on the tail ratio (1-p)/(1-q); inf means no clip")
LAM = Quantity("lam", -math.inf, math.inf, "()", r"\lambda", "the extrapolation coefficient; 1 is plain distillation")
X = Quantity("x", -math.inf, math.inf, "()", "x", "the teacher's log-odds of its modal token")
Y = Quantity("y", -math.inf, math.inf, "()", "y", "the base's log-odds of the same token")
MARGIN = Quantity("margin", 0.0, 1.0, "[)", r"\varepsilon", "the share of the excess over 1 that is given up")

QUANTITIES = {quantity.name: quantity for quantity in (P, B, C, LAM, X, Y, MARGIN)}


def outside(quantity: Quantity, value: object, place: str = "") -> NoReturn:
    """Raise the error that names an argument, its range, the value it got, and the place of that value."""
    raise ValueError(f"{quantity.name} must lie in {quantity.range}, got {value!r}{place}")


def reals(name: str, values: Values, kinds: str = "fiu") -> Floats:
    """Return numbers as a NumPy array of float64; raise ``TypeError`` for what holds none, such as texts and truths.

    >>> reals("lam", [1, 1.25])
    array([1.  , 1.25])
    >>> reals("lam", None)
    Traceback (most recent call last):
    TypeError: lam must be a real number or an array of real numbers, got dtype object; pass floats, such as ...
    """
    array = np.asarray(as_read(values))
    if array.size or array.dtype.kind == "O":  # an empty list holds nothing that is not a number
        require_real(name, array.dtype, array.dtype.kind in kinds)
    with np.errstate(over="ignore"):
        return array.astype(np.float64, copy=False)


def require_real(name: str, dtype: Any, real: bool) -> None:
    """Raise ``TypeError`` unless a dtype is one of real numbers."""
    if not real:
        raise TypeError(
            f"{name} must be a real number or an array of real numbers, got dtype {dtype}; "
            "pass floats, such as column.to_numpy(float)"
        )


def require(*arguments: tuple[Quantity, float | None]) -> None:
    """Raise ``ValueError`` for the first single number outside its range; NaN is outside, None is not given."""
    for quantity, value in arguments:
        if type(value) not in {float, int, type(None)} and reals(quantity.name, value).ndim:
            raise TypeError(f"{quantity.name} must be one number, got {value!r}")
        if value is not None and not quantity.contains(value):
            outside(quantity, value)


def check(xp: Any, *arguments: tuple[Quantity, Values]) -> None:
    """Raise ``ValueError`` for the first array with a value outside its range, with that value's index; NaN passes."""
    for quantity, array in arguments:
        inside = quantity.contains(array) | xp.isnan(array)
        if known_truth(xp.all(inside)) is not False:
            continue
        index = tuple(int(axis[0]) for axis in xp.nonzero(~inside)) if array.ndim else ()
        place = f" at index {index[0] if len(index) == 1 else index}" if index else ""
        outside(quantity, float(array[index]), place)


def require_representable(quantity: Quantity, value: Any, largest: float) -> None:
    """Raise ``ValueError`` for a finite number that would be infinite in arrays whose largest number is given."""
    if largest < abs(value) != math.inf:
        meant = ", or inf" if quantity.contains(math.inf) else ""
        end = f", but the dtype of these arrays ends at {largest:g}; pass float64 arrays{meant}"
        outside(quantity, as_float(quantity, value), end)


def as_float(quantity: Quantity, value: float) -> float:
    """Return an integer as a float; raise ``ValueError`` for one that is too large."""
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{quantity.name} must be a float, got an integer of more than 308 digits") from None


def fills(quantity: Quantity, block: Values) -> bool:
    """Whether a NumPy block lies inside the range but for NaN; two reductions decide it for a block without NaN."""
    ends = numpy.minimum.reduce(block, axis=None), numpy.maximum.reduce(block, axis=None)
    quick = quantity.contains(ends[0]) and quantity.contains(ends[1])
    return bool(quick or (quantity.contains(block) | numpy.isnan(block)).all())
