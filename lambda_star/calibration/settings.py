"""What a calibration sums: the options that must be the same in all parts of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lambda_star._core.quantities import LAM, C, Quantity, require
from lambda_star.contract import Contract, Labeller
from lambda_star.updates import Rule

__all__ = ["CLIP", "LEAST_B", "Settings"]

CLIP = C.named("clip")._replace(ends="()")

LEAST_B = Quantity("least_b", 0.0, 1.0, "[)")


@dataclass(frozen=True)
class Settings:
    """What a state sums, so that it is the same in states that are merged.

    Attributes:
        clip, rule, lam, contract, tokens, least_b: as for :func:`lambda_star.calibrate`.

    >>> Settings(clip=1.0)
    Traceback (most recent call last):
    ValueError: clip must lie in (1, inf), got 1.0
    """

    clip: float = 5.0
    rule: Rule | None = None
    lam: float | None = None
    contract: Contract | Labeller | str | None = None
    tokens: tuple[str, ...] = ()
    least_b: float = 0.0

    def __post_init__(self) -> None:
        require((CLIP, self.clip), (LAM, self.lam), (LEAST_B, self.least_b))
        if self.rule is not None and self.rule.needs_rows:
            raise ValueError(
                f"rule must be one that p and b show, got {self.rule}: tokens outside its set lose their mass, and a "
                "table has no mass of that set; `top_k:1` is the case of the modal token alone"
            )

    def refuse_other(self, name: str, other: Settings) -> None:
        """Raise an error if something of that name has other settings.

        >>> Settings(clip=5.0).refuse_other("second", Settings(clip=2.0))
        Traceback (most recent call last):
        ValueError: second must have the same settings, got clip 2.0 for 5.0
        """
        theirs = other.named()
        for key, ours in self.named().items():
            if theirs[key] != ours:
                raise ValueError(f"{name} must have the same settings, got {key} {theirs[key]!r} for {ours!r}")

    def named(self) -> dict[str, Any]:
        """Return the settings as JSON values, by which states know that they belong together."""
        contract: Any = self.contract
        name = getattr(contract, "name", getattr(contract, "__qualname__", contract))
        return {
            "clip": self.clip,
            "rule": None if self.rule is None else str(self.rule),
            "lam": self.lam,
            "contract": None if name is None else str(name),
            "tokens": list(self.tokens),
            "least_b": self.least_b,
        }
