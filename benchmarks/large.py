"""Tables of any size: seconds and memory from file to report, against polars on the same file, and the sketch's error.

Every job runs in a process of its own, so that its memory can be told; its seconds hold the start of Python.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv, parquet
from rich.console import Console
from rich.table import Table

PIECE = 1_000_000
"""Rows of one file."""

TOKENS = ["[", *(str(at // 2 + 1) if at % 2 == 0 else "," for at in range(23)), "]"]
"""An answer: a list of twelve numbers, 25 tokens."""

CLASSES = [{"[": "open", ",": "separate", "]": "close"}.get(token, "number") for token in TOKENS]

BOUNDS = {1_000_000: 4.0, 10_000_000: 40.0}
"""The seconds that so many rows may take on two cores."""

MEMORY = 1024
"""The MiB that they may take, whatever their number."""


def log_probabilities(answers: int, seed: int) -> tuple[Any, Any]:
    """Return the teacher's and the base's log-probabilities: nearly deterministic, the answers of different quality."""
    rng = np.random.default_rng(seed)
    shape = (answers, len(TOKENS))
    tail = np.exp(rng.normal(-7.0, 0.8, (answers, 1)) + rng.normal(0.0, 0.5, shape))
    base = rng.beta(6.0, 3.0, shape)
    return np.round(np.log1p(-tail), 10).ravel(), np.round(np.log(np.minimum(base, 1 - 2 * tail)), 10).ravel()


def piece(number: int, rows: int = PIECE, contract: bool = True) -> pa.Table:
    """Return the rows of one file, as columns."""
    answers = rows // len(TOKENS)
    log_p, log_b = log_probabilities(answers, number)
    names = [f"{number}-{answer}" for answer in range(answers)]
    texts = sorted(set(TOKENS))
    tokens = pa.DictionaryArray.from_arrays(np.tile([texts.index(token) for token in TOKENS], answers), texts)
    labels = sorted(set(CLASSES))
    columns = {
        "sequence": pa.array(names).take(pa.array(np.repeat(np.arange(answers), len(TOKENS)))),
        "position": np.tile(np.arange(len(TOKENS)), answers),
        "token": tokens.cast(pa.string()),
        "modal": tokens.cast(pa.string()),
        "log_p": log_p,
        "log_b": log_b,
    }
    if contract:
        codes = np.tile([labels.index(label) for label in CLASSES], answers)
        columns["contract"] = pa.DictionaryArray.from_arrays(codes, labels).cast(pa.string())
    return pa.table(columns)


def write(folder: Path, rows: int, form: str, contract: bool = True) -> list[Path]:
    """Write a data set in files of a million rows, and return their paths."""
    folder.mkdir(parents=True)
    paths = []
    for number in range(-(-rows // PIECE)):
        table = piece(number, min(PIECE, rows), contract)
        paths.append(folder / f"part-{number:04d}.{form}")
        if form == "parquet":
            parquet.write_table(table, paths[-1])
        else:
            csv.write_csv(table, paths[-1], csv.WriteOptions(quoting_style="needed"))
    return paths


def exact(rows: int) -> Any:
    """Return the λ* of all positions of a data set, sorted, computed without the library's reading and state."""
    from lambda_star.bernoulli import threshold_from_logits

    found = []
    for number in range(-(-rows // PIECE)):
        log_p, log_b = log_probabilities(min(PIECE, rows) // len(TOKENS), number)
        odds = (value - np.log(-np.expm1(value)) for value in (log_p, log_b))
        found.append(threshold_from_logits(*odds, 5.0))
    return np.sort(np.concatenate(found))


# The jobs, each in a process of its own


def ours(paths: list[Path]) -> dict[str, Any]:
    """Calibrate, as a user would, and return what the table shows."""
    from lambda_star.calibration.large import calibrate_files
    from lambda_star.calibration.state import Settings

    report = calibrate_files(paths, Settings()).report()
    return {
        "rows": report.used,
        "advised": report.advised.value,
        "error": report.sketch_error,
        "quantiles": {str(level): value for level, value in report.quantiles.items()},
    }


def polars(paths: list[Path]) -> dict[str, Any]:
    """Read with polars, take λ* of all rows as printed in the paper, and the 5 % quantile of the answers' least."""
    import polars as pl

    scan = pl.scan_parquet(paths) if paths[0].suffix == ".parquet" else pl.scan_csv(paths)
    p, b = pl.col("log_p").exp(), pl.col("log_b").exp()
    odds_p, odds_b = ((1 - p) / p).log(), ((1 - b) / b).log()
    threshold = (((1 - p) / (4 + p)).log() - odds_b) / (odds_p - odds_b)
    least = scan.group_by("sequence").agg(threshold.min().alias("least"), pl.len())
    answers = least.collect(engine="streaming")
    return {"rows": int(answers["len"].sum()), "advised": answers["least"].quantile(0.05)}


JOBS = {"lambda_star": ours, "polars": polars}


def job(name: str, *paths: str) -> None:
    """Run one job in this process and print what it found, with its peak memory in MiB."""
    import resource

    found = JOBS[name]([Path(path) for path in paths])
    used = resource.getrusage(resource.RUSAGE_SELF)  # its ru_maxrss would hold that of the process that began this one
    [peak] = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    print(json.dumps(found | {"peak": int(peak) / 1024, "processor": used.ru_utime + used.ru_stime}))


def measured(name: str, paths: list[Path]) -> dict[str, Any]:
    """Run one job in a new process, and return what it found with its seconds."""
    command = [sys.executable, "-c", "import sys; from benchmarks.large import job; job(*sys.argv[1:])", name]
    start = time.perf_counter()
    out = subprocess.run([*command, *map(str, paths)], check=True, capture_output=True, text=True).stdout
    return dict(json.loads(out), seconds=time.perf_counter() - start)


# The table


def lines(folder: Path, sizes: list[int]) -> Iterator[tuple[str, ...]]:
    """Yield the lines of the table: one for each size and format."""
    for rows in sizes:
        for form in ("parquet", "csv"):
            paths = write(folder / f"{rows}-{form}", rows, form)
            found, peer = measured("lambda_star", paths), measured("polars", paths)
            shutil.rmtree(folder / f"{rows}-{form}")
            assert found["rows"] == peer["rows"] == rows, (found, peer)
            bound = BOUNDS.get(rows)
            yield (
                f"{rows:.0e}",
                form,
                f"{found['seconds']:.1f}",
                f"{found['processor']:.1f}",
                f"{bound:.0f}" if bound else "",
                f"{found['peak']:.0f}",
                f"{found['seconds'] / peer['seconds']:.1f}",
                f"{peer['peak']:.0f}",
                _worst_error(found, rows),
                "yes" if found["seconds"] < (bound or np.inf) and found["peak"] < MEMORY else "NO",
            )


def _worst_error(found: dict[str, Any], rows: int) -> str:
    """The greatest share of itself by which the rank of a reported quantile is off, and what the report states."""
    values, worst = exact(rows), 0.0
    for level, value in ((float(level), value) for level, value in found["quantiles"].items() if float(level) > 0):
        below, up_to = (np.searchsorted(values, value, side) / len(values) for side in ("left", "right"))
        worst = max(worst, (below - level) / level, (level - up_to) / level)
    return f"{worst:.1e} ({found['error']:.1e})"


def main(sizes: tuple[int, ...] = (1_000_000, 10_000_000, 30_000_000)) -> None:
    """Measure every size in both formats, and print one table."""
    heads = ("rows", "format", "s", "CPU s", "bound", "MiB", "/ polars", "its MiB", "rank error (stated)", "kept")
    table = Table(*heads, title="From files to report, below 1024 MiB", title_justify="left")
    with tempfile.TemporaryDirectory() as folder:
        for line in lines(Path(folder), list(sizes)):
            table.add_row(*line)
            print(*line, file=sys.stderr)
    Console(width=110).print(table)
