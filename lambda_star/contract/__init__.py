"""A contract says which answers are valid, and the whole library reads it from one object.

:func:`parse` makes a :class:`Contract` from a text such as ``json``, ``json-schema:FILE`` or ``yaml``. Labellers tell
which class a token belongs to, by a function or by patterns that are data.
"""

from __future__ import annotations

from lambda_star.contract.base import Contract, Masks, broken_at
from lambda_star.contract.classes import JSON_RULES, Labeller, TokenClasses, by_patterns, classify, json_structure
from lambda_star.contract.named import parse

__all__ = [
    "JSON_RULES",
    "Contract",
    "Labeller",
    "Masks",
    "TokenClasses",
    "broken_at",
    "by_patterns",
    "classify",
    "json_structure",
    "parse",
]
