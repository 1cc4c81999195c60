"""Trials of update rules: their predictions, a run from lock to outcome, and what the records say."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from lambda_star import updates
from lambda_star.cli import main
from lambda_star.cliff import rules, trials
from lambda_star.cliff.model import sample
from lambda_star.cliff.record import read
from lambda_star.cliff.rules import TRIALS, Finding, Trial, find, groups, half_lost, names, power
from lambda_star.cliff.trials import Runner, _kept, _Student
from tests.cliff.test_run import SMALL, _short_and_shared_tuning

__all__ = ["_short_and_shared_tuning"]

FOLDER = Path(__file__).parents[2] / "results" / "rules"
RECORDS = {path.stem: read(path) for path in sorted(FOLDER.glob("*.json"))}
DONE = {name: record for name, record in RECORDS.items() if "outcome" in record}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> dict[str, Trial]:
    for module in (rules, trials):
        monkeypatch.setattr(module, "JUDGED", 40)
        monkeypatch.setattr(module, "GRID", (0.0, 1.0, 1.4))
    monkeypatch.setattr(trials, "ANSWERS", 20)
    return {name: Trial(name, SMALL, **given) for name, given in TRIALS.items() if "steps" not in given}


def test_a_trial_is_locked_trained_beside_others_and_judged(tmp_path: Path, small: dict[str, Trial]) -> None:
    chosen = [small[name] for name in ("cap", "teacher-weight-drawn")]
    steps: list[int] = []
    runner = Runner(chosen[0], 1)
    locks = [runner.locked(one, tmp_path) for one in chosen]
    records = runner.run(chosen, tmp_path, steps.append)
    assert steps == [1, 2, 3, 4]
    for one, lock, record in zip(chosen, locks, records, strict=True):
        assert json.loads(one.path(tmp_path, 1).read_text(encoding="utf-8")) == record
        assert {name: record[name] for name in lock if name != "attempts"} == {
            name: value for name, value in lock.items() if name != "attempts"
        }
        assert len(record["attempts"]) == 1
        assert find(record).hit is not None
        assert find(lock).hit is None
    assert runner.run(chosen, tmp_path, steps.append) == records
    assert len(steps) == 4


def test_answers_are_used_several_times_by_the_rules_that_weight_them(
    tmp_path: Path, small: dict[str, Trial], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []

    def counting(*given: Any, **options: Any) -> torch.Tensor:
        drawn.append(given[1])
        return sample(*given, **options)

    runner = Runner(small["ppo"], 1)
    runner.locked(small["ppo"], tmp_path)
    monkeypatch.setattr(trials, "sample", counting)
    runner.run([small["ppo"]], tmp_path)
    assert drawn.count(small["ppo"].batch) == 1  # four steps


def test_only_rules_that_truncate_keep_tokens_out_of_the_answers(small: dict[str, Trial]) -> None:
    assert _kept([small["cap"], small["ppo"]]) is None
    kept = _kept([small["cap"], small["top-p"]])
    assert kept is not None
    rows = torch.tensor([0.96, 0.03, 0.01]).log().expand(2 * len(rules.GRID), 5, 3)
    assert kept(rows)[: len(rules.GRID)].all()
    assert (kept(rows)[len(rules.GRID) :].sum(-1) == 1).all()


def test_the_students_of_a_rehearsal_are_those_of_the_rule() -> None:
    generator = torch.Generator().manual_seed(0)
    log_t, log_b = torch.randn(2, 7, 4, dtype=torch.float64, generator=generator).log_softmax(-1)
    rows = torch.tensor([0, 1, 2, 2, 5, 6, 0])
    lam = torch.tensor([1.0, 1.5, 2.0, 2.0, 1.2, 1.3, 1.7], dtype=torch.float64)
    for rule in (updates.log_ratio_cap(2.0), updates.top_k(1)):
        student = _Student(rule)
        found = student(log_t[rows], log_b[rows], lam).numpy()
        unsettled = 0
        for row, at, one in zip(rows, lam, found, strict=True):
            expected = rule.student(log_t[row].numpy(), log_b[row].numpy(), float(at), axis=-1)
            if np.isnan(expected).any():
                unsettled += 1
                expected = updates.none().student(log_t[row].numpy(), log_b[row].numpy(), float(at), axis=-1)
            np.testing.assert_allclose(np.exp(one), np.exp(expected), atol=1e-12)
        assert (student.rows, student.unsettled) == (7, unsettled)


@settings(max_examples=30)
@given(st.integers(2, 8), st.data())
def test_half_is_lost_where_the_curve_first_meets_half_of_the_reference(count: int, data: st.DataObject) -> None:
    shares = st.lists(st.floats(0.01, 1.0), min_size=count, max_size=count)
    validity, free = data.draw(shares), data.draw(shares)
    lams = [1 + 0.1 * place for place in range(count)]
    found = half_lost(lams, validity, free)
    fine = np.linspace(lams[0], lams[-1], 5001)
    gap = np.interp(fine, lams, validity) - np.interp(fine, lams, free) / 2
    if found is None:
        assert (gap > -1e-12).all()
    else:
        assert np.interp(found, lams, np.array(validity) - np.array(free) / 2) <= 1e-12
        assert (gap[fine < found - 1e-9] > 0).all()


def test_the_power_is_that_of_the_criterion() -> None:
    judged, share = 200, 0.6
    rng = np.random.default_rng(0)
    seen = rng.binomial(judged, share - rules.FALL, size=200_000) / judged
    noticed = np.mean(share - seen > rules.MARGIN + 1e-9)
    assert power([share], judged) == pytest.approx(noticed, abs=0.005)
    assert power([share, 0.05], judged) == power([share], judged)
    assert math.isnan(power([0.05], judged))
    for value in np.linspace(0.1, 1.0, 10):
        counts = np.arange(2001)
        here = binom.pmf(counts, 2000, value - rules.FALL)[value - counts / 2000 > rules.MARGIN + 1e-9].sum()
        assert power([value], 2000) == pytest.approx(here, abs=1e-9)


def test_groups_share_what_their_training_shares() -> None:
    chosen = [rules.trial("short", name) for name in names("short")]
    found = groups(chosen, 4)
    assert sorted(one.name for group in found for one in group) == sorted(names("short"))
    for group in found:
        assert len(group) <= 4
        assert len({(one.preset.steps, one.momentum, one.reuse) for one in group}) == 1
    assert not [name for name in names("sparse") if "momentum" in name]


def test_a_record_that_says_of_itself_what_its_numbers_do_not_say_is_refused() -> None:
    record = copy.deepcopy(next(iter(DONE.values())))
    record["outcome"]["onset"] = 1.2345
    with pytest.raises(ValueError, match="record must name the onset of its own validity"):
        find(record)
    with pytest.raises(ValueError, match="setting must be one of short, sparse, got 'long'"):
        rules.trial("long", "cap")


@pytest.mark.parametrize("name", RECORDS)
def test_every_record_is_that_of_its_trial(name: str) -> None:
    record = RECORDS[name]
    setting, rule, seed = name.split("-", 1)[0], name.split("-", 1)[1].rsplit("-", 1)[0], name.rsplit("-", 1)[1]
    one = rules.trial(setting, rule)
    assert record["settings"] == json.loads(json.dumps(one.settings))
    assert record["seed"] == int(seed)
    assert one.path(FOLDER, int(seed)).stem == name


@pytest.mark.parametrize("name", DONE)
def test_predicted_and_seen_are_computed_from_what_is_on_record(name: str) -> None:
    record = DONE[name]
    said, seen, found = record["prediction"], record["outcome"], find(record)
    assert found.dies == said["dies"][2]
    rehearsed = np.interp(said["grid"], said["lam"], said["validity"])
    free = np.interp(said["grid"], said["lam"], said["free"])
    assert found.shortfall == pytest.approx(max(rehearsed - seen["validity"]))
    fallen = np.array(seen["validity"]) <= free / 2
    assert (found.seen is not None) == fallen.any()
    if found.seen is not None:
        first = int(np.argmax(fallen))
        assert said["grid"][max(first - 1, 0)] <= found.seen <= said["grid"][first]
    if found.band is None:
        assert found.hit == (found.shortfall <= 0.07)
    else:
        assert found.hit == (found.seen is not None and found.band[0] <= found.seen <= found.band[1])


def test_falls_are_predicted_only_where_the_tail_dies() -> None:
    for found in map(find, RECORDS.values()):
        assert (found.predicted is not None) == (found.dies is not None), found
        assert found.predicted is not None or found.power > 0.99


def test_the_tails_of_top_1_are_where_they_were_predicted_though_its_answers_are_less_valid() -> None:
    for record in (record for record in DONE.values() if record["settings"]["name"] == "top-1"):
        said, rule = record["prediction"], updates.top_k(1)
        middle = np.array(record["outcome"]["tail"])[:, 1]
        expected = 1 - rule.student(said["p"], said["b"], np.array(said["grid"]))
        before = np.array(said["grid"]) <= find(record).predicted
        np.testing.assert_allclose(middle[before], expected[before], rtol=0.12)
        assert find(record).shortfall > 0.07


def test_the_tail_under_the_cap_differentiated_through_sticks() -> None:
    for record in (record for record in DONE.values() if record["settings"]["name"] == "cap-through"):
        said = record["prediction"]
        sticks = record["outcome"]["tail"][1][1]  # at 0.8 of the way to the fall
        assert sticks == pytest.approx((1 - said["p"]) / 2, rel=0.06)
        assert sticks > 1.5 * (1 - updates.none().student(said["p"], said["b"], said["grid"][1]))


def test_the_command_prints_the_records_of_a_folder(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["cliff-rules", "--report", "--json", str(tmp_path / "r.json")])
    assert done.exit_code == 0, done.output
    assert len(json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["trials"]) == len(RECORDS)
    empty = CliRunner().invoke(main, ["cliff-rules", "--report", "--folder", str(tmp_path)])
    assert empty.exit_code == 2


def test_the_picture_has_one_axes_for_each_setting() -> None:
    from lambda_star.plotting import plot_cliff_rules

    found: list[Finding] = [find(record) for record in RECORDS.values()]
    figure = plot_cliff_rules(found)
    assert [ax.get_title() for ax in figure.axes] == list(
        dict.fromkeys(one.setting for one in found if one.hit is not None)
    )
    with pytest.raises(ValueError, match="findings must hold one with an outcome"):
        plot_cliff_rules([])
