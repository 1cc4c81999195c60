"""The command ``probe`` runs the loss of a file, and prints, draws and writes what the library finds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.test_cli import invoke, printed, refused, row_of, words

LOSS = """
import torch
import helper

def clamped(student, teacher, base, lam):
    log_s, log_t, log_b = (torch.log_softmax(rows, -1) for rows in (student, teacher, base))
    gain = (log_t - log_s).clamp(-helper.BOUND, helper.BOUND) + (lam - 1) * (log_t - log_b)
    return -(log_s.exp() * gain.detach()).sum(-1).mean()

def wrong(student, teacher, base, lam):
    return -clamped(student, teacher, base, lam)

def broken(student, teacher, base, lam):
    raise KeyError("teacher")

def ends(student, teacher, base, lam):
    raise SystemExit(0)

NUMBER = 3
"""
POSITION = ("--p", 0.999, "--b", 0.5)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "losses.py"
    path.write_text(LOSS, encoding="utf-8")
    (tmp_path / "helper.py").write_text("BOUND = 5.0\n", encoding="utf-8")
    return path


def test_a_loss_from_a_file_is_probed(file: Path) -> None:
    output = printed("probe", f"{file}:clamped", *POSITION)
    assert row_of(output, "direction") == "towards the teacher"
    assert row_of(output, "tail dies") == "at λ = 1.72407"
    assert row_of(output, "rule").startswith("log_ratio_clamp(bound=5).")


def test_a_known_rule_is_probed_for_comparison() -> None:
    assert row_of(printed("probe", "top_k:1", *POSITION), "tail dies") == "at λ = 1.00145"


def test_the_report_is_drawn_and_written(file: Path, tmp_path: Path) -> None:
    picture, report = tmp_path / "new" / "loss.png", tmp_path / "loss.json"
    output = printed("probe", f"{file}:clamped", *POSITION, "--plot", picture, "--json", report)
    assert f"wrote {picture}" in output
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert json.loads(report.read_text(encoding="utf-8"))["rule"] == "log_ratio_clamp(bound=5)"


@pytest.mark.parametrize(("name", "lam", "status"), [("clamped", 1.7, 0), ("clamped", 1.8, 1), ("wrong", 1.0, 1)])
def test_a_coefficient_is_judged(file: Path, name: str, lam: float, status: int) -> None:
    result = invoke("probe", f"{file}:{name}", *POSITION, "--lam", lam)
    assert result.exit_code == status
    said = "the student moves away" if name == "wrong" else "the tail DIES" if status else "the tail lives"
    assert f"at λ = {lam:g} {said}" in result.stdout


def test_whatever_is_found_without_a_coefficient_is_status_0(file: Path) -> None:
    assert "check the sign of the loss" in printed("probe", f"{file}:wrong", *POSITION)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("{file}:broken", "loss could not be run on 2 outcomes"),
        ("{file}:ends", "loss could not be run on 2 outcomes, rows of shape (1, 2): SystemExit"),
        ("{file}:NUMBER", "must have a function NUMBER, got none"),
        ("{file}:missing", "must have a function missing, got none"),
        ("{file}", "must be followed by a colon and the name of a function"),
        ("nowhere.py:loss", "nowhere.py is not a file"),
        ("no_rule:5", "names no training code"),
        ("log_ratio_cap:0.5", "c must lie in"),
    ],
)
def test_what_cannot_be_probed_is_one_message(file: Path, target: str, said: str) -> None:
    assert said in words(refused("probe", target.format(file=file), *POSITION))


def test_a_file_that_fails_is_one_message(tmp_path: Path) -> None:
    path = tmp_path / "bad.py"
    path.write_text("import no_such_module_at_all\n", encoding="utf-8")
    assert "bad.py could not be run: ModuleNotFoundError" in words(refused("probe", f"{path}:loss", *POSITION))


def test_the_help_says_that_it_runs_the_file() -> None:
    assert "THIS RUNS THE PYTHON FILE THAT YOU NAME" in words(printed("probe", "--help"))


# check-step with a rule


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["log_prob_floor:8", "log_ratio_cap:5,through=true", "top_k:1", "kl_to_base_cap:3"])
def test_check_step_follows_the_loss_of_a_rule(rule: str) -> None:
    output = printed("check-step", "--rule", rule)
    assert sum("λ at which the tail dies" in line and line.endswith("yes") for line in stripped(output)) == 1
    assert sum("log-odds where training ends" in line and line.endswith("yes") for line in stripped(output)) == 1
    assert "least λ at which the clip acts" not in output


def stripped(output: str) -> list[str]:
    return [line.rstrip() for line in output.splitlines()]


def test_check_step_refuses_a_rule_that_does_not_exist() -> None:
    assert "names no training code" in refused("check-step", "--rule", "nothing:1")
