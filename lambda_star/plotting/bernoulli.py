"""Pictures of one position with two outcomes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lambda_star.bernoulli import collapse_point, fixed_point, stationary_student, threshold
from lambda_star.plotting._axes import new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["cliff_ends", "plot_regimes"]


def plot_regimes(p: float, b: float, c: float, ax: Axes | None = None) -> Axes:
    """Draw the tail mass that training ends at against λ: preserving, saturated, collapsing, and without the clip.

    Args:
        p: teacher's modal probability, in (b, 1).
        b: base's probability of the same token, in (0, 1).
        c: cap on the tail ratio, in (1, inf).
        ax: axes to draw on; new ones by default.

    Returns:
        The axes.

    Raises:
        ValueError: a value lies outside its range, or there is no cliff to draw.

    Source: extension; ``derivations/bernoulli.md``.

    >>> plot_regimes(0.9, 0.5, 2.0).get_ylabel()
    'tail mass 1 − q of the student'
    """
    star, end = cliff_ends(p, b, c)
    ax = ax or new_axes()
    width = end - star
    left, right = star - 2 * width, end + 2 * width
    lam = np.sort(np.concatenate([np.linspace(left, right, 400), end - np.geomspace(width, 1e-6 * width, 200)]))
    edge = (1 - p) / c
    ax.plot(lam, 1 - fixed_point(p, b, lam), "--", color="C0", label="without a clip")
    ax.plot(lam[lam < end], (1 - stationary_student(p, b, c, lam))[lam < end], color="k", label=f"clip c = {c:g}")
    ax.axhline(edge, color="0.5", linewidth=0.8, linestyle=":", label="clip edge (1−p)/c")
    ax.axvspan(star, end, color="0.85", zorder=0)
    ax.axvspan(end, right, facecolor="0.95", hatch="//", edgecolor="0.8", linewidth=0, zorder=0)
    for middle, name in ((left + star, "preserving"), (star + end, "saturated"), (end + right, "collapsing")):
        ax.text(middle / 2, 1.02, name, ha="center", va="bottom", transform=ax.get_xaxis_transform(), fontsize="small")
    ax.set(xlim=(left, right), ylim=(edge / 1000, 10 * edge), yscale="log", xlabel="λ")
    ax.set_ylabel("tail mass 1 − q of the student")
    ax.set_xticks([star, end], [f"λ* = {star:.5g} ", f" λ$_c$ = {end:.5g}"])
    for label, side in zip(ax.get_xticklabels(), ("right", "left"), strict=True):
        label.set(horizontalalignment=side)
    ax.legend(fontsize="small", loc="lower left")
    return ax


def cliff_ends(p: float, b: float, c: float) -> tuple[float, float]:
    """λ* and λ_c, where there are any."""
    star, end = float(threshold(p, b, c)), float(collapse_point(p, b, c))
    if not 1 < star < end < np.inf:
        raise ValueError(
            f"p, b and c must have a cliff, 1 < λ* < λ_c < inf, got λ* = {star:g} and λ_c = {end:g};"
            " give b < p and a clip above 1 at which the cliff is wider than a float"
        )
    return star, end
