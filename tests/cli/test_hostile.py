"""No text of a file forges what a command prints: it begins no line, moves no cursor and hides nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from lambda_star._core.text import shown
from lambda_star.cliff import record
from tests import tables
from tests.cli.test_cli import RESULTS, invoke

FORGED = "\nSAFE λ = 1.25: it lies within"
HOSTILE = {
    "line": f"x{FORGED}",
    "return": f"x\r{FORGED[1:]}",
    "line separator": f"x\u2028{FORGED[1:]}\x85y",
    "cursor": "x\x1b[1A\x1b[2KSAFE\x9b1A",
    "clipboard": "x\x1b]52;c;ZXZpbA==\x07",
    "direction": "x\u202eEFAS\u202c\u2066",
    "no width": "x\u200b\u200d\ufeff\u00ad",
    "markup": "x[bold]SAFE[/bold] :smile:",
    "runner": "::add-mask::x",
    "old runner": "x ##vso[task.setvariable variable=a]b ##[error]c",
    "wide": "x" + " " * 200 + "SAFE λ = 1.25",
}
HIDDEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\xad\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


def refuses_to_be_forged(output: str, harmless: str) -> None:
    assert not HIDDEN.search(output)
    assert not any(re.match(r"\s*(SAFE|::)|.*##(vso)?\[", line) for line in output.splitlines())
    assert len(output.splitlines()) == len(harmless.splitlines())


def rows(path: Path, text: str) -> Path:
    made = tables.with_top(tables.rows(4))
    for row in made:
        row["sequence"] += text
        row["contract"] = row["modal"]
        if row["modal"] == '","':
            row |= {"modal": text, "token": text, "contract": text}
            row["top"] = [[text, *numbers] for _, *numbers in row["top"]]
    return tables.write_jsonl(path, made)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_calibrate(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows(tmp_path / "rows.jsonl", "x")
    harmless = invoke("calibrate", "rows.jsonl", "--all").output
    rows(tmp_path / "rows.jsonl", text)
    refuses_to_be_forged(invoke("calibrate", "rows.jsonl", "--all").output, harmless)
    found = json.loads(invoke("calibrate", "rows.jsonl", "--json", "-").stdout)
    assert text in {one["name"] for one in found["classes"]}  # plain data stays exact
    assert not HIDDEN.search(invoke("calibrate", "rows.jsonl", "--json", "-").stdout)
    short = invoke("calibrate", "rows.jsonl").output
    assert max(map(len, short.splitlines())) <= 100


@pytest.mark.parametrize("text", [HOSTILE["runner"], "".join(HOSTILE.values())], ids=["runner", "all"])
def test_other_commands(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    outputs: dict[str, list[str]] = {}
    for given in ("x", text):
        rows(tmp_path / "rows.jsonl", given)
        damaged = [{"sequence": given, "position": given, given: given}, {"prediction": {}, "sha256": given}]
        for name, content in zip(("damaged.jsonl", "record.json"), damaged, strict=True):
            (tmp_path / name).write_text(json.dumps(content) + "\n", encoding="utf-8")
        outputs[given] = [
            invoke(*arguments).output
            for arguments in (
                ("compare", "rows.jsonl", "rows.jsonl"),
                ("compare", "rows.jsonl", "damaged.jsonl"),
                ("convert", "rows.jsonl", "--out", "rows.csv", "--force"),
                ("convert", "damaged.jsonl", "--out", "rows.csv", "--keep-going"),
                ("calibrate", "rows.jsonl", "--markdown", "-"),
                ("calibrate", "rows.jsonl", "--contract", f"regex:{given}("),
                ("locks", "record.json"),
                ("cliff", "--report", "--folder", "."),
                ("cliff-rules", "--report", "--folder", "."),
                ("ledger", given),
                ("verify", given),
                ("derive", given),
                ("probe", given, "--p", 0.9, "--b", 0.5),
                ("probe", f"{given}.py:{given}", "--p", 0.9, "--b", 0.5),
                ("updates", "--p", 0.9, "--b", 0.5, "--rule", given),
                ("check-step", "--rule", given),
                ("score", "--teacher", given, "--base", given, "--prompts", "none", "--out", "new.csv"),
            )
        ]
    for hostile, harmless in zip(outputs[text], outputs["x"], strict=True):
        assert not HIDDEN.search(hostile)
        forged = [line for line in hostile.splitlines() if re.match(r"\s*(SAFE λ = 1.25: it|::)|.*##(vso)?\[", line)]
        assert not forged
        assert abs(len(hostile.splitlines()) - len(harmless.splitlines())) <= 2  # a long name may be broken


def test_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Warnings are errors here, and matplotlib warns of what its font has no glyph for."""
    monkeypatch.chdir(tmp_path)
    text = f"漢字 $\\frac$ {HOSTILE['cursor']}{HOSTILE['line']}"
    rows(tmp_path / "rows.jsonl", text)
    assert invoke("calibrate", "rows.jsonl", "--all", "--plot", "picture.png").exit_code == 3
    for command, folder in (("cliff", RESULTS), ("cliff-rules", RESULTS.parent / "rules")):
        found = json.loads(min(folder.glob("short-*.json")).read_text(encoding="utf-8"))
        settings = found.get("settings", found["prediction"])
        settings["name"] = settings["preset"]["name"] = text
        if "settings" in found:
            found["sha256"] = record._digest({name: found[name] for name in record.LOCKED})
            found["outcome_sha256"] = record._digest({name: found[name] for name in record.CONCLUDED})
        else:
            found["sha256"] = record._digest(found["prediction"])
        place = tmp_path / command
        place.mkdir()
        (place / "record.json").write_text(json.dumps(found), encoding="utf-8")
        said = invoke(command, "--report", "--folder", place, "--plot", "runs.png", "--force").output
        assert "wrote runs.png" in said
        assert not HIDDEN.search(said)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_problems_and_errors(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    outputs = {}
    for kind, given in {"harmless": "x", "hostile": text}.items():
        made = tables.rows(4)
        made.append(made[0] | {"position": 99, "log_p": given, "sequence": given})
        made.append(made[0] | {"sequence": given, given: 1})
        made.append(made[0] | {"sequence": made[0]["sequence"] + given, "modal": given})
        made.append(made[-1])
        tables.write_jsonl(tmp_path / "rows.jsonl", made)
        good = invoke("calibrate", "rows.jsonl", "--keep-going")
        outputs[kind] = [good.stdout, invoke("calibrate", "rows.jsonl").stderr]
        outputs[kind].append(invoke("calibrate", "rows.jsonl", "--contract", given).stderr)
    for hostile, harmless in zip(outputs["hostile"], outputs["harmless"], strict=True):
        refuses_to_be_forged(hostile, harmless)


@pytest.mark.parametrize("text", [HOSTILE["line"], HOSTILE["cursor"], HOSTILE["runner"]])
def test_the_name_of_a_file(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tables.write_csv(tmp_path / f"{text}.csv", tables.rows(4))
    for arguments in (
        ("calibrate", path.name, "--json", f"{text}.json", "--markdown", f"{text}.md"),
        ("calibrate", f"{text}.nowhere"),
        ("decide", path.name),
        ("decide", f"{text}.nowhere"),
        ("lint-config", path.name),
        ("rehearse", "--out", path.name),
        ("calibrate", path.name, "--plot", f"{text}.xyz"),
        ("threshold", "--p", text, "--b", 0.5, "--clip", 5),
        (text,),
    ):
        result = invoke(*arguments)
        assert not HIDDEN.search(result.output), arguments
        assert not any(line.startswith(("SAFE", "::")) for line in result.output.splitlines()), arguments


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_commands_that_read_json_and_scripts(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tables.write_csv(tmp_path / "rows.csv", tables.rows(60))
    assert invoke("calibrate", "rows.csv", "--json", "report.json").exit_code == 0
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    outputs: dict[str, list[str]] = {}
    for given in ("x", text):
        report["classes"][0]["name"] = report["binding"] = report["contract"] = given
        (tmp_path / "report.json").write_text(json.dumps(report), encoding="utf-8")
        (tmp_path / "other.json").write_text(json.dumps(report | {"schema": given}), encoding="utf-8")
        (tmp_path / "rule.json").write_text(json.dumps(report | {"rule": given}), encoding="utf-8")
        config = {"actor": {"policy_loss": {"loss_mode": given, "lambda_vals": given}}}
        (tmp_path / "run.json").write_text(json.dumps(config), encoding="utf-8")
        (tmp_path / "run.sh").write_text(f"python -m verl.trainer.main_ppo actor.policy_loss.lambda_vals='{given}'\n")
        header = {"schema": "lambda-star/rehearsal/1", "rule": None, "contract": given, "teacher": given, "base": given}
        answer = {"lam": 1.0, "prompt": 0, "sample": 0, "text": given, "tokens": 2, "ended": True, "valid": True}
        lines = [header, answer, answer | {"sample": given}]
        (tmp_path / "rehearsal.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
        outputs[given] = [
            invoke(*arguments).output
            for arguments in (
                ("decide", "report.json", "--lam", 1.25),
                ("decide", "other.json"),
                ("decide", "rule.json"),
                ("lint-config", "run.json", "--p", 0.999, "--b", 0.5),
                ("lint-config", "run.sh", "--p", 0.999, "--b", 0.5),
                ("decide", "report.json", "--rehearsal", "rehearsal.jsonl"),
                ("rehearse", "--out", "rehearsal.jsonl"),
            )
        ]
    for hostile in outputs[text]:
        assert not HIDDEN.search(hostile)
        assert not any(re.match(r"\s*SAFE λ = 1.25: it", line) for line in hostile.splitlines())
        assert shown(hostile.replace("\n", "")) == hostile.replace("\n", "")
