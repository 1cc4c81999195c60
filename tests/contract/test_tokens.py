"""Contracts with a real tokenizer: prefixes, masks, breaks and classes of the tokens of whole answers."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lambda_star import sequence
from lambda_star.calibration.contracts import masked_positions
from lambda_star.contract import Contract, Masks, broken_at, parse
from tests.contract.conftest import Tokens, tokenizer_json

LIST = """
start: "[" ITEM (", " ITEM)* "]"
ITEM: /[A-Z][0-9]/
"""
SCHEMA = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "maxLength": 4},
        "price": {"type": "integer"},
        "kind": {"enum": ["a", "é"]},
    },
    "required": ["id", "price"],
}
TOOLS = [
    {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}},
    {"name": "now"},
]
WITH_GRAMMAR = ("json", "regex", "grammar", "json-schema", "function-call")

VALID = {
    "json": ['["A7", "B2"]', '{"a": [1.5, -2e3, true, null], "b": {"c": "é\\n"}}', ' "x" ', "12"],
    "regex": ["2024-11-05", "1999-01-31"],
    "grammar": ["[A7]", "[A7, B2, C3]"],
    "json-schema": ['{"id": "A7", "price": 3}', '{"price": 1e2, "kind": "\\u00e9", "more": [{}], "id": "\\u00e9"}'],
    "function-call": [
        '{"name": "now", "arguments": {"zone": "UTC"}}',
        '{"arguments": {"price": 3, "id": "A7"}, "name": "weather"}',
        '<tool_call>\n{"name": "weather", "arguments": {"id": "A7", "price": 3}}\n</tool_call>',
        '<tool_call>{"name": "now", "arguments": {}}</tool_call>\n<tool_call>{"name":"now","arguments":{}}</tool_call>',
    ],
    "yaml": ["- A7\n- B2\n", "name: lamp\nprices: [3, 4.5]\nnote: |\n  two\n  lines\n", '{a: 1, "b": &x 2, c: *x}'],
    "xml": ["<list><item id='A7'/>two &amp; three</list>", '<?xml version="1.0"?>\n<a><!-- note --><b>é</b></a>\n'],
    "csv": ['id,price\nA7,3\n"B,2","say ""hi"""\n', "a;b\nc;d", "1,2\r\n3,4\r\n"],
}
"""Whole answers that each contract allows."""

INVALID = {
    "json": ["['A7']", '["A7",]', "[1] 2", '{"a" 1}', "01"],
    "regex": ["2024-1-05", "2024-11-055"],
    "grammar": ["[A7,B2]", "[]"],
    "json-schema": [
        '{"id": "A7"}',
        '{"id": 7, "price": 3}',
        '{"id": "A7", "price": 3.5}',
        '{"id": "A7", "price": "3"}',
    ],
    "function-call": [
        '{"name": "sun", "arguments": {}}',
        '{"name": "weather", "arguments": {"id": "A7"}}',
        "<tool_call>{}",
    ],
    "yaml": ["name: a: b", "- A7\nB2: x\n", "Just a line\nand one more\n", "[1, 2}"],
    "xml": ["<a></b>", "<a/><b/>", "text", "<a b=c/>", '<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>'],
    "csv": ["a,b\n1\n", "a,b\n1,2,3", 'a,"b"c\n', "a,b\n\n1,2"],
}
"""Whole answers that it refuses."""


@pytest.fixture(scope="session")
def contracts(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Contract]:
    folder: Path = tmp_path_factory.mktemp("contracts")
    (folder / "list.lark").write_text(LIST, encoding="utf-8")
    (folder / "schema.json").write_text(json.dumps(SCHEMA), encoding="utf-8")
    (folder / "tools.json").write_text(json.dumps(TOOLS), encoding="utf-8")
    named = {
        "regex": "regex:[0-9]{4}-[0-9]{2}-[0-9]{2}",
        "grammar": f"grammar:{folder / 'list.lark'}",
        "json-schema": f"json-schema:{folder / 'schema.json'}",
        "function-call": f"function-call:{folder / 'tools.json'}",
    }
    made = {name: parse(named.get(name, name)) for name in VALID}
    return made.__getitem__


@pytest.fixture(scope="session")
def masks_of(contracts: Callable[[str], Contract], tokens: Tokens) -> Callable[[str], Masks]:
    made = {name: contracts(name).masks(tokens.engine) for name in WITH_GRAMMAR}
    return lambda name: made[name]  # type: ignore[return-value]


CASES = [(name, text) for name, texts in VALID.items() for text in texts]
BROKEN = [(name, text) for name, texts in INVALID.items() for text in texts]


@pytest.mark.parametrize(("name", "text"), CASES)
def test_every_start_of_a_valid_answer_can_become_valid(
    name: str, text: str, contracts: Callable[[str], Contract], tokens: Tokens
) -> None:
    contract = contracts(name)
    assert contract.valid(text)
    assert all(contract.prefix(text[:end]) for end in range(len(text) + 1))
    pieces = tokens.split(text)
    assert "".join(pieces) == text or "\ufffd" in pieces
    assert broken_at(contract, [*pieces, "<|im_end|>"]) is None


@pytest.mark.parametrize(("name", "text"), BROKEN)
def test_an_invalid_answer_breaks_at_one_token_and_stays_broken(
    name: str, text: str, contracts: Callable[[str], Contract], tokens: Tokens
) -> None:
    contract, pieces = contracts(name), [*tokens.split(text), "<|im_end|>"]
    assert not contract.valid(text)
    first = broken_at(contract, pieces)
    assert first is not None
    assert broken_at(contract, pieces[:first]) is None
    assert all(broken_at(contract, pieces[:end]) == first for end in range(first + 1, len(pieces)))


@pytest.mark.parametrize("name", WITH_GRAMMAR)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_masks_allow_exactly_the_tokens_after_which_an_answer_can_become_valid(
    name: str,
    data: st.DataObject,
    contracts: Callable[[str], Contract],
    tokens: Tokens,
    masks_of: Callable[[str], Masks],
) -> None:
    contract, masks = contracts(name), masks_of(name)
    answer = tokens.ids(data.draw(st.sampled_from(VALID[name])))
    before = answer[: data.draw(st.integers(0, len(answer)))]
    text = tokens.engine.decode_str(before)
    allowed = masks.allowed(before)
    assert allowed is not None
    assert allowed.shape == (len(tokens.texts),)
    assert allowed[tokens.end] == contract.valid(text)
    inside = np.flatnonzero(allowed).tolist()
    for pick in data.draw(st.lists(st.integers(0, len(tokens.texts) - 1), min_size=20, max_size=40)):
        token = inside[pick // 2 % len(inside)] if pick % 2 else pick
        if tokens.plain(token):
            assert allowed[token] == contract.prefix(text + tokens.texts[token]), repr(text + tokens.texts[token])


@pytest.mark.parametrize("name", WITH_GRAMMAR)
def test_masks_lead_through_a_valid_answer_and_end_at_a_break(
    name: str, tokens: Tokens, masks_of: Callable[[str], Masks]
) -> None:
    masks = masks_of(name)
    for text in VALID[name]:
        answer = [*tokens.ids(text), tokens.end]
        for place, token in enumerate(answer):
            allowed = masks.allowed(answer[:place])
            assert allowed is not None
            assert allowed[token]
    broken = tokens.ids(INVALID[name][0])
    assert masks.allowed([*broken, *broken]) is None
    assert masks.allowed([]) is not None


@pytest.mark.parametrize("name", ["json", "function-call"])
def test_masks_remember_no_other_answer(name: str, contracts: Callable[[str], Contract], tokens: Tokens) -> None:
    used = contracts(name).masks(tokens.engine)
    assert used is not None
    rng = random.Random(0)
    for _ in range(100):
        answer = tokens.ids(rng.choice(VALID[name]))
        before = answer[: rng.randrange(len(answer))]
        fresh = contracts(name).masks(tokens.engine)
        assert fresh is not None
        found, expected = used.allowed(before), fresh.allowed(before)
        assert found is not None
        assert expected is not None
        assert np.array_equal(found, expected)


def test_nothing_follows_the_end(masks_of: Callable[[str], Masks], tokens: Tokens) -> None:
    answer = [*tokens.ids("[1]"), tokens.end]
    after = masks_of("json").allowed(answer)
    assert after is not None
    assert not after.any()
    assert masks_of("json").allowed([*answer, answer[0]]) is None


def test_contracts_without_a_grammar_have_no_masks(contracts: Callable[[str], Contract], tokens: Tokens) -> None:
    assert [contracts(name).masks(tokens.engine) for name in ("yaml", "xml", "csv")] == [None] * 3


def test_a_tokenizer_of_transformers_gives_the_same_masks(
    contracts: Callable[[str], Contract], tokens: Tokens, masks_of: Callable[[str], Masks]
) -> None:
    transformers, tokenizers = pytest.importorskip("transformers"), pytest.importorskip("tokenizers")
    inner = tokenizers.Tokenizer.from_str(tokenizer_json())
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|im_end|>")
    masks = contracts("json").masks(tokenizer)
    assert masks is not None
    answer = tokenizer.encode(VALID["json"][0], add_special_tokens=False)
    for end in range(len(answer) + 1):
        found, expected = masks.allowed(answer[:end]), masks_of("json").allowed(answer[:end])
        assert found is not None
        assert expected is not None
        assert found.tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("name", "text", "classes"),
    [
        ("json", '["A7", "B2"]', ['["', '",', '"', '"]']),
        ("yaml", "a:\n  - 1\n", [":", "newline", "-", "space", "newline"]),
        ("csv", 'a,"b"\n1,2\n', [',"', '"', "newline", ",", "newline"]),
        ("xml", '<a b="c">d</a>', ["<", '="', '">', "</", ">"]),
        ("regex", "2024-11-05", ["-", "-"]),
    ],
)
def test_marks_are_classes_and_words_are_not(
    name: str, text: str, classes: list[str], contracts: Callable[[str], Contract], tokens: Tokens
) -> None:
    labels = [contracts(name).label(piece) for piece in tokens.split(text)]
    assert [label for label in labels if label is not None] == classes
    assert contracts(name).label("<|im_end|>") == "<|im_end|>"
    assert contracts(name).label("word") is None


def test_validity_follows_from_masks(tokens: Tokens, masks_of: Callable[[str], Masks]) -> None:
    """Teacher and base know two tokens at each position: what the answer goes on with, and one that breaks it."""
    answer = [*tokens.ids("[A7]"), tokens.end]
    wrong = tokens.ids("?")[0]
    log_t, log_b = np.full((2, len(answer), len(tokens.texts)), -1e4)
    for place, token in enumerate(answer):
        log_t[place, [token, wrong]] = np.log([0.9, 0.1])
        log_b[place, [token, wrong]] = np.log([0.6, 0.4])
    positions = masked_positions(log_t, log_b, answer, masks_of("grammar"), tokens.end)
    assert sequence.validity(positions, 5.0, 1.0) == pytest.approx(0.9 ** len(answer), rel=1e-12)
    assert sequence.validity(positions, 5.0, 0.0) == pytest.approx(0.6 ** len(answer), rel=1e-12)
    broken = masked_positions(log_t, log_b, [answer[0], wrong, *answer[1:]], masks_of("grammar"), tokens.end)
    assert len(broken.log_t) == 2
