"""A finite training budget: how long a λ above λ* may be trained, and where the student is until then.

The student starts at the base, and its log-odds θ = logit q follow one of two flows towards the fixed point θ_λ:
``"natural"``, θ' = θ_λ − θ (natural gradient), or ``"policy-gradient"``, θ' = q(1−q)·(θ_λ − θ) (plain policy gradient
on the logit). Time is learning rate times steps. Once the tail ratio has reached c, the clip acts inside the update,
and (λ−λ_c)Δ − log q takes the place of θ_λ − θ.

Everything here is an extension, and a statement about these two flows at one position with two outcomes. Optimisers
with momentum, shared parameters and sampling noise are not promised to obey it. A finite budget moves the cliff up; λ*
is where it goes as the budget grows, and the safe number. Where the base lies below p/c, the clip holds the modal token
back at first: :func:`trajectory` and :func:`simulate` do that, while the times count a way without it and so are lower
bounds, as is the threshold of a budget: the cliff is met no earlier.
"""

from lambda_star.dynamics._arguments import Flow
from lambda_star.dynamics._budget import steps_to_edge, budget_threshold, time_to_collapse, time_to_edge
from lambda_star.dynamics._flow import simulate, trajectory

__all__ = [
    "Flow",
    "steps_to_edge",
    "budget_threshold",
    "simulate",
    "time_to_collapse",
    "time_to_edge",
    "trajectory",
]
