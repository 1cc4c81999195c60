"""The figures of ``docs/verification.md``: ``python -m benchmarks.verification`` writes them from their files.

Each check of the page leaves a file in ``results/verification`` that holds its command, its date and its figures. The
page is prose, and blocks between two marks that this module writes; a test compares the two.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks import properties
from lambda_star.calibration.shares import exact_share

ROOT = Path(__file__).parent.parent
PAGE, FOLDER = ROOT / "docs" / "verification.md", ROOT / "results" / "verification"
BLOCK = re.compile(r"(?<=<!-- figures: )(\w+)( -->\n\n).*?(?=\n\n<!-- end of figures -->)", flags=re.DOTALL)
Figures = dict[str, Any]


def table(head: str, rows: Iterable[Iterable[object]]) -> str:
    """Return a table in Markdown; numbers stand on the right."""
    titles = head.split(" | ")
    cells = [[f"{cell:,}" if isinstance(cell, int) else str(cell).replace("|", "\\|") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in [titles, ["---"] * len(titles), *cells])


def code(text: str) -> str:
    """Return text as code in a cell."""
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def read(name: str) -> Figures | None:
    """Return what a check left, or None if it has not run."""
    path = FOLDER / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def leave(name: str, command: str, figure: str, **more: object) -> None:
    """Leave the figures of a check for the page."""
    found = {"command": command, "date": date.today().isoformat(), "figure": figure, **more}
    (FOLDER / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def ran(check: Callable[[Figures], str], name: str) -> str:
    """Return the figures of a check, or that there are none."""
    found = read(name)
    return "Not run yet." if found is None else check(found)


def runs(found: Figures) -> Iterable[tuple[str | int, ...]]:
    """Yield module, laws, laws that ran, those that ran deep, their examples and failures, where there are laws."""
    laws = properties.laws()
    ours = {law: run for law, run in found.items() if law in laws}
    for module, count in sorted(Counter(map(properties.module, laws)).items()):
        done = [run for law, run in ours.items() if properties.module(law) == module]
        deep = sum(run["asked"] >= properties.DEEP for run in done)
        examples, failed = sum(run["examples"] for run in done), sum(not run["passed"] for run in done)
        yield module, count, len(done), deep, examples, failed


def _laws(found: Figures) -> str:
    dates = sorted({run["date"] for run in found.values()})
    rows = list(runs(found))
    rows.append(("together", *(sum(int(row[place]) for row in rows) for place in range(1, 6))))
    head = "tests of | laws | run with more examples | of these with 100,000 each | examples in all | laws that failed"
    return f"Run on {' to '.join([dates[0], dates[-1]]) if dates[1:] else dates[0]}.\n\n{table(head, rows)}"


def _mutants(found: Figures) -> str:
    rows: list[tuple[str | int, ...]] = []
    for name, counts in found["modules"].items():
        reasons = [bool(one["reason"]) for one in found["survivors"] if one["module"] == name]
        rows.append((f"`{name}`", *counts.values(), sum(reasons), len(reasons) - sum(reasons)))
    rows.append(("together", *(sum(int(row[place]) for row in rows) for place in range(1, 7))))
    head = (
        "module | mutants | judged | killed at first | killed now | equivalent or by design | open | killed | at least"
    )
    shown = table(head, ((*row, *_shares(*map(int, row[2:6]))) for row in rows))
    return f"{found['tool']}, run on {found['date']}.\n\n{shown}"


def _shares(judged: int, first: int, killed: int, reasons: int) -> tuple[str, str]:
    """Return the share of errors that are killed, and its lower limit in what was not judged: 95 % sure, exact."""
    errors = judged - reasons
    if not errors:
        return "", ""
    return f"{killed / errors:.1%}", f"{exact_share(first, errors, 0.9).low:.1%}"


def _survivors(found: Figures) -> str:
    rows = [
        (f"`{one['module']}`, line {one['line']}", code(one["before"]), code(one["after"]), one["reason"] or "open")
        for one in found["survivors"]
    ]
    return table("where | line | mutant | why it survives", rows) if rows else "No mutant survives."


def _accuracy(found: Figures) -> str:
    worst = [
        (f"`{name}`", *(f"{errors[name]:.2f}" for errors in found["worst"].values() if name in errors))
        for name in next(iter(found["worst"].values()))
    ]
    points = f"Worst error in units of the last place, {found['points']:,} points in each region, {found['date']}."
    return f"{points}\n\n{table(' | '.join(['function', *found['worst']]), worst)}"


def _targets(found: Figures) -> str:
    keys = ("inputs", "failures", "worst_seconds", "worst_mib")
    rows = ((name, *(counts[key] for key in keys)) for name, counts in found["targets"].items())
    head = "target | inputs | failures | longest, s | most, MiB"
    return f"Seed {found['seed']}, run on {found['date']}.\n\n{table(head, rows)}"


CHECKS = {
    "proofs": "every step of every derivation, and derivations damaged in many ways",
    "enclosures": "intervals of `lambda_star.verified` against exact values",
    "theorems": "claims over boxes, by branch and bound",
    "fuzz": "hostile input",
    "kills": "runs that are killed and go on",
}


def _checks() -> str:
    rows = []
    for name, what in CHECKS.items():
        found = read(name) or {}
        failures = sum(target["failures"] for target in found.get("targets", {}).values())
        inputs = sum(target["inputs"] for target in found.get("targets", {}).values())
        figure = found.get("figure") or (f"{inputs:,} inputs, {failures} failures" if inputs else "not run yet")
        rows.append((what, figure, found.get("date", ""), f"`{found['command']}`" if "command" in found else ""))
    return table("check | figure | date | command", rows)


BLOCKS: dict[str, Callable[[], str]] = {
    "checks": _checks,
    "accuracy": lambda: ran(_accuracy, "accuracy"),
    "laws": lambda: ran(_laws, "properties"),
    "mutants": lambda: ran(_mutants, "mutation"),
    "survivors": lambda: ran(_survivors, "mutation"),
    "targets": lambda: ran(_targets, "fuzz"),
}


def filled(page: str) -> str:
    """Return the page with its figures as the files have them."""
    return BLOCK.sub(lambda block: f"{block[1]}{block[2]}{BLOCKS[block[1]]()}", page)


def main() -> None:
    """Write the figures of the page."""
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
