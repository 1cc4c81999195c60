"""Files of any size: one pass, pieces in any order, and runs that are interrupted and taken up again."""

from __future__ import annotations

import dataclasses
import gzip
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from lambda_star.calibration import calibrate
from lambda_star.calibration.distribution import Distribution
from lambda_star.calibration.large import calibrate_files
from lambda_star.calibration.readers import read_table
from lambda_star.calibration.report import Report, Worst
from lambda_star.calibration.state import Settings, State
from lambda_star.calibration.table import TableError
from tests import tables

SETTINGS = Settings(contract=lambda text: "mark" if text in tables.CENTERS else None)
ANSWERS = 48


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut a few hundred rows as a few hundred million would be cut."""
    monkeypatch.setattr("lambda_star.calibration.pieces.PIECE_ROWS", 60)
    monkeypatch.setattr("lambda_star.calibration.pieces.BATCH", 25)


@pytest.fixture
def parquet(tmp_path: Path) -> list[Path]:
    return [write_parquet(tmp_path / f"part-{at}.parquet", rows) for at, rows in enumerate(shares(4))]


def shares(count: int) -> Iterator[list[tables.Row]]:
    """The rows of some answers, in files whose ends need not be those of answers."""
    rows = tables.with_top(tables.rows(ANSWERS))
    bounds = np.linspace(0, len(rows), count + 1).astype(int)
    yield from (rows[start:stop] for start, stop in pairwise(bounds))


def write_parquet(path: Path, rows: list[tables.Row]) -> Path:
    table = pyarrow.Table.from_pylist(tables.as_text(rows))
    pyarrow.parquet.write_table(table, path, row_group_size=20)
    return path


def facts(report: Report) -> dict[str, Any]:
    """Everything in a report but the name of its source."""
    found = {field.name: getattr(report, field.name) for field in dataclasses.fields(report)}
    values = {name: value.values(10**9).tolist() for name, value in found.items() if isinstance(value, Distribution)}
    return {name: repr(value) for name, value in (found | values).items() if name != "source"}


def close(report: Report, other: Report) -> None:
    """Assert that two reports are the same, up to the order of summation, and to text around the worst positions.

    The text ends where the table ends that the position was in.
    """
    assert len(report.classes) == len(other.classes)
    for one, two in zip(report.classes, other.classes, strict=True):
        ours, theirs = dataclasses.asdict(one), dataclasses.asdict(two)
        assert {name for name in ours if isinstance(ours[name], float)} >= {"value", "low", "high"}
        for name, value in ours.items():
            same = pytest.approx(theirs[name], rel=1e-12, nan_ok=True) if isinstance(value, float) else theirs[name]
            assert value == same, name
    ours, theirs = facts(report), facts(other)
    ours |= {"classes": "", "worst": repr([*map(place, report.worst)])}
    theirs |= {"classes": "", "worst": repr([*map(place, other.worst)])}
    assert ours == theirs


def place(worst: Worst) -> Worst:
    return worst._replace(before="", after="")


def stop_after(count: int) -> Callable[[str, int, int], None]:
    """A display of progress during which Ctrl-C is pressed."""
    told: list[int] = []

    def tell(stage: str, done: int, total: int) -> None:
        told.append(done)
        if len(told) == count:
            raise KeyboardInterrupt

    return tell


@pytest.mark.parametrize("form", [".parquet", ".csv", ".jsonl"])
@pytest.mark.parametrize("settings", [SETTINGS, Settings(clip=3.0, lam=1.2)], ids=["labeller", "json"])
def test_files_give_the_report_of_their_rows(tmp_path: Path, form: str, settings: Settings) -> None:
    rows = tables.with_top(tables.rows(ANSWERS))
    at = tables.POSITIONS * 17
    paths = [tables.WRITERS[form](tmp_path / f"{name}{form}", part) for name, part in enumerate((rows[:at], rows[at:]))]
    whole = calibrate(read_table(*paths), **{field.name: getattr(settings, field.name) for field in fields()})
    close(calibrate_files(paths, settings).report(), whole)
    close(calibrate_files(tmp_path, settings).report(), whole)
    close(calibrate_files(reversed(paths), settings).report(), whole)


def fields() -> tuple[Any, ...]:
    return dataclasses.fields(Settings)


def test_row_groups_are_pieces_and_answers_may_span_them(parquet: list[Path]) -> None:
    told: list[tuple[str, int, int]] = []
    state = calibrate_files(parquet, SETTINGS, progress=lambda *args: told.append(args))
    rows = ANSWERS * tables.POSITIONS
    assert state.rows == rows
    assert {(stage, total) for stage, _, total in told} == {("rows read", rows)}
    done = [count for _, count, _ in told]
    assert done == sorted(done)
    assert done[-1] == rows
    assert len(told) > 12  # more than the files: pieces of a file, too
    close(state.report(), calibrate(read_table(*parquet), contract=SETTINGS.contract))


@pytest.mark.parametrize("packed", [False, True])
def test_progress_counts_bytes_where_rows_are_unknown(
    tmp_path: Path, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lambda_star.calibration.readers.delimited.BLOCK", 2**10)
    monkeypatch.setattr("lambda_star.calibration.readers.bytes.BUFFER", 2**10)
    paths = [tables.write_csv(tmp_path / f"{at}.csv", rows) for at, rows in enumerate(shares(3))]
    if packed:
        for path in paths:
            path.with_suffix(".csv.gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
        paths = sorted(tmp_path.iterdir())
    told: list[tuple[str, int, int]] = []
    calibrate_files(paths, SETTINGS, progress=lambda *args: told.append(args))
    size = sum(path.stat().st_size for path in paths)
    assert {(stage, total) for stage, _, total in told} == {("bytes read", size)}
    done = [count for _, count, _ in told]
    assert done == sorted(done)
    assert done[-1] == size
    if not packed:  # packed, a file is as small as what is read at once
        assert len({count for count in done if count < paths[0].stat().st_size}) > 2


@pytest.mark.parametrize("count", [1, 2, 5, 9, 14])
def test_an_interrupted_run_is_taken_up(parquet: list[Path], tmp_path: Path, count: int) -> None:
    state = tmp_path / "state"
    with pytest.raises(KeyboardInterrupt):
        calibrate_files(parquet, SETTINGS, state=state, progress=stop_after(count))
    half = State.load(state, SETTINGS).rows
    assert 0 < half < ANSWERS * tables.POSITIONS
    resumed = calibrate_files(parquet, SETTINGS, state=state, resume=True)
    assert facts(resumed.report()) == facts(calibrate_files(parquet, SETTINGS).report())
    assert State.load(state, SETTINGS).rows == resumed.rows


@pytest.mark.parametrize("form", [".parquet", ".csv"])
def test_a_run_that_is_interrupted_all_the_time_ends(tmp_path: Path, form: str) -> None:
    paths = [tables.WRITERS[form](tmp_path / f"{at}{form}", rows) for at, rows in enumerate(shares(3))]
    state, runs = tmp_path / "state", 0
    while True:
        runs += 1
        try:
            found = calibrate_files(paths, SETTINGS, state=state, resume=True, progress=stop_after(2))
            break
        except KeyboardInterrupt:
            assert runs < 50
    assert runs > 3
    assert facts(found.report()) == facts(calibrate_files(paths, SETTINGS).report())


def test_an_interrupt_waits_for_the_table_that_is_summed(parquet: list[Path], tmp_path: Path) -> None:
    pressed: list[str] = []

    def press(text: str) -> str | None:
        if not pressed:
            pressed.append(text)
            signal.raise_signal(signal.SIGINT)
        return "mark" if text in tables.CENTERS else None

    settings, state = Settings(contract=press), tmp_path / "state"
    with pytest.raises(KeyboardInterrupt):
        calibrate_files(parquet, settings, state=state)
    assert State.load(state, settings).rows > 0
    found = calibrate_files(parquet, settings, state=state, resume=True)
    assert facts(found.report()) == facts(calibrate_files(parquet, settings).report())


def test_an_error_inside_a_table_leaves_the_last_whole_state(
    parquet: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lambda_star.calibration.large.SAVE_SECONDS", 0.0)
    state, calls = tmp_path / "state", []
    add = State.add

    def fail(self: State, table: Any) -> None:
        calls.append(len(table))
        add(self, table)
        if len(calls) == 6:
            raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(State, "add", fail)
        with pytest.raises(MemoryError):
            calibrate_files(parquet, SETTINGS, state=state)
    assert State.load(state, SETTINGS).rows == sum(calls[:5])
    found = calibrate_files(parquet, SETTINGS, state=state, resume=True)
    assert facts(found.report()) == facts(calibrate_files(parquet, SETTINGS).report())


def test_a_bad_file_can_be_mended_before_it_is_begun(parquet: list[Path], tmp_path: Path) -> None:
    good, state = parquet[2].read_bytes(), tmp_path / "state"
    expected = facts(calibrate_files(parquet, SETTINGS).report())
    parquet[2].write_bytes(good[:-4])
    with pytest.raises(TableError, match=r"part-2\.parquet"):
        calibrate_files(parquet, SETTINGS, state=state)
    parquet[2].write_bytes(good)
    assert facts(calibrate_files(parquet, SETTINGS, state=state, resume=True).report()) == expected
    assert not [thread for thread in threading.enumerate() if "ThreadPool" in thread.name]


def test_more_files_may_follow(parquet: list[Path], tmp_path: Path) -> None:
    state = tmp_path / "state"
    first = calibrate_files(parquet[:2], SETTINGS, state=state)
    both = calibrate_files(parquet, SETTINGS, state=state, resume=True)
    assert first.rows < both.rows
    assert facts(both.report()) == facts(calibrate_files(parquet, SETTINGS).report())


def test_states_of_other_data_or_options_are_refused(parquet: list[Path], tmp_path: Path) -> None:
    state = tmp_path / "state"
    calibrate_files(parquet[1:], SETTINGS, state=state)

    def refused(match: str, settings: Settings = SETTINGS, **options: Any) -> None:
        before = state.read_bytes()
        with pytest.raises(ValueError, match=match):
            calibrate_files(options.pop("paths", parquet[1:]), settings, state=state, **options)
        assert state.read_bytes() == before

    refused("go on from it with `resume`")
    refused("clip", dataclasses.replace(SETTINGS, clip=2.0), resume=True)
    refused("keep_going", keep_going=True, resume=True)
    refused("between", paths=parquet, resume=True)
    refused("part-1.parquet has changed or is gone", paths=parquet[2:], resume=True)
    os.utime(parquet[1], ns=(0, 0))
    refused("part-1.parquet has changed", resume=True)
    state.write_text("no state")
    refused("state", resume=True)


def test_options_that_cannot_be_are_refused(parquet: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="engine must be 'local' or 'ray', got 'spark'"):
        calibrate_files(parquet, SETTINGS, engine="spark")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`resume` needs `state`"):
        calibrate_files(parquet, SETTINGS, resume=True)
    with pytest.raises(ValueError, match="standard input"):
        calibrate_files("-", SETTINGS, state=tmp_path / "state")
    with pytest.raises(TableError, match=r"nothing\.csv"):
        calibrate_files(tmp_path / "nothing.csv", SETTINGS)


def test_an_empty_file_among_others_counts_nothing(parquet: list[Path], tmp_path: Path) -> None:
    empty = tmp_path / "part-9.parquet"
    pyarrow.parquet.write_table(pyarrow.parquet.read_table(parquet[0])[:0], empty)
    assert calibrate_files([empty, *parquet], SETTINGS).rows == ANSWERS * tables.POSITIONS


SLOW = """
    import sys, time
    from pathlib import Path
    from lambda_star.calibration import large, pieces
    from lambda_star.calibration.state import Settings
    pieces.PIECE_ROWS, pieces.BATCH = 60, 25

    def slow(text):
        time.sleep(0.02)
        return "mark" if text in {marks!r} else None

    def tell(*told):
        print(*told, flush=True)

    large.calibrate_files({paths!r}, Settings(contract=slow), state={state!r}, progress=tell)
"""


@pytest.mark.slow
def test_a_real_interrupt_leaves_a_state(parquet: list[Path], tmp_path: Path) -> None:
    state = tmp_path / "state"
    program = SLOW.format(marks={*tables.CENTERS}, paths=[str(path) for path in parquet], state=str(state))
    command = [sys.executable, "-c", textwrap.dedent(program)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for _ in range(4):
            assert process.stdout.readline().startswith("rows read")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert said.rstrip().endswith("KeyboardInterrupt")
    assert process.returncode not in {0, 2}

    def slow(text: str) -> str | None:
        return "mark" if text in tables.CENTERS else None

    slow.__qualname__ = "slow"
    settings = Settings(contract=slow)
    assert 0 < State.load(state, settings).rows < ANSWERS * tables.POSITIONS
    found = calibrate_files(parquet, settings, state=state, resume=True)
    assert facts(found.report()) == facts(calibrate_files(parquet, SETTINGS).report())


SAMPLES = Path(__file__).parent / "engines" / "samples" / "vllm"


def test_a_join_of_two_sides_is_taken_up(tmp_path: Path) -> None:
    sides: Any = {side: SAMPLES / f"served_{side}.jsonl" for side in ("teacher", "base")}
    settings, state = Settings(contract="json"), tmp_path / "state"
    whole = calibrate(read_table(**sides), contract="json")
    with pytest.raises(KeyboardInterrupt):
        calibrate_files((), settings, **sides, state=state, progress=stop_after(1))
    assert State.load(state, settings).rows > 0
    close(calibrate_files((), settings, **sides, state=state, resume=True).report(), whole)
    with pytest.raises(ValueError, match="keep_going"):
        calibrate_files((), settings, **sides, keep_going=True, state=state, resume=True)
