"""JSON, CSV, YAML and XML without a tokenizer: agreement with their parsers, and answers made to do harm."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_star.contract import broken_at, parse
from lambda_star.contract.base import load
from lambda_star.contract.grammar import Grammar
from lambda_star.contract.json_text import GRAMMAR, scan

PIECES = [
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    '"',
    "1",
    "0",
    "-",
    ".",
    "e",
    "+",
    " ",
    "\n",
    "tr",
    "ue",
    "\\",
    "u00",
    '"a"',
    "é",
]
YAML_PIECES = [
    "a",
    "b: ",
    "- ",
    "\n",
    "  ",
    "[",
    "]",
    "{",
    "}",
    ", ",
    '"',
    "'",
    "#",
    "|",
    "&x",
    "*x",
    "---",
    ": ",
    "\\u",
    "!t",
]
CSV_PIECES = ["a", ",", '"', '""', "\n", "\r\n", "b c"]
XML_PIECES = [
    "<",
    ">",
    "/",
    "a",
    "b",
    " ",
    "=",
    '"',
    "<a>",
    "</a>",
    "&lt;",
    "&",
    "<!--",
    "-->",
    "<![CDATA[",
    "]]>",
    "<?",
    "?>",
]


def refuse(constant: str) -> Any:
    raise ValueError(constant)


def reads_json(text: str) -> bool:
    try:
        json.loads(text, parse_constant=refuse)
    except ValueError:
        return False
    return True


@given(st.lists(st.sampled_from(PIECES), max_size=9).map("".join))
def test_json_is_what_the_json_module_reads(text: str) -> None:
    assert parse("json").valid(text) == reads_json(text)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(VALUES, st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_every_start_of_json_can_become_json(value: Any, escaped: bool, indent: Any) -> None:
    text = json.dumps(value, ensure_ascii=escaped, indent=indent)
    assert scan(text) is True
    assert all(scan(text[:end]) is not False for end in range(len(text)))


@given(st.lists(st.sampled_from(PIECES), max_size=8).map("".join))
def test_the_grammar_of_json_agrees_with_its_scanner(text: str) -> None:
    pytest.importorskip("llguidance")
    grammar = Grammar("json", "start: WS? value WS?" + GRAMMAR)
    assert (grammar.valid(text), grammar.prefix(text)) == (parse("json").valid(text), parse("json").prefix(text))


@pytest.mark.parametrize(
    ("name", "pieces"), [("json", PIECES), ("yaml", YAML_PIECES), ("csv", CSV_PIECES), ("xml", XML_PIECES)]
)
@given(data=st.data())
def test_a_broken_answer_stays_broken_and_a_valid_one_was_never_broken(
    name: str, pieces: list[str], data: st.DataObject
) -> None:
    contract = parse(name)
    answer = data.draw(st.lists(st.sampled_from(pieces), max_size=10))
    texts = ["".join(answer[:end]) for end in range(len(answer) + 1)]
    alive = [contract.prefix(text) is not False for text in texts]
    assert alive == sorted(alive, reverse=True)
    for end, text in enumerate(texts):
        if contract.valid(text):
            assert all(alive[: end + 1]), text
    first = broken_at(contract, answer)
    assert first == (alive.index(False) - 1 if False in alive else None)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("csv", "\n"),
        ("csv", "\n\n"),
        ("csv", "a,b\nc\n"),
        ("yaml", "--- a\n--- b\n"),
        ("yaml", "[a]\n---\n[b]"),
        ("yaml", "[a]\n---\n[b, "),
    ],
)
def test_rows_without_fields_and_second_documents_break_an_answer(name: str, text: str) -> None:
    assert not parse(name).valid(text)
    assert parse(name).prefix(text) is False


def test_an_end_token_breaks_an_answer_that_is_not_valid() -> None:
    json_ = parse("json")
    assert broken_at(json_, ["[", "1", "]", "<|im_end|>"]) is None
    assert broken_at(json_, ["[", "1", "<|im_end|>"]) == 2
    assert broken_at(json_, ["<|im_end|>"]) == 0
    assert broken_at(json_, []) is None


def test_what_a_contract_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance.hf", None)
    with pytest.raises(ImportError, match=r"^this contract needs llguidance; install it with: "):
        load("llguidance.hf")


def test_a_grammar_shows_its_name_alone() -> None:
    assert repr(Grammar("json", "start: WS? value WS?" + GRAMMAR)) == "Grammar(name='json')"


DEEP = 100_000
LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{new}: &{new} {{<<: [{', '.join([f'*{old}'] * 9)}]}}\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
ENTITIES = '<!DOCTYPE a [<!ENTITY x "ha">' + "".join(
    f'<!ENTITY {new} "{f"&{old};" * 9}">' for old, new in zip("xabcdefgh", "abcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("name", "text", "prefix"),
    [
        ("json", "[" * DEEP, True),
        ("json", '{"a":' * DEEP, True),
        ("yaml", "[" * DEEP, False),
        ("yaml", "- " * DEEP, False),
        ("yaml", "- " * 200 + "a", False),
        ("yaml", LAUGHS, True),
        ("yaml", MERGES, True),
        ("yaml", "&a [*a]", True),
        ("yaml", "a: !!python/object/apply:os.getcwd []", True),
        ("yaml", "a: 2024-99-99", True),
        ("yaml", "a: " + "9" * 5000, True),
        ("yaml", "? [a]\n: b", True),
        ("yaml", "a: \0", False),
        ("xml", "<a>" * DEEP, True),
        ("xml", ENTITIES + "]><a>&i;</a>", False),
        ("xml", '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><a>&x;</a>', False),
        ("xml", "<a>\ud800</a>", False),
        ("csv", '"' * 99_999, True),
    ],
)
def test_answers_made_to_do_harm_are_refused_in_no_time(name: str, text: str, prefix: bool) -> None:
    began = time.perf_counter()
    assert not parse(name).valid(text)
    assert parse(name).prefix(text) == prefix
    assert time.perf_counter() - began < 5


def test_deep_json_is_json() -> None:
    assert parse("json").valid("[" * DEEP + "]" * DEEP)


def test_a_break_in_a_long_answer_is_found_at_once() -> None:
    pieces = ['["', *["A7", '","'] * 5000, "B2", '"]', "]"]
    began = time.perf_counter()
    assert broken_at(parse("json"), pieces) == len(pieces) - 1
    assert time.perf_counter() - began < 1
