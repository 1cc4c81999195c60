"""What is written is read as the same table, in every format, and a file appears whole or not at all."""

from __future__ import annotations

import dataclasses
import math
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambda_star.calibration.readers import read_table
from lambda_star.calibration.rows import LEAST
from lambda_star.calibration.table import COLUMNS, ENDS, Table
from lambda_star.calibration.writers import write_table
from tests import tables
from tests.tables import CHARACTERS

FORMATS = [
    ".csv",
    ".tsv",
    ".jsonl",
    ".parquet",
    ".arrow",
    *(f"{s}{p}" for s in (".csv", ".jsonl") for p in (".gz", ".zst")),
]

texts = st.text(CHARACTERS, max_size=6) | st.sampled_from(
    ["\r", "a\rb", "\n", '"', ",", "\t", "null", "NaN", "-inf", ""]
)
logs = st.floats(LEAST, 0)


def everything(table: Table) -> dict[str, Any]:
    return tables.columns(table) | {
        name: None if (end := getattr(table, name)) is None else end.tolist() for name in ENDS
    }


@st.composite
def rows(draw: st.DrawFn) -> dict[str, Any]:
    row: dict[str, Any] = {
        "sequence": draw(texts),
        "token": draw(texts),
        "modal": draw(texts),
        "log_p": draw(logs),
        "log_b": draw(logs),
    }
    for name in draw(st.sets(st.sampled_from(ENDS))):
        below = draw(st.floats(max_value=row[name[:5]]))
        above = draw(st.floats(row[name[:5]], 0))
        row[name] = below if name.endswith("low") else above
    if draw(st.booleans()):
        row |= {"log_p": -0.5, "top": [[row["modal"], -0.5, row["log_b"]], [draw(texts), -4.0, -800.0]]}
        row |= dict.fromkeys(("log_p_low", "log_p_high"), -0.5)
        row |= {"rest": [-2.5, 0.75]} if draw(st.booleans()) else {}
    return row


@settings(max_examples=60, deadline=None)
@given(st.lists(rows(), min_size=1, max_size=6), st.booleans(), st.data())
def test_a_table_is_read_as_it_was_written(made: list[dict[str, Any]], labelled: bool, data: st.DataObject) -> None:
    labels = [{"contract": data.draw(texts)} if labelled else {} for _ in made]
    table = Table.from_rows(
        row | {"position": at} | label for at, (row, label) in enumerate(zip(made, labels, strict=True))
    )
    with tempfile.TemporaryDirectory() as folder:
        for suffix in FORMATS:
            path = Path(folder, f"rows{suffix}")
            write_table(table, path)
            assert everything(read_table(path)) == everything(table), suffix


@pytest.mark.parametrize("suffix", FORMATS)
def test_parts_are_written_one_after_another(suffix: str, tmp_path: Path) -> None:
    plain = Table.from_rows(tables.rows(3))
    bounded = Table.from_rows(
        row | {"sequence": "b", "position": at, "log_b_low": -math.inf} for at, row in enumerate(tables.rows(1))
    )
    path = tmp_path / f"rows{suffix}"
    write_table(iter([plain, bounded]), path)
    assert everything(read_table(path)) == everything(Table.concatenate([plain, bounded]))


def test_text_ends_with_a_line_end_and_names_its_columns(tmp_path: Path) -> None:
    table = Table.from_rows(tables.rows(1))
    for suffix, first in ((".csv", ",".join(COLUMNS)), (".tsv", "\t".join(COLUMNS))):
        write_table(table, tmp_path / f"rows{suffix}")
        text = (tmp_path / f"rows{suffix}").read_text()
        assert text.startswith(first + "\n")
        assert text.endswith("\n")


@pytest.mark.parametrize("name", ["rows.txt", "rows", "rows.gz", "rows.parquet.gz", "rows.arrow.zst"])
def test_other_endings_are_refused_before_anything_is_written(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"one of \.csv, \.tsv, \.jsonl, \.parquet, \.arrow, got "):
        write_table(Table.from_rows(tables.rows(1)), tmp_path / name)
    assert [*tmp_path.iterdir()] == []


def test_parts_agree_on_their_contract(tmp_path: Path) -> None:
    table = Table.from_rows(tables.rows(1))
    labelled = dataclasses.replace(table, contract=table.modal)
    with pytest.raises(ValueError, match="must have a `contract` column in every part or in none"):
        write_table([table, labelled], tmp_path / "rows.csv")
    with pytest.raises(ValueError, match="must hold at least one part, got none"):
        write_table([], tmp_path / "rows.csv")
    assert [*tmp_path.iterdir()] == []
