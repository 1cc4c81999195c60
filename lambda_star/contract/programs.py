"""Contracts that a function or a program judges."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

from lambda_star.contract.base import Contract

__all__ = ["Command", "Function", "imported"]

SECONDS = 10.0
"""How long a command may take for one answer."""


@dataclass(frozen=True)
class Function(Contract):
    """Every text for which a function returns a true value.

    Attributes:
        name: the text that :func:`lambda_star.contract.parse` reads.
        function: a function of the text of an answer.

    >>> Function("python:builtins.str.isdigit", str.isdigit).valid("12")
    True
    """

    function: Callable[[str], Any] = field(repr=False, default=bool)

    def valid(self, text: str) -> bool:
        """Return whether the function says so."""
        try:
            return bool(self.function(text))
        except (Exception, SystemExit) as error:  # a function that ends the program would decide its exit status
            said = (
                f"contract {self.name} raised {type(error).__name__} ({error}) for an answer of {len(text)} characters"
            )
            raise ValueError(f"{said}; the function must return False for what is not valid") from error


def imported(name: str, path: str) -> Contract:
    """Return the contract that a dotted path names; modules of the current folder are found, too.

    Args:
        name: the name of the contract.
        path: ``module.function``, or ``module.object`` where the object is a :class:`Contract` itself.

    Returns:
        The contract.

    Raises:
        ValueError: the module cannot be imported, or it has no such function.

    >>> imported("python:keyword.iskeyword", "keyword.iskeyword").valid("if")
    True
    """
    module, _, function = path.replace(":", ".").rpartition(".")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)  # the script of a package does not start with it
    try:
        found = getattr(import_module(module), function)
    except (Exception, SystemExit) as error:  # whatever the module raises
        raise ValueError(f"contract {name} cannot be imported: {error}; write python:module.function") from error
    if isinstance(found, Contract):
        return found
    if not callable(found):
        raise ValueError(f"contract {name} must name a function, got {type(found).__name__}")
    return Function(name, found)


@dataclass(frozen=True)
class Command(Contract):
    """Every text for which a program ends with status 0; it reads the text from its standard input, without a shell.

    Attributes:
        name: the text that :func:`lambda_star.contract.parse` reads.
        command: the program and its arguments, as a shell would split them.

    >>> Command("command:grep -q A7", "grep -q A7").valid("A7,B2")
    True
    """

    command: str = ""

    def __post_init__(self) -> None:
        if shutil.which(self._words[0]) is None:
            raise ValueError(f"contract {self.name} cannot be used: there is no program {self._words[0]!r}")

    @cached_property
    def _words(self) -> list[str]:
        try:
            words = shlex.split(self.command)
        except ValueError as error:
            raise ValueError(f"contract {self.name} cannot be split into words: {error}") from error
        if not words:
            raise ValueError(f"contract {self.name} must name a program, got none")
        return words

    def valid(self, text: str) -> bool:
        """Return whether the program ends with status 0."""
        data = text.encode("utf-8", "replace")
        try:
            return _status(self._words, data) == 0
        except subprocess.TimeoutExpired:
            said = f"contract {self.name} did not end within {SECONDS:g} s for an answer of {len(text)} characters"
            raise ValueError(f"{said}; the program must read the answer from its standard input") from None
        except (OSError, ValueError) as error:  # ValueError: a NUL in the command
            raise ValueError(f"contract {self.name} cannot be run: {error}") from error


def _status(words: list[str], data: bytes) -> int:
    """The exit status of a program that reads data; processes that it started and left are killed with it."""
    silent = subprocess.DEVNULL
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=silent, stderr=silent, start_new_session=True) as run:
        try:
            run.communicate(data, timeout=SECONDS)
        finally:
            _kill_group(run)
        return run.returncode


def _kill_group(run: subprocess.Popen[bytes]) -> None:
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(run.pid, signal.SIGKILL)  # its session has this number
    else:
        run.kill()
