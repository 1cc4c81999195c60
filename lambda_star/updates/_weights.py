"""Rules that weight the advantage by a bounded ratio of probabilities."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from lambda_star._core.namespaces import Floats, Values
from lambda_star._core.quantities import C, Quantity, check
from lambda_star.updates import _two
from lambda_star.updates._advantages import centre
from lambda_star.updates._ratios import Exact
from lambda_star.updates._rows import Rows, settle
from lambda_star.updates._rule import Rule, number, switch, uncapped

EPS = Quantity("eps", 0.0, math.inf, "()", meaning="PPO's distance from 1")


@dataclass(frozen=True)
class importance_weight(Exact):  # noqa: N801
    """A truncated importance weight min(π/μ, c) on the advantage, with μ the policy that drew the tokens.

    A positive weight on a centred advantage keeps its sign, so the fixed point is q_λ and the tail never dies. Without
    centring that holds as long as μ is the student itself, whose weights are 1.

    Args:
        c: the cap on the weight, in [1, inf].
        centred: whether a baseline is subtracted from the advantage.

    Raises:
        ValueError: c is outside its range.

    Source: extension; ``derivations/updates.md``.

    >>> importance_weight(5.0).force(3.0, 0.9, 0.5, 1.2, rollout=0.0)
    Force(modal=-0.18..., tail=0.18...)
    """

    c: float
    centred: bool = field(default=True, kw_only=True)
    summary: ClassVar[str] = "The ratio of training to rollout probability weights the advantage, and is capped at c."

    def __post_init__(self) -> None:
        switch(self, "centred")
        number(self, C)

    def _forces(self, log_q: Floats, log_t: Floats, log_b: Floats, lam: Floats, drawn: Floats) -> Floats:
        advantage = uncapped(log_q, log_t, log_b, lam)
        # The token is drawn with probability μ, so its weight per unit of π is min(π/μ, c)·μ/π.
        weight = np.minimum(1.0, self.c * np.exp(drawn - log_q))
        forces: Floats = weight * (centre(advantage, drawn) if self.centred else advantage)
        return forces


@dataclass(frozen=True)
class ppo(Exact):  # noqa: N801
    """PPO's clip of the ratio π_new/π_old to 1 ± eps, on a centred advantage.

    The clip ends a step that has gone far enough. It keeps the sign of each advantage, so the fixed point is q_λ and
    the tail never dies.

    Args:
        eps: the distance from 1 at which the ratio is clipped, in (0, inf).

    Raises:
        ValueError: eps is outside its range.

    Source: extension; ``derivations/updates.md``.

    >>> ppo(0.2).force(3.0, 0.9, 0.5, 1.2, rollout=3.0)
    Force(modal=-0.017..., tail=0.346...)
    """

    eps: float = 0.2
    summary: ClassVar[str] = "The ratio of new to old policy is clipped to 1 ± eps."

    def __post_init__(self) -> None:
        number(self, EPS)

    def _forces(self, log_q: Floats, log_t: Floats, log_b: Floats, lam: Floats, drawn: Floats) -> Floats:
        advantage = centre(uncapped(log_q, log_t, log_b, lam), drawn)
        ratio = np.exp(log_q - drawn)
        spent = np.where(advantage > 0, ratio > 1 + self.eps, ratio < 1 - self.eps)
        return np.where(spent, 0.0, advantage)


@dataclass(frozen=True)
class teacher_weight(Exact):  # noqa: N801
    """The weight min(c, π_T/π) on the advantage, as a reader reports it of arXiv:2605.08737v1.

    After centring the fixed point is q_λ. Without centring the student departs from it a little at every λ past 1, at
    (p/q)·A_m = min(c, r)·A_τ with r the tail ratio. In neither case does the tail die.

    Args:
        c: the cap on the weight, in [1, inf].
        centred: whether a baseline is subtracted from the advantage. Without one, ``student`` needs λ ≥ 1: below,
            where training ends may depend on where it starts.

    Raises:
        ValueError: c is outside its range.

    Source: extension; ``derivations/updates.md``. The rule is reported of the paper, not quoted from it.

    >>> teacher_weight(5.0, centred=False).student(0.99934, 0.5, 1.22), teacher_weight(5.0).student(0.99934, 0.5, 1.22)
    (0.99985..., 0.99986...)
    """

    c: float
    centred: bool = field(default=True, kw_only=True)
    summary: ClassVar[str] = "The ratio of teacher to student probability weights the advantage, and is capped at c."

    def __post_init__(self) -> None:
        switch(self, "centred")
        number(self, C)

    @property
    def keeps_fixed_point(self) -> bool:
        return self.centred

    def _leaves(self, p: Values, b: Values) -> Any:
        return _two.never(p, b) if self.centred else _two.at_once(p, b)

    def _student(self, p: Values, b: Values, lam: Values) -> Any:
        return super()._student(p, b, lam) if self.centred else _two.weighted_student(p, b, lam, self.c)

    def _forces(self, log_q: Floats, log_t: Floats, log_b: Floats, lam: Floats, drawn: Floats) -> Floats:
        advantage = uncapped(log_q, log_t, log_b, lam)
        forces: Floats = np.minimum(self.c, np.exp(log_t - log_q)) * (
            centre(advantage, log_q) if self.centred else advantage
        )
        return forces

    def _departed(self, rows: Rows) -> Any:
        differ = ((rows.log_t != rows.log_b) & (rows.power > -math.inf)).any(axis=-1)
        return differ & (rows.lam != 1) & (not self.centred)

    def _student_rows(self, log_t: Values, log_b: Values, lam: Values, axis: int) -> Any:
        whose = Exact if self.centred else Rule
        return whose._student_rows(self, log_t, log_b, lam, axis)

    def _ends(self, rows: Rows) -> Floats:
        if self.centred:
            return rows.mixture
        from scipy.special import wrightomega

        check(np, (_two.FROM_ONE, rows.lam))

        push, present = rows.push, rows.power > -math.inf

        def log_masses(level: Floats) -> Floats:
            # The common value of min(c, e^x)·(x + push) is e^level, x the log-ratio: where c does not act,
            # y = x + push solves y + log y = level + push, which is what Wright's ω does.
            free = np.real(wrightomega(np.where(present, level + push, 0.0))) - push
            ratio = np.where(free < math.log(self.c), free, np.exp(np.minimum(level, 700.0)) / self.c - push)
            return np.where(present, rows.log_t - ratio, -math.inf)

        return settle(rows, log_masses)
