"""Proofs over boxes by interval branch and bound."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple

from flint import arb

from lambda_star.verified._enclose import floats, precision
from lambda_star.verified._real import EVERYTHING, Real, UndecidedError, real
from lambda_star.verified.claims import CLAIMS, Claim

__all__ = ["Proof", "prove", "prove_all"]

BITS = 64
DEEPEST = 60  # halvings of a box after which a piece is given up
EVERY = 256  # pieces from one report to the next
WHOLE = 1000  # parts of the box that a report counts in

Piece = dict[str, tuple[float, float]]
Report = Callable[[str, int, int], None]


class Proof(NamedTuple):
    """How the proof of a claim ended."""

    claim: Claim
    box: Piece
    """The box over which it was tried."""
    outcome: Literal["proved", "refuted", "open"]
    """Refuted is a claim that is false on a whole piece; open is one that interval arithmetic does not decide."""
    pieces: int
    """How many pieces were looked at."""
    seconds: float
    piece: Piece | None = None
    """The piece on which the claim fails, or on which it could not be decided."""
    value: tuple[float, float] | None = None
    """Floats between which the expression lies on that piece."""


def prove(claim: Claim, *, quick: bool = False, report: Report | None = None) -> Proof:
    """Prove that the expression of a claim is positive over its box, or find a piece on which it is not.

    The box is cut in two again and again until interval arithmetic shows the sign on every piece.

    Args:
        claim: one of :data:`~lambda_star.verified.claims.CLAIMS`, or your own.
        quick: whether to look at the claim's quick sides only.
        report: what is told the claim's name, how many thousandths of the box are done, and 1000.

    Returns:
        A :class:`Proof`.

    >>> from lambda_star.verified.claims import Claim
    >>> prove(Claim("square", "(x−1)² + 2 > x", {"x": (0.0, 3.0)}, lambda x: (x - 1) * (x - 1) + 2 - x)).outcome
    'proved'
    >>> prove(Claim("square", "x² > x", {"x": (0.0, 3.0)}, lambda x: x * x - x)).piece
    {'x': (0.75, 0.75)}
    """
    box = {**claim.box, **(claim.quick if quick else {})}
    stack, done, pieces, start = [(box, 0)], 0.0, 0, time.perf_counter()
    with precision(BITS):
        while stack:
            piece, depth = stack.pop()
            pieces += 1
            if report and pieces % EVERY == 0:
                report(claim.name, int(WHOLE * done), WHOLE)
            value = _value(claim, piece)
            if value.low > 0:
                done += 2.0**-depth
                continue
            if value.high > 0:  # a point on which the claim is false is a piece too
                point = {name: (_middle(*ends),) * 2 for name, ends in piece.items()}
                at = _value(claim, point)
                piece, value = (point, at) if at.high <= 0 else (piece, value)
            if value.high <= 0 or depth == DEEPEST:
                outcome: Literal["refuted", "open"] = "refuted" if value.high <= 0 else "open"
                return Proof(claim, box, outcome, pieces, time.perf_counter() - start, piece, floats(value))
            stack += [(half, depth + 1) for half in _halves(claim, piece)]
    if report:
        report(claim.name, WHOLE, WHOLE)
    return Proof(claim, box, "proved", pieces, time.perf_counter() - start)


def prove_all(
    claims: Iterable[Claim] = CLAIMS, *, quick: bool = False, report: Report | None = None
) -> Iterator[Proof]:
    """Prove claims one after the other.

    Args:
        claims: the claims, by default all of this library.
        quick: whether to look at their quick sides only.
        report: as for :func:`prove`.

    Returns:
        An iterator of a :class:`Proof` each.

    >>> {proof.outcome for proof in prove_all(CLAIMS[:3])}
    {'proved'}
    """
    return (prove(claim, quick=quick, report=report) for claim in claims)


def _value(claim: Claim, piece: Piece) -> Real:
    try:
        return real(claim.positive(*(Real(arb(low), arb(high)) for low, high in piece.values())))
    except UndecidedError:
        return EVERYTHING


def _halves(claim: Claim, piece: Piece) -> tuple[Piece, Piece]:
    """Cut a piece across the side that alone, with the others at their middles, leaves the expression widest."""
    middles = {name: _middle(*ends) for name, ends in piece.items()}
    points = {name: (middle, middle) for name, middle in middles.items()}

    def spread(name: str) -> tuple[bool, float]:
        low, high = piece[name]
        value = _value(claim, {**points, name: piece[name]})
        return low < middles[name] < high, float(value.high - value.low)

    name = max(piece, key=spread)
    low, high = piece[name]
    return {**piece, name: (low, middles[name])}, {**piece, name: (middles[name], high)}


def _middle(low: float, high: float) -> float:
    """The middle, of the logarithms where a side spans a factor."""
    return math.sqrt(low * high) if low > 0 and high > 4 * low else low + (high - low) / 2
