"""Distil from an extrapolated teacher."""

import os

from trl import DistillationConfig, DistillationTrainer

from lambda_star.torch import ExtrapolatedTeacher

LARGEST = float(os.environ.get("LARGEST", "1.5"))
LAMBDAS = [1.0, 1.25, LARGEST]


def main(student, big, small):
    for lam in LAMBDAS:
        teacher = ExtrapolatedTeacher(big, small, lam)
        DistillationTrainer(model=student, teacher_model=teacher, args=DistillationConfig("out")).train()
