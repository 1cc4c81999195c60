"""Intervals of a rehearsal: exact where they say so, and they cover at least as often as they say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from lambda_star.rehearsal import change_of_share, exact_share
from lambda_star.rehearsal.statistics import change_of_mean, mean

DRAWS = 2000


@pytest.mark.parametrize(("successes", "trials"), [(0, 20), (7, 20), (20, 20), (1, 1), (3, 5000)])
@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.999999])
def test_a_share_has_the_interval_at_whose_ends_a_binomial_test_is_undecided(
    successes: int, trials: int, confidence: float
) -> None:
    found = exact_share(successes, trials, confidence)
    ends = binomtest(successes, trials).proportion_ci(confidence, method="exact")
    assert found == pytest.approx((successes / trials, ends.low, ends.high), abs=1e-9)


def test_no_trials_tell_nothing() -> None:
    assert exact_share(0, 0)[1:] == (0, 1)
    assert change_of_share([], [])[1:] == (-1, 1)


@pytest.mark.parametrize("pairs", [12, 60, pytest.param(300, marks=pytest.mark.nightly)])
@pytest.mark.parametrize(("gain", "loss"), [(0.0, 0.02), (0.05, 0.3), (0.25, 0.25), (0.0, 0.0), (0.4, 0.01)])
def test_paired_changes_cover_as_often_as_they_say(pairs: int, gain: float, loss: float) -> None:
    rng = np.random.default_rng([pairs, int(100 * gain), int(100 * loss)])
    counts = rng.multinomial(pairs, [gain, loss, 1 - gain - loss], size=DRAWS)
    kinds, times = np.unique(counts, axis=0, return_counts=True)
    covered = 0
    for (gains, losses, _), count in zip(kinds, times, strict=True):
        now = np.arange(pairs) < gains
        reference = np.roll(np.arange(pairs) < losses, gains)
        found = change_of_share(now, reference, 0.9)
        covered += count * (found.low <= gain - loss <= found.high)
    assert covered / DRAWS >= 0.9


def test_a_paired_change_is_narrower_than_unpaired_intervals_where_pairs_agree() -> None:
    valid = np.arange(200) < 140
    found = change_of_share(valid, valid)
    alone = exact_share(140, 200)
    assert found.value == 0
    assert found.high - found.low < 0.7 * (alone.high - alone.low)


def test_pairs_must_match() -> None:
    with pytest.raises(ValueError, match=r"one value per pair, got shapes \(2,\) and \(1,\)"):
        change_of_share([True, True], [True])


def test_means_of_zeros_and_ones_are_shares_and_others_have_t_intervals() -> None:
    assert mean([1.0] * 10) == exact_share(10, 10)
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(DRAWS):
        found = change_of_mean((rng.normal(size=9) + 0.5).tolist(), rng.normal(size=9).tolist(), 0.9)
        covered += found.low <= 0.5 <= found.high
    assert covered / DRAWS == pytest.approx(0.9, abs=4 * (0.09 / DRAWS) ** 0.5)


def test_one_value_has_no_interval() -> None:
    assert np.isnan(mean([0.3])[1:]).all()
