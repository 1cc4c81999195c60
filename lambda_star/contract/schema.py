"""JSON schemas and function calls: jsonschema judges whole answers, and a grammar follows an answer as it grows.

Members of an object may come in any order in JSON, so the grammar keeps track of the required members seen so far.
Where a schema says more than the grammar can follow, the grammar allows more than the schema, never less: an answer
then counts as broken late rather than wrongly.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any

from lambda_star.contract.base import Contract, Masks, load
from lambda_star.contract.grammar import Grammar, GrammarMasks, in_slashes
from lambda_star.contract.json_text import GRAMMAR, label, scan

__all__ = ["FunctionCall", "Schema", "grammar_of"]

MOST_REQUIRED = 6
"""The most required members whose order the grammar tracks: it has a rule for each subset of them."""

NOTES = {"$schema", "$id", "$defs", "definitions", "title", "description", "default", "examples", "$comment"}
"""Keywords that restrict nothing."""

SCALARS = {"string": "STRING", "number": "NUMBER", "integer": "INTEGER", "boolean": "BOOLEAN", "null": "NULL"}
"""The rules of values that hold no others."""

LONGEST = 200
"""The greatest ``maxLength`` that is followed: a longer one makes the grammar slow."""

CHARACTER = (
    r'([^"\\\x00-\x1f]|\\(["\\\/bfnrt]|u[0-9a-fA-F]{4}|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}))'
)

MORE = r"""
BOOLEAN: "true" | "false"
NULL: "null"
INTEGER: /-?(0|[1-9][0-9]*)(\.0+)?([eE][+]?[0-9]+)?/
"""

TAGGED = '"<tool_call>" WS? {value} WS? "</tool_call>"'

CALL = f"WS? ({{value}} | {TAGGED} (WS? {TAGGED})*) WS?"


def grammar_of(schema: Any, start: str = "WS? {value} WS?") -> str:
    """Return a grammar in llguidance's language that derives every JSON text valid under a schema.

    Args:
        schema: the schema, as JSON values.
        start: the start rule, with ``{value}`` where the JSON text stands.

    Returns:
        The grammar. It may derive texts that the schema refuses.

    >>> schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    >>> call = Grammar("call", grammar_of(schema))
    >>> call.prefix('{"a": "'), call.prefix('{"b": 1}'), call.prefix('{"b": 1, "a": 2}')
    (False, False, True)
    """
    rules = _Rules(schema)
    value = rules.value(schema)
    return "\n".join([f"start: {start.format(value=value)}", *rules.lines, MORE + GRAMMAR])


class _Rules:
    """The rules of a grammar, as they are found in a schema."""

    def __init__(self, root: Any) -> None:
        self.root = root
        self.lines: list[str] = []
        self.known: dict[str, str] = {}

    def value(self, schema: Any) -> str:
        """The name of the rule for the values that a schema allows."""
        key = json.dumps(schema, sort_keys=True)
        if key not in self.known:
            self.known[key] = name = f"v{len(self.known)}"  # before its parts, which may refer to it
            self.lines.append(f"{name}: {self._body(schema, name)}")
        return self.known[key]

    def _body(self, schema: Any, name: str) -> str:
        if not isinstance(schema, Mapping):
            return "value"
        keys, kinds = schema.keys() - NOTES, schema.get("type")
        found = "value"
        if keys == {"$ref"}:
            found = self.value(_pointed(self.root, schema["$ref"]))
        elif len(union := keys - {"type"}) == 1 and union <= {"anyOf", "oneOf"}:
            found = self._any_of(schema[union.pop()])
        elif "enum" in keys or "const" in keys:
            found = " | ".join(map(_literal, schema.get("enum", [schema.get("const")])))
        elif isinstance(kinds, list):
            found = self._any_of([{**schema, "type": kind} for kind in kinds])
        elif kinds == "object":
            found = self._object(schema, name)
        elif kinds == "array":
            found = self._array(schema)
        elif kinds in SCALARS:
            self.lines.append(f"S_{name.upper()}: {_scalar(schema)}")
            found = f"S_{name.upper()}"
        return found

    def _any_of(self, schemas: Iterable[Any]) -> str:
        return " | ".join(self.value(each) for each in schemas)

    def _array(self, schema: Mapping[str, Any]) -> str:
        item = "value" if "prefixItems" in schema else self.value(schema.get("items", True))
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        if most == 0:
            return '"[" "]"'
        more = "" if most == 1 else f'("," {item}){{{max(least - 1, 0)},{"" if most is None else most - 1}}}'
        return f'"[" ({item} {more}){"" if least else "?"} "]"'

    def _object(self, schema: Mapping[str, Any], name: str) -> str:
        """Rules for each set of required members seen so far: one for the next member, one for what follows it."""
        named: Mapping[str, Any] = schema.get("properties", {})
        required = [each for each in schema.get("required", []) if each in named][:MOST_REQUIRED]
        members = [(each, f'{_literal(each)} ":" {self.value(part)}') for each, part in named.items()]
        members += self._others(schema, named, name)
        for seen in product((False, True), repeat=len(required)):
            state = f"{name}_{_bits(seen)}"
            steps = []
            for each, member in members:
                after = (old or each == one for old, one in zip(seen, required, strict=True))
                steps.append(f"{member} {name}_after_{_bits(after)}")
            close = ' | "}"' if all(seen) else ""
            self.lines.append(f"{state}: {' | '.join(steps)}")
            self.lines.append(f'{name}_after_{_bits(seen)}: "," {state}{close}')
        start = f'"{{" {name}_{_bits([False] * len(required))}' if members else '"{" "}"'
        return start if required or not members else f'{start} | "{{" "}}"'

    def _others(self, schema: Mapping[str, Any], named: Mapping[str, Any], name: str) -> list[tuple[str, str]]:
        """The members that the schema does not name."""
        more = True if "patternProperties" in schema else schema.get("additionalProperties", True)
        if more is False:
            return []
        if not named:
            return [("", f'STRING ":" {self.value(more)}')]
        quoted = "|".join(re.escape(json.dumps(each)).replace("/", r"\/") for each in named)
        self.lines.append(f"KEY_{name.upper()}: STRING & ~/{quoted}/")
        return [("", f'KEY_{name.upper()} ":" {self.value(more)}')]


def _bits(seen: Iterable[bool]) -> str:
    """A name for a set of required members."""
    return "s" + "".join("01"[each] for each in seen)


def _literal(value: Any) -> str:
    """A JSON value as literals of the grammar; objects and lists are any value."""
    if isinstance(value, dict | list):
        return "value"
    written = dict.fromkeys(json.dumps(value, ensure_ascii=escaped) for escaped in (False, True))
    return "(" + " | ".join(json.dumps(text) for text in written) + ")"


def _scalar(schema: Mapping[str, Any]) -> str:
    """A string, number, truth value or null; a pattern or a length is followed, bounds of numbers are not."""
    kind = schema["type"]
    if kind == "string" and "pattern" in schema:
        return _matching(schema["pattern"])
    if kind == "string" and schema.get("maxLength", LONGEST) < LONGEST:
        return f'/"{CHARACTER}{{{schema.get("minLength", 0)},{schema["maxLength"]}}}"/'
    return SCALARS[kind]


def _matching(pattern: str) -> str:
    """The strings that match a pattern anywhere; a string with an escape is allowed whatever it stands for."""
    first, last = ("" if pattern.startswith("^") else ".*"), ("" if pattern.endswith("$") else ".*")
    body = in_slashes(pattern.removeprefix("^").removesuffix("$"))
    found = rf'(STRING & /"{first}({body}){last}"/ | STRING & /"[^\\"]*\\.*/)'
    return "STRING" if load("llguidance").LLMatcher.validate_grammar(f"start: A\nA: {found}\n{GRAMMAR}") else found


def _pointed(root: Any, reference: str) -> Any:
    """The part of a schema that a local reference names."""
    for step in reference.replace("~1", "\n").replace("~0", "~").lstrip("#").split("/")[1:]:
        name = step.replace("\n", "/")
        try:
            root = root[int(name)] if isinstance(root, list) else root[name]
        except (LookupError, TypeError, ValueError):
            raise ValueError(f"$ref {reference!r} points to nothing") from None
    return root


@dataclass(frozen=True)
class Schema(Contract):
    """JSON that a schema allows.

    Attributes:
        name: the text that :func:`lambda_star.contract.parse` reads.
        schema: the JSON schema, as JSON values.

    >>> ids = Schema("ids", {"type": "array", "items": {"type": "string"}})
    >>> ids.valid('["A7"]'), ids.valid("[7]"), ids.prefix('["A7", '), ids.prefix("[7")
    (True, False, True, False)
    """

    schema: Any = field(default=True, repr=False, hash=False)
    _grammar: Grammar = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        errors = load("jsonschema").exceptions
        if not isinstance(self.schema, Mapping | bool):
            tools = "; for a list of tools give function-call:FILE" if isinstance(self.schema, list) else ""
            got = f"{type(self.schema).__name__}{tools}"
            raise ValueError(f"contract {self.name} cannot be used: a schema must be an object, got a {got}")
        try:
            self._validator.check_schema(self.schema)
            outside = [each for each in _references(self.schema) if not each.startswith("#")]
            if outside:
                raise ValueError(
                    f"$ref {outside[0]!r} points out of the file, and only references within it are followed"
                )
            grammar = self._text()
        except (errors.SchemaError, ValueError, RecursionError) as error:
            said = error.message if isinstance(error, errors.SchemaError) else str(error)
            raise ValueError(f"contract {self.name} cannot be used: {said}") from error
        object.__setattr__(self, "_grammar", Grammar(self.name, grammar))

    @cached_property
    def _validator(self) -> Any:
        validators = load("jsonschema").validators
        kind = validators.validator_for(self.schema, default=validators.Draft202012Validator)
        return kind(self.schema)

    def _text(self) -> str:
        return grammar_of(self.schema)

    def _values(self, text: str) -> list[str]:
        """The parts of an answer that are to be JSON."""
        return [text]

    def valid(self, text: str) -> bool:
        """Return whether the text is JSON that the schema allows."""
        parts = self._values(text)
        try:
            return bool(parts) and all(scan(each) and self._validator.is_valid(json.loads(each)) for each in parts)
        except (RecursionError, ValueError):  # too deep, or more digits than Python reads
            return False

    def prefix(self, text: str) -> bool | None:
        """Return whether the text can still become such JSON; late where the schema says more than a grammar can."""
        return self._grammar.prefix(text)

    def label(self, token: str) -> str | None:
        """Return the class of a token: its punctuation."""
        return label(token)

    def masks(self, tokenizer: Any) -> Masks:
        """Return the masks over the vocabulary of a fast tokenizer."""
        return GrammarMasks(self, self._grammar.grammar, tokenizer)


def _references(schema: Any) -> Iterable[str]:
    """All references in a schema."""
    if isinstance(schema, Mapping):
        for name, part in schema.items():
            yield from [part] if name == "$ref" and isinstance(part, str) else _references(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from _references(part)


@dataclass(frozen=True)
class FunctionCall(Schema):
    """One call of a tool as a JSON object with ``name`` and ``arguments``, or such objects in ``<tool_call>`` tags.

    >>> tools = [{"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}]
    >>> call = FunctionCall.of("add", tools)
    >>> call.valid('{"name": "add", "arguments": {"a": 1}}'), call.prefix('<tool_call>{"name": "sub')
    (True, False)
    """

    @classmethod
    def of(cls, name: str, tools: Any) -> FunctionCall:
        """Return the contract of a list of tools in OpenAI's style, each with a name and a schema of its parameters."""
        tools = tools.get("tools") if isinstance(tools, Mapping) else tools
        listed = tools if isinstance(tools, list) else []
        found = [each.get("function", each) if isinstance(each, Mapping) else {} for each in listed]
        named = [isinstance(each, Mapping) and isinstance(each.get("name"), str) for each in found]
        if not named or not all(named):
            raise ValueError(
                f"contract {name} cannot be used: it must be a list of tools, each with name and parameters"
            )
        return cls(name, {"anyOf": [_call(each) for each in found]})

    def _text(self) -> str:
        return grammar_of(self.schema, CALL)

    def _values(self, text: str) -> list[str]:
        text = text.strip(" \t\n\r")
        if not text.startswith("<tool_call>"):
            return [text]
        *calls, rest = re.split(r"</tool_call>\s*", text)
        opened = all(each.startswith("<tool_call>") for each in calls)
        return [each.removeprefix("<tool_call>") for each in calls] if opened and not rest else []

    def label(self, token: str) -> str | None:
        """Return the class of a token: its punctuation, or a tag."""
        text = token.strip()
        return text if text in {"<tool_call>", "</tool_call>"} else label(token)


def _call(tool: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a call of one tool."""
    parts = {"name": {"const": tool["name"]}, "arguments": tool.get("parameters") or {"type": "object"}}
    return {"type": "object", "properties": parts, "required": ["name", "arguments"], "additionalProperties": False}
