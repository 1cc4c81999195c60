"""The predicted student for ``model.generate``: a logits processor that runs the base beside the teacher."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from lambda_star import updates
from lambda_star.torch import _transformers_for
from lambda_star.torch.pairs import Pair
from lambda_star.torch.predicted import predicted_student
from lambda_star.updates import Rule

with _transformers_for("PredictedStudent"):
    from transformers import LogitsProcessor

__all__ = ["PredictedStudent"]


class PredictedStudent(LogitsProcessor):  # type: ignore[misc, unused-ignore]  # transformers may be untyped
    """A logits processor with which the teacher generates the answers of the predicted student.

    It runs the base on the same tokens, with a cache of its own, and puts the student's logits in the place of the
    teacher's. It must be the first processor, and ``top_k=0`` turns off the cut that ``generate`` makes by default::

        pair = load_pair("runs/teacher", "runs/base")
        student = PredictedStudent(pair, 1.25)
        pair.teacher.model.generate(ids, logits_processor=[student], do_sample=True, top_k=0)

    Args:
        pair: the two models.
        lam: λ, at least 0.
        rule: the update rule; nothing is capped by default.
        attention_mask: the mask of the prompts, where they are padded.
    """

    def __init__(self, pair: Pair, lam: float, rule: Rule | None = None, attention_mask: Tensor | None = None) -> None:
        self.pair, self.lam, self.attention_mask = pair, lam, attention_mask
        self._student = predicted_student(rule or updates.none())
        self._read: Tensor | None = None
        self._cache: Any = None
        self._turn_teacher_on()

    @torch.no_grad()
    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return the student's logits, shape (rows, tokens), for the teacher's at the next position."""
        unread = input_ids
        if self._read is not None and torch.equal(self._read, input_ids[:, :-1]):
            unread = input_ids[:, -1:]
        else:  # another prompt, or beams that changed places
            self._cache = None
        self._read = input_ids.clone()
        attention = torch.ones_like(input_ids)
        if self.attention_mask is not None:
            attention[:, : self.attention_mask.shape[1]] = self.attention_mask
        logits, self._cache = self.pair.base(unread, attention, 1, self._cache)
        self._turn_teacher_on()
        known = self.pair.vocabulary
        lam = torch.full((len(scores),), self.lam, dtype=torch.float64, device=scores.device)
        found = torch.full_like(scores, -math.inf)
        found[:, :known] = self._student(scores[:, :known], logits[:, -1, :known].to(scores), lam)
        return found

    def _turn_teacher_on(self) -> None:
        """Turn the teacher's adapter on again, where it shares its weights with the base."""
        if self.pair.teacher.turn_on:
            self.pair.teacher.turn_on()
