"""What the pictures share: axes, line styles, marks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["code", "new_axes"]

LINE_STYLES = ("-", "--", "-.", ":")


def new_axes() -> Axes:
    from matplotlib.figure import Figure

    return Figure(layout="constrained").subplots()


def code(text: str) -> str:
    """A token as matplotlib prints it: a dollar sign is no mathematics."""
    return text.replace("$", r"\$")
