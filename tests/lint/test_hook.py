"""The hook that ships for pre-commit is valid, and runs the command on files of the kinds that it names."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from lambda_star.cli import main
from lambda_star.lint.readers import READERS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
MANIFEST = ROOT / ".pre-commit-hooks.yaml"
CORPUS = Path(__file__).parent / "corpus"


@pytest.fixture(scope="module")
def hook() -> dict[str, Any]:
    (only,) = yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))
    assert isinstance(only, dict)
    return only


def test_pre_commit_accepts_the_hook() -> None:
    clientlib = pytest.importorskip("pre_commit.clientlib")
    ((loaded),) = clientlib.load_manifest(MANIFEST)
    assert loaded["id"] == "lambda-star-lint-config"


def test_the_hook_runs_the_command_of_this_project(hook: dict[str, Any]) -> None:
    script, command = hook["entry"].split()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["scripts"][script] == "lambda_star.cli:main"
    files = ["verl/lambda_sweep.sh", "gopd/config.json", "gopd/config.toml", "trl/gkd.yaml", "trl/sweep.py"]
    assert CliRunner().invoke(main, [command, *(str(CORPUS / name) for name in files)]).exit_code == 0
    assert CliRunner().invoke(main, [command, str(CORPUS / "verl" / "k3_as_reward.sh")]).exit_code == 1


def test_the_hook_names_what_the_readers_read(hook: dict[str, Any]) -> None:
    identify = pytest.importorskip("identify.identify")
    # No list of file types has .slurm; pre-commit knows such a file by its "#!".
    for suffix in {*READERS} - {".slurm"}:
        tags = identify.tags_from_filename(f"run{suffix}")
        assert tags & {*hook["types_or"]}, suffix
    assert re.search(hook["files"], "configs/OPD_run.yaml")
    assert not re.search(hook["files"], "mkdocs.yaml")
