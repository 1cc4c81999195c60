"""Every sample goes from engine output to a verdict, with the numbers of the plain table."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from click.testing import CliRunner

from lambda_star import calibrate
from lambda_star.calibration.readers import read_table
from lambda_star.calibration.table import TableError
from lambda_star.cli import main
from lambda_star.verdict import decide
from tests.calibration.engines.pairs import SAMPLES, Pair, holds, pairs, plain, rows_of

PAIRS = {pair.name: pair for pair in pairs()}


def test_there_are_at_least_four_samples_of_every_engine() -> None:
    counts = {folder.name: len([*folder.iterdir()]) for folder in SAMPLES.iterdir() if folder.is_dir()}
    assert set(counts) == {"openai", "vllm", "sglang", "llamacpp"}
    assert min(counts.values()) >= 4


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_a_sample_holds_the_numbers_of_the_plain_table(pair: Pair) -> None:
    table = pair.read()
    rows = rows_of(table, pair.answers)
    assert len(table) == (16 if "bytes" in pair.name else 19)
    assert holds(table, rows).all()
    low, high = table.ends("log_b")
    censored = low == -np.inf
    assert censored.sum() == (0 if "bytes" in pair.name else 4)  # as many modal tokens are not in the base's top five
    if "rounded" not in pair.name:
        assert np.array_equal(low[~censored], high[~censored])
    assert not table.problems


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_a_sample_goes_to_a_verdict(pair: Pair) -> None:
    table = pair.read()
    truth = calibrate(plain().take(rows_of(table, pair.answers)), contract="json")
    report = calibrate(table, contract="json", lam=1.2)
    assert report.used == truth.used
    assert report.strict <= truth.strict * (1 + 1e-4)
    assert decide(report, lam=1.2).exit_status in {0, 1, 3}


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_one_command_goes_from_a_sample_to_a_verdict(pair: Pair) -> None:
    files = ["--teacher", str(pair.teacher), "--base", str(pair.base)]
    said = CliRunner().invoke(main, ["calibrate", *files, "--contract", "json", "--lam", "1.2"])
    assert said.exit_code == decide(calibrate(pair.read(), contract="json", lam=1.2), lam=1.2).exit_status, said.output


def test_a_record_of_both_models_gives_what_two_files_give() -> None:
    both, two = read_table(SAMPLES / "openai/both.jsonl"), PAIRS["openai/chat"].read()
    assert dict.fromkeys(both.sequence) == dict.fromkeys(("121", "22", "275"))
    for name in ("log_p", "log_b", "log_b_low", "position"):
        assert np.array_equal(getattr(both, name), getattr(two, name))


def test_names_join_files_in_another_order(tmp_path: Path) -> None:
    pair = PAIRS["openai/batch"]
    turned = tmp_path / "teacher.jsonl"
    turned.write_text("".join(pair.teacher.read_text(encoding="utf-8").splitlines(True)[::-1]), encoding="utf-8")
    straight, found = pair.read(), read_table(teacher=turned, base=pair.base)
    assert found.source.endswith("joined by name")
    order = np.lexsort((found.position, np.asarray(found.sequence).astype(str)))
    other = np.lexsort((straight.position, np.asarray(straight.sequence).astype(str)))
    assert np.array_equal(found.log_p[order], straight.log_p[other])


def test_an_answer_without_partner_is_named(tmp_path: Path) -> None:
    pair = PAIRS["openai/batch"]
    short = tmp_path / "teacher.jsonl"
    short.write_text("".join(pair.teacher.read_text(encoding="utf-8").splitlines(True)[1:]), encoding="utf-8")
    with pytest.raises(TableError, match=r"line 1: the answer answer-121 has no partner in the file of the teacher"):
        read_table(teacher=short, base=pair.base)
    found = read_table(teacher=short, base=pair.base, keep_going=True)
    assert len(found.problems) == 1
    assert [*dict.fromkeys(found.sequence)] == ["answer-22", "answer-275"]


def test_answers_in_another_order_without_names_are_not_joined(tmp_path: Path) -> None:
    pair = PAIRS["sglang/generate"]
    turned = tmp_path / "teacher.jsonl"
    turned.write_text("".join(pair.teacher.read_text(encoding="utf-8").splitlines(True)[::-1]), encoding="utf-8")
    found = read_table(teacher=turned, base=pair.base, keep_going=True)
    assert [*dict.fromkeys(found.sequence)] == ["22-base"]  # the one in the middle
    assert [problem.line for problem in found.problems] == [1, 3]
    assert all("may be that of another answer" in problem.message for problem in found.problems)


def test_any_packing_of_the_records_is_read(tmp_path: Path) -> None:
    pair = PAIRS["vllm/generate"]
    teacher, base = tmp_path / "t.jsonl.gz", tmp_path / "b.json"
    teacher.write_bytes(gzip.compress(pair.teacher.read_bytes()))
    base.write_text(json.dumps(pair.records("base")), encoding="utf-8")
    assert np.array_equal(read_table(teacher=teacher, base=base).log_b, pair.read().log_b)


def test_nested_parquet_is_read(tmp_path: Path) -> None:
    pair = PAIRS["openai/chat"]
    for side in ("teacher", "base"):
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(pair.records(side)), tmp_path / f"{side}.parquet")
    found = read_table(teacher=tmp_path / "teacher.parquet", base=tmp_path / "base.parquet")
    assert np.array_equal(found.log_b, pair.read().log_b)


def test_one_side_alone_is_refused_with_the_remedy() -> None:
    pair = PAIRS["vllm/generate"]
    with pytest.raises(TableError, match="take both files, as `teacher` and `base`"):
        read_table(pair.base)
    with pytest.raises(ValueError, match="`teacher` and `base` must be given together"):
        read_table(base=pair.base)


def test_the_same_prompts_on_both_sides_need_to_be_told_where_answers_start(tmp_path: Path) -> None:
    pair = PAIRS["vllm/generate"]
    records = pair.records("teacher")
    plain_file, told = tmp_path / "t.jsonl", tmp_path / "told.jsonl"
    plain_file.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
    with pytest.raises(TableError, match=r"line 1: .*`answer_start`"):
        read_table(teacher=pair.teacher, base=plain_file)
    told.write_text("".join(json.dumps(one | {"answer_start": 6}) + "\n" for one in records), encoding="utf-8")
    found = read_table(teacher=plain_file, base=told)
    assert np.array_equal(found.log_p, found.log_b)
    assert len(found) == 19
