"""Sample answers from one adapter at temperature 1, and print how many parse.

The script writes one JSON object per line, with sequence, k, split, index, text, tokens, ended, parses and permutation.
The prompt of a line is that of question ``index`` of its ``split`` (see ``task.make_items``).
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import model as lm
import task
import torch

HERE = Path(__file__).resolve().parent
BATCH = 32


def wilson(hits: int, total: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """Return the Wilson 95 % interval of a share."""
    share = hits / total
    scale = 1.0 + z * z / total
    middle = (share + z * z / (2 * total)) / scale
    half = z * math.sqrt(share * (1.0 - share) / total + z * z / (4 * total * total)) / scale
    return middle - half, middle + half


def left_padded(rows: list[list[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the token ids of a batch, padded on the left, and their attention mask."""
    width = max(len(row) for row in rows)
    ids = torch.tensor([[pad] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return ids, mask


def generate(model: Any, tokenizer: Any, prompts: list[list[int]], max_new: int) -> list[list[int]]:
    """Sample one answer for each prompt, and return its tokens up to and including the end-of-turn token."""
    eos = int(tokenizer.eos_token_id)
    plain = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "use_cache": True}
    ids, mask = left_padded(prompts, eos)
    ends = {"max_new_tokens": max_new, "eos_token_id": eos, "pad_token_id": eos}
    with torch.inference_mode():
        out = model.generate(input_ids=ids, attention_mask=mask, **plain, **ends)
    answers = [[int(token) for token in row] for row in out[:, ids.shape[1] :].tolist()]
    return [row[: row.index(eos) + 1] if eos in row else row for row in answers]


def describe(tokenizer: Any, sequence: int, split: str, tokens: list[int]) -> dict[str, Any]:
    """Return the record of one answer."""
    ended = tokens[-1] == int(tokenizer.eos_token_id)
    text = tokenizer.decode(tokens[:-1] if ended else tokens, clean_up_tokenization_spaces=False)
    return {
        "sequence": sequence,
        "k": task.item_count(sequence),
        "split": split,
        "index": sequence,
        "text": text,
        "tokens": tokens,
        "ended": ended,
        "parses": task.is_valid(text),
        "permutation": task.is_permutation(text, task.make_items(split, sequence)),
    }


def sample(model: Any, tokenizer: Any, split: str, count: int, max_new: int, seed: int) -> list[dict[str, Any]]:
    """Return the records of the answers to the first ``count`` questions of a split."""
    torch.manual_seed(seed)
    records: list[dict[str, Any]] = []
    for start in range(0, count, BATCH):
        numbers = range(start, min(start + BATCH, count))
        prompts = [lm.prompt_tokens(tokenizer, task.make_items(split, number)) for number in numbers]
        answers = generate(model, tokenizer, prompts, max_new)
        records += [describe(tokenizer, n, split, tokens) for n, tokens in zip(numbers, answers, strict=True)]
    return records


def report(records: list[dict[str, Any]]) -> str:
    """Return one line for each share, with its Wilson 95 % interval."""
    lines = []
    for key in ("parses", "permutation", "ended"):
        hits = sum(bool(record[key]) for record in records)
        low, high = wilson(hits, len(records))
        share = hits / len(records)
        lines.append(f"{key}: {hits}/{len(records)} = {share:.4f} (Wilson 95 %: {low:.4f} to {high:.4f})")
    return "\n".join(lines)


def parse_arguments() -> argparse.Namespace:
    """Read the settings from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adapter", type=Path, default=HERE / "base", help="adapter folder to sample from")
    parser.add_argument("--split", default="test", help="split whose questions are asked")
    parser.add_argument("--count", type=int, default=360, help="number of answers")
    parser.add_argument("--max-new", type=int, default=72, help="the most tokens in one answer")
    parser.add_argument("--seed", type=int, default=1, help="seed of the sampling")
    parser.add_argument("--out", type=Path, help="file for the answers; without it only the shares are printed")
    parser.add_argument("--threads", type=int, default=2, help="number of CPU threads")
    return parser.parse_args()


def main() -> None:
    """Sample the answers, print the shares, and write the file."""
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    model = lm.load_with_adapter(args.adapter)
    records = sample(model, lm.load_tokenizer(), args.split, args.count, args.max_new, args.seed)
    print(report(records))
    if args.out is not None:
        lines = [json.dumps(record, separators=(",", ":")) + "\n" for record in records]
        part = args.out.with_name(f"{args.out.name}.part")  # a run that is cut off leaves the old file whole
        part.write_text("".join(lines), encoding="utf-8", newline="\n")
        part.replace(args.out)


if __name__ == "__main__":
    main()
