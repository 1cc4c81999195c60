"""The commands ``threshold`` and ``plot``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lambda_star._core.quantities import LAM, MARGIN, B, C, P, Quantity
from lambda_star.cli._output import (
    CLIP_NOTE,
    NEW_FILE,
    OPEN_CLIP,
    Failure,
    as_failure,
    number,
    print_table,
    quantity_option,
    write_figure,
)

if TYPE_CHECKING:
    from lambda_star.dynamics import Flow

__all__ = ["plot", "threshold"]

UNTIL = Quantity("until", 0.0, float("inf"))


@click.command(epilog=CLIP_NOTE, short_help="Lambda* of one output position.")
@quantity_option(P, required=True)
@quantity_option(B, required=True)
@quantity_option(C, "--clip", required=True)
@quantity_option(LAM, help="A lambda to judge.")
@quantity_option(MARGIN, default=0.1, show_default=True, help="Share of lambda*-1 that the operating point gives up.")
def threshold(p: float, b: float, clip: float, lam: float | None, margin: float) -> None:
    """Print lambda* of one output position, where its modal token competes with the tail, all other tokens.

    \b
    Example: a near-deterministic token under the paper's clip, and the common default of 1.25:
      lambda-star threshold --p 0.99933697778 --b 0.5 --clip 5 --lam 1.25
    """  # noqa: D301 (click wants the character \b)
    import lambda_star as ls

    with as_failure(ValueError):
        rows: list[tuple[str, str, float | str]] = [
            ("λ*", "largest λ that keeps the tail", ls.threshold(p, b, clip)),
            ("λ_c", "collapse point of a clipped student", ls.collapse_point(p, b, clip)),
            ("λ_c − λ*", "width of the cliff", ls.bernoulli.cliff_width(p, b, clip)),
            ("λ_op", f"operating point, margin {margin:g}", ls.operating_point(p, b, clip, margin)),
            ("flip", "λ past which the modal token loses its majority", ls.flip_point(p, b)),
            ("two-sided", "largest λ safe for modal token and tail", ls.bernoulli.two_sided_threshold(p, b, clip)),
        ]
        if lam is not None:
            rows += [
                (f"R({lam:g})", "teacher tail over student tail", ls.tail_ratio(p, b, lam)),
                ("regime", f"at λ = {lam:g}", ls.regime(p, b, clip, lam).name.lower()),
                ("safe", f"R({lam:g}) ≤ {clip:g}", "yes" if ls.is_clip_safe(p, b, clip, lam) else "no"),
            ]
    print_table(f"p = {p:g}, b = {b:g}, c = {clip:g}", ("", "", ""), [(a, number(v), t) for a, t, v in rows])


@click.command(epilog=CLIP_NOTE, short_help="Pictures of one position: regimes, budget, trajectory.")
@click.argument("picture", type=click.Choice(["regimes", "budget", "trajectory"]))
@quantity_option(P, required=True)
@quantity_option(B, required=True, help="The base's probability of the same token, below p.")
@quantity_option(OPEN_CLIP, "--clip", required=True)
@quantity_option(LAM, "--lam", "lams", multiple=True, help="trajectory: a lambda to draw; repeat for more.")
@click.option(
    "--flow",
    type=click.Choice(["natural", "policy-gradient"]),
    default="natural",
    show_default=True,
    help="budget, trajectory: natural gradient, or plain policy gradient on the logit.",
)
@quantity_option(UNTIL, help="trajectory: the last time.")
@click.option("--out", type=NEW_FILE, required=True, help="The picture (.png, .pdf or .svg).")
def plot(
    picture: str,
    p: float,
    b: float,
    clip: float,
    lams: tuple[float, ...],
    flow: Flow,
    until: float | None,
    out: Path,
) -> None:
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

    if picture == "trajectory" and not lams:
        raise Failure("trajectory needs a lambda; give --lam, once or more")
    if picture != "trajectory" and (lams or until is not None):
        raise Failure(f"--lam and --until belong to trajectory; leave them out for {picture}")
    with as_failure(ValueError):
        if picture == "regimes":
            ax = plotting.plot_regimes(p, b, clip)
        elif picture == "budget":
            ax = plotting.plot_budget(p, b, clip, flow=flow)
        else:
            ax = plotting.plot_trajectory(p, b, clip, lams, flow=flow, until=until)
    figure: Any = ax.figure
    write_figure(out, figure)
