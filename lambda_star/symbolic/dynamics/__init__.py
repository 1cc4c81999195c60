"""A finite training budget: what ``lambda_star.dynamics`` evaluates."""

from lambda_star.symbolic.dynamics.clipped import (
    clipped_flow_derivation,
    collapse_time_derivation,
    sampled_step_derivation,
)
from lambda_star.symbolic.dynamics.flows import (
    natural_flow_derivation,
    natural_steps_derivation,
    policy_gradient_derivation,
)

__all__ = [
    "clipped_flow_derivation",
    "collapse_time_derivation",
    "natural_flow_derivation",
    "natural_steps_derivation",
    "policy_gradient_derivation",
    "sampled_step_derivation",
]
