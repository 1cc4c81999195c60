"""Calibrate on a Ray cluster: pieces of the data become states in tasks, and states are merged in a tree of tasks.

A task is a pure function of its files, so a task whose worker dies is run again and counts once. The tree has a fixed
shape, so that the result does not depend on which task ends first.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from lambda_star._core.extras import missing
from lambda_star.calibration.pieces import Piece, Source
from lambda_star.calibration.state import Settings, State

__all__ = ["fold"]

RETRIES = 10
"""How often a task is run again after its worker or node died."""

FAN = 4
"""How many states one task merges."""

TASK_ROWS = 16_000_000
"""About the most rows of one task: enough that its state, which travels, is small beside them."""

TASKS = 4
"""The least number of tasks for each processor, so that none waits long for the last one."""

WAVE = 16
"""Tasks for each processor between two states that the driver holds, and may save."""


def fold(
    source: Source,
    pieces: Sequence[Piece],
    settings: Settings,
    skip: int,
    tell: Callable[[int], None],
) -> Generator[tuple[int, State], None, None]:
    """Yield, for one run of pieces after the other, how many pieces it has and their merged state.

    The first ``skip`` tables of the first piece were counted before; ``tell`` is told the size of every task that ends.
    """
    ray = _ray()
    with _connected(ray):
        read = ray.remote(max_retries=RETRIES, num_returns=2)(_read)
        merge = ray.remote(max_retries=RETRIES)(_merged)
        shared, where = ray.put(settings), ray.put(source)
        processors = max(1, int(ray.cluster_resources().get("CPU", 1)))
        tasks = [*_tasks(pieces, processors)]
        wave = WAVE * processors
        for first in range(0, len(tasks), wave):
            chosen = tasks[first : first + wave]
            skips = [skip if first + index == 0 else 0 for index in range(len(chosen))]
            leaves = [read.remote(shared, where, task, number) for task, number in zip(chosen, skips, strict=True)]
            sizes, states = map(list, zip(*leaves, strict=True))
            del leaves  # so that a state is let go once it is merged
            while len(states) > 1:
                states = [merge.remote(shared, *states[at : at + FAN]) for at in range(0, len(states), FAN)]
            try:
                for size in _ended(ray, sizes):
                    tell(size)
                found = State.from_bytes(_got(ray, states[0]), settings)
            except BaseException:
                for size in sizes:
                    ray.cancel(size)
                raise
            yield sum(map(len, chosen)), found


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise missing("reading on a Ray cluster", "Ray", "ray") from error
    return ray


@contextmanager
def _connected(ray: Any) -> Iterator[None]:
    """Use the connection that there is, else the cluster that there is, else one of this machine's processors."""
    if ray.is_initialized():
        yield
        return
    quiet = {"log_to_driver": False, "configure_logging": False}
    try:
        ray.init(address="auto", **quiet)
    except ConnectionError:
        ray.init(address="local", include_dashboard=False, **quiet)
    try:
        yield
    finally:
        ray.shutdown()


def _tasks(pieces: Sequence[Piece], processors: int) -> Iterator[list[Piece]]:
    """Gather pieces that follow each other until they have the rows of a task."""
    most = min(TASK_ROWS, sum(piece.rows for piece in pieces) / (TASKS * processors))
    task: list[Piece] = []
    rows = 0
    for piece in pieces:
        if task and rows + piece.rows > most:
            yield task
            task, rows = [], 0
        task.append(piece)
        rows += piece.rows
    if task:
        yield task


def _read(settings: Settings, source: Source, pieces: Sequence[Piece], skip: int) -> tuple[int, bytes]:
    """The size of some pieces, and their state."""
    state = State(settings, source.name)
    for piece in pieces:
        for index, table in enumerate(source.tables(piece)):
            if piece is not pieces[0] or index >= skip:
                state.add(table)
                state.source = source.named(table)
    return sum(piece.size for piece in pieces), state.to_bytes()


def _merged(settings: Settings, *states: bytes) -> bytes:
    merged = State.from_bytes(states[0], settings)
    for other in states[1:]:
        merged.merge(State.from_bytes(other, settings))
    return merged.to_bytes()


def _ended(ray: Any, pending: list[Any]) -> Iterator[Any]:
    while pending:
        ended, pending = ray.wait(pending, num_returns=1)
        for reference in ended:
            yield _got(ray, reference)


def _got(ray: Any, reference: Any) -> Any:
    """The value of a reference; an error in a task is raised as it is, without the worker's traceback in its text."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
