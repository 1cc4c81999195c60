"""The commands ``threshold`` and ``plot``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lambda_star.cli._output import CLIP_HELP, CLIP_NOTE, PROBABILITY, SHARE, Failure, number, print_table, write

if TYPE_CHECKING:
    from lambda_star.dynamics import Flow

__all__ = ["plot", "threshold"]


@click.command(epilog=CLIP_NOTE, short_help="Lambda* of one output position.")
@click.option("--p", type=PROBABILITY, required=True, help="The teacher's modal probability, in (0, 1).")
@click.option(
    "--b", type=PROBABILITY, required=True, help="The base's (warm start's) probability of that token, in (0, 1)."
)
@click.option("--clip", type=click.FloatRange(min=1), required=True, help=CLIP_HELP)
@click.option("--lam", type=float, help="A lambda to judge.")
@click.option("--margin", type=SHARE, default=0.1, show_default=True, help="Share of lambda*-1 to stay away from it.")
def threshold(p: float, b: float, clip: float, lam: float | None, margin: float) -> None:
    """Lambda* of one output position: the modal token against everything else.

    \b
    Example: a near-deterministic token under the paper's clip, and the common default of 1.25:
      lambda-star threshold --p 0.99933697778 --b 0.5 --clip 5 --lam 1.25
    """  # noqa: D301 (click wants the character \b)
    import lambda_star as ls

    try:
        rows: list[tuple[str, str, float | str]] = [
            ("λ*", "largest λ that keeps the tail", ls.threshold(p, b, clip)),
            ("λ_c", "collapse point of a clipped student", ls.collapse_point(p, b, clip)),
            ("λ_c − λ*", "width of the cliff", ls.cliff_width(p, b, clip)),
            ("λ_op", f"operating point, margin {margin:g}", ls.operating_point(p, b, clip, margin)),
            ("flip", "λ past which the modal token loses its majority", ls.flip_point(p, b)),
            ("two-sided", "largest λ safe for modal token and tail", ls.two_sided_threshold(p, b, clip)),
        ]
        if lam is not None:
            rows += [
                (f"R({lam:g})", "teacher tail over student tail", ls.tail_ratio(p, b, lam)),
                ("regime", f"at λ = {lam:g}", ls.regime(p, b, clip, lam).name.lower()),
                ("safe", f"R({lam:g}) ≤ {clip:g}", "yes" if ls.is_clip_safe(p, b, clip, lam) else "no"),
            ]
    except ValueError as error:
        raise Failure(str(error)) from error
    print_table(f"p = {p:g}, b = {b:g}, c = {clip:g}", ("", "", ""), [(a, number(v), t) for a, t, v in rows])


@click.command(epilog=CLIP_NOTE, short_help="Pictures of one position: regimes, budget, trajectory.")
@click.argument("picture", type=click.Choice(["regimes", "budget", "trajectory"]))
@click.option("--p", type=PROBABILITY, required=True, help="The teacher's modal probability, in (0, 1).")
@click.option("--b", type=PROBABILITY, required=True, help="The base's probability of that token, below p.")
@click.option("--clip", type=click.FloatRange(min=1, min_open=True), required=True, help=CLIP_HELP)
@click.option("--lam", "lams", type=float, multiple=True, help="trajectory: a lambda to draw; repeat for more.")
@click.option(
    "--flow",
    type=click.Choice(["natural", "policy-gradient"]),
    default="natural",
    show_default=True,
    help="budget, trajectory: natural gradient, or plain policy gradient on the logit.",
)
@click.option("--until", type=click.FloatRange(min=0, min_open=True), help="trajectory: the last time.")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The picture (.png, .pdf or .svg)."
)
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
    """Draw PICTURE of one position with two outcomes.

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
    try:
        if picture == "regimes":
            ax = plotting.plot_regimes(p, b, clip)
        elif picture == "budget":
            ax = plotting.plot_budget(p, b, clip, flow=flow)
        else:
            ax = plotting.plot_trajectory(p, b, clip, lams, flow=flow, until=until)
    except ValueError as error:
        raise Failure(str(error)) from error
    figure: Any = ax.figure
    write(out, lambda: figure.savefig(out, dpi=150, format=out.suffix[1:] or "png"))
