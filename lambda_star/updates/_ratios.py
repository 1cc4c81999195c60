"""Rules that bound a log-ratio or a log-probability, or nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from lambda_star import bernoulli, categorical
from lambda_star._core.namespaces import Floats, Values
from lambda_star._core.quantities import C
from lambda_star.updates import _two
from lambda_star.updates._rows import Rows, settle
from lambda_star.updates._rule import Rule, number, switch, uncapped

Teacher = Literal["plain", "extrapolated"]


class Exact(Rule):
    """A rule whose student is the fixed point q_λ at every λ."""

    @property
    def keeps_fixed_point(self) -> bool:
        return True

    def _leaves(self, p: Values, b: Values) -> Any:
        return _two.never(p, b)

    def _dies(self, p: Values, b: Values) -> Any:
        return _two.never(p, b)

    def _student(self, p: Values, b: Values, lam: Values) -> Any:
        return bernoulli.fixed_point(p, b, lam)

    def _forces(self, log_q: Floats, log_t: Floats, log_b: Floats, lam: Floats, drawn: Floats) -> Floats:
        return uncapped(log_q, log_t, log_b, lam)

    def _departed(self, rows: Rows) -> Any:
        return np.zeros(len(rows.lam), bool)

    def _ends(self, rows: Rows) -> Floats:
        return rows.mixture

    def _student_rows(self, log_t: Values, log_b: Values, lam: Values, axis: int) -> Any:
        return categorical.fixed_point(log_t, log_b, lam, axis=axis)

    def _bereft(self, rows: Rows) -> Any:
        return np.zeros(len(rows.lam), bool)


@dataclass(frozen=True)
class none(Exact):  # noqa: N801 (the classes are called like functions)
    """An update without bound: the advantage log(π_T/π) + (λ−1)·log(π_T/π_B).

    It is what TRL's reverse KL does with an extrapolated teacher, and G-OPD's advantage. Its student is q_λ at every λ,
    and its tail never dies.

    Source: paper, Theorem 4.1, for the fixed point; ``derivations/updates.md``.

    >>> none().student(0.9, 0.5, 2.0)
    0.98780...
    """

    summary: ClassVar[str] = "Nothing is bounded: the student is the fixed point at every λ."


@dataclass(frozen=True)
class log_ratio_cap(Rule):  # noqa: N801
    """A cap on the log-ratio inside the advantage: min(log(π_T/π), log c) + (λ−1)·log(π_T/π_B).

    The student departs from q_λ at λ*, and the tail dies at λ_c = 1 + log(c/p)/Δ. Its closed forms are those of
    ``lambda_star.bernoulli`` and ``lambda_star.categorical``.

    Args:
        c: the cap on the ratio of teacher to student probability, in [1, inf]; inf means no cap.
        through: whether the loss is differentiated through the capped advantage. The student then sticks at the tail
            (1−p)/c from λ* to λ* + 1/Δ, and the tail dies at λ_c + 1/Δ.

    Raises:
        ValueError: c is outside its range.

    Source: extension; ``derivations/updates.md`` and ``derivations/bernoulli.md``.

    >>> rule = log_ratio_cap(2.0)
    >>> rule.leaves(0.9, 0.5), rule.dies(0.9, 0.5), log_ratio_cap(2.0, through=True).dies(0.9, 0.5)
    (1.34007..., 1.36341..., 1.81853...)
    """

    c: float
    through: bool = field(default=False, kw_only=True)
    summary: ClassVar[str] = "The log-ratio of teacher to student is capped at log c inside the advantage."

    def __post_init__(self) -> None:
        switch(self, "through")
        number(self, C)

    def _leaves(self, p: Values, b: Values) -> Any:
        return bernoulli.two_sided_threshold(p, b, self.c)

    def _leaves_rows(self, log_t: Values, log_b: Values, axis: int) -> Any:
        return categorical.threshold(log_t, log_b, self.c, axis=axis).value

    def _dies(self, p: Values, b: Values) -> Any:
        return _two.through_dies(p, b, self.c) if self.through else bernoulli.collapse_point(p, b, self.c)

    def _student(self, p: Values, b: Values, lam: Values) -> Any:
        if self.through:
            return _two.through_student(p, b, lam, self.c)
        return bernoulli.stationary_student(p, b, self.c, lam)

    def _forces(self, log_q: Floats, log_t: Floats, log_b: Floats, lam: Floats, drawn: Floats) -> Floats:
        ratio = log_t - log_q
        cost = np.where(ratio < math.log(self.c), 1.0, 0.0) if self.through else 0.0
        forces: Floats = np.minimum(ratio, math.log(self.c)) - cost + (lam - 1) * (log_t - log_b)
        return forces

    def _student_rows(self, log_t: Values, log_b: Values, lam: Values, axis: int) -> Any:
        if self.through:
            return super()._student_rows(log_t, log_b, lam, axis)
        return categorical.stationary_student(log_t, log_b, self.c, lam, axis=axis)

    def _departed(self, rows: Rows) -> Any:
        return (rows.log_t - rows.mixture > math.log(self.c)).any(axis=-1)

    def _ends(self, rows: Rows) -> Floats:
        if not self.through:
            students: Floats = categorical.stationary_student(rows.log_t, rows.log_b, self.c, rows.lam)
            return students
        log_c, push = math.log(self.c), rows.push

        def log_masses(level: Floats) -> Floats:
            held = np.where(level < push + log_c, rows.log_t - log_c, -math.inf)
            return np.where(level < push + log_c - 1, rows.power - 1 - level, held)

        return settle(rows, log_masses)


@dataclass(frozen=True)
class log_ratio_clamp(Rule):  # noqa: N801
    """A clamp of a log-ratio to ±bound before it becomes the advantage.

    Args:
        bound: the bound of the clamp in nats, in (0, inf].
        teacher: which log-ratio is clamped. With "plain" it is log(π_T/π), and λ is added outside: a cap of
            c = e^bound, except that a modal token of p < e^−bound is clamped too. With "extrapolated" it is
            log(π_λ/π), with λ inside the teacher: that clamp moves no fixed point, and the tail never dies.

    Raises:
        ValueError: bound is outside its range, or teacher is neither of the two.

    Source: extension; ``derivations/updates.md``.

    >>> log_ratio_clamp(10.0).dies(0.999, 0.5), log_ratio_clamp(10.0, teacher="extrapolated").dies(0.999, 0.5)
    (2.44800..., inf)
    """

    bound: float
    teacher: Teacher = "plain"
    summary: ClassVar[str] = "The log-ratio of teacher to student is clamped to ±bound."

    def __post_init__(self) -> None:
        number(self, _two.BOUND)
        if self.teacher not in get_args(Teacher):
            raise ValueError(f"teacher must be one of {', '.join(get_args(Teacher))}, got {self.teacher!r}")

    @property
    def keeps_fixed_point(self) -> bool:
        return self.teacher == "extrapolated"

    def _leaves(self, p: Values, b: Values) -> Any:
        return _two.never(p, b) if self.keeps_fixed_point else _two.clamp_leaves(p, b, self.bound)

    def _dies(self, p: Values, b: Values) -> Any:
        return _two.never(p, b) if self.keeps_fixed_point else _two.clamp_dies(p, b, self.bound)

    def _student(self, p: Values, b: Values, lam: Values) -> Any:
        return bernoulli.fixed_point(p, b, lam) if self.keeps_fixed_point else _two.clamp_student(p, b, lam, self.bound)

    def _forces(self, log_q: Floats, log_t: Floats, log_b: Floats, lam: Floats, drawn: Floats) -> Floats:
        push = (lam - 1) * (log_t - log_b)
        if self.keeps_fixed_point:
            normaliser = np.logaddexp.reduce(log_t + push, axis=-1, keepdims=True)
            return np.clip(log_t + push - normaliser - log_q, -self.bound, self.bound)
        return np.clip(log_t - log_q, -self.bound, self.bound) + push

    def _departed(self, rows: Rows) -> Any:
        away = np.abs(np.where(rows.power == -math.inf, 0.0, rows.log_t) - np.maximum(rows.mixture, -1e308))
        return (away * (rows.power > -math.inf) > self.bound).any(axis=-1) & (not self.keeps_fixed_point)

    def _ends(self, rows: Rows) -> Floats:
        if self.keeps_fixed_point:
            return rows.mixture
        push, present = rows.push, rows.power > -math.inf

        def log_masses(level: Floats) -> Floats:
            free = np.where(level < push + self.bound, rows.power - level, -math.inf)
            return np.where((level <= push - self.bound) & present, math.inf, free)

        return settle(rows, log_masses)


@dataclass(frozen=True)
class log_prob_floor(Rule):  # noqa: N801
    """A least log-probability of the student: log π is replaced by max(log π, −bound) in the advantage.

    For the tail it acts like a cap of c = (1−p)·e^bound. With a bound below log 2 both outcomes can lie below it at
    once; where the mixture is then undecided, π_λ(1) = 1/2, nothing moves the student. One number stands for the first
    such student on the way from the base, and rows for one of them whatever the base.

    Args:
        bound: the least log-probability with its sign changed, in (0, inf].

    Raises:
        ValueError: bound is outside its range.

    Source: extension; ``derivations/updates.md``.

    >>> log_prob_floor(8.0).dies(0.999, 0.5)
    1.15828...
    """

    bound: float
    summary: ClassVar[str] = "The student's log-probability is taken to be at least −bound in the advantage."

    def __post_init__(self) -> None:
        number(self, _two.BOUND)

    def _leaves(self, p: Values, b: Values) -> Any:
        return _two.floor_leaves(p, b, self.bound)

    def _dies(self, p: Values, b: Values) -> Any:
        return _two.floor_dies(p, b, self.bound)

    def _student(self, p: Values, b: Values, lam: Values) -> Any:
        return _two.floor_student(p, b, lam, self.bound)

    def _forces(self, log_q: Floats, log_t: Floats, log_b: Floats, lam: Floats, drawn: Floats) -> Floats:
        return uncapped(np.maximum(log_q, -self.bound), log_t, log_b, lam)

    def _departed(self, rows: Rows) -> Any:
        return ((rows.mixture < -self.bound) & (rows.power > -math.inf)).any(axis=-1)

    def _ends(self, rows: Rows) -> Floats:
        return settle(rows, lambda level: np.where(level < rows.power + self.bound, rows.power - level, -math.inf))


@dataclass(frozen=True)
class kl_to_base_cap(Rule):  # noqa: N801
    """A cap on the KL-to-base term: λ·log(π_T/π_B) + min(log(π_B/π), log c).

    It holds the student to the base, not to the teacher: the student departs from q_λ at log(1 + (c−1)/b)/Δ, and the
    tail dies at log(c/b)/Δ. Both may lie below λ = 1.

    Args:
        c: the cap on the ratio of base to student probability, in [1, inf]; inf means no cap.

    Raises:
        ValueError: c is outside its range.

    Source: extension; ``derivations/updates.md``.

    >>> kl_to_base_cap(5.0).leaves(0.999, 0.5), kl_to_base_cap(5.0).dies(0.999, 0.5)
    (0.31812..., 0.33338...)
    """

    c: float
    summary: ClassVar[str] = "The log-ratio of base to student, the KL-to-base term, is capped at log c."

    def __post_init__(self) -> None:
        number(self, C)

    def _leaves(self, p: Values, b: Values) -> Any:
        return _two.kl_leaves(p, b, self.c)

    def _dies(self, p: Values, b: Values) -> Any:
        return _two.kl_dies(p, b, self.c)

    def _student(self, p: Values, b: Values, lam: Values) -> Any:
        return _two.kl_student(p, b, lam, self.c)

    def _forces(self, log_q: Floats, log_t: Floats, log_b: Floats, lam: Floats, drawn: Floats) -> Floats:
        forces: Floats = lam * (log_t - log_b) + np.minimum(log_b - log_q, math.log(self.c))
        return forces

    def _departed(self, rows: Rows) -> Any:
        return (rows.log_b - rows.mixture > math.log(self.c)).any(axis=-1)

    def _ends(self, rows: Rows) -> Floats:
        # The base stands where the teacher stood, so that one step of λ takes the student from it by log(π_T/π_B).
        behind = np.where(rows.power == -math.inf, -math.inf, 2 * rows.log_b - rows.log_t)
        students: Floats = categorical.stationary_student(rows.log_b, behind, self.c, rows.lam + 1)
        return students
