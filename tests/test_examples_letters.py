"""Students of a real language model: records, rehearsals and the page fit together; no model is loaded."""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path

import pytest

from lambda_star.calibration.statistics import Estimate
from lambda_star.rehearsal import read_rehearsal

FOLDER = Path(__file__).parent.parent / "examples" / "letters"
sys.path.append(str(FOLDER))
import letters  # noqa: E402
import outcomes  # noqa: E402

LIFT, OPEN = (outcomes.read_all(part) for part in ("lift", "open"))
PAGE = (FOLDER / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("seen", [*LIFT, *OPEN], ids=lambda seen: seen.name)
def test_every_prediction_is_that_of_its_rehearsal(seen: outcomes.Seen) -> None:
    part, lam = seen.settings["part"], seen.settings["lam"]
    path = outcomes.REHEARSED / f"{part}-{'free' if seen.settings['clip'] is None else 'capped'}.jsonl"
    assert seen.said["rehearsal"] == hashlib.sha256(path.read_bytes()).hexdigest()
    for name in ("base", "teacher"):
        weights = FOLDER / f"{seen.settings['task']}_{name}" / "adapter_model.safetensors"
        assert seen.said["adapters"][name] == hashlib.sha256(weights.read_bytes()).hexdigest()
    point = next(one for one in read_rehearsal(path).curve if one.lam == lam)
    assert point.answers == seen.settings["judged"]
    assert seen.said["valid"] == [point.valid, point.low, point.high]
    assert {name: list(metric) for name, metric in point.metrics.items()} == seen.said["metrics"]


def test_rehearsed_measures_are_those_of_the_answers() -> None:
    for answer in read_rehearsal(outcomes.REHEARSED / "lift-free.jsonl").answers:
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
