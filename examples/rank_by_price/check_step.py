"""Check the predictions of lambda_star against a real distillation step of SmolLM2-135M with this folder's adapters.

The student is a copy of the base, and the positions are those of one answer that the base sampled.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import model as lm
import task
import torch

from lambda_star.torch import check_step

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Load teacher, base and student, run the steps, and print each prediction with its measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answer", type=int, default=1, help="line of base_answers.jsonl, counted from 0")
    parser.add_argument("--lam", type=float, default=1.25, help="extrapolation coefficient")
    parser.add_argument("--clip", type=float, default=5.0, help="cap on the ratio of teacher to student probability")
    args = parser.parse_args()
    record = json.loads((HERE / "base_answers.jsonl").read_text(encoding="utf-8").split("\n")[args.answer])
    prompt = lm.prompt_tokens(lm.load_tokenizer(), task.make_items(record["split"], record["index"]))
    inputs = {"input_ids": torch.tensor([prompt + record["tokens"]]), "logits_to_keep": len(record["tokens"]) + 1}
    teacher, base, student = (lm.load_with_adapter(HERE / name) for name in ("teacher", "base", "base"))
    for name, weight in student.named_parameters():
        weight.requires_grad_("lora" in name)
    report = check_step(teacher, base, student, inputs, lam=args.lam, clip=args.clip)
    positions = f"{report.positions} positions × {report.tokens} tokens, {report.dtype}"
    print(f"λ = {report.lam:g}, c = {report.clip:g}; {positions}")
    for line in report.lines:
        print(f"{line.what:77} {line.predicted:11.6g} {line.measured:11.6g}  {'yes' if line.holds else 'NO'}")
    raise SystemExit(0 if report.passed else 1)


if __name__ == "__main__":
    main()
