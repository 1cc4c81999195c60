set -x
TEACHER_MODEL="$HOME/teacher"
USE_KL_IN_REWARD=true # this adds the kl penalty to the advantage
TOP_P=1.0

uv run --isolated --extra fsdp -m our.main_on_policy_distill \
  trainer.algorithm.advantage_estimator="no_op" \
  trainer.algorithm.policy_loss_type="importance_sampling" \
  trainer.policy.model.path=Qwen/Qwen3-4B-Base \
  trainer.ref.model.path=$TEACHER_MODEL \
  generator.sampling_params.top_p=$TOP_P \
  generator.eval_sampling_params.top_p=0.7 \
  trainer.algorithm.use_kl_loss=false \
  trainer.algorithm.off_policy_correction.tis_ratio_type=token \
  trainer.algorithm.off_policy_correction.token_tis_ratio_clip_high=2.0 \
  trainer.algorithm.use_kl_in_reward=$USE_KL_IN_REWARD
