"""K tokens: the derivations of what ``lambda_star.categorical`` evaluates."""

from lambda_star.symbolic.categorical.bounds import readings, token_bounds
from lambda_star.symbolic.categorical.parts import safe_step, unlisted
from lambda_star.symbolic.categorical.ratios import distances, ratio, token_flip
from lambda_star.symbolic.categorical.student import token_student
from lambda_star.symbolic.derivation import renamed

__all__ = ["distances", "ratio", "readings", "safe_step", "token_bounds", "token_flip", "token_student", "unlisted"]

__getattr__ = renamed(__name__)
