"""The picture of a probed loss shows its forces and its students."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from matplotlib.figure import Figure

from lambda_star import updates
from lambda_star.plotting import plot_probe
from lambda_star.torch import probe
from lambda_star.torch.rules import rule_loss
from tests.night import thinned


@pytest.mark.parametrize(
    "rule", thinned(["log_ratio_cap:5", "top_k:1", "none", "kl_to_base_cap:1.5", "advantage_clamp:1"], 2)
)
def test_every_kind_of_report_draws(rule: str) -> None:
    figure = plot_probe(probe(rule_loss(updates.parse(rule)), p=0.9, b=0.5))
    figure.savefig(io.BytesIO(), format="png")
    assert all(len(axes.get_lines()) > 1 for axes in figure.axes)


def test_the_picture_holds_the_numbers_of_the_report() -> None:
    report = probe(rule_loss(updates.log_ratio_cap(5.0)), p=0.9, b=0.5)
    figure = Figure()
    assert plot_probe(report, figure) is figure
    force, tail = figure.axes
    assert [line.get_label() for line in force.get_lines()[:-1]] == [f"λ = {curve.lam:.5g}" for curve in report.curves]
    assert np.array_equal(force.get_lines()[0].get_ydata(), report.curves[0].force)
    (students,) = [line for line in tail.get_lines() if line.get_label() == "under the loss"]
    living = [rest for rest in report.stationary if rest.log_odds < math.inf]
    assert np.array_equal(students.get_xdata(), [rest.lam for rest in living])
    assert np.array_equal(students.get_ydata(), [rest.tail for rest in living])
    assert tail.get_title() == "log_ratio_cap(c=5)"
    legend = tail.get_legend()
    assert legend is not None
    assert f"tail dies: {report.dies:.5g}" in [text.get_text() for text in legend.get_texts()]


def test_a_wrong_sign_draws_too() -> None:
    def wrong(student: object, teacher: object, base: object, lam: float) -> object:
        return -rule_loss(updates.none())(student, teacher, base, lam)  # type: ignore[arg-type]

    figure = plot_probe(probe(wrong, p=0.9, b=0.5))
    figure.savefig(io.BytesIO(), format="png")
    assert figure.axes[1].get_title() == "no known rule"
