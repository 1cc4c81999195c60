"""The commands ``threshold`` and ``plot``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import click

from lambda_star._core.quantities import LAM, MARGIN, B, C, P, Quantity
from lambda_star.cli._output import CLIP_NOTE, FILE, OPEN_CLIP, as_failure, print_table, quantity_option, write
from lambda_star.dynamics import Flow

__all__ = ["plot", "threshold"]

UNTIL = Quantity("until", 0.0, float("inf"))
FLOWS = click.Choice(get_args(Flow))
FLOW_HELP = "budget, trajectory: natural gradient, or plain policy gradient on the logit."


@click.command(epilog=CLIP_NOTE, short_help="Print lambda* of one output position.")
@quantity_option(P, required=True)
@quantity_option(B, required=True)
@quantity_option(C, "--clip", required=True)
@quantity_option(LAM, help="A lambda to judge.")
@quantity_option(MARGIN, default=0.1, help="Share of lambda*-1 that the operating point gives up.")
def threshold(p: float, b: float, clip: float, lam: float | None, margin: float) -> None:
    """Print lambda* of one output position, where its modal token competes with the tail, all other tokens.

    \b
    Example: a near-deterministic token under the paper's clip, and the common default of 1.25:
      lambda-star threshold --p 0.99933697778 --b 0.5 --clip 5 --lam 1.25
    """  # noqa: D301 (click wants the character \b)
    import lambda_star as ls

    with as_failure(ValueError):
        rows: list[tuple[str, float | str, str]] = [
            ("λ*", ls.threshold(p, b, clip), "largest λ that keeps the tail"),
            ("λ_c", ls.collapse_point(p, b, clip), "collapse point of a clipped student"),
            ("λ_c − λ*", ls.bernoulli.cliff_width(p, b, clip), "width of the cliff"),
            ("λ_op", ls.operating_point(p, b, clip, margin), f"operating point, margin {margin:g}"),
            ("flip", ls.flip_point(p, b), "λ past which the modal token loses its majority"),
            ("two-sided", ls.bernoulli.two_sided_threshold(p, b, clip), "largest λ safe for modal token and tail"),
        ]
        if lam is not None:
            rows += [
                (f"R({lam:g})", ls.tail_ratio(p, b, lam), "teacher tail over student tail"),
                ("regime", ls.regime(p, b, clip, lam).name.lower(), f"at λ = {lam:g}"),
                ("safe", "yes" if ls.is_clip_safe(p, b, clip, lam) else "no", f"R({lam:g}) ≤ {clip:g}"),
            ]
    print_table(f"p = {p:g}, b = {b:g}, c = {clip:g}", rows)


@click.command(epilog=CLIP_NOTE, short_help="Draw one position: regimes, budget, trajectory.")
@click.argument("picture", type=click.Choice(["regimes", "budget", "trajectory"]))
@quantity_option(P, required=True)
@quantity_option(B, required=True, help="The base's probability of the same token, below p.")
@quantity_option(OPEN_CLIP, "--clip", "c", required=True)
@quantity_option(LAM, "--lam", "lams", multiple=True, help="trajectory: a lambda to draw; repeat for more.")
@click.option("--flow", type=FLOWS, default="natural", help=FLOW_HELP)
@quantity_option(UNTIL, help="trajectory: the last time.")
@click.option("--out", type=FILE, required=True, help="The picture (.png, .pdf or .svg).")
def plot(picture: str, lams: Sequence[float], flow: Flow, until: float | None, out: Path, **pair: Any) -> None:
    """Draw PICTURE of one position with two outcomes, trained with the clip on the log-ratio inside the advantage.

    \b
    regimes     the tail mass that training ends at, over lambda, with the clip and without
    budget      the tail mass over training budget and lambda, and the budget threshold
    trajectory  the tail mass over time for some lambda

    \b
    Examples:
      lambda-star plot regimes --p 0.9 --b 0.5 --clip 2 --out regimes.png
      lambda-star plot trajectory --p 0.99 --b 0.9 --clip 5 --lam 1.67 --lam 1.68 --out fall.png
    """  # noqa: D301 (click wants the character \b)
    from lambda_star import plotting

    with as_failure(ValueError):
        if picture == "trajectory" and not lams:
            raise ValueError("trajectory needs a lambda; give --lam, once or more")
        if picture != "trajectory" and (lams or until is not None):
            raise ValueError(f"--lam and --until belong to trajectory; leave them out for {picture}")
        if picture == "regimes":
            ax = plotting.plot_regimes(**pair)
        elif picture == "budget":
            ax = plotting.plot_budget(**pair, flow=flow)
        else:
            ax = plotting.plot_trajectory(**pair, lams=lams, flow=flow, until=until)
    write(out, ax.figure)
