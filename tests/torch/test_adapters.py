"""The base of a student with adapters: its logits are those before training, and the student is left as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

pytest.importorskip("peft", reason="adapters need PEFT: pip install peft")

import peft
from transformers import LlamaConfig, LlamaForCausalLM

from lambda_star.torch.adapters import without_adapters
from lambda_star.torch.metrics import safety_metrics
from lambda_star.torch.teacher import ExtrapolatedTeacher

# PEFT asks transformers by a name that the newest one deprecates.
pytestmark = pytest.mark.filterwarnings(r"ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

IDS = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])


def llama(seed: int, **options: Any) -> Any:
    torch.manual_seed(seed)
    sizes: Any = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "vocab_size": 12}
    sizes |= {"num_attention_heads": 2, "initializer_range": 0.4, "bos_token_id": None, "eos_token_id": None}
    model: Any = LlamaForCausalLM(LlamaConfig(**sizes, **options))
    return model.eval()


LORA: dict[str, Callable[[], Any]] = {
    "lora": lambda: peft.LoraConfig(target_modules=["q_proj", "up_proj"], init_lora_weights=False, lora_dropout=0.5),
    "dora": lambda: peft.LoraConfig(target_modules=["q_proj"], init_lora_weights=False, use_dora=True),
    "ia3": lambda: peft.IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]),
    "whole head": lambda: peft.LoraConfig(
        target_modules=["q_proj"], init_lora_weights=False, modules_to_save=["lm_head"]
    ),
    "whole embedding": lambda: peft.LoraConfig(target_modules=["q_proj"], modules_to_save=["embed_tokens"]),
    "head": lambda: peft.LoraConfig(target_modules=["lm_head"], init_lora_weights=False),
}


def trained(kind: str, **options: Any) -> Any:
    """Make a student whose adapter has moved, in training mode."""
    student = peft.get_peft_model(llama(0, **options), LORA[kind]())
    with torch.no_grad():
        for weight in student.parameters():
            if weight.requires_grad:
                weight.add_(0.3 * torch.randn(weight.shape))
    return student.train()


@pytest.mark.parametrize("kind", LORA)
def test_the_base_is_the_model_before_training(kind: str) -> None:
    student = trained(kind, attention_dropout=0.5)
    copy = llama(0)
    base = without_adapters(student)
    assert not torch.allclose(student.eval()(IDS).logits, copy(IDS).logits, atol=1e-3)
    student.train()
    assert torch.equal(base(IDS).logits, copy(IDS).logits)
    assert torch.equal(base(input_ids=IDS).logits, copy(IDS).logits)
    head = base.get_output_embeddings()
    assert head is not None
    assert torch.equal(head.weight, copy.lm_head.weight)


@pytest.mark.parametrize("kind", LORA)
def test_the_student_is_left_as_it_was(kind: str) -> None:
    student = trained(kind)
    frozen = next(weight for weight in student.parameters() if weight.requires_grad)
    frozen.requires_grad_(False)  # the user froze it, and PEFT would train it again
    before = [(weight.requires_grad, weight.detach().clone()) for weight in student.parameters()]
    loss = student(IDS).logits.logsumexp(-1).sum()  # the base runs between the student's forward and backward pass
    assert not without_adapters(student)(IDS).logits.requires_grad
    loss.backward()
    assert all(module.training for module in student.modules())
    for (requires_grad, value), weight in zip(before, student.parameters(), strict=True):
        assert weight.requires_grad == requires_grad
        assert torch.equal(weight, value)
        assert (weight.grad is not None) == requires_grad


def test_the_student_is_left_as_it_was_after_an_error() -> None:
    student = trained("lora")
    logits = student.eval()(IDS).logits
    student.train()
    with pytest.raises(IndexError):
        without_adapters(student)(torch.tensor([[99]]))
    assert all(module.training for module in student.modules())
    assert torch.equal(student.eval()(IDS).logits, logits)


@pytest.mark.parametrize("kind", ["lora", "whole head"])
@pytest.mark.parametrize("clip", [None, 1.5])
def test_a_mixture_with_the_adapters_off_is_that_with_a_copy(kind: str, clip: float | None) -> None:
    student, teacher = trained(kind), llama(1)
    mixture = ExtrapolatedTeacher(teacher, without_adapters(student), 1.5, clip=clip)
    expected = ExtrapolatedTeacher(teacher, llama(0), 1.5, clip=clip)(IDS).logits
    assert torch.equal(mixture(IDS).logits, expected)
    mixture.train().requires_grad_(False)
    assert all(module.training for module in student.modules())
    assert any(weight.requires_grad for weight in student.parameters())
    assert {id(weight) for weight in mixture.parameters()} == {id(weight) for weight in teacher.parameters()}
    assert not any("lora" in name for name in mixture.state_dict())


def test_a_teacher_with_an_adapter_brings_its_own_base() -> None:
    teacher = trained("lora")
    mixture = ExtrapolatedTeacher(teacher, without_adapters(teacher), 1.5)
    with torch.no_grad():
        expected = 1.5 * teacher(IDS).logits - 0.5 * llama(0)(IDS).logits
    torch.testing.assert_close(mixture(IDS).logits, expected)


def test_metrics_take_the_logits_of_the_base() -> None:
    student, teacher = trained("lora"), llama(1)
    base = without_adapters(student)
    found = [
        safety_metrics(teacher(IDS).logits, of(IDS).logits, student.eval()(IDS).logits, lam=1.2, clip=2.0)
        for of in (base, llama(0))
    ]
    assert found[0] == found[1]


def test_what_has_no_base_inside_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^student must be a PeftModel, got LlamaForCausalLM, which has no adapters"):
        without_adapters(llama(0))
    config = peft.LoraConfig(target_modules=["q_proj"], bias="all")
    with pytest.raises(ValueError, match=r"^student must leave .* got bias='all' in the adapter 'default': biases are"):
        without_adapters(peft.get_peft_model(llama(0), config))
    student = trained("whole head")
    student.base_model.model.model.embed_tokens.weight.requires_grad_(True)
    with pytest.raises(
        ValueError, match=r"^student must train adapters alone, got the weight .*embed_tokens\.weight of"
    ):
        without_adapters(student)
