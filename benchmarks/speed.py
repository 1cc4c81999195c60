"""How long λ* takes to compute, as ratios to a peer that is timed in turn with it in the same run."""

from __future__ import annotations

import gc
import math
import statistics
import subprocess
import sys
import time
import timeit
import tracemalloc
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from lambda_star import threshold

ELEMENTS = 10**7
ROUNDS = 7
Floats = NDArray[np.float64]


class Result(NamedTuple):
    """A ratio, the bound that it is meant to keep, and whether it did."""

    what: str
    ratio: float
    bound: str
    kept: bool


def medians(*jobs: Callable[[], object], rounds: int = ROUNDS) -> list[float]:
    """Return the median seconds of each job; the jobs take turns, so that a slow spell of the machine hits all."""
    times: list[list[float]] = [[] for _ in jobs]
    for _ in range(rounds + 1):
        for job, seconds in zip(jobs, times, strict=True):
            gc.collect()
            start = time.perf_counter()
            job()
            seconds.append(time.perf_counter() - start)
    return [statistics.median(seconds[1:]) for seconds in times]  # the first round warms up


def textbook(p: Floats, b: Floats, c: float) -> Floats:
    """Return λ* by Eq. 4 of the paper as printed."""
    log = np.log
    result: Floats = (log((1 - p) / (c - 1 + p)) - log((1 - b) / b)) / (log((1 - p) / p) - log((1 - b) / b))
    return result


def arrays() -> list[Result]:
    """Compare 10⁷ NumPy elements with the printed Eq. 4 and with two in-place passes of log1p."""
    rng = np.random.default_rng(0)
    p, b = rng.uniform(0.8, 0.9999, ELEMENTS), rng.uniform(0.3, 0.7, ELEMENTS)
    scratch = p.copy()

    def two_passes() -> None:
        np.log1p(scratch, out=scratch)
        np.log1p(scratch, out=scratch)

    ours, printed, passes = medians(lambda: threshold(p, b, 5.0), lambda: textbook(p, b, 5.0), two_passes)
    tracemalloc.start()
    nbytes = threshold(p, b, 5.0).nbytes
    extra = (tracemalloc.get_traced_memory()[1] - nbytes) / 1e6
    tracemalloc.stop()
    return [
        Result(
            f"textbook Eq. 4 / threshold, {ELEMENTS:.0e} elements", printed / ours, "at least 2", printed / ours >= 2
        ),
        Result("threshold / two in-place log1p passes", ours / passes, "at most 3", ours / passes <= 3),
        Result("memory beyond the result, MB", extra, "at most 5", extra <= 5),
    ]


def scalars() -> list[Result]:
    """Compare one float with the bare expression in functions of the math module."""
    scope = {"math": math, "threshold": threshold, "p": 0.99, "b": 0.5, "c": 5.0}
    bare = "1.0 + math.log1p((c - 1.0) / p) / math.log1p((p - b) / (b * (1.0 - p)))"
    timers = [timeit.Timer(statement, globals=scope) for statement in ("threshold(p, b, c)", bare)]
    ours, peer = (t / 20_000 for t in medians(*(lambda t=t: t.timeit(20_000) for t in timers), rounds=31))
    return [
        Result(
            f"scalar threshold / bare math expression ({ours * 1e9:.0f} ns)", ours / peer, "at most 6", ours / peer <= 6
        )
    ]


def imports() -> list[Result]:
    """Compare a fresh interpreter that imports threshold with one that imports NumPy."""

    def start(code: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, "-c", code], check=True)

    ours, peer, empty = medians(start("from lambda_star import threshold"), start("import numpy"), start(""), rounds=15)
    ratio = (ours - empty) / (peer - empty)
    return [
        Result(
            "import of threshold / import of NumPy, start-up of Python taken off", ratio, "at most 1.2", ratio <= 1.2
        )
    ]


def main() -> None:
    """Measure everything and print the ratios."""
    table = Table(
        "ratio", "measured", "bound", "kept", title="Speed: medians of jobs that take turns", title_justify="left"
    )
    for result in (*arrays(), *scalars(), *imports()):
        table.add_row(result.what, f"{result.ratio:.2f}", result.bound, "yes" if result.kept else "NO")
    Console(width=110).print(table)
