"""JSON schemas: no start of an answer that jsonschema accepts counts as broken, and clear breaks are found."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_star.contract.schema import FunctionCall, Schema

NAMES = ["a", "b", "c d", 'e"', "é/~"]

SCALARS: list[tuple[dict[str, Any], st.SearchStrategy[Any]]] = [
    ({"type": "string"}, st.text(max_size=4)),
    ({"type": "string", "maxLength": 2}, st.text(max_size=2)),
    ({"type": "string", "minLength": 1, "maxLength": 3}, st.text(min_size=1, max_size=3)),
    ({"type": "string", "pattern": "^[aé]+$"}, st.text("aé", min_size=1)),
    ({"type": "string", "pattern": "b/"}, st.text(max_size=2).map(lambda text: text + "b/")),
    ({"type": "string", "format": "date"}, st.text(max_size=3)),
    ({"type": "integer", "minimum": 3}, st.integers(3, 9) | st.sampled_from([4.0, 1e2])),
    ({"type": "number"}, st.floats(-1e9, 1e9) | st.integers()),
    ({"type": "boolean"}, st.booleans()),
    ({"type": ["string", "null"]}, st.text(max_size=2) | st.none()),
    ({"enum": ["x", "é", 3, None, [1]]}, st.sampled_from(["x", "é", 3, None, [1]])),
    ({"const": "fixed"}, st.just("fixed")),
    ({}, st.none() | st.lists(st.integers(), max_size=2)),
]


@st.composite
def cases(draw: st.DrawFn, depth: int = 2) -> tuple[dict[str, Any], Any]:
    """A schema, and a value that it allows."""
    kind = draw(st.sampled_from(["scalar", "array", "object", "union"])) if depth else "scalar"
    if kind == "scalar":
        schema, values = draw(st.sampled_from(SCALARS))
        return schema, draw(values)
    if kind == "union":
        (first, value), (second, _) = draw(cases(depth - 1)), draw(cases(depth - 1))
        return {"anyOf": [second, first]}, value
    if kind == "array":
        inner, value = draw(cases(depth - 1))
        size = draw(st.integers(0, 3))
        bounds = draw(
            st.sampled_from([{}, {"minItems": size}, {"maxItems": size}, {"minItems": size, "maxItems": size}])
        )
        return {"type": "array", "items": inner, **bounds}, [value] * size
    parts = {name: draw(cases(depth - 1)) for name in draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=4))}
    required = [name for name in parts if draw(st.booleans())]
    value = {name: part for name, (_, part) in parts.items() if name in required or draw(st.booleans())}
    schema = {"type": "object", "properties": {name: inner for name, (inner, _) in parts.items()}, "required": required}
    if draw(st.booleans()):
        schema["additionalProperties"] = False
    elif draw(st.booleans()):
        value["more"] = 1
    return schema, {name: value[name] for name in draw(st.permutations(list(value)))}


@given(cases(), st.booleans(), st.sampled_from([None, 1]))
def test_every_start_of_an_answer_that_a_schema_allows_can_become_one(
    case: tuple[dict[str, Any], Any], escaped: bool, indent: int | None
) -> None:
    schema, value = case
    contract = Schema("schema", schema)
    text = json.dumps(value, ensure_ascii=escaped, indent=indent)
    assert contract.valid(text)
    assert [end for end in range(len(text) + 1) if not contract.prefix(text[:end])] == []


@given(cases(), st.text('[]{}:,"1ax ', max_size=6))
def test_what_cannot_start_an_answer_is_never_valid(case: tuple[dict[str, Any], Any], text: str) -> None:
    contract = Schema("schema", case[0])
    assert contract.prefix(text) or not contract.valid(text)


TREE = {
    "$defs": {
        "node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}, "additionalProperties": False}
    },
    "$ref": "#/$defs/node",
}
ORDER = {
    "type": "object",
    "properties": {"id": {"type": "string"}, "items": {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 1}},
    "required": ["id", "items"],
    "additionalProperties": False,
}


SIX = {"type": "object", "properties": {name: {"type": "integer"} for name in "abcdef"}, "required": [*"abcdef"]}


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        (ORDER, '{"i"'),
        (ORDER, '{"id": 1'),
        (ORDER, '{"id": "x"}'),
        (ORDER, '{"items": ["c'),
        (ORDER, '{"items": []'),
        (ORDER, "["),
        (TREE, '{"next": {"next": {"l'),
        ({"type": "string", "pattern": "^a$"}, '"b"'),
        ({"type": "string", "pattern": "^a$"}, '"ab"'),
        ({"type": "string", "pattern": "a$"}, '"ab"'),
        ({"type": "string", "pattern": "a"}, '"b"'),
        ({"type": "array", "minItems": 2}, "[1]"),
        ({"type": "array", "minItems": 3}, "[1,1]"),
        (SIX, '{"a":1,"b":1,"c":1,"d":1,"e":1}'),
        ({"type": "string", "maxLength": 2}, '"abc'),
        ({"type": "array", "maxItems": 1}, "[1,"),
        ({"type": "array", "maxItems": 0}, "[1"),
        ({"oneOf": [{"type": "null"}, {"type": "integer"}]}, '"'),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, '{"a": "'),
        (False, "x"),
    ],
)
def test_clear_breaks_are_found(schema: Any, text: str) -> None:
    contract = Schema("schema", schema)
    assert contract.prefix(text[:-1]) or schema is False
    assert not contract.prefix(text)


def test_what_a_pattern_leaves_open_is_allowed() -> None:
    for pattern, text in (("a", '"xax"'), ("^a", '"ax"'), ("a$", '"xa"')):
        assert Schema("schema", {"type": "string", "pattern": pattern}).prefix(text)


def test_a_schema_shows_its_name_alone() -> None:
    assert repr(Schema("six", SIX)) == "Schema(name='six')"


def test_a_schema_that_refers_to_itself_follows_an_answer() -> None:
    tree = Schema("tree", TREE)
    assert tree.valid('{"next": {"next": {}}}')
    assert tree.prefix('{"next": {"next": {')
    assert Schema("loop", {"$ref": "#"}).valid("1") is False


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ('{"name": "now", "arguments": {}}', True),
        (' {"arguments": {}, "name": "now"}\n', True),
        ('<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>\n', True),
        ('<tool_call>{"name": "now", "arguments": {}}</tool_call>' * 2, True),
        ('{"name": "now", "arguments": {}}' * 2, False),
        ('<tool_call>{"name": "now", "arguments": {}}', False),
        ('{"name": "now", "arguments": {}}</tool_call>', False),
        ('<tool_call>{"name": "now", "arguments": {}}</tool_call>then', False),
        ('{"name": "now"}', False),
        ('{"name": "now", "arguments": {}, "id": 1}', False),
        ("<tool_call></tool_call>", False),
        ("", False),
    ],
)
def test_the_accepted_forms_of_a_function_call(text: str, valid: bool) -> None:
    for tools in ([{"name": "now"}], {"tools": [{"type": "function", "function": {"name": "now"}}]}):
        contract = FunctionCall.of("call", tools)
        assert contract.valid(text) == valid
        assert contract.prefix(text) or not valid
