"""A run of the cliff experiment: its prediction, and a run that is locked, cut off, resumed and repeated."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lambda_star import bernoulli, categorical
from lambda_star.cliff import run as experiment
from lambda_star.cliff.presets import CONTROLS, PRESETS, QUICK, Preset, variant
from lambda_star.cliff.run import run
from lambda_star.cliff.task import STYLES
from tests.night import thinned

FOLDER = Path(__file__).parents[2] / "results" / "cliff"
SMALL = replace(QUICK, name="small", items=3, steps=4, grid=(0.0, 0.9, 1.0, 1.4))
MODELS: Any = vars(experiment._Run)["models"]


@cache
def tuned_once(preset: Preset, seed: int, steps: int) -> Any:
    """Tune teacher and base once for most of these tests, which do not change their weights."""
    assert steps == experiment.TUNING_STEPS
    return MODELS.func(experiment._Run(preset, seed))


@pytest.fixture(autouse=True)
def _short_and_shared_tuning(monkeypatch: pytest.MonkeyPatch) -> None:
    def models(this: experiment._Run) -> Any:
        names = ("style", "items", "teacher_ends", "base_ends")  # all that the two models depend on
        preset = replace(SMALL, **{name: getattr(this.preset, name) for name in names})
        return tuned_once(preset, this.seed, experiment.TUNING_STEPS)

    monkeypatch.setattr(experiment._Run, "models", property(models))
    monkeypatch.setattr(experiment, "TUNING_STEPS", 30)
    monkeypatch.setattr(experiment, "HELD_OUT", 16)
    monkeypatch.setattr(experiment, "JUDGED", 40)
    monkeypatch.setattr(experiment, "RESAMPLES", 50)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.slow
@pytest.mark.parametrize("style", thinned(STYLES, 2))
def test_the_predicted_validity_is_the_chance_to_close_in_time(style: str) -> None:
    """It is compared with a loop over positions and the stationary students of K tokens."""
    preset = replace(SMALL, style=style)
    this = experiment._Run(preset, 0)
    said, lists = experiment._predicted(this), this.held_out
    lam = said["lam"][30]
    expected = []
    for log_t, log_b in zip(lists.log_t, lists.log_b, strict=True):
        reached, closed = 1.0, 0.0
        for place in range(len(log_t)):
            student = np.exp(categorical.stationary_student(log_t[place], log_b[place], preset.clip, lam))
            closed += reached * student[lists.ends[place]].sum()
            reached *= student[lists.goes[place]].sum()
        expected.append(closed)
        assert reached == 0  # no token continues a list after the last item
    assert said["validity"][30] == pytest.approx(np.mean(expected), abs=1e-9)


def test_thresholds_are_those_of_the_separator_where_a_list_may_end() -> None:
    this = experiment._Run(SMALL, 0)
    said, lists, task = experiment._predicted(this), this.held_out, this.task
    places = [place for place in range(len(lists.goes)) if lists.goes[place, task.separator]]
    assert len(places) == SMALL.items - 1  # no token continues a list after the last item
    values = sorted(
        float(bernoulli.threshold(math.exp(t[place, task.separator]), math.exp(b[place, task.separator]), SMALL.clip))
        for t, b in zip(lists.log_t, lists.log_b, strict=True)
        for place in places
    )
    assert said["threshold"][2] == pytest.approx(values[(len(values) + 1) // 2 - 1], rel=1e-9)


def test_a_shuffled_base_is_the_mean_of_its_rows() -> None:
    lists = experiment._Run(SMALL, 0).held_out
    shuffled = experiment._positions(lists, replace(SMALL, shuffled=True))
    expected = lists.log_b.reshape(-1, lists.log_b.shape[-1]).mean(axis=0)
    np.testing.assert_allclose(shuffled.log_b, np.broadcast_to(expected, shuffled.log_b.shape), rtol=1e-12)
    assert not np.allclose(experiment._positions(lists, SMALL).log_b, shuffled.log_b)
    rows, inside = torch.arange(12.0).reshape(3, 2, 2), torch.tensor([[True, True], [False, True], [True, False]])
    moved = experiment._shuffled(rows, inside, seeded(1))
    assert sorted(moved[inside].tolist()) == sorted(rows[inside].tolist())
    assert (moved[~inside] == rows[~inside]).all()
    assert not (moved[inside] == rows[inside]).all()


def test_the_rate_is_full_in_the_first_half_and_falls_to_zero() -> None:
    rates = experiment._schedule(200)
    assert (rates[:101] == 1).all()
    assert (np.diff(rates[100:]) < 0).all()
    assert rates[-1] == pytest.approx(0.01)


@pytest.mark.parametrize("control", [name for name in CONTROLS if " at " not in name])
def test_a_control_changes_one_thing(control: str) -> None:
    plain, other = PRESETS["short"], variant(PRESETS["short"], control)
    differ = {name for name in vars(plain) if getattr(plain, name) != getattr(other, name)}
    assert len(differ - {"control"}) == 1
    assert "control" in differ
    assert other.label == f"short, {control}"


@pytest.mark.parametrize("control", ["", "no clip", "plain", "shuffled base"])
def test_a_run_is_predicted_trained_and_judged(tmp_path: Path, control: str) -> None:
    preset = variant(SMALL, control) if control else SMALL
    steps: list[int] = []
    record = run(preset, 1, tmp_path, progress=steps.append)
    (path,) = tmp_path.iterdir()
    assert re.fullmatch(r"small[a-z-]*-1\.json", path.name)
    assert json.loads(path.read_text(encoding="utf-8")) == record
    assert steps == [1, 2, 3, 4]
    assert len(record["outcome"]["validity"]) == len(preset.grid)
    assert (record["prediction"]["band"] is None) == (control in {"no clip", "shuffled base"})
    assert run(preset, 1, tmp_path, progress=steps.append) == record  # the finished run is only read
    assert len(steps) == 4


def test_the_models_have_the_size_that_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment._Run, "models", MODELS)
    monkeypatch.setattr(experiment, "TUNING_STEPS", 2)
    weights = experiment._Run(SMALL, 0, 48, 3).models[0]
    assert (weights["head"].shape[1], "up2" in weights, "up3" in weights) == (48, True, False)
    sizes: list[dict[str, Any]] = [{"width": 24}, {"width": 0}, {"layers": 0}]
    for size in sizes:
        with pytest.raises(ValueError, match="width must be a multiple of 16 and layers at least 1, got "):
            run(SMALL, 1, tmp_path, **size)
    monkeypatch.setattr(experiment, "_predicted", lambda _: {"onset": None})
    assert run(SMALL, 1, tmp_path, width=48, layers=3, train=False)["settings"]["width"] == 48
    with pytest.raises(ValueError, match="must hold a lock with `settings` = "):
        run(SMALL, 1, tmp_path, train=False)
    with pytest.raises(ValueError, match="must hold a run of this preset, got one with other settings"):
        run(PRESETS["short"], 3, FOLDER, width=48)


def test_a_prediction_is_locked_without_training(tmp_path: Path) -> None:
    said = run(SMALL, 1, tmp_path, train=False, progress=lambda _: pytest.fail("trained"))
    assert (said["attempts"], "outcome" in said, said["settings"]["name"], said["seed"]) == ([], False, "small", 1)
    done = run(SMALL, 1, tmp_path)
    assert done["prediction"] == said["prediction"]
    assert run(SMALL, 1, tmp_path, train=False) == done


def without_times(record: dict[str, Any]) -> dict[str, Any]:
    outcome = {name: value for name, value in record["outcome"].items() if name != "seconds"}
    return {"prediction": record["prediction"], "outcome": outcome}


@pytest.mark.slow
def test_a_run_repeats_itself_and_seeds_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment._Run, "models", MODELS)
    first, again, other = (run(SMALL, seed, tmp_path / name) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert without_times(first) == without_times(again)
    assert first["prediction"]["validity"] != other["prediction"]["validity"]


def test_a_run_that_is_cut_off_goes_on_with_its_prediction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(done: int) -> None:
        assert torch.get_num_threads() == 1
        if done == 2:
            raise KeyboardInterrupt

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(SMALL, 1, tmp_path, progress=stop)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    (path,) = tmp_path.iterdir()
    half = json.loads(path.read_text(encoding="utf-8"))
    assert "outcome" not in half
    monkeypatch.setattr(experiment, "_predicted", lambda _: pytest.fail("asked for another prediction"))
    done = run(SMALL, 1, tmp_path)
    assert {name: done[name] for name in half} == half | {"attempts": done["attempts"]}
    assert len(done["attempts"]) == 2
    assert done["attempts"][:1] == half["attempts"]


def test_a_file_of_another_setting_is_refused(tmp_path: Path) -> None:
    run(SMALL, 1, tmp_path)
    with pytest.raises(ValueError, match=r"small-1.json must hold a lock with `settings` = "):
        run(replace(SMALL, clip=3.0), 1, tmp_path)


@pytest.mark.slow
def test_a_base_that_goes_on_more_often_than_the_teacher_has_no_threshold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiment, "TUNING_STEPS", 100)
    with pytest.raises(ValueError, match="preset must have a base that ends lists more often, got medians p = "):
        run(replace(SMALL, teacher_ends=0.6, base_ends=0.2), 0, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_clip_is_what_lets_the_tail_go(tmp_path: Path) -> None:
    """At a λ far past the collapse point a clipped student loses more tail than one without a clip."""
    preset = replace(SMALL, steps=40, grid=(0.0, 3.0))
    clipped, free = (run(one, 0, tmp_path) for one in (preset, variant(preset, "no clip")))
    assert clipped["outcome"]["tail"][-1][1] < 0.7 * free["outcome"]["tail"][-1][1]
    assert clipped["outcome"]["tail"][0][1] == pytest.approx(free["outcome"]["tail"][0][1], rel=0.05)
