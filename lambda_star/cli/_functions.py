"""Functions that a user names: one of a Python file, or one of a module that can be imported."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any


def load_function(text: str) -> Callable[..., Any]:
    """Return the function that ``FILE.py:FUNCTION`` or ``MODULE:FUNCTION`` names, which runs the file or module."""
    path, separator, name = text.rpartition(":")
    if not separator:
        raise ValueError(f"{text} must be followed by a colon and the name of a function")
    found = getattr(_file(path) if path.endswith(".py") else _module(path), name, None)
    if not callable(found):
        raise ValueError(f"{path} must have a function {name}, got none")
    return found  # type: ignore[no-any-return]


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # whatever the module raises
        said = f"{name} cannot be imported ({error}); name a module on the Python path, or a file as FILE.py:FUNCTION"
        raise ValueError(said) from error


def _file(path: str) -> ModuleType:
    file = Path(path)
    if not file.is_file():
        raise ValueError(f"{path} is not a file")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} cannot be loaded as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # a dataclass in the file looks its module up there
    sys.path.insert(0, str(file.parent.resolve()))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise ValueError(f"{path} could not be run: {type(error).__name__}: {error}") from error
    finally:
        sys.path.pop(0)
    return module
