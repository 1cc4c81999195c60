"""Kill commands in the middle of their work: ``python -m benchmarks.kills`` writes what was left.

Each job runs once undisturbed, and then again and again in another folder, where it is killed without notice at random
moments: not at times, which depend on the machine, but at calls of the library's functions. Each time every file must
be whole up to the line that is being added, and at last the files must be, byte for byte, those of the undisturbed run,
but for times and command lines.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "results" / "verification" / "kills.json"
OWN = f"{os.sep}lambda_star{os.sep}"
TOLD = {"time", "seconds", "command", "started", "finished", "locked", "sha256", "outcome_sha256", "attempts"}
"""What differs between runs: times, and hashes and lists that hold them."""


def _rows(folder: Path) -> None:
    content = (ROOT / "examples" / "rank_by_price" / "logprobs.csv").read_bytes().splitlines(keepends=True)
    (folder / "rows.csv").write_bytes(b"".join(content[:600]))


def _models(folder: Path) -> None:
    from tests.torch.tiny import save_model

    for seed, name in enumerate(("teacher", "base")):
        save_model(folder / name, seed)
    lines = [json.dumps(f"ab{number}") for number in range(6)]
    (folder / "prompts.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _command(*arguments: str) -> None:
    from lambda_star.cli import main

    if status := main([*arguments], standalone_mode=False) or 0:
        assert status in {1, 3}  # an unsafe or unknown λ is no failure


def _calibrate() -> None:
    more = ["--resume"] if Path("state.zip").exists() else []
    _command("calibrate", "rows.csv", "--state", "state.zip", "--json", "report.json", "--markdown", "report.md", *more)


PAIR = ("--teacher", "teacher", "--base", "base", "--prompts", "prompts.jsonl", "--contract", "json")


def _score() -> None:
    _command("score", *PAIR, "--out", "rows.csv", "--max-tokens", "12", "--batch", "2", "--answers", "6")


def _rehearse() -> None:
    _command("rehearse", *PAIR, "--lam", "1.25", "--max-tokens", "12", "--batch", "4", "--out", "answers.jsonl")


def _cliff() -> None:
    from lambda_star.cliff.presets import QUICK
    from lambda_star.cliff.run import run

    small = replace(QUICK, name="small", items=3, steps=4, grid=(0.0, 0.9, 1.0, 1.4))
    run(small, 0, Path("runs"), width=16, layers=1)


JOBS: dict[str, tuple[Callable[[Path], None], Callable[[], None]]] = {
    "calibrate": (_rows, _calibrate),
    "score": (_models, _score),
    "rehearse": (_models, _rehearse),
    "cliff": (lambda folder: None, _cliff),
}


def child(name: str, folder: Path, at: int, answer: int) -> None:
    """Run a job in a folder, killed at the call of this number, and send how many there were."""
    os.chdir(folder)
    null = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(null, stream)
    calls = 0

    def count(frame: Any, event: str, _: Any) -> None:
        nonlocal calls
        if OWN in frame.f_code.co_filename:
            calls += 1
            if calls == at:
                os.kill(os.getpid(), signal.SIGKILL)

    threading.setprofile(count)
    sys.setprofile(count)
    JOBS[name][1]()
    sys.setprofile(None)
    os.write(answer, str(calls).encode())


def run(name: str, folder: Path, at: int = 0) -> int:
    """Run a job in a process of its own; return the number of its calls, 0 if it was killed."""
    ends, answer = os.pipe()
    process = os.fork()  # what is imported already is there
    if not process:
        failed = 1
        try:
            child(name, folder, at, answer)
            failed = 0
        except BaseException as error:
            os.write(answer, f"{type(error).__name__}: {error}".encode()[:1000])
        finally:
            os._exit(failed)
    os.close(answer)
    with os.fdopen(ends, "rb") as file:
        said = file.read().decode(errors="replace")
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if status == -signal.SIGKILL:
        return 0
    if status:
        raise AssertionError(f"{name} does not go on: {said}")
    return int(said)


def made(folder: Path, ready: set[str]) -> dict[str, bytes]:
    """The files that a job has made, by name, but for those that it is about to write."""
    found = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    kept = {name: path for name, path in found.items() if name not in ready}
    return {name: path.read_bytes() for name, path in kept.items() if not name.endswith((".part", ".lock"))}


def damaged(files: dict[str, bytes]) -> list[str]:
    """The names of files that are not whole, up to the last line of those that grow."""
    return [name for name, content in files.items() if not _is_whole(name, content)]


def _is_whole(name: str, content: bytes) -> bool:
    try:
        for text in (
            content.split(b"\n")[:-1] if name.endswith(".jsonl") else [content] if name.endswith(".json") else []
        ):
            json.loads(text)
    except ValueError:
        return False
    return content.endswith(b"\n") or not name.endswith((".csv", ".md"))


def plain(name: str, content: bytes) -> Any:
    """What must not differ between two runs."""
    if name.endswith(".json"):
        return _without(json.loads(content))
    if name.endswith(".zip"):
        return None  # what it holds is in the report
    return re.sub(rb"`lambda-star calibrate[^`]*`|lambda-star calibrate.*", b"", content)


def _without(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without(inner) for key, inner in value.items() if key not in TOLD}
    return value


def attack(name: str, kills: int, number: int) -> dict[str, int]:
    """Kill a job so many times, and count the files that are not whole, and those that differ at last."""
    prepare, draw = JOBS[name][0], random.Random(number)
    with tempfile.TemporaryDirectory() as place:
        whole, broken = Path(place, "whole"), Path(place, "broken")
        for folder in (whole, broken):
            folder.mkdir()
            prepare(folder)
        ready = {str(path.relative_to(whole)) for path in whole.rglob("*") if path.is_file()}
        calls, corrupt, done = run(name, whole), 0, 0
        while done < kills:
            if run(name, broken, draw.randint(1, calls)) == 0:
                done += 1
                corrupt += bool(damaged(made(broken, ready)))
            else:  # it was finished before the kill: begin anew
                _empty(broken, ready)
        run(name, broken)
        first, last = made(whole, ready), made(broken, ready)
        names = sorted(first.keys() | last.keys())
        differ = sum(plain(name, first.get(name, b"")) != plain(name, last.get(name, b"")) for name in names)
    return {"kills": done, "corrupt": corrupt, "files": len(names), "differ": differ}


def _empty(folder: Path, ready: set[str]) -> None:
    for path in folder.rglob("*"):
        if path.is_file() and str(path.relative_to(folder)) not in ready:
            path.unlink()


def figure(jobs: dict[str, dict[str, int]]) -> str:
    """Say in a sentence what came of the jobs."""
    keys = ("kills", "corrupt", "files", "differ")
    kills, corrupt, files, differ = (sum(counts[key] for counts in jobs.values()) for key in keys)
    ends = f"{corrupt} left a broken file, and {differ} of {files} files differ at last"
    return f"{kills} kills of {', '.join(jobs)}: {ends}"


def main(words: Sequence[str] | None = None) -> int:
    """Attack the jobs, and write the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kills", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--job", action="append", choices=[*JOBS], help="attack this job alone")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=PAGE)
    asked = parser.parse_args(words)
    import torch

    import lambda_star.cli
    import lambda_star.torch.scoring  # noqa: F401 (imports are no part of the work)

    torch.set_num_threads(1)
    there = json.loads(asked.out.read_text(encoding="utf-8"))["jobs"] if asked.out.exists() else {}
    failed = False
    for name in asked.job or JOBS:
        there[name] = attack(name, asked.kills, asked.seed)
        failed |= bool(there[name]["corrupt"] or there[name]["differ"])
        print(name, *(f"{key} {value}" for key, value in there[name].items()), sep="  ", flush=True)
        command = f"python -m benchmarks.kills --kills {asked.kills} --seed {asked.seed}"
        found = {
            "command": command,
            "date": date.today().isoformat(),
            "seed": asked.seed,
            "figure": figure(there),
            "jobs": there,
        }
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        asked.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
