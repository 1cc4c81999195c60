"""``lambda-star demo`` calibrates the table of the package, as ``calibrate`` would, and says what to run next."""

from __future__ import annotations

import gzip
import json
import re
import shlex
from pathlib import Path

import pytest

from lambda_star import calibrate, decide, read_table
from lambda_star.cli.demo import TABLE
from lambda_star.lint import rule_of
from tests.cli.test_cli import invoke, refused

ROOT = Path(__file__).parents[2]


def test_the_table_is_the_first_120_answers_of_the_example() -> None:
    packed, whole = TABLE.read_bytes(), (ROOT / "examples/rank_by_price/logprobs.csv").read_bytes()
    table = gzip.decompress(packed)
    assert whole.startswith(table)
    assert whole[len(table) :].startswith(b"120,0,")
    assert len(packed) < 110_000
    assert packed[4:8] == bytes(4)  # no time of day, so that the same table gives the same file


@pytest.mark.parametrize(
    ("options", "status"), [([], 3), (["--lam", "1.05"], 0), (["--rule", "log_ratio_cap:5", "--lam", "3"], 1)]
)
def test_the_verdict_and_the_status_are_those_of_the_report(options: list[str], status: int, tmp_path: Path) -> None:
    given = dict(zip(options[::2], options[1::2], strict=True))
    lam, rule = float(given.get("--lam", "1.25")), given.get("--rule", "trl")
    result = invoke("demo", *options, "--json", tmp_path / "report.json")
    verdict = decide(calibrate(read_table(TABLE), clip=5.0, rule=rule_of(rule)), lam=lam)
    assert result.exit_code == verdict.exit_status == status
    assert str(verdict) in " ".join(result.stdout.split())
    found = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert found["verdict"]["safety"] == verdict.safety
    assert decide(tmp_path / "report.json", lam=lam).safety == verdict.safety  # other commands read the report


def test_the_command_to_run_next_gives_the_same_report() -> None:
    said = invoke("demo", "--lam", "1.1", "--rule", "verl:loss_max_clamp=5")
    (line,) = re.findall(r"^  lambda-star (calibrate .* --all)$", said.stdout, flags=re.MULTILINE)
    whole = invoke(*shlex.split(line))
    assert whole.exit_code == said.exit_code
    verdict = said.stdout.split("\n\n")[1]
    assert verdict.startswith(("SAFE", "UNSAFE", "UNKNOWN"))
    assert whole.stdout.startswith(verdict)
    assert "\n  lambda-star calibrate rows.csv --rule verl:loss_max_clamp=5 --lam 1.1\n" in said.stdout
    assert "--all prints" not in said.stdout  # an option that demo does not have


def test_a_rule_that_is_none_is_refused_with_the_name_of_the_option() -> None:
    assert "Invalid value for '--rule'" in refused("demo", "--rule", "nothing")
