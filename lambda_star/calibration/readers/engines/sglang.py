"""Read what SGLang's ``/generate`` returns: lists of [log-probability, token id, text] in ``meta_info``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from lambda_star.calibration.readers.steps import Entry, Step, as_list, step, token, whole
from lambda_star.calibration.rows import is_missing

__all__ = ["read"]

ASK = "ask for `return_logprob`, `top_logprobs_num` and `return_text_in_logprobs`"


def read(record: Mapping[str, Any]) -> tuple[tuple[Step, ...], int, int | None]:
    """Return the steps of what ``/generate`` returned, how many belong to the prompt, and how long the prompt was.

    Those of the prompt begin at ``logprob_start_len``.

    >>> meta = {"output_token_logprobs": [[-0.1, 28, "["]], "output_top_logprobs": [[[-0.1, 28, "["], [-3.0, 9, "{"]]]}
    >>> read({"meta_info": meta})[0][0].top[1]
    Entry(text='{', id=9, log=-3.0, raw=None)
    """
    meta = record.get("meta_info")
    if not isinstance(meta, dict):
        raise ValueError(f"`meta_info` is {type(meta).__name__}, not an object; {ASK}")
    flat = [name for name in meta if str(name).endswith(("_val_flat", "_val_flat_b64"))]
    if flat:
        raise ValueError(f"`{flat[0]}` is SGLang's flat form; ask with `return_flat_raw_top_logprobs` false")
    before, after = _side(meta, "input"), _side(meta, "output")
    if not before and not after:
        raise ValueError(f"there are no log-probabilities; {ASK}")
    prompt = whole(meta.get("prompt_tokens"))
    return (*before, *after), len(before), None if prompt is None or prompt < len(before) else prompt


def _side(meta: Mapping[str, Any], side: str) -> tuple[Step, ...]:
    """The steps of the prompt ("input") or of the answer ("output")."""
    names = [f"{side}_{name}_logprobs" for name in ("token", "top", "token_ids")]
    own, *more = ([] if is_missing(meta.get(name)) else as_list(meta[name], f"`{name}`") for name in names)
    lengths = [len(values) for values in (own, *more) if values]
    if len(set(lengths)) > 1:
        raise ValueError(f"{', '.join(names)} have different lengths {lengths}; the record was cut")
    return tuple(_step(*row) for row in zip(own, *(values or [None] * len(own) for values in more), strict=True))


def _step(own: Any, top: Any, others: Any) -> Step:
    return step(partial(_entry, own), partial(_entries, top), proven=True, also=partial(_entries, others))


def _entries(values: Any) -> Iterator[Entry]:
    if is_missing(values):
        return
    yield from map(_entry, as_list(values, "the tokens of a position"))


def _entry(value: Any) -> Entry:
    values = as_list(value, "a token")
    if len(values) not in {2, 3}:
        raise ValueError(f"a token is a list of {len(values)}, not [log-probability, token id, text]")
    return token(values[2] if len(values) == 3 else None, values[0], values[1])
