"""Three readings of λ* at a measured position: for any single token (``token``), for everything but the modal token
(``bernoulli``, Eq. 4 of the paper), and for everything outside the modal token's contract class (``class``).

A reading says which tokens the student must not make more than c times rarer than the teacher does.

A table lists only the most probable tokens of a position. Its unlisted tokens enter the token and class readings as
one token, or as two at the ends of the range of their log-ratios, which bounds the true λ* from both sides
(:func:`lambda_star.categorical.with_unlisted`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lambda_star import _deprecated, categorical
from lambda_star._core.namespaces import Floats
from lambda_star.calibration.table import Top
from lambda_star.contract import Labeller
from lambda_star.sequence import lower_quantile

__all__ = ["Bracket", "Reading", "readings"]

_deprecated.serve(__name__)

MOST_OF_THE_TAIL = 0.5
"""The share of the teacher's tail in the modal token's own class above which the class reading is the one to use."""


class Bracket(NamedTuple):
    """A lower and an upper bound of λ*."""

    low: float
    high: float


@dataclass(frozen=True)
class Reading:
    """The three readings of λ* for one contract class, as medians over its positions.

    Attributes:
        name: name of the contract class.
        positions: number of positions that list their most probable tokens.
        token: bounds of the token reading, in which only listed tokens may bind.
        bernoulli: the bernoulli reading.
        by_class: bounds of the class reading.
        binding: the token that binds the token reading at most positions, or empty text if none binds.
        binding_mass: median teacher probability of the binding tokens, NaN if none binds.
        same_class: share of the teacher's tail that other tokens of the modal token's class hold.
        use: "class" if ``same_class`` is above one half, because losing those tokens breaks no contract; otherwise
            "bernoulli", which needs p and b alone and which no single token of negligible mass decides.

    >>> top = Top(("[", "{", "("), (-0.1, -2.5, -4.6), (-0.7, -1.2, -1.6), low=-3.0, high=3.0)
    >>> (found,) = readings([top], ["["], [1.4], 2.0, str.strip)
    >>> found.binding, found.use
    ('(', 'bernoulli')
    """

    name: str
    positions: int
    token: Bracket
    bernoulli: float
    by_class: Bracket
    binding: str
    binding_mass: float
    same_class: float
    use: Literal["bernoulli", "class"]


_deprecated.renamed_fields(Reading, classes="by_class", mates="same_class")


def readings(
    tops: Sequence[Top | None],
    labels: Sequence[str],
    thresholds: Sequence[float] | Floats,
    clip: float,
    labeller: Labeller,
) -> tuple[Reading, ...]:
    """Return the three readings of λ* for every contract class with positions that list their most probable tokens.

    Args:
        tops: the listed tokens of each position, None for a position that lists none and is left out.
        labels: the contract class of each position.
        thresholds: the λ* of Eq. 4 of each position.
        clip: the clip c, in (1, inf].
        labeller: the labeller that tells which tokens share a class; tokens that it puts in no class share one if
            their texts are equal up to white space around them; tokens of white space alone stay apart.

    Returns:
        One :class:`Reading` per class, in the order of the names.

    Raises:
        ValueError: the clip lies outside its range.

    Source: paper, Eq. 4, for the bernoulli reading; ``derivations/categorical.md`` for the others.

    >>> top = Top(("[", " [", "("), (-0.1, -2.5, -4.6), (-0.7, -1.2, -1.6))
    >>> readings([top], ["["], [1.4], 2.0, str.strip)[0].use
    'class'
    """
    listing = [index for index, top in enumerate(tops) if top is not None]
    if not listing:
        return ()
    rows = _TopRows.of([top for top in tops if top is not None], labeller)
    token, by_class, binding = rows.thresholds(clip)
    bernoulli, names = np.asarray(thresholds, dtype=np.float64)[listing], np.array(labels, dtype=object)[listing]
    found = []
    for name in sorted(set(names.tolist())):
        members = np.flatnonzero(names == name)
        bound = members[binding[members] >= 0]
        texts = Counter(rows.tokens[bound, binding[bound]].tolist())
        tail = rows.tail[members].sum()
        share = float(rows.same_class[members].sum() / tail) if tail > 0 else 0.0
        found.append(
            Reading(
                name=name,
                positions=len(members),
                token=Bracket(*(lower_quantile(side[members], 0.5) for side in token)),
                bernoulli=lower_quantile(bernoulli[members], 0.5),
                by_class=Bracket(*(lower_quantile(side[members], 0.5) for side in by_class)),
                binding=texts.most_common(1)[0][0] if texts else "",
                binding_mass=float(np.median(np.exp(rows.log_t[bound, binding[bound]]))) if texts else math.nan,
                same_class=share,
                use="class" if share > MOST_OF_THE_TAIL else "bernoulli",
            )
        )
    return tuple(found)


@dataclass(frozen=True)
class _TopRows:
    """The listed tokens as rows: the columns of the modal token's class, then as many columns for all other tokens."""

    tokens: NDArray[np.object_]
    log_t: Floats
    log_b: Floats
    tail: Floats
    same_class: Floats
    low: Floats
    high: Floats

    @classmethod
    def of(cls, tops: Sequence[Top], labeller: Labeller) -> _TopRows:
        width = max(len(top.tokens) for top in tops)
        tokens = np.full((len(tops), 2 * width), "", dtype=object)
        log_t, log_b = np.full(tokens.shape, -math.inf), np.full(tokens.shape, -math.inf)
        for row, top in enumerate(tops):
            own = _class(top.tokens[int(np.argmax(top.log_p))], labeller)
            for place, text in enumerate(top.tokens):
                column = place if _class(text, labeller) == own else width + place
                tokens[row, column], log_t[row, column], log_b[row, column] = text, top.log_p[place], top.log_b[place]
        modal = log_t.max(axis=1)
        same_class = np.exp(log_t[:, :width]).sum(axis=1) - np.exp(modal)
        low, high = np.array([(top.low, top.high) for top in tops], dtype=np.float64).T  # None becomes NaN
        return cls(tokens, log_t, log_b, -np.expm1(modal), np.maximum(same_class, 0.0), low, high)

    def thresholds(self, clip: float) -> tuple[Floats, Floats, NDArray[np.intp]]:
        """Lower and upper bounds of the token and the class reading, and the column that binds the first."""
        width = self.tokens.shape[1] // 2
        unknown = np.isnan(self.low)
        merged = categorical.with_unlisted(self.log_t, self.log_b)
        split = categorical.with_unlisted(self.log_t, self.log_b, np.nan_to_num(self.low), np.nan_to_num(self.high))
        alone, apart = [0] * (2 * width), [0] * width + [1] * width
        modal = self.log_t.argmax(axis=1)  # unlisted tokens may together outweigh the modal token, but none is modal
        highest = categorical.threshold(*merged, clip, classes=[*alone, -1], modal=modal)
        lowest = categorical.threshold(*split, clip, classes=[*alone, -1, -1], modal=modal)
        least = categorical.threshold(*merged, clip, classes=[*apart, 1], modal=modal, mode="class")
        most = categorical.threshold(*split, clip, classes=[*apart, 1, 1], modal=modal, mode="class")
        # Without a range the log-ratios of the unlisted tokens are not bounded, and so one side of λ* is not either.
        token = np.stack([np.where(unknown, 1.0, lowest.value), highest.value])
        by_class = np.stack([least.value, np.where(unknown, math.inf, most.value)])
        # Rounding may swap two bounds that are equal in exact arithmetic; sorting puts them in order.
        return np.sort(token, axis=0), np.sort(by_class, axis=0), highest.binding


def _class(text: str, labeller: Labeller) -> tuple[str | None, str]:
    """The class of a token; one in no class gets its stripped text beside None, which cannot equal a class."""
    label = labeller(text)
    return label, "" if label is not None else text.strip() or text
