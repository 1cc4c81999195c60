"""Score every position of sampled answers under the teacher and the base and write ``logprobs.csv``.

Each row names one position of one answer: the token that was sampled there, the teacher's most probable (modal)
token given the same words before it, the log-probability of that modal token under the teacher (``log_p``) and under
the base (``log_b``), and the class of contract tokens that the position belongs to, if any.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import model as lm
import task
import torch

from lambda_star.calibration import json_structure

HERE = Path(__file__).resolve().parent


class Row(NamedTuple):
    """One position of one answer; the names are the table's columns."""

    sequence: int
    position: int
    token: str
    modal: str
    log_p: float
    log_b: float
    contract: str


def answer_logits(model: Any, prompt: list[int], answer: list[int]) -> torch.Tensor:
    """Return the logits that predict each token of the answer: one forward pass, float32 turned to float64."""
    ids = torch.tensor([prompt + answer])
    with torch.inference_mode():
        logits: torch.Tensor = model(input_ids=ids, logits_to_keep=len(answer) + 1).logits
    return logits[0, :-1].to(torch.float64)


def log_probability(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Return the log-probability of one token in each row, exact also where it is close to 0.

    With L = log(sum over the other tokens of exp(z_k - z_token)) it is -log(1 + exp(L)), taken through log1p, so a
    tiny tail is never lost beside 1. For a token that is modal this is -log1p(sum of exp(z_k - z_token)).
    """
    chosen = logits.gather(1, tokens[:, None])
    others = (logits - chosen).scatter(1, tokens[:, None], -math.inf)
    tail = torch.logsumexp(others, dim=1)
    return -(tail.clamp(min=0.0) + torch.log1p(torch.exp(-tail.abs())))


def contract_class(tokenizer: Any, before: list[int], modal: str) -> str:
    """Return the class of contract tokens of a position, or empty text outside the contract.

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
    log_p, log_b = log_probability(p_logits, modal).tolist(), log_probability(b_logits, modal).tolist()
    tokens, modals = ([tokenizer.decode([token]) for token in ids] for ids in (answer, modal.tolist()))
    contract = [contract_class(tokenizer, answer[:place], modal) for place, modal in enumerate(modals)]
    columns = zip(range(len(answer)), tokens, modals, log_p, log_b, contract, strict=True)
    return [Row(record["sequence"], *values) for values in columns]


def score(args: argparse.Namespace) -> list[Row]:
    """Return all rows of the table, answer by answer."""
    tokenizer = lm.load_tokenizer()
    models = (lm.load_with_adapter(args.teacher), lm.load_with_adapter(args.base))
    lines = args.answers.read_text(encoding="utf-8").split("\n")
    return [row for line in lines if line for row in score_answer(models, tokenizer, json.loads(line))]


def check(rows: list[Row]) -> None:
    """Say whether any log-probability is above 0, exactly 0 or not finite, and how often the base is ahead."""
    values = [value for row in rows for value in (row.log_p, row.log_b)]
    above, zero = sum(value > 0 for value in values), sum(value == 0 for value in values)
    infinite = sum(not math.isfinite(value) for value in values)
    print(f"{len(rows)} rows; log-probabilities above 0: {above}, exactly 0: {zero}, not finite: {infinite}")
    print(f"rows with log_p <= log_b: {sum(row.log_p <= row.log_b for row in rows)}")


def write_table(rows: list[Row], path: Path) -> None:
    """Write the rows as CSV, numbers with ten significant digits."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(Row._fields)
        for row in rows:
            writer.writerow((*row[:4], f"{row.log_p:.10g}", f"{row.log_b:.10g}", row.contract))


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
