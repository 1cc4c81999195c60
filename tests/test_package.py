"""What is published: the wheel and the sdist hold what they should, and the README stands on its own on an index."""

from __future__ import annotations

import email
import email.message
import re
import subprocess
import sys
import tarfile
from importlib import metadata
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml

import lambda_star

ROOT = Path(__file__).parent.parent
NAME = f"lambda_star-{lambda_star.__version__}"
HOME = "https://github.com/lambda-star/lambda-star"
RAW = HOME.replace("github", "raw.githubusercontent")
CONDA = {"matplotlib": "matplotlib-base"}
"""What a package is called on conda-forge, where its name is another one."""

pytestmark = pytest.mark.slow


def build(source: Path, target: str, folder: Path) -> Path:
    """Build one file from a folder with the tools that are here, and return it."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (found,) = folder.glob("*.whl" if target == "wheel" else "*.tar.gz")
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, "wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, "sdist", tmp_path_factory.mktemp("sdist"))


def inside(package: Path) -> set[str]:
    """The files in a package."""
    if package.suffix == ".whl":
        with ZipFile(package) as archive:
            return set(archive.namelist())
    with tarfile.open(package) as archive:
        return {name.removeprefix(f"{NAME}/") for name in archive.getnames()}


def kept(*places: str) -> set[str]:
    """The files of the repository in some folders, those included that are new."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *places]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("this is no clone of the repository")
    return {name for name in done.stdout.splitlines() if (ROOT / name).exists()}


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    found = inside(wheel)
    code, info = (
        {name for name in found if name.startswith(start)} for start in ("lambda_star/", f"{NAME}.dist-info/")
    )
    assert code | info == found
    assert code == kept("lambda_star")
    for name in ("py.typed", "cli/demo.csv.gz", "cli/demo.md", "ledger/claims.yaml", "symbolic/text/bernoulli.md"):
        assert f"lambda_star/{name}" in code
    assert "lambda_star/calibration/templates/report.html.jinja" in code
    assert {name.rsplit("/", 1)[1] for name in info} == {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "LICENSE"}
    assert not [name for name in found if re.search(r"test|__pycache__|\.(pyc|safetensors|ipynb|png|jsonl)$", name)]
    assert wheel.stat().st_size < 1_000_000


def test_the_sdist_holds_the_repository_without_the_weights_of_models(sdist: Path) -> None:
    found = inside(sdist)
    adapters = {name for name in kept("examples") if re.match(r"examples/\w+/(\w+_)?(base|teacher)/", name)}
    assert adapters
    assert found == (kept() | {"PKG-INFO"}) - adapters
    for name in ("LICENSE", "CHANGELOG.md", "tests/test_package.py", "examples/rank_by_price/logprobs.csv", "Makefile"):
        assert name in found
    assert not [
        name for name in found if re.search(r"safetensors$|__pycache__|^\.venv|^(dist|out|build)/|\.pyc$", name)
    ]
    assert sdist.stat().st_size < 8_000_000


def test_the_sdist_makes_the_same_wheel_byte_by_byte(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    for path in tmp_path.rglob("*.*"):
        path.chmod(0o700 if path.is_dir() else 0o600)  # neither the rights nor the times of files go into a wheel
    assert build(tmp_path / NAME, "wheel", tmp_path / "built").read_bytes() == wheel.read_bytes()


@pytest.fixture(scope="module")
def described(wheel: Path) -> email.message.Message:
    """The metadata of the wheel."""
    with ZipFile(wheel) as archive:
        return email.message_from_bytes(archive.read(f"{NAME}.dist-info/METADATA"))


def test_the_readme_on_the_index_has_whole_addresses_and_no_formula(described: email.message.Message) -> None:
    payload = described.get_payload(decode=True)
    assert isinstance(payload, bytes)
    shown, here = payload.decode(), (ROOT / "README.md").read_text(encoding="utf-8")
    assert described["Description-Content-Type"] == "text/markdown"
    targets, own = (re.findall(r"\]\(([^)]+)\)", text) for text in (shown, here))
    assert len(targets) == len(own) > 20
    tag = f"v{lambda_star.__version__}"
    for target, name in zip(targets, own, strict=True):
        if name.startswith("https://"):
            assert target == name
        else:
            place = f"{RAW}/{tag}" if name.endswith(".png") else f"{HOME}/blob/{tag}"
            assert target == f"{place}/{name}"
            assert (ROOT / name.partition("#")[0]).exists()
    assert "$$" in here
    assert "$" not in shown
    assert "\n```text\nλ* = 1 + log(1 + (c − 1)/p) / (logit(p) − logit(b))\n```\n" in shown


def test_the_metadata_lead_to_the_project(described: email.message.Message) -> None:
    addresses = dict(value.split(", ") for value in described.get_all("Project-URL", []))
    assert set(addresses) == {"Homepage", "Documentation", "Changelog", "Issues", "Source", "Paper"}
    assert [name for name, address in addresses.items() if not address.startswith(HOME)] == ["Paper"]
    for address in addresses.values():
        if "/blob/main/" in address:
            assert (ROOT / address.partition("/blob/main/")[2]).exists()
    assert described["License-Expression"] == "Apache-2.0"


def test_the_demo_works_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    with ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); from lambda_star.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, "demo"], cwd=tmp_path, capture_output=True, encoding="utf-8", check=False
    )
    assert (done.returncode, done.stderr) == (3, "")
    assert "UNKNOWN λ = 1.25" in done.stdout
    assert str(tmp_path / "site" / "lambda_star" / "cli" / "demo.csv.gz") in done.stdout


def test_the_recipe_of_conda_says_what_the_package_says() -> None:
    recipe = yaml.safe_load((ROOT / "recipe" / "recipe.yaml").read_text(encoding="utf-8"))
    assert recipe["context"]["version"] == lambda_star.__version__
    needed = [line for line in metadata.requires("lambda-star") or [] if "extra ==" not in line]
    words = [re.fullmatch(r"([\w.-]+)(>=[\d.]+)(;.*)?", line.replace(" ", "")) for line in needed]
    named = {f"{CONDA.get(word[1], word[1])} {word[2]}" for word in words if word}
    assert set(recipe["requirements"]["run"]) == named | {"python >=${{ python_min }}"}
    assert len(named) == len(needed)
    assert recipe["build"]["python"]["entry_points"] == ["lambda-star = lambda_star.cli:main"]
    assert recipe["about"]["homepage"] == HOME
