"""Small transformers side by side: one forward and backward pass for a whole grid of students.

Every weight has a leading axis with one entry per model, and a batch of tokens per model goes through all of them at
once. At this size a pass over ten models costs little more than one over a single model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn.functional import gelu, layer_norm, scaled_dot_product_attention

__all__ = ["forward", "new_weights", "on_threads", "repeat", "sample"]

Weights = dict[str, Tensor]
Cache = dict[int, tuple[Tensor, Tensor]]  # keys and values by layer: models × batch × heads × tokens × width of a head

HEADS, HEAD = 2, 16  # the least number of heads, and the width of one if there are more


@contextmanager
def on_threads(count: int) -> Iterator[None]:
    """Let PyTorch compute on so many threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def new_weights(vocabulary: int, width: int, length: int, generator: torch.Generator, layers: int = 2) -> Weights:
    """Draw random weights of one model, whose width is even, and a multiple of 16 above 32; layer norms have none."""

    def normal(*shape: int, scale: float) -> Tensor:
        return torch.randn(1, *shape, generator=generator) * scale

    weights = {"embed": normal(vocabulary, width, scale=0.3), "place": normal(length, width, scale=0.1)}
    for layer in range(layers):
        weights[f"qkv{layer}"] = normal(width, 3 * width, scale=width**-0.5)
        weights[f"mix{layer}"] = normal(width, width, scale=width**-0.5 / layers)
        weights[f"up{layer}"] = normal(width, 4 * width, scale=width**-0.5)
        weights[f"down{layer}"] = normal(4 * width, width, scale=(4 * width) ** -0.5 / layers)
    weights["head"] = normal(width, vocabulary, scale=width**-0.5)
    return weights


def repeat(weights: Weights, models: int) -> Weights:
    """Put independent copies of one model side by side."""
    return {name: weight.detach().expand(models, *weight.shape[1:]).clone() for name, weight in weights.items()}


def forward(weights: Weights, tokens: Tensor, cache: Cache | None = None) -> Tensor:
    """Compute the logits of the token after each of ``tokens``, shape (models, batch, count, vocabulary).

    A ``cache``, empty at first, holds the keys and values of the tokens before these, and those of ``tokens`` are added
    to it.
    """
    models, batch, count = tokens.shape
    width = weights["place"].shape[-1]
    start = cache[0][0].shape[3] if cache else 0
    chosen = tokens.reshape(models, -1, 1).expand(-1, -1, width)
    x = torch.gather(weights["embed"], 1, chosen).reshape(models, batch, count, width)
    x = x + weights["place"][:, None, start : start + count]
    for layer in range(sum(name.startswith("qkv") for name in weights)):
        x = x + _attention(weights, layer_norm(x, (width,)), layer, cache)
        hidden = gelu(_product(layer_norm(x, (width,)), weights[f"up{layer}"]))
        x = x + _product(hidden, weights[f"down{layer}"])
    return _product(layer_norm(x, (width,)), weights["head"])


def _product(x: Tensor, weight: Tensor) -> Tensor:
    return torch.bmm(x.flatten(1, 2), weight).reshape(*x.shape[:3], -1)


def _attention(weights: Weights, x: Tensor, layer: int, cache: Cache | None) -> Tensor:
    models, batch, count, width = x.shape
    heads = max(HEADS, width // HEAD)
    parts = _product(x, weights[f"qkv{layer}"]).reshape(models, batch, count, 3, heads, width // heads)
    query, key, value = parts.permute(3, 0, 1, 4, 2, 5)
    if cache is not None:
        if layer in cache:
            key, value = (torch.cat(pair, dim=3) for pair in zip(cache[layer], (key, value), strict=True))
        cache[layer] = key, value
    # The new tokens are the last ones, and each of them sees every token up to itself.
    visible = torch.ones(count, key.shape[3], dtype=torch.bool).tril(key.shape[3] - count)
    query, key, value = (part.flatten(0, 1) for part in (query, key, value))
    mixed = scaled_dot_product_attention(query, key, value, attn_mask=visible if count > 1 else None)
    mixed = mixed.transpose(1, 2).reshape(models, batch, count, width)
    return _product(mixed, weights[f"mix{layer}"])


@torch.no_grad()
def sample(
    weights: Weights,
    batch: int,
    length: int,
    generator: torch.Generator,
    allowed: Tensor | None = None,
    kept: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Sample answers from all models token by token, until every answer has stopped or has ``length`` tokens.

    The tokens have the shape models × batch × length, with 0 at the start and after the stop. ``allowed`` holds which
    token may follow which, shape (vocabulary, vocabulary); without it all may. ``kept`` tells from log-probabilities,
    shape (models, batch, vocabulary), which tokens may be drawn.
    """
    tokens = torch.zeros(len(weights["head"]), batch, 1, dtype=torch.long)
    going = torch.ones(tokens.shape[:2], dtype=torch.bool)
    cache: Cache = {}
    while tokens.shape[-1] < length and going.any():
        logits = forward(weights, tokens[..., -1:], cache)[:, :, -1]
        if allowed is not None:
            logits = logits.masked_fill(~allowed[tokens[..., -1]], -math.inf)
        if kept is not None:
            logits = logits.masked_fill(~kept(torch.log_softmax(logits, -1)), -math.inf)
        drawn = torch.multinomial(torch.softmax(logits, -1).flatten(0, 1), 1, generator=generator)
        following = drawn.reshape(tokens.shape[:2]) * going
        tokens, going = torch.cat([tokens, following[..., None]], dim=-1), going & (following != 0)
    return tokens
