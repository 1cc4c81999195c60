"""``--json`` is the same everywhere: schema, version, command line and time come first, and no other text beside it."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import lambda_star
from lambda_star import threshold, updates
from lambda_star.cli import main
from tests import tables
from tests.cli.test_cli import RESULTS, invoke, refused
from tests.night import thinned

POSITION = ["--p", "0.999", "--b", "0.5"]
COMMANDS: dict[str, list[str]] = {
    "demo": [],
    "threshold": [*POSITION, "--clip", "5", "--lam", "1.25"],
    "updates": [*POSITION, "--rule", "trl", "--rule", "top_k:8", "--rule", "log_ratio_cap:5"],
    "probe": ["log_ratio_cap:5", *POSITION, "--lam", "1.1"],
    "calibrate": ["rows.csv"],
    "decide": ["report.json", "--lam", "1.25"],
    "lint-config": ["run.sh", *POSITION],
    "check-step": ["--positions", "3"],
    "cliff": ["--report", "--folder", str(RESULTS)],
    "cliff-rules": ["--report", "--folder", str(RESULTS.parent / "rules")],
    "locks": [str(RESULTS)],
    "ledger": ["paper-collapse"],
    "verify": ["threshold-p", "width-above", "--quick"],
    "compare": ["rows.csv", "rows.csv"],
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the commands above read."""
    monkeypatch.chdir(tmp_path)
    tables.write_csv(tmp_path / "rows.csv", tables.rows())
    (tmp_path / "run.sh").write_text("python -m verl.trainer.main_ppo actor.policy_loss.lambda_vals=1.25\n")
    assert invoke("calibrate", "rows.csv", "--json", "report.json").exit_code == 3
    return tmp_path


def no_constant(name: str) -> None:
    pytest.fail(f"{name} is not JSON")


def written(name: str, arguments: list[str], path: str) -> tuple[dict[str, Any], str]:
    """What a command writes, and what it prints."""
    result = CliRunner().invoke(main, [name, *arguments, "--json", path])
    assert result.exit_code in {0, 1, 3}, result.output
    text = result.stdout if path == "-" else Path(path).read_text(encoding="utf-8")
    return json.loads(text, parse_constant=no_constant), result.stderr if path == "-" else result.stdout


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("name", thinned(COMMANDS, 2))
def test_json_has_the_same_head_and_is_alone_on_standard_output(name: str) -> None:
    found, said = written(name, COMMANDS[name], "-")
    assert list(found)[:4] == ["schema", "version", "command", "time"]
    schema = "calibrate/2" if name in {"calibrate", "demo"} else f"{name}/1"
    assert (found["schema"], found["version"]) == (f"lambda-star/{schema}", lambda_star.__version__)
    assert found["command"].startswith(f"lambda-star {name} ")
    assert found["command"].endswith(" --json -")
    assert abs((datetime.now(timezone.utc) - datetime.fromisoformat(found["time"])).total_seconds()) < 600
    in_file, printed = written(name, COMMANDS[name], "found.json")
    assert printed.replace("wrote found.json\n", "") == said
    different = {"command", "time"}
    assert {k: v for k, v in in_file.items() if k not in different} == {
        k: v for k, v in found.items() if k not in different
    }


def test_every_command_that_finds_something_has_the_option() -> None:
    without = {"plot", "derive", "score"}  # their result is a file of its own
    options = {name: {flag for each in command.params for flag in each.opts} for name, command in main.commands.items()}
    assert {name for name, flags in options.items() if "--json" not in flags} <= without
    assert set(COMMANDS) <= set(options)


def test_the_numbers_are_those_of_the_library() -> None:
    found, _ = written("threshold", COMMANDS["threshold"], "-")
    assert found["threshold"] == threshold(0.999, 0.5, 5.0)
    assert (found["regime"], found["within_clip"], found["flip_point"]) == ("collapsing", "no", "inf")
    found, _ = written("updates", COMMANDS["updates"], "-")
    plain, some, cap = found["rules"]
    assert (plain["asked"], plain["rule"], plain["dies"], some["dies"]) == ("trl", "none()", "inf", None)
    assert cap["dies"] == updates.log_ratio_cap(5.0).dies(0.999, 0.5)


def test_json_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    behind = tmp_path / "file"
    behind.write_text("")
    assert "give a path that can be written" in refused("updates", "--json", behind / "found.json")
