"""The door: what it shows, what it loads, what a type checker sees, and old names that still open it."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lambda_star
from lambda_star import _deprecated, categorical, cliff

ROOT = Path(__file__).parent.parent
SUBMODULES = {
    "bernoulli",
    "calibration",
    "categorical",
    "cliff",
    "contract",
    "dynamics",
    "ledger",
    "lint",
    "plotting",
    "rehearsal",
    "sequence",
    "symbolic",
    "torch",
    "updates",
    "verdict",
    "verified",
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
    "pandas",
    "polars",
    "click",
    "rich",
    *(("array_api_compat",) if hasattr(np, "astype") else ()),  # NumPy before 2.1 is wrapped by it
)


def run(code: str, *words: str) -> str:
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_door_is_small_and_sorted_and_everything_on_it_is_there() -> None:
    assert sorted(lambda_star.__all__) == lambda_star.__all__
    assert len(lambda_star.__all__) <= 14
    assert all(callable(getattr(lambda_star, name)) for name in lambda_star.__all__)


def test_dir_shows_the_names_of_the_door_and_the_submodules_and_nothing_else() -> None:
    assert set(dir(lambda_star)) == {*lambda_star.__all__, *SUBMODULES, "__version__"}
    folders = {path.name.removesuffix(".py") for path in Path(lambda_star.__file__).parent.iterdir()}
    assert {name for name in folders if not name.startswith(("_", "."))} - {"py.typed", "cli"} == SUBMODULES


FIRST_USE = """
import sys
for name in sys.argv[1:]:
    for module in [each for each in sys.modules if each.partition(".")[0] == "lambda_star"]:
        del sys.modules[module]
    import lambda_star as ls
    before = f"lambda_star.{name}" in sys.modules
    getattr(ls, name)
    print(name, before, f"lambda_star.{name}" in sys.modules)
"""


@pytest.mark.slow
def test_a_submodule_loads_on_first_use() -> None:
    seen = [line.split() for line in run(FIRST_USE, *SUBMODULES).splitlines()]
    assert seen == [[name, str(name == "bernoulli"), "True"] for name in SUBMODULES]


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'treshold'"):
        lambda_star.treshold  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize("code", ["from lambda_star import threshold", "from lambda_star import calibrate, read_table"])
def test_imports_load_numpy_and_nothing_heavy(code: str) -> None:
    assert run(f"import sys; {code}; print(*[name for name in {HEAVY} if name in sys.modules])") == ""


def test_evaluating_loads_no_array_library_but_the_callers() -> None:
    code = "import sys, numpy as np, lambda_star as ls; ls.threshold(np.array([.9]), .5, 5.); ls.threshold(.9, .5, 5.)"
    assert run(f"{code}; print(*[name for name in {HEAVY} if name in sys.modules])") == ""


def test_plotting_loads_no_backend() -> None:
    assert run("import sys, lambda_star.plotting; print('matplotlib' in sys.modules)") == "False"


# Names of release 0.1


@pytest.mark.parametrize("old", sorted(_deprecated.MODULES))
def test_an_old_path_works_and_says_the_new_one(old: str) -> None:
    homes = [f"lambda_star.{home}" for home in _deprecated.MODULES[old]]
    names = [name for name in importlib.import_module(homes[0]).__all__ if name[0] != "_"]
    sys.modules.pop(f"lambda_star.{old}", None)
    with pytest.warns(DeprecationWarning, match=homes[0].replace(".", r"\.")) as caught:
        module = importlib.import_module(f"lambda_star.{old}")
    assert caught[0].filename == __file__ or "importlib" in caught[0].filename
    assert all(getattr(module, name) is getattr(importlib.import_module(homes[0]), name) for name in names)
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        module.no_such_name  # noqa: B018


@pytest.mark.parametrize(
    ("module", "old"), [(module, old) for module, names in _deprecated.NAMES.items() for old in names]
)
def test_an_old_name_works_and_says_the_new_one(module: str, old: str) -> None:
    new = _deprecated.NAMES[module][old]
    home, _, name = new.rpartition(".")
    loaded = importlib.import_module(f"lambda_star.{module}" if module else "lambda_star")
    wanted = getattr(importlib.import_module(f"lambda_star.{home}") if home else loaded, name)
    with pytest.warns(DeprecationWarning, match=rf"called .*{name} from release 0\.2 on") as caught:
        found = getattr(loaded, old)
    assert found is wanted or found() is wanted()
    assert caught[0].filename == __file__


@pytest.mark.slow
def test_an_old_keyword_works_and_says_the_new_one() -> None:
    rows = ([-0.1, -2.5], [-0.7, -0.7])
    with pytest.warns(DeprecationWarning, match="min_mass"):
        found = categorical.threshold(*rows, 2.0, floor=0.01)  # type: ignore[call-arg]
    assert found == categorical.threshold(*rows, 2.0, min_mass=0.01)


def test_old_fields_work_and_say_the_new_ones() -> None:
    report = lambda_star.calibrate(lambda_star.read_table(ROOT / "examples/rank_by_price/logprobs.csv"), clip=5.0)
    run = cliff.Comparison("short", "no clip", 3, 1.7, 1.8, 1.71, None, 1.75, 1.72, (None, None))
    fields: list[tuple[Any, str, Any, str]] = [
        (
            found := categorical.threshold([-0.1, -2.5], [-0.7, -0.7], 2.0),
            "threshold",
            found.value,
            r"Threshold\.value",
        ),
        (report.binding, "threshold", report.binding, "ClassReport"),
        (report, "sequences", report.answers, r"Report\.answers"),
        (report, "resolutions", report.readings, r"Report\.readings"),
        (reading := report.readings[0], "mates", reading.same_class, r"Reading\.same_class"),
        (run, "off", run.relative_error, r"Comparison\.relative_error"),
        (cliff.summarise([run]), "worst", abs(run.relative_error), r"Summary\.worst_error"),
    ]
    for record, old, value, said in fields:
        with pytest.warns(DeprecationWarning, match=said) as caught:
            assert getattr(record, old) == value
        assert caught[0].filename == __file__


def test_an_old_path_is_imported_as_before() -> None:
    code = "import warnings; warnings.simplefilter('ignore'); from lambda_star.io import read_table, Table"
    code += "; from lambda_star.torch.experiment import run, PRESETS; import lambda_star.inverse; print(read_table)"
    assert "function read_table" in run(code)


def test_package_is_marked_typed() -> None:
    assert (ROOT / "lambda_star" / "py.typed").exists()


def test_version_is_the_same_everywhere() -> None:
    version = lambda_star.__version__
    assert f'version = "{version}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f"version: {version}" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
