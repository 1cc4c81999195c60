"""The command ``updates``."""

from __future__ import annotations

from collections.abc import Callable

import click

from lambda_star._core.quantities import LAM, B, P
from lambda_star.cli._output import as_failure, print_table, quantity_option, rule_option
from lambda_star.updates import Rule, parse

__all__ = ["updates"]

MAP = (
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
"""The rules that are shown where none is asked for, with the values that codes and papers use."""

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
@rule_option(multiple=True)
def updates(p: float, b: float, lam: float | None, rule: tuple[Rule, ...]) -> None:
    """Print the map of update rules: at which lambda the student departs, and at which its tail dies.

    Whether anything happens at lambda* depends on what a trainer's update bounds. RULE is the name of a training code
    (trl, gopd, verl:loss_max_clamp=5, ...) or of a rule with its value (log_ratio_cap:5, top_k:8, ...); without it all
    rules are shown, with common values.

    \b
    Examples:
      lambda-star updates --p 0.999 --b 0.5
      lambda-star updates --p 0.999 --b 0.5 --rule trl --rule verl:loss_max_clamp=5 --lam 1.25
    """  # noqa: D301 (click wants the character \b)
    rules = rule or tuple(map(parse, MAP))
    columns: dict[str, Callable[[Rule], float | str]] = {
        "update rule": str,
        "leaves q_λ": lambda one: one.leaves(p, b),
        "tail dies": lambda one: one.dies(p, b),
        "as a clip": lambda one: one.equivalent_clip(p, b),
    }
    if lam is not None:
        columns[f"tail ratio at {lam:g}"] = lambda one: _tail_ratio(one, p, b, lam)
    columns["what it bounds"] = lambda one: one.summary
    with as_failure(ValueError):
        print_table(f"p = {p:g}, b = {b:g}", rules, columns, prose="what it bounds")
    click.echo(NOTE)


def _tail_ratio(rule: Rule, p: float, b: float, lam: float) -> float:
    """(1−p)/(1−q), +inf where the tail is dead."""
    tail = 1 - rule.student(p, b, lam)
    return (1 - p) / tail if tail else float("inf")
