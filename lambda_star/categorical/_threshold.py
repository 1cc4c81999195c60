"""The threshold over K tokens, in three modes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from lambda_star import _deprecated
from lambda_star._core.namespaces import Values, on_device_of, wide
from lambda_star._core.quantities import C, Quantity
from lambda_star._core.rows import by_rows, tokens_along
from lambda_star.bernoulli import threshold_from_logits
from lambda_star.categorical._classes import Classes, ClassSearch, columns, modal_class, pieces_of
from lambda_star.categorical._rows import as_vector, first_flip, log_sum_exp, prepare, prepare_wide, take
from lambda_star.categorical._token import TokenSearch, find_bound, too_coarse

Mode = Literal["token", "class", "bernoulli"]

MIN_MASS = Quantity("min_mass", 0.0, 1.0, "[)")


@dataclass(frozen=True)
class Threshold:
    """λ* over K tokens, and how it was found. Every field has the leading shape of the rows.

    Attributes:
        value: λ*; +inf where nothing binds.
        lower: closed-form lower bound of ``value``.
        upper: closed-form upper bound, +inf where none is known.
        binding: index of the token that binds (mode "token"), or label of the class (mode "class" with ``classes``);
            −1 where everything but the modal token or class binds as one, and where nothing binds.
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


_deprecated.renamed_fields(Threshold, threshold="value")


def _token_threshold(
    xp: Any, log_t: Values, log_b: Values, c: Values, min_mass: Values, modal: Values | None, classes: Classes | None
) -> tuple[Values, ...]:
    has_class = True if classes is None else classes.has_token(xp, log_t)
    may_vanish = (min_mass > 0)[:, None] if classes is None else (min_mass > 0)[:, None] | ~has_class
    rows = prepare(xp, log_t, log_b, may_vanish, modal)
    bound = find_bound(xp, rows, c, min_mass, has_class)
    if too_coarse(xp, rows, bound, c):
        log_t, log_b = xp.astype(log_t, wide(xp)), xp.astype(log_b, wide(xp))
        return _token_threshold(xp, log_t, log_b, c, min_mass, modal, classes)
    excess, steps, converged = TokenSearch(xp, rows.z, bound, xp.log(c)).run()
    value, lower, upper = (xp.where(bound.binds, 1 + found, math.inf) for found in (excess, bound.lower, bound.upper))
    unknown = xp.isnan(bound.lower)
    binding = xp.where(bound.binds & ~unknown, bound.binding, -1)
    return value, lower, upper, binding, steps, converged & ~unknown, rows.modal, *first_flip(xp, rows)


def _class_threshold(
    xp: Any, log_t: Values, log_b: Values, c: Values, min_mass: Values, modal: Values | None, classes: Classes | None
) -> tuple[Values, ...]:
    rows = prepare_wide(xp, log_t, log_b, True, modal)
    search = ClassSearch(xp, rows, classes, c, min_mass)
    excess, steps, done = search.run()
    lower, upper = (
        xp.minimum(search.lower, excess),
        xp.maximum(search.upper, excess),
    )  # rounding may put them in the wrong order
    labels = on_device_of(xp, rows.modal, np.array([*(classes.labels if classes else (-1, -1)), -1]))
    label = xp.where(excess < math.inf, xp.take(labels, search.binding), -1)
    converged = done & ~search.unknown
    return 1 + excess, 1 + lower, 1 + upper, label, steps, converged, rows.modal, *first_flip(xp, rows)


def _bernoulli_threshold(
    xp: Any, log_t: Values, log_b: Values, c: Values, min_mass: Values, modal: Values | None, classes: Classes | None
) -> tuple[Values, ...]:
    rows = prepare_wide(xp, log_t, log_b, True, modal)
    teacher, base = (
        xp.stack([log_sum_exp(xp, piece[0]) for piece in pieces_of(xp, classes, rows.modal, weights)], axis=-1)
        for weights in (xp.astype(log_t, wide(xp)), xp.astype(log_b, wide(xp)))
    )
    own = modal_class(xp, classes, rows.modal, teacher)
    others = columns(xp, teacher) != own[:, None]
    tail_t, tail_b = (log_sum_exp(xp, xp.where(others, logs, -math.inf)) for logs in (teacher, base))
    x, y = (as_vector(xp, take(xp, logs, own)) - tail for logs, tail in ((teacher, tail_t), (base, tail_b)))
    # Nothing can bind if the base has no tail. A tail that only the base has vanishes at once.
    none, at_once = tail_b == -math.inf, tail_t == -math.inf
    known = ~none & ~at_once & (x > -math.inf) & (y > -math.inf)
    value = threshold_from_logits(xp.where(known, x, 1.0), xp.where(known, y, 0.0), c)
    value = xp.where(at_once & (c < math.inf), 1.0, value)
    binds = (known | at_once) & ~none & (tail_t - log_sum_exp(xp, teacher) >= xp.log(min_mass))
    unknown = xp.isnan(as_vector(xp, rows.z[:, :1])) | xp.isnan(c)
    value = xp.where(unknown, math.nan, xp.where(binds, value, math.inf))
    steps = xp.zeros_like(rows.modal)
    return value, value, value, steps - 1, steps, ~xp.isnan(value), rows.modal, *first_flip(xp, rows)


MODES: dict[str, Callable[..., tuple[Values, ...]]] = {
    "token": _token_threshold,
    "class": _class_threshold,
    "bernoulli": _bernoulli_threshold,
}


@_deprecated.renamed_keywords(floor="min_mass")
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
    """λ* over K tokens, the first λ > 1 at which an outcome becomes c times less probable than under the teacher.

    The mode says which outcomes count. ``"token"``: any single token; λ* is the root of
    (λ−1)·[D_λ(π_T‖π_B) − min r] = log c. ``"bernoulli"``: everything but the modal token (or class), merged into one
    tail before the model extrapolates, as in Eq. 4 of the paper. ``"class"``: any class of tokens but the modal one, as
    a whole, under the K-token fixed point. For the two classes {modal token, tail} with p > b,
    token ≤ bernoulli ≤ class as long as the binding token is not the modal one. In the last two modes the modal class
    never binds; ``flip`` tells where the modal token is overtaken.

    Args:
        log_t: log-probabilities or logits of the teacher, tokens along ``axis``, below +inf; -inf masks a token.
        log_b: the same of the base; broadcasts against ``log_t``.
        c: cap on the ratio of teacher to student probability, in [1, inf]; a number, or one per position.
        axis: the axis of the tokens.
        min_mass: least teacher mass of a token or class that may bind, in [0, 1); a number, or one per position.
        classes: one integer label per token; a token with a negative label is in no class: it counts in every sum, but
            cannot bind. The modal class is that of the modal token or, if it has none, the class with the most teacher
            mass. By default there are two classes, the modal token and all others.
        modal: index of the modal token; a number, or one per position. By default it is the teacher's most probable
            token; name it where a column stands for several tokens, such as the unlisted ones.
        mode: "token", "class" or "bernoulli".

    Returns:
        A :class:`Threshold`, whose fields have the leading shape; NaN in a row, in ``c`` or in ``min_mass`` gives NaN.

    Raises:
        ValueError: a value lies outside its range, or one model cannot produce a token that the other can (the message
            names argument, value and index); ``classes`` is not one label per token; the mode is unknown.

    Source: extension; ``derivations/categorical.md``.

    >>> import numpy as np
    >>> teacher, base = np.log([0.9, 0.07, 0.03]), np.log([0.5, 0.3, 0.2])
    >>> [float(threshold(teacher, base, 2.0, mode=mode).value) for mode in ("token", "bernoulli", "class")]
    [1.29..., 1.340..., 1.344...]
    """
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(get_args(Mode))}, got {mode!r}")
    labels = None if classes is None else Classes.of(classes, tokens_along(log_t, log_b, axis))
    arguments = [(C, c), (MIN_MASS, min_mass)]
    if modal is not None:
        arguments.append((Quantity("modal", 0, tokens_along(log_t, log_b, axis) - 1, "[]"), modal))

    def kernel(
        xp: Any, log_t: Values, log_b: Values, c: Values, min_mass: Values, modal: Values | None = None
    ) -> tuple[Values, ...]:
        c = xp.where(xp.isnan(min_mass), math.nan, c)
        return MODES[mode](xp, log_t, log_b, c, min_mass, modal, labels)

    return Threshold(*by_rows(kernel, log_t, log_b, axis, *arguments))
