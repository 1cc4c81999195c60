"""Ctrl-C at any moment of any command ends it with one line and the status that a shell has for it."""

from __future__ import annotations

import inspect
import io
import os
import re
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from lambda_star.cli import main
from tests.cli.test_files import COMMANDS, folder, light, run

__all__ = ["folder", "light"]

FULL = Path("/dev/full")
OWN = f"{os.sep}lambda_star{os.sep}"


def stopped_at(name: str, at: int) -> tuple[int, str, str]:
    """Run a command that is interrupted where it calls this function of the library, counted from its beginning."""
    calls = 0

    def count(frame: Any, event: str, _: Any) -> None:
        nonlocal calls
        code = frame.f_code  # a generator may be called only to close it, where Python drops every error
        calls += event == "call" and OWN in code.co_filename and not code.co_flags & inspect.CO_GENERATOR
        if calls == at:
            sys.setprofile(None)
            raise KeyboardInterrupt

    sys.setprofile(count)
    try:
        return run(name)
    finally:
        sys.setprofile(None)


@pytest.mark.parametrize("name", main.commands)
def test_every_command_that_is_stopped_says_so_in_a_line(name: str, folder: Path) -> None:
    if name == "decide":
        run("calibrate", "--json", "report.json")
    for at in (12, 120):
        status, _, said = stopped_at(name, at)
        finished = at > 12 and status in {0, 1, 3}
        assert finished or (status == 130 and re.fullmatch(r"\n?Error: stopped.*\n", said)), said
        assert not [*folder.glob(".*.part")]


def test_every_command_is_stopped() -> None:
    assert {*COMMANDS} == {*main.commands}


@pytest.mark.nightly
@pytest.mark.skipif(not FULL.exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize("name", main.commands)
def test_what_is_printed_to_a_full_disk_is_no_verdict(name: str) -> None:
    run("calibrate", "--json", "report.json")
    needed = {"score": ["--out", "out.csv"], "convert": ["--out", "out.csv"], "plot": ["--out", "out.png"]}
    said = io.StringIO()
    with FULL.open("w") as full, redirect_stdout(full), redirect_stderr(said), pytest.raises(SystemExit) as ended:
        main([name, *COMMANDS[name], *needed.get(name, [])])
    assert ended.value.code == 2
    assert said.getvalue().splitlines()[-1] == "Error: standard output cannot be written: No space left on device"
