"""Attack the library with made-up input: ``python -m benchmarks.fuzz`` writes what came of it.

Each target gets its inputs from Hypothesis and must end, for every one, with a result or with an error that is
promised: within five seconds of the processor and 1 GiB of memory, without a warning, a program that is run, a
connection, or a file that is written or removed outside of the folder that it was given. A failure is printed with the
input that shows it, and the same seed makes the same inputs.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import HealthCheck, Phase, given, seed, settings

from benchmarks.fuzz_targets import TARGETS, Target

PAGE = Path(__file__).parent.parent / "results" / "verification" / "fuzz.json"
SECONDS, MEMORY = 5.0, 1 << 30
OWN = ("lambda_star", "benchmarks")

WRITES = {"os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod"}
RUNS = {"os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "subprocess.Popen", "socket.connect", "exec"}


class Late(BaseException):
    """An input takes too long."""


class Forbidden(BaseException):
    """An input runs a program, or reaches for a file that is not its own."""


class Failure(NamedTuple):
    """A kind of failure, and the first input that shows it."""

    what: str
    shown: str


class Guard:
    """An audit hook, which stays for good, and looks at what happens only while an input is tried."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.seen: list[str] = []
        sys.addaudithook(self._see)

    def _see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.folder is None or event not in WRITES | RUNS | {"open"}:
            return
        if event == "open":
            path, mode, flags = arguments
            writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) if isinstance(flags, int) else "r" not in mode
            if not writes or isinstance(path, int) or str(path) == os.devnull or self._inside(path):
                return
        elif event in WRITES and all(self._inside(path) for path in arguments if isinstance(path, str | bytes | Path)):
            return
        elif event == "exec" and not getattr(arguments[0], "co_filename", "<string>").startswith("<string>"):
            return  # the code of a module that is imported
        elif event == "subprocess.Popen" and arguments[0] == "git":
            return  # by which `locks` reads a history
        self.seen.append(f"{event} {arguments!r}"[:200])

    def _inside(self, path: Any) -> bool:
        whole = Path(os.path.realpath(os.fsdecode(path)))
        return self.folder in (whole, *whole.parents)

    @contextmanager
    def watching(self, folder: Path) -> Iterator[None]:
        """Raise :class:`Forbidden` for what an input does and must not."""
        self.folder, self.seen = folder.resolve(), []
        try:
            yield
        finally:
            self.folder = None
        if self.seen:
            raise Forbidden(self.seen[0])


def _late(*_: object) -> None:
    raise Late(f"more than {SECONDS:g} s")


class Attack:
    """The inputs of one target, and what came of them."""

    def __init__(self, target: Target, guard: Guard) -> None:
        self.target, self.guard = target, guard
        self.inputs, self.worst = 0, 0.0
        self.failures: dict[str, str] = {}
        self.peak = self.start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def run(self, count: int, number: int) -> None:
        """Try so many inputs, the first of which loads what is imported on first use."""
        with tempfile.TemporaryDirectory(prefix="lambda-star-") as name:
            self.folder = Path(name)
            tempfile.tempdir = name
            self.target.warm(self.folder)
            self.start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            checks = settings(
                max_examples=count,
                database=None,
                deadline=None,
                phases=[Phase.generate],
                suppress_health_check=[*HealthCheck],
            )
            seed(number)(checks(given(self.target.inputs)(self._try)))()
            tempfile.tempdir = None
        self.peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def _try(self, drawn: Any) -> None:
        self.inputs += 1
        begun = time.process_time()
        signal.signal(signal.SIGPROF, _late)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            with warnings.catch_warnings(), self.guard.watching(self.folder):
                warnings.simplefilter("error")
                self.target.run(self.folder, drawn)
        except self.target.promised:
            pass
        except (Exception, Late, Forbidden) as error:
            self._fail(error, drawn)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            self.worst = max(self.worst, time.process_time() - begun)

    def _fail(self, error: BaseException, drawn: Any) -> None:
        frames = [
            each for each in traceback.extract_tb(error.__traceback__) if any(own in each.filename for own in OWN)
        ]
        place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
        what = f"{place} {type(error).__name__}: {str(error)[:160]}"
        key = f"{place} {type(error).__name__}" if not isinstance(error, AssertionError) else what[:60]
        if key not in self.failures:
            self.failures[key] = what
            print(f"  {what}\n    from {self.target.shown(drawn)[:2000]}", flush=True)

    def figures(self) -> dict[str, Any]:
        """What the page of figures holds."""
        return {
            "inputs": self.inputs,
            "failures": len(self.failures),
            "worst_seconds": round(self.worst, 2),
            "worst_mib": round((self.peak - self.start) / 1024, 1),
        }


def here(names: list[str], count: int, number: int) -> dict[str, Any]:
    """Attack targets in this process, whose memory is limited, and return their figures."""
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (used + 4 * MEMORY, used + 4 * MEMORY))
    guard, found = Guard(), {}
    for name in names:
        print(f"{name}:", flush=True)
        attack = Attack(TARGETS[name], guard)
        attack.run(count, number)
        found[name] = attack.figures()
        found[name]["failures"] += found[name]["worst_mib"] > MEMORY / 2**20
    return found


def write(out: Path, asked: argparse.Namespace, found: dict[str, Any]) -> None:
    """Write the figures of some targets beside those of the others."""
    there = json.loads(out.read_text(encoding="utf-8"))["targets"] if out.exists() else {}
    made = {
        "command": f"python -m benchmarks.fuzz --count {asked.count} --seed {asked.seed}",
        "date": date.today().isoformat(),
        "seed": asked.seed,
        "targets": there | found,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")


def apart(name: str, asked: argparse.Namespace) -> dict[str, Any]:
    """Attack a target in a process of its own, which may fall."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "found.json")
        words = ["--target", name, "--count", str(asked.count), "--seed", str(asked.seed), "--out", str(out)]
        subprocess.run([sys.executable, "-m", "benchmarks.fuzz", *words], check=False)
        fallen = {name: {"inputs": 0, "failures": 1, "worst_seconds": None, "worst_mib": None}}
        return json.loads(out.read_text(encoding="utf-8"))["targets"] if out.exists() else fallen


def main() -> int:
    """Attack the targets, and write the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--target", action="append", choices=[*TARGETS], help="attack this target alone, and here")
    parser.add_argument("--count", type=int, default=10_000, help="inputs of each target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON file of the figures; by default that of all targets")
    asked = parser.parse_args()
    out = asked.out or (None if asked.target else PAGE)
    found: dict[str, Any] = {}
    for name in [None] if asked.target else TARGETS:
        found |= here(asked.target, asked.count, asked.seed) if name is None else apart(name, asked)
        if out:
            write(out, asked, found)
    for name, figures in found.items():
        print(name, *(f"{key} {value}" for key, value in figures.items()), sep="  ")
    return int(any(figures["failures"] for figures in found.values()))


if __name__ == "__main__":
    sys.exit(main())
