"""What the README and ``docs/`` show is what a reader gets: outputs, examples, names, links; and the README is short.

An output block in a page is fenced as ``text`` and follows a comment ``<!-- output of: lambda-star … -->``. It shows
what that command prints; a line ``...`` in it stands for lines that are left out.
"""

from __future__ import annotations

import doctest
import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest
from click.testing import CliRunner

import lambda_star
from lambda_star.cli import main

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
DOCS = sorted(ROOT.glob("docs/*.md"))
SITE = sorted(ROOT.glob("site/**/*.md"))
LINKING = [
    README,
    ROOT / "CONTRIBUTING.md",
    *DOCS,
    *SITE,
    *ROOT.glob("derivations/*.md"),
    *ROOT.glob("examples/*/*.md"),
]
REFERENCE = ROOT / "docs" / "reference.md"
WINGS = (
    "bernoulli",
    "categorical",
    "sequence",
    "dynamics",
    "updates",
    "verified",
    "contract",
    "calibration",
    "rehearsal",
    "cliff",
    "ledger",
    "torch",
    "lint",
    "plotting",
)

OUTPUT = re.compile(r"<!-- output of: lambda-star (.*?) -->\n```text\n(.*?)```", flags=re.DOTALL)
OUTPUTS = [
    pytest.param(*block, id=f"{page.name}: {block[0].split()[0]}")
    for page in (README, *DOCS)
    for block in OUTPUT.findall(page.read_text(encoding="utf-8"))
]


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]


def is_shown(shown: list[str], printed: list[str]) -> bool:
    """Whether some lines are what is printed, in order; only a line ``...`` may stand for others."""
    if not shown:
        return not printed
    if shown[0] == "...":
        return any(is_shown(shown[1:], printed[skipped:]) for skipped in range(1, len(printed) + 1))
    return bool(printed) and shown[0] == printed[0] and is_shown(shown[1:], printed[1:])


@pytest.mark.parametrize(("command", "shown"), OUTPUTS)
def test_the_pages_show_what_the_commands_print(command: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    printed = lines(CliRunner().invoke(main, shlex.split(command)).stdout)
    if "..." in lines(shown):
        assert is_shown(lines(shown), printed)
    else:
        assert lines(shown) == printed


def test_the_full_outputs_are_in_the_docs() -> None:
    demo = (ROOT / "Makefile").read_text(encoding="utf-8").replace("$(DATA)", "examples/rank_by_price/logprobs.csv")
    whole = {
        (page.name, command)
        for page in (README, *DOCS)
        for command, shown in OUTPUT.findall(page.read_text(encoding="utf-8"))
        if "..." not in lines(shown)
    }
    (calibrate,) = (command for name, command in whole if name == "calibrate.md")
    assert f"lambda-star {calibrate} --plot" in demo
    assert ("cliff.md", "cliff --report") in whole


def test_left_out_lines_are_marked() -> None:
    assert is_shown(["a", "...", "d"], ["a", "b", "c", "d"])
    assert not is_shown(["a", "d"], ["a", "b", "c", "d"])
    assert not is_shown(["...", "b", "a"], ["a", "b", "c"])


def test_the_readme_fits_on_a_screen_and_a_half() -> None:
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    assert len(text.split()) <= 1200


@pytest.mark.parametrize("page", [README, *DOCS], ids=lambda page: page.name)
def test_examples_run(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    failed, tried = doctest.testfile(str(page), module_relative=False, optionflags=options, encoding="utf-8")
    assert failed == 0
    assert bool(tried) == (">>>" in page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("wing", WINGS)
def test_the_reference_names_everything_public(wing: str) -> None:
    tables = "\n".join(line for line in REFERENCE.read_text(encoding="utf-8").splitlines() if "`" in line)
    at_the_door = wing in ("bernoulli", "calibration")
    for name in import_module(f"lambda_star.{wing}").__all__:
        assert re.search(rf"`{'' if at_the_door else wing + '[.]'}{name}\b", tables), name


@pytest.mark.parametrize("name", [name for name in lambda_star.__all__ if name not in WINGS])
def test_the_reference_names_everything_at_the_door(name: str) -> None:
    assert re.search(rf"`{name}\b", REFERENCE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", LINKING, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize(
    "page", [README, *DOCS, *SITE, *ROOT.glob("C*.md"), *ROOT.glob("examples/*/*.md")], ids=lambda page: page.name
)
def test_prose_is_wrapped(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for line in text.splitlines():
        assert len(line) <= 100 or line.startswith(("|", "![")) or " " not in line.strip(), line
