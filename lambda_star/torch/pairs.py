"""A teacher and a base side by side: two models, or two adapters of one model whose weights are held once."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from lambda_star.torch._frozen import refuse_same

__all__ = ["Handle", "Pair", "adapters_of", "pair_of"]


class Handle:
    """One of the two models, which computes logits, with its adapter turned on where the weights are shared."""

    def __init__(self, model: Any, turn_on: Callable[[], None] | None = None) -> None:
        self.model = model
        self.turn_on = turn_on
        core = model.get_base_model() if hasattr(model, "get_base_model") else model
        self.takes = inspect.signature(type(core).forward).parameters

    def __call__(self, ids: Tensor, attention: Tensor, keep: int = 0, cache: Any = None) -> tuple[Tensor, Any]:
        """Return the logits of the last ``keep`` tokens of each row, of all for 0, and the cache of keys and values.

        The rows are padded on the left: ``attention`` is 0 at the padding, and covers what the cache holds too. With
        ``cache=False`` none is kept.
        """
        if self.turn_on:
            self.turn_on()
        positions = (attention.cumsum(dim=1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        known = {"position_ids": positions, "logits_to_keep": keep}
        options: dict[str, Any] = {name: value for name, value in known.items() if name in self.takes}
        out = self.model(
            input_ids=ids,
            attention_mask=attention,
            past_key_values=None if cache is False else cache,
            use_cache=cache is not False,
            **options,
        )
        return out.logits[:, -keep:] if keep else out.logits, out.past_key_values


@dataclass(frozen=True)
class Pair:
    """A teacher and a base with one vocabulary.

    Attributes:
        teacher, base: the two models; each is called with token ids and an attention mask.
        tokenizer: the tokenizer of both.
        vocabulary: the number of tokens that both models know; logits of padding beyond it are cut off.
        ends: ids of the tokens that end an answer.
        names: where teacher and base came from, and the model under their adapters if it was given.
    """

    teacher: Handle
    base: Handle
    tokenizer: Any
    vocabulary: int
    ends: tuple[int, ...]
    names: tuple[str, ...] = ("teacher", "base")

    @property
    def device(self) -> torch.device:
        """Where the models are."""
        found: torch.device = next(iter(self.teacher.model.parameters())).device
        return found

    @property
    def dtype(self) -> torch.dtype:
        """The dtype in which the models compute."""
        found: torch.dtype = next(iter(self.teacher.model.parameters())).dtype
        return found

    @property
    def context(self) -> float:
        """How many tokens both models were made for; +inf where neither says."""
        configs = [handle.model.config.get_text_config() for handle in (self.teacher, self.base)]
        return min(getattr(config, "max_position_embeddings", None) or math.inf for config in configs)

    def text(self, tokens: list[int]) -> str:
        """Return the text of an answer, without the token that ends it."""
        ended = bool(tokens) and tokens[-1] in self.ends
        return str(self.tokenizer.decode(tokens[:-1] if ended else tokens, clean_up_tokenization_spaces=False))

    def pieces(self, tokens: Sequence[int]) -> list[str]:
        """Return the text that each token of an answer adds; a character of several tokens comes with its last."""
        body = tokens[:-1] if tokens[-1:] and tokens[-1] in self.ends else tokens
        texts = ["", *(self.text([*body[:end]]).rstrip("\ufffd") for end in range(1, len(body) + 1))]
        pieces = [text[len(before) :] for before, text in pairwise(texts)]
        return [*pieces, *(str(self.tokenizer.decode([token])) for token in tokens[len(body) :])]


def pair_of(teacher_model: Any, base_model: Any, tokenizer: Any) -> Pair:
    """Return the pair of two models that are already loaded, which are set to evaluation mode.

    Args:
        teacher_model: a causal language model of transformers, or a ``PeftModel``.
        base_model: the same for the base, or :func:`~lambda_star.torch.adapters.without_adapters` of the teacher.
        tokenizer: the tokenizer of both.

    Returns:
        A :class:`Pair`.

    Raises:
        ValueError: the two are one model, or the tokenizer has ids for which one of them has no logits.

    >>> pair_of(teacher_model, base_model, tokenizer).vocabulary      # doctest: +SKIP
    49152
    """
    refuse_same(teacher_model, base_model)
    for model in (teacher_model, base_model):
        if hasattr(model, "eval"):
            model.eval()
    return _paired(Handle(teacher_model), Handle(base_model), tokenizer)


def adapters_of(model: Any, teacher: str | None, base: str | None, tokenizer: Any) -> Pair:
    """Return the pair of two adapters of one ``PeftModel`` by their names; None is the model with all adapters off.

    >>> adapters_of(peft_model, "teacher", "base", tokenizer)      # doctest: +SKIP
    """
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    model.eval()
    layers = [layer for layer in model.modules() if isinstance(layer, BaseTunerLayer | AuxiliaryTrainingWrapper)]
    core = model.get_base_model()
    return _paired(Handle(core, _Switch(layers, teacher)), Handle(core, _Switch(layers, base)), tokenizer)


class _Switch:
    """Turn one adapter on, in the layers alone: PEFT's own switch walks through all modules each time."""

    def __init__(self, layers: list[Any], name: str | None) -> None:
        self.layers, self.name = layers, name

    def __call__(self) -> None:
        for layer in self.layers:
            if layer.disable_adapters is not (self.name is None):
                layer.enable_adapters(self.name is not None)
            if self.name is not None:
                layer.set_adapter(self.name, inference_mode=True)


def _paired(teacher: Handle, base: Handle, tokenizer: Any) -> Pair:
    sizes = [handle.model.config.get_text_config().vocab_size for handle in (teacher, base)]
    for name, size in zip(("teacher", "base"), sizes, strict=True):
        if size < len(tokenizer):
            raise ValueError(f"{name} must have logits for all {len(tokenizer)} tokens of the tokenizer, got {size}")
    ends = {end for handle in (teacher, base) for end in _ends(handle.model)}
    ends |= {tokenizer.eos_token_id} - {None}
    return Pair(teacher, base, tokenizer, min(sizes), tuple(sorted(ends)))


def _ends(model: Any) -> Iterable[int]:
    """The ids of the tokens that end an answer, by the model's settings for generation."""
    found = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    return () if found is None else (found,) if isinstance(found, int) else tuple(found)
