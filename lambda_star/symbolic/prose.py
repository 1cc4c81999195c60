"""The prose of the pages, kept in Markdown beside the checked steps.

``text/<page>.md`` is Markdown with three additions:

- ``## Title {#name}`` starts the section of the derivation *name*.
- ``{{3:1f0c}}`` on a line of its own stands for step 3, and ``{{let D(q)}}`` for what is given under that name.
- ``{{result:1f0c}}`` on a line of its own stands for the results, and ``{{symbols}}`` in an opening for the quantities.

The mark behind the colon belongs to the formula beside which the words were written, and that of the results also to the
assumptions and to the words of the proposition. A derivation whose formulas have changed asks for a new mark, so that
somebody reads the words again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from textwrap import fill

__all__ = ["Page", "Section", "insert", "read", "slots", "wrapped"]

HEADING = re.compile(r"^## (?P<title>.+) \{#(?P<name>\w+)\}$", re.MULTILINE)
SLOT = re.compile(r"\s*^\{\{(.*)\}\}$\s*", re.MULTILINE)
MARKER = re.compile(r" (?=([-+*#>%]|\d+[.)]) )")
"""A space before what would begin a list, a heading, a quotation or a comment if it began a line."""


@dataclass(frozen=True)
class Section:
    """The words of one derivation: its heading, and its text with slots.

    >>> read("bernoulli").sections["threshold"].title
    'Clip-safe region and threshold'
    """

    title: str
    body: str


@dataclass(frozen=True)
class Page:
    """The words of one page: its heading, its opening, and the sections by the names of their derivations.

    >>> list(read("sequence").sections)
    ['strict_threshold', 'validity', 'listwise']
    """

    title: str
    opening: str
    sections: Mapping[str, Section]


@cache
def read(page: str) -> Page:
    """Read the words of a page.

    >>> read("categorical").title
    'K tokens'
    """
    text = resources.files("lambda_star.symbolic").joinpath("text", f"{page}.md").read_text(encoding="utf-8")
    opening, *parts = HEADING.split(text)
    heading, _, opening = opening.partition("\n")
    sections = {
        name: Section(title, body.strip()) for title, name, body in zip(*(parts[k::3] for k in range(3)), strict=True)
    }
    return Page(heading.removeprefix("# "), opening.strip(), sections)


def slots(body: str) -> list[str]:
    r"""Return what stands in each slot of a text, in order.

    >>> slots("The slope is\n{{1 2}}\nand so\n{{result}}")
    ['1 2', 'result']
    """
    return SLOT.findall(body)


def insert(body: str, render: Callable[[str], str]) -> str:
    r"""Put something into every slot of a text.

    >>> insert("The slope is\n{{1}}\n", lambda slot: f"(formula {slot})")
    'The slope is\n\n(formula 1)'
    """
    return SLOT.sub(lambda match: f"\n\n{render(match[1])}\n\n", body).strip()


def wrapped(text: str) -> str:
    """Wrap a paragraph of Markdown, and let no line begin with what would end the paragraph.

    >>> print(wrapped("The text before this formula fills one line, so that the formula has to end on the next: $(a - b) - c$."))
    The text before this formula fills one line, so that the formula has to end on the next: $(a - b) -
    c$.
    """
    glued = MARKER.sub("\0", text)
    return fill(glued, 100, break_long_words=False, break_on_hyphens=False).replace("\0", " ")
