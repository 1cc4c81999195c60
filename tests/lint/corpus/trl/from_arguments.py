"""Distil from an extrapolated teacher."""

from trl import DistillationConfig, DistillationTrainer

from lambda_star.torch import ExtrapolatedTeacher


def main(arguments, student, big, small):
    teacher = ExtrapolatedTeacher(big, small, arguments.lam)
    DistillationTrainer(model=student, teacher_model=teacher, args=DistillationConfig("out")).train()
