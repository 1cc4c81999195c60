"""Read the settings of a configuration file as text, each with its key and line."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lambda_star.lint import python_source, shell
from lambda_star.lint.settings import MOST_SETTINGS, Setting, broken, cut

if TYPE_CHECKING:
    import yaml

__all__ = ["MOST_BYTES", "read_settings"]

MOST_BYTES = 100_000
"""A larger file is not read: no configuration is that long, and some readers take a time that grows with the square."""

LONGEST_KEY = 5000
MERGE = "tag:yaml.org,2002:merge"
MOST_MERGES = 100
"""A mapping of YAML that merges more others was not written by hand."""

MOST_TEXT = 1_000_000
"""The characters of all keys and values together, of which aliases and variables can make more than a file has."""

TABLE = re.compile(r"\s*\[{1,2}([^\[\]]+)\]{1,2}\s*(#.*)?")
DEEP = re.compile(r"""(?<![\w-])(?:(?:[\w-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*){50}""")
"""A dotted key that nobody writes, and for which the reader of TOML takes a time that grows with its square."""


DEEP_NESTING = "the nesting is too deep, or an alias holds itself; write it out"


def read_settings(path: Path) -> list[Setting]:
    """Return the settings of a file in the order in which they are set."""
    text = _text(path)
    first = text.partition("\n")[0]
    reader = READERS.get(path.suffix.lower())
    if first.startswith("#!"):
        reader = shell.read if re.search(r"sh\b", first) else python_source.read if "python" in first else reader
    if reader is None:
        kind = f"a {path.suffix} file" if path.suffix else "a file without a suffix"
        raise broken(path, f"cannot read {kind}; give one of {', '.join(READERS)}, or a shell script")
    found, length = [], 0
    try:
        for setting in reader(path, text):
            found.append(setting._replace(value=cut(setting.value)))
            length += len(setting.key) + len(found[-1].value)
            if len(found) > MOST_SETTINGS or length > MOST_TEXT:
                many = f"more than {MOST_SETTINGS:,} settings, or {MOST_TEXT:,} characters of them"
                raise broken(path, f"{many}; give a configuration file")
    except RecursionError as error:
        raise broken(path, DEEP_NESTING) from error
    return found


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise broken(path, f"the file is larger than {MOST_BYTES:,} bytes; give a configuration file")
        return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except OSError as error:
        raise broken(path, f"{error.strerror or error}; check the path") from error
    except UnicodeDecodeError as error:
        raise broken(path, "the file is not UTF-8 text; check its type, or convert it to UTF-8") from error


def _json(path: Path, text: str) -> Iterator[Setting]:
    try:
        json.loads(text, parse_int=str)  # an integer may have more digits than Python reads
    except json.JSONDecodeError as error:
        raise broken(path, f"broken JSON ({error.msg} at column {error.colno}); correct it", error.lineno) from error
    # The YAML reader also reads JSON and keeps lines, but it refuses tabs, which JSON has only outside of strings.
    return _yaml(path, text.replace("\t", " "))


def _yaml(path: Path, text: str) -> Iterator[Setting]:
    import yaml

    class Loader(yaml.SafeLoader):
        """A loader that stops where merges of merges would fill the memory."""

        def flatten_mapping(self, node: yaml.MappingNode) -> None:
            merges = [value for key, value in node.value if key.tag == MERGE]
            if sum(len(one.value) if isinstance(one, yaml.SequenceNode) else 1 for one in merges) > MOST_MERGES:
                raise broken(path, f"a mapping merges more than {MOST_MERGES} others; write them out")
            super().flatten_mapping(node)
            if len(node.value) > MOST_SETTINGS:
                raise broken(path, "a mapping stands for too many settings; write merged ones out")

    try:
        loader = Loader(text)
        root = loader.get_single_node()
        if root is not None and not isinstance(root, yaml.MappingNode):
            problem = "the file is not a mapping of keys to values; give a configuration file"
            raise broken(path, problem, root.start_mark.line + 1)
        leaves = [] if root is None else list(islice(_leaves(loader, root, "", 1), MOST_SETTINGS + 1))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)  # a character that YAML does not admit has none
        said = f"broken YAML ({getattr(error, 'problem', error)}); correct it"
        raise broken(path, said, mark.line + 1 if mark else None) from error
    # More leaves than are admitted go on to the check of their number; of a key that is set twice the last one counts.
    yield from leaves if len(leaves) > MOST_SETTINGS else {leaf.key: leaf for leaf in leaves}.values()


def _leaves(loader: yaml.SafeLoader, node: yaml.Node, key: str, line: int) -> Iterator[Setting]:
    """Every scalar under its dotted key, as text; a mapping merged by ``<<`` comes before what overrides it."""
    import yaml

    if len(key) > LONGEST_KEY:
        raise yaml.YAMLError("a key is too long")
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


def _toml(path: Path, text: str) -> Iterator[Setting]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    if DEEP.search(text):
        raise broken(path, DEEP_NESTING)
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"at line (\d+)", str(error))
        said = f"broken TOML ({str(error).partition(' (')[0]}); correct it"
        raise broken(path, said, int(place[1]) if place else None) from error
    lines = _toml_lines(text)
    for key, value in _items(values, ""):
        yield Setting(key, value, lines.get(key) or lines.get(re.sub(r"\.\d+", "", key)))


def _items(value: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for name, inner in pairs:
            yield from _items(inner, f"{key}.{name}" if key else str(name))
    else:
        yield key, str(value).lower() if isinstance(value, bool) else str(value)


def _toml_lines(text: str) -> dict[str, int]:
    """The line of each key, as far as it stands in a line of its own: the TOML reader does not tell."""
    table, lines = "", {}
    for number, line in enumerate(text.splitlines(), 1):
        if head := TABLE.fullmatch(line):
            table = f"{_plain_key(head[1])}."
        elif "=" in line:
            lines[table + _plain_key(line.partition("=")[0])] = number
    return lines


def _plain_key(key: str) -> str:
    return ".".join(part.strip().strip("'\"") for part in key.split("."))


READERS = (
    dict.fromkeys([".yaml", ".yml"], _yaml)
    | {".json": _json, ".toml": _toml}
    | dict.fromkeys([".sh", ".bash", ".slurm"], shell.read)
    | {".py": python_source.read}
)
