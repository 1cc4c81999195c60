"""Print what was predicted of each student and what was seen, from the records alone; no model is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import letters

from lambda_star.calibration.shares import change_of_share, exact_share
from lambda_star.calibration.statistics import Estimate
from lambda_star.cliff import record as records
from lambda_star.contract import parse
from lambda_star.rehearsal import read_rehearsal

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent.parent / "results" / "language_model"
REHEARSED = HERE / "rehearsed"


class Seen(NamedTuple):
    """One student's prediction and outcome."""

    name: str
    settings: dict[str, Any]
    seed: int
    said: dict[str, Any]
    outcome: dict[str, Any] | None

    @property
    def right(self) -> list[bool]:
        """Whether each judged answer of the task "copy" is right."""
        prompts = (letters.make_prompt("copy", self.settings["split"], at) for at in range(self.settings["judged"]))
        answers = self._outcome["answers"]
        return [bool(letters.right(text, prompt)) for text, prompt in zip(answers, prompts, strict=True)]

    @property
    def valid(self) -> list[bool]:
        """Whether each judged answer ended and is strict JSON, as the rehearsal judges it."""
        cut, valid = set(self._outcome["cut"]), parse("json").valid
        return [at not in cut and bool(valid(text)) for at, text in enumerate(self._outcome["answers"])]

    @property
    def taus(self) -> list[float]:
        """Kendall's τ of every answer that is a list and has one."""
        found = [letters.tau(text) for text in self._outcome["answers"]]
        return [tau for tau in found if tau is not None]

    @property
    def arrived(self) -> bool:
        """Whether the median tail is within the locked factor of the predicted one."""
        near, said = self.settings["near"], self.said["tail"]
        return bool(said / near <= self._outcome["tail"] <= said * near)

    @property
    def _outcome(self) -> dict[str, Any]:
        if self.outcome is None:
            raise ValueError(f"{self.name} must have an outcome, got none; run students.py")
        return self.outcome


def read_all(part: str) -> list[Seen]:
    """Return all students of a part, by rule, λ and seed; outcome None where one is not trained yet."""
    found = []
    for path in RESULTS.glob(f"{part}-*.json"):
        record = records.read(path)
        found.append(Seen(path.stem, record["settings"], record["seed"], record["prediction"], record.get("outcome")))
    return sorted(found, key=lambda one: (one.settings["clip"] is None, one.settings["lam"], one.seed))


def rehearsed_right(lam: float) -> list[bool]:
    """Return whether each rehearsed answer of the task "copy" at a λ is right, in the order of the questions."""
    answers = read_rehearsal(REHEARSED / "lift-free.jsonl").by_lam()[lam]
    return [bool(answers[key].metrics["right"]) for key in sorted(answers)]


class Change(NamedTuple):
    """A change in a share of answers: what it is of, what was predicted, what was seen, and the verdict."""

    of: str
    predicted: Estimate
    seen: Estimate
    hit: bool


def lifts() -> list[Change]:
    """Return the locked comparisons of the part "lift", seed by seed.

    A student at λ > 1 is held against the student at λ = 1 of its seed and against the teacher: a hit if the interval
    of the change seen overlaps the predicted one and excludes 0. The student at λ = 1 is held against the teacher: a
    hit if the interval includes 0.
    """
    done = [one for one in read_all("lift") if one.outcome]
    teacher, found = rehearsed_right(1.0), []
    for one in done:
        predicted = Estimate(*one.said["metrics"]["right"][3:6])
        plain = [other for other in done if other.seed == one.seed and other.settings["lam"] == 1.0]
        against = [("teacher", teacher)]
        if one.settings["lam"] != 1.0:
            against = [(f"student at λ = 1, seed {one.seed}", other.right) for other in plain] + against
        for name, other in against:
            seen = change_of_share(one.right, other)
            overlaps = seen.low <= predicted.high and predicted.low <= seen.high
            excludes = not seen.low <= 0 <= seen.high
            hit = overlaps and excludes if one.settings["lam"] != 1.0 else not excludes
            found.append(Change(f"λ = {one.settings['lam']:g}, seed {one.seed}, less {name}", predicted, seen, hit))
    return found


def rehearsed_valid(part: str, capped: bool, lam: float) -> list[bool]:
    """Return whether each rehearsed answer is valid, in the order of the questions."""
    answers = read_rehearsal(REHEARSED / f"{part}-{'capped' if capped else 'free'}.jsonl").by_lam()[lam]
    return [bool(answers[key].valid) for key in sorted(answers)]


def drops() -> list[Change]:
    """Return the locked comparisons of the part "open": the valid answers under the cap less those without, at each λ.

    It is a hit if the interval of the change seen overlaps the predicted one, and both exclude 0 or both include it.
    """
    done = [one for one in read_all("open") if one.outcome]
    found = []
    for one in (one for one in done if one.settings["clip"]):
        lam = one.settings["lam"]
        for other in done:
            if other.settings["clip"] is None and other.settings["lam"] == lam and other.seed == one.seed:
                said = change_of_share(rehearsed_valid("open", True, lam), rehearsed_valid("open", False, lam))
                seen = change_of_share(one.valid, other.valid)
                overlaps = seen.low <= said.high and said.low <= seen.high
                alike = (said.low <= 0 <= said.high) == (seen.low <= 0 <= seen.high)
                found.append(Change(f"λ = {lam:g}, seed {one.seed}, capped less free", said, seen, overlaps and alike))
    return found


def percent(share: Estimate) -> str:
    """Format a share or a change with its interval."""
    return f"{100 * share.value:.1f} [{100 * share.low:.1f}, {100 * share.high:.1f}]"


def lines_of(part: str) -> list[str]:
    """Return a line per student: its measure and its tail, predicted and seen."""
    measure = "right" if part == "lift" else "valid"
    lines = [f"{'student':<20} {measure + ' %, rehearsed':<20} {'tail':<9} {measure + ' %, seen':<20} {'tail':<9} near"]
    for one in read_all(part):
        said = Estimate(*(one.said["metrics"]["right"][:3] if part == "lift" else one.said["valid"]))
        line = f"{one.name:<20} {percent(said):<20} {one.said['tail']:<9.3g}"
        if one.outcome:
            hits = one.right if part == "lift" else one.valid
            seen = exact_share(sum(hits), len(hits))
            near = "yes" if one.arrived else "no"
            line += f" {percent(seen):<20} {one.outcome['tail']:<9.3g} {near}"
        lines.append(line.rstrip())
    return lines


def change_lines(changes: list[Change]) -> list[str]:
    """Return a line per locked comparison."""
    head = f"{'change in points':<45} {'predicted':<20} {'seen':<20} verdict"
    rows = [
        f"{one.of:<45} {percent(one.predicted):<20} {percent(one.seen):<20} {'hit' if one.hit else 'miss'}"
        for one in changes
    ]
    return [head, *rows] if rows else []


def text(part: str) -> str:
    """Return the tables of a part."""
    changes = lifts() if part == "lift" else drops()
    return "\n".join([*lines_of(part), "", *change_lines(changes)])


def main() -> None:
    """Print the tables."""
    for part in ("lift", "open"):
        print(text(part), end="\n\n")


if __name__ == "__main__":
    main()
