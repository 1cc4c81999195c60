"""The cliff on a laptop: a small transformer writes JSON lists, and the prediction is locked before it is trained.

Base and teacher are two stages of one training, on data that end lists with different probabilities. Students start at
the base and take real distillation steps with the clip, one student for each λ of a grid around λ*. Before the first of
them both models are measured on held-out lists of the teacher that are not let to end; from that follow λ* and the
collapse point of every place where a list may end, the predicted validity at every λ, and its onset: the λ at which it
has lost half. All this is locked on file (:mod:`lambda_star.cliff.record`), what the run then sees is added, and nothing is
refitted. An extension.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lambda_star import __version__, bernoulli, dynamics, sequence
from lambda_star._core.namespaces import Floats
from lambda_star.cliff import onset
from lambda_star.cliff.model import Weights, forward, new_weights, repeat, sample
from lambda_star.cliff.presets import Preset
from lambda_star.cliff.record import conclude, lock
from lambda_star.cliff.task import Task, closes, counted, parsed
from lambda_star.torch.step import opd_loss

__all__ = ["run"]

Progress = Callable[[int], None]


WIDTH, BATCH = 32, 64


TUNING_STEPS, TUNING_RATE = 300, 3e-3


BASE_RIGHT, TEACHER_RIGHT = 0.6, 0.9
"""How often the next digit is the right one in the data of base and teacher."""


RATE, MEMORY = 1e-3, 0.99
"""Adam's rate, and its memory of squared gradients."""


LEVELS = (0.01, 0.1, 0.5, 0.9, 0.99)


REFERENCE = 0.9
"""Validity counts as not fallen at 1 + 0.9·(λ*−1), with the median λ* of the places."""


FINE = np.linspace(0.0, 1.6, 81)


HELD_OUT, JUDGED, RESAMPLES, REHEARSAL = 256, 2000, 1000, 20


class _Held(NamedTuple):
    """_Held-out lists under both models, at every place up to the last where a list may end.

    Attributes:
        tokens: the lists, of the teacher, not let to end: shape (lists, places).
        log_t: log-probabilities of the teacher for what follows, shape (lists, places, tokens).
        log_b: the same of the base.
        goes: which tokens go on within the contract, shape (places, tokens).
        ends: which end the list validly, of the same shape.
        forks: places where a list may go on or end, shape (places,).
    """

    tokens: Tensor
    log_t: Floats
    log_b: Floats
    goes: NDArray[np.bool_]
    ends: NDArray[np.bool_]
    forks: NDArray[np.bool_]


def run(
    preset: Preset, seed: int, folder: Path, *, threads: int = 1, progress: Progress | None = None
) -> dict[str, Any]:
    """Lock the prediction of a preset in a file, train, and add what was seen; a finished run is only read.

    The same preset, seed, threads and machine give the same numbers. A run that was cut off starts anew, with the
    prediction that it had locked.

    Args:
        preset: the setting.
        seed: of all random numbers, at least 0.
        folder: where the file goes, called after preset and seed.
        threads: of PyTorch, at least 1.
        progress: called after each step with the number of steps that are done.

    Returns:
        What the file holds: ``prediction``, ``sha256``, ``locked``, ``outcome``, ``finished``.

    Raises:
        ValueError: the file holds another setting, or a prediction that is not what was locked; or λ* is endless, since
            the teacher ends lists more often than the base.

    Source: extension.

    >>> from dataclasses import replace
    >>> from tempfile import mkdtemp
    >>> from lambda_star.cliff.presets import QUICK
    >>> small = replace(QUICK, items=3, steps=4, grid=(0.0, 0.9, 1.1))
    >>> sorted(run(small, 0, Path(mkdtemp())))
    ['finished', 'locked', 'outcome', 'prediction', 'sha256']
    """
    path = folder / f"{preset.name.replace(', ', '-').replace(' ', '-')}-{seed}.json"
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return _run(preset, seed, path, progress)
    finally:
        torch.set_num_threads(before)


def _run(preset: Preset, seed: int, path: Path, progress: Progress | None) -> dict[str, Any]:
    task = Task(preset.style, preset.items)
    pair = cache(lambda: _tuned(task, preset, seed))  # not needed where the run is finished
    record = lock(path, lambda: _predicted(*pair(), task, preset, seed))
    if record["prediction"]["preset"] != json.loads(json.dumps(asdict(preset))):
        raise ValueError(f"{path} must hold a run of this preset, got one with other settings; remove it")
    if "outcome" in record:
        return record
    began = time.perf_counter()
    teacher, base = pair()
    lams = record["prediction"]["grid"]
    students = _distilled(teacher, base, task, preset, lams, 10 * seed + 4, preset.steps, progress)
    outcome = _judged(students, _held_out(teacher, base, task, seed), task, record["prediction"], seed)
    return conclude(path, record, outcome | {"seconds": round(time.perf_counter() - began, 1)})


def _tuned(task: Task, preset: Preset, seed: int) -> tuple[Weights, Weights]:
    """Teacher and base: the base goes on to learn from the teacher's data."""
    start = new_weights(len(task.words), WIDTH, task.length, torch.Generator().manual_seed(10 * seed))
    base = _trained(start, task, preset.base_ends, BASE_RIGHT, 10 * seed + 1)
    return _trained(base, task, preset.teacher_ends, TEACHER_RIGHT, 10 * seed + 2), base


def _trained(weights: Weights, task: Task, ends: float, right: float, seed: int) -> Weights:
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


def _held_out(teacher: Weights, base: Weights, task: Task, seed: int) -> _Held:
    """Lists that the teacher writes if it may neither end nor break them, under both models."""
    generator = torch.Generator().manual_seed(10 * seed + 3)
    tokens = sample(teacher, HELD_OUT, task.length, generator, task.going_on())[0]
    goes, ends = task.contract(tokens[0].tolist())  # the same for all, which differ in their digits alone
    places = 1 + int(np.flatnonzero(~goes.any(axis=1))[0])  # up to where only the closer will do
    tokens, goes, ends = tokens[:, :places], goes[:places], ends[:places]
    log_t, log_b = (_log_probabilities(each, tokens) for each in (teacher, base))
    return _Held(tokens, log_t, log_b, goes, ends, goes[:, task.separator])


def _log_probabilities(weights: Weights, tokens: Tensor) -> Floats:
    with torch.no_grad():
        values: Floats = torch.log_softmax(forward(weights, tokens[None])[0].double(), -1).numpy()
    return values


def _predicted(teacher: Weights, base: Weights, task: Task, preset: Preset, seed: int) -> dict[str, Any]:
    """What is said of a run before the first step of its students."""
    held = _held_out(teacher, base, task, seed)
    p, b = (np.exp(log[:, held.forks, task.separator].ravel()) for log in (held.log_t, held.log_b))
    stars, ends = (
        np.quantile(of(p, b, preset.clip), LEVELS, method="inverted_cdf")
        for of in (bernoulli.threshold, bernoulli.collapse_point)
    )
    star, middle_p, middle_b = float(stars[2]), float(np.median(p)), float(np.median(b))
    if math.isinf(star):
        raise ValueError(
            f"preset must have a base that ends lists more often, got medians p = {middle_p:g}, b = {middle_b:g}"
        )
    lams = 1 + (star - 1) * FINE
    c = preset.clip if preset.clipped else math.inf
    validity = sequence.validity(_positions(held, preset), c, lams)
    budget = _pace(teacher, base, held, task, preset, seed) * float(np.sum(_schedule(preset.steps)))
    return {
        "preset": asdict(preset),
        "seed": seed,
        "threads": torch.get_num_threads(),
        "versions": {"lambda_star": __version__, "numpy": np.__version__, "torch": torch.__version__},
        "lists": len(held.tokens),
        "p": middle_p,
        "b": middle_b,
        "levels": LEVELS,
        "threshold": _numbers(stars),
        "collapse": _numbers(ends),
        "band": _numbers([stars[1], ends[3]]) if preset.clipped and not preset.shuffled else None,
        "budget": budget,
        "budget_threshold": dynamics.budget_threshold(middle_p, middle_b, preset.clip, budget=budget),
        "lam": _numbers(lams),
        "validity": _numbers(validity),
        "tail": _numbers(1 - bernoulli.stationary_student(middle_p, middle_b, c, lams)),
        "reference": 1 + REFERENCE * (star - 1),
        "onset": onset(lams, validity, 1 + REFERENCE * (star - 1)),
        "grid": _numbers(1 + (star - 1) * np.array(preset.grid)),
    }


def _numbers(values: Any) -> list[float | None]:
    """Numbers for JSON, which has none that is endless: to ten digits, None in its place."""
    return [float(f"{value:.10g}") if math.isfinite(value) else None for value in values]


def _positions(held: _Held, preset: Preset) -> sequence.Positions:
    lists, places, _ = shape = held.log_t.shape
    # The advantage is linear in log π_B, so that students see the mean over all places that the base's row may be of.
    log_b = held.log_b.mean(axis=(0, 1)) if preset.shuffled else held.log_b
    rows = (np.broadcast_to(values, shape) for values in (held.log_t, log_b, held.goes, held.ends))
    log_t, log_b, goes, ends = (values.reshape(lists * places, -1) for values in rows)
    return sequence.Positions(log_t, log_b, goes, ends, np.repeat(np.arange(lists), places))


def _pace(teacher: Weights, base: Weights, held: _Held, task: Task, preset: Preset, seed: int) -> float:
    """How much of a natural-gradient flow's time one step at full rate is, from a rehearsal at λ = 1.

    In time s such a flow leaves e^−s of its way to the teacher, here the separator's log-odds in the root mean square
    over the forks. The rehearsal says nothing of what happens above λ = 1.
    """
    student = _distilled(teacher, base, task, preset, [1.0], 10 * seed + 7, REHEARSAL, None)
    now, target, start = (
        _log_odds(log[:, held.forks, task.separator])
        for log in (_log_probabilities(student, held.tokens), held.log_t, held.log_b)
    )
    left = float(np.sqrt(np.mean((now - target) ** 2) / np.mean((start - target) ** 2)))
    return max(0.0, -math.log(left)) / float(np.sum(_schedule(REHEARSAL)))


def _log_odds(log: Floats) -> Floats:
    odds: Floats = log - np.log(-np.expm1(log))
    return odds


def _schedule(steps: int) -> Floats:
    """The rate of every step in units of the full rate: falling to 0 in the second half, so that noise dies down."""
    return np.minimum(1.0, 2 * (1 - np.arange(steps) / steps))


def _distilled(
    teacher: Weights,
    base: Weights,
    task: Task,
    preset: Preset,
    lams: list[float],
    seed: int,
    steps: int,
    progress: Progress | None,
) -> Weights:
    """Students that start at the base, one for each λ, trained side by side."""
    generator = torch.Generator().manual_seed(seed)
    students = {name: weight.requires_grad_() for name, weight in repeat(base, len(lams)).items()}
    optimizer = torch.optim.Adam(students.values(), lr=RATE, betas=(preset.momentum, MEMORY))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, [*_schedule(steps), 0.0].__getitem__)
    for step in range(steps):
        tokens = sample(students, BATCH, task.length, generator)
        inputs, inside = tokens[..., :-1], counted(tokens)[..., 1:]
        with torch.no_grad():
            flat = inputs.flatten(0, 1)[None]
            log_t, log_b = (forward(each, flat)[0].reshape(*inputs.shape, -1) for each in (teacher, base))
        if preset.shuffled:
            log_b = torch.stack([_shuffled(rows, here, generator) for rows, here in zip(log_b, inside, strict=True)])
        logits = forward(students, inputs)
        clip = preset.clip if preset.clipped else None
        losses = [
            opd_loss(logits[one], log_t[one], log_b[one], lam, clip=clip, mask=inside[one])
            for one, lam in enumerate(lams)
        ]
        optimizer.zero_grad()
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if progress is not None:
            progress(step + 1)
    return {name: weight.detach() for name, weight in students.items()}


def _shuffled(rows: Tensor, inside: Tensor, generator: torch.Generator) -> Tensor:
    """Rows with those that count in another order."""
    counting = rows[inside]
    rows = rows.clone()
    rows[inside] = counting[torch.randperm(len(counting), generator=generator)]
    return rows


def _judged(students: Weights, held: _Held, task: Task, prediction: dict[str, Any], seed: int) -> dict[str, Any]:
    """What sampled answers of the students are, and how much tail they have left where a list may end."""
    tokens = sample(students, JUDGED, task.length, torch.Generator().manual_seed(10 * seed + 5))
    texts = [[task.decode(row) for row in rows] for rows in tokens.tolist()]
    lists = [[parsed(text) for text in each] for each in texts]
    closed = [[closes(text) for text in each] for each in texts]
    valid = np.array([[one is not None for one in answers] for answers in lists], dtype=float)
    pairs = [[pair for one in answers if one for pair in pairwise(one)] for answers in lists]
    many = held.tokens.expand(len(lists), *held.tokens.shape)
    with torch.no_grad():
        log_s = torch.log_softmax(forward(students, many).double(), -1).numpy()
    tails = [-np.expm1(log[:, held.forks, task.separator].ravel()) for log in log_s]
    lams, reference = prediction["grid"], prediction["reference"]
    single = len(lams) == 1
    return {
        "judged": JUDGED,
        "validity": _numbers(valid.mean(axis=1)),
        "closed": _numbers(np.mean(closed, axis=1)),
        "right": [float(np.mean([(a + 1) % 10 == b for a, b in each])) if each else None for each in pairs],
        "items": [float(np.mean([len(one) for one in answers if one])) if any(answers) else None for answers in lists],
        "tail": [_numbers(np.quantile(tail, (0.1, 0.5, 0.9))) for tail in tails],
        "onset": None if single else onset(lams, valid.mean(axis=1), reference),
        "interval": [None, None] if single else _interval(lams, valid, reference, 10 * seed + 6),
    }


def _interval(lams: list[float], valid: Floats, reference: float, seed: int) -> list[float | None]:
    """The 95 % bootstrap interval of the onset over the sampled answers; None where no fall bounds it."""
    rng = np.random.default_rng(seed)
    draws = (valid[:, rng.integers(JUDGED, size=JUDGED)].mean(axis=1) for _ in range(RESAMPLES))
    found = [math.inf if at is None else at for at in (onset(lams, draw, reference) for draw in draws)]
    return _numbers(np.quantile(found, (0.025, 0.975), method="inverted_cdf"))
