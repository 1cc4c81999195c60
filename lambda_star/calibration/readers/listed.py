"""Read the listed tokens of many rows at once; a row that is out of the ordinary is read alone."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from itertools import accumulate, chain, pairwise
from typing import Any

import numpy as np

from lambda_star._core.namespaces import Floats
from lambda_star.calibration.rows import LEAST, ROUNDING, require_whole, top_of
from lambda_star.calibration.table import Top

__all__ = ["tops"]

CHUNK = 1024
"""The rows whose lists are Python objects together."""

SLACK = 1e-9
"""More than sums and logarithms are rounded by: a row so close to a bound is read alone."""


def tops(top: Sequence[Any], rest: Sequence[Any], log_p: Floats, log_b: Floats) -> tuple[Top | None, ...] | None:
    """Return the listed tokens of every row, as :func:`lambda_star.calibration.rows.top_of` reads them from its cells.

    It is None where a row lists nothing, and None as a whole where no row lists anything.

    >>> tops(['[["[",-0.1,-0.7]]', ""], ["", ""], np.array([-0.1, -0.2]), np.array([-0.7, -0.3]))[0].log_b
    (-0.7,)
    """
    listed: list[Top | None] = [None] * len(top)
    rows = [row for row, cells in enumerate(zip(top, rest, strict=True)) if any(cells)]
    for start in range(0, len(rows), CHUNK):
        _read(listed, rows[start : start + CHUNK], top, rest, log_p, log_b)
    return tuple(listed) if any(listed) else None


def _read(
    listed: list[Top | None], rows: list[int], top: Sequence[Any], rest: Sequence[Any], log_p: Floats, log_b: Floats
) -> None:
    """Fill in the lists of some rows."""
    lists, ranges = [_entries(top[row]) for row in rows], [_range(rest[row]) for row in rows]
    plain = [index for index in range(len(rows)) if lists[index] is not None and ranges[index] is not None]
    if plain:
        chosen = [rows[index] for index in plain]
        _fill(listed, chosen, [lists[index] or [] for index in plain], [ranges[index] for index in plain], log_p, log_b)
    for row in rows:
        if listed[row] is None:
            listed[row] = top_of(top[row], rest[row], float(log_p[row]), float(log_b[row]))


def _entries(cell: Any) -> list[Any] | None:
    """The entries of a list in JSON, None where it is not of the ordinary form."""
    try:
        found = json.loads(cell) if isinstance(cell, str) else cell
    except (ValueError, RecursionError):
        return None
    return found if type(found) is list and found and {*map(type, found)} == {list} else None


def _range(cell: Any) -> tuple[float, float] | tuple[None, None] | None:
    """The ends of a range in JSON, None where it is not of the ordinary form."""
    if cell is None or cell == "":
        return None, None
    try:
        found = json.loads(cell) if isinstance(cell, str) else cell
    except (ValueError, RecursionError):
        return None
    if type(found) is list and len(found) == 2 and {*map(type, found)} == {float}:
        low, high = found
        return (low, high) if -math.inf < low <= high < math.inf else None
    return None


def _fill(
    listed: list[Top | None],
    rows: list[int],
    entries: list[list[Any]],
    ends: list[Any],
    log_p: Floats,
    log_b: Floats,
) -> None:
    """Fill in the lists of rows whose most probable token is the only one of its probability, and fits the row."""
    flat = list(chain.from_iterable(entries))
    if {*map(len, flat)} != {3}:
        return
    tokens, *numbers = zip(*flat, strict=True)
    text = "".join(tokens) if {*map(type, tokens)} == {str} else "\0"
    if "\0" in text:
        return
    require_whole("top", text)
    if not all({*map(type, values)} <= {float, int} for values in numbers):
        return
    p, b = (np.array(values, dtype=np.float64) for values in numbers)
    bounds = [0, *accumulate(map(len, entries))]
    starts = np.array(bounds[:-1])
    greatest = np.maximum.reduceat(p, starts)
    owner = np.repeat(np.arange(len(rows)), np.diff(bounds))
    is_modal = p == greatest[owner]
    good = np.add.reduceat(is_modal.astype(np.intp), starts) == 1
    modal = np.flatnonzero(is_modal & good[owner])
    for values, own in ((p, log_p[rows]), (b, log_b[rows])):
        good &= np.add.reduceat(np.exp(values), starts) <= 1 + ROUNDING - SLACK
        good &= np.logical_and.reduceat((values <= 0) & (values >= LEAST), starts)
        near = np.zeros(len(rows), dtype=bool)
        near[owner[modal]] = np.abs(values[modal] - own[owner[modal]]) <= ROUNDING - SLACK
        good &= near
    all_p, all_b = p.tolist(), b.tolist()
    for row, (start, stop), usable, (low, high) in zip(rows, pairwise(bounds), good.tolist(), ends, strict=True):
        if usable:
            listed[row] = Top(tokens[start:stop], tuple(all_p[start:stop]), tuple(all_b[start:stop]), low, high)
