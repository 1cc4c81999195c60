"""The cliff on a laptop: a small transformer writes JSON lists, and the prediction is locked before it is trained.

Base and teacher are two stages of one training on data that end lists with different probabilities. Students start at
the base and take real distillation steps with the clip, one student for each λ of a grid around λ*. Before the first
step p and b of the separator are measured on held-out lists that the base is not let to end; from them follow λ*, the
collapse points and the share of lists that still end within the budget of tokens, and with it the λ at which that share
has lost half. All of it is written to a file with its hash; what the run then sees is added, and nothing is refitted.
An extension.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lambda_star import bernoulli
from lambda_star.torch.lists import Task, counted
from lambda_star.torch.step import opd_loss
from lambda_star.torch.tiny import Weights, forward, new_weights, repeat, sample

__all__ = ["CONTROLS", "PRESETS", "Preset", "onset", "run"]

Floats = NDArray[np.float64]
Progress = Callable[[int, int], None]

WIDTH, BATCH, RATE = 32, 64, 1e-3
TUNING_STEPS, TUNING_RATE = 300, 3e-3
BASE_RIGHT, TEACHER_RIGHT = 0.6, 0.9
"""How often the next digit is the right one in the data of base and teacher."""

LEVELS = (0.01, 0.1, 0.5, 0.9, 0.99)
REFERENCE = 0.9
"""Where validity counts as not fallen yet: at 1 + 0.9·(λ*−1), with the median λ* of the positions."""

GRID = (0.0, 0.5, 0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2, 1.4)
"""(λ−1)/(λ*−1) of the students."""

FINE = np.linspace(0.0, 2.0, 201)
HELD_OUT, JUDGED, RESAMPLES = 256, 500, 1000


@dataclass(frozen=True)
class Preset:
    """One setting: style and length of the lists, how often an item is the last one, the clip, the steps."""

    name: str
    style: str
    items: int
    teacher_ends: float
    base_ends: float
    clip: float = 2.0
    steps: int = 200
    shuffled: bool = False


PRESETS = {
    preset.name: preset
    for preset in (
        Preset("short", "plain", 12, 0.2, 0.45),
        Preset("long", "plain", 30, 0.1, 0.3),
        Preset("quoted", "quoted", 14, 0.15, 0.4),
        Preset("merged", "merged", 20, 0.12, 0.35),
        Preset("wide", "plain", 14, 0.2, 0.4, clip=3.0),
    )
}

CONTROLS: dict[str, Callable[[Preset], Preset]] = {
    "no clip": lambda preset: replace(preset, name=f"{preset.name}, no clip", clip=math.inf),
    "twice the budget": lambda preset: replace(preset, name=f"{preset.name}, twice the budget", steps=2 * preset.steps),
    "smaller clip": lambda preset: replace(preset, name=f"{preset.name}, smaller clip", clip=1 + (preset.clip - 1) / 2),
    "shuffled base": lambda preset: replace(preset, name=f"{preset.name}, shuffled base", shuffled=True),
}


def run(preset: Preset, seed: int, folder: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Lock the prediction of a preset in a file, train, and add what was seen; a finished run is only read.

    Args:
        preset: the setting.
        seed: of all random numbers, at least 0.
        folder: where the file goes.
        progress: called with steps done and steps in all.

    Returns:
        What the file holds.
    """
    path = folder / f"{preset.name.replace(', ', '-').replace(' ', '-')}-{seed}.json"
    record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if "outcome" in record:
        return record
    task = Task(preset.style, preset.items)
    teacher, base = tuned(task, preset, seed)
    if not record:
        prediction = predict(teacher, base, task, preset, seed)
        record = {"prediction": prediction, "sha256": digest(prediction), "locked": now()}
        write(path, record)
    elif record["sha256"] != digest(record["prediction"]):
        raise ValueError(f"{path} must hold the prediction that was locked, got another hash; delete it to start anew")
    students = distilled(teacher, base, task, preset, record["prediction"]["grid"], seed, progress)
    record["outcome"] = judged(students, task, record["prediction"], seed) | {"finished": now()}
    write(path, record)
    return record


def finished(folder: Path) -> list[dict[str, Any]]:
    """The finished runs of a folder, by name; a prediction that is not what was locked is refused."""
    records = []
    for path in sorted(folder.glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["sha256"] != digest(record["prediction"]):
            raise ValueError(f"{path} must hold the prediction that was locked, got another hash")
        if "outcome" in record:
            records.append(record)
    return records


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def digest(prediction: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(prediction, sort_keys=True).encode()).hexdigest()


def write(path: Path, record: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def tuned(task: Task, preset: Preset, seed: int) -> tuple[Weights, Weights]:
    """Teacher and base."""
    generator = torch.Generator().manual_seed(seed)
    start = new_weights(len(task.words), WIDTH, task.length, generator)
    base = trained(start, task, preset.base_ends, BASE_RIGHT, 10 * seed + 1)
    return trained(base, task, preset.teacher_ends, TEACHER_RIGHT, 10 * seed + 2), base


def trained(weights: Weights, task: Task, ends: float, right: float, seed: int) -> Weights:
    """A model trained on answers, from given weights on."""
    rng = np.random.default_rng(seed)
    weights = {name: weight.clone().requires_grad_() for name, weight in weights.items()}
    optimizer = torch.optim.Adam(weights.values(), lr=TUNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, TUNING_STEPS)
    for _ in range(TUNING_STEPS):
        rows = task.answers(BATCH, ends, right, rng)
        logits = forward(weights, rows[None, :, :-1])[0]
        inside = counted(rows)[:, 1:]
        loss = torch.nn.functional.cross_entropy(logits[inside], rows[:, 1:][inside])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return {name: weight.detach() for name, weight in weights.items()}


def measured(teacher: Weights, base: Weights, task: Task, seed: int) -> tuple[Floats, Floats]:
    """p and b of the separator after each item of held-out lists that the base is not let to end: lists × items."""
    fork = 1 if task.style != "quoted" else 2  # quoted lists part after the quote
    separate, close = (task.encode(mark)[fork] for mark in task.marks[1:])
    forbidden = torch.zeros(len(task.words), dtype=torch.bool)
    forbidden[[0, close]] = True
    generator = torch.Generator().manual_seed(10 * seed + 3)
    tokens = sample(base, HELD_OUT, 0, 0, task.length, generator, forbidden)[0]
    with torch.no_grad():
        logs = [torch.log_softmax(forward(each, tokens[None, :, :-1])[0].double(), -1) for each in (teacher, base)]
    # The places where the teacher might go on or end; a list that went astray has fewer, and is left out.
    forks = tokens[:, 1:] == separate
    p, b = (log[..., separate].exp().numpy() for log in logs)
    kept = [row for row in range(HELD_OUT) if int(forks[row].sum()) >= task.items]
    at = [np.flatnonzero(forks[row].numpy())[: task.items] for row in kept]
    return tuple(np.array([side[row][places] for row, places in zip(kept, at, strict=True)]) for side in (p, b))  # type: ignore[return-value]


def predict(teacher: Weights, base: Weights, task: Task, preset: Preset, seed: int) -> dict[str, Any]:
    """What is said of a run before its first step."""
    p, b = measured(teacher, base, task, seed)
    clip = preset.clip if preset.clip < math.inf else PRESETS[preset.name.split(",")[0]].clip  # for the grid alone
    stars, ends = (np.quantile(of(p, b, clip), LEVELS, method="inverted_cdf") for of in (bernoulli.threshold, bernoulli.collapse_point))
    excess = stars[2] - 1
    lams = 1 + excess * FINE
    validity = np.array([ending(bernoulli.stationary_student(p, b, preset.clip, lam)) for lam in lams])
    return {
        "preset": asdict(preset) | {"clip": str(preset.clip)},
        "seed": seed,
        "p": float(np.median(p)),
        "b": float(np.median(b)),
        "levels": LEVELS,
        "threshold": stars.tolist(),
        "collapse": ends.tolist(),
        "band": [float(stars[1]), float(ends[3])],
        "lam": lams.tolist(),
        "validity": validity.tolist(),
        "onset": onset(lams, validity, 1 + REFERENCE * excess),
        "grid": (1 + excess * np.array(GRID)).tolist(),
    }


def ending(q: Floats) -> float:
    """Share of lists that end within the budget, if every fork goes on with probability q."""
    return float(np.mean(1 - np.prod(q, axis=1)))


def onset(lams: Any, validity: Any, reference: float) -> float | None:
    """The first λ past a reference at which validity is half of what it is there, by lines between the points.

    Args:
        lams: λ, rising.
        validity: share of valid answers at each.
        reference: the λ at which validity counts as not fallen.

    Returns:
        A λ, or None if validity does not fall so far.

    >>> onset([1.0, 1.5, 2.0], [0.8, 0.8, 0.0], 1.5)
    1.75
    """
    lams, validity = np.asarray(lams), np.asarray(validity)
    start = float(np.interp(reference, lams, validity))
    past = lams > reference
    at, values = np.append(reference, lams[past]), np.append(start, validity[past])
    fallen = np.flatnonzero(values <= start / 2)
    if not len(fallen) or not start:
        return None
    here = fallen[0]
    share = (values[here - 1] - start / 2) / (values[here - 1] - values[here])
    return float(at[here - 1] + (at[here] - at[here - 1]) * share)


def distilled(
    teacher: Weights, base: Weights, task: Task, preset: Preset, lams: list[float], seed: int, progress: Progress | None
) -> Weights:
    """Students that start at the base, one for each λ, trained side by side."""
    generator = torch.Generator().manual_seed(10 * seed + 4)
    students = {name: weight.requires_grad_() for name, weight in repeat(base, len(lams)).items()}
    optimizer = torch.optim.Adam(students.values(), lr=RATE)
    clip = preset.clip if preset.clip < math.inf else None
    for step in range(preset.steps):
        tokens = sample(students, BATCH, 0, 0, task.length, generator)
        inputs, inside = tokens[..., :-1], counted(tokens)[..., 1:]
        with torch.no_grad():
            flat = inputs.flatten(0, 1)[None]
            log_t, log_b = (forward(each, flat)[0].unflatten(0, inputs.shape[:2]) for each in (teacher, base))
            if preset.shuffled:  # the base's logits of another answer: as large, and about nothing
                log_b = log_b[:, torch.randperm(BATCH, generator=generator)]
        logits = forward(students, inputs)
        losses = [
            opd_loss(logits[one], log_t[one], log_b[one], lam, clip=clip, mask=inside[one])
            for one, lam in enumerate(lams)
        ]
        optimizer.zero_grad()
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if progress is not None:
            progress(step + 1, preset.steps)
    return {name: weight.detach() for name, weight in students.items()}


def judged(students: Weights, task: Task, prediction: dict[str, Any], seed: int) -> dict[str, Any]:
    """What sampled answers of the students are: JSON or not, and how often the next digit is the right one."""
    generator = torch.Generator().manual_seed(10 * seed + 5)
    tokens = sample(students, JUDGED, 0, 0, task.length, generator)
    lists = [[task.parsed(row) for row in rows] for rows in tokens.tolist()]
    valid = np.array([[one is not None for one in answers] for answers in lists], dtype=float)
    pairs = [[(a, b) for one in answers if one for a, b in zip(one, one[1:], strict=False)] for answers in lists]
    reference = 1 + REFERENCE * (prediction["threshold"][2] - 1)
    rng = np.random.default_rng(10 * seed + 6)
    resampled = [
        onset(prediction["grid"], valid[:, rng.integers(JUDGED, size=JUDGED)].mean(axis=1), reference)
        for _ in range(RESAMPLES)
    ]
    known = [value if value is not None else math.inf for value in resampled]
    low, high = (float(np.quantile(known, level, method="inverted_cdf")) for level in (0.025, 0.975))
    return {
        "validity": valid.mean(axis=1).tolist(),
        "right": [float(np.mean([(a + 1) % 10 == b for a, b in each])) if each else None for each in pairs],
        "items": [float(np.mean([len(one) for one in answers if one])) if any(answers) else None for answers in lists],
        "onset": onset(prediction["grid"], valid.mean(axis=1), reference),
        "interval": [low if low < math.inf else None, high if high < math.inf else None],
    }
