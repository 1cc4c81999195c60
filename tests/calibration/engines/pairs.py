"""The samples of every engine, and the rows of the plain table that hold the same measurements."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lambda_star.calibration.readers import read_table
from lambda_star.calibration.table import Table

SAMPLES = Path(__file__).resolve().parent / "samples"
PLAIN = Path("examples/rank_by_price/logprobs.csv")

SAME = 5e-5
"""How far log-probabilities of two runs of one model may lie apart."""

SHORT, BYTES = ("121", "22", "275"), ("241",)


class Pair(NamedTuple):
    """The sample files of the teacher and of the base for the same answers."""

    name: str
    teacher: Path
    base: Path

    def read(self, **options: Any) -> Table:
        """Return the table that both give."""
        return read_table(teacher=self.teacher, base=self.base, **options)

    def records(self, side: str) -> list[Any]:
        """Return the records of one side."""
        return [json.loads(line) for line in getattr(self, side).read_text(encoding="utf-8").splitlines()]

    @property
    def answers(self) -> tuple[str, ...]:
        """The names that the answers have in the plain table."""
        return BYTES if "bytes" in self.name else SHORT


def pairs() -> list[Pair]:
    """Return every pair of samples."""
    bases = sorted(SAMPLES.glob("*/*_base.jsonl"))
    names = [f"{path.parent.name}/{path.name.removesuffix('_base.jsonl')}" for path in bases]
    return [Pair(name, SAMPLES / f"{name}_teacher.jsonl", SAMPLES / f"{name}_base.jsonl") for name in names]


@cache
def plain() -> Table:
    """Return the plain table."""
    return read_table(PLAIN)


@cache
def plain_rows() -> dict[tuple[str, int], int]:
    """Return the row of every answer and position in the plain table."""
    table = plain()
    return {key: row for row, key in enumerate(zip(table.sequence, table.position.tolist(), strict=True))}


def rows_of(table: Table, answers: tuple[str, ...]) -> NDArray[np.intp]:
    """Return the rows of the plain table that hold what the rows of a sample's table hold."""
    names = dict(zip(dict.fromkeys(table.sequence), answers, strict=False))
    keys = zip((names[name] for name in table.sequence), table.position.tolist(), strict=True)
    return np.array([plain_rows()[key] for key in keys], dtype=np.intp)


def holds(table: Table, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Return whether every row holds the plain table's numbers within its ends, and its tokens."""
    inside = np.ones(len(table), dtype=np.bool_)
    for name in ("log_p", "log_b"):
        low, high = table.ends(name)
        true = getattr(plain(), name)[rows]
        inside &= (low - SAME <= true) & (true <= high + SAME)
    texts = [getattr(plain(), name)[rows].tolist() for name in ("token", "modal")]
    own = [table.token.tolist(), table.modal.tolist()]
    return np.asarray(inside & np.all(np.array(own) == np.array(texts), axis=0), dtype=np.bool_)
