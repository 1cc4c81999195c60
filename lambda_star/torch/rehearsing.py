"""Rehearse: sample from the predicted student at several λ, judge every answer, and keep it in a file."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lambda_star import __version__, updates
from lambda_star._core.quantities import LAM, require
from lambda_star.contract import Contract, broken_at, parse
from lambda_star.rehearsal import Answer, Recorder, Rehearsal, next_lam
from lambda_star.torch.models import load_pair
from lambda_star.torch.pairs import Pair, pair_of
from lambda_star.torch.predicted import predicted_student
from lambda_star.torch.prompts import Prompt, read_prompts
from lambda_star.torch.sampling import Sampled, sample
from lambda_star.updates import Rule

__all__ = ["Metric", "rehearse"]

Metric = Callable[[str, Any], float | None]
"""A user's metric: a function of an answer's text and its prompt; None or NaN where it does not apply."""

BLOCK = 8
"""How many batches are sorted by the length of their prompts; a run that is cut has answered the first prompts."""

COEFFICIENT = LAM._replace(low=0.0, ends="[)")


def rehearse(
    teacher: Any,
    base: Any,
    prompts: str | Path | Sequence[Any],
    lams: Sequence[float],
    *,
    rule: Rule | None = None,
    contract: Contract | str | None = None,
    metrics: Mapping[str, Metric] | None = None,
    answers: int | None = None,
    seed: int = 0,
    batch: int = 32,
    max_tokens: int = 256,
    budget: float | None = None,
    path: str | Path | None = None,
    fine: int = 0,
    tokenizer: Any = None,
    progress: Callable[[int, int], None] | None = None,
    loading: Mapping[str, Any] | None = None,
) -> Rehearsal:
    """Return the answers of the predicted student at each λ, sampled without training it.

    At every prefix converged training under a rule ends at a student that follows from teacher, base and λ: the mixture
    λ z_T + (1−λ) z_B where nothing is capped. Answers with the same prompt and sample draw the same random numbers at
    every λ. What is assumed: training converges, the student can represent that target, and each position is trained
    on its own. What is not known: the optimiser, its momentum and the noise of sampled tokens.

    Args:
        teacher: folder, adapter folder, .gguf file or hub name, or a model that is loaded.
        base: the same for the base.
        prompts: a file of prompts, or a sequence of texts, messages or :class:`~lambda_star.torch.prompts.Prompt`.
        lams: the λ, each in [0, inf). λ = 1 is added, as changes are against it; so is λ = 0 where the student there is
            the base, so that both ends can be checked against the models' own answers.
        rule: the update rule; nothing is capped by default.
        contract: what a valid answer is, as an object or as the text that :func:`lambda_star.contract.parse` reads.
        metrics: functions of an answer's text and its prompt's content, by name; None or NaN where one does not apply.
        answers: number of answers at each λ, by default one per prompt; with more, every prompt is asked again.
        seed: seed of the random numbers, at least 0.
        batch: number of answers that run side by side.
        max_tokens: the most tokens of an answer; one that this limit cuts is not valid.
        budget: flow time s of an unfinished run, in (0, inf), which under the natural flow from the base is the mixture
            at λ(1 − e^−s), here at every λ and at λ = 1 too; only where nothing is bounded.
        path: a file for the answers; one with the same settings is resumed, and one that is finished is only read.
        fine: the most λ that are added where the curve turns, by :func:`lambda_star.rehearsal.next_lam`.
        tokenizer: the tokenizer of models that are loaded.
        progress: called with the numbers of answers that are there and that are wanted.
        loading: further arguments of :func:`~lambda_star.torch.models.load_pair`, such as ``{"dtype": "bfloat16"}``.

    Returns:
        A :class:`~lambda_star.rehearsal.Rehearsal`.

    Raises:
        ValueError: an argument is outside its range, a file or model cannot be read, the file has other settings, or
            the rule settles on no student at some prefix.

    Source: paper, Theorem 4.1, at every prefix; ``derivations/dynamics.md`` for the unfinished run.

    >>> rehearse("runs/teacher", "runs/base", "prompts.jsonl", [1.25, 1.6], contract="json")      # doctest: +SKIP
    """
    rule = rule or updates.none()
    asked = read_prompts(prompts) if isinstance(prompts, (str, Path)) else [Prompt.of(entry) for entry in prompts]
    wanted = len(asked) if answers is None else answers
    grid = _checked(lams, rule, budget, answers=wanted, batch=batch, max_tokens=max_tokens, prompts=len(asked))
    judge = _Judge(parse(contract) if isinstance(contract, str) else contract, dict(metrics or {}))
    header = {
        "version": __version__,
        **{name: _name(model) for name, model in (("teacher", teacher), ("base", base))},
        **_loading(**(loading or {})),
        "rule": str(rule),
        "contract": judge.contract.name if judge.contract else None,
        "metrics": sorted(judge.metrics),
        "prompts": _digest(asked),
        "seed": seed,
        "max_tokens": max_tokens,
        "budget": budget,
    }
    models = _Models(teacher, base, tokenizer, loading or {})
    with Recorder(path, header) as recorder:
        run = _Run(models, asked, rule, judge, recorder, wanted, seed, batch, max_tokens, budget, progress)
        run.add(grid)
        run.refine(grid, fine)
    return recorder.rehearsal


@dataclass(frozen=True)
class _Models:
    """Two models by name, which are loaded when the first answer is wanted, or two that are there."""

    teacher: Any
    base: Any
    tokenizer: Any
    loading: Mapping[str, Any]

    @cached_property
    def pair(self) -> Pair:
        """Both models side by side."""
        if isinstance(self.teacher, (str, Path)) and isinstance(self.base, (str, Path)):
            return load_pair(self.teacher, self.base, **self.loading)
        if self.tokenizer is None:
            raise ValueError("tokenizer must be given with models that are loaded, got None")
        return pair_of(self.teacher, self.base, self.tokenizer)


@dataclass(frozen=True)
class _Judge:
    """What is found out about an answer: whether it keeps the contract, where it breaks it, and the user's metrics."""

    contract: Contract | None
    metrics: Mapping[str, Metric]

    def judge(self, pair: Pair, drawn: Sampled, prompt: Prompt) -> dict[str, Any]:
        """Return the fields of an :class:`~lambda_star.rehearsal.Answer` that a drawn answer decides."""
        text = pair.text(drawn.tokens)
        found: dict[str, Any] = {"text": text, "tokens": len(drawn.tokens), "ended": drawn.ended}
        if self.contract is not None:
            found["valid"] = drawn.ended and bool(self.contract.valid(text))
            if not found["valid"]:
                found |= self._break(self.contract, pair.pieces(drawn.tokens))
        return {**found, "metrics": dict(self._measure(text, prompt))}

    @staticmethod
    def _break(contract: Contract, pieces: list[str]) -> dict[str, Any]:
        """Where the answer breaks, and the class of the token there."""
        at = broken_at(contract, pieces)
        return {} if at is None else {"broken_at": at, "broken_class": contract.label(pieces[at])}

    def _measure(self, text: str, prompt: Prompt) -> Any:
        """Yield the metrics that apply, by name."""
        for name, metric in self.metrics.items():
            try:
                value = metric(text, prompt.content)
                number = math.nan if value is None else float(value)
            except (Exception, SystemExit) as error:
                said = f"metric {name} failed on the answer {text[:60]!r} ({type(error).__name__}: {error})"
                raise ValueError(said) from error
            if math.isfinite(number):
                yield name, number


@dataclass(frozen=True)
class _Run:
    """A rehearsal under way."""

    models: _Models
    prompts: Sequence[Prompt]
    rule: Rule
    judge: _Judge
    recorder: Recorder
    answers: int
    seed: int
    batch: int
    max_tokens: int
    budget: float | None
    progress: Callable[[int, int], None] | None

    def add(self, lams: Sequence[float]) -> None:
        """Draw the answers at these λ that are not there yet, all λ side by side."""
        keys = [(lam, number) for number in range(self.answers) for lam in lams]
        missing = [(lam, number) for lam, number in keys if (lam, *self._place(number)) not in self.recorder]
        size = BLOCK * self.batch
        for start in range(0, len(missing), size):
            self._draw(missing[start : start + size], len(keys) - len(missing) + start, len(keys))

    def refine(self, lams: list[float], most: int) -> None:
        """Add λ where the curve turns; a file that has them already is not refined further."""
        for _ in range(most):
            by_lam = self.recorder.rehearsal.by_lam()
            lam = next_lam({at: by_lam[at] for at in sorted(lams)})
            if lam is None:
                return
            self.add([lam])
            lams = [*lams, lam]

    def _place(self, number: int) -> tuple[int, int]:
        """The prompt and the sample of an answer."""
        return number % len(self.prompts), number // len(self.prompts)

    def _draw(self, jobs: list[tuple[float, int]], there: int, wanted: int) -> None:
        """Draw the answers of jobs, each a λ and the number of an answer there."""
        pair = self.models.pair
        places = [self._place(number) for _, number in jobs]
        lam = torch.tensor([lam for lam, _ in jobs], dtype=torch.float64, device=pair.device)
        lam = lam if self.budget is None else -math.expm1(-self.budget) * lam
        predicted = predicted_student(self.rule)

        def student(logits_t: Tensor, logits_b: Tensor, numbers: Tensor) -> Tensor:
            return predicted(logits_t, logits_b, lam[numbers])

        ids = [self.prompts[prompt].ids(pair.tokenizer) for prompt, _ in places]
        keys = [number for _, number in jobs]
        settings = {"keys": keys, "seed": self.seed, "batch": self.batch, "max_tokens": self.max_tokens}
        for done, drawn in enumerate(sample(pair, ids, student, **settings), start=there + 1):  # type: ignore[arg-type]
            prompt, number = places[drawn.index]
            judged = self.judge.judge(pair, drawn, self.prompts[prompt])
            self.recorder.add(Answer(jobs[drawn.index][0], prompt, number, **judged))
            if self.progress:
                self.progress(done, wanted)


def _checked(lams: Sequence[float], rule: Rule, budget: float | None, **counts: int) -> list[float]:
    """The λ of a rehearsal, rising, with those at which its ends can be checked."""
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}")
    for lam in lams:
        require((COEFFICIENT, lam))
    if budget is not None and not 0 < budget < math.inf:
        raise ValueError(f"budget must lie in (0, inf), got {budget}")
    if budget is not None and rule != updates.none():
        raise ValueError(
            f"budget must be left out under {rule}: an unfinished run is the mixture at λ(1 − e^−s) only where nothing "
            "is bounded or weighted, that is under none()"
        )
    ends = [0.0, 1.0] if rule.keeps_fixed_point else [1.0]
    return sorted({*map(float, lams), *ends})


def _name(model: Any) -> str:
    return str(model) if isinstance(model, (str, Path)) else type(model).__name__


def _loading(model: Any = None, dtype: Any = "float32", device: Any = "cpu", **_: Any) -> dict[str, Any]:
    """What a file says of how the models were loaded; on another kind of device the random numbers differ."""
    under = None if model is None else Path(model).name
    return {"model": under, "dtype": str(dtype), "device": torch.device(device).type}


def _digest(prompts: Sequence[Prompt]) -> str:
    """The number of prompts, and the start of the SHA-256 of their contents."""
    said = [prompt.content if prompt == Prompt(prompt.content) else astuple(prompt) for prompt in prompts]
    text = json.dumps(said, ensure_ascii=False, sort_keys=True)
    return f"{len(prompts)} prompts, sha256 {hashlib.sha256(text.encode()).hexdigest()[:16]}"
