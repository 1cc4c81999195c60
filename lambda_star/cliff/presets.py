"""The settings of the cliff experiment and its controls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

__all__ = ["CONTROLS", "PRESETS", "QUICK", "Preset", "variant"]

GRID = (0.0, 0.5, 0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2, 1.4)
"""(λ−1)/(λ*−1) of the students."""


@dataclass(frozen=True)
class Preset:
    """One setting of the experiment.

    Attributes:
        name: what tables and files call it.
        style: of the lists, a key of :data:`lambda_star.cliff.task.STYLES`.
        items: the most items that fit.
        teacher_ends: how often an item is the last one in the teacher's data.
        base_ends: the same for the base, greater: the teacher prefers to go on.
        clip: cap c on the ratio of teacher to student probability.
        steps: of distillation.
        clipped: whether the students' steps have the clip; without it, c only says where the grid lies.
        shuffled: whether the base's logits at a place are those of another place, drawn anew at each step. Of the
            prediction only the validity knows; p, b, λ*, collapse point and tail are those of the base as it is.
        momentum: of Adam. With 0.9 students overshoot, and lose tails below λ* that come back only slowly.
        grid: (λ−1)/(λ*−1) of the students, rising.

    >>> PRESETS["short"].clip
    2.0
    """

    name: str
    style: str
    items: int
    teacher_ends: float
    base_ends: float
    clip: float = 2.0
    steps: int = 200
    clipped: bool = True
    shuffled: bool = False
    momentum: float = 0.0
    grid: tuple[float, ...] = GRID


PRESETS = {
    preset.name: preset
    for preset in (
        Preset("short", "plain", 12, 0.2, 0.45),
        Preset("long", "plain", 24, 0.1, 0.3, steps=300),
        Preset("quoted", "quoted", 14, 0.15, 0.4),
        Preset("merged", "merged", 20, 0.12, 0.35),
        Preset("wide", "plain", 14, 0.2, 0.4, clip=3.0),
    )
}


QUICK = Preset("quick", "plain", 10, 0.2, 0.45, steps=150, grid=(0.0, 0.8, 0.9, 1.0, 1.1, 1.2, 1.4))


CONTROLS: dict[str, Callable[[Preset], Preset]] = {
    "no clip": lambda preset: replace(preset, clipped=False),
    "no clip at double budget": lambda preset: replace(preset, clipped=False, steps=2 * preset.steps),
    "plain": lambda preset: replace(preset, grid=(0.0,)),
    "shuffled base": lambda preset: replace(preset, shuffled=True),
    "smaller clip": lambda preset: replace(preset, clip=1 + (preset.clip - 1) / 2),
    "half budget": lambda preset: replace(preset, steps=preset.steps // 2),
    "double budget": lambda preset: replace(preset, steps=2 * preset.steps),
    "momentum": lambda preset: replace(preset, momentum=0.9),
}
"""``plain`` is λ = 1 alone, distillation without extrapolation."""


def variant(preset: Preset, control: str) -> Preset:
    """A control of a preset, under a name of its own.

    Args:
        preset: the setting to vary.
        control: a key of :data:`CONTROLS`.

    Returns:
        The setting with one thing changed.

    Source: extension.

    >>> variant(PRESETS["short"], "double budget").steps
    400
    """
    return replace(CONTROLS[control](preset), name=f"{preset.name}, {control}")
