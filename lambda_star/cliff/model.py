"""Small transformers side by side: one forward and backward pass for a whole grid of students.

Every weight has a leading axis with one entry per model, and a batch of tokens per model goes through all of them at
once. At this size a pass over ten models costs little more than one over a single model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import gelu, layer_norm, scaled_dot_product_attention

__all__ = ["Cache", "Weights", "forward", "new_weights", "repeat", "sample"]

Weights = dict[str, Tensor]

HEADS, LAYERS = 2, 2


@dataclass
class Cache:
    """Keys and values of the tokens so far, one tensor per layer: models × batch × heads × tokens × width of a head.

    >>> len(Cache().keys)
    0
    """

    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)

    def extended(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Append keys and values of new tokens to those of a layer, and return all of them."""
        if layer == len(self.keys):
            self.keys.append(key)
            self.values.append(value)
        else:
            self.keys[layer] = torch.cat([self.keys[layer], key], dim=3)
            self.values[layer] = torch.cat([self.values[layer], value], dim=3)
        return self.keys[layer], self.values[layer]


def new_weights(vocabulary: int, width: int, length: int, generator: torch.Generator) -> Weights:
    """Draw random weights of one model: two layers, two heads, layer norms without weights.

    Args:
        vocabulary: number of tokens.
        width: width of a token's vector, even.
        length: the most tokens in an answer.
        generator: source of the random numbers.

    Returns:
        Tensors by name, each with a leading axis of one.

    >>> new_weights(14, 8, 5, torch.Generator().manual_seed(0))["head"].shape
    torch.Size([1, 8, 14])
    """

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
    """Put independent copies of one model side by side.

    Args:
        weights: weights of one model.
        models: number of copies, at least 1.

    Returns:
        Tensors by name, with a leading axis of ``models``.

    >>> repeat(new_weights(14, 8, 5, torch.Generator()), 3)["head"].shape
    torch.Size([3, 8, 14])
    """
    return {name: weight.detach().expand(models, *weight.shape[1:]).clone() for name, weight in weights.items()}


def forward(weights: Weights, tokens: Tensor, cache: Cache | None = None) -> Tensor:
    """Compute the logits of all models.

    Args:
        weights: weights of the models.
        tokens: shape (models, batch, count).
        cache: the tokens before these, which are then added to it; None if there are none.

    Returns:
        Logits of the token that follows each of ``tokens``, shape (models, batch, count, vocabulary).

    >>> weights = new_weights(14, 8, 5, torch.Generator().manual_seed(0))
    >>> tokens, cache = torch.tensor([[[0, 11, 2]]]), Cache()
    >>> parts = [forward(weights, part, cache) for part in tokens.split([1, 2], -1)]
    >>> torch.allclose(forward(weights, tokens), torch.cat(parts, dim=2), atol=1e-6)
    True
    """
    models, batch, count = tokens.shape
    width = weights["place"].shape[-1]
    start = cache.keys[0].shape[3] if cache and cache.keys else 0
    chosen = tokens.reshape(models, -1, 1).expand(-1, -1, width)
    x = torch.gather(weights["embed"], 1, chosen).reshape(models, batch, count, width)
    x = x + weights["place"][:, None, start : start + count]
    for layer in range(LAYERS):
        x = x + _attention(weights, layer_norm(x, (width,)), layer, cache)
        hidden = gelu(_product(layer_norm(x, (width,)), weights[f"up{layer}"]))
        x = x + _product(hidden, weights[f"down{layer}"])
    return _product(layer_norm(x, (width,)), weights["head"])


def _product(x: Tensor, weight: Tensor) -> Tensor:
    return torch.bmm(x.flatten(1, 2), weight).reshape(*x.shape[:3], -1)


def _attention(weights: Weights, x: Tensor, layer: int, cache: Cache | None) -> Tensor:
    models, batch, count, width = x.shape
    parts = _product(x, weights[f"qkv{layer}"]).reshape(models, batch, count, 3, HEADS, width // HEADS)
    query, key, value = parts.permute(3, 0, 1, 4, 2, 5)
    if cache is not None:
        key, value = cache.extended(layer, key, value)
    # The new tokens are the last ones, and each of them sees every token up to itself.
    visible = torch.ones(count, key.shape[3], dtype=torch.bool).tril(key.shape[3] - count)
    query, key, value = (part.flatten(0, 1) for part in (query, key, value))
    mixed = scaled_dot_product_attention(query, key, value, attn_mask=visible if count > 1 else None)
    mixed = mixed.transpose(1, 2).reshape(models, batch, count, width)
    return _product(mixed, weights[f"mix{layer}"])


@torch.no_grad()
def sample(
    weights: Weights, batch: int, length: int, generator: torch.Generator, allowed: Tensor | None = None
) -> Tensor:
    """Sample answers from all models token by token, until every answer has stopped.

    Args:
        weights: weights of the models.
        batch: number of answers per model.
        length: the most tokens of an answer, its start included.
        generator: source of the random numbers.
        allowed: which token may follow which, booleans of shape (vocabulary, vocabulary); None allows all.

    Returns:
        Tokens, shape (models, batch, at most ``length``), with 0 at the start and after the stop.

    >>> generator = torch.Generator().manual_seed(0)
    >>> sample(new_weights(14, 8, 5, generator), 2, 5, generator).shape
    torch.Size([1, 2, 5])
    """
    tokens = torch.zeros(len(weights["head"]), batch, 1, dtype=torch.long)
    cache, going = Cache(), torch.ones(tokens.shape[:2], dtype=torch.bool)
    while tokens.shape[-1] < length and going.any():
        logits = forward(weights, tokens[..., -1:], cache)[:, :, -1]
        if allowed is not None:
            logits = logits.masked_fill(~allowed[tokens[..., -1]], -math.inf)
        drawn = torch.multinomial(torch.softmax(logits, -1).flatten(0, 1), 1, generator=generator)
        following = drawn.reshape(tokens.shape[:2]) * going
        tokens, going = torch.cat([tokens, following[..., None]], dim=-1), going & (following != 0)
    return tokens
