"""Small transformers side by side: one forward and backward pass for a whole grid of students.

Every weight has a leading axis, one entry per model, and one token batch per model goes through all of them at once.
At this size a pass costs as much for ten models as for one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 (as everyone calls it)

__all__ = ["Cache", "Weights", "forward", "new_weights", "repeat", "sample"]

Weights = dict[str, Tensor]

HEADS, LAYERS = 2, 2


@dataclass
class Cache:
    """Keys and values of the tokens so far, per layer: models × batch × heads × tokens × width."""

    keys: list[Tensor]
    values: list[Tensor]


def new_weights(vocabulary: int, width: int, length: int, generator: torch.Generator) -> Weights:
    """Weights of one model with a leading axis of one."""

    def normal(*shape: int, scale: float) -> Tensor:
        return torch.randn(1, *shape, generator=generator) * scale

    weights = {"embed": normal(vocabulary, width, scale=0.3), "place": normal(length, width, scale=0.1)}
    for layer in range(LAYERS):
        weights[f"qkv{layer}"] = normal(width, 3 * width, scale=width**-0.5)
        weights[f"mix{layer}"] = normal(width, width, scale=width**-0.5 / LAYERS)
        weights[f"up{layer}"] = normal(width, 4 * width, scale=width**-0.5)
        weights[f"down{layer}"] = normal(4 * width, width, scale=(4 * width) ** -0.5 / LAYERS)
    weights["head"] = normal(width, vocabulary, scale=width**-0.5)
    return weights


def repeat(weights: Weights, models: int) -> Weights:
    """Independent copies of one model, side by side."""
    return {name: weight.detach().expand(models, *weight.shape[1:]).clone() for name, weight in weights.items()}


def forward(weights: Weights, tokens: Tensor, cache: Cache | None = None) -> Tensor:
    """Logits, models × batch × tokens × vocabulary; with a cache only of the new tokens, which it then holds too."""
    models, batch, count = tokens.shape
    width = weights["place"].shape[-1]
    start = cache.keys[0].shape[3] if cache and cache.keys else 0
    embedded = torch.gather(
        weights["embed"], 1, tokens.reshape(models, -1, 1).expand(-1, -1, width)
    )  # models × (batch · tokens) × width
    x = embedded.reshape(models, batch, count, width) + weights["place"][:, None, start : start + count]
    for layer in range(LAYERS):
        x = x + _attention(weights, F.layer_norm(x, (width,)), layer, cache)
        hidden = F.gelu(_product(F.layer_norm(x, (width,)), weights[f"up{layer}"]))
        x = x + _product(hidden, weights[f"down{layer}"])
    return _product(F.layer_norm(x, (width,)), weights["head"])


def _product(x: Tensor, weight: Tensor) -> Tensor:
    return torch.bmm(x.flatten(1, 2), weight).unflatten(1, x.shape[1:3])


def _attention(weights: Weights, x: Tensor, layer: int, cache: Cache | None) -> Tensor:
    models, batch, count, width = x.shape
    parts = _product(x, weights[f"qkv{layer}"]).reshape(models, batch, count, 3, HEADS, width // HEADS)
    query, key, value = parts.permute(3, 0, 1, 4, 2, 5)
    if cache is not None:
        if len(cache.keys) > layer:
            key = torch.cat([cache.keys[layer], key], dim=3)
            value = torch.cat([cache.values[layer], value], dim=3)
            cache.keys[layer], cache.values[layer] = key, value
        else:
            cache.keys.append(key)
            cache.values.append(value)
    flat = [part.flatten(0, 1) for part in (query, key, value)]
    seen = F.scaled_dot_product_attention(*flat, is_causal=count > 1)
    mixed = seen.unflatten(0, (models, batch)).transpose(2, 3).reshape(models, batch, count, width)
    return _product(mixed, weights[f"mix{layer}"])


@torch.no_grad()
def sample(
    weights: Weights,
    batch: int,
    start: int,
    stop: int,
    length: int,
    generator: torch.Generator,
    forbidden: Tensor | None = None,
) -> Tensor:
    """Answers drawn from the models, models × batch × at most ``length`` tokens, ``stop`` after their end.

    ``forbidden`` tells which tokens may not be drawn.
    """
    models = weights["head"].shape[0]
    tokens = torch.full((models, batch, 1), start)
    cache, done = Cache([], []), torch.zeros(models, batch, dtype=torch.bool)
    for _ in range(length - 1):
        logits = forward(weights, tokens[..., -1:], cache)[:, :, -1]
        if forbidden is not None:
            logits = logits.masked_fill(forbidden, -math.inf)
        drawn = torch.multinomial(torch.softmax(logits, -1).flatten(0, 1), 1, generator=generator)
        following = torch.where(done, stop, drawn.reshape(models, batch))
        tokens = torch.cat([tokens, following[..., None]], dim=-1)
        done |= following == stop
        if bool(done.all()):
            break
    return tokens
