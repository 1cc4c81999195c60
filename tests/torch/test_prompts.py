"""Prompts are read from every format and sent as their file says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lambda_star.torch.prompts import Prompt, read_prompts
from tests.torch import tiny

pytest.importorskip("transformers", reason="the tokenizer needs transformers: pip install 'lambda-star[models]'")

CHAT = [{"role": "user", "content": "ab"}]


def test_every_format_gives_the_same_prompts(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    (tmp_path / "a.txt").write_text("ab\n\nba 1\n", encoding="utf-8")
    (tmp_path / "a.jsonl").write_text('"ab"\n{"prompt": "ba 1", "other": 3}\n', encoding="utf-8")
    (tmp_path / "a.json").write_text(json.dumps(["ab", {"prompt": "ba 1"}]), encoding="utf-8")
    (tmp_path / "a.csv").write_text("id,prompt\n1,ab\n2,ba 1\n", encoding="utf-8")
    parquet.write_table(pyarrow.table({"prompt": ["ab", "ba 1"]}), tmp_path / "a.parquet")
    for suffix in ("txt", "jsonl", "json", "csv", "parquet"):
        assert read_prompts(tmp_path / f"a.{suffix}") == [Prompt("ab"), Prompt("ba 1")]


def test_messages_are_read_from_json_and_from_cells(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, ({"messages": CHAT}, {"prompt": CHAT}, CHAT))), encoding="utf-8")
    assert [prompt.messages for prompt in read_prompts(path)] == [CHAT] * 3
    (tmp_path / "a.csv").write_text('messages\n"[{""role"": ""user"", ""content"": ""ab""}]"\n', encoding="utf-8")
    assert read_prompts(tmp_path / "a.csv")[0].messages == CHAT


def test_a_chat_template_is_applied_unless_the_text_is_sent_as_it_stands() -> None:
    tokenizer = tiny.tokenizer()
    ids = [tiny.CHARACTERS.index(token) for token in ("<user>", "a", "b", "[")]
    assert Prompt.of("ab").ids(tokenizer) == ids
    assert Prompt.of({"messages": CHAT}).ids(tokenizer) == ids
    assert Prompt.of("<user>ab[").ids(tokenizer) == ids
    assert Prompt.of({"text": "ab"}).ids(tokenizer) == ids[1:3]
    assert Prompt.of("ab").ids(tiny.tokenizer(template=None)) == ids[1:3]
    with pytest.raises(ValueError, match="must have a chat template for prompts with messages, got none"):
        Prompt.of(CHAT).ids(tiny.tokenizer(template=None))


def test_tools_go_to_the_chat_template(tmp_path: Path) -> None:
    tools = [{"name": "ab"}]
    (tmp_path / "a.jsonl").write_text(json.dumps({"messages": CHAT, "tools": tools}), encoding="utf-8")
    cell = json.dumps(tools).replace('"', '""')
    (tmp_path / "a.csv").write_text(f'prompt,tools\nab,"{cell}"\n', encoding="utf-8")
    tokenizer = tiny.tokenizer("{% for t in tools or [] %}{{ t.name }}{% endfor %}" + tiny.TEMPLATE)
    for suffix in ("jsonl", "csv"):
        (prompt,) = read_prompts(tmp_path / f"a.{suffix}")
        assert tokenizer.decode(prompt.ids(tokenizer)) == "ab<user>ab["
    assert tokenizer.decode(Prompt.of("ab").ids(tokenizer)) == "<user>ab["


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", '"ab"\n{"question": 1}\n', "line 2: a prompt must have messages, prompt or text, got question"),
        ("a.jsonl", '"ab"\n{broken\n', "line 2: a prompt must be JSON, got {broken .*property name"),
        ("a.jsonl", '{"prompt": "ab", "tools": {"name": "f"}}', "line 1: tools must be a list of objects, got"),
        ("a.jsonl", "17\n", "line 1: a prompt must be a text or messages with role and content, got '17'"),
        ("a.jsonl", '{"messages": [{"role": "user"}]}\n', "line 1: a prompt must be a text or messages"),
        ("a.json", "{}", "must hold a list of prompts, got dict"),
        ("a.txt", "\n\n", "must hold at least one prompt, got none"),
        ("a.csv", "question\nab\n", "line 2: a prompt must have messages, prompt or text, got question"),
        ("a.csv", "messages\n[oops\n", "line 2: "),
        ("a.md", "ab", "prompts must be in a file of one of .jsonl"),
        ("a.parquet", "ab", "damaged or not a Parquet file"),
    ],
)
def test_what_is_no_prompt_is_refused_with_its_line(tmp_path: Path, name: str, content: str, said: str) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=said) as error:
        read_prompts(path)
    assert str(path) in str(error.value)


def test_a_missing_file_and_one_that_is_not_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No such file or directory; check the path"):
        read_prompts(tmp_path / "nowhere.txt")
    (tmp_path / "latin.txt").write_bytes(b"\xff\xfe\x80")
    with pytest.raises(ValueError, match="not UTF-8"):
        read_prompts(tmp_path / "latin.txt")
