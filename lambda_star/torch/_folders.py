"""Models, adapters and tokenizers from folders on this disk, GGUF files and the hub.

No pickle is read, and no Python of a folder runs unless it is asked for. What a hub gives is put into a folder
first, so the same checks hold for it.
"""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import torch

from lambda_star._core.extras import missing
from lambda_star.torch import _transformers_for

__all__ = ["add_adapter", "find", "load_model", "load_tokenizer", "load_whole", "model_under", "tokenizer_place"]

SAFE: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}

WANTED = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
"""The files of a repository that are fetched from a hub."""

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")

AGAIN = "copy the folder again, or save it again with save_pretrained"


def find(name: str, trust: bool = False) -> Path:
    """Find the folder or GGUF file that a name means; any other name is one of the hub, whose files are fetched."""
    path = Path(name).expanduser()
    if path.is_dir() or (path.is_file() and path.suffix == ".gguf"):
        return path
    if path.is_file():
        raise ValueError(f"{path} must be a folder with a model or a .gguf file, got another file")
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or path.suffix == ".gguf":
        raise FileNotFoundError(f"{path} must be a folder with a model or a .gguf file, got none")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=[*WANTED, *(["*.py"] if trust else [])]))
    except Exception as error:
        raise ValueError(
            f"{name!r} is neither a folder nor a .gguf file on this disk, and the hub does not give it ({_line(error)})"
        ) from error


def model_under(place: Path, model: str | None, trust: bool = False) -> Path:
    """Find the model that an adapter's folder is for, ``model`` where it is given; a model's own place stays."""
    adapter = _settings(place / "adapter_config.json") if place.is_dir() else {}
    if not adapter or (place / "config.json").exists():
        return place
    name = model or adapter.get("base_model_name_or_path")
    try:
        return find(str(name), trust)
    except (OSError, ValueError) as error:
        remedy = "" if model else "; say where that model is with `model`"
        raise ValueError(f"{place}: the adapter is for {name!r}, which is not found: {error}{remedy}") from error


def tokenizer_place(places: list[Path]) -> Path | None:
    """Find the first place that has a tokenizer."""
    return next((place for place in places if place.is_file() or _has_tokenizer(place)), None)


def load_tokenizer(folder: Path, trust: bool = False) -> Any:
    """Load the tokenizer of a folder or of a GGUF file."""
    with _transformers_for("a folder with a model"):
        from transformers import AutoTokenizer
    if folder.is_file():
        with _reading(folder, "tokenizer"):
            return AutoTokenizer.from_pretrained(folder.parent, gguf_file=folder.name, **SAFE)
    _refuse_code(folder, trust)
    if not _has_tokenizer(folder):
        raise ValueError(
            f"{folder} must hold a tokenizer, got none; save that of the model there with "
            f"tokenizer.save_pretrained({str(folder)!r})"
        )
    with _reading(folder, "tokenizer"):
        return AutoTokenizer.from_pretrained(folder, **SAFE | {"trust_remote_code": trust})


def _has_tokenizer(folder: Path) -> bool:
    return any(any(folder.glob(pattern)) for pattern in ("tokenizer*", "vocab*", "*.model"))


def load_model(folder: Path, dtype: torch.dtype) -> Any:
    """Load the causal language model of a folder, or the adapter in it with the model that it is for."""
    _refuse_code(folder)
    adapter = _settings(folder / "adapter_config.json")
    whole = _base_of(folder, adapter) if adapter and not (folder / "config.json").exists() else folder
    if (folder / "adapter_config.json").exists():
        _refuse_pickles(folder, "adapter_model.safetensors")
    model = load_whole(whole, dtype)
    if whole != folder:
        with _reading(folder, "adapter"):
            info = model.load_adapter(str(folder), adapter_kwargs={"local_files_only": True})
        _refuse_missing(folder, info.missing_keys)
    return model


def load_whole(place: Path, dtype: torch.dtype, trust: bool = False) -> Any:
    """Load the causal language model of a folder or of a GGUF file."""
    with _transformers_for("a folder with a model"):
        from transformers import AutoModelForCausalLM
    if place.is_file():
        with _reading(place, "model"):
            return AutoModelForCausalLM.from_pretrained(place.parent, gguf_file=place.name, dtype=dtype, **SAFE)
    _refuse_code(place, trust)
    if not (place / "config.json").exists():
        raise ValueError(f"{place} must hold a model, got no config.json; {AGAIN}")
    _refuse_pickles(place, "model*.safetensors")
    if (place / "adapter_config.json").exists():  # transformers loads an adapter beside its model by itself
        _refuse_pickles(place, "adapter_model.safetensors")
    with _reading(place, "model"):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            place, dtype=dtype, use_safetensors=True, output_loading_info=True, **SAFE | {"trust_remote_code": trust}
        )
    model, found = loaded
    _refuse_missing(place, found["missing_keys"])
    return model


def add_adapter(model: Any, folder: Path, name: str) -> Any:
    """Add the adapter of a folder to a model under a name, and return the ``PeftModel``."""
    try:
        from peft import PeftConfig, PeftModel
    except ImportError as error:
        raise missing(f"{folder}: an adapter", "peft", "models") from error
    _refuse_pickles(folder, "adapter_model.safetensors")
    with _reading(folder, "adapter"):
        config = PeftConfig.from_pretrained(str(folder), local_files_only=True)
        if config.is_prompt_learning:
            raise ValueError(f"adapters must change the weights of layers, got {config.peft_type}")
        config.inference_mode = True
        if not isinstance(model, PeftModel):
            model = PeftModel(model, config, adapter_name=name, autocast_adapter_dtype=False)
        else:
            model.add_adapter(name, config, autocast_adapter_dtype=False)
        info = model.load_adapter(str(folder), name, autocast_adapter_dtype=False, local_files_only=True)
    _refuse_missing(folder, [key for key in info.missing_keys if name in key.split(".")])  # not those of the other
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


def _refuse_code(folder: Path, trust: bool = False) -> None:
    """Raise an error unless there is a folder whose settings name no Python code, or such code is trusted."""
    if not folder.is_dir():  # transformers would look the name up on a hub
        raise FileNotFoundError(f"{folder} must be a folder with a model, got none")
    if trust:
        return
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
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    logging.set_verbosity_error()  # what transformers would report of missing weights is an error here
    try:
        # PEFT asks transformers by a name that the newest one deprecates; unpacking a GGUF file always shows a bar.
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
            yield
    except ImportError:  # it says which package to install
        raise
    except Exception as error:
        raise ValueError(f"{folder}: the {what} cannot be read ({_line(error)}); {AGAIN}") from error
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
