"""The base of a student that trains adapters: the student itself while its adapters are off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

__all__ = ["WithoutAdapters", "without_adapters"]


def without_adapters(student: Any) -> WithoutAdapters:
    """Return the base of a student that trains adapters, without a second copy of its weights.

    A new adapter changes nothing, so a student with the adapters off is its own warm start. The base is called like the
    model, as in ``without_adapters(student)(input_ids=ids).logits``. For the time of a call the adapters are off and
    the student is in evaluation mode, and there are no gradients. It serves as the base of an
    :class:`~lambda_star.torch.teacher.ExtrapolatedTeacher` and of a :class:`~lambda_star.torch.monitor.SafetyMonitor`.

    Args:
        student: a ``PeftModel``. Where a trainer would add the adapter (``peft_config=``), add it with
            ``peft.get_peft_model`` first, and give the trainer the result.

    Returns:
        A :class:`WithoutAdapters`.

    Raises:
        ValueError: the model has no adapters of PEFT, or trains weights of the base with them, so that the base moves.

    Source: extension; the base is π_B of ``derivations/bernoulli.md``.

    >>> student = peft.get_peft_model(warm_start, peft.LoraConfig(task_type="CAUSAL_LM"))  # doctest: +SKIP
    >>> teacher = ExtrapolatedTeacher(teacher_model, without_adapters(student), 1.25)      # doctest: +SKIP
    >>> without_adapters(torch.nn.Linear(2, 2))
    Traceback (most recent call last):
    ValueError: student must be a PeftModel, got Linear, which has no adapters to turn off
    """
    if not (hasattr(student, "disable_adapter") and hasattr(student, "peft_config")):
        raise ValueError(
            f"student must be a PeftModel, got {type(student).__name__}, which has no adapters to turn off"
        )
    for name, config in student.peft_config.items():
        if (bias := getattr(config, "bias", "none")) != "none":
            raise ValueError(
                f"student must leave the weights of its base as they are, got bias={bias!r} in the adapter {name!r}: "
                "biases are trained in place, so the base is gone. Load a second copy of it"
            )
    adapters = set(student.peft_config)  # each is a part of the names of its weights
    for name, weight in student.named_parameters():
        if weight.requires_grad and not adapters & set(name.split(".")):
            raise ValueError(
                f"student must train adapters alone, got the weight {name} of its base, so the base moves. Freeze it, "
                "name its module in modules_to_save, or load a second copy of the base"
            )
    return WithoutAdapters(student)


class WithoutAdapters:
    """A model with adapters seen with the adapters off. It is not a module, so nothing trains, moves or saves it."""

    def __init__(self, student: Any) -> None:
        self.student = student
        self.config = student.config

    @contextmanager
    def off(self) -> Iterator[Any]:
        """Turn the adapters off, without gradients and dropout, and leave the student as it was."""
        modes = [(module, module.training) for module in self.student.modules()]
        # PEFT sets these flags for all adapters when it turns them on again, also for those that were frozen.
        trained = [(weight, weight.requires_grad) for weight in self.student.parameters()]
        self.student.eval()
        try:
            with torch.no_grad(), self.student.disable_adapter():
                yield self.student
        finally:
            for module, training in modes:
                module.training = training
            for weight, requires_grad in trained:
                weight.requires_grad_(requires_grad)

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """Call the student with its adapters off."""
        with self.off() as student:
            return student(*inputs, **options)

    def get_base_model(self) -> Any:
        """The model that the adapters are in."""
        return self.student.get_base_model()

    def get_output_embeddings(self) -> SimpleNamespace | None:
        """The head of the base: its ``weight`` and ``bias``, which are not copied."""
        with self.off() as student:
            head = student.get_output_embeddings()
            if head is None:
                return None
            return SimpleNamespace(weight=head.weight, bias=getattr(head, "bias", None))

    def parameters(self) -> Iterator[Tensor]:
        """The weights of the student, those of the adapters among them."""
        return iter(self.student.parameters())

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """The same with their names."""
        return iter(self.student.named_parameters())

    def modules(self) -> Iterator[torch.nn.Module]:
        """The modules of the student."""
        return iter(self.student.modules())

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        found: torch.device = self.student.device
        return found
