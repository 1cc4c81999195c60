"""The corners of K tokens: wide gaps of logits, clips at both ends of the floats, huge λ, NaN, rows nearly alike."""

from __future__ import annotations

import inspect
import itertools
import math
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st

from lambda_star import categorical
from lambda_star.categorical import _survivors
from lambda_star.categorical._classes import ClassSearch, Tilted, _gains
from lambda_star.categorical._rows import prepare_wide
from tests import oracle
from tests.categorical.cases import EPS, FIELDS, MODES, depth, labels_of, size, values
from tests.night import thinned
from tests.strategies import Pair, hostile_lams, labels_for

threshold: Any = categorical.threshold  # without its signature, for rows that come as lists
student: Any = categorical.stationary_student
NO_DATA = np.array([0.0, -180.0]), np.array([0.0, -185.0])
extreme_clips = st.one_of(
    st.sampled_from((1 + 1e-9, 1.1, 2.0, 5.0, 1e4, 1e39, 1e300, 1.7e308)), st.floats(0.01, 9.0).map(lambda k: 1 + k)
)


@st.composite
def wide_rows(draw: st.DrawFn, most: int = 12) -> Pair:
    """Rows whose logits differ by up to 1e5: unrelated; one certain token at the bottom; or nearly alike."""
    count, width = draw(st.integers(2, most)), draw(st.sampled_from((30.0, 200.0, 1e3, 1e4, 1e5)))
    kind = draw(st.sampled_from(("unrelated", "bottom", "alike")))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    teacher = -rng.uniform(0, width, count)
    if kind == "unrelated":
        return teacher, -rng.uniform(0, width, count)
    teacher[0] = 0.0
    if kind == "bottom":
        base = teacher - rng.uniform(0, 5, count)
        base[0] = rng.uniform(0, 5)
        return teacher, base
    return teacher, teacher - rng.normal(size=count) * 10.0 ** -rng.integers(0, 8)


def check_token(found: Any, pair: Pair, c: float, eps: float = EPS, coarse: float = 0.0) -> None:
    """Assert that a token threshold is the root of its equation, and its bounds lie on both sides."""
    exact = oracle.token_excess(*pair, c)
    if exact == oracle.NEVER:
        assert found.value == math.inf
        return
    lam, slope = float(1 + exact), oracle.Position(*pair).slope(1 + exact, [int(found.binding)])
    allowed = 4 * EPS * size(pair, lam) / slope + eps * lam + coarse * exact
    assert abs(oracle.real(found.value) - 1 - exact) <= allowed
    assert found.converged
    assert found.steps <= 40
    assert found.lower - 1 - exact <= allowed
    assert found.upper - 1 - exact >= -allowed


def test_a_token_far_below_the_modal_one_is_found() -> None:
    kinds: Any = (NO_DATA, [row.astype(np.float32) for row in NO_DATA], [torch.tensor(row) for row in NO_DATA])
    for rows in kinds:
        found = threshold(*rows, 2)
        assert (float(found.value), float(found.lower), bool(found.converged)) == (37.0, 37.0, True)
    rows = [jnp.asarray(row, jnp.float32) for row in NO_DATA]
    found = threshold(*rows, 2)
    assert float(found.value) == pytest.approx(37.0, rel=1e-6)
    deep = categorical.threshold([0.0, -2000.0], [0.0, -2005.0], 2.0)  # e^−2000 underflows
    assert (float(deep.value), bool(deep.converged)) == (401.0, True)


@given(wide_rows(), extreme_clips)
@example((np.array([0.0, -36.0, -80.0]), np.array([0.0, -36.5, -83.0])), 1e4)
def test_token_thresholds_of_wide_rows_are_roots(pair: Pair, c: float) -> None:
    check_token(categorical.threshold(*pair, c), pair, c)


@given(wide_rows(), st.floats(1.01, 1e4))
def test_token_thresholds_of_wide_float32_rows_are_roots(pair: Pair, c: float) -> None:
    rows = [row.astype(np.float32) for row in pair]
    found = threshold(*rows, c)
    assert found.value.dtype == np.float32
    check_token(found, (rows[0].astype(float), rows[1].astype(float)), c, eps=2.0**-23, coarse=2e-5)


@pytest.mark.slow
@given(wide_rows(most=50), extreme_clips)
def test_token_thresholds_of_many_tokens_are_roots(pair: Pair, c: float) -> None:
    check_token(categorical.threshold(*pair, c), pair, c)


@given(wide_rows(), st.floats(1.1, 20.0), st.floats(-12.0, -0.1).map(lambda k: 10.0**k))
def test_a_least_mass_keeps_wide_rows_at_their_root(pair: Pair, c: float, min_mass: float) -> None:
    mass = [float(share) for share in oracle.probabilities(pair[0])]
    assume(all(abs(share - min_mass) > 1e-9 * min_mass for share in mass))
    found = categorical.threshold(*pair, c, min_mass=min_mass)
    exact = oracle.token_excess(*pair, c, [token for token, share in enumerate(mass) if share > min_mass])
    if exact == oracle.NEVER:
        assert found.value == math.inf
        return
    lam, slope = float(1 + exact), oracle.Position(*pair).slope(1 + exact, [int(found.binding)])
    assert abs(oracle.real(found.value) - 1 - exact) <= 4 * EPS * size(pair, lam) / slope + EPS * lam
    assert found.converged


@st.composite
def wide_classes(draw: st.DrawFn) -> tuple[Pair, list[int] | None]:
    pair = draw(wide_rows(most=6))
    return pair, draw(st.one_of(st.none(), labels_for(len(pair[0]))))


@given(wide_classes(), extreme_clips)
@example(((np.array([0.0, -3.0, -180.0]), np.array([0.0, -5.0, -185.0])), [0, 1, 2]), 2.0)
@example(((np.array([0.0, -3.0, -2000.0]), np.array([0.0, -5.0, -2005.0])), [0, 1, 2]), 2.0)
def test_class_thresholds_of_wide_rows_are_never_past_the_first_crossing(
    case: tuple[Pair, list[int] | None], c: float
) -> None:
    pair, classes = case
    labels = labels_of(pair, classes)
    found = categorical.threshold(*pair, c, classes=classes, mode="class")
    lam, log_c = float(found.value), oracle.CONTEXT.log(oracle.real(c))
    pad = EPS * lam if lam < math.inf else 0.0
    move = 4 * EPS * (size(pair, lam if lam < math.inf else 1) + depth(pair))
    latest = 1 + oracle.class_excess(*pair, log_c + move, labels)
    assert max(lam, float(found.lower)) - pad <= latest
    earliest = 1 + (oracle.class_excess(*pair, log_c - move, labels) if move < log_c else 0)
    assert found.upper + pad >= earliest
    assert not found.converged or lam + pad >= earliest


@given(wide_rows(), extreme_clips)
def test_bernoulli_thresholds_of_wide_rows_are_those_of_equation_4(pair: Pair, c: float) -> None:
    own = int(np.argmax(pair[0]))
    found = categorical.threshold(*pair, c, mode="bernoulli")
    with oracle.CONTEXT.workdps(60):
        both = [oracle.probabilities(row) for row in pair]
        x, y = (
            oracle.CONTEXT.log(mass[own]) - oracle.CONTEXT.log(oracle.CONTEXT.fsum(mass[:own] + mass[own + 1 :]))
            for mass in both
        )
        noise = 8 * EPS * (1 + abs(x) + abs(y) + depth(pair))
        if abs(x - y) < 4 * noise:
            return
        if x < y:
            assert found.value == math.inf
            return
        exact = oracle.CONTEXT.log1p((oracle.real(c) - 1) * (1 + oracle.CONTEXT.exp(-x))) / (x - y)
    assert abs(oracle.real(found.value) - 1 - exact) <= 2 * exact * noise / (x - y) + EPS * (1 + exact) * 8


@pytest.mark.parametrize("mode", ["token", "class"])
def test_a_search_that_gives_up_stays_below_the_root(mode: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    rows = [-rng.uniform(0, 28, (300, 6)) for _ in range(2)]
    true = threshold(*rows, 2.0, mode=mode)
    monkeypatch.setattr("lambda_star.categorical._search.STEPS", 1)
    early = threshold(*rows, 2.0, mode=mode)
    assert not np.all(early.converged)
    assert np.all(early.value[~early.converged] <= true.value[~early.converged] * (1 + 1e-12))


@pytest.mark.parametrize(
    ("mode", "classes", "name"), thinned(itertools.product(MODES, [None, [0, 1, 1]], ["c", "min_mass"]), 3)
)
def test_nan_beside_the_rows_gives_nan_in_every_mode(mode: Any, classes: Any, name: str) -> None:
    rows = np.log([[0.9, 0.07, 0.03], [0.9, 0.07, 0.03]]), np.log([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]])
    kinds: list[Any] = [np.asarray, torch.tensor]
    if name == "c" and classes is None:  # JAX compiles each operation anew
        kinds.append(lambda row: jnp.asarray(row, jnp.float32))
    for make in kinds:
        arrays = [make(row) for row in rows]
        arguments: dict[str, Any] = {"c": 2.0, "min_mass": 0.01, "mode": mode, "classes": classes}
        plain = values(threshold(*arrays, **arguments))
        found = values(threshold(*arrays, **arguments | {name: [math.nan, arguments[name]]}))
        for field in FIELDS:
            one, other = np.asarray(found[field]), np.asarray(plain[field])
            assert one[1] == pytest.approx(other[1], rel=1e-6), field
            if field in ("value", "lower", "upper"):
                assert np.isnan(one[0]), field
        assert int(found["binding"][0]) == -1
        assert not bool(found["converged"][0])


# Students at huge λ


@given(wide_rows(), hostile_lams, extreme_clips)
@example((np.array([0.0, -180.0, -3.0]), np.array([0.0, -185.0, -2.0])), 1e308, 2.0)
def test_students_at_huge_lambda_hold_the_token_of_the_extreme_ratio(pair: Pair, lam: float, c: float) -> None:
    fixed = np.exp(categorical.fixed_point(*pair, lam))
    assert fixed.sum() == pytest.approx(1)
    assert np.exp(categorical.stationary_student(*pair, c, lam)).sum() == pytest.approx(1)
    assert not np.isnan(categorical.ratio(*pair, lam)).any()
    r = [oracle.real(t) - oracle.real(b) for t, b in zip(*pair, strict=True)]
    ahead = sorted(r if lam > 1 else [-value for value in r])
    if abs(lam) > 1e20 and ahead[-1] - ahead[-2] > 1e-9:
        winner = max(range(len(r)), key=lambda k: r[k] * (1 if lam > 1 else -1))
        assert fixed[winner] == 1.0
        assert np.exp(categorical.stationary_student(*pair, c, lam))[winner] == pytest.approx(1, abs=1e-12)


def test_a_masked_token_stays_masked_at_huge_lambda() -> None:
    rows = np.array([0.0, -math.inf, -3.0]), np.array([5.0, -math.inf, 5.0])
    for lam in (1e308, -1e308, 2.0):
        for found in (categorical.fixed_point(*rows, lam), student(*rows, 2.0, lam)):
            assert found[1] == -math.inf
            assert np.exp(found).sum() == pytest.approx(1)


# Rows nearly alike


@st.composite
def near_rows(draw: st.DrawFn) -> Pair:
    """Log-probabilities of two models that differ by 1 down to 1e-13."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    teacher = np.log(rng.dirichlet(np.ones(draw(st.integers(2, 9)))))
    base = teacher - rng.normal(size=len(teacher)) * 10.0 ** -draw(st.integers(0, 13))
    return teacher, base - np.log(np.exp(base).sum()) * draw(st.sampled_from((0, 1)))


orders = st.sampled_from((1e-6, 0.01, 0.3, 0.5, 0.7, 1 - 1e-9, 1.0, 1 + 1e-9, 2.0, 8.0, 100.0, 1e9, 1e300))


@given(near_rows(), orders)
def test_distances_keep_their_digits_where_rows_nearly_agree(pair: Pair, order: float) -> None:
    with oracle.CONTEXT.workdps(80):
        divergence, distance = oracle.renyi(*pair, order), oracle.hilbert_distance(*pair)
        assume(distance > 1e-40)
        assert abs(oracle.real(categorical.renyi(*pair, order)) - divergence) <= 1e-13 * divergence
        assert abs(oracle.real(categorical.hilbert_distance(*pair)) - distance) <= 4 * EPS * distance


@given(wide_rows(), orders)
def test_divergences_of_wide_rows_keep_their_digits(pair: Pair, order: float) -> None:
    with oracle.CONTEXT.workdps(80):
        exact = oracle.renyi(*pair, order)
    found = categorical.renyi(*pair, order)
    assert abs(oracle.real(found) - exact) <= 1e-12 * abs(exact) + 16 * EPS * min(order, 1.0) * (1 + depth(pair))


# Clips that float32 cannot hold


def test_rows_of_float32_take_a_clip_that_float32_cannot_hold() -> None:
    rows = np.log([0.9, 0.07, 0.03]), np.log([0.5, 0.3, 0.2])
    for make in (lambda row: row.astype(np.float32), lambda row: torch.tensor(row, dtype=torch.float32)):
        narrow = [make(row) for row in rows]
        for mode in MODES:
            exact = float(threshold(*rows, 1e39, mode=mode).value)
            assert float(threshold(*narrow, 1e39, mode=mode).value) == pytest.approx(exact, rel=1e-5)
        np.testing.assert_allclose(student(*narrow, 1e39, 1.2), student(*rows, 1e39, 1.2), rtol=1e-5)


@pytest.mark.parametrize("c", [1e39, [1e39], np.array([2.0, 1e39])])
def test_a_library_without_float64_refuses_such_a_clip(c: Any) -> None:
    rows = [jnp.asarray(np.log(row), jnp.float32) for row in ([0.9, 0.07, 0.03], [0.5, 0.3, 0.2])]
    with pytest.raises(
        ValueError, match=r"^c must lie in \[1, inf\], got 1e\+39, but the dtype of these arrays ends at"
    ):
        threshold(*rows, c)
    assert math.isinf(float(threshold(*rows, math.inf).value))


def test_a_mixture_between_teacher_and_base_bears_log_ratios_that_no_float_holds() -> None:
    rows = np.array([0.0, -2000.0]), np.array([-1000.0, 0.0])
    for lam, first in ((0.0, -1000.0), (0.25, -250.0), (0.5, 0.0), (1.0, 0.0)):
        np.testing.assert_allclose(categorical.fixed_point(*rows, lam)[0], first, rtol=1e-14)


@pytest.mark.parametrize("rare", [0.1, 1e-5, 1e-200])
@pytest.mark.parametrize("missing", [0.5, 700.0])
def test_the_safe_step_of_a_class_keeps_its_digits(rare: float, missing: float) -> None:
    """The push log(1 + (e^missing − 1)/w) of Eq. 4, with w the mean height over the range at the excess."""
    log_t, log_b = np.log([[rare, rare, 1.0]]), np.log([[rare / 4, rare / 2, 1.0]])
    with np.errstate(all="ignore"):
        search = ClassSearch(np, prepare_wide(np, log_t, log_b, True), None, np.array([2.0]), np.zeros(1))
        for excess in (0.0, 0.75):
            tilted = Tilted.of(np, search.pieces, np.array([excess]))
            found = search._push(np.full((1, 2), missing), tilted, np.array([excess]))
            weight, r = np.exp(log_t + excess * (log_t - log_b)), log_t - log_b
            share = oracle.real((weight * (r - r.min())).sum() / weight.sum() / np.ptp(r))
            exact = oracle.CONTEXT.log1p(oracle.CONTEXT.expm1(oracle.real(missing)) / share)
            np.testing.assert_allclose(found, float(exact), rtol=1e-12)


def test_a_class_with_the_token_that_gains_most_may_bind_before_it_does() -> None:
    teacher, base, c = np.array([1.0, 0.8, 0.25]), np.array([1.0, 0.8, 0.25]) / [1.3, 0.5, 1.31], 1.15
    found = threshold(np.log(teacher), np.log(base), c, mode="class", classes=[0, 1, 1])
    power = teacher**found.value * base ** (1 - found.value)
    assert teacher[1:].sum() / teacher.sum() / (power[1:].sum() / power.sum()) == pytest.approx(c, rel=1e-12)


def test_a_log_ratio_gains_what_it_lacks_at_its_speed() -> None:
    speeds = np.array([4.0, 0.5, 0.0, -1.0])
    assert _gains(np, np.full(4, 2.0), speeds).tolist() == [0.5, 4.0, math.inf, math.inf]


@pytest.mark.parametrize("name", [name for name in categorical.__all__ if name.islower()])
def test_the_axis_and_other_switches_are_named(name: str) -> None:
    parameters = inspect.signature(getattr(categorical, name)).parameters
    named = {"axis", "min_mass", "classes", "mode", "modal"} & parameters.keys()
    assert all(parameters[one].kind is inspect.Parameter.KEYWORD_ONLY for one in named)
    assert named


@pytest.mark.parametrize("limit", [1, _survivors.LIMIT])
@pytest.mark.parametrize(
    ("positions", "tokens", "spread"), [(400, 3, 1.0), (400, 8, 0.3), (40, 500, 1.0), (40, 500, 0.02)]
)
def test_at_rest_every_survivor_has_one_advantage_and_no_dead_token_more(
    positions: int, tokens: int, spread: float, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_survivors, "LIMIT", limit)
    rng = np.random.default_rng(7)
    log_t = np.log(rng.dirichlet(np.full(tokens, 0.5), positions))
    log_b = log_t + spread * rng.normal(size=log_t.shape)
    log_b -= np.logaddexp.reduce(log_b, axis=-1, keepdims=True)
    c, lam = 1 + rng.exponential(size=positions), 1 + 3 * rng.random(positions) / spread
    found = student(log_t, log_b, c, lam)
    alive = found > -math.inf
    assert 0 < np.mean(~alive) < 1
    np.testing.assert_allclose(np.exp(found).sum(axis=-1), 1.0, rtol=1e-12)
    away = np.where(alive, log_t - np.where(alive, found, 0.0), math.inf)
    advantage = np.minimum(away, np.log(c)[:, None]) + (lam - 1)[:, None] * (log_t - log_b)
    level = np.max(advantage, axis=-1, keepdims=True)
    assert np.abs(np.where(alive, advantage - level, 0.0)).max() < 1e-9
    assert np.all(advantage <= level)


@pytest.mark.parametrize("mode", ["token", "class"])
def test_the_upper_bound_is_the_least_of_the_two_that_are_proved(mode: str) -> None:
    p, b, gap = np.array([0.9, 0.9, 0.6]), np.array([0.5, 0.5, 0.5]), np.log([9.0, 9.0, 1.5])
    c = np.array([2.0, 20.0, 1.1])
    found = threshold(*(np.log([q, 1 - q]).T for q in (p, b)), c, mode=mode)
    np.testing.assert_allclose((found.upper - 1) * gap, np.minimum(np.log(c / p), np.log(c) / p), rtol=1e-12)


def test_a_class_that_gains_all_the_way_never_binds() -> None:
    found = threshold(*np.log([[0.6, 0.2, 0.2], [0.7, 0.2, 0.1]]), 5.0, mode="class", classes=[0, 1, 1])
    assert found.value == math.inf
    assert found.converged


def test_a_divergence_of_rows_far_apart() -> None:
    teacher, base = np.array([0.5, 0.25, 0.25]), np.array([1e-300, 0.5, 0.5])
    exact = math.log(0.5**3) / 2 + 300 * math.log(10)  # beside which the other terms vanish
    assert float(categorical.renyi(np.log(teacher), np.log(base), 3.0)) == pytest.approx(exact, rel=1e-13)
