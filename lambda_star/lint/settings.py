"""A setting of a configuration as text, the settings of a whole file, and the error of a file that cannot be read."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from lambda_star.lint.sweeps import LONGEST, values

__all__ = ["MOST_SETTINGS", "UNSET", "Budget", "Setting", "Settings", "broken", "cut"]

UNSET = ("", "null", "none", "~", "false")
INTERPOLATION = re.compile(r"\$\{([A-Za-z_][\w.]*)\}")
LONGEST_REFERENCE = 100
"""References in a longer value are left alone, so that references to references cannot fill the memory."""

DEEPEST = 5
"""An interpolation may lead to another one so many times."""

MOST_SETTINGS = 10_000
"""A file with more settings is refused: aliases of YAML can stand for more of them than fit into memory."""


MOST_MADE = 3_000_000
"""The characters that variables may stand for in all places of a file; one that needs more was not written by hand."""


class Setting(NamedTuple):
    """One value of a configuration, as text; ``scope`` is the name of the Python call that has it as an argument."""

    key: str
    value: str
    line: int | None
    scope: str = ""

    @property
    def is_set(self) -> bool:
        """Whether the value is anything but nothing or false."""
        return self.value.strip().lower() not in UNSET

    @property
    def number(self) -> float:
        """The least value, which of several bounds is the tightest; NaN if one of them cannot be read."""
        found = values(self.value)
        numbers = [value for value in found if isinstance(value, float)]
        return min(numbers) if len(numbers) == len(found) else math.nan


class Settings:
    """The settings of a file, with references from one to another resolved."""

    def __init__(self, found: Sequence[Setting]) -> None:
        known = {setting.key: setting.value for setting in found}
        for _ in range(DEEPEST):
            found = [
                setting._replace(value=cut(INTERPOLATION.sub(lambda name: known.get(name[1], name[0]), setting.value)))
                if "${" in setting.value and len(setting.value) <= LONGEST_REFERENCE
                else setting
                for setting in found
            ]
        self.found = tuple(found)

    def all(self, pattern: str, scope: str = "(?!dict$).*") -> Iterator[Setting]:
        """Yield the settings whose whole key, and the scope of which, match a pattern."""
        for setting in self.found:
            if re.fullmatch(pattern, setting.key) and re.fullmatch(scope, setting.scope):
                yield setting

    def last(self, pattern: str, scope: str = "(?!dict$).*") -> Setting | None:
        """Return the last setting of a key, which counts in YAML and in Hydra, or None if it leaves the key unset."""
        last: Setting | None = None
        for last in self.all(pattern, scope):  # noqa: B007
            pass
        return last if last and last.is_set else None

    def has(self, pattern: str, value: str = ".*") -> bool:
        """Whether some setting has a key, and a value, that match the patterns."""
        return any(re.fullmatch(value, setting.value.strip(), re.IGNORECASE) for setting in self.all(pattern))

    def number(self, pattern: str, default: float = math.nan) -> float:
        """Return the value of a key as a number; NaN if it cannot be read, and the default if it is unset."""
        last = self.last(pattern)
        return last.number if last else default


class Budget:
    """How much text the variables of a file may still make."""

    def __init__(self, path: Path) -> None:
        self.path, self.left = path, MOST_MADE

    def spend(self, length: int) -> None:
        """Take so many characters, or raise the error of a file that cannot be read."""
        self.left -= length
        if self.left < 0:
            raise broken(self.path, "its variables stand for too many values, or too long ones; write the values out")


def cut(value: str) -> str:
    """Return a value, of a long one only as much as can be told to be unreadable."""
    return value if len(value) <= LONGEST else f"{value[:LONGEST]}…"


def broken(path: Path, problem: str, line: int | None = None) -> ValueError:
    """Return the error of a file that cannot be read, with its line and what to do."""
    return ValueError(f"{path}{f', line {line}' if line else ''}: {problem}")
