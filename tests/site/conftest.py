"""A browser for the tests of the site: Chromium where it is installed, driven by Playwright."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "site/explorer/index.html"
CHECKS = Path(__file__).with_name("checks.js").read_text(encoding="utf-8").strip().removesuffix(";")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    """A headless Chromium; the tests that need it are skipped, and say so, where there is none."""
    if CHROMIUM is None:
        pytest.skip("no chromium on the path; `apt-get install chromium` runs the tests of the pages")
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="`pip install playwright` runs the tests of the pages"
    )
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        yield opened
        opened.close()


class Page:
    """The explorer in a window of its own, with all that it asked the network for and all that went wrong."""

    def __init__(self, browser: Any, state: str = "", **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.problems: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.problems.append(message.text))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.goto(PAGE.as_uri() + state)
        self.page.wait_for_selector("#table tbody tr", state="attached")

    def text(self, selector: str) -> str:
        return str(self.page.inner_text(selector))

    def check(self, name: str, given: Any = None) -> Any:
        """What a function of ``checks.js`` returns."""
        return self.page.evaluate(f"(given) => {CHECKS}.{name}(given)", given)

    def numbers(self) -> dict[str, str]:
        """What the list of numbers shows, by name."""
        return dict(self.check("numbers"))

    def until(self, condition: str) -> None:
        """Wait for a condition; the page's own policy forbids what Playwright would wait with."""
        end = time.monotonic() + 60
        while not self.page.evaluate(condition):
            assert time.monotonic() < end, condition
            time.sleep(0.05)

    def open(self, *files: dict[str, Any] | Path) -> str:
        """Choose files as a reader does, and return what the page says of them."""
        self.page.set_input_files("#file", [str(one) if isinstance(one, Path) else one for one in files])
        self.until("!['', 'Reading …'].includes(document.querySelector('#read').textContent)")
        return self.text("#read")


@pytest.fixture
def explorer(browser: Any) -> Iterator[Any]:
    """Opens the explorer at a state; nothing may go wrong there, and nothing may be asked of any network."""
    opened: list[Page] = []

    def at(state: str = "", **options: Any) -> Page:
        opened.append(Page(browser, state, **options))
        return opened[-1]

    yield at
    for page in opened:
        assert page.problems == []
        assert [url for url in page.requests if not url.startswith(PAGE.parent.as_uri())] == []
        page.context.close()
