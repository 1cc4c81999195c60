"""Intervals that provably hold the exact value, whatever the rounding: the numeric functions over Arb's numbers.

Arguments are numbers, decimal strings or intervals. A float stands for the binary number that it is, a string for its
decimal number, and a pair for every number between its ends::

    from lambda_star import verified

    verified.threshold("0.999", "0.5", 5)                     # a point: ends at most 4 ulp apart
    verified.threshold((0.998, 0.999), (0.4, 0.5), (4, 5))    # every position in a box
    verified.categorical.threshold(log_t, log_b, 5)           # K tokens: λ* and its closed bounds
    verified.updates.dies(updates.top_k(1), "0.999", "0.5")   # an update rule

The formulas are those of the numeric layer: its kernels run over intervals. Arguments that reach beyond their range are
cut to it, and the result names them; arrays give arrays. This module needs python-flint.
"""

try:
    import flint as _flint  # noqa: F401
except ImportError as error:
    from lambda_star._core.extras import missing as _missing

    raise _missing("lambda_star.verified", "python-flint", "verified") from error

from lambda_star.verified import bernoulli, categorical, updates
from lambda_star.verified._arguments import Interval
from lambda_star.verified.bernoulli import (
    base_for,
    cliff_width,
    clip_for,
    collapse_point,
    excess,
    fixed_point,
    flip_point,
    operating_point,
    stationary_student,
    tail_ratio,
    teacher_for,
    threshold,
    threshold_from_logits,
    two_sided_threshold,
)

__all__ = [
    "Interval",
    "base_for",
    "bernoulli",
    "categorical",
    "cliff_width",
    "clip_for",
    "collapse_point",
    "excess",
    "fixed_point",
    "flip_point",
    "operating_point",
    "stationary_student",
    "tail_ratio",
    "teacher_for",
    "threshold",
    "threshold_from_logits",
    "two_sided_threshold",
    "updates",
]
