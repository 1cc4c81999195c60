"""Read what SGLang's ``/generate`` returns: lists of [log-probability, token id, text] in ``meta_info``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any

from lambda_star.calibration.readers.steps import Entry, Step, is_missing, step, token

__all__ = ["read"]

ASK = "ask for `return_logprob`, `top_logprobs_num` and `return_text_in_logprobs`"


def read(record: Mapping[str, Any]) -> tuple[tuple[Step, ...], int, int | None]:
    """Return the steps of one answer, how many of them belong to the prompt, and how long the prompt was.

    Args:
        record: one object that ``/generate`` returned.

    Returns:
        The steps, those of the prompt from ``logprob_start_len`` on first.

    Raises:
        ValueError: the record has no log-probabilities, or lists of different lengths.

    >>> meta = {"output_token_logprobs": [[-0.1, 28, "["]], "output_top_logprobs": [[[-0.1, 28, "["], [-3.0, 9, "{"]]]}
    >>> read({"meta_info": meta})[0][0].top[1]
    Entry(text='{', id=9, log=-3.0, raw=None)
    """
    meta = record.get("meta_info")
    if not isinstance(meta, Mapping):
        raise ValueError(f"`meta_info` is {type(meta).__name__}, not an object; {ASK}")
    flat = [name for name in meta if str(name).endswith(("_val_flat", "_val_flat_b64"))]
    if flat:
        raise ValueError(f"`{flat[0]}` is SGLang's flat form; ask with `return_flat_raw_top_logprobs` false")
    before, after = _side(meta, "input"), _side(meta, "output")
    if not before and not after:
        raise ValueError(f"there are no log-probabilities; {ASK}")
    prompt = meta.get("prompt_tokens")
    known = isinstance(prompt, int) and not isinstance(prompt, bool) and prompt >= len(before)
    return (*before, *after), len(before), prompt if known else None


def _side(meta: Mapping[str, Any], side: str) -> tuple[Step, ...]:
    """The steps of the prompt ("input") or of the answer ("output")."""
    names = [f"{side}_{name}_logprobs" for name in ("token", "top", "token_ids")]
    found = [meta.get(name) for name in names]
    if is_missing(found[0]):
        return ()
    for name, values in zip(names, found, strict=True):
        if not is_missing(values) and (not isinstance(values, Sequence) or isinstance(values, str)):
            raise ValueError(f"`{name}` is {type(values).__name__}, not a list")
    lists = [values for values in found if not is_missing(values) and len(values)]
    if len({len(values) for values in lists}) > 1:
        raise ValueError(f"{', '.join(names)} have different lengths {[*map(len, lists)]}; the record was cut")
    tops, others = (repeat(None) if is_missing(values) or not len(values) else values for values in found[1:])
    return tuple(_step(*row) for row in zip(found[0], tops, others, strict=False))


def _step(own: Any, top: Any, others: Any) -> Step:
    found = step(lambda: _entry(own), lambda: _entries(top), proven=True)
    more = step(lambda: _entry(own), lambda: _entries(others), proven=True)
    return found._replace(also=more.top, wrong=found.wrong or more.wrong)


def _entries(values: Any) -> Iterator[Entry]:
    if is_missing(values):
        return
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise ValueError(f"a list of tokens is {type(values).__name__}, not a list")
    yield from map(_entry, values)


def _entry(value: Any) -> Entry:
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) not in {2, 3}:
        raise ValueError("a token is not [log-probability, token id, text]")
    return token(value[2] if len(value) == 3 else None, value[0], value[1])
