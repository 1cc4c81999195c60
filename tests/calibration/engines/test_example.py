"""The example's files in vLLM's format hold the plain table's measurements, and lead to the same report."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lambda_star import calibrate, read_table
from lambda_star.calibration.table import Table

EXAMPLE = Path("examples/rank_by_price")
CONTRACT = f"json-schema:{EXAMPLE / 'answer.schema.json'}"
TEACHER, BASE = EXAMPLE / "vllm_teacher.jsonl.gz", EXAMPLE / "vllm_base.jsonl.gz"


@pytest.fixture(scope="module")
def plain() -> Table:
    return read_table(EXAMPLE / "logprobs.csv")


def test_every_row_is_there_with_its_numbers(plain: Table) -> None:
    found = read_table(teacher=TEACHER, base=BASE)
    for name in ("sequence", "token", "modal"):
        assert [*getattr(found, name)] == [*getattr(plain, name)]
    assert np.allclose(found.log_p, plain.log_p, rtol=1e-8, atol=0)
    assert np.allclose(found.log_b, plain.log_b, rtol=1e-8, atol=0)
    assert found.log_b_low is None
    assert not found.problems


def test_the_report_is_the_plain_tables(plain: Table) -> None:
    whole, found = (calibrate(table, contract=CONTRACT) for table in (plain, read_table(teacher=TEACHER, base=BASE)))
    assert found.used == whole.used
    assert found.operating_point.value == pytest.approx(whole.operating_point.value, rel=1e-8)


def cut(listed: int, folder: Path) -> Path:
    """The base's file with so many listed tokens, as a smaller ``logprobs`` would give it."""

    def kept(row: dict[str, Any], own: int) -> dict[str, Any]:
        ranked = any(one["rank"] for one in row.values())
        few = {key: one for key, one in row.items() if key == str(own) or (one["rank"] and one["rank"] <= listed)}
        return few if ranked else row

    path = folder / "base.jsonl"
    with gzip.open(BASE, "rt", encoding="utf-8") as file, path.open("w", encoding="utf-8") as out:
        for record in map(json.loads, file):
            (one,) = record["outputs"]
            one["logprobs"] = [kept(row, own) for row, own in zip(one["logprobs"], one["token_ids"], strict=True)]
            out.write(json.dumps(record) + "\n")
    return path


def test_a_base_that_lists_few_tokens_never_raises_the_advice(plain: Table, tmp_path: Path) -> None:
    """The figures of docs/engines.md: censored rows stay and lower the advice, and dropping them would raise it."""
    whole = calibrate(plain, contract=CONTRACT)
    found = read_table(teacher=TEACHER, base=cut(3, tmp_path))
    assert len(found) == len(plain)
    low, high = found.ends("log_b")
    assert (low <= plain.log_b + 1e-6).all()
    assert (plain.log_b - 1e-6 <= high).all()
    censored = low == -np.inf
    assert len(set(found.sequence[censored])) == 72
    values = [calibrate(found, contract=CONTRACT, least_b=mass).operating_point.value for mass in (0.0, 1e-6, 1e-4)]
    assert values == pytest.approx([1.0, 1.0859, 1.1156], abs=5e-5)
    assert max(values) < whole.operating_point.value
    dropped = calibrate(found.take(np.flatnonzero(~censored)), contract=CONTRACT)
    assert dropped.operating_point.value > whole.operating_point.value
