"""Start one run for each λ; the example lambda_vals=9 in this text is no setting."""

import subprocess

BASE = "Qwen/Qwen3-1.7B"

for lam in (1.0, 1.25):
    subprocess.run(
        [
            "python3",
            "-m",
            "verl.trainer.main_ppo",
            f"+actor_rollout_ref.model.base_model_path={BASE}",
            f"+actor_rollout_ref.ref.model.base_model_path={BASE}",
            "actor_rollout_ref.actor.policy_loss.only_reverse_kl_advantages=True",
            f"actor_rollout_ref.actor.policy_loss.lambda_vals={lam}",
        ],
        check=True,
    )
