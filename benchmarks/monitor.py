"""The cost of a SafetyMonitor in a run of TRL's DistillationTrainer, as a share of a training step that is logged.

TRL logs every tenth step by default, so the cost of a whole run is a tenth of this. The time inside the monitor is the
steadier of the two figures, because the difference between two kinds of steps carries the noise of whole steps.
"""

from __future__ import annotations

import statistics
import tempfile
import time
import warnings
from importlib import import_module
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.speed import Result

VOCABULARY, WIDTH, LAYERS = 8192, 256, 2
BATCH, COMPLETION, STEPS = 32, 128, 14
BOUND = 0.05
"""The largest share that a logged step may pay for the monitor."""


def model(seed: int) -> Any:
    """Make a small Llama whose parameters are mostly embedding and head, as in today's small models."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
    )
    return LlamaForCausalLM(config)


def tokenizer() -> Any:
    """Make a tokenizer with one word per token."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {"<pad>": 0, "</s>": 1} | {f"w{i}": i for i in range(2, VOCABULARY)}
    fast = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    fast.pre_tokenizer = pre_tokenizers.Whitespace()
    make: Any = PreTrainedTokenizerFast
    return make(tokenizer_object=fast, pad_token="<pad>", eos_token="</s>", padding_side="left")


def shares() -> list[Result]:
    """Train with a log at every step and the monitor at every other one, and return the shares."""
    from datasets import Dataset
    from transformers import PrinterCallback, TrainerCallback

    from lambda_star.torch.monitor import SafetyMonitor

    # Untyped, because its annotations reject arguments from a dictionary.
    trl: Any = import_module("trl")
    inside: list[float] = []
    steps: dict[bool, list[float]] = {True: [], False: []}

    class EveryOther(SafetyMonitor):
        def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            if state.global_step % 2:
                super().on_log(args, state, control, **kwargs)
                inside.append(time.perf_counter() - start)
            return control

    class Clock(TrainerCallback):
        start = 0.0

        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.start = time.perf_counter()

        def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if "loss" in kwargs["logs"]:  # once for each step, and after the monitor
                steps[bool(state.global_step % 2)].append(time.perf_counter() - self.start)

    options = {"use_cpu": True, "bf16": False, "report_to": "none", "save_strategy": "no", "disable_tqdm": True}
    sizes = {"per_device_train_batch_size": BATCH, "max_completion_length": COMPLETION, "max_steps": STEPS}
    options |= {"logging_steps": 1, "gradient_checkpointing": False}
    with tempfile.TemporaryDirectory() as folder:
        trainer = trl.DistillationTrainer(
            model=model(0),
            teacher_model=model(1),
            # With answers of equal length all steps do the same work.
            args=trl.DistillationConfig(folder, generation_kwargs={"min_new_tokens": COMPLETION}, **options, **sizes),
            train_dataset=Dataset.from_dict({"prompt": ["w2 w3 w4 w5 w6 w7 w8 w9"] * BATCH * STEPS}),
            processing_class=tokenizer(),
            callbacks=[Clock()],
        )
        trainer.remove_callback(PrinterCallback)
        EveryOther(base=model(2), lam=1.25, clip=5.0).attach(trainer)
        trainer.train()
    # The first step of each kind is left out, because it warms up.
    step, watched, report = (statistics.median(seconds[1:]) for seconds in (steps[False], steps[True], inside))
    return [
        Result(f"inside the monitor / a step without it ({step:.1f} s)", report / step, *kept(report / step)),
        Result("a step with the monitor / one without it, − 1", watched / step - 1, *kept(watched / step - 1)),
    ]


def kept(share: float) -> tuple[str, bool]:
    """Return the bound as text, and whether a share keeps it."""
    return f"at most {BOUND:.0%}", share <= BOUND


def main() -> None:
    """Measure and print the shares."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # names that TRL uses and transformers deprecates
        results = shares()
    title = f"Monitor: {BATCH} answers of {COMPLETION} tokens a step, {VOCABULARY} tokens; medians of steps in turn"
    table = Table("share of a logged step", "measured", "bound", "kept", title=title, title_justify="left")
    for result in results:
        table.add_row(result.what, f"{result.ratio:.1%}", result.bound, "yes" if result.kept else "NO")
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
