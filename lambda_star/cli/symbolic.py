"""The command ``derive``."""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path

import click

from lambda_star.cli._files import Output, check_outputs
from lambda_star.cli._output import Failure, as_failure, write

__all__ = ["derive"]

CHECK_HELP = "Check every step and compare the pages in this folder; fail with the step or the line that is wrong."


@click.command(short_help="Print, write or check the derivations of the formulas.")
@click.argument("name", required=False)
@click.option("--write", "write_to", type=Output(folder=True), help="Write every page into this folder.")
@click.option("--check", "compare_with", type=click.Path(path_type=Path, file_okay=False, exists=True), help=CHECK_HELP)
def derive(name: str | None, write_to: Path | None, compare_with: Path | None) -> None:
    """Print, write or check the derivations of the formulas.

    With NAME, the command prints one derivation as Markdown; without NAME and options, it lists the names.

    \b
    Examples:
      lambda-star derive threshold
      lambda-star derive --write derivations
      lambda-star derive --check derivations
    """  # noqa: D301 (click wants the character \b)
    from lambda_star.symbolic import DerivationError
    from lambda_star.symbolic.pages import derivations, pages

    if sum(choice is not None for choice in (name, write_to, compare_with)) > 1:
        raise Failure("give only one of NAME, --write and --check")
    if name is not None:
        if name not in derivations():
            raise Failure(f"there is no derivation {name!r}; choose from {', '.join(derivations())}")
        click.echo(derivations()[name].markdown(), nl=False)
    elif write_to is not None:
        check_outputs({str(write_to / page): write_to / page for page in pages()})
        for page, text in pages().items():
            write(write_to / page, text)
    elif compare_with is not None:
        with as_failure(DerivationError):
            steps = sum(derivation.check() for derivation in derivations().values())
        for page, text in pages().items():
            _compare(compare_with / page, text)
        click.echo(f"{len(derivations())} derivations, {steps} steps hold; {len(pages())} pages are up to date")
    else:
        for derivation in derivations().values():
            click.echo(f"{derivation.name:20} {derivation.title}")


def _compare(path: Path, text: str) -> None:
    remedy = f"run: lambda-star derive --write {path.parent}"
    try:
        found = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"{path}: {error}; {remedy}") from error
    for number, (old, new) in enumerate(zip_longest(found, text.splitlines()), start=1):
        if old != new:
            raise Failure(f"{path}, line {number} differs from what the derivations say; {remedy}")
