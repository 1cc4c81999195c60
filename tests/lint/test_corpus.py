"""Configurations of every training code, each with its rule, its λ, its verdict and its exit status.

The files in ``corpus`` are written for this test from the keys of the real codes, in the versions that
``lambda_star.lint.codes`` names. Those called ``example`` set what the examples of a code set.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner

from lambda_star.cli import main
from lambda_star.lint import configuration, lint_config
from lambda_star.lint.codes import CODES

CORPUS = Path(__file__).parent / "corpus"

P, B = 0.999, 0.5
EDGE = (0.9, 0.5)
"""A point at which λ* and λ_dies of a clamp of 1.5 are far enough apart for a λ between them."""

IS5, IS2 = "importance_weight(c=5)", "importance_weight(c=2)"
C15, C10 = "log_ratio_clamp(bound=1.5)", "log_ratio_clamp(bound=10)"
A5 = "advantage_clamp(bound=5)"
ROLL = "truncated_sampling(top_p=0.99) truncated_sampling(top_k=100)"


class Row(NamedTuple):
    """A file with its rules, its values of λ, the severities of its findings (e, u, w, n) and its exit status."""

    file: str
    rules: str
    lam: tuple[float | str, ...]
    severities: str
    status: int
    point: tuple[float, float] = (P, B)


TABLE = [
    Row("gopd/branches.sh", IS5, (1.5, 1.1), "n", 0),
    Row("gopd/config.json", "none()", (1.1,), "n", 0),
    Row("gopd/config.toml", "none()", (1.1,), "n", 0),
    Row("gopd/counted.sh", IS5, (1.0, 1.25, 1.5), "n", 0),
    Row("gopd/default_argument.sh", IS5, (1.25,), "n", 0),
    Row("gopd/env_default.yaml", "none()", (1.25,), "n", 0),
    Row("gopd/env_unknown.yaml", "none()", ("${oc.env:LAM}",), "u", 3),
    Row("gopd/example.sh", IS5, (1.25,), "n", 0),
    Row("gopd/example_context.sh", IS5, (1.0,), "n", 0),
    Row("gopd/example_multi_teacher.sh", IS5, (1.25,), "n", 0),
    Row("gopd/hydra_sweep.sh", IS5, (1.0, 1.25, 1.5), "n", 0),
    Row("gopd/kl_clip_cov.yaml", "none()", (1.25,), "n", 0),
    Row("gopd/launch.py", "none()", (1.0, 1.25), "n", 0),
    Row("gopd/loop.sh", IS5, (1.0, 1.25, 1.5), "n", 0),
    Row("gopd/missing_base.yaml", "none()", (1.25,), "wn", 0),
    Row("gopd/not_finite.yaml", "none()", (".nan",), "u", 3),
    Row("gopd/positional.sh", IS5, ("$1",), "un", 3),
    Row("gopd/reference.yaml", "none()", (1.25,), "n", 0),
    Row("gopd/sweep.yaml", "none()", (1.0, 1.25, 1.5), "n", 0),
    Row("gopd/truncated.sh", f"{IS5} truncated_sampling(top_p=0.9)", (1.25,), "en", 1),
    Row("lightrft/clamped.sh", "log_ratio_clamp(bound=20)", (), "n", 0),
    Row("lightrft/example.sh", "none()", (), "n", 0),
    Row("lightrft/lambda_outside.sh", C15, (1.5,), "en", 1),
    Row("lightrft/whitened.sh", "advantage_clamp(bound=5, centred=True)", (), "n", 0),
    Row("miles/example.sh", "", (), "n", 0),
    Row("miles/launch.py", IS2, (), "n", 0),
    Row("miles/sampled.sh", "none()", (), "n", 0),
    Row("nemo/distillation.yaml", "none()", (), "n", 0),
    Row("nemo/distillation_zero_outside.yaml", "", (), "n", 0),
    Row("nemo/mopd.yaml", IS5, (), "n", 0),
    Row("nemo/mopd_kl_to_base.yaml", "none()", (), "n", 0),
    Row("rllm/example_tinker.sh", "none()", (), "n", 0),
    Row("rllm/example_workflow.py", A5, (), "n", 0),
    Row("rllm/lambda.yaml", A5, (1.25,), "n", 0),
    Row("rllm/tinker.yaml", A5, (), "n", 0),
    Row("roll/advantage_clip.yaml", f"log_ratio_clamp(bound=5) {ROLL}", (), "n", 0),
    Row("roll/example.yaml", f"none() {ROLL}", (), "n", 0),
    Row("roll/lambda_outside.yaml", f"{C15} {ROLL}", (1.5,), "ew", 1),
    Row("roll/mixed.yaml", "advantage_clamp(bound=0.2)", (), "n", 0),
    Row("roll/mse.yaml", f"none() {ROLL}", (), "en", 1),
    Row("roll/reward_clip.yaml", f"none() {ROLL}", (), "n", 0),
    Row("roll/whitened.yaml", f"advantage_clamp(bound=10, centred=True) {ROLL}", (), "n", 0),
    Row("skyrl/example.sh", "none()", (), "n", 0),
    Row("skyrl/old_tis.sh", IS2, (), "n", 0),
    Row("skyrl/tis.sh", IS2, (), "n", 0),
    Row("slime/example.sh", "none()", (), "n", 0),
    Row("slime/example_tis.sh", IS2, (), "n", 0),
    Row("slime/kl_to_base.sh", "none()", (), "n", 0),
    Row("slime/negative.sh", "none()", (), "en", 1),
    Row("slime/truncated.sh", "none() truncated_sampling(top_p=0.9)", (), "n", 0),
    Row("slime/weight.sh", "none()", (), "n", 0),
    Row("swift/example_gkd_top_k.sh", "none()", (), "n", 0),
    Row("swift/example_opd.sh", "none()", (), "n", 0),
    Row("swift/opd.yaml", "none()", (), "n", 0),
    Row("trl/capped.py", "none()", (2.0,), "n", 0),
    Row("trl/cli.sh", "none()", (), "n", 0),
    Row("trl/distillation.yaml", "none()", (), "n", 0),
    Row("trl/extrapolated.py", "none()", (1.25,), "n", 0),
    Row("trl/from_arguments.py", "none()", ("arguments.lam",), "u", 3),
    Row("trl/gkd.yaml", "none()", (), "n", 0),
    Row("trl/grpo.json", "", (), "n", 0),
    Row("trl/lmbda_too_large.yaml", "none()", (), "e", 1),
    Row("trl/own_base.py", "none()", (1.25,), "en", 1),
    Row("trl/own_step.py", "log_ratio_cap(c=5)", (1.25,), "e", 1),
    Row("trl/sweep.py", "none()", (1.0, 1.25, 1.5), "n", 0),
    Row("trl/top_k_loss.toml", "none()", (), "n", 0),
    Row("trl/truncated.py", "none() truncated_sampling(top_p=0.9)", (1.25,), "e", 1),
    Row("verl/clamp_unknown.sh", "", (), "un", 3),
    Row("verl/defaults.yaml", "none()", (), "n", 0),
    Row("verl/example_forward_top_k.sh", "log_prob_floor(bound=10) top_k(k=64)", (), "n", 0),
    Row("verl/example_k1.sh", C10, (), "n", 0),
    Row("verl/gradient_unknown.sh", "", (), "un", 3),
    Row("verl/grpo_only.yaml", "", (), "n", 0),
    Row("verl/k1_differentiated.yaml", "none()", (), "en", 1),
    Row("verl/k2_differentiated.json", "none()", (), "n", 0),
    Row("verl/k3_as_reward.sh", "none()", (), "en", 1),
    Row("verl/lambda_outside_between.yaml", C15, (1.725,), "w", 0, EDGE),
    Row("verl/lambda_outside_dies.yaml", C15, (1.5,), "e", 1),
    Row("verl/lambda_outside_safe.yaml", C10, (1.25,), "n", 0),
    Row("verl/lambda_sweep.sh", C15, (1.0, 1.1, 1.5), "en", 1),
    Row("verl/lambda_without_clamp.yaml", "none()", (1.25,), "n", 0),
    Row("verl/mode_unknown.sh", "", (), "un", 3),
    Row("verl/task_rewards.yaml", C10, (), "n", 0),
    Row("verl/top_k_as_reward.sh", "", (), "wn", 0),
    Row("verl/truncated.sh", f"{C10} truncated_sampling(top_k=50)", (1.25,), "wn", 0),
]


def name(row: Row) -> str:
    return row.file


def test_the_table_has_every_file_of_the_corpus_and_every_code() -> None:
    files = sorted(str(path.relative_to(CORPUS)) for path in CORPUS.rglob("*") if path.is_file())
    assert files == [row.file for row in TABLE]
    assert len(files) >= 40
    assert {row.file.partition("/")[0] for row in TABLE} == {*CODES}


@pytest.mark.parametrize("row", TABLE, ids=name)
def test_a_configuration_has_its_rule_and_verdict(row: Row) -> None:
    path = CORPUS / row.file
    found = configuration(path)
    assert found.code == (None if row.file in {"trl/grpo.json", "verl/grpo_only.yaml"} else path.parent.name)
    assert " ".join(map(str, found.rules)).replace(") ", ")\n") == row.rules.replace(") ", ")\n")
    assert found.lam == row.lam
    p, b = row.point
    findings = lint_config(path, p=p, b=b)
    assert {finding.severity[0] for finding in findings} == {*row.severities}
    result = CliRunner().invoke(main, ["lint-config", str(path), "--p", str(p), "--b", str(b)])
    assert (result.exit_code, len(result.stdout.splitlines())) == (row.status, len(findings))


@pytest.mark.parametrize("row", [row for row in TABLE if "example" in row.file], ids=name)
@pytest.mark.parametrize("point", [{}, {"p": P, "b": B}, {"p": 0.9, "b": 0.5, "clip": 5.0}], ids=str)
def test_the_defaults_of_the_examples_raise_no_alarm(row: Row, point: dict[str, float]) -> None:
    p, b, clip = (point.get(name) for name in ("p", "b", "clip"))
    assert {finding.severity for finding in lint_config(CORPUS / row.file, p=p, b=b, clip=clip)} == {"note"}


@pytest.mark.parametrize("row", [row for row in TABLE if row.lam], ids=name)
def test_errors_and_warnings_about_lambda_follow_the_rule(row: Row) -> None:
    found, (p, b) = configuration(CORPUS / row.file).rules, row.point
    rule = min((found[0], *(one for one in found if one.name == "truncated_sampling")), key=lambda one: one.dies(p, b))
    findings = lint_config(CORPUS / row.file, p=p, b=b)
    said = {
        finding.message.split(" ")[2].strip(":"): finding.severity
        for finding in findings
        if "λ = " in finding.message[:4]
    }
    for lam in row.lam:
        if isinstance(lam, float) and row.file != "trl/capped.py":
            expected = "error" if lam >= rule.dies(p, b) else "warning" if lam > rule.leaves(p, b) else "note"
            assert said[f"{lam:g}"] == (expected if rule.dies(p, b) < math.inf else "note")
