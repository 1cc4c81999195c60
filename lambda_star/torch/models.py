"""Models by name: a teacher and a base side by side, and what :func:`~lambda_star.torch.check.check_step` runs on."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lambda_star.torch._folders import (
    add_adapter,
    find,
    load_model,
    load_tokenizer,
    load_whole,
    model_under,
    tokenizer_place,
)
from lambda_star.torch.check import Inputs
from lambda_star.torch.pairs import Pair, adapters_of, pair_of

__all__ = ["Pair", "load_pair", "load_problem", "pair_of", "small_problem"]

NAMES = ("teacher", "base")

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


def load_pair(
    teacher: str | Path,
    base: str | Path,
    *,
    model: str | Path | None = None,
    dtype: str | torch.dtype = "float32",
    device: str = "cpu",
    trust_remote_code: bool = False,
) -> Pair:
    """Return a teacher and a base side by side, loaded by name.

    Two adapters of one model, or a model and its adapter, share one copy of the model's weights. Weights must be
    safetensors or GGUF.

    Args:
        teacher: folder of a Hugging Face causal language model or of a PEFT adapter, a .gguf file, or a name on the
            Hugging Face hub. The tokenizer comes from there, or from the model under the adapter.
        base: the same for the base.
        model: the model that adapters are for, where their settings do not say where it is.
        dtype: the floating dtype in which the models compute, such as ``"bfloat16"``.
        device: where the models run, for instance ``"cuda"``.
        trust_remote_code: whether Python code that comes with a model may run.

    Returns:
        A :class:`~lambda_star.torch.pairs.Pair`.

    Raises:
        ValueError: a model or adapter is damaged, incomplete or a pickle, or names Python code; there is no tokenizer,
            the vocabularies differ, the two are the same, or PyTorch cannot use the device.
        OSError: there is no such folder or file.

    >>> pair = load_pair("runs/teacher", "runs/base", model="SmolLM2.gguf")      # doctest: +SKIP
    """
    _check_device(device)
    kind = getattr(torch, str(dtype).removeprefix("torch."), None)
    if not isinstance(kind, torch.dtype) or not kind.is_floating_point:
        raise ValueError(f"dtype must be a floating dtype of PyTorch such as 'bfloat16', got {dtype!r}")
    places = [find(str(name), trust_remote_code) for name in (teacher, base)]
    if places[0].resolve() == places[1].resolve():
        raise ValueError(f"base must be another model than the teacher, got {base} for both: no λ changes anything")
    under = [model_under(place, None if model is None else str(model), trust_remote_code) for place in places]
    tokenizer = _tokenizer([places[0], under[0]], [places[1], under[1]], trust_remote_code)
    if under[0].resolve() == under[1].resolve():
        shared = load_whole(under[0], kind, trust_remote_code)
        names = [None if place == whole else name for name, place, whole in zip(NAMES, places, under, strict=True)]
        for name, place in zip(names, places, strict=True):
            shared = add_adapter(shared, place, name) if name else shared
        pair = adapters_of(shared.to(device), names[0], names[1], tokenizer)
    else:
        models = [load_whole(whole, kind, trust_remote_code) for whole in under]
        for at, (place, whole) in enumerate(zip(places, under, strict=True)):
            models[at] = (models[at] if place == whole else add_adapter(models[at], place, NAMES[at])).to(device)
        pair = pair_of(models[0], models[1], tokenizer)
    return replace(pair, names=tuple(str(name) for name in (teacher, base, model) if name is not None))


def _tokenizer(teacher: list[Path], base: list[Path], trust: bool) -> Any:
    """Load the teacher's tokenizer; the base's own must have no other token for any id."""
    places = [tokenizer_place(each) for each in (teacher, base)]
    tokenizer = load_tokenizer(places[0] or teacher[0], trust)
    if places[1] is None or places[1] == places[0]:
        return tokenizer
    mine = {number: token for token, number in tokenizer.get_vocab().items()}
    for token, number in sorted(load_tokenizer(places[1], trust).get_vocab().items(), key=lambda item: item[1]):
        if mine.get(number, token) != token:
            raise ValueError(
                f"base must have the teacher's vocabulary, got {token!r} for token {number} in {places[1]}, which is "
                f"{mine[number]!r} in the teacher's"
            )
    return tokenizer


def _check_device(device: str) -> None:
    """Raise ``ValueError`` if no tensor can be made there; PyTorch's own errors differ from device to device."""
    try:
        torch.zeros(1, device=device)
    except (AssertionError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device must be one that this PyTorch can use, got {device!r}: {reason}") from error
