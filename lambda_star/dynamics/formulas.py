"""The formulas of the two flows that stand for themselves."""

from __future__ import annotations

from typing import Any

import numpy as np

from lambda_star._core.namespaces import Floats

__all__ = ["inverse_rate", "natural_threshold"]


def natural_threshold(threshold: Any, time: Any) -> Any:
    """λ*/(1 − e^−time), at which the natural flow has gone the way to the clip edge by then; +inf for no time."""
    with np.errstate(divide="ignore", over="ignore"):
        return np.divide(threshold, -np.expm1(-time))


def inverse_rate(theta: Floats) -> Floats:
    """1/(q(1−q)) = 2 + e^θ + e^−θ."""
    return 2 + np.exp(theta) + np.exp(-theta)
