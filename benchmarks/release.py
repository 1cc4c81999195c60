"""What a release takes: `make release` builds twice, compares, checks, installs and runs, and lists the rest.

Nothing is published and nothing in the work tree is changed. The commit that is checked out is cloned into two folders,
built in each with a file mask of its own, and the files must be the same byte by byte. The wheel is then installed into
an empty environment, where ``lambda-star demo`` must work from any folder. What passed lies in ``dist/``.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import lambda_star

ROOT = Path(__file__).parent.parent
DIST = ROOT / "dist"
VERSION = lambda_star.__version__
TEMPLATES = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))

RENDER = "import sys, rattler_build as r; r.Stage0Recipe.from_file(sys.argv[1]).render(r.VariantConfig())"

BY_HAND = """\
By hand remain, in this order:
  1. `make test check nightly lowest` passed on this commit, and `make gpu` on a machine with a GPU.
  2. The repository is public at {home}, the address in pyproject.toml,
     recipe/recipe.yaml and the links of the README on the index. If it is not, change the address and begin again.
  3. git tag -a v{version} -m "Release {version}" && git push origin v{version}
     The README on the index links to files of this tag.
  4. twine upload dist/*.whl dist/*.tar.gz
  5. pip install lambda-star=={version} in an empty environment, and lambda-star demo.
  6. A feedstock of conda-forge takes dist/recipe.yaml, with the names of those who keep it.
  7. A new heading "Unreleased" in CHANGELOG.md, and the next version in pyproject.toml, lambda_star/__init__.py,
     CITATION.cff and recipe/recipe.yaml. Release 0.3 deletes lambda_star/_deprecated.py and what calls it."""


def run(*words: str | Path, cwd: Path = ROOT, status: int = 0, mask: int = 0o022, **variables: str) -> str:
    """Run a command and return what it printed, or stop with that if it ends with another status."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | variables
    done = subprocess.run(
        [*map(str, words)], cwd=cwd, env=environment, umask=mask, capture_output=True, text=True, check=False
    )
    if done.returncode != status:
        sys.exit(f"{' '.join(map(str, words))}\nended with status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def stale() -> Iterator[str]:
    """What of the version is not as it is in the package, and what is not committed."""
    for name, text in (
        ("pyproject.toml", f'version = "{VERSION}"'),
        ("CITATION.cff", f"version: {VERSION}"),
        ("recipe/recipe.yaml", f'version: "{VERSION}"'),
    ):
        if text not in (ROOT / name).read_text(encoding="utf-8"):
            yield f"{name} has no line {text}"
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    if not re.search(rf"^## {re.escape(VERSION)} \(\d{{4}}-\d\d-\d\d\)$", changes, re.MULTILINE):
        yield f"CHANGELOG.md has no heading with {VERSION} and its date"
    if run("git", "status", "--porcelain"):
        yield "there are changes that are not committed"
    if run("git", "tag", "--list", f"v{VERSION}"):
        yield f"the tag v{VERSION} is there already"


def build(commit: str, folder: Path, mask: int) -> dict[str, bytes]:
    """Clone a commit into a new folder, build it, and return the wheel and the sdist by name."""
    run("git", "clone", "--quiet", "--no-checkout", ROOT, folder, mask=mask)
    run("git", "checkout", "--quiet", commit, cwd=folder, mask=mask)
    pins = str(ROOT / "constraints.txt")
    run(sys.executable, "-m", "build", "--outdir", folder / "built", folder, cwd=folder, mask=mask, PIP_CONSTRAINT=pins)
    return {path.name: path.read_bytes() for path in sorted((folder / "built").iterdir())}


def install(wheel: Path, folder: Path) -> None:
    """Install the wheel into an empty environment, print what that takes, and run the demo there."""
    venv.create(folder / "env", with_pip=True)
    before, start = size(folder), time.monotonic()
    python = folder / "env" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel, cwd=folder)
    seconds = time.monotonic() - start
    print(f"installed into an empty environment in {seconds:.0f} s, {(size(folder) - before) / 1e6:.0f} MB")
    start = time.monotonic()
    run(python, "-c", "import lambda_star", cwd=folder)
    print(f"`import lambda_star` takes {time.monotonic() - start:.2f} s, the first time")
    command = folder / "env" / "bin" / "lambda-star"
    said = run(command, "--version", cwd=folder)
    if VERSION not in said:
        sys.exit(f"{command} says {said}")
    run(command, "demo", "--lam", "1.05", cwd=folder)
    print(run(command, "demo", cwd=folder, status=3))


def size(folder: Path) -> int:
    """The bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def feedstock(sdist: str, digest: str) -> str:
    """The recipe for a feedstock, whose source is the sdist on the index."""
    place = f"https://pypi.org/packages/source/l/lambda-star/{sdist.replace(VERSION, '${{ version }}')}"
    text = (ROOT / "recipe" / "recipe.yaml").read_text(encoding="utf-8").partition("schema_version")
    return "".join(text[1:]).replace("  path: ..\n", f"  url: {place}\n  sha256: {digest}\n")


def check_files() -> None:
    """Hold the issue templates, the citation and the recipe to their schemas."""
    for path in TEMPLATES:
        schema = "vendor.github-issue-config" if path.stem == "config" else "vendor.github-issue-forms"
        run(sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, path)
    run(sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.citation-file-format", "CITATION.cff")
    run(sys.executable, "-c", RENDER, ROOT / "recipe" / "recipe.yaml")


def build_twice(folder: Path) -> tuple[Path, Path]:
    """Build the commit twice, and return the wheel and the sdist in ``dist/`` if both builds are the same."""
    commit = run("git", "rev-parse", "HEAD").strip()
    first, second = build(commit, folder / "one", 0o022), build(commit, folder / "another place", 0o077)
    if differing := [name for name in first | second if first.get(name) != second.get(name)]:
        sys.exit(f"two builds of {commit} differ in {', '.join(differing)}")
    print(f"two builds of {commit} are the same, byte by byte:", flush=True)
    shutil.rmtree(DIST, ignore_errors=True)
    DIST.mkdir()
    for file, content in first.items():
        (DIST / file).write_bytes(content)
        print(f"  {file}  {len(content) / 1e6:.2f} MB  sha256 {hashlib.sha256(content).hexdigest()}")
    (wheel,), (sdist,) = DIST.glob("*.whl"), DIST.glob("*.tar.gz")
    return wheel, sdist


def main() -> None:
    """Build, compare, check, install, run, and say what remains."""
    if found := list(stale()):
        sys.exit("not ready for a release:\n  " + "\n  ".join(found))
    check_files()
    with TemporaryDirectory() as name:
        wheel, sdist = build_twice(Path(name))
        run(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist)
        run(sys.executable, "-m", "check_wheel_contents", wheel)
        install(wheel, Path(name))
    recipe = feedstock(sdist.name, hashlib.sha256(sdist.read_bytes()).hexdigest())
    (DIST / "recipe.yaml").write_text(recipe, encoding="utf-8")
    (home,) = re.findall('^Source = "(.*)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    print(BY_HAND.format(version=VERSION, home=home))


if __name__ == "__main__":
    main()
