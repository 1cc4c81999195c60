"""One rehearsed answer, and all of them together."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from lambda_star.calibration.table import Problem
from lambda_star.rehearsal.curve import Answers, Point, curve_of

__all__ = ["Answer", "Rehearsal"]


@dataclass(frozen=True)
class Answer:
    """One answer of the predicted student.

    Attributes:
        lam: the λ at which it was sampled.
        prompt: index of its prompt, counted from 0.
        sample: index of the answer among those to its prompt; answers with the same prompt and sample at two λ were
            drawn with the same random numbers.
        text: the answer, without the token that ended it.
        tokens: its number of tokens.
        ended: whether it ended by itself; otherwise the limit on tokens cut it.
        valid: whether it ended and keeps the contract; None without a contract.
        broken_at: index of the first token after which the answer cannot become valid; None if that is never or
            unknown.
        broken_class: contract class of that token; None if it has none.
        metrics: the user's metrics by name, only those that apply to the answer.
    """

    lam: float
    prompt: int
    sample: int
    text: str
    tokens: int
    ended: bool
    valid: bool | None = None
    broken_at: int | None = None
    broken_class: str | None = None
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def key(self) -> tuple[float, int, int]:
        """What tells the answer from all others of its rehearsal: λ, prompt and sample."""
        return self.lam, self.prompt, self.sample


@dataclass(frozen=True)
class Rehearsal:
    """The answers of a rehearsal, and what they tell about each λ.

    Attributes:
        header: the settings, as they stand in the first line of the file: schema, version, teacher, base, rule,
            contract, seed, digest of the prompts and so on.
        answers: all answers, in the order of the file, which is that of λ, prompt and sample once it is complete.
        problems: lines of the file that were left out, and why.

    >>> rehearsal = Rehearsal({}, (Answer(1.0, 0, 0, "[]", 2, True, True), Answer(2.0, 0, 0, "[", 1, False, False)))
    >>> rehearsal.lams, [point.change for point in rehearsal.curve]
    ((1.0, 2.0), [0.0, -1.0])
    """

    header: dict[str, Any]
    answers: tuple[Answer, ...]
    problems: tuple[Problem, ...] = ()

    @property
    def lams(self) -> tuple[float, ...]:
        """The λ that have answers, rising."""
        return tuple(sorted({answer.lam for answer in self.answers}))

    @cached_property
    def curve(self) -> tuple[Point, ...]:
        """One :class:`Point` per λ, rising, with intervals at 95 %."""
        return self.points()

    def points(self, confidence: float = 0.95) -> tuple[Point, ...]:
        """Return one :class:`Point` per λ, rising.

        Args:
            confidence: level of all intervals, in (0, 1).

        Returns:
            The points.
        """
        return curve_of(self.by_lam(), confidence)

    def by_lam(self) -> dict[float, Answers]:
        """Return the answers at each λ, by prompt and sample.

        Returns:
            A mapping from λ, rising, to a mapping from (prompt, sample) to the answer.
        """
        found: dict[float, dict[tuple[int, int], Any]] = {lam: {} for lam in self.lams}
        for answer in self.answers:
            found[answer.lam][answer.prompt, answer.sample] = answer
        return dict(found)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings and the curve as JSON values, with null for NaN.

        Returns:
            The keys ``header``, ``curve`` and ``problems``; the answers stay in the file.
        """
        plain: dict[str, Any] = _plain({"curve": [asdict(point) for point in self.curve]})
        return {"header": self.header, **plain, "problems": [problem._asdict() for problem in self.problems]}


def _plain(value: Any) -> Any:
    """The value in the types of JSON."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
