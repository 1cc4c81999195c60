"""λ* at one output position: the modal token against everything else, its tail.

λ* is the λ at which the student's tail becomes more than c times thinner than the teacher's. Whether training collapses
there depends on the update rule; see :func:`regime`.

``p`` is the teacher's modal probability, ``b`` the base's (warm start's) probability of the same token, ``c`` the cap
on the tail ratio (1−p)/(1−q) of teacher to student, and ``lam`` the extrapolation coefficient λ; q is the student's
modal probability, and Δ = logit p − logit b. Every function takes Python floats, or arrays of any array API library
that broadcast. The message of a ``ValueError`` names the argument, its range, and the first value outside it with its
index. A Python number that the dtype of the arrays beside it cannot hold, such as c = 1e39 beside float32, is outside.
What is not a number is a ``TypeError``. In the sources, "paper" is arXiv:2605.08737v1, and an "extension" is not in it
as far as we know.
"""

from lambda_star.bernoulli._inverses import base_for, clip_for, teacher_for
from lambda_star.bernoulli._regimes import (
    Regime,
    cliff_width,
    collapse_point,
    flip_point,
    flip_point_from_logits,
    regime,
    stationary_student,
)
from lambda_star.bernoulli._thresholds import (
    Sensitivity,
    excess,
    fixed_point,
    is_clip_safe,
    operating_point,
    sensitivity,
    tail_ratio,
    threshold,
    threshold_from_logits,
    two_sided_threshold,
)

__all__ = [
    "Regime",
    "Sensitivity",
    "base_for",
    "cliff_width",
    "clip_for",
    "collapse_point",
    "excess",
    "fixed_point",
    "flip_point",
    "flip_point_from_logits",
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
