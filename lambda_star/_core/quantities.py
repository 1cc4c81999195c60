"""The intervals in which arguments must lie, and the one check of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lambda_star._core.namespaces import Values

__all__ = ["Domain", "block_within", "check", "known_truth", "within"]


class Domain(NamedTuple):
    """An interval of the real line."""

    low: float
    high: float
    low_closed: bool = False
    high_closed: bool = False

    def __str__(self) -> str:
        return f"{'[' if self.low_closed else '('}{self.low:g}, {self.high:g}{']' if self.high_closed else ')'}"

    def contains(self, values: Values) -> Values:
        """Where the values lie in the interval, for one float or an array; NaN lies nowhere."""
        above = values >= self.low if self.low_closed else values > self.low
        return above & (values <= self.high if self.high_closed else values < self.high)

    def float_bounds(self) -> tuple[float, float]:
        """The least and the greatest Python float in the interval."""
        low = self.low if self.low_closed else math.nextafter(self.low, math.inf)
        return low, self.high if self.high_closed else math.nextafter(self.high, -math.inf)


def within(xp: Any, domain: Domain, values: Values) -> Values:
    return domain.contains(values) | xp.isnan(values)


def block_within(domain: Domain, values: Values) -> bool:
    """Whether a NumPy block lies inside the domain; two reductions decide it for a block without NaN."""
    quick = domain.contains(np.minimum.reduce(values, axis=None)) and domain.contains(
        np.maximum.reduce(values, axis=None)
    )
    return bool(quick or within(np, domain, values).all())


def check(xp: Any, domains: Mapping[str, Domain], arrays: Sequence[Values]) -> None:
    """Raise ``ValueError`` for the first argument with a value outside its domain; NaN passes."""
    for (name, domain), array in zip(domains.items(), arrays, strict=True):
        inside = within(xp, domain, array)
        if known_truth(xp.all(inside)) is not False:
            continue
        index = tuple(int(axis[0]) for axis in xp.nonzero(~inside)) if array.ndim else ()
        place = f" at index {index[0] if len(index) == 1 else index}" if index else ""
        raise ValueError(f"{name} must lie in {domain}, got {float(array[index])!r}{place}")


def known_truth(flag: Values) -> bool | None:
    """The truth of a flag, or None where a tracer stands for it (``jax.jit``, ``torch.func.vmap``)."""
    try:
        return bool(flag)
    except (TypeError, RuntimeError):  # what JAX and PyTorch raise when a traced value is asked for its truth
        return None


PROBABILITY = Domain(0.0, 1.0)


CLIP = Domain(1.0, math.inf, low_closed=True, high_closed=True)


REAL = Domain(-math.inf, math.inf)


MARGIN = Domain(0.0, 1.0, low_closed=True)
