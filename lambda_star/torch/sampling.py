"""Answers of a student that is known only by its logits at every prefix, a function of teacher and base."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lambda_star.torch.pairs import Pair

__all__ = ["Sampled", "exponential", "left_padded", "sample"]

Student = Callable[[Tensor, Tensor, Tensor], Tensor]

LEAVE = 1 / 8
"""The share of a batch that must have ended before the rows are removed: each removal copies both caches."""


class Sampled(NamedTuple):
    """One answer: its number, its tokens with the one that ends it, and whether it ended by itself."""

    index: int  # type: ignore[assignment]  # the tuple's own method of this name is not needed
    tokens: list[int]
    ended: bool


def sample(
    pair: Pair,
    prompts: Sequence[Sequence[int]],
    student: Student,
    *,
    keys: Sequence[int],
    seed: int,
    batch: int,
    max_tokens: int,
) -> Iterator[Sampled]:
    """Return the answers of a student, each as soon as it ends; the order follows the lengths of the prompts.

    A token is the largest of the student's logits plus Gumbel noise, which depends on the seed, the key of the answer
    and the position alone. Answers therefore do not depend on the batch, except where rounding decides, and answers
    with equal keys draw common random numbers. Both models keep their keys and values; a prompt that stands several
    times in a batch is read once.

    Args:
        pair: the two models.
        prompts: token ids of the prompt of each answer.
        student: a function of the teacher's logits, the base's logits (float32, one row for each running answer) and
            the numbers of these answers; it returns the student's logits or log-probabilities.
        keys: the key of the random numbers of each answer, at least 0.
        seed: seed of the random numbers, at least 0.
        batch: the number of answers that run side by side.
        max_tokens: the most tokens of an answer.

    Returns:
        An iterator over :class:`Sampled`.

    Raises:
        ValueError: there are not as many keys as prompts, a prompt is empty or leaves the models no room for an answer,
            a number lies outside its range, or the student's logits are not numbers.

    >>> def mixture(logits_t, logits_b, answers):
    ...     return 1.25 * logits_t - 0.25 * logits_b
    >>> list(sample(pair, prompts, mixture, keys=[0, 1], seed=0, batch=32, max_tokens=64))      # doctest: +SKIP
    """
    if len(keys) != len(prompts):
        raise ValueError(f"keys must hold one key for each of {len(prompts)} prompts, got {len(keys)}")
    for name, value, least in (("batch", batch, 1), ("max_tokens", max_tokens, 1), ("seed", seed, 0)):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
    room = pair.context - max_tokens + 1  # the last token is not read
    for index, prompt in enumerate(prompts):
        if not 1 <= len(prompt) <= room:
            said = f"prompts must hold from 1 to {room} tokens each, with answers of up to {max_tokens}"
            raise ValueError(f"{said}, got {len(prompt)} at index {index}")
    order = sorted(range(len(prompts)), key=lambda index: (len(prompts[index]), tuple(prompts[index]), keys[index]))
    for start in range(0, len(order), batch):
        chunk = order[start : start + batch]
        run = _Run(pair, [prompts[index] for index in chunk], chunk, [keys[index] for index in chunk])
        yield from run.answers(student, seed, max_tokens)


class _Run:
    """Answers that run side by side: which they are, and what both models have read of them."""

    def __init__(self, pair: Pair, prompts: list[Sequence[int]], indices: list[int], keys: list[int]) -> None:
        self.pair, self.keys = pair, keys
        self.indices = torch.tensor(indices, device=pair.device)
        self.running: list[tuple[int, list[int]] | None] = [(index, []) for index in indices]
        different = {tuple(prompt): place for place, prompt in enumerate(dict.fromkeys(map(tuple, prompts)))}
        self.source = torch.tensor([different[tuple(prompt)] for prompt in prompts], device=pair.device)
        self.ids, self.attention = left_padded([*different], pair.device)
        self.models = [*dict.fromkeys((pair.teacher, pair.base))]  # a pair of one model twice runs it once
        self.caches: list[Any] = [None] * len(self.models)

    def answers(self, student: Student, seed: int, max_tokens: int) -> Iterator[Sampled]:
        """Draw token after token, and yield every answer that has ended or is as long as it may become."""
        for position in range(max_tokens):
            drawn = self._draw(self._logits(student, first=position == 0), seed, position)
            for row, (answer, token) in enumerate(zip(self.running, drawn.tolist(), strict=True)):
                if answer is None:  # it has ended, and its row is not yet removed
                    continue
                index, tokens = answer
                if token < 0:
                    raise ValueError(f"student must give numbers, got NaN for answer {index} at position {position}")
                tokens.append(token)
                if token in self.pair.ends or position + 1 == max_tokens:
                    self.running[row] = None
                    yield Sampled(index, tokens, token in self.pair.ends)
            if not any(self.running):
                return
            self._next(drawn)

    @torch.inference_mode()
    def _logits(self, student: Student, first: bool) -> Tensor:
        """The student's logits at the next position of every row."""
        found = []
        for place, model in enumerate(self.models):
            logits, self.caches[place] = model(self.ids, self.attention, 1, self.caches[place])
            last = logits[:, -1, : self.pair.vocabulary]
            found.append(last.to(torch.promote_types(last.dtype, torch.float32)))
        if first:  # equal prompts were read once, and now every answer gets a row of its own
            found = [logits[self.source] for logits in found]
            self._take(self.source)
        rows = self._living()
        if len(rows) == len(self.running):
            return student(found[0], found[-1], self.indices)
        logits = student(found[0][rows], found[-1][rows], self.indices[rows])  # what follows an end is no prefix
        return logits.new_zeros(len(self.running), logits.shape[1]).index_copy_(0, rows, logits)

    def _living(self) -> Tensor:
        """The rows whose answers have not ended."""
        rows = [row for row, answer in enumerate(self.running) if answer is not None]
        return torch.tensor(rows, device=self.ids.device)

    @torch.inference_mode()
    def _draw(self, logits: Tensor, seed: int, position: int) -> Tensor:
        """The token of the largest logit plus Gumbel noise in each row, -1 where there are no numbers."""
        different = {key: place for place, key in enumerate(dict.fromkeys(self.keys))}
        noise = torch.empty(len(different), logits.shape[1], device=logits.device)
        for key, place in different.items():
            exponential(noise[place], seed, key, position)
        gumbel = noise.log_().neg_()
        if len(different) < len(self.keys):
            gumbel = gumbel[torch.tensor([different[key] for key in self.keys], device=logits.device)]
        best = gumbel.add_(logits).max(dim=1)
        return torch.where(best.values.isfinite(), best.indices, -1)

    @torch.inference_mode()
    def _next(self, drawn: Tensor) -> None:
        """Append the drawn tokens, and remove the rows that have ended once there are enough of them."""
        self.ids = drawn[:, None].clamp(min=0)
        self.attention = torch.cat([self.attention, torch.ones_like(self.attention[:, :1])], dim=1)
        rows = self._living()
        if len(rows) <= (1 - LEAVE) * len(self.running):
            stay = rows.tolist()
            self.running, self.keys = [self.running[row] for row in stay], [self.keys[row] for row in stay]
            self.ids, self.indices = self.ids[rows], self.indices[rows]
            self._take(rows)

    def _take(self, rows: Tensor) -> None:
        for cache in self.caches:
            cache.batch_select_indices(rows)
        self.attention = self.attention[rows]


def left_padded(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return token ids padded on the left with 0, and the mask that is 0 at the padding.

    >>> left_padded([[5, 6], [7]], torch.device("cpu"))[0].tolist()
    [[5, 6], [0, 7]]
    """
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + [*row] for row in rows], device=device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, mask


def exponential(out: Tensor, seed: int, key: int, position: int) -> None:
    """Fill a vector with standard exponential numbers that depend on three numbers and the kind of device alone.

    They are drawn as float64: in float32 the least of them would be so large that rare tokens were never drawn.
    """
    if out.device.type != "cuda":
        stream = np.random.Philox(
            key=np.array([seed, key], np.uint64), counter=np.array([0, 0, 0, position], np.uint64)
        )
        out.copy_(torch.from_numpy(np.random.Generator(stream).standard_exponential(len(out))).to(out.dtype))
        return
    state = int(np.random.SeedSequence([seed, key, position]).generate_state(1, np.uint64)[0])
    generator = torch.Generator(out.device).manual_seed(state >> 1)
    out.copy_(torch.empty_like(out, dtype=torch.float64).exponential_(generator=generator))
