"""The search for the excess λ−1 at which a log-ratio first reaches log c, in all rows of a block at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, TypeAlias

from lambda_star._core.namespaces import Values

Look: TypeAlias = tuple[Values, Values, Values, Values]
"""What one evaluation shows: the residual log R − log c, a step towards its root, the relative size of a negligible
step, and the size of a residual that rounding alone may have made.
"""

STEPS = 100
"""Most evaluations before a row counts as not converged; a test holds the mean of ordinary rows to eight."""


STEEP = 60.0
"""Up to this product of excess and range of r no exponential overflows, and bounds from means are good enough."""


class Search(ABC):
    """A bracket for the root of every row, narrowed until a step is negligible.

    The root lies above ``low``, and at most at ``high`` once that is finite. Each round *advances* to a new excess,
    looks at the residual there, *certifies* that the first root was not passed unseen, and *polishes* the bracket and
    the answer. A problem says how to advance, how to look, and how to certify.
    """

    def __init__(self, xp: Any, low: Values, high: Values, root: Values, done: Values, epsilon: float) -> None:
        self.xp, self.epsilon = xp, epsilon
        self.low, self.high, self.root, self.done = low, high, root, done
        self.guess, self.steps = root, xp.zeros_like(xp.argmax(low[:, None], axis=-1))

    @abstractmethod
    def advance(self) -> Values:
        """Return the excess to look at next."""

    @abstractmethod
    def look(self, x: Values) -> Look:
        """Evaluate the ratio at an excess."""

    def certify(self, x: Values) -> Values:
        """Tell where the residual at x would show any root between ``low`` and x; by default it always does."""
        return self.xp.ones_like(self.done)

    def polish(self, x: Values, seen: Look, certain: Values) -> None:
        """Narrow the bracket to x where that is certain, and end the rows whose step is negligible."""
        xp, (residual, step, negligible, noise) = self.xp, seen
        certain = certain & ~self.done
        near = certain & ((xp.abs(step) <= negligible * x) | (xp.abs(residual) <= noise))
        self.low = xp.where(certain & (residual < 0), x, self.low)
        self.high = xp.where(certain & (residual > 0), x, self.high)
        self.guess = x + step
        self.steps = xp.where(self.done, self.steps, self.steps + 1)
        if bool(xp.any(near)):
            polished = self.bracketed(xp.where(xp.abs(step) < x, self.guess, x))
            self.root, self.done = xp.where(near, polished, self.root), self.done | near

    def bracketed(self, x: Values) -> Values:
        """Return x, or the end of the bracket that it lies beyond."""
        return self.xp.minimum(self.xp.maximum(x, self.low), self.high)

    def run(self) -> tuple[Values, Values, Values]:
        """Return the root of every row (``low`` where none was found), the evaluations, and whether it was found."""
        xp = self.xp
        for _ in range(STEPS):
            if bool(xp.all(self.done)):
                break
            x = xp.where(self.done, 0.0, self.advance())
            seen = self.look(x)
            self.polish(x, seen, self.certify(x))
        return xp.where(self.done, self.root, self.low), self.steps, self.done
