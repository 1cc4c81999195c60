"""Intervals that provably hold where a student leaves q_λ under an update rule, where its tail dies, where it ends."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from lambda_star._core.quantities import LAM, QUANTITIES
from lambda_star.updates import PARAMETERS, Rule, teacher_weight
from lambda_star.verified._arguments import Argument, Interval, over
from lambda_star.verified._enclose import FROM_ZERO, NOTHING, PROBABILITY, Codomain, Law, of_box

__all__ = ["dies", "leaves", "student"]

PUSHED = Law.of(
    "b lam", continuous=True
)  # b and λ act through the push (λ−1)Δ alone, and more push means more of the favoured
LAWS = {
    ("none", "student"): Law.of("p b lam", continuous=True),
    ("log_ratio_cap", "leaves"): Law.of("c"),
    ("log_ratio_cap", "dies"): Law.of("p b c"),
    ("log_ratio_cap", "student"): PUSHED,
    ("log_ratio_clamp", "dies"): Law.of("p b bound"),
    ("log_ratio_clamp", "student"): PUSHED,
    ("log_prob_floor", "dies"): Law.of("p b bound"),
    ("log_prob_floor", "student"): PUSHED,
    ("kl_to_base_cap", "leaves"): Law.of("c"),
    ("kl_to_base_cap", "dies"): Law.of("p c"),
    ("kl_to_base_cap", "student"): Law.of("p c lam", continuous=True),
    ("reward_clip", "student"): Law.of("lam", continuous=True),
}
"""What the closed forms of ``derivations/updates.md`` show at a glance: in which arguments they cannot turn."""


def leaves(rule: Rule, p: Argument, b: Argument, **bounds: Argument) -> Interval:
    """Return an interval that holds the λ at which the student first departs from q_λ.

    Args:
        rule: an update rule, such as ``updates.log_ratio_cap(5.0)``.
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1).
        bounds: the rule's own ``c``, ``bound`` or ``top_p`` as a decimal string or a pair, in place of its value.

    Returns:
        An :class:`~lambda_star.verified.Interval`; +inf for never, NaN where an argument is NaN.

    Raises:
        ValueError: an argument lies outside its range as a whole, or the rule has no bound of that name.

    Source: extension; ``derivations/updates.md``.

    >>> from lambda_star import updates
    >>> leaves(updates.kl_to_base_cap(5.0), "0.999", "0.5", c=("4.5", "5")).lower
    0.30107...
    """
    return _enclosure("leaves", rule, {"p": p, "b": b}, bounds, FROM_ZERO)


def dies(rule: Rule, p: Argument, b: Argument, **bounds: Argument) -> Interval:
    """Return an interval that holds the λ at which the tail dies under an update rule.

    Args:
        rule: an update rule.
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1).
        bounds: the rule's own ``c``, ``bound`` or ``top_p`` as a decimal string or a pair, in place of its value.

    Returns:
        An :class:`~lambda_star.verified.Interval`; +inf for never, NaN where an argument is NaN.

    Raises:
        ValueError: an argument lies outside its range as a whole, or the rule has no bound of that name.

    Source: extension; ``derivations/updates.md``.

    >>> from lambda_star import updates
    >>> dies(updates.top_k(1), "0.999", "0.5").lower
    1.00144...
    """
    return _enclosure("dies", rule, {"p": p, "b": b}, bounds, FROM_ZERO)


def student(rule: Rule, p: Argument, b: Argument, lam: Argument, **bounds: Argument) -> Interval:
    """Return an interval that holds the modal probability at which training from the base ends.

    Args:
        rule: an update rule.
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1).
        lam: extrapolation coefficient λ, finite; ``teacher_weight`` without centring needs λ ≥ 1.
        bounds: the rule's own ``c``, ``bound`` or ``top_p`` as a decimal string or a pair, in place of its value.

    Returns:
        An :class:`~lambda_star.verified.Interval`, NaN where an argument is NaN.

    Raises:
        ValueError: an argument lies outside its range as a whole, or the rule has no bound of that name.

    Source: extension; ``derivations/updates.md``.

    >>> from lambda_star import updates
    >>> student(updates.log_ratio_cap(2.0), 0.9, 0.5, "1.35").lower
    0.97095...
    """
    return _enclosure("student", rule, {"p": p, "b": b, "lam": lam}, bounds, PROBABILITY)


def _enclosure(
    method: str, rule: Rule, pair: Mapping[str, Argument], bounds: Mapping[str, Argument], codomain: Codomain
) -> Interval:
    own = [field.name for field in fields(rule) if getattr(rule, field.name) is not None]  # type: ignore[arg-type]
    own = [name for name in own if name in PARAMETERS]
    if unknown := [name for name in bounds if name not in own]:
        raise ValueError(f"{unknown[0]!r} is not a bound of {rule}, which has {', '.join(own) or 'none'}")
    arguments = {**pair, **bounds}
    from_one = isinstance(rule, teacher_weight) and not rule.centred
    ranges = {**QUANTITIES, **PARAMETERS, "lam": LAM._replace(low=1.0, ends="[)") if from_one else LAM}
    quantities = [ranges[name] for name in arguments]

    def value(*values: Any) -> Any:
        held = copy.copy(rule)
        for name, bound in zip(bounds, values[len(pair) :], strict=True):
            object.__setattr__(held, name, bound)
        return getattr(held, method)(*values[: len(pair)])

    law = LAWS.get((rule.name, method), NOTHING)
    return over(arguments, quantities, lambda spans: of_box(value, spans, codomain, law))
