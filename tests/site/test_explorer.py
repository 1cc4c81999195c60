"""The explorer in a browser: its controls, its address, the files it opens, and what it does with hostile text."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lambda_star import calibrate, decide, read_table, updates
from lambda_star._core.text import named, number, shown
from lambda_star.bernoulli import threshold
from lambda_star.calibration.shares import exact_share
from lambda_star.rehearsal import read_rehearsal
from tests.night import thinned

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SITE = ROOT / "site/explorer"
REHEARSAL = ROOT / "examples/rank_by_price/rehearsal.jsonl"
CAPPED = ROOT / "examples/letters/rehearsed/open-capped.jsonl"
SORTED = ROOT / "examples/letters/rehearsed/sort.jsonl"
Explorer = Callable[..., Any]

HOSTILE = "<img src=x onerror=hacked=1></script><script>hacked=1</script>\u202e\u200b\x1b[31m\ud800&lt;"


def report_values(**changes: Any) -> dict[str, Any]:
    """The JSON of the example's report, with changes."""
    table = read_table(str(ROOT / "examples/rank_by_price/logprobs.csv"))
    found = calibrate(table, clip=5.0, rule=updates.log_ratio_cap(5.0), lam=1.25)
    verdict = decide(found, lam=1.25).to_dict()
    return {"schema": "lambda-star/calibrate/2", **found.to_dict(), "verdict": verdict, **changes}


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    return report_values()


def as_file(values: Any, name: str = "report.json") -> dict[str, Any]:
    text = values if isinstance(values, bytes) else json.dumps(values).encode()
    return {"name": name, "mimeType": "application/json", "buffer": text}


def test_the_page_loads_only_its_own_files_and_forbids_everything_else() -> None:
    page = (SITE / "index.html").read_text(encoding="utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert {"default-src 'self'", "connect-src 'none'", "form-action 'none'"} <= set(policy[1].split("; "))
    assert re.findall(r"<script(?! src=\"[a-z]+\.js\" defer></script>)", page) == []
    assert re.findall(r"\son\w+=|\sstyle=|https?:", page) == []
    for script in SITE.glob("*.js"):
        text = script.read_text(encoding="utf-8")
        assert (
            re.findall(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|fetch\(|XMLHttp|import\(", text)
            == []
        )


def some_rules() -> Iterator[updates.Rule]:
    """Every rule, with arguments that differ from those that the page begins with."""
    given = {"c": 5.0, "bound": 3.0, "k": 1, "top_p": 0.9}
    for rule in updates.RULES.values():
        yield rule(**{key: value for key, value in given.items() if key in rule.__dataclass_fields__})  # type: ignore[attr-defined]


def test_every_rule_shows_the_numbers_of_python(explorer: Explorer) -> None:
    page = explorer()
    for rule in some_rules():
        page.page.evaluate("(state) => { location.hash = state; }", f"p=0.99&b=0.6&c=5&lam=1.3&rule={rule}")
        page.until(f"document.querySelector('#status').textContent.includes({json.dumps(str(rule))})")
        found = page.numbers()
        assert float(found["λ*, the threshold"]) == pytest.approx(threshold(0.99, 0.6, 5.0), rel=1e-11)
        wanted = {"the student leaves the fixed point at λ": rule.leaves(0.99, 0.6)}
        wanted["the tail dies at λ"] = rule.dies(0.99, 0.6)
        for what, value in wanted.items():
            assert found[what] == ("never" if value == float("inf") else number(value)), (rule, what)
        tail = float(found["the student's tail"].replace("−", "-"))
        assert tail == pytest.approx(1 - rule.student(0.99, 0.6, 1.3), rel=1e-5, abs=1e-12), rule
        assert page.page.input_value("#rule") == rule.name


def test_sliders_and_fields_work_from_the_keyboard_and_the_address_keeps_the_state(explorer: Explorer) -> None:
    page = explorer(viewport={"width": 800, "height": 800}, reduced_motion="reduce")
    page.page.focus("#lam-slider")
    page.page.keyboard.press("ArrowRight")
    assert page.page.input_value("#lam") == "1.26"
    page.page.focus("#p")
    page.page.keyboard.press("Control+A")
    page.page.keyboard.type("1-1e-9")
    page.page.focus("#rule")
    page.page.keyboard.press("End")
    page.until("location.hash.includes('truncated_sampling')")
    page.until("document.querySelector('#spoken').textContent.includes('truncated_sampling')")
    address = page.page.evaluate("location.hash")
    assert "p=0.999999999&" in address
    assert "lam=1.26&" in address
    page.page.focus(".skip")
    page.page.keyboard.press("Enter")
    assert page.page.evaluate("[document.activeElement.id, location.hash]") == ["answer", address]
    again = explorer(address)
    assert again.text("#status") == page.text("#status")
    assert again.numbers() == page.numbers()


def test_what_cannot_be_used_is_said_and_the_last_good_value_stays(explorer: Explorer) -> None:
    page = explorer("#p=7&lam=x&rule=nonsense&b=0.25&q=1")
    said = page.text("#copied")
    assert "gives a p that cannot be used. It must lie in (0, 1), got 7." in said
    assert "gives a lam" in said
    assert "names a rule that this page does not know" in said
    assert page.page.input_value("#b") == "0.25"
    before = page.numbers()
    assert page.text("#answer-head") == "The answer"
    page.page.fill("#c", "0.5")
    assert page.text("#c-error") == "It must lie in [1, +inf], got 0.5."
    assert page.page.get_attribute("#c", "aria-invalid") == "true"
    assert page.numbers() == before
    assert page.text("#answer-head") == "The answer to the last numbers that could be used"
    assert page.page.evaluate("getComputedStyle(document.querySelector('#numbers')).opacity") == "0.5"
    page.page.fill("#c", "2,5")
    assert page.text("#c-error") == "It must be a number with a decimal point, got 2,5."
    page.page.fill("#c", "inf")
    assert page.text("#answer-head") == "The answer"
    assert page.numbers()["λ*, the threshold"] == "+inf"
    page.page.click("#reset")
    assert page.page.input_value("#c") == "5"


def test_every_control_has_a_name_and_every_picture_says_what_it_shows(
    explorer: Explorer, report: dict[str, Any]
) -> None:
    page = explorer()
    page.open(as_file(report), as_file(REHEARSAL.read_bytes(), "rehearsal.jsonl"))
    assert page.check("nameless") == []
    pictures = page.check("pictures")
    assert len(pictures) == 8
    assert all(role == "img" and len(text) > 40 for role, text in pictures)
    ids = page.page.evaluate("[...document.querySelectorAll('[id]')].map((one) => one.id)")
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    ("width", "scheme"), thinned([(390, "light"), (390, "dark"), (1280, "dark"), (1280, "light")], 2)
)
def test_text_is_legible_and_fits_the_width(
    explorer: Explorer, report: dict[str, Any], width: int, scheme: str
) -> None:
    page = explorer("#lam=1.3&rule=none()", viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.open(as_file(report), as_file(REHEARSAL.read_bytes(), "rehearsal.jsonl"))
    assert page.page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.check("pale") == []


def test_a_report_shows_its_verdict_its_classes_and_its_worst_positions(
    explorer: Explorer, report: dict[str, Any]
) -> None:
    page = explorer()
    assert page.open(as_file(report)) == "report.json is read: a report."
    text = page.text("#measured")
    assert f"UNSAFE λ = 1.25: {report['verdict']['reason']}" in text
    for one in report["classes"]:
        assert f"{named(one['name'])}\t{one['positions']}\t" in text
    assert len(report["worst"]) == page.page.locator(".worst li").count() == 10
    for at, one in enumerate(report["worst"]):
        words = page.page.locator(".worst li").nth(at).locator("div.answer").inner_text()
        assert words == shown(one["before"] + one["place"]["modal"])
    page.page.click(".wide button >> nth=1")
    wanted = threshold(report["classes"][1]["p"], report["classes"][1]["b"], 5.0)
    assert float(page.numbers()["λ*, the threshold"]) == pytest.approx(wanted, rel=1e-11)
    assert page.page.evaluate("document.activeElement.id") == "answer"


def hostile(values: Any) -> Any:
    """The values with hostile text in place of every text that is not read as a number, a schema or a verdict."""
    if isinstance(values, dict):
        kept = ("schema", "safety", "binding")
        return {key: value if key in kept else hostile(value) for key, value in values.items()}
    if isinstance(values, list):
        return [hostile(one) for one in values]
    return HOSTILE if isinstance(values, str) and values not in ("inf", "-inf") else values


def test_hostile_text_stays_text(explorer: Explorer, report: dict[str, Any]) -> None:
    page = explorer()
    lines = REHEARSAL.read_text(encoding="utf-8").splitlines()[:6]
    header = {**json.loads(lines[0]), **dict.fromkeys(("teacher", "base", "contract", "rule"), HOSTILE)}
    broken = {**json.loads(lines[1]), "metrics": {HOSTILE: 1.0, "__proto__": 2.0}}
    stray = {**json.loads(lines[2]), HOSTILE: 1}
    rehearsal = "\n".join([json.dumps(header), *map(json.dumps, (broken, stray)), *lines[3:], ""]).encode()
    page.open(as_file(hostile(report), f"{HOSTILE}.json".replace("/", "")), as_file(rehearsal, "r.jsonl"))
    assert page.page.evaluate("[typeof hacked, document.querySelectorAll('img, #measured script, iframe').length]") == [
        "undefined",
        0,
    ]
    assert page.page.locator(".worst mark").first.inner_text() == shown(HOSTILE)
    everything = page.page.evaluate("document.body.textContent")
    assert not re.search("[\u202e\u200b\x1b\ud800]", everything)
    assert everything.count("onerror=hacked") > 20


def broken_files() -> Iterator[tuple[bytes, str]]:
    values = report_values()
    yield b"", "it is empty; write it with `lambda-star calibrate"
    yield b"PAR1\x00\xff\xfe", "neither the JSON of a report nor a rehearsal"
    yield json.dumps(values).encode()[:-40], "neither the JSON of a report nor a rehearsal"
    yield b"[1, 2]", "neither the JSON of a report nor a rehearsal"
    yield b'{"a": 1}', "has no schema of lambda-star"
    yield b'{"schema": "lambda-star/rehearse/1"}', "`lambda-star rehearse` writes, and this page shows"
    yield json.dumps({**values, "schema": "lambda-star/calibrate/1"}).encode(), "report of another version"
    yield json.dumps({**values, "classes": []}).encode(), "no contract class; write it with"
    yield json.dumps({**values, "classes": [7]}).encode(), "its name is missing; write it with"
    yield json.dumps({key: one for key, one in values.items() if key != "advised"}).encode(), "its advised is missing"
    yield json.dumps({**values, "clip": "five"}).encode(), "its clip is not as this version writes it"
    yield json.dumps({**values, "verdict": {"safety": "sure"}}).encode(), "its safety is not as this version writes it"
    yield REHEARSAL.read_bytes().split(b"\n")[0] + b"\n", "it holds no answer yet"


def test_a_broken_file_gives_a_sentence_that_says_what_to_do(explorer: Explorer) -> None:
    page = explorer()
    for content, wanted in broken_files():
        page.page.evaluate("document.querySelector('#read').textContent = ''")
        said = page.open(as_file(content))
        assert said.startswith("report.json: "), said
        assert wanted.replace("`", "") in said
        assert "`" not in said
        assert page.page.locator("#read code").count() >= said.count("write it with")
        assert page.page.locator("#measured > *").count() == 0


def damaged(path: Path) -> bytes:
    """A rehearsal whose last answers are missing, with bad lines and a cut one."""
    lines = path.read_bytes().splitlines(keepends=True)
    extra = [lines[1], b"{}\n", b"nonsense\n", lines[2].replace(b'"tokens":', b'"tokens":-')]
    return b"".join([*lines[: 2 * len(lines) // 3], *extra, lines[-1][:20]])


def holes(budget: float | None = None, rule: str | None = None) -> bytes:
    """A rehearsal that was stopped: by λ, how many answers are valid, how many are not, and how many are missing."""
    header = {"schema": "lambda-star/rehearsal/1", "rule": rule, "contract": "json", "budget": budget}
    lines: list[dict[str, Any]] = [header]
    for lam, valid, broken in ((1, 195, 5), (1.5, 199, 0), (2, 140, 0), (2.5, 185, 15), (3, 90, 110), (4, 60, 130)):
        for prompt in range(valid + broken):
            answer = {"lam": lam, "prompt": prompt, "sample": 0, "text": "[]", "tokens": 2, "ended": prompt % 7 > 0}
            lines.append({**answer, "valid": prompt < valid, "metrics": {"score": prompt / 3}})
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


CASES: dict[str, Callable[[], bytes]] = {
    "real": REHEARSAL.read_bytes,
    "capped": CAPPED.read_bytes,
    "damaged": partial(damaged, SORTED),
    "holes": holes,
    "a rule that kills early": partial(holes, None, "kl_to_base_cap(c=2)"),
    "stopped": partial(holes, 3.0),
    "without λ = 1": lambda: holes().replace(b'"lam": 1,', b'"lam": 1.1,'),
    "a rule over tokens": partial(holes, None, "top_k(k=8)"),
    "not judged": lambda: re.sub(rb',"valid":(true|false)', b"", REHEARSAL.read_bytes()),
}


def as_shown(reason: str) -> str:
    """A reason as the page shows it, with code in a type of its own, and a minus as Python writes it."""
    return reason.replace("`", "").replace("−", "-")


@pytest.mark.parametrize("case", thinned(CASES, 2))
def test_a_rehearsal_is_judged_as_by_decide(explorer: Explorer, tmp_path: Path, case: str) -> None:
    path = tmp_path / "rehearsal.jsonl"
    path.write_bytes(CASES[case]())
    page, rehearsal = explorer(), read_rehearsal(path)
    page.open(path)
    heads, *rows = page.check("rows")
    assert [float(row[0]) for row in rows] == list(rehearsal.lams)
    for row, point in zip(rows, rehearsal.curve, strict=True):
        assert int(row[1]) == point.answers
        assert percents(row[2]) == pytest.approx([point.valid, point.low, point.high], abs=6e-4, nan_ok=True)
        change = [point.change, point.change_low, point.change_high]
        assert point.lam == 1 or percents(row[3]) == pytest.approx(change, abs=6e-4, nan_ok=True)
        for name, metric in point.metrics.items():
            assert float(row[heads.index(name)]) == pytest.approx(metric.value, rel=1e-3)
        assert percents(row[-3]) == pytest.approx([point.cut], abs=6e-4)
        verdict = decide(rehearsal=rehearsal, lam=point.lam)
        assert [row[-2], row[-1].replace("−", "-")] == [verdict.safety, as_shown(verdict.reason)]
    verdict = decide(rehearsal=rehearsal)
    head = page.text("#measured .verdict").replace("−", "-")
    assert head.startswith(verdict.safety.upper())
    assert as_shown(verdict.reason) in head
    if verdict.set_lam is not None:
        assert f"λ = {verdict.set_lam:g}" in head
    assert page.page.locator("text=it was left out").count() == len(rehearsal.problems) == 5 * (case == "damaged")


def percents(text: str) -> list[float]:
    """The shares in a text such as "−70.3 % (−76.1 % to −62.6 %)", NaN three times for "unknown"."""
    found = re.findall(r"[-+]?[\d.]+(?= %)", text.replace("−", "-"))
    return [float(one) / 100 for one in found] if text != "unknown" else [math.nan] * 3


def test_exact_intervals_are_those_of_python(explorer: Explorer) -> None:
    cases = [[0, 1], [1, 1], [0, 300], [299, 300], [57, 150], [4000, 9000]]
    found = explorer().check("intervals", cases)
    for (successes, trials), ends in zip(cases, found, strict=True):
        wanted = exact_share(successes, trials, 0.975)
        assert ends == pytest.approx(wanted._asdict(), abs=1e-10)


def test_a_dropped_file_is_read_like_a_chosen_one(explorer: Explorer, report: dict[str, Any]) -> None:
    page = explorer()
    page.check("drop", json.dumps(report))
    page.until("document.querySelector('#read').textContent === 'dropped.json is read: a report.'")
    assert page.page.locator("#measured .verdict").count() == 1
