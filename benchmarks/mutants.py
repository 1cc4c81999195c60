"""The mutants of the numeric core, and the tests that each of them meets: what ``benchmarks.mutation`` runs."""

from __future__ import annotations

import ast
import compileall
import difflib
import filecmp
import hashlib
import json
import math
import os
import py_compile
import resource
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
HOME = ROOT / "out" / "mutation"
TREE = HOME / "tree"

TESTS = {
    "bernoulli": ("lambda_star/bernoulli", "tests/bernoulli"),
    "calibration/statistics": ("lambda_star/calibration/statistics.py", "tests/calibration/test_statistics.py"),
    "updates": ("lambda_star/updates", "tests/updates"),
    "sequence": ("lambda_star/sequence.py", "tests/test_sequence.py"),
    "dynamics": ("lambda_star/dynamics", "tests/dynamics"),
    "categorical": ("lambda_star/categorical", "tests/categorical"),
    "_core": (
        "lambda_star/_core",
        "tests/_core",
        "tests/bernoulli/test_corners.py",
        "tests/categorical/test_shapes.py",
    ),
    "contract": ("lambda_star/contract", "tests/contract"),
}
"""The tests of each module or folder; the order is that of a run without arguments."""

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


class Mutant(NamedTuple):
    """One change of one module."""

    module: str
    operator: str
    occurrence: int


class Survey:
    """A plugin of pytest that notes each test's processor time, its lines in one part, and whether it fails."""

    def __init__(self, part: str) -> None:
        self.prefix = str(TREE / "lambda_star" / part)
        self.tests: dict[str, dict[str, Any]] = {}

    def pytest_runtest_protocol(self, item: Any, nextitem: Any) -> bool:
        """Run a test with an eye on its lines."""
        from _pytest.runner import runtestprotocol

        lines: set[tuple[str, int]] = set()

        def look(frame: FrameType, event: str, argument: object) -> Callable[..., Any] | None:
            if not frame.f_code.co_filename.startswith(self.prefix):
                return None
            lines.add((frame.f_code.co_filename, frame.f_lineno))
            return look

        start = time.process_time()
        sys.settrace(look)
        try:
            failed = any(report.failed for report in runtestprotocol(item, nextitem=nextitem, log=False))
        finally:
            sys.settrace(None)
        ran: dict[str, tuple[str, list[int]]] = {}
        for file, line in sorted(lines):
            module = str(Path(file).relative_to(TREE / "lambda_star").with_suffix(""))
            ran.setdefault(module, (state(module), []))[1].append(line)
        self.tests[item.nodeid] = {"seconds": time.process_time() - start, "failed": failed, "lines": ran}
        return True

    def pytest_sessionfinish(self) -> None:
        """Write what was seen."""
        (HOME / "survey.json").write_text(json.dumps(self.tests), encoding="utf-8")


class Chosen:
    """A plugin of pytest that runs chosen tests in their order, each within a limit of processor time."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds = seconds

    def pytest_sessionstart(self) -> None:
        """Let Hypothesis neither shrink nor explain: one failure is enough."""
        from hypothesis import Phase, settings

        settings.register_profile("mutant", settings(), phases=(Phase.explicit, Phase.generate))
        settings.load_profile("mutant")

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Choose and order."""
        place = {name: number for number, name in enumerate(self.seconds)}
        items[:] = sorted((item for item in items if item.nodeid in place), key=lambda item: place[item.nodeid])

    def pytest_runtest_protocol(self, item: Any) -> None:
        """Say which test runs, and set its limit."""
        (HOME / "last.json").write_text(json.dumps(item.nodeid), encoding="utf-8")
        limit = int(time.process_time() + 10 + 5 * self.seconds[item.nodeid])
        resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def modules(chosen: Sequence[str]) -> list[str]:
    """Return the modules of the parts that were chosen, as paths in the package without their ending."""
    package, found = ROOT / "lambda_star", []
    for part in chosen or TESTS:
        files = sorted((package / part).rglob("*.py")) or [package / f"{part}.py"]
        found += [str(file.relative_to(package).with_suffix("")) for file in files]
    return [module for module in found if not module.endswith("__init__")]


def part_of(module: str) -> str:
    """Return the part of a module: a key of ``TESTS``."""
    return next(part for part in TESTS if module == part or module.startswith(f"{part}/"))


def source_of(module: str) -> Path:
    """Return the file of a module in the copy of the repository, which a run does not change under its own feet."""
    return TREE / "lambda_star" / f"{module}.py"


@cache
def state(module: str) -> str:
    """Return a digest of the source of a module, as it was when first asked for: when it changes, so do its mutants."""
    return hashlib.sha256(source_of(module).read_bytes()).hexdigest()[:8]


def copy() -> None:
    """Copy the tracked files that changed, and compile the package once: unchanged modules are not looked at again."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    names = {name for name in listed.split("\0") if name and not name.startswith(("results/", "notebooks/"))}
    for path in TREE.rglob("*.py"):
        if str(path.relative_to(TREE)) not in names:
            path.unlink()
    for name in names:
        if not (TREE / name).exists() or not filecmp.cmp(ROOT / name, TREE / name, shallow=False):
            (TREE / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, TREE / name)
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(TREE / "lambda_star", quiet=1, invalidation_mode=mode)


def passes(paths: Sequence[str], plugin: Survey | Chosen, limit: float) -> bool:
    """Tell whether tests pass in a fork of this process, within a limit in seconds."""
    child = os.fork()
    if child == 0:
        os.setsid()
        out = os.open(HOME / "last.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1), os.dup2(out, 2)
        os.chdir(TREE)
        sys.dont_write_bytecode = isinstance(plugin, Chosen)  # the survey leaves the tests compiled
        sys.path.insert(0, str(TREE))
        import pytest

        options = ["-q", "-m", "not slow and not nightly", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
        options += ["-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:anyio"]
        options += ["-x", "--tb=line"] if isinstance(plugin, Chosen) else []
        os._exit(pytest.main([*options, *paths], [plugin]) not in {0, 5})
    deadline = time.monotonic() + limit
    while not (done := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > deadline:
            os.killpg(child, 9)
        time.sleep(0.02)
    return done[1] == 0


def survey(part: str) -> dict[str, dict[str, Any]]:
    """Return the time and the lines of each test of a part that passes without a mutant; only changed files are run."""
    found: dict[str, dict[str, Any]] = {}
    places = [TREE / place for place in TESTS[part]]
    for path in (path for place in places for path in ([place] if place.is_file() else sorted(place.rglob("*.py")))):
        helpers = [TREE / "tests/oracle.py", TREE / "tests/strategies.py", *sorted(path.parent.glob("[!t]*.py"))]
        read = b"".join(file.read_bytes() for file in (path, *(helpers if path.name.startswith("test_") else ())))
        known = HOME / "survey" / f"{part.replace('/', '.')}-{path.stem}-{hashlib.sha256(read).hexdigest()[:8]}.json"
        if not known.exists():
            known.parent.mkdir(exist_ok=True)
            passes([str(path.relative_to(TREE))], Survey(part), math.inf)
            (HOME / "survey.json").rename(known)
        found |= json.loads(known.read_text(encoding="utf-8"))
    for name in (name for name, test in found.items() if test["failed"]):
        print(f"left out, as it fails without a mutant: {name}", file=sys.stderr)
    return {name: test for name, test in found.items() if not test["failed"]}


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


def reach(source: str, line: int) -> range | None:
    """Return the lines of the innermost statement of a function that holds a line, without its body; else None."""
    spans = []
    for function in ast.walk(ast.parse(source)):
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for part in (node for statement in function.body for node in ast.walk(statement)):
                if isinstance(part, (ast.stmt, ast.excepthandler)):
                    body = getattr(part, "body", None)
                    end = body[0].lineno if body else (part.end_lineno or part.lineno) + 1
                    spans.append(range(part.lineno, max(end, part.lineno + 1)))
    return min((span for span in spans if line in span), key=len, default=None)


def choose(
    module: str, span: range | None, found: dict[str, dict[str, Any]], kills: Counter[str], seconds: float
) -> dict[str, float]:
    """Return the tests that a mutant must meet with their seconds, those first that are quick or killed others.

    A test that ran the module before it was changed is taken to run every line of it.
    """
    hit, near = set(), []
    for name, test in found.items():
        source, lines = test["lines"].get(module, ("", ()))
        if span and lines and (source != state(module) or not {*span}.isdisjoint(lines)):
            hit.add(name)
        near.append((not lines, test["seconds"] / (1 + kills[name]), name))
    chosen: dict[str, float] = {}
    for _, _, name in sorted(near):
        if (name in hit or not hit) and (not chosen or sum(chosen.values()) + found[name]["seconds"] <= seconds):
            chosen[name] = found[name]["seconds"]
    return chosen


@cache
def of(module: str) -> list[Mutant]:
    """Return the mutants of a module in an order that is random, and the same in every run."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.plugins import get_operator

    source = source_of(module).read_text(encoding="utf-8")
    tree, idle, lines, found = get_ast(source), annotated(source), source.splitlines(), []
    for name in sorted(OPERATORS):
        operator = get_operator(f"core/{name}")()
        places = [span for node in ast_nodes(tree) for span in operator.mutation_positions(node)]
        for number, (start, stop) in enumerate(places):
            dotted = name == "ExceptionReplacer" and "." in lines[start[0] - 1][start[1] : stop[1]]  # Cosmic Ray fails
            found += [Mutant(module, name, number)] if tuple(start) not in idle and not dotted else []
    return sorted(found, key=lambda mutant: hashlib.sha256(repr(mutant).encode()).digest())


def judge(mutant: Mutant, found: dict[str, dict[str, Any]], kills: Counter[str], seconds: float) -> dict[str, Any]:
    """Run tests on a mutant, and say what it changes and which test kills it: none is "", and None changes nothing."""
    from cosmic_ray.mutating import use_mutation
    from cosmic_ray.plugins import get_operator

    with use_mutation(source_of(mutant.module), get_operator(f"core/{mutant.operator}")(), mutant.occurrence) as (
        old,
        new,
    ):
        lines = [*difflib.unified_diff(old.splitlines(), new.splitlines(), n=0, lineterm="")][2:]
        number = int(lines[0].split()[1].lstrip("-").split(",")[0])
        before, after = (" ".join(line[1:].strip() for line in lines[1:] if line[0] == sign) for sign in "-+")
        if ast.dump(ast.parse(old)) == ast.dump(ast.parse(new)):  # 1e100 + 1 is 1e100
            return {"line": number, "before": before, "after": after, "killed": None}
        tests = choose(mutant.module, reach(old, number), found, kills, seconds)
        (HOME / "last.json").write_text(json.dumps("collection"), encoding="utf-8")
        files = [*dict.fromkeys(name.split("::")[0] for name in tests)]
        alive = passes(files, Chosen(tests), 120 + 10 * sum(tests.values()))
    killer = "" if alive else json.loads((HOME / "last.json").read_text(encoding="utf-8"))
    kills[killer] += 1
    return {"line": number, "before": before, "after": after, "killed": killer}
