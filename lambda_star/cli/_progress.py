"""The progress of a long command on standard error, with its rate and the time that is left."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TimeRemainingColumn

__all__ = ["progress"]


class _Console(Console):
    """A console that falls silent where nobody reads on; rich would end the process with status 1, "unsafe"."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


@contextmanager
def progress(unit: str) -> Iterator[Callable[[str, int, int], None]]:
    """Show one bar for each stage; the function that this gives is told a stage, how much is done and of how much.

    Until it is first told, the models are being loaded, and a bar says so.
    """
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), "{task.fields[rate]}", TimeRemainingColumn())
    # The console holds the file, as sys.stderr is another one while a model is read.
    with Progress(*columns, console=_Console(file=sys.stderr), speed_estimate_period=120) as bars:
        tasks: dict[str, TaskID] = {}
        loading = bars.add_task("loading", total=None, rate="")

        def show(stage: str, done: int, total: int) -> None:
            bars.update(loading, visible=False)
            if stage not in tasks:  # what an earlier run has done does not count for the rate
                tasks[stage] = bars.add_task(stage, total=total, completed=done, rate="")
            speed = bars.tasks[tasks[stage]].speed or math.nan
            bars.update(tasks[stage], completed=done, rate=f"{speed:.3g} {unit}".rstrip() + "/s")

        try:
            yield show
        finally:
            bars.update(loading, visible=False)
