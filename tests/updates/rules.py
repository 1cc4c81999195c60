"""Every update rule with several values of its arguments, for the tests."""

from __future__ import annotations

import math

from hypothesis import strategies as st

from lambda_star import updates
from lambda_star.updates import Rule

EXAMPLES: tuple[Rule, ...] = (
    updates.none(),
    updates.log_ratio_cap(5.0),
    updates.log_ratio_cap(2.0, through=True),
    updates.log_ratio_clamp(1.5),
    updates.log_ratio_clamp(1.5, teacher="extrapolated"),
    updates.log_prob_floor(6.0),
    updates.kl_to_base_cap(3.0),
    updates.advantage_clamp(0.5),
    updates.advantage_clamp(0.5, centred=True),
    updates.reward_clip(0.7),
    updates.importance_weight(5.0),
    updates.importance_weight(5.0, centred=False),
    updates.ppo(0.2),
    updates.teacher_weight(5.0),
    updates.teacher_weight(5.0, centred=False),
    updates.top_k(1),
    updates.top_k(1, through=True),
    updates.top_k(3),
    updates.truncated_sampling(top_p=0.95),
    updates.truncated_sampling(top_k=1),
)
NAMES = [str(rule) for rule in EXAMPLES]

caps = st.one_of(st.floats(1.0, 20.0), st.floats(1.0, 1e6), st.just(math.inf))
bounds = st.one_of(st.floats(0.05, 30.0), st.just(math.inf))

rules = st.one_of(
    st.just(updates.none()),
    st.builds(updates.log_ratio_cap, caps, through=st.booleans()),
    st.builds(updates.log_ratio_clamp, bounds, st.sampled_from(["plain", "extrapolated"])),
    st.builds(updates.log_prob_floor, bounds),
    st.builds(updates.kl_to_base_cap, caps),
    st.builds(updates.advantage_clamp, bounds, centred=st.booleans()),
    st.builds(updates.reward_clip, bounds),
    st.builds(updates.importance_weight, caps, centred=st.booleans()),
    st.builds(updates.ppo, st.floats(0.01, 0.9)),
    st.builds(updates.teacher_weight, caps, centred=st.booleans()),
    st.builds(updates.top_k, st.integers(1, 3), through=st.booleans()),
    st.builds(updates.truncated_sampling, st.floats(0.05, 1.0)),
    st.builds(updates.truncated_sampling, st.none(), st.integers(1, 3)),
)


def jumps(rule: Rule) -> tuple[float, ...]:
    """The log-odds at which a rule's force jumps."""
    if isinstance(rule, updates.top_k):
        return (0.0,)
    if isinstance(rule, updates.truncated_sampling):
        share = max(rule.top_p or 0.5, 0.5)
        edge = math.inf if share == 1 else math.log(share / (1 - share))
        return () if share == 1 else (edge, -edge)
    return ()


def first_lambda(rule: Rule) -> float:
    """The least λ that a rule's student is defined for."""
    return 1.0 if isinstance(rule, updates.teacher_weight) and not rule.centred else 0.0
