"""The threshold over K tokens: any single token, two outcomes, or a class."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import numpy as np

from lambda_star._core.namespaces import Values, on_device_of, wide
from lambda_star._core.quantities import C, Quantity
from lambda_star._core.rows import by_rows, tokens_along
from lambda_star.bernoulli import threshold_from_logits
from lambda_star.categorical._classes import Classes, Search, modal_class, pieces_of, places
from lambda_star.categorical._rows import as_vector, entry, first_flip, log_sum_exp, prepare, prepare_wide
from lambda_star.categorical._token import MIN_MASS, find_bound, root, too_coarse

__all__ = ["Threshold", "threshold"]

Mode = Literal["token", "class", "bernoulli"]


@dataclass(frozen=True)
class Threshold:
    """λ* over K tokens, and how it was found. Every field has the leading shape of the rows.

    Attributes:
        value: λ*; +inf where nothing binds.
        lower: closed-form lower bound of ``value``.
        upper: closed-form upper bound, +inf where none is known.
        binding: index of the token that binds (mode "token"), or label of the class (mode "class" with ``classes``);
            −1 where all but the modal token or class bind together, and where nothing does.
        steps: evaluations of the ratio that the root took; 0 where the answer is a closed form.
        converged: whether the root was found to rounding.
        modal: index of the modal token.
        flip: λ past which another token is more probable than that one; +inf if none ever is.
        flips_to: index of that other token, −1 if there is none.

    >>> found = threshold([-0.1, -2.5, -4.6], [-0.7, -1.2, -1.6], 2.0)
    >>> int(found.binding), bool(found.lower <= found.value <= found.upper)
    (2, True)
    """

    value: Values
    lower: Values
    upper: Values
    binding: Values
    steps: Values
    converged: Values
    modal: Values
    flip: Values
    flips_to: Values


def _token_threshold(
    classes: Classes | None,
    xp: Any,
    log_t: Values,
    log_b: Values,
    c: Values,
    min_mass: Values,
    modal: Values | None = None,
) -> tuple[Values, ...]:
    has_class = True if classes is None else classes.has_token(xp, log_t)
    may_vanish = (min_mass > 0)[:, None] if classes is None else (min_mass > 0)[:, None] | ~has_class
    rows = prepare(xp, log_t, log_b, may_vanish, modal)
    bound = find_bound(xp, rows, c, min_mass, has_class)
    if too_coarse(xp, rows, bound, c):
        log_t, log_b = xp.astype(log_t, wide(xp)), xp.astype(log_b, wide(xp))
        return _token_threshold(classes, xp, log_t, log_b, c, min_mass, modal)
    excess, steps, converged = root(xp, rows.z, bound, xp.log(c))
    flip, flips_to = first_flip(xp, rows)
    value, lower, upper = (xp.where(bound.binds, 1 + found, math.inf) for found in (excess, bound.lower, bound.upper))
    unknown = xp.isnan(bound.mean)
    binding = xp.where(bound.binds & ~unknown, bound.binding, -1)
    return value, lower, upper, binding, steps, converged & ~unknown, rows.modal, flip, flips_to


def _class_threshold(
    classes: Classes | None,
    xp: Any,
    log_t: Values,
    log_b: Values,
    c: Values,
    min_mass: Values,
    modal: Values | None = None,
) -> tuple[Values, ...]:
    rows = prepare_wide(xp, log_t, log_b, True, modal)
    search = Search(xp, rows, classes, c, min_mass)
    excess, binding, steps, converged = search.first()
    lower, upper = search.bounds()
    lower, upper = xp.minimum(lower, excess), xp.maximum(upper, excess)  # but for rounding they are so ordered
    labels = on_device_of(xp, rows.modal, np.array([*(classes.labels if classes else (-1, -1)), -1]))
    label = xp.where(excess < math.inf, xp.take(labels, binding), -1)
    return 1 + excess, 1 + lower, 1 + upper, label, steps, converged, rows.modal, *first_flip(xp, rows)


def _bernoulli_threshold(
    classes: Classes | None,
    xp: Any,
    log_t: Values,
    log_b: Values,
    c: Values,
    min_mass: Values,
    modal: Values | None = None,
) -> tuple[Values, ...]:
    rows = prepare_wide(xp, log_t, log_b, True, modal)
    teacher, base = (
        xp.stack([log_sum_exp(xp, piece[0]) for piece in pieces_of(xp, classes, rows.modal, weights)], axis=-1)
        for weights in (xp.astype(log_t, wide(xp)), xp.astype(log_b, wide(xp)))
    )
    own = modal_class(xp, classes, rows.modal, teacher)
    others = places(xp, teacher) != own[:, None]
    tail_t, tail_b = (log_sum_exp(xp, xp.where(others, logs, -math.inf)) for logs in (teacher, base))
    x, y = (as_vector(xp, entry(xp, logs, own)) - tail for logs, tail in ((teacher, tail_t), (base, tail_b)))
    # Without a tail in the base nothing can bind; with one that the teacher rules out it vanishes at once.
    none, at_once = tail_b == -math.inf, tail_t == -math.inf
    known = ~none & ~at_once & (x > -math.inf) & (y > -math.inf)
    value = threshold_from_logits(xp.where(known, x, 1.0), xp.where(known, y, 0.0), c)
    value = xp.where(at_once & (c < math.inf), 1.0, value)
    binds = (known | at_once) & ~none & (tail_t - log_sum_exp(xp, teacher) >= xp.log(min_mass))
    unknown = xp.isnan(as_vector(xp, rows.z[:, :1])) | xp.isnan(c) | xp.isnan(min_mass)
    value = xp.where(unknown, math.nan, xp.where(binds, value, math.inf))
    steps = xp.zeros_like(rows.modal)
    return value, value, value, steps - 1, steps, ~xp.isnan(value), rows.modal, *first_flip(xp, rows)


KERNELS: dict[str, Callable[..., tuple[Values, ...]]] = {
    "token": _token_threshold,
    "class": _class_threshold,
    "bernoulli": _bernoulli_threshold,
}


def threshold(
    log_t: Values,
    log_b: Values,
    c: Values,
    *,
    axis: int = -1,
    min_mass: Values = 0.0,
    classes: Sequence[int] | Values | None = None,
    modal: Values | None = None,
    mode: Mode = "token",
) -> Threshold:
    """λ* over K tokens: the first λ > 1 at which something becomes c times less probable than under the teacher.

    What that something is, is the mode. ``"token"``: any single token, the root of
    (λ−1)·[D_λ(π_T‖π_B) − min r] = log c, strictest. ``"bernoulli"``: all but the modal token (or class) merged before
    the model extrapolates, Eq. 4 of the paper. ``"class"``: a class of tokens other than the modal one, as a whole,
    under the K-token fixed point. Where the modal class is one token with p > b and the binding token is another one,
    token ≤ bernoulli ≤ class for the two classes {modal, rest}. The modal class itself never binds in the last two
    modes; ``flip`` tells where a modal token gives way.

    Args:
        log_t: log-probabilities or logits of the teacher, tokens along ``axis``, below +inf; -inf masks a token.
        log_b: the same of the base; broadcasts against ``log_t``.
        c: cap on the ratio of teacher to student probability, in [1, inf]; a number, or one per position.
        axis: the axis of the tokens.
        min_mass: least teacher mass of a token or class that may bind, in [0, 1); a number, or one per position.
        classes: one integer label per token. The modal class is that of the modal token or, where it has none, the one
            with the most teacher mass. Negative: in no class; such a token counts in every sum, but binds nothing. By
            default the modal token and all others.
        modal: index of the modal token; a number, or one per position. By default the teacher's most probable token;
            name it where an entry of the row is no single token, such as the rest of a vocabulary.
        mode: "token", "class" or "bernoulli".

    Returns:
        A :class:`Threshold`, whose fields have the leading shape; NaN rows give NaN.

    Raises:
        ValueError: a value lies outside its range, or one model cannot produce a token that the other can (the message
            names argument, value and index); ``classes`` is no label per token; an unknown mode.

    Source: extension; ``derivations/categorical.md``.

    >>> import numpy as np
    >>> teacher, base = np.log([0.9, 0.07, 0.03]), np.log([0.5, 0.3, 0.2])
    >>> [float(threshold(teacher, base, 2.0, mode=mode).value) for mode in ("token", "bernoulli", "class")]
    [1.29..., 1.340..., 1.344...]
    """
    if mode not in KERNELS:
        raise ValueError(f"mode must be one of {', '.join(get_args(Mode))}, got {mode!r}")
    labels = None if classes is None else Classes.of(classes, tokens_along(log_t, log_b, axis))
    named = []
    if modal is not None:
        last = tokens_along(log_t, log_b, axis) - 1
        named = [(Quantity("modal", 0, last, "[]"), modal)]
    found = by_rows(partial(KERNELS[mode], labels), log_t, log_b, axis, (C, c), (MIN_MASS, min_mass), *named)
    return Threshold(*found)
