"""A distribution is exact while it keeps its values, and within its stated error where a sketch stands for them."""

from __future__ import annotations

import math
import random
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambda_star.calibration import distribution
from lambda_star.calibration.distribution import Distribution
from lambda_star.sequence import lower_quantile

LEVELS = (0.0, 0.001, 0.01, 0.05, 0.25, 0.5, 0.9, 1.0)
sketches = pytest.mark.skipif(find_spec("datasketches") is None, reason="datasketches has no wheel for this Python")
STARS = st.lists(st.one_of(st.floats(1, 1e300), st.just(math.inf)), min_size=1, max_size=60)


@given(STARS, st.floats(0, 1), st.integers(0, 2**32))
def test_few_values_are_all_kept_in_any_parts(values: list[float], level: float, seed: int) -> None:
    rng = random.Random(seed)
    parts = [Distribution() for _ in range(3)]
    for value in values:
        rng.choice(parts).add(np.array([value]))
    found = Distribution()
    for part in rng.sample(parts, 3):
        found.merge(part)
    assert found.values(10**6).tolist() == sorted(values)
    assert (found.count, found.error) == (len(values), 0)
    assert found.quantile(level) == lower_quantile(np.array(values), level)
    for bound in (rng.choice(values), rng.choice(values) * 1.1):
        assert found.share_below(bound) == sum(value < bound for value in values) / len(values)
    again = Distribution.from_bytes(found.to_bytes())
    assert again.to_bytes() == found.to_bytes()
    assert again.count == len(values)


@pytest.fixture(scope="module")
def large() -> np.ndarray:
    rng = np.random.default_rng(0)
    values = 1 + rng.lognormal(-2, 1.5, size=300_000)
    values[rng.random(len(values)) < 0.05] = math.inf
    return values


@sketches
@pytest.mark.parametrize("parts", [1, 7])
def test_many_values_are_within_the_stated_error(
    large: np.ndarray, parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distribution, "EXACT", 10_000)
    found = Distribution()
    for part in np.array_split(large, parts):
        found.merge(Distribution(part))
    assert found.count == len(large)
    assert 0 < found.error < 0.003
    whole = np.sort(large)
    for level in LEVELS[1:-1]:
        value = found.quantile(level)
        below, upto = (
            np.searchsorted(whole, value) / len(whole),
            np.searchsorted(whole, value * (1 + 1e-6)) / len(whole),
        )
        assert below * (1 - 2 * found.error) <= level * (1 + 1e-6) + 1e-4 * (level == 0)
        assert upto >= level * (1 - 2 * found.error)
        assert found.share_below(whole[int(level * len(whole))]) == pytest.approx(level, rel=2 * found.error)
    assert found.quantile(0) == pytest.approx(whole[0], rel=1e-6)
    assert found.quantile(0) <= whole[0]
    assert found.quantile(1) == math.inf
    again = Distribution.from_bytes(found.to_bytes())
    assert [again.quantile(level) for level in LEVELS] == [found.quantile(level) for level in LEVELS]


@sketches
@given(st.lists(st.floats(1, 1e30), min_size=2, max_size=50))
def test_a_sketch_of_few_values_rounds_them_down_in_the_seventh_digit(values: list[float]) -> None:
    found, exact = Distribution(values), Distribution(values)
    found.compact()
    for level in LEVELS:
        low, value = found.quantile(level), exact.quantile(level)
        assert low <= value
        assert low - 1 == pytest.approx(value - 1, rel=1.2e-7, abs=1e-44)
    for value in values:
        assert found.share_below(value) >= exact.share_below(value)
        assert found.share_below(value * 1.001) == pytest.approx(exact.share_below(value * 1.001), abs=1 / len(values))


@sketches
def test_a_picture_gets_ordered_values_with_both_ends(large: np.ndarray) -> None:
    for found in (Distribution(large), sketched(large)):
        shown = found.values(100)
        assert len(shown) == 100
        assert (np.diff(shown[np.isfinite(shown)]) >= 0).all()
        assert shown[0] == pytest.approx(large.min(), rel=1e-6)
        assert shown[-1] == math.inf


def sketched(values: np.ndarray) -> Distribution:
    found = Distribution(values)
    found.compact()
    return found


def test_nothing_has_no_quantile() -> None:
    assert math.isnan(Distribution().quantile(0.5))
    assert math.isnan(Distribution().share_below(2.0))
    assert Distribution().values(9).tolist() == []
    assert Distribution.from_bytes(Distribution().to_bytes()).count == 0


@sketches
@settings(max_examples=30)
@given(st.binary(max_size=60))
def test_bytes_of_nothing_are_refused(data: bytes) -> None:
    for start in (b"x", b"s"):
        with pytest.raises(ValueError, match=r"^data must "):
            Distribution.from_bytes(start + data)


def test_a_python_without_the_library_of_sketches_keeps_a_million_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasketches", None)
    monkeypatch.setattr(distribution, "EXACT", 3)
    found = Distribution([1.5, 2.0, 3.0])
    assert found.quantile(0.5) == 2.0
    for work in (lambda: found.add(np.array([4.0])), lambda: Distribution.from_bytes(b"s")):
        with pytest.raises(ImportError, match=r"^more than 3 values need datasketches; install it with: pip install"):
            work()
