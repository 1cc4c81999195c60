"""Contracts by name, as the command line takes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lambda_star.contract.base import Contract
from lambda_star.contract.grammar import Grammar
from lambda_star.contract.json_text import Json

__all__ = ["parse"]


def _read(file: str) -> str:
    return Path(file).read_text(encoding="utf-8")


def _regex(argument: str) -> Contract:
    return Grammar(f"regex:{argument}", "start: /" + argument.replace("/", r"\/") + "/")


def _grammar(argument: str) -> Contract:
    return Grammar(f"grammar:{argument}", _read(argument))


PLAIN: dict[str, Callable[[], Contract]] = {"json": Json}

WITH_ARGUMENT: dict[str, Callable[[str], Contract]] = {"regex": _regex, "grammar": _grammar}

NAMES = "json, json-schema:FILE, regex:…, grammar:FILE, function-call:FILE, csv, yaml, xml, python:module.function, command:…"


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
    name, colon, argument = text.partition(":")
    if not colon and name in PLAIN:
        return PLAIN[name]()
    if not argument or name not in WITH_ARGUMENT:
        raise ValueError(f"contract must be one of {NAMES}, got {text!r}")
    try:
        return WITH_ARGUMENT[name](argument)
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"contract {text} cannot be read: {error}") from error
