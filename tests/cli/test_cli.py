"""The command teaches, prints what the API computes, and meets every error with one message and exit code 2."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

import lambda_star
from lambda_star import decide, dynamics, plotting, updates
from lambda_star._core.files import MARK
from lambda_star.calibration import calibrate
from lambda_star.calibration.readers import read_table
from lambda_star.calibration.report import Report
from lambda_star.cli import main
from lambda_star.cliff import presets
from lambda_star.cliff import run as experiment
from tests import tables
from tests.tables import Row, one

SCRIPT = Path(sys.executable).parent / "lambda-star"
PUBLISHED = ("threshold", "--p", 0.99933697778, "--b", 0.5, "--clip", 5)
SAVED: dict[str, Any] = {"dpi": 150, "metadata": {"Software": MARK}}
SIGNATURES = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml", "": b"\x89PNG"}


def invoke(*arguments: object, **environment: str) -> Result:
    """Run the command in this process; no exception but an exit code leaves it."""
    result = CliRunner(env=environment).invoke(main, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    return result


def printed(*arguments: object, **environment: str) -> str:
    result = invoke(*arguments, **environment)
    assert result.exit_code == 0, result.output
    return result.stdout


def judged(*arguments: object, **environment: str) -> str:
    """What a command prints, whose exit status is that of its verdict, the first line of ``calibrate`` or the last."""
    result = invoke(*arguments, **environment)
    status = {"SAFE": 0, "UNSAFE": 1, "UNKNOWN": 3}
    line = result.stdout.splitlines()[0 if arguments[0] == "calibrate" else -1]
    assert result.exit_code == status[re.split("[ :]", line)[0]], result.output
    return result.stdout


def verdict_of(output: str) -> str:
    """The verdict that ``calibrate`` prints, in one line."""
    return words(output.split("\n\n", maxsplit=1)[0])


def refused(*arguments: object) -> str:
    """The one message of a refusal."""
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    return result.stderr


def script(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the installed command in a process of its own."""
    environment = os.environ | {"PYTHONIOENCODING": "utf-8"} | options.pop("env", {})
    command = [str(argument) for argument in (SCRIPT, *arguments)]
    return subprocess.run(command, env=environment, encoding="utf-8", stderr=subprocess.PIPE, check=False, **options)


def row_of(output: str, name: str) -> str:
    """What a printed table says behind a name."""
    (found,) = re.findall(rf"^{re.escape(name)}  +(.*?) *$", output, flags=re.MULTILINE)
    return str(found)


def number(value: float) -> str:
    return "+inf" if value == float("inf") else f"{value:.6g}"


# Help


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("name", main.commands)
def test_help_describes_every_option(name: str) -> None:
    text = printed(name, "--help")
    for option in main.commands[name].params:
        if isinstance(option, click.Option):
            assert f"{option.opts[0]} " in text
            assert option.help
            assert words(option.help).replace(" ", "") in words(text).replace(" ", "")  # lines may end at a hyphen


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize("name", ["threshold", "calibrate", "plot"])
def test_help_of_a_command_teaches(name: str, flag: str) -> None:
    text = printed(name, flag)
    assert "Example" in text
    assert f"lambda-star {name} " in text


@pytest.mark.parametrize("name", ["threshold", "calibrate"])
def test_help_tells_what_a_clip_is_and_is_not(name: str) -> None:
    text = words(printed(name, "--help"))
    assert "What CLIP means" in text
    assert all(named in text for named in ("verl", "TRL GRPO", "G-OPD", "PPO"))


def test_help_of_the_group_names_the_commands_and_the_subject() -> None:
    for text in (printed("--help"), printed("-h")):
        names = ("threshold", "calibrate", "plot")
        assert all(re.search(rf"^  {name}  ", text, flags=re.MULTILINE) for name in names)
        assert "At lambda* the student's tail" in words(text)
        assert "depends on the update rule" in words(text)


def test_help_of_calibrate_describes_every_column() -> None:
    text = printed("calibrate", "--help")
    assert all(re.search(rf"\b{name}  ", text) for name in ("sequence", "position", "token", "modal", "log_p", "log_b"))
    assert re.search(r"\bcontract  optional", text)
    assert re.search(r"\btop       optional: .* a JSON list of \[token, log_p, log_b\]", text)
    assert re.search(r"\brest      optional, with top: \[least, greatest\] log\(p/b\)", text)


def test_help_of_plot_describes_every_picture_and_whose_an_option_is() -> None:
    text = printed("plot", "--help")
    (choices,) = [each.type for each in main.commands["plot"].params if each.name == "picture"]
    assert isinstance(choices, click.Choice)
    assert list(choices.choices) == ["regimes", "budget", "trajectory", "updates"]
    assert all(re.search(rf"^  {picture}  +\S+ tail mass", text, flags=re.MULTILINE) for picture in choices.choices)
    assert "trajectory: a lambda to draw; repeat for more." in words(text)
    assert "budget, trajectory: natural gradient, or plain policy gradient on the logit." in words(text)


def test_the_examples_of_the_help_of_plot_draw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"^ *lambda-star (plot .*)$", printed("plot", "--help"), flags=re.MULTILINE)
    written = ["regimes.png", "fall.png", "updates.png"]
    assert [printed(*example.split()) for example in examples] == [f"wrote {name}\n" for name in written]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(written)


@pytest.mark.parametrize("name", ["threshold", "calibrate"])
def test_the_example_of_the_help_is_a_valid_command(name: str, tmp_path: Path) -> None:
    example, *_ = re.findall(rf"^ *lambda-star ({name} .*)$", printed(name, "--help"), flags=re.MULTILINE)
    path = tables.write_csv(tmp_path / "rows.csv", tables.rows())
    replaced = {"examples/rank_by_price/logprobs.csv": str(path), "report.png": str(tmp_path / "report.png")}
    assert "λ*" in invoke(*[replaced.get(word, word) for word in example.split()]).stdout


def test_version_is_the_version() -> None:
    assert printed("--version") == f"lambda-star, version {lambda_star.__version__}\n"


# threshold


TRANSCRIPT = (Path(__file__).parent / "transcript.txt").read_text(encoding="utf-8")
COMMANDS = [tuple(text.split("\n", 1)) for text in TRANSCRIPT.split("$ lambda-star ")[1:]]


@pytest.mark.parametrize(("command", "expected"), COMMANDS, ids=[command for command, _ in COMMANDS])
def test_threshold_and_plot_print_the_transcript(
    command: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [line.rstrip() for line in invoke(*command.split()).output.splitlines()]
    assert "\n".join(lines).strip("\n") == expected.strip("\n")


@pytest.mark.parametrize(
    ("option", "value"),
    [("--p", 1.5), ("--b", 0.0), ("--clip", 0.5), ("--lam", "inf"), ("--margin", 1.0), ("--p", "high"), ("--clip", -2)],
)
def test_threshold_refuses_what_is_out_of_range_and_names_the_option(option: str, value: object) -> None:
    values = {"--p": 0.9, "--b": 0.5, "--clip": 5.0, option: value}
    said = refused("threshold", *[word for pair in values.items() for word in pair])
    assert re.search(rf"\b{option.removeprefix('--')}\b", said.split("Error: ")[1])
    assert str(value) in said


def test_missing_and_unknown_options_are_named() -> None:
    assert "Missing option '--clip'" in refused("threshold", "--p", 0.9, "--b", 0.5)
    assert "'cap' names no" not in refused("calibrate", "rows.csv", "--rule", "cap:5")
    assert "log_ratio_cap needs a value of c" in refused("calibrate", "rows.csv", "--rule", "cap")
    assert "'capp' names no training code" in refused("updates", "--rule", "capp")
    for pair in ([], ["--teacher", "rows.csv"], ["--base", "rows.csv"]):
        assert "give FILES that hold both models, or --teacher and --base" in refused("calibrate", "--clip", 5, *pair)
    assert "--lamda" in refused("calibrate", "rows.csv", "--clip", 5, "--lamda", 1.2)
    assert "No such command 'treshold'" in refused("treshold")


# calibrate


GOLDEN = Path(__file__).parent.parent / "golden"
LISTED = [one(answer, 0, -0.1, -0.7, top=[['["', -0.1, -0.7], ["\n", -3.0, -1.0]]) for answer in range(3)]
CENSORED = [
    row | {"log_b_low": -math.inf if row["sequence"] == "answer 2" else row["log_b"]} for row in tables.rows(60)
]
PRINTED: dict[str, tuple[list[Row], list[object]]] = {
    "calibrate": (tables.rows(60), ["--lam", 1.3]),
    "calibrate_few": (tables.rows(30), []),
    "calibrate_rule": (tables.rows(60), ["--rule", "log_ratio_cap:5"]),
    "calibrate_censored": (CENSORED, ["--all"]),
    "calibrate_budget": (tables.rows(), ["--lam", 1.3, "--budget", 3, "--all"]),
    "calibrate_readings": (tables.with_top(tables.rows(), 3), ["--all"]),
    "calibrate_one_listed": (tables.with_top(tables.rows(), 1), ["--margin", 0.3, "--quantile", 0.25, "--all"]),
    "calibrate_without_range": (LISTED, ["--budget", float("inf"), "--all"]),
    "calibrate_no_threshold": ([one(answer, 0, -0.5, -0.4) for answer in range(3)], ["--budget", 3, "--all"]),
}
"""The files in tests/golden, and the rows and options that give them."""


def golden(name: str) -> list[str]:
    return (GOLDEN / f"{name}.txt").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("name", PRINTED)
def test_calibrate_prints_the_report(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows, options = PRINTED[name]
    path = tables.write_csv(Path("rows.csv"), rows)
    output = judged("calibrate", path, "--clip", 5, *options)
    assert [line.rstrip() for line in output.splitlines()] == golden(name)
    if "--all" not in options:
        assert len(output.splitlines()) <= 24
        assert max(map(len, output.splitlines())) <= 100


def test_calibrate_begins_with_the_verdict_on_the_lambda_asked_about(tmp_path: Path) -> None:
    path = tables.write_csv(tmp_path / "rows.csv", tables.rows(300))
    report = calibrate(read_table(path), rule=updates.none())
    low = report.operating_point.value
    for lam, status in ((low, 0), (low + 0.01, 3)):
        result = invoke("calibrate", path, "--rule", "none", "--lam", repr(lam))
        assert result.exit_code == status
        assert verdict_of(result.stdout) == str(decide(report, lam=lam))
    result = invoke("calibrate", path, "--rule", "log_ratio_cap:5", "--lam", 100)
    assert result.exit_code == 1
    assert "past λ* of 3 of 3 classes" in row_of(result.stdout, "λ = 100")
    assert verdict_of(result.stdout).startswith("UNSAFE λ = 100: λ is past the death of the tail: ")
    assert invoke("calibrate", path).exit_code == 0  # a λ can be advised
    few = ("--quantile", 0.01, "--confidence", 0.99)
    assert invoke("calibrate", path, *few).exit_code == 3  # which takes 459 answers


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ([], {}),
        (["--lam", 1.3, "--least-b", 0.01], {"lam": 1.3, "least_b": 0.01}),
        (
            ["--margin", 0.3, "--quantile", 0.2, "--confidence", 0.8],
            {"margin": 0.3, "quantile": 0.2, "confidence": 0.8},
        ),
    ],
)
def test_json_is_the_report(arguments: list[object], options: dict[str, Any], csv_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "report.json"
    output = judged("calibrate", csv_file, "--clip", 5, "--json", path, *arguments)
    assert f"wrote {path}\n" in output
    written = json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)
    report: Report = calibrate(read_table(csv_file), clip=5.0, **options)
    assert written["schema"] == "lambda-star/calibrate/2"
    found = decide(report, lam=report.lam, confidence=report.confidence)
    assert written["verdict"] == json.loads(json.dumps(found.to_dict()))
    assert {key: written[key] for key in report.to_dict()} == json.loads(json.dumps(report.to_dict()))
    assert written["binding"] == report.binding.name


def test_json_of_a_report_without_threshold_is_strict(tmp_path: Path) -> None:
    rows = tables.write_csv(tmp_path / "rows.csv", [one(0, 0, -0.5, -0.4)])
    assert "+inf" in judged("calibrate", rows, "--clip", 5, "--json", tmp_path / "report.json")
    written = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert written["strict"] == "inf"
    assert (written["advised"]["value"], written["advised"]["estimate"]) == (None, "inf")


@pytest.mark.parametrize("suffix", SIGNATURES)
def test_plot_writes_a_picture(suffix: str, csv_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "new" / f"report{suffix}"
    assert f"wrote {path}\n" in judged("calibrate", csv_file, "--clip", 5, "--plot", path)
    assert path.read_bytes().startswith(SIGNATURES[suffix])


def test_plot_refuses_an_unknown_ending(csv_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "report.xyz"
    said = refused("calibrate", csv_file, "--clip", 5, "--plot", path)
    assert said.startswith(f"Error: {path}: ")
    assert "xyz" in said.split(": ", 2)[2]
    assert all(ending in said for ending in ("png", "pdf", "svg"))
    assert not path.exists()


@pytest.mark.parametrize("option", ["--json", "--plot"])
def test_output_that_cannot_be_written_is_refused(option: str, csv_file: Path, tmp_path: Path) -> None:
    behind_a_file = csv_file / "report.png"
    said = refused("calibrate", csv_file, "--clip", 5, option, behind_a_file)
    assert said.startswith(f"Error: {behind_a_file}: ")
    assert said.endswith("give a path that can be written\n")
    assert str(tmp_path) in refused("calibrate", csv_file, "--clip", 5, option, tmp_path)


def test_tokens_are_added_to_a_contract_which_wins_over_the_column(tmp_path: Path) -> None:
    rows = [row | {"contract": "all"} for row in tables.rows()]
    path = tables.write_csv(tmp_path / "rows.csv", rows)
    assert row_of(judged("calibrate", path, "--clip", 5), "binding class").startswith("all ")
    arguments = ["calibrate", path, "--clip", 5, "--json", tmp_path / "report.json"]
    judged(*arguments, "--contract", "json", "--token", " B7")
    written = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    names = {found["name"]: found["positions"] for found in written["classes"]}
    assert names == {'["': 12, '","': 24, '"]': 12, "B7": 12}
    judged(*arguments, "--token", "B7")
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["classes"][0]["name"] == "all"
    said = refused(*arguments, "--contract", '"]')
    assert "'--contract': contract must be one of json, csv, " in said
    assert said.endswith("got '\"]'; single tokens are for --token\n")
    bare = tables.write_csv(tmp_path / "bare.csv", [row for row in tables.rows() if row["modal"] in tables.CONTENT])
    assert "give --contract, or name its tokens with --token\n" in refused("calibrate", bare)


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("clip", "1.0", "x>1"),
        ("clip", "nan", "(1, inf)"),
        ("lam", "inf", "(-inf, inf)"),
        ("margin", "1.0", "0<=x<1"),
        ("quantile", "-0.1", "0<=x<=1"),
        ("confidence", "95.0", "0<x<1"),
        ("least-b", "1.0", "0<=x<1"),
        ("budget", "0.0", "x>0"),
        ("budget", "-2.0", "x>0"),
        ("budget", "nan", "(0, inf]"),
    ],
)
def test_options_out_of_range_are_refused(option: str, value: str, allowed: str, csv_file: Path) -> None:
    values = {"--clip": "5", f"--{option}": value}
    said = refused("calibrate", csv_file, *[word for pair in values.items() for word in pair]).splitlines()[-1]
    assert all(part in said for part in (option, allowed, value))


# A planned budget


@pytest.mark.parametrize(("budget", "expected"), [(None, None), (3.0, 3.0), (float("inf"), "inf")])
def test_json_holds_the_budget_and_its_thresholds(
    budget: float | None, expected: float | str | None, csv_file: Path, tmp_path: Path
) -> None:
    options = [] if budget is None else ["--budget", budget]
    judged("calibrate", csv_file, "--clip", 5, "--json", tmp_path / "report.json", *options)
    written = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert written["budget"] == expected
    by = [each.budget_threshold for each in calibrate(read_table(csv_file), clip=5.0, budget=budget).classes]
    assert [each["budget_threshold"] for each in written["classes"]] == by


def test_a_budget_changes_nothing_in_the_advice(csv_file: Path) -> None:
    without, planned = (judged("calibrate", csv_file, "--clip", 5, *options) for options in ([], ["--budget", 3]))
    assert planned == without


# The three readings


def test_tables_without_listed_tokens_print_no_readings(csv_file: Path, tmp_path: Path) -> None:
    empty = tables.write_csv(tmp_path / "empty.csv", [row | {"top": "", "rest": ""} for row in tables.rows()])
    for path in (csv_file, empty):
        output = judged("calibrate", path, "--clip", 5, "--all")
        assert "readings" not in output
        assert "binding token" not in output


def test_json_holds_the_three_readings(tmp_path: Path) -> None:
    path = tables.write_csv(tmp_path / "rows.csv", tables.with_top(tables.rows()))
    judged("calibrate", path, "--clip", 5, "--json", tmp_path / "report.json")
    written = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    report = calibrate(read_table(path), clip=5.0)
    assert written["readings"] == json.loads(json.dumps(report.to_dict()["readings"]))
    for plain, reading in zip(written["readings"], report.readings, strict=True):
        assert plain["token"] == {"low": reading.token.low, "high": reading.token.high}
        assert plain["use"] == "class"
    assert len(written["readings"]) == 3


def test_a_bad_list_is_refused_with_its_line(tmp_path: Path) -> None:
    made = tables.as_text(tables.with_top(tables.rows()))
    made[2]["top"] = "[1, "
    path = tables.write_csv(tmp_path / "rows.csv", made)
    said = refused("calibrate", path, "--clip", 5)
    assert said.startswith(f"Error: {path}, line 4: top is not a JSON list (")
    assert "--keep-going" in said
    assert "  1 row not used: bad row\n" in judged("calibrate", path, "--clip", 5, "--keep-going")


# plot

POSITION = ("--p", 0.9, "--b", 0.5, "--clip", 2)
NO_CLIFF = (
    "p, b and c must have a cliff, 1 < λ* < λ_c < inf, got λ* = inf and λ_c = inf;"
    " give b < p and a clip above 1 at which the cliff is wider than a float"
)
PICTURES: dict[str, tuple[tuple[object, ...], Callable[[], Any]]] = {
    "regimes": ((), lambda: plotting.plot_regimes(0.9, 0.5, 2.0)),
    "budget": (
        ("--flow", "policy-gradient"),
        lambda: plotting.plot_budget(0.9, 0.5, 2.0, flow="policy-gradient"),
    ),
    "trajectory": (
        ("--lam", 1.3, "--lam", 1.5, "--until", 30, "--flow", "policy-gradient"),
        lambda: plotting.plot_trajectory(0.9, 0.5, 2.0, [1.3, 1.5], flow="policy-gradient", until=30.0),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("picture", PICTURES)
def test_plot_draws_the_picture_of_the_api(picture: str, tmp_path: Path) -> None:
    options, drawn = PICTURES[picture]
    path = tmp_path / "new" / "folder" / "picture.png"
    assert printed("plot", picture, *POSITION, *options, "--out", path) == f"wrote {path}\n"
    drawn().figure.savefig(tmp_path / "expected.png", **SAVED)
    assert path.read_bytes() == (tmp_path / "expected.png").read_bytes()


def test_the_flow_of_a_picture_is_natural_unless_asked_otherwise(tmp_path: Path) -> None:
    path, fall = tmp_path / "picture.png", ("plot", "trajectory", *POSITION, "--lam", 1.5, "--out")
    pictures = []
    for options in ([], ["--flow", "natural"], ["--flow", "policy-gradient"]):
        printed(*fall, path, *options)
        pictures.append(path.read_bytes())
    assert pictures[0] == pictures[1] != pictures[2]


@pytest.mark.parametrize("suffix", SIGNATURES)
def test_the_ending_of_a_picture_is_its_format_and_without_one_it_is_png(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"regimes{suffix}"
    assert printed("plot", "regimes", *POSITION, "--out", path) == f"wrote {path}\n"
    assert path.read_bytes().startswith(SIGNATURES[suffix])


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--p", 1.0, "Invalid value for '--p': 1.0 is not in the range 0<x<1."),
        ("--b", 0.0, "Invalid value for '--b': 0.0 is not in the range 0<x<1."),
        ("--clip", 1.0, "Invalid value for '--clip': 1.0 is not in the range x>1."),
        ("--until", 0.0, "Invalid value for '--until': 0.0 is not in the range x>0."),
        ("--until", -3.0, "Invalid value for '--until': -3.0 is not in the range x>0."),
        ("--flow", "adam", "Invalid value for '--flow': 'adam' is not one of 'natural', 'policy-gradient'."),
        ("--lam", "high", "Invalid value for '--lam': 'high' is not a valid float."),
        ("--lam", "inf", "lams must hold at least one number, all in (-inf, inf), got (inf,)"),
        ("--p", 0.4, NO_CLIFF),
        ("--clip", "inf", NO_CLIFF),
    ],
)
def test_plot_refuses_what_is_out_of_range_and_writes_nothing(
    option: str, value: object, said: str, tmp_path: Path
) -> None:
    values = {"--p": 0.9, "--b": 0.5, "--clip": 2, "--lam": 1.5, option: value, "--out": tmp_path / "picture.png"}
    answer = refused("plot", "trajectory", *[word for pair in values.items() for word in pair])
    assert answer.endswith(f"Error: {said}\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("picture", PICTURES)
def test_every_picture_refuses_a_position_without_a_cliff(picture: str, tmp_path: Path) -> None:
    position = ("--p", 0.5, "--b", 0.5, "--clip", 2, *(("--lam", 1.5) if picture == "trajectory" else ()))
    said = refused("plot", picture, *position, "--out", tmp_path / "picture.png")
    assert said.startswith("Error: p, b and c must have a cliff, ")
    assert list(tmp_path.iterdir()) == []


def test_plot_asks_for_what_it_is_not_given(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    said = refused("plot", "trajectory", *POSITION, "--out", path)
    assert said == "Error: trajectory needs a lambda; give --lam, once or more\n"
    assert refused("plot", "regimes", *POSITION).endswith("Error: Missing option '--out'.\n")
    assert "Missing option '--clip'" in refused("plot", "regimes", *POSITION[:4], "--out", path)
    unknown = refused("plot", "cliff", *POSITION, "--out", path)
    assert "'cliff' is not one of 'regimes', 'budget', 'trajectory', 'updates'." in unknown
    assert "Choose from:" in refused("plot", *POSITION, "--out", path)
    assert list(tmp_path.iterdir()) == []


UPDATES = ("plot", "updates", *POSITION[:4])


@pytest.mark.slow
def test_plot_updates_draws_the_rules_that_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    asked = ("--rule", "gopd", "--rule", "cap:2", "--lam", 1.5)
    assert printed(*UPDATES, *asked, "--out", path) == f"wrote {path}\n"
    rules = [updates.none(), updates.log_ratio_cap(2.0)]
    plotting.plot_updates(0.9, 0.5, 1.5, rules).savefig(tmp_path / "expected.png", **SAVED)
    assert path.read_bytes() == (tmp_path / "expected.png").read_bytes()
    printed(*UPDATES, "--out", path)
    plotting.plot_updates(0.9, 0.5).savefig(tmp_path / "default.png", **SAVED)
    assert path.read_bytes() == (tmp_path / "default.png").read_bytes()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--clip", 5), "updates takes no --clip; give a rule with its value, such as --rule log_ratio_cap:5"),
        (("--lam", 1.2, "--lam", 1.3), "updates draws the forces at one lambda and no time"),
        (("--until", 3), "updates draws the forces at one lambda and no time"),
        (("--lam", -1), "lam must lie in [0, inf), got -1.0"),
        (("--rule", "capp"), "'capp' names no training code"),
    ],
)
def test_plot_updates_refuses_what_it_cannot_draw(options: tuple[object, ...], said: str, tmp_path: Path) -> None:
    assert said in refused(*UPDATES, *options, "--out", tmp_path / "picture.png")
    assert list(tmp_path.iterdir()) == []


def test_a_rule_belongs_to_the_picture_of_rules_and_p_is_above_b(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    said = refused("plot", "regimes", *POSITION, "--rule", "cap:5", "--out", path)
    assert said == "Error: --rule belongs to updates; leave it out for regimes\n"
    said = refused("plot", "updates", "--p", 0.4, "--b", 0.5, "--out", path)
    assert said.startswith("Error: p must lie in (b, 1) = (0.5, 1), got 0.4; ")
    assert list(tmp_path.iterdir()) == []


def test_plot_refuses_a_path_that_cannot_be_written(csv_file: Path, tmp_path: Path) -> None:
    draw = ("plot", "regimes", *POSITION, "--out")
    behind_a_file = csv_file / "picture.png"
    said = refused(*draw, behind_a_file)
    assert said.startswith(f"Error: {behind_a_file}: ")
    assert said.endswith("; give a path that can be written\n")
    assert f"File '{tmp_path}' is a directory" in refused(*draw, tmp_path)
    unknown = refused(*draw, tmp_path / "picture.xyz")
    assert unknown.startswith(f"Error: {tmp_path / 'picture.xyz'}: Format 'xyz' is not supported")
    assert list(tmp_path.iterdir()) == [csv_file]


# Bad files

HEADER = "sequence,position,token,modal,log_p,log_b\n"
GOOD = "0,0,[,[,-0.01,-1\n1,0,[,[,-0.02,-1\n"
BAD_FILES = {
    "broken quote": ("rows.csv", f'{HEADER}{GOOD}2,0,"[,[,-1,-1\n', ", line 4: broken CSV", "quote the field"),
    "too few fields": (
        "rows.csv",
        f"{HEADER}{GOOD}2,0,[,[,-1\n",
        ", line 4: 5 fields",
        "quote fields that contain commas",
    ),
    "broken JSON": ("rows.jsonl", '{"sequence": \n', ", line 1: broken JSON", "write one object per line"),
    "missing column": (
        "rows.csv",
        "sequence,position\n0,0\n",
        ", line 1: there is no column token",
        "the header must name",
    ),
    "above 0": ("rows.csv", f"{HEADER}{GOOD}2,0,[,[,0.5,-1\n", ", line 4: log_p is 0.5, above 0", "natural log-prob"),
    "-inf": ("rows.csv", f"{HEADER}{GOOD}2,0,[,[,-1,-inf\n", ", line 4: log_b is -inf", "score it without top-k"),
    "empty": ("rows.csv", "", ": there are no rows", "write one row per output position"),
    "header only": ("rows.csv", HEADER, ": there are no rows", "write one row per output position"),
    "wrong type": ("rows.parquet", HEADER + GOOD, ": the file is damaged or not a Parquet file", "check the file type"),
}


@pytest.mark.parametrize(("name", "content", "place", "remedy"), BAD_FILES.values(), ids=BAD_FILES)
def test_bad_files_are_refused_with_path_line_and_remedy(
    name: str, content: str, place: str, remedy: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    said = refused("calibrate", path, "--clip", 5)
    assert said.startswith(f"Error: {path}{place}")
    assert remedy in said
    assert said.count("\n") == 1


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.csv", tmp_path):
        assert refused("calibrate", path, "--clip", 5).startswith(f"Error: {path}: ")


def test_keep_going_uses_the_good_rows_and_lists_the_bad_ones(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(f"{HEADER}{GOOD}2,0,[,[,0.5,-1\n\n3,0,x\n4,0,[,[,-0.01,-1\n", encoding="utf-8")
    assert "; correct it, or pass --keep-going to leave bad rows out and list them\n" in refused(
        "calibrate", path, "--clip", 5
    )
    output = judged("calibrate", path, "--clip", 5, "--keep-going", "--json", tmp_path / "report.json")
    assert f"{path}: 3 contract positions of 3 answers used 2 rows not used: bad row " in words(output)
    assert re.findall(r"^    \S+, line (\d+): (\w+)", output, flags=re.MULTILINE) == [("4", "log_p"), ("6", "3")]
    everything = judged("calibrate", path, "--clip", 5, "--keep-going", "--all").split("Rows left out")[1]
    assert re.findall(rf"^{path} +(\d+) +(\w+)", everything, flags=re.MULTILINE) == [("4", "log_p"), ("6", "3")]
    written = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert [problem["line"] for problem in written["problems"]] == [4, 6]
    assert written["used"] == 3


def test_rounded_rows_are_announced(tmp_path: Path) -> None:
    path = tables.write_csv(tmp_path / "rows.csv", [one(answer, 0, 0.0, -1.0) for answer in range(3)])
    said = words(judged("calibrate", path, "--clip", 5))
    assert "Warning: 3 rows with p = 1 (log_p = 0), of which λ* is an upper bound; log more digits." in said


# Terminals and pipes


@pytest.mark.parametrize("columns", ["40", "10"])
def test_a_narrow_terminal_loses_no_figure(columns: str, csv_file: Path) -> None:
    for arguments in ([*PUBLISHED, "--lam", 1.25], ["calibrate", csv_file, "--clip", 5, "--lam", 1.25]):
        narrow = invoke(*arguments, COLUMNS=columns).stdout
        assert narrow == invoke(*arguments).stdout
        assert "…" not in narrow


@pytest.mark.parametrize("length", [60, 150, 400])
def test_a_long_class_name_is_cut_and_loses_no_figure(length: int, tmp_path: Path) -> None:
    rows = [row | {"contract": "long " * (length // 5)} for row in tables.rows()]
    output = judged("calibrate", tables.write_csv(tmp_path / "rows.csv", rows), "--clip", 5, "--all")
    assert re.search(r"^'[long ]+…[long ]+' +84 +12 +\S+ +\S+ +\S+ +\[\S+, \S+\] ", output, flags=re.MULTILINE)
    assert row_of(output, "binding class").startswith("'long ")


def test_tokens_are_printed_as_they_are(tmp_path: Path) -> None:
    for name in ("[bold]", "[/]", ":smile:", "{}", r"\n"):
        rows = [row | {"contract": name} for row in tables.rows()]
        output = judged("calibrate", tables.write_csv(tmp_path / "rows.csv", rows), "--clip", 5)
        assert row_of(output, "binding class").startswith(f"{name} ")


def test_the_installed_command_works_in_a_pipe(csv_file: Path) -> None:
    done = script("calibrate", csv_file, "--clip", 5, "--lam", 1.3, stdout=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout == judged("calibrate", csv_file, "--clip", 5, "--lam", 1.3)


def test_the_installed_command_refuses_without_a_traceback(tmp_path: Path) -> None:
    done = script("calibrate", tmp_path / "nowhere.csv", "--clip", 5, stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"Error: {tmp_path / 'nowhere.csv'}: No such file or directory; check the path\n"


@pytest.mark.parametrize("command", ["threshold", "calibrate", "help"])
def test_a_closed_pipe_leaves_no_traceback(command: str, csv_file: Path) -> None:
    arguments = {"threshold": PUBLISHED, "calibrate": ("calibrate", csv_file, "--clip", 5), "help": ("--help",)}[
        command
    ]
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = script(*arguments, stdout=writing)
    finally:
        os.close(writing)
    assert done.stderr == ""
    assert done.returncode == 2  # 1 would say "unsafe", and 0 that the verdict was read


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_an_output_without_greek_letters_still_gets_the_numbers(encoding: str) -> None:
    done = script(*PUBLISHED, env={"PYTHONIOENCODING": encoding}, stdout=subprocess.PIPE, errors="replace")
    assert "Traceback" not in done.stderr
    assert done.returncode == 0
    assert "1.22002" in done.stdout


# lint-config

RUN = """\
python3 -m verl.trainer.main_ppo \\
    algorithm.rollout_correction.rollout_is_threshold=5.0 \\
    actor_rollout_ref.actor.policy_loss.lambda_vals=1.25
"""

CLAMPED = """\
python3 -m verl.trainer.main_ppo \\
    distillation.distillation_loss.loss_mode=k1 \\
    distillation.distillation_loss.use_policy_gradient=True \\
    distillation.distillation_loss.loss_max_clamp=1.5 \\
    +distillation.distillation_loss.lambda_vals=1.25
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    path = tmp_path / "run_gopd.sh"
    path.write_text(RUN, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["lint-config", "check-step"])
def test_help_of_the_commands_around_a_run_teaches(name: str) -> None:
    text = printed(name, "--help")
    assert re.search(rf"^ *lambda-star {name}\b", text, flags=re.MULTILINE)
    assert "The exit status is 1 if" in words(text)
    assert re.search(rf"^  {name}  +\S", printed("--help"), flags=re.MULTILINE)


def test_help_of_lint_config_tells_what_a_clip_is_and_what_it_reads() -> None:
    text = words(printed("lint-config", "--help"))
    assert "What CLIP means" in text
    assert all(kind in text for kind in ("verl", "G-OPD", "YAML", "shell script", "TRL", "JSON", "TOML", "Python"))


@pytest.fixture
def clamped(tmp_path: Path) -> Path:
    path = tmp_path / "run_verl.sh"
    path.write_text(CLAMPED, encoding="utf-8")
    return path


def test_a_configuration_with_an_error_is_printed_and_ends_with_status_1(
    clamped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clamped.parent)
    result = invoke("lint-config", clamped.name, "--p", 0.999, "--b", 0.5)
    assert result.exit_code == 1
    assert result.stdout.splitlines() == golden("lint_error")
    assert result.stderr == ""


def test_the_first_example_of_the_help_of_lint_config_finds_the_error(
    clamped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clamped.parent)
    example, _ = re.findall(r"^ *lambda-star (lint-config .*)$", printed("lint-config", "--help"), flags=re.MULTILINE)
    result = invoke(*example.split())
    assert result.exit_code == 1
    assert result.stdout.startswith("run_verl.sh:5: error: ")


def test_the_worst_of_several_files_decides_the_status(run: Path, clamped: Path, tmp_path: Path) -> None:
    unknown = tmp_path / "run.sh"
    unknown.write_text(RUN.replace("1.25", "$1"), encoding="utf-8")
    point = ("--p", 0.999, "--b", 0.5)
    for files, status in (([run, unknown], 3), ([unknown, clamped, run], 1), ([run], 0)):
        result = invoke("lint-config", *files, *point)
        assert result.exit_code == status
        paths = [re.split(r":\d+: |: ", line)[0] for line in result.stdout.splitlines()]
        assert list(dict.fromkeys(paths)) == [str(file) for file in files]
    assert invoke("lint-config", run, *point, "--strict").exit_code == 1


def test_a_report_of_calibrate_gives_lint_config_its_verdict(run: Path, tmp_path: Path) -> None:
    report, path = tmp_path / "report.json", tables.write_csv(tmp_path / "rows.csv", tables.rows(300))
    judged("calibrate", path, "--clip", 5, "--json", report)
    safe = json.loads(report.read_text(encoding="utf-8"))["verdict"]["set_lam"]
    result = invoke("lint-config", run, "--report", report, "--json", tmp_path / "lint.json")
    assert result.exit_code == (0 if safe >= 1.25 else 3)
    found = json.loads((tmp_path / "lint.json").read_text(encoding="utf-8"))
    assert (found["schema"], found["exit_status"]) == ("lambda-star/lint-config/1", result.exit_code)
    shown = [f"{one['file']}:{one['line']}: {one['severity']}: {one['key']}: " for one in found["findings"]]
    assert all(line.startswith(head) for line, head in zip(result.stdout.splitlines(), shown, strict=False))
    assert {one["severity"] for one in found["findings"]} <= {"error", "unknown", "warning", "note"}
    said = refused("lint-config", run, "--report", report, "--clip", 5)
    assert said == "Error: a report has its own p, b and c; give --report, or --p, --b and --clip\n"


POINTS: dict[str, list[object]] = {
    "lint_unmeasured": [],
    "lint_without_tolerance": ["--p", 0.999, "--b", 0.5],
    "lint_warning": ["--p", 0.999, "--b", 0.5, "--clip", 5.0],
    "lint_safe": ["--p", 0.9, "--b", 0.5, "--clip", 5.0],
}


@pytest.mark.parametrize("name", POINTS)
def test_a_configuration_without_an_error_ends_with_status_0(
    name: str, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.parent)
    assert printed("lint-config", run.name, *POINTS[name]).splitlines() == golden(name)


def test_a_finding_about_no_line_and_no_key_names_neither(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("learning_rate: 0.1\n", encoding="utf-8")
    assert printed("lint-config", path) == (
        f"{path}: note: the file sets nothing about extrapolation: no lambda_vals, no clamp, no distillation that is "
        "known; check it\n"
    )


def test_a_configuration_that_cannot_be_read_is_unknown_and_ends_with_status_3(tmp_path: Path) -> None:
    broken, other, nowhere = (tmp_path / name for name in ("broken.yaml", "config.ini", "nowhere.yaml"))
    broken.write_text("a: 1\nb: [1\n", encoding="utf-8")
    other.write_text("a = 1\n", encoding="utf-8")
    result = invoke("lint-config", broken, other, nowhere, tmp_path)
    assert result.exit_code == 3
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"{broken}:3: unknown: broken YAML (")
    assert lines[1].startswith(f"{other}: unknown: cannot read a .ini file; give one of ")
    assert lines[2] == f"{nowhere}: unknown: No such file or directory; check the path"
    assert lines[3].startswith(f"{tmp_path}: unknown: ")
    assert len(lines) == 4


def test_the_options_of_lint_config_belong_together_and_have_ranges(run: Path) -> None:
    for option in ("--p", "--b"):
        said = refused("lint-config", run, option, 0.5)
        assert said == "Error: p and b belong together; give both --p and --b, or neither\n"
    assert "'--p': 1.0 is not in the range 0<x<1" in refused("lint-config", run, "--p", 1.0, "--b", 0.5)
    assert "'--clip': 0.5 is not in the range x>=1" in refused("lint-config", run, "--clip", 0.5)
    assert "Missing argument 'FILES...'" in refused("lint-config")


# check-step

NO_TORCH = "import sys; sys.modules['torch'] = None; from lambda_star.cli import main; main(['check-step'])"


def small(**options: Any) -> Any:
    """The report on the small problem."""
    from lambda_star.torch.check import check_step
    from lambda_star.torch.models import small_problem

    return check_step(*small_problem("cpu", options.pop("dtype", "float32")), **options)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """One thread of PyTorch: more of them wait for each other on a busy machine."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


NUMBER = re.compile(r"(?<= )\d[\d.]*(?:e[+-]\d\d)?(?= |$)")


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("check_step", []),
        ("check_step_options", ["--lam", 1.5, "--clip", 2, "--positions", 3, "--dtype", "float64", "--device", "cpu"]),
    ],
)
def test_check_step_prints_every_prediction_with_its_measurement(name: str, arguments: list[object]) -> None:
    said, expected = printed("check-step", *arguments).strip().splitlines(), golden(name)
    numbers = [[float(each) for line in lines[2:] for each in NUMBER.findall(line)] for lines in (said, expected)]
    assert numbers[0] == pytest.approx(numbers[1], rel=1e-4, abs=1e-6)  # processors round differently
    assert [NUMBER.sub("", line).split() for line in said] == [NUMBER.sub("", line).split() for line in expected]


@pytest.mark.usefixtures("one_thread")
def test_check_step_takes_a_dtype() -> None:
    assert "32 tokens, bfloat16 on cpu" in printed("check-step", "--dtype", "bfloat16")


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_a_prediction_that_does_not_hold_ends_with_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    from lambda_star.torch import check
    from lambda_star.torch import models as problems

    trajectory = dynamics.trajectory
    monkeypatch.setattr(dynamics, "trajectory", lambda *point, flow: 2 * trajectory(*point, flow=flow))
    result = invoke("check-step", "--dtype", "float64")
    assert result.exit_code == 1
    report = check.check_step(*problems.small_problem("cpu", "float64"))
    assert [line.holds for line in report.lines].count(False) == 2
    for line in report.lines:
        assert row_of(result.stdout, line.what).split()[-1] == ("yes" if line.holds else "NO")


@pytest.fixture
def models(tmp_path: Path) -> dict[str, Path]:
    """Paths that exist, for --teacher, --base and --text."""
    paths = {name: tmp_path / name for name in ("teacher", "base", "text")}
    paths["teacher"].mkdir()
    paths["base"].mkdir()
    paths["text"].write_text("text", encoding="utf-8")
    return paths


@pytest.mark.parametrize("names", ["teacher", "base", "text", "teacher base", "base text", "teacher text"])
def test_models_and_text_belong_together(names: str, models: dict[str, Path]) -> None:
    options = [word for name in names.split() for word in (f"--{name}", models[name])]
    said = refused("check-step", *options)
    assert said == "Error: --teacher, --base and --text belong together; give all of them, or none\n"


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_models_text_device_and_dtype_are_handed_on(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from lambda_star.torch import models as problems

    problem = problems.small_problem("cpu", "float64")
    wanted = (models["teacher"], models["base"], models["text"], "cpu", "float64")
    monkeypatch.setattr(problems, "load_problem", lambda *arguments: {wanted: problem}[arguments])
    options = [word for name, path in models.items() for word in (f"--{name}", path)]
    output = printed("check-step", *options, "--device", "cpu", "--dtype", "float64", "--lam", 1.5)
    line = small(lam=1.5, dtype="float64").lines[2]
    assert row_of(output, "largest teacher / student ratio at λ = 1.5").split()[0] == number(line.predicted)


@pytest.mark.parametrize("error", [ImportError, OSError, RuntimeError, ValueError])
def test_what_keeps_a_problem_from_loading_is_one_message(
    error: type[Exception], models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lambda_star.torch import models as problems

    def fail(*_: object) -> None:
        raise error("the reason")

    monkeypatch.setattr(problems, "load_problem", fail)
    options = [word for name, path in models.items() for word in (f"--{name}", path)]
    assert refused("check-step", *options) == "Error: the reason\n"


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--lam", "inf", "lam must lie in (-inf, inf), got inf"),
        ("--lam", "nan", "lam must lie in (-inf, inf), got nan"),
        ("--clip", "inf", "clip must lie in (1, inf), got inf"),
        ("--clip", 1, "Invalid value for '--clip': 1.0 is not in the range x>1."),
        ("--positions", 0, "Invalid value for '--positions': 0 is not in the range x>=1."),
        ("--dtype", "int8", "Invalid value for '--dtype': 'int8' is not one of 'float32', 'float64', 'bfloat16'."),
        ("--teacher", "nowhere", "Invalid value for '--teacher': Directory 'nowhere' does not exist."),
        ("--text", "nowhere", "Invalid value for '--text': File 'nowhere' does not exist."),
    ],
)
def test_check_step_refuses_what_is_out_of_range(option: str, value: object, said: str) -> None:
    assert refused("check-step", option, value).endswith(f"Error: {said}\n")


def test_check_step_refuses_a_device_that_torch_does_not_know() -> None:
    said = refused("check-step", "--device", "nowhere")
    assert said.startswith("Error: ")
    assert said.endswith("device type at start of device string: nowhere\n")


def test_without_torch_check_step_names_the_extra_to_install() -> None:
    done = subprocess.run([sys.executable, "-c", NO_TORCH], capture_output=True, encoding="utf-8", check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "Error: lambda_star.torch needs PyTorch; install it with: pip install 'lambda-star[torch]'\n"


def test_the_commands_around_a_run_load_torch_for_the_step_alone(run: Path) -> None:
    code = f"import sys; from lambda_star.cli import main; main(['lint-config', {str(run)!r}], standalone_mode=False)"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; print('torch' in sys.modules)"], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "False"


RESULTS = Path(__file__).parent.parent.parent / "results" / "cliff"


def recorded(name: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return record


def test_the_cliff_report_prints_every_run_and_counts_those_inside(tmp_path: Path) -> None:
    text = printed("cliff", "--report", "--folder", RESULTS, "--plot", tmp_path / "cliff.png")
    assert (tmp_path / "cliff.png").read_bytes().startswith(SIGNATURES[".png"])
    report = text.partition("wrote ")[0]
    assert [line.rstrip() for line in report.strip().splitlines()] == golden("cliff_report")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--preset", "tall"), "--preset must be one of short, long, quoted, merged, wide, got 'tall'"),
        (("--control", "none"), "--control must be one of no clip, no clip at double budget, plain, "),
        (("--report", "--folder", "nowhere"), "nowhere must hold finished runs, got none; make some with"),
        (("--seed", -1), "not in the range x>=0"),
    ],
)
def test_the_cliff_refuses_with_a_remedy(arguments: tuple[object, ...], message: str) -> None:
    assert message in refused("cliff", *arguments)


def test_a_run_that_is_not_finished_is_told(tmp_path: Path) -> None:
    record = recorded("short-3")
    (tmp_path / "done.json").write_text(json.dumps(record), encoding="utf-8")
    (tmp_path / "open.json").write_text(json.dumps({k: record[k] for k in ("prediction", "sha256", "locked")}))
    result = invoke("cliff", "--report", "--folder", tmp_path)
    assert "1 of 2 runs" in result.stderr
    assert "1 of 1 onsets" in result.stdout


def test_the_cliff_runs_presets_controls_and_seeds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[tuple[str, int, Path, int]] = []

    def run(preset: presets.Preset, seed: int, folder: Path, *, threads: int, progress: Any) -> dict[str, Any]:
        asked.append((preset.label, seed, folder, threads))
        for step in range(preset.steps):
            progress(step + 1)
        return recorded("short-3")

    monkeypatch.setattr(experiment, "run", run)
    options = ("--preset", "short", "--preset", "wide", "--seed", 1, "--seed", 2, "--folder", tmp_path, "--threads", 2)
    printed("cliff", *options)
    assert asked == [(name, seed, tmp_path, 2) for name in ("short", "wide") for seed in (1, 2)]
    asked.clear()
    printed("cliff", *options, "--control", "plain", "--control", "no clip")
    names = [f"{name}, {control}" for control in ("plain", "no clip") for name in ("short", "wide")]
    assert asked == [(name, seed, tmp_path, 2) for name in names for seed in (1, 2)]
    asked.clear()
    printed("cliff")
    assert [name for name, *_ in asked] == list(presets.PRESETS)


def test_the_cliff_locks_without_training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[tuple[str, int, Path, dict[str, Any]]] = []

    def run(preset: presets.Preset, seed: int, folder: Path, **options: Any) -> dict[str, Any]:
        asked.append((preset.label, seed, folder, options))
        return {name: recorded("short-3")[name] for name in ("prediction", "locked")}

    monkeypatch.setattr(experiment, "run", run)
    text = printed("cliff", "--lock", "--preset", "short", "--control", "no clip", "--seed", 6, "--folder", tmp_path)
    assert asked == [("short, no clip", 6, tmp_path, {"threads": 1, "train": False})]
    assert "short, no clip     6      1.745  2026-11-23T01:57:11+00:00" in text
    assert text.splitlines()[-1] == f"commit the files in {tmp_path}, then run the same command without --lock"
    for other in ("--quick", "--report", "--rehearse"):
        assert "--lock goes with --preset, --control, --seed, --folder" in refused("cliff", "--lock", other)


def test_rehearsals_of_the_cliff_are_read_and_compared(tmp_path: Path) -> None:
    (tmp_path / "rehearsed").mkdir()
    for name in ("short-3.json", "short-smaller-clip-3.json", "rehearsed/short-3.json"):
        (tmp_path / name).write_text((RESULTS / name).read_text(encoding="utf-8"), encoding="utf-8")
    lines = printed("cliff", "--rehearse", "--folder", tmp_path).splitlines()
    record, rehearsal = recorded("short-3"), recorded("rehearsed/short-3")
    first = 100 * (record["outcome"]["validity"][0] - rehearsal["validity"][0])
    assert [line.split()[:6] for line in lines if line.startswith("short")] == [
        ["short", "3", "1.747", "1.743", "-0.6%", f"{first:+.1f}"]
    ]
    assert lines[-1] == "|onset seen − rehearsed|/(rehearsed − 1): median 0.6%, worst 0.6%"
    message = refused("cliff", "--rehearse", "--folder", tmp_path, "--preset", "wide")
    assert "must hold finished runs of these presets and controls, got none" in message


def test_the_quick_cliff_fails_where_validity_does_not_fall(monkeypatch: pytest.MonkeyPatch) -> None:
    record = recorded("short-3")
    monkeypatch.setattr(experiment, "run", lambda *_, **__: record)
    assert "validity fell where it was predicted to" in printed("cliff", "--quick")
    validity = record["outcome"]["validity"]
    flat = [validity[0]] * len(validity)
    past = (record["prediction"]["grid"][-2] + record["prediction"]["grid"][-1]) / 2
    assert past > record["prediction"]["band"][1]
    for seen, onset in ((flat, None), ([*flat[:-1], 0.0], past)):
        record["outcome"] |= {"validity": seen, "onset": onset}
        result = invoke("cliff", "--quick")
        assert result.exit_code == 1
        assert "did NOT fall" in result.stdout
