"""Write the measurements of ``logprobs.csv`` as vLLM returns them, in two files.

The files are ``vllm_base.jsonl.gz`` and ``vllm_teacher.jsonl.gz``.

Each line holds the attributes of a ``RequestOutput``. The base's says what it sampled, with the five most probable
tokens; the teacher's scores the same tokens as a prompt, and of the prompt before them it holds the last token alone.
Nothing is measured anew, so three things differ from what vLLM returns. Outside the contract ``logprobs.csv`` has the
teacher's modal token alone. A sampled token that it does not have has no number (null). The base's list also has the
teacher's modal token where that is not among its five, without a rank, as if more tokens had been asked for.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import model as lm

from lambda_star import read_table
from lambda_star.calibration.table import Table

HERE = Path(__file__).resolve().parent
LISTED = 5

Listed = dict[str, tuple[float, int | None]]
"""Log-probability and rank of the listed tokens, by text."""


def vocabulary(tokenizer: Any) -> dict[str, int]:
    """Return the id of every token by its text; of several with one text the first."""
    texts = tokenizer.batch_decode([[name] for name in range(len(tokenizer))], clean_up_tokenization_spaces=False)
    return {text: name for name, text in reversed(list(enumerate(texts)))}


def listed(table: Table, row: int, side: int) -> Listed:
    """Return the tokens whose numbers a row holds for the teacher (0) or the base (1), ranked where that is known."""
    top = None if table.top is None else table.top[row]
    number = float((table.log_p, table.log_b)[side][row])
    if top is None:
        return {table.modal[row]: (number, 1 if side == 0 else None)}
    pairs = sorted(zip(top.tokens, (top.log_p, top.log_b)[side], strict=True), key=lambda pair: -pair[1])
    return {text: (log, rank if rank <= LISTED else None) for rank, (text, log) in enumerate(pairs, start=1)}


def entries(table: Table, row: int, side: int, own: int, ids: dict[str, int]) -> dict[str, dict[str, Any]]:
    """Return vLLM's object for one position: the token that stands there first, then the five most probable ones."""
    numbers = listed(table, row, side)
    text, modal = table.token[row], table.modal[row]
    names = {text: own}
    names |= {other: ids[other] for other, (_, rank) in numbers.items() if other != text and (rank or other == modal)}
    found = {}
    for other, name in names.items():
        log, rank = numbers.get(other, (None, None))
        number = None if log is None else float(f"{log:.9g}")  # the digits of a float32
        found[str(name)] = {"logprob": number, "rank": rank, "decoded_token": other}
    return found


def records(table: Table, ids: dict[str, int], before: int) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield the base's and the teacher's record of every answer."""
    answers = [json.loads(line) for line in (HERE / "base_answers.jsonl").read_text(encoding="utf-8").splitlines()]
    for name, rows in groupby(range(len(table)), key=table.sequence.__getitem__):
        answer = answers[int(name)]
        tokens = answer["tokens"]
        teacher, base = zip(
            *([entries(table, row, side, own, ids) for side in (0, 1)] for row, own in zip(rows, tokens, strict=True)),
            strict=True,
        )
        made = {"text": answer["text"], "token_ids": tokens, "logprobs": base}
        head = {"request_id": name, "prompt_token_ids": [before], "prompt_logprobs": None}
        scored = {"prompt_token_ids": [before, *tokens], "prompt_logprobs": [None, *teacher], "outputs": []}
        yield head | {"outputs": [made]}, head | scored


def main() -> None:
    """Write both files."""
    tokenizer = lm.load_tokenizer()
    before = lm.prompt_tokens(tokenizer, [])[-1]
    pairs = list(records(read_table(HERE / "logprobs.csv"), vocabulary(tokenizer), before))
    for name, lines in zip(("vllm_base", "vllm_teacher"), zip(*pairs, strict=True), strict=True):
        text = "".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in lines)
        (HERE / f"{name}.jsonl.gz").write_bytes(gzip.compress(text.encode(), 9, mtime=0))


if __name__ == "__main__":
    main()
