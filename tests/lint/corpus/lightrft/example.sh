KL=0.01
torchrun --nnodes 1 our/train_colocate.py \
    --pretrain "$STUDENT" \
    --advantage_estimator "on_policy_distillation" \
    --fsdp \
    --use_kl_loss \
    --remote_rm_url "$TEACHER_URL" \
    --init_kl_coef $KL \
    --kl_estimator "k3"
