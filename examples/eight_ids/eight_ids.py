"""The paper's task in small: what three accounts say of each run is locked first, then the students are trained.

``--lock`` writes the predictions and trains nothing. Without it the runs that are locked and not finished are made, and
a run that was cut off starts again. ``--report`` prints what was predicted and what was seen.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accounts import JUDGED, LAMS, SEEDS, STEPS, predicted, tails
from lists import TASK, Pair, judged, separators
from update import ANSWERS, Rule, distilled

from lambda_star.cliff.model import sample
from lambda_star.cliff.record import attempt, conclude, lock

HERE = Path(__file__).parent
FOLDER = HERE.parents[1] / "results" / "paper"
SOURCES = [HERE / f"{name}.py" for name in ("lists", "update", "accounts", "eight_ids")]
RATE, HIGH = 1e-3, 4e-3
"""AdamW's rate: of 2.5e-4, 5e-4, 1e-3 and 2e-3 the one with the most valid answers after 42 steps at λ = 1 and 1.15, on
average over both bases at the pilot's seed 10; and four times it."""

UPDATES = {
    "c=5": Rule(5.0),
    "c=1.5": Rule(1.5),
    "no cap": Rule(None),
    "c=5, without base": Rule(5.0, base_term=False),
    "c=5, centred": Rule(5.0, centred=True),
    "c=1.5, centred": Rule(1.5, centred=True),
    "no cap, centred": Rule(None, centred=True),
    "c=5, without base, centred": Rule(5.0, base_term=False, centred=True),
    "c=5, high rate": Rule(5.0, rate=HIGH),
    "c=1.5, high rate": Rule(1.5, rate=HIGH),
    "no cap, high rate": Rule(None, rate=HIGH),
    "c=5, without base, high rate": Rule(5.0, base_term=False, rate=HIGH),
}
VARIATIONS = {
    "c=5, from teacher": Rule(5.0, from_teacher=True),
    "no cap, from teacher": Rule(None, from_teacher=True),
    "c=5, flipped": Rule(5.0, flipped=True),
    "c=5, flipped, from teacher": Rule(5.0, flipped=True, from_teacher=True),
    "c=5, uniform base": Rule(5.0, base_term=False, uniform=True),
}
"""What could bring a fall, or take away the one that was seen without the base; locked after other outcomes."""


class Run(NamedTuple):
    """One run: ten students side by side."""

    base: str
    update: str
    seed: int

    @property
    def path(self) -> Path:
        """The file of the record."""
        name = self.update.replace(", ", "-").replace(" ", "-").replace("=", "")
        return FOLDER / f"{self.base}-{name}-{self.seed}.json"

    @property
    def settings(self) -> dict[str, Any]:
        """All that the run depends on besides its seed."""
        rule = asdict((UPDATES | VARIATIONS)[self.update])
        some = {
            name: value for name, value in rule.items() if value or name not in ("from_teacher", "flipped", "uniform")
        }
        here = {"base": self.base, "update": self.update, **some}
        return here | {"lams": LAMS, "steps": STEPS, "answers": ANSWERS, "judged": JUDGED}


def runs() -> Iterator[Run]:
    """Return all runs in the order in which they are made."""
    uncentred, centred, high = ([*UPDATES][start : start + 4] for start in (0, 4, 8))
    parts = [("last", uncentred), ("last", [*VARIATIONS]), ("even", [uncentred[0], uncentred[3]])]
    parts += [("last", centred[3:] + centred[:3]), ("even", uncentred[1:3]), ("even", centred), ("last", high)]
    for base, names in parts:
        yield from (Run(base, name, seed) for name in names for seed in SEEDS)


def trained(pair: Pair, rule: Rule) -> dict[str, Any]:
    """Train the students of a run, and judge them after each number of steps."""
    began, seen = time.perf_counter(), {}
    students = distilled(pair.models, rule, LAMS, STEPS, pair.generator("students"))
    for steps, now in zip(STEPS, students, strict=True):
        answers = sample(now, JUDGED, TASK.length, pair.generator("answers"))
        kept = [tails(odds) for odds in separators(now, pair.held_out)]
        seen[str(steps)] = {"students": judged(answers), "tails": kept}
    return seen | {"seconds": round(time.perf_counter() - began, 1)}


def make(run: Run, only_lock: bool) -> None:
    """Lock a run, and train it unless only the lock is wanted or it is finished."""
    pair, rule = Pair(run.base, run.seed), (UPDATES | VARIATIONS)[run.update]
    record = lock(run.path, lambda: predicted(pair, rule), settings=run.settings, seed=run.seed, sources=SOURCES)
    if only_lock or "outcome" in record:
        return
    conclude(run.path, attempt(run.path, record, sources=SOURCES), trained(pair, rule))
    print(run.path.name, flush=True)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lock", action="store_true", help="lock predictions and train nothing")
    parser.add_argument("--seed", type=int, choices=SEEDS, action="append", help="only this seed; repeat for more")
    parser.add_argument("--report", action="store_true", help="train nothing; print what was predicted and seen")
    parser.add_argument("--plot", type=Path, help="with --report: draw it in this file")
    options = parser.parse_args()
    if options.report:
        from report import show

        show(FOLDER, options.plot)
        return
    torch.set_num_threads(1)
    for run in runs():
        if run.seed in (options.seed or SEEDS):
            make(run, options.lock)


if __name__ == "__main__":
    main()
