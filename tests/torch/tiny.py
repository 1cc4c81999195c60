"""Tiny random Llama models, a tokenizer of characters with a chat template, and adapters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

CHARACTERS = ["<pad>", "<end>", "<stop>", "<user>", *'[]{}",:0123456789ab ']
TEMPLATE = "{% for m in messages %}<user>{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}[{% endif %}"


def tokenizer(template: str | None = TEMPLATE, characters: list[str] = CHARACTERS) -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.WordLevel({text: place for place, text in enumerate(characters)}, unk_token="<pad>"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex(r"<\w+>|."), "isolated")
    inner.decoder = decoders.Fuse()
    kind: Any = PreTrainedTokenizerFast
    special = {"pad_token": "<pad>", "eos_token": "<end>", "additional_special_tokens": ["<stop>", "<user>"]}
    made = kind(tokenizer_object=inner, **special)
    made.chat_template = template
    return made


def model(seed: int, layers: int = 2, vocabulary: int = len(CHARACTERS), ends: Any = 1) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    sizes: Any = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": layers, "vocab_size": vocabulary}
    sizes |= {"num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.6}
    kind: Any = LlamaForCausalLM
    made = kind(LlamaConfig(**sizes, pad_token_id=0, bos_token_id=None, eos_token_id=ends)).eval()
    made.generation_config.eos_token_id = ends
    return made


def save_model(folder: Path, seed: int = 0, **settings: Any) -> Path:
    """Save a model and its tokenizer."""
    model(seed, **settings).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def save_adapter(folder: Path, whole: Path, seed: int) -> Path:
    """Save an adapter with random weights for the model in a folder."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    loaded = AutoModelForCausalLM.from_pretrained(whole)
    config = LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj", "v_proj", "o_proj"], task_type="CAUSAL_LM")
    adapted = get_peft_model(loaded, config)
    for name, weight in adapted.named_parameters():
        if "lora" in name:
            weight.data.normal_(std=0.7)
    adapted.save_pretrained(str(folder))
    return folder
