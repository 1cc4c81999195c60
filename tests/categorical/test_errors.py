"""The errors that functions of K tokens raise, and the places that the messages name."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from lambda_star import categorical
from tests.categorical.cases import ALL, MODES, OF_TOKENS
from tests.strategies import Floats


def rows_with(value: float, place: tuple[int, ...], shape: tuple[int, ...]) -> Floats:
    rows = np.zeros(shape)
    rows[place] = value
    return rows


@pytest.mark.parametrize("name", ALL)
def test_a_log_probability_of_plus_infinity_is_refused(name: str) -> None:
    bad, good = rows_with(math.inf, (1, 2), (3, 5)), np.zeros((3, 5))
    with pytest.raises(ValueError, match=r"^log_t must .*, got inf at index \(1, 2\)$"):
        ALL[name](bad, good)
    with pytest.raises(ValueError, match=r"^log_b must .*, got inf at index \(1, 2\)$"):
        ALL[name](good, bad)


@pytest.mark.parametrize("name", [name for name in ALL if name != "with_unlisted"])
def test_what_one_model_cannot_produce_is_refused(name: str) -> None:
    bad, good = rows_with(-math.inf, (1, 2), (3, 5)), np.zeros((3, 5))
    with pytest.raises(ValueError, match=r"^log_b must be above -inf where log_t is, got -inf: .* at index \(1, 2\)$"):
        ALL[name](good, bad)
    empty = np.zeros((3, 5))
    empty[2] = -math.inf
    with pytest.raises(ValueError, match=r"^log_t must have a token above -inf, got none at index \(2, 0\)$"):
        ALL[name](empty, good)


@pytest.mark.parametrize("name", ["token", "renyi", "hilbert_distance", "flip_point", *OF_TOKENS])
def test_what_only_the_base_can_produce_is_refused_where_it_might_bind(name: str) -> None:
    bad, good = rows_with(-math.inf, (1, 2), (3, 5)), np.zeros((3, 5))
    if name == "with_unlisted":
        assert ALL[name](bad, good)[0][1, 2] == -math.inf
        return
    with pytest.raises(ValueError, match=r"^log_t must be above -inf where log_b is, got -inf: .* at index \(1, 2\)$"):
        ALL[name](bad, good)


@pytest.mark.parametrize(
    ("classes", "text"),
    [
        ([0, 1], r"^classes must be one integer per token, shape \(3,\), got int64 of shape \(2,\)$"),
        ([[0, 1, 2]], r"^classes must be one integer per token, shape \(3,\), got int64 of shape \(1, 3\)$"),
        ([0.0, 1.0, 2.0], r"^classes must be one integer per token, shape \(3,\), got float64 of shape \(3,\)$"),
        ([True, False, True], r"^classes must be one integer per token, shape \(3,\), got bool of shape \(3,\)$"),
        ([-1, -2, -1], r"^classes must label at least one token from 0 up, got negative labels only$"),
    ],
)
@pytest.mark.parametrize("mode", MODES)
def test_classes_are_one_label_per_token(mode: Any, classes: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        categorical.threshold(np.zeros((2, 3)), np.zeros((2, 3)), 2.0, classes=classes, mode=mode)


@pytest.mark.parametrize("mode", MODES)
def test_a_modal_token_must_be_one_of_the_row(mode: Any) -> None:
    zeros = np.zeros((2, 3))
    for bad in (-1, 3):
        with pytest.raises(ValueError, match=rf"^modal must lie in \[0, 2\], got {bad}\.0 at index 1$"):
            categorical.threshold(zeros, zeros, 2.0, modal=[0, bad], mode=mode)
    with pytest.raises(ValueError, match=r"^modal must be the index of a token, got a fraction at index \(1, 0\)$"):
        categorical.threshold(zeros, zeros, 2.0, modal=[0, 0.5], mode=mode)


def test_numbers_outside_their_range_are_refused_with_value_and_index() -> None:
    zeros = np.zeros((2, 3))
    with pytest.raises(ValueError, match=r"^mode must be one of token, class, bernoulli, got 'tokens'$"):
        categorical.threshold(zeros, zeros, 2.0, mode="tokens")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^c must lie in \[1, inf\], got 0\.5 at index 1$"):
        categorical.threshold(zeros, zeros, [2.0, 0.5])
    for min_mass in (1.0, -0.1, math.inf):
        with pytest.raises(ValueError, match=rf"^min_mass must lie in \[0, 1\), got {min_mass}$"):
            categorical.threshold(zeros, zeros, 2.0, min_mass=min_mass)
    for of_tokens in (categorical.fixed_point, categorical.ratio):
        with pytest.raises(ValueError, match=r"^lam must lie in \(-inf, inf\), got inf$"):
            of_tokens(zeros, zeros, math.inf)
    with pytest.raises(ValueError, match=r"^lam must lie in \(-inf, inf\), got -inf at index 0$"):
        categorical.stationary_student(zeros, zeros, 2.0, [-math.inf, 1.0])
    with pytest.raises(ValueError, match=r"^c must lie in \[1, inf\], got 0\.0$"):
        categorical.stationary_student(zeros, zeros, 0.0, 1.0)
    for order in (0.0, math.inf, -1.0):
        with pytest.raises(ValueError, match=rf"^order must lie in \(0, inf\), got {order}$"):
            categorical.renyi(zeros, zeros, order)
    with pytest.raises(ValueError, match=r"^high must lie in \(-inf, inf\), got inf$"):
        categorical.with_unlisted(zeros - 2, zeros - 2, 0.0, math.inf)


def test_a_single_number_is_no_row() -> None:
    for classes in (None, [0, 1]):
        with pytest.raises(ValueError, match=r"^log_t must have an axis of tokens, got a single number$"):
            categorical.threshold(-1.0, [-1.0, -2.0], 2.0, classes=classes)
        with pytest.raises(ValueError, match=r"^log_b must have an axis of tokens, got a single number$"):
            categorical.threshold([-1.0, -2.0], np.float64(-1.0), 2.0, classes=classes)


@pytest.mark.parametrize("classes", [None, [0, 1, 1]])
def test_an_axis_that_the_rows_do_not_have_is_refused(classes: Any) -> None:
    with pytest.raises(ValueError, match="axis must lie in \\[-1, 0\\], got 1"):
        categorical.threshold(np.zeros(3), np.zeros(3), 2.0, axis=1, classes=classes)


def test_logits_cannot_be_completed() -> None:
    good, bad = np.full((3, 2), -1.0), np.array([[-1.0, -1.0], [-1.0, -1.0], [-0.5, -0.5]])
    text = r" must be log-probabilities that sum to at most 1\b.* at index \(2, 0\)$"
    with pytest.raises(ValueError, match=r"^log_t" + text):
        categorical.with_unlisted(bad, good)
    with pytest.raises(ValueError, match=r"^log_b" + text):
        categorical.with_unlisted(good, bad)
    rounded_up = np.log(np.array([0.5, 0.5]) * (1 + 1e-7))
    assert categorical.with_unlisted(rounded_up, rounded_up)[0][2] == -math.inf


def test_a_range_of_log_ratios_has_two_ends_in_order() -> None:
    rows = np.full((3, 2), -1.0)
    for low, high in ((0.0, None), (None, 0.0)):
        with pytest.raises(ValueError, match=r"^low and high must be given together, got one of them$"):
            categorical.with_unlisted(rows, rows, low, high)
    with pytest.raises(ValueError, match=r"^low must be at most high\b.* at index \(1, 0\)$"):
        categorical.with_unlisted(rows, rows, [0.0, 1.0, 0.0], 0.5)
