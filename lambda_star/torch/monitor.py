"""A monitor for a run of a TRL trainer: the metrics of :mod:`lambda_star.torch.metrics` at every logging step."""

from __future__ import annotations

import functools
import inspect
import logging
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lambda_star._core.quantities import LAM, MARGIN, C, Quantity, require
from lambda_star.bernoulli.formulas import operating
from lambda_star.sequence import lower_quantile
from lambda_star.torch import _transformers_for
from lambda_star.torch.metrics import PREFIX, _is_json, _over_vocabulary, _pooled, _summary

with _transformers_for("SafetyMonitor"):
    from transformers import TrainerCallback

__all__ = ["SafetyMonitor"]

logger = logging.getLogger(__name__)


class SafetyMonitor(TrainerCallback):
    """A callback that adds the metrics of :func:`safety_metrics` to every training log of a TRL trainer.

    The monitor keeps the last batch for which the trainer computed a loss. At a logging step it runs teacher, base and
    student once more, without gradients, on a random sample: it takes answers in random order until they hold
    ``positions`` completion tokens, and draws that many of these. Positions of one answer resemble each other, so read
    the shares as a sample of a few answers. The monitor has a random generator of its own, so a run draws the same
    random numbers with and without it. Several processes pool their positions, and all of them act alike.

    Two kinds of batches are supported. ``DistillationTrainer`` gives prompts and completions of text; the logits are
    divided by the trainer's temperature, as in its loss. ``GKDTrainer`` gives labels; its loss has no temperature, and
    where the step was not on-policy the answers are those of the dataset. Of accumulated batches only the last is
    looked at. Models sharded over devices have not been tried. Where the teacher itself caps λ at each position,
    ``past`` and ``flipped`` refer to its uncapped λ.

    Args:
        teacher: the teacher, by default that of the trainer. An :class:`~lambda_star.torch.teacher.ExtrapolatedTeacher`
            brings its own base and λ.
        base: the base; only for a teacher that does not bring one.
        lam: extrapolation coefficient λ in use, finite; only for a teacher that does not bring one.
        clip: cap c on the tail ratio (1−p)/(1−q), in [1, inf].
        stop_above: ends the run once the share of positions past their λ* exceeds this, in [0, 1).
        adapt: whether to lower an ``ExtrapolatedTeacher``'s λ to the operating point; λ is never raised.
        quantile: which quantile of λ* over positions ``adapt`` uses, in [0, 1]; 0 is the strictest.
        margin: share of the excess λ*−1 that ``adapt`` gives up, in [0, 1).
        positions: the most completion positions to look at, at least 1.

    Raises:
        ValueError: a value lies outside its range, or ``stop_above`` and ``adapt`` are both given: an adapted λ keeps
            the share below any limit.

    Source: paper, Eq. 4, for λ*; ``derivations/sequence.md`` for its quantiles.

    >>> monitor = SafetyMonitor(clip=5.0, stop_above=0.05)  # then monitor.attach(trainer)
    >>> monitor.stop_above
    0.05
    """

    def __init__(
        self,
        teacher: Any = None,
        base: Any = None,
        *,
        lam: float | None = None,
        clip: float,
        stop_above: float | None = None,
        adapt: bool = False,
        quantile: float = 0.01,
        margin: float = 0.1,
        positions: int = 256,
    ) -> None:
        require(
            (LAM, lam),
            (C.named("clip"), clip),
            (MARGIN.named("stop_above"), stop_above),
            (Quantity("quantile", 0.0, 1.0, "[]"), quantile),
            (MARGIN, margin),
            (Quantity("positions", 1, math.inf, "[)"), positions),
        )
        if adapt and stop_above is not None:
            raise ValueError(f"stop_above must be None where adapt is True, got {stop_above!r}; give one of them")
        self.teacher, self.base, self.clip = teacher, base, clip
        self.stop_above, self.adapt, self.quantile, self.margin = stop_above, adapt, quantile, margin
        self.positions = positions
        self._extrapolated: Any = None  # the ExtrapolatedTeacher, if there is one: its λ may change during the run
        self._lam: Any = lam
        self._trainer: Any = None
        self._inputs: Mapping[str, Any] | None = None
        self._order = torch.Generator().manual_seed(0)

    @property
    def lam(self) -> float:
        """The λ in use."""
        return float(self._lam if self._extrapolated is None else self._extrapolated.lam)

    def attach(self, trainer: Any) -> SafetyMonitor:
        """Watch a trainer of TRL, or another ``transformers.Trainer`` with such batches, and return the monitor.

        Call this before the trainer's ``train()``. The monitor becomes the first of its callbacks, because a callback
        given as ``callbacks=`` runs after the reporters of ``report_to``, and these would not see what it adds to the
        logs. ``trainer.compute_loss`` is wrapped to see the batches.

        Raises:
            ValueError: teacher, base or λ is missing or given twice, ``adapt`` has no λ to lower, or the monitor
                already watches a trainer.

        >>> from tempfile import mkdtemp
        >>> from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments
        >>> def model():
        ...     return GPT2LMHeadModel(GPT2Config(vocab_size=16, n_embd=8, n_layer=1, n_head=1))
        >>> trainer = Trainer(model(), TrainingArguments(mkdtemp(), report_to="none"))  # or TRL's DistillationTrainer
        >>> monitor = SafetyMonitor(model(), model(), lam=1.25, clip=5.0).attach(trainer)
        >>> trainer.callback_handler.callbacks[0] is monitor
        True
        """
        if self._trainer is not None:
            raise ValueError(f"trainer must be the first one of this monitor, got {trainer!r}; make a monitor for each")
        self._adopt(trainer)
        self._trainer = trainer
        callbacks = trainer.callback_handler.callbacks
        callbacks[:] = [self, *(callback for callback in callbacks if callback is not self)]
        compute_loss = trainer.compute_loss

        @functools.wraps(compute_loss)
        def remembering(model: Any, inputs: Any, *args: Any, **options: Any) -> Any:
            if model.training:
                self._inputs = inputs
            return compute_loss(model, inputs, *args, **options)

        trainer.compute_loss = remembering
        return self

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Refuse a run whose batches the monitor cannot see."""
        if self._trainer is None:
            raise RuntimeError("a SafetyMonitor in callbacks= sees no batch; call monitor.attach(trainer) instead")

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Add the metrics to the logs of a training step, and stop or adapt."""
        logs: dict[str, float] = kwargs["logs"]
        if self._inputs is None or "loss" not in logs:  # the logs of an evaluation, or of the whole run at its end
            return control
        batch = _Batch.of(self._inputs, self._trainer)
        sample = batch.sample(self.positions, self._order)
        teacher, base, student = (sample.logits(each) for each in (self.teacher, self.base, kwargs["model"]))
        measured = _over_vocabulary(teacher, base, student, self.clip, None)
        measured, valid = _pooled(measured, batch.valid(kwargs.get("processing_class")))
        metrics = _summary(measured, self.lam, self.clip, valid)
        # Some reporters write JSON, which has neither NaN nor infinity.
        finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
        logs.update(finite)
        if state.log_history:  # the trainer copies the logs there before it calls anyone
            state.log_history[-1].update(finite)
        if self.stop_above is not None and metrics[f"{PREFIX}past"] > self.stop_above:
            logger.warning(
                "training ends at step %d: %.1f%% of the positions are past λ*, stop_above is %.1f%%",
                *(state.global_step, 100 * metrics[f"{PREFIX}past"], 100 * self.stop_above),
            )
            control.should_training_stop = True
        if self.adapt and len(measured["threshold"]):
            star = lower_quantile(measured["threshold"], self.quantile)
            self._extrapolated.lam = min(self.lam, operating(star, self.margin))
        return control

    def _adopt(self, trainer: Any) -> None:
        """Find teacher, base and λ."""
        teacher = self.teacher
        if teacher is None and getattr(trainer, "teacher_model", None) is not None:
            teacher = trainer.accelerator.unwrap_model(trainer.teacher_model)
        if teacher is None:
            raise ValueError("teacher must be given where the trainer has none, got None")
        extrapolated = teacher if all(hasattr(teacher, name) for name in ("teacher", "base", "lam")) else None
        for name, value in (("base", self.base), ("lam", self._lam)):
            if (value is None) == (extrapolated is None):
                given = "None" if value is None else f"a {type(value).__name__}"
                raise ValueError(f"{name} must be given unless the teacher is an ExtrapolatedTeacher, got {given}")
        if extrapolated is None and self.adapt:
            raise ValueError(f"adapt must be False unless the teacher is an ExtrapolatedTeacher, got {self.adapt!r}")
        self._extrapolated = extrapolated
        self.teacher, self.base = (teacher, self.base) if extrapolated is None else (teacher.teacher, teacher.base)
        for model in (self.teacher, self.base):
            if next(model.parameters()).device.type == "cpu":  # the trainer moves only the models that it knows
                model.to(trainer.accelerator.device)


class _Batch(NamedTuple):
    """Sequences of tokens, and which of the tokens are completion tokens that count."""

    ids: Tensor
    attention: Tensor
    counts: Tensor
    temperature: float

    @classmethod
    def of(cls, inputs: Mapping[str, Any], trainer: Any) -> _Batch:
        if "pixel_values" in inputs:
            raise ValueError("inputs must be text alone, got pixel_values")
        if "completion_ids" in inputs:
            prompt, completion = inputs["prompt_mask"], inputs["completion_mask"]
            own = completion * inputs.get("tool_mask", torch.ones_like(completion))
            return cls(
                torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1),
                torch.cat([prompt, completion], dim=1),
                torch.cat([torch.zeros_like(prompt), own], dim=1).bool(),
                trainer.temperature,
            )
        if "labels" in inputs:
            return cls(inputs["input_ids"], inputs["attention_mask"], inputs["labels"] != -100, 1.0)
        raise ValueError(f"inputs must hold completion_ids or labels, got {', '.join(inputs)}")

    def valid(self, processing_class: Any) -> list[bool]:
        """Tell which completions are JSON; without a tokenizer the list is empty."""
        tokenizer = getattr(processing_class, "tokenizer", processing_class)
        if tokenizer is None:
            return []
        rows = [ids[counts].tolist() for ids, counts in zip(self.ids, self.counts, strict=True)]
        return [_is_json(text) for text in tokenizer.batch_decode(rows, skip_special_tokens=True)]

    def sample(self, positions: int, generator: torch.Generator) -> _Sample:
        """Draw completion positions, from as few sequences as hold that many."""
        counts = self.counts[:, 1:].cpu()  # a position predicts the token after it
        order = torch.randperm(len(counts), generator=generator)
        before = counts[order].sum(dim=1).cumsum(dim=0) - counts[order].sum(dim=1)
        chosen = order[before < positions]
        rows, columns = counts[chosen].nonzero(as_tuple=True)
        some = torch.randperm(len(rows), generator=generator)[:positions]
        rows, columns = rows[some], columns[some]
        # A causal model ignores what comes after the last position. Even where none counts one position is run, because
        # the shape of the logits is needed.
        end = int(columns.max()) + 1 if len(columns) else 1
        chosen = chosen.to(self.ids.device)
        return _Sample(self.ids[chosen, :end], self.attention[chosen, :end], rows, columns, self.temperature)


class _Sample(NamedTuple):
    """Sequences of tokens, and the positions in them that are looked at."""

    ids: Tensor
    attention: Tensor
    rows: Tensor
    columns: Tensor
    temperature: float

    @torch.no_grad()
    def logits(self, model: Any) -> Tensor:
        """Return a model's logits at the positions, shape (positions, tokens), without dropout."""
        core = model.get_base_model() if hasattr(model, "get_base_model") else model
        takes = inspect.signature(type(core).forward).parameters
        device, options, place = next(model.parameters()).device, {}, self.columns
        # The head may cost as much as all the layers, so it is run only at the columns that are needed.
        if "logits_to_keep" in takes and len(self.columns):
            kept, inverse = np.unique(self.columns.numpy(), return_inverse=True)
            options["logits_to_keep"], place = torch.from_numpy(kept).to(device), torch.from_numpy(inverse)
        ids, attention = self.ids.to(device), self.attention.to(device)
        modes = [(module, module.training) for module in model.modules()]
        model.eval()
        try:
            logits = model(input_ids=ids, attention_mask=attention, use_cache=False, **options).logits
        finally:
            for module, training in modes:
                module.training = training
        rows: Tensor = logits[self.rows.to(device), place.to(device)].to(self.ids.device)
        return rows.to(torch.promote_types(rows.dtype, torch.float32)) / self.temperature
