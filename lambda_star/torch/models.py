"""Models for :func:`~lambda_star.torch.check.check_step`: a small built-in problem, or two model folders and a text."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lambda_star.torch._folders import load_model, load_tokenizer
from lambda_star.torch.check import Inputs

__all__ = ["load_problem", "small_problem"]

Problem = tuple[nn.Module, nn.Module, nn.Module, Inputs]  # teacher, base, student, and what they are called with


def small_problem(device: str = "cpu", dtype: str = "float32") -> Problem:
    """Make a teacher, a base, a student and inputs that run anywhere: 24 near-deterministic positions, 32 tokens.

    >>> teacher, base, student, inputs = small_problem()
    >>> tuple(teacher(inputs).shape)
    (24, 32)
    """
    _check_device(device)
    generator = torch.Generator().manual_seed(0)

    def normal(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator)

    head = nn.Linear(64, 32)
    base = nn.Sequential(nn.Embedding(24, 16), nn.Linear(16, 64), nn.Tanh(), head)
    for weight in base.parameters():
        weight.data = normal(weight) / math.sqrt(weight.shape[-1])
    head.weight.data *= 14  # makes most positions near-deterministic
    teacher = copy.deepcopy(base)
    for weight in teacher.parameters():
        weight.data = 1.6 * weight.data + 0.05 * normal(weight)  # surer than the base, and a little different
    teacher, base = (model.to(device=device, dtype=getattr(torch, dtype)) for model in (teacher, base))
    return teacher, base, copy.deepcopy(base), torch.arange(24, device=device)


def load_problem(teacher: Path, base: Path, text: Path, device: str = "cpu", dtype: str = "float32") -> Problem:
    """Load a teacher, a base and a text from disk; the student is a copy of the base.

    Each folder holds a Hugging Face causal language model or an adapter for one, and the teacher's also the tokenizer.
    Weights must be safetensors, Python code in a folder is refused and never runs, and nothing is fetched from a hub.
    ``dtype`` names the floating dtype in which the models compute. A file or folder that is not there raises
    ``OSError``; one that is damaged or does not fit raises ``ValueError``: no text, no tokenizer, missing weights,
    other vocabularies, or a device that PyTorch cannot use.

    >>> load_problem(Path("runs/8b"), Path("runs/1.7b"), Path("answers.txt"), "cuda", "bfloat16")     # doctest: +SKIP
    """
    content = text.read_text(encoding="utf-8")
    if not content.strip():
        raise ValueError(f"{text} must hold text, got an empty file")
    tokens = load_tokenizer(teacher)(content, return_tensors="pt")
    models: list[Any] = [load_model(folder, getattr(torch, dtype)) for folder in (teacher, base)]
    sizes = [model.config.get_text_config().vocab_size for model in models]
    if sizes[0] != sizes[1]:
        raise ValueError(f"base must have the teacher's vocabulary, {sizes[0]} tokens, got {sizes[1]}")
    _check_device(device)
    teacher_model, base_model = (model.eval().to(device) for model in models)
    inputs = {name: value.to(device) for name, value in tokens.items() if name != "token_type_ids"}
    return teacher_model, base_model, copy.deepcopy(base_model).requires_grad_(), inputs


def _check_device(device: str) -> None:
    """Raise ``ValueError`` if no tensor can be made there; PyTorch's own errors differ from device to device."""
    try:
        torch.zeros(1, device=device)
    except (AssertionError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device must be one that this PyTorch can use, got {device!r}: {reason}") from error
