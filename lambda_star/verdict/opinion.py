"""What one source says about one λ, and how two of them are joined."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

from lambda_star.calibration.statistics import Estimate
from lambda_star.verdict.record import Safety

__all__ = ["Opinion", "interval", "up_to_teacher", "worst"]

ORDER: tuple[Safety, ...] = ("unsafe", "unknown", "safe")


class Opinion(NamedTuple):
    """What one source says about a λ, why, and how many answers it would take to know, which is sought when asked."""

    safety: Safety
    reason: str
    needed: Callable[[], int | None] = lambda: None


def up_to_teacher(lam: float) -> Opinion:
    """Return what is known without answers of a λ of at most 1: plain distillation is safe, and nothing else is."""
    if lam == 1:
        return Opinion("safe", "λ = 1 is plain distillation and does not go past the teacher.")
    said = f"λ = {lam:g} lies towards the base, whose answers may be valid less often than the teacher's"
    return Opinion("unknown", f"{said}; `lambda-star rehearse` shows it.")


def worst(opinions: Iterable[Opinion | None]) -> Opinion:
    """Return the worst opinion, unsafe before unknown before safe, and the last of equal ones where all is safe."""
    known = [opinion for opinion in opinions if opinion is not None]
    return min(reversed(known), key=lambda opinion: ORDER.index(opinion.safety))


def interval(estimate: Estimate) -> str:
    """Return an estimate as text, with its interval where it has one."""
    value = "+inf" if estimate.value == math.inf else f"{estimate.value:g}"
    return value if math.isnan(estimate.low) else f"{value} [{estimate.low:g}, {estimate.high:g}]"
