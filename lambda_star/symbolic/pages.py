"""The pages of ``derivations/``: checked steps set into the prose of ``text/``, the same bytes every time."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from lambda_star._core.quantities import QUANTITIES
from lambda_star.symbolic import bernoulli, categorical, dynamics, sequence, updates
from lambda_star.symbolic.derivation import REGISTRY, Derivation, linked
from lambda_star.symbolic.prose import insert, read

__all__ = ["PAGES", "derivations", "page", "pages"]

PAGES = tuple(module.__name__.rpartition(".")[2] for module in (bernoulli, dynamics, categorical, sequence, updates))
"""The pages in the order of the index; each holds the derivations of one module."""

INFINITY = r"\infty"
HEADER = "<!-- Written by `lambda-star derive --write derivations` from {sources}; do not edit. -->"


@cache
def derivations() -> Mapping[str, Derivation]:
    """Return every derivation by its name, in the order of the pages.

    >>> list(derivations())[:2]
    ['fixed_point', 'threshold']
    """
    return {name: REGISTRY[name]() for page in PAGES for name in read(page).sections}


def page(name: str) -> str:
    """Return one page as Markdown.

    Args:
        name: name of the page without its ending, such as "bernoulli".

    Returns:
        The whole text.

    Raises:
        FileNotFoundError: there is no such page.

    >>> page("categorical").splitlines()[2]
    '# K tokens'
    """
    words = read(name)
    sources = [f"{REGISTRY[one].__module__.replace('.', '/')}.py" for one in words.sections]
    parts = [
        _header(*sources, f"lambda_star/symbolic/text/{name}.md"),
        f"# {words.title}",
        insert(words.opening, _symbols),
    ]
    for number, (one, section) in enumerate(words.sections.items(), start=1):
        parts += [f"## {number}. {section.title}", derivations()[one].markdown().rstrip()]
    return "\n\n".join(parts) + "\n"


def _symbols(_: str) -> str:
    """Return the table of the quantities, which stands in the opening of a page."""
    rows = [
        f"| ${q.symbol}$ | `{q.name}` | {q.meaning} | ${q.range.replace('inf', INFINITY)}$ |"
        for q in QUANTITIES.values()
    ]
    return "\n".join(["| symbol | in code | meaning | range |", "| --- | --- | --- | --- |", *rows])


def _header(*sources: str) -> str:
    """Say in the first line of a page what writes it, and from what."""
    return HEADER.format(sources=", ".join(f"`{source}`" for source in dict.fromkeys(sources)))


def _index() -> str:
    """Return the table of contents, ``derivations/README.md``."""
    words = read("index")
    parts = [_header("lambda_star/symbolic/text/index.md"), f"# {words.title}", words.opening]
    for name in PAGES:
        sections = "\n".join(f"{number}. {linked(one)}" for number, one in enumerate(read(name).sections, start=1))
        parts += [f"## [{read(name).title}]({name}.md)", sections]
    return "\n\n".join(parts) + "\n"


def pages() -> dict[str, str]:
    """Return every page by its file name, the index first.

    >>> list(pages())
    ['README.md', 'bernoulli.md', 'dynamics.md', 'categorical.md', 'sequence.md', 'updates.md']
    """
    return {"README.md": _index(), **{f"{name}.md": page(name) for name in PAGES}}
