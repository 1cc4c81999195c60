"""What texts that are read elsewhere too, in the repository, an editor or a terminal, need on a site."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms.post_transforms import SphinxPostTransform

SHOWN_IN = "derivations"
"""A notebook that shows a derivation shows its links too, and these start in this folder."""

LITERAL = re.compile(r"(``.*?``|`[^`\n]*`)", flags=re.DOTALL)


class LinksOutside(SphinxPostTransform):
    """Keep the words of links that a site cannot follow: folders of the repository, and a shown derivation's links.

    Any other link that leads nowhere stays what it is to MyST, a warning, and so ends the build.
    """

    default_priority = 8  # before MyST's own resolver

    def run(self, **_: Any) -> None:
        """Replace these links by their words."""
        folder = self.env.doc2path(self.env.docname).parent
        shows = self.env.doc2path(self.env.docname).suffix == ".ipynb"
        for link in list(self.document.findall(pending_xref)):
            path = link["reftarget"].partition("#")[0]
            of_derivation = shows and (Path(self.env.srcdir) / SHOWN_IN / path).is_file()
            heading = shows and re.match(r"\d+-", link["reftarget"])
            if link["reftype"] == "myst" and ((folder / path).is_dir() or of_derivation or heading):
                link.replace_self(link.children)


def skip_old_name(_app: Sphinx, _what: str, _name: str, thing: Any, skip: bool, _options: Any) -> bool:
    """Leave out the properties that serve old names of fields."""
    return skip or (isinstance(thing, property) and isinstance(thing.fget, functools.partial))


def name_overview(_app: Sphinx, env: BuildEnvironment) -> None:
    """Call the README an overview where other pages name it; its own title is the name of the project."""
    env.titles["README"] = nodes.title("", "At a glance")


def keep_sentences(app: Sphinx) -> None:
    """Keep the texts of attributes and properties as they are; Napoleon would take what precedes a colon for a type."""
    texts: dict[str, list[str]] = {}

    def keep(_app: Sphinx, what: str, name: str, _thing: Any, _options: Any, lines: list[str]) -> None:
        if what in {"attribute", "data", "property"}:
            texts[name] = list(lines)

    def restore(_app: Sphinx, _what: str, name: str, _thing: Any, _options: Any, lines: list[str]) -> None:
        lines[:] = texts.pop(name, lines)

    app.connect("autodoc-process-docstring", keep, priority=450)
    app.connect("autodoc-process-docstring", restore, priority=550)


def escape(lines: list[str], signs: str) -> None:
    """Escape characters that mean something to reStructuredText and nothing to who wrote the text."""
    if not lines:
        return
    pieces = LITERAL.split("\n".join(lines))
    pieces[::2] = [re.sub(f"[{signs}]", r"\\\g<0>", piece) for piece in pieces[::2]]
    lines[:] = "".join(pieces).split("\n")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register all of this."""
    app.add_post_transform(LinksOutside)
    app.connect("env-updated", name_overview)
    app.connect("autodoc-skip-member", skip_old_name)
    app.connect("autodoc-process-docstring", lambda _a, _w, _n, _t, _o, lines: escape(lines, "|"), priority=400)
    keep_sentences(app)
    for part in ("description", "options", "arguments", "epilog"):
        app.connect(f"sphinx-click-process-{part}", lambda _app, _context, lines: escape(lines, "*_"))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
