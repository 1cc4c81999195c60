"""Every notebook runs from top to bottom, its assertions hold, and it shows what is committed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
pytestmark = pytest.mark.slow


def printed(notebook: Any) -> list[str]:
    """The text that each cell prints, however it came in, without pictures, whose bytes differ between machines.

    Standard error stays out: a library's first import on a new machine may write there.
    """
    cells = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
    return ["".join(output.text for output in outputs if output.get("name") == "stdout") for outputs in cells]


def sources(path: Path) -> list[str]:
    """The source of every code cell."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def test_notebooks_share_one_style() -> None:
    cells = {source for path in NOTEBOOKS for source in sources(path) if "rcParams" in source}
    assert len(cells) == 1


def test_notebooks_run_assert_and_print_what_is_committed() -> None:
    """One process runs them all, one after another with no name of the last, so that libraries are imported once."""
    from nbclient import NotebookClient  # here, because its grammar of addresses takes two seconds to compile
    from nbformat import v4

    committed, fresh = ({path.stem: v4.reads(path.read_text(encoding="utf-8")) for path in NOTEBOOKS} for _ in range(2))
    for path in NOTEBOOKS:
        assert any("assert " in source for source in sources(path)), path
    cells = [cell for notebook in fresh.values() for cell in (*notebook.cells, v4.new_code_cell("%reset -f"))]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    whole = v4.new_notebook(cells=cells)
    NotebookClient(whole, timeout=300, resources={"metadata": {"path": str(FOLDER)}}).execute()
    for name, notebook in fresh.items():
        assert printed(notebook) == printed(committed[name]), name
        assert not [output for output in printed(notebook) if "Traceback" in output], name
