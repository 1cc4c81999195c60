"""Models and tokenizers from folders on this disk. No Python of a folder runs, no pickle is read, no hub is asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from lambda_star.torch import _transformers_for

__all__ = ["load_model", "load_tokenizer"]

SAFE: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")

AGAIN = "copy the folder again, or save it again with save_pretrained"


def load_tokenizer(folder: Path) -> Any:
    """Load the tokenizer of a folder."""
    with _transformers_for("a folder with a model"):
        from transformers import AutoTokenizer
    _refuse_code(folder)
    if not any(folder.glob("tokenizer*")) and not any(folder.glob("vocab*")) and not any(folder.glob("*.model")):
        raise ValueError(
            f"{folder} must hold a tokenizer, got none; save that of the model there with "
            f"tokenizer.save_pretrained({str(folder)!r})"
        )
    with _reading(folder, "tokenizer"):
        return AutoTokenizer.from_pretrained(folder, **SAFE)


def load_model(folder: Path, dtype: torch.dtype) -> Any:
    """Load the causal language model of a folder, or the adapter in it with the model that it is for."""
    with _transformers_for("a folder with a model"):
        from transformers import AutoModelForCausalLM
    _refuse_code(folder)
    adapter = _settings(folder / "adapter_config.json")
    whole = _base_of(folder, adapter) if adapter and not (folder / "config.json").exists() else folder
    _refuse_code(whole)
    if not (whole / "config.json").exists():
        raise ValueError(f"{whole} must hold a model, got no config.json; {AGAIN}")
    _refuse_pickles(whole, "model*.safetensors")
    for each in {folder, whole}:
        if (each / "adapter_config.json").exists():  # transformers loads an adapter beside its model by itself
            _refuse_pickles(each, "adapter_model.safetensors")
    with _reading(whole, "model"):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            whole, dtype=dtype, use_safetensors=True, output_loading_info=True, **SAFE
        )
    model, found = loaded
    _refuse_missing(whole, found["missing_keys"])
    if whole != folder:
        with _reading(folder, "adapter"):
            info = model.load_adapter(str(folder), adapter_kwargs={"local_files_only": True})
        _refuse_missing(folder, info.missing_keys)
    return model


def _base_of(folder: Path, adapter: dict[str, Any]) -> Path:
    """Find the folder of the model that an adapter is for: one that it names, or one in the local cache of the hub."""
    from huggingface_hub import snapshot_download

    name = adapter.get("base_model_name_or_path")
    if isinstance(name, str) and Path(name).is_dir():
        return Path(name)
    try:
        return Path(snapshot_download(str(name), local_files_only=True))
    except Exception as error:
        raise ValueError(
            f"{folder}: the adapter is for {name!r}, which is not on this disk, and nothing is fetched from a hub; "
            "set base_model_name_or_path in its adapter_config.json to the folder of that model"
        ) from error


def _settings(path: Path) -> dict[str, Any]:
    """Read a JSON object, empty where there is no such file."""
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} must be JSON, got {_line(error)}; {AGAIN}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must be a JSON object, got {type(content).__name__}; {AGAIN}")
    return content


def _refuse_code(folder: Path) -> None:
    """Raise an error unless there is a folder whose settings name no Python code."""
    if not folder.is_dir():  # transformers would look the name up on a hub
        raise FileNotFoundError(f"{folder} must be a folder with a model, got none")
    for path in (folder / "config.json", folder / "tokenizer_config.json"):
        if code := _code_in(_settings(path)):
            raise ValueError(
                f"{path} must not name Python code, got auto_map={code!r}, and code of a folder is never run; if "
                "transformers itself has this model, remove auto_map from the file"
            )


def _code_in(settings: Any) -> Any:
    """Find the first ``auto_map`` in settings, which may hold those of further models."""
    if isinstance(settings, list):
        return next(filter(None, map(_code_in, settings)), None)
    if not isinstance(settings, dict):
        return None
    return settings.get("auto_map") or _code_in([*settings.values()])


def _refuse_pickles(folder: Path, weights: str) -> None:
    """Raise ``ValueError`` unless there are weights as safetensors."""
    named = _settings(folder / "model.safetensors.index.json").get("weight_map", {})
    pickles = sorted({str(name) for name in named.values() if not str(name).endswith(".safetensors")})
    if any(folder.glob(weights)) and not pickles:
        return
    pickles += sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
    if pickles:
        raise ValueError(
            f"{folder} must hold its weights as safetensors, got {pickles[0]}, a pickle, which can run code when it is "
            "read; where you trust the file, load it with transformers and save it with save_pretrained"
        )
    raise ValueError(f"{folder} must hold weights ({weights}), got none; {AGAIN}")


def _refuse_missing(folder: Path, missing: Any) -> None:
    """Raise ``ValueError`` if the weights are incomplete: transformers would fill in random numbers."""
    if missing:
        raise ValueError(
            f"{folder} must hold all weights, got none for {min(missing)} ({len(missing)} missing); {AGAIN}"
        )


@contextmanager
def _reading(folder: Path, what: str) -> Iterator[None]:
    """Turn any error of reading, whose type differs from file to file, into one line that names the folder."""
    from transformers.utils import logging as noise

    logging: Any = noise  # it is untyped
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # what transformers would report of missing weights is an error here
    try:
        yield
    except ImportError:  # it says which package to install
        raise
    except Exception as error:
        raise ValueError(f"{folder}: the {what} cannot be read ({_line(error)}); {AGAIN}") from error
    finally:
        logging.set_verbosity(verbosity)


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
