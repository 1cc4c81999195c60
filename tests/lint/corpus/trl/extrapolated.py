"""Distil from an extrapolated teacher."""

from trl import DistillationConfig, DistillationTrainer

from lambda_star.torch import ExtrapolatedTeacher


def main(student, big, small, data):
    teacher = ExtrapolatedTeacher(big, small, 1.25)
    config = DistillationConfig(output_dir="out", beta=1.0)
    DistillationTrainer(model=student, teacher_model=teacher, args=config, train_dataset=data).train()
