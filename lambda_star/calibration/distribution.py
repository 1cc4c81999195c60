"""The distribution of a number that is at least 1, exact up to a million values and within a stated error above."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lambda_star._core.namespaces import Floats

__all__ = ["EXACT", "Distribution"]

EXACT = 1_000_000
"""The most values that are all kept."""

ACCURACY = 200
"""The parameter k of the sketch, which keeps about 20,000 numbers."""

DEVIATIONS = 3
"""The standard deviations of the sketch's rank that ``error`` allows for."""


class Distribution:
    """Values of at least 1, such as λ*, in any order; parts that were gathered apart can be merged.

    Above a million values a relative-error quantile sketch stands for them, which is most accurate at the low end and
    keeps the excess over 1 to seven digits, rounded down.

    Source: extension; Cormode, Karnin, Liberty, Thaler and Veselý, "Relative Error Streaming Quantiles" (2021), as
    Apache DataSketches has it.

    >>> found = Distribution([1.5, 1.25, 2.0, float("inf")])
    >>> found.quantile(0.5), found.share_below(2.0), found.count, found.error
    (1.5, 0.5, 4, 0.0)
    """

    def __init__(self, values: ArrayLike = ()) -> None:
        self._parts: list[Floats] = []
        self._sketch: Any = None
        self.count = 0
        self.add(np.asarray(values, dtype=np.float64))

    @property
    def error(self) -> float:
        """The share of itself by which the share of values below a quantile may be off; 0 where all values are kept.

        It is three standard deviations of the sketch, by the bounds of its library.
        """
        if self._sketch is None:
            return 0.0
        return float(self._sketch.get_rank_upper_bound(0.5, DEVIATIONS)) / 0.5 - 1

    def add(self, values: Floats) -> None:
        """Take in numbers of at least 1; +inf is one."""
        if not len(values):
            return
        self.count += len(values)
        if self._sketch is None:
            self._parts.append(np.array(values, dtype=np.float64))
            if self.count > EXACT:
                self.compact()
        else:
            self._sketch.update(_excess(values))

    def compact(self) -> None:
        """Let a sketch stand for the values from now on."""
        if self._sketch is None:
            self._sketch = _sketches()(ACCURACY, False)
            for part in self._parts:
                self._sketch.update(_excess(part))
            self._parts = []

    def merge(self, other: Distribution) -> Distribution:
        """Return this distribution with the values of another one added, which stays as it is.

        >>> Distribution([1.5]).merge(Distribution([2.0, 3.0])).quantile(0.5)
        2.0
        """
        self.count += other.count
        if other._sketch is not None or self.count > EXACT:
            self.compact()
        if self._sketch is None:
            self._parts += other._parts
        elif other._sketch is None:
            for part in other._parts:
                self._sketch.update(_excess(part))
        else:
            self._sketch.merge(other._sketch)
        return self

    def quantile(self, level: float) -> float:
        """Return the least value that at least a share of the values does not exceed; NaN if there is none."""
        if not self.count:
            return math.nan
        if self._sketch is not None:
            return 1 + float(self._sketch.get_quantile(level, True))
        return float(np.quantile(self._whole(), level, method="inverted_cdf"))

    def share_below(self, value: float) -> float:
        """Return the share of the values that are less than one; NaN if there are none."""
        if not self.count:
            return math.nan
        if self._sketch is not None:
            below = _excess(np.array([value]))[0]
            least = below if below >= value - 1 else np.nextafter(below, np.float32(math.inf))
            return float(self._sketch.get_rank(float(least), False))
        return float(np.searchsorted(self._whole(), value)) / self.count

    def values(self, most: int) -> Floats:
        """Return at most so many values in order that stand for all, for a picture.

        They are all values where these are few enough, and otherwise evenly spaced quantiles with the least and the
        greatest.
        """
        if self._sketch is not None:
            levels = np.linspace(0, 1, most)
            return 1 + np.asarray(self._sketch.get_quantiles(levels.tolist(), True), dtype=np.float64)
        whole = self._whole()
        return whole if len(whole) <= most else whole[np.linspace(0, len(whole) - 1, most).astype(np.intp)]

    def to_bytes(self) -> bytes:
        """Return the distribution as bytes, for :meth:`from_bytes`."""
        if self._sketch is not None:
            return b"s" + bytes(self._sketch.serialize())
        return b"v" + self._whole().astype("<f8").tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Distribution:
        """Return the distribution that :meth:`to_bytes` wrote; ``ValueError`` says that the bytes are none of one.

        >>> Distribution.from_bytes(Distribution([1.5, 1.25]).to_bytes()).values(9).tolist()
        [1.25, 1.5]
        """
        found = cls()
        if data[:1] == b"v":
            found.add(np.frombuffer(data[1:], dtype="<f8").astype(np.float64))
        elif data[:1] == b"s":
            sketches = _sketches()
            try:
                found._sketch = sketches.deserialize(data[1:])
            except Exception as error:  # the library raises whatever its C++ throws
                raise ValueError(f"data must be those of a sketch ({error})") from error
            found.count = int(found._sketch.n)
        else:
            raise ValueError("data must begin with the mark of a distribution")
        return found

    def _whole(self) -> Floats:
        """All values in order."""
        self._parts = [np.sort(np.concatenate([np.empty(0), *self._parts]))] if self._parts else [np.empty(0)]
        return self._parts[0]


def _excess(values: Floats) -> Any:
    """The excess over 1 as the next float32 below, so that no quantile comes out greater than it is."""
    excess = values - 1
    with np.errstate(over="ignore"):
        near = excess.astype(np.float32)
    above = near > excess
    near[above] = np.nextafter(near[above], np.float32(-math.inf))
    return near


def _sketches() -> Any:
    """The sort of sketch, from a library that is loaded for many values only, as not every Python has it."""
    try:
        from datasketches import req_floats_sketch
    except ImportError as error:
        said = f"more than {EXACT:,} values need datasketches; install it with: pip install datasketches"
        raise ImportError(f"{said} (where that finds no wheel, use an older Python)") from error
    return req_floats_sketch
