"""What ``calibrate`` reads, writes and keeps beside what it prints."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from lambda_star import calibrate, decide, read_table, updates
from lambda_star.calibration import forms, large
from lambda_star.cli import main
from lambda_star.plotting import report_pictures
from tests import tables
from tests.cli.test_cli import invoke, judged, refused, verdict_of, words

EXAMPLE = Path(__file__).parents[2] / "examples" / "rank_by_price"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that commands run in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def halves() -> list[list[tables.Row]]:
    made = tables.rows(60)
    return [[row for row in made if int(row["sequence"].split()[1]) % 2 == side] for side in (0, 1)]


def without_source(output: str) -> str:
    return re.sub(r"^\S.*: (?=\d+ contract positions)", "", words(output))


def test_files_globs_folders_and_standard_input_are_read_as_one(folder: Path) -> None:
    whole = tables.write_csv(folder / "whole.csv", tables.rows(60))
    (folder / "parts").mkdir()
    for name, rows in zip(("one.csv", "two.csv"), halves(), strict=True):
        tables.write_csv(folder / "parts" / name, rows)
    packed = folder / "whole.csv.gz"
    packed.write_bytes(gzip.compress(whole.read_bytes()))
    expected = re.sub(r"\S+: (?=\d+ contract)", "", judged("calibrate", "whole.csv", "--all"))
    for files in (["parts/one.csv", "parts/two.csv"], ["parts/*.csv"], ["parts"], ["whole.csv.gz"]):
        found = re.sub(r"\S+(, \S+)?: (?=\d+ contract)", "", judged("calibrate", *files, "--all"))
        assert words(found) == words(expected)
    piped = CliRunner().invoke(main, ["calibrate", "-", "--all"], input=whole.read_bytes())
    assert words(re.sub(r"\S[^\n]*: (?=\d+ contract)", "", piped.stdout)) == words(expected)


def test_the_example_goes_from_the_output_of_an_engine_to_a_verdict(folder: Path) -> None:
    sides = {name: EXAMPLE / f"vllm_{name}.jsonl.gz" for name in ("teacher", "base")}
    options = [word for name, path in sides.items() for word in (f"--{name}", path)]
    output = judged("calibrate", *options, "--rule", "trl", "--lam", 1.25, "--html", "report.html")
    table = read_table(teacher=sides["teacher"], base=sides["base"])
    report = calibrate(table, rule=updates.none(), lam=1.25)
    assert verdict_of(output) == str(decide(report, lam=1.25))
    assert ", joined by name: 2180 contract positions of 360 answers used" in words(output)
    assert len(output.splitlines()) <= 24
    assert (folder / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>\n")


def test_documents_are_those_of_the_library(folder: Path) -> None:
    path = tables.write_csv(folder / "rows.csv", tables.with_top(tables.rows(60)))
    output = judged("calibrate", path, "--lam", 1.3, "--markdown", "report.md", "--html", "report.html")
    assert output.endswith("wrote report.md\nwrote report.html\n")
    report = calibrate(read_table(path), lam=1.3)
    verdict = decide(report, lam=1.3)
    written = {name: (folder / name).read_text(encoding="utf-8") for name in ("report.md", "report.html")}
    assert written["report.md"] == forms.markdown(report, verdict)
    assert written["report.html"] == forms.html(report, verdict, report_pictures(report))
    judged("calibrate", path, "--markdown", "report.md", "--html", "report.html")  # written again without --force
    for name in written:
        (folder / name).write_text("mine", encoding="utf-8")
        option = f"--{name.split('.')[1].replace('md', 'markdown')}"
        assert "so it stays" in refused("calibrate", path, option, name)
        judged("calibrate", path, option, name, "--force")


def test_documents_go_to_standard_output_alone(folder: Path) -> None:
    tables.write_csv(folder / "rows.csv", tables.rows(60))
    result = invoke("calibrate", "rows.csv", "--markdown", "-")
    assert result.stdout.startswith("<!-- Written by `lambda-star calibrate` -->\n# Calibration of rows.csv\n")
    assert result.stderr.startswith("SAFE λ = ")
    assert invoke("calibrate", "rows.csv", "--html", "-").stdout.endswith("</html>\n")


def test_the_policy_of_a_page_allows_its_own_script_alone(folder: Path) -> None:
    tables.write_csv(folder / "rows.csv", tables.rows(60))
    page = invoke("calibrate", "rows.csv", "--html", "-").stdout
    (script,) = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    (allowed,) = re.findall(r"script-src '(.*?)'", page)
    assert allowed == f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"
    assert "default-src 'none'" in page
    assert "&" not in allowed


def test_a_run_that_was_stopped_goes_on_from_its_state(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables.write_csv(folder / "rows.csv", tables.rows(60))
    expected = judged("calibrate", "rows.csv", "--all")
    assert "state must be" in refused("calibrate", "-", "--state", "run.state")
    assert "--resume needs --state" in refused("calibrate", "rows.csv", "--resume")
    with monkeypatch.context() as patched:

        def stop(*_: Any, **__: Any) -> None:
            raise KeyboardInterrupt

        patched.setattr(large, "calibrate_files", stop)
        said = "what has been read is in run.state, and the same command with --resume goes on from there"
        done = invoke("calibrate", "rows.csv", "--state", "run.state")
        assert (done.exit_code, done.stderr) == (130, f"Error: stopped; {said}\n")
        done = invoke("calibrate", "rows.csv")
        assert (done.exit_code, done.stderr) == (130, "Error: stopped\n")
    assert judged("calibrate", "rows.csv", "--all", "--state", "run.state") == expected
    assert "go on from it with --resume" in refused("calibrate", "rows.csv", "--state", "run.state")
    assert judged("calibrate", "rows.csv", "--all", "--state", "run.state", "--resume") == expected


def test_rows_whose_b_is_only_bounded_are_said_and_an_assumption_narrows_them(folder: Path) -> None:
    rows = [row | {"log_b_low": "-inf" if row["sequence"] == "answer 2" else row["log_b"]} for row in tables.rows(60)]
    path = tables.write_csv(folder / "rows.csv", rows)
    output = words(judged("calibrate", path))
    assert re.search(
        r"censored 4 rows b is known only to be below a bound, so the operating point lies between 1 and ", output
    )
    assert "ask the engine for more top log-probabilities of the base, or say with --least-b" in output
    assumed = words(judged("calibrate", path, "--least-b", 0.5))
    assert "assumed: the base gives 0.5 at least to a token that it does not list" in assumed
    ends = [float(re.search(r"operating point ([\d.]+) ", text)[1]) for text in (output, assumed)]  # type: ignore[index]
    assert ends[0] < ends[1]


def test_the_bad_rows_beyond_the_first_are_printed_when_asked(folder: Path) -> None:
    rows = tables.rows(60) + [row | {"log_p": 1.0, "sequence": f"bad {at}"} for at, row in enumerate(tables.rows(1))]
    path = tables.write_csv(folder / "rows.csv", rows)
    few, everything = (judged("calibrate", path, "--keep-going", *options) for options in ([], ["--all"]))
    assert few.count("log_p is 1, above 0") == 3
    assert everything.count("log_p is 1, above 0") == 7
    assert "  7 rows not used: bad row\n" in few


def test_json_of_an_older_version_is_refused_with_the_reason(folder: Path) -> None:
    tables.write_csv(folder / "rows.csv", tables.rows(60))
    judged("calibrate", "rows.csv", "--json", "report.json")
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert report["schema"] == "lambda-star/calibrate/2"
    assert invoke("decide", "report.json", "--lam", 1.1).exit_code == 0
    (folder / "report.json").write_text(json.dumps(report | {"schema": "lambda-star/calibrate/1"}), encoding="utf-8")
    for command in (["decide", "report.json", "--lam", 1.1], ["lint-config", "report.json", "--report", "report.json"]):
        result = invoke(*command)
        assert result.exit_code == 2
        assert "version 1 came from a bootstrap" in words(result.stderr)
