"""Answers on file: those of a run, each there as soon as it is drawn or scored, and those that a user brings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from lambda_star._core.files import go_on
from lambda_star.rehearsal.record import differences
from lambda_star.torch.pairs import Pair
from lambda_star.torch.prompts import Prompt

__all__ = ["AnswerLog", "Given", "read_answers"]

SCHEMA = "lambda-star/answers/1"


@dataclass(frozen=True)
class Given:
    """An answer that is there already: its prompt, and its tokens or its text.

    >>> Given(Prompt.of("Name a colour."), text="blue").text
    'blue'
    """

    prompt: Prompt
    text: str = ""
    tokens: tuple[int, ...] = ()
    ended: bool = True

    def ids(self, pair: Pair) -> list[int]:
        """Return the token ids of the answer, with the token that ends it."""
        if self.tokens:
            for token in self.tokens:
                if not 0 <= token < pair.vocabulary:
                    raise ValueError(
                        f"tokens must lie in [0, {pair.vocabulary}), got {token}; is this their tokenizer?"
                    )
            return [*self.tokens]
        ids = [int(token) for token in pair.tokenizer(self.text, add_special_tokens=False)["input_ids"]]
        ids += [pair.tokenizer.eos_token_id] if self.ended else []
        if not ids:
            raise ValueError("an answer must have at least one token, got none")
        return ids


def read_answers(path: str | Path, prompts: Sequence[Prompt] | None = None) -> list[Given]:
    """Return the answers of a JSON-lines file.

    Args:
        path: the file. A line is an object with ``tokens`` or ``text``, the answer, and ``messages`` or ``prompt``;
            a prompt may also be its number in ``prompts``. With ``"ended": false`` a text was cut by a limit.
        prompts: the prompts of lines without one: the answer in line n is to prompt n.

    Returns:
        The answers in the order of the file.

    Raises:
        ValueError: the file cannot be read, or a line is not an answer; the message gives the path and the line.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "answers.jsonl")
    >>> _ = path.write_text('{"prompt": "Name a colour.", "text": "blue"}', encoding="utf-8")
    >>> read_answers(path)[0].text
    'blue'
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}; check the path") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: the file is not UTF-8 text; convert it to UTF-8") from error
    filled = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    found = [_given(Path(path), number, line, at, prompts) for at, (number, line) in enumerate(filled)]
    if not found:
        raise ValueError(f"{path} must hold at least one answer, got none")
    return found


def _given(path: Path, number: int, line: str, at: int, prompts: Sequence[Prompt] | None) -> Given:
    try:
        record = json.loads(line)
        if not isinstance(record, dict) or not (record.get("tokens") or isinstance(record.get("text"), str)):
            raise ValueError("an answer must be an object with tokens or text")
        asked = record.get("messages") or record.get("prompt", at)
        if isinstance(asked, int):
            if not prompts or not 0 <= asked < len(prompts):
                raise ValueError(f"prompt {asked} must be in the file of prompts, which has {len(prompts or ())}")
            asked = prompts[asked]
        tokens = tuple(map(int, record.get("tokens") or ()))
        return Given(Prompt.of(asked), str(record.get("text", "")), tokens, bool(record.get("ended", True)))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}, line {number}: {error}") from None


@dataclass
class AnswerLog:
    """The answers of a run by their number, and the rows of those that are scored, kept in a file line by line.

    Args:
        path: the file; one with the same settings is gone on with, and a last line that is cut is dropped. None keeps
            everything in memory.
        settings: what the answers depend on.

    Raises:
        ValueError: the file is another one, or was written with other settings; the message says which differ.

    >>> with AnswerLog(None, {"seed": 0}) as log:
    ...     log.add_answer(3, [5, 2])
    >>> log.answers
    {3: [5, 2]}
    """

    path: Path | None
    settings: dict[str, Any]
    answers: dict[int, list[int]] = field(default_factory=dict)
    rows: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    _file: IO[bytes] | None = None

    def __enter__(self) -> AnswerLog:
        if self.path is None:
            return self
        header = {"schema": SCHEMA, **self.settings}
        content = self.path.read_bytes() if self.path.exists() else b""
        whole = self._resume(content, header) if content else 0
        self._file = go_on(self.path, whole, _line(header), "answers")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def _resume(self, content: bytes, header: dict[str, Any]) -> int:
        """Take over what a file holds, and return the number of bytes that its whole lines take."""
        *lines, cut = content.split(b"\n")
        there, *records = [*map(_object, lines)] or [{}]
        if there.get("schema") != SCHEMA:
            raise ValueError(f"{self.path}, line 1: the header of answers ({SCHEMA}) must stand here, got none")
        if not records:  # a run that stopped before its first answer has nothing to lose
            return 0
        if wrong := differences(there, json.loads(json.dumps(header))):
            raise ValueError(
                f"{self.path} holds answers that were made with other settings ({wrong}); choose another table to "
                "write, or remove this file"
            )
        for record in records:
            if "tokens" in record:
                self.answers[record["answer"]] = record["tokens"]
            elif "rows" in record:
                self.rows[record["answer"]] = record["rows"]
        return len(content) - len(cut)

    def add_answer(self, number: int, tokens: Sequence[int], **more: Any) -> None:
        """Keep an answer."""
        self.answers[number] = [*tokens]
        self._write({"answer": number, **more, "tokens": [*tokens]})

    def add_rows(self, number: int, rows: Iterable[Mapping[str, Any]]) -> None:
        """Keep the rows of an answer."""
        self.rows[number] = [dict(row) for row in rows]
        self._write({"answer": number, "rows": self.rows[number]})

    def _write(self, record: dict[str, Any]) -> None:
        if self._file is not None:
            self._file.write(_line(record))
            self._file.flush()


def _line(record: dict[str, Any]) -> bytes:
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode(errors="replace") + b"\n"


def _object(line: bytes) -> dict[str, Any]:
    """The object in a line; a line that is damaged holds none, and its answer is made again."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}
