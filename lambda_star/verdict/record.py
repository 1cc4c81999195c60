"""What a verdict holds, and its forms: a line of text, JSON, an exit status."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["Safety", "Verdict"]

Safety = Literal["safe", "unsafe", "unknown"]

STATUS: dict[Safety, int] = {"safe": 0, "unsafe": 1, "unknown": 3}
"""The exit status of a command that ends with a verdict; 2 is an error."""


@dataclass(frozen=True)
class Verdict:
    """Whether a λ is safe, which one to set, and why.

    Attributes:
        safety: "safe", "unsafe", or "unknown" where what was measured cannot tell.
        lam: the λ asked about; None if none was asked about.
        set_lam: the λ to set: the one asked about where it is safe, and otherwise the largest that is known to be safe;
            +inf where every λ is, None where not even λ = 1 is.
        reason: why, in one sentence.
        evidence: what was measured, one sentence each.
        best: for each metric of the rehearsal the λ with the greatest mean among those that are not unsafe.
        needed: how many answers it would take to know; None if the verdict is known, or if answers would not tell.

    >>> verdict = Verdict("unknown", 1.25, 1.1, "Twelve answers cannot show it.", needed=299)
    >>> print(verdict), verdict.exit_status
    UNKNOWN λ = 1.25: Twelve answers cannot show it. It takes 299 answers. Known to be safe is λ = 1.1.
    (None, 3)
    """

    safety: Safety
    lam: float | None
    set_lam: float | None
    reason: str
    evidence: tuple[str, ...] = ()
    best: dict[str, float] = field(default_factory=dict)
    needed: int | None = None

    @property
    def exit_status(self) -> int:
        """0 for safe, 1 for unsafe, 3 for unknown."""
        return STATUS[self.safety]

    def to_dict(self) -> dict[str, Any]:
        """Return the verdict as JSON values; the text "inf" stands for a ``set_lam`` of +inf."""
        values = {**vars(self), "evidence": list(self.evidence), "exit_status": self.exit_status}
        return values | {"set_lam": "inf" if self.set_lam == math.inf else self.set_lam}

    @property
    def said(self) -> str:
        """The reason, and for what is not safe the answers that it would take and the λ that is known to be safe."""
        needed = f" It takes {self.needed} answers." if self.needed else ""
        if self.safety == "safe" or self.set_lam is None:
            return f"{self.reason}{needed}"
        return f"{self.reason}{needed} Known to be safe is λ = {self.set_lam:g}."

    def __str__(self) -> str:
        shown = self.set_lam if self.lam is None and self.safety == "safe" else self.lam
        head = self.safety.upper() if shown is None else f"{self.safety.upper()} λ = {shown:g}"
        return f"{head}: {self.said}"
