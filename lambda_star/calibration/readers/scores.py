"""Recognise what serving engines write, and read every answer in a record."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from lambda_star.calibration.readers.engines import llamacpp, openai, sglang, vllm
from lambda_star.calibration.readers.steps import Answer, Step, as_list, whole
from lambda_star.calibration.rows import is_missing
from lambda_star.calibration.table import Problem

__all__ = ["answers", "holds_both", "scored"]

NAMES = ("custom_id", "sequence", "name", "request_id", "rid", "id")
"""The fields that may name an answer, in the order in which they count."""

Scored = tuple[tuple[Step, ...], int | None, int | None]
"""The steps of an answer, how many of them belong to the prompt, and the number of tokens of the prompt."""


def holds_both(record: Any) -> bool:
    """Return whether a record holds the answers of both models, as its fields ``teacher`` and ``base``.

    >>> holds_both({"teacher": {"choices": []}, "base": {"choices": []}}), holds_both({"choices": []})
    (True, False)
    """
    return isinstance(record, dict) and all(isinstance(record.get(name), dict) for name in ("teacher", "base"))


def answers(records: Iterable[tuple[int, Any] | Problem], source: str) -> Iterator[Answer | Problem]:
    """Yield every answer of an engine's records in order, or the problem that stands in its place.

    >>> [item.message for item in answers([(3, {"text": "no numbers"})], "t.jsonl")]
    ['the record is not of a known engine: it has none of choices, outputs, prompt_logprobs, meta_info, ...
    """
    for item in records:
        if isinstance(item, Problem):
            yield item if item.source else item._replace(source=source)
            continue
        line, record = item
        found = scored(record, line, source)
        if found is None:
            keys = ", ".join(KINDS)
            yield Problem(
                line, f"the record is not of a known engine: it has none of {keys}; see docs/engines.md", source
            )
        else:
            yield from found


def scored(record: Any, line: int, source: str) -> list[Answer | Problem] | None:
    """Return the answers in one record of an engine, or None if no engine writes such a record.

    A problem stands in the place of an answer that cannot be read.

    >>> scored({"a": 1}, 1, "rows.jsonl") is None
    True
    >>> scored({"choices": [{"index": 0}]}, 7, "t.jsonl")[0].message
    'there are no log-probabilities (`logprobs` is NoneType); ask for `logprobs` and `top_logprobs`'
    """
    body = _body(record)
    if not isinstance(body, dict):
        return None
    kind = next((name for name in KINDS if not is_missing(body.get(name))), None)
    if kind is None:
        return None
    try:
        found = list(KINDS[kind](body))
    except ValueError as error:
        return [Problem(line, str(error), source)]
    name = _name(record, body)
    several = len(found) > 1
    results: list[Answer | Problem] = []
    for index, one in enumerate(found):
        own = f"{name}/{index}" if several and name else name
        results.append(
            one._replace(line=line, source=source)
            if isinstance(one, Problem)
            else _answer(one, own, record, line, source)
        )
    return results


def _answer(found: Scored, name: str, record: Mapping[str, Any], line: int, source: str) -> Answer | Problem:
    steps, start, prompt = found
    given = record.get("answer_start")
    if is_missing(given):
        return Answer(name, steps, line, source, start, prompt)
    number = whole(given)
    if number is None or number > len(steps):
        said = f"`answer_start` is {str(given)[:60]}; it must be the number of scored tokens before the answer"
        return Problem(line, f"{said}, from 0 to {len(steps)}", source)
    return Answer(name, steps, line, source, number, prompt, given=True)


def _body(record: Any) -> Any:
    """What the engine returned, out of the wrapping of a batch file."""
    if not isinstance(record, dict) or "response" not in record:
        return record
    inner = record["response"]
    if isinstance(inner, dict):
        return inner.get("body", inner)
    return {"error": record.get("error") or "`response` is empty"}


def _name(*records: Mapping[str, Any]) -> str:
    for field in NAMES:
        for one in records:
            value = one.get(field)
            if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
                return str(value)
    meta = records[-1].get("meta_info")
    value = meta.get("id") if isinstance(meta, dict) else None
    return value if isinstance(value, str) else ""


def _choices(body: Mapping[str, Any]) -> Iterator[Scored | Problem]:
    choices = as_list(body["choices"], "`choices`")
    if not choices:
        raise ValueError("`choices` is empty, so there is no answer")
    usage = body.get("usage")
    counts = usage if isinstance(usage, dict) and len(choices) == 1 else {}
    yield from (_choice(choice, body, counts) for choice in choices)


def _choice(choice: Any, body: Mapping[str, Any], usage: Mapping[str, Any]) -> Scored | Problem:
    try:
        return _parts(choice, body, usage)
    except ValueError as error:
        return Problem(0, str(error))


def _parts(choice: Any, body: Mapping[str, Any], usage: Mapping[str, Any]) -> Scored:
    if not isinstance(choice, dict):
        raise ValueError(f"an item of `choices` is {type(choice).__name__}, not an object")
    holder = body if is_missing(choice.get("prompt_logprobs")) else choice
    found = holder.get("prompt_logprobs")
    if is_missing(found):
        return openai.read(choice, usage)
    before = vllm.prompt_steps(found, holder.get("prompt_token_ids"))
    after: tuple[Step, ...] = ()
    if not is_missing(choice.get("logprobs")):
        after, start, _ = openai.read(choice, usage)
        after = after[start or 0 :] if start is not None else after[len(before) :]
    return (*before, *after), len(before), len(before)


def _meta(body: Mapping[str, Any]) -> Iterator[Scored]:
    yield sglang.read(body)


def _probabilities(body: Mapping[str, Any]) -> Iterator[Scored]:
    yield llamacpp.read(body), 0, None


def _failure(body: Mapping[str, Any]) -> Iterator[Scored]:
    raise ValueError(f"the engine answered with an error: {str(body['error'])[:200]}")


KINDS: dict[str, Callable[[Mapping[str, Any]], Iterator[Any]]] = {
    "choices": _choices,
    "outputs": vllm.outputs,
    "prompt_logprobs": vllm.outputs,
    "meta_info": _meta,
    "completion_probabilities": _probabilities,
    "error": _failure,
}
"""The field by which the records of an engine are known, and how their answers are read."""
