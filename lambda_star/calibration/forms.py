"""The forms of a report that are read as a document: Markdown, and one HTML page that needs nothing beside it.

Every value that a template prints is escaped for its form, so that no token of the data can add markup. Only pictures,
the style sheet and the script, all made here, are printed as they are.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from lambda_star import __version__
from lambda_star._core.text import named, shown
from lambda_star.calibration.grids import LONG, advice, details, rows_used

if TYPE_CHECKING:
    from jinja2 import Environment

    from lambda_star.calibration.report import Report

__all__ = ["fragment", "html", "markdown"]

MARKUP = re.compile(r"([\\`*_{}\[\]<>|~&#:$]|(?<=[wW])\.)")
"""The signs that begin markup of Markdown inside a line, of links without brackets and of formulas too."""


def markdown(report: Report, verdict: Any = None) -> str:
    r"""Return a report as Markdown with tables, which holds the verdict on top.

    Args:
        report: what :func:`lambda_star.calibrate` returned.
        verdict: what :func:`lambda_star.decide` says about it; None leaves it out.

    Returns:
        The text of the document.

    >>> from lambda_star import calibrate, read_table
    >>> found = calibrate(read_table("examples/rank_by_price/logprobs.csv"))
    >>> markdown(found).splitlines()[1]
    '# Calibration of examples/rank\\_by\\_price/logprobs.csv'
    """
    return _rendered("report.md.jinja", report, verdict=verdict)


def html(report: Report, verdict: Any = None, pictures: Sequence[tuple[str, str]] = ()) -> str:
    """Return a report as one HTML page without references to anything outside it.

    Args:
        report: what :func:`lambda_star.calibrate` returned.
        verdict: what :func:`lambda_star.decide` says about it; None leaves it out.
        pictures: the title and the SVG of each picture, from :func:`lambda_star.plotting.report_pictures`.

    Returns:
        The text of the page.

    >>> from lambda_star import calibrate, read_table
    >>> page = html(calibrate(read_table("examples/rank_by_price/logprobs.csv")))
    >>> page.splitlines()[0], "http" in page.replace("http-equiv", "")
    ('<!DOCTYPE html>', False)
    """
    from markupsafe import Markup

    script = _part("sort.js")
    hashed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return _rendered(
        "report.html.jinja",
        report,
        verdict=verdict,
        pictures=[(title, Markup(picture)) for title, picture in pictures],
        style=Markup(_part("style.css")),
        script=Markup(script),
        script_hash=f"sha256-{hashed}",
        version=__version__,
    )


def fragment(report: Report) -> str:
    """Return what a notebook shows of a report: the rows that carry the advice, the warnings and the classes."""
    return _rendered("fragment.html.jinja", report)


def _rendered(name: str, report: Report, **values: Any) -> str:
    template = _environment(name.split(".")[1] == "html").get_template(name)
    source = named(report.source, LONG)
    parts = {"source": source, "advice": advice(report), "grids": details(report), "rows_used": rows_used(report)}
    return template.render(report=report, **parts, **values)


@cache
def _environment(is_html: bool) -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("lambda_star.calibration", "templates"),
        autoescape=is_html,
        finalize=_shown if is_html else _plain,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _shown(value: Any) -> Any:
    """A value as it is printed into HTML, before it is escaped; what the package made itself stays."""
    return value if hasattr(value, "__html__") else shown(str(value))


def _plain(value: Any) -> str:
    """A value as it is printed into Markdown."""
    return MARKUP.sub(r"\\\1", shown(str(value)))


def _part(name: str) -> str:
    from importlib.resources import files

    return (files("lambda_star.calibration") / "templates" / name).read_text(encoding="utf-8")
