"""The deep run of the laws: ``python -m benchmarks.properties [PATH …] [--examples 100000] [--minutes 60]``.

Each Hypothesis law of the test suite is repeated on so many random cases, in a process of its own, where the suite
takes 100 or fewer. The laws of different modules take turns, so that a run that is stopped has looked at all of them,
and the next run goes on with the others. ``results/verification/properties.json`` keeps what was found. A law runs
again when it is changed itself, or when more examples are asked for.
"""

from __future__ import annotations

import argparse
import ast
import functools
import hashlib
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
TESTS = ROOT / "tests"
REPORT = ROOT / "results" / "verification" / "properties.json"
DEEP = 100_000
FIRST = ("bernoulli", "updates", "dynamics", "categorical", "sequence", "calibration", "contract", "_core")
"""The numeric core takes its turns first."""


def module(law: str) -> str:
    """Return the module that a law, ``tests/MODULE/test_x.py::test_law``, belongs to."""
    return law.split("::", maxsplit=1)[0].split("/")[1].removeprefix("test_").removesuffix(".py")


@functools.cache
def laws() -> list[str]:
    """Return the laws of the test suite, those of the modules in turns."""
    found: dict[str, list[str]] = {name: [] for name in FIRST}
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in parsed(path.relative_to(ROOT).as_posix()).body:
            if isinstance(node, ast.FunctionDef) and any("given(" in ast.unparse(d) for d in node.decorator_list):
                law = f"{path.relative_to(ROOT).as_posix()}::{node.name}"
                found.setdefault(module(law), []).append(law)
    return [law for turn in itertools.zip_longest(*found.values()) for law in turn if law]


@functools.cache
def parsed(path: str) -> ast.Module:
    """Return a file of tests as a tree."""
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def state(law: str) -> str:
    """Return a hash of a law as it is written, whatever else is in its file."""
    path, _, name = law.partition("::")
    (node,) = (node for node in parsed(path).body if isinstance(node, ast.FunctionDef) and node.name == name)
    return hashlib.sha256(ast.unparse(node).encode()).hexdigest()[:12]


class Deep:
    """A pytest plugin that gives every law the same number of examples, and counts those that ran."""

    def __init__(self, examples: int) -> None:
        self.examples, self.ran = examples, 0

    def pytest_collection_modifyitems(self, items: Sequence[Any]) -> None:
        """Set the number of examples, whatever the law says itself."""
        from hypothesis import HealthCheck, settings

        for law in {item.obj for item in items}:
            law.hypothesis.inner_test = self._counted(law.hypothesis.inner_test)
            chosen = settings(
                law._hypothesis_internal_use_settings,
                max_examples=self.examples,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            )
            law._hypothesis_internal_use_settings = chosen

    def _counted(self, inner: Any) -> Any:
        @functools.wraps(inner)
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.ran += 1
            return inner(*args, **kwargs)

        return counted


def run_here(law: str, examples: int) -> int:
    """Run one law in this process, print how many examples it took, and return pytest's exit status."""
    import pytest

    deep = Deep(examples)
    status = int(pytest.main(["-q", "-n", "0", "-p", "no:cacheprovider", law], plugins=[deep]))
    print(f"\n{deep.ran}")
    return status


def run(law: str, examples: int) -> dict[str, Any]:
    """Run one law in a process of its own, and say what came of it."""
    start = time.monotonic()
    command = [sys.executable, "-m", "benchmarks.properties", law, "--here", "--examples", str(examples)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    print(f"{law}: {'passed' if done.returncode == 0 else done.stdout}", flush=True)
    return {
        "asked": examples,
        "examples": int(done.stdout.split()[-1]),
        "seconds": round(time.monotonic() - start),
        "passed": done.returncode == 0,
        "date": f"{datetime.now(timezone.utc):%Y-%m-%d}",
        "state": state(law),
    }


def pending(paths: Sequence[str], known: dict[str, Any], examples: int) -> Iterator[str]:
    """Yield the laws below the given paths that have not run as they are now, on so many examples."""
    for law in laws():
        found = known.get(law, {"state": "", "asked": 0})
        if any(law.startswith(path) for path in paths or [""]) and (
            found["state"] != state(law) or found["asked"] < examples
        ):
            yield law


def read() -> dict[str, Any]:
    """Return what is known of the laws that there are."""
    known = json.loads(REPORT.read_text(encoding="utf-8")) if REPORT.exists() else {}
    return {law: known[law] for law in sorted(laws()) if law in known}


def main() -> None:
    """Run the laws that have not run yet, as long as time is left."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.properties", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("paths", nargs="*", help="files or folders of tests, or laws; without one, all")
    parser.add_argument("--examples", type=int, default=DEEP, help="examples of each law")
    parser.add_argument("--minutes", type=float, default=600, help="begin no law after so many minutes")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        sys.exit(run_here(arguments.paths[0], arguments.examples))
    known, end = read(), time.monotonic() + 60 * arguments.minutes
    for law in pending(arguments.paths, known, arguments.examples):
        if time.monotonic() > end:
            break
        known[law] = run(law, arguments.examples)
        REPORT.parent.mkdir(parents=True, exist_ok=True)
        REPORT.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n", encoding="utf-8")
    failed = [law for law, found in known.items() if not found["passed"]]
    sys.exit("\n".join(["these laws do not hold:", *failed]) if failed else 0)


if __name__ == "__main__":
    main()
