"""Contracts by name: what a malformed one says, functions, commands, and what works without the extra."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from lambda_star.contract import Contract, broken_at, classify, parse

NAMES = "json, csv, yaml, xml, json-schema:FILE, function-call:FILE, grammar:FILE, regex:PATTERN, "


def ends_the_program(_: str) -> None:
    """A function that would decide the exit status of the whole command."""
    raise SystemExit(0)


class Even(Contract):
    """A contract of one's own."""

    def valid(self, text: str) -> bool:
        return len(text) % 2 == 0


EVEN = Even("even")


@pytest.mark.parametrize(
    "name", ["json", "csv", "yaml", "xml", "regex:a+", "python:keyword.iskeyword", "command:cat -n"]
)
def test_the_name_of_a_contract_is_its_text(name: str) -> None:
    assert parse(name).name == name
    assert parse(name) == parse(name)


@pytest.mark.parametrize("text", ["", "js", "JSON", "json:", "yaml:x", "regex:", "grammar", '"]', "python", ":", "a:b"])
def test_an_unknown_name_lists_those_that_are_known(text: str) -> None:
    with pytest.raises(ValueError, match=r"^contract must be one of ") as caught:
        parse(text)
    assert str(caught.value).startswith(f"contract must be one of {NAMES}")
    assert str(caught.value).endswith(f"; got {text!r}")


FILES = {
    "text.txt": "not JSON",
    "bytes.bin": "\udcff",
    "deep.json": "[" * 100_000,
    "list.json": "[1]",
    "type.json": '{"type": "strong"}',
    "far.json": '{"$ref": "https://example.com/schema.json"}',
    "gone.json": '{"$ref": "#/$defs/gone"}',
    "empty.json": "[]",
    "nameless.json": '[{"parameters": {}}]',
    "bad_tool.json": '[{"name": "a", "parameters": {"type": 3}}]',
    "rule.lark": "start: gone",
    "syntax.lark": "start: (",
}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("json-schema:none.json", "cannot be read: .*No such file"),
        ("json-schema:.", "cannot be read: .*directory"),
        ("json-schema:text.txt", "cannot be read: Expecting value"),
        ("json-schema:bytes.bin", "cannot be read: .*decode"),
        ("json-schema:deep.json", "cannot be read: .*recursion"),
        ("json-schema:list.json", "must be an object, got a list; for a list of tools give function-call:FILE"),
        ("json-schema:type.json", "cannot be used: 'strong' is not valid"),
        ("json-schema:far.json", "cannot be used: .*points out of the file"),
        ("json-schema:gone.json", "cannot be used: .*'#/\\$defs/gone' points to nothing"),
        ("function-call:list.json", "cannot be used: it must be a list of tools"),
        ("function-call:empty.json", "cannot be used: it must be a list of tools"),
        ("function-call:nameless.json", "cannot be used: it must be a list of tools"),
        ("function-call:bad_tool.json", "cannot be used: .*3"),
        ("grammar:none.lark", "cannot be read: .*No such file"),
        ("grammar:rule.lark", 'cannot be used: .*unknown name: "gone"'),
        ("grammar:syntax.lark", "cannot be used: "),
        ("regex:(", "cannot be used: .*unclosed group"),
        ("regex:(?=a)b", "cannot be used: .*look-around"),
        ("python:nowhere.valid", "cannot be imported: No module named 'nowhere'"),
        ("python:math.nothing", "cannot be imported: .*nothing"),
        ("python:math", "cannot be imported: .*; write python:module.function"),
        ("python:math.pi", "must name a function, got float"),
        ("command:no-such-program -x", "cannot be used: there is no program 'no-such-program'"),
        ("command:'", "cannot be split into words: No closing quotation"),
        ("command: ", "must name a program, got none"),
    ],
)
def test_a_malformed_contract_says_what_is_wrong(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=said) as caught:
        parse(text)
    assert str(caught.value).startswith(f"contract {text} ")


def test_a_function_or_a_contract_of_ones_own() -> None:
    keyword = parse("python:keyword.iskeyword")
    assert [keyword.valid(text) for text in ("if", "iff")] == [True, False]
    assert keyword.prefix("i") is None
    assert broken_at(keyword, ["i", "f", "f"]) is None
    own = parse(f"python:{__name__}.EVEN")
    assert own is EVEN or own.valid("ab")
    assert [own.label(token) for token in (" ,", "a", "</s>", " ")] == [",", None, "</s>", None]
    assert own.masks(None) is None


def test_a_module_of_the_current_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "checks_here.py").write_text("def short(text):\n    return len(text) < {'a': 3}[text[0]]", "utf-8")
    (tmp_path / "checks_broken.py").write_text("def short(:", "utf-8")
    assert parse("python:checks_here.short").valid("ab")
    with pytest.raises(ValueError, match=r"raised KeyError \('b'\) for an answer of 1 characters; .* return False"):
        parse("python:checks_here.short").valid("b")
    with pytest.raises(ValueError, match=r"^contract python:checks_broken.short cannot be imported: .*syntax"):
        parse("python:checks_broken.short")


def test_a_command_reads_the_answer_and_is_not_run_by_a_shell(tmp_path: Path) -> None:
    program = tmp_path / "judge.py"
    program.write_text("import sys\nsys.exit('é' not in sys.stdin.buffer.read().decode())", encoding="utf-8")
    command = parse(f"command:{sys.executable} {program}")
    assert [command.valid(text) for text in ("é;", "e")] == [True, False]
    marker = tmp_path / "marker"
    assert parse(f"command:{sys.executable} -c pass ; touch {marker}").valid("x")
    assert not marker.exists()


def test_a_command_that_hangs_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lambda_star.contract.programs.SECONDS", 0.2)
    command = parse(f"command:{sys.executable} -c 'import time; time.sleep(30)'")
    with pytest.raises(ValueError, match=r"did not end within 0\.2 s for an answer of 3 characters; "):
        command.valid("abc")


def test_json_works_without_the_extra_and_others_name_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("llguidance", "jsonschema"):
        monkeypatch.setitem(sys.modules, name, None)
    path = tmp_path / "schema.json"
    path.write_text("{}", encoding="utf-8")
    assert broken_at(parse("json"), ["[", "1", "}"]) == 2
    assert parse("yaml").valid("- a")
    for text in ("regex:a", f"json-schema:{path}"):
        with pytest.raises(ImportError, match=r"install it with: pip install 'lambda-star\[contract\]'$"):
            parse(text)
    with pytest.raises(ImportError, match=r"lambda-star\[contract\]"):
        parse("json").masks(object())


def test_masks_need_a_fast_tokenizer() -> None:
    pytest.importorskip("llguidance")
    with pytest.raises(ValueError, match=r"^tokenizer must be a fast tokenizer of transformers .*, got object$"):
        parse("json").masks(object())


def test_a_contract_gives_a_vocabulary_its_classes() -> None:
    found = classify(["Ġ[", "A7", "Ċ", "</s>"], parse("json"))
    assert (found.labels.tolist(), found.names) == ([0, -1, -1, 1], ("[", "</s>"))
    assert classify(["Ċ", "▁▁", ":"], parse("yaml")).names == ("newline", "space", ":")


def test_a_function_that_ends_the_program_is_an_error() -> None:
    with pytest.raises(ValueError, match="raised SystemExit"):
        parse(f"python:{__name__}.ends_the_program").valid("x")


def test_processes_that_a_command_leaves_behind_are_killed(tmp_path: Path) -> None:
    """The answer is valid as soon as the program has ended, whatever still holds its output open."""
    left = tmp_path / "left"
    contract = parse(f"command:sh -c 'echo $$ > {left}; sleep 60 & exit 0'")
    start = time.monotonic()
    assert contract.valid("x")
    assert time.monotonic() - start < 5
    group = int(left.read_text())
    for _ in range(100):
        if not _is_running(group):
            return
        time.sleep(0.05)
    raise AssertionError("the process that was left still runs")


def _is_running(group: int) -> bool:
    """Whether a process of a group runs; one that has ended and waits to be collected does not."""
    stats = [path.read_text().rpartition(")")[2].split() for path in Path("/proc").glob("[0-9]*/stat") if path.exists()]
    return any(int(stat[2]) == group and stat[0] != "Z" for stat in stats)


@pytest.mark.parametrize("pattern", ["a/b", r"a\/b", "a[/]b", r"a\x2fb"])
def test_a_slash_in_a_pattern_is_a_slash(pattern: str) -> None:
    contract = parse(f"regex:{pattern}")
    assert [contract.valid(text) for text in ("a/b", r"a\/b", "ab")] == [True, False, False]


def test_tools_must_be_a_list(tmp_path: Path) -> None:
    for text in ("5", '{"tools": 5}', "[5]", '[{"function": 5}]', "NaN", "null"):
        (tmp_path / "tools.json").write_text(text)
        with pytest.raises(ValueError, match="it must be a list of tools"):
            parse(f"function-call:{tmp_path / 'tools.json'}")
