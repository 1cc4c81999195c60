"""The paper's task in small: the records of ``examples/eight_ids`` fit their locks, its update is the one reported."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lambda_star import bernoulli, updates
from lambda_star.cliff.record import finished, read

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "examples" / "eight_ids"
sys.path.insert(0, str(FOLDER))
try:
    import accounts
    import eight_ids
    import lists
    import report
    import update
finally:
    sys.path.remove(str(FOLDER))

RECORDS = [read(run.path) for run in eight_ids.runs()]
FINISHED = finished([run.path for run in eight_ids.runs()])


def test_every_run_is_locked_with_its_settings() -> None:
    for run, record in zip(eight_ids.runs(), RECORDS, strict=True):
        assert record["seed"] == run.seed
        assert record["settings"] == {**run.settings, "lams": list(accounts.LAMS), "steps": list(accounts.STEPS)}


def test_base_and_teacher_are_as_the_task_wants_them() -> None:
    for record in RECORDS:
        said = record["prediction"]
        assert max(said["tails"]["teacher"]) <= 1e-3
        if "converged" in said["mean"]:
            assert said["mean"]["converged"]["valid"][0] >= 0.95  # λ = 1, the teacher
        kept = np.prod(1 - np.array(said["tails"]["base"]))
        assert kept == pytest.approx(0.35, abs=0.05)
        assert said["power"] > 0.99


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: f"{record['settings']['update']}-{record['seed']}")
def test_the_claims_follow_from_the_measured_numbers(record: dict[str, Any]) -> None:
    said, settings = record["prediction"], record["settings"]
    p, b, clip = said["p"], said["b"], settings["clip"]
    for steps, lam in zip(settings["steps"], said["starvation"], strict=True):
        assert steps * settings["answers"] * (1 - bernoulli.fixed_point(p, b, lam)) == pytest.approx(
            1, rel=0.02
        )  # p has six digits
    if clip is None:
        assert said["capacity"] is None
    elif said["capacity"] > 1:
        there, here = (
            updates.capacity(p_, b_, lam, c, centred=settings["centred"]) / (1 - p_)
            for p_, b_, lam, c in ((1 - 6.6e-4, 0.5, 1.216, 5.0), (p, b, said["capacity"], clip))
        )
        assert here == pytest.approx(there, rel=0.02)  # p has six digits
    late = [lam is not None and lam < 1.6 for lam in (said["capacity"], *said["starvation"])]
    assert said["falls"]["capacity"] + said["falls"]["starvation"] == [late[0], *late]
    for steps, s, claim in zip(("42", "70"), said["pace"], said["falls"]["mean"], strict=True):
        drop = said["mean"][steps]["valid"][0] - np.array(said["mean"][steps]["valid"])
        assert claim == (drop[-1] > accounts.DROP)
        odds_t, odds_b = (math.log1p(-tail) - math.log(tail) for tail in (1 - p, 1 - b))
        if settings["base_term"] and said["separator"] == 7:
            start = odds_t if settings.get("from_teacher") else odds_b
            end = odds_b + np.array(settings["lams"]) * (odds_t - odds_b)
            tail = 1 / (1 + np.exp(start + (end - start) * -math.expm1(-s)))
            # A little of the tail is not the end of a list, and thins more slowly.
            assert np.allclose(said["mean"][steps]["tail"][:7], tail[:7], rtol=0.2)


def test_a_sustained_loss_is_a_fall_and_a_dip_is_not() -> None:
    valid = [0.9] * len(accounts.LAMS)
    assert accounts.fallen(valid) is None
    assert accounts.fallen([*valid[:5], 0.5, *valid[6:]]) is None
    assert accounts.fallen([*valid[:5], *[0.84] * 5]) == accounts.LAMS[5]


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("lam", [1.0, 1.3])
def test_the_expected_gradient_is_the_force_of_the_rule(centred: bool, lam: float) -> None:
    p, b, q, clip = 0.9, 0.5, 0.97, 2.0
    theta = torch.tensor(math.log(q / (1 - q)), dtype=torch.float64, requires_grad=True)
    # A hundred answers of one token each, drawn in the student's proportions.
    tokens = torch.tensor([0] * 97 + [1] * 3)[None, :, None]
    log_s = torch.stack([torch.nn.functional.logsigmoid(theta), torch.nn.functional.logsigmoid(-theta)])
    log_t, log_b = (torch.tensor([x, 1 - x], dtype=torch.float64).log() for x in (p, b))
    log_s, log_t, log_b = (log.expand(1, 100, 1, 2) for log in (log_s, log_t, log_b))
    rule = update.Rule(clip, centred=centred)
    inside = torch.ones_like(tokens, dtype=torch.bool)
    loss = update.losses(rule, log_s, log_t, log_b, torch.tensor([lam]).double(), tokens, inside)
    (slope,) = torch.autograd.grad(loss.sum(), theta)
    force = updates.teacher_weight(clip, centred=centred).force(theta.item(), p, b, lam)
    assert -slope.item() == pytest.approx(q * (1 - q) * (force.modal - force.tail), rel=1e-6)


def test_flipped_weights_are_the_force_that_says_where_the_tail_dies() -> None:
    p, b, q, lam = 0.9, 0.5, 0.97, 1.3
    log_q, log_p, log_b = (torch.tensor([x, 1 - x], dtype=torch.float64).log().expand(1, 2, 1, 2) for x in (q, p, b))
    forces = accounts.flipped_force(2.0, math.log(q / (1 - q)), p, b, lam)
    tokens = torch.tensor([0, 1])[None, :, None]
    log_q = log_q.clone().requires_grad_()
    rule, inside = update.Rule(2.0, flipped=True), torch.ones_like(tokens, dtype=torch.bool)
    loss = update.losses(rule, log_q, log_p, log_b, torch.tensor([lam]).double(), tokens, inside)
    (slope,) = torch.autograd.grad(loss.sum(), log_q)
    assert [-2 * slope[0, token, 0, token].item() for token in (0, 1)] == pytest.approx(list(forces))


def test_without_the_base_the_advantage_has_no_base() -> None:
    generator = torch.Generator().manual_seed(0)
    log_s, log_t, one, other = (torch.randn(1, 4, 2, 5, generator=generator).log_softmax(-1) for _ in range(4))
    tokens, inside = torch.zeros(1, 4, 2, dtype=torch.long), torch.ones(1, 4, 2, dtype=torch.bool)
    rule = update.Rule(5.0, base_term=False)
    found = [update.losses(rule, log_s, log_t, log_b, torch.tensor([1.3]), tokens, inside) for log_b in (one, other)]
    assert torch.equal(*found)


def test_a_law_is_a_distribution_and_answers_follow_it() -> None:
    law = lists.BASES["last"]
    answers = lists.drawn(law, 4000, np.random.default_rng(0))
    rows = lists.next_tokens(law, answers)
    assert np.allclose(rows.sum(-1), 1)
    (shares,) = lists.judged(torch.tensor(answers)[None])
    valid = np.prod(1 - np.array(law.stops[:7])) * law.stops[7]
    assert shares["valid"] == pytest.approx(valid, abs=0.03)
    assert shares["one missing"] == pytest.approx(np.prod(1 - np.array(law.stops[:6])) * law.stops[6], abs=0.03)


@pytest.mark.slow
def test_a_run_goes_from_lock_to_outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, value in (
        (lists, "KEPT", tmp_path / "kept"),
        (lists, "BASE_STEPS", 10),
        (lists, "TEACHER_STEPS", 10),
        (lists, "ANSWERS", 64),
        (lists, "HELD_OUT", 8),
        (accounts, "HELD_OUT", 8),
        (eight_ids, "FOLDER", tmp_path),
        (eight_ids, "JUDGED", 20),
        *(
            (module, name, value)
            for module in (accounts, eight_ids)
            for name, value in (("STEPS", (1, 2)), ("LAMS", (1.0, 1.2)))
        ),
    ):
        monkeypatch.setattr(module, name, value)
    run = eight_ids.Run("last", "c=5", 0)
    eight_ids.make(run, only_lock=True)
    assert "outcome" not in read(run.path)
    eight_ids.make(run, only_lock=False)
    record = read(run.path)
    assert [len(record["outcome"][steps]["students"]) for steps in ("1", "2")] == [2, 2]
    eight_ids.make(run, only_lock=False)  # finished, so it is only read
    assert read(run.path) == record


def test_the_cells_are_counted_from_what_was_seen() -> None:
    if not FINISHED:
        pytest.skip("no run is finished")
    for each in report.cells(FINISHED):
        runs = [r for r in FINISHED if (r["settings"]["base"], r["settings"]["update"]) == (each.base, each.update)]
        shares = np.array([[one["valid"] for one in run["outcome"][str(each.steps)]["students"]] for run in runs])
        low = shares.mean(0) < shares.mean(0)[0] - accounts.DROP
        assert (each.falls is not None) == low[-1]
        assert len(runs) == len(accounts.SEEDS)


def test_a_loss_of_a_tenth_would_have_been_seen_after_seventy_steps() -> None:
    for each in report.cells(FINISHED):
        settings = eight_ids.UPDATES.get(each.update, update.Rule(None))
        if each.steps == 70 and settings.base_term and settings.rate == eight_ids.RATE:
            change = each.valid[:, 1:] - each.valid[:, :1]
            error = (change.std(0, ddof=1) / len(change) ** 0.5).max()
            bound = 0.04 if settings.clip is None else 0.02
            assert (error <= bound) == ((each.base, each.update) != ("even", "no cap")), (each.update, error)


def test_the_page_shows_what_the_report_prints(capsys: pytest.CaptureFixture[str]) -> None:
    report.show(eight_ids.FOLDER, None)
    assert capsys.readouterr().out.strip() in (FOLDER / "README.md").read_text(encoding="utf-8")
