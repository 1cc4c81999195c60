"""The supply chain: ``python -m benchmarks.supply lock | sbom``.

``lock`` writes ``lock.txt``, what CI installs and its hashes, from ``pyproject.toml`` and ``constraints.txt``, with uv.
PyTorch is the CPU build: set ``UV_TORCH_BACKEND=cpu``, or ``UV_FIND_LINKS`` where its wheel lies on a disk.
``sbom`` writes ``out/sbom.json``, a bill of materials of this interpreter's environment in the format CycloneDX.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
LOCK, CONSTRAINTS, SBOM = ROOT / "lock.txt", ROOT / "constraints.txt", ROOT / "out" / "sbom.json"
HEAD = "# What CI installs, with its hashes; written by `python -m benchmarks.supply lock`, never by hand.\n"


def project() -> dict[str, Any]:
    """Return what ``pyproject.toml`` says."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def backend() -> list[str]:
    """Return what builds the package, makes it editable and installs the lock; pip would fetch these unlocked."""
    return [*project()["build-system"]["requires"], "editables>=0.5", "uv>=0.13"]


def normal(name: str) -> str:
    """Return the normalised name of a distribution."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(text: str) -> dict[str, str]:
    """Return the versions that a lock file or a file of constraints states, by normalised name."""
    found = re.findall(r"^([\w.-]+)==([^\s;]+)", text, flags=re.MULTILINE)
    return {normal(name): version for name, version in found}


def lock() -> None:
    """Write the lock file."""
    constraints = CONSTRAINTS.read_text(encoding="utf-8")
    torch = f"torch=={pins(constraints)['torch']}"
    command = [sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml", "-", "--universal"]
    command += ["--extra", "dev", "--extra", "docs", "--python-version", "3.11.5", "--generate-hashes"]
    command += ["--no-header", "--no-annotate", "--quiet"]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(constraints.replace(torch, f"{torch}+cpu"))
        file.flush()
        command += ["--constraint", file.name]
        done = subprocess.run(command, input="\n".join(backend()), stdout=-1, check=True, text=True, cwd=ROOT)
    LOCK.write_text(HEAD + done.stdout, encoding="utf-8")


def sbom() -> None:
    """Write the bill of materials."""
    SBOM.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--pyproject", "pyproject.toml"]
    command += ["--output-reproducible", "--validate", "--output-file", str(SBOM)]
    subprocess.run(command, check=True, cwd=ROOT)


if __name__ == "__main__":
    jobs = {"lock": lock, "sbom": sbom}
    if len(sys.argv) != 2 or sys.argv[1] not in jobs:
        sys.exit(f"choose one of {', '.join(jobs)}")
    jobs[sys.argv[1]]()
