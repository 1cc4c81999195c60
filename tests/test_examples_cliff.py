"""The real students: prediction and outcome of ``examples/rank_by_price/cliff.py`` fit each other and the answers."""

from __future__ import annotations

import hashlib
import json
import math
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lambda_star import bernoulli, cliff
from lambda_star.cliff import record as locked

FOLDER = Path(__file__).parent.parent / "examples" / "rank_by_price"
PATH = FOLDER / "cliff.json"
RECORD = json.loads(PATH.read_text(encoding="utf-8"))
SAID, SEEN = RECORD["prediction"], RECORD["outcome"]
SETTINGS = SAID["settings"]
JUDGED: list[dict[str, Any]] = [SEEN["base"], SEEN["teacher"], *SEEN["students"]]
ODDS = [np.array(SAID["log_odds"][name]) for name in ("teacher", "base")]


def wilson(hits: int, total: int) -> tuple[float, float]:
    z = 1.959963984540054
    middle, half = (
        hits / total + z**2 / (2 * total),
        z * math.sqrt(hits * (total - hits) / total**3 + (z / total) ** 2 / 4),
    )
    return (middle - half) / (1 + z**2 / total), (middle + half) / (1 + z**2 / total)


def test_the_prediction_is_the_locked_one_and_older_than_the_outcome() -> None:
    assert locked.finished([PATH]) == [RECORD]
    assert RECORD["sha256"] == hashlib.sha256(json.dumps(SAID, sort_keys=True).encode()).hexdigest()
    begin, end = (datetime.fromisoformat(RECORD[name]) for name in ("locked", "finished"))
    seconds = sum(sum(student["seconds"].values()) for student in SEEN["students"])
    assert 0 < seconds <= (end - begin).total_seconds() + 60


def test_every_lambda_has_a_prediction_and_a_student() -> None:
    for students in (SAID["students"], SEEN["students"]):
        assert [student["lam"] for student in students] == SETTINGS["lam"] == sorted(set(SETTINGS["lam"]))
    assert SETTINGS["lam"][0] == 1  # plain distillation
    assert SETTINGS["lam"][1] < SAID["threshold"][1]  # below the 10 % quantile of λ*
    assert SETTINGS["lam"][-1] > SAID["collapse"][3]  # past the 90 % quantile of the collapse points


@pytest.mark.parametrize("seen", JUDGED, ids=["base", "teacher", *(f"{lam:g}" for lam in SETTINGS["lam"])])
def test_shares_and_intervals_fit_the_counts(seen: dict[str, Any]) -> None:
    assert seen["answers"] == SETTINGS["judged"]
    assert 0 <= seen["right"] <= seen["permutations"] <= seen["parses"] <= seen["answers"]
    assert seen["interval"] == pytest.approx(wilson(seen["parses"], seen["answers"]), abs=1e-12)
    assert seen["permutation_interval"] == pytest.approx(wilson(seen["permutations"], seen["answers"]), abs=1e-12)
    assert seen["ndcg"]["of"] == seen["parses"]
    assert seen["tau"]["of"] == seen["permutations"]
    assert seen["ndcg"]["mean"] is None or 0 <= seen["ndcg"]["mean"] <= 1
    assert seen["tau"]["mean"] is None or -1 <= seen["tau"]["mean"] <= 1
    assert 1 <= seen["tokens"] <= SETTINGS["judged_room"]


@pytest.mark.parametrize("student", SEEN["students"], ids=lambda student: f"{student['lam']:g}")
def test_training_fits_the_settings(student: dict[str, Any]) -> None:
    training, steps, batch = student["training"], SETTINGS["steps"], SETTINGS["batch"]
    assert len(training["parses"]) == len(training["tokens"]) == steps
    assert all(0 <= parses <= batch for parses in training["parses"])
    assert all(batch <= tokens <= batch * SETTINGS["room"] for tokens in training["tokens"])
    # All students start at the base with the same seed.
    assert training["tokens"][0] == SEEN["students"][0]["training"]["tokens"][0]
    assert 0 <= student["positions_clipped"] <= 1
    assert 0 <= student["tail_clipped"] <= 1
    assert 0 <= student["tail"] <= 1


@pytest.mark.parametrize("name", ["base", "teacher"])
def test_base_and_teacher_are_judged_by_their_answers_on_file(name: str) -> None:
    lines = (FOLDER / f"{name}_answers.jsonl").read_text(encoding="utf-8").splitlines()
    answers = [json.loads(line) for line in lines]
    judged = answers[: SETTINGS["judged"]]
    assert SEEN[name]["parses"] == sum(answer["parses"] for answer in judged)
    assert SEEN[name]["permutations"] == sum(answer["permutation"] for answer in judged)
    if name == "teacher":  # the held-out answers belong to other questions than the judged ones
        assert answers[-SETTINGS["held_out"]]["index"] >= SETTINGS["judged"]
        held_out = answers[-SETTINGS["held_out"] :]
        assert SAID["held_out"]["positions"] == sum(len(answer["tokens"]) for answer in held_out)


def test_the_quantiles_follow_from_the_log_odds() -> None:
    x, y = ODDS
    stars = np.asarray(bernoulli.threshold_from_logits(x, y, SETTINGS["clip"]))
    ahead = x > y
    ends = np.where(ahead, 1 + np.log(SETTINGS["clip"] * (1 + np.exp(-x))) / np.where(ahead, x - y, 1), math.inf)
    assert len(x) == len(y) == SAID["held_out"]["contract"]
    for values, said in ((stars, SAID["threshold"]), (ends, SAID["collapse"])):
        found = np.quantile(values, SAID["levels"], method="inverted_cdf")
        assert [value if value is not None else math.inf for value in said] == pytest.approx(found.tolist(), rel=1e-9)
    coarse = x < 20
    p, b = (1 / (1 + np.exp(-odds[coarse])) for odds in ODDS)
    assert np.allclose(bernoulli.collapse_point(p, b, SETTINGS["clip"]), ends[coarse], rtol=1e-6)
    for student in SAID["students"]:
        assert student["past_threshold"] == pytest.approx(np.mean(stars < student["lam"]), abs=1e-9)
        assert student["past_collapse"] == pytest.approx(np.mean(ends <= student["lam"]), abs=1e-9)


def test_the_onsets_follow_from_the_curves() -> None:
    shares = [student["parses"] / student["answers"] for student in SEEN["students"]]
    assert SAID["onset"] == cliff.onset(SAID["curve"]["lam"], SAID["curve"]["validity"], SAID["reference"])
    assert SEEN["onset"] == cliff.onset(SETTINGS["lam"], shares, SAID["reference"])


def test_plain_distillation_lifts_the_base() -> None:
    assert SEEN["students"][0]["interval"][0] > SEEN["base"]["interval"][1]
