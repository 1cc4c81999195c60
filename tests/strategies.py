"""Hypothesis strategies for the arguments of λ*, reaching both ends of every range."""

from __future__ import annotations

import math

from hypothesis import strategies as st

LARGEST = 1 - 2.0**-53


def probability_from_log_odds(x: float) -> float:
    return min(max(1 / (1 + math.exp(-x)), 1e-300), LARGEST)


probabilities = st.one_of(
    st.floats(0.001, 0.999),
    st.floats(-36.0, 36.0).map(probability_from_log_odds),
    st.floats(-300.0, -3.0).map(lambda k: 10.0**k),
    st.floats(1.0, 15.5).map(lambda k: 1 - 10.0**-k),
)
moderate = st.floats(-12.0, 12.0).map(probability_from_log_odds)
"""Probabilities far enough from 0 and 1 for a test to recompute things in float64."""

clips = st.one_of(st.floats(1.0, 10.0), st.floats(-12.0, 0.0).map(lambda k: 1 + 10.0**k), st.floats(1.0, 1e6))
open_clips = clips.filter(lambda c: c > 1)
margins = st.floats(0.0, 1.0, exclude_max=True)


@st.composite
def ordered(draw: st.DrawFn, values: st.SearchStrategy[float] = probabilities) -> tuple[float, float]:
    """A teacher and a base with p > b."""
    first, second = draw(st.tuples(values, values).filter(lambda pair: pair[0] != pair[1]))
    return max(first, second), min(first, second)
