"""Synthetic measured rows, and their writers for every format."""

from __future__ import annotations

import csv
import json
import math
import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import strategies as st

from lambda_star.calibration.readers import read_table
from lambda_star.calibration.table import COLUMNS, Table, TableError, Top
from lambda_star.calibration.texts import Texts

Row = dict[str, Any]

ANSWER = ('["', "B7", '","', "A3", '","', "K1", '"]')
CONTENT = {"B7", "A3", "K1"}
POSITIONS = len(ANSWER)
CENTERS = {'["': (6.0, 4.0), '","': (5.0, 3.0), '"]': (4.0, 0.5)}
"""Teacher log-odds of a structural token, and how far the base lies below them."""


def log_probability(log_odds: float) -> float:
    return -math.log1p(math.exp(-log_odds))


def rows(answers: int = 12, seed: int = 0) -> list[Row]:
    """Answers that list three items in JSON; the positions of one answer share how sure the teacher is."""
    rng = random.Random(seed)
    made = []
    for answer in range(answers):
        shift = rng.gauss(0, 0.8)
        for position, modal in enumerate(ANSWER):
            center, gap = CENTERS.get(modal, (1.0, 0.5))
            log_odds = center + shift + rng.gauss(0, 0.3)
            token = modal if modal not in CONTENT or rng.random() < 0.7 else rng.choice(sorted(CONTENT))
            log_b = log_probability(log_odds - gap + rng.gauss(0, 0.5))
            values = (f"answer {answer}", position, token, modal, log_probability(log_odds), log_b)
            made.append(dict(zip(COLUMNS, values, strict=True)))
    return made


TAIL = ((" {}", 0.6, 0.1), ("(", 0.25, 0.2), ("<", 0.1, 0.4), (">", 0.05, 0.3))
"""Tokens of the tail, the first in the modal token's class, and their shares of the teacher's and base's tails."""


def with_top(made: Iterable[Row], listed: int = 2) -> list[Row]:
    """The rows, where punctuation lists its most probable tokens and the range of the other log-ratios."""
    return [row | (top_of(row, listed) if row["modal"] in CENTERS else {"top": None, "rest": None}) for row in made]


def top_of(row: Row, listed: int = 2) -> Row:
    """The first tokens of a row whose tail has the shares of ``TAIL``, and the range of the other log-ratios."""
    tail_p, tail_b = (math.log(-math.expm1(row[name])) for name in ("log_p", "log_b"))
    tokens = [(name.format(row["modal"]), tail_p + math.log(p), tail_b + math.log(b)) for name, p, b in TAIL]
    ratios = [log_p - log_b for _, log_p, log_b in tokens[listed:]]
    return {
        "top": [[row["modal"], row["log_p"], row["log_b"]], *map(list, tokens[:listed])],
        "rest": [min(ratios), max(ratios)],
    }


def top_from(entries: Iterable[Sequence[Any]], low: float | None = None, high: float | None = None) -> Top:
    """What a list of [token, log_p, log_b] is read as."""
    tokens, log_p, log_b = zip(*entries, strict=True)
    return Top(tokens, log_p, log_b, low, high)


def as_text(made: Iterable[Row]) -> list[Row]:
    """The rows with their lists as JSON text."""
    return [
        {
            name: json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value
            for name, value in row.items()
        }
        for row in made
    ]


def one(sequence: object, position: object, log_p: object, log_b: object, modal: object = '["', **more: object) -> Row:
    """One row, good or bad; with its token an answer stays the beginning of JSON."""
    return {
        "sequence": sequence,
        "position": position,
        "token": "[",
        "modal": modal,
        "log_p": log_p,
        "log_b": log_b,
    } | more


def write_csv(path: Path, made: Iterable[Row]) -> Path:
    made = as_text(made)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(made[0]))
        writer.writeheader()
        writer.writerows(made)
    return path


def write_jsonl(path: Path, made: Iterable[Row]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made), encoding="utf-8", newline="")
    return path


def write_parquet(path: Path, made: Iterable[Row]) -> Path:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(as_text(made)), path)
    return path


WRITERS: dict[str, Callable[[Path, Iterable[Row]], Path]] = {
    ".csv": write_csv,
    ".jsonl": write_jsonl,
    ".ndjson": write_jsonl,
    ".parquet": write_parquet,
}


def columns(table: Table) -> dict[str, Any]:
    """All columns of a table as lists, and its problems."""
    values = {name: getattr(table, name) for name in (*COLUMNS, "contract", "top")}
    plain = {name: value.tolist() if isinstance(value, np.ndarray | Texts) else value for name, value in values.items()}
    return plain | {"problems": table.problems}


# Files of lines, and what is said about a bad one

HEADER = ",".join(COLUMNS)
GOOD = "0,0,a,a,-1.5,-2.5"
HINT = r".*; correct it, or pass `keep_going=True` to leave bad rows out and list them$"
"""The remedy that the message about a bad row ends with, as a pattern."""


CHARACTERS = st.characters(codec="utf-8", exclude_characters="\0")
"""What text of a table may hold."""


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8", newline="")
    return path


def message(path: Path, **options: Any) -> str:
    """What the error about a file says, without the path that it must begin with."""
    with pytest.raises(TableError) as caught:
        read_table(path, **options)
    said = str(caught.value)
    assert said.startswith(str(path))
    return said.removeprefix(str(path))
