"""The model in two parts: a trunk that no adapter changes, and the last layers, each with an adapter of its own.

What the trunk computes of an answer while it is sampled serves teacher, base and student alike.
"""

from __future__ import annotations

import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor

sys.path.append(str(Path(__file__).resolve().parent.parent / "rank_by_price"))
import model as lm

__all__ = ["CUT", "RANK", "add_lora", "answer_mask", "lm", "logits", "merged", "sample", "trained", "trunk"]

CUT = 20
"""The number of layers of the trunk, of 30."""
RANK = 8


def add_lora(plain: Any) -> Any:
    """Give the model a new adapter in the layers after the trunk."""
    config = LoraConfig(
        r=RANK,
        lora_alpha=2 * RANK,
        target_modules=list(lm.TARGET_MODULES),
        layers_to_transform=list(range(CUT, plain.config.num_hidden_layers)),
        task_type="CAUSAL_LM",
    )
    return get_peft_model(plain, config)


def trained(folder: Path, plain: Any = None) -> Any:
    """Return the model with the adapter of a folder, which is trained further."""
    model = PeftModel.from_pretrained(plain or lm.load_plain_model(), str(folder))
    for name, weight in model.named_parameters():
        weight.requires_grad_("lora" in name)
    return model


def merged(folder: Path, plain: Any) -> Any:
    """Return a copy of the plain model with the adapter of a folder in its weights."""
    return PeftModel.from_pretrained(deepcopy(plain), str(folder)).merge_and_unload().eval()


def _core(model: Any) -> Any:
    whole = model.get_base_model() if hasattr(model, "get_base_model") else model
    return whole.model


def _layers(model: Any, hidden: Tensor, first: int, last: int) -> Tensor:
    core = _core(model)
    places = torch.arange(hidden.shape[1])[None]
    rotary = core.rotary_emb(hidden, position_ids=places)
    for layer in core.layers[first:last]:
        found = layer(hidden, position_ids=places, position_embeddings=rotary)
        hidden = found[0] if isinstance(found, tuple) else found
    return hidden


def trunk(model: Any, ids: Tensor) -> Tensor:
    """Return what the trunk makes of tokens, shape (answers, tokens, width); rows must not be padded on the left."""
    with torch.no_grad():
        return _layers(model, _core(model).embed_tokens(ids), 0, CUT)


def logits(model: Any, hidden: Tensor, keep: Tensor) -> Tensor:
    """Return the logits of the tokens after those that ``keep`` marks, one row each, from the trunk's output."""
    core = _core(model)
    hidden = _layers(model, hidden, CUT, len(core.layers))
    whole = model.get_base_model() if hasattr(model, "get_base_model") else model
    found: Tensor = whole.lm_head(core.norm(hidden[keep]))
    return found


@torch.no_grad()
def sample(model: Any, prompts: Tensor, guess: Tensor, end: int, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Sample one answer per prompt at temperature 1 from the whole vocabulary, all places of an answer at once.

    The token at a place is the largest of the logits plus Gumbel noise. What is drawn after a guess becomes the next
    guess, until nothing changes: then every token is the one that would be drawn token by token.

    Args:
        model: one of the models.
        prompts: tokens of the prompts, one row each, all of one length.
        guess: tokens of answers of the full room, one row each, which only decide how long it takes.
        end: the token that ends an answer.
        noise: standard exponential numbers, shape (answers, places, tokens).

    Returns:
        The tokens of the answers, with ``end`` after their end; and the trunk's output at all tokens but the last,
        prompts included, where what follows an end is without meaning.
    """
    answers, gumbel = guess.clone(), -noise.log()
    hidden = torch.zeros(len(prompts), prompts.shape[1] + guess.shape[1] - 1, _core(model).embed_tokens.embedding_dim)
    rows, first = torch.arange(len(prompts)), prompts.shape[1] - 1
    while len(rows):
        read = torch.cat([prompts[rows], answers[rows, :-1]], dim=1)
        hidden[rows] = trunk(model, read)
        keep = torch.zeros(read.shape, dtype=torch.bool)
        keep[:, first:] = True
        found = logits(model, hidden[rows], keep).view(len(rows), guess.shape[1], -1)
        drawn = (found + gumbel[rows]).argmax(dim=-1)
        counts = _before_end(drawn, end)
        drawn = torch.where(counts, drawn, end)
        changed = ((drawn != answers[rows]) & counts).any(dim=1)
        answers[rows] = drawn
        rows = rows[changed]
    return answers, hidden


def _before_end(answers: Tensor, end: int) -> Tensor:
    """Mark the tokens of answers up to the one that ends them."""
    return torch.nn.functional.pad(answers[:, :-1] == end, (1, 0)).cumsum(dim=1) == 0


def answer_mask(answers: Tensor, prompt: int, end: int) -> Tensor:
    """Mark the places of the trunk's output from which the tokens of an answer are predicted, its end included."""
    return torch.nn.functional.pad(_before_end(answers, end), (prompt - 1, 0))
