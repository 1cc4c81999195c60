"""The settings of the cliff experiment and its controls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

__all__ = ["CONTROLS", "PRESETS", "QUICK", "SPARSE", "Preset", "variant"]

GRID = (0.0, 0.5, 0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2, 1.4)  # (λ−1)/(λ*−1) of the students, densest around λ*


@dataclass(frozen=True)
class Preset:
    """One setting of the experiment.

    Attributes:
        style: style of the lists, a key of :data:`lambda_star.cliff.task.STYLES`.
        items: the most items that fit in an answer.
        teacher_ends: probability that an item is the last one in the teacher's data.
        base_ends: the same for the base; it is greater, so that the teacher prefers to go on.
        clip: cap c on the ratio of teacher to student probability.
        clipped: whether the students' steps use the clip; if not, c only sets where the grid lies.
        shuffled: whether each step gives the base's logits at every position to a random other one, drawn anew. The
            predicted validity takes this into account; p, b, λ*, λ_c and the tail are those of the base as it is.
        momentum: Adam's β₁; at 0.9 students overshoot and lose tail mass below λ*, which returns only slowly.
        grid: (λ−1)/(λ*−1) of the students, rising.
        control: name of the control, empty for the preset itself.
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
    control: str = ""

    @property
    def label(self) -> str:
        """The name, and the control after a comma."""
        return _label(self.name, self.control)


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
"""The settings that are run, by name."""

QUICK = Preset("quick", "plain", 10, 0.2, 0.45, steps=150, grid=(0.0, 0.8, 0.9, 1.0, 1.1, 1.2, 1.4))

SPARSE = Preset("sparse", "unary", 80, 0.0095, 0.045)
"""Near-deterministic: lists of ones, which the teacher ends with less than one hundredth at every item."""

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
"""Each control changes one thing of a preset; ``plain`` is distillation without extrapolation, λ = 1 alone."""


def variant(preset: Preset, control: str) -> Preset:
    """Return a preset under a control, a key of :data:`CONTROLS`.

    >>> preset = variant(PRESETS["short"], "double budget")
    >>> preset.label, preset.steps
    ('short, double budget', 400)
    """
    return replace(CONTROLS[control](preset), control=control)


def _label(name: str, control: str) -> str:
    """Return the name of a preset with its control after a comma, as tables and pictures show it."""
    return f"{name}, {control}" if control else name


def _recorded(record: Mapping[str, Any]) -> tuple[Preset, int]:
    """Read preset and seed of a record; in older ones they are in the prediction, and the name has the control too."""
    told = record if "settings" in record else {**record["prediction"], "settings": record["prediction"]["preset"]}
    settings: Mapping[str, Any] = told["settings"]
    name, _, behind = settings["name"].partition(", ")
    known = {field.name: settings[field.name] for field in fields(Preset) if field.name in settings}
    known |= {"name": name, "control": settings.get("control") or behind, "grid": tuple(known["grid"])}
    return Preset(**known), told["seed"]
