"""Speed and accuracy in one run: ``python -m benchmarks [PART …]``; without a part, all of them."""

from __future__ import annotations

import sys

from benchmarks import accuracy, coverage, derivations, dynamics, large, monitor, rehearsal, speed, vocabulary

PARTS = {
    "speed": speed.main,
    "vocabulary": vocabulary.main,
    "dynamics": dynamics.main,
    "accuracy": accuracy.main,
    "coverage": coverage.main,
    "derivations": derivations.main,
    "monitor": monitor.main,
    "rehearsal": rehearsal.main,
    "large": large.main,
}

if __name__ == "__main__":
    chosen = sys.argv[1:] or list(PARTS)
    if unknown := [name for name in chosen if name not in PARTS]:
        sys.exit(f"no benchmark {', '.join(unknown)}; choose from {', '.join(PARTS)}")
    for name in chosen:
        PARTS[name]()
