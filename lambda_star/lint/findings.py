"""One thing to know about a configuration."""

from __future__ import annotations

from typing import Literal, NamedTuple

__all__ = ["SEVERITIES", "Finding", "Severity"]

Severity = Literal["error", "unknown", "warning", "note"]

SEVERITIES: tuple[Severity, ...] = ("error", "unknown", "warning", "note")
"""The severities, the worst first; ``unknown`` is what could not be read, and so was not judged."""


class Finding(NamedTuple):
    """One thing to know about a configuration: its severity, the line and key it is about, and what to do.

    ``severity`` is error, unknown, warning or note, the worst first; unknown is what could not be read.
    """

    severity: Severity
    line: int | None
    key: str | None
    message: str
