"""Rules that let some tokens out: losses over the student's top k, and rollouts that never draw a token."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from lambda_star import bernoulli
from lambda_star._core.namespaces import Floats, Values
from lambda_star._core.quantities import Quantity
from lambda_star.updates import _rows, _two
from lambda_star.updates._rows import Rows, log_sum
from lambda_star.updates._rule import Rule, number, switch, uncapped

STEPS = (0.02,) * 300 + (0.2,) * 300
"""Of natural gradient, by which a student over K tokens is followed: small at first, and long where little moves."""

TOP_P = Quantity("top_p", 0.0, 1.0, "(]", meaning="the student's mass that rollouts are drawn from")


class _Set(Rule):
    """A rule under which tokens outside a set of the student's most probable ones get no advantage.

    Over K tokens the student is followed from the base to find the set that training ends with. The tokens outside keep
    their proportions, which are the base's if the set never changed, and share what the set leaves. Where they then
    belong to the set themselves, training swaps tokens for ever and the student is NaN.
    """

    @property
    def _cost(self) -> float:
        """1 where the loss is differentiated through."""
        return 0.0

    @property
    @abstractmethod
    def _share(self) -> float:
        """The student's probability from which on one of two outcomes is alone in the set; 1 for never."""

    @abstractmethod
    def _inside(self, log_q: Floats) -> Any:
        """Which tokens are in the set of a student."""

    def _dies(self, p: Values, b: Values) -> Any:
        return _two.never(p, b) if self._share == 1 else _two.set_dies(p, b, self._share, self._cost)

    def _student(self, p: Values, b: Values, lam: Values) -> Any:
        if self._share == 1:
            return bernoulli.fixed_point(p, b, lam)
        return _two.set_student(p, b, lam, self._share, self._cost)

    def _forces(self, log_q: Floats, log_t: Floats, log_b: Floats, lam: Floats, drawn: Floats) -> Floats:
        return np.where(self._inside(log_q), uncapped(log_q, log_t, log_b, lam) - self._cost, 0.0)

    def _leaves_rows(self, log_t: Values, log_b: Values, axis: int) -> Any:
        def leaves(rows: Rows) -> Floats:
            return np.maximum(1.0, _rows.first(self._departed, rows))

        return _rows.of_rows(leaves, log_t, log_b, 2.0, axis, tokens=False)

    def _departed(self, rows: Rows) -> Any:
        return (~self._inside(rows.mixture) & (rows.power > -math.inf)).any(axis=-1)

    def _ends(self, rows: Rows) -> Floats:
        # Which set training ends with depends on the way there, so the student is followed from the base.
        student = np.where(rows.power == -math.inf, -math.inf, rows.log_b)
        present = student > -math.inf
        for step in STEPS:
            inside = self._inside(student)
            force = np.where(inside, rows.power - student - self._cost, 0.0)
            student = np.where(present, student + step * np.where(present, force, 0.0), -math.inf)
            student = student - log_sum(student)[:, None]
        inside = self._inside(student)
        student = self._ends_with(rows, inside, student)
        settled = (self._inside(student) == inside).all(axis=-1)
        return np.where(settled[:, None], student, math.nan)

    def _ends_with(self, rows: Rows, inside: Any, student: Floats) -> Floats:
        """Where training ends if a student's set stays the same; tokens outside keep their proportions."""
        held = np.where(inside, rows.power - self._cost, -math.inf)
        total, outside = log_sum(held)[:, None], ~inside & (rows.power > -math.inf)
        left = np.where(outside, student, -math.inf)
        left = left + np.log1p(-np.exp(np.minimum(total, 0.0))) - log_sum(left)[:, None]
        full = (total >= 0) | ~outside.any(axis=-1, keepdims=True)
        return np.where(full, np.where(inside, held - total, -math.inf), np.where(outside, left, held))


@dataclass(frozen=True)
class top_k(_Set):  # noqa: N801
    """A loss over the student's k most probable tokens, with advantage 0 and no bucket for the others.

    The student departs from q_λ as soon as a token is outside the set, and the tail dies at the λ at which the sum of
    π_T^λ·π_B^(1−λ) over the set is 1. Two outcomes are told apart by k = 1 alone: for a larger k ``needs_rows`` is
    true, as p and b merge the tokens outside the set with others of the tail.

    Args:
        k: how many tokens the loss sees, at least 1.
        through: whether the loss is differentiated through its advantage; the sum must then reach e.

    Raises:
        ValueError: k is no whole number of at least 1.

    Source: extension; ``derivations/updates.md``.

    >>> top_k(1).dies(0.999, 0.5), top_k(1, through=True).dies(0.999, 0.5)
    (1.00144..., 2.44622...)
    """

    k: int
    through: bool = field(default=False, kw_only=True)
    summary: ClassVar[str] = "The loss sees the student's k most probable tokens, and nothing of the others."

    def __post_init__(self) -> None:
        _require_count("k", self.k)
        switch(self, "through")

    @property
    def _cost(self) -> float:
        return float(self.through)

    @property
    def needs_rows(self) -> bool:
        return self.k > 1

    @property
    def _share(self) -> float:
        return 0.5 if self.k == 1 else 1.0

    def _leaves(self, p: Values, b: Values) -> Any:
        if self.k > 1:
            return _two.never(p, b)
        return _two.always(p, b) if self.through else _two.at_once(p, b)

    def _inside(self, log_q: Floats) -> Any:
        return _largest(log_q, self.k)


@dataclass(frozen=True)
class truncated_sampling(_Set):  # noqa: N801
    """Rollouts drawn from a truncated student, so that some tokens never enter the update.

    Args:
        top_p: tokens are drawn from the fewest that hold this share of the student's mass, in (0, 1].
        top_k: tokens are drawn from so many of the most probable, at least 1; give it or ``top_p``.

    Raises:
        ValueError: a value is outside its range, or both or neither are given.

    Source: extension; ``derivations/updates.md``.

    >>> truncated_sampling(top_p=0.95).leaves(0.9, 0.5), truncated_sampling(top_p=0.95).dies(0.9, 0.5)
    (1.34007..., 1.34007...)
    """

    top_p: float | None = None
    top_k: int | None = None
    summary: ClassVar[str] = "Rollouts are drawn from the student's most probable tokens alone."

    def __post_init__(self) -> None:
        if (self.top_p is None) == (self.top_k is None):
            raise ValueError("truncated_sampling takes one of top_p and top_k; give exactly one")
        if self.top_p is not None:
            number(self, TOP_P)
        if self.top_k is not None:
            _require_count("top_k", self.top_k)

    @property
    def needs_rows(self) -> bool:
        return self.top_k is not None and self.top_k > 1

    @property
    def _share(self) -> float:
        if self.top_p is None:
            return 0.5 if self.top_k == 1 else 1.0
        return max(self.top_p, 0.5)

    def _leaves(self, p: Values, b: Values) -> Any:
        if self._share == 1:
            return _two.never(p, b)
        return _two.at_once(p, b) if self._share == 0.5 else _two.nucleus_leaves(p, b, self._share)

    def _inside(self, log_q: Floats) -> Any:
        if self.top_k is not None:
            return _largest(log_q, self.top_k)
        order = np.argsort(-log_q, axis=-1, kind="stable")
        masses = np.exp(np.take_along_axis(log_q, order, axis=-1))
        before = np.cumsum(masses, axis=-1) - masses
        inside = np.empty(log_q.shape, bool)
        np.put_along_axis(inside, order, before < self.top_p, axis=-1)
        return inside | (self.top_p == 1)


def _largest(log_q: Floats, k: int) -> Any:
    """Which entries of each row are among its k largest."""
    inside = np.zeros(log_q.shape, bool)
    np.put_along_axis(inside, np.argsort(-log_q, axis=-1, kind="stable")[..., :k], values=True, axis=-1)
    return inside


def _require_count(name: str, count: object) -> None:
    if not isinstance(count, (int, np.integer)) or isinstance(count, bool) or count < 1:
        raise ValueError(f"{name} must be a whole number in [1, inf), got {count!r}")
