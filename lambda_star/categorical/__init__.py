"""One output position over K tokens: the thresholds of tokens, of two outcomes and of classes.

``log_t`` and ``log_b`` are log-probabilities or unnormalised logits of teacher and base, arrays of any array API
library with the tokens along ``axis`` and any leading shape; they broadcast against each other. r = log(π_T/π_B) is a
token's log-ratio, R_a(λ) = π_T(a)/π_λ(a) how many times smaller token a is under the fixed point than under the
teacher. The token with the least r has the largest R for every λ > 1: it *binds*. Everything here is an extension.

A token that is -inf for both models does not exist. A token that only the teacher can produce is refused, since then
every other token vanishes at once for λ > 1; so is one that only the base can produce, where it might bind. No gradient
flows through these functions.
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
