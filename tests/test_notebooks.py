"""Every notebook runs from top to bottom, its assertions hold, and it shows what is committed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
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


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_asserts_and_prints_what_is_committed(path: Path) -> None:
    from nbclient import NotebookClient  # here, because its grammar of addresses takes two seconds to compile
    from nbformat import v4

    committed, fresh = (v4.reads(path.read_text(encoding="utf-8")) for _ in range(2))
    assert any("assert " in source for source in sources(path))
    NotebookClient(fresh, timeout=300, resources={"metadata": {"path": str(path.parent)}}).execute()
    assert printed(fresh) == printed(committed)
    assert not [output for output in printed(fresh) if "Traceback" in output]
