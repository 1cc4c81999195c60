"""Rules that bound the whole advantage, or the reward in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from lambda_star import bernoulli
from lambda_star._core.namespaces import Floats, Values
from lambda_star.updates import _two
from lambda_star.updates._rows import Rows, log_sum, settle
from lambda_star.updates._rule import Rule, number, switch, uncapped


def centre(advantages: Floats, log_weights: Floats) -> Floats:
    """Advantages less their mean under a policy."""
    mean = (np.exp(log_weights) * advantages).sum(axis=-1, keepdims=True)
    centred: Floats = advantages - mean
    return centred


@dataclass(frozen=True)
class advantage_clamp(Rule):  # noqa: N801
    """A clamp of the whole advantage to ±bound.

    Without a baseline every student of an interval is neutral once log Z_λ = (λ−1)·D_λ(π_T‖π_B) exceeds the bound:
    training from the base stops at its near end, and noise alone moves it on. After centring nothing moves.

    Args:
        bound: the bound of the clamp in nats, in (0, inf].
        centred: whether a baseline is subtracted before the clamp.

    Raises:
        ValueError: bound is outside its range.

    Source: extension; ``derivations/updates.md``.

    >>> advantage_clamp(1.0).leaves(0.9, 0.5), advantage_clamp(1.0, centred=True).leaves(0.9, 0.5)
    (2.87749..., inf)
    """

    bound: float
    centred: bool = field(default=False, kw_only=True)
    summary: ClassVar[str] = "The whole advantage is clamped to ±bound."

    def __post_init__(self) -> None:
        switch(self, "centred")
        number(self, _two.BOUND)

    @property
    def keeps_fixed_point(self) -> bool:
        return self.centred

    def _leaves(self, p: Values, b: Values) -> Any:
        return _two.never(p, b) if self.centred else _two.advantage_leaves(p, b, self.bound)

    def _dies(self, p: Values, b: Values) -> Any:
        return _two.never(p, b)

    def _student(self, p: Values, b: Values, lam: Values) -> Any:
        return bernoulli.fixed_point(p, b, lam) if self.centred else _two.advantage_student(p, b, lam, self.bound)

    def _forces(self, log_q: Floats, log_t: Floats, log_b: Floats, lam: Floats, drawn: Floats) -> Floats:
        advantage = uncapped(log_q, log_t, log_b, lam)
        return np.clip(centre(advantage, log_q) if self.centred else advantage, -self.bound, self.bound)

    def _departed(self, rows: Rows) -> Any:
        return (np.abs(log_sum(rows.power)) > self.bound) & (not self.centred)

    def _ends(self, rows: Rows) -> Floats:
        if self.centred:
            return rows.mixture
        students, acts = rows.mixture, np.abs(log_sum(rows.power)) > self.bound
        students[acts] = self._held(Rows(*(part[acts] for part in rows)))
        return students

    def _held(self, rows: Rows) -> Floats:
        """Where training from the base meets the neutral students.

        With log Z_λ above the bound no token may exceed the mass at which its advantage is the bound; with log Z_λ
        below its negative none may fall short of that mass.
        """
        above = log_sum(rows.power)[:, None] > 0
        most, least = rows.power - self.bound, rows.power + self.bound

        def log_masses(level: Floats) -> Floats:
            return np.where(above, np.minimum(rows.log_b - level, most), np.maximum(rows.log_b - level, least))

        return settle(rows, log_masses)

    def _bereft(self, rows: Rows) -> Any:
        return np.zeros(len(rows.lam), bool)


@dataclass(frozen=True)
class reward_clip(Rule):  # noqa: N801
    """A clip of the reward log(π_T/π_B) to ±bound in log(π_T/π) + (λ−1)·log(π_T/π_B).

    Δ becomes the difference of the clipped rewards from λ = 1 on, so the student is more extrapolated or less than λ
    says, and the tail never dies.

    Args:
        bound: the bound of the clip in nats, in (0, inf].

    Raises:
        ValueError: bound is outside its range.

    Source: extension; ``derivations/updates.md``.

    >>> reward_clip(2.0).student(0.999, 0.5, 1.2), reward_clip(7.0).student(0.999, 0.5, 1.2)
    (0.99941..., 0.99974...)
    """

    bound: float
    summary: ClassVar[str] = "The reward log(π_T/π_B) is clipped to ±bound."

    def __post_init__(self) -> None:
        number(self, _two.BOUND)

    def _leaves(self, p: Values, b: Values) -> Any:
        return _two.reward_leaves(p, b, self.bound)

    def _dies(self, p: Values, b: Values) -> Any:
        return _two.never(p, b)

    def _student(self, p: Values, b: Values, lam: Values) -> Any:
        return _two.reward_student(p, b, lam, self.bound)

    def _forces(self, log_q: Floats, log_t: Floats, log_b: Floats, lam: Floats, drawn: Floats) -> Floats:
        forces: Floats = log_t - log_q + (lam - 1) * np.clip(log_t - log_b, -self.bound, self.bound)
        return forces

    def _departed(self, rows: Rows) -> Any:
        return (np.abs(rows.ratio) > self.bound).any(axis=-1) & (rows.lam != 1)

    def _ends(self, rows: Rows) -> Floats:
        reward = np.clip(rows.ratio, -self.bound, self.bound)
        power = rows.log_t + (rows.lam - 1)[:, None] * reward
        students: Floats = power - log_sum(power)[:, None]
        return students
