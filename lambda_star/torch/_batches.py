"""The batches of a trainer: their completion tokens, a sample of these, and a model's logits at the sample."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lambda_star.torch._frozen import frozen

__all__ = ["Batch", "Sample", "tokenizer_of"]


def tokenizer_of(processing_class: Any) -> Any:
    """Return the tokenizer of a trainer's processing class, or None."""
    return getattr(processing_class, "tokenizer", processing_class)


class Batch(NamedTuple):
    """Sequences of tokens, and which of the tokens are completion tokens that count."""

    ids: Tensor
    attention: Tensor
    counts: Tensor
    temperature: float

    @classmethod
    def of(cls, inputs: Mapping[str, Any], trainer: Any) -> Batch:
        """Read a batch of prompts and completions, or one of labels."""
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

    def texts(self, processing_class: Any) -> list[str]:
        """Return the completions as texts; without a tokenizer the list is empty."""
        tokenizer = tokenizer_of(processing_class)
        if tokenizer is None:
            return []
        rows = [ids[counts].tolist() for ids, counts in zip(self.ids, self.counts, strict=True)]
        texts: list[str] = tokenizer.batch_decode(rows, skip_special_tokens=True)
        return texts

    def sample(self, positions: int, generator: torch.Generator) -> Sample:
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
        return Sample(self.ids[chosen, :end], self.attention[chosen, :end], rows, columns)


class Sample(NamedTuple):
    """Sequences of tokens, and the positions in them that are looked at."""

    ids: Tensor
    attention: Tensor
    rows: Tensor
    columns: Tensor

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
        with frozen(model) as still:
            logits = still(input_ids=ids, attention_mask=attention, use_cache=False, **options).logits
        rows: Tensor = logits[self.rows.to(device), place.to(device)].to(self.ids.device)
        return rows.to(torch.promote_types(rows.dtype, torch.float32))
