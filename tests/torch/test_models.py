"""Models from folders: they pass the checks, are ready to be trained, and are refused with a reason."""

from __future__ import annotations

import copy
import io
import json
import pickle
import re
import shutil
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from lambda_star.cli import main
from lambda_star.torch.check import check_step
from lambda_star.torch.models import load_problem, small_problem

# PEFT asks transformers by a name that the newest one deprecates.
pytestmark = pytest.mark.filterwarnings(r"ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

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


def copied(folder: Path, place: Path) -> Path:
    return Path(shutil.copytree(folder, place))


def with_setting(path: Path, **changed: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changed), encoding="utf-8")


CODE = """
from pathlib import Path
from transformers import LlamaConfig, LlamaForCausalLM
Path({mark!r}).touch()
class Own(LlamaForCausalLM): pass
class OwnConfig(LlamaConfig): model_type = "own"
"""


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("kind", ["llama", "own"])
@pytest.mark.parametrize("answer", ["y", "n"])
def test_code_of_a_folder_is_refused_and_does_not_run(
    folders: tuple[Path, Path],
    text: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    file: str,
    kind: str,
    answer: str,
) -> None:
    folder, mark = copied(folders[0], tmp_path / "own"), tmp_path / "it ran"
    (folder / "own.py").write_text(CODE.format(mark=str(mark)), encoding="utf-8")
    names = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.Own", "AutoTokenizer": ["own.Own", None]}
    with_setting(folder / "config.json", model_type=kind)
    with_setting(folder / file, auto_map=names)
    monkeypatch.setattr("builtins.input", lambda *_: answer)
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{answer}\n" * 9))
    for pair in ((folder, folders[1]), (folders[0], folder)):
        if file == "tokenizer_config.json" and pair[0] != folder:
            continue  # the base's tokenizer is not read
        with pytest.raises(
            ValueError, match=rf"{file} must not name Python code, got auto_map=.*; if transformers"
        ) as e:
            load_problem(*pair, text)
        assert "\n" not in str(e.value)
    assert not mark.exists()


class Bomb:
    """A pickle that leaves a mark when it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt"])
def test_pickled_weights_are_refused_and_not_read(
    folders: tuple[Path, Path], text: Path, tmp_path: Path, name: str
) -> None:
    folder, mark = copied(folders[1], tmp_path / "pickled"), tmp_path / "it was read"
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps(Bomb(mark)))
    with pytest.raises(
        ValueError, match=rf"must hold its weights as safetensors, got {name}, a pickle.*save_pretrained$"
    ):
        load_problem(folders[0], folder, text)
    assert not mark.exists()


def test_an_index_that_names_a_pickle_is_refused(folders: tuple[Path, Path], text: Path, tmp_path: Path) -> None:
    folder, mark = copied(folders[1], tmp_path / "pickled"), tmp_path / "it was read"
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    (folder / "weights.bin").write_bytes(pickle.dumps(Bomb(mark)))
    index = {
        "metadata": {},
        "weight_map": {"lm_head.weight": "model-1.safetensors", "model.norm.weight": "weights.bin"},
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(ValueError, match=r"must hold its weights as safetensors, got weights\.bin, a pickle"):
        load_problem(folders[0], folder, text)
    assert not mark.exists()


def test_code_is_found_in_the_settings_of_a_part_and_of_the_model_of_an_adapter(
    folders: tuple[Path, Path], text: Path, tmp_path: Path
) -> None:
    folder = copied(folders[1], tmp_path / "own")
    place = adapter((folders[0], folder), tmp_path / "adapter")
    with_setting(folder / "config.json", parts=[{"text_config": {"auto_map": {"AutoModel": "own.Own"}}}])
    for base in (folder, place):
        with pytest.raises(
            ValueError, match=r"own.config\.json must not name Python code, got auto_map=\{'AutoModel': "
        ):
            load_problem(folders[0], base, text)


def adapter(folders: tuple[Path, Path], place: Path) -> Path:
    """Save an adapter for the base."""
    peft = pytest.importorskip("peft", reason="adapters need PEFT")
    from transformers import AutoModelForCausalLM

    config = peft.LoraConfig(target_modules=["q_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    peft.get_peft_model(AutoModelForCausalLM.from_pretrained(folders[1]), config).save_pretrained(place)
    return place


def test_an_adapter_is_loaded_with_the_model_it_names(folders: tuple[Path, Path], text: Path, tmp_path: Path) -> None:
    place = adapter(folders, tmp_path / "adapter")
    base, found, _, inputs = load_problem(folders[0], place, text)[0:4]
    plain = load_problem(folders[0], folders[1], text)[1]
    assert isinstance(inputs, dict)
    assert not torch.allclose(found(**inputs).logits, plain(**inputs).logits, atol=1e-3)
    from peft import PeftModel

    merged = PeftModel.from_pretrained(copy.deepcopy(plain), str(place)).eval()
    torch.testing.assert_close(found(**inputs).logits, merged(**inputs).logits)
    assert base is not found


@pytest.mark.parametrize("name", ["an/unknown-model", None])
def test_an_adapter_whose_model_is_not_here_is_refused_without_a_hub(
    folders: tuple[Path, Path], text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str | None
) -> None:
    place = adapter(folders, tmp_path / "adapter")
    with_setting(place / "adapter_config.json", base_model_name_or_path=name)
    asked: list[Any] = []
    monkeypatch.setattr(socket.socket, "connect", lambda *call: asked.append(call))
    with pytest.raises(
        ValueError, match=rf"the adapter is for {name!r}, which is not on this disk, and nothing is fet"
    ):
        load_problem(folders[0], place, text)
    assert asked == []


def test_a_pickled_adapter_is_refused_and_not_read(folders: tuple[Path, Path], text: Path, tmp_path: Path) -> None:
    place, mark = adapter(folders, tmp_path / "adapter"), tmp_path / "it was read"
    (place / "adapter_model.safetensors").unlink()
    (place / "adapter_model.bin").write_bytes(pickle.dumps(Bomb(mark)))
    both = copied(folders[1], tmp_path / "both")
    for name in ("adapter_config.json", "adapter_model.bin"):
        shutil.copy(place / name, both / name)
    for folder in (place, both):
        with pytest.raises(ValueError, match=r"must hold its weights as safetensors, got adapter_model\.bin, a pickle"):
            load_problem(folders[0], folder, text)
    assert not mark.exists()


DAMAGE = [
    ("config.json", 20),
    ("config.json", 0),
    ("tokenizer_config.json", 20),
    ("tokenizer.json", 300),
    ("tokenizer.json", 0),
    ("model.safetensors", 20),
    ("model.safetensors", -40),
    ("model.safetensors", 0),
]


@pytest.mark.parametrize(("name", "length"), DAMAGE)
def test_truncated_files_give_one_line_with_a_remedy(
    folders: tuple[Path, Path], text: Path, tmp_path: Path, name: str, length: int
) -> None:
    folder = copied(folders[0], tmp_path / "cut")
    (folder / name).write_bytes((folder / name).read_bytes()[:length])
    with pytest.raises(
        ValueError, match=rf"^{re.escape(str(folder))}.*; copy the folder again, or save it again"
    ) as error:
        load_problem(folder, folders[1], text)
    assert "\n" not in str(error.value)
    command = ["check-step", "--teacher", str(folder), "--base", str(folders[1]), "--text", str(text)]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 2
    assert result.stderr == f"Error: {error.value}\n"


def without_a_weight(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights.pop("model.layers.0.mlp.down_proj.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            without_a_weight,
            r"must hold all weights, got none for model\.layers\.0\.mlp\.down_proj\.weight \(1 missing\);",
        ),
        (
            lambda folder: (folder / "model.safetensors").unlink(),
            r"must hold weights \(model\*\.safetensors\), got none",
        ),
        (lambda folder: (folder / "tokenizer.json").unlink(), r"the tokenizer cannot be read \(ValueError: "),
        (
            lambda folder: (folder / "config.json").write_text("[]"),
            r"config\.json must be a JSON object, got list; copy",
        ),
        (lambda folder: (folder / "config.json").unlink(), r"must hold a model, got no config\.json; copy"),
        (
            lambda folder: with_setting(folder / "config.json", model_type="unheard-of"),
            r"cannot be read \(ValueError: Th",
        ),
        (lambda folder: with_setting(folder / "config.json", hidden_size=24), r"the model cannot be read \("),
    ],
)
def test_malformed_folders_are_refused(
    folders: tuple[Path, Path], text: Path, tmp_path: Path, damage: Any, message: str
) -> None:
    folder = copied(folders[0], tmp_path / "malformed")
    damage(folder)
    with pytest.raises(ValueError, match=message) as error:
        load_problem(folder, folders[1], text)
    assert "\n" not in str(error.value)
    assert str(folder) in str(error.value)


def test_a_folder_without_a_tokenizer_is_refused(folders: tuple[Path, Path], text: Path, tmp_path: Path) -> None:
    folder = copied(folders[0], tmp_path / "mute")
    for path in folder.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(
        ValueError, match=r"mute must hold a tokenizer, got none; save .* tokenizer\.save_pretrained\('"
    ):
        load_problem(folder, folders[1], text)


def test_without_transformers_model_folders_name_the_extra(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    message = "a folder with a model needs transformers; install it with: pip install 'lambda-star[trl]'"
    with pytest.raises(ImportError, match=f"^{re.escape(message)}$"):
        load_problem(text.parent, text.parent, text)


def test_a_device_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match=r"^device must be one that this PyTorch can use, got 'nowhere': "):
        small_problem("nowhere")
