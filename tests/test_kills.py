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
def test_what_was_killed_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "found.json"
    jobs = ["--job", "calibrate", "--job", "rehearse"]
    words = [sys.executable, "-m", "benchmarks.kills", "--kills", "2", *jobs, "--out", str(out)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text(encoding="utf-8"))["jobs"]
    assert found["calibrate"] == {"kills": 2, "corrupt": 0, "files": 3, "differ": 0}
    assert found["rehearse"] == {"kills": 2, "corrupt": 0, "files": 1, "differ": 0}
