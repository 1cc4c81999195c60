"""Bounds from the listed tokens hold what the whole vocabulary gives, and a class has the medians of its positions."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import lambda_star as ls
from lambda_star.calibration.readings import Bracket, Reading, readings
from lambda_star.calibration.table import Top
from tests import oracle

TOKENS = 12
CLIPS = (1.2, 2.0, 5.0)
few = settings(max_examples=40)


def own_class(token: str) -> str | None:
    """Tokens that begin with an m share a class, the others are in none."""
    return "m" if token.startswith("m") else None


@dataclass(frozen=True)
class Vocabulary:
    """The whole rows of one position, the modal token first, and which other tokens share the modal token's class."""

    log_t: np.ndarray[Any, Any]
    log_b: np.ndarray[Any, Any]
    same_class: frozenset[int] = frozenset()

    @property
    def r(self) -> np.ndarray[Any, Any]:
        found: np.ndarray[Any, Any] = self.log_t - self.log_b
        return found

    @property
    def p(self) -> float:
        return math.exp(self.log_t[0])

    @property
    def b(self) -> float:
        return math.exp(self.log_b[0])

    def eq4(self, c: float) -> float:
        return float(ls.threshold(self.p, self.b, c))

    def names(self) -> list[str]:
        return [f"{'m' if token == 0 or token in self.same_class else 'x'}{token}" for token in range(len(self.log_t))]

    def listed(self, count: int) -> list[int]:
        """The most probable tokens of the teacher, with those of the base, in the teacher's order."""
        found = {int(token) for row in (self.log_t, self.log_b) for token in np.argsort(-row)[:count]}
        return sorted(found | {0}, key=lambda token: -self.log_t[token])

    def top(self, listed: list[int], ranged: bool = True) -> Top:
        hidden = [token for token in range(len(self.log_t)) if token not in listed]
        ends = (self.r[hidden].min(), self.r[hidden].max()) if hidden else (0.0, 0.0)
        names = self.names()
        low, high = map(float, ends) if ranged else (None, None)
        return Top(
            tuple(names[token] for token in listed),
            tuple(map(float, self.log_t[listed])),
            tuple(map(float, self.log_b[listed])),
            low,
            high,
        )

    def token_threshold(self, listed: list[int], c: float) -> float:
        return 1 + float(oracle.token_excess(self.log_t, self.log_b, c, may=listed))

    def class_threshold(self, listed: list[int], c: float) -> float:
        """Everything but the modal token and the listed tokens of its class, as one class."""
        classes = [
            int(token != 0 and not (token in self.same_class and token in listed)) for token in range(len(self.log_t))
        ]
        return 1 + float(oracle.class_excess(self.log_t, self.log_b, oracle.CONTEXT.log(c), classes))


def normalised(logs: Any) -> np.ndarray[Any, Any]:
    """Log-probabilities on a grid so fine that they are normalised, and so coarse that log-ratios are exact."""
    row = np.asarray(logs, dtype=np.float64)
    found: np.ndarray[Any, Any] = row - np.round(np.logaddexp.reduce(row) * 2**48) / 2**48
    return found


@st.composite
def vocabularies(draw: st.DrawFn, lead: float = 0.125, same_class: bool = True) -> Vocabulary:
    """Whole rows whose log-ratios differ by more than rounding, or not at all."""
    grid = st.lists(st.integers(-40, 40).map(lambda k: k / 8), min_size=TOKENS, max_size=TOKENS)
    log_t, log_b = draw(grid), draw(grid)
    log_t[0] = max(log_t) + lead
    assume(len({t - b for t, b in zip(log_t, log_b, strict=True)}) > 1)
    chosen = draw(st.frozensets(st.integers(1, TOKENS - 1), max_size=3)) if same_class else frozenset()
    return Vocabulary(normalised(log_t), normalised(log_b), chosen)


def single(at: Vocabulary, listed: list[int], c: float, ranged: bool = True) -> Reading:
    (found,) = readings([at.top(listed, ranged)], ["only"], [at.eq4(c)], c, own_class)
    return found


def holds(bracket: Bracket, value: float, rel: float = 1e-10) -> bool:
    """Whether a bracket holds a value, up to what rounding does to λ*−1."""
    assert bracket.low <= bracket.high
    return (bracket.low - 1) * (1 - rel) <= value - 1 <= (bracket.high - 1) * (1 + rel)


# Brackets

leading = vocabularies(lead=2.5)
"""The modal token has more mass than all unlisted ones."""


@pytest.mark.slow
@few
@given(leading, st.integers(1, 6), st.sampled_from(CLIPS))
def test_brackets_hold_the_thresholds_of_the_whole_vocabulary(at: Vocabulary, count: int, c: float) -> None:
    listed = at.listed(count)
    found = single(at, listed, c)
    assert holds(found.token, at.token_threshold(listed, c))
    assert holds(found.by_class, at.class_threshold(listed, c))
    assert found.bernoulli == at.eq4(c)


@pytest.mark.slow
@few
@given(vocabularies(), st.integers(1, 3), st.sampled_from(CLIPS))
def test_brackets_hold_where_the_unlisted_tokens_outweigh_the_modal_token(at: Vocabulary, count: int, c: float) -> None:
    listed = at.listed(count)
    found = single(at, listed, c)
    assert holds(found.token, at.token_threshold(listed, c))
    assert holds(found.by_class, at.class_threshold(listed, c))


def test_unlisted_tokens_heavier_than_the_modal_token_do_not_take_its_place() -> None:
    at = Vocabulary(np.log([0.3, 0.25, 0.25, 0.2]), np.log([0.2, 0.25, 0.25, 0.3]))
    expected = at.class_threshold([0], 2.0)
    assert expected == pytest.approx(4.0569, abs=1e-4)
    assert holds(single(at, [0], 2.0).by_class, expected)


@few
@given(leading, st.integers(1, 6), st.integers(1, 6), st.sampled_from(CLIPS))
def test_brackets_shrink_as_more_tokens_are_listed(at: Vocabulary, count: int, more: int, c: float) -> None:
    """The binding token and the tokens of the modal token's class are listed from the start."""
    needed = {int(np.argmin(at.r)), *at.same_class}
    fewer = sorted({*at.listed(count), *needed}, key=lambda token: -at.log_t[token])
    further = sorted({*at.listed(count + more), *needed}, key=lambda token: -at.log_t[token])
    wide, narrow = single(at, fewer, c), single(at, further, c)
    for outer, inner in ((wide.token, narrow.token), (wide.by_class, narrow.by_class)):
        assert outer.low - 1 <= (inner.low - 1) * (1 + 1e-10)
        assert inner.high - 1 <= (outer.high - 1) * (1 + 1e-10)


@pytest.mark.slow
@few
@given(leading, st.sampled_from(CLIPS))
def test_brackets_have_no_width_where_all_tokens_are_listed(at: Vocabulary, c: float) -> None:
    listed = sorted(range(TOKENS), key=lambda token: -at.log_t[token])
    found = single(at, listed, c)
    for bracket, value in (
        (found.token, at.token_threshold(listed, c)),
        (found.by_class, at.class_threshold(listed, c)),
    ):
        assert [end - 1 for end in bracket] == pytest.approx([value - 1] * 2, rel=1e-10)


def test_brackets_have_a_width_where_tokens_are_unlisted() -> None:
    at = Vocabulary(np.log([0.8, 0.1, 0.05, 0.03, 0.02]), np.log([0.4, 0.2, 0.1, 0.2, 0.1]))
    found = single(at, [0, 1], 2.0)
    assert found.token.high - found.token.low > 0.001
    assert found.by_class.high - found.by_class.low > 0.001
    assert found.token.low < at.token_threshold([0, 1], 2.0) < found.token.high
    assert found.by_class.low < at.class_threshold([0, 1], 2.0) < found.by_class.high


@pytest.mark.parametrize("c", CLIPS)
def test_two_unlisted_tokens_are_the_ends_of_their_range(c: float) -> None:
    """Both unlisted tokens would bind before the listed token, but only listed tokens may bind."""
    at = Vocabulary(np.log([0.8, 0.1, 0.06, 0.04]), np.log([0.4, 0.1, 0.1, 0.4]))
    found = single(at, [0, 1], c)
    assert found.token.low == pytest.approx(at.token_threshold([0, 1], c), rel=1e-12)
    assert found.by_class.high == pytest.approx(at.class_threshold([0, 1], c), rel=1e-12)
    assert at.token_threshold([0, 1, 2, 3], c) < found.token.low < found.token.high
    assert found.by_class.low < found.by_class.high


@few
@given(leading, st.integers(1, 6), st.sampled_from(CLIPS))
def test_without_a_range_the_unlisted_tokens_leave_one_side_unbounded(at: Vocabulary, count: int, c: float) -> None:
    listed = at.listed(count)
    ranged, bare = single(at, listed, c), single(at, listed, c, ranged=False)
    assert bare.token == pytest.approx((1.0, ranged.token.high), rel=1e-13)
    assert bare.by_class == pytest.approx((ranged.by_class.low, math.inf), rel=1e-13)
    assert replace(bare, token=ranged.token, by_class=ranged.by_class) == ranged


def test_one_listed_token_is_enough() -> None:
    found = readings([Top(("[",), (-0.1,), (-0.7,), -3.0, 1.0)], ["["], [1.4], 2.0, str.strip)[0]
    assert found.positions == 1
    assert (found.binding, math.isnan(found.binding_mass)) == ("", True)  # the modal token only gains
    assert found.by_class.low == pytest.approx(ls.threshold(math.exp(-0.1), math.exp(-0.7), 2.0), rel=1e-12)


@pytest.mark.parametrize("high", [700.0, 720.0, 1e4])
def test_a_range_beyond_the_exponents_of_floats_is_a_range(high: float) -> None:
    """A base that is masked with a large negative number makes such log-ratios."""
    top = Top(("[", "("), (-0.1, -2.5), (-0.7, -1.2), low=-3.0, high=high)
    found = readings([top], ["["], [1.4], 2.0, str.strip)[0]
    least = readings([top._replace(low=None, high=None)], ["["], [1.4], 2.0, str.strip)[0]
    assert 1 <= found.token.low <= found.token.high
    assert found.token.high == least.token.high
    assert found.by_class.low == least.by_class.low <= found.by_class.high


def test_a_range_no_wider_than_rounding_adds_no_mass() -> None:
    """All unlisted tokens are half as probable for the teacher as for the base, as far as floats can tell."""
    end = -math.log(2)
    bare = Top(("[",), (math.log(0.6),), (math.log(0.2),), end, end)
    for low in (end, math.nextafter(end, -1), end - 1e-15, end - 1e-12):
        found = readings([bare._replace(low=low)], ["["], [1.5], 2.0, str.strip)[0].by_class
        assert list(found) == pytest.approx([ls.threshold(0.6, 0.2, 2.0)] * 2, rel=1e-9)


# The order of the three readings


def sandwiched(at: Vocabulary, listed: list[int]) -> bool:
    """Whether the teacher leads, and a listed token falls at least as fast as the whole tail does."""
    tail = math.log((1 - at.p) / (1 - at.b))
    return at.p > at.b and min(at.r[listed]) <= tail


@few
@given(st.lists(vocabularies(lead=2.5, same_class=False), min_size=1, max_size=4), st.sampled_from(CLIPS))
def test_the_token_reading_is_the_strictest_and_the_class_reading_the_laxest(many: list[Vocabulary], c: float) -> None:
    many = [at for at in many if sandwiched(at, at.listed(5))]
    assume(many)
    tops = [at.top(at.listed(5)) for at in many]
    (found,) = readings(tops, ["only"] * len(many), [at.eq4(c) for at in many], c, own_class)
    assert found.token.high - 1 <= (found.bernoulli - 1) * (1 + 1e-10)
    assert found.bernoulli - 1 <= (found.by_class.low - 1) * (1 + 1e-10)


# Several positions and classes


@pytest.mark.slow
@few
@given(st.lists(leading, min_size=1, max_size=6), st.sampled_from(CLIPS), st.data())
def test_a_class_has_the_lower_medians_of_its_positions(many: list[Vocabulary], c: float, data: st.DataObject) -> None:
    labels = data.draw(st.lists(st.sampled_from(["b", "a", "c"]), min_size=len(many), max_size=len(many)))
    tops = [at.top(at.listed(count + 1)) for count, at in enumerate(many)]
    eq4 = [at.eq4(c) for at in many]
    found = readings(tops, labels, np.array(eq4), c, own_class)
    assert [one.name for one in found] == sorted(set(labels))
    alone = [readings([top], ["only"], [value], c, own_class)[0] for top, value in zip(tops, eq4, strict=True)]
    for one in found:
        members = [of for of, label in zip(alone, labels, strict=True) if label == one.name]
        middle = math.ceil(len(members) / 2) - 1
        assert one.positions == len(members)
        assert one.bernoulli == sorted(of.bernoulli for of in members)[middle]
        for field in ("token", "by_class"):
            ends = [sorted(column)[middle] for column in zip(*(getattr(of, field) for of in members), strict=True)]
            assert list(getattr(one, field)) == pytest.approx(ends, rel=1e-12)


LOG = {share: math.log(share) for share in (0.6, 0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.1, 0.05, 0.04, 0.01)}


def top_of(*tokens: tuple[str, float, float]) -> Top:
    names, teacher, base = zip(*tokens, strict=True)
    return Top(names, tuple(LOG[share] for share in teacher), tuple(LOG[share] for share in base), -2.0, 2.0)


MOSTLY_SAME = top_of(("[", 0.5, 0.25), (" [", 0.4, 0.5), ("(", 0.05, 0.2))
MOSTLY_OTHER = top_of(("[", 0.6, 0.25), ("[\n", 0.1, 0.2), ("(", 0.2, 0.5), ("{", 0.05, 0.01))


def reading_of(*tops: Top) -> Reading:
    (found,) = readings(tops, ["["] * len(tops), [1.5] * len(tops), 2.0, lambda text: text.strip() or None)
    return found


def test_the_class_reading_is_the_one_to_use_where_most_of_the_tail_is_in_the_same_class() -> None:
    found = reading_of(MOSTLY_SAME)
    assert found.same_class == pytest.approx(0.4 / 0.5, rel=1e-14)
    assert found.use == "class"


def test_the_bernoulli_reading_is_the_one_to_use_elsewhere() -> None:
    found = reading_of(MOSTLY_OTHER)
    assert found.same_class == pytest.approx(0.1 / 0.4, rel=1e-14)
    assert found.use == "bernoulli"


def test_same_class_is_a_share_of_the_tails_of_all_positions_together() -> None:
    assert reading_of(MOSTLY_SAME, MOSTLY_OTHER).same_class == pytest.approx((0.4 + 0.1) / (0.5 + 0.4), rel=1e-14)
    assert reading_of(MOSTLY_SAME, MOSTLY_OTHER).use == "class"
    assert reading_of(MOSTLY_OTHER, MOSTLY_SAME, MOSTLY_OTHER).same_class == pytest.approx(0.6 / 1.3, rel=1e-14)


def test_half_of_the_tail_is_not_most_of_it() -> None:
    half = Top(("[", " [", "("), (math.log(0.5), math.log(0.25), -9.0), (-1.0, -2.0, -3.0))
    assert reading_of(half).same_class == 0.5
    assert reading_of(half).use == "bernoulli"
    more = half._replace(log_p=(math.log(0.5), math.log(0.2501), -9.0))
    assert reading_of(more).use == "class"


def test_a_teacher_without_a_tail_has_no_tail_in_the_same_class() -> None:
    sure = Top(("[", "("), (0.0, -800.0), (-0.7, -1.2))
    assert (reading_of(sure).same_class, reading_of(sure).use) == (0.0, "bernoulli")


def test_the_binding_token_is_the_one_that_binds_most_often() -> None:
    falls = top_of(("[", 0.6, 0.25), ("{", 0.05, 0.4), ("(", 0.2, 0.25))
    found = reading_of(MOSTLY_OTHER, falls, falls._replace(tokens=("[", "<", "(")), MOSTLY_SAME)
    assert (found.binding, found.positions) == ("(", 4)
    masses = sorted([0.2, 0.05, 0.05, 0.05])
    assert found.binding_mass == pytest.approx((masses[1] + masses[2]) / 2, rel=1e-14)
    assert reading_of(falls, MOSTLY_SAME, falls).binding == "{"


def test_tokens_of_the_same_class_are_on_the_side_of_the_modal_token() -> None:
    """Within each of the two classes the log-ratio is the same, so that the class follows Eq. 4."""
    log_t, log_b = np.log([0.5, 0.4, 0.06, 0.04]), np.log([5 / 12, 1 / 3, 0.15, 0.1])
    listed = [0, 1, 2, 3]
    with_same, alone = (
        single(Vocabulary(log_t, log_b, same_class), listed, 2.0) for same_class in (frozenset({1}), frozenset())
    )
    assert list(with_same.by_class) == pytest.approx([ls.threshold(0.9, 0.75, 2.0)] * 2, rel=1e-12)
    assert (with_same.same_class, alone.same_class) == pytest.approx((0.8, 0.0), rel=1e-14)
    assert list(alone.by_class) == pytest.approx([Vocabulary(log_t, log_b).class_threshold(listed, 2.0)] * 2, rel=1e-12)
    assert alone.by_class.low > with_same.by_class.high
    assert with_same.token == alone.token


def test_a_token_outside_the_contract_shares_no_class_with_another_token_or_with_a_class_of_its_text() -> None:
    def rule(text: str) -> str | None:
        return "open" if text.strip() == "[" else None

    top = top_of(("[", 0.5, 0.25), ("open", 0.4, 0.5), ("(", 0.05, 0.2))
    assert readings([top], ["open"], [1.5], 2.0, rule)[0].same_class == 0
    assert readings([top], ["open"], [1.5], 2.0, lambda _: None)[0].same_class == 0
    assert readings([MOSTLY_SAME], ["open"], [1.5], 2.0, rule)[0].same_class == pytest.approx(0.8)


def test_outside_the_contract_tokens_that_differ_in_white_space_share_a_class() -> None:
    top = top_of(("7", 0.5, 0.25), (" 7", 0.4, 0.5), ("8", 0.05, 0.2))
    assert readings([top], ["7"], [1.5], 2.0, lambda _: None)[0].same_class == pytest.approx(0.8, rel=1e-14)


def test_tokens_of_the_same_text_stay_apart() -> None:
    """Two ids of a vocabulary may decode to the same text, such as halves of a character."""
    twice = top_of(("[", 0.5, 0.25), ("�", 0.2, 0.25), ("�", 0.1, 0.4), ("(", 0.15, 0.05))
    named = twice._replace(tokens=("[", "�1", "�2", "("))
    found, expected = reading_of(twice), reading_of(named)
    assert replace(found, binding="�2") == expected
    assert found.binding == "�"
    assert found.binding_mass == pytest.approx(0.1, rel=1e-14)
    same_class = twice._replace(tokens=("[", "[", "[", "("))
    assert reading_of(same_class).same_class == pytest.approx(0.3 / 0.5, rel=1e-14)
    assert reading_of(same_class) == replace(
        reading_of(same_class._replace(tokens=("[", " [", "[ ", "("))), binding="["
    )


def test_the_order_of_the_listed_tokens_does_not_matter() -> None:
    tokens, log_p, log_b, low, high = MOSTLY_OTHER
    turned = Top(tokens[::-1], log_p[::-1], log_b[::-1], low, high)
    assert (reading_of(turned).binding, reading_of(turned).use) == ("(", "bernoulli")
    for field in ("token", "by_class"):
        assert getattr(reading_of(turned), field) == pytest.approx(getattr(reading_of(MOSTLY_OTHER), field), rel=1e-12)
    assert reading_of(turned).same_class == pytest.approx(reading_of(MOSTLY_OTHER).same_class, rel=1e-12)


@pytest.mark.parametrize("clip", [0.5, -1.0, 0.0])
def test_a_clip_out_of_range_is_an_error(clip: float) -> None:
    with pytest.raises(ValueError, match=r"^c must lie in \[1, inf\], got "):
        readings([MOSTLY_OTHER], ["["], [1.5], clip, str.strip)


def test_a_higher_clip_raises_every_end() -> None:
    at = Vocabulary(np.log([0.8, 0.1, 0.05, 0.03, 0.02]), np.log([0.4, 0.2, 0.1, 0.2, 0.1]))
    low, high = (single(at, [0, 1], clip) for clip in (2.0, 5.0))
    for field in ("token", "by_class"):
        assert all(
            below < above < math.inf for below, above in zip(getattr(low, field), getattr(high, field), strict=True)
        )
