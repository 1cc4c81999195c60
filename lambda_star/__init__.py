"""How far on-policy distillation may extrapolate past its teacher: the threshold λ*."""

from lambda_star.bernoulli import (
    Regime,
    Sensitivity,
    cliff_width,
    collapse_point,
    excess,
    fixed_point,
    flip_point,
    is_clip_safe,
    operating_point,
    regime,
    sensitivity,
    stationary_student,
    tail_ratio,
    threshold,
    threshold_from_logits,
    two_sided_threshold,
)
from lambda_star.inverse import base_for, clip_for, teacher_for

__version__ = "0.1.0"

__all__ = [
    "Regime",
    "Sensitivity",
    "base_for",
    "clip_for",
    "cliff_width",
    "collapse_point",
    "excess",
    "fixed_point",
    "flip_point",
    "is_clip_safe",
    "operating_point",
    "regime",
    "sensitivity",
    "stationary_student",
    "tail_ratio",
    "teacher_for",
    "threshold",
    "threshold_from_logits",
    "two_sided_threshold",
]
