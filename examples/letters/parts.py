"""The settings of the two experiments; each record holds its own."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PARTS", "Part"]


@dataclass(frozen=True)
class Part:
    """One of the two experiments.

    Attributes:
        task: the task, whose name the folders of teacher and base start with.
        lams: λ of the students.
        clips: the caps c of the update rules; None for none.
        seeds: seeds of questions and sampling; each gives a student per rule and λ.
        steps: steps of a round, in which the rate falls linearly to zero.
        rounds: the most rounds; another follows only while the student has not arrived.
        rate: the largest rate of AdamW.
        batch: questions in a step.
        judged: number of judged answers.
        split: name of the split of the judged questions.
    """

    task: str
    lams: tuple[float, ...]
    clips: tuple[float | None, ...]
    seeds: tuple[int, ...]
    steps: int
    rounds: int
    rate: float = 2e-3
    batch: int = 8
    judged: int = 300
    split: str = "judged"


PARTS = {
    "lift": Part("copy", (1.0, 3.0), (None,), (3, 4), steps=60, rounds=3),
    "open": Part("open", (2.0, 1.0, 2.5, 1.5), (1.5, None), (3, 4), steps=80, rounds=1, rate=1e-3, judged=150),
}
