"""The cost of the symbolic core: one result after the import, and the check of every step of every derivation."""

from __future__ import annotations

import time

from rich.console import Console
from rich.table import Table


def main() -> None:
    """Time one result and then every check on one core, and print the seconds beside their bounds."""
    from lambda_star import symbolic
    from lambda_star.symbolic.pages import derivations

    start = time.perf_counter()
    symbolic.bernoulli.threshold().expr  # noqa: B018
    seconds = {"bernoulli.threshold().expr": (time.perf_counter() - start, 2.0)}
    start = time.perf_counter()
    steps = sum(derivation.check() for derivation in derivations().values())
    seconds[f"{len(derivations())} derivations, {steps} steps checked"] = (time.perf_counter() - start, 20.0)
    table = Table("job", "seconds", "bound", "kept", title="Derivations, one core", title_justify="left")
    for job, (taken, bound) in seconds.items():
        table.add_row(job, f"{taken:.2f}", f"at most {bound:g}", "yes" if taken <= bound else "NO")
    Console(width=110).print(table)
