"""Metrics of a distillation run at one moment: where teacher, base and student stand relative to λ*.

Use :func:`safety_metrics` in a loop that has the logits of all models, and :func:`safety_metrics_from_sampled` with
G-OPD and other codes on verl, which keep only the log-probability of the sampled token. Both use the same names, with
the prefix ``lambda_star/``. Below, p and b are the probabilities of the teacher's modal token under teacher and base,
and q is its probability under the student.

=======================  ====================================================================================
``lam``                  the λ in use; the median where positions differ in it
``positions``            number of positions
``not_judged``           number of them that cannot be judged, as a logit is NaN or +inf; all else leaves them out
``p``, ``b``             medians of p and b
``threshold_median``     median of λ* (Eq. 4)
``threshold_least``      least λ*
``past``                 share of positions whose λ* is below λ
``flipped``              share of positions whose modal token has lost its lead at λ
``tail_ratio_median``    median of the tail ratio (1−p)/(1−q)
``tail_ratio_max``       greatest tail ratio
``tail_over_predicted``  median ratio of the student's tail to the predicted student's; 1 where a run has arrived
``clipped``              share of positions whose tail ratio has reached the clip
``json``                 share of completions that are JSON
``valid``                share of completions that your own ``valid`` accepts; in place of ``json``
``known``                share of positions that count; only from :func:`safety_metrics_from_sampled`
=======================  ====================================================================================
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lambda_star import categorical
from lambda_star._core.namespaces import Floats
from lambda_star._core.quantities import LAM, C, check, require
from lambda_star.bernoulli import threshold_from_logits
from lambda_star.sequence import lower_quantile
from lambda_star.torch.predicted import mixture
from lambda_star.updates import Rule, none

__all__ = ["safety_metrics", "safety_metrics_from_sampled"]

Measured = dict[str, Floats]  # one array per quantity, with one value per position
Valid = Callable[[str], bool]  # tells whether the text of a completion is a valid answer
Verdicts = dict[str, list[bool]]  # what was said of each completion, under the name of the metric

PREFIX = "lambda_star/"
BLOCK = 64  # rows that are copied at a time: a copy of all rows would need as much memory again as the logits
ROUNDING = 1e-3  # how far a rounded log-probability may exceed 0; anything further above is a logit


def safety_metrics(
    log_t: Tensor,
    log_b: Tensor,
    log_s: Tensor | None = None,
    *,
    lam: float | Tensor,
    clip: float,
    mask: Tensor | None = None,
    classes: Sequence[int] | NDArray[np.int64] | None = None,
    completions: Iterable[str] | None = None,
    valid: Valid | None = None,
    rule: Rule | None = None,
) -> dict[str, float]:
    """Compute the metrics from log-probabilities or logits over the whole vocabulary.

    Args:
        log_t: log-probabilities or logits of the teacher, shape (..., tokens), any floating dtype.
        log_b: the same of the base, of the same shape.
        log_s: the same of the current student; without it the metrics of the student are left out.
        lam: extrapolation coefficient λ in use, finite; a number, or one per position, shape (...).
        clip: cap c on the tail ratio (1−p)/(1−q), in [1, inf].
        mask: which positions count, shape (...); all by default.
        classes: the contract class of every token, such as ``labels`` of :func:`lambda_star.contract.classify`. Only
            positions whose modal token has a class, 0 or above, count then, as in :func:`lambda_star.calibrate`.
        completions: answers of the student as texts; without them ``json`` is left out.
        valid: a function that tells whether a text is a valid answer; by default JSON is.
        rule: the trainer's update rule, whose student ``tail_over_predicted`` compares with; by default the fixed
            point. The metric is left out for a rule that p and b cannot show.

    Returns:
        A dictionary with a float for each name in the table of :mod:`lambda_star.torch.metrics` except ``known``. A
        position where a logit is NaN or +inf is counted in ``not_judged`` and left out of all else. The floats are NaN
        if no position remains. A median is always one of the values, so that of λ* may be +inf.

    Raises:
        ValueError: shapes differ, a value lies outside its range, or one model cannot produce a token that the other
            can.

    Source: paper, Eq. 4, for λ*; ``derivations/categorical.md`` for the flip point.

    >>> teacher, base = torch.tensor([[0.9, 0.1], [0.99, 0.01]]).log(), torch.tensor([[0.5, 0.5], [0.5, 0.5]]).log()
    >>> student = base.clone().requires_grad_()  # in a training loop, the logits that the loss is computed from
    >>> metrics = safety_metrics(teacher, base, student, lam=1.5, clip=5.0, completions=['["A7"]', '["A7"'])
    >>> metrics["lambda_star/threshold_least"], metrics["lambda_star/past"], metrics["lambda_star/json"]
    (1.35..., 0.5, 0.5)
    """
    require((C.named("clip"), clip))
    measured = _over_vocabulary(log_t, log_b, log_s, lam, clip, mask, classes, rule)
    return _summary(measured, lam, clip, _verdicts(completions, valid))


def safety_metrics_from_sampled(
    log_t: Tensor,
    log_b: Tensor,
    log_s: Tensor | None = None,
    *,
    lam: float | Tensor,
    clip: float,
    mask: Tensor | None = None,
    completions: Iterable[str] | None = None,
    valid: Valid | None = None,
) -> dict[str, float]:
    """Compute the metrics from the log-probability of one token per position, the sampled one (G-OPD, verl).

    λ* needs the probabilities of the teacher's modal token. A sampled token is certainly that token where the teacher
    gives it more than half, as at contract positions. All metrics are over these positions, and ``known`` is their
    share. Positions where the student sampled another token stay hidden, so a student that has lost a modal token is
    seen less often than one that has lost the tail. ``flipped`` is missing, because it needs all tokens. Where a
    probability rounds to 1, the tail is taken as the resolution of the dtype, which makes λ* too large. If you pass the
    log-probabilities of the teacher's modal token instead, nothing depends on what was sampled.

    Args:
        log_t: log-probabilities (not logits) of the tokens under the teacher, any shape; ``ref_log_prob`` in G-OPD.
        log_b: the same under the base, of the same shape; ``base_log_prob`` in G-OPD.
        log_s: the same under the student; ``old_log_probs`` in verl.
        lam: as for :func:`safety_metrics`; ``lambda_vals`` in G-OPD.
        clip: as for :func:`safety_metrics`; the other clips of these codes do not bound the tail ratio.
        mask: which positions count, of the same shape; ``response_mask`` in verl. For contract positions alone, mark
            those whose sampled token has a class.
        completions: as for :func:`safety_metrics`.
        valid: as for :func:`safety_metrics`.

    Returns:
        A dictionary as for :func:`safety_metrics`, with ``known`` in place of ``flipped``.

    Raises:
        ValueError: shapes differ, or a value lies outside its range.

    Source: paper, Eq. 4, for λ*; ``derivations/bernoulli.md``.

    >>> log_t, log_b, log_s = torch.tensor([[0.9, 0.99, 0.02], [0.5, 0.5, 0.2], [0.6, 0.999, 0.3]]).log()
    >>> metrics = safety_metrics_from_sampled(log_t, log_b, log_s, lam=1.25, clip=5.0)
    >>> metrics["lambda_star/known"], metrics["lambda_star/threshold_least"], metrics["lambda_star/clipped"]
    (0.66..., 1.35..., 0.5)
    """
    require((C.named("clip"), clip))
    rows, lams = _counted(log_t, log_b, log_s, lam, mask, log_t.shape)
    modal = ~(rows[0] <= math.log(0.5))  # keeps a NaN, which must not pass for a token that is not modal
    kept = [each[modal] for each in rows]
    for name, each in zip(("log_t", "log_b", "log_s"), kept, strict=False):
        if len(outside := each[(each > ROUNDING) | (each == -math.inf)]):
            raise ValueError(f"{name} must lie in (-inf, 0], got {float(outside[0])!r}; give log-probabilities")
    log_odds = [_log_odds_of(each) for each in kept]
    measured = _measured(log_odds, threshold_from_logits(log_odds[0], log_odds[1], clip), lams[modal.cpu()])
    metrics = _summary(measured, lam, clip, _verdicts(completions, valid))
    return metrics | {f"{PREFIX}known": float(modal.double().mean())}


def _over_vocabulary(
    log_t: Tensor,
    log_b: Tensor,
    log_s: Tensor | None,
    lam: float | Tensor,
    clip: float,
    mask: Tensor | None = None,
    classes: Sequence[int] | NDArray[np.int64] | None = None,
    rule: Rule | None = None,
) -> Measured:
    """Measure each position that counts, from rows over the vocabulary."""
    rows, lams = _counted(log_t, log_b, log_s, lam, mask, log_t.shape[:-1])
    rows = [_nan_where_infinite(each) for each in rows]
    found = categorical.threshold(rows[0], rows[1], clip, mode="bernoulli")
    log_odds = [_log_odds_in(each, found.modal) for each in rows]
    measured = _measured(log_odds, found.value, lams) | {"flip": _floats(found.flip)}
    if len(rows) == 3 and not (rule and rule.needs_rows):
        predicted = _predicted_tail(rows, found.modal, measured, rule or none())
        tail = _tail(log_odds[2])
        with np.errstate(divide="ignore", invalid="ignore"):
            measured["tail_over_predicted"] = np.where(tail == predicted, 1.0, tail / predicted)
    if classes is None:
        return measured
    labels = np.asarray(classes)
    if labels.shape != log_t.shape[-1:]:
        raise ValueError(f"classes must have one entry per token, {log_t.shape[-1]}, got shape {labels.shape}")
    # Where the teacher's logits are NaN nobody knows the modal token, and the position must not pass for content.
    inside = (labels[found.modal.cpu().numpy()] >= 0) | np.isnan(measured["p"])
    return {name: values[inside] for name, values in measured.items()}


def _predicted_tail(rows: Sequence[Tensor], modal: Tensor, measured: Measured, rule: Rule) -> Floats:
    """Compute the tail of the predicted student: of the fixed point, or of two outcomes where the rule leaves it."""
    dtype = torch.promote_types(rows[0].dtype, torch.float32)
    blocks = zip(
        *(torch.split(each, BLOCK) for each in (*rows[:2], torch.as_tensor(measured["lam"]), modal)), strict=True
    )
    odds = [
        _log_odds_in(mixture(log_t.to(dtype), log_b.to(dtype), lam.to(log_t)), index)
        for log_t, log_b, lam, index in blocks
    ]
    tail = _tail(torch.cat(odds))
    if rule.keeps_fixed_point:
        return tail
    p, b = (np.clip(measured[name], np.finfo(np.float64).tiny, 1 - 2.0**-53) for name in ("p", "b"))
    return np.where(measured["lam"] <= rule.leaves(p, b), tail, 1 - rule.student(p, b, measured["lam"]))


def _tail(log_odds: Tensor) -> Floats:
    """Compute the tail mass from log-odds."""
    return _floats((-log_odds.double()).sigmoid())


def _counted(
    log_t: Tensor,
    log_b: Tensor,
    log_s: Tensor | None,
    lam: float | Tensor,
    mask: Tensor | None,
    positions: Sequence[int],
) -> tuple[list[Tensor], Tensor]:
    """Check the tensors of all models and λ, and flatten the positions that count to one dimension."""
    models = {"log_t": log_t, "log_b": log_b} | ({} if log_s is None else {"log_s": log_s})
    for name, rows in models.items():
        if rows.shape != log_t.shape:
            raise ValueError(f"{name} must have the shape of log_t, {tuple(log_t.shape)}, got {tuple(rows.shape)}")
        if not rows.is_floating_point():
            raise ValueError(f"{name} must have a floating dtype, got {rows.dtype}")
    for name, given in (("mask", mask), ("lam", lam)):
        if isinstance(given, Tensor) and given.shape != positions:
            raise ValueError(
                f"{name} must have the shape of the positions, {tuple(positions)}, got {tuple(given.shape)}"
            )
    if isinstance(lam, Tensor):
        check(np, (LAM, _floats(lam)))
    else:
        require((LAM, lam))
    tokens = log_t.shape[len(positions) :]
    flat = [rows.detach().reshape(-1, *tokens) for rows in models.values()]
    lams = torch.as_tensor(lam).detach().cpu().double().expand(positions).reshape(-1)
    if mask is None:
        return flat, lams
    *flat, lams = (each[mask.to(each.device).bool().reshape(-1)] for each in (*flat, lams))
    return flat, lams


def _nan_where_infinite(rows: Tensor) -> Tensor:
    """Fill rows that hold +inf with NaN: such logits have overflowed, and their softmax is NaN."""
    infinite = rows.amax(-1, keepdim=True) == math.inf
    return rows.masked_fill(infinite, math.nan) if infinite.any() else rows


def _log_odds_in(rows: Tensor, modal: Tensor) -> Tensor:
    """Compute the log-odds of one token per row against all others; the tail keeps its digits where p rounds to 1."""
    dtype = torch.promote_types(rows.dtype, torch.float32)
    parts = []
    for start in range(0, max(len(rows), 1), BLOCK):
        wide, index = rows[start : start + BLOCK].to(dtype), modal[start : start + BLOCK].unsqueeze(-1)
        parts.append(wide.gather(-1, index).squeeze(-1) - wide.scatter(-1, index, -math.inf).logsumexp(dim=-1))
    return torch.cat(parts)


def _log_odds_of(log_p: Tensor) -> Tensor:
    """Compute log-odds from log-probabilities."""
    log_p = log_p.clamp(max=0)
    wide = log_p.to(torch.promote_types(log_p.dtype, torch.float32))
    return wide - (-torch.expm1(wide)).clamp(min=torch.finfo(log_p.dtype).eps).log()


def _measured(log_odds: Sequence[Tensor], threshold: Tensor, lams: Tensor) -> Measured:
    measured = {name: _floats(each.sigmoid()) for name, each in zip("pb", log_odds[:2], strict=True)}
    measured |= {"threshold": _floats(threshold), "lam": _floats(lams)}
    if len(log_odds) == 3:
        teacher, student = (torch.nn.functional.logsigmoid(-each.double()) for each in (log_odds[0], log_odds[2]))
        # A teacher without a tail has none to lose.
        measured["tail_ratio"] = _floats(torch.where(teacher == -math.inf, 0.0, (teacher - student).exp()))
    return measured


def _floats(values: Tensor) -> Floats:
    return values.detach().double().cpu().numpy()


def _pooled(measured: Measured, verdicts: Verdicts) -> tuple[Measured, Verdicts]:
    """Join what all processes of a distributed run measured."""
    records = [(measured, verdicts)]
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        records *= torch.distributed.get_world_size()  # every entry is replaced
        torch.distributed.all_gather_object(records, (measured, verdicts))
    pooled = {name: np.concatenate([record[name] for record, _ in records]) for name in measured}
    return pooled, {name: [flag for _, each in records for flag in each[name]] for name in verdicts}


def _judged(measured: Measured) -> Measured:
    """Keep the positions where nothing is NaN."""
    judged = ~np.isnan(list(measured.values())).any(axis=0)
    return {name: values[judged] for name, values in measured.items()}


def _summary(measured: Measured, lam: float | Tensor, clip: float, verdicts: Verdicts) -> dict[str, float]:
    """Summarise the positions, and which texts are valid, in the metrics of the table above."""
    judged = _judged(measured)
    threshold, lams = judged["threshold"], judged["lam"]
    metrics = {
        "lam": _quantile(lams, 0.5) if isinstance(lam, Tensor) else float(lam),
        "positions": float(len(measured["threshold"])),
        "not_judged": float(len(measured["threshold"]) - len(threshold)),
        "p": _quantile(judged["p"], 0.5),
        "b": _quantile(judged["b"], 0.5),
        "threshold_median": _quantile(threshold, 0.5),
        "threshold_least": _quantile(threshold, 0.0),
        "past": _share(threshold < lams),
    }
    if "flip" in judged:
        metrics["flipped"] = _share(judged["flip"] < lams)
    if "tail_ratio" in judged:
        ratio = judged["tail_ratio"]
        metrics |= {
            "tail_ratio_median": _quantile(ratio, 0.5),
            "tail_ratio_max": _quantile(ratio, 1.0),
            "clipped": _share(ratio >= clip),
        }
    if "tail_over_predicted" in judged:
        metrics["tail_over_predicted"] = _quantile(judged["tail_over_predicted"], 0.5)
    metrics |= {name: _share(flags) for name, flags in verdicts.items()}
    return {PREFIX + name: value for name, value in metrics.items()}


def _quantile(values: Floats, level: float) -> float:
    return lower_quantile(values, level) if len(values) else math.nan


def _share(hits: NDArray[np.bool_] | list[bool]) -> float:
    return float(np.mean(hits)) if len(hits) else math.nan


def _verdicts(texts: Iterable[str] | None, valid: Valid | None) -> Verdicts:
    """Tell which texts are valid answers, under the name of the metric."""
    if texts is None:
        return {}
    return {"json": [_is_json(text) for text in texts]} if valid is None else {"valid": [*map(bool, map(valid, texts))]}


def _is_json(text: str) -> bool:
    """Tell whether a text is JSON by RFC 8259, which has neither NaN nor Infinity, though Python reads them."""
    try:
        # The conversion of a constant to an integer fails, as it should. Integers stay text, because Python refuses to
        # convert those of many digits, which JSON allows.
        json.loads(text, parse_constant=int, parse_int=str)
    except (ValueError, RecursionError):
        return False
    return True
