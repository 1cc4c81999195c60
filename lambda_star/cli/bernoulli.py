"""The commands ``threshold`` and ``plot``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import click

from lambda_star._core.quantities import LAM, MARGIN, B, C, P, Quantity
from lambda_star.cli._output import (
    CLIP_NOTE,
    OPEN_CLIP,
    as_failure,
    json_option,
    output_option,
    print_table,
    quantity_option,
    rule_option,
    write,
    write_json,
)
from lambda_star.dynamics import Flow
from lambda_star.updates import Rule

__all__ = ["plot", "threshold"]

UNTIL = Quantity("until", 0.0, float("inf"))
FLOWS = click.Choice(get_args(Flow))
LAM_HELP = "trajectory: a lambda to draw; repeat for more. updates: the lambda of the forces."
FLOW_HELP = "budget, trajectory: natural gradient, or plain policy gradient on the logit."


@click.command(epilog=CLIP_NOTE, short_help="Print lambda* of one output position.")
@quantity_option(P, required=True)
@quantity_option(B, required=True)
@quantity_option(C, "--clip", required=True)
@quantity_option(LAM, help="A lambda to judge.")
@quantity_option(MARGIN, default=0.1, help="Share of lambda*-1 that the operating point gives up.")
@json_option()
def threshold(p: float, b: float, clip: float, lam: float | None, margin: float, json_path: Path | None) -> None:
    """Print lambda* of one output position, where its modal token competes with the tail, all other tokens.

    \b
    Example: a near-deterministic token under the paper's clip, and the common default of 1.25:
      lambda-star threshold --p 0.99933697778 --b 0.5 --clip 5 --lam 1.25
    """  # noqa: D301 (click wants the character \b)
    import lambda_star as ls

    with as_failure(ValueError):
        rows: list[tuple[str, str, Any, str]] = [
            ("threshold", "λ*", ls.threshold(p, b, clip), "largest λ that keeps the tail"),
            ("collapse_point", "λ_c", ls.collapse_point(p, b, clip), "collapse point of a clipped student"),
            ("cliff_width", "λ_c − λ*", ls.bernoulli.cliff_width(p, b, clip), "width of the cliff"),
            ("operating_point", "λ_op", ls.operating_point(p, b, clip, margin), f"operating point, margin {margin:g}"),
            ("flip_point", "flip", ls.flip_point(p, b), "λ past which the modal token loses its majority"),
            (
                "two_sided_threshold",
                "two-sided",
                ls.bernoulli.two_sided_threshold(p, b, clip),
                "largest λ safe for modal token and tail",
            ),
        ]
        if lam is not None:
            safe = "yes" if ls.is_clip_safe(p, b, clip, lam) else "no"
            rows += [
                ("tail_ratio", f"R({lam:g})", ls.tail_ratio(p, b, lam), "teacher tail over student tail"),
                ("regime", "regime", ls.regime(p, b, clip, lam).name.lower(), f"at λ = {lam:g}"),
                ("within_clip", "safe", safe, f"R({lam:g}) ≤ {clip:g}"),
            ]
    print_table(f"p = {p:g}, b = {b:g}, c = {clip:g}", [row[1:] for row in rows])
    asked = {"p": p, "b": b, "clip": clip, "margin": margin, "lam": lam}
    write_json(json_path, "threshold", asked | {key: value for key, _, value, _ in rows})


@click.command(epilog=CLIP_NOTE, short_help="Draw one position: regimes, budget, trajectory, updates.")
@click.argument("picture", type=click.Choice(["regimes", "budget", "trajectory", "updates"]))
@quantity_option(P, required=True)
@quantity_option(B, required=True, help="The base's probability of the same token, below p.")
@quantity_option(OPEN_CLIP, "--clip", "c", help="All but updates: the cap on the tail ratio (1-p)/(1-q).")
@quantity_option(LAM, "--lam", "lams", multiple=True, help=LAM_HELP)
@rule_option(multiple=True, help="updates: a rule or a training code, as for `lambda-star updates`; repeat for more.")
@click.option("--flow", type=FLOWS, default="natural", help=FLOW_HELP)
@quantity_option(UNTIL, help="trajectory: the last time.")
@output_option("--out", kind="picture", required=True, help="The picture (.png, .pdf or .svg).")
def plot(picture: str, out: Path, **options: Any) -> None:
    """Draw PICTURE of one position with two outcomes, in training to convergence or over time.

    \b
    regimes     the tail mass that training ends at, over lambda, with the clip and without
    budget      the tail mass over training budget and lambda, and the budget threshold
    trajectory  the tail mass over time for some lambda
    updates     the tail mass that training ends at, over lambda, for several update rules,
                and the forces that decide whether the tail dies

    The first three hold for training with the clip on the log-ratio inside the advantage.

    \b
    Examples:
      lambda-star plot regimes --p 0.9 --b 0.5 --clip 2 --out regimes.png
      lambda-star plot trajectory --p 0.99 --b 0.9 --clip 5 --lam 1.67 --lam 1.68 --out fall.png
      lambda-star plot updates --p 0.999 --b 0.5 --rule trl --rule log_ratio_cap:5 --out updates.png
    """  # noqa: D301 (click wants the character \b)
    with as_failure(ValueError):
        figure = (_of_rules if picture == "updates" else _of_clip)(picture, **options)
    write(out, figure)


def _of_rules(
    picture: str, c: float | None, lams: Sequence[float], rule: tuple[Rule, ...], until: float | None, **options: Any
) -> Any:
    from lambda_star import plotting

    if c is not None:
        raise ValueError("updates takes no --clip; give a rule with its value, such as --rule log_ratio_cap:5")
    if len(lams) > 1 or until is not None:
        raise ValueError("updates draws the forces at one lambda and no time; give --lam once, and leave --until out")
    return plotting.plot_updates(options["p"], options["b"], lams[0] if lams else None, rule or None)


def _of_clip(
    picture: str, lams: Sequence[float], rule: tuple[Rule, ...], flow: Flow, until: float | None, **pair: Any
) -> Any:
    from lambda_star import plotting

    if pair["c"] is None:
        raise click.MissingParameter(param_hint="'--clip'", param_type="option", ctx=click.get_current_context())
    if rule:
        raise ValueError(f"--rule belongs to updates; leave it out for {picture}")
    if picture == "trajectory":
        if not lams:
            raise ValueError("trajectory needs a lambda; give --lam, once or more")
        return plotting.plot_trajectory(**pair, lams=lams, flow=flow, until=until).figure
    if lams or until is not None:
        raise ValueError(f"--lam and --until belong to trajectory; leave them out for {picture}")
    if picture == "regimes":
        return plotting.plot_regimes(**pair).figure
    return plotting.plot_budget(**pair, flow=flow).figure
