"""The attacks of ``make fuzz`` in short, and that each sort of failure is seen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

fuzz = pytest.importorskip("benchmarks.fuzz", reason="this system has no limits of resources")

ROOT = Path(__file__).parent.parent
SHORT = {("functions", "linter", "contracts", "readers", "records"): 100, ("commands", "probe"): 25}


@pytest.mark.slow
@pytest.mark.parametrize(("targets", "count"), SHORT.items(), ids=["library", "commands and probe"])
def test_some_hundred_attacks_find_nothing(targets: tuple[str, ...], count: int, tmp_path: Path) -> None:
    out = tmp_path / "found.json"
    words = [word for target in targets for word in ("--target", target)]
    made = [sys.executable, "-m", "benchmarks.fuzz", *words, "--count", str(count), "--seed", "19", "--out", str(out)]
    done = subprocess.run(made, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text(encoding="utf-8"))["targets"]
    assert {name: (each["inputs"], each["failures"]) for name, each in found.items()} == dict.fromkeys(
        targets, (count, 0)
    )


def test_every_target_has_a_short_form() -> None:
    assert {target for targets in SHORT for target in targets} == {*fuzz.TARGETS}


@pytest.fixture(scope="module")
def guard() -> Any:
    return fuzz.Guard()


def spin(*_: object) -> None:
    while True:
        pass


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (lambda *_: dict[str, int]()["a"], "KeyError"),
        (lambda *_: warnings.warn("leaks", stacklevel=1), "UserWarning: leaks"),
        (lambda *_: os.system("true"), "Forbidden: os.system"),
        (lambda *_: subprocess.run(["true"], check=True), "Forbidden: subprocess.Popen"),
        (lambda *_: exec("1"), "Forbidden: exec"),
        (lambda folder, _: Path(folder.parent, "lambda-star-fuzz-elsewhere").touch(), "Forbidden: open"),
        (lambda folder, _: Path(folder.parent, "lambda-star-fuzz-elsewhere").unlink(), "Forbidden: os.remove"),
        (spin, "Late: more than 0.2 s"),
        (lambda folder, _: Path(folder, "inside").touch(), ""),
        (lambda *_: int("x"), ""),
    ],
)
def test_a_failure_is_seen(
    run: Callable[[Path, Any], object], said: str, guard: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzz, "SECONDS", 0.2)
    attack = fuzz.Attack(fuzz.Target(st.just(0), run), guard)
    attack.run(1, 0)
    assert attack.inputs == 1
    assert attack.figures()["failures"] == bool(said)
    assert said in "".join(attack.failures.values())
    assert tempfile.tempdir is None
