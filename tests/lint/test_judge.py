"""A report of calibrate decides where it is given, so that the two commands never disagree."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_star import calibrate, decide, read_table, updates
from lambda_star.calibration.report import Report
from lambda_star.lint import Finding, configuration, lint_config
from lambda_star.rehearsal import Answer

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "examples" / "rank_by_price" / "logprobs.csv"


@pytest.fixture(scope="module")
def report() -> Report:
    return calibrate(read_table(TABLE), clip=5.0)


def written(folder: Path, values: Any) -> Path:
    path = folder / "report.json"
    path.write_text(values if isinstance(values, str) else json.dumps(values), encoding="utf-8")
    return path


def of_lambda(folder: Path, lam: float, report: Path, extra: str = "") -> Finding:
    path = folder / "config.yaml"
    path.write_text(f"policy_loss:\n  lambda_vals: {lam!r}\n{extra}", encoding="utf-8")
    return next(found for found in lint_config(path, report=report) if found.message.startswith("λ = "))


def test_the_verdict_is_that_of_calibrate(tmp_path: Path, report: Report) -> None:
    path = written(tmp_path, report.to_dict())
    safe = report.operating_point.value
    assert of_lambda(tmp_path, safe, path).severity == "note"
    above = of_lambda(tmp_path, math.nextafter(safe, 2), path)
    assert (above.severity, f"Known to be safe is λ = {safe:g}" in above.message) == ("unknown", True)
    assert f"class {report.binding.name}, p = {report.binding.p:g}, b = {report.binding.b:g}, c = 5" in above.message
    assert "no tail dies" in above.message  # as the configuration says, though the report names no rule
    # Eq. 4 at the mean p and b of the class alone gives a laxer number, by which the two commands once disagreed.
    assert safe < 1 + 0.9 * (report.binding.value - 1)


@given(st.floats(1.001, 1.6))
def test_no_advice_of_lint_exceeds_that_of_calibrate(
    tmp_path_factory: pytest.TempPathFactory, report: Report, lam: float
) -> None:
    folder = tmp_path_factory.getbasetemp()
    found = of_lambda(folder, lam, written(folder, report.to_dict()))
    assert (found.severity == "note") == (decide(report, lam=lam).safety == "safe")


CLAMP = (
    "distillation:\n  enabled: true\n  distillation_loss:\n    loss_mode: k1\n    use_policy_gradient: true\n"
    "    loss_max_clamp: {}\n"
)


def test_a_rule_with_a_cliff_is_an_error_past_it_with_a_report_too(tmp_path: Path, report: Report) -> None:
    path = written(tmp_path, report.to_dict())
    found = of_lambda(tmp_path, 1.4, path, CLAMP.format(1.5))
    assert (found.severity, "Known to be safe is λ = 1." in found.message) == ("error", True)
    below = of_lambda(tmp_path, 1.1, path, CLAMP.format(1.5))
    assert (below.severity, "calibrate with that rule" in below.message) == ("unknown", True)


def test_a_report_of_version_1_is_refused_with_the_reason(tmp_path: Path, report: Report) -> None:
    old = report.to_dict() | {"advised": {"value": 1.15, "low": 1.14, "high": 1.16}}
    for values in (old, report.to_dict() | {"schema": "lambda-star/calibrate/1"}):
        path = written(tmp_path, values)
        said = r"report.json: this is a report of another version, .*bootstrap of positions that covered too little"
        with pytest.raises(ValueError, match=said):
            of_lambda(tmp_path, 1.1, path)
    written(tmp_path, report.to_dict() | {"schema": "lambda-star/calibrate/2"})
    assert of_lambda(tmp_path, 1.1, path).severity == "note"


def test_a_rehearsal_settles_what_the_report_leaves_open(tmp_path: Path, report: Report) -> None:
    path, config = written(tmp_path, report.to_dict()), tmp_path / "config.yaml"
    assert of_lambda(tmp_path, 1.5, path).severity == "unknown"
    lines = [{"schema": "lambda-star/rehearsal/1", "rule": None}]
    lines += [vars(Answer(lam, prompt, 0, "[]", 2, True, True)) for lam in (1.0, 1.5) for prompt in range(100)]
    rehearsed = tmp_path / "rehearsal.jsonl"
    rehearsed.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    found = lint_config(config, report=path, rehearsal=rehearsed)
    assert [each.severity for each in found if each.message.startswith("λ = 1.5 is safe")] == ["note"]
    with pytest.raises(ValueError, match="give `rehearsal` together with `report`"):
        lint_config(config, rehearsal=rehearsed)


def test_a_report_for_another_rule_is_said_to_be_one(tmp_path: Path, report: Report) -> None:
    path = written(tmp_path, report.to_dict() | {"rule": "log_ratio_cap(c=5)"})
    of_lambda(tmp_path, 1.1, path)
    found = lint_config(tmp_path / "config.yaml", report=path)
    assert any("made for log_ratio_cap(c=5), and this configuration's rule is none()" in f.message for f in found)
    same = written(tmp_path, report.to_dict() | {"rule": "none()"})
    assert not any("made for" in f.message for f in lint_config(tmp_path / "config.yaml", report=same))


def test_tails_die_where_a_report_for_the_same_rule_says(tmp_path: Path) -> None:
    rule = updates.log_ratio_clamp(5.0)
    report = calibrate(read_table(TABLE), rule=rule)
    assert report.dies is not None
    path = written(tmp_path, report.to_dict())
    assert report.dies.value < rule.dies(report.binding.p, report.binding.b)
    clamp = CLAMP.format(5)
    assert of_lambda(tmp_path, report.dies.high, path, clamp).severity == "error"
    assert of_lambda(tmp_path, math.nextafter(report.dies.high, 1), path, clamp).severity == "unknown"
    assert of_lambda(tmp_path, report.operating_point.value, path, clamp).severity == "note"


def test_a_report_for_a_rule_that_does_the_same_is_no_other_one(tmp_path: Path) -> None:
    path = written(tmp_path, calibrate(read_table(TABLE), rule=updates.none()).to_dict())
    weighted = "algorithm: {rollout_correction: {rollout_is: token, rollout_is_threshold: 5.0}}\n"
    of_lambda(tmp_path, 1.1, path, weighted)
    assert not any("made for" in found.message for found in lint_config(tmp_path / "config.yaml", report=path))


def test_a_tail_dies_from_lambda_dies_on(tmp_path: Path) -> None:
    dies = updates.log_ratio_cap(5.0).dies(0.9, 0.5)
    path = tmp_path / "step.py"
    for lam, severity in ((dies, "error"), (math.nextafter(dies, 1), "warning")):
        path.write_text(f"opd_loss(student, teacher, base, {lam!r}, clip=5.0)", encoding="utf-8")
        assert [found.severity for found in lint_config(path, p=0.9, b=0.5)] == [severity]


def test_the_tightest_of_several_bounds_decides(tmp_path: Path) -> None:
    path = tmp_path / "step.py"
    path.write_text("for c in (50.0, 2.0, 5.0):\n    opd_loss(student, teacher, base, 1.5, clip=c)", encoding="utf-8")
    assert configuration(path).rules == (updates.log_ratio_cap(2.0),)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ("{", "the report is not JSON"),
        ("[" * 100_000, "the report is not JSON"),
        ("[]", "not as this version writes it; write the report again"),
        ("{}", "it has no 'classes'"),
        ({"binding": "x", "classes": []}, "not as this version writes it"),
        ({"binding": "x", "classes": [{"name": "x", "p": 2, "b": 0.5}], "clip": 5}, "not as this version writes it"),
        ({"binding": "x", "classes": [{"name": "x", "p": 0.9, "b": None}], "clip": 5}, "not as this version writes it"),
        ({"binding": "x", "classes": [{"name": "x", "p": 0.9, "b": 0.5}], "clip": 5}, "it has no 'advised'"),
    ],
)
def test_a_report_that_is_none_is_refused(tmp_path: Path, values: Any, said: str) -> None:
    path = written(tmp_path, values)
    with pytest.raises(ValueError, match=said) as caught:
        of_lambda(tmp_path, 1.25, path)
    assert str(caught.value).startswith(str(path))


def test_a_missing_report_and_two_sources_are_refused(tmp_path: Path, report: Report) -> None:
    with pytest.raises(ValueError, match=r"none\.json: cannot read the report"):
        of_lambda(tmp_path, 1.25, tmp_path / "none.json")
    path = written(tmp_path, report.to_dict())
    with pytest.raises(ValueError, match="give `report`, or `p`, `b` and `clip`"):
        lint_config(tmp_path / "config.yaml", p=0.9, b=0.5, report=path)


@pytest.mark.parametrize(
    ("top", "lam", "severity"),
    [("top_p: 0.95", 1.25, "note"), ("top_p: 0.95", 1.4, "error"), ("top_k: 5", 1.1, "warning")],
)
def test_truncated_rollouts_are_compared_where_their_rule_says_when(
    tmp_path: Path, top: str, lam: float, severity: str
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"policy_loss: {{lambda_vals: {lam}}}\nrollout: {{{top}}}\n", encoding="utf-8")
    found = next(f for f in lint_config(path, p=0.9, b=0.5) if (f.key or "").startswith("rollout"))
    assert found.severity == severity
    assert "tokens outside die from λ = 1." in found.message
