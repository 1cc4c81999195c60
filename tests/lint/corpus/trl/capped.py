"""Distil from an extrapolated teacher."""

from trl import DistillationConfig, DistillationTrainer

from lambda_star.torch import ExtrapolatedTeacher


def main(student, big, small, data):
    teacher = ExtrapolatedTeacher(big, small, lam=2.0, clip=5.0)
    DistillationTrainer(model=student, teacher_model=teacher, args=DistillationConfig("out")).train()
