"""Which cases of a long sweep run every time, and which only with ``make nightly``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def thinned(cases: Iterable[Any], every: int) -> list[Any]:
    """Cases to parametrise a test with: one in so many runs every time, beginning with the first, the others at night.

    >>> [len(case.marks) for case in thinned("abcd", 3)]
    [0, 1, 1, 0]
    """
    params = [
        case
        if isinstance(case, type(pytest.param()))
        else pytest.param(*(case if isinstance(case, tuple) else (case,)))
        for case in cases
    ]
    return [
        param._replace(marks=(*param.marks, pytest.mark.nightly)) if place % every else param
        for place, param in enumerate(params)
    ]
