"""λ* and the students of one output position over K tokens.

``log_t`` and ``log_b`` are log-probabilities or unnormalised logits of teacher and base: arrays of any array API
library, with the tokens along ``axis`` and any leading shape; they broadcast against each other. A token's log-ratio is
r = log(π_T/π_B). Its ratio R_a(λ) = π_T(a)/π_λ(a) says how many times smaller token a is under the fixed point than
under the teacher. The token with the least r has the largest R for every λ > 1; it is the binding token. The paper
treats two outcomes; K tokens are an extension.

A token that is -inf for both models does not exist. A token that only the teacher can produce is an error, since every
other token then vanishes at once for λ > 1; a token that only the base can produce is an error where it might bind. No
gradient flows through these functions.
"""

from lambda_star import _deprecated
from lambda_star.categorical._distances import hilbert_distance, renyi, with_unlisted
from lambda_star.categorical._students import fixed_point, flip_point, ratio, stationary_student
from lambda_star.categorical._threshold import Mode, Threshold, threshold

__all__ = [
    "Mode",
    "Threshold",
    "fixed_point",
    "flip_point",
    "hilbert_distance",
    "ratio",
    "renyi",
    "stationary_student",
    "threshold",
    "with_unlisted",
]

_deprecated.serve(__name__)
