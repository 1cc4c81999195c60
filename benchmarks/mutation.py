"""Mutation testing of the numeric core: ``python -m benchmarks.mutation [MODULE …] [--minutes 60] [--each 40]``.

Cosmic Ray makes the mutants, and keeps what became of them in a session for each module, so that a run goes on where
the last one stopped. (mutmut leaves decorated functions alone, and every public function of a formula here is one.)
Each mutant lives in a copy of the repository, in a process forked from this one, which has the libraries loaded. It is
killed when a test of its module fails, or takes four times as long as all of them take together without it.
Survivors are listed in ``results/verification/mutation.json``; a reason that is written beside one there stays.
"""

from __future__ import annotations

import argparse
import ast
import compileall
import difflib
import hashlib
import json
import os
import py_compile
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
HOME = ROOT / "out" / "mutation"
TREE = HOME / "tree"
REPORT = ROOT / "results" / "verification" / "mutation.json"

TESTS = {
    "bernoulli": ("lambda_star/bernoulli", "tests/bernoulli/test_bernoulli.py", "tests/bernoulli"),
    "calibration/statistics": ("lambda_star/calibration/statistics.py", "tests/calibration/test_statistics.py"),
    "updates": ("lambda_star/updates", "tests/updates/test_oracle.py", "tests/updates"),
    "sequence": ("lambda_star/sequence.py", "tests/test_sequence.py"),
    "dynamics": ("lambda_star/dynamics", "tests/dynamics/test_oracle.py", "tests/dynamics"),
    "categorical": ("lambda_star/categorical", "tests/categorical/test_oracle.py", "tests/categorical"),
    "_core": ("tests/_core", "tests/bernoulli/test_corners.py", "tests/categorical/test_shapes.py"),
    "contract": ("lambda_star/contract", "tests/contract"),
}
"""The tests of each module or folder, those first that fail soonest; the order is that of a run without arguments."""

OPERATORS = {
    *("AddNot", "ExceptionReplacer", "NumberReplacer", "ReplaceAndWithOr", "ReplaceOrWithAnd", "ZeroIterationForLoop"),
    *("ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue"),
    *(f"ReplaceUnaryOperator_{change}" for change in ("Delete_Not", "USub_UAdd", "Delete_Invert")),
    *(f"ReplaceBinaryOperator_{change}" for change in ("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "FloorDiv_Mul")),
    *(f"ReplaceBinaryOperator_{change}" for change in ("Mod_Mul", "Pow_Mul", "BitOr_BitAnd", "BitAnd_BitOr")),
    *(f"ReplaceComparisonOperator_{change}" for change in ("Lt_LtE", "LtE_Lt", "Gt_GtE", "GtE_Gt", "Eq_NotEq")),
    *(f"ReplaceComparisonOperator_{change}" for change in ("Lt_GtE", "LtE_Gt", "Gt_LtE", "GtE_Lt", "NotEq_Eq")),
    *(f"ReplaceComparisonOperator_{change}" for change in ("Is_IsNot", "IsNot_Is")),
}
"""One or two replacements of each operator: the other hundred mostly raise TypeError, and would flatter the score."""

PRELOADED = ("hypothesis.extra.numpy", "matplotlib", "mpmath", "numpy", "pyarrow", "pytest", "scipy.optimize")


class Mutant(NamedTuple):
    """One change of one module."""

    module: str
    operator: str
    occurrence: int

    @property
    def path(self) -> Path:
        """The file in the copy of the repository."""
        return TREE / "lambda_star" / f"{self.module}.py"


def modules(chosen: Sequence[str]) -> list[str]:
    """Return the modules of the parts that were chosen, as paths in the package without their ending."""
    package, found = ROOT / "lambda_star", []
    for part in chosen or TESTS:
        files = sorted((package / part).rglob("*.py")) or [package / f"{part}.py"]
        found += [str(file.relative_to(package).with_suffix("")) for file in files]
    return [module for module in found if not module.endswith("__init__")]


def tests(module: str) -> list[str]:
    """Return the tests of a module, its own examples first."""
    own = next(paths for part, paths in TESTS.items() if module == part or module.startswith(f"{part}/"))
    return [f"lambda_star/{module}.py", *own]


def copy() -> None:
    """Copy the tracked files, and compile the package once: its unchanged modules are not looked at again."""
    shutil.rmtree(TREE, ignore_errors=True)
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if not name.startswith(("results/", "notebooks/")):
            (TREE / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, TREE / name)
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(TREE / "lambda_star", quiet=1, invalidation_mode=mode)


def run_tests(paths: Sequence[str], limit: float) -> bool:
    """Tell whether the tests pass in a fork of this process, within a limit in seconds of processor time."""
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (int(limit), int(limit) + 5))
        os.setsid()
        out = os.open(HOME / "last.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1), os.dup2(out, 2)
        os.chdir(TREE)
        sys.dont_write_bytecode = True
        sys.path.insert(0, str(TREE))
        import pytest

        options = ["-x", "-q", "-m", "not slow and not nightly", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
        options += ["-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:anyio"]
        # One path after the other: the imports of the later ones are spared where the first one fails.
        os._exit(any(pytest.main([*options, path]) not in {0, 5} for path in paths))
    deadline = time.monotonic() + 10 * limit
    while not (done := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > deadline:
            os.killpg(child, 9)
        time.sleep(0.02)
    return done[1] == 0


def annotated(source: str) -> set[tuple[int, int]]:
    """Return the places (line, column) inside annotations, where a change changes nothing at run time."""
    places = set()
    for node in ast.walk(ast.parse(source)):
        for name in ("annotation", "returns"):
            for part in ast.walk(getattr(node, name, None) or ast.Module([], [])):
                if isinstance(part, ast.expr):
                    end = part.end_col_offset or 0
                    places |= {(part.lineno, column) for column in range(part.col_offset, end)}
    return places


def mutants(module: str) -> list[Mutant]:
    """Return the mutants of a module in an order that is random, and the same in every run."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.plugins import get_operator

    source = (ROOT / "lambda_star" / f"{module}.py").read_text(encoding="utf-8")
    idle, found = annotated(source), []
    for name in sorted(OPERATORS):
        operator = get_operator(f"core/{name}")()
        places = [start for node in ast_nodes(get_ast(source)) for start, _ in operator.mutation_positions(node)]
        found += [Mutant(module, name, n) for n, start in enumerate(places) if tuple(start) not in idle]
    return sorted(found, key=lambda mutant: hashlib.sha256(repr(mutant).encode()).digest())


def judge(mutant: Mutant, limit: float) -> dict[str, Any]:
    """Run the tests on a mutant, and say what it changes and whether it is killed; None if it changes nothing."""
    from cosmic_ray.mutating import use_mutation
    from cosmic_ray.plugins import get_operator

    with use_mutation(mutant.path, get_operator(f"core/{mutant.operator}")(), mutant.occurrence) as (old, new):
        lines = [*difflib.unified_diff(old.splitlines(), new.splitlines(), n=0, lineterm="")][2:]
        same = ast.dump(ast.parse(old)) == ast.dump(ast.parse(new))  # 1e100 + 1 is 1e100
        killed = None if same else not run_tests(tests(mutant.module), limit)
    number = int(lines[0].split()[1].lstrip("-").split(",")[0])
    before, after = (" ".join(line[1:].strip() for line in lines[1:] if line[0] == sign) for sign in "-+")
    return {"line": number, "before": before, "after": after, "killed": killed}


def session(module: str) -> Path:
    """Return the file of a module's session: another one as soon as the module is changed."""
    source = (ROOT / "lambda_star" / f"{module}.py").read_bytes()
    return HOME / f"{module.replace('/', '.')}-{hashlib.sha256(source).hexdigest()[:8]}.jsonl"


def results(module: str) -> dict[Mutant, dict[str, Any]]:
    """Return what is known of the mutants of a module."""
    path = session(module)
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {Mutant(*found["mutant"]): found for found in map(json.loads, lines)}


def survived(found: dict[str, Any]) -> bool:
    """Tell whether the tests passed with a mutant that is not the program itself."""
    return found["killed"] is False


def run(chosen: Sequence[str], minutes: float, each: int, again: bool) -> None:
    """Judge the mutants that are not yet judged, or again those that survived without a reason, while time is left."""
    copy()
    for name in PRELOADED:
        __import__(name)
    end, reasons = time.monotonic() + 60 * minutes, explained()
    for module in modules(chosen):
        known = results(module)
        unexplained = {m for m in known if survived(known[m]) and not reasons.get(identity(module, known[m]))}
        todo = [m for m in mutants(module)[:each] if m not in known or (again and m in unexplained)]
        if not todo or time.monotonic() > end:
            continue
        start = time.process_time() + sum(os.times()[2:4])
        if not run_tests(tests(module), 3600):
            sys.exit(f"the tests of {module} fail without a mutant: see {HOME / 'last.txt'}")
        limit = 10 + 4 * (time.process_time() + sum(os.times()[2:4]) - start)
        for stale in (TREE / "lambda_star" / module).parent.glob(f"__pycache__/{Path(module).name}.*"):
            stale.unlink()
        with session(module).open("a", encoding="utf-8") as file:
            for mutant in todo:
                if time.monotonic() > end:
                    break
                found = judge(mutant, limit)
                print(json.dumps({"mutant": mutant, **found}, ensure_ascii=False), file=file, flush=True)
        report()


def identity(module: str, found: dict[str, Any]) -> tuple[str, str, str]:
    """Return what makes two survivors of two runs the same."""
    return module, found["before"], found["after"]


def explained() -> dict[tuple[str, str, str], str]:
    """Return the reasons that are written beside survivors."""
    old = json.loads(REPORT.read_text(encoding="utf-8"))["survivors"] if REPORT.exists() else []
    return {identity(one["module"], one): one["reason"] for one in old}


def survivors(module: str, reasons: dict[tuple[str, str, str], str]) -> Iterator[dict[str, Any]]:
    """Yield the survivors of a module in the order of its lines, each with the reason that is known."""
    for found in sorted(results(module).values(), key=lambda found: (found["line"], found["after"])):
        if survived(found):
            place = {name: found[name] for name in ("line", "before", "after")}
            yield {"module": module, **place, "reason": reasons.get(identity(module, found), "")}


def report() -> None:
    """Write what is known of all modules."""
    reasons, table = explained(), {}
    for module in modules(()):
        found = [result["killed"] for result in results(module).values() if result["killed"] is not None]
        table[module] = {"mutants": len(mutants(module)), "judged": len(found), "killed": sum(found)}
    new = {
        "date": f"{datetime.now(timezone.utc):%Y-%m-%d}",
        "tool": f"Cosmic Ray {version('cosmic-ray')}",
        "modules": table,
        "survivors": [survivor for module in table for survivor in survivors(module, reasons)],
    }
    REPORT.write_text(json.dumps(new, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    """Run what the arguments say."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mutation", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", help=f"modules or folders of the package; without one {', '.join(TESTS)}")
    parser.add_argument("--minutes", type=float, default=600, help="stop after so many minutes")
    parser.add_argument("--each", type=int, default=10**6, help="judge at most so many mutants of each module")
    parser.add_argument("--again", action="store_true", help="judge those again that survived without a reason")
    arguments = parser.parse_args()
    os.environ.setdefault("HYPOTHESIS_PROFILE", "fast")
    run(arguments.parts, arguments.minutes, arguments.each, arguments.again)
    report()


if __name__ == "__main__":
    main()
