"""The public door: what is exported, documented, typed and imported."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import lambda_star

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "lambda_star"
MODULES = [
    "bernoulli",
    "categorical",
    "contract",
    "dynamics",
    "sequence",
    "calibration",
    "calibration.table",
    "calibration.readers",
    "calibration.readings",
    "calibration.report",
    "calibration.statistics",
    "cliff",
    "cliff.record",
    "cliff.presets",
    "cliff.run",
    "cliff.task",
    "cliff.model",
    "plotting",
    "lint",
    "lint.bounds",
    "torch.step",
    "torch.check",
    "torch.models",
    "torch.teacher",
    "torch.metrics",
    "torch.monitor",
]
PAGES = {
    "bernoulli": "bernoulli.md",
    "categorical": "categorical.md",
    "dynamics": "dynamics.md",
    "sequence": "sequence.md",
}
HEAVY = (
    "yaml",
    "scipy",
    "sympy",
    "mpmath",
    "matplotlib",
    "torch",
    "jax",
    "pyarrow",
    "click",
    "rich",
    "array_api_compat",
)


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
    if path.stem != "__init__" and ".".join(path.relative_to(PACKAGE).with_suffix("").parts) not in MODULES
]
EVERYTHING = {name: thing for module in MODULES for name, thing in public(module).items()}
FUNCTIONS = {name: thing for name, thing in EVERYTHING.items() if inspect.isfunction(thing)}


def test_the_door_is_sorted_and_opens_every_numeric_name() -> None:
    assert sorted(set(lambda_star.__all__), key=str) == lambda_star.__all__
    numeric = {name.split(".")[1] for name in public("bernoulli")}
    assert set(lambda_star.__all__) == numeric | {"calibrate", "read_table"}
    assert all(getattr(lambda_star, name) for name in lambda_star.__all__)


@pytest.mark.parametrize("module", [*MODULES, *INTERNAL])
def test_all_names_what_a_module_defines_in_public(module: str) -> None:
    path = PACKAGE.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    defined = {
        n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef) and not n.name.startswith("_")
    }
    assert defined <= set(importlib.import_module(f"lambda_star.{module}").__all__)


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'treshold'"):
        lambda_star.treshold  # noqa: B018


DOCUMENTED = EVERYTHING | {name: thing for module in SYMBOLIC for name, thing in public(module).items()}


@pytest.mark.parametrize("name", DOCUMENTED)
def test_every_public_name_is_documented_with_an_example(name: str) -> None:
    thing = DOCUMENTED[name]
    if inspect.isfunction(thing) or inspect.isclass(thing):
        assert doctest.DocTestParser().get_examples(inspect.getdoc(thing) or "")


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


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize("code", ["from lambda_star import threshold", "from lambda_star import calibrate, read_table"])
def test_imports_load_numpy_and_nothing_heavy(code: str) -> None:
    loaded = run(f"import sys; {code}; print(*[name for name in {HEAVY} if name in sys.modules])")
    assert loaded == ""


def test_evaluating_loads_no_array_library_but_the_callers() -> None:
    code = "import sys, numpy as np, lambda_star as ls; ls.threshold(np.array([.9]), .5, 5.); ls.threshold(.9, .5, 5.)"
    assert run(f"{code}; print(*[name for name in {HEAVY} if name in sys.modules])") == ""


def test_plotting_loads_no_backend() -> None:
    assert run("import sys, lambda_star.plotting; print('matplotlib' in sys.modules)") == "False"


def test_only_the_symbolic_core_imports_sympy() -> None:
    for path in PACKAGE.rglob("*.py"):
        if "symbolic" not in path.parts:
            assert "sympy" not in path.read_text(encoding="utf-8"), path.name


def test_package_is_marked_typed() -> None:
    assert (ROOT / "lambda_star" / "py.typed").exists()


def test_version_is_the_same_everywhere() -> None:
    version = lambda_star.__version__
    assert f'version = "{version}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f"version: {version}" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
