"""From two models to a table: answers are sampled, or brought, and both models score each of their positions."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lambda_star._core.quantities import LAM, Quantity, require
from lambda_star.calibration.table import Table
from lambda_star.contract import Contract
from lambda_star.torch.answers import AnswerLog, Given
from lambda_star.torch.pairs import Pair
from lambda_star.torch.positions import answer_logits, rows_of
from lambda_star.torch.prompts import Prompt
from lambda_star.torch.sampling import sample

__all__ = ["Source", "score"]

Source = float | str | Sequence[Given]
"""Where answers come from: a λ, ``"base"`` (λ = 0), ``"teacher"`` (λ = 1), or answers that are there."""

Progress = Callable[[str, int, int], None]

LOGITS = 2**27
"""The most logits of one model in one pass of scoring."""

ANSWERS, BATCH, MOST = (Quantity(name, 1, math.inf, "[)") for name in ("answers", "batch", "max_tokens"))
SEED = Quantity("seed", 0, math.inf, "[)")
COEFFICIENT = LAM._replace(low=0.0, ends="[)")


def score(
    pair: Pair,
    prompts: Sequence[Any],
    contract: Contract,
    *,
    source: Source = "base",
    answers: int | None = None,
    batch: int = 16,
    max_tokens: int = 256,
    seed: int = 0,
    path: str | Path | None = None,
    progress: Progress | None = None,
) -> Table:
    """Return the table of two models for :func:`lambda_star.calibrate`: both score every position of answers.

    Args:
        pair: teacher and base.
        prompts: texts, messages, or prompts from :func:`~lambda_star.torch.prompts.read_prompts`.
        contract: what a valid answer is.
        source: ``"base"`` or ``"teacher"``, which then samples the answers; a λ in [0, inf), whose mixture
            λ z_T + (1−λ) z_B does; or the answers themselves, from :func:`~lambda_star.torch.answers.read_answers`,
            and ``prompts`` is then not used.
        answers: the number of answers, by default one to each prompt; beyond their number every prompt is asked again.
        batch: the number of answers that run side by side.
        max_tokens: the most tokens of a sampled answer.
        seed: seed of the sampling.
        path: a file that keeps each answer as soon as it is there, so that a run that is cut can be gone on with.
        progress: a function that is told the stage, how many answers are done, and of how many.

    Returns:
        A :class:`lambda_star.calibration.table.Table`.

    Raises:
        ValueError: an argument lies outside its range, a prompt cannot be sent, or ``path`` has other settings.

    >>> table = score(load_pair("runs/teacher", "runs/base"), prompts, parse("json"))      # doctest: +SKIP
    """
    given = None if isinstance(source, float | int | str) else [*source]
    require((ANSWERS, answers), (BATCH, batch), (MOST, max_tokens), (SEED, seed), (COEFFICIENT, _lam(source)))
    asked = [prompt.ids(pair.tokenizer) for prompt in (map(Prompt.of, prompts) if given is None else ())]
    if given is None:
        jobs = [*islice(cycle(asked), len(asked) if answers is None else answers)]
        settings: dict[str, Any] = {"seed": seed, "max_tokens": max_tokens, "from": str(source)}
    else:
        jobs = [one.prompt.ids(pair.tokenizer) for one in given]
        settings = {"from": _digest([[one.text, one.tokens] for one in given])}
    settings |= {"models": [*pair.names], "contract": contract.name, "prompts": _digest(asked or jobs)}
    settings |= {"dtype": str(pair.dtype), "device": pair.device.type}
    with AnswerLog(Path(path) if path else None, settings) as log:
        run = _Run(pair, contract, jobs, log, batch, progress or (lambda *_: None))
        if given is None:
            run.sample(_lam(source), seed, max_tokens)
        else:
            log.answers = {number: one.ids(pair) for number, one in enumerate(given)}
        run.score()
        rows = ({"sequence": number, **row} for number in range(len(jobs)) for row in log.rows[number])
        return Table.from_rows(rows, source=" and ".join(pair.names[:2]))


def _lam(source: Any) -> float:
    """The λ whose mixture a source is; 0 where it is answers."""
    if not isinstance(source, float | int | str):
        return 0.0
    try:
        return {"base": 0.0, "teacher": 1.0}[source] if source in ("base", "teacher") else float(source)
    except ValueError:
        raise ValueError(f"source must be base, teacher, a λ or answers, got {source!r}") from None


def _digest(content: Any) -> str:
    """How many entries there are, and the start of the SHA-256 of their JSON."""
    return f"{len(content)}, sha256 {hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]}"


@dataclass(frozen=True)
class _Run:
    """A run: what is asked, and what is there already."""

    pair: Pair
    contract: Contract
    prompts: list[list[int]]
    log: AnswerLog
    batch: int
    progress: Progress

    def sample(self, lam: float, seed: int, max_tokens: int) -> None:
        """Draw the answers that are not there yet from the mixture at λ; one model alone runs at 0 and 1."""
        missing = [number for number in range(len(self.prompts)) if number not in self.log.answers]
        self.progress("sampling", len(self.prompts) - len(missing), len(self.prompts))

        def mixture(logits_t: Tensor, logits_b: Tensor, _: Tensor) -> Tensor:
            return torch.lerp(logits_b, logits_t, lam)

        alone = {0.0: replace(self.pair, teacher=self.pair.base), 1.0: replace(self.pair, base=self.pair.teacher)}
        drawn = sample(
            alone.get(lam, self.pair),
            [self.prompts[number] for number in missing],
            mixture,
            keys=missing,
            seed=seed,
            batch=self.batch,
            max_tokens=max_tokens,
        )
        for answer in drawn:
            text = self.pair.text(answer.tokens)
            self.log.add_answer(missing[answer.index], answer.tokens, text=text, ended=answer.ended)
            self.progress("sampling", len(self.log.answers), len(self.prompts))

    def score(self) -> None:
        """Score the answers that are not scored yet."""
        self.progress("scoring", len(self.log.rows), len(self.prompts))
        for group in self._groups():
            answers = [(self.prompts[number], self.log.answers[number]) for number in group]
            logits = [answer_logits(model, answers) for model in (self.pair.teacher, self.pair.base)]
            for number, *both in zip(group, *logits, strict=True):
                rows = rows_of(self.pair, self.contract, self.log.answers[number], (both[0], both[1]))
                self.log.add_rows(number, rows)
                self.progress("scoring", len(self.log.rows), len(self.prompts))

    def _groups(self) -> Iterator[list[int]]:
        """The answers that one pass takes together: those of similar length, and no more than memory can hold."""
        missing = [number for number in self.log.answers if number not in self.log.rows]
        lengths = {number: len(self.log.answers[number]) for number in missing}
        missing.sort(key=lambda number: (lengths[number] + len(self.prompts[number]), lengths[number]))
        group: list[int] = []
        for number in missing:
            longest = max(lengths[other] for other in (*group, number)) + 1
            if group and (len(group) == self.batch or longest * (len(group) + 1) * self.pair.vocabulary > LOGITS):
                yield group
                group = []
            group.append(number)
        if group:
            yield group
