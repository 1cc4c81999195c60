"""What is known of training codes, as data: which ratio each clip bounds, and what G-OPD needs to apply λ."""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["BOUNDS", "NEEDS", "Bound"]

ENGINES = "the training engine's probability over the rollout engine's, for the same policy"


POLICIES = "the updated policy's probability over that of the policy before the update"


class Bound(NamedTuple):
    """What a clip of a training code bounds: a pattern that matches its whole key, whose clip it is, and which ratio.

    ``resembles_c`` marks caps that are tried in place of c where no clip is given.

    >>> bool(re.fullmatch(BOUNDS[0].pattern, "algorithm.rollout_correction.rollout_is_threshold"))
    True
    """

    pattern: str
    whose: str
    ratio: str
    resembles_c: bool = False


BOUNDS: tuple[Bound, ...] = (
    Bound(r"(.*\.)?rollout_is_threshold", "verl's rollout correction, default 2, G-OPD 5", ENGINES, True),
    Bound(r"(.*\.)?tis_imp_ratio_cap", "truncated importance sampling of earlier verl", ENGINES, True),
    Bound(r"(.*\.)?vllm_importance_sampling_(clip_max|cap)", "TRL's GRPO, 3 by default", ENGINES, True),
    Bound(r"(.*\.)?vllm_importance_sampling_clip_min", "TRL's GRPO", ENGINES),
    Bound(r"(.*\.)?rollout_(is_threshold_lower|rs_threshold|rs_threshold_lower)", "verl's rejection", ENGINES),
    Bound(r"(.*\.)?rollout_token_veto_threshold", "verl's veto", ENGINES),
    Bound(r"(.*\.)?clip_ratio(_low|_high)?", "PPO's ε, 0.2 by default, a distance from 1 and no cap", POLICIES),
    Bound(r"(.*\.)?clip_ratio_c", "dual-clip PPO, 3 by default", POLICIES),
    Bound(r"(.*\.)?clip_cov_(lb|ub)", "clip-cov", "a covariance of log-probability and advantage, no ratio"),
    Bound(r"epsilon(_high)?", "TRL's PPO-like ε, 0.2 by default, a distance from 1 and no cap", POLICIES),
    Bound(r"delta", "TRL's two-sided GRPO", POLICIES),
    Bound(r"(.*\.)?distillation_is_clip", "TRL's SDFT and SDPO, 2 by default", POLICIES),
)
"""The clips of training codes, none of which is the theory's c; the first that matches a key says what it bounds."""


SWITCH = "actor_rollout_ref.actor.policy_loss.only_reverse_kl_advantages"


SEVERAL_TEACHERS = "actor_rollout_ref.actor.policy_loss.multi_teacher_distill"


NEEDS: tuple[tuple[str, str], ...] = (
    (SWITCH, "True"),
    ("actor_rollout_ref.model.base_model_path", "the student's start, the base of λ"),
    ("actor_rollout_ref.ref.model.base_model_path", "the base of the teacher side; with one teacher the same model"),
)
"""The keys without which G-OPD leaves λ aside, and what to set them to."""


LAMBDA = re.compile(r"(.*\.)?lambda_vals")


ON_POLICY_SHARE = re.compile(r"(.*\.)?lmbda")


TRL_TEACHER = re.compile(r"teacher_model_name_or_path")


UNSET = ("", "null", "none", "~", "false")
