"""Read the overrides and flags of a shell script, with every value that its variables and loops give them."""

from __future__ import annotations

import io
import re
import shlex
from bisect import bisect_left
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from lambda_star.lint.settings import Budget, Setting, broken
from lambda_star.lint.sweeps import DEEPEST, LONGEST, MOST_VALUES

__all__ = ["read"]

HEREDOC = re.compile(r"(?<!<)<<-?[ \t]*(['\"]?)([A-Za-z_]\w*)\1")
CONTINUATION = re.compile(r"^(?![ \t]*#)(.*)\\\n", re.MULTILINE)
OVERRIDE = re.compile(r"\+{0,2}([A-Za-z_][\w.@/]*)=(.*)", re.DOTALL)
ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
VALUED_FLAG = re.compile(r"--([A-Za-z][\w.-]*)=(.*)", re.DOTALL)
FLAG = re.compile(r"--([A-Za-z][\w.-]*)")
VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?::?[-=]([^{}]*))?\})")
ELEMENT = re.compile(r"\$\{(\w+)\[([^]]*)\]\}")
SEPARATORS = ";&|()"
STARTS = (
    "export",
    "local",
    "declare",
    "readonly",
    "env",
    "then",
    "do",
    "done",
    "else",
    "elif",
    "while",
    "until",
    "{",
    "!",
)
BRANCHES = {"if": 1, "case": 1, "fi": -1, "esac": -1}
LOOPS = ("for", "select")
SEQUENCE = re.compile(r"\$ \( seq (?:-s \S+ )?([-+.\d]+)(?: ([-+.\d]+))?(?: ([-+.\d]+))? \)")


def read(path: Path, text: str) -> Iterator[Setting]:
    """Yield the overrides and flags of every command, in the order of the script.

    A variable stands for what is assigned to it before or for its default. One that a loop or a branch gives several
    values stands for each of them, and the setting then reads like a sweep: ``1.0,1.25``.
    """
    script = _Script(Budget(path))
    command = -1
    for word, line, number in _words(path, text):
        if number != command:
            yield from script.end_of_command()
            command = number
        yield from script.word(word, line)
    yield from script.end_of_command()


class _Script:
    """The state of a script: variables with their alternatives, and where in a command the next word stands."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.variables: dict[str, list[str]] = {}
        self.arrays: dict[str, list[str]] = {}
        self.array: str | None = None
        self.flag: tuple[str, int] | None = None
        self.loop: list[str] | None = None
        self.opening = True
        self.branches = 0
        self.arithmetic = False
        self.after = ""

    def end_of_command(self) -> Iterator[Setting]:
        """Close what a line end closes: a loop's list of words, and a command whose last flag has no value."""
        if self.loop is not None:
            self._close_loop()
        if self.array is None:
            yield from self._switch()
            self.opening, self.after = True, ""

    def word(self, word: str, line: int) -> Iterator[Setting]:
        """Take the next word of the script, and yield what it sets."""
        if {*word} <= {*SEPARATORS}:
            yield from self._separator(word)
        elif self.arithmetic:
            return
        elif self.loop is not None:
            self.loop.append(word)
        elif word in STARTS and self.array is None:
            yield from self._switch()
            self.opening = True
        elif self.opening and word in {*BRANCHES, *LOOPS}:
            self.branches = max(0, self.branches + BRANCHES.get(word, 0))
            self.loop = [] if word in LOOPS else None
        else:
            yield from self._part(word, line)

    def _separator(self, word: str) -> Iterator[Setting]:
        self.arithmetic = "((" in word or (self.arithmetic and "))" not in word)
        if self.loop is not None:
            if word[0] in "()":
                self.loop.append(word[0])
            if ";" in word or word == "((":
                self._close_loop()
        if word == "(" and self.after.endswith("="):
            self.array = self.after.rstrip("+=")
            self.arrays[self.array] = self.arrays.get(self.array, []) if self.after.endswith("+=") else []
        elif ")" in word:
            self.array = None
        yield from self._switch()
        self.opening, self.after = self.array is None, word

    def _part(self, word: str, line: int) -> Iterator[Setting]:
        """Overrides, flags and their values, and the assignments in front of a command."""
        alternatives = self._expand(word)
        if self.array is not None:
            self.arrays[self.array] += alternatives
        # A variable that stands alone may hold several options; a word in quotes may not.
        if VARIABLE.fullmatch(word) and len(alternatives) == 1:
            for part in alternatives[0].split():
                yield from self._take([part], line)
        else:
            yield from self._take(alternatives, line)

    def _take(self, parts: list[str], line: int) -> Iterator[Setting]:
        assignments = [ASSIGNMENT.fullmatch(part) for part in parts] if self.opening else []
        if assignments and all(assignments):
            self._assign([match for match in assignments if match])
            self.after = parts[0]
            return
        settings = [match for part in parts if (match := OVERRIDE.fullmatch(part) or VALUED_FLAG.fullmatch(part))]
        flag = FLAG.fullmatch(parts[0])
        if len(settings) == len(parts):
            yield from self._switch()
            for key in dict.fromkeys(match[1] for match in settings):
                found = ",".join(dict.fromkeys(match[2] for match in settings if match[1] == key))
                yield Setting(key.replace("-", "_"), found, line)
        elif flag:
            yield from self._switch()
            self.flag = flag[1], line
        elif self.flag and not self.opening:
            yield Setting(self.flag[0].replace("-", "_"), ",".join(dict.fromkeys(parts)), line)
            self.flag = None
        self.opening, self.after = False, parts[0]

    def _switch(self) -> Iterator[Setting]:
        """A flag to which no value followed is switched on."""
        if self.flag:
            yield Setting(self.flag[0].replace("-", "_"), "true", self.flag[1])
            self.flag = None

    def _assign(self, matches: list[re.Match[str]]) -> None:
        """Set a variable; in a branch and after ``&&`` or ``||`` it may also keep what it had."""
        name = matches[0][1]
        kept = self.variables.get(name, []) if self.branches or self.after in {"&&", "||"} else []
        self.budget.spend(len(kept))
        self.variables[name] = list(dict.fromkeys([*kept, *(match[2] for match in matches)]))[: MOST_VALUES + 1]

    def _close_loop(self) -> None:
        """Give the variable of a loop every word that it runs over."""
        name, *words = self.loop or [""]
        self.loop = None
        if words[:1] != ["in"]:
            return
        found = []
        counted = SEQUENCE.fullmatch(" ".join(words[1:]))
        for word in [] if counted else words[1:]:
            element = ELEMENT.fullmatch(word)
            expanded = self.arrays.get(element[1], [word]) if element else self._expand(word)
            # A variable without quotes falls into words; one in quotes cannot be told from it any more.
            found += [part for value in expanded for part in (value.split() if word.startswith("$") else [value])]
            self.budget.spend(len(expanded))
        self.variables[name] = _sequence(counted) if counted else list(dict.fromkeys(found))

    def _expand(self, word: str) -> list[str]:
        """The word with known variables and defaults put in, the innermost first, once for each of their values.

        Unknown variables stay as written.
        """
        found = [word]
        for _ in range(min(word.count("$"), DEEPEST) if len(word) <= LONGEST else 0):
            further = list(dict.fromkeys(islice((new for old in found for new in self._once(old)), MOST_VALUES + 1)))
            if further == found:
                break
            found = further
        return found

    def _once(self, word: str) -> list[str]:
        """The word with its first known variable put in."""
        for match in (*VARIABLE.finditer(word), *ELEMENT.finditer(word)):
            if (known := self._known(match)) and len(word) + max(map(len, known)) <= LONGEST:
                self.budget.spend(sum(len(word) + len(value) for value in known))
                return [word[: match.start()] + value + word[match.end() :] for value in known]
        return [word]

    def _known(self, match: re.Match[str]) -> list[str] | None:
        if match.re is ELEMENT:
            return None if match[2] in {"@", "*"} else self.arrays.get(match[1])
        known = self.variables.get(match[1] or match[2])
        return known if match[3] is None else [value or match[3] for value in known or [""]]


def _sequence(counted: re.Match[str]) -> list[str]:
    """The numbers of ``seq``, its end among them; the text itself where there are none."""
    given = [number for number in counted.groups() if number]
    try:
        first, step, last = map(float, (["1", "1", *given], [given[0], "1", *given[1:]], given)[len(given) - 1])
        count = min(int((last - first) / step + 1e-9) + 1, MOST_VALUES + 1)
    except (ValueError, ZeroDivisionError, OverflowError):
        return [counted[0]]
    return [f"{first + index * step:.12g}" for index in range(count)] or [counted[0]]


def _words(path: Path, text: str) -> Iterator[tuple[str, int, int]]:
    """Every word with its line and the number of line ends before it that close a command."""
    text = _without_documents(text).removesuffix("\\")  # a continuation that nothing follows
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
        raise broken(path, f"{error} in what opens here; close it, and write no quotes inside $(…)", line) from error


def _without_documents(text: str) -> str:
    """The text with empty lines in place of its here-documents that end; the others are read as commands."""
    lines = text.split("\n")
    places: dict[str, list[int]] = {}
    for place, line in enumerate(lines):
        places.setdefault(line.lstrip(" \t"), []).append(place)
    place = 0
    while place < len(lines):
        opened = HEREDOC.search(lines[place])
        ends = places.get(opened[2], []) if opened else []
        place += 1
        if (after := bisect_left(ends, place)) < len(ends):
            end = ends[after] + 1
            lines[place:end] = [""] * (end - place)
            place = end
    return "\n".join(lines)
