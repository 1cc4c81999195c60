"""What is to be known of a distillation run at one moment: where teacher, base and student stand to λ*.

:func:`safety_metrics` for a loop that has the logits of all models; :func:`safety_metrics_from_sampled` for G-OPD and
other codes on verl, which keep the log-probability of the sampled token alone. Both give the same names, with the
prefix ``lambda_star/``:

``lam`` the λ in use; ``positions`` how many were looked at; ``p`` and ``b`` medians of the teacher's modal probability
and of the base's probability of that token; ``threshold_median`` and ``threshold_least`` λ* of Eq. 4; ``past`` share of
positions whose λ* is below λ; ``flipped`` share whose modal token has lost its lead at λ; ``tail_ratio_median`` and
``tail_ratio_max`` of (1−p)/(1−q), q the student's probability of the teacher's modal token; ``clipped`` share where
that ratio has reached the clip; ``json`` share of completions that are JSON; ``known`` see
:func:`safety_metrics_from_sampled`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from typing import NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lambda_star import categorical
from lambda_star._core.namespaces import Floats
from lambda_star._core.quantities import LAM, C, require
from lambda_star.bernoulli import threshold_from_logits
from lambda_star.sequence import lower_quantile

__all__ = [
    "json_share",
    "safety_metrics",
    "safety_metrics_from_sampled",
]

Measured = dict[str, Floats]


PREFIX = "lambda_star/"


BLOCK = 64
"""Positions whose rows are copied at a time."""


ROUNDING = 1e-3
"""How far a rounded log-probability may exceed 0; what lies further above is a logit."""


def safety_metrics(
    log_t: Tensor,
    log_b: Tensor,
    log_s: Tensor | None = None,
    *,
    lam: float,
    clip: float,
    mask: Tensor | None = None,
    completions: Iterable[str] | None = None,
) -> dict[str, float]:
    """What a training loop logs, from log-probabilities or logits over the whole vocabulary.

    Args:
        log_t: log-probabilities or logits of the teacher, shape (..., tokens), any floating dtype.
        log_b: the same of the base, of the same shape.
        log_s: the same of the current student; without it nothing is told about the student.
        lam: extrapolation coefficient λ in use, finite.
        clip: cap c on the tail ratio (1−p)/(1−q), in [1, inf].
        mask: which positions count, shape (...); all by default.
        completions: texts of the student, if the share of JSON among them is wanted.

    Returns:
        A float under each name of the module's list but ``known``, those of the student and ``json`` only where asked
        for. Without a position NaN, as with a NaN at one that counts. Medians are one of the values: λ* may be +inf.

    Raises:
        ValueError: shapes differ, a value lies outside its range, or one model cannot produce a token that the other
            can.

    Source: paper, Eq. 4, for λ*; extension for the rest, ``derivations/categorical.md``.

    >>> teacher, base = torch.tensor([[0.9, 0.1], [0.99, 0.01]]).log(), torch.tensor([[0.5, 0.5], [0.5, 0.5]]).log()
    >>> student = base.clone().requires_grad_()                    # in a loop: the logits that the loss is made of
    >>> metrics = safety_metrics(teacher, base, student, lam=1.5, clip=5.0, completions=['["A7"]', '["A7"'])
    >>> metrics["lambda_star/threshold_least"], metrics["lambda_star/past"], metrics["lambda_star/json"]
    (1.35..., 0.5, 0.5)
    """
    require((LAM, lam), (C.named("clip"), clip))
    measured = _over_vocabulary(log_t, log_b, log_s, clip, mask)
    return _summary(measured, lam, clip) | _of_texts(completions)


def safety_metrics_from_sampled(
    log_t: Tensor,
    log_b: Tensor,
    log_s: Tensor | None = None,
    *,
    lam: float,
    clip: float,
    mask: Tensor | None = None,
    completions: Iterable[str] | None = None,
) -> dict[str, float]:
    """The same from the log-probability of one token per position, the sampled one: G-OPD, verl.

    λ* needs the probabilities of the teacher's modal token. A sampled token is known to be that one where the teacher
    gives it more than half; all metrics are over these positions, and ``known`` is their share. Contract positions are
    of that kind. Two things stay hidden: positions where the student sampled another token, so that a student that has
    lost a modal token is seen less often than one that has lost the tail; and ``flipped``, which needs all tokens.
    Where a probability rounds to 1 its tail counts as the resolution of the dtype, which makes λ* too large. Given the
    log-probabilities of the teacher's most probable token instead, nothing depends on what was sampled.

    Args:
        log_t: log-probabilities (no logits) of the tokens under the teacher, any shape; in G-OPD ``ref_log_prob``.
        log_b: the same under the base, of the same shape; in G-OPD ``base_log_prob``.
        log_s: the same under the student; in verl ``old_log_probs``.
        lam: extrapolation coefficient λ in use, finite; in G-OPD ``lambda_vals``.
        clip: cap c on the tail ratio (1−p)/(1−q), in [1, inf]; no other clip of these codes bounds this ratio.
        mask: which positions count, of the same shape; in verl ``response_mask``.
        completions: texts of the student, if the share of JSON among them is wanted.

    Returns:
        A float under each name of the module's list but ``flipped``; as for :func:`safety_metrics`.

    Raises:
        ValueError: shapes differ, or a value lies outside its range.

    Source: paper, Eq. 4, for λ*; extension for the rest, ``derivations/bernoulli.md``.

    >>> batch = {
    ...     "ref_log_prob": torch.tensor([[0.9, 0.99, 0.02]]).log(),
    ...     "base_log_prob": torch.tensor([[0.5, 0.5, 0.2]]).log(),
    ...     "old_log_probs": torch.tensor([[0.6, 0.999, 0.3]]).log(),
    ...     "response_mask": torch.tensor([[1, 1, 1]]),
    ... }
    >>> rows = [batch[name] for name in ("ref_log_prob", "base_log_prob", "old_log_probs")]
    >>> metrics = safety_metrics_from_sampled(*rows, lam=1.25, clip=5.0, mask=batch["response_mask"])
    >>> metrics["lambda_star/known"], metrics["lambda_star/threshold_least"], metrics["lambda_star/clipped"]
    (0.66..., 1.35..., 0.5)
    """
    require((LAM, lam), (C.named("clip"), clip))
    measured, known = _over_tokens(log_t, log_b, log_s, clip, mask)
    return _summary(measured, lam, clip) | {f"{PREFIX}known": known} | _of_texts(completions)


def json_share(completions: Iterable[str]) -> float:
    """The share of texts that are JSON as RFC 8259 has it: NaN and Infinity, which Python reads, are none.

    Args:
        completions: the texts; white space around one does no harm.

    Returns:
        A float in [0, 1]; NaN without a text.

    Source: extension.

    >>> json_share(['["A7", "B2"]', '["A7",', "[NaN]", " {} "])
    0.5
    """
    valid = [_is_json(text) for text in completions]
    return sum(valid) / len(valid) if valid else math.nan


def _over_vocabulary(log_t: Tensor, log_b: Tensor, log_s: Tensor | None, clip: float, mask: Tensor | None) -> Measured:
    """What is to be known of each position that counts, from rows of tokens."""
    rows = _counted(log_t, log_b, log_s, mask, log_t.shape[:-1])
    found = categorical.threshold(rows[0], rows[1], clip, mode="bernoulli")
    log_odds = [_log_odds_in(each, found.modal) for each in rows]
    return _measured(log_odds, found.value) | {"flip": _floats(found.flip)}


def _over_tokens(
    log_t: Tensor, log_b: Tensor, log_s: Tensor | None, clip: float, mask: Tensor | None
) -> tuple[Measured, float]:
    """The same from the log-probability of one token, and the share of positions where that is the modal one."""
    rows = _counted(log_t, log_b, log_s, mask, log_t.shape)
    # A NaN is known to be one.
    modal = ~(rows[0] <= math.log(0.5))
    kept = [each[modal] for each in rows]
    for name, each in zip(("log_t", "log_b", "log_s"), kept, strict=False):
        if len(outside := each[(each > ROUNDING) | (each == -math.inf)]):
            raise ValueError(f"{name} must lie in (-inf, 0], got {float(outside[0])!r}; give log-probabilities")
    log_odds = [_log_odds_of(each) for each in kept]
    threshold = threshold_from_logits(log_odds[0], log_odds[1], clip)
    return _measured(log_odds, threshold), float(modal.double().mean())


def _counted(
    log_t: Tensor, log_b: Tensor, log_s: Tensor | None, mask: Tensor | None, positions: Sequence[int]
) -> list[Tensor]:
    """The entries of all models at the positions that count, in one dimension of positions."""
    models = {"log_t": log_t, "log_b": log_b} | ({} if log_s is None else {"log_s": log_s})
    for name, rows in models.items():
        if rows.shape != log_t.shape:
            raise ValueError(f"{name} must have the shape of log_t, {tuple(log_t.shape)}, got {tuple(rows.shape)}")
        if not rows.is_floating_point():
            raise ValueError(f"{name} must have a floating dtype, got {rows.dtype}")
    if mask is not None and mask.shape != positions:
        raise ValueError(f"mask must have the shape of the positions, {tuple(positions)}, got {tuple(mask.shape)}")
    tokens = log_t.shape[len(positions) :]
    flat = [rows.detach().reshape(-1, *tokens) for rows in models.values()]
    return flat if mask is None else [rows[mask.to(rows.device).bool().reshape(-1)] for rows in flat]


def _log_odds_in(rows: Tensor, modal: Tensor) -> Tensor:
    """Log-odds of one token per row against all others; 1−p keeps its digits where p rounds to 1."""
    dtype = torch.promote_types(rows.dtype, torch.float32)
    parts = []
    for start in range(0, max(len(rows), 1), BLOCK):
        wide, index = rows[start : start + BLOCK].to(dtype), modal[start : start + BLOCK].unsqueeze(-1)
        parts.append(wide.gather(-1, index).squeeze(-1) - wide.scatter(-1, index, -math.inf).logsumexp(dim=-1))
    return torch.cat(parts)


def _log_odds_of(log_p: Tensor) -> Tensor:
    """Log-odds from log-probabilities."""
    log_p = log_p.clamp(max=0)
    resolution = torch.finfo(log_p.dtype).eps
    wide = log_p.to(torch.promote_types(log_p.dtype, torch.float32))
    return wide - (-torch.expm1(wide)).clamp(min=resolution).log()


def _measured(log_odds: Sequence[Tensor], threshold: Tensor) -> Measured:
    measured = {name: _floats(each.sigmoid()) for name, each in zip("pb", log_odds[:2], strict=True)}
    measured["threshold"] = _floats(threshold)
    if len(log_odds) == 3:
        teacher, student = (torch.nn.functional.logsigmoid(-each.double()) for each in (log_odds[0], log_odds[2]))
        # A teacher without a tail has none to lose.
        ratio = torch.where(teacher == -math.inf, 0.0, (teacher - student).exp())
        measured["tail_ratio"] = _floats(ratio)
    return measured


def _floats(values: Tensor) -> Floats:
    return values.detach().double().cpu().numpy()


def _summary(measured: Measured, lam: float, clip: float) -> dict[str, float]:
    """The metrics of positions that were measured."""
    threshold = measured["threshold"]
    metrics = {
        "lam": float(lam),
        "positions": float(len(threshold)),
        "p": _quantile(measured["p"], 0.5),
        "b": _quantile(measured["b"], 0.5),
        "threshold_median": _quantile(threshold, 0.5),
        "threshold_least": _quantile(threshold, 0.0),
        "past": _share(threshold, threshold < lam),
    }
    if "flip" in measured:
        metrics["flipped"] = _share(measured["flip"], measured["flip"] < lam)
    if "tail_ratio" in measured:
        ratio = measured["tail_ratio"]
        metrics |= {
            "tail_ratio_median": _quantile(ratio, 0.5),
            "tail_ratio_max": _quantile(ratio, 1.0),
            "clipped": _share(ratio, ratio >= clip),
        }
    return {PREFIX + name: value for name, value in metrics.items()}


def _of_texts(completions: Iterable[str] | None) -> dict[str, float]:
    return {} if completions is None else {f"{PREFIX}json": json_share(completions)}


def _quantile(values: Floats, level: float) -> float:
    return lower_quantile(values, level) if len(values) else math.nan


def _share(values: Floats, hits: NDArray[np.bool_]) -> float:
    return float(hits.mean()) if len(values) and not np.isnan(values).any() else math.nan


def _is_json(text: str) -> bool:
    try:
        # Numbers stay text: Python refuses integers of many digits, which JSON allows.
        json.loads(text, parse_constant=_refuse, parse_int=str)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
