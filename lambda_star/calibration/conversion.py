"""Give the rows of tables their contract classes, table by table, so that any split of them is right later."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np

from lambda_star.calibration.contracts import judge
from lambda_star.calibration.table import Table, TableError
from lambda_star.calibration.texts import Texts
from lambda_star.contract import Contract, Labeller

__all__ = ["classified"]


def classified(tables: Iterable[Table], contract: Contract | Labeller | str) -> Iterator[Table]:
    """Yield tables of whole answers with the class of every row in their ``contract`` column.

    The column is empty outside the contract and after the token that broke an answer, so the rows can later be read in
    any order and any split, without the contract. An answer that comes back in a later table is a ``TableError``.

    >>> from lambda_star import read_table
    >>> (table,) = classified([read_table("examples/rank_by_price/logprobs.csv")], "json")
    >>> sorted(set(table.contract))[1:4]
    ['"', '",', '","']
    """
    seen: set[int] = set()
    for table in tables:
        names = {hash(name): name for name in set(table.sequence)}
        again = seen & names.keys()
        if again:
            said = f"the answer {names[again.pop()]} stands in two places"
            raise TableError(table.source, f"{said}; sort the rows so that those of an answer stand together")
        seen |= names.keys()
        yield dataclasses.replace(table, contract=_column(table, contract)) if len(table) else table


def _column(table: Table, contract: Contract | Labeller | str) -> Texts:
    found = judge(table, contract)
    codes = np.where(found.late, -1, found.codes)
    return Texts(np.array([*found.names, ""], dtype=object), codes % (len(found.names) + 1))
