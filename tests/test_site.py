"""What the site shows, seen without building it: every page has its place, and every public name its documentation.

``make docs`` builds it, with its warnings as errors: formulas, links with their anchors, docstrings and help texts.
"""

from __future__ import annotations

import re
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import click
import pytest

import lambda_star
from lambda_star import _SUBMODULES

ROOT = Path(__file__).parent.parent
SITE = ROOT / "site"
MAKERS = [SITE / "index.md", SITE / "api" / "index.md"]
SHOWN = [
    "README.md",
    "C*.md",
    "SECURITY.md",
    "docs/*.md",
    "derivations/*.md",
    "notebooks/*.ipynb",
    "examples/*.md",
    "examples/*/README.md",
]
BRACKETS = ("{}", "()")
PAGES = [path for pattern in (*SHOWN, "site/*.md", "site/api/*.md") for path in ROOT.glob(pattern)]


def entries(page: Path) -> list[str]:
    """The pages, from the root of the repository, that the tables of contents of a page name."""
    tables = re.findall(r"```\{toctree\}\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    lines = [line for table in tables for line in table.splitlines() if line and not line.startswith(":")]
    names = [re.sub(r".*<(.*)>", r"\1", line) for line in lines]
    return [str((page.parent / name).resolve().relative_to(ROOT)) for name in names]


def documented() -> set[str]:
    """The names that the pages on functions show, by their modules."""
    text = "".join(page.read_text(encoding="utf-8") for page in SITE.glob("api/*.md"))
    modules = re.findall(r"automodule:: lambda_star\.?([\w.]*)", text)
    homes = {name: import_module(f"lambda_star.{name}".rstrip(".")) for name in modules}
    alone = set(re.findall(r"autofunction:: lambda_star\.([\w.]+)", text))
    return alone | {f"{home}.{name}".lstrip(".") for home, module in homes.items() for name in module.__all__}


def of_site(name: str) -> Any:
    """A module of the site's own."""
    spec = spec_from_file_location(name, SITE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_page_has_one_place_in_the_site() -> None:
    named = [entry for page in MAKERS for entry in entries(page)]
    there = {str(page.relative_to(ROOT).with_suffix("")) for page in PAGES} - {"site/index"}
    assert sorted(named) == sorted(there)


def test_the_front_page_has_ten_doors() -> None:
    front = (SITE / "index.md").read_text(encoding="utf-8")
    assert len(re.findall(r"^- \[\*\*.+\*\*\]\(\.\./\S+\)\\$", front, flags=re.MULTILINE)) == 10


@pytest.mark.parametrize("wing", _SUBMODULES)
def test_every_public_name_is_documented(wing: str) -> None:
    names = {f"{wing}.{name}" for name in import_module(f"lambda_star.{wing}").__all__}
    assert names <= documented()


def test_every_name_of_the_reference_is_documented() -> None:
    table = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    modules = "|".join((*_SUBMODULES, *lambda_star.__all__))
    names = set(re.findall(rf"^\| `((?:{modules})\.[\w.]+)", table, flags=re.MULTILINE))
    methods = {name for name in names if name.rpartition(".")[0] in documented()}
    assert len(names) > 60
    assert names - methods <= documented()


def test_no_formula_is_cut_by_what_markdown_takes_for_a_list() -> None:
    lists = re.compile(r"^\s*(?:[-+*#>]|\d+[.)])\s", re.MULTILINE)
    for page in (path for path in PAGES if path.suffix == ".md"):
        text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        for paragraph in text.split("\n\n"):
            cut = [line for line in lists.finditer(paragraph) if paragraph[: line.start()].count("$") % 2]
            assert not cut, f"{page}: {paragraph}"


def test_a_long_formula_is_cut_outside_of_brackets_and_loses_nothing() -> None:
    for needed in ("sphinx", "math_core", "fontTools"):
        pytest.importorskip(needed)
    formulas = [
        one for page in ROOT.glob("derivations/*.md") for one in re.findall(r"\$([^$`]+)\$", page.read_text("utf-8"))
    ]
    pieces_of = of_site("_mathematics").pieces
    cut = [pieces_of(one) for one in formulas]
    for formula, pieces in zip(formulas, cut, strict=True):
        assert formula == pieces[0] + "".join(piece.removeprefix("{}") for piece in pieces[1:])
        assert len(pieces) == 1 or all(
            piece.count(pair[0]) == piece.count(pair[1]) for piece in pieces for pair in BRACKETS
        )
    assert sum(len(pieces) > 1 for pieces in cut) > 100
    assert pieces_of("D(q)=(a - b) \\log c + e^{-x} d - 10000000000") == [
        "D(q)",
        "{}=(a - b) \\log c ",
        "{}+ e^{-x} d ",
        "{}- 10000000000",
    ]


def test_no_sentence_on_what_a_function_returns_is_taken_for_a_type() -> None:
    roles = re.compile(r":[\w:]+:`[^`]*`|``.*?``")
    for path in sorted((ROOT / "lambda_star").rglob("*.py")):
        for first in re.findall(r"^ *Returns:\n +(.*)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE):
            assert not re.search(r":(?: |$)", roles.sub("", first)), f"{path}: {first}"


def test_an_example_in_a_docstring_stays_as_it_is_typed() -> None:
    pytest.importorskip("sphinx")
    lines = ["A | B:", "", "    >>> [1 | 2]", "    | row", "", "and | so ``a | b``"]
    of_site("_pages").escape(lines, "|")
    assert lines == ["A \\| B:", "", "    >>> [1 | 2]", "    | row", "", "and \\| so ``a | b``"]


def test_a_signature_names_its_types_and_can_be_parsed() -> None:
    pytest.importorskip("sphinx")
    signature = "(rows: TypeAliasForwardRef('Rows'), best: dict[str, float] = <factory>)"
    assert of_site("_pages").name_types(None, signature, None) == ("(rows: Rows, best: dict[str, float] = {})", None)


def test_the_page_of_commands_tells_defaults_and_ranges_as_a_terminal_does() -> None:
    pytest.importorskip("sphinx")

    @click.group(context_settings={"show_default": True})
    def main() -> None: ...

    @main.command()
    @click.option("--clip", type=click.FloatRange(1, min_open=True), default=5, help="A cap.")
    @click.option("--out", required=True, help="A file.")
    @click.option("--p", type=click.FloatRange(0, 1), required=True, help="A share.")
    @click.option("--force", is_flag=True, help="Replace.")
    def one() -> None: ...

    of_site("_pages").tell_defaults(main)
    told = [option.help for option in main.commands["one"].params if isinstance(option, click.Option)]
    assert told == ["A cap.  [default: 5; x>1]", "A file.", "A share.  [0<=x<=1]", "Replace."]
