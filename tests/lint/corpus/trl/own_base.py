"""Distil from an extrapolated teacher."""

from trl import DistillationConfig, DistillationTrainer

from lambda_star.torch import ExtrapolatedTeacher


def main(student, big, data):
    teacher = ExtrapolatedTeacher(big, student, 1.25)
    DistillationTrainer(model=student, teacher_model=teacher, args=DistillationConfig("out")).train()
