"""Read the answers of OpenAI-compatible servers: chat completions, and completions with or without their prompt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from lambda_star.calibration.readers.steps import Entry, Step, as_list, step, token, whole
from lambda_star.calibration.rows import is_missing

__all__ = ["read", "steps_of_content"]

ASK = "ask for `logprobs` and `top_logprobs`"


def read(choice: Mapping[str, Any], usage: Mapping[str, Any]) -> tuple[tuple[Step, ...], int | None, int | None]:
    """Return the steps of one item of ``choices``, how many of them belong to the prompt, and how long the prompt was.

    A number is None where nothing tells it. ``usage`` has the counts of tokens that stand beside ``choices``; it is
    empty where there are several choices.

    >>> choice = {"logprobs": {"tokens": ["["], "token_logprobs": [-0.1], "top_logprobs": [{"[": -0.1, "{": -3.0}]}}
    >>> read(choice, {})[0][0].top[1]
    Entry(text='{', id=None, log=-3.0, raw=None)
    """
    found = choice.get("logprobs")
    if not isinstance(found, dict):
        raise ValueError(f"there are no log-probabilities (`logprobs` is {type(found).__name__}); {ASK}")
    prompt = whole(usage.get("prompt_tokens"))
    if not is_missing(found.get("content")):
        return steps_of_content(found["content"]), 0, prompt
    if "tokens" not in found:
        raise ValueError(f"`logprobs` has neither content nor tokens; {ASK}")
    steps = _completion(found)
    return steps, _start(steps, found.get("top_logprobs"), usage, prompt), prompt


def steps_of_content(content: Any) -> tuple[Step, ...]:
    """Return the steps of a list of tokens, each with ``token``, ``logprob``, ``top_logprobs`` and perhaps ``id`` and
    ``bytes``.

    >>> steps_of_content([{"token": "[", "logprob": -0.1, "top_logprobs": []}])[0].log
    -0.1
    """
    return tuple(step(partial(_listed, one), partial(_top, one)) for one in as_list(content, "`content`", ASK))


def _listed(one: Any) -> Entry:
    if not isinstance(one, dict):
        raise ValueError(f"a token is {type(one).__name__}, not an object with token and logprob")
    if "token" not in one or "logprob" not in one:
        raise ValueError("a token has no `token` or no `logprob`")
    return token(one["token"], one["logprob"], one.get("id"), one.get("bytes"))


def _top(one: Any) -> Iterator[Entry]:
    top = one.get("top_logprobs")
    if is_missing(top):
        return
    yield from map(_listed, as_list(top, "`top_logprobs`"))


def _completion(found: Mapping[str, Any]) -> tuple[Step, ...]:
    tokens, numbers = (as_list(found.get(name), f"`{name}`", ASK) for name in ("tokens", "token_logprobs"))
    tops = found.get("top_logprobs")
    tops = [None] * len(tokens) if is_missing(tops) else as_list(tops, "`top_logprobs`", ASK)
    lengths = [len(tokens), len(numbers), len(tops)]
    if len(set(lengths)) > 1:
        raise ValueError(f"`tokens`, `token_logprobs` and `top_logprobs` have different lengths {lengths}; it was cut")
    rows = zip(tokens, numbers, tops, strict=True)
    return tuple(step(partial(token, text, number), partial(_table, top)) for text, number, top in rows)


def _table(top: Any) -> Iterator[Entry]:
    """The tokens of an object from text to log-probability."""
    if is_missing(top):
        return
    if not isinstance(top, dict):
        raise ValueError(f"an item of `top_logprobs` is {type(top).__name__}, not an object from token to number")
    for text, number in top.items():
        yield token(text, number)


def _start(steps: Sequence[Step], tops: Any, usage: Mapping[str, Any], prompt: int | None) -> int | None:
    """How many steps belong to the prompt, from the server's counts or from the first token, which nothing predicts."""
    if not steps:
        return 0
    first = steps[0]
    bare = not first.log and not is_missing(tops) and not tops[0] and any(tops)
    echo = not first.wrong and (first.log is None or bare)
    made = whole(usage.get("completion_tokens"))
    if prompt is not None and prompt <= len(steps) and (echo or prompt + (made or 0) == len(steps) != made):
        return prompt
    return None if echo else 0
