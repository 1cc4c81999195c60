"""The cliff on a laptop: a small transformer writes JSON lists, and the prediction is locked before it is trained.

Base and teacher are two stages of one training, on data that end lists with different probabilities. Both are measured
on held-out lists of the teacher, which may not end. From that follow λ* and the collapse point of every position where
a list may end, the validity at every λ, and its onset, the λ at which half of it is lost. This prediction is locked in
a file (:mod:`lambda_star.cliff.record`). Then students start at the base, one for each λ of a grid around λ*, and take
real distillation steps with the clip. What they write is judged and added to the file; nothing is fitted again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lambda_star import bernoulli, dynamics, sequence
from lambda_star._core.namespaces import Floats
from lambda_star.bernoulli.formulas import log_odds
from lambda_star.cliff import onset
from lambda_star.cliff.model import Weights, forward, new_weights, on_threads, repeat, sample
from lambda_star.cliff.presets import Preset, _recorded
from lambda_star.cliff.record import _release, attempt, conclude, lock
from lambda_star.cliff.task import Task, closes, counted, parsed
from lambda_star.torch.step import opd_loss

__all__ = ["run"]

WIDTH, LAYERS, BATCH = 32, 2, 64
TUNING_STEPS, TUNING_RATE = 300, 3e-3  # of Adam, for base and teacher
BASE_RIGHT, TEACHER_RIGHT = 0.6, 0.9  # how often the next digit is the right one in their data
RATE, MEMORY = 1e-3, 0.99  # Adam's rate and β₂ for the students
LEVELS = (0.01, 0.1, 0.5, 0.9, 0.99)  # the quantiles of λ* and of the collapse point that are recorded
REFERENCE = 0.9  # validity counts as not fallen up to λ = 1 + 0.9 (λ*−1), with the median λ* of the positions
FINE = np.linspace(0.0, 1.6, 81)  # (λ−1)/(λ*−1) of the predicted curves
HELD_OUT, JUDGED = 256, 2000  # held-out lists, and judged answers of each student
RESAMPLES, PACE = 1000, 20  # bootstrap resamples, and steps of the run that measures the pace

# What draws random numbers; each has a seed of its own, so that one does not shift another.
STREAMS = ("start", "base", "teacher", "held out", "students", "answers", "bootstrap", "pace", "rehearsed")


class _Held(NamedTuple):
    """Held-out lists under both models, up to the last position where a list may end."""

    tokens: Tensor  # lists × positions
    log_t: Floats  # the teacher's log-probabilities of what follows, lists × positions × tokens
    log_b: Floats
    goes: NDArray[np.bool_]  # which tokens continue the list within the contract, positions × tokens
    ends: NDArray[np.bool_]  # which tokens end it validly

    def separator(self, log: Floats, task: Task) -> Floats:
        """Return the log-probability of the separator where it may follow, so that a list may go on or end."""
        return log[:, self.goes[:, task.separator], task.separator].ravel()


class _Run:
    """A preset and a seed, with the models and the held-out lists that both prediction and training need."""

    def __init__(self, preset: Preset, seed: int, width: int = WIDTH, layers: int = LAYERS) -> None:
        self.preset, self.seed, self.width, self.layers = preset, seed, width, layers
        self.task = Task(preset.style, preset.items)

    def seed_of(self, stream: str) -> int:
        return 10 * self.seed + STREAMS.index(stream)

    def generator(self, stream: str) -> torch.Generator:
        return torch.Generator(torch.get_default_device()).manual_seed(self.seed_of(stream))

    @cached_property
    def models(self) -> tuple[Weights, Weights]:
        """Teacher and base; the teacher is the base after further training on data that end lists less often."""
        words, length, generator = len(self.task.words), self.task.length, self.generator("start")
        start = new_weights(words, self.width, length, generator, self.layers)
        base = _tuned(start, self.task, self.preset.base_ends, BASE_RIGHT, self.seed_of("base"))
        return _tuned(base, self.task, self.preset.teacher_ends, TEACHER_RIGHT, self.seed_of("teacher")), base

    @cached_property
    def held_out(self) -> _Held:
        """Lists that the teacher writes when it may neither end nor break them, under both models."""
        task, (teacher, base) = self.task, self.models
        tokens = sample(teacher, HELD_OUT, task.length, self.generator("held out"), task.going_on())[0]
        goes, ends = task.contract(tokens[0].tolist())  # the same for all lists, which differ only in their digits
        count = 1 + int(np.flatnonzero(~goes.any(axis=1))[0])  # the last position is the first that only ends a list
        tokens, goes, ends = tokens[:, :count], goes[:count], ends[:count]
        log_t, log_b = (_log_probabilities(each, tokens[None])[0] for each in (teacher, base))
        return _Held(tokens, log_t, log_b, goes, ends)


def run(
    preset: Preset,
    seed: int,
    folder: Path,
    *,
    threads: int = 1,
    train: bool = True,
    width: int = WIDTH,
    layers: int = LAYERS,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Lock the prediction of a preset in a file, train, and add what was seen; a finished run is only read.

    It computes on PyTorch's default device, and the same arguments on the same machine give the same numbers. A run
    that was cut off starts again, with the prediction that it locked; its record names every attempt.

    Args:
        preset: the setting.
        seed: seed of all random numbers, at least 0.
        folder: folder of the file, which is named after preset, control and seed.
        threads: number of PyTorch's threads, at least 1.
        train: whether students are trained; if not, the prediction is locked, so that it can be committed first.
        width: width of all models, a multiple of 16.
        layers: number of layers of all models, at least 1.
        progress: called after each step with the number of steps done.

    Returns:
        The content of the file, a record of :mod:`lambda_star.cliff.record`, with its outcome if students were trained.

    Raises:
        ValueError: a size is out of range; the file holds another setting, or a prediction that is not the locked one;
            or λ* is infinite, because the teacher ends lists more often than the base.
        BlockingIOError: another process trains this run.

    >>> from lambda_star.cliff.presets import PRESETS
    >>> record = run(PRESETS["short"], 3, Path("results/cliff"))  # finished, so it is only read
    >>> record["prediction"]["onset"], record["outcome"]["onset"]
    (1.744..., 1.742...)
    """
    if width < 1 or width % 16 or layers < 1:
        raise ValueError(f"width must be a multiple of 16 and layers at least 1, got {width} and {layers}")
    this, path = _Run(preset, seed, width, layers), folder / _file_name(preset.label, seed)
    sizes = {"width": width, "layers": layers}
    with on_threads(threads), ExitStack() as last:
        last.callback(_release, path)
        record = lock(path, lambda: _predicted(this), settings=asdict(preset) | sizes, seed=seed)
        if (*_recorded(record), _sizes(record)) != (preset, seed, sizes):
            raise ValueError(f"{path} must hold a run of this preset, got one with other settings; give another folder")
        if "outcome" in record or not train:
            return record
        record = attempt(path, record)
        began = time.perf_counter()
        students = _distilled(this, record["prediction"]["grid"], "students", preset.steps, progress)
        outcome = _judged(this, students, record["prediction"])
        return conclude(path, record, outcome | {"seconds": round(time.perf_counter() - began, 1)})


def _sizes(record: Mapping[str, Any]) -> dict[str, int]:
    """Return width and layers of the models of a record; in older ones they are not named."""
    usual = {"width": WIDTH, "layers": LAYERS}
    return {name: record.get("settings", usual).get(name, size) for name, size in usual.items()}


def _file_name(label: str, seed: int) -> str:
    """Return the name of a run's file."""
    return f"{label.replace(', ', '-').replace(' ', '-')}-{seed}.json"


def _tuned(weights: Weights, task: Task, ends: float, right: float, seed: int) -> Weights:
    """Train a model further on answers of the task's data."""
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


@torch.no_grad()
def _log_probabilities(weights: Weights, tokens: Tensor) -> Floats:
    values: Floats = torch.log_softmax(forward(weights, tokens).double(), -1).cpu().numpy()
    return values


def _measured(this: _Run) -> tuple[float, float, Floats, Floats]:
    """Measure the median p and b where a list may end, and the quantiles of λ* and of the collapse point."""
    held = this.held_out
    p, b = (np.exp(held.separator(log, this.task)) for log in (held.log_t, held.log_b))
    stars, ends = (
        np.quantile(of(p, b, this.preset.clip), LEVELS, method="inverted_cdf")
        for of in (bernoulli.threshold, bernoulli.collapse_point)
    )
    return float(np.median(p)), float(np.median(b)), stars, ends


def _predicted(this: _Run) -> dict[str, Any]:
    """Predict a run before the first step of its students."""
    preset, (middle_p, middle_b, stars, ends) = this.preset, _measured(this)
    star = float(stars[2])
    if math.isinf(star):
        raise ValueError(
            f"preset must have a base that ends lists more often, got medians p = {middle_p:g}, b = {middle_b:g}"
        )
    budget = _pace(this) * float(np.sum(_schedule(preset.steps)))
    return {
        "threads": torch.get_num_threads(),
        "device": str(torch.get_default_device()),
        "lists": len(this.held_out.tokens),
        "p": middle_p,
        "b": middle_b,
        "levels": LEVELS,
        "threshold": _numbers(stars),
        "collapse": _numbers(ends),
        "band": _numbers([stars[1], ends[3]]) if preset.clipped and not preset.shuffled else None,
        "budget": budget,
        "budget_threshold": dynamics.budget_threshold(middle_p, middle_b, preset.clip, budget=budget),
        **_curves(this, star, middle_p, middle_b),
        "grid": _numbers(1 + (star - 1) * np.array(preset.grid)),
    }


def _curves(this: _Run, star: float, p: float, b: float) -> dict[str, Any]:
    """Predict validity over all positions and the tail at the median one, for students trained to convergence."""
    c = this.preset.clip if this.preset.clipped else math.inf
    lams, reference = 1 + (star - 1) * FINE, 1 + REFERENCE * (star - 1)
    validity = sequence.validity(_positions(this.held_out, this.preset), c, lams)
    return {
        "lam": _numbers(lams),
        "validity": _numbers(validity),
        "tail": _numbers(1 - bernoulli.stationary_student(p, b, c, lams)),
        "reference": reference,
        "onset": onset(lams, validity, reference),
    }


def _numbers(values: Any) -> list[float | None]:
    """Round numbers to ten digits; infinity becomes None, because JSON has no infinity."""
    return [float(f"{value:.10g}") if math.isfinite(value) else None for value in values]


def _positions(held: _Held, preset: Preset) -> sequence.Positions:
    lists, count, _ = held.log_t.shape
    # The advantage is linear in log π_B, so shuffled students see the mean over all positions of the base's rows.
    log_b = held.log_b.mean(axis=(0, 1)) if preset.shuffled else held.log_b
    arrays = np.broadcast_arrays(held.log_t, log_b, held.goes, held.ends)
    log_t, log_b, goes, ends = (values.reshape(lists * count, -1) for values in arrays)
    return sequence.Positions(log_t, log_b, goes, ends, np.repeat(np.arange(lists), count))


def _pace(this: _Run) -> float:
    """Measure how much flow time of a natural gradient one step at the full rate takes, in a short run at λ = 1.

    In time s such a flow leaves e^−s of the distance to the teacher, measured here by the root mean square of the
    separator's log-odds where a list may end. That run says nothing about what happens above λ = 1.
    """
    held = this.held_out
    student = _distilled(this, [1.0], "pace", PACE)
    log_s = _log_probabilities(student, held.tokens[None])[0]
    logs = (held.separator(log, this.task) for log in (log_s, held.log_t, held.log_b))
    now, target, start = (log_odds(np, log) for log in logs)
    left = float(np.sqrt(np.mean((now - target) ** 2) / np.mean((start - target) ** 2)))
    return max(0.0, -math.log(left)) / float(np.sum(_schedule(PACE)))


def _schedule(steps: int) -> Floats:
    """Return the rate of every step relative to the full rate; it falls to 0 in the second half, to let noise fade."""
    return np.minimum(1.0, 2 * (1 - np.arange(steps) / steps))


def _distilled(
    this: _Run, lams: list[float], stream: str, steps: int, progress: Callable[[int], None] | None = None
) -> Weights:
    """Train students side by side from the base, one for each λ."""
    (teacher, base), preset, generator = this.models, this.preset, this.generator(stream)
    clip = preset.clip if preset.clipped else None

    def loss(_: int) -> Tensor:
        tokens = sample(students, BATCH, this.task.length, generator)
        inputs, inside = tokens[..., :-1], counted(tokens)[..., 1:]
        with torch.no_grad():
            flat = inputs.flatten(0, 1)[None]
            log_t, log_b = (forward(each, flat)[0].reshape(*inputs.shape, -1) for each in (teacher, base))
        if preset.shuffled:
            log_b = torch.stack([_shuffled(rows, here, generator) for rows, here in zip(log_b, inside, strict=True)])
        logits = forward(students, inputs)
        losses = [
            opd_loss(logits[one], log_t[one], log_b[one], lam, clip=clip, mask=inside[one])
            for one, lam in enumerate(lams)
        ]
        return torch.stack(losses).sum()

    students = {name: weight.requires_grad_() for name, weight in repeat(base, len(lams)).items()}
    return _descended(students, loss, steps, preset.momentum, progress)


def _descended(
    students: Weights,
    loss: Callable[[int], Tensor],
    steps: int,
    momentum: float,
    progress: Callable[[int], None] | None = None,
) -> Weights:
    """Train students by Adam on a loss that is given step by step."""
    optimizer = torch.optim.Adam(students.values(), lr=RATE, betas=(momentum, MEMORY))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, [*_schedule(steps), 0.0].__getitem__)
    for step in range(steps):
        now = loss(step)
        optimizer.zero_grad()
        now.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if progress is not None:
            progress(step + 1)
    return {name: weight.detach() for name, weight in students.items()}


def _shuffled(rows: Tensor, inside: Tensor, generator: torch.Generator) -> Tensor:
    """Put the rows that count in a random order."""
    order = torch.randperm(int(inside.sum()), generator=generator)
    return rows.masked_scatter(inside.unsqueeze(-1), rows[inside][order])


def _judged(this: _Run, students: Weights, prediction: dict[str, Any]) -> dict[str, Any]:
    """Judge sampled answers of the students, and measure the tail that they keep where a list may end."""
    held, lams, reference = this.held_out, prediction["grid"], prediction["reference"]
    tokens = sample(students, JUDGED, this.task.length, this.generator("answers"))
    texts = [[this.task.decode(row) for row in rows] for rows in tokens.tolist()]
    lists = [[parsed(text) for text in each] for each in texts]
    valid = np.array([[one is not None for one in answers] for answers in lists], dtype=float)
    pairs = [[pair for one in answers if one for pair in pairwise(one)] for answers in lists]
    log_s = _log_probabilities(students, held.tokens.expand(len(lists), *held.tokens.shape))
    tails = [-np.expm1(held.separator(log, this.task)) for log in log_s]
    single = len(lams) == 1
    return {
        "judged": JUDGED,
        "validity": _numbers(valid.mean(axis=1)),
        "closed": _numbers([np.mean([closes(text) for text in each]) for each in texts]),
        "right": [float(np.mean([(a + 1) % 10 == b for a, b in each])) if each else None for each in pairs],
        "items": [float(np.mean([len(one) for one in answers if one])) if any(answers) else None for answers in lists],
        "tail": [_numbers(np.quantile(tail, (0.1, 0.5, 0.9))) for tail in tails],
        "onset": None if single else onset(lams, valid.mean(axis=1), reference),
        "interval": [None, None] if single else _interval(lams, valid, reference, this.seed_of("bootstrap")),
    }


def _interval(lams: list[float], valid: Floats, reference: float, seed: int) -> list[float | None]:
    """Return the 95 % bootstrap interval of the onset over the sampled answers; None where no fall bounds it."""
    rng = np.random.default_rng(seed)
    draws = (valid[:, rng.integers(JUDGED, size=JUDGED)].mean(axis=1) for _ in range(RESAMPLES))
    found = [math.inf if at is None else at for at in (onset(lams, draw, reference) for draw in draws)]
    return _numbers(np.quantile(found, (0.025, 0.975), method="inverted_cdf"))
