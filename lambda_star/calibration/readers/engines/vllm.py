"""Read what vLLM returns: the outputs of ``LLM.generate``, and the ``prompt_logprobs`` of both its servers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import count, takewhile
from typing import Any

from lambda_star.calibration.readers.steps import Entry, Step, as_list, step, token, whole
from lambda_star.calibration.rows import is_missing

__all__ = ["outputs", "prompt_steps"]

FLAT = ("start_indices", "end_indices", "token_ids", "logprobs", "ranks", "decoded_tokens")
"""The fields of vLLM's compact form, one list for all positions."""


def prompt_steps(found: Any, ids: Any = None) -> tuple[Step, ...]:
    """Return the steps of ``prompt_logprobs``, or of ``logprobs`` of the same form, one for each token.

    That is a list with one object for each token, from token id to ``logprob``, ``rank`` and ``decoded_token``, and
    None for the first token, which nothing predicts; or vLLM's flat form of it. Where the ids of the tokens are not
    given, the first token of an object is the one that stands there, which is how vLLM writes them.

    >>> found = [None, {"28": {"logprob": -2.5, "rank": 4, "decoded_token": "["}, "9": {"logprob": -0.1, "rank": 1}}]
    >>> prompt_steps(found)[1].text, prompt_steps(found)[1].top
    ('[', (Entry(text='token_id:9', id=9, log=-0.1, raw=None),))
    """
    rows = _rows(found)
    if is_missing(ids):
        return tuple(_step(row, None) for row in rows)
    names = as_list(ids, "the token ids")
    if len(names) != len(rows):
        raise ValueError(f"there are {len(rows)} log-probabilities for {len(names)} token ids; the record was cut")
    return tuple(_step(row, name) for row, name in zip(rows, names, strict=True))


def outputs(record: Mapping[str, Any]) -> Iterator[tuple[tuple[Step, ...], int, int | None]]:
    """Yield the steps of every answer of a ``RequestOutput``, how many belong to the prompt, and the prompt's length.

    The steps are those of the prompt, if it was scored, and those of the answer.

    >>> record = {"prompt_token_ids": [1], "outputs": [{"token_ids": [28], "logprobs": [{"28": {"logprob": -0.1}}]}]}
    >>> [(len(steps), start, prompt) for steps, start, prompt in outputs(record)]
    [(1, 0, 1)]
    """
    ids = record.get("prompt_token_ids")
    before: tuple[Step, ...] = ()
    if not is_missing(record.get("prompt_logprobs")):
        before = prompt_steps(record["prompt_logprobs"], ids)
    length = (len(before) or None) if is_missing(ids) else len(as_list(ids, "`prompt_token_ids`"))
    made = record.get("outputs")
    for one in ([] if is_missing(made) else as_list(made, "`outputs`")) or [{}]:
        if not isinstance(one, dict):
            raise ValueError(f"an item of `outputs` is {type(one).__name__}, not an object")
        found = one.get("logprobs")
        after = () if is_missing(found) else prompt_steps(found, one.get("token_ids"))
        if not before and not after:
            raise ValueError("there are no log-probabilities; sample with `logprobs`, and score with `prompt_logprobs`")
        yield (*before, *after), len(before), length


def _rows(found: Any) -> Sequence[Any]:
    if isinstance(found, dict):
        return _unfold(*(as_list(found.get(name), f"`{name}`") for name in FLAT))
    return as_list(found, "`logprobs` or `prompt_logprobs`")


def _unfold(starts: Any, ends: Any, ids: Any, numbers: Any, ranks: Any, texts: Any) -> list[Any]:
    if len(starts) != len(ends) or len({len(ids), len(numbers), len(ranks), len(texts)}) > 1:
        raise ValueError("the lists of flat log-probabilities have different lengths; the record was cut")
    if [0, *ends] != [*starts, len(ids)]:
        raise ValueError(f"flat log-probabilities do not go from 0 to {len(ids)} without a gap; the record was cut")
    rows: list[Any] = []
    for start, end in zip(starts, ends, strict=True):
        listed = ((ids[at], numbers[at], ranks[at], texts[at]) for at in range(start, end))
        names = ("logprob", "rank", "decoded_token")
        rows.append({str(name): dict(zip(names, rest, strict=True)) for name, *rest in listed} or None)
    return rows


def _step(row: Any, name: Any) -> Step:
    if is_missing(row):
        return Step("", None, None) if name is None else step(partial(token, None, None, name), tuple)
    if not isinstance(row, dict) or not row:
        return Step("", None, None, wrong=f"the log-probabilities are {type(row).__name__}, not an object of tokens")
    key = next(iter(row)) if name is None else next((key for key in row if str(key) == str(name)), None)
    if key is None:
        return Step("", None, None, wrong=f"the token {name} that stands there is not among those listed")
    best = _ranked(row)
    if best is None:
        return step(partial(_entry, key, row[key]), partial(_entries, row, [*row]))
    rest = [other for other in row if other not in best and not is_missing(row[other])]
    numbered = partial(_entries, row, rest)
    return step(
        partial(_entry, key, row[key]),
        partial(_entries, row, best),
        proven=True,
        also=lambda: (entry for entry in numbered() if entry.log == entry.log),
    )


def _ranked(row: Mapping[Any, Any]) -> list[Any] | None:
    """The tokens of rank 1, 2, and so on, up to the first rank that is not there; None where there are no ranks.

    The tokens that ``logprob_token_ids`` names are numbered like ranks, in the order in which they were asked for.
    """
    numbered = [(whole(one.get("rank")), key) for key, one in row.items() if isinstance(one, dict)]
    ranks = {rank: key for rank, key in numbered if rank}
    if not ranks:
        return None
    best = [ranks[rank] for rank in takewhile(ranks.__contains__, count(1))]
    logs = [row[key].get("logprob") for key in best]
    falling = all(isinstance(log, float | int) for log in logs) and logs == sorted(logs, reverse=True)
    return best if falling and len(ranks) == sum(bool(rank) for rank, _ in numbered) else []


def _entries(row: Mapping[Any, Any], keys: Sequence[Any]) -> Iterator[Entry]:
    for key in keys:
        yield _entry(key, row[key])


def _entry(name: Any, one: Any) -> Entry:
    if isinstance(one, dict):
        if "logprob" not in one:
            raise ValueError(f"the token {name} has no `logprob`")
        return token(one.get("decoded_token"), one["logprob"], name)
    return token(None, one, name)
