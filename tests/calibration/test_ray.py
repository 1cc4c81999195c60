"""A Ray cluster gives what one machine gives, also if a worker dies on the way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lambda_star.calibration.large import calibrate_files
from lambda_star.calibration.state import Settings
from tests.calibration.test_large import shares, write_parquet


@pytest.mark.slow
def test_a_cluster_gives_what_one_machine_gives_also_if_a_worker_dies() -> None:
    pytest.importorskip("ray")
    # Ray forks, and a process in which other tests have started the threads of JAX must not.
    checks = Path(__file__).with_name("cluster_checks.py")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(checks)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=checks.parents[2])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 passed" in done.stdout


def test_without_ray_the_message_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_parquet(tmp_path / "rows.parquet", next(shares(1)))
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"pip install 'lambda-star\[ray\]'"):
        calibrate_files(path, Settings(), engine="ray")
