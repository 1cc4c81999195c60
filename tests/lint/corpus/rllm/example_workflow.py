"""Distil with a workflow of rLLM."""

from rllm.trainer import AgentTrainer
from rllm.workflows.distillation_workflow import DistillationWorkflow


def main(config, reward, teacher):
    trainer = AgentTrainer(
        workflow_class=DistillationWorkflow,
        workflow_args={"reward_function": reward, "teacher_engine": teacher, "clip_min": -5.0, "clip_max": 5.0},
        config=config,
    )
    trainer.train()
