"""A monitor for a run of a TRL trainer: the metrics of :mod:`lambda_star.torch.metrics` at every logging step."""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from lambda_star._core.quantities import LAM, MARGIN, C, Quantity, require
from lambda_star.bernoulli.formulas import operating
from lambda_star.contract import Contract, Labeller, classify
from lambda_star.sequence import lower_quantile
from lambda_star.torch import _transformers_for
from lambda_star.torch._batches import Batch, tokenizer_of
from lambda_star.torch._frozen import refuse_roles, refuse_sharded, refuse_sharding
from lambda_star.torch._reported import Reported
from lambda_star.torch.adapters import WithoutAdapters
from lambda_star.torch.metrics import (
    PREFIX,
    Measured,
    Valid,
    _judged,
    _nan_where_infinite,
    _over_vocabulary,
    _pooled,
    _summary,
    _verdicts,
)
from lambda_star.updates import Rule
from lambda_star.verdict import Verdict

with _transformers_for("SafetyMonitor"):
    from transformers import TrainerCallback

__all__ = ["SafetyMonitor"]

logger = logging.getLogger(__name__)

# Under this name the trainer's state, which is saved with each checkpoint, holds the λ reached.
STATE = "lambda_star.SafetyMonitor"

MODELS = ("teacher", "base", "student")

BLIND_LOGS = 3  # one batch may be odd; three in a row are not


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
    looked at, and of an evaluation only the first, under the prefix of its loss: ``eval_lambda_star/past``. An
    evaluation never stops or adapts a run. Where the teacher itself caps λ at each position, ``lam`` is the median of
    the capped λ, and ``past`` and ``flipped`` refer to it.

    A position where a logit is NaN or infinite is counted in ``not_judged`` and left out of all else, and the first one
    gives a warning. A monitor that stops or adapts ends the run when it cannot see: at a log where no position can be
    judged, and at the third log in a row where those not judged could hide a share above ``stop_above`` (with
    ``adapt``: where they are more than half) or where the batch holds no position.

    Args:
        teacher: the teacher, by default that of the trainer. An :class:`~lambda_star.torch.teacher.ExtrapolatedTeacher`
            brings its own base and λ.
        base: the base; only for a teacher that does not bring one. For a student with adapters
            :func:`~lambda_star.torch.adapters.without_adapters` of it saves a second copy.
        lam: extrapolation coefficient λ in use, finite; only for a teacher that does not bring one.
        clip: cap c on the tail ratio (1−p)/(1−q), in [1, inf].
        stop_above: ends the run once the share of positions past their λ* exceeds this, in [0, 1).
        adapt: whether to lower an ``ExtrapolatedTeacher``'s λ to the operating point; λ is never raised. The λ reached
            is saved with each checkpoint, and a run that resumes from it goes on with that λ.
        quantile: which quantile of λ* over positions ``adapt`` uses, in [0, 1]; 0 is the strictest.
        margin: share of the excess λ*−1 that ``adapt`` gives up, in [0, 1).
        positions: the most completion positions to look at, at least 1.
        valid: a function that tells whether the text of a completion is a valid answer, for the metric ``valid``; by
            default the metric is ``json``.
        contract: a contract, a labeller, or pairs for :func:`lambda_star.contract.classify`. Of the positions looked at
            only those whose modal token it gives a class count then, as in :func:`lambda_star.calibrate`, whose default
            is ``contract.parse("json")``.
        rule: the trainer's update rule, a value of :mod:`lambda_star.updates` such as ``updates.none()`` for TRL's
            losses. The metric ``tail_over_predicted`` compares with the student of this rule, and by it the message of
            a stop says whether tails die past λ* at all.

    Raises:
        ValueError: a value lies outside its range, ``rule`` is not a rule, or ``stop_above`` and ``adapt`` are both
            given: an adapted λ keeps the share below any limit.

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
        valid: Valid | None = None,
        contract: Contract | Labeller | Sequence[tuple[str, str]] | None = None,
        rule: Rule | None = None,
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
        if not isinstance(rule, Rule | None):
            raise ValueError(f"rule must be a rule of lambda_star.updates, such as updates.none(), got {rule!r}")
        self.teacher, self.base, self.clip = teacher, base, clip
        self.stop_above, self.adapt, self.quantile, self.margin = stop_above, adapt, quantile, margin
        self.positions, self.valid, self.contract, self.rule = positions, valid, contract, rule
        self._extrapolated: Any = None  # the ExtrapolatedTeacher, if there is one: its λ may change during the run
        self._lam: Any = lam
        self._trainer: Any = None
        self._inputs: dict[bool, Mapping[str, Any]] = {}  # by whether the model was in training mode
        self._order = torch.Generator().manual_seed(0)
        self._classes: Any = None  # of every token, made once the vocabulary is known
        self._reported: Reported | None = None
        self.verdict: Verdict | None = None  # on the λ in use, once a monitor that has a report is attached
        self._blind = 0  # logs in a row at which too little could be judged
        self._warned = False

    @classmethod
    def from_report(
        cls,
        report: Any,
        rehearsal: Any = None,
        *,
        teacher: Any = None,
        base: Any = None,
        lam: float | None = None,
        tolerance: float = 0.05,
        **options: Any,
    ) -> SafetyMonitor:
        """Return a monitor with the clip, rule, margin, contract and stop limit of a report.

        Once it is attached, ``verdict`` is that of :func:`lambda_star.decide` on the λ in use; one that is not safe is
        logged as a warning. The run ends where so many positions are past λ* that hardly any sample of the report's
        answers has as many. A contract that runs a program of yours has to be given again.

        Args:
            report: as for :func:`lambda_star.decide`.
            rehearsal: as for :func:`lambda_star.decide`.
            teacher: as for the monitor itself.
            base: as for the monitor itself; with it and without ``lam`` λ is the largest that is known to be safe.
            lam: as for the monitor itself.
            tolerance: as for :func:`lambda_star.decide`.
            options: options of the monitor, which replace those of the report.

        Raises:
            ValueError: as for :func:`lambda_star.decide` and the monitor itself, or no λ is known to be safe.

        >>> from lambda_star import calibrate, read_table
        >>> SafetyMonitor.from_report(calibrate(read_table("examples/rank_by_price/logprobs.csv"))).clip
        5.0
        """
        reported = Reported.of(report, rehearsal, tolerance)
        if lam is None and base is not None:
            found = reported.verdict()
            if found.set_lam is None or math.isinf(found.set_lam):
                raise ValueError(f"lam must be given where the report sets none, got None; {found}")
            lam = found.set_lam
        monitor = cls(teacher, base, lam=lam, **reported.options() | options)
        monitor._reported = reported
        return monitor

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
            ValueError: teacher, base or λ is missing or given twice; teacher or base is the student itself, or they are
                the same; parameters are cut into shards (FSDP, ZeRO-3); ``adapt`` has no λ to lower; ``contract`` or
                ``valid`` has no tokenizer; or the monitor already watches a trainer.

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
        if self._reported is not None:
            self._judge(self._reported)
        callbacks = trainer.callback_handler.callbacks
        callbacks[:] = [self, *(callback for callback in callbacks if callback is not self)]
        compute_loss = trainer.compute_loss

        @functools.wraps(compute_loss)
        def remembering(model: Any, inputs: Any, *args: Any, **options: Any) -> Any:
            if model.training or False not in self._inputs:
                self._inputs[bool(model.training)] = inputs
            return compute_loss(model, inputs, *args, **options)

        trainer.compute_loss = remembering
        return self

    def _judge(self, reported: Reported) -> None:
        """Compare the λ in use with the report, and take the stop limit from it unless there is one."""
        self.verdict = reported.verdict(self.lam)
        if self.verdict.safety != "safe":
            logger.warning("%s", self.verdict)
        if self.stop_above is None and not self.adapt:
            self.stop_above = reported.stop_above(self.lam, self.positions)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Refuse a run that the monitor cannot watch, and take the λ from the checkpoint that a run resumes from."""
        if self._trainer is None:
            raise RuntimeError("a SafetyMonitor in callbacks= sees no batch; call monitor.attach(trainer) instead")
        for name, model in (("model", kwargs.get("model")), ("teacher", self.teacher), ("base", self.base)):
            if model is not None:
                refuse_sharded(name, model)
        saved = (state.stateful_callbacks or {}).get(STATE)
        if self.adapt and saved is not None:
            self._extrapolated.lam = min(self.lam, saved["lam"])

    def on_predict(self, args: Any, state: Any, control: Any, metrics: Any, **kwargs: Any) -> None:
        """Forget the batch of a prediction, which is not logged."""
        self._inputs.pop(False, None)

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Add the metrics to the logs of a training step or of an evaluation; at a step, stop or adapt."""
        logs: dict[str, float] = kwargs["logs"]
        prefix = next((name.removesuffix("loss") for name in logs if name == "loss" or name.endswith("_loss")), None)
        training = prefix == ""
        # The log of the whole run at its end has a train_loss, and no batch of its own.
        inputs = None if prefix in (None, "train_") else self._inputs.get(training)
        if inputs is None:
            return control
        if not training:
            del self._inputs[False]
        measured, metrics = self._look(inputs, kwargs["model"], kwargs.get("processing_class"))
        # Some reporters write JSON, which has neither NaN nor infinity.
        finite = {f"{prefix}{name}": value for name, value in metrics.items() if math.isfinite(value)}
        logs.update(finite)
        if state.log_history:  # the trainer copies the logs there before it calls anyone
            state.log_history[-1].update(finite)
        self._warn(measured, state.global_step)
        if training:
            self._act(_judged(measured), metrics, state, control)
        return control

    def _look(
        self, inputs: Mapping[str, Any], student: Any, processing_class: Any
    ) -> tuple[Measured, dict[str, float]]:
        """Measure a sample of a batch, and summarise it."""
        batch = Batch.of(inputs, self._trainer)
        sample = batch.sample(self.positions, self._order)
        rows = [_nan_where_infinite(sample.logits(each)) for each in (self.teacher, self.base, student)]
        lam = self.lam if self._extrapolated is None else self._extrapolated.lam_at(*rows[:2])
        if self.contract is not None and self._classes is None:
            texts = tokenizer_of(processing_class).batch_decode([[token] for token in range(rows[0].shape[-1])])
            self._classes = classify(texts, self.contract).labels
        rows = [row / batch.temperature for row in rows]
        measured = _over_vocabulary(rows[0], rows[1], rows[2], lam, self.clip, classes=self._classes, rule=self.rule)
        texts = batch.texts(processing_class)
        measured, verdicts = _pooled(measured, _verdicts(texts, self.valid))
        return measured, _summary(measured, lam, self.clip, verdicts)

    def _warn(self, measured: Measured, step: int) -> None:
        """Say once that there are positions which cannot be judged, and whose logits are at fault."""
        hidden = len(measured["p"]) - len(_judged(measured)["p"])
        if not hidden or self._warned:
            return
        self._warned = True
        unknown = {name: np.isnan(measured[name]) for name in ("p", "b", "tail_ratio")}
        unknown["tail_ratio"] &= ~unknown["p"]  # it needs the teacher too
        models = [model for model, hits in zip(MODELS, unknown.values(), strict=True) if hits.any()]
        logger.warning(
            "at step %d %d of %d positions cannot be judged, because logits are NaN or infinite (%s); the metrics "
            "leave such positions out, and %snot_judged counts them in every log",
            *(step, hidden, len(measured["p"]), ", ".join(models), PREFIX),
        )

    def _act(self, judged: Measured, metrics: dict[str, float], state: Any, control: Any) -> None:
        """Stop the run or adapt λ, where this was asked for."""
        if self.stop_above is None and not self.adapt:
            return
        reason = self._reason_to_stop(metrics)
        if reason:
            logger.warning("training ends at step %d: %s", state.global_step, reason)
            control.should_training_stop = True
        if self.adapt and len(judged["threshold"]):
            star = lower_quantile(judged["threshold"], self.quantile)
            self._extrapolated.lam = min(self.lam, operating(star, self.margin))
            state.stateful_callbacks[STATE] = {"lam": self.lam}

    def _reason_to_stop(self, metrics: dict[str, float]) -> str | None:
        """Say why the run must end: too many positions are past λ*, or the monitor cannot see whether they are."""
        past, positions, hidden = (metrics[f"{PREFIX}{name}"] for name in ("past", "positions", "not_judged"))
        limit = 0.5 if self.stop_above is None else self.stop_above
        if self.stop_above is not None and past > limit:
            return f"{past:.1%} of the positions are past λ*, stop_above is {limit:.1%}; {self._meaning()}"
        if positions and hidden == positions:
            return f"none of {positions:.0f} positions can be judged, because logits are NaN or infinite"
        seen = 0.0 if self.adapt or not positions else past * (positions - hidden)
        blind = not positions or (hidden and (seen + hidden) / positions > limit)
        self._blind = self._blind + 1 if blind else 0
        if self._blind < BLIND_LOGS:
            return None
        judged = f"now {positions - hidden:.0f} of {positions:.0f}"
        remedy = "look at the completions and at what contract= and positions= leave"
        return f"too few positions could be judged at {BLIND_LOGS} logs in a row, {judged}; {remedy}"

    def _meaning(self) -> str:
        """Say what it means to be past λ*, which depends on the update rule."""
        meaning = f"past λ* a converged student's tail is more than {self.clip:g} times thinner than the teacher's"
        if self.rule is None:
            return f"{meaning}, and whether it dies depends on the update rule (rule=)"
        # If this rule lets no tail die at a sure teacher and an undecided base, it lets none die anywhere.
        dies = math.isfinite(self.rule.dies(0.999, 0.5))
        return f"{meaning}, and under {self.rule} {'it dies once λ is large enough' if dies else 'it never dies'}"

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
        if (self.contract or self.valid) and tokenizer_of(getattr(trainer, "processing_class", None)) is None:
            raise ValueError("contract and valid read text, so the trainer must have a tokenizer, got none")
        base = self.base if extrapolated is None else teacher.base
        teacher = teacher if extrapolated is None else teacher.teacher
        _refuse(trainer, teacher, base)
        self._extrapolated, self.teacher, self.base = extrapolated, teacher, base
        for model in (self.teacher, self.base):
            if isinstance(model, WithoutAdapters):
                continue
            if next(model.parameters()).device.type == "cpu":  # the trainer moves only the models that it knows
                model.to(trainer.accelerator.device)


def _refuse(trainer: Any, teacher: Any, base: Any) -> None:
    """Raise ``ValueError`` for a trainer that shards its models, and for a teacher or base that is its student."""
    if getattr(trainer, "is_fsdp_enabled", False):
        refuse_sharding("trainer", "FSDP")
    if getattr(trainer, "is_deepspeed_enabled", False) and trainer.accelerator.state.deepspeed_plugin.zero_stage == 3:
        refuse_sharding("trainer", "DeepSpeed ZeRO-3")
    refuse_roles(trainer.accelerator.unwrap_model(trainer.model), teacher, base)
