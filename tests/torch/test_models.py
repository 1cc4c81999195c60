"""Models from folders: they pass the checks, are ready to be trained, and are refused with a reason."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from lambda_star.torch.check import check_step
from lambda_star.torch.models import load_problem, small_problem

WORDS = ["<unknown>", "the", "cat", "sat", "on", "a", "mat", "and", "dog", "ran", "off"]


def save(folder: Path, words: list[str], seed: int) -> Path:
    """Save a tiny Llama model and a tokenizer of words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(seed)
    sizes: Any = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    sizes |= {"num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": len(words), "initializer_range": 0.5}
    special: Any = {"pad_token_id": 0, "bos_token_id": None, "eos_token_id": None}
    LlamaForCausalLM(LlamaConfig(**sizes, **special)).save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token=words[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    kind: Any = PreTrainedTokenizerFast
    kind(tokenizer_object=tokenizer, unk_token=words[0]).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    pytest.importorskip("transformers", reason="model folders need transformers: pip install 'lambda-star[trl]'")
    place = tmp_path_factory.mktemp("models")
    return save(place / "teacher", WORDS, 0), save(place / "base", WORDS, 1)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("the cat sat on a mat and the dog ran off\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_models_from_folders_pass(folders: tuple[Path, Path], text: Path, dtype: str) -> None:
    report = check_step(*load_problem(*folders, text, dtype=dtype))
    assert len(report.lines) == 9
    assert report.passed
    assert (report.dtype, report.positions, report.tokens) == (dtype, 11, 11)


def test_models_from_folders_are_ready_to_be_trained_on_the_text(folders: tuple[Path, Path], text: Path) -> None:
    teacher, base, student, inputs = load_problem(*folders, text)
    assert isinstance(inputs, dict)
    assert inputs["input_ids"].tolist() == [[1, 2, 3, 4, 5, 6, 7, 1, 8, 9, 10]]
    assert not any(model.training for model in (teacher, base, student))
    kept, copied = base.state_dict(), student.state_dict()
    assert all(torch.equal(copied[name], weight) for name, weight in kept.items())
    assert not torch.equal(teacher(**inputs).logits, base(**inputs).logits)
    for weight, original in zip(student.parameters(), base.parameters(), strict=True):
        assert weight.requires_grad
        assert weight.data_ptr() != original.data_ptr()


@pytest.mark.parametrize("content", ["", " \n"])
def test_an_empty_text_is_refused(folders: tuple[Path, Path], tmp_path: Path, content: str) -> None:
    path = tmp_path / "empty.txt"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))} must hold text, got an empty file$"):
        load_problem(*folders, path)


def test_a_text_that_is_no_utf8_is_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes(b"\xff\xfe\x80")
    with pytest.raises(ValueError, match="'utf-8' codec can't decode byte 0xff"):
        load_problem(*folders, path)


@pytest.mark.parametrize("missing", ["teacher", "base", "text"])
def test_what_cannot_be_read_is_an_error_of_the_system(
    folders: tuple[Path, Path], text: Path, tmp_path: Path, missing: str
) -> None:
    given: Any = {"teacher": folders[0], "base": folders[1], "text": text} | {missing: tmp_path / "nowhere"}
    with pytest.raises(OSError, match=re.escape(str(tmp_path / "nowhere"))):
        load_problem(**given)


def test_a_folder_without_a_model_is_refused(folders: tuple[Path, Path], text: Path, tmp_path: Path) -> None:
    for pair in ((tmp_path, folders[1]), (folders[0], tmp_path)):
        with pytest.raises((OSError, ValueError)):
            load_problem(*pair, text)


def test_without_transformers_model_folders_name_the_extra(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    message = "a folder with a model needs transformers; install it with: pip install 'lambda-star[trl]'"
    with pytest.raises(ImportError, match=f"^{re.escape(message)}$"):
        load_problem(text.parent, text.parent, text)


def test_a_device_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match=r"^device must be one that this PyTorch can use, got 'nowhere': "):
        small_problem("nowhere")
