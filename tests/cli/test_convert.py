"""The command ``convert``: from engine output to a plain table that gives the same report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from lambda_star import calibrate, read_table
from lambda_star.cli import main
from tests.calibration.engines.pairs import SAMPLES, Pair, pairs

PAIRS = {pair.name: pair for pair in pairs()}
BATCH = PAIRS["openai/batch"]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["convert", *map(str, arguments)])


def sides(pair: Pair) -> tuple[object, ...]:
    return "--teacher", pair.teacher, "--base", pair.base


@pytest.mark.parametrize("suffix", ["csv", "tsv.gz", "jsonl.zst", "parquet", "arrow"])
def test_the_table_holds_what_the_engines_returned(suffix: str, tmp_path: Path) -> None:
    pair, out = PAIRS["vllm/generate"], tmp_path / f"rows.{suffix}"
    assert run(*sides(pair), "--out", out).exit_code == 0
    found, truth = read_table(out), pair.read()
    for name in ("log_p", "log_b"):
        assert all(np.array_equal(*ends) for ends in zip(found.ends(name), truth.ends(name), strict=True))
    for name in ("sequence", "token", "modal"):
        assert [*getattr(found, name)] == [*getattr(truth, name)]


def test_a_classified_table_gives_the_same_report_without_the_contract(tmp_path: Path) -> None:
    pair, out = PAIRS["openai/chat"], tmp_path / "rows.parquet"
    assert run(*sides(pair), "--contract", "json", "--out", out).exit_code == 0
    whole, later = calibrate(pair.read(), contract="json"), calibrate(read_table(out))
    assert later.used == whole.used
    assert [(one.name, one.value) for one in later.classes] == [(one.name, one.value) for one in whole.classes]


def test_a_record_of_both_models_needs_no_options(tmp_path: Path) -> None:
    out = tmp_path / "rows.csv"
    said = run(SAMPLES / "openai/both.jsonl", "--out", out, "--json", tmp_path / "rows.json")
    assert said.exit_code == 0
    assert "19 positions of 3 answers" in said.output
    assert "at 4 positions the base does not list the teacher's token, so b is bounded" in said.output
    found = json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))
    assert (found["answers"], found["positions"], found["censored"], found["problems"]) == (3, 19, 4, [])


def test_what_does_not_match_stops_it_or_is_listed(tmp_path: Path) -> None:
    out, cut = tmp_path / "rows.csv", tmp_path / "teacher.jsonl"
    cut.write_text("".join(BATCH.teacher.read_text(encoding="utf-8").splitlines(True)[:2]), encoding="utf-8")
    said = run("--teacher", cut, "--base", BATCH.base, "--out", out)
    assert said.exit_code == 2
    assert "line 3: the answer answer-275 has no partner in the file of the teacher" in said.output
    assert "--keep-going" in said.output
    assert not out.exists()
    said = run("--teacher", cut, "--base", BATCH.base, "--out", out, "--keep-going")
    assert said.exit_code == 0
    assert f"{BATCH.base}, line 3: the answer answer-275 has no partner" in said.output
    assert {*read_table(out).sequence} == {"answer-121", "answer-22"}


def test_an_input_is_never_written_over(tmp_path: Path) -> None:
    content = BATCH.base.read_bytes()
    said = run(*sides(BATCH), "--out", BATCH.base, "--force")
    assert said.exit_code == 2
    assert BATCH.base.read_bytes() == content


def test_answers_that_do_not_stand_together_cannot_be_classified(tmp_path: Path) -> None:
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    for path, position in ((first, 0), (second, 1)):
        row = {"sequence": 7, "position": position, "token": "[", "modal": "[", "log_p": -0.1, "log_b": -0.7}
        path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    said = run(first, second, "--contract", "json", "--out", tmp_path / "rows.csv")
    assert said.exit_code == 2
    assert "the answer 7 stands in two places; sort the rows" in said.output


def test_no_files_is_an_error_with_the_remedy(tmp_path: Path) -> None:
    assert run("--out", tmp_path / "rows.csv").exit_code == 2
    assert run("--teacher", BATCH.teacher, "--out", tmp_path / "rows.csv").exit_code == 2
    assert "must be written to one of" in run(*sides(BATCH), "--out", tmp_path / "rows.md").output
