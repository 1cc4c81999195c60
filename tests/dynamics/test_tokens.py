"""K tokens under the natural flow without a bound: an unfinished run is the fixed point of a smaller λ."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from lambda_star import categorical
from tests.strategies import Pair, token_rows


@given(token_rows(fewest=2, masks=False), st.floats(0.0, 4.0), st.floats(0.01, 4.0))
def test_an_unfinished_run_is_a_smaller_lambda(rows: Pair, lam: float, time: float) -> None:
    log_t, log_b = (row - np.logaddexp.reduce(row) for row in rows)

    def velocity(_: float, log_q: np.ndarray) -> np.ndarray:
        advantage = lam * log_t + (1 - lam) * log_b - log_q
        moved: np.ndarray = advantage - np.exp(log_q) @ advantage
        return moved

    ends = solve_ivp(velocity, (0.0, time), log_b, rtol=1e-10, atol=1e-10, method="DOP853").y[:, -1]
    expected = categorical.fixed_point(log_t, log_b, -np.expm1(-time) * lam)
    np.testing.assert_allclose(ends, expected, rtol=1e-7, atol=1e-7)
