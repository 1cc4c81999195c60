"""The cliff on a laptop: a small transformer writes JSON lists, and the prediction is locked before it is trained."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lambda_star import bernoulli
from lambda_star.torch.step import opd_loss
from lambda_star.torch.tiny import Weights, forward, new_weights, repeat, sample

__all__ = ["Preset", "Task"]

Floats = NDArray[np.float64]

WIDTH = 32


@dataclass(frozen=True)
class Preset:
    """One setting of the experiment: how often teacher and base end a list, the clip, and how long answers may be."""

    name: str
    style: str
    teacher_ends: float
    base_ends: float
    clip: float
    items: int
    steps: int = 200


class Task:
    """Lists of digits, each likely one more than the last, as JSON; its marks may be single tokens or merged ones."""

    STYLES = {
        "plain": ("[", ",", "]"),
        "quoted": ('["', '","', '"]'),
    }

    def __init__(self, preset: Preset, merged: bool = True) -> None:
        self.open, self.separate, self.close = self.STYLES[preset.style]
        marks = [self.open, self.separate, self.close]
        if not merged:
            marks = sorted({mark for text in marks for mark in text})
        self.words = ["", *[str(digit) for digit in range(10)], *marks]
        self.index = {word: place for place, word in enumerate(self.words)}
        self.items = preset.items
        self.per_item = 1 + (1 if merged else len(self.separate))
        self.length = 1 + 1 + self.per_item * preset.items + 1

    def encode(self, text: str) -> list[int]:
        """Tokens of an answer, longest first; the empty word starts and stops it."""
        tokens, place = [0], 0
        while place < len(text):
            word = max((word for word in self.words if word and text.startswith(word, place)), key=len)
            tokens.append(self.index[word])
            place += len(word)
        return tokens

    def decode(self, tokens: list[int]) -> str:
        """The text up to the stop; an answer cut off has none."""
        return "".join(self.words[token] for token in tokens)

    def answers(self, count: int, ends: float, right: float, rng: np.random.Generator) -> Tensor:
        """Answers as the data have them, filled up with the stop."""
        rows = torch.zeros(count, self.length, dtype=torch.long)
        for row in range(count):
            digits = [int(rng.integers(10))]
            while len(digits) <= self.items and rng.random() >= ends:  # longer ones are cut, as sampled ones are
                digits.append((digits[-1] + 1) % 10 if rng.random() < right else int(rng.integers(10)))
            text = self.open + self.separate.join(map(str, digits)) + self.close
            tokens = self.encode(text)[: self.length]
            rows[row, : len(tokens)] = torch.tensor(tokens)
        return rows


def tuned(weights: Weights, task: Task, ends: float, right: float, steps: int, seed: int) -> Weights:
    """A model trained on answers, from given weights on."""
    rng = np.random.default_rng(seed)
    weights = {name: weight.clone().requires_grad_() for name, weight in weights.items()}
    optimizer = torch.optim.Adam(weights.values(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        rows = task.answers(64, ends, right, rng)
        logits = forward(weights, rows[None, :, :-1])[0]
        counts = counted(rows)[:, 1:]
        losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten(), reduction="none")
        loss = (losses * counts.flatten()).sum() / counts.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return {name: weight.detach() for name, weight in weights.items()}


def counted(tokens: Tensor) -> Tensor:
    """Which tokens belong to an answer: all up to its first stop, the start aside."""
    stopped = (tokens[..., 1:] == 0).cumsum(-1)
    inside = (stopped - (tokens[..., 1:] == 0).long()) == 0
    return torch.cat([torch.zeros_like(inside[..., :1]), inside], dim=-1)


def distilled(
    teacher: Weights, base: Weights, task: Task, lams: Floats, clip: float, steps: int, seed: int, rate: float = 1e-3, batch: int = 64
) -> Weights:
    """Students that start at the base, one for each λ, trained by on-policy distillation with the clip."""
    generator = torch.Generator().manual_seed(seed)
    models = len(lams)
    student = {name: weight.requires_grad_() for name, weight in repeat(base, models).items()}
    optimizer = torch.optim.Adam(student.values(), lr=rate)
    for _ in range(steps):
        tokens = sample(student, batch, 0, 0, task.length, generator)
        inputs, counts = tokens[..., :-1], counted(tokens)[..., 1:]
        with torch.no_grad():
            others = [forward(weights, inputs.reshape(1, -1, inputs.shape[-1])).unflatten(1, (models, batch))[0] for weights in (teacher, base)]
        logits = forward(student, inputs)
        loss = sum(
            opd_loss(logits[place], others[0][place], others[1][place], float(lam), clip=clip, mask=counts[place])
            for place, lam in enumerate(lams)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {name: weight.detach() for name, weight in student.items()}


def judged(student: Weights, task: Task, count: int, seed: int) -> list[dict[str, float]]:
    """Of every student the share of answers that are JSON, and of these how often a digit follows the last."""
    tokens = sample(student, count, 0, 0, task.length, torch.Generator().manual_seed(seed))
    found = []
    for rows in tokens.tolist():
        lists = [value for row in rows if (value := parsed(task.decode(row))) is not None]
        steps = [(int(b) - int(a)) % 10 == 1 for one in lists for a, b in zip(one, one[1:])]
        found.append({"valid": len(lists) / len(rows), "right": float(np.mean(steps)) if steps else float("nan"), "items": float(np.mean([len(x) for x in lists])) if lists else float("nan")})
    return found


def parsed(text: str) -> list[Any] | None:
    """The list that a text is, by JSON's rules; None if it is none."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, list) and all(len(str(one)) == 1 and str(one).isdigit() for one in value) else None


def measured(teacher: Weights, base: Weights, task: Task, count: int, seed: int) -> tuple[Floats, Floats]:
    """p and b of the separator after every item of lists that the base is not let to end: answers × items."""
    close = task.index[task.close if task.close in task.index else task.close[-1]]
    separate = task.index[task.separate if task.separate in task.index else task.separate[0]]
    forbidden = torch.zeros(1, 1, len(task.words), dtype=torch.bool)
    forbidden[..., [0, close]] = True
    tokens = sample(base, count, 0, 0, task.length, torch.Generator().manual_seed(seed), lambda last: forbidden)[0]
    with torch.no_grad():
        logs = [torch.log_softmax(forward(weights, tokens[None, :, :-1])[0].double(), -1) for weights in (teacher, base)]
    after = (tokens[:, :-1] >= 1) & (tokens[:, :-1] <= 10)
    p, b = (log[..., separate].exp() for log in logs)
    rows = [np.array(p[row][after[row]][: task.items - 1]) for row in range(count)], [np.array(b[row][after[row]][: task.items - 1]) for row in range(count)]
    width = min(map(len, rows[0]))
    return tuple(np.array([row[:width] for row in side]) for side in rows)


def predicted_validity(p: Floats, b: Floats, clip: float, lams: Floats) -> Floats:
    """Share of lists that end within the budget if every position stands where training with the clip ends."""
    out = []
    for lam in lams:
        q = bernoulli.stationary_student(p, b, clip, lam)
        out.append(float(np.mean(1 - np.prod(q, axis=1))))
    return np.array(out)
