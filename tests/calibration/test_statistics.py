"""Limits are exact for every distribution, class intervals keep their laws, and numbers of answers suffice."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, binom, quantile_test

from benchmarks import coverage
from lambda_star import calibrate, read_table, threshold
from lambda_star.calibration import statistics
from lambda_star.calibration.jackknife import jackknife, others
from lambda_star.calibration.statistics import (
    Estimate,
    answers_for,
    class_interval,
    limit,
    rate,
    sample_size,
)
from lambda_star.sequence import lower_quantile

levels = st.floats(0.001, 0.999)
values = st.lists(st.one_of(st.floats(1.0, 3.0), st.just(math.inf), st.sampled_from([1.0, 1.5])), max_size=80)


# Limits


@given(values, levels, st.floats(0.01, 0.99))
def test_limits_are_the_ranks_that_the_binomial_allows(made: list[float], quantile: float, confidence: float) -> None:
    found, count = limit(made, quantile, confidence), len(made)
    below = [k for k in range(1, count + 1) if binom.sf(k - 1, count, quantile) >= confidence]
    above = [k for k in range(1, count + 1) if binom.cdf(k - 1, count, quantile) >= confidence]
    for value, ranks, best in ((found.value, below, max), (found.high, above, min)):
        if ranks:
            assert value == sorted(made)[best(ranks) - 1]
        else:
            assert math.isnan(value)
    assert (found.answers, found.quantile, found.confidence) == (count, quantile, confidence)
    assert found.estimate == lower_quantile(np.array(made), quantile) if made else math.isnan(found.estimate)


@given(st.permutations(range(40)), levels, levels)
def test_limits_are_those_of_scipy(made: list[int], quantile: float, confidence: float) -> None:
    found = limit(made, quantile, confidence)
    for end, alternative in ((found.value, "greater"), (found.high, "less")):
        # SciPy's intervals come from inverted tests; each bounds the quantile on the side of its alternative.
        ends = quantile_test(made, p=quantile, alternative=alternative).confidence_interval(confidence)
        expected = ends.low if alternative == "greater" else ends.high
        assert end == expected or (math.isnan(end) and not math.isfinite(expected))


@given(values, levels, levels)
def test_limits_are_in_order_and_known_with_enough_answers(
    made: list[float], quantile: float, confidence: float
) -> None:
    found = limit(made, quantile, confidence)
    assert math.isnan(found.value) == (found.answers < found.needed)
    assert (found.level <= quantile * (1 + 1e-9)) or found.answers < found.needed
    if confidence >= 0.5 and not math.isnan(found.value + found.high):
        assert found.value <= found.estimate <= found.high
    else:
        assert not found.value > found.high or confidence < 0.5


@given(levels, levels)
def test_the_number_needed_is_the_least(quantile: float, confidence: float) -> None:
    needed = int(answers_for(quantile, confidence))
    assert 1 - (1 - quantile) ** needed >= confidence * (1 - 1e-9)
    assert needed == 1 or 1 - (1 - quantile) ** (needed - 1) < confidence * (1 + 1e-9)
    assert needed > 500 or not math.isnan(limit(range(needed), quantile, confidence).value)
    assert needed > 500 or math.isnan(limit(range(needed - 1), quantile, confidence).value)


def test_round_numbers_of_answers_are_not_lifted_by_rounding() -> None:
    assert [answers_for(0.5, 1 - 0.5**power) for power in range(1, 30)] == list(range(1, 30))
    assert limit([1.0, 2.0], 0.5, 0.75).value == 1.0


def test_the_ends_of_the_quantiles() -> None:
    least, most = (limit([3.0, 1.0, 2.0], quantile, 0.95) for quantile in (0.0, 1.0))
    assert math.isnan(least.value)
    assert (least.estimate, least.high, least.needed) == (1.0, 1.0, math.inf)
    assert (most.value, most.estimate, most.needed) == (3.0, 3.0, 1.0)
    assert math.isnan(most.high)
    nothing = limit([], 0.05, 0.95)
    assert (nothing.answers, nothing.level, nothing.needed) == (0, 1.0, 59.0)
    assert all(map(math.isnan, nothing[:4]))
    assert limit([math.inf] * 59, 0.05, 0.95).value == math.inf


@given(values, levels)
def test_intervals_give_their_own_limits(made: list[float], quantile: float) -> None:
    high = [value + 0.5 for value in made]
    found, upper = limit(made, quantile, 0.9, high), limit(high, quantile, 0.9)
    assert found._replace(high=0.0, at_most=0.0) == pytest.approx(
        limit(made, quantile, 0.9)._replace(high=0.0, at_most=0.0), nan_ok=True
    )
    assert (found.at_most, found.high) == pytest.approx((upper.value, upper.high), nan_ok=True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([1.0, math.nan], 0.05, 0.95), "low must be one number per answer, without NaN"),
        (([[1.0]], 0.05, 0.95), "low must be one number per answer"),
        (([1.0], -0.1, 0.95), r"quantile must lie in \[0, 1\], got -0.1"),
        (([1.0], 0.05, 1.0), r"confidence must lie in \(0, 1\), got 1.0"),
        (([1.0], 0.05, 0.95, [1.0, 2.0]), "low and high must have one value per answer, got 1 and 2"),
    ],
)
def test_arguments_of_limits_are_checked(arguments: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        limit(*arguments)


# Numbers of answers


def test_sample_sizes_show_what_they_promise() -> None:
    assert sample_size() == answers_for(0.05, 0.95)
    rng = np.random.default_rng(0)
    pilot = 1.1 + 0.1 * rng.random(400)
    number = int(sample_size(pilot=pilot, within=0.003))
    assert sample_size(pilot=pilot, within=0.001) > number > 59
    near = [limit(rng.choice(pilot, number), 0.05, 0.95).value for _ in range(400)]
    share = np.mean(np.array(near) >= lower_quantile(pilot, 0.05) - 0.003)
    assert 0.45 < share < 0.65


@pytest.mark.parametrize(("quantile", "within"), [(0.05, 0.002), (0.05, 0.004), (0.2, 0.004), (0.5, 0.01)])
def test_sample_sizes_are_where_half_of_the_limits_come_near(quantile: float, within: float) -> None:
    pilot = np.sort(1.1 + 0.1 * np.random.default_rng(2).random(20_000))

    def near(count: int) -> bool:
        rank = max(k for k in range(1, count + 1) if binom.sf(k - 1, count, quantile) >= 0.95)
        median = lower_quantile(pilot, float(beta.median(rank, count + 1 - rank)))
        return bool(median >= lower_quantile(pilot, quantile) - within)

    found = int(sample_size(quantile, pilot=pilot, within=within))
    assert near(found)
    assert not near(found - 1)


def test_sample_sizes_tell_two_tables_apart() -> None:
    rng = np.random.default_rng(1)
    pilot = 1.1 + 0.1 * rng.random(300)
    near, far = (int(sample_size(pilot=pilot, other=pilot + shift)) for shift in (0.003, 0.007))
    assert near > far > answers_for(0.05, 0.9875)
    assert sample_size(pilot=pilot + 0.007, other=pilot) == far
    lows = [limit(rng.choice(pilot, far) + 0.007, 0.05, 0.9875).value for _ in range(400)]
    highs = [limit(rng.choice(pilot, far), 0.05, 0.9875).high for _ in range(400)]
    apart = np.mean([low > high for low, high in zip(lows, highs, strict=True)])
    assert 0.35 < apart < 0.75
    assert sample_size(pilot=pilot, other=pilot) == math.inf
    assert sample_size(0.0, pilot=pilot, within=0.1) == math.inf


@pytest.mark.parametrize("options", [{"pilot": [1.0]}, {"within": 0.1}, {"pilot": [1.0], "within": 1, "other": [1.0]}])
def test_a_pilot_needs_one_question(options: Any) -> None:
    with pytest.raises(ValueError, match="pilot must be given with one of within and other"):
        sample_size(**options)


@pytest.mark.parametrize("within", [-0.5, 0.0, math.inf])
def test_a_limit_is_near_within_a_positive_distance(within: float) -> None:
    with pytest.raises(ValueError, match=r"within must lie in \(0, inf\)"):
        sample_size(pilot=[1.0, 2.0], within=within)


# Intervals of a class

pairs = st.tuples(st.floats(0.01, 0.99), st.floats(0.01, 0.99), st.integers(1, 5))


def sums_of(made: list[tuple[float, float, int]]) -> Any:
    return np.array([[p * m, (1 - p) * m, b * m, (1 - b) * m] for p, b, m in made])


@given(st.lists(pairs, min_size=2, max_size=30), st.floats(1.1, 50.0), st.floats(0.5, 0.99))
def test_class_intervals_hold_their_value_and_widen(made: Any, clip: float, confidence: float) -> None:
    sums = sums_of(made)
    found, wider = (class_interval(sums, clip, level) for level in (confidence, (1 + confidence) / 2))
    p, b = sums[:, 0].sum() / sums[:, :2].sum(), sums[:, 2].sum() / sums[:, 2:].sum()
    assert found.value == pytest.approx(threshold(p, b, clip), rel=1e-6) or abs(p - b) < 1e-9
    assert 1 <= wider.low <= found.low <= found.value <= found.high <= wider.high
    again = class_interval(sums[::-1], clip, confidence)
    assert 1 / np.array(again) == pytest.approx(1 / np.array(found), rel=1e-6, abs=1e-9)
    assert class_interval(np.hstack([sums, sums]), clip, confidence) == found
    scaled = class_interval(7 * sums, clip, confidence)
    assert 1 / np.array(scaled) == pytest.approx(1 / np.array(found), rel=1e-6, abs=1e-9)


def slow_interval(sums: Any, clip: float, confidence: float) -> tuple[float, float]:
    """The interval by its definition: every answer left out in turn, the farthest counted twice."""
    from scipy.stats import t

    def star(chosen: list[int]) -> float:
        p, tail, b, base = sums[chosen].sum(axis=0)
        return float((math.log(p / tail) - math.log(b / base)) / math.log1p((clip - 1) * (p + tail) / p))

    def span(rows: list[int]) -> tuple[float, float]:
        left = np.array([star(rows[:at] + rows[at + 1 :]) for at in range(len(rows))])
        away, count = left - left.mean(), len(rows)
        kurtosis = np.mean(away**4) / np.mean(away**2) ** 2
        freedom = max(1.0, min(count - 1, 2 * count / (kurtosis - 1)))
        half = t.ppf((1 + confidence) / 2, freedom) * math.sqrt((count - 1) / count * np.sum(away**2))
        return star(rows) - half, star(rows) + half

    every = list(range(len(sums)))
    left = [star(every[:at] + every[at + 1 :]) for at in every]
    spans = [span(every), span([*every, int(np.argmax(left))]), span([*every, int(np.argmin(left))])]
    fast, slow = max(high for _, high in spans), min(low for low, _ in spans)
    return 1 + 1 / fast, 1 + 1 / slow if slow > 0 else math.inf


@pytest.mark.parametrize("answers", [3, 20, 60])
def test_class_intervals_are_those_of_the_definition(answers: int) -> None:
    sums = coverage.lognormal(np.random.default_rng(answers), answers).sums
    for confidence in (0.8, 0.95):
        found = class_interval(sums, 5.0, confidence)
        assert found[1:] == pytest.approx(slow_interval(sums, 5.0, confidence), rel=1e-9)


def test_class_intervals_at_their_limits() -> None:
    sums = sums_of([(0.99, 0.6, 3), (0.95, 0.5, 2), (0.98, 0.7, 4)])
    value, *ends = class_interval(sums[:1], 5.0, 0.95)
    assert value == pytest.approx(threshold(0.99, 0.6, 5.0))
    assert all(map(math.isnan, ends))
    low, high = class_interval(sums[[0, 0, 0]], 5.0, 0.95)[1:]
    assert low == high == pytest.approx(value)
    assert class_interval(sums[:, [2, 3, 0, 1]], 5.0, 0.95) == Estimate(math.inf, math.inf, math.inf)
    none = sums * [1, 1, 0, 1]
    assert class_interval(none, 5.0, 0.95) == Estimate(1.0, 1.0, 1.0)
    none[0] = sums[0]
    assert class_interval(none, 5.0, 0.95)[1:] == (1.0, math.inf)
    near = class_interval(np.hstack([sums * [1, 1, 0, 1], sums]), 5.0, 0.95)
    assert near == (1.0, 1.0, class_interval(sums, 5.0, 0.95).high)
    tiny = sums * [1, 1e-100, 1, 1]
    assert class_interval(tiny, 5.0, 0.95).low < class_interval(tiny, 5.0, 0.95).value < 1.01


@pytest.mark.parametrize("sums", [[], [[1.0, 2.0]], [1.0, 2.0, 3.0, 4.0], np.ones((3, 5))])
def test_sums_need_their_columns(sums: Any) -> None:
    with pytest.raises(ValueError, match="sums must have a row of four or eight sums"):
        class_interval(sums, 5.0, 0.95)


@given(st.lists(st.lists(st.floats(1e-9, 1e9), min_size=2, max_size=2), min_size=1, max_size=20))
def test_others_are_exact_sums(made: list[list[float]]) -> None:
    rows = np.array(made)
    found = others(rows)
    for at in range(len(rows)):
        exact = [math.fsum(column) for column in np.delete(rows, at, axis=0).T]
        assert found[at].tolist() == pytest.approx(exact, rel=1e-13)


def test_the_jackknife_of_a_mean_is_students_interval_where_tails_are_light() -> None:
    sums = np.stack([np.linspace(0, 1, 200), np.ones(200)], axis=1)
    low, high = jackknife(sums, lambda each: each[..., 0] / each[..., 1], 0.95)
    half = 1.972 * sums[:, 0].std(ddof=1) / math.sqrt(200)
    assert 0.5 + half < high < 0.5 + 1.2 * half
    assert low + high == pytest.approx(1.0)


def test_rates_go_through_zero_where_p_is_b() -> None:
    found = rate(sums_of([(0.9, 0.5, 1), (0.5, 0.5, 1), (0.5, 0.9, 1)]), 5.0)
    assert found[0] > 0 == found[1] > found[2]
    assert 1 + 1 / found[0] == pytest.approx(threshold(0.9, 0.5, 5.0), rel=1e-12)


# The benchmark


def reduced(shape: str, sizes: tuple[int, ...], sets: int) -> tuple[list[Any], list[Any]]:
    star, known = coverage.truth(coverage.SHAPES[shape], 100_000)
    limits = coverage.measure_limits(shape, coverage.SHAPES[shape], known, sizes, sets)
    return limits, coverage.measure_intervals(shape, coverage.SHAPES[shape], star, sizes, sets)


@pytest.mark.slow
def test_the_benchmark_finds_limits_and_intervals_that_hold_and_others_that_do_not() -> None:
    limits, intervals = reduced("lognormal", (30, 100), 150)
    assert all(one.kept for one in limits)
    assert [math.isnan(one.exceeds) for one in limits] == [True, True, False, True, False, False]
    assert max(one.bootstrap for one in limits) > 0.5
    covers = {one.method: one.covers for one in intervals if one.answers == 100}
    assert all(one.kept for one in intervals)
    assert covers[coverage.OURS] >= 0.93 > covers["percentile"]


@pytest.mark.slow
def test_the_benchmark_sees_a_limit_that_is_one_rank_too_high(monkeypatch: pytest.MonkeyPatch) -> None:
    ranks = statistics._ranks
    monkeypatch.setattr(statistics, "_ranks", lambda *arguments: tuple(rank + 1 for rank in ranks(*arguments)))
    limits, _ = reduced("light", (100,), 150)
    assert not all(one.kept for one in limits)


def test_populations_of_the_example_are_its_classes() -> None:
    report = calibrate(read_table(coverage.EXAMPLE))
    found = coverage.example(report.binding.name)
    assert class_interval(found.sums, 5.0, 0.95) == pytest.approx(
        (report.binding.value, report.binding.low, report.binding.high)
    )
    assert len(found.stars) == report.binding.answers
    assert found.stars.min() >= report.strict


def test_the_page_holds_the_tables_of_a_full_run() -> None:
    block = coverage.BLOCK.search(coverage.PAGE.read_text(encoding="utf-8"))
    assert block
    shown = block[0]
    assert "NO" not in shown
    for shape, size in product(coverage.SHAPES, coverage.SIZES):
        assert sum(line.split()[1:4:2] == [shape, str(size)] for line in shown.splitlines()) == 2
