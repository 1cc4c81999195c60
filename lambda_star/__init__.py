"""How far on-policy distillation may extrapolate past its teacher: the threshold λ*."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lambda_star.bernoulli import (
    Regime,
    Sensitivity,
    base_for,
    cliff_width,
    clip_for,
    collapse_point,
    excess,
    fixed_point,
    flip_point,
    flip_point_from_logits,
    is_clip_safe,
    operating_point,
    regime,
    sensitivity,
    stationary_student,
    tail_ratio,
    teacher_for,
    threshold,
    threshold_from_logits,
    two_sided_threshold,
)

if TYPE_CHECKING:
    from lambda_star.calibration import calibrate
    from lambda_star.calibration.readers import read_table

__version__ = "0.1.0"

__all__ = [
    "Regime",
    "Sensitivity",
    "base_for",
    "calibrate",
    "cliff_width",
    "clip_for",
    "collapse_point",
    "excess",
    "fixed_point",
    "flip_point",
    "flip_point_from_logits",
    "is_clip_safe",
    "operating_point",
    "read_table",
    "regime",
    "sensitivity",
    "stationary_student",
    "tail_ratio",
    "teacher_for",
    "threshold",
    "threshold_from_logits",
    "two_sided_threshold",
]

_ON_FIRST_USE = {"calibrate": "lambda_star.calibration", "read_table": "lambda_star.calibration.readers"}


def __getattr__(name: str) -> Any:
    if name in _ON_FIRST_USE:
        return getattr(import_module(_ON_FIRST_USE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
