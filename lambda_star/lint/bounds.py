"""The caps of training codes that make no cliff, as data: which ratio each of them bounds, and what G-OPD needs.

Each of them multiplies the advantage by a positive weight or drops a token from a step. That changes the speed of
training and not where it ends, so none of them is the theory's c, and none is a reason for alarm. A reader's note on
arXiv:2605.08737v1 reports that the paper caps yet another ratio at c = 5, the weight π_T/π_S of the sampled token in
the policy loss; the configuration key that it names, G-OPD's ``rollout_is_threshold``, truncates training engine over
rollout engine. What does bound the force that restores a tail is read in :mod:`lambda_star.lint.codes`.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["BOUNDS", "NEEDS", "Bound"]

ENGINES = "the training engine's probability over the rollout engine's, for the same policy"
POLICIES = "the updated policy's probability over that of the policy before the update"


class Bound(NamedTuple):
    """A cap of a training code: a pattern that matches its whole key, whose cap it is, and the ratio that it bounds.

    ``resembles_c`` says that the cap bounds the log-ratio of teacher to student inside the advantage after all: its
    value is then c. No cap of a public code does so under a key of its own.
    """

    pattern: str
    whose: str
    ratio: str
    resembles_c: bool = False


BOUNDS: tuple[Bound, ...] = (
    Bound(r"(.*\.)?rollout_is_threshold", "verl's rollout correction, 2 by default, 5 in G-OPD", ENGINES),
    Bound(r"(.*\.)?(tis_imp_ratio_cap|(token|sequence)_tis_ratio_clip_high)", "SkyRL and earlier verl", ENGINES),
    Bound(r"(.*\.)?vllm_importance_sampling_(clip_max|clip_min|cap)", "TRL's GRPO, 3 by default", ENGINES),
    Bound(r"(.*\.)?rollout_(is_threshold_lower|rs_threshold|rs_threshold_lower)", "verl's rejection", ENGINES),
    Bound(r"(.*\.)?rollout_token_veto_threshold", "verl's veto", ENGINES),
    Bound(r"(.*\.)?truncated_importance_sampling_ratio(_min)?", "NeMo-RL's gate", ENGINES),
    Bound(r"tis_clip(_low)?", "slime and miles, 2 by default", ENGINES),
    Bound(r"rollout_importance_sampling_threshold", "ms-swift, 2 by default", ENGINES),
    Bound(r"(.*\.)?clip_ratio(_low|_high)?", "PPO's ε, 0.2 by default, which is a distance from 1", POLICIES),
    Bound(r"(.*\.)?(clip_ratio_c|ratio_clip_c|eps_clip_c)", "dual-clip PPO, 3 by default", POLICIES),
    Bound(r"(.*\.)?ratio_clip_(min|max)", "NeMo-RL's ε as in PPO", POLICIES),
    Bound(r"(.*\.)?(cispo_)?eps_clip(_low|_high)?", "slime's and SkyRL's ε as in PPO", POLICIES),
    Bound(r"(.*\.)?pg_clip(_low|_high)?", "ROLL's ε as in PPO", POLICIES),
    Bound(r"(.*\.)?clip_cov_(lb|ub)", "clip-cov", "a covariance of log-probability and advantage, not a ratio"),
    Bound(r"epsilon(_high)?", "TRL's and ms-swift's ε as in PPO, 0.2 by default, which is a distance from 1", POLICIES),
    Bound(r"delta", "TRL's two-sided GRPO", POLICIES),
    Bound(r"(.*\.)?distillation_is_clip", "TRL's SDFT and SDPO, 2 by default", POLICIES),
)
"""The caps that make no cliff; the first pattern that matches a key says what it bounds."""

SWITCH = "actor_rollout_ref.actor.policy_loss.only_reverse_kl_advantages"
SEVERAL_TEACHERS = "actor_rollout_ref.actor.policy_loss.multi_teacher_distill"

NEEDS: tuple[tuple[str, str], ...] = (
    (SWITCH, "True"),
    ("actor_rollout_ref.model.base_model_path", "the student's start, the base of λ"),
    ("actor_rollout_ref.ref.model.base_model_path", "the base of the teacher side (with one teacher, the same model)"),
)
"""The keys without which G-OPD does not apply λ, and what to set them to."""
