"""Students of a real language model: records, rehearsals and the page fit together; no model is loaded."""

from __future__ import annotations

import hashlib
import re
import sys
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from lambda_star.calibration.statistics import Estimate
from lambda_star.rehearsal import read_rehearsal

FOLDER = Path(__file__).parent.parent / "examples" / "letters"
sys.path.append(str(FOLDER))
import letters  # noqa: E402
import outcomes  # noqa: E402

LIFT, OPEN = (outcomes.read_all(part) for part in ("lift", "open"))
PAGE = (FOLDER / "README.md").read_text(encoding="utf-8")


rehearsal = cache(read_rehearsal)


@pytest.mark.parametrize("seen", [*LIFT, *OPEN], ids=lambda seen: seen.name)
def test_every_prediction_is_that_of_its_rehearsal(seen: outcomes.Seen) -> None:
    part, lam = seen.settings["part"], seen.settings["lam"]
    path = outcomes.REHEARSED / f"{part}-{'free' if seen.settings['clip'] is None else 'capped'}.jsonl"
    assert seen.said["rehearsal"] == hashlib.sha256(path.read_bytes()).hexdigest()
    for name in ("base", "teacher"):
        weights = FOLDER / f"{seen.settings['task']}_{name}" / "adapter_model.safetensors"
        assert seen.said["adapters"][name] == hashlib.sha256(weights.read_bytes()).hexdigest()
    point = next(one for one in rehearsal(path).curve if one.lam == lam)
    assert point.answers == seen.settings["judged"]
    # The ends were found by a search that stops at 2e-12 when they were committed, and are exact now.
    found = {"valid": (point.valid, point.low, point.high), **point.metrics}
    said = {"valid": seen.said["valid"], **seen.said["metrics"]}
    assert said == {name: pytest.approx(list(numbers), abs=1e-11) for name, numbers in found.items()}


def test_rehearsed_measures_are_those_of_the_answers() -> None:
    for answer in rehearsal(outcomes.REHEARSED / "lift-free.jsonl").answers:
        prompt = letters.make_prompt("copy", "judged", answer.prompt)
        assert answer.metrics["right"] == letters.right(answer.text, prompt)


def test_a_copy_is_right_only_if_it_is_the_whole_list() -> None:
    assert letters.right('["q","d"]', "List q d:") == 1
    assert letters.right('["d","q"]', "List q d:") == letters.right('["q","d"', "List q d:") == 0
    assert letters.parse_answer('["q",""]') is letters.parse_answer('["q",1]') is letters.parse_answer("{}") is None
    assert letters.tau('["a","b","d"]') == 1
    assert letters.tau('["c","b"]') == -1
    assert letters.tau('["c"]') is None
    assert letters.tau('["a","a","b"]') == pytest.approx(2 / 3)


@pytest.mark.parametrize("part", ["lift", "open"])
def test_the_page_shows_the_tables_of_the_records(part: str) -> None:
    assert f"```text\n{outcomes.text(part)}\n```" in PAGE


@pytest.mark.parametrize("seen", [one for one in [*LIFT, *OPEN] if one.outcome], ids=lambda seen: seen.name)
def test_an_outcome_holds_all_answers_and_follows_the_locked_rounds(seen: outcomes.Seen) -> None:
    assert seen.outcome is not None
    assert len(seen.outcome["answers"]) == len(seen.valid) == seen.settings["judged"]
    steps = [int(step) for step, *_ in seen.outcome["log"]]
    assert steps == [*range(1, len(steps) + 1)]
    assert seen.outcome["tails"][-1] == pytest.approx([len(steps), seen.outcome["tail"]])
    rounds, rest = divmod(len(steps), seen.settings["steps"])
    assert rest == 0
    assert seen.arrived or rounds == seen.settings["rounds"]
    for number in range(1, rounds):  # after each round but the last the tail was not near yet
        tail = dict(map(tuple, seen.outcome["tails"]))[number * seen.settings["steps"]]
        assert not 1 / seen.settings["near"] <= tail / seen.said["tail"] <= seen.settings["near"]


def test_the_page_gives_the_lift_over_the_teacher() -> None:
    lifts = [one for one in outcomes.lifts() if one.of.startswith("λ = 3") and one.of.endswith("teacher")]
    first, second = (f"{100 * one.seen.value:.0f}" for one in lifts)
    predicted = f"{100 * lifts[0].predicted.value:.1f}"
    assert f"At λ = 3 they pass it by {first} and {second} points. {predicted} were rehearsed." in PAGE
    assert all(one.hit for one in outcomes.lifts())


def test_the_readme_and_the_ledger_say_how_many_are_right() -> None:
    students = [100 * np.mean(one.right) for one in LIFT if one.settings["lam"] == 3]
    rehearsed, teacher = (100 * np.mean(outcomes.rehearsed_right(lam)) for lam in (3.0, 1.0))
    readme = (FOLDER.parent.parent / "README.md").read_text(encoding="utf-8")
    claims = files("lambda_star.ledger").joinpath("claims.yaml").read_text(encoding="utf-8")
    assert {f"{share:.0f} %" for share in students} == {"86 %"}
    assert f"86 % of answers at λ = 3 ({rehearsed:.0f} % rehearsed, teacher {teacher:.0f} %)" in readme
    assert sum(sum(one.valid) for one in OPEN if one.name.startswith("open-capped-1.5-")) == 0
    assert "the students are right in {:.1f} and {:.1f} % of 300".format(*map(float, students)) in claims


def test_a_drop_under_the_cap_is_judged_as_it_was_locked() -> None:
    for change in outcomes.drops():
        said, seen = change.predicted, change.seen
        overlap = max(seen.low, said.low) <= min(seen.high, said.high)
        zeros = {one.low <= 0 <= one.high for one in (said, seen)}
        assert change.hit == (overlap and len(zeros) == 1)
    valid = outcomes.rehearsed_valid("open", True, 2.0)
    locked = next(one.said for one in OPEN if one.name.startswith("open-capped-2-"))
    assert np.mean(valid) == pytest.approx(locked["valid"][0])


def test_a_change_is_judged_as_it_was_locked() -> None:
    for change in outcomes.lifts():
        zero = change.seen.low <= 0 <= change.seen.high
        if change.of.startswith("λ = 1,"):
            assert change.hit == zero
        else:
            overlap = max(change.seen.low, change.predicted.low) <= min(change.seen.high, change.predicted.high)
            assert change.hit == (overlap and not zero)
    for lam in (1.0, 3.0):
        record = next(one for one in LIFT if one.settings["lam"] == lam)
        assert np.mean(outcomes.rehearsed_right(lam)) == pytest.approx(record.said["metrics"]["right"][0])


def signed(change: Estimate) -> str:
    return f"{100 * change.value:+.1f} [{100 * change.low:.1f}, {100 * change.high:.1f}]".replace("-", "−")


def test_the_page_says_what_the_sorting_pair_rehearsed() -> None:
    found = read_rehearsal(outcomes.REHEARSED / "sort.jsonl")
    strange = {
        lam: sum(bool(re.sub(r'"[a-z]"|[\[\],]', "", answer.text)) for answer in answers.values())
        for lam, answers in found.by_lam().items()
    }
    words = " ".join(PAGE.split())
    assert (
        f"At λ = 1, {strange[1.0]} of 128 answers hold something other than letters, at λ = 2 it is {strange[2.0]}:"
        in words
    )
    for point in found.curve:
        right = point.metrics["right"]
        if point.lam > 1:
            change = Estimate(right.change, right.change_low, right.change_high)
            assert f"{signed(change)} at {point.lam:g}" in words
