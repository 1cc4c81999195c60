"""A command that is killed leaves whole files, and ends as if it had not been: ``benchmarks.kills`` in short."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_killed_calibration_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "found.json"
    words = [sys.executable, "-m", "benchmarks.kills", "--kills", "3", "--job", "calibrate", "--out", str(out)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text(encoding="utf-8"))["jobs"]["calibrate"]
    assert found == {"kills": 3, "corrupt": 0, "files": 3, "differ": 0, "other_order": 0}
