"""Mutation testing of the numeric core: ``python -m benchmarks.mutation [MODULE …] [--minutes 60] [--share 0.2]``.

Cosmic Ray makes the mutants. What became of each is a line in ``results/verification/mutants``, so that a run goes on
where the last one stopped. (mutmut leaves decorated functions alone, and every public function of a formula here is
one.) Each mutant lives in a copy of the repository, in a process forked from this one, which has the libraries loaded.
The tests that run its line are found once, without mutants, and then run on it, the quickest first, and those first
that killed others; a mutant in what runs at import meets all tests of its part. It is killed by the first test that
fails, or takes five times as long as without it. Survivors are listed in ``results/verification/mutation.json``, with
the reasons that are written in ``results/verification/mutants/reasons.json``.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import mutants
from benchmarks.mutants import HOME, ROOT, TESTS, Mutant, modules

FOLDER = ROOT / "results" / "verification"
REPORT, JUDGED, REASONS = FOLDER / "mutation.json", FOLDER / "mutants", FOLDER / "mutants" / "reasons.json"

PRELOADED = (
    *("array_api_strict", "hypothesis.extra.numpy", "jax", "jsonschema", "matplotlib", "mpmath", "numpy", "pyarrow"),
    *("pytest", "scipy.optimize", "scipy.stats", "torch"),
)


SETTINGS = {
    "HYPOTHESIS_PROFILE": "fast",
    "JAX_COMPILATION_CACHE_DIR": str(HOME / "jax"),  # what a mutant does not change is compiled once
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}


def session(module: str) -> Path:
    """Return the file of a module's judgements."""
    return JUDGED / f"{module.replace('/', '.')}.jsonl"


def results(module: str) -> dict[Mutant, dict[str, Any]]:
    """Return what is known of the mutants of a module as it stands; "first" says whether the first run killed one."""
    path, known = session(module), dict[Mutant, dict[str, Any]]()
    for found in map(json.loads, path.read_text(encoding="utf-8").splitlines() if path.exists() else []):
        if found.pop("state") == mutants.state(module):
            mutant = Mutant(module, *found.pop("mutant"))
            known[mutant] = {"first": known.get(mutant, {}).get("first", found["killed"] != ""), **found}
    return known


def survived(found: dict[str, Any]) -> bool:
    """Tell whether the tests passed with a mutant that is not the program itself."""
    return bool(found["killed"] == "")


def run(chosen: Sequence[str], minutes: float, share: float, seconds: float, again: bool) -> None:
    """Judge a share of the mutants, or again those that survived without a reason, while time is left."""
    mutants.copy()
    for name in PRELOADED:
        __import__(name)
    warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)  # JAX has no threads before its first array
    gc.collect()
    gc.freeze()
    end, reasons = time.monotonic() + 60 * minutes, explained()
    JUDGED.mkdir(parents=True, exist_ok=True)
    for module in modules(chosen):
        known, every = results(module), mutants.of(module)
        unexplained = {m for m in known if survived(known[m]) and not reasons.get(identity(module, known[m]))}
        asked = every[: math.ceil(share * len(every))]
        todo = [m for m in asked if m not in known or (again and m in unexplained)]
        if not todo or time.monotonic() > end:
            continue
        found, kills = mutants.survey(mutants.part_of(module)), Counter(one["killed"] for one in known.values())
        for stale in mutants.source_of(module).parent.glob(f"__pycache__/{Path(module).name}.*"):
            stale.unlink()
        with session(module).open("a", encoding="utf-8") as file:
            for mutant in todo:
                if time.monotonic() > end:
                    break
                line = {
                    "state": mutants.state(module),
                    "mutant": mutant[1:],
                    **mutants.judge(mutant, found, kills, seconds),
                }
                print(json.dumps(line, ensure_ascii=False), file=file, flush=True)
        report()


def identity(module: str, found: dict[str, Any]) -> tuple[str, str, str]:
    """Return what makes two survivors of two runs the same."""
    return module, found["before"], found["after"]


def explained() -> dict[tuple[str, str, str], str]:
    """Return why mutants survive, as far as it is written."""
    return {identity(one["module"], one): one["reason"] for one in json.loads(REASONS.read_text(encoding="utf-8"))}


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
        found = [result for result in results(module).values() if result["killed"] is not None]
        first, killed = sum(result["first"] for result in found), sum(not survived(result) for result in found)
        table[module] = {"mutants": len(mutants.of(module)), "judged": len(found), "first": first, "killed": killed}
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
    parser.add_argument("--share", type=float, default=1, help="judge this share of the mutants of each module")
    parser.add_argument(
        "--seconds", type=float, default=math.inf, help="pass tests over that would take a mutant longer"
    )
    parser.add_argument("--again", action="store_true", help="judge those again that survived without a reason")
    arguments = parser.parse_args()
    os.environ.update(SETTINGS)
    run(arguments.parts, arguments.minutes, arguments.share, arguments.seconds, arguments.again)
    report()


if __name__ == "__main__":
    main()
