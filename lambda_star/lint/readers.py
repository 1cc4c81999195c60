"""Read the settings of a YAML, JSON or shell file as text, each with its key and line."""

from __future__ import annotations

import io
import json
import re
import shlex
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import yaml

__all__ = ["Setting", "read_settings"]

HEREDOC = re.compile(r"((?<!<)<<-?[ \t]*(['\"]?)([A-Za-z_]\w*)\2.*\n)(?:.*\n)*?[ \t]*\3(?=\n|\Z)")
CONTINUATION = re.compile(r"^(?![ \t]*#)(.*)\\\n", re.MULTILINE)
OVERRIDE = re.compile(r"\+{0,2}([A-Za-z_][\w.@/]*)=(.*)", re.DOTALL)
ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
VALUED_FLAG = re.compile(r"--([A-Za-z][\w.-]*)=(.*)", re.DOTALL)
FLAG = re.compile(r"--([A-Za-z][\w.-]*)")
VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?::?[-=]([^{}]*))?\})")
SEPARATORS = ";&|()"
STARTS = ("export", "local", "declare", "readonly", "env", "then", "do", "else", "{")


class Setting(NamedTuple):
    """One value of a configuration, as text."""

    key: str
    value: str
    line: int


def read_settings(path: Path) -> list[Setting]:
    """Return the settings of a file in the order in which they are set."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise _broken(path, f"{error.strerror or error}; check the path") from error
    except UnicodeDecodeError as error:
        raise _broken(path, "the file is not UTF-8 text; check its type, or convert it to UTF-8") from error
    reader = _shell if re.match(r"#!.*sh\b", text) else READERS.get(path.suffix.lower())
    if reader is None:
        kind = f"a {path.suffix} file" if path.suffix else "a file without a suffix"
        raise _broken(path, f"cannot read {kind}; give one of {', '.join(READERS)}, or a shell script")
    try:
        return list(reader(path, text))
    except RecursionError as error:
        raise _broken(path, "the nesting is too deep, or an alias holds itself; write it out") from error


def _broken(path: Path, problem: str, line: int | None = None) -> ValueError:
    return ValueError(f"{path}{f', line {line}' if line else ''}: {problem}")


def _json(path: Path, text: str) -> Iterator[Setting]:
    try:
        json.loads(text, parse_int=str)  # an integer may have more digits than Python reads
    except json.JSONDecodeError as error:
        raise _broken(path, f"broken JSON ({error.msg} at column {error.colno}); correct it", error.lineno) from error
    # The YAML reader also reads JSON and keeps lines, but it refuses tabs, which JSON has only outside of strings.
    return _yaml(path, text.replace("\t", " "))


def _yaml(path: Path, text: str) -> Iterator[Setting]:
    import yaml

    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        if root is not None and not isinstance(root, yaml.MappingNode):
            problem = "the file is not a mapping of keys to values; give a configuration file"
            raise _broken(path, problem, root.start_mark.line + 1)
        settings = {} if root is None else {setting.key: setting for setting in _leaves(loader, root, "", 1)}
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)  # a character that YAML does not admit has none
        said = f"broken YAML ({getattr(error, 'problem', error)}); correct it"
        raise _broken(path, said, mark.line + 1 if mark else None) from error
    yield from settings.values()


def _leaves(loader: yaml.SafeLoader, node: yaml.Node, key: str, line: int) -> Iterator[Setting]:
    """Every scalar under its dotted key, as text; a mapping merged by ``<<`` comes before what overrides it."""
    import yaml

    if isinstance(node, yaml.MappingNode):
        loader.flatten_mapping(node)
        for name, value in node.value:
            inner = str(name.value)
            yield from _leaves(loader, value, f"{key}.{inner}" if key else inner, name.start_mark.line + 1)
    elif isinstance(node, yaml.SequenceNode):
        for place, value in enumerate(node.value):
            yield from _leaves(loader, value, f"{key}.{place}", value.start_mark.line + 1)
    else:
        yield Setting(key, node.value, line)


def _shell(path: Path, text: str) -> Iterator[Setting]:
    """Overrides and flags of every command, with the variables that are assigned before it or have a default."""
    variables: dict[str, str] = {}
    flag: re.Match[str] | None = None
    command, opening = -1, True
    for word, line, number in _words(path, text):
        opening = opening or number != command
        command = number
        if word in STARTS or {*word} <= {*SEPARATORS}:
            opening, flag = True, None
            continue
        value = _expand(word, variables)
        # A variable that stands alone may hold several options; a word in quotes may not.
        for part in value.split() if VARIABLE.fullmatch(word) else [value]:
            assignment = ASSIGNMENT.fullmatch(part) if opening else None
            if assignment:
                variables[assignment[1]] = assignment[2]
            elif match := OVERRIDE.fullmatch(part) or VALUED_FLAG.fullmatch(part):
                yield Setting(match[1].replace("-", "_"), match[2], line)
            elif flag and not opening and not FLAG.fullmatch(part):
                yield Setting(flag[1].replace("-", "_"), part, line)
            flag = FLAG.fullmatch(part)
            opening = assignment is not None


def _words(path: Path, text: str) -> Iterator[tuple[str, int, int]]:
    """Every word with its line and the number of line ends before it that close a command."""
    text = HEREDOC.sub(lambda match: match[1] + "\n" * (match[0].count("\n") - 1), text)
    # Two blanks replace a continuation, so that every character keeps its index and lines can still be counted.
    joined = CONTINUATION.sub(r"\1  ", text)
    lines, commands = ([place for place, mark in enumerate(t) if mark == "\n"] for t in (text, joined))
    stream = io.StringIO(joined)
    lexer = shlex.shlex(stream, posix=True, punctuation_chars=SEPARATORS)
    lexer.whitespace_split = True
    try:
        for word in lexer:
            end = stream.tell() - 1
            yield word, bisect_left(lines, end) + 1 - word.count("\n"), bisect_left(commands, end)
    except ValueError as error:
        line = len(lines) + 1 - lexer.token.count("\n")
        raise _broken(path, f"{error} in what opens here; close it, and write no quotes inside $(…)", line) from error


def _expand(word: str, variables: dict[str, str]) -> str:
    """The word with known variables and defaults put in, the innermost first; unknown variables stay as written."""

    def value(match: re.Match[str]) -> str:
        return variables.get(match[1] or match[2], match[0] if match[3] is None else match[3])

    for _ in range(word.count("$")):
        word = VARIABLE.sub(value, word)
    return word


READERS = dict.fromkeys([".yaml", ".yml"], _yaml) | {".json": _json} | dict.fromkeys([".sh", ".bash", ".slurm"], _shell)
