"""A file that is cut, changed or made to swell is refused, and what memory it takes is bounded."""

from __future__ import annotations

import gzip
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from lambda_star.calibration.readers import read_table, stream
from lambda_star.calibration.table import Table, TableError
from lambda_star.calibration.writers import write_table
from tests.calibration.damaged import GOOD, WRITERS, arrow_of, as_columns, outcome
from tests.night import thinned
from tests.tables import HEADER, columns

ROUND = Table.from_rows(GOOD)
WHOLE = ["rows.csv", "rows.tsv", "rows.jsonl", "rows.csv.gz", "rows.jsonl.zst", "rows.parquet", "rows.arrow"]


@pytest.mark.parametrize("name", thinned([*WHOLE, "rows.json", "rows.arrows"], 2))
def test_a_file_that_is_cut_anywhere_is_not_read_as_whole(name: str, tmp_path: Path) -> None:
    """A cut between the lines of a plain text cannot be seen, and neither can one before the last line end of JSON."""
    path = tmp_path / name
    write_table(ROUND, path) if name in WHOLE else WRITERS[name](path, GOOD)
    data = path.read_bytes()
    unseen = []
    sizes = range(len(data)) if len(data) < 1000 else [*range(0, len(data) - 50, 7), *range(len(data) - 50, len(data))]
    for size in sizes:
        path.write_bytes(data[:size])
        found = outcome(path)
        if isinstance(found, Table):
            assert columns(found) == columns(ROUND.take(slice(0, len(found))))
            unseen.append(size)
            continue
        kept = outcome(path, keep_going=True)
        if isinstance(kept, Table):
            assert kept.problems
            assert columns(ROUND)["log_p"][: len(kept)] == kept.log_p.tolist()
    ends = [size for size in range(len(HEADER) + 2, len(data)) if data[size - 1 : size] == b"\n"]
    if name == "rows.jsonl":
        ends = [size for size in range(1, len(data)) if b"\n" in data[size - 1 : size + 1]]
    allowed = {"rows.csv": ends, "rows.tsv": ends, "rows.jsonl": ends, "rows.json": [len(data) - 1]}
    assert unseen == allowed.get(name, [])


def flips(data: bytes, count: int, seed: int = 0) -> Any:
    rng = random.Random(seed)
    for place in sorted(rng.sample(range(len(data)), min(count, len(data)))):
        changed = bytearray(data)
        changed[place] ^= rng.choice([1, 2, 4, 8, 16, 32, 64, 128, 255])
        yield place, bytes(changed)


@pytest.mark.parametrize("name", thinned([*WHOLE, "rows.json"], 2))
def test_a_changed_byte_is_refused_or_gives_a_table(name: str, tmp_path: Path) -> None:
    """Never anything else; Parquet and gzip have checksums, so what they give is the table that was written."""
    path = tmp_path / name
    write_table(ROUND, path) if name in WHOLE else WRITERS[name](path, GOOD)
    for place, data in flips(path.read_bytes(), 400):
        path.write_bytes(data)
        for keep_going in (False, True):
            found = outcome(path, keep_going=keep_going)
            if isinstance(found, Table) and name in {"rows.parquet", "rows.csv.gz"}:
                assert columns(found) == columns(ROUND), place


def test_small_files_that_expand_are_refused_before_they_fill_memory(tmp_path: Path) -> None:
    wide = pyarrow.array(np.full(2**23, -1.0))
    size = len(wide)
    same = {name: pyarrow.nulls(size, pyarrow.string()) for name in ("sequence", "token", "modal")}
    table = pyarrow.table(same | {"position": pyarrow.nulls(size, pyarrow.int64()), "log_p": wide, "log_b": wide})
    path = tmp_path / "rows.parquet"
    parquet.write_table(table, path, row_group_size=size, use_dictionary=False, compression="zstd")
    assert path.stat().st_size < 2**19
    said = outcome(path)
    assert isinstance(said, str)
    assert "expands to" in said
    assert "times its size" in said


@pytest.mark.parametrize("is_file", [True, False])
@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_a_small_arrow_file_that_expands_is_refused(
    is_file: bool, compression: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lambda_star.calibration.readers.columnar.LARGEST", 2**20)
    many = [row | {"sequence": str(at)} for at in range(2**13) for row in GOOD[:1]]
    wide = as_columns(many).append_column("top", pyarrow.array([" " * 200] * len(many)))
    path = tmp_path / "rows.arrow"
    path.write_bytes(arrow_of(wide, is_file=is_file, compression=compression))
    assert path.stat().st_size < 2**19
    said = outcome(path)
    assert isinstance(said, str)
    assert "expands to" in said


def test_a_packed_file_that_must_be_unpacked_may_not_expand_beyond_reason(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet.gz"
    with gzip.open(path, "wb") as file:
        for _ in range(65):
            file.write(bytes(2**20))
    said = outcome(path)
    assert isinstance(said, str)
    assert "expands to more than" in said


def test_what_could_be_read_of_a_cut_file_is_kept_on_request(tmp_path: Path) -> None:
    rows = [row | {"sequence": f"{at} {row['sequence']}"} for at in range(10_000) for row in GOOD]
    path = tmp_path / "rows.csv.gz"
    write_table(Table.from_rows(rows), path)
    path.write_bytes(path.read_bytes()[:-100])
    found = read_table(path, keep_going=True)
    assert 0.9 * len(rows) < len(found) < len(rows)
    assert [problem.line for problem in found.problems] == [0]
    assert "cut or damaged" in found.problems[0].message
    assert columns(found) | {"problems": ()} == columns(Table.from_rows(rows[: len(found)]))
    with pytest.raises(TableError, match="cut or damaged"):
        [*stream([path])]
