"""Every block of code in the pages that ``tests/test_readme.py`` does not run: commands are understood, Python runs.

Doctests and printed outputs are that module's. Here a shell's block has its commands parsed, with each option's value,
and a block of Python runs on models of a few numbers in place of the ones that it names.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner

from lambda_star import read_table
from lambda_star.cli import main
from lambda_star.rehearsal import Answer
from tests import tables
from tests.threads import one_thread

__all__ = ["one_thread"]

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("examples/*/README.md"))]
PAGES += sorted(ROOT.glob("site/*.md"))


def blocks(page: Path, language: str) -> list[str]:
    """The blocks of a page in a language, but for doctests."""
    found = re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [block for block in found if ">>>" not in block]


def commands(block: str) -> list[list[str]]:
    """The words of each ``lambda-star`` command of a shell's block, without what the shell does with it."""
    found = []
    for line in block.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
        lexer.whitespace_split = True
        words = list(lexer)
        if "lambda-star" in words[:1]:
            ends = [at for at, word in enumerate(words) if set(word) <= set("|&;<>")]
            found.append(words[1 : ends[0] if ends else None])
    return found


WORDS = [
    pytest.param(words, id=f"{page.relative_to(ROOT)}: {' '.join(words)}")
    for page in PAGES
    for block in blocks(page, "sh")
    for words in commands(block)
]


@pytest.mark.parametrize("words", WORDS)
def test_a_command_is_understood(words: list[str]) -> None:
    name, *rest = words
    command = main.commands[name]
    context = click.Context(command, info_name=name)
    given, arguments, options = command.make_parser(context).parse_args(list(rest))
    assert not arguments
    for option in options:
        value = given.get(str(option.name))
        if isinstance(option, click.Option) and not re.search(r"[.$]\w*[a-z]", str(value)):  # no file, no variable
            option.type_cast_value(context, value)


def test_a_command_that_is_not_understood_is_found() -> None:
    (words,) = commands("lambda-star decide report.json --lamb 1.25 > out || exit\n")
    assert words == ["decide", "report.json", "--lamb", "1.25"]
    with pytest.raises(click.NoSuchOption):
        test_a_command_is_understood(words)
    with pytest.raises(click.BadParameter):
        test_a_command_is_understood(["decide", "--lam", "high"])
    assert len(WORDS) > 40


def test_a_hook_is_one_that_there_is() -> None:
    (hook,) = (block for page in PAGES for block in blocks(page, "yaml") if "repos:" in block)
    (told,) = yaml.safe_load(hook)["repos"][0]["hooks"]
    (known,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    assert told["id"] == known["id"]
    test_a_command_is_understood(["lint-config", *told["args"]])


PYTHON = [
    pytest.param(page.name, block, id=f"{page.name} {number}")
    for page in PAGES
    for number, block in enumerate(blocks(page, "python"))
]


class Engine:
    """What the page on engines asks of vLLM: answers of two tokens."""

    def __init__(self, name: str) -> None:
        self.name = name

    def generate(self, prompts: list[Any], _: Any) -> list[Any]:
        scores = {
            token: SimpleNamespace(logprob=logprob, rank=token - 3, decoded_token=text)
            for token, logprob, text in ((4, -0.1, "["), (5, -2.5, "]"))
        }
        ids = [prompt["prompt_token_ids"] if isinstance(prompt, dict) else [7] for prompt in prompts]
        scored = [None if self.name == "base" else [None, *([scores] * (len(each) - 1))] for each in ids]
        answer = SimpleNamespace(token_ids=[4, 5], logprobs=[scores, scores])
        return [
            SimpleNamespace(request_id=str(at), prompt_token_ids=ids[at], prompt_logprobs=scored[at], outputs=[answer])
            for at in range(len(prompts))
        ]


def prepare(place: Path, page: str) -> dict[str, Any]:
    """Write the files that the pages name, and return the names that a block takes from the text around it."""
    import peft
    import torch
    from transformers import Trainer, TrainingArguments

    from lambda_star import torch as wing
    from tests.torch import tiny

    for name, seed in (("teacher", 1), ("base", 2)):
        tiny.save_model(place / "runs" / name, seed)
    tables.write_csv(place / "table.csv", tables.rows(300))
    (place / "prompts.jsonl").write_text('{"prompt": "[1"}\n{"prompt": "[0"}\n', encoding="utf-8")
    if page == "gate.md":
        CliRunner().invoke(main, ["calibrate", str(place / "table.csv"), "--json", str(place / "report.json")])
        lines: list[dict[str, Any]] = [{"schema": "lambda-star/rehearsal/1", "rule": None}]
        lines += [vars(Answer(lam, at, 0, "[]", 2, True, True)) for lam in (1.0, 1.25) for at in range(200)]
        (place / "rehearsal.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")

    words = tiny.tokenizer()

    def trainer(model: Any, teacher_model: Any) -> Any:
        made: Any = Trainer(model, TrainingArguments(str(place / "run"), report_to="none"), processing_class=words)
        made.teacher_model = teacher_model
        return made

    log_probs = torch.full((2, 3), -0.1)
    return {
        **{name: getattr(wing, name) for name in wing.__all__},
        "DistillationTrainer": trainer,
        "peft": peft,
        "teacher_model": tiny.model(1),
        "base_model": tiny.model(2),
        "student": tiny.model(3),
        "warm_start": tiny.model(4),
        "prompts": ["[1", "[0"],
        "batch": {
            "ref_log_prob": log_probs,
            "base_log_prob": 5 * log_probs,
            "old_log_probs": log_probs,
            "response_mask": torch.ones(2, 3, dtype=torch.bool),
        },
    }


SMALLER = {', device="cuda"': "", "answers=400": "answers=4", ", ...)": ")", '"runs/", S': '"table.csv", S'}
"""What a test does otherwise than the page: no GPU, few answers, and nothing in place of the dots."""


@pytest.mark.slow
@pytest.mark.filterwarnings(r"ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize(("page", "block"), PYTHON)
def test_python_runs(page: str, block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    names = prepare(tmp_path, page)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "vllm", ModuleType("vllm"))
    vars(sys.modules["vllm"]).update(LLM=Engine, SamplingParams=SimpleNamespace)
    for told, done in SMALLER.items():
        block = block.replace(told, done)
    exec(compile(block, page, "exec"), names)
    if page == "engines.md":
        assert len(read_table(teacher="teacher.jsonl", base="base.jsonl").log_p) == 4
    if page == "training.md" and "metrics" in names:
        assert "lambda_star/threshold_median" in names["metrics"]
