"""Read what llama.cpp's server returns from ``/completion``: ``completion_probabilities``, in its new and old form."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from lambda_star.calibration.readers.steps import Entry, Step, as_list, step, token
from lambda_star.calibration.rows import is_missing

__all__ = ["read"]

NEUTRAL: dict[str, tuple[float, ...]] = {
    "temperature": (1.0,),
    "dynatemp_range": (0.0,),
    "top_k": (0, -1),
    "top_p": (1.0,),
    "min_p": (0.0,),
    "top_n_sigma": (-1.0,),
    "tfs_z": (1.0,),
    "typical_p": (1.0,),
    "typ_p": (1.0,),
    "xtc_probability": (0.0,),
    "repeat_penalty": (1.0,),
    "presence_penalty": (0.0,),
    "frequency_penalty": (0.0,),
    "dry_multiplier": (0.0,),
    "mirostat": (0,),
}
"""The values at which a setting of llama.cpp's sampler leaves the model's probabilities as they are."""

NEEDED = ("temperature", "top_k", "top_p", "min_p")
"""The settings that must be there, since their defaults change the probabilities."""


def read(record: Mapping[str, Any]) -> tuple[Step, ...]:
    """Return the steps of one answer, from one object that ``/completion`` returned.

    Probabilities after sampling are those of the sampler. They are taken as the model's only where the record's
    ``generation_settings`` say that the sampler changed nothing.

    >>> one = {"id": 28, "token": "[", "logprob": -0.1, "top_logprobs": [{"id": 28, "token": "[", "logprob": -0.1}]}
    >>> read({"completion_probabilities": [one]})[0].log
    -0.1
    """
    found = as_list(record.get("completion_probabilities"), "`completion_probabilities`", "ask for `n_probs`")
    if any(isinstance(one, dict) and ("probs" in one or "prob" in one or "top_probs" in one) for one in found):
        _refuse_sampler(record.get("generation_settings"))
    return tuple(_step(one) for one in found)


def _refuse_sampler(settings: Any) -> None:
    """Refuse probabilities after sampling unless the sampler left the model's as they were."""
    remedy = "ask for `n_probs` without `post_sampling_probs`, of a server that lists top_logprobs"
    if not isinstance(settings, dict) or any(name not in settings for name in NEEDED):
        raise ValueError(f"these are probabilities after sampling, and no `generation_settings` tell which; {remedy}")
    changed = [name for name, values in NEUTRAL.items() if name in settings and settings[name] not in values]
    changed += ["grammar"] if settings.get("grammar") else []
    changed += ["logit_bias"] if settings.get("logit_bias") else []
    if changed:
        raise ValueError(f"these are probabilities after sampling, which {', '.join(changed)} changed; {remedy}")


def _step(one: Any) -> Step:
    if isinstance(one, dict) and "probs" in one:
        return step(partial(token, one.get("content"), None), partial(_listed, one["probs"]), proven=True)
    listed = one.get("top_logprobs", one.get("top_probs")) if isinstance(one, dict) else None
    return step(partial(_entry, one), partial(_listed, listed), proven=True)


def _listed(values: Any) -> Iterator[Entry]:
    if is_missing(values):
        return
    for one in as_list(values, "the tokens of a position"):
        if not (isinstance(one, dict) and one.get("prob") == 0):  # less than float32 can hold
            yield _entry(one)


def _entry(one: Any) -> Entry:
    if not isinstance(one, dict):
        raise ValueError(f"a token is {type(one).__name__}, not an object with token and logprob")
    text = one.get("tok_str", one.get("token"))
    if "logprob" in one:
        return token(text, one["logprob"], one.get("id"), one.get("bytes"))
    if "prob" not in one:
        raise ValueError("a token has neither `logprob` nor `prob`")
    return token(text, _log(one["prob"]), one.get("id"), one.get("bytes"))


def _log(value: Any) -> float | None:
    """The logarithm of a probability; 0 is one that float32 cannot hold, and so is not there."""
    if is_missing(value):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"a probability is {str(value)[:60]}; it must be a number from 0 to 1")
    return math.log(value) if value else None
