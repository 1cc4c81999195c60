NPROC_PER_NODE=4 \
swift rlhf \
    --rlhf_type grpo \
    --model Qwen/Qwen3.5-2B \
    --teacher_model Qwen/Qwen3.5-9B \
    --use_vllm true \
    --num_generations 1 \
    --log_rollout_offpolicy_metrics true
