"""Two formulas of the flows that other modules use as well."""

from __future__ import annotations

from typing import Any

import numpy as np

from lambda_star._core.namespaces import Floats

__all__ = ["inverse_rate", "natural_threshold"]


def natural_threshold(threshold: Any, time: Any) -> Any:
    """Return λ*/(1 − e^−time), the λ at which the natural flow reaches the clip edge by that time; +inf at time 0."""
    with np.errstate(divide="ignore", over="ignore"):
        return np.divide(threshold, -np.expm1(-time))


def inverse_rate(theta: Floats) -> Floats:
    """Return 1/(q(1−q)) = 2 + e^θ + e^−θ."""
    return 2 + np.exp(theta) + np.exp(-theta)
