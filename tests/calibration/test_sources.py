"""Files come from paths, patterns, folders and standard input, packed or not, and frames from any library."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow
import pytest

from lambda_star.calibration import calibrate
from lambda_star.calibration.readers import read_table, stream
from lambda_star.calibration.table import Table, TableError
from tests import tables
from tests.calibration.damaged import GOOD, WRITERS
from tests.tables import columns

EXPECTED = columns(Table.from_rows(GOOD))
SAMPLES = Path(__file__).parent / "samples"


class Input:
    """Standard input that holds some bytes."""

    def __init__(self, data: bytes) -> None:
        self.buffer = io.BytesIO(data)


@pytest.mark.parametrize("name", WRITERS)
def test_standard_input_may_hold_every_format(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    WRITERS[name](tmp_path / name, GOOD)
    monkeypatch.setattr("sys.stdin", Input((tmp_path / name).read_bytes()))
    found = read_table("-")
    assert columns(found) == EXPECTED
    assert found.source == "standard input"
    monkeypatch.setattr("sys.stdin", Input(b""))
    with pytest.raises(TableError, match=r"^-: there are no rows"):
        read_table("-")


@pytest.mark.parametrize("name", WRITERS)
def test_the_first_bytes_tell_a_format_without_its_ending(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name, GOOD)
    (tmp_path / name).rename(tmp_path / "rows")
    assert columns(read_table(tmp_path / "rows")) == EXPECTED


@pytest.mark.parametrize("packing", ["gzip", "zstd"])
@pytest.mark.parametrize("name", ["rows.csv", "rows.csv.gz", "rows.csv.zst", "rows.CSV.GZ"])
def test_packing_is_told_by_the_first_bytes(name: str, packing: str, tmp_path: Path) -> None:
    WRITERS["rows.csv"](tmp_path / "plain", GOOD)
    with pyarrow.CompressedOutputStream(str(tmp_path / name), packing) as file:
        file.write((tmp_path / "plain").read_bytes())
    assert columns(read_table(tmp_path / name)) == EXPECTED
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes() * 1 + b"more")
    with pytest.raises(TableError, match="cut or damaged"):
        read_table(tmp_path / name)


def parts(folder: Path) -> None:
    (folder / "deep" / ".hidden").mkdir(parents=True)
    (folder / "_meta").mkdir()
    for name, rows in {"b.csv": GOOD[3:], "deep/a.parquet": GOOD[:3]}.items():
        writer = WRITERS["rows" + Path(name).suffix]
        writer(folder / name, rows)
    for name in ("deep/.hidden/c.csv", "_meta/d.csv", "_SUCCESS", ".e.csv"):
        (folder / name).write_text("not a table")


def test_a_folder_is_all_its_files_and_a_pattern_those_that_match(tmp_path: Path) -> None:
    parts(tmp_path)
    ways: list[list[Any]] = [[tmp_path], [tmp_path / "b.csv", tmp_path / "deep"]]
    ways.append([tmp_path / "*.csv", f"{tmp_path}/**/*.parquet"])
    for paths in ways:
        found = read_table(*paths)
        assert found.log_p.tolist() == [row["log_p"] for row in GOOD[3:] + GOOD[:3]]
        assert found.source == ", ".join(map(str, paths))
        assert [table.source for table in stream(paths)] == [str(tmp_path / "b.csv"), str(tmp_path / "deep/a.parquet")]


def test_what_is_no_table_in_a_folder_is_named(tmp_path: Path) -> None:
    parts(tmp_path)
    (tmp_path / "deep" / "notes.md").write_text("# Notes\n")
    with pytest.raises(TableError, match=r"notes\.md: cannot read a \.md file"):
        read_table(tmp_path)
    found = read_table(tmp_path, keep_going=True)
    assert [(Path(problem.source).name, problem.line) for problem in found.problems] == [("notes.md", 0)]
    assert len(found) == len(GOOD)


def test_problems_name_their_file_and_come_in_its_order(tmp_path: Path) -> None:
    names = ["a.csv", "b.csv"]
    for name in names:
        rows = [row | {"sequence": name} for row in GOOD[:3]]
        WRITERS["rows.csv"](tmp_path / name, [*rows, rows[1], {**rows[2], "log_p": 1}])
    found = read_table(tmp_path, keep_going=True)
    assert [(Path(each.source).name, each.line) for each in found.problems] == [(n, at) for n in names for at in (5, 6)]
    assert found.problems[0].message == "sequence a.csv, position 1 is also on line 3; keep one of them"


def test_a_position_in_two_files_names_both_places(tmp_path: Path) -> None:
    WRITERS["rows.csv"](tmp_path / "a.csv", GOOD)
    WRITERS["rows.jsonl"](tmp_path / "b.jsonl", [GOOD[4]])
    said = r"b\.jsonl, line 1: sequence s1, position 1 is also on line 6 of .*a\.csv; keep one of them; correct it"
    with pytest.raises(TableError, match=said):
        read_table(tmp_path)


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        (["none.csv"], r"none\.csv: No such file or directory; check the path"),
        (["*.none"], r"\*\.none: no file matches the pattern; check the path"),
        (["empty"], "empty: the folder holds no file; check the path"),
        (["a.csv", "a.csv"], r"a\.csv: the file is given twice; give it once"),
        (["a.csv", "*.csv"], r"a\.csv: the file is given twice; give it once"),
        (["-", "-"], "-: the file is given twice; give it once"),
        (["pipe.csv"], r"pipe\.csv: this is a pipe or a device; send it to standard input, and give `-` as the path"),
        (["/dev/zero"], "/dev/zero: this is a pipe or a device"),
        (["a\0b"], "embedded null byte; check the path"),
    ],
)
def test_paths_that_cannot_be_read_are_named(
    paths: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    WRITERS["rows.csv"](tmp_path / "a.csv", GOOD)
    for keep_going in (False, True):
        with pytest.raises(TableError, match=said):
            read_table(*paths, keep_going=keep_going)
        with pytest.raises(TableError, match=said):
            [*stream(paths, keep_going=keep_going)]


def test_a_name_may_look_like_a_pattern(tmp_path: Path) -> None:
    WRITERS["rows.csv"](tmp_path / "a[1].csv", GOOD)
    assert columns(read_table(tmp_path / "a[1].csv")) == EXPECTED
    assert columns(read_table(tmp_path / "a*.csv")) == EXPECTED


def test_a_file_must_be_given() -> None:
    with pytest.raises(ValueError, match="`paths` must hold at least one file, got none"):
        read_table()
    alone: list[dict[str, Any]] = [{"teacher": "t.jsonl"}, {"base": "b.jsonl"}]
    for given in alone:
        with pytest.raises(ValueError, match="`teacher` and `base` must be given together"):
            read_table(**given)


# Samples


@pytest.mark.parametrize("path", sorted(SAMPLES.iterdir()), ids=lambda path: path.name)
def test_every_sample_is_read(path: Path) -> None:
    assert len(read_table(path)) >= 4


def test_there_are_four_samples_of_every_format() -> None:
    names = [path.name for path in SAMPLES.iterdir()]
    for suffix in (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".arrow"):
        assert sum(name.removesuffix(".gz").removesuffix(".zst").endswith(suffix) for name in names) >= 4, suffix


# Frames


def frames(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "pandas": pd.DataFrame(rows),
        "pandas with Arrow types": pd.DataFrame(rows).convert_dtypes(dtype_backend="pyarrow"),
        "pandas with categories": pd.DataFrame(rows).astype({"token": "category", "sequence": "category"}),
        "polars": pl.DataFrame(rows),
        "polars with categories": pl.DataFrame(rows).with_columns(pl.col("token", "modal").cast(pl.Categorical)),
        "pyarrow": pyarrow.Table.from_pylist(rows),
        "pyarrow with views": pyarrow.Table.from_pylist(rows),
        "a reader": pyarrow.Table.from_pylist(rows).to_reader(max_chunksize=2),
        "a batch": pyarrow.Table.from_pylist(rows).to_batches()[0],
    }


@pytest.mark.parametrize("name", frames(GOOD))
def test_frames_of_every_library_are_tables(name: str) -> None:
    found = read_table(frames(GOOD)[name])
    assert columns(found) == columns(Table.from_frame(frames(GOOD)[name])) == EXPECTED
    assert found.source == "frame"


@pytest.mark.parametrize(
    "frame", [pd.DataFrame, pl.DataFrame, pyarrow.Table.from_pylist], ids=["pandas", "polars", "Arrow"]
)
def test_a_frame_is_calibrated_as_its_rows_are(frame: Any) -> None:
    made = tables.rows(70)
    expected = calibrate(Table.from_rows(made)).operating_point
    assert calibrate(frame(made)).operating_point == expected
    assert np.isfinite(expected.value)


def test_what_is_no_frame_is_refused() -> None:
    for call in (calibrate, Table.from_frame):
        with pytest.raises(TypeError, match="`frame` must be a data frame with the Arrow C stream interface, got str"):
            call("rows.csv")


@pytest.mark.parametrize("name", frames(GOOD))
def test_missing_values_of_frames_are_named_or_absent(name: str) -> None:
    """A null, which pandas shows as NaN."""
    rows = [row | {"contract": "[", "log_b_low": -90.0, "extra": [1]} for row in GOOD]
    rows[1] |= {"contract": None, "log_b_low": None}
    found = read_table(frames(rows)[name])
    assert found.contract is not None
    assert found.contract.tolist() == ["[", "", "[", "[", "[", "["]
    assert found.log_b_low is not None
    assert found.log_b_low.tolist() == [-90.0, GOOD[1]["log_b"], *[-90.0] * 4]
    rows[2]["token"] = None
    rows[4]["log_p"] = None
    with pytest.raises(TableError, match="frame, line 3: no value for token"):
        read_table(frames(rows)[name])
    kept = read_table(frames(rows)[name], keep_going=True)
    assert [problem.line for problem in kept.problems] == [3, 5]


def test_frames_say_what_is_wrong_with_their_columns() -> None:
    with pytest.raises(TableError, match="frame: there is no column log_b"):
        read_table(pd.DataFrame(GOOD).drop(columns="log_b"))
    mixed = pd.DataFrame(GOOD).astype({"log_p": object})
    mixed.loc[2, "log_p"] = "high"
    with pytest.raises(TableError, match=r"frame: a column cannot be read .*; give `Table.from_rows` its rows"):
        read_table(mixed)
    with pytest.raises(TableError, match="frame: there are no rows"):
        read_table(pd.DataFrame(GOOD)[:0])


def test_listed_tokens_come_from_frames_as_lists_or_as_text() -> None:
    rows = tables.with_top(tables.rows(2))
    expected = columns(Table.from_rows(rows))
    assert columns(read_table(pl.DataFrame(tables.as_text(rows)))) == expected
    nested = [row | {"top": row["top"] and [[str(x) for x in entry] for entry in row["top"]]} for row in rows]
    assert columns(read_table(pl.DataFrame(nested))) == expected
    assert np.isfinite(expected["log_p"]).all()
