"""Calibrate files of any size in one pass, with a state that an interrupted run leaves and a later one takes up."""

from __future__ import annotations

import signal
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from itertools import accumulate, islice
from os import PathLike
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from lambda_star import __version__
from lambda_star._core.files import refuse_unwritable
from lambda_star.calibration.pieces import BATCH, PIECE_ROWS, Source, listed
from lambda_star.calibration.readers.bytes import LISTENER, STANDARD_INPUT, expand
from lambda_star.calibration.state import Settings, State
from lambda_star.calibration.table import Table

__all__ = ["calibrate_files"]

SAVE_SECONDS = 30.0
"""The seconds between two savings of the state, as far as a table ends by then."""

AHEAD = 2
"""How many tables are read while one is summed."""

Paths = str | PathLike[str] | Iterable[str | PathLike[str]]
Progress = Callable[[str, int, int], None]
Item = TypeVar("Item")


def calibrate_files(
    paths: Paths,
    settings: Settings,
    *,
    teacher: Paths | None = None,
    base: Paths | None = None,
    keep_going: bool = False,
    engine: Literal["local", "ray"] = "local",
    state: str | PathLike[str] | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> State:
    """Return the state of files of any size, read once and never held in memory as a whole.

    Args:
        paths: files, patterns and folders, as :func:`lambda_star.read_table` takes them.
        settings: what the state sums.
        teacher: files with the teacher's scores, where the two models were scored apart.
        base: those with the base's.
        keep_going: whether to leave bad rows out and list them instead of raising an error for the first one.
        engine: ``local``, or ``ray`` for the Ray cluster that is there, or for one of this machine's processors. All
            workers of a cluster must see the files under the same paths.
        state: a file that keeps the state: now and then, after an error or Ctrl-C, and at the end.
        resume: whether to go on from that file, if it is there. The files must not have changed.
        progress: is told a stage, how much of it is done, and how much there is: rows if every file says how many it
            has, as Parquet does, and otherwise bytes.

    Returns:
        A :class:`lambda_star.calibration.state.State`; its ``report`` gives the λ that is advised.

    Raises:
        TableError: a file cannot be read, or (unless ``keep_going``) a row is bad.
        ValueError: the state file is there already, or belongs to other files, options or settings.
        ImportError: Ray is not installed.

    >>> found = calibrate_files("examples/rank_by_price/logprobs.csv", Settings(clip=5.0))
    >>> found.report().advised.answers
    360
    """
    if engine not in {"local", "ray"}:
        raise ValueError(f"engine must be 'local' or 'ray', got {engine!r}")
    source = Source(tuple(expand(listed(paths))), teacher, base, keep_going, settings.contract)
    run = _Run(source, settings, state, progress)
    run.start(resume)
    try:
        run.on_ray() if engine == "ray" else run.here()
    finally:
        run.save()
    return run.state


class _Run:
    """A state that grows by whole tables, and how far it has come.

    Attributes:
        done: the pieces that are in the state as a whole.
        tables: the tables of the next piece that are in the state.
        heard: how much of the pieces that are not done was read, in their unit.
        whole: whether no table is half in the state.
    """

    def __init__(
        self, source: Source, settings: Settings, path: str | PathLike[str] | None, progress: Progress | None
    ) -> None:
        self.source, self.settings, self.progress = source, settings, progress
        self.path = None if path is None else Path(path)
        self.stamps = source.stamps()
        self.pieces, self.unit = source.pieces(self.stamps)
        self.state = State(settings, source.name)
        self.done = self.tables = 0
        self.before = [0, *accumulate(piece.size for piece in self.pieces)]
        self.heard: dict[int, int] = defaultdict(int)
        self.whole, self.saved = True, time.monotonic()

    def start(self, resume: bool) -> None:
        """Take up the state file, or see that there is none."""
        if self.path is None:
            if resume:
                raise ValueError("`resume` needs `state`, the file that keeps the state")
            return
        if STANDARD_INPUT in self.source.files:
            raise ValueError("state must be left out for standard input, which cannot be read twice; use a file")
        refuse_unwritable(self.path)
        if not self.path.exists():
            return
        if not resume:
            raise ValueError(f"{self.path}: there is a state already; go on from it with `resume`, or remove it")
        state = State.load(self.path, self.settings)
        if not state.read:
            raise ValueError(f"{self.path}: this state does not say what it has read; make it again without `resume`")
        self.done, self.tables = state.read["pieces"], state.read["tables"]
        for name, value in self.record().items():
            if state.read[name] != value:
                raise ValueError(f"{self.path}: {self._difference(name, state.read[name], value)}")
        self.state = state
        if self.source.base is None:  # else the source says how the sides were joined
            state.source = self.source.name

    def record(self) -> dict[str, Any]:
        """How far the state has come, and the files that it has begun, which must not change."""
        begun = {piece.path for piece in self.pieces[: self.done + (self.tables > 0)]}
        return {
            "version": __version__,
            "keep_going": self.source.keep_going,
            "cut": [PIECE_ROWS, BATCH],
            "pieces": self.done,
            "tables": self.tables,
            "files": [stamp for stamp in self.stamps if stamp[0] in begun or "" in begun],
        }

    def _difference(self, name: str, saved: Any, now: Any) -> str:
        """A sentence about a saved record that does not belong to this run."""
        if name != "files":
            return f"the state was made with {name} {saved!r}, and this run has {now!r}; make it again without `resume`"
        changed = [stamp[0] for stamp in saved if stamp not in self.stamps]
        said = f"{changed[0]} has changed or is gone" if changed else "there are files between those that were read"
        return f"{said} since the state was saved; make it again without `resume`"

    def save(self) -> None:
        """Write the state to its file; after an error half-way through a table the file that is there stays."""
        self.saved = time.monotonic()
        if self.path is not None and self.whole:
            self.state.read = self.record()
            self.state.save(self.path)

    def here(self) -> None:
        """Read the pieces that are left in this process, a table ahead of the state."""
        with closing(_ahead(self._read())) as tables:
            for table in tables:
                with _undisturbed():
                    self._take(table)
                self._tell()
                if time.monotonic() - self.saved > SAVE_SECONDS:
                    self.save()

    def _read(self) -> Iterator[Table | None]:
        """The tables that are not in the state yet; None ends a piece."""
        begun, skip = self.done, self.tables
        for number, piece in enumerate(self.pieces[begun:], begun):
            if self.unit == "bytes":
                LISTENER.set(partial(self._hear, number))
            yield from islice(self.source.tables(piece), skip if number == begun else 0, None)
            yield None

    def _hear(self, number: int, size: int) -> None:
        """Note that more of a piece was read."""
        self.heard[number] = min(self.heard[number] + size, self.pieces[number].size)

    def _take(self, table: Table | None) -> None:
        """Add a table, or end a piece."""
        if table is None:
            self.done, self.tables = self.done + 1, 0
            return
        self.whole = False
        self.state.add(table)
        self.state.source = self.source.named(table)
        self.whole = True
        self.tables += 1
        if self.unit == "rows":
            self._hear(self.done, len(table))

    def on_ray(self) -> None:
        """Let tasks of a Ray cluster read the pieces that are left."""
        from lambda_star.calibration.cluster import fold

        def tell(size: int) -> None:
            self.heard[self.done] += size
            self._tell()

        with closing(fold(self.source, self.pieces[self.done :], self.settings, self.tables, tell)) as waves:
            for count, found in waves:
                with _undisturbed():
                    self.whole = False
                    self.state.merge(found)
                    self.state.source = found.source
                    self.done, self.tables, self.whole = self.done + count, 0, True
                if time.monotonic() - self.saved > SAVE_SECONDS:
                    self.save()

    def _tell(self) -> None:
        if self.progress is not None:
            inside = sum(size for number, size in list(self.heard.items()) if number >= self.done)
            self.progress(f"{self.unit} read", self.before[self.done] + inside, self.before[-1])


def _ahead(items: Iterator[Item]) -> Generator[Item, None, None]:
    """Yield items that a thread makes a little ahead of their use."""
    end = object()
    with ThreadPoolExecutor(1) as pool:
        waiting = deque(pool.submit(next, items, end) for _ in range(AHEAD))
        try:
            while (item := waiting.popleft().result()) is not end:
                waiting.append(pool.submit(next, items, end))
                yield cast(Item, item)
        finally:
            for future in waiting:
                future.cancel()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let Ctrl-C wait until the block has ended; a second one does not wait."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught = []

    def wait(*_: Any) -> None:
        caught.append(signal.signal(signal.SIGINT, before))

    before = signal.signal(signal.SIGINT, wait)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if caught:
            signal.raise_signal(signal.SIGINT)
