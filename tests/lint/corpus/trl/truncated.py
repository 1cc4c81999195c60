"""Distil from an extrapolated teacher."""

from trl import DistillationConfig, DistillationTrainer

from lambda_star.torch import ExtrapolatedTeacher


def main(student, big, small):
    teacher = ExtrapolatedTeacher(big, small, 1.25)
    config = DistillationConfig("out", top_p=0.9)
    DistillationTrainer(model=student, teacher_model=teacher, args=config).train()
