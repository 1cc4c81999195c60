"""Update rules: the derivations of what ``lambda_star.updates`` evaluates."""

from lambda_star.symbolic.updates.caps import (
    kl_to_base_cap,
    log_prob_floor,
    log_ratio_cap,
    log_ratio_cap_through,
    log_ratio_clamp,
)
from lambda_star.symbolic.updates.laws import capacity, loose_bounds, order, token_by_token
from lambda_star.symbolic.updates.masks import top_k, top_k_through, truncated_sampling
from lambda_star.symbolic.updates.parts import none, same_sign, tail_dies
from lambda_star.symbolic.updates.weights import advantage_clamp, importance_weight, ppo, reward_clip, teacher_weight

__all__ = [
    "advantage_clamp",
    "capacity",
    "importance_weight",
    "kl_to_base_cap",
    "log_prob_floor",
    "log_ratio_cap",
    "log_ratio_cap_through",
    "log_ratio_clamp",
    "loose_bounds",
    "none",
    "order",
    "ppo",
    "reward_clip",
    "same_sign",
    "tail_dies",
    "teacher_weight",
    "token_by_token",
    "top_k",
    "top_k_through",
    "truncated_sampling",
]
