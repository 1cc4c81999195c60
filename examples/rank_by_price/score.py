"""Score every position of sampled answers under the teacher and the base and write ``logprobs.csv``.

Each row describes one position of one answer: the token that was sampled there, the modal token (the teacher's most
probable token given the same tokens before it), the log-probability of the modal token under the teacher (``log_p``)
and under the base (``log_b``), and the contract class of the position, if it has one. Positions of the contract also
get ``top``, the most probable tokens of teacher and base with both log-probabilities, and ``rest``, the least and the
greatest log-ratio of teacher to base among the unlisted tokens.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import model as lm
import task
import torch

from lambda_star.contract import json_structure

HERE = Path(__file__).resolve().parent
TOP = 5
"""The number of most probable tokens of each model that a row lists."""


class Row(NamedTuple):
    """One position of one answer; the fields are the columns of the table."""

    sequence: int
    position: int
    token: str
    modal: str
    log_p: float
    log_b: float
    contract: str
    top: list[tuple[str, float, float]]
    rest: list[float]


def answer_logits(model: Any, prompt: list[int], answer: list[int]) -> torch.Tensor:
    """Return the logits that predict each token of the answer: one forward pass, float32 turned to float64."""
    ids = torch.tensor([prompt + answer])
    with torch.inference_mode():
        logits: torch.Tensor = model(input_ids=ids, logits_to_keep=len(answer) + 1).logits
    return logits[0, :-1].to(torch.float64)


def log_probability(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Return the log-probability of one token in each row, accurate even if it is close to 0.

    With L = log(sum over the other tokens of exp(z_k - z_token)) the log-probability is -log(1 + exp(L)). Computing it
    by log1p keeps the digits of a tail that is tiny beside 1.
    """
    chosen = logits.gather(1, tokens[:, None])
    others = (logits - chosen).scatter(1, tokens[:, None], -math.inf)
    tail = torch.logsumexp(others, dim=1)
    return -(tail.clamp(min=0.0) + torch.log1p(torch.exp(-tail.abs())))


def top_tokens(
    tokenizer: Any, p_row: torch.Tensor, b_row: torch.Tensor
) -> tuple[list[tuple[str, float, float]], list[float]]:
    """Return the most probable tokens of either model in the teacher's order, and the range of log(p/b) of all others.

    The range bounds what the unlisted tokens can contribute to a reading of λ*.
    """
    found = {token for row in (p_row, b_row) for token in row.topk(TOP).indices.tolist()}
    ids = torch.tensor(sorted(found, key=lambda token: -float(p_row[token])))
    p_top, b_top = (short(log_probability(row.expand(len(ids), -1), ids).tolist()) for row in (p_row, b_row))
    ratio = torch.log_softmax(p_row, 0) - torch.log_softmax(b_row, 0)
    others = torch.ones_like(ratio, dtype=torch.bool).scatter(0, ids, False)
    tokens = [tokenizer.decode([token]) for token in ids.tolist()]
    return list(zip(tokens, p_top, b_top, strict=True)), short([ratio[others].min().item(), ratio[others].max().item()])


def contract_class(tokenizer: Any, before: list[int], modal: str) -> str:
    """Return the contract class of a position, or empty text outside the contract.

    A position belongs to the contract if the answer so far can still become valid and the teacher's modal token there
    is JSON punctuation, or if the answer is valid as it stands and the modal token ends it.
    """
    text = tokenizer.decode(before, clean_up_tokenization_spaces=False)
    if modal == tokenizer.eos_token:
        return modal if task.is_valid(text) else ""
    return json_structure(modal) or "" if task.is_start(text) else ""


def score_answer(models: tuple[Any, Any], tokenizer: Any, record: dict[str, Any]) -> list[Row]:
    """Return the rows of one answer; the models are the teacher and the base."""
    prompt = lm.prompt_tokens(tokenizer, task.make_items(record["split"], record["index"]))
    answer: list[int] = record["tokens"]
    p_logits, b_logits = (answer_logits(model, prompt, answer) for model in models)
    modal = p_logits.argmax(dim=1)
    log_p, log_b = (short(log_probability(logits, modal).tolist()) for logits in (p_logits, b_logits))
    tokens, modals = ([tokenizer.decode([token]) for token in ids] for ids in (answer, modal.tolist()))
    contract = [contract_class(tokenizer, answer[:place], modal) for place, modal in enumerate(modals)]
    tops = [
        top_tokens(tokenizer, p_row, b_row) if label else ([], [])
        for p_row, b_row, label in zip(p_logits, b_logits, contract, strict=True)
    ]
    columns = zip(range(len(answer)), tokens, modals, log_p, log_b, contract, *zip(*tops, strict=True), strict=True)
    return [Row(record["sequence"], *values) for values in columns]


def score(args: argparse.Namespace) -> list[Row]:
    """Return all rows of the table, answer by answer."""
    tokenizer = lm.load_tokenizer()
    models = (lm.load_with_adapter(args.teacher), lm.load_with_adapter(args.base))
    lines = args.answers.read_text(encoding="utf-8").split("\n")
    return [row for line in lines if line for row in score_answer(models, tokenizer, json.loads(line))]


def check(rows: list[Row]) -> None:
    """Print how many log-probabilities are above 0, exactly 0 or not finite, and how often the base leads."""
    values = [value for row in rows for value in (row.log_p, row.log_b)]
    above, zero = sum(value > 0 for value in values), sum(value == 0 for value in values)
    infinite = sum(not math.isfinite(value) for value in values)
    print(f"{len(rows)} rows; log-probabilities above 0: {above}, exactly 0: {zero}, not finite: {infinite}")
    print(f"rows with log_p <= log_b: {sum(row.log_p <= row.log_b for row in rows)}")


def short(values: Iterable[float]) -> list[float]:
    """Return the numbers rounded to ten significant digits."""
    return [float(f"{value:.10g}") for value in values]


def as_json(values: list[Any]) -> str:
    """Return a list as compact JSON, and an empty list as empty text."""
    return json.dumps(values, ensure_ascii=False, separators=(",", ":")) if values else ""


def write_table(rows: list[Row], path: Path) -> None:
    """Write the rows as CSV."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(Row._fields)
        for row in rows:
            writer.writerow((*row[:7], as_json(row.top), as_json(row.rest)))


def parse_arguments() -> argparse.Namespace:
    """Return the command line's settings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--answers", type=Path, default=HERE / "base_answers.jsonl", help="answers that sample.py wrote"
    )
    parser.add_argument("--teacher", type=Path, default=HERE / "teacher", help="the teacher's adapter folder")
    parser.add_argument("--base", type=Path, default=HERE / "base", help="the base's adapter folder")
    parser.add_argument("--out", type=Path, default=HERE / "logprobs.csv", help="table to write")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    return parser.parse_args()


def main() -> None:
    """Score the answers, check the values and write the table."""
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    rows = score(args)
    check(rows)
    write_table(rows, args.out)


if __name__ == "__main__":
    main()
