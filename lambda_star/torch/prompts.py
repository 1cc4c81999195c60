"""Prompts from files, and their token ids under a tokenizer's chat template."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Prompt", "read_prompts"]


JSON_LINES = (".jsonl", ".ndjson")


@dataclass(frozen=True)
class Prompt:
    """One prompt: a conversation, one message of a user, or a text that is sent as it stands.

    Attributes:
        content: the text, or the messages, each with a role and a content.
        plain: whether a text is sent as it stands, also to a tokenizer with a chat template.
        tools: the functions that the model may call, each as JSON values, for a chat template that shows them.

    >>> Prompt.of({"messages": [{"role": "user", "content": "Name a colour."}]}).messages[0]["content"]
    'Name a colour.'
    >>> Prompt.of("Name a colour.").messages
    [{'role': 'user', 'content': 'Name a colour.'}]
    """

    content: str | tuple[dict[str, Any], ...]
    plain: bool = False
    tools: tuple[dict[str, Any], ...] = ()

    @classmethod
    def of(cls, entry: Any) -> Prompt:
        """Make a prompt of a text, of a list of messages, or of an object that holds one of them."""
        if isinstance(entry, Prompt):
            return entry
        if isinstance(entry, Mapping):
            keys = [key for key in ("messages", "prompt", "text") if entry.get(key) is not None]
            if not keys:
                raise ValueError(f"a prompt must have messages, prompt or text, got {', '.join(map(str, entry))}")
            value = _from_cell(entry[keys[0]]) if keys[0] == "messages" else entry[keys[0]]
            return cls(cls.of(value).content, plain=keys[0] == "text", tools=_tools(entry))
        if isinstance(entry, str) and entry.strip():
            return cls(entry)
        messages = tuple(entry) if isinstance(entry, list | tuple) else ()
        if messages and all(isinstance(one, Mapping) and {"role", "content"} <= set(one) for one in messages):
            return cls(tuple(dict(one) for one in messages))
        raise ValueError(f"a prompt must be a text or messages with role and content, got {str(entry)[:60]!r}")

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The prompt as a conversation."""
        return [{"role": "user", "content": self.content}] if isinstance(self.content, str) else [*self.content]

    def ids(self, tokenizer: Any) -> list[int]:
        """Return the token ids of the prompt, by the tokenizer's chat template if it has one.

        A text in which the template's own special tokens already stand is sent as it is.
        """
        template = getattr(tokenizer, "chat_template", None)
        if not isinstance(self.content, str):
            if not template:
                raise ValueError("the tokenizer must have a chat template for prompts with messages, got none")
        elif self.plain or not template or any(token in self.content for token in tokenizer.all_special_tokens):
            return [int(token) for token in tokenizer(self.content)["input_ids"]]
        settings = {"tools": [*self.tools] or None, "tokenize": False, "add_generation_prompt": True}
        text = tokenizer.apply_chat_template(self.messages, **settings)
        return [int(token) for token in tokenizer(text, add_special_tokens=False)["input_ids"]]


def read_prompts(path: str | Path) -> list[Prompt]:
    r"""Return the prompts of a file whose suffix gives its format.

    Args:
        path: a .jsonl or .json file of texts, of lists of messages, or of objects with ``messages``, ``prompt`` or
            ``text``; a .txt file with one prompt on each line; or a .csv or .parquet file with a column of one of
            these names. A prompt becomes a user's message where the tokenizer has a chat template, and a ``text`` is
            sent as it stands. ``tools`` beside it go to the chat template.

    Returns:
        The prompts in the order of the file.

    Raises:
        ValueError: the file is missing, of another type, empty, or has a line that is not a prompt; the message gives
            the path and the line.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "prompts.jsonl")
    >>> _ = path.write_text('"Name a colour."\n{"prompt": "Name a fruit."}\n', encoding="utf-8")
    >>> [prompt.content for prompt in read_prompts(path)]
    ['Name a colour.', 'Name a fruit.']
    """
    path = Path(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"{path}: prompts must be in a file of one of {', '.join(READERS)}")
    try:
        prompts = [_prompt(path, line, entry) for line, entry in reader(path)]
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}; check the path") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: the file is not UTF-8 text; convert it to UTF-8") from error
    if not prompts:
        raise ValueError(f"{path} must hold at least one prompt, got none")
    return prompts


def _prompt(path: Path, line: int, entry: Any) -> Prompt:
    try:
        return Prompt.of(json.loads(entry) if path.suffix.lower() in JSON_LINES else entry)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, line {line}: a prompt must be JSON, got {entry!s:.60} ({error})") from None
    except ValueError as error:
        raise ValueError(f"{path}, line {line}: {error}") from None


def _from_cell(value: Any) -> Any:
    """The value of a member, which is JSON text in the cell of a table."""
    return json.loads(value) if isinstance(value, str) else value


def _tools(entry: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """The tools that stand beside a prompt."""
    tools = _from_cell(entry.get("tools") or [])
    if not isinstance(tools, list) or not all(isinstance(tool, Mapping) for tool in tools):
        raise ValueError(f"tools must be a list of objects, got {str(tools)[:60]!r}")
    return tuple(map(dict, tools))


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    with path.open(encoding="utf-8-sig") as file:
        yield from ((number, line.rstrip("\r\n")) for number, line in enumerate(file, start=1) if line.strip())


def _json(path: Path) -> Iterator[tuple[int, Any]]:
    text = path.read_text(encoding="utf-8-sig")
    try:
        content = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{path}: the file is not JSON ({error})") from None
    if not isinstance(content, list):
        raise ValueError(f"{path} must hold a list of prompts, got {type(content).__name__}")
    yield from enumerate(content, start=1)


def _csv(path: Path) -> Iterator[tuple[int, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        yield from ((reader.line_num, row) for row in reader)


def _parquet(path: Path) -> Iterator[tuple[int, Any]]:
    from pyarrow import ArrowException, parquet

    try:
        rows = parquet.read_table(path).to_pylist()
    except ArrowException as error:
        raise ValueError(f"{path}: the file is damaged or not a Parquet file ({error})") from error
    yield from enumerate(rows, start=1)


READERS: dict[str, Callable[[Path], Iterable[tuple[int, Any]]]] = {
    ".jsonl": _lines,
    ".ndjson": _lines,
    ".json": _json,
    ".txt": _lines,
    ".csv": _csv,
    ".parquet": _parquet,
}
