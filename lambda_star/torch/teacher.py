"""An extrapolated teacher: λ z_T + (1−λ) z_B as one model, from which an unmodified TRL trainer distils.

TRL reads a teacher in two ways. ``GKDTrainer`` asks for its logits. ``DistillationTrainer`` never forms them: it takes
the last hidden state of the backbone and the weight of the output embedding, and multiplies the two tile by tile. A
mixture of logits is such a product too. Set the hidden states of both models side by side, the teacher's times λ and
the base's times 1−λ, and set their heads side by side as well. So λ may differ from position to position at no cost in
memory.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from lambda_star._core.quantities import LAM, MARGIN, C, require
from lambda_star.bernoulli.formulas import operating
from lambda_star.categorical import threshold
from lambda_star.torch import _transformers_for
from lambda_star.torch._frozen import refuse_not_finite, refuse_same, refuse_sharded
from lambda_star.torch.adapters import WithoutAdapters
from lambda_star.verdict import decide

with _transformers_for("ExtrapolatedTeacher"):
    from transformers import PretrainedConfig, PreTrainedModel
    from transformers.modeling_outputs import BaseModelOutput, CausalLMOutput

__all__ = ["ExtrapolatedTeacher"]

COEFFICIENT = LAM._replace(low=0.0, ends="[)")

# Settings that scale the logits, in the order in which TRL looks for them.
SCALES = ("logit_scale", "output_multiplier", "lm_head_multiplier")

# Settings that bound the logits by cap·tanh(z/cap).
SOFT_CAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")

BLOCK = 2**24  # the most logits of each model that exist at a time while λ is capped: 64 MB in float32


class ExtrapolatedTeacher(nn.Module):
    """A teacher whose logits are λ z_T + (1−λ) z_B, for any trainer that distils from a causal language model.

    Its distribution is the log-linear extrapolation π_T^λ π_B^(1−λ)/Z. With a ``clip`` each position has its own
    λ_t = min(λ, 1 + (1−margin)(λ*_t−1)), where λ*_t is Eq. 4 at the modal probabilities of that position, so that no
    position is pushed past its own threshold. A λ of at most 1 is never changed.

    Both models are frozen and stay in evaluation mode. So ``base`` must not be the student itself, which would then
    train nothing; the first step of a trainer that trains it raises an error. For a student with adapters give
    :func:`~lambda_star.torch.adapters.without_adapters` of the student. No parameters are copied. For each loss the two
    heads are put side by side in a matrix of vocabulary × both widths, which is freed afterwards, so a head tied to an
    input embedding still takes no memory of its own. Products, also those behind λ_t, are computed in the precision of
    the models. The teacher cannot generate, and parameters that FSDP, DeepSpeed ZeRO-3 or tensor parallelism has cut
    into shards are refused.

    Args:
        teacher: the teacher, a causal language model of transformers, or one with adapters of PEFT.
        base: the base, the student's warm start; any width, but vocabulary, device and dtype of the teacher. For a
            student with adapters ``without_adapters(student)`` saves a second copy of its weights.
        lam: extrapolation coefficient λ, in [0, inf); 1 is the teacher itself, 0 the base.
        clip: cap c on the tail ratio, in [1, inf], from which the cap on λ at each position follows; without it every
            position uses λ.
        margin: share of the excess λ*_t−1 that is given up, in [0, 1); used only with a clip.

    Raises:
        ImportError: transformers is not installed.
        ValueError: a number lies outside its range; a model is missing or has no output embeddings; the two are the
            same, or differ in vocabulary, device or dtype; a weight is NaN or infinite, or a shard; or a model's logits
            are not its head times its hidden states, up to a factor, so that no mixture of hidden states gives the
            mixture of logits (a soft cap is one such case). A forward pass raises it if a model has since been sharded
            or put in training mode.

    Source: extension; the target is the fixed point of Theorem 4.1, ``derivations/categorical.md``.

    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> sizes = dict(hidden_size=8, intermediate_size=8, num_attention_heads=1, num_hidden_layers=1, vocab_size=8)
    >>> teacher, base = (LlamaForCausalLM(LlamaConfig(**sizes)) for _ in range(2))
    >>> mixture, ids = ExtrapolatedTeacher(teacher, base, 1.25), torch.tensor([[1, 2, 3]])
    >>> torch.allclose(mixture(ids).logits, 1.25 * teacher(ids).logits - 0.25 * base(ids).logits, atol=1e-6)
    True
    """

    base_model_prefix = "mixture"

    def __init__(
        self,
        teacher: PreTrainedModel,
        base: PreTrainedModel | WithoutAdapters,
        lam: float,
        *,
        clip: float | None = None,
        margin: float = 0.1,
    ) -> None:
        super().__init__()
        require((COEFFICIENT, lam), (C.named("clip"), clip), (MARGIN, margin))
        parts = _Part("teacher", teacher), _Part("base", base)
        refuse_same(teacher, base)
        found = [(len(part.head.weight), part.head.weight.device, part.head.weight.dtype) for part in parts]
        for what, of_teacher, of_base in zip(("vocabulary size", "device", "dtype"), *found, strict=True):
            if of_teacher != of_base:
                raise ValueError(f"base must have the teacher's {what}, {of_teacher}, got {of_base}")
        self.mixture = _Mixture(*parts, lam, clip, margin)
        # A configuration of its own, because TRL would apply a scale or soft cap of the teacher's to the mixture.
        sizes = {"vocab_size": len(parts[0].head.weight), "hidden_size": sum(part.width for part in parts)}
        self.config = PretrainedConfig.from_dict(sizes)
        self.eval()

    @classmethod
    def from_report(
        cls,
        teacher: PreTrainedModel,
        base: PreTrainedModel | WithoutAdapters,
        report: Any,
        rehearsal: Any = None,
        *,
        lam: float | None = None,
        tolerance: float = 0.05,
        confidence: float = 0.95,
        **options: Any,
    ) -> ExtrapolatedTeacher:
        """Return a teacher with a λ that is known to be safe.

        Args:
            teacher: the teacher.
            base: the base.
            report: as for :func:`lambda_star.decide`; None with a rehearsal alone.
            rehearsal: as for :func:`lambda_star.decide`.
            lam: λ, which must be safe; by default the largest λ that is known to be.
            tolerance: as for :func:`lambda_star.decide`.
            confidence: as for :func:`lambda_star.decide`.
            options: ``clip`` and ``margin``.

        Raises:
            ValueError: as for :func:`lambda_star.decide` and the teacher itself, or λ is not known to be safe; the
                message is the verdict.

        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> from lambda_star import calibrate, read_table
        >>> sizes = dict(hidden_size=8, intermediate_size=8, num_attention_heads=1, num_hidden_layers=1, vocab_size=8)
        >>> teacher, base = (LlamaForCausalLM(LlamaConfig(**sizes)) for _ in range(2))
        >>> report = calibrate(read_table("examples/rank_by_price/logprobs.csv"))
        >>> round(ExtrapolatedTeacher.from_report(teacher, base, report).lam, 3)
        1.13
        """
        verdict = decide(report, rehearsal, lam, tolerance=tolerance, confidence=confidence)
        if verdict.safety != "safe" or verdict.set_lam is None:
            raise ValueError(f"lam must be known to be safe, got {lam!r}; {verdict}")
        return cls(teacher, base, verdict.set_lam, **options)

    @property
    def teacher(self) -> PreTrainedModel:
        """The teacher."""
        model: PreTrainedModel = self.mixture.teacher.model
        return model

    @property
    def base(self) -> PreTrainedModel | WithoutAdapters:
        """The base."""
        model: PreTrainedModel | WithoutAdapters = self.mixture.base.model
        return model

    @property
    def lam(self) -> float:
        """The coefficient λ; it may be set during training."""
        return self.mixture.lam

    @lam.setter
    def lam(self, value: float) -> None:
        require((COEFFICIENT, value))
        self.mixture.lam = value

    def lam_at(self, logits_t: Tensor, logits_b: Tensor) -> float | Tensor:
        """Return λ, or with a ``clip`` the λ_t of each position, from both models' logits at temperature 1."""
        return self.mixture.lam_at(logits_t, logits_b)

    @property
    def base_model(self) -> nn.Module:
        """The backbone, which returns the hidden states of both models side by side, times their coefficients."""
        return self.mixture

    def get_output_embeddings(self) -> SimpleNamespace:
        """Put both heads side by side in a new ``weight``, with biases as further columns; ``bias`` is None."""
        columns = *self.mixture.teacher.columns(), *self.mixture.base.columns()
        return SimpleNamespace(weight=torch.cat(columns, 1), bias=None)

    def train(self, mode: bool = True) -> ExtrapolatedTeacher:
        """Stay in evaluation mode, whatever ``mode`` says: dropout would make the target random."""
        # TRL calls eval() before each use of a teacher, which would hide that a trainer has put a model into training.
        for part in (self.mixture.teacher, self.mixture.base):
            part.refuse_training()
        return super().train(False)

    @torch.no_grad()
    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **inputs: Any) -> CausalLMOutput:
        """Compute the logits of the mixture; further ``inputs`` are those of both backbones and ``logits_to_keep``."""
        hidden = self.mixture(input_ids=input_ids, attention_mask=attention_mask, **inputs).last_hidden_state
        return CausalLMOutput(logits=nn.functional.linear(hidden, self.get_output_embeddings().weight))


class _Mixture(nn.Module):
    """The backbone: features of teacher and base side by side, times λ_t and 1−λ_t."""

    def __init__(self, teacher: _Part, base: _Part, lam: float, clip: float | None, margin: float) -> None:
        super().__init__()
        self.teacher, self.base = teacher, base
        self.lam, self.clip, self.margin = lam, clip, margin

    @torch.no_grad()
    def forward(self, *, logits_to_keep: int | Tensor = 0, **inputs: Any) -> BaseModelOutput:
        # Positions are cut before λ_t is computed, because the trainer does not use the logits of the prompt.
        keep = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        inputs["use_cache"] = False
        features_t, features_b = (part(**inputs)[:, keep] for part in (self.teacher, self.base))
        lam = self._coefficients(features_t, features_b)
        mixed = torch.cat([lam * features_t, (1 - lam) * features_b], -1).to(features_t.dtype)
        return BaseModelOutput(last_hidden_state=mixed)

    @property
    def caps(self) -> bool:
        """Whether λ may differ from position to position; no threshold lies below 1."""
        return self.clip is not None and self.lam > 1

    def lam_at(self, logits_t: Tensor, logits_b: Tensor) -> float | Tensor:
        """Return λ, or λ_t of every position."""
        if not self.caps:
            return self.lam
        star = threshold(logits_t, logits_b, self.clip, mode="bernoulli").value
        capped: Tensor = operating(star, self.margin).clamp(max=self.lam)
        return capped

    def _coefficients(self, features_t: Tensor, features_b: Tensor) -> float | Tensor:
        """Return λ, or λ_t of every position as a column; the logits exist for one block of positions at a time."""
        if not self.caps:
            return self.lam
        rows = max(1, BLOCK // len(self.teacher.head.weight))
        blocks = zip(*(torch.split(part.flatten(0, -2), rows) for part in (features_t, features_b)), strict=True)
        found = [
            torch.as_tensor(self.lam_at(self.teacher.logits(block_t), self.base.logits(block_b)))
            for block_t, block_b in blocks
        ]
        return torch.cat(found).reshape(*features_t.shape[:-1], 1)


class _Part(nn.Module):
    """One frozen model as features times head columns, scale·(h, 1) times (W, bias): the product is its logits."""

    def __init__(self, name: str, model: Any) -> None:
        super().__init__()
        if model is None:
            raise ValueError(f"{name} must be a causal language model, got None")
        head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
        if head is None:
            raise ValueError(f"{name} must have output embeddings, got {type(model).__name__}, which has none")
        refuse_sharded(name, model)
        refuse_not_finite(name, model)
        # A view of the student is not a module, so that what is done to this part is not done to the student.
        self.model: Any = model if isinstance(model, WithoutAdapters) else model.requires_grad_(False).eval()
        self.name = name
        self.scale = _logit_scale(name, model.config.get_text_config())
        self._refuse_other_logits()

    @property
    def head(self) -> nn.Linear:
        """The output embedding, asked for each time because a wrapper may have replaced it."""
        head: nn.Linear = self.model.get_output_embeddings()
        return head

    @property
    def width(self) -> int:
        """The number of features."""
        return sum(column.shape[1] for column in self.columns())

    def columns(self) -> tuple[Tensor, ...]:
        """Return the weight of the head, then its bias as a column if there is one, without copying them."""
        head = self.head
        bias = getattr(head, "bias", None)
        return (head.weight,) if bias is None else (head.weight, bias[:, None])

    def logits(self, features: Tensor) -> Tensor:
        """Compute the model's logits from its features, without the copy of the head that one matrix would need."""
        weight, *bias = self.columns()
        logits = nn.functional.linear(features[..., : weight.shape[1]], weight)
        return logits + features[..., -1:] * bias[0].T if bias else logits

    @torch.no_grad()
    def forward(self, **inputs: Any) -> Tensor:
        refuse_sharded(self.name, self.model)
        self.refuse_training()
        # PEFT puts adapters inside the layers of the model that it wraps, so the backbone of that model is run.
        model = self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model
        with self.model.off() if isinstance(self.model, WithoutAdapters) else nullcontext():
            hidden: Tensor = model.base_model(**inputs).last_hidden_state
        hidden = hidden.to(self.head.weight.device)
        if self.width > hidden.shape[-1]:
            hidden = torch.cat([hidden, hidden.new_ones((*hidden.shape[:-1], 1))], -1)
        return hidden if self.scale == 1 else hidden * self.scale

    def refuse_training(self) -> None:
        """Raise ``ValueError`` if the model is in training mode: only a trainer puts it there, one that trains it."""
        if getattr(self.model, "training", False):
            raise ValueError(
                f"{self.name} must be a model that nothing trains, got one in training mode, so it is the student: the "
                "teacher has frozen its weights, and its gradient is 0. Load a second copy of the model, or, where "
                "only adapters are trained, give base=without_adapters(student)"
            )

    @torch.no_grad()
    def _refuse_other_logits(self) -> None:
        """Raise ``ValueError`` unless features times columns give the model's own logits on a few tokens."""
        weight = self.head.weight
        ids = torch.arange(min(4, len(weight)), device=self.model.device)[None]
        expected = self.model(input_ids=ids, use_cache=False).logits.to(weight.device)
        found = self.logits(self(input_ids=ids, use_cache=False))
        error = float((found - expected).abs().max() / expected.abs().max())
        allowed = math.sqrt(torch.finfo(weight.dtype).eps)
        if not error <= allowed:
            raise ValueError(
                f"{self.name} must have logits that are its output embedding times its last hidden state, since TRL "
                f"reads these two, up to a relative error of {allowed:.1g}; got {error:.1g} "
                f"({type(self.model).__name__})"
            )


def _logit_scale(name: str, config: Any) -> float:
    """Return the factor on a model's logits, found by TRL's rules; raise ``ValueError`` if they have a soft cap."""
    for option in SOFT_CAPS:
        if (cap := getattr(config, option, None)) is not None:
            raise ValueError(
                f"{name} must have no soft cap on its logits, got {option}={cap!r}: cap·tanh(z/cap) is not linear, so "
                "no mixture of hidden states gives the mixture of capped logits"
            )
    for option in SCALES:
        if (scale := getattr(config, option, None)) is not None:
            return float(scale)
    scaling = getattr(config, "logits_scaling", None)
    if scaling is None:
        return 1.0
    return float(scaling if config.model_type == "hyperclovax" else 1 / scaling)
