"""Whether the enclosures hold the exact values: ``python -m benchmarks.verified [CASES [FIRST]]``, by default 10⁶.

The cases come in chunks of 10,000 with their own seeds, and a line is printed after each, so a run that was cut off
goes on at chunk FIRST. The exit status is 1 if an enclosure misses its value, or that of a point is wider than 4 ulp.
"""

from __future__ import annotations

import sys
import time
from collections import Counter

from benchmarks.verification import leave, read
from tests.verified.containment import cases

CHUNK = 10_000
FORMS = {"float": 7900, "string": 2050, "pair": 50}
"""How many of a chunk are floats, decimal strings, and boxes of intervals."""
WIDEST = 4
NAME, COMMAND = "enclosures", "python -m benchmarks.verified {}"
JUMPS = {"least student"}
"""What jumps where the fixed point is exactly 1/2: no precision decides that tie, and the interval holds both sides."""


def chunk(number: int) -> tuple[Counter[str], float, list[str]]:
    """Return how many cases of each form a chunk had, the widest point in ulp, and what went wrong."""
    counts: Counter[str] = Counter()
    widest, wrong = 0.0, []
    for form, count in FORMS.items():
        for case in cases(count, number * len(FORMS) + len(counts), form):
            counts[form] += 1
            width = case.ulps if form != "pair" else 0.0
            tie = width > WIDEST and case.name in JUMPS and case.holds
            widest = max(widest, 0.0 if tie else width)
            if not case.holds or (width > WIDEST and not tie):
                wrong.append(f"{case.name}{case.arguments}: {case.found}, {width:g} ulp")
    return counts, widest, wrong


def main() -> None:
    """Run the chunks, print how many cases held, and leave the figures after each chunk."""
    total = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    before = (read(NAME) or {}) if first else {}
    counts = Counter[str](before.get("cases", {}))
    wrong, widest = before.get("wrong", 0), before.get("widest", 0.0)
    start = time.perf_counter()
    for number in range(first, total // CHUNK):
        of_chunk, width, found = chunk(number)
        counts, widest, wrong = counts + of_chunk, max(widest, width), wrong + len(found)
        said = ", ".join(f"{count:,} {form}" for form, count in counts.items())
        print(f"chunk {number}: {said}; widest point {widest:g} ulp, {wrong} wrong", *found, sep="\n  ", flush=True)
        missed = f"{wrong} missed or wider than {WIDEST} ulp"
        figure = f"{counts.total():,} cases, {missed}; the widest point is {widest:g} ulp wide"
        leave(NAME, COMMAND.format(counts.total()), figure, cases=dict(counts), wrong=wrong, widest=widest)
    print(f"{counts.total():,} cases, {wrong} wrong, {time.perf_counter() - start:.0f} s")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
