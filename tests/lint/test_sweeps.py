"""A setting's text becomes every value that it may take, and what cannot be read stays text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_star.lint.sweeps import MOST_VALUES, values


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.25", (1.25,)),
        ("'1.25'", (1.25,)),
        ("1.0,1.25", (1.0, 1.25)),
        ("[1.0, 1.25]", (1.0, 1.25)),
        ("choice(1.0,1.25)", (1.0, 1.25)),
        ("sort(choice(1.5,1.0),reverse=true)", (1.5, 1.0)),
        ("range(1,1.6,0.25)", (1.0, 1.25, 1.5)),
        ("range(start=1,stop=1.5,step=0.25)", (1.0, 1.25)),
        ("range(3)", (0.0, 1.0, 2.0)),
        ("interval(1,2)", (1.0, 2.0)),
        ("${oc.env:LAM,1.25}", (1.25,)),
        ("${oc.decode:${oc.env:LAM,1.25}}", (1.25,)),
        ("${LAM:-${OTHER:-1.5}}", (1.5,)),
        ("1.0,${oc.env:LAM}", (1.0, "${oc.env:LAM}")),
        ("$LAM", ("$LAM",)),
        ("nan", ("nan",)),
        ("1e999", ("1e999",)),
        ("", ("",)),
        ("range(1,2,0)", ("range(1,2,0)",)),
        ("range(2,1)", ("range(2,1)",)),
        ("range(1,$LAST)", ("range(1,$LAST)",)),
        ("glob(*)", ("glob(*)",)),
    ],
)
def test_a_setting_has_these_values(text: str, expected: tuple[float | str, ...]) -> None:
    assert values(text) == expected


@pytest.mark.parametrize("text", ["1," * 2 * MOST_VALUES, "range(0,1e9,1e-9)", "choice(" * 5000, "[" * 5000 + "1"])
def test_too_many_values_are_not_read(text: str) -> None:
    assert values(text) == (text,)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=5))
def test_numbers_are_read_back_exactly(numbers: list[float]) -> None:
    assert values(",".join(map(repr, numbers))) == tuple(numbers)


@given(st.text("1.,$()[]{}'\" abcehinor:-=", max_size=40))
def test_any_text_has_values(text: str) -> None:
    assert len(values(text)) >= 1
