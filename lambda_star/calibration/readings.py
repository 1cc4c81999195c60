"""Token by token, modal token against the rest, or class by class: the three thresholds of measured positions.

Only the most probable tokens of a position are known. The unknown remainder enters as one token or as two at the ends
of the range of its log-ratios, which bounds the true threshold from either side
(:func:`lambda_star.categorical.with_unlisted`). An extension.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lambda_star import categorical
from lambda_star._core.namespaces import Floats
from lambda_star.calibration.table import Top
from lambda_star.sequence import lower_quantile

__all__ = ["Bracket", "Resolution", "resolve"]

Rule = Callable[[str], str | None]


MATES = 0.5
"""Share of the teacher's tail in the modal token's own class above which that tail is no violation of the contract."""


class Bracket(NamedTuple):
    """What is known of a threshold: it lies between the two values.

    >>> Bracket(1.2, 1.3).low
    1.2
    """

    low: float
    high: float


@dataclass(frozen=True)
class Resolution:
    """The three thresholds of the positions of one contract class: medians over its positions.

    Attributes:
        name: label of the contract class.
        positions: number of positions whose most probable tokens are known.
        token: λ* of the known tokens one by one: the least log-ratio binds.
        bernoulli: λ* of the modal token against everything else, Eq. 4 of the paper.
        classes: λ* of everything outside the modal token's class, taken as one class under the K-token fixed point.
        binding: the token that binds most often in ``token``.
        binding_mass: median teacher probability of the binding tokens.
        mates: share of the teacher's tail mass that belongs to other tokens of the modal token's class.
        use: the one to go by: "classes" where most of the tail is tokens of the modal token's own class, whose loss
            breaks nothing; else "bernoulli", which needs p and b alone and lets no single token of no consequence bind.

    >>> top = Top(("[", "{", "("), (-0.1, -2.5, -4.6), (-0.7, -1.2, -1.6), low=-3.0, high=3.0)
    >>> found = resolve([top], ["["], [1.4], 2.0, str.strip)[0]
    >>> found.token.low <= found.token.high, found.binding
    (True, '(')
    """

    name: str
    positions: int
    token: Bracket
    bernoulli: float
    classes: Bracket
    binding: str
    binding_mass: float
    mates: float
    use: Literal["bernoulli", "classes"]

    @property
    def why(self) -> str:
        """The reason for ``use``, in words."""
        share = f"{self.mates:.0%} of the teacher's tail is tokens of the modal token's own class"
        if self.use == "classes":
            return f"{share}: their loss breaks nothing"
        return f"{share}; what binds token by token is {self.binding!r}, teacher mass {self.binding_mass:.1e}"


def resolve(
    tops: Sequence[Top], labels: Sequence[str], thresholds: Sequence[float] | Floats, clip: float, rule: Rule
) -> tuple[Resolution, ...]:
    """The three thresholds of every contract class, from the known tokens of its positions.

    Args:
        tops: the known tokens of each position, at least one.
        labels: the contract class of each position.
        thresholds: Eq. 4's λ* of each position.
        clip: the cap c on the ratio of teacher to student probability, in (1, inf).
        rule: from the text of a token to its class; None where it is in no class but that of its text.

    Returns:
        One :class:`Resolution` per class, in the order of the names.

    Raises:
        ValueError: the clip lies outside its range.

    Source: extension; ``derivations/categorical.md``.

    >>> top = Top(("[", " [", "("), (-0.1, -2.5, -4.6), (-0.7, -1.2, -1.6))
    >>> resolve([top], ["["], [1.4], 2.0, str.strip)[0].use
    'classes'
    """
    arranged = _Arranged.of(tops, rule)
    token, classes, binding = arranged.thresholds(clip)
    eq4, names = np.asarray(thresholds, dtype=np.float64), np.asarray(labels, dtype=object)
    return tuple(
        _resolution(
            name, arranged, token[:, names == name], eq4[names == name], classes[:, names == name], binding, rows
        )
        for name in sorted(set(labels))
        for rows in [np.flatnonzero(names == name)]
    )


def _resolution(
    name: str,
    arranged: _Arranged,
    token: Floats,
    bernoulli: Floats,
    classes: Floats,
    binding: NDArray[np.intp],
    rows: NDArray[np.intp],
) -> Resolution:
    bound = rows[binding[rows] >= 0]
    texts = Counter(arranged.tokens[row, binding[row]] for row in bound)
    masses = np.exp(arranged.log_t[bound, binding[bound]])
    tail, mates = arranged.tail[rows].sum(), arranged.mates[rows].sum()
    share = float(mates / tail) if tail > 0 else 0.0
    return Resolution(
        name=name,
        positions=len(rows),
        token=Bracket(*(lower_quantile(side, 0.5) for side in token)),
        bernoulli=lower_quantile(bernoulli, 0.5),
        classes=Bracket(*(lower_quantile(side, 0.5) for side in classes)),
        binding=texts.most_common(1)[0][0] if texts else "",
        binding_mass=float(np.median(masses)) if len(masses) else math.nan,
        mates=share,
        use="classes" if share > MATES else "bernoulli",
    )


@dataclass(frozen=True)
class _Arranged:
    """The known tokens as rows: first those of the modal token's class, then as many columns for all others."""

    tokens: NDArray[np.object_]
    log_t: Floats
    log_b: Floats
    tail: Floats
    mates: Floats
    low: Floats
    high: Floats

    @classmethod
    def of(cls, tops: Sequence[Top], rule: Rule) -> _Arranged:
        width = max(len(top.tokens) for top in tops)
        tokens = np.full((len(tops), 2 * width), "", dtype=object)
        log_t, log_b = (np.full(tokens.shape, -math.inf) for _ in range(2))
        for row, top in enumerate(tops):
            own = _class(top.tokens[int(np.argmax(top.log_p))], rule)
            for place, text in enumerate(top.tokens):
                column = place if _class(text, rule) == own else width + place
                tokens[row, column], log_t[row, column], log_b[row, column] = text, top.log_p[place], top.log_b[place]
        modal = log_t.max(axis=1)
        mates = np.exp(log_t[:, :width]).sum(axis=1) - np.exp(modal)
        low, high = (
            np.array([math.nan if end is None else end for end in ends])
            for ends in ([top.low for top in tops], [top.high for top in tops])
        )
        return cls(tokens, log_t, log_b, -np.expm1(modal), np.maximum(mates, 0.0), low, high)

    def thresholds(self, clip: float) -> tuple[Floats, Floats, NDArray[np.intp]]:
        """Lower and upper values of λ* token by token and class by class, and the column that binds in the first."""
        width = self.tokens.shape[1] // 2
        unknown = np.isnan(self.low)
        merged = categorical.with_unlisted(self.log_t, self.log_b)
        split = categorical.with_unlisted(
            self.log_t, self.log_b, np.where(unknown, 0.0, self.low), np.where(unknown, 0.0, self.high)
        )
        alone, apart = [0] * (2 * width), [0] * width + [1] * width
        modal = self.log_t.argmax(axis=1)  # the rest may outweigh it, but is no token
        highest = categorical.threshold(*merged, clip, classes=[*alone, -1], modal=modal)
        lowest = categorical.threshold(*split, clip, classes=[*alone, -1, -1], modal=modal)
        least = categorical.threshold(*merged, clip, classes=[*apart, 1], modal=modal, mode="class")
        most = categorical.threshold(*split, clip, classes=[*apart, 1, 1], modal=modal, mode="class")
        # Without a range the remainder may weigh anything: nothing is proven in its direction.
        token = np.stack([np.where(unknown, 1.0, lowest.value), highest.value])
        classes = np.stack([least.value, np.where(unknown, math.inf, most.value)])
        # Sorted, since rounded numbers may put the ends of a bracket of no width the other way round.
        return np.sort(token, axis=0), np.sort(classes, axis=0), highest.binding


def _class(text: str, rule: Rule) -> tuple[str | None, str]:
    """The class of a token; outside the contract its text without white space, which is the name of no class."""
    label = rule(text)
    return label, "" if label is not None else text.strip()
