"""What `test_ray.py` runs in a process of its own: a cluster gives what one machine gives, also if a worker dies."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lambda_star.calibration import cluster
from lambda_star.calibration.large import calibrate_files
from lambda_star.calibration.state import Settings, State
from lambda_star.calibration.table import TableError
from tests import tables
from tests.calibration.test_large import ANSWERS, close, facts, shares, write_parquet

MARKS = {*tables.CENTERS}
ROWS = ANSWERS * tables.POSITIONS


def mark(text: str) -> str | None:
    return "mark" if text in MARKS else None


SETTINGS = Settings(contract=mark)


@pytest.fixture(scope="module")
def workers() -> Iterator[Any]:
    """A local cluster of two workers."""
    ray = pytest.importorskip("ray")
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    yield ray
    ray.shutdown()


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lambda_star.calibration.pieces.PIECE_ROWS", 40)
    monkeypatch.setattr(cluster, "TASKS", 2)
    monkeypatch.setattr(cluster, "WAVE", 1)
    monkeypatch.setattr(cluster, "FAN", 2)


@pytest.fixture
def parquet(tmp_path: Path) -> list[Path]:
    return [write_parquet(tmp_path / f"part-{at}.parquet", rows) for at, rows in enumerate(shares(3))]


def test_a_cluster_gives_what_one_machine_gives(workers: Any, parquet: list[Path], tmp_path: Path) -> None:
    told: list[int] = []
    found = calibrate_files(parquet, SETTINGS, engine="ray", progress=lambda stage, done, total: told.append(done))
    close(found.report(), calibrate_files(parquet, SETTINGS).report())
    assert told == sorted(told)
    assert told[-1] == ROWS
    assert len(told) > 4
    assert facts(found.report()) == facts(calibrate_files(parquet, SETTINGS, engine="ray").report())


def test_a_worker_that_is_killed_half_way_changes_nothing(workers: Any, parquet: list[Path], tmp_path: Path) -> None:
    started, killed = tmp_path / "started", tmp_path / "killed"
    driver = os.getpid()

    def deadly(text: str) -> str | None:
        with started.open("a") as file:
            file.write(".")
        if started.stat().st_size > 20 and os.getpid() != driver and not killed.exists():
            killed.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return mark(text)

    settings = Settings(contract=deadly)
    found = calibrate_files(parquet, settings, engine="ray")
    assert int(killed.read_text()) != driver
    assert found.rows == ROWS
    close(found.report(), calibrate_files(parquet, SETTINGS).report())


def test_a_run_on_a_cluster_is_taken_up(workers: Any, parquet: list[Path], tmp_path: Path) -> None:
    state = tmp_path / "state"

    def stop(stage: str, done: int, total: int) -> None:
        if done > 0.7 * total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        calibrate_files(parquet, SETTINGS, engine="ray", state=state, progress=stop)
    assert 0 < State.load(state, SETTINGS).rows < ROWS
    found = calibrate_files(parquet, SETTINGS, engine="ray", state=state, resume=True)
    assert facts(found.report()) == facts(calibrate_files(parquet, SETTINGS, engine="ray").report())
    here = calibrate_files(parquet, SETTINGS, state=state, resume=True)
    assert here.rows == ROWS


def test_after_an_interrupt_only_tasks_that_are_under_way_go_on(
    workers: Any, parquet: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "TASKS", 8)
    monkeypatch.setattr(cluster, "WAVE", 8)
    monkeypatch.setattr(cluster, "AHEAD", 1)
    seen = tmp_path / "seen"

    def counting(text: str) -> str | None:
        with seen.open("a") as file:
            file.write(".")
        return mark(text)

    def stop(stage: str, done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    settings = Settings(contract=counting)
    calibrate_files(parquet, settings, engine="ray")
    whole = seen.stat().st_size
    seen.unlink()
    with pytest.raises(KeyboardInterrupt):
        calibrate_files(parquet, settings, engine="ray", progress=stop)
    time.sleep(1)
    assert 0 < seen.stat().st_size < 0.5 * whole


def test_an_error_in_a_task_is_that_of_the_file(workers: Any, parquet: list[Path]) -> None:
    parquet[1].write_bytes(parquet[1].read_bytes()[:-4])
    with pytest.raises(TableError, match=r"part-1\.parquet") as caught:
        calibrate_files(parquet, SETTINGS, engine="ray")
    assert "Traceback" not in str(caught.value)
