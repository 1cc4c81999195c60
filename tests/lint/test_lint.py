"""Every format is read with its lines, and what is wrong with an extrapolation is said once, where it stands."""

from __future__ import annotations

import json
import math
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_star import operating_point, threshold, updates
from lambda_star.bernoulli import tail_ratio
from lambda_star.lint import Finding, lint_config
from lambda_star.lint.bounds import BOUNDS, NEEDS, SWITCH, Bound
from tests.strategies import probabilities

LAMBDA = "actor_rollout_ref.actor.policy_loss.lambda_vals"
LOSS = "distillation.distillation_loss."
CAP = "algorithm.rollout_correction.rollout_is_threshold"
READY = " ".join(f"{key}=True" for key, _ in NEEDS)
"""What G-OPD needs to apply λ."""

SCRIPT = r"""#!/usr/bin/env bash
# the author's run: lambda_vals=9
export LAMBDA="${LAMBDA:-1.25}"; BASE='/models/base one'   # don't
usage() {
    cat <<'EOF'
it's run with actor_rollout_ref.actor.policy_loss.lambda_vals=8
EOF
}
[[ $# -gt 0 ]] && shift
HERE="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)"
OPTIONS="algorithm.rollout_correction.rollout_is=token algorithm.rollout_correction.rollout_is_threshold=5.0"
python3 -m verl.trainer.main_ppo --standalone actor_rollout_ref.actor.clip_ratio=0.2 \
    $OPTIONS \
    +actor_rollout_ref.model.base_model_path="$BASE" \
    ++actor_rollout_ref.ref.model.base_model_path="${BASE}" \
    actor_rollout_ref.actor.policy_loss.only_reverse_kl_advantages=True \
    'actor_rollout_ref.actor.policy_loss.lambda_vals'="${LAMBDA}" 2>&1 | tee "$HERE/log"
"""

YAML = """\
actor_rollout_ref:
  model: {path: student, base_model_path: base}
  ref:
    model:
      base_model_path: base
  actor:
    clip_ratio_c: 3.0
    policy_loss:
      only_reverse_kl_advantages: true
      # the default
      lambda_vals: 1.25
algorithm:
  rollout_correction:
    rollout_is_threshold: 5.0
    rollout_rs_threshold: null
"""


def write(folder: Path, text: str, name: str = "run.sh") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def lint(
    folder: Path,
    text: str,
    name: str = "run.sh",
    *,
    p: float | None = None,
    b: float | None = None,
    clip: float | None = None,
) -> tuple[Finding, ...]:
    return lint_config(write(folder, text, name), p=p, b=b, clip=clip)


def places(findings: tuple[Finding, ...]) -> list[tuple[str, int | None, str]]:
    return [(found.severity, found.line, (found.key or "").split(".")[-1]) for found in findings]


def of_lambda(findings: tuple[Finding, ...]) -> Finding:
    return next(found for found in findings if found.key == LAMBDA)


# Formats


def test_a_shell_script_is_read_with_lines_variables_and_quotes(tmp_path: Path) -> None:
    assert places(lint(tmp_path, SCRIPT)) == [
        ("note", 12, "clip_ratio"),
        ("note", 13, "rollout_is_threshold"),
        ("note", 17, "lambda_vals"),
    ]
    worse = lint(tmp_path, SCRIPT, p=0.9993, b=0.5, clip=5.0)
    assert places(worse)[0] == ("warning", 17, "lambda_vals")


def test_yaml_is_read_with_the_line_of_each_key(tmp_path: Path) -> None:
    expected = [
        ("note", 7, "clip_ratio_c"),
        ("note", 11, "lambda_vals"),
        ("note", 14, "rollout_is_threshold"),
    ]
    assert places(lint(tmp_path, YAML, "config.yaml")) == expected
    assert places(lint(tmp_path, YAML, "config.YML")) == expected


def test_what_overrides_a_merged_yaml_mapping_counts(tmp_path: Path) -> None:
    text = "base: &base {x: 1}\nrun:\n  <<: [*base, {lambda_vals: 7, lmbda: 0.1}]\n  lambda_vals: 0.5\n"
    assert [found.line for found in lint(tmp_path, text, "config.yaml")] == [3, 4]
    assert "7" not in "".join(found.message for found in lint(tmp_path, text, "config.yaml"))


@pytest.mark.parametrize("indent", [None, 2, "\t"])
def test_json_is_read_with_lines(tmp_path: Path, indent: int | str | None) -> None:
    text = json.dumps({"output_dir": "a\tb/é😀", "lmbda": 0.5, "vllm_importance_sampling_clip_max": 3}, indent=indent)
    lines = (1, 1) if indent is None else (4, 3)
    assert places(lint(tmp_path, text, "args.json")) == [
        ("note", lines[1], "lmbda"),
        ("note", lines[0], "vllm_importance_sampling_clip_max"),
    ]


@pytest.mark.parametrize(
    "flags", ["--lmbda 0.5 --bf16", "--bf16 --lmbda=0.5", "--lmbda \\\n 0.5", '--lmbda "$SHARE"', "--x --lmbda 0.5"]
)
def test_trl_flags_are_read(tmp_path: Path, flags: str) -> None:
    found = lint(tmp_path, f"SHARE=0.5\npython gkd.py --beta 0.1 {flags}\necho done")
    assert [(f.severity, f.key) for f in found] == [("note", "lmbda")]


def test_a_flag_ends_with_its_command_and_takes_no_override(tmp_path: Path) -> None:
    assert places(lint(tmp_path, f"run --lmbda\n0.5\nrun --lmbda; 0.5\nrun --lmbda {LAMBDA}=1.0")) == [
        ("note", 4, "lambda_vals")
    ]


def test_flags_with_hyphens_are_the_same(tmp_path: Path) -> None:
    (found,) = lint(tmp_path, "python grpo.py --vllm-importance-sampling-cap 3")
    assert found.key == "vllm_importance_sampling_cap"


@pytest.mark.parametrize(
    ("assigned", "used", "value"),
    [
        ("L=1.5", "$L", 1.5),
        ("export L=1.5", '"${L}"', 1.5),
        ("L=1.5; M=$L", "$M", 1.5),
        ('L="${L:-1.5}"', "${L}", 1.5),
        ("", "${L:-${M:-1.5}}", 1.5),
        ("L=2\nL=1.5", "$L", 1.5),
        ("M=x L=1.5 # comment", "$L", 1.5),
        ("if true; then L=1.5; fi", "$L", 1.5),
        ("case $1 in\n full) L=1.5 ;;\nesac", "$L", 1.5),
        ("echo L=2", "${L-1.5}", 1.5),
    ],
)
def test_variables_assigned_before_are_put_in(tmp_path: Path, assigned: str, used: str, value: float) -> None:
    found = of_lambda(lint(tmp_path, f"{assigned}\nrun {READY} {LAMBDA}={used}"))
    assert found.message.startswith(f"λ = {value:g} ")


@pytest.mark.parametrize("value", ["$L", "${oc.env:L}", "$1", "nan", "inf", "", "args.lam", "range(1,2,0)"])
def test_a_lambda_that_cannot_be_read_is_unknown(tmp_path: Path, value: str) -> None:
    found = of_lambda(lint(tmp_path, f"run {READY} {LAMBDA}='{value}'"))
    assert found.severity == "unknown"
    assert found.message.startswith(f"λ is '{value}', which is not a finite number here, so it was not judged; write")


def test_a_sweep_is_judged_value_by_value(tmp_path: Path) -> None:
    found = lint(tmp_path, f"run {READY} {LAMBDA}=1.0,1.2,$L,1.5", p=0.999, b=0.5, clip=5.0)
    assert places(found) == [(severity, 1, "lambda_vals") for severity in ("unknown", "warning", "note", "note")]
    said = [f.message.split(",")[0].split(":")[0] for f in found]
    assert [re.findall(r"λ (?:=|is) (\S+)", message)[0] for message in said] == ["'$L'", "1.5", "1", "1.2"]


def test_overrides_stand_in_arrays_and_after_comments(tmp_path: Path) -> None:
    text = f'ARGS=(\n  {READY}\n  # {LAMBDA}=3 \\\n  {LAMBDA}=1.5)\nrun "${{ARGS[@]}}"'
    assert places(lint(tmp_path, text)) == [("note", 4, "lambda_vals")]


def test_every_lambda_of_a_script_is_judged(tmp_path: Path) -> None:
    found = lint(tmp_path, f"run {READY} {LAMBDA}=1.1\nrun {LAMBDA}=1.5", p=0.99, b=0.5, clip=5.0)
    assert places(found) == [("warning", 2, "lambda_vals"), ("note", 1, "lambda_vals")]


def test_a_shell_script_may_have_any_name(tmp_path: Path) -> None:
    assert places(lint(tmp_path, f"#!/bin/sh\nrun {READY} {LAMBDA}=1", "launch")) == [("note", 2, "lambda_vals")]


# λ against λ*


@pytest.mark.parametrize("clip", [2.0, 5.0])
def test_lambda_on_either_side_of_what_a_tolerance_allows(tmp_path: Path, clip: float) -> None:
    p, b = 0.9993, 0.5
    star, safe = threshold(p, b, clip), operating_point(p, b, clip)
    above = of_lambda(lint(tmp_path, f"run {READY} {LAMBDA}={math.nextafter(star, 9)!r}", p=p, b=b, clip=clip))
    assert above.severity == "warning"
    assert f"above λ* = {star:g} (p = 0.9993, b = 0.5, c = {clip:g})" in above.message
    assert "no tail dies in the mean under none()" in above.message
    assert f"set at most {safe:g}, the operating point" in above.message
    at = of_lambda(lint(tmp_path, f"run {READY} {LAMBDA}={star!r}", p=p, b=b, clip=clip))
    assert (at.severity, "so lower λ" in at.message) == ("note", True)
    below = of_lambda(lint(tmp_path, f"run {READY} {LAMBDA}={safe!r}", p=p, b=b, clip=clip))
    assert (below.severity, below.message.endswith("λ is not above it")) == ("note", True)


def test_a_cap_of_the_file_is_no_c(tmp_path: Path) -> None:
    text = f"run {READY} {LAMBDA}=9\nrun {CAP}=5.0"
    found = lint(tmp_path, text, p=0.9993, b=0.5)
    assert {f.severity for f in found} == {"note"}
    assert "makes no cliff" in next(f.message for f in found if f.key == CAP)


def test_without_a_tolerance_it_is_asked_for(tmp_path: Path) -> None:
    found = of_lambda(lint(tmp_path, f"run {READY} {LAMBDA}=1.25", p=0.9993, b=0.5))
    ratio = tail_ratio(0.9993, 0.5, 1.25)
    assert found.severity == "note"
    assert f"ends {ratio:.3g} times thinner" in found.message
    assert "give `clip`" in found.message


RULES = st.sampled_from([updates.none(), *map(updates.log_ratio_clamp, (0.5, 1.5, 5.0, 10.0))])


@given(probabilities, probabilities, RULES, st.floats(0.0, 2.0))
def test_a_lambda_is_an_error_from_lambda_dies_on_and_never_below(
    tmp_path_factory: pytest.TempPathFactory, p: float, b: float, rule: updates.Rule, share: float
) -> None:
    dies = rule.dies(p, b)
    lam = min(1 + share * (dies - 1), 1e300) if share else 1.0
    bound = getattr(rule, "bound", "null")
    text = (
        f"run {LOSS}loss_mode=k1 {LOSS}use_policy_gradient=True {LOSS}loss_max_clamp={bound} {LOSS}lambda_vals={lam!r}"
    )
    findings = lint_config(write(tmp_path_factory.getbasetemp(), text), p=p, b=b)
    expected = (
        "error" if lam >= dies and lam > 1 else "warning" if rule.leaves(p, b) < lam < dies < math.inf else "note"
    )
    assert {f.severity for f in findings} == {expected}


def test_the_common_default_is_noted_without_measurements(tmp_path: Path) -> None:
    found = of_lambda(lint(tmp_path, f"run {READY} {LAMBDA}=1.25"))
    assert found.severity == "note"
    tail = float(re.findall(r"1−p below (\S+);", found.message)[0])
    assert threshold(1 - tail * 1.02, 0.5, 5.0) > 1.25 > threshold(1 - tail * 0.98, 0.5, 5.0)
    assert "the common default" in found.message
    assert "lambda-star calibrate" in found.message
    assert "below 1.1e-16" in of_lambda(lint(tmp_path, f"run {READY} {LAMBDA}=1.001")).message


def test_without_measurements_a_rule_with_a_cliff_names_the_tails_that_die(tmp_path: Path) -> None:
    text = f"run {LOSS}loss_mode=k1 {LOSS}use_policy_gradient=True {LOSS}loss_max_clamp=1.5 {LOSS}lambda_vals=1.25"
    (found,) = lint(tmp_path, text)
    tail = float(re.findall(r"1−p below (\S+);", found.message)[0])
    rule = updates.log_ratio_clamp(1.5)
    assert rule.dies(1 - tail * 1.05, 0.5) > 1.25 > rule.dies(1 - tail * 0.95, 0.5)
    assert (found.severity, "kills the tail" in found.message) == ("note", True)


@pytest.mark.parametrize("lam", ["1", "1.0", "0.5", "-1"])
def test_nothing_is_extrapolated_up_to_one(tmp_path: Path, lam: str) -> None:
    found = of_lambda(lint(tmp_path, f"run {READY} {LAMBDA}={lam}", p=0.9, b=0.5, clip=1.0))
    assert (found.severity, "does not extrapolate" in found.message) == ("note", True)


def test_g_opd_without_a_lambda_extrapolates_nothing(tmp_path: Path) -> None:
    (found,) = lint(tmp_path, f"run {READY}")
    assert (found.severity, found.key, "λ is 1 and nothing is extrapolated" in found.message) == ("note", SWITCH, True)
    assert lint(tmp_path, f"run {SWITCH}=False")[0].key is None


# λ that is ignored, or is another number


@pytest.mark.parametrize("missing", [key for key, _ in NEEDS])
@pytest.mark.parametrize("value", [None, "", "null", "False"])
def test_what_g_opd_needs_is_named(tmp_path: Path, missing: str, value: str | None) -> None:
    others = " ".join(f"+{key}=True" for key, _ in NEEDS if key != missing)
    found = lint(tmp_path, f"run {others} {LAMBDA}=1.25" + (f" {missing}={value}" if value is not None else ""))
    assert places(found) == [("warning", 1, "lambda_vals"), ("note", 1, "lambda_vals")]
    assert f" {missing} to " in found[0].message
    assert not [key for key, _ in NEEDS if key != missing and f" {key} to " in found[0].message]


def test_a_lambda_of_one_needs_nothing(tmp_path: Path) -> None:
    assert places(lint(tmp_path, f"run {LAMBDA}=1.0")) == [("note", 1, "lambda_vals")]


def test_several_teachers_share_one_lambda(tmp_path: Path) -> None:
    text = f"run {READY} {LAMBDA}=1.5 \\\n actor_rollout_ref.actor.policy_loss.multi_teacher_distill="
    assert places(lint(tmp_path, text + "true"))[1:] == [("note", 2, "multi_teacher_distill")]
    assert places(lint(tmp_path, text + "false"))[1:] == []


def test_lmbda_is_another_number(tmp_path: Path) -> None:
    (found,) = lint(tmp_path, "teacher_model_name_or_path: big\nlmbda: 0.5\n", "gkd.yaml")
    assert (found.severity, found.line) == ("note", 2)
    assert "share of on-policy samples, not λ" in found.message
    assert "ExtrapolatedTeacher" in found.message
    (found,) = lint(tmp_path, "lmbda: 1.25\n", "gkd.yaml")
    assert (found.severity, "TRL refuses lmbda = 1.25 outside [0, 1]" in found.message) == ("error", True)


def test_trl_distillation_without_lmbda_has_no_lambda(tmp_path: Path) -> None:
    (found,) = lint(tmp_path, "teacher_model_name_or_path: big\nbeta: 1.0\n", "distillation.yaml")
    assert (found.severity, found.line, "has no λ" in found.message) == ("note", 1, True)


def test_the_trl_names_are_those_of_trl() -> None:
    spec = find_spec("trl")
    if spec is None or spec.origin is None:
        pytest.skip("TRL is not installed")
    # The sources, since importing TRL takes seconds.
    gkd, distillation, grpo = (
        Path(spec.origin).parent.joinpath(folder, f"{name}_config.py").read_text(encoding="utf-8")
        for folder, name in (("experimental/gkd", "gkd"), ("trainer", "distillation"), ("trainer", "grpo"))
    )
    assert "    lmbda: float = field(" in gkd
    assert "self.lmbda < 0.0 or self.lmbda > 1.0" in gkd
    assert "    teacher_model_name_or_path: " in distillation
    assert "lmbda" not in distillation
    for name in ("vllm_importance_sampling_clip_max", "vllm_importance_sampling_cap", "epsilon_high", "delta"):
        assert f"    {name}: float | None = field(" in grpo
        assert any(re.fullmatch(bound.pattern, name) for bound in BOUNDS)


# Clips of other ratios


@pytest.mark.parametrize(
    ("key", "ratio"),
    [
        (CAP, "rollout engine"),
        ("algorithm.rollout_is_threshold", "rollout engine"),
        ("algorithm.rollout_correction.rollout_rs_threshold", "rollout engine"),
        ("algorithm.rollout_correction.rollout_token_veto_threshold", "rollout engine"),
        ("actor_rollout_ref.actor.tis_imp_ratio_cap", "rollout engine"),
        ("vllm_importance_sampling_clip_max", "rollout engine"),
        ("vllm_importance_sampling_clip_min", "rollout engine"),
        ("actor_rollout_ref.actor.clip_ratio", "ε"),
        ("actor_rollout_ref.actor.clip_ratio_low", "ε"),
        ("actor_rollout_ref.actor.clip_ratio_high", "ε"),
        ("actor_rollout_ref.actor.clip_ratio_c", "before the update"),
        ("actor_rollout_ref.actor.policy_loss.clip_cov_ub", "covariance"),
        ("epsilon", "ε"),
        ("delta", "before the update"),
        ("distillation_is_clip", "before the update"),
    ],
)
def test_a_clip_of_another_ratio_is_named(tmp_path: Path, key: str, ratio: str) -> None:
    (found,) = lint(tmp_path, f"x: 1\n{key}: 2.5\n", "config.yaml")
    assert (found.severity, found.line, found.key) == ("note", 2, key)
    assert f"{key} = 2.5" in found.message
    assert ratio in found.message
    assert "(1−p)/(1−q)" in found.message
    assert lint(tmp_path, f"{key}: null\n", "config.yaml")[0].key is None


def test_the_table_of_clips_can_be_extended(tmp_path: Path) -> None:
    own = Bound(r"my\.clip", "our trainer", "teacher over student", resembles_c=True)
    path = write(tmp_path, f"my: {{clip: 3}}\n{LAMBDA}: 9\n", "config.yaml")
    found = lint_config(path, p=0.9, b=0.5, bounds=(*BOUNDS, own))
    assert any(f.key == "my.clip" and "our trainer" in f.message and "which is c" in f.message for f in found)
    assert "log_ratio_cap(c=3)" in of_lambda(found).message


@pytest.mark.parametrize("key", ["optim.epsilon", "data.delta", "clip_ratio_x", "lambda_vals_x", "gae_lambda", "lam"])
def test_similar_keys_are_left_alone(tmp_path: Path, key: str) -> None:
    assert lint(tmp_path, f"{key}: 1.25\n", "config.yaml")[0].key is None


BOMB = "a0: &a0 [1, 2, 3, 4, 5, 6, 7, 8, 9]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 12)
)
"""A few lines that stand for a billion settings."""

# Nothing found, and files that cannot be used


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.yaml", ""), ("a.yaml", "x: 1\n"), ("a.json", "{}"), ("a.sh", ""), ("a.sh", "# x\necho a")],
)
def test_a_file_without_a_known_key_is_a_note(tmp_path: Path, name: str, text: str) -> None:
    (found,) = lint(tmp_path, text, name)
    assert (found.severity, found.line, found.key) == ("note", None, None)
    assert found.message.startswith("the file sets nothing about extrapolation")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.yaml", "a: 1\nb: [1, 2\nc: 3\n", r", line 3: broken YAML \(.+\); correct it"),
        ("a.yaml", "a: 1\n\tb: 2\n", ", line 2: broken YAML"),
        ("a.yaml", "a: 1\n---\nb: 2\n", ", line 2: broken YAML"),
        ("a.yaml", "a: \x01", ": broken YAML"),
        ("a.yaml", "\n- 1\n", ", line 2: the file is not a mapping of keys to values"),
        ("a.yaml", "a: &a\n  b: *a\n", ": the nesting is too deep, or an alias holds itself"),
        ("a.json", '{\n"a": 1,\n}', r", line \d: broken JSON \(.+ at column \d\); correct it"),
        ("a.json", "[1]", ", line 1: the file is not a mapping"),
        ("a.json", "[" * 50_000, ": the nesting is too deep"),
        ("a.sh", "x=1\nrun a.b='c\nd\n", ", line 2: No closing quotation in what opens here; close it"),
        ("a.toml", "a = 1\nb = \n", r", line 2: broken TOML \(.+\); correct it"),
        ("a.toml", "a = " + "[" * 50_000, ": the nesting is too deep"),
        ("a.ini", "a = 1", ": cannot read a .ini file; give one of .yaml, .yml, .json, .toml, .sh"),
        ("a", "a: 1", ": cannot read a file without a suffix"),
        ("a.py", "x = 1\ny = (\n", r", line 2: broken Python \(.+\); correct it"),
        ("a.py", "\0", r": broken Python \(.+\); correct it"),
        ("a.py", "x = " + "-" * 90_000 + "1", r": broken Python \(nested too deep\); correct it"),
        ("a.yaml", "a: 1\n" * 200_000, ": the file is larger than 100,000 bytes"),
        ("a.yaml", BOMB, ": more than 10,000 settings"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_its_line(tmp_path: Path, name: str, text: str, said: str) -> None:
    path = write(tmp_path, text, name)
    with pytest.raises(ValueError, match=rf"^{re.escape(str(path))}{said}"):
        lint_config(path)


def test_missing_files_and_other_encodings_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.yaml: No such file or directory; check the path"):
        lint_config(tmp_path / "none.yaml")
    (tmp_path / "latin.sh").write_bytes(b"a=\xe9")
    with pytest.raises(ValueError, match=r"latin\.sh: the file is not UTF-8 text"):
        lint_config(str(tmp_path / "latin.sh"))


def test_line_ends_and_byte_order_marks_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "run.sh"
    path.write_bytes(b"\xef\xbb\xbf" + SCRIPT.replace("\n", "\r\n").encode())
    assert lint_config(path) == lint(tmp_path, SCRIPT, "other.sh")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"p": 0.9}, "p and b belong together"),
        ({"b": 0.9}, "p and b belong together"),
        ({"p": 1.5, "b": 0.5}, "^p must lie in"),
        ({"p": 0.9, "b": 0.0}, "^b must lie in"),
        ({"clip": 0.5}, "^clip must lie in"),
        ({"p": math.nan, "b": 0.5}, "^p must lie in .*, got nan"),
    ],
)
def test_arguments_outside_their_range_are_named(tmp_path: Path, values: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        lint(tmp_path, "", p=values.get("p"), b=values.get("b"), clip=values.get("clip"))


def test_findings_come_worst_first_then_by_line(tmp_path: Path) -> None:
    text = f"run {CAP}=5 \\\n {LAMBDA}=$L \\\n {LAMBDA}=1.0 \\\n {LAMBDA}=3 \\\n epsilon=0.2 {LOSS}loss_mode=k1"
    found = lint(tmp_path, text, p=0.99, b=0.5, clip=5.0)
    assert [(f.severity, f.line) for f in found] == [
        ("error", 5),
        ("unknown", 2),
        ("warning", 4),
        ("note", 1),
        ("note", 3),
        ("note", 5),
    ]
