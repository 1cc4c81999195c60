"""What the README shows is what a reader gets; its Python examples run as doctests in ``make check``."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

import lambda_star
from lambda_star.cli import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_readme_shows_what_the_demo_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    arguments = "calibrate examples/rank_by_price/logprobs.csv --clip 5 --lam 1.25"
    assert f"{arguments} --plot" in (ROOT / "Makefile").read_text(encoding="utf-8").replace(
        "$(DATA)", "examples/rank_by_price/logprobs.csv"
    )
    printed = CliRunner().invoke(main, arguments.split()).output
    shown = re.findall(r"```text\n(.*?)```", README, flags=re.DOTALL)[0]
    assert [line.rstrip() for line in shown.splitlines()] == [line.rstrip() for line in printed.splitlines()]


@pytest.mark.parametrize("name", lambda_star.__all__)
def test_the_readme_names_everything_public(name: str) -> None:
    table = "\n".join(line for line in README.splitlines() if line.startswith("| "))
    assert re.search(rf"`{name}[(`]", table)


def test_links_lead_somewhere() -> None:
    pages = [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *ROOT.glob("derivations/*.md"),
        *ROOT.glob("examples/*/*.md"),
    ]
    for page in pages:
        for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_readme_shows_what_the_cliff_report_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    printed = CliRunner().invoke(main, ["cliff", "--report"]).stdout
    (shown,) = (
        text for text in re.findall(r"```text\n(.*?)```", README, flags=re.DOTALL) if text.startswith("Where half")
    )
    assert [line.rstrip() for line in shown.splitlines()] == [line.rstrip() for line in printed.strip().splitlines()]
