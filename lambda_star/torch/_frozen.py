"""What teacher and base must be while a student trains: other models than it, frozen, finite and whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from lambda_star.torch.adapters import WithoutAdapters

__all__ = ["frozen", "refuse_not_finite", "refuse_roles", "refuse_same", "refuse_sharded", "refuse_sharding"]


@contextmanager
def frozen(model: Any) -> Iterator[Any]:
    """Run a model in evaluation mode and without gradients, then give every module its mode back."""
    if isinstance(model, WithoutAdapters):
        with model.off() as student:
            yield student
        return
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield model
    finally:
        for module, training in modes:
            module.training = training


def refuse_not_finite(name: str, model: Any) -> None:
    """Raise ``ValueError`` for the first parameter that holds NaN or an infinity."""
    for where, parameter in model.named_parameters():
        # Quantised weights, of one byte each, have no NaN or no function that looks for it.
        readable = parameter.is_floating_point() and parameter.element_size() > 1 and not parameter.is_meta
        if readable and not parameter.isfinite().all():
            raise ValueError(
                f"{name} must have finite weights, got NaN or an infinity in {where}; its logits would be NaN, and the "
                "student would learn them. Load an earlier checkpoint"
            )


def refuse_sharded(name: str, model: Any) -> None:
    """Raise ``ValueError`` if FSDP, ZeRO-3 or tensor parallelism has cut a model's parameters into shards."""
    by = None
    if any(getattr(module, "_is_fsdp_managed_module", False) for module in model.modules()):
        by = "FSDP"
    for parameter in model.parameters():
        if hasattr(parameter, "ds_id"):
            by = "DeepSpeed ZeRO-3"
        elif hasattr(parameter, "device_mesh"):
            by = by or "tensor parallelism"
    if by:
        refuse_sharding(name, by)


def refuse_sharding(name: str, by: str) -> None:
    """Raise the error that a model's parameters are sharded."""
    raise ValueError(
        f"{name} must have whole parameters on every device, got shards of {by}: logits are read from the heads "
        "outside the forward pass that would gather them. Use DDP, or ZeRO stage 1 or 2"
    )


def refuse_same(teacher: Any, base: Any) -> None:
    """Raise ``ValueError`` if teacher and base are one model: then λ changes nothing."""
    if _weights(teacher) == _weights(base) and _views(teacher) == _views(base):
        raise ValueError(
            "base must be another model than the teacher, got the same weights: then λ z_T + (1−λ) z_B = z_T, and no "
            "λ changes anything"
        )


def refuse_roles(student: Any, teacher: Any, base: Any) -> None:
    """Raise ``ValueError`` if teacher or base is the student that is trained, or shares weights that it trains.

    A student with adapters may share its frozen weights, and its base may be the student with the adapters off.
    """
    refuse_same(teacher, base)
    trained = {_place(weight) for weight in student.parameters() if weight.requires_grad}
    for name, model in (("teacher", teacher), ("base", base)):
        if _views(model):
            continue
        shared = _weights(student) & _weights(model)
        if shared and not (hasattr(student, "peft_config") and trained and not shared & trained):
            raise ValueError(
                f"{name} must be a model of its own, got weights of the student: frozen as {name} they do not train, "
                "and a target that moves with the student has gradient 0. Load a second copy of the model, or, where "
                "only adapters are trained, give base=without_adapters(student)"
            )


def _views(model: Any) -> bool:
    return isinstance(model, WithoutAdapters)


def _weights(model: Any) -> set[tuple[str, int]]:
    return {_place(weight) for weight in model.parameters()}


def _place(weight: Tensor) -> tuple[str, int]:
    """Where a weight lies; weights without data are told apart by their identity."""
    return str(weight.device), weight.data_ptr() or id(weight)
