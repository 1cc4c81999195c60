"""The cost of λ* over a whole vocabulary, against one logsumexp pass and against SciPy's root finder row by row."""

from __future__ import annotations

import tracemalloc
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.speed import Result, medians
from lambda_star import categorical

POSITIONS, TOKENS = 128, 151_936
CLIP = 5.0
PEER_ROWS = 8
BATCH = 8
"""Rows of one step of sampling from the student."""
Rows = NDArray[np.float32]


def near_deterministic(positions: int = POSITIONS, tokens: int = TOKENS) -> tuple[Rows, Rows]:
    """Logits of contract positions, at which one token is far ahead of all others, under the teacher even more so."""
    rng = np.random.default_rng(0)
    log_t = (2.5 * rng.standard_normal((positions, tokens))).astype(np.float32)
    log_b = log_t + (0.7 * rng.standard_normal((positions, tokens))).astype(np.float32)
    modal = rng.integers(0, tokens, positions)
    log_t[np.arange(positions), modal], log_b[np.arange(positions), modal] = 26, 22
    return log_t, log_b


def flat(positions: int = POSITIONS, tokens: int = TOKENS) -> tuple[Rows, Rows]:
    """Logits without a token far ahead: not a contract position, but the hardest case for the root finder."""
    rng = np.random.default_rng(1)
    log_t = (2.5 * rng.standard_normal((positions, tokens))).astype(np.float32)
    return log_t, log_t + (0.7 * rng.standard_normal((positions, tokens))).astype(np.float32)


def root_by_brentq(log_t: Rows, log_b: Rows) -> float:
    """Solve the textbook equation (λ−1)·[D_λ(π_T‖π_B) + max log(π_B/π_T)] = log c of one row with SciPy."""
    from scipy.optimize import brentq
    from scipy.special import log_softmax, logsumexp

    log_t, log_b = log_softmax(log_t), log_softmax(log_b)

    def excess_over_clip(lam: float) -> float:
        renyi = logsumexp(lam * log_t + (1 - lam) * log_b) / (lam - 1)
        return float((lam - 1) * (renyi + np.max(log_b - log_t)) - np.log(CLIP))

    return float(brentq(excess_over_clip, 1 + 1e-9, 1000))


def against_peers(name: str, log_t: Rows, log_b: Rows) -> list[Result]:
    """Compare NumPy and torch with one torch.logsumexp pass and with SciPy.

    The bound on the ratio to SciPy holds for contract positions, which are near-deterministic; for flat rows the ratio
    is reported without a bound.
    """
    import torch

    tensor_t, tensor_b = torch.from_numpy(log_t), torch.from_numpy(log_b)
    ours, in_torch, one_pass, by_row = medians(
        lambda: categorical.threshold(log_t, log_b, CLIP),
        lambda: categorical.threshold(tensor_t, tensor_b, CLIP),
        lambda: torch.logsumexp(tensor_t, dim=-1),
        lambda: [root_by_brentq(log_t[row], log_b[row]) for row in range(PEER_ROWS)],
        rounds=15,
    )
    speedup = by_row / PEER_ROWS / (ours / POSITIONS)
    return [
        Result(f"{name}: NumPy / one torch.logsumexp pass", ours / one_pass, "at most 12", ours / one_pass <= 12),
        Result(
            f"{name}: torch / one torch.logsumexp pass", in_torch / one_pass, "at most 12", in_torch <= 12 * one_pass
        ),
        Result(
            f"{name}: SciPy's brentq row by row / NumPy",
            speedup,
            "none" if name == "flat" else "at least 30",
            name == "flat" or speedup >= 30,
        ),
    ]


def students(name: str, log_t: Rows, log_b: Rows) -> list[Result]:
    """Compare the capped student of a step of sampling with a logsumexp pass of the same library over the same rows."""
    import torch
    from scipy.special import logsumexp

    student = partial(categorical.stationary_student, c=CLIP)
    results = []
    for dtype in (np.float32, np.float64):
        rows_t, rows_b = (one[:BATCH].astype(dtype) for one in (log_t, log_b))
        tensor_t, tensor_b = torch.from_numpy(rows_t), torch.from_numpy(rows_b)
        stars = categorical.threshold(rows_t, rows_b, CLIP).value
        for side, lam in (("half of λ*−1", (1 + stars.min()) / 2), ("1.5 of λ*−1", 1.5 * stars.max() - 0.5)):
            ours, in_scipy, in_torch, one_pass = medians(
                partial(student, rows_t, rows_b, lam=lam),
                partial(logsumexp, rows_t, axis=-1),
                partial(student, tensor_t, tensor_b, lam=lam),
                partial(torch.logsumexp, tensor_t, dim=-1),
            )
            for library, ratio in (("NumPy", ours / in_scipy), ("torch", in_torch / one_pass)):
                what = f"{name}: student of {BATCH} rows at {side}, {library} {np.dtype(dtype)} / logsumexp"
                results.append(Result(what, ratio, "at most 12", ratio <= 12))
    return results


def memory(log_t: Rows, log_b: Rows) -> list[Result]:
    """Measure the peak of NumPy's allocations during a call, for half of the positions and for all of them."""
    extra = []
    for positions in (POSITIONS // 2, POSITIONS):
        tracemalloc.start()
        categorical.threshold(log_t[:positions], log_b[:positions], CLIP)
        extra.append(tracemalloc.get_traced_memory()[1] / 1e6)
        tracemalloc.stop()
    growth = extra[1] / extra[0]
    return [
        Result(
            "extra memory / memory of the two inputs",
            extra[1] * 1e6 / (2 * log_t.nbytes),
            "at most 0.5",
            extra[1] * 1e6 <= log_t.nbytes,
        ),
        Result(
            f"extra memory ({extra[1]:.0f} MB) / that for half of the positions", growth, "at most 1.2", growth <= 1.2
        ),
    ]


def linear(log_t: Rows, log_b: Rows) -> list[Result]:
    """Measure the seconds per position and token, for three numbers of positions and three numbers of tokens."""
    results = []
    for what, cuts in {
        "positions": [(slice(None, POSITIONS // part), slice(None)) for part in (4, 2, 1)],
        "tokens": [(slice(None), slice(None, TOKENS // part)) for part in (4, 2, 1)],
    }.items():
        inputs = [[np.ascontiguousarray(rows[cut]) for rows in (log_t, log_b)] for cut in cuts]
        times = medians(*(partial(categorical.threshold, one, other, CLIP) for one, other in inputs))
        unit = [seconds / rows[0].size for seconds, rows in zip(times, inputs, strict=True)]
        ratio = max(unit) / min(unit)
        results.append(
            Result(f"slowest / fastest per element, three numbers of {what}", ratio, "at most 2", ratio <= 2)
        )
    return results


def float32_accuracy(rows: dict[str, tuple[Rows, Rows]]) -> list[Result]:
    """Measure the relative difference of λ*−1 between float32 rows and the same numbers in float64."""
    worst = 0.0
    for log_t, log_b in rows.values():
        single = categorical.threshold(log_t, log_b, CLIP).value
        double = categorical.threshold(log_t[:32].astype(np.float64), log_b[:32].astype(np.float64), CLIP).value
        worst = max(worst, float(np.max(np.abs((single[:32] - 1.0) / (double - 1) - 1))))
    return [
        Result("float32 against float64, relative error of λ*−1, in 1e-5", worst / 1e-5, "at most 1", worst <= 1e-5)
    ]


def main() -> None:
    """Measure everything and print the ratios."""
    rows: dict[str, Any] = {"near-deterministic": near_deterministic(), "flat": flat()}
    results = [result for name, pair in rows.items() for result in against_peers(name, *pair)]
    results += [result for name, pair in rows.items() for result in students(name, *pair)]
    results += [*memory(*rows["flat"]), *linear(*rows["flat"]), *float32_accuracy(rows)]
    title = f"K tokens: {POSITIONS} positions × {TOKENS} tokens, float32; medians of jobs that take turns"
    table = Table("ratio", "measured", "bound", "kept", title=title, title_justify="left")
    for result in results:
        table.add_row(result.what, f"{result.ratio:.2f}", result.bound, "yes" if result.kept else "NO")
    Console(width=130).print(table)
