"""The command ``rehearse`` samples, resumes, reads, draws, and ends with a verdict."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lambda_star.cli import _output
from lambda_star.rehearsal import Answer, Recorder, read_rehearsal
from tests.cli.test_cli import invoke, judged, refused
from tests.torch import tiny

METRIC = """
def commas(text, prompt):
    return text.count(",") if text else None

def fails(text, prompt):
    return prompt["messages"]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("transformers", reason="the models need transformers: pip install 'lambda-star[models]'")
    folder = tmp_path_factory.mktemp("rehearsal")
    tiny.save_model(folder / "teacher", seed=0)
    tiny.save_model(folder / "base", seed=1)
    lines = (json.dumps({"prompt": f"a{number}"}) + "\n" for number in range(6))
    (folder / "prompts.jsonl").write_text("".join(lines), encoding="utf-8")
    (folder / "metrics.py").write_text(METRIC, encoding="utf-8")
    return folder


@pytest.fixture
def arguments(folder: Path) -> Callable[..., tuple[object, ...]]:
    def made(out: Path, *more: object) -> tuple[object, ...]:
        models = ("--teacher", folder / "teacher", "--base", folder / "base", "--prompts", folder / "prompts.jsonl")
        return ("rehearse", *models, "--contract", "regex:[^9]*", "--max-tokens", 9, "--out", out, *more)

    return made


def rehearsal(path: Path, share: float, answers: int = 200, lam: float = 1.5) -> Path:
    """A file with so many valid answers at a λ, and with none but valid ones at λ = 1."""
    header = {"teacher": "t", "base": "b", "rule": "none()", "contract": "json", "budget": None}
    with Recorder(path, header) as recorder:
        for prompt in range(answers):
            valid = prompt < share * answers
            where = {} if valid else {"broken_at": 3, "broken_class": '"]'}
            recorder.add(Answer(1.0, prompt, 0, "[]", 2, True, True, metrics={"score": 0.5}))
            recorder.add(Answer(lam, prompt, 0, "[", 2, True, valid, metrics={"score": 0.25}, **where))  # type: ignore[arg-type]
    return path


def test_models_are_rehearsed_from_a_prompts_file(
    folder: Path, tmp_path: Path, arguments: Callable[..., tuple[object, ...]]
) -> None:
    out, picture, report = (tmp_path / name for name in ("new/rehearsal.jsonl", "rehearsal.png", "rehearsal.json"))
    more = ("--lam", 1.5, "--metric", f"{folder / 'metrics.py'}:commas", "--plot", picture, "--json", report)
    output = judged(*arguments(out, *more))
    found = read_rehearsal(out)
    assert found.lams == (0.0, 1.0, 1.5)
    assert len(found.answers) == 18
    assert found.header["metrics"] == ["commas"]
    for point in found.curve:
        line = next(line for line in output.splitlines() if line.startswith(f"{point.lam:g} "))
        assert line.split()[1:3] == ["6", f"{100 * point.valid:.1f}%"]
        assert f"{point.metrics['commas'].value:.4g}" in line
    assert "converged training" in output
    assert "compare both rows with the models' own answers" in output
    assert picture.read_bytes().startswith(b"\x89PNG")
    written = json.loads(report.read_text(encoding="utf-8"))
    assert written["schema"] == "lambda-star/rehearse/1"
    assert [point["valid"] for point in written["curve"]] == [point.valid for point in found.curve]
    assert written["verdict"]["safety"] in {"safe", "unsafe", "unknown"}


def test_a_finished_file_is_only_read(tmp_path: Path, arguments: Callable[..., tuple[object, ...]]) -> None:
    out = tmp_path / "rehearsal.jsonl"
    first = judged(*arguments(out, "--lam", 1.5))
    content = out.read_bytes()
    assert judged(*arguments(out, "--lam", 1.5)) == first
    assert judged("rehearse", "--out", out, "--lam", 1.5) == first
    out.write_bytes(content[:-30])
    again = judged(*arguments(out, "--lam", 1.5))
    assert again.startswith("line 19: the line is cut, so its answer was left out")
    assert out.read_bytes() == content
    said = refused(*arguments(out, "--seed", 1))
    assert "was written with other settings (seed: 0 there, 1 here)" in said


@pytest.mark.parametrize(("share", "status"), [(1.0, 0), (0.75, 1), (0.96, 3)])
def test_one_coefficient_is_judged(tmp_path: Path, share: float, status: int) -> None:
    result = invoke("rehearse", "--lam", 1.5, "--out", rehearsal(tmp_path / "rehearsal.jsonl", share))
    assert result.exit_code == status
    assert "λ = 1.5: " in result.stdout.splitlines()[-1]


def test_of_several_the_largest_safe_one_is_found(tmp_path: Path) -> None:
    out = rehearsal(tmp_path / "rehearsal.jsonl", 1.0)
    with out.open("a", encoding="utf-8") as file:
        for prompt in range(200):
            bad = {"lam": 2, "prompt": prompt, "sample": 0, "text": "", "tokens": 1, "ended": True, "valid": False}
            file.write(json.dumps(bad) + "\n")
    assert judged("rehearse", "--out", out).splitlines()[-1].startswith("SAFE λ = 1.5: ")
    assert invoke("rehearse", "--out", out, "--lam", 2).exit_code == 1


def test_a_table_of_a_file_shows_where_answers_break(tmp_path: Path) -> None:
    output = judged("rehearse", "--out", rehearsal(tmp_path / "rehearsal.jsonl", 0.75))
    line = next(line for line in output.splitlines() if line.startswith("1.5 "))
    assert line.split()[-3:] == ["3", '"]', "50"]
    assert "-25.0% [-32." in line
    assert "-0.250 [-0.250, -0.250]" in line


def test_an_unfinished_run_says_so(tmp_path: Path, arguments: Callable[..., tuple[object, ...]]) -> None:
    output = judged(*arguments(tmp_path / "rehearsal.jsonl", "--lam", 1.5, "--budget", 0.5))
    assert "at 0.3935 of their λ, as a run stopped at flow time 0.5" in output
    assert "the models' own answers" not in output


def test_a_run_that_is_stopped_says_how_to_go_on(
    tmp_path: Path, arguments: Callable[..., tuple[object, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lambda_star.torch import rehearsing

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(rehearsing, "sample", stopped)
    out = tmp_path / "rehearsal.jsonl"
    done = invoke(*arguments(out))
    said = f"Error: stopped; the answers so far are in {out}, and the same command goes on from there\n"
    assert done.exit_code == 130
    assert done.stderr.endswith(said)


def test_errors_are_one_message(folder: Path, tmp_path: Path, arguments: Callable[..., tuple[object, ...]]) -> None:
    out = tmp_path / "rehearsal.jsonl"
    assert "must be given together, got no --base" in refused("rehearse", "--teacher", folder / "teacher", "--out", out)
    assert "must be a file that is there" in refused("rehearse", "--out", out)
    assert "must have a function none" in refused(*arguments(out, "--metric", f"{folder / 'metrics.py'}:none"))
    assert "cannot be imported" in refused(*arguments(out, "--metric", "no_such_module:metric"))
    assert "metric fails failed on" in refused(*arguments(out, "--metric", f"{folder / 'metrics.py'}:fails"))
    twice = [f"{folder / 'metrics.py'}:commas"] * 2
    assert "different names" in refused(*arguments(out, "--metric", twice[0], "--metric", twice[1]))
    assert "budget must be left out under" in refused(*arguments(out, "--budget", 1, "--rule", "log_ratio_cap:5"))


def test_a_report_that_cannot_serve_is_refused_before_the_first_answer(
    tmp_path: Path, arguments: Callable[..., tuple[object, ...]]
) -> None:
    out, report = tmp_path / "rehearsal.jsonl", tmp_path / "report.json"
    assert "cannot read the report" in refused(*arguments(out, "--report", report))
    judged("calibrate", "examples/rank_by_price/logprobs.csv", "--rule", "log_ratio_cap:5", "--json", report)
    assert "must be for the rule of the report" in refused(*arguments(out, "--report", report))
    assert not out.exists()


def test_a_wrong_model_can_be_corrected(
    folder: Path, tmp_path: Path, arguments: Callable[..., tuple[object, ...]]
) -> None:
    out = tmp_path / "rehearsal.jsonl"
    wrong = [folder / "techer" if each == folder / "teacher" else each for each in arguments(out)]
    said = refused(*wrong)
    assert "techer must be a folder with a model or a .gguf file, got none" in said
    assert "loading" not in said
    judged(*arguments(out))


@pytest.mark.parametrize("command", ["score", "rehearse"])
def test_without_what_models_need_the_message_says_what_to_install(
    command: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_output, "find_spec", lambda name: None)
    more = ("--teacher", "t", "--base", "b", "--prompts", folder / "prompts.jsonl", "--contract", "json")
    said = refused(command, *more, "--out", tmp_path / "out.jsonl")
    assert "models need torch, transformers, peft; install with: pip install 'lambda-star[models]'" in said


def test_a_file_that_is_read_was_made_with_the_options_that_are_given(tmp_path: Path) -> None:
    out = rehearsal(tmp_path / "rehearsal.jsonl", 1.0)
    judged("rehearse", "--out", out, "--contract", "json", "--rule", "trl")
    for option, value in (("contract", "yaml"), ("rule", "log_ratio_cap:5"), ("budget", 2)):
        assert f"--{option} must be that of the file, " in refused("rehearse", "--out", out, f"--{option}", value)


def test_a_run_without_a_contract_says_at_once_that_it_has_no_verdict(
    tmp_path: Path, arguments: Callable[..., tuple[object, ...]]
) -> None:
    command = arguments(tmp_path / "rehearsal.jsonl")
    at = command.index("--contract")
    result = invoke(*command[:at], *command[at + 2 :])
    assert result.exit_code == 3
    assert result.stderr.startswith("without --contract there is no verdict")
