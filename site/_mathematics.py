"""Formulas as MathML, which a browser draws by itself: no script, no network, and a screen reader can read them.

The formulas of all pages are drawn in STIX Two Math, cut down to the characters that they use.
"""

from __future__ import annotations

import re
from html import unescape
from importlib.resources import files
from pathlib import Path
from unicodedata import normalize

from docutils import nodes
from fontTools import subset
from math_core import LatexError, LatexToMathML
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

FONT = "STIXTwoMath-Regular.ttf"
PRIME = re.compile("<msup>(<mi[^>]*>[^<]*</mi><mo>[′″]</mo>)</msup>")
"""A prime, which the font raises by itself."""

CLOSE = ' accentunder="true"'
"""What makes a stroke below a letter touch it."""

COMBINING, BAR = ">\u0332<", ">\u203e<"
"""The stroke at a bound: the one of the converter combines with the letter before it, the other stands by itself."""

ITALICS = (0x210E, *range(0x1D434, 0x1D468), *range(0x1D6E2, 0x1D71C))
"""The letters that a browser draws a variable in; the formulas hold the upright ones."""

SPACED = re.compile(r",\s*\\quad\s+")

TOKEN = re.compile(r"\\[A-Za-z]+|\\.|.", re.DOTALL)
OPENING = ("{", "(", "[", r"\left", r"\begin")
CLOSING = ("}", ")", "]", r"\right", r"\end")
BREAKS = ("=", "<", ">", "+", "-", r"\le", r"\leq", r"\ge", r"\geq", r"\iff", r"\approx", r"\to")
"""What a line may begin with."""

LINE = 25
"""About how many characters of a formula the line of a phone holds, with a name such as log for one."""

CONVERTER = LatexToMathML(fancy_error=False)


def mathml(latex: str, node: nodes.Element, display: bool) -> str:
    """Return a formula as MathML; one that cannot be read is a warning, and so ends the build."""
    try:
        drawn = CONVERTER.convert_with_local_state(latex, displaystyle=display)
        return PRIME.sub(r"<mrow>\1</mrow>", drawn).replace(COMBINING, BAR).replace(CLOSE, "")
    except LatexError as error:
        logging.getLogger(__name__).warning("%s in the formula %s", error, latex, location=node)
        return f"<code>{latex}</code>"


def extent(latex: str) -> int:
    """Count the characters that a formula shows, as if it had no fractions."""
    return len(re.sub(r"[{}^_ ]", "", re.sub(r"\\[A-Za-z]+", "x", latex)))


def pieces(latex: str) -> list[str]:
    """Cut a formula that is longer than a line before the relations and signs that stand outside of brackets."""
    cut, depth, last = [""], 0, ","
    for token in TOKEN.findall(latex) if extent(latex) > LINE else [latex]:
        if depth == 0 and token in BREAKS and last not in (*BREAKS, ",", "^", "_"):
            cut.append("{}")
        depth += (token in OPENING) - (token in CLOSING)
        cut[-1] += token
        last = token if token.strip() else last
    return cut


def inline(translator: HTML5Translator, node: nodes.math) -> None:
    """Write a formula inside a sentence, so that a line may end inside a long one; what is longer still scrolls."""
    latex = node.astext()
    parts = [latex] if r"\begin" in latex else SPACED.sub(r",\\quad ", latex).split(r"\quad ")
    drawn = []
    for part in parts:
        cut = [(piece, mathml(piece, node, display=False)) for piece in pieces(part)]
        shown = [f'<span class="long">{formula}</span>' if extent(piece) > LINE else formula for piece, formula in cut]
        drawn.append("<wbr>".join(shown))
    if mark := node.get("mark"):
        before, gap, last = drawn[-1].rpartition("<wbr>")
        drawn[-1] = f'{before}{gap}<span class="held">{last}{mark}</span>'
    translator.body.append("&emsp;".join(drawn))
    raise nodes.SkipNode


def block(translator: HTML5Translator, node: nodes.math_block) -> None:
    """Write a formula on lines of its own, its label beside it or, on a narrow screen, below it."""
    latex, _, label = node.astext().strip().partition(r"\tag")
    drawn = f'<div class="formula">{mathml(latex, node, display=True)}</div>'
    label = label and f"<div>({label.strip()[1:-1]})</div>"
    translator.body.append(f'<div class="numbered">{drawn}{label}</div>')
    raise nodes.SkipNode


def write_font(app: Sphinx, exception: Exception | None) -> None:
    """Write the font with the characters of the formulas alone."""
    if exception or app.builder.format != "html":
        return
    pages = "".join(path.read_text(encoding="utf-8") for path in Path(app.outdir).rglob("*.html"))
    formulas = unescape(re.sub(r"<[^>]+>", "", "".join(pages.split("<math")[1:])))
    slanted = "".join(letter for letter in map(chr, ITALICS) if normalize("NFKC", letter) in formulas)
    options = subset.Options(flavor="woff", layout_features=["*"], name_IDs=["*"])
    font = subset.load_font(str(files("ziamath") / "fonts" / FONT), options)
    chosen = subset.Subsetter(options)
    chosen.populate(text=formulas + slanted)
    chosen.subset(font)
    subset.save_font(font, str(Path(app.outdir) / "_static" / "mathematics.woff"), options)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    app.connect("build-finished", write_font)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
