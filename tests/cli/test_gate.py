"""The page on gates: its scripts train or do not train by the verdict, and its tables name what there is."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from lambda_star import decide
from lambda_star.cli import main
from lambda_star.rehearsal import Answer
from tests import tables
from tests.cli.test_cli import SCRIPT, invoke, refused
from tests.cli.test_json import COMMANDS, folder, written

__all__ = ["folder"]

PAGE = (Path(__file__).parents[2] / "docs" / "gate.md").read_text(encoding="utf-8")
SCRIPTS = dict(re.findall(r"<!-- script: (\w+) -->\n```sh\n(.*?)```", PAGE, flags=re.DOTALL))
HEAD = {"schema", "version", "command", "time"}


def run(place: Path, name: str, lost: int, answers: int = 100) -> tuple[int, str | None]:
    """Run a script of the page where so many rehearsed answers break at λ = 1.25; what it trains at, if it trains."""
    tables.write_csv(place / "answers.csv", tables.rows(300))
    lines: list[dict[str, Any]] = [{"schema": "lambda-star/rehearsal/1", "rule": None}]
    for lam in (1.0, 1.25):
        lines += [vars(Answer(lam, at, 0, "[]", 2, True, lam == 1 or at >= lost)) for at in range(answers)]
    (place / "rehearsal.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    trainer = place / "train.sh"
    trainer.write_text('#!/bin/sh\necho "$1" > trained\n', encoding="utf-8")
    trainer.chmod(0o755)
    environment = os.environ | {"PATH": f"{SCRIPT.parent}{os.pathsep}{os.environ['PATH']}", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(["sh", "-c", SCRIPTS[name]], cwd=place, env=environment, capture_output=True, check=False)
    trained = place / "trained"
    return done.returncode, trained.read_text(encoding="utf-8").strip() if trained.exists() else None


@pytest.mark.slow
@pytest.mark.parametrize(("lost", "status"), [(0, 0), (60, 1), (5, 3)])
def test_the_script_trains_only_at_a_safe_lambda(lost: int, status: int, tmp_path: Path) -> None:
    assert run(tmp_path, "gate", lost) == (status, None if status else "1.25")
    assert json.loads((tmp_path / "verdict.json").read_text(encoding="utf-8"))["exit_status"] == status


@pytest.mark.slow
def test_the_script_does_not_train_without_a_verdict(tmp_path: Path) -> None:
    (tmp_path / "report.json").mkdir()
    assert run(tmp_path, "gate", 0) == (2, None)


@pytest.mark.slow
def test_the_other_script_trains_at_the_advised_lambda(tmp_path: Path) -> None:
    assert run(tmp_path, "gate", 0) == (0, "1.25")
    advised = decide(tmp_path / "report.json", tmp_path / "rehearsal.jsonl").set_lam
    assert run(tmp_path, "advice", 0) == (0, repr(advised))
    (tmp_path / "trained").unlink()
    (tmp_path / "report.json").write_text("{}", encoding="utf-8")
    assert run(tmp_path, "advice", 0) == (2, None)


def test_the_workflow_names_commands_and_options_that_there_are() -> None:
    (text,) = re.findall(r"<!-- workflow -->\n```yaml\n(.*?)```", PAGE, flags=re.DOTALL)
    steps = yaml.safe_load(text)["jobs"]["gate"]["steps"]
    commands = [shlex.split(step["run"]) for step in steps if step.get("run", "").startswith("lambda-star ")]
    for _, name, *words in commands:
        known = {flag for each in main.commands[name].params for flag in each.opts}
        assert {word for word in words if word.startswith("--")} <= known
    assert commands


@pytest.mark.usefixtures("folder")
def test_decide_prints_its_evidence_and_ends_with_the_verdict() -> None:
    result = invoke("decide", "report.json", "--lam", 1.25)
    found = decide("report.json", lam=1.25)
    assert result.stdout.splitlines() == [*found.evidence, "", str(found)]
    assert result.exit_code == found.exit_status == 3
    assert invoke("decide", "report.json", "--lam", 1).exit_code == 0
    assert refused("decide") == "Error: report or rehearsal must be given, got neither\n"
    assert "'--tolerance': 2.0 is not in the range 0<=x<=1" in refused("decide", "report.json", "--tolerance", 2)
    assert refused("decide", "nowhere.json").startswith("Error: nowhere.json: cannot read the report (")
    assert refused("decide", "--rehearsal", "rows.csv").startswith("Error: rows.csv, line 1: the header of a rehearsal")


def keys_in(value: Any) -> set[str]:
    """The keys of a mapping and of all mappings in it."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return {*(value if isinstance(value, dict) else ())}.union(*map(keys_in, inside))


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_names_the_keys_of_the_json(name: str) -> None:
    (row,) = re.findall(rf"^\| [^|]*`{name}`[^|]* \| (.*) \|$", PAGE, flags=re.MULTILINE)
    named = set(re.findall(r"`(\w+)`", row))
    found, _ = written(name, COMMANDS[name], "-")
    keys = set(found) - HEAD
    if "the attributes of" in row:
        assert named - {"decide"} <= keys_in(found) - HEAD
    else:
        inner = {
            key
            for value in found.values()
            if isinstance(value, list)
            for one in value
            if isinstance(one, dict)
            for key in one
        }
        assert named == keys | inner


def test_an_error_that_nobody_expected_is_no_verdict(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Python ends with status 1 after an exception, which would say that λ is unsafe."""
    raised: list[BaseException] = [KeyError("gone"), RecursionError("deep"), KeyboardInterrupt()]

    def fails(*_: Any, **__: Any) -> None:
        raise raised[0]

    monkeypatch.setattr("lambda_star.verdict.decide", fails)
    while raised:
        done = invoke("decide", "report.json", "--lam", 1.1)
        error = raised.pop(0)
        stopped = isinstance(error, KeyboardInterrupt)
        assert done.exit_code == (130 if stopped else 2)
        assert ("stopped" if stopped else type(error).__name__) in done.stderr
