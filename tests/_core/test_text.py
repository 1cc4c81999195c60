"""Text from data can move no cursor, hide nothing and begin no line, however hostile it is."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_star._core.text import MOST, named, shown

ANY = st.text(st.characters(exclude_categories=()))
"""Any text that Python can hold, with controls and halves of surrogate pairs."""


@given(ANY)
def test_what_is_shown_is_one_line_of_visible_characters(text: str) -> None:
    seen = shown(text)
    assert len(seen.splitlines()) <= 1
    for character in seen:
        assert character == " " or unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Zl", "Zp", "Zs"}
    seen.encode()


@given(ANY)
def test_what_is_shown_is_shown_as_it_is(text: str) -> None:
    assert shown(shown(text)) == shown(text)


@given(st.text(st.characters(categories=("L", "N", "P", "S"), exclude_characters="\u115f\u1160\u2800\u3164\uffa0")))
def test_letters_and_signs_stay(text: str) -> None:
    assert shown(text) == text


@given(ANY)
def test_a_name_is_short_and_its_ends_are_seen(text: str) -> None:
    name = named(text)
    assert 0 < len(name) <= MOST + 2
    assert name == name.strip()
    if len(shown(text)) <= MOST:
        assert shown(text) in name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\x1b]52;c;ZXZpbA==\x07", r"\x1b]52;c;ZXZpbA==\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("x\r\nSAFE λ = 1.25", r"x\r\nSAFE λ = 1.25"),
        ("::add-mask::x", r"\x3a:add-mask::x"),
        ("  ::error file=a::b", r"  \x3a:error file=a::b"),
        ("a ##[error]b ##vso[task.x]c", r"a \x23#[error]b \x23#vso[task.x]c"),
        ("std::vector ::", "std::vector ::"),
        ("##", "##"),
        ("\u202egnp.exe\u2066", r"\u202egnp.exe\u2066"),
        ("a\u200bb\u200d\ufeff", r"a\u200bb\u200d\ufeff"),
        ("\u2028\u2029\x85", r"\u2028\u2029\x85"),
        ("\x00\x7f", r"\x00\x7f"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
        ("\xa0\u3000", r"\xa0\u3000"),
        ('Ġ["λ→漢字é😀', 'Ġ["λ→漢字é😀'),
    ],
)
def test_each_kind_of_hidden_character(text: str, expected: str) -> None:
    assert shown(text) == expected
