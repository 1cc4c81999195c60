"""Floats, arrays, gradients, NaN, and what is outside the domain."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch

from lambda_star import updates
from lambda_star.updates import RULES, Rule, general, parse
from tests.libraries import LIBRARIES
from tests.updates.rules import EXAMPLES, NAMES

BY_RULE = pytest.mark.parametrize("rule", EXAMPLES, ids=NAMES)


@BY_RULE
def test_arrays_are_their_floats(rule: Rule) -> None:
    p, b = np.array([0.3, 0.9, 0.999, 0.6, 0.5]), np.array([0.4, 0.5, 0.5, 0.01, 0.5])
    for method in (rule.leaves, rule.dies, rule.equivalent_clip):
        each = [method(*pair) for pair in zip(p.tolist(), b.tolist(), strict=True)]
        assert all(type(value) is float for value in each)
        np.testing.assert_allclose(method(p, b), each, rtol=1e-12)
    students = [rule.student(*pair, 1.3) for pair in zip(p.tolist(), b.tolist(), strict=True)]
    np.testing.assert_allclose(rule.student(p, b, 1.3), students, rtol=1e-12)
    assert rule.student(p[:, None], 0.5, [1.0, 1.2]).shape == (5, 2)
    assert rule.force(np.zeros((5, 1)), p[:, None], 0.5, [1.0, 1.2]).tail.shape == (5, 2)
    assert rule.dies(np.empty(0), np.empty(0)).shape == (0,)


@BY_RULE
@pytest.mark.parametrize("library", LIBRARIES)
def test_arrays_of_other_libraries_stay_there(rule: Rule, library: str) -> None:
    make, dtypes, kind = LIBRARIES[library]
    p, b = [0.3, 0.9, 0.999], [0.4, 0.5, 0.5]
    for dtype in dtypes:
        like = make([0.0])
        typed = like.dtype if dtype == str(like.dtype).split(".")[-1] else None
        arrays = (make(p), make(b)) if typed is None else (make(p, dtype=typed), make(b, dtype=typed))
        result = rule.student(*arrays, 1.3)
        assert isinstance(result, kind)
        np.testing.assert_allclose(np.asarray(result), rule.student(np.array(p), np.array(b), 1.3), rtol=2e-5)


@BY_RULE
def test_gradients_are_slopes(rule: Rule) -> None:
    for value, method in ((rule.dies, ()), (rule.leaves, ()), (rule.student, (1.3,))):
        p = torch.tensor([0.9, 0.7, 0.96], dtype=torch.float64, requires_grad=True)
        b = torch.tensor([0.5, 0.6, 0.3], dtype=torch.float64)
        result = value(p, b, *method)
        if not result.requires_grad:
            continue
        finite = result[torch.isfinite(result)]
        if not len(finite):
            continue
        (slope,) = torch.autograd.grad(finite.sum(), p)
        assert torch.isfinite(slope[torch.isfinite(result)]).all()
        step = 1e-6
        low, high = (value(p.detach() + sign * step, b, *method) for sign in (-1, 1))
        expected = ((high - low) / (2 * step))[torch.isfinite(result)]
        torch.testing.assert_close(slope[torch.isfinite(result)], expected, rtol=2e-4, atol=2e-4)


@BY_RULE
def test_nan_in_gives_nan_out(rule: Rule) -> None:
    nan = math.nan
    for pair in ((nan, 0.5), (0.9, nan)):
        assert all(math.isnan(method(*pair)) for method in (rule.leaves, rule.dies, rule.equivalent_clip))
        assert math.isnan(rule.student(*pair, 1.2))
        assert np.isnan(rule.force(0.0, *pair, 1.2)).all()
        mixed = rule.dies(np.array([pair[0], 0.9]), np.array([pair[1], 0.5]))
        assert list(np.isnan(mixed)) == [True, False]
    assert math.isnan(rule.student(0.9, 0.5, nan))
    assert np.isnan(rule.force(nan, 0.9, 0.5, 1.2)).all()


@BY_RULE
def test_both_ends_of_the_domain_are_served(rule: Rule) -> None:
    ends = (5e-324, 1e-300, 1e-17, 0.5, 1 - 2.0**-53)
    for p in ends:
        for b in ends:
            assert rule.leaves(p, b) >= 0
            assert rule.dies(p, b) >= 0
            for lam in (1.0, 1.5, 1e6, 1e308):
                assert 0 <= rule.student(p, b, lam) <= 1


@BY_RULE
def test_what_is_outside_says_so(rule: Rule) -> None:
    with pytest.raises(ValueError, match=r"p must lie in \(0, 1\), got 1.0"):
        rule.dies(1.0, 0.5)
    with pytest.raises(ValueError, match=r"b must lie in \(0, 1\), got 0.0 at index 1"):
        rule.leaves([0.9, 0.9], [0.5, 0.0])
    with pytest.raises(ValueError, match=r"lam must lie in .*, got inf"):
        rule.student(0.9, 0.5, math.inf)
    with pytest.raises(ValueError, match=r"theta must lie in \(-inf, inf\), got inf"):
        rule.force(math.inf, 0.9, 0.5, 1.2)


UNCENTRED = updates.teacher_weight(5.0, centred=False)


@pytest.mark.parametrize(
    ("evaluate", "low"),
    [
        (lambda lam: general.student(updates.none().force, 0.9, 0.5, lam), 0),
        (lambda lam: updates.none().student(np.log([0.9, 0.1]), np.log([0.5, 0.5]), lam), 0),
        (lambda lam: UNCENTRED.student(np.log([0.9, 0.1]), np.log([0.5, 0.5]), lam), 1),
        (lambda lam: UNCENTRED.student(0.9, 0.5, lam), 1),
        (lambda lam: updates.capacity(0.9, 0.5, lam), 1),
        (lambda lam: updates.capacity(0.9, 0.5, lam, centred=False), 1),
    ],
    ids=["reference", "rows", "rows, uncentred", "uncentred", "capacity", "capacity, uncentred"],
)
def test_lambda_starts_at_its_least_value(evaluate: Any, low: int) -> None:
    assert np.isfinite(evaluate(float(low))).all()
    with pytest.raises(ValueError, match=rf"lam must lie in \[{low}, inf\), got {math.nextafter(low, -math.inf)}"):
        evaluate(math.nextafter(low, -math.inf))


@BY_RULE
def test_rules_are_values(rule: Rule) -> None:
    assert parse(str(rule)) == rule
    assert hash(parse(str(rule))) == hash(rule)
    assert RULES[rule.name] is type(rule)
    assert rule.summary.endswith(".")
    with pytest.raises(dataclasses.FrozenInstanceError):
        rule.summary = ""  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("cap:5", updates.log_ratio_cap(5.0)),
        (" clamp : 10".replace(" :", ":"), updates.log_ratio_clamp(10.0)),
        ("log_ratio_clamp:10,teacher=extrapolated", updates.log_ratio_clamp(10.0, teacher="extrapolated")),
        ("log_ratio_cap(c=2, through=True)", updates.log_ratio_cap(2.0, through=True)),
        ("top_k:8", updates.top_k(8)),
        ("truncated_sampling:top_k=8", updates.truncated_sampling(top_k=8)),
        ("truncated_sampling:0.9", updates.truncated_sampling(top_p=0.9)),
        ("none", updates.none()),
        ("none()", updates.none()),
        ("ppo", updates.ppo(0.2)),
    ],
)
def test_a_text_names_a_rule(text: str, rule: Rule) -> None:
    assert parse(text) == rule


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("capp:5", "names no update rule; the rules are none, log_ratio_cap"),
        ("", "names no update rule"),
        ("cap", "log_ratio_cap needs a value of c"),
        ("cap:x", "c of log_ratio_cap must be a number, got 'x'"),
        ("cap:5,6", "'6' is no argument of log_ratio_cap, which takes c, through"),
        ("cap:c=5,c=6", "'c=6' is no argument"),
        ("cap:0.5", r"c must lie in \[1, inf\], got 0.5"),
        ("cap:5,through=maybe", "through of log_ratio_cap must be true or false"),
        ("top_k:1.5", "k of top_k must be a whole number"),
        ("top_k:0", r"k must be a whole number in \[1, inf\), got 0"),
        ("clamp:5,teacher=other", "teacher must be one of plain, extrapolated, got 'other'"),
        ("truncated_sampling", "exactly one"),
        ("none:5", "'5' is no argument of none, which takes no arguments"),
    ],
)
def test_a_text_that_names_none_says_why(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(text)


@pytest.mark.parametrize(
    "make",
    [
        lambda: updates.log_ratio_cap(math.nan),
        lambda: updates.log_ratio_clamp(0.0),
        lambda: updates.log_prob_floor(-1.0),
        lambda: updates.ppo(0.0),
        lambda: updates.truncated_sampling(top_p=0.0),
        lambda: updates.truncated_sampling(top_p=0.9, top_k=3),
        lambda: updates.top_k(True),
    ],
)
def test_arguments_of_rules_have_domains(make: Any) -> None:
    with pytest.raises(ValueError, match=r"must|exactly one"):
        make()


def test_the_reference_refuses_what_it_cannot_take() -> None:
    with pytest.raises(ValueError, match=r"p must lie in \(0, 1\)"):
        general.student(updates.none().force, 1.5, 0.5, 1.2)
    assert general.dies(updates.log_ratio_cap(2.0).force, 0.4, 0.5) == math.inf
