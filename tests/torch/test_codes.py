"""The table of training codes in the documentation is what their losses do."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import pytest

from benchmarks import probe_codes
from benchmarks.probe_codes import B, Code, P
from lambda_star import updates
from lambda_star.torch import probe

PAGE = Path(__file__).parent.parent.parent / "docs" / "probe.md"
needs_trl = pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="needs TRL, which needs Python 3.11")


def shown() -> list[str]:
    between = PAGE.read_text(encoding="utf-8").split("<!-- codes -->")[1].split("<!-- end of codes -->")[0]
    return between.strip().splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("code", probe_codes.formula_codes(), ids=lambda code: f"{code.name}, {code.keys}")
def test_a_row_of_a_formula_is_in_the_table(code: Code) -> None:
    assert probe_codes.row(code) in shown()


@needs_trl
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:You are importing from 'trl.experimental'")
def test_the_rows_of_trl_are_in_the_table() -> None:
    rows = [probe_codes.row(code) for code in probe_codes.trl_codes()]
    assert [row for row in rows if row not in shown()] == []
    assert len(rows) + len(probe_codes.formula_codes()) + 2 == len(shown())


def test_the_table_is_headed() -> None:
    assert shown()[:2] == probe_codes.table([]).splitlines()


def test_numbers_are_words_where_there_is_no_number() -> None:
    assert [probe_codes.number(value) for value in (math.inf, 0.0, math.nan, 1.23456)] == [
        "never",
        "every λ",
        "away from the teacher",
        "1.2346",
    ]


def test_a_loss_that_cannot_be_probed_has_its_reason_in_the_table() -> None:
    assert "must have a gradient" in probe_codes.row(Code("x", "y", "z", lambda student, teacher: student.detach()))


@needs_trl
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:You are importing from 'trl.experimental'")
def test_the_bucket_of_trl_holds_the_tail() -> None:
    (code,) = [
        code for code in probe_codes.trl_codes() if "IWOPD" in code.name and code.keys.endswith("loss_add_tail=True`")
    ]
    report = probe(code.loss, p=P, b=B, lam=[5.0], **code.options)
    assert report.at(5.0).tail == pytest.approx(1e-7, rel=1e-3)
    # The student leaves q_λ where the tail of q_λ is 1e-7, as under a bound on the log-probability of the tail.
    assert report.leaves == pytest.approx(updates.log_prob_floor(-math.log(1e-7)).leaves(P, B), rel=1e-3)
