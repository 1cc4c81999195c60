"""Trials of update rules: the prediction is locked, students of several trials are trained side by side, and judged."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lambda_star import bernoulli, updates
from lambda_star._core.namespaces import Floats
from lambda_star.cliff.losses import loss, nucleus
from lambda_star.cliff.model import Weights, forward, repeat, sample
from lambda_star.cliff.record import Record, attempt, conclude, lock
from lambda_star.cliff.rehearsed import _sampled
from lambda_star.cliff.rules import GRID, JUDGED, Trial, half_lost
from lambda_star.cliff.run import LEVELS, _descended, _log_probabilities, _numbers, _Run
from lambda_star.cliff.task import counted, parsed

__all__ = ["Runner"]

SCAN = np.arange(0, 15, 2) / 10  # of the way to where the tail dies: where a fall is sought
ROWS = 1024  # rows whose students are computed at once, so that they stay in the processor's cache
ANSWERS = 500  # answers of each student that are sampled at once


class Runner:
    """The trials of one setting and seed, which share teacher and base.

    >>> from lambda_star.cliff.rules import trial
    >>> one = trial("short", "none")
    >>> Runner(one, 6).locked(one, Path("results/rules"))["seed"]  # locked already, so it is only read
    6
    """

    def __init__(self, first: Trial, seed: int) -> None:
        self.this, self.seed = _Run(first.preset, seed), seed
        self._students: dict[updates.Rule, tuple[_Student, dict[float, float]]] = {}

    def locked(self, one: Trial, folder: Path) -> Record:
        """Return the record of a trial; only if there is no file, predict it and lock it there."""
        return lock(one.path(folder, self.seed), lambda: self._predicted(one), settings=one.settings, seed=self.seed)

    def run(self, trials: Sequence[Trial], folder: Path, progress: Callable[[int], None] | None = None) -> list[Record]:
        """Lock trials, train the students of those without an outcome side by side, and add what was seen.

        Args:
            trials: trials of one setting with the same momentum and reuse of batches.
            folder: folder of the files.
            progress: called after each step with the number of steps done.

        Returns:
            The records.

        Raises:
            ValueError: a file holds another trial.
            BlockingIOError: another process trains one of them.
        """
        records = {one: self.locked(one, folder) for one in trials}
        waiting = [one for one in trials if "outcome" not in records[one]]
        for one in waiting:
            records[one] = attempt(one.path(folder, self.seed), records[one])
        if waiting:
            began = time.perf_counter()
            grids = [records[one]["prediction"]["grid"] for one in waiting]
            students = self._trained(waiting, grids, progress)
            for number, one in enumerate(waiting):
                here = slice(number * len(GRID), (number + 1) * len(GRID))
                outcome = self._judged({name: weight[here] for name, weight in students.items()}, records[one])
                outcome |= {
                    "seconds": round(time.perf_counter() - began, 1),
                    "beside": [other.name for other in waiting],
                }
                records[one] = conclude(one.path(folder, self.seed), records[one], outcome)
        return list(records.values())

    def _predicted(self, one: Trial) -> Record:
        held, task, rule = self.this.held_out, self.this.task, updates.parse(one.rule)
        p, b = (np.exp(held.separator(log, task)) for log in (held.log_t, held.log_b))
        leaves, dies, ends = (
            np.quantile(values, LEVELS, method="inverted_cdf")
            for values in (rule.leaves(p, b), rule.dies(p, b), bernoulli.collapse_point(p, b, one.preset.clip))
        )
        mortal = bool(np.isfinite(dies[2]))
        middle = float(dies[2] if mortal else ends[2])
        scan = _rounded(1 + (middle - 1) * (SCAN if mortal else np.array(GRID)))
        fall = half_lost(scan, self._rehearsed(rule, scan)[0], self._rehearsed(updates.none(), scan)[0])
        grid = _rounded(1 + ((fall or middle) - 1) * np.array(GRID))
        lams = sorted({*grid, *scan})
        free = self._rehearsed(updates.none(), lams)[0]
        validity, unsettled = self._rehearsed(rule, lams)
        return {
            "p": float(np.median(p)),
            "b": float(np.median(b)),
            "levels": LEVELS,
            "leaves": _numbers(leaves),
            "dies": _numbers(dies),
            "grid": grid,
            "lam": lams,
            "free": free,
            "validity": validity,
            "onset": half_lost(lams, validity, free),
            "unsettled": unsettled,
        }

    def _rehearsed(self, rule: updates.Rule, lams: Sequence[float]) -> tuple[list[float], float]:
        """Return the validity of the rule's student at each λ, and the share of rows that training does not settle."""
        rule = updates.none() if rule.keeps_fixed_point else rule
        student, found = self._students.setdefault(rule, (_Student(rule), {}))  # other trials may have the same rule
        left = [lam for lam in lams if lam not in found]
        if left:
            tokens = _sampled(self.this, left, JUDGED, student)
            found |= dict(zip(left, self._valid(tokens).mean(axis=1).tolist(), strict=True))
        return [found[lam] for lam in lams], student.unsettled / student.rows

    def _valid(self, tokens: Tensor) -> Floats:
        answers = [[self.this.task.decode(row) for row in rows] for rows in tokens.tolist()]
        return np.array([[parsed(text) is not None for text in texts] for texts in answers], dtype=float)

    def _trained(
        self, trials: Sequence[Trial], grids: Sequence[list[float]], progress: Callable[[int], None] | None
    ) -> Weights:
        """Train the students of all trials side by side from the base, one for each λ of each trial."""
        (teacher, base), first, generator = self.this.models, trials[0], self.this.generator("students")
        pair = {name: torch.cat([teacher[name], base[name]]) for name in teacher}
        students = {name: weight.requires_grad_() for name, weight in repeat(base, sum(map(len, grids))).items()}
        batch: list[Tensor] = []

        def total(step: int) -> Tensor:
            if step % first.reuse == 0:
                tokens = sample(students, first.batch, self.this.task.length, generator, kept=_kept(trials))
                inputs, inside = tokens[..., :-1], counted(tokens)[..., 1:]
                with torch.no_grad():
                    rows = forward(pair, inputs.flatten(0, 1).expand(2, -1, -1))
                    log_t, log_b = torch.log_softmax(rows, -1).reshape(2, *inputs.shape, -1)
                batch[:] = [inputs, inside, log_t, log_b]
            inputs, inside, log_t, log_b, *_ = batch
            log_s = torch.log_softmax(forward(students, inputs), -1)
            if step % first.reuse == 0:
                batch.append(log_s.detach())
            losses = _losses(trials, grids, (log_s, log_t, log_b, batch[-1]), generator) * inside
            return (losses.sum((1, 2)) / inside.sum((1, 2))).sum()

        return _descended(students, total, first.preset.steps, first.momentum, progress)

    def _judged(self, students: Weights, record: Record) -> Record:
        """Judge sampled answers of the students, and measure the tail that they keep where a list may end."""
        said, held, task = record["prediction"], self.this.held_out, self.this.task
        generator = self.this.generator("answers")
        blocks = [self._valid(sample(students, ANSWERS, task.length, generator)) for _ in range(JUDGED // ANSWERS)]
        validity = np.concatenate(blocks, axis=1).mean(axis=1).tolist()
        free = [said["free"][said["lam"].index(lam)] for lam in said["grid"]]
        logs = _log_probabilities(students, held.tokens.expand(len(validity), *held.tokens.shape))
        tails = [np.quantile(-np.expm1(held.separator(log, task)), (0.1, 0.5, 0.9)) for log in logs]
        onset = half_lost(said["grid"], validity, free)
        return {"validity": validity, "tail": [_numbers(tail) for tail in tails], "onset": onset}


class _Student:
    """The student of a rule for the rehearsal; equal rows are computed once.

    Rows that training does not settle are counted, and take π_λ.
    """

    def __init__(self, rule: updates.Rule) -> None:
        self.rule, self.rows, self.unsettled = rule, 0, 0

    def __call__(self, log_t: Tensor, log_b: Tensor, lam: Tensor) -> Tensor:
        given = np.ascontiguousarray(torch.cat([log_t, log_b, lam[:, None]], dim=1).numpy())
        _, first, back = np.unique(given.view(f"V{given[0].nbytes}").ravel(), return_index=True, return_inverse=True)
        parts = [self._of(given[first[at : at + ROWS]]) for at in range(0, len(first), ROWS)]
        found = np.concatenate(parts)
        lost = np.asarray(np.isnan(found).any(axis=-1))
        found[lost] = self._of(given[first[lost]], updates.none())
        self.rows, self.unsettled = self.rows + len(back), self.unsettled + int(lost[back].sum())
        return torch.from_numpy(found[back])

    def _of(self, given: Floats, rule: updates.Rule | None = None) -> Floats:
        tokens = given.shape[1] // 2
        log_t, log_b, lam = given[:, :tokens], given[:, tokens : 2 * tokens], given[:, -1]
        values: Floats = (rule or self.rule).student(log_t, log_b, lam, axis=-1)
        return values


def _rounded(lams: Floats) -> list[float]:
    return [float(f"{lam:.10g}") for lam in lams]


def _kept(trials: Sequence[Trial]) -> Callable[[Tensor], Tensor] | None:
    """Which tokens the students may draw, if a rule truncates what they draw."""
    shares = [getattr(updates.parse(one.rule), "top_p", None) for one in trials]
    if not any(shares):
        return None
    limits = torch.tensor([share or 2.0 for share in shares]).repeat_interleave(len(GRID))
    return lambda log_s: nucleus(log_s, limits[:, None, None])


def _losses(
    trials: Sequence[Trial], grids: Sequence[list[float]], logs: tuple[Tensor, ...], generator: torch.Generator
) -> Tensor:
    """Compute the loss of every trial's students at each position, shape (models, batch, positions)."""
    parts, start = [], 0
    for one, grid in zip(trials, grids, strict=True):
        log_s, log_t, log_b, old = (log[start : start + len(grid)] for log in logs)
        lam, drawn = torch.tensor(grid)[:, None, None, None], old if one.reuse > 1 else None
        rule = updates.parse(one.rule)
        parts.append(loss(rule, log_s, log_t, log_b, lam, log_r=drawn, draws=one.draws, generator=generator))
        start += len(grid)
    return torch.cat(parts)
