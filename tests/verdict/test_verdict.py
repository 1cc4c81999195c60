"""Every branch of a verdict, and its laws: intervals decide, and more answers or more tolerance never unsettle it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from lambda_star import calibrate, decide, read_table, updates
from lambda_star.calibration.statistics import answers_for
from lambda_star.rehearsal import Rehearsal, change_of_share
from lambda_star.verdict import Verdict
from lambda_star.verdict.measured import Measured, never_kills
from lambda_star.verdict.rehearsed import Rehearsed
from tests.night import thinned
from tests.verdict.cases import CAP, NEVER, rehearsal, rehearsal_of, report

TABLE = "examples/rank_by_price/logprobs.csv"
ORDER = ["unsafe", "unknown", "safe"]


def said(*arguments: Any, **options: Any) -> tuple[str, float | None]:
    found = decide(*arguments, **options)
    return found.safety, found.set_lam


# A report alone


def test_up_to_the_operating_point_a_lambda_is_safe() -> None:
    assert said(report(), lam=1.12) == ("safe", 1.12)
    found = decide(report(), lam=1.1201)
    assert (found.safety, found.set_lam, found.needed) == ("unknown", 1.12, None)
    assert "no tail dies" in found.reason
    assert "`lambda-star rehearse --lam 1.1201`" in found.reason


@pytest.mark.parametrize("answers", [1, 300])
def test_plain_distillation_is_safe_and_what_lies_towards_the_base_is_unknown(answers: int) -> None:
    ends = (1.14, math.nan, math.nan)
    for made in (report(answers=answers), report(operating=ends, dies=ends, rule=CAP, answers=answers)):
        assert said(made, lam=1.0) == ("safe", 1.0)
        for lam in (-5.0, 0.0, 0.99):
            assert decide(made, lam=lam).reason.startswith(f"λ = {lam:g} lies towards the base")
            assert said(made, lam=lam)[0] == "unknown"


def test_the_interval_of_the_death_decides() -> None:
    made = report((1.3, 1.29, 1.31), (1.25, 1.2, 1.28), CAP)
    assert said(made, lam=1.28) == ("unsafe", 1.0)  # the lower end of the operating point is past the death
    assert "tails die from 1.25 [1.2, 1.28] on" in decide(made, lam=1.28).reason
    assert said(made, lam=1.19) == ("safe", 1.19)
    near, far = decide(made, lam=1.24), decide(made, lam=1.2)
    assert near.safety == far.safety == "unknown"
    assert (near.needed, far.needed) == (7500, 300)  # a fifth of the way to the end takes 5² times as many
    assert decide(made, lam=1.25).needed is None


def test_a_rule_that_kills_tails_below_one_makes_plain_distillation_unsafe() -> None:
    made = report((0.91, 0.9, 0.92), (0.9, 0.89, 0.91), "kl_to_base_cap(c=1.1)")
    assert said(made, lam=1.0) == ("unsafe", None)
    assert said(made, lam=0.9) == ("unknown", None)
    assert said(made, rehearsal(300, {0.88: 0.0}, rule="kl_to_base_cap(c=1.1)"), lam=0.88) == ("safe", 0.88)
    assert said(made) == ("unsafe", None)
    assert str(decide(made)).startswith("UNSAFE: ")


def test_without_a_rule_a_lambda_above_the_operating_point_is_unknown_and_not_unsafe() -> None:
    found = decide(report(rule=None, dies=None), lam=3.0)
    assert found.safety == "unknown"
    assert "no --rule says where tails die" in found.reason
    assert "The report has no rule, so it does not say where tails die." in found.evidence
    assert said(report(rule=None, dies=None), lam=1.1) == ("safe", 1.1)


def test_too_few_answers_are_unknown_and_the_number_that_it_takes_is_told() -> None:
    for answers, safety, needed in ((298, "unknown", 299), (299, "safe", None)):
        found = decide(report(answers=answers), lam=1.1)
        assert (found.safety, found.needed) == (safety, needed)
    assert "58 answers are too few for the 1 % quantile" in decide(report(answers=58), lam=1.1).reason
    assert "they can show the 5 % quantile" in decide(report(answers=58), lam=1.1).reason
    assert decide(report(answers=59, quantile=0.05), lam=1.1).safety == "safe"
    assert decide(report(answers=10**6, quantile=0.0), lam=1.1).needed is None
    assert decide(report(operating=(1.1, math.nan, math.nan), answers=1), lam=1.05).needed == 299


def test_a_death_is_unsafe_with_few_answers_too() -> None:
    assert said(report(dies=(1.25, 1.2, 1.28), rule=CAP, answers=2), lam=1.3) == ("unsafe", 1.0)


def test_the_numbers_of_answers_are_those_of_order_statistics() -> None:
    for quantile, confidence in ((0.01, 0.95), (0.05, 0.95), (0.2, 0.8)):
        least = answers_for(quantile, confidence)
        assert 1 - (1 - quantile) ** least >= confidence > 1 - (1 - quantile) ** (least - 1)
    assert (answers_for(0.0, 0.5), answers_for(1.0, 0.5)) == (math.inf, 1.0)


def test_without_a_lambda_the_largest_safe_one_is_advised() -> None:
    found = decide(report())
    assert (found.safety, found.lam, found.set_lam) == ("safe", None, 1.12)
    assert str(found).startswith("SAFE λ = 1.12: ")
    few = decide(report(answers=10))
    assert (few.safety, few.set_lam, few.needed) == ("unknown", 1.0, 299)
    assert str(few).endswith("Known to be safe is λ = 1.")
    assert said(report(NEVER)) == ("safe", math.inf)
    assert decide(report(NEVER)).to_dict()["set_lam"] == "inf"


def test_a_report_may_be_the_object_its_json_or_a_file(tmp_path: Path) -> None:
    made = calibrate(read_table(TABLE), rule=updates.log_ratio_cap(5.0))
    path = tmp_path / "report.json"
    path.write_text(json.dumps(made.to_dict()), encoding="utf-8")
    verdicts = [decide(each, lam=1.25) for each in (made, made.to_dict(), path, str(path), Measured.of(made))]
    assert verdicts == verdicts[:1] * 5
    assert verdicts[0].safety == "unsafe"


def test_limits_of_little_confidence_may_change_places() -> None:
    made = calibrate(read_table(TABLE), confidence=1e-9)
    assert made.operating_point.value > made.operating_point.high
    assert decide(made, lam=1.0, confidence=1e-9).safety == "safe"


def test_where_nothing_broke_a_lambda_is_not_called_too_high() -> None:
    found = decide(calibrate(read_table(TABLE), rule=updates.none()), lam=1.25)
    assert found.safety == "unknown"
    assert decide(calibrate(read_table(TABLE), rule=updates.none()), rehearsal(300, {1.25: 0.0}), 1.25).safety == "safe"


# A rehearsal


@pytest.mark.parametrize(("valid", "safety"), [(0, "unknown"), (14, "unknown"), (15, "safe")])
def test_where_hardly_an_answer_is_valid_nothing_is_concluded(valid: int, safety: str) -> None:
    answers = [place < valid for place in range(300)]
    found = decide(None, rehearsal_of(answers, answers), 1.5)
    assert found.safety == safety
    if safety == "unknown":
        assert found.reason.endswith("hardly one to lose; check contract, prompts and teacher.")
        assert (found.needed, found.set_lam) == (None, 1.0)


def test_the_interval_of_the_paired_change_decides() -> None:
    made = rehearsal(300, {1.25: 0.01, 1.6: 0.04, 2.0: 0.2})
    for lam, safety in ((1.25, "safe"), (1.6, "unknown"), (2.0, "unsafe")):
        found = decide(None, made, lam)
        assert (found.safety, found.set_lam) == (safety, 1.25)
    assert said(None, made) == ("safe", 1.25)
    assert said(None, made, tolerance=0.5) == ("safe", 2.0)
    assert said(None, made, tolerance=0.0) == ("unknown", 1.0)


def test_losses_that_gains_make_up_for_are_safe() -> None:
    assert decide(None, rehearsal(2000, {1.5: 0.1}, gains=0.1), 1.5).safety == "safe"
    assert decide(None, rehearsal(2000, {1.5: 0.0}, gains=0.1), 1.5).reason.startswith(
        "Against λ = 1 the share of valid answers loses nothing"
    )


@pytest.mark.parametrize(("pairs", "lost"), [(64, 0.0), (64, 0.03125), (100, 0.03), (100, 0.1)])
def test_the_number_of_answers_that_it_takes_is_the_least_that_decides(pairs: int, lost: float) -> None:
    found = decide(None, rehearsal(pairs, {1.5: lost}), 1.5)
    assert found.safety == "unknown"
    assert found.needed is not None

    def decides(number: int) -> bool:
        now = [index >= round(lost * number) for index in range(number)]
        change = change_of_share(now, [True] * number)
        return change.low >= -0.05 or change.high < -0.05

    assert decides(found.needed)
    assert not decides(found.needed - 1)
    assert decide(None, rehearsal(found.needed, {1.5: lost}), 1.5).safety != "unknown"


def test_a_loss_of_exactly_the_tolerance_is_never_settled() -> None:
    assert decide(None, rehearsal(100, {1.5: 0.05}), 1.5).needed is None


def test_what_the_rehearsal_does_not_hold_is_unknown_with_what_to_run() -> None:
    made = rehearsal(300, {1.5: 0.0})
    found = decide(None, made, 1.3)
    assert (found.safety, found.set_lam) == ("unknown", 1.5)
    assert "--lam 1.3" in found.reason
    assert said(report(), made, 1.3)[0] == "unknown"
    assert said(report(), made, 1.1) == ("safe", 1.1)  # the report alone knows this one


def test_without_a_contract_or_without_pairs_it_is_unknown() -> None:
    made = rehearsal(300, {1.5: 0.0})
    blind = Rehearsal(made.header, tuple(replace(answer, valid=None) for answer in made.answers))
    found = decide(None, blind, 1.5)
    assert (found.safety, found.set_lam) == ("unknown", 1.0)
    assert "--contract" in found.reason
    alone = Rehearsal(made.header, tuple(answer for answer in made.answers if answer.lam != 1))
    assert "--lam 1 too" in decide(None, alone, 1.5).reason
    only = Rehearsal(made.header, tuple(answer for answer in made.answers if answer.lam == 1))
    assert said(None, only) == ("unknown", 1.0)


def test_a_base_that_is_valid_less_often_than_the_teacher_is_unsafe() -> None:
    assert said(None, rehearsal(300, {0.0: 0.7, 1.5: 0.0}), 0.0) == ("unsafe", 1.5)


def test_where_every_lambda_above_one_is_unsafe_one_is_advised() -> None:
    found = decide(None, rehearsal(300, {1.5: 0.9}))
    assert (found.safety, found.set_lam) == ("safe", 1.0)
    assert found.reason.startswith("Every λ above 1 that was judged is unsafe: ")


def test_under_the_rule_of_the_rehearsal_tails_must_not_die() -> None:
    made = rehearsal(300, {1.5: 0.0}, rule="log_ratio_cap:5")
    found = decide(None, made, 1.5)
    assert (found.safety, "lambda-star calibrate" in found.reason) == ("unknown", True)
    assert said(None, made, 1.0) == ("safe", 1.0)
    dying = report((1.2, 1.19, 1.21), (1.25, 1.2, 1.28), CAP)
    assert said(dying, made, 1.5) == ("unsafe", 1.19)
    living = report((1.9, 1.8, 2.0), (2.5, 2.2, 2.8), CAP)
    assert said(living, made, 1.5) == ("safe", 1.5)
    assert said(report(rule=None, dies=None), rehearsal(300, {1.5: 0.0}), 1.5) == ("safe", 1.5)


def test_a_report_and_a_rehearsal_for_other_rules_are_refused() -> None:
    made = rehearsal(300, {1.5: 0.0})
    with pytest.raises(ValueError, match=r"rule of the report, log_ratio_cap\(c=5\), got none\(\)"):
        decide(report(dies=(1.25, 1.2, 1.28), rule=CAP), made)
    assert said(report(rule="importance_weight(5)"), made, 1.5) == ("safe", 1.5)  # it does the same
    for rule, other in (("none()", "top_k(k=8)"), ("top_k(k=8)", "none()")):  # p and b do not show what a set does
        with pytest.raises(ValueError, match="give both the same --rule"):
            decide(report(rule=rule), rehearsal(300, {1.5: 0.0}, rule=other), 1.5)


def test_the_rule_of_the_rehearsal_counts_where_the_report_has_none() -> None:
    tight = rehearsal(300, {1.5: 0.0}, rule="log_ratio_cap:1.01")
    assert decide(report(rule=None, dies=None), tight, 1.1).safety == "unknown"
    early = rehearsal(300, {1.5: 0.0}, rule="kl_to_base_cap:1.1")  # under it tails die below λ = 1
    assert said(None, early, 1.0) == ("unknown", None)


def test_a_report_with_a_rule_and_no_death_is_unknown() -> None:
    assert said(report(rule=CAP, dies=None), lam=1.1) == ("unknown", 1.0)
    assert decide(report(rule="none()", dies=None), lam=1.1).safety == "unknown"


def test_a_report_that_never_saw_a_death_does_not_exclude_one_without_an_interval() -> None:
    made = report(dies=(math.inf, math.nan, math.nan), rule=CAP)
    assert decide(made, rehearsal(300, {1.5: 0.0}, rule="log_ratio_cap:5"), 1.5).safety == "unknown"
    assert decide(report(dies=(math.inf, math.nan, math.nan)), rehearsal(300, {1.5: 0.0}), 1.5).safety == "safe"


def test_a_report_does_not_allow_a_lambda_beyond_one_at_which_answers_broke() -> None:
    made = report(operating=(1.9, 1.8, 2.0))
    assert said(made, rehearsal(300, {1.5: 0.9}), 1.7) == ("unknown", 1.0)
    assert said(made, rehearsal(300, {1.5: 0.9}), 1.2)[0] == "safe"
    assert said(report(NEVER), rehearsal(300, {2.0: 0.9})) == ("unknown", 1.0)


def test_answers_that_are_missing_or_not_judged_count_against_the_verdict() -> None:
    """A run that was stopped lacks the answers that still grew, and those may be the broken ones."""
    made = rehearsal(300, {1.5: 0.5, 2.0: 0.01})
    stopped = Rehearsal({}, tuple(answer for answer in made.answers if answer.valid))
    blind = Rehearsal({}, tuple(replace(answer, valid=answer.valid or None) for answer in made.answers))
    for found in (decide(None, each, 1.5) for each in (stopped, blind)):
        assert (found.safety, found.needed) == ("unknown", None)
        assert "150 answers are missing or not judged" in found.reason
    assert decide(None, stopped, 2.0).safety == "safe"  # 3 of 300 decide nothing
    few = Rehearsal({}, tuple(answer for answer in made.answers if answer.lam != 1 or answer.prompt > 2))
    assert decide(None, few, 1.5).safety == "unsafe"


def test_what_a_verdict_rests_on_is_said() -> None:
    found = decide(None, Rehearsal({"budget": 0.5}, rehearsal(300, {1.5: 0.0}).answers), 1.5)
    assert found.reason.endswith("That holds for a run that is stopped at flow time 0.5, and not for one that goes on.")
    twice = tuple(replace(answer, sample=answer.prompt % 2) for answer in rehearsal(300, {1.5: 0.0}).answers)
    other = decide(report(contract="json"), Rehearsal({"contract": "yaml"}, twice), 1.5).evidence
    assert "The report is for the contract json, and the rehearsal for yaml." in other
    assert any("intervals hold for these prompts" in each for each in other)


WRONG: dict[str, dict[str, Any]] = {
    "answers": {"answers": math.inf},
    "quantile": {"quantile": math.nan},
    "level": {"quantile": -1},
    "confidence": {"confidence": math.nan},
    "digits": {"confidence": 10**400},
    "rule": {"rule": 5},
    "no rule": {"rule": None},
    "order": {"operating": (1.1, 3.0, 1.0)},
    "clip": {"clip": math.nan},
}


@pytest.mark.parametrize("name", WRONG)
def test_a_report_that_was_edited_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not as this version writes it"):
        decide(report(**WRONG[name]), lam=1.1)


def test_a_file_with_huge_numbers_is_refused(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text("1" * 5000)
    with pytest.raises(ValueError, match="the report is not JSON"):
        decide(tmp_path / "report.json")
    with pytest.raises(ValueError, match="rule as text"):
        decide(None, Rehearsal({"rule": 5}, rehearsal(3, {}).answers))


def test_the_evidence_names_every_number() -> None:
    made = rehearsal(300, {1.5: 0.01}, rule="none()")
    found = decide(report(), made, 1.5).evidence
    assert found == (
        "300 answers were measured, and 299 are needed to show the 1 % quantile with 95 % confidence.",
        "The operating point is 1.12; up to it at most 1 % of the answers have a tail more than 5 times thinner than "
        "the teacher's.",
        "Under none() no tail dies in the mean at these positions.",
        "The rehearsal predicts converged training under none().",
        "At λ = 1 300 answers were rehearsed, 100 % valid [98.8 %, 100 %].",
        "At λ = 1.5 300 answers were rehearsed, 99 % valid [97.1 %, 99.8 %], a change of -1 % [-3.21, +1.29] against "
        "λ = 1.",
    )
    short = Rehearsal({"budget": 3.0}, made.answers)
    assert (
        decide(None, short, 1.5).evidence[0]
        == "The rehearsal predicts a run that is stopped at flow time 3 under none()."
    )


def test_the_best_lambda_of_a_metric_is_not_an_unsafe_one() -> None:
    made = rehearsal(300, {1.25: 0.0, 2.0: 0.5}, complete=[0.5, 0.75, 0.9], length=[3.0, 2.0, 9.0])
    found = decide(None, made)
    assert found.best == {"complete": 1.25, "length": 1.0}
    assert any("complete is greatest at λ = 1.25, 0.75" in each and "beyond chance" in each for each in found.evidence)
    assert decide(report(), lam=1.1).best == {}
    noise = rehearsal(300, {1.25: 0.0}, complete=[0.0, 0.0])
    assert decide(None, noise).best == {"complete": 1.0}


def test_a_rehearsal_may_be_a_file(tmp_path: Path) -> None:
    made = rehearsal(90, {1.5: 0.0})
    lines = [{"schema": "lambda-star/rehearsal/1", "rule": None}]
    lines += [{k: v for k, v in vars(answer).items() if v not in (None, {})} for answer in made.answers]
    path = tmp_path / "rehearsal.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    assert decide(None, path, 1.5) == decide(None, str(path), 1.5) == decide(None, made, 1.5)
    with pytest.raises(ValueError, match=r"none\.jsonl: cannot read the rehearsal"):
        decide(None, tmp_path / "none.jsonl")


# Arguments, and what a verdict holds


def test_what_is_missing_or_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="report or rehearsal must be given, got neither"):
        decide()
    wrong: dict[str, Any] = {"lam": math.nan, "tolerance": -0.1, "confidence": 1.0}
    for name, value in wrong.items():
        with pytest.raises(ValueError, match=f"{name} must lie in "):
            decide(report(), **{name: value})
    with pytest.raises(ValueError, match=r"confidence must lie in \(0, 0\.8\], as the report's, got 0\.95"):
        decide(report(confidence=0.8))
    assert decide(report(confidence=0.8), lam=1.1, confidence=0.8).safety == "safe"


@pytest.mark.parametrize(("safety", "status"), [("safe", 0), ("unsafe", 1), ("unknown", 3)])
def test_the_exit_status_and_the_json_are_those_of_the_verdict(safety: Any, status: int) -> None:
    found = Verdict(safety, 1.25, 1.1, "Because.", ("So many.",), {"m": 1.2}, 7)
    assert found.exit_status == status
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False)) == {
        "safety": safety,
        "lam": 1.25,
        "set_lam": 1.1,
        "reason": "Because.",
        "evidence": ["So many."],
        "best": {"m": 1.2},
        "needed": 7,
        "exit_status": status,
    }


def test_another_rule_than_the_reports_is_judged_as_far_as_it_is_known() -> None:
    made = Measured.of(report(rule=None, dies=None))
    assert decide(made.under(updates.none()), lam=1.5).reason.startswith(
        "λ is above the operating point, 1.12; no tail dies"
    )
    capped = made.under(updates.log_ratio_cap(5.0))
    death = updates.log_ratio_cap(5.0).dies(0.999, 0.5)
    assert [said(capped, lam=lam)[0] for lam in (death, death - 1e-6, 1.0)] == ["unsafe", "unknown", "safe"]
    assert decide(made.under(updates.top_k(8)), lam=1.1).safety == "unknown"
    own = Measured.of(report(dies=(1.25, 1.2, 1.28), rule=CAP))
    assert own.under(updates.log_ratio_cap(5.0)) == own


def test_a_rule_lets_no_tail_die_if_it_never_does_at_a_sure_teacher() -> None:
    assert not never_kills(updates.top_k(8))
    for rule in (updates.none(), updates.importance_weight(5.0), updates.advantage_clamp(1.0)):
        assert never_kills(rule)
        assert rule.dies(1 - 1e-9, 0.001) == math.inf


# Laws

FEW = settings(max_examples=25)
"""Each case rehearses hundreds of answers, and its intervals are sought."""

SHARES = st.floats(0.0, 0.3)
TOLERANCES = st.floats(0.0, 0.4)


@FEW
@given(lost=st.integers(0, 6), gained=st.integers(0, 6), pairs=st.integers(12, 40), times=st.integers(2, 6))
def test_more_answers_with_the_same_shares_settle_and_never_unsettle(
    lost: int, gained: int, pairs: int, times: int
) -> None:
    few = decide(None, rehearsal(pairs, {1.5: lost / pairs}, gains=gained / pairs), 1.5)
    many = decide(None, rehearsal(pairs * times, {1.5: lost / pairs}, gains=gained / pairs), 1.5)
    assert few.safety in {"unknown", many.safety}


@given(answers=st.integers(1, 400), more=st.integers(0, 400), lam=st.floats(0.0, 1.3), dies=st.booleans())
def test_more_measured_answers_never_unsettle(answers: int, more: int, lam: float, *, dies: bool) -> None:
    options: dict[str, Any] = {"dies": (1.2, 1.15, 1.25), "rule": CAP} if dies else {}
    few, many = (decide(report(answers=number, **options), lam=lam) for number in (answers, answers + more))
    assert few.safety in {"unknown", many.safety}


@pytest.mark.parametrize(("pairs", "gained"), thinned([(300, 0.05), (300, 0.0)], 2))
def test_a_loss_of_the_tolerance_is_seldom_called_safe(pairs: int, gained: float) -> None:
    random, wrong, times = np.random.default_rng(0), 0, 100
    for _ in range(times):
        drawn = random.random(pairs)
        made = rehearsal_of(drawn >= 0.05 + gained, drawn < 1 - gained)
        wrong += Rehearsed.of(made, 0.05, 0.95).validity(1.5).safety == "safe"
    assert binom.sf(wrong - 1, times, 0.025) > 1e-3


@FEW
@given(lost=SHARES, gained=SHARES, tolerance=TOLERANCES, more=TOLERANCES)
def test_a_larger_tolerance_never_makes_it_worse(lost: float, gained: float, tolerance: float, more: float) -> None:
    made = rehearsal(60, {1.5: lost}, gains=gained)
    strict, lenient = (decide(None, made, 1.5, tolerance=each) for each in (tolerance, tolerance + more))
    assert ORDER.index(strict.safety) <= ORDER.index(lenient.safety)


@FEW
@given(lam=st.none() | st.floats(0.0, 2.0), answers=st.integers(1, 400), lost=SHARES, dies=st.booleans())
def test_the_lambda_to_set_is_itself_safe(lam: float | None, answers: int, lost: float, *, dies: bool) -> None:
    rule, death = (CAP, (1.2, 1.15, 1.25)) if dies else ("none()", NEVER)
    made = report(answers=answers, dies=death, rule=rule)
    rehearsed = rehearsal(200, {1.1: 0.0, 1.5: lost}, rule=rule)
    sources: list[tuple[dict[str, Any] | None, Rehearsal | None]] = [(made, None), (None, rehearsed), (made, rehearsed)]
    for of_report, of_rehearsal in sources:
        found = decide(of_report, of_rehearsal, lam)
        assert found.set_lam is not None
        assert decide(of_report, of_rehearsal, found.set_lam).safety == "safe"
        assert found.exit_status == {"safe": 0, "unsafe": 1, "unknown": 3}[found.safety]
        if found.safety == "safe" and lam is not None:
            assert found.set_lam == lam
