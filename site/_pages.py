"""What texts that are read elsewhere too, in the repository, an editor or a terminal, need on a site."""

from __future__ import annotations

import functools
import re
import shutil
from pathlib import Path
from typing import Any

import click
import imagesize
from docutils import nodes
from sphinx.addnodes import desc_annotation, desc_sig_element, download_reference, pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.errors import ExtensionError
from sphinx.transforms.post_transforms import SphinxPostTransform

SHOWN_IN = "derivations"
"""A notebook that shows a derivation shows its links too, and these start in this folder."""

COLUMN = 736
"""The width of a page's text in pixels."""

CARDS = (4, 100)
"""Rows with so many cells, one of them with so much text, are shown one cell below the other on a phone."""

REFERENCE = "docs/reference"

LITERAL = re.compile(
    r"(^ *>>> .*?(?=\n *\n|\Z)|``.*?``|`[^`\n]*`|^\| [^\n]*|^ *\.\. option::[^\n]*|\*\*Required\*\*)",
    flags=re.DOTALL | re.MULTILINE,
)
"""What is shown as it stands; a line of a help text that is not to be broken comes here behind a bar."""

SEAM = re.compile(r"(?<=[A-Za-z0-9])(?=_)|(?<=[./(,=])(?=\S)")
"""Where a long word of code in a table may be broken."""

VALUE = 200
"""The characters up to which the value of a constant is shown."""

SHORT = 20
"""The characters of code up to which it is not parted, so that no line ends inside of --rule."""

FIXED = (nodes.literal, nodes.FixedTextElement, nodes.math, nodes.raw, desc_sig_element)

MARK = re.compile(r"[,.;:)]+")

HELD = re.compile(r"(?<=\d) (?=%)| (?=[=<>≤≥] [\d−.]+)|(?<= [=<>≤≥]) (?=[\d−.]+)")
"""The spaces of 5 % and of λ = 1.25, at which no line ends."""


class Links(SphinxPostTransform):
    """Name the page that a link with a file's name leads to, and lead to the site's pages where a link leads elsewhere.

    A derivation that a notebook shows links to sections as its own page does, and a page on formulas links to the
    module that evaluates them. A link to a folder of the repository leaves its words. Any other link that leads nowhere
    stays what it is to MyST, a warning, and so ends the build.
    """

    default_priority = 8  # before MyST's own resolver

    def run(self, **_: Any) -> None:
        """Replace the words of these links, these links, or these links by their words."""
        for link in list(self.document.findall(pending_xref)):
            if link["reftype"] == "myst" and link["refdomain"] == "doc":
                if Path(link.astext()).name == Path(self.env.doc2path(link["reftarget"])).name:
                    title = self.env.titles[link["reftarget"]].astext()
                    link[:] = [nodes.emphasis("", title)]
            elif link["reftype"] == "myst":
                self.lead_on(link)
        for link in list(self.document.findall(download_reference)):
            self.lead_on(link)
        if self.env.docname == REFERENCE:
            self.link_names()
        if self.env.docname.startswith("site/"):
            self.link_sources()
        for dash in list(self.document.findall(lambda node: isinstance(node, nodes.Text) and node == " -- ")):
            dash.parent.replace(dash, nodes.Text(" – "))

    def lead_on(self, link: nodes.Element) -> None:
        """Lead to a section of a derivation, to the names of a module, or, from a folder, nowhere."""
        path, _, slug = re.sub(r"^(?=\d+-)", "#", link["reftarget"]).partition("#")
        page, module = self.env.doc2path(self.env.docname), re.match(r"\.\./lambda_star/(\w+)", path)
        if page.suffix == ".ipynb" and (section := self.section(path, slug)):
            link.replace_self(self.reference(link.children, *section))
        elif module and f"site/api/{module[1]}" in self.env.found_docs:
            link.replace_self(self.reference(link.children, f"site/api/{module[1]}", ""))
        elif (page.parent / path).is_dir() or path.startswith("../tests/"):
            link.replace_self(link.children)

    def section(self, path: str, slug: str) -> tuple[str, str] | None:
        """The page and the name of a section of the derivations; one that is linked to by itself is on either page."""
        pages = [f"{SHOWN_IN}/{Path(path).stem}"] if path else sorted(self.env.found_docs)
        for page in pages:
            slugs = self.env.metadata[page].get("myst_slugs", {}) if page.startswith(SHOWN_IN) else {}
            if page in self.env.found_docs and (slug in slugs or not slug):
                return page, f"#{slugs[slug][1]}" if slug else ""
        return None

    def reference(self, words: list[nodes.Node], page: str, anchor: str) -> nodes.reference:
        """A link to a place on a page."""
        uri = self.app.builder.get_relative_uri(self.env.docname, page) + anchor
        return nodes.reference("", "", *words, refuri=uri)

    def link_sources(self) -> None:
        """Lead from a page's file name that a docstring gives to that page."""
        for name in list(self.document.findall(nodes.literal)):
            page, dot, _ = name.astext().partition(".md")
            if dot and page in self.env.found_docs:
                name.replace_self(self.reference([name.deepcopy()], page, ""))

    def link_names(self) -> None:
        """Lead from the tables of names to the documentation of each, from a command's name to the command line."""
        known = self.env.domains.python_domain.objects
        commands = [one for one in self.document.findall(nodes.section) if "commands" in one["ids"]]
        of_commands = [id(name) for section in commands for name in section.findall(nodes.literal)]
        for name in list(self.document.findall(nodes.literal)):
            word = name.astext().partition("(")[0]
            paths = [path for path in (f"lambda_star.{word}", f"lambda_star.bernoulli.{word}") if path in known]
            if id(name) in of_commands and " " not in word:
                name.replace_self(self.reference([name.deepcopy()], "site/commands", f"#lambda-star-{word}"))
            elif paths and id(name) not in of_commands:
                home, anchor = known[paths[0]].docname, known[paths[0]].node_id
                name.replace_self(self.reference([name.deepcopy()], home, f"#{anchor}"))


class Shapes(SphinxPostTransform):
    """Shape what is wider than a phone, keep marks beside their formulas, and end an example with its last line."""

    default_priority = 9
    formats = ("html",)

    def run(self, **_: Any) -> None:
        """Mark what is wide, and hold together what belongs together."""
        self.mark_wide()
        self.hold_together()
        for value in list(self.document.findall(desc_annotation)):
            if len(value.astext()) > VALUE and value.astext().lstrip().startswith("="):
                value.parent.remove(value)
        for block in self.document.findall(nodes.literal_block):
            if block.rawsource == block.astext():
                block.rawsource = block.rawsource.rstrip()
                block[:] = [nodes.Text(block.rawsource)]

    def mark_wide(self) -> None:
        """Mark wide pictures and tables of prose; a wide picture also becomes a link to itself in full size."""
        for picture in self.document.findall(nodes.image):
            width, height = imagesize.get(Path(self.env.srcdir) / picture["uri"])
            if width > COLUMN:
                picture["width"] = "100%"
                picture["classes"] += ["wide"] if width > 2 * height or width > 1.3 * COLUMN else []
        for table in self.document.findall(nodes.table):
            cells, length = CARDS
            rows = [row.children for row in table.findall(nodes.row)]
            if len(rows[0]) >= cells and max(len(cell.astext()) for row in rows for cell in row) > length:
                table["classes"] += ["cards"]

    def hold_together(self) -> None:
        """Keep a number beside its sign, a short word of code whole, and a mark beside its formula."""
        for text in list(self.document.findall(nodes.Text)):
            if isinstance(text.parent, nodes.TextElement) and not isinstance(text.parent, FIXED):
                text.parent.replace(text, nodes.Text(HELD.sub("\N{NO-BREAK SPACE}", text)))
        for comma in [one for one in self.document.findall(nodes.strong) if one.astext() == ","]:
            comma.replace_self(nodes.Text(", "))
        for code in self.document.findall(nodes.literal):
            code["classes"] += ["short"] if max(map(len, code.astext().split()), default=0) <= SHORT else []
        seam = nodes.raw("", "<wbr>", format="html")
        in_tables = [one for entry in self.document.findall(nodes.entry) for one in entry.findall(nodes.literal)]
        for code in [one for one in in_tables if "short" not in one["classes"]]:
            code[:] = [one for part in SEAM.split(code.astext()) for one in (seam.deepcopy(), nodes.Text(part))][1:]
        for formula in self.document.findall(nodes.math):
            after = formula.next_node(descend=False, siblings=True)
            if isinstance(after, nodes.Text) and (mark := MARK.match(after)):
                formula["mark"] = mark[0]
                after.parent.replace(after, nodes.Text(after[mark.end() :]))


def skip(_app: Sphinx, _what: str, _name: str, thing: Any, skipped: bool, _options: Any) -> bool:
    """Leave out properties that serve old names of fields, and fields that say no more than their number."""
    old = isinstance(thing, property) and isinstance(thing.fget, functools.partial)
    return skipped or old or str(getattr(thing, "__doc__", "")).startswith("Alias for field number")


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


SHARED = re.compile(r"^    \w+(?:, \w+)+(?=: )", flags=re.MULTILINE)


def join_names(lines: list[str]) -> None:
    """Hold together the names of attributes that share a sentence; Sphinx would take the first ones for a type."""
    text = "\n".join(lines)
    for section in re.findall(r"^Attributes:\n(?:(?: .*)?\n)+", f"{text}\n", flags=re.MULTILINE):
        joined = SHARED.sub(lambda names: names[0].replace(", ", ","), section)
        text = text.replace(section.rstrip("\n"), joined.rstrip("\n"))
    lines[:] = text.split("\n")


def name_types(*event: Any) -> tuple[str | None, str | None]:
    """Write a type that is long when spelled out by its name, and a made default, which is a dictionary, as such."""
    *_, signature, returns = event
    return signature and ALIAS.sub(r"\1", signature).replace("<factory>", "{}"), returns


def escape(lines: list[str], signs: str) -> None:
    """Escape characters that mean something to reStructuredText and nothing to who wrote the text."""
    if not lines:
        return
    pieces = LITERAL.split("\n".join(lines))
    pieces[::2] = [re.sub(f"[{signs}]", r"\\\g<0>", piece) for piece in pieces[::2]]
    lines[:] = "".join(pieces).split("\n")


ALIAS = re.compile(r"TypeAliasForwardRef\('(\w+)'\)")
CODE = ".. code-block:: text"


def literal(lines: list[str]) -> None:
    """Show what a help text keeps in lines as it stands in a terminal, but for a first line that leads to it."""
    shown: list[str] = []
    for before, line in zip(["", *lines], lines, strict=False):
        held, first = line.startswith("| "), not before.startswith("| ")
        if held and first and line.endswith(":"):
            shown += [line[2:], "", CODE, ""]
        else:
            shown += [CODE, ""] if held and first else []
            shown.append(f"    {line[2:]}" if held else line)
    lines[:] = shown


def tell_defaults(main: click.Group) -> None:
    """End the help of each option as a terminal does, with its default and range, which sphinx-click does not know."""
    above = click.Context(main, **main.context_settings)
    for command in main.commands.values():
        context = click.Context(command, parent=above)
        for option in command.params:
            if isinstance(option, click.Option) and (record := option.get_help_record(context)):
                told = record[1].replace("; required]", "]").removesuffix("[required]")
                option.help, option.show_default = told.rstrip(), False


def copy_explorer(app: Sphinx, exception: Exception | None) -> None:
    """Copy the explorer, a page without a generator, to where the links to it lead in the repository too."""
    explorer = Path(app.confdir) / "explorer"
    if exception is None and explorer.is_dir():
        shutil.copytree(explorer, Path(app.outdir) / "site" / "explorer", dirs_exist_ok=True)


def refuse_network(app: Sphinx, exception: Exception | None) -> None:
    """Fail if a page loads anything from a network."""
    for page in [] if exception else Path(app.outdir).rglob("*.html"):
        loaded = re.findall(r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=.https?:[^>]*>", page.read_text("utf-8"))
        if loaded:
            raise ExtensionError(f"{page} loads {loaded[0]}")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register all of this."""
    from lambda_star.cli import main

    tell_defaults(main)
    app.add_post_transform(Links)
    app.add_post_transform(Shapes)
    app.connect("env-updated", name_overview)
    app.connect("build-finished", copy_explorer)
    app.connect("build-finished", refuse_network)
    app.connect("autodoc-process-signature", name_types)
    app.connect("autodoc-skip-member", skip)
    app.connect("autodoc-process-docstring", lambda _a, _w, _n, _t, _o, lines: escape(lines, "|"), priority=400)
    app.connect("autodoc-process-docstring", lambda _a, _w, _n, _t, _o, lines: join_names(lines), priority=410)
    keep_sentences(app)
    for part in ("description", "options", "arguments", "epilog"):
        app.connect(f"sphinx-click-process-{part}", lambda _a, _c, lines: (escape(lines, "*_"), literal(lines)))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
