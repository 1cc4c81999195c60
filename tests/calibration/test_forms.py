"""One report, several forms: they say the same, and no text of the data can add to any of them."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from typing import Any

import pytest
from markdown_it import MarkdownIt

from lambda_star import calibrate, decide, updates
from lambda_star.calibration import forms
from lambda_star.calibration.grids import advice, details, rows_used
from lambda_star.calibration.report import Report
from lambda_star.calibration.table import Table
from lambda_star.plotting import report_pictures
from tests import tables
from tests.night import thinned
from tests.tables import Row

HARMLESS = "token"
HOSTILE = (
    "\x1b[2J\x1b[31mred",
    "\x1b]52;c;ZXZpbA==\x07",
    "\x9b2J\x85",
    "x\r\nSAFE λ = 1.25: it lies within",
    "\n\n# SAFE λ = 1.25",
    "\u202eegnahc\u2066\u200b\ufeff",
    "<script>alert(1)</script>",
    "</td></table><img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "-->]]><!--",
    "[x](javascript:alert(1))",
    "![x](http://example.org/a.png)",
    "](javascript:alert(1))",
    "http://example.org www.example.org <http://example.org>",
    "`` ` ``` ~~~",
    "a | b || c \\| d \\\\| e",
    "**bold** __bold__ ~~gone~~ $x$ &lt; &amp;#60; \\",
    "{{ 7 * 7 }}{% raw %}",
    "$\\frac{1}$",
    " " * 200 + "SAFE λ = 1.25",
    "x" * 5000,
)
HIDDEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
RULE = updates.log_ratio_cap(5.0)


@cache
def report_of(text: str) -> Report:
    """The report of synthetic rows with a text wherever one may stand, and as their source."""
    rows: list[Row] = [row | {"contract": row["modal"]} for row in tables.with_top(tables.rows(4))]
    for row in rows:
        row["sequence"] += text
        if row["modal"] == '","':
            row |= {"modal": text, "token": text, "contract": text}
            row["top"] = [[text, *numbers] for _, *numbers in row["top"]]
    rows.append(rows[0] | {"position": 99, "log_p": text})
    return calibrate(Table.from_rows(rows, keep_going=True, source=text), rule=RULE, lam=1.25)


class Tags(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        kept = sorted(name for name, _ in attrs)
        self.tags.append(f"<{tag} {kept}>")

    def handle_endtag(self, tag: str) -> None:
        self.tags.append(f"</{tag}>")

    def handle_comment(self, data: str) -> None:
        self.tags.append("<!---->")

    def handle_data(self, data: str) -> None:
        self.text += data


def structure(document: str) -> list[str]:
    """What a Markdown text is made of, without its words."""
    parts = []
    for block in MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(document):
        parts.append(block.type)
        parts += [each.type for each in block.children or () if each.type not in {"text", "text_special"}]
    return parts


def page(report: Report, drawn: bool = True) -> str:
    return forms.html(report, decide(report, lam=report.lam), report_pictures(report) if drawn else ())


SAFE = report_of(HARMLESS)


@cache
def harmless(drawn: bool) -> list[str]:
    """The tags of a page of harmless text."""
    return Tags(page(SAFE, drawn)).tags


def outside_pictures(tags: list[str]) -> list[str]:
    """The tags of a page without those inside its pictures, which matplotlib lays out by the width of a text."""
    text = "\n".join(tags)
    return re.sub(r"<svg .*?</svg>", "<svg>", text, flags=re.DOTALL).splitlines()


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_adds_to_a_page(text: str) -> None:
    adds_nothing(text, drawn=False)


@pytest.mark.slow
@pytest.mark.parametrize("text", thinned(HOSTILE, 7))
def test_no_text_adds_to_a_page_with_pictures(text: str) -> None:
    adds_nothing(text, drawn=True)


def adds_nothing(text: str, drawn: bool) -> None:
    written = page(report_of(text), drawn)
    found = Tags(written)
    assert outside_pictures(found.tags) == outside_pictures(harmless(drawn))
    assert {tag.split()[0] for tag in found.tags} == {tag.split()[0] for tag in harmless(drawn)}
    assert not any("on" in tag.split("'")[1::2] for tag in found.tags)
    assert not HIDDEN.search(written)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_adds_to_markdown(text: str) -> None:
    written = forms.markdown(report_of(text))
    assert structure(written) == structure(forms.markdown(SAFE))
    assert len(written.splitlines()) == len(forms.markdown(SAFE).splitlines())


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_adds_to_the_tables_that_all_forms_share(text: str) -> None:
    report = report_of(text)
    said = [cell.text for grid in details(report) for row in grid.rows for cell in row]
    said += [part for line in advice(report) for part in line]
    said += [str(concern) for concern in report.warnings]
    for each in (*said, *rows_used(report)):
        assert len(each.splitlines()) <= 1
        assert not HIDDEN.search(each)
    assert all(len(line.value) <= 42 for line in advice(report))


def test_the_pictures_of_a_page_have_identifiers_of_their_own_and_reach_nothing_outside() -> None:
    written = page(SAFE)
    identifiers = re.findall(r' id="([^"]+)"', written)
    assert len(identifiers) == len(set(identifiers)) > 10
    assert set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', written)) <= {
        pair for each in identifiers for pair in ((each, ""), ("", each))
    }
    assert not re.findall(r'(?:src|href)="(?!#)', written)
    assert written == page(SAFE)  # twice the same
    assert "Written by `lambda-star calibrate`" in written.split("\n")[1]


def test_every_table_stands_in_both_documents() -> None:
    report = SAFE
    verdict = decide(report, lam=report.lam)
    both = (forms.markdown(report, verdict), Tags(forms.html(report, verdict)).text)
    plain = re.sub(r"\\(.)", r"\1", both[0])
    for text in (plain, both[1]):
        assert str(verdict) in text
        for line in advice(report):
            assert line.meaning in text
        for grid in details(report):
            assert grid.title in text
            assert all(cell.text in text for row in grid.rows for cell in row)


def test_a_notebook_shows_the_advice_and_the_classes() -> None:
    shown = SAFE._repr_html_()
    text = Tags(shown).text
    assert "operating point" in text
    assert all(one.name in text for one in SAFE.classes)
    assert "<script" not in shown
    hostile = report_of("<script>alert(1)</script>")._repr_html_()
    assert Tags(hostile).tags == Tags(shown).tags


def test_the_classes_are_a_frame() -> None:
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    report = SAFE
    frame = report.to_frame()
    assert frame.column("name").to_pylist() == [one.name for one in report.classes]
    fields: dict[str, Any] = {name: [getattr(one, name) for one in report.classes] for name in frame.column_names}
    assert frame.column_names == [name for name in vars(report.classes[0]) if name != "quantiles"]
    assert pandas.DataFrame(frame.to_pydict())["value"].tolist() == fields["value"]
    assert polars.from_arrow(frame)["value"].to_list() == fields["value"]
    assert frame.column("budget_threshold").to_pylist() == [None] * len(report.classes)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_verdict_adds_to_no_document(text: str) -> None:
    verdict = decide(SAFE, lam=1.25)
    hostile, plain = (replace(verdict, reason=reason, evidence=(reason,)) for reason in (f"x{text}", "x"))
    found = forms.html(SAFE, hostile)
    assert Tags(found).tags == Tags(forms.html(SAFE, plain)).tags
    assert not HIDDEN.search(found)
    assert structure(forms.markdown(SAFE, hostile)) == structure(forms.markdown(SAFE, plain))
