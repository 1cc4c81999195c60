"""Lists of exactly eight ids in JSON, and two small transformers that write them: a base that truncates, and a teacher.

Both are trained on the exact distribution of the next token, so that probabilities as small as the teacher's tail come
out right. The teacher is the base after further training.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lambda_star.cliff.model import Weights, forward, new_weights, sample
from lambda_star.cliff.task import DIGITS, Task, counted, parsed

IDS = 8
TASK = Task("plain", 10)  # ten ids fit, so a list can also be too long
OPEN, SEPARATOR, CLOSE = TASK.encode("[,]")[1:]
SEPARATORS = [2 * k for k in range(1, IDS)]
"""The places of an answer at which the k-th separator is due, k = 1 to 7."""
SMOOTH = 1e-4  # of each next token is spread over the vocabulary
WIDTH, BATCH, RATE = 32, 64, 3e-3  # of base and teacher
ANSWERS = 4096  # of the data of each
BASE_STEPS, TEACHER_STEPS = 600, 1500
HELD_OUT = 256
KEPT = Path(__file__).parents[2] / "out" / "eight_ids"
"""Where teacher and base are kept; they can always be made again from their seed."""
STREAMS = ("start", "base", "teacher", "held out", "pace", "rehearsed", "students", "answers")


@dataclass(frozen=True)
class Law:
    """What the data of a model look like.

    Attributes:
        stops: probability that the list ends after the k-th id, given that it got there, k = 1 to 10.
        right: probability that the next id is one more than the last; otherwise it is random.
    """

    stops: tuple[float, ...]
    right: float


TEACHER = Law((*[4e-4] * 7, 1 - 4e-4, 0.9, 0.9), 0.9)
BASES = {
    "last": Law((0.01, 0.01, 0.02, 0.03, 0.05, 0.12, 0.5, 0.85, 0.8, 0.8), 0.85),
    "even": Law((*[0.14] * 7, 0.9, 0.8, 0.8), 0.85),
}
"""Where the base truncates: mostly before the last id, or before each id alike."""


def next_tokens(law: Law, tokens: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the probabilities of the token after each of ``tokens``, shape (answers, tokens, vocabulary)."""
    answers, count = tokens.shape
    rows = np.zeros((answers, count, len(TASK.words)))
    rows[:, 0, OPEN] = 1.0
    ids = np.cumsum((tokens >= 1) & (tokens <= DIGITS), axis=1)
    for place in range(1, count):
        now, here = tokens[:, place], rows[:, place]
        ends = np.array([0.0, *law.stops, *[1.0] * count])[ids[:, place]]
        is_id, wants = (now >= 1) & (now <= DIGITS), (now == OPEN) | (now == SEPARATOR)
        here[is_id, SEPARATOR], here[is_id, CLOSE] = 1 - ends[is_id], ends[is_id]
        here[wants, 1 : DIGITS + 1] = 1 / DIGITS
        after = wants & (now == SEPARATOR)
        here[after, 1 : DIGITS + 1] *= 1 - law.right
        here[after, 1 + tokens[after, place - 1] % DIGITS] += law.right
        here[(now == CLOSE) | (now == 0), 0] = 1.0
    return (1 - SMOOTH) * rows + SMOOTH / len(TASK.words)


def drawn(law: Law, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw answers, shape (count, length of the longest answer), filled up with the stop."""
    tokens = np.zeros((count, 1), dtype=np.int64)
    for _ in range(TASK.length - 1):
        sums = next_tokens(law, tokens)[:, -1].cumsum(axis=1)
        following = (rng.random((count, 1)) * sums[:, -1:] > sums).sum(axis=1)
        following[(tokens[:, -1] == 0) & (tokens.shape[1] > 1)] = 0
        tokens = np.column_stack([tokens, following])
    return tokens


def trained(weights: Weights, law: Law, steps: int, seed: int) -> Weights:
    """Train a model on the exact distribution of the next token."""
    rng = np.random.default_rng(seed)
    weights = {name: weight.clone().requires_grad_() for name, weight in weights.items()}
    optimizer = torch.optim.Adam(weights.values(), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    answers = drawn(law, ANSWERS, rng)
    inside, targets = counted(torch.tensor(answers))[:, 1:], torch.tensor(next_tokens(law, answers[:, :-1])).float()
    inputs = torch.tensor(answers[:, :-1])
    for _ in range(steps):
        some = torch.tensor(rng.integers(ANSWERS, size=BATCH))
        logits, here = forward(weights, inputs[some][None])[0], inside[some]
        loss = torch.nn.functional.cross_entropy(logits[here], targets[some][here])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return {name: weight.detach() for name, weight in weights.items()}


@dataclass(frozen=True)
class Pair:
    """Teacher and base of a seed."""

    base: str
    seed: int

    def generator(self, stream: str) -> torch.Generator:
        """Return the random numbers of one use; each has a seed of its own."""
        return torch.Generator().manual_seed(self.seed_of(stream))

    def seed_of(self, stream: str) -> int:
        """Return the seed of one use."""
        return 10 * self.seed + STREAMS.index(stream)

    @cached_property
    def models(self) -> tuple[Weights, Weights]:
        """Teacher and base, read from a file of an earlier call if there is one."""
        path = KEPT / f"{self.base}-{self.seed}.pt"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.save(self._made(), part := path.with_suffix(f".{os.getpid()}"))
            part.rename(path)
        teacher, base = torch.load(path)
        return teacher, base

    def _made(self) -> tuple[Weights, Weights]:
        start = new_weights(len(TASK.words), WIDTH, TASK.length, self.generator("start"))
        base = trained(start, BASES[self.base], BASE_STEPS, self.seed_of("base"))
        return trained(base, TEACHER, TEACHER_STEPS, self.seed_of("teacher")), base

    @cached_property
    def held_out(self) -> Tensor:
        """Closed lists of eight ids that the teacher writes when it may neither end nor break them before."""
        going_on = sample(self.models[0], HELD_OUT, TASK.length, self.generator("held out"), TASK.going_on())[0]
        return torch.cat([going_on[:, : 2 * IDS + 1], torch.full((HELD_OUT, 1), CLOSE)], dim=1)


@torch.no_grad()
def log_rows(weights: Weights, tokens: Tensor) -> NDArray[np.float64]:
    """Return the log-probabilities of the token after each of ``tokens`` under each model."""
    rows: NDArray[np.float64] = torch.log_softmax(forward(weights, tokens).double(), -1).numpy()
    return rows


def separators(weights: Weights, held_out: Tensor) -> NDArray[np.float64]:
    """Return the log-odds of the separator where each of the seven is due, shape (models, lists, 7)."""
    models = len(weights["head"])
    rows = log_rows(weights, held_out.expand(models, *held_out.shape))[:, :, SEPARATORS]
    others = np.delete(rows, SEPARATOR, axis=-1)
    odds: NDArray[np.float64] = rows[..., SEPARATOR] - np.logaddexp.reduce(others, axis=-1)
    return odds


def judged(tokens: Tensor) -> list[dict[str, float]]:
    """Judge answers of each model: shares that are valid, that parse, and that parse with fewer or more ids."""
    shares = []
    for rows in tokens.tolist():
        lists = [parsed(TASK.decode(row)) for row in rows]
        counts = np.array([-1 if one is None else len(one) for one in lists])
        found = {"valid": counts == IDS, "parses": counts >= 0, "one missing": counts == IDS - 1}
        found |= {"fewer": (counts >= 0) & (counts < IDS - 1), "more": counts > IDS}
        shares.append({name: float(np.mean(which)) for name, which in found.items()})
    return shares
