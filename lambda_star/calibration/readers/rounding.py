"""How numbers on file were rounded, from the numbers themselves."""

from __future__ import annotations

import math
from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple

import numpy as np

__all__ = ["Digits"]

HALF_MOST = 65504.0
"""The greatest number of float16."""

FEW_DIGITS = 7
"""A float32 takes up to nine digits: numbers that all have at most this many, or as many decimals, were rounded."""


class Digits(NamedTuple):
    """How numbers were rounded: decimal places, significant digits, and share of a number; None and 0 if they were not.

    >>> Digits.of([-0.123, -3.5, -11.376]).half(-11.376)  # three decimals
    0.0005
    >>> Digits.of([-0.1234567891]).half(-0.1234567891)
    0.0
    """

    places: int | None = None
    significant: int | None = None
    share: float = 0.0

    @classmethod
    def of(cls, numbers: Iterable[float]) -> Digits:
        """Return the rounding that log-probabilities show, at least one for each position; none if they are all 0."""
        seen = {number for number in numbers if number and math.isfinite(number)}
        places = significant = 0
        for number in seen:
            digits, exponent = Decimal(repr(number)).normalize().as_tuple()[1:]
            significant, places = max(significant, len(digits)), max(places, -int(exponent))
            if min(places, significant) > FEW_DIGITS and not _half(number):
                return cls()
        share = 2.0 ** -(min(map(_half, seen), default=0) or math.inf)
        least, most = (count if seen and count <= FEW_DIGITS else None for count in (places, significant))
        return cls(least, most, share)

    def half(self, number: float) -> float:
        """Return the greatest distance of a number on file from the number that was computed."""
        widths = [self.share * abs(number)]
        if self.places is not None:
            widths.append(0.5 * 10.0**-self.places)
        if self.significant is not None and number:
            widths.append(0.5 * 10.0 ** (math.floor(math.log10(abs(number))) - self.significant + 1))
        return max(widths)


def _half(number: float) -> int:
    """The bits to which a half-precision format rounds: 8 for bfloat16, 11 for float16, 0 if neither can hold it."""
    if not np.float32(number).view(np.uint32) & 0xFFFF and float(np.float32(number)) == number:
        return 8
    return 11 if abs(number) < HALF_MOST and float(np.float16(number)) == number else 0
