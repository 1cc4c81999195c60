"""How far on-policy distillation may extrapolate past its teacher: the threshold λ*, and what surrounds it.

The functions of every day stand here; everything else is in the submodules, which load on first use::

    import lambda_star as ls

    ls.threshold(0.999, 0.5, 5.0)                      # one position: the modal token against its tail
    ls.categorical.threshold(log_t, log_b, 5.0)        # one position over the whole vocabulary
    ls.calibrate(ls.read_table("answers.csv"), clip=5) # measured answers
    ls.decide("report.json", lam=1.25)                 # safe, unsafe or unknown, and why

Below, q is the student's modal probability, and Δ = logit p − logit b.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lambda_star import _deprecated
from lambda_star.bernoulli import (
    base_for,
    clip_for,
    collapse_point,
    fixed_point,
    flip_point,
    is_clip_safe,
    operating_point,
    regime,
    tail_ratio,
    teacher_for,
    threshold,
)

if TYPE_CHECKING:
    from lambda_star import (
        bernoulli,
        calibration,
        categorical,
        cliff,
        contract,
        dynamics,
        ledger,
        lint,
        plotting,
        rehearsal,
        sequence,
        symbolic,
        torch,
        updates,
        verdict,
        verified,
    )
    from lambda_star.calibration import calibrate
    from lambda_star.calibration.readers import read_table
    from lambda_star.verdict import decide

__version__ = "0.2.0"

__all__ = [
    "base_for",
    "calibrate",
    "clip_for",
    "collapse_point",
    "decide",
    "fixed_point",
    "flip_point",
    "is_clip_safe",
    "operating_point",
    "read_table",
    "regime",
    "tail_ratio",
    "teacher_for",
    "threshold",
]

_SUBMODULES = (
    "bernoulli",
    "calibration",
    "categorical",
    "cliff",
    "contract",
    "dynamics",
    "ledger",
    "lint",
    "plotting",
    "rehearsal",
    "sequence",
    "symbolic",
    "torch",
    "updates",
    "verdict",
    "verified",
)
_ON_FIRST_USE = {"calibrate": "calibration", "decide": "verdict", "read_table": "calibration.readers"}

_deprecated.install()


if not TYPE_CHECKING:  # a type checker is to report an unknown name

    def __getattr__(name: str) -> Any:
        if name in _SUBMODULES or name in _deprecated.MODULES:
            return import_module(f"lambda_star.{name}")
        if name in _ON_FIRST_USE:
            return getattr(import_module(f"lambda_star.{_ON_FIRST_USE[name]}"), name)
        return _deprecated.renamed(__name__)(name)


def __dir__() -> list[str]:
    return sorted((*__all__, *_SUBMODULES, "__version__"))
