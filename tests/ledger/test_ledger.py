"""The ledger: its numbers are computed, its commands show them, and it covers every claim of the README."""

from __future__ import annotations

import json
import math
import re
import shlex
from functools import cache
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result
from matplotlib.patches import Rectangle

from benchmarks import ledger as page
from lambda_star import ledger
from lambda_star.cli import main
from lambda_star.ledger.checks import CHECKS, FIGURES, compute
from lambda_star.ledger.claims import FILE, holds, interval
from lambda_star.plotting import plot_ledger

ROOT = Path(__file__).parent.parent.parent
CLAIMS = ledger.read()
SHOWN = [claim for claim in CLAIMS if claim.shows and not claim.costly]

NO_CLAIMS = {
    "On-policy distillation trains a student",
    "What happens past λ* depends on what your trainer bounds",
    "`lambda-star updates --p 0.999 --b 0.5` prints the map",
    "Here p is the teacher's probability",
    "A small language model, SmolLM2-135M-Instruct",
    "The demo reads",
    "at every prefix the student of converged training follows from teacher and base",
}
"""Sentences of the README that define or announce something, by how they begin or what they hold."""


@cache
def entries() -> dict[str, ledger.Entry]:
    return {entry.claim.id: entry for entry in ledger.judge(CLAIMS, ROOT)}


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


@pytest.fixture(autouse=True)
def at_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("name", [claim.id for claim in CLAIMS])
def test_a_claim_stands_as_the_ledger_says(name: str) -> None:
    entry = entries()[name]
    assert (entry.standing, entry.missing) == (entry.claim.standing, "")
    assert entry.finding.endswith(".")
    assert "unknown" not in entry.finding + entry.numbers
    assert entry.claim.shows or entry.standing == "out of reach"
    assert set(entry.claim.lambdas) <= set(entry.claim.claimed)


@pytest.mark.parametrize("command", sorted({claim.shows for claim in SHOWN}))
def test_the_command_shows_what_was_found(command: str) -> None:
    program, *arguments = shlex.split(command)
    assert program == "lambda-star"
    result = run(*arguments)
    assert result.exit_code in {0, 1, 3}, result.output
    for claim in SHOWN:
        if claim.shows == command:
            assert entries()[claim.id].filled(claim.prints) in result.stdout, claim.id


def test_what_the_commands_show_is_computed() -> None:
    typed = [claim.id for claim in SHOWN if claim.claimed and "{" not in claim.prints]
    assert len(typed) <= len([claim for claim in SHOWN if claim.claimed]) / 5, typed


def sentences() -> list[str]:
    """The sentences of the README that may claim something: all prose but instructions and links."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Where to go next")[0]
    text = re.sub(
        r"```.*?```|\$\$.*?\$\$|<!--.*?-->|^!\[[^\n]*$|^#[^\n]*$", "\n\n", text, flags=re.DOTALL | re.MULTILINE
    )
    blocks = [
        re.sub(r"\s+", " ", block).replace("\\", "") for block in re.split(r"\n\s*\n|^\d\. ", text, flags=re.MULTILINE)
    ]
    found = [
        part.strip(" :")
        for block in blocks
        for part in re.split(r"(?<=[\w%)\]*`][.:;])(?<!\b[A-Z]\.) (?=[A-Z\[`λ]|at every)", block)
    ]
    return [
        part
        for part in found
        if part and not part.startswith(("With your own models", "What vLLM", "`lambda-star calibrate"))
    ]


def test_every_sentence_of_the_readme_that_claims_something_is_quoted() -> None:
    quotes = [quote for claim in CLAIMS for quote in claim.quote]
    for sentence in sentences():
        known = any(quote in sentence for quote in quotes) or any(each in sentence for each in NO_CLAIMS)
        assert known, f"the ledger lacks a claim that quotes: {sentence!r}"


def test_every_quote_stands_in_the_readme() -> None:
    text = " ".join(sentences())
    for quote in [quote for claim in CLAIMS for quote in claim.quote] + sorted(NO_CLAIMS):
        assert quote in text, quote


def test_a_sentence_without_an_entry_is_found() -> None:
    assert sum("15" in sentence or "fifteen" in sentence for sentence in sentences()) >= 1
    assert len(sentences()) > 20


def test_the_page_holds_the_tables() -> None:
    (tables,) = page.TABLES.findall(page.PAGE.read_text(encoding="utf-8"))
    assert tables == page.tables(list(entries().values())), "write the page anew with `python -m benchmarks.ledger`"
    assert list(dict.fromkeys(entry.standing for entry in entries().values())) == list(ledger.STANDINGS)


def test_a_result_that_changes_is_found_out(tmp_path: Path) -> None:
    data = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    (row,) = (row for row in data["claims"] if row["id"] == "opd-project-threshold")
    row["claimed"] = {"star": "1.233"}
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump({"sources": data["sources"], "claims": [row]}), encoding="utf-8")
    (entry,) = ledger.judge(ledger.read(path))
    assert (entry.claim.standing, entry.standing) == ("contradicts", "agrees")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"known": "surely"}, "known must be one of seen, reported"),
        ({"by": "nobody"}, "by must be one of codes, gopd"),
        ({"standing": "fine"}, "standing must be one of contradicts"),
        ({"colour": "red"}, "colour must be there if it is one of"),
        ({"claimed": {"star": 10}}, "claimed must say as text"),
        ({"claimed": {"moon": "10"}}, "claimed must say as text"),
    ],
)
def test_a_faulty_entry_is_named(tmp_path: Path, change: dict[str, object], said: str) -> None:
    data = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    (row,) = (row for row in data["claims"] if row["id"] == "opd-project-threshold")
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump({**data, "claims": [row | change]}), encoding="utf-8")
    with pytest.raises(ValueError, match=f"opd-project-threshold.*{said}"):
        ledger.read(path)


@pytest.mark.parametrize("text", ["", "claims: 3", "- a\n- b", "sources: {}\nclaims: [1]", "{", "claims: []"])
def test_a_file_of_another_form_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "claims.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="must hold sources and claims as YAML"):
        ledger.read(path)


def test_one_claim_has_one_name(tmp_path: Path) -> None:
    data = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump({**data, "claims": 2 * data["claims"][:1]}), encoding="utf-8")
    with pytest.raises(ValueError, match="id must name one claim"):
        ledger.read(path)


@pytest.mark.parametrize(
    ("claimed", "inside", "outside"),
    [
        ("1.22", (1.215, 1.2249), (1.2149, 1.2251, math.nan, math.inf)),
        ("15", (15, 14.6), (14.4, 15.6)),
        ("4.2 %", (0.0415, 0.0425), (0.041, 0.043)),
        ("-4 %", (-0.035, -0.045), (-0.034, 0.04)),
        ("6.6e-4", (6.55e-4, 6.63e-4), (6.4e-4, 6.7e-4)),
        ("1.18 to 1.28", (1.18, 1.28), (1.179, 1.281, math.nan)),
        ("at most 1.15", (1.15, -math.inf), (1.151, math.nan)),
        ("at least 0", (0, math.inf), (-0.1, math.nan)),
        ("above 1.25", (1.26, math.inf), (1.25, math.nan)),
        ("below 0", (-1,), (0, math.nan)),
        ("never", (math.inf,), (1e9, math.nan)),
        ("=other", (2.0,), (2.1,)),
        ("below =other", (1.0,), (2.0, math.nan)),
        ("yes", (True,), (False,)),
        ("none()", ("none()",), ("ppo()",)),
    ],
)
def test_a_claimed_number_stands_for_all_that_round_to_it(
    claimed: str, inside: tuple[object, ...], outside: tuple[object, ...]
) -> None:
    assert [holds(claimed, value, {"other": 2.0}) for value in inside] == [True] * len(inside)
    assert [holds(claimed, value, {"other": 2.0}) for value in outside] == [False] * len(outside)


def test_what_is_no_number_is_refused_beside_one() -> None:
    with pytest.raises(ValueError, match="claimed must be a number"):
        interval("about three")


def test_only_listed_functions_can_be_named() -> None:
    with pytest.raises(ValueError, match="star must be one of budget_threshold"):
        compute({"star": {"__import__": {"name": "os"}}}, ROOT)
    used = {name for claim in CLAIMS for spec in claim.values.values() for name in spec}
    assert used == {*CHECKS, *FIGURES}


def test_figures_come_from_the_files(tmp_path: Path) -> None:
    for name, value in (("a", 1.5), ("b", 2.5), ("c", None)):
        (tmp_path / f"{name}.json").write_text(json.dumps({"rule": name, "seen": {"onset": [value]}}), encoding="utf-8")
    of = {"files": "*.json", "at": "seen.onset.0"}
    takes = {take: {"figure": {**of, "take": take}} for take in ("len", "min", "max", "sum", "mean", "median", "only")}
    found = compute({**takes, "b": {"figure": {**of, "where": {"rule": "b"}}}}, tmp_path)
    assert math.isnan(found.pop("only"))
    assert found == {"len": 2, "min": 1.5, "max": 2.5, "sum": 4.0, "mean": 2.0, "median": 2.0, "b": 2.5}
    none = compute({"n": {"figure": {**of, "take": "len", "where": {"rule": "d"}}}}, tmp_path)
    assert none == {"n": 0}


def test_a_result_that_was_touched_is_refused(tmp_path: Path) -> None:
    record = json.loads((ROOT / "results/cliff/short-3.json").read_text(encoding="utf-8"))
    record["prediction"]["onset"] = 1.0
    (tmp_path / "run.json").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(ValueError, match=r"run\.json must hold"):
        compute({"n": {"figure": {"files": "*.json", "take": "len"}}}, tmp_path)


def test_the_command_prints_contradictions_first_and_ends_well() -> None:
    result = run("ledger")
    assert result.exit_code == 0, result.output
    heads = re.findall(r"^(\w[\w ]+): (\d+)$", result.stdout, flags=re.MULTILINE)
    assert [head.lower() for head, _ in heads] == list(ledger.STANDINGS)
    assert sum(int(count) for _, count in heads) == len(CLAIMS)


def test_claims_can_be_chosen() -> None:
    some = run("ledger", "--standing", "contradicts", "--by", "paper").stdout
    assert "paper-collapse" in some
    assert "opd-project" not in some
    whole = run("ledger", "paper-collapse").stdout
    assert "shown by" in whole
    assert "lambda-star updates" in whole
    refused = run("ledger", "no-such-claim")
    assert refused.exit_code == 2
    assert "CLAIMS must be one of" in refused.output
    assert "--by must be one of" in run("ledger", "--by", "nobody").output
    assert run("ledger", "--standing", "agrees", "--by", "ropd").stdout.strip().startswith("0 claims")


def test_outside_of_a_clone_the_rest_is_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("ledger")
    assert result.exit_code == 3
    assert "ours-fifteen: not computed outside of a clone of the repository" in result.stderr
    assert run("ledger", "paper-formula").exit_code == 0
    assert "unknown of unknown" in run("ledger", "ours-fifteen").stdout


def test_a_ledger_that_is_out_of_date_ends_with_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lambda_star.ledger.claims.holds", lambda *_: False)
    monkeypatch.setattr("lambda_star.ledger.entries.holds", lambda *_: False)
    result = run("ledger", "paper-formula")
    assert result.exit_code == 1
    assert "paper-formula: contradicts, where the ledger says agrees" in result.stderr


def test_the_picture_shows_every_claim_and_every_lambda() -> None:
    left, right = plot_ledger(list(entries().values())).axes
    assert sum(cast(Rectangle, bar).get_width() for bar in left.patches) == len(CLAIMS)
    labels = [label.get_text() for label in right.get_yticklabels()]
    drawn = [claim for claim in CLAIMS if claim.lambdas]
    assert {label.partition(",")[0] for label in labels} == {claim.id for claim in drawn}
    assert len(labels) == sum(len(claim.lambdas) for claim in drawn)
    lines = [np.asarray(line.get_xydata()) for line in right.lines if line.get_marker() == "D"]
    points = np.concatenate([line for line in lines if line.size])
    assert points[points[:, 1] == labels.index("paper-onset"), 0] == pytest.approx([1.22], abs=1e-6)
    assert plot_ledger([]).axes


def test_nothing_of_a_workplace_is_in_the_ledger() -> None:
    text = FILE.read_text(encoding="utf-8") + page.PAGE.read_text(encoding="utf-8")
    assert not re.search(r"shared/|/work|issue 18|session", text)
