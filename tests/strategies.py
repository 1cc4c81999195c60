"""Hypothesis strategies for the arguments of λ*, reaching both ends of every range."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

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


# Rows of K tokens

Floats = NDArray[np.float64]
Pair = tuple[Floats, Floats]


def rounded(values: st.SearchStrategy[float], digits: int = 12) -> st.SearchStrategy[float]:
    """Numbers of so many decimals: log-weights that differ do so by more than a subnormal float."""
    return values.map(lambda value: round(value, digits))


log_weights = rounded(st.one_of(st.floats(-3.0, 0.0), st.floats(-28.0, 0.0)))
"""Weights down to 1e-12."""

distances = st.tuples(rounded(st.floats(-1.0, 1.0), 3), st.integers(-1, 13)).map(
    lambda pair: pair[0] * 10.0 ** -pair[1]
)


@st.composite
def token_rows(draw: st.DrawFn, fewest: int = 2, most: int = 12, masks: bool = True) -> Pair:
    """A teacher and a base over K tokens: nearly equal, equal here and there, or unrelated; some tokens masked."""
    count = draw(st.integers(fewest, most))

    def column(values: st.SearchStrategy[float]) -> Floats:
        return np.array(draw(st.lists(values, min_size=count, max_size=count)), dtype=float)

    teacher = column(log_weights)
    kind = draw(st.sampled_from(("unrelated", "alike", "either")))
    if kind == "unrelated":
        base = column(log_weights)
    elif kind == "alike":
        base = teacher - column(rounded(st.floats(-1.0, 1.0), 3)) * 10.0 ** -draw(st.integers(-1, 13))
    else:
        base = teacher - column(distances)
    if masks and count > fewest:
        masked = list(draw(st.sets(st.integers(0, count - 1), max_size=count - fewest)))
        teacher[masked] = base[masked] = -math.inf
    return teacher, base


def labels_for(count: int) -> st.SearchStrategy[list[int]]:
    """A class for every token; −1 for some, but not for all."""
    labels = st.lists(st.integers(-1, 3), min_size=count, max_size=count)
    return labels.filter(lambda labels: max(labels) >= 0)


@st.composite
def labelled_rows(draw: st.DrawFn) -> tuple[Pair, list[int] | None]:
    """A teacher, a base and classes, or none."""
    pair = draw(token_rows())
    return pair, draw(st.one_of(st.none(), labels_for(len(pair[0]))))


hostile_probabilities = st.one_of(
    st.sampled_from((5e-324, 1e-323, 1e-310, 2.3e-308, 1e-20, 0.5, math.nextafter(0.5, 1.0), 1 - 2.0**-52, LARGEST)),
    st.floats(5e-324, LARGEST),
)
"""Probabilities with subnormal ones and the last ones below 1."""

hostile_clips = st.one_of(st.sampled_from((1.0, 1 + 2.0**-52, 2.0, 1e300, 1.7e308)), st.floats(1.0, 1.7e308))
hostile_lams = st.one_of(
    st.sampled_from((1.0, 1 + 2.0**-52, 1 - 2.0**-53, 0.0, 1e300, 1e308, -1e308)),
    st.floats(-6.0, 6.0),
    st.floats(-1.7e308, 1.7e308),
)
"""λ from one rounding away from 1 to the largest floats of either sign."""


@st.composite
def hostile_pairs(draw: st.DrawFn) -> tuple[float, float]:
    """A teacher and a base: unrelated, equal, or one rounding apart."""
    p = draw(hostile_probabilities)
    beside = st.sampled_from((p, min(math.nextafter(p, 1.0), LARGEST), max(math.nextafter(p, 0.0), 5e-324)))
    return p, draw(st.one_of(hostile_probabilities, beside))
