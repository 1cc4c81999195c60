"""A finite training budget: how long a λ above λ* may be trained, and where the student is until then.

The student starts at the base, and its log-odds θ = logit q follow one of two flows towards the fixed point θ_λ:
``"natural"``, θ' = θ_λ − θ (natural gradient), or ``"policy-gradient"``, θ' = q(1−q)·(θ_λ − θ) (plain policy gradient
on the logit). Time is learning rate times steps.

Both flows belong to one update rule, the one that caps the log-ratio log(π_T/π_S) at log c inside the advantage. Once
the tail ratio has reached c the cap acts on the tail, and (λ−λ_c)Δ − log q takes the place of θ_λ − θ. Up to λ* the
tail ends on the clip edge (1−p)/c or above it. Between λ* and λ_c it slides to a smaller mass that is still positive.
From λ_c on it dies. Other update rules, such as the losses of TRL and G-OPD, truncated importance weights, or PPO, do
not follow these flows past the clip edge.

λ* assumes training to convergence without momentum. A finite budget meets the clip edge at a larger λ, which falls to
λ* as the budget grows. Momentum, shared parameters and sampling noise are not modelled, except that :func:`simulate`
samples. Where the base lies below p/c, the cap first holds the modal token back. :func:`trajectory` and
:func:`simulate` include that phase. The times and :func:`budget_threshold` leave it out, and so are lower bounds there.

Everything here is an extension of the paper, for one position with two outcomes.
"""

from lambda_star.dynamics._arguments import Flow
from lambda_star.dynamics._budget import budget_threshold, steps_to_edge, time_to_collapse, time_to_edge
from lambda_star.dynamics._flow import simulate, trajectory

__all__ = [
    "Flow",
    "budget_threshold",
    "simulate",
    "steps_to_edge",
    "time_to_collapse",
    "time_to_edge",
    "trajectory",
]
