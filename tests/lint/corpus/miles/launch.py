"""Start a run of miles."""

import subprocess

arguments = (
    "--use-opd --opd-type megatron --opd-teacher-load /models/teacher --opd-kl-coef 1.0 "
    "--custom-rm-path miles.rollout.on_policy_distillation.reward_func "
    "--use-tis --tis-clip 2.0"
)
subprocess.run(f"python3 train.py {arguments}", shell=True, check=True)
