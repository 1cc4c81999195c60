python -m our.train_distill \
    rllm/backend=tinker \
    model.name=Qwen/Qwen3-8B-Base \
    sampling.train.temperature=1.0 \
    sampling.val.temperature=1.0 \
    rllm.distill.enable=True \
    rllm.distill.shared_tokenizer=True \
    rllm.algorithm.use_precomputed_advantage=true \
    rllm.algorithm.loss_fn=importance_sampling
