# plain distillation
python3 -m verl.trainer.main_ppo \
    algorithm.rollout_correction.rollout_is=token \
    algorithm.rollout_correction.rollout_is_threshold=5.0 \
    algorithm.rollout_correction.rollout_rs=null \
    actor_rollout_ref.model.path=Qwen/Qwen3-1.7B \
    +actor_rollout_ref.ref.model.path=our-teacher-4b \
    actor_rollout_ref.actor.policy_loss.only_reverse_kl_advantages=True \
    actor_rollout_ref.actor.use_kl_loss=True \
    actor_rollout_ref.actor.kl_loss_coef=0 \
    actor_rollout_ref.rollout.temperature=1.0 \
    actor_rollout_ref.rollout.top_p=1.0 \
    actor_rollout_ref.rollout.val_kwargs.top_p=0.95

# extrapolated
python3 -m verl.trainer.main_ppo \
    algorithm.rollout_correction.rollout_is=token \
    algorithm.rollout_correction.rollout_is_threshold=5.0 \
    algorithm.rollout_correction.rollout_rs=null \
    actor_rollout_ref.model.path=Qwen/Qwen3-1.7B \
    +actor_rollout_ref.model.base_model_path=Qwen/Qwen3-1.7B \
    +actor_rollout_ref.ref.model.path=our-teacher-4b \
    +actor_rollout_ref.ref.model.base_model_path=Qwen/Qwen3-1.7B \
    actor_rollout_ref.actor.policy_loss.only_reverse_kl_advantages=True \
    actor_rollout_ref.actor.policy_loss.lambda_vals=1.25 \
    actor_rollout_ref.actor.use_kl_loss=True \
    actor_rollout_ref.actor.kl_loss_coef=0 \
    actor_rollout_ref.rollout.temperature=1.0 \
    actor_rollout_ref.rollout.top_p=1.0 \
    actor_rollout_ref.rollout.val_kwargs.top_p=0.95
