"""The public door: what is exported, documented, typed and imported."""

from __future__ import annotations

import ast
import doctest
import importlib.util
import inspect
import re
from pathlib import Path
from typing import Any, get_origin

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "lambda_star"
MODULES = [
    "bernoulli",
    "categorical",
    "contract",
    "dynamics",
    "sequence",
    "updates",
    "updates.general",
    "verified",
    "verified.bernoulli",
    "verified.categorical",
    "verified.claims",
    "verified.proofs",
    "verified.updates",
    "calibration",
    "calibration.table",
    "calibration.readers",
    "calibration.readings",
    "calibration.report",
    "calibration.statistics",
    "cliff",
    "cliff.run",
    "ledger",
    "plotting",
    "rehearsal",
    "lint",
    "lint.bounds",
    "torch.step",
    "torch.check",
    "torch.teacher",
    "torch.metrics",
    "torch.monitor",
    "torch.probing",
    "torch.report",
    "torch.predicted",
    "torch.rehearsing",
    "torch.serving",
]
NEED_TRANSFORMERS = {"torch.teacher", "torch.monitor", "torch.serving"}
UNLOADABLE = set() if importlib.util.find_spec("transformers") else NEED_TRANSFORMERS
"""TRL asks for a newer Python than this project."""
MODULES = [module for module in MODULES if module not in UNLOADABLE]
PAGES = {
    "bernoulli": "bernoulli.md",
    "categorical": "categorical.md",
    "dynamics": "dynamics.md",
    "sequence": "sequence.md",
    "updates": "updates.md",
}


def public(module: str) -> dict[str, Any]:
    loaded = importlib.import_module(f"lambda_star.{module}")
    return {f"{module}.{name}": getattr(loaded, name) for name in loaded.__all__}


SYMBOLIC = [
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    for path in sorted((PACKAGE / "symbolic").rglob("*.py"))
    if path.stem != "__init__"
]
INTERNAL = [
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.stem != "__init__"
    and ".".join(path.relative_to(PACKAGE).with_suffix("").parts) not in {*MODULES, *UNLOADABLE}
    if not any(part.startswith("_") for part in path.relative_to(PACKAGE).parts)
]
EVERYTHING = {name: thing for module in MODULES for name, thing in public(module).items()}
FUNCTIONS = {name: thing for name, thing in EVERYTHING.items() if inspect.isfunction(thing)}


@pytest.mark.parametrize("module", [*MODULES, *INTERNAL])
def test_all_names_what_a_module_defines_in_public(module: str) -> None:
    path = PACKAGE.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    defined = {
        n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef) and not n.name.startswith("_")
    }
    assert defined <= set(importlib.import_module(f"lambda_star.{module}").__all__)


DOCUMENTED = EVERYTHING | {name: thing for module in SYMBOLIC for name, thing in public(module).items()}


def has_methods(kind: type) -> bool:
    """Whether a class does more than hold fields: an example is to teach, and fields teach nothing."""
    own = {name for name, thing in vars(kind).items() if inspect.isfunction(thing) and name[0] != "_"}
    return bool(own - {"_replace", "_asdict"}) and not issubclass(kind, tuple)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_every_public_name_is_documented_and_what_does_something_has_an_example(name: str) -> None:
    thing = DOCUMENTED[name]
    if inspect.isfunction(thing) or (inspect.isclass(thing) and get_origin(thing) is None):
        doc = inspect.getdoc(thing) or ""
        assert doc
        if inspect.isfunction(thing) or has_methods(thing):
            assert doctest.DocTestParser().get_examples(doc)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_public_function_says_all_a_user_needs(name: str) -> None:
    doc = inspect.getdoc(FUNCTIONS[name]) or ""
    assert "Returns:" in doc
    described = re.findall(r"^    (\w+): ", doc.split("Returns:")[0], flags=re.MULTILINE)
    assert described == list(inspect.signature(FUNCTIONS[name]).parameters)
    if page := PAGES.get(name.split(".", maxsplit=1)[0]):
        assert "Raises:" in doc
        assert re.search(r"Source: (paper|extension)", doc)
        assert f"derivations/{page}" in doc


@pytest.mark.parametrize("module", PAGES)
def test_derivation_page_names_every_numeric_function(module: str) -> None:
    page = (ROOT / "derivations" / PAGES[module]).read_text(encoding="utf-8")
    assert not [name for name in public(module) if f"{module}.{name}" in FUNCTIONS and f"`{name}`" not in page]


def test_only_the_symbolic_core_imports_sympy() -> None:
    for path in PACKAGE.rglob("*.py"):
        if "symbolic" not in path.parts:
            assert "sympy" not in path.read_text(encoding="utf-8"), path.name
