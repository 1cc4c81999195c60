"""Fine-tune SmolLM2-135M-Instruct on the task with LoRA, and save the adapter at chosen steps.

The loss counts only the tokens of the answer, including the end-of-turn token. Each batch holds questions of one size,
so that it needs little padding; the sizes come in a shuffled order.
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path
from typing import Any

import model as lm
import sample
import task
import torch

SIZES = task.MAX_ITEMS - task.MIN_ITEMS + 1


def batch_numbers(step: int, batch: int, seed: int) -> list[int]:
    """Return the training questions of one step; all have one size, and no other step uses them."""
    order = list(range(SIZES))
    random.Random(f"{seed}/{step // SIZES}").shuffle(order)
    first = (step // SIZES) * batch
    return [(first + slot) * SIZES + order[step % SIZES] for slot in range(batch)]


def batch_loss(model: Any, tokenizer: Any, numbers: list[int]) -> torch.Tensor:
    """Return the mean cross-entropy of the answers' tokens; logits are computed only at their positions."""
    questions = [task.make_items("train", number) for number in numbers]
    targets = [lm.target_tokens(tokenizer, items) for items in questions]
    rows = [lm.prompt_tokens(tokenizer, items) + target for items, target in zip(questions, targets, strict=True)]
    ids, mask = sample.left_padded(rows, int(tokenizer.eos_token_id))
    keep = max(len(target) for target in targets) + 1
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    logits: torch.Tensor = model(input_ids=ids, attention_mask=mask, position_ids=positions, logits_to_keep=keep).logits
    labels = torch.full((len(rows), keep - 1), -100)
    for row, target in enumerate(targets):
        labels[row, -len(target) :] = torch.tensor(target)
    return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels.flatten())


def rate_factor(step: int, steps: int, warmup: int) -> float:
    """Return the factor on the learning rate, which rises linearly and then falls linearly to a tenth."""
    if step < warmup:
        return (step + 1) / warmup
    return 1.0 - 0.9 * (step - warmup) / max(1, steps - warmup)


def train(model: Any, tokenizer: Any, args: argparse.Namespace) -> None:
    """Train for the given number of steps, and save the adapter on the way."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=args.lr, weight_decay=0.0)
    start = time.perf_counter()
    for step in range(args.steps):
        for group in optimizer.param_groups:
            group["lr"] = args.lr * rate_factor(step, args.steps, args.warmup)
        loss = batch_loss(model, tokenizer, batch_numbers(step, args.batch, args.seed))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        done = step + 1
        print(f"step {done} loss {loss.item():.4f} seconds {time.perf_counter() - start:.0f}", flush=True)
        if done in args.save or done == args.steps:
            lm.save_adapter(model, args.out / f"step-{done}")


def parse_arguments() -> argparse.Namespace:
    """Read the settings from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--steps",
        type=int,
        default=300,
        help="number of optimizer steps",
    )
    parser.add_argument(
        "--save", type=int, nargs="*", default=[], help="steps after which the adapter is saved, besides the last"
    )
    parser.add_argument("--batch", type=int, default=8, help="number of questions in one step")
    parser.add_argument("--rank", type=int, default=4, help="rank of the adapter")
    parser.add_argument("--lr", type=float, default=1e-3, help="largest learning rate")
    parser.add_argument("--warmup", type=int, default=20, help="number of steps over which the learning rate rises")
    parser.add_argument("--seed", type=int, default=0, help="seed of the initial adapter and of the order of sizes")
    parser.add_argument("--out", type=Path, default=Path("steps"), help="folder for the adapters")
    parser.add_argument("--threads", type=int, default=2, help="number of CPU threads")
    return parser.parse_args()


def main() -> None:
    """Train the adapter."""
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    model = lm.add_lora(lm.load_plain_model(), args.rank)
    model.print_trainable_parameters()
    train(model.train(), lm.load_tokenizer(), args)


if __name__ == "__main__":
    main()
