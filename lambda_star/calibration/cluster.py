"""Calibrate on a Ray cluster: pieces of the data become states in tasks, and states are merged in a tree of tasks.

A task is a pure function of its files, so a task whose worker dies is run again and counts once. The tree has a fixed
shape, so that the result does not depend on which task ends first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from lambda_star.calibration.pieces import Piece, Source
from lambda_star.calibration.state import Settings, State

__all__ = ["fold"]

RETRIES = 10
"""How often a task is run again after its worker or node died."""

FAN = 8
"""How many states one task merges."""

TASK_ROWS = 4_000_000
"""About the rows of one task: enough that its state, which travels, is small beside them."""

WAVE = 16
"""Tasks for each processor between two states that the driver holds, and may save."""


def fold(
    source: Source,
    pieces: Sequence[Piece],
    settings: Settings,
    skip: int,
    tell: Callable[[int], None],
) -> Iterator[tuple[int, State]]:
    """Yield, for one run of pieces after the other, how many pieces it has and their merged state.

    Args:
        source: what the pieces are read from.
        pieces: the pieces that are left.
        settings: what a state sums.
        skip: how many tables of the first piece were counted before.
        tell: is told the rows or bytes of every task that ends.

    Yields:
        The number of pieces and their state.

    Raises:
        ImportError: Ray is not installed.
    """
    ray = _ray()
    with _connected(ray):
        read = ray.remote(max_retries=RETRIES, num_returns=2)(_read)
        merge = ray.remote(max_retries=RETRIES)(_merged)
        shared = ray.put(settings)
        tasks = [*_tasks(pieces)]
        wave = WAVE * max(1, int(ray.cluster_resources().get("CPU", 1)))
        for first in range(0, len(tasks), wave):
            chosen = tasks[first : first + wave]
            skips = [skip if first + index == 0 else 0 for index in range(len(chosen))]
            leaves = [read.remote(shared, source, task, number) for task, number in zip(chosen, skips, strict=True)]
            sizes, states = map(list, zip(*leaves, strict=True))
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
        said = "`engine=\"ray\"` needs Ray; install it with: pip install 'lambda-star[ray]'"
        raise ImportError(said) from error
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


def _tasks(pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
    """Gather pieces that follow each other until they have the rows of a task."""
    task: list[Piece] = []
    for piece in pieces:
        if task and sum(one.rows for one in task) + piece.rows > TASK_ROWS:
            yield task
            task = []
        task.append(piece)
    if task:
        yield task


def _read(settings: Settings, source: Source, pieces: Sequence[Piece], skip: int) -> tuple[int, bytes]:
    """The size of some pieces, and their state."""
    state = State(settings, source.name)
    for piece in pieces:
        for index, table in enumerate(source.tables(piece)):
            if piece is not pieces[0] or index >= skip:
                state.add(table)
    return sum(piece.size for piece in pieces), state.to_bytes()


def _merged(settings: Settings, *states: bytes) -> bytes:
    first, *others = (State.from_bytes(each, settings) for each in states)
    for other in others:
        first.merge(other)
    return first.to_bytes()


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
