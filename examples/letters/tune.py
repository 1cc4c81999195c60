"""Fine-tune the last layers of SmolLM2-135M-Instruct on one of the two tasks, and save the adapter.

The loss counts only the tokens of the answer. Every step has fresh questions.

    python tune.py copy --steps 60 --mistakes 0.25 --out copy_base
    python tune.py copy --steps 40 --batch 16 --mistakes 0.08 --start copy_base --share 0.5 --out copy_teacher
    python tune.py open --steps 60 --batch 16 --ends 0.4 --ordered 0.6 --out open_base
    python tune.py open --steps 40 --batch 16 --ends 0.15 --ordered 0.9 --start open_base --out open_teacher
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path
from typing import Any

import letters
import split
import torch
from safetensors.torch import load_file, save_file
from split import lm

LONGEST = 11
"""The most letters of a list in the data; of a longer one only the start is learnt, without an end."""


def answer(args: argparse.Namespace, prompt: str, rng: random.Random) -> str:
    """Return the answer to a question that the model is to learn."""
    if args.task == "copy":
        return letters.target(letters.copied_letters(prompt, rng, args.mistakes))
    return letters.target(letters.open_letters(prompt, rng, args.ends, args.ordered)[:LONGEST])


def rows(tokenizer: Any, args: argparse.Namespace, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the tokens of the prompts and answers of one step; answers are padded on the right with their end."""
    rng, end = random.Random(f"{args.out.name}/{args.seed}/{step}"), int(tokenizer.eos_token_id)
    prompts = [letters.make_prompt(args.task, "tune", step * args.batch + row) for row in range(args.batch)]
    answers = [tokenizer(answer(args, prompt, rng))["input_ids"] for prompt in prompts]
    width = min(max(map(len, answers)) + 1, 2 * LONGEST)
    padded = [(tokens + [end] * width)[:width] for tokens in answers]
    return torch.tensor([tokenizer(prompt)["input_ids"] for prompt in prompts]), torch.tensor(padded)


def tune(model: Any, tokenizer: Any, args: argparse.Namespace) -> None:
    """Train, and save the adapter."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=args.rate, weight_decay=0.0)
    begin, end = time.perf_counter(), int(tokenizer.eos_token_id)
    for step in range(1, args.steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = args.rate * min(1.0, step / args.warmup, 2 * (args.steps + 1 - step) / args.steps)
        prompts, answers = rows(tokenizer, args, step)
        hidden = split.trunk(model, torch.cat([prompts, answers[:, :-1]], dim=1))
        keep = split.answer_mask(answers, prompts.shape[1], end)
        found = split.logits(model, hidden, keep)
        loss = torch.nn.functional.cross_entropy(found, answers[keep[:, prompts.shape[1] - 1 :]])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        print(f"step {step} loss {loss.item():.4f} seconds {time.perf_counter() - begin:.0f}", flush=True)
    lm.save_adapter(model, args.out)
    if args.start:
        blend(args)


def blend(args: argparse.Namespace) -> None:
    """Keep a share of the way from the adapter at the start to the saved one."""
    start, end = (load_file(folder / "adapter_model.safetensors") for folder in (args.start, args.out))
    mixed = {name: torch.lerp(start[name].float(), end[name].float(), args.share).half() for name in end}
    save_file(mixed, args.out / "adapter_model.safetensors", metadata={"format": "pt"})


def main() -> None:
    """Train one adapter."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=("copy", "open"))
    parser.add_argument("--steps", type=int, default=40, help="number of optimizer steps")
    parser.add_argument("--batch", type=int, default=32, help="number of questions in one step")
    parser.add_argument("--rate", type=float, default=2e-3, help="largest learning rate of AdamW, after the warm-up")
    parser.add_argument("--warmup", type=int, default=10, help="number of steps over which the rate rises")
    parser.add_argument("--seed", type=int, default=0, help="seed of the adapter and of the lists")
    parser.add_argument("--mistakes", type=float, default=0.08, help="copy: probability that a letter is replaced")
    parser.add_argument("--ends", type=float, default=0.15, help="open: probability that a letter is the last one")
    parser.add_argument("--ordered", type=float, default=0.9, help="open: probability that the next letter follows")
    parser.add_argument("--start", type=Path, help="adapter to start from")
    parser.add_argument("--share", type=float, default=1.0, help="share of the way from the start that is kept")
    parser.add_argument("--out", type=Path, required=True, help="folder for the adapter")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    model = split.trained(args.start) if args.start else split.add_lora(lm.load_plain_model())
    tune(model, lm.load_tokenizer(), args)


if __name__ == "__main__":
    main()
