"""The supply chain: ``python -m benchmarks.supply lock | sbom | builds``.

``lock`` writes ``lock.txt``, what CI installs and its hashes, from ``pyproject.toml`` and ``constraints.txt``.
PyTorch is the CPU build: set ``UV_TORCH_BACKEND=cpu``, or ``UV_FIND_LINKS`` where its wheel lies on a disk.
``sbom`` writes ``out/sbom.json``, a bill of materials in the format CycloneDX, of what the environment holds.
``builds`` builds the source archive and the wheel from two copies of the repository, and fails if a byte differs.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
LOCK, CONSTRAINTS, SBOM = ROOT / "lock.txt", ROOT / "constraints.txt", ROOT / "out" / "sbom.json"
HEAD = "# Everything that CI installs, with its hashes; written by `python -m benchmarks.supply lock`, never by hand.\n"
BACKEND = ("hatchling>=1.25", "editables>=0.5")  # what builds the package, which pip would otherwise fetch unlocked


def pins(text: str) -> dict[str, str]:
    """Return the versions that a lock file or a file of constraints states, by normalised name."""
    found = re.findall(r"^([\w.-]+)==([^\s;]+)", text, flags=re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found}


def lock() -> None:
    """Write the lock file."""
    constraints = CONSTRAINTS.read_text(encoding="utf-8")
    torch = f"torch=={pins(constraints)['torch']}"
    command = [
        "uv",
        "pip",
        "compile",
        "pyproject.toml",
        "-",
        "--extra",
        "dev",
        "--universal",
        "--python-version",
        "3.11",
    ]
    command += ["--generate-hashes", "--no-header", "--no-annotate", "--quiet", "--constraint"]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(constraints.replace(torch, f"{torch}+cpu"))
        file.flush()
        done = subprocess.run(
            [*command, file.name], input="\n".join(BACKEND), stdout=subprocess.PIPE, check=True, text=True, cwd=ROOT
        )
    LOCK.write_text(HEAD + done.stdout, encoding="utf-8")


def sbom() -> None:
    """Write the bill of materials of the environment that this interpreter belongs to."""
    SBOM.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--pyproject", "pyproject.toml"]
    command += ["--output-reproducible", "--validate", "--output-file", str(SBOM)]
    subprocess.run(command, check=True, cwd=ROOT)


def build(folder: Path, source: Path = ROOT) -> dict[str, str]:
    """Copy the tracked files to a folder, build there, and return the hash of each archive by its name."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=source, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, folder / name)
    when = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=source, check=True, capture_output=True, text=True)
    environment = os.environ | {"SOURCE_DATE_EPOCH": when.stdout.strip()}
    subprocess.run([sys.executable, "-m", "hatchling", "build"], cwd=folder, check=True, env=environment)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted((folder / "dist").iterdir())}


def builds() -> None:
    """Build twice in two places, and say whether the archives are equal."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        first, second = build(Path(one) / "here"), build(Path(two) / "some" / "where" / "else")
    for name, digest in first.items():
        print(f"{digest}  {name}  {'equal' if second.get(name) == digest else 'DIFFERENT'}")
    if first != second:
        sys.exit("two builds of the same commit differ")


if __name__ == "__main__":
    jobs = {"lock": lock, "sbom": sbom, "builds": builds}
    if len(sys.argv) != 2 or sys.argv[1] not in jobs:
        sys.exit(f"choose one of {', '.join(jobs)}")
    jobs[sys.argv[1]]()
