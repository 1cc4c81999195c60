accelerate launch our/gkd.py \
    --teacher_model_name_or_path teacher \
    --lmbda 1.0 \
    --beta 1.0 \
    --bf16
