"""The cliff experiment: its task, its models, its prediction, and a run that is locked, cut off, resumed, repeated."""

from __future__ import annotations

import itertools
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lambda_star import bernoulli, categorical
from lambda_star.cliff import run as experiment
from lambda_star.cliff.model import Cache, forward, new_weights, repeat, sample
from lambda_star.cliff.presets import CONTROLS, PRESETS, QUICK, Preset, variant
from lambda_star.cliff.run import run
from lambda_star.cliff.task import STYLES, Task, counted, parsed

SMALL = replace(QUICK, name="small", items=3, steps=4, grid=(0.0, 0.9, 1.0, 1.4))
TASKS = [Task(style, items) for style in STYLES for items in (1, 3)]


@pytest.fixture(autouse=True)
def _short_tuning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment, "TUNING_STEPS", 30)
    monkeypatch.setattr(experiment, "HELD_OUT", 16)
    monkeypatch.setattr(experiment, "JUDGED", 40)
    monkeypatch.setattr(experiment, "RESAMPLES", 50)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_tokens_and_text_are_two_ways_to_write_a_list(task: Task) -> None:
    for digits in ([7], [0, 9, 0][: task.items]):
        text = task.text(digits)
        assert parsed(text) == digits
        assert task.decode(task.encode(text)) == text
        assert len(task.encode(text)) <= task.length - 1
    assert len(task.encode(task.text([0] * task.items))) == task.length - 1


@pytest.mark.parametrize(
    "text", ["", "[1,2", "[1 2]", "[12]", '["1", 2, true]', "[null]", "{}", '["a"]', "[1.0]", "[-1]"]
)
def test_what_is_no_list_of_digits_is_not_parsed(text: str) -> None:
    assert parsed(text) is None


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_the_contract_is_what_jsons_rules_leave(task: Task) -> None:
    """Against all answers up to the length of the longest one."""
    words = ["", "1", *STYLES[task.style]]
    texts = {"".join(choice) for size in range(1, 8) for choice in itertools.product(words[1:], repeat=size)}
    valid = {text for text in texts if parsed(text) is not None}
    answer = task.encode(task.text([1] * task.items))
    goes, ends = task.contract(answer)
    for place in range(min(len(answer), 4)):
        text = task.decode(answer[: place + 1])
        last = text.count("1") == task.items and any(text + end in valid for end in ("]", '"]'))
        for word in words[1:]:
            token = task.words.index(word)
            begins = any(one.startswith(text + word) for one in valid)
            over = text + word in valid or (word == '"' and text + word + "]" in valid)
            assert ends[place, token] == over
            assert goes[place, token] == (begins and not over and not last)


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_going_on_never_ends_and_never_breaks_a_list(task: Task) -> None:
    weights = new_weights(len(task.words), 8, task.length, seeded())
    rows = sample(weights, 20, task.length, seeded(1), task.going_on())[0]
    assert rows.shape == (20, task.length)
    for row in rows.tolist():
        goes, ends = task.contract(row)
        assert not any(ends[place, token] for place, token in enumerate(row[1:]))
        last = int(np.flatnonzero(~goes.any(axis=1))[0])
        assert task.decode(row[: last + 1]).count(task.words[task.separator]) == task.items - 1
        assert all(goes[place, token] for place, token in enumerate(row[1 : last + 1]))


def test_data_end_lists_as_often_as_asked_and_cut_off_long_ones() -> None:
    task = Task("plain", 30)
    rows = task.answers(2000, 0.2, 0.9, np.random.default_rng(0))
    lists = [parsed(task.decode(row)) for row in rows.tolist()]
    sizes = np.array([len(one) for one in lists if one is not None])
    assert sizes.mean() == pytest.approx(5, abs=0.4)
    assert np.mean([one is None for one in lists]) == pytest.approx(0.8**30, abs=0.003)
    steps = [(b - a) % 10 == 1 for one in lists if one for a, b in itertools.pairwise(one)]
    assert np.mean(steps) == pytest.approx(0.9 + 0.1 / 10, abs=0.02)
    short = Task("plain", 3).answers(500, 0.2, 0.9, np.random.default_rng(0)).tolist()
    cut = [row for row in short if parsed(Task("plain", 3).decode(row)) is None]
    assert np.mean([len(cut) / 500]) == pytest.approx(0.8**3, abs=0.06)


@pytest.mark.parametrize(("style", "items"), [("loud", 3), ("plain", 0)])
def test_a_task_names_what_it_cannot_be(style: str, items: int) -> None:
    with pytest.raises(ValueError, match=r"must (be one of|lie in)"):
        Task(style, items)


def test_models_side_by_side_do_not_touch_each_other() -> None:
    one, other = (new_weights(14, 8, 9, seeded(seed)) for seed in (0, 1))
    both = {name: torch.cat([one[name], other[name]]) for name in one}
    tokens = torch.randint(14, (2, 5, 9), generator=seeded(2))
    logits = forward(both, tokens)
    for index, weights in enumerate((one, other)):
        torch.testing.assert_close(logits[index], forward(weights, tokens[index : index + 1])[0])
    twins = repeat(one, 3)
    twins["head"][1] += 1
    torch.testing.assert_close(twins["head"][0], one["head"][0])


@pytest.mark.parametrize("parts", [[1] * 9, [3, 3, 3], [8, 1], [1, 8]])
def test_a_cache_gives_what_the_whole_gives(parts: list[int]) -> None:
    weights, cache = new_weights(14, 8, 9, seeded()), Cache()
    tokens = torch.randint(14, (1, 5, 9), generator=seeded(2))
    pieces = [forward(weights, part, cache) for part in torch.split(tokens, parts, dim=-1)]
    torch.testing.assert_close(torch.cat(pieces, dim=2), forward(weights, tokens))


def test_a_token_sees_only_what_was_before_it() -> None:
    weights = new_weights(14, 8, 9, seeded())
    tokens = torch.randint(14, (1, 1, 9), generator=seeded(2))
    changed = tokens.clone()
    changed[..., 5] = (changed[..., 5] + 1) % 14
    before, after = forward(weights, tokens), forward(weights, changed)
    torch.testing.assert_close(before[:, :, :5], after[:, :, :5])
    assert not torch.allclose(before[:, :, 5:], after[:, :, 5:])


def test_samples_follow_the_models_probabilities_and_stop() -> None:
    weights = new_weights(4, 8, 6, seeded())
    rows = sample(weights, 20_000, 6, seeded(1))[0]
    first = torch.bincount(rows[:, 1], minlength=4) / len(rows)
    expected = torch.softmax(forward(weights, torch.zeros(1, 1, 1, dtype=torch.long))[0, 0, 0], -1)
    assert ((first - expected).abs() < 4 * (expected * (1 - expected) / len(rows)).sqrt()).all()
    stopped = (rows[:, 1:] == 0).cumsum(-1) > 0
    assert (rows[:, 1:][stopped] == 0).all()
    inside = counted(rows)
    assert not inside[:, 0].any()
    assert (inside.sum(-1) == ((rows[:, 1:] != 0).sum(-1) + 1).clamp(max=5)).all()


def held(preset: Preset = SMALL, seed: int = 0) -> tuple[Any, Any, Task, experiment._Held]:
    task = Task(preset.style, preset.items)
    teacher, base = experiment._tuned(task, preset, seed)
    return teacher, base, task, experiment._held_out(teacher, base, task, seed)


@pytest.mark.parametrize("style", STYLES)
def test_the_predicted_validity_is_the_chance_to_close_in_time(style: str) -> None:
    """Against a loop over places, students from the formula of K tokens."""
    preset = replace(SMALL, style=style)
    teacher, base, task, lists = held(preset)
    said = experiment._predicted(teacher, base, task, preset, 0)
    lam = said["lam"][30]
    expected = []
    for log_t, log_b in zip(lists.log_t, lists.log_b, strict=True):
        reached, closed = 1.0, 0.0
        for place in range(len(log_t)):
            student = np.exp(categorical.stationary_student(log_t[place], log_b[place], preset.clip, lam))
            closed += reached * student[lists.ends[place]].sum()
            reached *= student[lists.goes[place]].sum()
        expected.append(closed)
        assert reached == 0  # nothing goes on after the last item
    assert said["validity"][30] == pytest.approx(np.mean(expected), abs=1e-9)


def test_thresholds_are_those_of_the_separator_where_a_list_may_end() -> None:
    teacher, base, task, lists = held()
    said = experiment._predicted(teacher, base, task, SMALL, 0)
    places = [place for place in range(len(lists.goes)) if lists.goes[place, task.separator]]
    assert len(places) == SMALL.items - 1  # after the last item nothing goes on
    values = sorted(
        float(bernoulli.threshold(math.exp(t[place, task.separator]), math.exp(b[place, task.separator]), SMALL.clip))
        for t, b in zip(lists.log_t, lists.log_b, strict=True)
        for place in places
    )
    assert said["threshold"][2] == pytest.approx(values[(len(values) + 1) // 2 - 1], rel=1e-9)


def test_a_shuffled_base_is_the_mean_of_its_rows() -> None:
    lists = held()[-1]
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
    assert len(differ) == 2  # its name and one thing more
    assert other.name == f"short, {control}"


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
    assert run(preset, 1, tmp_path, progress=steps.append) == record  # only read
    assert len(steps) == 4


def without_times(record: dict[str, Any]) -> dict[str, Any]:
    outcome = {name: value for name, value in record["outcome"].items() if name != "seconds"}
    return {"prediction": record["prediction"], "outcome": outcome}


def test_a_run_repeats_itself_and_seeds_differ(tmp_path: Path) -> None:
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
    monkeypatch.setattr(experiment, "_predicted", lambda *_: pytest.fail("asked for another prediction"))
    done = run(SMALL, 1, tmp_path)
    assert {name: done[name] for name in half} == half


def test_a_file_of_another_setting_is_refused(tmp_path: Path) -> None:
    run(SMALL, 1, tmp_path)
    with pytest.raises(ValueError, match=r"small-1.json must hold a run of this preset, got one with other settings"):
        run(replace(SMALL, clip=3.0), 1, tmp_path)


def test_a_base_that_goes_on_more_often_than_the_teacher_has_no_threshold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiment, "TUNING_STEPS", 100)
    with pytest.raises(ValueError, match="preset must have a base that ends lists more often, got medians p = "):
        run(replace(SMALL, teacher_ends=0.6, base_ends=0.2), 0, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_clip_is_what_lets_the_tail_go(tmp_path: Path) -> None:
    """At a λ far past the collapse point a clipped student loses more tail than one without a clip."""
    preset = replace(SMALL, steps=60, grid=(0.0, 3.0))
    clipped, free = (run(one, 0, tmp_path) for one in (preset, variant(preset, "no clip")))
    assert clipped["outcome"]["tail"][-1][1] < 0.7 * free["outcome"]["tail"][-1][1]
    assert clipped["outcome"]["tail"][0][1] == pytest.approx(free["outcome"]["tail"][0][1], rel=0.05)
