"""A finite training budget: the derivations of what ``lambda_star.dynamics`` evaluates."""

from lambda_star.symbolic.derivation import renamed
from lambda_star.symbolic.dynamics.clipped import clipped_flow, sampled_step, time_to_collapse
from lambda_star.symbolic.dynamics.flows import natural_flow, natural_steps, policy_gradient
from lambda_star.symbolic.dynamics.tokens import unfinished_run

__all__ = ["clipped_flow", "natural_flow", "natural_steps", "policy_gradient", "sampled_step", "time_to_collapse"]
__all__ += ["unfinished_run"]

__getattr__ = renamed(__name__)
