"""Contracts by name, as the command line takes them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from lambda_star.contract.base import Contract
from lambda_star.contract.formats import Csv, Xml, Yaml
from lambda_star.contract.grammar import Grammar, in_slashes
from lambda_star.contract.json_text import Json
from lambda_star.contract.programs import Command, imported
from lambda_star.contract.schema import FunctionCall, Schema

__all__ = ["parse"]


PLAIN: dict[str, Callable[[], Contract]] = {"json": Json, "csv": Csv, "yaml": Yaml, "xml": Xml}

WITH_ARGUMENT: dict[str, Callable[[str, str], Contract]] = {
    "json-schema": lambda name, file: Schema(name, json.loads(_read(file))),
    "function-call": lambda name, file: FunctionCall.of(name, json.loads(_read(file))),
    "grammar": lambda name, file: Grammar(name, _read(file)),
    "regex": lambda name, pattern: Grammar(name, f"start: /{in_slashes(pattern)}/"),
    "python": imported,
    "command": Command,
}
"""Contracts with an argument, made from their name and the argument."""

NAMES = """json, csv, yaml, xml, json-schema:FILE, function-call:FILE, grammar:FILE, regex:PATTERN, \
python:module.function, command:COMMAND"""


def _read(file: str) -> str:
    return Path(file).read_text(encoding="utf-8")


def parse(text: str) -> Contract:
    """Return the contract that a text names.

    Args:
        text: ``json``, ``csv``, ``yaml``, ``xml``, ``json-schema:FILE``, ``function-call:FILE``, ``grammar:FILE``,
            ``regex:PATTERN``, ``python:module.function`` or ``command:COMMAND``.

    Returns:
        A :class:`Contract`, whose name is the text.

    Raises:
        ValueError: the text names no contract, or its file, pattern, function or command cannot be used.
        ImportError: the contract needs the extra ``contract``.

    >>> parse("regex:[0-9]+").prefix("12a")
    False
    """
    name, _, argument = text.partition(":")
    if text in PLAIN:
        return PLAIN[name]()
    if not argument or name not in WITH_ARGUMENT:
        raise ValueError(f"contract must be one of {NAMES}; got {text!r}")
    try:
        return WITH_ARGUMENT[name](text, argument)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"contract {text} cannot be read: {error}") from error
