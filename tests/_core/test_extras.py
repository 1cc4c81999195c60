"""The install command of an error works where the error is seen: installed from an index or a clone, or not at all."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from lambda_star._core.extras import install_command

ROOT = Path(__file__).parents[2]


def test_every_extra_that_is_named_exists_and_no_message_names_one_by_hand() -> None:
    offered = set(metadata.metadata("lambda-star").get_all("Provides-Extra") or [])
    named: set[str] = set()
    for path in (ROOT / "lambda_star").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        named.update(re.findall(r"""(?:missing\(.*, |install_command\()["']([a-z]+)["']\)""", text))
        assert path.name == "extras.py" or "pip install 'lambda-star" not in text
    assert {"contract", "models", "ray", "torch", "trl"} <= named <= offered


@pytest.mark.slow
def test_pip_keeps_what_is_installed_and_asks_no_index_for_it() -> None:
    words = shlex.split(install_command("contract"))
    assert words == ["pip", "install", "lambda-star[contract]"]
    done = subprocess.run(
        [sys.executable, "-m", *words, "--no-index", "--dry-run"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Would install" not in done.stdout


def test_where_nothing_is_installed_the_command_names_the_clone(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", none)
    *command, place = shlex.split(install_command("torch"))
    assert command == ["pip", "install", "-e"]
    assert place == f"{ROOT}[torch]"
    assert (Path(place.removesuffix("[torch]")) / "pyproject.toml").exists()
