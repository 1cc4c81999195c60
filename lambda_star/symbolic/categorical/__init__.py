"""K tokens: what ``lambda_star.categorical`` evaluates."""

from lambda_star.symbolic.categorical.bounds import floor_derivation, sandwich_derivation
from lambda_star.symbolic.categorical.parts import class_march_derivation, rest_derivation
from lambda_star.symbolic.categorical.ratios import divergence_derivation, ratio_derivation, token_flip_derivation
from lambda_star.symbolic.categorical.student import token_student_derivation

__all__ = [
    "class_march_derivation",
    "divergence_derivation",
    "floor_derivation",
    "ratio_derivation",
    "rest_derivation",
    "sandwich_derivation",
    "token_flip_derivation",
    "token_student_derivation",
]
