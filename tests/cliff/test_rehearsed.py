"""The cliff rehearsed: how the predicted students are sampled, and how near the trained ones they are."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lambda_star.cliff import run as experiment
from lambda_star.cliff.model import sample
from lambda_star.cliff.presets import variant
from lambda_star.cliff.record import finished
from lambda_star.cliff.rehearsed import _sampled, _validity, agree, rehearse, rehearsed
from lambda_star.cliff.run import run
from lambda_star.cliff.task import parsed
from tests.cliff.test_run import SMALL, _short_and_shared_tuning, seeded

__all__ = ["_short_and_shared_tuning"]

FOLDER = Path(__file__).parent.parent.parent / "results" / "cliff"
NAMES = [f"{preset}-{seed}" for preset in ("short", "long", "quoted", "merged", "wide") for seed in (3, 4, 5)]


def recorded(name: str) -> dict[str, Any]:
    (record,) = finished([FOLDER / f"{name}.json"])
    return record


def kept(name: str) -> dict[str, Any]:
    assert (FOLDER / "rehearsed" / f"{name}.json").exists()
    return rehearsed(recorded(name), FOLDER / "rehearsed")


def test_the_students_of_one_lambda_do_not_depend_on_what_is_sampled_beside_them() -> None:
    this = experiment._Run(SMALL, 0)
    alone, beside = _sampled(this, [1.3], 50)[0], _sampled(this, [1.0, 1.3, 1.3], 50)
    length = alone.shape[-1]
    assert torch.equal(beside[1], beside[2])
    assert torch.equal(beside[1, :, :length], alone)
    assert not beside[..., length:].any(), "the stops after the longest answer"
    assert not torch.equal(beside[0], beside[1])


def test_the_rehearsed_student_at_one_is_the_teacher_and_at_zero_the_base() -> None:
    this, count = experiment._Run(SMALL, 0), 2000
    for lam, model in zip((1.0, 0.0), this.models, strict=True):
        rows = sample(model, count, this.task.length, seeded(5))[0].tolist()
        share = np.mean([parsed(this.task.decode(row)) is not None for row in rows])
        (found,) = _validity(this, [lam], count)
        assert found == pytest.approx(share, abs=5 * math.sqrt(2 * share * (1 - share) / count))


def test_a_run_is_rehearsed_from_its_record_once(tmp_path: Path) -> None:
    record = run(SMALL, 1, tmp_path)
    before = torch.get_num_threads()
    found = rehearsed(record, tmp_path / "rehearsed", answers=100)
    assert torch.get_num_threads() == before
    assert found["drift"] < 1e-9
    assert set(record["prediction"]["grid"]) <= set(found["lam"])
    assert found["validity"][0] > found["validity"][-1]
    (path,) = (tmp_path / "rehearsed").iterdir()
    changed = json.loads(path.read_text(encoding="utf-8")) | {"onset": 1.5}
    path.write_text(json.dumps(changed), encoding="utf-8")
    assert rehearsed(record, tmp_path / "rehearsed") == changed
    path.write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"small-1.json must hold a rehearsal as JSON, got .*; remove it"):
        rehearsed(record, tmp_path / "rehearsed")


def test_without_a_clip_nothing_falls(tmp_path: Path) -> None:
    found = [rehearse(run(preset, 1, tmp_path), answers=200) for preset in (SMALL, variant(SMALL, "no clip"))]
    clipped, free = (one["validity"][-1] for one in found)
    assert clipped < free - 0.1
    assert found[1]["onset"] is None


def test_a_shuffled_base_and_another_run_are_refused() -> None:
    with pytest.raises(ValueError, match="record must hold a run whose base is not shuffled"):
        rehearse(recorded("short-shuffled-base-3"))
    with pytest.raises(ValueError, match="rehearsal must be that of short, seed 4, got short, seed 3"):
        agree(recorded("short-4"), kept("short-3"))


def test_an_agreement_holds_the_differences_on_the_grid() -> None:
    record, rehearsal = recorded("short-3"), kept("short-3")
    found = agree(record, rehearsal)
    at = [rehearsal["validity"][rehearsal["lam"].index(lam)] for lam in record["prediction"]["grid"]]
    np.testing.assert_allclose(np.array(record["outcome"]["validity"]) - at, found.differences, atol=1e-12)
    assert len(found.distances(falls=True)) == sum(found.falls) == 5
    assert len(found.distances(falls=False)) == 5
    assert found.onset_error == pytest.approx((found.seen - found.rehearsed) / (found.rehearsed - 1))  # type: ignore[operator]
    assert math.isnan(found._replace(seen=None).onset_error)


def test_the_fifteen_runs_went_as_rehearsed() -> None:
    """What the page on the experiment says of them."""
    runs = [agree(recorded(name), kept(name)) for name in NAMES]
    assert all(kept(name)["drift"] < 1e-9 for name in NAMES)  # records hold ten digits
    outside = [distance for one in runs for distance in one.distances(falls=False)]
    inside = [distance for one in runs for distance in one.distances(falls=True)]
    errors = [abs(one.onset_error) for one in runs]
    assert np.median(outside) <= 0.03 < np.median(inside)
    assert np.median(errors) <= 0.015
    assert sum(error > 0.03 for error in errors) == 2
    past = [one.differences[-1] for one in runs]
    assert min(past) > 0, "past the fall, students of a finite training keep validity that converged ones would lose"


def test_longer_training_comes_nearer_to_the_rehearsal() -> None:
    """The controls of the budget train the same predicted students for another time."""
    for seed in (3, 4, 5):
        rehearsal, at_the_end = kept(f"short-{seed}"), []
        for name in ("short-half-budget", "short", "short-double-budget"):
            record = recorded(f"{name}-{seed}")
            assert record["prediction"]["p"] == recorded(f"short-{seed}")["prediction"]["p"]
            seen = record["outcome"]["validity"][-1]
            at_the_end.append(
                seen - np.interp(record["prediction"]["grid"][-1], rehearsal["lam"], rehearsal["validity"])
            )
        assert at_the_end[0] > at_the_end[1] > at_the_end[2] > 0
        assert at_the_end[2] < 0.04
