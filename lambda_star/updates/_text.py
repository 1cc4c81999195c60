"""Read a rule from text."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

from lambda_star._core.quantities import C, Quantity
from lambda_star.updates._advantages import advantage_clamp, reward_clip
from lambda_star.updates._ratios import kl_to_base_cap, log_prob_floor, log_ratio_cap, log_ratio_clamp, none
from lambda_star.updates._rule import Rule
from lambda_star.updates._sets import TOP_P, top_k, truncated_sampling
from lambda_star.updates._two import BOUND
from lambda_star.updates._weights import EPS, importance_weight, ppo, teacher_weight

__all__ = ["PARAMETERS", "RULES", "parse"]

RULES: dict[str, type[Rule]] = {
    rule.__name__: rule
    for rule in (
        none,
        log_ratio_cap,
        log_ratio_clamp,
        log_prob_floor,
        kl_to_base_cap,
        advantage_clamp,
        reward_clip,
        importance_weight,
        ppo,
        teacher_weight,
        top_k,
        truncated_sampling,
    )
}
"""Every update rule by its name."""

PARAMETERS: dict[str, Quantity] = {quantity.name: quantity for quantity in (C, BOUND, TOP_P, EPS)}
"""The range of every real number that a rule takes, by its name."""

SHORT = {"cap": "log_ratio_cap", "clamp": "log_ratio_clamp"}

EXAMPLES = "log_ratio_cap:5, log_ratio_clamp:10,teacher=extrapolated, truncated_sampling:top_p=0.95"


def parse(text: str) -> Rule:
    """Return the rule that a text names, as the command line takes it and as rules print themselves.

    Args:
        text: the rule's name, then its arguments behind a colon or in parentheses, separated by commas: by name, or
            the first without one. ``cap`` and ``clamp`` are short for ``log_ratio_cap`` and ``log_ratio_clamp``.

    Returns:
        The rule.

    Raises:
        ValueError: the text names no rule, or an argument is unknown, missing, or outside its range.

    Source: extension; the rules of ``derivations/updates.md``.

    >>> parse("cap:5"), str(parse("truncated_sampling(top_p=0.95)"))
    (log_ratio_cap(c=5.0, through=False), 'truncated_sampling(top_p=0.95)')
    """
    found = re.fullmatch(r"\s*(\w+)\s*(?:\((.*)\)|:(.*))?\s*", text)
    name = SHORT.get(found[1], found[1]) if found else ""
    if not found or name not in RULES:
        raise ValueError(f"{text!r} names no update rule; the rules are {', '.join(RULES)}; examples: {EXAMPLES}")
    known: list[Any] = list(fields(RULES[name]))  # type: ignore[arg-type]
    arguments: dict[str, Any] = {}
    for part in filter(None, re.split(r"\s*,\s*", (found[2] or found[3] or "").strip())):
        key, separator, value = part.rpartition("=")
        key = key.strip() if separator else (known[0].name if known and not arguments else "")
        if key not in (field.name for field in known) or key in arguments:
            names = ", ".join(field.name for field in known) or "no arguments"
            raise ValueError(f"{part!r} is no argument of {name}, which takes {names}")
        arguments[key] = _value(
            name, key, value.strip().strip("'\""), next(field.type for field in known if field.name == key)
        )
    try:
        return RULES[name](**arguments)
    except TypeError:
        missing = ", ".join(field.name for field in known if field.name not in arguments)
        raise ValueError(f"{name} needs a value of {missing}; examples: {EXAMPLES}") from None


def _value(name: str, key: str, text: str, kind: str) -> Any:
    """A value of the type that a rule declares; None is written as it prints."""
    if text == "None" and "None" in kind:
        return None
    if kind == "bool":
        if text.lower() not in ("true", "false"):
            raise ValueError(f"{key} of {name} must be true or false, got {text!r}")
        return text.lower() == "true"
    if kind not in ("float", "int", "float | None", "int | None"):
        return text
    try:
        return int(text) if kind.startswith("int") else float(text)
    except ValueError:
        whole = "a whole number" if kind.startswith("int") else "a number"
        raise ValueError(f"{key} of {name} must be {whole}, got {text!r}") from None
