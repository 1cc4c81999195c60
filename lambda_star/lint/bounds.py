"""What is known of training codes, as data: which ratio each of their clips bounds, and what G-OPD needs to apply λ.

None of these clips is the theory's c, the cap on the tail ratio (1−p)/(1−q). A reader's note on arXiv:2605.08737v1
reports that the paper caps yet another ratio at c = 5, the weight π_T/π_S of the sampled token in the policy loss; the
configuration key that it names, G-OPD's ``rollout_is_threshold``, truncates training engine over rollout engine.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["BOUNDS", "NEEDS", "Bound"]

ENGINES = "the training engine's probability over the rollout engine's, for the same policy"
POLICIES = "the updated policy's probability over that of the policy before the update"


class Bound(NamedTuple):
    """A clip of a training code: a pattern that matches its whole key, whose clip it is, and the ratio that it bounds.

    ``resembles_c`` marks the caps that are tried in place of c if no clip is given.
    """

    pattern: str
    whose: str
    ratio: str
    resembles_c: bool = False


BOUNDS: tuple[Bound, ...] = (
    Bound(r"(.*\.)?rollout_is_threshold", "verl's rollout correction, 2 by default, 5 in G-OPD", ENGINES, True),
    Bound(r"(.*\.)?tis_imp_ratio_cap", "truncated importance sampling of earlier verl", ENGINES, True),
    Bound(r"(.*\.)?vllm_importance_sampling_(clip_max|cap)", "TRL's GRPO, 3 by default", ENGINES, True),
    Bound(r"(.*\.)?vllm_importance_sampling_clip_min", "TRL's GRPO", ENGINES),
    Bound(r"(.*\.)?rollout_(is_threshold_lower|rs_threshold|rs_threshold_lower)", "verl's rejection", ENGINES),
    Bound(r"(.*\.)?rollout_token_veto_threshold", "verl's veto", ENGINES),
    Bound(r"(.*\.)?clip_ratio(_low|_high)?", "PPO's ε, 0.2 by default, which is a distance from 1", POLICIES),
    Bound(r"(.*\.)?clip_ratio_c", "dual-clip PPO, 3 by default", POLICIES),
    Bound(r"(.*\.)?clip_cov_(lb|ub)", "clip-cov", "a covariance of log-probability and advantage, not a ratio"),
    Bound(r"epsilon(_high)?", "TRL's ε as in PPO, 0.2 by default, which is a distance from 1", POLICIES),
    Bound(r"delta", "TRL's two-sided GRPO", POLICIES),
    Bound(r"(.*\.)?distillation_is_clip", "TRL's SDFT and SDPO, 2 by default", POLICIES),
)
"""The clips of training codes; the first pattern that matches a key says what it bounds."""

SWITCH = "actor_rollout_ref.actor.policy_loss.only_reverse_kl_advantages"
SEVERAL_TEACHERS = "actor_rollout_ref.actor.policy_loss.multi_teacher_distill"

NEEDS: tuple[tuple[str, str], ...] = (
    (SWITCH, "True"),
    ("actor_rollout_ref.model.base_model_path", "the student's start, the base of λ"),
    ("actor_rollout_ref.ref.model.base_model_path", "the base of the teacher side (with one teacher, the same model)"),
)
"""The keys without which G-OPD does not apply λ, and what to set them to."""

LAMBDA = re.compile(r"(.*\.)?lambda_vals")
ON_POLICY_SHARE = re.compile(r"(.*\.)?lmbda")
TRL_TEACHER = re.compile(r"teacher_model_name_or_path")
UNSET = ("", "null", "none", "~", "false")
