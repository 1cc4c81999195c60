"""One word stands for one thing: no docstring, comment, message, help text or page uses a retired word."""

from __future__ import annotations

import ast
import io
import json
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from click import Group
from click.testing import CliRunner

from lambda_star.cli import main

ROOT = Path(__file__).parent.parent
GLOSSARY = ROOT / "docs" / "glossary.md"
HEADING = "## Retired words"

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("site/**/*.md")),
    *sorted(ROOT.glob("derivations/*.md")),
    *sorted(ROOT.glob("lambda_star/symbolic/text/*.md")),
    *sorted(ROOT.glob("examples/*/*.md")),
]
"""Pages in plain words. CHANGELOG.md is not among them: it says which old name became which new one."""


def retired() -> list[tuple[str, str]]:
    """Every retired word with what it is called now, from the last table of the glossary."""
    table = GLOSSARY.read_text(encoding="utf-8").partition(HEADING)[2]
    found = []
    for line in table.splitlines():
        if line.startswith("| `"):
            left, right = re.split(r"(?<!\\)\|", line)[1:3]
            found += [(word.replace("\\|", "|"), right.strip()) for word in re.findall(r"`([^`]+)`", left)]
    return found


def pattern(word: str) -> re.Pattern[str]:
    """A word as a whole: ``mates`` is not in ``estimates``."""
    before, after = (r"(?<!\w)" if re.match(r"\w", word) else ""), (r"(?!\w)" if re.search(r"\w$", word) else "")
    return re.compile(before + re.escape(word) + after)


def in_python(source: str) -> Iterator[tuple[int, str]]:
    """The prose of a module: string literals of more than one word, and its comments, each with its line."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.value
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def in_markdown(text: str) -> Iterator[tuple[int, str]]:
    """The paragraphs of a page, each with its first line, so that a phrase may run over the end of a line."""
    line = 1
    for paragraph in text.split("\n\n"):
        yield line, paragraph
        line += paragraph.count("\n") + 2


def helps(group: Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """The help text of every command."""
    yield " ".join(("lambda-star", *path)), CliRunner().invoke(main, [*path, "--help"]).output
    for name, command in group.commands.items():
        if isinstance(command, Group):
            yield from helps(command, (*path, name))
        else:
            yield f"lambda-star {' '.join((*path, name))}", CliRunner().invoke(main, [*path, name, "--help"]).output


@cache
def prose() -> list[tuple[str, str]]:
    """Every text that a person may read, with the place where it stands; white space is one space."""
    found = []
    for path in sorted((ROOT / "lambda_star").rglob("*.py")):
        name = path.relative_to(ROOT)
        found += [(f"{name}:{line}", text) for line, text in in_python(path.read_text(encoding="utf-8"))]
    for path in PAGES:
        name, text = path.relative_to(ROOT), path.read_text(encoding="utf-8")
        text = text.partition(HEADING)[0] if path == GLOSSARY else text
        found += [(f"{name}:{line}", paragraph) for line, paragraph in in_markdown(text)]
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        texts = [(at, "".join(cell["source"])) for at, cell in enumerate(cells) if cell["cell_type"] == "markdown"]
        found += [(f"{path.relative_to(ROOT)}, cell {at}", text) for at, text in texts]
    found += [(f"{name} --help", text) for name, text in helps(main)]
    return [(place, re.sub(r"\s+", " ", text)) for place, text in found]


@pytest.mark.slow
@pytest.mark.parametrize(("word", "now"), retired(), ids=[word for word, _ in retired()])
def test_no_retired_word_is_used(word: str, now: str) -> None:
    places = [place for place, text in prose() if pattern(word).search(text)]
    assert not places, f"{word!r} is retired; write {now}:\n" + "\n".join(places)


def test_the_search_sees_what_it_should() -> None:
    words = dict(retired())
    assert {"with_rest", "modal | rest", "collapses at once", "is no float"} <= words.keys()
    text = 'def f():\n    """Bound a value\n    from a floor."""\n    raise ValueError("no ceiling here")  # the rest\n'
    found = {word for word in words for _, piece in in_python(text) if pattern(word).search(piece)}
    assert found == {"floor", "ceiling", "the rest"}
    assert not pattern("mates").search("estimates")
    assert any(place.startswith("lambda-star calibrate") for place, _ in prose())
    assert any(place.startswith("notebooks/") for place, _ in prose())
