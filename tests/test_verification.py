"""The page of figures holds what its files hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import mutation, properties, verification


def test_the_page_is_what_the_files_say() -> None:
    page = verification.PAGE.read_text(encoding="utf-8")
    assert verification.filled(page) == page
    assert {block[1] for block in verification.BLOCK.finditer(page)} == verification.BLOCKS.keys()


def test_figures_of_a_file_reach_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "FOLDER", tmp_path)
    page = "<!-- figures: checks -->\n\nold\n\n<!-- end of figures -->"
    assert "old" not in verification.filled(page)
    assert "| not run yet |" in verification.filled(page)
    found = {"command": "make x", "date": "2026-01-02", "figure": "12 of 12 | held"}
    (tmp_path / "kills.json").write_text(json.dumps(found), encoding="utf-8")
    assert "| 12 of 12 \\| held | 2026-01-02 | `make x` |" in verification.filled(page)


def test_every_law_is_found_and_belongs_to_a_module() -> None:
    laws = properties.laws()
    assert len(laws) == len(set(laws)) > 250
    assert {*properties.FIRST} <= {properties.module(law) for law in laws}
    assert [properties.module(law) for law in laws[: len(properties.FIRST)]] == list(properties.FIRST)


def test_a_law_runs_again_when_its_file_is_changed() -> None:
    law = properties.laws()[0]
    known = {"state": properties.state(law), "asked": 500}
    assert list(properties.pending([law], {law: known}, 500)) == []
    assert list(properties.pending([law], {law: known}, 501)) == [law]
    assert list(properties.pending([law], {law: known | {"state": "another"}}, 500)) == [law]
    assert properties.laws() == list(properties.pending([], {}, 1))


def test_places_inside_annotations_are_not_mutated() -> None:
    source = "def f(x: int | None = 1 | 2) -> int | str:\n    y: int | str = x | 3\n    return y"
    places = mutation.annotated(source)
    bars = [
        (line, column) for line, text in enumerate(source.split("\n"), 1) for column, c in enumerate(text) if c == "|"
    ]
    assert [place in places for place in bars] == [True, False, True, True, False]


def test_every_module_of_the_core_has_tests_that_judge_its_mutants() -> None:
    modules = mutation.modules(())
    assert {"bernoulli/formulas", "calibration/statistics", "sequence", "contract/schema"} <= set(modules)
    for module in modules:
        assert all((mutation.ROOT / path).exists() for path in mutation.tests(module))


@pytest.mark.slow
def test_a_false_derivation_that_is_accepted_is_named() -> None:
    from benchmarks import proved

    known = {"none": proved.derivations()["none"], "threshold": proved.derivations()["threshold"]}
    made = {"result": proved.ALWAYS["result"], "nothing": lambda one: one}
    assert proved.accepted(known, made) == (4, ["none, nothing", "threshold, nothing"])
    assert proved.moved(known)[1] == []
