"""What the pictures share: new figures, the style sheet, the regimes, the clip edge, and tokens as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lambda_star._core.text import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLE: Any = {
    "figure.figsize": (7, 4),
    "figure.dpi": 110,
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "legend.fontsize": 9,
    "legend.framealpha": 1.0,
    "axes.axisbelow": True,
    "lines.linewidth": 1.8,
}
"""Settings of matplotlib for notebooks: ``plt.rcParams.update(lambda_star.plotting.STYLE)``."""

REGIMES = ("preserving", "saturated", "collapsing")
TAIL = "tail mass 1 − q of the student"
LINE_STYLES = ("-", "--", "-.", ":")
CLIP_EDGE: dict[str, Any] = {"color": "0.5", "linewidth": 0.8, "linestyle": ":", "label": "clip edge (1−p)/c"}


def new_figure(figsize: tuple[float, float] | None = None) -> Figure:
    """Return a figure that pyplot does not know, so that nobody has to close it."""
    from matplotlib.figure import Figure

    return Figure(figsize=figsize, layout="constrained")


def finish(ax: Axes, place: str, **settings: Any) -> Axes:
    """Return axes with these settings and a legend at a place: "above" the axes, or a location inside them."""
    ax.set(**settings)
    above = {"loc": "lower center", "bbox_to_anchor": (0.5, 1), "ncols": 3, "frameon": False}
    ax.legend(fontsize="small", **(above if place == "above" else {"loc": place}))
    return ax


def shade_regimes(ax: Axes, ends: Sequence[float], names: Sequence[str] = REGIMES) -> None:
    """Shade two regimes and name all three on top; their ends are the left end, λ*, λ_c and the right end."""
    ax.axvspan(*ends[1:3], color="0.85", zorder=0)
    ax.axvspan(*ends[2:], facecolor="0.95", hatch="//", edgecolor="0.8", linewidth=0, zorder=0)
    above = ax.get_xaxis_transform()  # λ along the axis, heights in units of the axes
    for low, high, name in zip(ends, ends[1:], names, strict=False):
        ax.text((low + high) / 2, 1.02, name, ha="center", va="bottom", transform=above, fontsize="small")


def code(text: str) -> str:
    """Return a token as it is shown, and as matplotlib prints it literally: a dollar sign would start a formula."""
    return shown(text).replace("$", r"\$")
