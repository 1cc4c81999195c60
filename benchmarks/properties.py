"""The deep run of the laws: ``python -m benchmarks.properties [PATH …] [--examples 100000] [--minutes 60]``.

Each Hypothesis law of the test suite is repeated on so many random cases, where the suite takes 50 or fewer. The files
of different modules take turns, each in a process of its own, so that a run that is stopped has looked at many of them,
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
from collections import Counter
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
FOUND = "found: "


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
    """A pytest plugin that gives every law the same number of examples, and prints what came of each as it ends."""

    def __init__(self, examples: int) -> None:
        self.examples = examples
        self.found: dict[str, dict[str, Any]] = {}
        self.left: Counter[str] = Counter()

    def pytest_collection_modifyitems(self, items: Sequence[Any]) -> None:
        """Set the number of examples, whatever the law says itself."""
        from hypothesis import HealthCheck, settings

        self.left = Counter(law_of(item.nodeid) for item in items)
        for function, law in {item.obj: law_of(item.nodeid) for item in items}.items():
            self.found[law] = {"asked": self.examples, "examples": 0, "seconds": 0.0, "passed": True}
            function.hypothesis.inner_test = self._counted(function.hypothesis.inner_test, self.found[law])
            chosen = settings(
                function._hypothesis_internal_use_settings,
                max_examples=self.examples,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            )
            function._hypothesis_internal_use_settings = chosen

    def _counted(self, inner: Any, found: dict[str, Any]) -> Any:
        @functools.wraps(inner)
        def counted(*args: Any, **kwargs: Any) -> Any:
            found["examples"] += 1
            return inner(*args, **kwargs)

        return counted

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Add what one test of a law found, and print it after the last one: a law with parameters has several."""
        law = law_of(report.nodeid)
        found = self.found[law]
        found["seconds"] += report.duration
        found["passed"] &= not report.failed
        self.left[law] -= report.when == "teardown"
        if not self.left[law]:
            line = found | {"seconds": round(found["seconds"]), "law": law}
            print(f"\n{FOUND}{json.dumps(line)}", file=sys.__stdout__, flush=True)


def law_of(test: str) -> str:
    """Return the law that a test belongs to, whatever its parameters are."""
    return test.partition("[")[0]


def run_here(laws: Sequence[str], examples: int) -> int:
    """Run laws in this process, and return pytest's exit status."""
    import pytest

    return int(pytest.main(["-q", "-n", "0", "-p", "no:cacheprovider", *laws], plugins=[Deep(examples)]))


def run(laws: Sequence[str], examples: int, end: float) -> Iterator[tuple[str, dict[str, Any]]]:
    """Run the laws of one file in a process of its own, and yield what came of each until the time is over."""
    command = [sys.executable, "-m", "benchmarks.properties", *laws, "--here", "--examples", str(examples)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            if not line.startswith(FOUND):
                print(line, end="", flush=True)
                continue
            found = json.loads(line.removeprefix(FOUND))
            law = found.pop("law")
            yield law, found | {"date": f"{datetime.now(timezone.utc):%Y-%m-%d}", "state": state(law)}
            if time.monotonic() > end:
                process.terminate()


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
    parser.add_argument(
        "--minutes", type=float, default=600, help="stop after so many minutes, once the law that runs has ended"
    )
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        sys.exit(run_here(arguments.paths, arguments.examples))
    known, end = read(), time.monotonic() + 60 * arguments.minutes
    files: dict[str, list[str]] = {}
    for law in pending(arguments.paths, known, arguments.examples):
        files.setdefault(law.partition("::")[0], []).append(law)
    for laws_of_file in files.values():
        if time.monotonic() > end:
            break
        for law, found in run(laws_of_file, arguments.examples, end):
            known[law] = found
            REPORT.parent.mkdir(parents=True, exist_ok=True)
            REPORT.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n", encoding="utf-8")
    failed = [law for law, found in known.items() if not found["passed"]]
    sys.exit("\n".join(["these laws do not hold:", *failed]) if failed else 0)


if __name__ == "__main__":
    main()
