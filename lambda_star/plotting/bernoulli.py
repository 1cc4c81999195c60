"""Pictures of one position with two outcomes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lambda_star.bernoulli import collapse_point, fixed_point, stationary_student, threshold
from lambda_star.plotting._axes import CLIP_EDGE, TAIL, finish, new_figure, shade_regimes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["cliff_ends", "plot_regimes"]


def plot_regimes(p: float, b: float, c: float, ax: Axes | None = None) -> Axes:
    """Draw the tail mass that training ends at against λ, with the clip and without it, over the three regimes.

    The regimes hold for training with the clip on the log-ratio inside the advantage.

    Args:
        p: teacher's modal probability, in (b, 1).
        b: base's probability of the same token, in (0, 1).
        c: cap on the tail ratio, in (1, inf).
        ax: axes to draw on; new ones by default.

    Returns:
        The axes.

    Raises:
        ValueError: a value lies outside its range, or λ* and λ_c are not two different floats above 1.

    Source: extension; ``derivations/bernoulli.md``.

    >>> plot_regimes(0.9, 0.5, 2.0).get_ylabel()
    'tail mass 1 − q of the student'
    """
    star, collapse = cliff_ends(p, b, c)
    ax = ax or new_figure().subplots()
    width = collapse - star
    left, right, edge = star - 2 * width, collapse + 2 * width, (1 - p) / c
    # The tail falls without bound just below λ_c, where evenly spaced points would miss it.
    near_collapse = collapse - np.geomspace(width, 1e-6 * width, 200)
    lam = np.sort(np.concatenate([np.linspace(left, right, 400), near_collapse]))
    ax.plot(lam, 1 - fixed_point(p, b, lam), "--", color="C0", label="without a clip")
    settled = lam[lam < collapse]
    ax.plot(settled, 1 - stationary_student(p, b, c, settled), color="k", label=f"clip c = {c:g}")
    ax.axhline(edge, **CLIP_EDGE)
    shade_regimes(ax, (left, star, collapse, right))
    ax.set_xticks([star, collapse], [f"λ* = {star:.5g} ", f" λ$_c$ = {collapse:.5g}"])
    for label, side in zip(ax.get_xticklabels(), ("right", "left"), strict=True):
        label.set(horizontalalignment=side)
    limits = {"xlim": (left, right), "ylim": (edge / 1000, 10 * edge)}
    return finish(ax, "lower left", **limits, yscale="log", xlabel="λ", ylabel=TAIL)


def cliff_ends(p: float, b: float, c: float) -> tuple[float, float]:
    """Return λ* and λ_c; raise ``ValueError`` where there is no cliff between them."""
    star, collapse = float(threshold(p, b, c)), float(collapse_point(p, b, c))
    if not 1 < star < collapse < np.inf:
        raise ValueError(
            f"p, b and c must have a cliff, 1 < λ* < λ_c < inf, got λ* = {star:g} and λ_c = {collapse:g};"
            " give b < p and a clip above 1 at which the cliff is wider than a float"
        )
    return star, collapse
