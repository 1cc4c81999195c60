top_k=64
swift rlhf \
    --rlhf_type gkd \
    --model Qwen/Qwen3.5-4B \
    --teacher_model_server http://localhost:8000 \
    --gkd_logits_topk $top_k \
    --lmbda 1 \
    --beta 0.5 \
    --temperature 1.0
