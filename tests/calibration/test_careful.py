"""Reading by columns gives what reading row by row gives, in parts of any size, with work in proportion to size."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lambda_star.calibration.readers import delimited, plain, read_table, stream
from lambda_star.calibration.readers.bytes import opened
from lambda_star.calibration.readers.delimited import Records
from lambda_star.calibration.readers.parts import Part, cut, repeats
from lambda_star.calibration.readers.records import BLOCK, _Text
from lambda_star.calibration.table import Table, TableError
from tests import tables
from tests.calibration.damaged import WRITERS, outcome
from tests.tables import HEADER, columns

# Cells that are good, bad, or good in one reader's eyes only

numbers = st.sampled_from(
    ["-0.5", " -1 ", "-1e-3", "+0", "-.5", "5.", "nan", "1e-3abc", "0x10", "-1_0", "", "-inf", "0", "-0"]
)
texts = st.sampled_from(["a", "", " ", "é", "\U0001f600", 'q"q', "x,y", "l\nl", "null", "1", "\t", "a\0"])
positions = st.sampled_from(["0", "1", " 2", "+3", "03", "-1", "0x1", "1.0", "1_0", "٣", "", "9" * 19, "9" * 18])
cells = st.fixed_dictionaries(
    {"sequence": texts, "position": positions, "token": texts, "modal": texts, "log_p": numbers, "log_b": numbers},
    optional={
        "contract": texts,
        "log_b_low": numbers,
        "log_p_high": numbers,
        "top": st.sampled_from(
            ["", "[]", '[["a",-0.5,-0.5]]', '[["a",-0.5,-0.5],["b",-4,-5]]', '[["a",1,2]]', "[", "7"]
        ),
        "rest": st.sampled_from(["", "[-1.5,2.5]", "[1,2]", "[2,1]", "[", "null"]),
    },
)


@contextmanager
def no_columns() -> Iterator[None]:
    """Have every row read alone."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (plain, delimited):
            patch.setattr(module, "whole", lambda *_: None)
        yield


@settings(max_examples=150, deadline=None)
@example(
    [{**dict.fromkeys(("sequence", "token", "modal"), "a"), "position": "9" * 18, "log_p": "-1", "log_b": "-1"}],
    "rows.csv",
)
@given(st.lists(cells, min_size=1, max_size=8), st.sampled_from([*WRITERS]))
def test_columns_are_read_as_rows_are(rows: list[dict[str, str]], name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        WRITERS[name](path, rows)
        for keep_going in (False, True):
            fast = outcome(path, keep_going=keep_going)
            with no_columns():
                slow = outcome(path, keep_going=keep_going)
            assert isinstance(fast, str) == isinstance(slow, str), (fast, slow)
            if isinstance(fast, Table) and isinstance(slow, Table):
                assert everything(fast) == everything(slow)
            else:
                assert fast == slow


def everything(table: Table) -> dict[str, Any]:
    ends = {name: getattr(table, name) for name in ("log_p_low", "log_p_high", "log_b_low", "log_b_high")}
    return columns(table) | {name: None if end is None else end.tolist() for name, end in ends.items()}


pieces = st.lists(
    st.sampled_from(["a", ",", '"', '""', "\n", "\r\n", "\r", "0,0,a,a,-1,-2\n", '"b\nb"', "é", ",0,"]), max_size=40
)


@settings(max_examples=300, deadline=None)
@given(pieces, st.integers(1, 40))
def test_any_text_gives_the_same_in_blocks_of_any_size(parts: list[str], block: int) -> None:
    """Blocks are larger than a record of several lines may be, so that bound is made small as well."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder, "rows.csv")
        path.write_bytes((HEADER + "\n" + "".join(parts)).encode())
        patch.setattr(delimited, "CELL", 30)
        whole = outcome(path, keep_going=True)
        patch.setattr(delimited, "BLOCK", 200 + block)
        found = outcome(path, keep_going=True)
        with no_columns():
            slow = outcome(path, keep_going=True)
    for other in (found, slow):
        assert other == whole if isinstance(whole, str) else columns(other) == columns(whole)  # type: ignore[arg-type]


def old_records(text: str) -> Iterator[tuple[int, list[str] | None]]:
    """The slow obvious way: begin again on the line after the start of each broken record."""
    import csv

    lines, done = io.StringIO(text, newline="").readlines(), 0
    while done < len(lines):
        start = done
        reader = csv.reader(lines[start:], strict=True)
        try:
            for values in reader:
                if values and len(values) != 3:
                    done += 1
                    yield done, None
                    break
                if values:
                    yield done + 1, values
                done = start + reader.line_num
        except csv.Error:
            done += 1
            yield done, None


@given(st.lists(st.sampled_from(["a", ",", '"', '""', "\n", "\r\n", "\r", "a,b,c\n", ',"\n', "é"]), max_size=60))
def test_records_are_those_of_reading_on_behind_every_broken_one(parts: list[str]) -> None:
    text = "".join(parts) + "\n"
    found = [
        (line, None if isinstance(row, str) else row) for line, row in Records(text.encode(), 1, ",", width=3).rows()
    ]
    assert found == [*old_records(text)]


@pytest.mark.parametrize(
    "line", ['"open', 'a,"b', '"a"b', '"', 'a,b,"c"",', '"a\n"b"', '""",', 'a,"b""', '"a","b\n","c'], ids=range(9)
)
def test_broken_records_take_work_in_proportion_to_their_number(line: str) -> None:
    """Every line is looked at twice at most: as a beginning, and as what follows an open quote."""
    for count in (500, 4000):
        records = Records((line + "\n").encode() * count, 1, ",", width=3)
        assert len([*records.rows()]) <= len(records.lines)
        assert records.looks <= 2 * len(records.lines)


# Parts

answers = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 5)), min_size=1, max_size=12)


@given(answers, st.integers(1, 12), st.lists(st.integers(1, 20), max_size=6), st.booleans())
def test_parts_hold_all_rows_and_end_where_answers_end(
    sizes: list[tuple[int, int]], rows: int, breaks: list[int], whole_answers: bool
) -> None:
    made = [tables.one(f"{at}", place, -1.0, -2.0) for at, (size, _) in enumerate(sizes) for place in range(size)]
    table, lines = Table.from_rows(made), np.arange(len(made))
    ends = sorted({0, len(made), *(place for place in np.cumsum(breaks).tolist() if place < len(made))})
    parts = [Part(table.take(slice(a, b)), lines[a:b]) for a, b in pairwise(ends)]
    found = [*cut(parts, rows, whole_answers)]
    assert columns(Table.concatenate(part.table for part in found)) == columns(table)
    assert np.concatenate([part.lines for part in found]).tolist() == lines.tolist()
    for part in found:
        assert len(part.table) <= rows or (whole_answers and len(set(part.table.sequence.tolist())) == 1)
    if whole_answers:
        shown = [name for part in found for name in set(part.table.sequence.tolist())]
        assert len(shown) == len(set(shown))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=20))
def test_rows_that_stand_twice_are_found(places: list[tuple[int, int]]) -> None:
    parts = [Table.from_rows([tables.one(sequence, position, -1.0, -2.0)]) for sequence, position in places]
    first: dict[tuple[int, int], int] = {}
    expected = [(row, first[place]) for row, place in enumerate(places) if first.setdefault(place, row) != row]
    rows, firsts = repeats(Table.concatenate(parts))
    assert [*zip(rows.tolist(), firsts.tolist(), strict=True)] == expected


def test_an_answer_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lambda_star.calibration.readers.parts.LONGEST_ANSWER", 10)
    path = tables.write_csv(tmp_path / "rows.csv", [tables.one("a", at, -1.0, -2.0) for at in range(12)])
    monkeypatch.setattr(delimited, "BLOCK", 200)
    with pytest.raises(TableError, match="an answer has more than 10 rows; give every answer a `sequence` of its own"):
        [*stream([path], batch=2)]
    assert [len(table) for table in stream([path], batch=4, whole_answers=False)] == [4, 4, 4]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.sampled_from([*WRITERS]))
def test_a_stream_gives_the_rows_of_the_table(batch: int, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        made = tables.rows(4)
        made[9]["log_p"] = 0.5
        WRITERS[name](path, made)
        found = [*stream([path], batch=batch, keep_going=True)]
        whole = read_table(path, keep_going=True)
        assert columns(Table.concatenate(found))["log_p"] == columns(whole)["log_p"]
        assert [problem.line for table in found for problem in table.problems] == [whole.problems[0].line]
        assert {table.source for table in found} == {str(path)}
        with pytest.raises(TableError, match="above 0"):
            [*stream([path], batch=batch)]


def test_characters_that_end_lines_elsewhere_survive_every_format(tmp_path: Path) -> None:
    made = [
        tables.one(json.dumps(text), 0, -1.0, -2.0) | {"token": text} for text in ("\x7f", "\u2028", "\x85", "\x0b")
    ]
    for name, writer in WRITERS.items():
        writer(tmp_path / name, made)
        assert read_table(tmp_path / name).token.tolist() == [row["token"] for row in made]


def test_white_space_of_any_length_is_not_kept_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "blank.json"
    path.write_bytes(b" " * (20 * BLOCK) + b"[ ]")
    with opened(path, "blank.json") as stream:
        text = _Text(stream)
        text.skip()
        assert (text.peek(), text.line) == ("[", 1)
        assert len(text.text) <= 2 * BLOCK
