"""The picture of a rehearsal shows its shares, its changes and the classes of the tokens that break answers."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.patches import Rectangle

from lambda_star.plotting import plot_rehearsal
from lambda_star.rehearsal import Answer, Rehearsal

CLASSES = ["a", "b", "c", "d", "e", None]


def rehearsal(contract: bool = True, metrics: bool = True) -> Rehearsal:
    answers = []
    for lam, broken in ((0.0, 30), (1.0, 0), (1.5, 6), (2.0, 12)):
        for prompt in range(40):
            bad = contract and prompt < broken
            valid = (prompt >= broken and prompt < 38) if contract else None
            where = {"broken_at": prompt % 5, "broken_class": CLASSES[prompt % 6]} if bad else {}
            score = {"score": prompt / 40 + lam / 10} if metrics else {}
            answers.append(Answer(lam, prompt, 0, "", 7, True, valid, metrics=score, **where))  # type: ignore[arg-type]
    return Rehearsal({"rule": "none()", "contract": "json" if contract else None}, tuple(answers))


def points(axes: Axes, index: int = 0) -> list[tuple[float, float]]:
    bars = [each for each in axes.containers if isinstance(each, ErrorbarContainer)]
    return [(float(x), float(y)) for x, y in np.asarray(bars[index].lines[0].get_xydata())]


def test_the_shares_and_changes_are_those_of_the_points() -> None:
    found = rehearsal()
    valid, change, metrics, breaks = plot_rehearsal(found).axes
    assert points(valid) == [(point.lam, point.valid) for point in found.curve]
    assert [y for _, y in points(change)] == [point.change for point in found.curve if point.lam >= 1]
    assert [y for _, y in points(metrics)] == [point.metrics["score"].value for point in found.curve]
    heights: dict[float, float] = {}
    for bar in cast("list[Rectangle]", breaks.patches):
        place = bar.get_x() + bar.get_width() / 2
        heights[place] = heights.get(place, 0.0) + bar.get_height()
    assert [*heights.values()] == pytest.approx([1 - point.valid for point in found.curve])
    legend = breaks.get_legend()
    assert legend
    assert [text.get_text() for text in legend.get_texts()] == [
        "a", "b", "c", "d", "other classes", "never, but not valid at the end",
    ]  # fmt: skip


def test_without_contract_and_metrics_the_length_is_drawn() -> None:
    axes = plot_rehearsal(rehearsal(contract=False, metrics=False)).axes
    assert axes[2].get_ylabel() == "mean length, tokens"
    assert not any(np.isfinite(y) for _, y in points(axes[0]))
