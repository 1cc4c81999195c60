"""Thresholds of answers with many positions, and the probability that an answer is valid at a given λ.

An answer passes through its positions in order. At each one, some tokens let it go on within the contract, some end it
validly, and all others break the contract. A position is a row of log-probabilities over K tokens, or over two
outcomes: the modal token and the tail. The student at a position is the one that training with the clip ends at
(:func:`lambda_star.categorical.stationary_student`). Positions are taken as independent, although in a real model the
shared parameters can drag a position along with others that are past their threshold. Everything here is an extension.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lambda_star import categorical
from lambda_star._core.namespaces import Floats
from lambda_star._core.quantities import LAM, B, C, P, Quantity, check, reals, require
from lambda_star.categorical import Mode

__all__ = ["Positions", "listwise", "lower_quantile", "share_past", "threshold", "validity"]

Pair = tuple[float, float]

FRACTION = Quantity("fraction", 0.0, 1.0, "[]")
ITEMS = Quantity("items", 1, 1e6, "[]")
"""The longest list would fill half a gigabyte."""


@dataclass(frozen=True)
class Positions:
    """The positions of one or more answers, in order.

    Attributes:
        log_t: log-probabilities or logits of the teacher, shape (n, K).
        log_b: the same of the base.
        goes: fraction of each token after which the answer goes on within the contract, in [0, 1], shape (n, K).
        ends: fraction of each token that ends the answer validly, in [0, 1], shape (n, K); ``goes + ends`` is at most
            1, and the remaining fraction breaks the contract.
        answer: which answer each position belongs to, shape (n,); by default all belong to one answer.
        modal: index of each position's modal token, shape (n,); by default the teacher's most probable one.

    >>> import numpy as np
    >>> Positions(np.log([[0.9, 0.1]]), np.log([[0.6, 0.4]]), goes=[[1, 0]]).p
    array([0.9])
    """

    log_t: Any
    log_b: Any
    goes: Any
    ends: Any = 0.0
    answer: Any = 0
    modal: Any = None

    def __post_init__(self) -> None:
        log_t = np.atleast_2d(reals("log_t", self.log_t))
        if log_t.ndim != 2:
            raise ValueError(f"log_t must have the shape (positions, tokens), got {log_t.shape}")
        for name in ("log_t", "log_b", "goes", "ends"):
            values = reals(name, getattr(self, name), "fiub" if name in {"goes", "ends"} else "fiu")
            object.__setattr__(self, name, _broadcast(name, values, log_t.shape))
        modal = np.argmax(log_t, axis=-1) if self.modal is None else np.asarray(self.modal)
        check(np, (Quantity("modal", 0, log_t.shape[1] - 1, "[]"), modal))
        if modal.dtype.kind not in "iu":
            raise ValueError(f"modal must hold indices of tokens, got dtype {modal.dtype}")
        for name, values in (("answer", np.asarray(self.answer)), ("modal", modal)):
            object.__setattr__(self, name, _broadcast(name, values, log_t.shape[:1]))
        for name, values in (("goes", self.goes), ("ends", self.ends), ("goes + ends", self.goes + self.ends)):
            check(np, (FRACTION.named(name), values))

    @classmethod
    def from_probabilities(
        cls, p: ArrayLike, b: ArrayLike, *, goes: ArrayLike = (1, 0), ends: ArrayLike = (0, 0), answer: ArrayLike = 0
    ) -> Positions:
        """Make positions of two outcomes: the teacher's modal token (probability p, and b under the base) and the tail.

        ``goes`` and ``ends`` give the fractions of the two, in this order; p and b lie in (0, 1).

        >>> Positions.from_probabilities([0.9, 0.99], 0.5).thresholds(2.0)
        array([1.34..., 1.151...])
        """
        p, b = np.broadcast_arrays(np.atleast_1d(reals("p", p)), reals("b", b))
        check(np, (P, p), (B, b))
        log_t, log_b = (np.stack([np.log(modal), np.log1p(-modal)], axis=-1) for modal in (p, b))
        return cls(log_t, log_b, goes, ends, answer, modal=0)  # p may be less than the mass of the whole tail

    @property
    def p(self) -> Floats:
        """The teacher's modal probability at each position."""
        return self._probability(1.0)

    @property
    def b(self) -> Floats:
        """The base's probability of the same token."""
        return self._probability(0.0)

    def _probability(self, lam: float) -> Floats:
        student = np.exp(categorical.fixed_point(self.log_t, self.log_b, lam))
        modal: Floats = student[np.arange(len(student)), self.modal]
        return modal

    def thresholds(self, c: float, *, mode: Mode = "bernoulli") -> Floats:
        """λ*_t of every position, by default of its modal token against the tail."""
        found: Floats = categorical.threshold(self.log_t, self.log_b, c, modal=self.modal, mode=mode).value
        return found


def listwise(
    items: int, *, separator: Pair, quote: Pair | None = None, opening: Pair | None = None, closes: float = 1.0
) -> Positions:
    """Build the positions of a JSON list of at most ``items`` strings, from one (p, b) per class of tokens.

    After each item the separator is the modal token, after which the list goes on, and the closing bracket is in the
    tail; after the last item only the closing bracket is valid. Extrapolation sharpens the quotes, which raises the
    validity as long as λ is below the separator's λ*; past the separator's collapse point no list is ever closed.

    Args:
        items: the most items that the token budget has room for, in [1, 1,000,000].
        separator: (p, b) of the separator where an item ends.
        quote: (p, b) of the quote that opens or closes a string, two per item; None if absent or certain.
        opening: (p, b) of the bracket that opens the list; None if it is certain.
        closes: fraction of the separator's tail that is the closing bracket, in [0, 1]; all else breaks the contract.

    Returns:
        A :class:`Positions` of one answer.

    Raises:
        ValueError: a value lies outside its range; the message names argument, range and value.

    Source: extension; ``derivations/sequence.md``.

    >>> answer = listwise(40, separator=(0.7, 0.2), quote=(0.97, 0.7))
    >>> validity(answer, 5.0, [0.0, 1.0, 1.5, 1.7, 1.9]).round(2)  # its separators have λ* = 1.85
    array([0.43, 0.83, 0.88, 0.97, 0.  ])
    """
    require((ITEMS, items))
    for name, pair in (("separator", separator), ("quote", quote), ("opening", opening)):
        if (pair is not None or pair is separator) and reals(name, pair).shape != (2,):
            raise ValueError(f"{name} must be a pair (p, b), got {pair!r}")
    if not (isinstance(closes, float) and math.isnan(closes)):
        require((FRACTION.named("closes"), closes))
    needed = ((1.0, 0.0), (0.0, 0.0))  # only the modal token goes on, and nothing ends the answer
    steps = [(opening, *needed)] if opening else []
    for item in range(1, items + 1):
        steps += [(quote, *needed)] * 2 if quote else []
        steps.append((separator, (float(item < items), 0.0), (0.0, closes)))
    pairs, goes, ends = (np.array(column, dtype=np.float64) for column in zip(*steps, strict=True))
    return Positions.from_probabilities(pairs[:, 0], pairs[:, 1], goes=goes, ends=ends)


def threshold(positions: Positions, c: float, *, quantile: float = 0.0, mode: Mode = "bernoulli") -> float:
    """A quantile of the thresholds λ*_t of the positions; by default the least, so that no position is past its own.

    Args:
        positions: the positions, at least one.
        c: cap on the ratio of teacher to student probability, in [1, inf].
        quantile: fraction of the positions that may lie past their own λ*_t, in [0, 1].
        mode: as for :func:`lambda_star.categorical.threshold`.

    Returns:
        One of the λ*_t, never a value between two of them, since some may be +inf; NaN if a position is NaN.

    Raises:
        ValueError: a value lies outside its range, or there is no position.

    Source: extension; ``derivations/sequence.md``.

    >>> threshold(Positions.from_probabilities([0.9, 0.99, 0.999], 0.5), 2.0, quantile=0.5)
    1.151...
    """
    return lower_quantile(positions.thresholds(c, mode=mode), quantile)


def lower_quantile(values: Floats, level: float, counts: NDArray[np.int64] | None = None) -> float:
    """The least value that at least a fraction ``level`` of the values does not exceed.

    Args:
        values: at least one value, in any order; +inf is allowed.
        level: the fraction, in [0, 1].
        counts: how many times each value is there, at least once in all; by default once each.

    Returns:
        One of the values; NaN if a value is NaN.

    Raises:
        ValueError: the level lies outside its range, or there is no value.

    Source: extension; ``derivations/sequence.md``.

    >>> lower_quantile(np.array([1.3, np.inf, 1.1, 1.2]), 0.5)
    1.2
    """
    require((FRACTION.named("quantile"), level))
    _require_some(values)
    values = values if counts is None else np.repeat(values, counts)
    return float(np.quantile(values, level, method="inverted_cdf"))


def share_past(positions: Positions, c: float, lam: ArrayLike, *, mode: Mode = "bernoulli") -> float | Floats:
    """The fraction of the positions whose own λ*_t lies below λ.

    Args:
        positions: the positions, at least one.
        c: cap on the ratio of teacher to student probability, in [1, inf].
        lam: extrapolation coefficient λ, in (-inf, inf); a number or an array.
        mode: as for :func:`lambda_star.categorical.threshold`.

    Returns:
        A float, or an array of the shape of ``lam``, in [0, 1]; NaN where λ or a position is NaN.

    Raises:
        ValueError: a value lies outside its range, or there is no position.

    Source: extension; ``derivations/sequence.md``.

    >>> share_past(Positions.from_probabilities([0.9, 0.99], 0.5), 2.0, [1.1, 1.2, 1.4])
    array([0. , 0.5, 1. ])
    """
    lam = reals("lam", lam)
    check(np, (LAM, lam))
    each = positions.thresholds(c, mode=mode)
    _require_some(each)
    unknown = np.isnan(lam) | np.isnan(each).any()
    past = np.where(unknown, np.nan, np.mean(each < lam[..., None], axis=-1))
    return past if lam.ndim else float(past)


def validity(positions: Positions, c: float, lam: ArrayLike) -> float | Floats:
    """V(λ), the predicted probability that an answer is valid, on both sides of the cliff.

    V = Σ_t e_t Π_{s<t} g_s + Π_t g_t, where g_t and e_t are the student's probabilities of going on and of ending
    validly at position t. Where there are several answers, V is their mean.

    Args:
        positions: the positions, at least one.
        c: cap on the ratio of teacher to student probability, in [1, inf]; inf means no clip.
        lam: extrapolation coefficient λ, in (-inf, inf); a number or an array.

    Returns:
        A float, or an array of the shape of ``lam``, in [0, 1]; NaN where λ or a position is NaN.

    Raises:
        ValueError: a value lies outside its range, or there is no position.

    Source: extension, for the model with the clip inside the update; ``derivations/sequence.md``.

    >>> round(validity(Positions.from_probabilities([0.9, 0.99], 0.5), 2.0, 1.0), 6)  # 0.9 times 0.99
    0.891
    """
    if np.ndim(c):
        raise ValueError(f"c must be one number, got {c!r}; the order is (positions, c, lam) from release 0.2 on")
    lam = reals("lam", lam)
    check(np, (LAM, lam), (C, reals("c", c)))
    _require_some(positions.log_t)
    order = _by_answer(positions.answer)
    curve = np.array([_validity(positions, order, value, c) for value in lam.ravel()]).reshape(lam.shape)
    return curve if lam.ndim else float(curve)


def _validity(positions: Positions, order: NDArray[np.intp], lam: float, c: float) -> float:
    student = np.exp(categorical.stationary_student(positions.log_t, positions.log_b, c, lam))
    going = np.append((positions.goes * student).sum(axis=-1), 1.0)
    ending = np.append((positions.ends * student).sum(axis=-1), 0.0)
    reached = np.cumprod(going[order], axis=1)
    before = np.concatenate([np.ones((len(order), 1)), reached[:, :-1]], axis=1)
    valid = (ending[order] * before).sum(axis=1) + reached[:, -1]
    return float(np.minimum(np.mean(valid), 1.0))  # rounding may lift a sum of masses above 1


def _by_answer(answer: NDArray[np.int64]) -> NDArray[np.intp]:
    """The indices of every answer's positions in a row, filled up with the index past the last position."""
    _, which = np.unique(answer, return_inverse=True)
    lengths = np.bincount(which)
    order = np.full((len(lengths), lengths.max()), len(answer), dtype=np.intp)
    order[np.arange(lengths.max()) < lengths[:, None]] = np.argsort(which, kind="stable")
    return order


def _require_some(values: Sequence[Any] | NDArray[Any]) -> None:
    if not len(values):
        raise ValueError("positions must hold at least one position, got none")


def _broadcast(name: str, values: NDArray[np.generic], shape: Sequence[int]) -> NDArray[np.generic]:
    try:
        return np.broadcast_to(values, shape)
    except ValueError:
        raise ValueError(f"{name} must broadcast to the shape {tuple(shape)}, got {values.shape}") from None
