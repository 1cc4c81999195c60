"""What the pictures share: new axes, the style sheet, the regimes, the clip edge, and tokens as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["CLIP_EDGE", "LINE_STYLES", "STYLE", "code", "new_axes", "shade_regimes"]

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

LINE_STYLES = ("-", "--", "-.", ":")
CLIP_EDGE: dict[str, Any] = {"color": "0.5", "linewidth": 0.8, "linestyle": ":", "label": "clip edge (1−p)/c"}


def new_axes() -> Axes:
    """Return axes of a new figure that pyplot does not know, so that nobody has to close it."""
    from matplotlib.figure import Figure

    return Figure(layout="constrained").subplots()


def shade_regimes(
    ax: Axes,
    star: float,
    collapse: float,
    left: float,
    right: float,
    names: Sequence[str] = ("preserving", "saturated", "collapsing"),
) -> None:
    """Shade the saturated and the collapsing regime between λ*, λ_c and the right end, and name all three on top."""
    ax.axvspan(star, collapse, color="0.85", zorder=0)
    ax.axvspan(collapse, right, facecolor="0.95", hatch="//", edgecolor="0.8", linewidth=0, zorder=0)
    above = ax.get_xaxis_transform()  # λ along the axis, heights in units of the axes
    for low, high, name in zip((left, star, collapse), (star, collapse, right), names, strict=True):
        ax.text((low + high) / 2, 1.02, name, ha="center", va="bottom", transform=above, fontsize="small")


def code(text: str) -> str:
    """Return a token as matplotlib prints it literally: a dollar sign would start a formula."""
    return text.replace("$", r"\$")
