"""Update rules: what a trainer bounds decides whether anything happens at λ*.

λ* says where the fixed point's tail gets more than c times thinner than the teacher's. A rule says where the student
departs from that fixed point (``leaves``), where its tail dies (``dies``), and where training ends (``student``)::

    from lambda_star import updates

    updates.none().dies(0.999, 0.5)                 # inf: TRL's reverse KL, G-OPD
    updates.log_ratio_cap(5.0).dies(0.999, 0.5)     # 1.2332
    updates.top_k(1).dies(0.999, 0.5)               # 1.0014

Two principles stand behind them. A tail can die only where the force that restores it is bounded; and a positive
weight on a centred advantage changes the speed, not the fixed point. Everything holds in the mean, without the noise
of sampled tokens. ``general`` computes the same from any force, slowly.
"""

from lambda_star.updates import general
from lambda_star.updates._advantages import advantage_clamp, reward_clip
from lambda_star.updates._capacity import capacity
from lambda_star.updates._ratios import kl_to_base_cap, log_prob_floor, log_ratio_cap, log_ratio_clamp, none
from lambda_star.updates._rule import Force, Rule
from lambda_star.updates._sets import top_k, truncated_sampling
from lambda_star.updates._text import PARAMETERS, RULES, parse
from lambda_star.updates._weights import importance_weight, ppo, teacher_weight

__all__ = [
    "PARAMETERS",
    "RULES",
    "Force",
    "Rule",
    "advantage_clamp",
    "capacity",
    "general",
    "importance_weight",
    "kl_to_base_cap",
    "log_prob_floor",
    "log_ratio_cap",
    "log_ratio_clamp",
    "none",
    "parse",
    "ppo",
    "reward_clip",
    "teacher_weight",
    "top_k",
    "truncated_sampling",
]
