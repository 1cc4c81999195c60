"""The file of a rehearsal: JSON lines, first the settings, then one answer per line, each on disk once it is drawn.

When the rehearsal is complete its lines are put in the order of λ, prompt and sample: which answers ended first depends
on where the run was stopped.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from lambda_star._core.files import go_on, write_whole
from lambda_star.calibration.table import Problem
from lambda_star.rehearsal.answers import Answer, Rehearsal

__all__ = ["SCHEMA", "Recorder", "differences", "read_rehearsal"]

SCHEMA = "lambda-star/rehearsal/1"

FREE = {"version"}
"""Settings that may differ when a run is resumed."""


def read_rehearsal(path: str | Path) -> Rehearsal:
    """Return the rehearsal in a file, whether or not it is finished.

    Args:
        path: a file that :func:`lambda_star.torch.rehearse` or ``lambda-star rehearse`` wrote.

    Returns:
        A :class:`Rehearsal`. Lines that cannot be used are left out and stand in its ``problems``; a run that was
        killed may leave a last line that is cut.

    Raises:
        ValueError: the file is not a rehearsal, or holds no answer.
        OSError: the file cannot be read.

    >>> from tempfile import mkdtemp
    >>> path = Path(mkdtemp()) / "rehearsal.jsonl"
    >>> with Recorder(path, {"seed": 0}) as recorder:
    ...     recorder.add(Answer(1.25, 0, 0, "[]", 2, True, True))
    >>> read_rehearsal(path).lams
    (1.25,)
    """
    found, _ = _read(Path(path))
    if not found.answers:
        raise ValueError(f"{path} must hold answers, got a header alone; run the rehearsal first")
    return found


class Recorder:
    """The answers of a running rehearsal, each in its file as soon as it is there.

    Args:
        path: the file; one that holds answers of the same settings is resumed, and one that is left without an error
            is in order. None keeps the answers in memory.
        header: the settings.

    Raises:
        ValueError: the file is not a rehearsal, or was written with other settings; the message says which differ.
        OSError: the file cannot be read or written.

    >>> with Recorder(None, {"seed": 0}) as recorder:
    ...     recorder.add(Answer(1.0, 0, 0, "[]", 2, True))
    >>> recorder.rehearsal.lams, (1.0, 0, 0) in recorder
    ((1.0,), True)
    """

    def __init__(self, path: str | Path | None, header: dict[str, Any]) -> None:
        self.header: dict[str, Any] = {"schema": SCHEMA, **header}
        self._answers: dict[tuple[float, int, int], Answer] = {}
        self._problems: tuple[Problem, ...] = ()
        self._file = None
        if path is None:
            return
        self._path = Path(path)
        whole = self._resume(self._path) if self._path.exists() and self._path.stat().st_size else 0
        self._file = go_on(self._path, whole, _line(self.header), "rehearsal")

    def _resume(self, path: Path) -> int:
        """Take over the answers of a file, and return the number of bytes that its whole lines take."""
        found, whole = _read(path)
        if not found.answers and not found.problems:  # a run that stopped before its first answer has nothing to lose
            return 0
        if wrong := differences(found.header, self.header):
            raise ValueError(f"{path} was written with other settings ({wrong}); choose another file, or remove this")
        self.header, self._problems = found.header, found.problems
        self._answers = {answer.key: answer for answer in found.answers}
        return whole

    def add(self, answer: Answer) -> None:
        """Keep an answer."""
        self._answers[answer.key] = answer
        if self._file is not None:
            values = asdict(answer)
            self._file.write(_line({name: value for name, value in values.items() if value not in (None, {})}))
            self._file.flush()

    def __contains__(self, key: tuple[float, int, int]) -> bool:
        return key in self._answers

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._file is None:
            return
        with self._file:
            os.fsync(self._file.fileno())
            if kind is None:
                self._sort(self._file)

    def _sort(self, file: IO[bytes]) -> None:
        """Put the lines of the file in order, unless some of them cannot be used: they keep their places."""
        found, _ = _read(self._path)
        if found.problems:
            return
        file.seek(0)
        header, *lines = file.readlines()
        ordered = sorted(lines, key=lambda line: Answer(**json.loads(line)).key)
        if ordered != lines:
            if os.name == "nt":  # where no open file is replaced
                file.close()
            write_whole(self._path, header + b"".join(ordered), kind="rehearsal")

    @property
    def rehearsal(self) -> Rehearsal:
        """All answers so far, those of the resumed run among them."""
        ordered = tuple(self._answers[key] for key in sorted(self._answers))
        return Rehearsal(self.header, ordered, self._problems)


def _line(values: dict[str, Any]) -> bytes:
    text = json.dumps(values, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode(errors="replace") + b"\n"


def differences(there: dict[str, Any], here: dict[str, Any]) -> str:
    """Return what differs between the settings of a file and those of a run, as text; empty if nothing does.

    >>> differences({"seed": 0, "version": "1.0"}, {"seed": 1, "version": "1.1"})
    'seed: 0 there, 1 here'
    """
    names = sorted((there.keys() | here.keys()) - FREE)
    wrong = [name for name in names if there.get(name) != here.get(name)]
    return "; ".join(f"{name}: {there.get(name)!r} there, {here.get(name)!r} here" for name in wrong)


def _read(path: Path) -> tuple[Rehearsal, int]:
    """The rehearsal in a file, and the number of bytes that its whole lines take."""
    content = path.read_bytes()
    *lines, cut = content.split(b"\n")
    problems = [Problem(len(lines) + 1, "the line is cut, so its answer was left out")] if cut else []
    try:
        header = json.loads(lines[0])
        known = header["schema"] == SCHEMA
    except (IndexError, KeyError, TypeError, ValueError, RecursionError):
        known = False
    if not known:
        raise ValueError(f"{path}, line 1: the header of a rehearsal ({SCHEMA}) must stand here, got none")
    answers: dict[tuple[float, int, int], Answer] = {}
    for number, line in enumerate(lines[1:], start=2):
        answer = _answer(line)
        if isinstance(answer, Answer) and answers.setdefault(answer.key, answer) is not answer:
            answer = f"λ = {answer.lam:g}, prompt {answer.prompt}, sample {answer.sample} came before"
        if isinstance(answer, str):
            problems.append(Problem(number, f"{answer}; the line was left out"))
    return Rehearsal(header, tuple(answers.values()), tuple(problems)), len(content) - len(cut)


def _answer(line: bytes) -> Answer | str:
    """The answer in a line, or a sentence about what is wrong with it."""
    try:
        answer = Answer(**json.loads(line))
    except (TypeError, ValueError, RecursionError) as error:
        return f"the line is not an answer ({error})"
    for names, holds, what in CHECKS:
        for name in names:
            if not holds(getattr(answer, name)):
                return f"{name} must be {what}, got {getattr(answer, name)!r}"
    return answer


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


CHECKS: tuple[tuple[tuple[str, ...], Callable[[Any], bool], str], ...] = (
    (("lam",), lambda value: _is_number(value) and value >= 0, "a number of at least 0"),
    (("prompt", "sample", "tokens"), _is_count, "a whole number of at least 0"),
    (("text",), lambda value: isinstance(value, str), "text"),
    (("ended",), lambda value: isinstance(value, bool), "true or false"),
    (("valid",), lambda value: value is None or isinstance(value, bool), "true, false or left out"),
    (("broken_at",), lambda value: value is None or _is_count(value), "a whole number of at least 0, or left out"),
    (("broken_class",), lambda value: value is None or isinstance(value, str), "text or left out"),
    (
        ("metrics",),
        lambda value: isinstance(value, dict) and all(map(_is_number, value.values())),
        "numbers by name",
    ),
)
"""What every value of an answer must be."""
