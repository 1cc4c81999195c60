"""How a command ends: its words reach a reader or it fails, and what stops it lets it clean up.

A command whose words are lost must not end as if they had been read.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import click

__all__ = ["Unwritten", "flush", "silence", "stand", "stoppable"]


class Unwritten(click.ClickException):
    """What was printed is lost, so the exit code is that of an error. A reader who has left is told nothing."""

    exit_code = 2

    def __init__(self, name: str, error: OSError) -> None:
        super().__init__(f"{name} cannot be written: {error.strerror or error}")
        self.silent = error.errno == errno.EPIPE

    def show(self, file: Any = None) -> None:
        """Print the message, unless the reader closed the pipe on purpose."""
        if not self.silent:
            super().show(file)


@contextmanager
def stoppable() -> Iterator[None]:
    """Let the signals by which a scheduler or a closed terminal stops a process do what Ctrl-C does."""
    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {getattr(signal, name): signal.getsignal(getattr(signal, name)) for name in names}
    mine = [each for each, handler in before.items() if handler is signal.SIG_DFL]  # nohup has SIGHUP ignored
    if threading.current_thread() is not threading.main_thread():
        mine = []
    for each in mine:
        signal.signal(each, _stop)
    try:
        yield
    finally:
        for each in mine:
            signal.signal(each, before[each])


def _stop(number: int, _: object) -> None:
    raise KeyboardInterrupt(number)


def stand() -> None:
    """Give a standard stream that was closed a place to go, lest the next file that is opened take it.

    Without standard output nobody would see a verdict, which is :class:`Unwritten`.
    """
    while any(map(_closed, range(3))):
        os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (it stays open)
    if sys.stdout is None:
        raise Unwritten("standard output", OSError("it is closed; send it to /dev/null to drop it"))


def _closed(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return True
    return False


def flush() -> None:
    """Write out what is printed, or raise :class:`Unwritten`."""
    _flush("standard output", sys.stdout)
    _flush("standard error", sys.stderr)


def _flush(name: str, stream: Any) -> None:
    try:
        if stream is not None:
            stream.flush()
    except OSError as error:
        silence(stream)
        raise Unwritten(name, error) from error


def silence(stream: Any) -> None:
    """Drop what a stream still holds, which Python would try to write again at its end, with a traceback."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
        stream.flush()
