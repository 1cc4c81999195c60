#!/bin/bash

ROLLOUT_ARGS=(
   --rollout-batch-size 16
   --n-samples-per-prompt 4
   --rollout-temperature 1
)

RM_ARGS=(
   --custom-rm-path slime.rollout.on_policy_distillation.reward_func
   --custom-reward-post-process-path slime.rollout.on_policy_distillation.post_process_rewards
   --rm-url http://$TEACHER_IP:$TEACHER_PORT/generate
)

GRPO_ARGS=(
   --advantage-estimator grpo
   --use-opd            # distil
   --opd-type sglang
   --opd-kl-coef 1.0
   --use-kl-loss
   --kl-loss-coef 0.00
   --kl-loss-type low_var_kl
   --entropy-coef 0.00
)

ray job submit --address="http://127.0.0.1:8265" -- python3 train.py \
   "${ROLLOUT_ARGS[@]}" "${RM_ARGS[@]}" "${GRPO_ARGS[@]}"
