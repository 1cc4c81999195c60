"""An extrapolated teacher: λ z_T + (1−λ) z_B as one model, from which an unmodified TRL trainer distils.

TRL reads a teacher in two ways. ``GKDTrainer`` asks for logits. ``DistillationTrainer`` never forms them: it takes the
last hidden state of the backbone and the weight of the output embedding, and multiplies the two tile by tile. A mixture
of logits is such a product as well: of the hidden states of both models side by side, the teacher's times λ and the
base's times 1−λ, with both heads side by side. So λ may differ from position to position at no cost in memory.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from lambda_star._core.quantities import LAM, MARGIN, C, require
from lambda_star.categorical import threshold

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["ExtrapolatedTeacher"]

COEFFICIENT = LAM._replace(low=0.0, ends="[)")


SCALES = ("logit_scale", "output_multiplier", "lm_head_multiplier")
"""Names of a factor on the logits, in the order in which TRL looks for them."""


SOFT_CAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
"""Names of a bound on the logits, cap·tanh(z/cap)."""


BLOCK = 2**24
"""Most logits of each model at a time when λ is capped position by position."""


class _OutputEmbeddings(NamedTuple):
    """What TRL reads of a head."""

    weight: Tensor
    bias: None


class ExtrapolatedTeacher(nn.Module):
    """A teacher whose logits are λ z_T + (1−λ) z_B, for any trainer that distils from a causal language model.

    That is the log-linear extrapolation π_T^λ π_B^(1−λ)/Z. With a ``clip`` and ``per_token`` each position has its own
    λ_t = min(λ, 1 + (1−margin)(λ*_t−1)), where λ*_t is Eq. 4 at the modal probabilities of that position, so that no
    position is pushed past its own threshold; a λ ≤ 1 is never changed.

    Both models are frozen and kept in evaluation mode, and nothing here has a gradient; ``base`` is therefore a model
    of its own, not the student. They keep their parameters: the two heads are set side by side for each loss (a matrix
    of vocabulary × both widths, which goes when the loss is done), never stored, so a head tied to an input embedding
    still costs nothing. Products are in the precision of the models, also those that λ_t rests on. It cannot generate,
    and takes no parameters sharded over devices.

    Args:
        teacher: the teacher, a causal language model of transformers, or one with adapters of PEFT.
        base: the base, the student's warm start; same vocabulary, device and dtype as the teacher, of any width.
        lam: extrapolation coefficient λ, in [0, inf); 1 is the teacher itself, 0 the base.
        clip: cap c on the tail ratio, in [1, inf], that bounds λ at each position; without it λ is used everywhere,
            and ``margin`` and ``per_token`` have no meaning.
        margin: share of λ*_t−1 that is given up, in [0, 1).
        per_token: whether ``clip`` bounds λ at each position; if not, λ is used everywhere, as without a clip.

    Raises:
        ValueError: a number outside its range; a model is missing or has no output embeddings; the two differ in
            vocabulary, device or dtype; the logits are not the head times the hidden states but for a factor, as with
            a soft cap, so that no mixture of hidden states gives the mixture of logits.
        ImportError: transformers is not installed.

    Source: extension, the fixed point of Theorem 4.1 as the target; ``derivations/categorical.md``.

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
        base: PreTrainedModel,
        lam: float,
        *,
        clip: float | None = None,
        margin: float = 0.1,
        per_token: bool = True,
    ) -> None:
        super().__init__()
        require((COEFFICIENT, lam), (C.named("clip"), clip), (MARGIN, margin))
        parts = _Part("teacher", teacher), _Part("base", base)
        _check_alike(*parts)
        self.mixture = _Mixture(*parts, lam, clip if per_token else None, margin)
        # A configuration of its own: TRL applies whatever scale or soft cap it finds in one to the mixture.
        self.config = _transformers().PretrainedConfig(
            vocab_size=parts[0].head.weight.shape[0], hidden_size=sum(part.width for part in parts)
        )
        self.eval()

    @property
    def teacher(self) -> PreTrainedModel:
        """The teacher."""
        model: PreTrainedModel = self.mixture.teacher.model
        return model

    @property
    def base(self) -> PreTrainedModel:
        """The base."""
        model: PreTrainedModel = self.mixture.base.model
        return model

    @property
    def lam(self) -> float:
        """The coefficient λ, which may be set while training goes on."""
        return self.mixture.lam

    @lam.setter
    def lam(self, value: float) -> None:
        require((COEFFICIENT, value))
        self.mixture.lam = value

    @property
    def base_model(self) -> nn.Module:
        """The backbone, which returns the hidden states of both models side by side, the coefficients multiplied in."""
        return self.mixture

    def get_output_embeddings(self) -> _OutputEmbeddings:
        """The heads of both models side by side, biases as further columns; a new matrix at each call.

        Returns:
            An object with ``weight``, vocabulary × width of the backbone's hidden states, and ``bias``, None.

        Source: extension.
        """
        return _OutputEmbeddings(torch.cat([*self.mixture.teacher.columns(), *self.mixture.base.columns()], 1), None)

    def train(self, mode: bool = True) -> ExtrapolatedTeacher:
        """Stay in evaluation mode, whatever is asked for: dropout would make the target random.

        Args:
            mode: without effect.

        Returns:
            The module itself.

        Source: extension.
        """
        return super().train(False)

    @torch.no_grad()
    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **inputs: Any) -> Any:
        """The mixture's logits.

        Args:
            input_ids: tokens, batch × positions.
            attention_mask: 1 at tokens, 0 at padding; the same shape.
            **inputs: further inputs, which both backbones get; ``logits_to_keep`` as in transformers.

        Returns:
            A ``transformers.modeling_outputs.CausalLMOutput`` with ``logits``, batch × positions × vocabulary.

        Source: extension.
        """
        hidden = self.mixture(input_ids=input_ids, attention_mask=attention_mask, **inputs).last_hidden_state
        logits = nn.functional.linear(hidden, self.get_output_embeddings().weight)
        return _transformers().modeling_outputs.CausalLMOutput(logits=logits)


class _Mixture(nn.Module):
    """The backbone: features of teacher and base side by side, times λ_t and 1−λ_t."""

    def __init__(self, teacher: _Part, base: _Part, lam: float, clip: float | None, margin: float) -> None:
        super().__init__()
        self.teacher, self.base = teacher, base
        self.lam, self.clip, self.margin = lam, clip, margin

    @torch.no_grad()
    def forward(self, *, logits_to_keep: int | Tensor = 0, **inputs: Any) -> Any:
        # Cut before λ_t is computed: the trainer has no use for the logits of the prompt.
        keep = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        inputs["use_cache"] = False
        features_t, features_b = (part(**inputs)[:, keep] for part in (self.teacher, self.base))
        lam = self._coefficients(features_t, features_b)
        mixed = torch.cat([lam * features_t, (1 - lam) * features_b], -1).to(features_t.dtype)
        return _transformers().modeling_outputs.BaseModelOutput(last_hidden_state=mixed)

    def _coefficients(self, features_t: Tensor, features_b: Tensor) -> float | Tensor:
        """λ, or λ_t of every position as a column; the logits for it exist for a block of positions at a time."""
        if self.clip is None or self.lam <= 1:  # which is below every threshold
            return self.lam
        rows = max(1, BLOCK // len(self.teacher.head.weight))
        blocks = zip(*(torch.split(part.flatten(0, -2), rows) for part in (features_t, features_b)), strict=True)
        found = [
            threshold(self.teacher.logits(block_t), self.base.logits(block_b), self.clip, mode="bernoulli").value
            for block_t, block_b in blocks
        ]
        operating = 1 + (1 - self.margin) * (torch.cat(found) - 1)
        return operating.clamp(max=self.lam).reshape(*features_t.shape[:-1], 1)


class _Part(nn.Module):
    """One frozen model, as features and head columns whose product is its logits: scale·(h, 1) and (W, bias)."""

    def __init__(self, name: str, model: Any) -> None:
        super().__init__()
        if model is None:
            raise ValueError(f"{name} must be a causal language model, got None")
        head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
        if head is None:
            raise ValueError(f"{name} must have output embeddings, got {type(model).__name__}, which has none")
        self.model: Any = model.requires_grad_(False).eval()
        config = model.config.get_text_config()
        _refuse_soft_cap(name, config)
        self.scale = _logit_scale(config)
        self._refuse_other_logits(name)

    @property
    def head(self) -> nn.Linear:
        """The output embedding, asked for anew since a wrapper may have replaced it."""
        head: nn.Linear = self.model.get_output_embeddings()
        return head

    @property
    def width(self) -> int:
        """The number of features."""
        return self.head.weight.shape[1] + (getattr(self.head, "bias", None) is not None)

    def columns(self) -> tuple[Tensor, ...]:
        """The weight of the head, then its bias as a column if there is one; no copies."""
        bias = getattr(self.head, "bias", None)
        return (self.head.weight,) if bias is None else (self.head.weight, bias[:, None])

    def logits(self, features: Tensor) -> Tensor:
        """The model's logits of its features; without a copy of the head, which columns side by side would be."""
        weight, *bias = self.columns()
        logits = nn.functional.linear(features[..., : weight.shape[1]], weight)
        return logits + features[..., -1:] * bias[0].T if bias else logits

    @torch.no_grad()
    def forward(self, **inputs: Any) -> Tensor:
        # Adapters sit inside the layers of the model that PEFT wraps, whose backbone is the one to run.
        model = self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model
        hidden: Tensor = model.base_model(**inputs).last_hidden_state.to(self.head.weight.device)
        if self.width > hidden.shape[-1]:
            hidden = torch.cat([hidden, hidden.new_ones((*hidden.shape[:-1], 1))], -1)
        return hidden if self.scale == 1 else hidden * self.scale

    @torch.no_grad()
    def _refuse_other_logits(self, name: str) -> None:
        """Compare features times columns with the model's own logits, on a few tokens."""
        weight = self.head.weight
        ids = torch.arange(min(4, len(weight)), device=self.model.device)[None]
        expected = self.model(input_ids=ids, use_cache=False).logits.to(weight.device)
        found = self.logits(self(input_ids=ids, use_cache=False))
        error = float((found - expected).abs().max() / expected.abs().max())
        allowed = math.sqrt(torch.finfo(weight.dtype).eps)
        if error > allowed:
            raise ValueError(
                f"{name} must have logits that are its output embedding times its last hidden state, since TRL reads "
                f"these two, up to a relative error of {allowed:.1g}; got {error:.1g} ({type(self.model).__name__})"
            )


def _check_alike(teacher: _Part, base: _Part) -> None:
    """Refuse two models that cannot be mixed."""
    heads = teacher.head.weight, base.head.weight
    compared: dict[str, list[Any]] = {
        "vocabulary size": [len(weight) for weight in heads],
        "device": [weight.device for weight in heads],
        "dtype": [weight.dtype for weight in heads],
    }
    for what, (of_teacher, of_base) in compared.items():
        if of_teacher != of_base:
            raise ValueError(f"base must have the teacher's {what}, {of_teacher}, got {of_base}")


def _refuse_soft_cap(name: str, config: Any) -> None:
    for option in SOFT_CAPS:
        cap = getattr(config, option, None)
        if cap is not None:
            raise ValueError(
                f"{name} must have no soft cap on its logits, got {option}={cap!r}: cap·tanh(z/cap) is not linear, so "
                "no mixture of hidden states gives the mixture of capped logits"
            )


def _logit_scale(config: Any) -> float:
    """The factor on a model's logits, by TRL's rules."""
    for option in SCALES:
        scale = getattr(config, option, None)
        if scale is not None:
            return float(scale)
    scaling = getattr(config, "logits_scaling", None)
    if scaling is None:
        return 1.0
    return float(scaling if config.model_type == "hyperclovax" else 1 / scaling)


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise ImportError(
            "ExtrapolatedTeacher needs transformers; install it with: pip install 'lambda-star[trl]'"
        ) from error
    return transformers
