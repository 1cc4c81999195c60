"""The table of training codes in the documentation is what their losses do."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
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


def of_formulas(every: int) -> list[Code]:
    return probe_codes.formula_codes()[every - 1 :: every]


def of_trl(every: int) -> list[Code]:
    return probe_codes.trl_codes()[::every]


SOME = pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.nightly)], ids=["some", "all"])


@SOME
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:You are importing from 'trl.experimental'")
@pytest.mark.parametrize("codes", [of_formulas, pytest.param(of_trl, marks=needs_trl)])
def test_a_row_of_the_table_is_what_its_loss_does(codes: Callable[[int], list[Code]], every: int) -> None:
    rows = [probe_codes.row(code) for code in codes(every)]
    assert len(rows) >= 3
    assert [row for row in rows if row not in shown()] == []


@needs_trl
@pytest.mark.filterwarnings("ignore:You are importing from 'trl.experimental'")
def test_the_table_has_a_row_for_every_code_and_no_other() -> None:
    codes = [*of_trl(1), *of_formulas(1)]
    assert [f"| {code.name} | {code.source} | {code.keys} |" for code in codes] == [
        "|".join([*row.split("|")[:4], ""]) for row in shown()[2:]
    ]


def test_the_table_is_headed() -> None:
    assert shown()[:2] == probe_codes.table([]).splitlines()


def test_numbers_are_words_where_there_is_no_number() -> None:
    assert [probe_codes.number(value) for value in (math.inf, 0.0, math.nan, 1.23456)] == [
        "never",
        "every λ",
        "not looked for",
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
