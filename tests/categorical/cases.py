"""What the tests of K tokens share: how exact a result must be, example rows, and every public function."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from lambda_star import categorical
from lambda_star.categorical import Threshold
from tests import oracle
from tests.strategies import Floats, Pair

EPS = 2.0**-52

MODES = ("token", "bernoulli", "class")

FIELDS = tuple(field.name for field in dataclasses.fields(Threshold))

"""Half of a profile's examples, since each example of such a law evaluates several thresholds."""

lams = st.floats(-3.0, 6.0)

orders = st.one_of(st.floats(0.01, 8.0), st.sampled_from((1e-6, 0.5, 1.0, 2.0, 100.0)))

min_masses = st.one_of(st.just(0.0), st.floats(-12.0, -0.1).map(lambda k: 10.0**k))


def log(*probabilities: float) -> Floats:
    return np.log(np.array(probabilities, dtype=np.float64))


def existing(pair: Pair) -> Any:
    """Which tokens are not masked."""
    return np.isfinite(pair[0])


def log_ratios(pair: Pair) -> Floats:
    """The log-ratios as floats give them; 0 for a masked token."""
    here = existing(pair)
    return np.where(here, np.where(here, pair[0], 0.0) - np.where(here, pair[1], 0.0), 0.0)


def teacher_of(pair: Pair) -> Floats:
    weights = np.exp(pair[0] - np.max(pair[0]))
    return np.asarray(weights / weights.sum())


def size(pair: Pair, lam: Any) -> float:
    """The size of the terms of log R at λ, by which it is rounded: 1, and |λ−1| times the largest log-ratio."""
    return 1 + abs(float(lam) - 1) * float(np.max(np.abs(log_ratios(pair))))


def depth(pair: Pair) -> float:
    """The range of the log-weights, by which they are rounded."""
    return float(np.ptp(pair[0][existing(pair)]))


def resolved(pair: Pair) -> bool:
    """Whether log-ratios that differ do so by more than rounding, so that it does not decide which is larger."""
    here = existing(pair)
    exact = sorted(oracle.real(t) - oracle.real(b) for t, b in zip(pair[0][here], pair[1][here], strict=True))
    least = 64 * EPS * size(pair, 2)
    return all(high == low or high - low > least for low, high in itertools.pairwise(exact))


def distinct(values: Floats) -> bool:
    """Whether all values differ by more than rounding."""
    differences = np.diff(np.sort(values))
    return bool(np.all(differences > 64 * EPS * np.max(np.abs(values), initial=0.0)))


def shifted(c: float, pair: Pair, lam: float, sign: int, mode: str) -> float:
    """The clip, moved by as much as rounding can move a ratio at λ."""
    roundings = size(pair, lam) + depth(pair)
    if mode == "bernoulli":  # a difference of log-odds, of which each is rounded
        roundings += lam * (1 + depth(pair) + depth(pair[::-1]))
    return max(1.0, c * (1 + sign * 8 * EPS * roundings))


def latest(found: Threshold) -> float:
    """The greatest value a threshold may have: a search that did not converge ends between ``value`` and ``upper``."""
    return float(found.value if found.converged else found.upper)


def within(found: Any, pair: Pair, clips: list[float], lam: float, **options: Any) -> bool:
    """Whether a threshold, or a number, lies between the thresholds of two clips, up to its own last digits."""
    first, last = (found.value, latest(found)) if isinstance(found, Threshold) else (found, found)
    ends = categorical.threshold(*pair, clips, **options)
    low, high = pick(ends, 0), pick(ends, 1)
    return bool(low.value - 2 * EPS * lam <= last and first <= latest(high) + 2 * EPS * lam)


def agrees(found: Any, pair: Pair, c: float, **options: Any) -> bool:
    """Whether a threshold, or a number, is the threshold of a row, up to a rounding of c and its own last digits."""
    value = float(found.value if isinstance(found, Threshold) else found)
    lam = value
    if math.isinf(lam):
        lam = float(categorical.threshold(*pair, c, **options).value)
    if math.isinf(lam):
        return math.isinf(value)
    mode = options.get("mode", "token")
    return within(found, pair, [shifted(c, pair, lam, sign, mode) for sign in (-1, 1)], lam, **options)


def at_most(first: Any, pair: Pair, c: float, first_mode: str = "token", **options: Any) -> bool:
    """Whether a threshold is at most that of a row, up to a rounding of c."""
    if math.isinf(first):
        return math.isinf(categorical.threshold(*pair, c, **options).value)
    mode = "bernoulli" if first_mode == "bernoulli" else options.get("mode", "token")
    second = categorical.threshold(*pair, shifted(c, pair, first, 1, mode), **options)
    return bool(first <= latest(second) * (1 + 2 * EPS))


def two(p: float, b: float) -> Pair:
    """The rows of two tokens."""
    return np.array([math.log(p), math.log1p(-p)]), np.array([math.log(b), math.log1p(-b)])


def rel_two(p: float, b: float) -> float:
    """The relative error of a log-odds gap that is the difference of rounded logarithms."""
    logs = np.abs(two(p, b)).sum()
    log_odds = abs(float(oracle.gap(p, b)))
    return float(4 * EPS * (1 + logs / log_odds)) if log_odds else math.inf


def labels_of(pair: Pair, classes: list[int] | None) -> list[int]:
    """The classes, or the default ones: the modal token and the tail."""
    return [int(token != np.argmax(pair[0])) for token in range(len(pair[0]))] if classes is None else classes


def values(found: Threshold) -> dict[str, Any]:
    return {field: getattr(found, field) for field in FIELDS}


RNG = np.random.default_rng(20)
TEACHER = np.round(RNG.normal(size=(6, 5)) * 2, 3)
BASE = np.round(RNG.normal(size=(6, 5)) * 2, 3)
MASKED, MASKED_BASE = TEACHER.copy(), BASE.copy()
MASKED[1, 2] = MASKED_BASE[1, 2] = MASKED[4, 0] = MASKED_BASE[4, 0] = -math.inf
LABELS = [0, 1, -1, 1, 2]


OF_ROWS: dict[str, Callable[..., Any]] = {
    "token": lambda t, b, **o: categorical.threshold(t, b, 2.0, **o),
    "min_mass": lambda t, b, **o: categorical.threshold(t, b, 2.0, min_mass=0.02, **o),
    "class": lambda t, b, **o: categorical.threshold(t, b, 2.0, mode="class", **o),
    "classes": lambda t, b, **o: categorical.threshold(t, b, 2.0, mode="class", classes=LABELS, **o),
    "bernoulli": lambda t, b, **o: categorical.threshold(t, b, 2.0, mode="bernoulli", **o),
    "renyi": lambda t, b, **o: categorical.renyi(t, b, 1.5, **o),
    "hilbert_distance": categorical.hilbert_distance,
    "flip_point": categorical.flip_point,
}

OF_TOKENS: dict[str, Callable[..., Any]] = {
    "fixed_point": lambda t, b, **o: categorical.fixed_point(t, b, 1.5, **o),
    "ratio": lambda t, b, **o: categorical.ratio(t, b, 1.5, **o),
    "stationary_student": lambda t, b, **o: categorical.stationary_student(t, b, 2.0, 1.5, **o),
    "with_unlisted": lambda t, b, **o: categorical.with_unlisted(t - 9.0, b - 9.0, -1.0, 1.0, **o),
}

ALL = OF_ROWS | OF_TOKENS


def parts(found: Any) -> dict[str, Any]:
    """Return the arrays of a result by name."""
    if isinstance(found, Threshold):
        return values(found)
    return dict(zip(("log_t", "log_b"), found, strict=True)) if isinstance(found, tuple) else {"": found}


def same(found: Any, expected: Any, rtol: float = 8 * EPS, skip: tuple[str, ...] = ("steps",)) -> None:
    """Assert equal shapes, dtypes and values; the last digits may depend on how sums are split."""
    for (name, one), other in zip(parts(found).items(), parts(expected).values(), strict=True):
        assert (np.shape(one), one.dtype) == (np.shape(other), other.dtype), name
        if name not in skip:
            np.testing.assert_allclose(one, other, rtol=rtol, atol=rtol, err_msg=name)


def pick(found: Any, index: Any) -> Any:
    """Return the result for some of the positions."""
    if isinstance(found, Threshold):
        return Threshold(**{name: array[index] for name, array in values(found).items()})
    return tuple(array[index] for array in found) if isinstance(found, tuple) else found[index]
