"""The page of figures holds what its files hold."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import mutants, mutation, properties, verification


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


def test_a_law_runs_again_when_it_is_changed() -> None:
    law = properties.laws()[0]
    assert properties.law_of(f"{law}[0.5-1]") == law
    known = {"state": properties.state(law), "asked": 500}
    assert list(properties.pending([law], {law: known}, 500)) == []
    assert list(properties.pending([law], {law: known}, 501)) == [law]
    assert list(properties.pending([law], {law: known | {"state": "another"}}, 500)) == [law]
    assert properties.laws() == list(properties.pending([], {}, 1))


def test_places_inside_annotations_are_not_mutated() -> None:
    source = "def f(x: int | None = 1 | 2) -> int | str:\n    y: int | str = x | 3\n    return y"
    places = mutants.annotated(source)
    bars = [
        (line, column) for line, text in enumerate(source.split("\n"), 1) for column, c in enumerate(text) if c == "|"
    ]
    assert [place in places for place in bars] == [True, False, True, True, False]


def test_a_mutant_meets_the_tests_that_run_its_statement(monkeypatch: pytest.MonkeyPatch) -> None:
    source = "A = 1\n@f(\n    2)\ndef g(x=3):\n    if x > (\n        4):\n        return 5\n    return h(\n        6)"
    spans = [mutants.reach(source, line) for line in range(1, 10)]
    assert spans == [None, None, None, None, range(5, 7), range(5, 7), range(7, 8), range(8, 10), range(8, 10)]
    monkeypatch.setattr(mutants, "state", lambda _: "now")
    lines = {"slow": ("now", [5]), "quick": ("now", [5, 8]), "other": ("now", [8]), "before": ("then", [1])}
    seconds = {"slow": 2.0, "quick": 0.5, "other": 0.1, "before": 1.0, "elsewhere": 0.2}
    found = {name: {"seconds": seconds[name], "lines": {"m": lines[name]} if name in lines else {}} for name in seconds}

    def chosen(span: range | None, limit: float = 9.0, **kills: int) -> list[str]:
        return list(mutants.choose("m", span, found, Counter(kills), limit))

    assert chosen(range(5, 7)) == ["quick", "before", "slow"]
    assert chosen(range(5, 7), slow=5) == ["slow", "quick", "before"]
    assert chosen(range(5, 7), 1.5) == ["quick", "before"]
    assert chosen(None) == ["other", "quick", "before", "slow", "elsewhere"]


def test_the_first_judgement_of_a_mutant_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutation, "JUDGED", tmp_path)
    monkeypatch.setattr(mutants, "state", lambda _: "now")
    lines = [("then", 1, "test"), ("now", 1, ""), ("now", 2, "test"), ("now", 3, None), ("now", 1, "test")]
    records = [{"state": at, "mutant": ["Operator", number], "killed": killed} for at, number, killed in lines]
    mutation.session("m").write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    assert [(one["first"], one["killed"]) for one in mutation.results("m").values()] == [
        (False, "test"),
        (True, "test"),
        (True, None),
    ]


def test_the_share_of_killed_mutants_leaves_out_those_with_a_reason() -> None:
    counts = {"mutants": 90, "judged": 60, "first": 57, "killed": 58}
    survivors = [{"module": "m", "line": 1, "before": "a", "after": "b", "reason": why} for why in ("equivalent", "")]
    found = {"tool": "Tool", "date": "2026-01-02", "modules": {"m": counts}, "survivors": survivors}
    shown = verification._mutants(found)
    assert "| `m` | 90 | 60 | 57 | 58 | 1 | 1 | 98.3% | 89.7% |" in shown
    assert "| together | 90 | 60 | 57 | 58 | 1 | 1 | 98.3% | 89.7% |" in shown


def test_every_module_of_the_core_has_tests_that_judge_its_mutants() -> None:
    modules = mutants.modules(())
    assert {"bernoulli/formulas", "calibration/statistics", "sequence", "contract/schema"} <= set(modules)
    for module in modules:
        assert all((mutants.ROOT / path).exists() for path in mutants.TESTS[mutants.part_of(module)])


@pytest.mark.slow
def test_a_false_derivation_that_is_accepted_is_named() -> None:
    from benchmarks import proved

    known = {"none": proved.derivations()["none"], "threshold": proved.derivations()["threshold"]}
    made = {"result": proved.ALWAYS["result"], "nothing": lambda one: one}
    assert proved.accepted(known, made) == (4, ["none, nothing", "threshold, nothing"])
    assert proved.moved(known)[2] == []
