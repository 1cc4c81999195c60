"""Pairs from folders: weights are held once, adapters are switched, and what does not fit is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.torch import tiny

pytest.importorskip("transformers", reason="the models need transformers: pip install 'lambda-star[models]'")

from lambda_star.torch import _folders, without_adapters
from lambda_star.torch.models import load_pair, pair_of
from lambda_star.torch.pairs import Handle, Pair
from lambda_star.torch.sampling import Sampled, sample

# PEFT asks transformers by a name that the newest one deprecates.
pytestmark = pytest.mark.filterwarnings(r"ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

IDS = torch.tensor([[4, 5, 6, 7]])


def test_the_bars_of_loading_are_not_shown(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from tqdm import tqdm  # type: ignore[import-untyped]

    with _folders._reading(tmp_path, "model"):
        assert list(tqdm([1, 2], desc="Converting")) == [1, 2]  # as transformers does where it unpacks a GGUF file
    assert capfd.readouterr() == ("", "")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("models")
    whole = tiny.save_model(place / "whole", 0, ends=[1, 2])
    tiny.save_model(place / "other", 7)
    for name, seed in (("teacher", 1), ("base", 2)):
        tiny.save_adapter(place / name, whole, seed)
    return place


def alone(folder: Path, whole: Path) -> Tensor:
    """The logits of a model that is loaded by itself, with PEFT where there is an adapter."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(whole)
    if folder != whole:
        model = PeftModel.from_pretrained(model, str(folder))
    with torch.no_grad():
        logits: Tensor = model.eval()(IDS).logits
    return logits


def logits(model: Handle) -> Tensor:
    with torch.no_grad():
        return model(IDS, torch.ones_like(IDS), cache=False)[0]


@pytest.mark.parametrize(
    ("teacher", "base"),
    [("teacher", "base"), ("teacher", "whole"), ("whole", "base"), ("whole", "other"), ("teacher", "other")],
)
def test_both_models_say_what_they_say_alone_however_often_they_take_turns(
    folders: Path, teacher: str, base: str
) -> None:
    pair = load_pair(folders / teacher, folders / base)
    for _ in range(2):
        for model, name in ((pair.teacher, teacher), (pair.base, base)):
            wanted = alone(folders / name, folders / ("other" if name == "other" else "whole"))
            assert torch.allclose(logits(model), wanted, atol=1e-5)
    assert pair.names == (str(folders / teacher), str(folders / base))
    assert not torch.allclose(logits(pair.teacher), logits(pair.base), atol=0.1)


def test_two_adapters_hold_the_weights_of_their_model_once(folders: Path) -> None:
    pair = load_pair(folders / "teacher", folders / "base")
    assert pair.teacher.model is pair.base.model
    whole = sum(weight.numel() for weight in tiny.model(0).parameters())
    adapters = sum(weight.numel() for name, weight in pair.teacher.model.named_parameters() if "lora" in name)
    assert sum(weight.numel() for weight in pair.teacher.model.parameters()) == whole + adapters
    assert not any(weight.requires_grad for name, weight in pair.teacher.model.named_parameters() if "lora" in name)


def test_the_model_under_adapters_can_be_said(folders: Path, tmp_path: Path) -> None:
    for name in ("teacher", "base"):
        shutil.copytree(folders / name, tmp_path / name)
        settings = tmp_path / name / "adapter_config.json"
        changed = json.loads(settings.read_text(encoding="utf-8")) | {"base_model_name_or_path": "./moved"}
        settings.write_text(json.dumps(changed), encoding="utf-8")
    with pytest.raises(ValueError, match=r"the adapter is for './moved', which is not found: .*; say .* with `model`"):
        load_pair(tmp_path / "teacher", tmp_path / "base")
    pair = load_pair(tmp_path / "teacher", tmp_path / "base", model=folders / "whole")
    assert torch.allclose(logits(pair.base), alone(folders / "base", folders / "whole"), atol=1e-5)
    assert pair.names[2] == str(folders / "whole")


def test_the_ends_come_from_the_settings_for_generation_and_the_tokenizer(folders: Path) -> None:
    pair = load_pair(folders / "teacher", folders / "base")
    assert pair.ends == (1, 2)
    answer = [tiny.CHARACTERS.index(text) for text in ("[", "a", "]", "<stop>")]
    assert pair.text(answer) == pair.text(answer[:-1]) == "[a]"
    assert pair.pieces(answer) == ["[", "a", "]", "<stop>"]
    assert pair.pieces(answer[:-1]) == ["[", "a", "]"]
    assert pair.pieces([]) == []


def test_bfloat16_is_the_dtype_of_models_and_adapters(folders: Path) -> None:
    pair = load_pair(folders / "teacher", folders / "base", dtype="bfloat16")
    assert {weight.dtype for weight in pair.base.model.parameters()} == {torch.bfloat16}
    assert torch.allclose(logits(pair.base).float(), alone(folders / "base", folders / "whole"), atol=0.3)


@pytest.mark.parametrize("lam", [0.0, 1.0])
def test_a_student_and_itself_without_its_adapters_are_a_pair(folders: Path, lam: float) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    student: Any = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(folders / "whole"), str(folders / "teacher"), is_trainable=True
    )

    def answers(pair: Pair) -> list[Sampled]:
        options: Any = {"keys": [0, 1], "seed": 0, "batch": 2, "max_tokens": 6}
        return [*sample(pair, [[4, 5], [6]], lambda t, b, _: lam * t + (1 - lam) * b, **options)]

    pair = pair_of(student, without_adapters(student), tiny.tokenizer())
    assert answers(pair) == answers(load_pair(folders / "teacher", folders / "whole"))
    assert any(weight.requires_grad for weight in student.parameters())


def test_padding_of_a_larger_vocabulary_is_cut_off() -> None:
    tokenizer = tiny.tokenizer()
    pair = pair_of(
        tiny.model(0, vocabulary=len(tokenizer) + 6), tiny.model(1, vocabulary=len(tokenizer) + 2), tokenizer
    )
    assert pair.vocabulary == len(tokenizer) + 2


def test_models_that_do_not_fit_are_refused(folders: Path, tmp_path: Path) -> None:
    tokenizer = tiny.tokenizer()
    with pytest.raises(ValueError, match=r"base must have logits for all \d+ tokens of the tokenizer, got 9"):
        pair_of(tiny.model(0), tiny.model(1, vocabulary=9), tokenizer)
    with pytest.raises(ValueError, match="dtype must be a floating dtype of PyTorch such as 'bfloat16', got 'int8'"):
        load_pair(folders / "whole", folders / "other", dtype="int8")
    with pytest.raises(ValueError, match="base must be another model than the teacher"):
        load_pair(folders / "whole", folders / "whole")
    swapped = [*tiny.CHARACTERS]
    swapped[4:6] = swapped[5:3:-1]
    shutil.copytree(folders / "other", tmp_path / "swapped")
    tiny.tokenizer(characters=swapped).save_pretrained(tmp_path / "swapped")
    with pytest.raises(ValueError, match=r"base must have the teacher's vocabulary, got ']' for token 4 in .*swapped"):
        load_pair(folders / "whole", tmp_path / "swapped")


def test_a_missing_tokenizer_is_said_with_the_remedy(folders: Path, tmp_path: Path) -> None:
    bare = Path(shutil.copytree(folders / "whole", tmp_path / "bare"))
    for path in bare.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(ValueError, match=r"bare must hold a tokenizer, got none; save .*save_pretrained\('.*bare'\)"):
        load_pair(bare, folders / "other")
    assert isinstance(load_pair(folders / "other", bare), Pair)  # the base needs none


def test_a_pickled_adapter_is_refused(folders: Path, tmp_path: Path) -> None:
    pickled = Path(shutil.copytree(folders / "base", tmp_path / "pickled"))
    (pickled / "adapter_model.safetensors").rename(pickled / "adapter_model.bin")
    with pytest.raises(ValueError, match=r"must hold its weights as safetensors, got adapter_model\.bin, a pickle"):
        load_pair(folders / "teacher", pickled)


def test_an_adapter_without_all_weights_is_refused(folders: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    cut = Path(shutil.copytree(folders / "base", tmp_path / "cut"))
    weights = load_file(cut / "adapter_model.safetensors")
    weights.pop(min(weights))
    save_file(weights, cut / "adapter_model.safetensors")
    with pytest.raises(ValueError, match=r"cut must hold all weights, got none for .*lora_A.* \(1 missing\)"):
        load_pair(folders / "teacher", cut)


CODE = """
from transformers import LlamaConfig, LlamaForCausalLM
class OwnConfig(LlamaConfig): model_type = "own"
class Own(LlamaForCausalLM): config_class = OwnConfig
"""


def test_code_of_a_model_runs_only_where_it_is_trusted(folders: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(folders / "other", tmp_path / "own"))
    (own / "own.py").write_text(CODE, encoding="utf-8")
    names = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.Own"}
    settings = json.loads((own / "config.json").read_text(encoding="utf-8")) | {"model_type": "own", "auto_map": names}
    (own / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(ValueError, match=r"must not name Python code, got auto_map="):
        load_pair(folders / "whole", own)
    assert type(load_pair(folders / "whole", own, trust_remote_code=True).base.model).__name__ == "Own"


def test_a_name_of_the_hub_is_fetched_without_pickles(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked = []

    def fetch(name: str, allow_patterns: list[str]) -> str:
        asked.append((name, allow_patterns))
        if name == "some/other":
            return str(folders / "other")
        raise OSError("no such repository")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    assert torch.equal(logits(load_pair(folders / "whole", "some/other").base), alone(*[folders / "other"] * 2))
    assert asked == [("some/other", _folders.WANTED)]
    with pytest.raises(ValueError, match=r"'some/nothing' is neither a folder nor .* \(OSError: no such repository\)"):
        load_pair(folders / "whole", "some/nothing")
    with pytest.raises(FileNotFoundError, match=r"/nowhere/at/all must be a folder with a model or a .gguf file"):
        load_pair(folders / "whole", "/nowhere/at/all")
