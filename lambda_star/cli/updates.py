"""The command ``updates``."""

from __future__ import annotations

from collections.abc import Callable

import click

from lambda_star._core.quantities import LAM, B, P
from lambda_star.cli._output import RULE_HELP, as_failure, print_table, quantity_option
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
The student leaves q_λ, the fixed point without bounds, at the first λ, and its tail dies at the second. "+inf" means
never: in the mean, without the noise of sampled tokens. "As a clip" is the c of the log-ratio cap that would kill the
tail at the same λ. Where nothing dies, λ* still says from which λ on the student's tail is more than c times thinner
than the teacher's."""


@click.command(short_help="Print what each update rule does to the tail.")
@quantity_option(P, default=0.999)
@quantity_option(B, default=0.5)
@quantity_option(
    LAM._replace(low=1.0, ends="[)"), help="A lambda; adds the ratio of teacher's to student's tail there."
)
@click.option("--rule", "texts", multiple=True, help=RULE_HELP)
def updates(p: float, b: float, lam: float | None, texts: tuple[str, ...]) -> None:
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

    columns: dict[str, Callable[[tuple[str, Rule]], float | str]] = {
        "update rule": lambda one: _label(*one),
        "leaves q_λ": lambda one: one[1].leaves(p, b),
        "tail dies": lambda one: one[1].dies(p, b),
        "as a clip": lambda one: one[1].equivalent_clip(p, b),
    }
    if lam is not None:
        columns[f"tail ratio at {lam:g}"] = lambda one: _tail_ratio(one[1], p, b, lam)
    columns["what it bounds"] = lambda one: one[1].summary
    with as_failure(ValueError):
        rules = [(text, rule_of(text)) for text in texts or MAP]
        print_table(f"p = {p:g}, b = {b:g}", rules, columns, prose="what it bounds")
    click.echo(NOTE)


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
