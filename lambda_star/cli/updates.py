"""The command ``updates``."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from lambda_star._core.quantities import LAM, B, C, P, require
from lambda_star.bernoulli import threshold
from lambda_star.cli._output import RULE_HELP, as_failure, json_option, print_table, quantity_option, write_json
from lambda_star.updates import Rule, parse

__all__ = ["updates"]

MAP = (
    "trl",
    "gopd",
    "slime",
    "verl:teacher=extrapolated",
    "verl",
    "rllm",
    "none",
    "importance_weight:5",
    "ppo:0.2",
    "teacher_weight:5",
    "teacher_weight:5,centred=false",
    "log_ratio_clamp:10,teacher=extrapolated",
    "reward_clip:5",
    "advantage_clamp:1",
    "advantage_clamp:1,centred=true",
    "log_ratio_cap:5",
    "log_ratio_cap:5,through=true",
    "log_ratio_clamp:10",
    "log_prob_floor:10",
    "kl_to_base_cap:5",
    "top_k:1",
    "top_k:1,through=true",
    "truncated_sampling:top_p=0.95",
)
"""What is shown where nothing is asked for: some training codes, and all rules with values that are in use."""

NOTE = """\
The student leaves q_λ, the fixed point without bounds, at the first λ, and its tail dies at the second; "never" means
in the mean, without the noise of sampled tokens. "As a clip" is the c of the log-ratio cap that would kill the tail at
the same λ; below 1 the tail dies earlier than under any cap. Where nothing dies, λ* still says from which λ on the
student's tail is more than c times thinner than the teacher's."""

BEHIND = """\
Here p < b: extrapolation thickens the tail and thins the modal token, so the λ at which a student leaves q_λ is one at
which the modal token is bounded, and no tail dies."""

SETS = """\
"K tokens" stands where p and b of one token cannot show what a rule does: tokens outside its set lose their mass, and
the sum of the others says when. In Python, rule.dies(log_t, log_b) takes rows of log-probabilities."""


@click.command(short_help="Print what each update rule does to the tail.")
@quantity_option(P, default=0.999)
@quantity_option(B, default=0.5)
@quantity_option(
    LAM._replace(low=1.0, ends="[)"), help="A lambda; adds the ratio of teacher's to student's tail there."
)
@quantity_option(C, "--clip", default=5, help="The clip of the lambda* in the title; a tolerance.")
@click.option("--rule", "texts", multiple=True, help=RULE_HELP)
@json_option()
def updates(p: float, b: float, lam: float | None, clip: float, texts: tuple[str, ...], json_path: Path | None) -> None:
    """Print the map of update rules: at which lambda the student departs, and at which its tail dies.

    Whether anything happens at lambda* depends on what a trainer's update bounds. RULE is the name of a training code
    (trl, gopd, verl:loss_max_clamp=5, ...) or of a rule with its value (log_ratio_cap:5, top_k:8, ...); without it all
    rules are shown, with common values.

    \b
    Examples:
      lambda-star updates --p 0.999 --b 0.5
      lambda-star updates --p 0.999 --b 0.5 --rule trl --rule verl:loss_max_clamp=5 --lam 1.25
    """  # noqa: D301 (click wants the character \b)
    from lambda_star.lint import rule_of
    from lambda_star.lint.codes import CODES

    columns: dict[str, Callable[[tuple[str, Rule]], float | str]] = {
        "update rule": lambda one: _label(*one),
        "leaves q_λ": lambda one: _seen(one[1], one[1].leaves(p, b)),
        "tail dies": lambda one: _seen(one[1], one[1].dies(p, b)),
        "as a clip": lambda one: _seen(one[1], one[1].equivalent_clip(p, b), "none"),
    }
    if lam is not None:
        columns[f"tail ratio at {lam:g}"] = lambda one: _tail_ratio(one[1], p, b, lam)
    columns["what it bounds"] = lambda one: one[1].summary
    with as_failure(ValueError):
        rules = [(text, rule_of(text)) for text in texts or MAP]
        require((LAM, lam))
        star = threshold(p, b, clip)
        title = f"p = {p:g}, b = {b:g}: λ* = {star:.6g} at c = {clip:g}"
        print_table(title, rules, columns, prose="what it bounds")
    click.echo(NOTE)
    if p < b:
        click.echo(BEHIND)
    if any(rule.needs_rows for _, rule in rules):
        click.echo(SETS)
    click.echo(f"Training codes that --rule knows: {', '.join(CODES)}.")
    found = [_facts(text, rule, p, b, lam) for text, rule in rules]
    write_json(json_path, "updates", {"p": p, "b": b, "clip": clip, "lam": lam, "threshold": star, "rules": found})


def _facts(text: str, rule: Rule, p: float, b: float, lam: float | None) -> dict[str, Any]:
    """The row of a rule; null for what p and b of one token cannot show."""
    numbers = {"leaves": rule.leaves(p, b), "dies": rule.dies(p, b), "clip": rule.equivalent_clip(p, b)}
    if rule.needs_rows:
        numbers = dict.fromkeys(numbers)
    ratio = None if lam is None or rule.needs_rows else _tail_ratio(rule, p, b, lam)
    return {"asked": text, "rule": str(rule), **numbers, "tail_ratio": ratio, "summary": rule.summary}


def _seen(rule: Rule, value: float, infinite: str = "never") -> float | str:
    """The value, or what it would take to know it."""
    return "K tokens" if rule.needs_rows else infinite if value == math.inf else value


def _label(text: str, rule: Rule) -> str:
    """The rule, behind the name of the training code if it was asked for by one."""
    try:
        return str(parse(text))
    except ValueError:
        return f"{text} → {rule}"


def _tail_ratio(rule: Rule, p: float, b: float, lam: float) -> float:
    """(1−p)/(1−q), +inf where the tail is dead."""
    tail = 1 - rule.student(p, b, lam)
    return (1 - p) / tail if tail else float("inf")
