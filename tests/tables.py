"""Synthetic measured rows, and their writers for every format."""

from __future__ import annotations

import csv
import json
import math
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from lambda_star.io import COLUMNS, Table

Row = dict[str, Any]

ANSWER = ('["', "B7", '","', "A3", '","', "K1", '"]')
CONTENT = {"B7", "A3", "K1"}
POSITIONS = len(ANSWER)
CENTERS = {'["': (6.0, 4.0), '","': (5.0, 3.0), '"]': (4.0, 0.5)}
"""Teacher log-odds of a structural token, and how far below them the base is."""


def log_probability(log_odds: float) -> float:
    return -math.log1p(math.exp(-log_odds))


def rows(answers: int = 12, seed: int = 0) -> list[Row]:
    """Answers that list three items in JSON; what makes one answer sure makes all its positions sure."""
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


def one(sequence: object, position: object, log_p: object, log_b: object, modal: object = '["', **more: object) -> Row:
    """One row, good or bad."""
    return {
        "sequence": sequence,
        "position": position,
        "token": modal,
        "modal": modal,
        "log_p": log_p,
        "log_b": log_b,
    } | more


def write_csv(path: Path, made: Iterable[Row]) -> Path:
    made = list(made)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(made[0]))
        writer.writeheader()
        writer.writerows(made)
    return path


def write_jsonl(path: Path, made: Iterable[Row]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made), encoding="utf-8", newline="")
    return path


def write_parquet(path: Path, made: Iterable[Row]) -> Path:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(made)), path)
    return path


WRITERS: dict[str, Callable[[Path, Iterable[Row]], Path]] = {
    ".csv": write_csv,
    ".jsonl": write_jsonl,
    ".ndjson": write_jsonl,
    ".parquet": write_parquet,
}


def columns(table: Table) -> dict[str, Any]:
    """Everything in a table but its source, as plain lists."""
    values = {name: getattr(table, name) for name in (*COLUMNS, "contract")}
    plain = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in values.items()}
    return plain | {"problems": table.problems}
