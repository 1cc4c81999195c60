#!/usr/bin/env bash
set -euo pipefail

STUDENT=${STUDENT:-Qwen/Qwen3-1.7B}
TEACHER=${TEACHER:-Qwen/Qwen3-8B}

DISTILLATION=(
    distillation.enabled=True
    distillation.teacher_models.teacher_model.model_path="$TEACHER"
    distillation.distillation_loss.loss_mode=forward_kl_topk
    distillation.distillation_loss.topk=64
    distillation.distillation_loss.use_task_rewards=False
    distillation.distillation_loss.use_policy_gradient=False
    distillation.distillation_loss.loss_max_clamp=10.0
    distillation.distillation_loss.log_prob_min_clamp=-10.0
)

python3 -m verl.trainer.main_ppo \
    algorithm.adv_estimator=grpo \
    actor_rollout_ref.model.path="$STUDENT" \
    actor_rollout_ref.rollout.name=vllm \
    "${DISTILLATION[@]}"
