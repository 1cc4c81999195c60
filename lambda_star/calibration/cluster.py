"""Calibrate on a Ray cluster: pieces of the data become states in tasks, and states are merged in a tree of tasks.

A task is a pure function of its files, so a task whose worker dies is run again and counts once. The tree has a fixed
shape, so that the result does not depend on which task ends first. Only a few tasks are under way at once, because none
is cancelled: in Ray, to cancel a task just as it ends can kill the driver.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
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

AHEAD = 2
"""Tasks for each processor that are under way at once: after an interrupt, no more than these run to their ends."""


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
            leaves = (
                read.remote(shared, where, task, skip if first + index == 0 else 0) for index, task in enumerate(chosen)
            )
            read_states = _few_at_once(ray, leaves, AHEAD * processors, tell)
            states = [merge.remote(shared, *group) for group in _groups(read_states)]
            while len(states) > 1:
                states = [merge.remote(shared, *group) for group in _groups(iter(states))]
            yield sum(map(len, chosen)), State.from_bytes(_got(ray, states[0]), settings)


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


def _few_at_once(ray: Any, leaves: Iterator[Any], most: int, tell: Callable[[int], None]) -> Iterator[Any]:
    """Start tasks in their order, each when fewer than ``most`` are under way, and yield their states at once.

    ``tell`` gets the size of every task after it has ended.
    """
    under_way: list[Any] = []
    for size, state in leaves:
        under_way.append(size)
        yield state
        if len(under_way) >= most:
            under_way = _one_fewer(ray, under_way, tell)
    while under_way:
        under_way = _one_fewer(ray, under_way, tell)


def _one_fewer(ray: Any, under_way: list[Any], tell: Callable[[int], None]) -> list[Any]:
    """Wait until one of some tasks has ended, tell its size, and return the others."""
    (ended,), others = ray.wait(under_way, num_returns=1)
    tell(_got(ray, ended))
    return [*others]


def _groups(references: Iterator[Any]) -> Iterator[list[Any]]:
    """What one task merges after the other."""
    while group := [*islice(references, FAN)]:
        yield group


def _got(ray: Any, reference: Any) -> Any:
    """The value of a reference; an error in a task is raised as it is, without the worker's traceback in its text."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
