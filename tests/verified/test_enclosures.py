"""Enclosures hold the exact value, are narrow, keep to the domain, and lie where the numeric layer does."""

from __future__ import annotations

import math
import subprocess
import sys
from decimal import Decimal
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest

import lambda_star
from lambda_star import bernoulli, categorical, updates, verified
from lambda_star.bernoulli import formulas
from tests.verified import containment
from tests.verified.containment import FUNCTIONS, RULES, cases

NUMERIC = {"threshold": 6, "excess": 6, "collapse_point": 6, "cliff_width": 6, "threshold_from_logits": 6}
"""How many ulp the numeric layer keeps to, by docs/accuracy.md and its table."""


@pytest.mark.parametrize(("form", "count"), [("float", 7000), ("string", 2500)])
def test_points_are_held_by_four_ulp(form: str, count: int) -> None:
    found = list(cases(count, 7, form))
    assert [case for case in found if not case.holds or case.ulps > 4] == []
    assert {case.name for case in found} >= {*FUNCTIONS, *RULES, *containment.ROOTS, "tokens"}


def test_boxes_are_held() -> None:
    assert [case for case in cases(30, 8, "pair") if not case.holds] == []


def test_a_wrong_formula_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    right = formulas.push_to_edge
    monkeypatch.setattr(formulas, "push_to_edge", lambda xp, p, c: right(xp, p, c) * (1 + 2.0**-45))
    missed = {case.name for case in cases(120, 9, "float") if not case.holds}
    assert {"threshold", "excess", "cap leaves"} <= missed
    assert not missed & {"collapse_point", "fixed_point", "tail_ratio"}


@pytest.mark.parametrize("name", NUMERIC)
def test_the_numeric_layer_is_within_its_ulps(name: str) -> None:
    for case in cases(300, 10, "float", [name]):
        value = getattr(bernoulli, name)(*case.arguments)
        reach = NUMERIC[name] * math.ulp(value) if math.isfinite(value) else 0.0
        assert case.found.lower - reach <= value <= case.found.upper + reach, case


def test_the_ends_of_a_monotone_box_are_its_corners() -> None:
    p, b, c = (0.9, 0.999), (0.3, 0.6), (2.0, 5.0)
    found = verified.threshold(p, b, c)
    assert found.lower == verified.threshold(p[1], b[0], c[0]).lower
    assert found.upper == verified.threshold(p[0], b[1], c[1]).upper


def test_an_interval_of_a_probability_ends_at_1() -> None:
    p, b = (0.7305143451592057, 0.7305143453810912), (6.488669395188702e-120, 6.488982276965966e-120)
    rule = updates.log_ratio_clamp(math.inf)
    found = verified.updates.student(rule, p, b, (2.1668304126861875, 2.166886628326039))
    assert 1 - 2.0**-52 < found.lower < found.upper == 1.0


def test_a_turning_point_inside_a_box_is_found() -> None:
    # At λ = 2 and p < b the tail ratio is 1 at p = 0 and at p = b, and least in between.
    found = verified.tail_ratio((1e-3, 0.5), 0.5, 2)
    grid = np.linspace(1e-3, 0.5, 200_001)
    least = float(bernoulli.tail_ratio(grid, 0.5, 2.0).min())
    assert found.lower <= least <= found.lower * (1 + 1e-9)
    assert 1.0 <= found.upper <= 1.0 + 2.0**-51


def test_arguments_are_taken_exactly() -> None:
    assert verified.threshold("0.1", "0.1", 5).lower == math.inf  # equal decimals are equal
    assert verified.threshold(0.1, "0.1", 5).upper < 1e18  # the float 0.1 is greater than the decimal
    same = [
        verified.excess(value, 0.25, 2) for value in (0.75, "0.75", Decimal("0.75"), Fraction(3, 4), np.float32(0.75))
    ]
    assert len(set(same)) == 1
    assert verified.excess("0.99999999999999999999999999", "0.5", 5).upper < verified.excess(1 - 2.0**-53, 0.5, 5).lower


def test_lists_and_arrays_give_arrays() -> None:
    found = verified.threshold([[0.9], [0.99]], np.array([0.5, 0.6]), (4, ["5", "6"]))
    assert found.lower.shape == (2, 2)
    assert found.lower[1, 0] == verified.threshold(0.99, 0.5, 4).lower
    assert found.upper[0, 1] == verified.threshold(0.9, 0.6, 6).upper
    again = verified.threshold(0.9, verified.Interval(0.5, 0.6, ()), 5)
    assert again == verified.threshold(0.9, (0.5, 0.6), 5)
    assert verified.threshold([], 0.5, 5).lower.shape == (0,)


def test_nan_gives_nan() -> None:
    found = verified.threshold([0.9, math.nan, "nan"], 0.5, 5)
    assert np.isnan(found.lower).tolist() == np.isnan(found.upper).tolist() == [False, True, True]
    assert math.isnan(verified.updates.dies(updates.top_k(1), 0.9, math.nan).lower)
    assert math.isnan(verified.categorical.threshold([0.0, math.nan], [0.0, 1.0], 2).value.lower)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: verified.threshold([0.9, 1.5], 0.5, 5), r"p must lie in \(0, 1\), got 1.5 at index 1"),
        (lambda: verified.threshold(0.9, [[0.5, "0"]], 5), r"b must lie in \(0, 1\), got 0.0 at index \(0, 1\)"),
        (lambda: verified.threshold((1, 2), 0.5, 5), r"p must lie in \(0, 1\), got \(1.0, 2.0\)"),
        (lambda: verified.threshold("1.00000000000000000000001", 0.5, 5), r"p must lie in \(0, 1\), got 1.0"),
        (lambda: verified.threshold((0.9, 0.8), 0.5, 5), "p must be a pair of a lower and an upper end"),
        (lambda: verified.threshold("0.9.1", 0.5, 5), "p must be a number, a decimal string"),
        (lambda: verified.threshold("1e-999999", 0.5, 5), "p must be a number, a decimal string"),
        (lambda: verified.teacher_for(0.5, 5, 1), r"lam must lie in \(1, inf\), got 1.0"),
        (lambda: verified.base_for(0.5, math.inf, 2), r"c must lie in \[1, inf\), got inf"),
        (lambda: verified.updates.leaves(updates.none(), 0.9, 0.5, c=2), "'c' is not a bound of none"),
        (lambda: verified.updates.dies(updates.log_ratio_cap(2.0), 0.9, 0.5, c=0.5), r"c must lie in \[1, inf\]"),
        (
            lambda: verified.updates.student(updates.teacher_weight(5.0, centred=False), 0.9, 0.5, 0.5),
            r"lam must lie in \[1, inf\), got 0.5",
        ),
        (lambda: verified.categorical.threshold([0.0], [0.0, 1.0], 2), "as many tokens"),
        (lambda: verified.categorical.threshold([0.0, -math.inf], [0.0, 1.0], 2), "log_t must hold finite numbers"),
    ],
)
def test_outside_the_domain_is_an_error(call: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call()


@pytest.mark.parametrize("value", [True, None, b"0.9", object()])
def test_what_is_not_a_number_is_an_error(value: Any) -> None:
    with pytest.raises(TypeError, match="p must be a number"):
        verified.threshold(value, 0.5, 5)


def test_an_interval_across_a_border_is_cut_and_says_so() -> None:
    found = verified.threshold((0.9, 1.2), (-1, 0.5), (0.5, 5))
    assert found.cut == ("p", "b", "c")
    assert (found.lower, found.upper) == (1.0, verified.threshold(0.9, 0.5, 5).upper)
    assert verified.collapse_point((0.9, 1), 0.5, 5) == (1.0, verified.collapse_point(0.9, 0.5, 5).upper, ("p",))
    assert verified.fixed_point(0.9, 0.5, (1, math.inf)).cut == ("lam",)
    across = verified.threshold((0.4, 0.6), 0.5, 5)  # λ* is +inf from p = b down, and finite above
    assert (across.lower, across.upper) == (verified.threshold(0.6, 0.5, 5).lower, math.inf)


def test_an_infinite_clip_is_a_value_like_others() -> None:
    assert verified.threshold(0.9, 0.5, math.inf)[:2] == (math.inf, math.inf)
    found = verified.threshold(0.9, 0.5, (2, math.inf))
    assert (found.lower, found.upper) == (verified.threshold(0.9, 0.5, 2).lower, math.inf)


def test_an_own_bound_replaces_that_of_the_rule() -> None:
    rule = updates.log_ratio_clamp(3.0)
    found = verified.updates.dies(rule, 0.9, 0.5, bound=(2, 4))
    assert found.lower == verified.updates.dies(updates.log_ratio_clamp(2.0), 0.9, 0.5).lower
    assert found.upper == verified.updates.dies(updates.log_ratio_clamp(4.0), 0.9, 0.5).upper
    assert rule == updates.log_ratio_clamp(3.0)


@pytest.mark.parametrize("rule", [updates.top_k(1), updates.top_k(1, through=True), updates.truncated_sampling(0.95)])
def test_rules_of_sets_are_near_the_numeric_layer(rule: updates.Rule) -> None:
    generator = np.random.default_rng(0)
    for p, b in generator.uniform(0.05, 0.999, (40, 2)).tolist():
        for method, extra in (("leaves", ()), ("dies", ()), ("student", (1.3,))):
            value = getattr(rule, method)(p, b, *extra)
            found = getattr(verified.updates, method)(rule, p, b, *extra)
            reach = 1e-13 * abs(value) if math.isfinite(value) else 0.0
            assert found.lower - reach <= value <= found.upper + reach


def test_the_bounds_of_tokens_hold_for_intervals_of_logits() -> None:
    teacher, base = [-0.1, -2.5, -4.6], [-0.7, -1.2, -1.6]
    wide = [(value - 1e-3, value + 1e-3) for value in teacher]
    found = verified.categorical.threshold(wide, base, (2, 2.001))
    for shift in np.random.default_rng(1).uniform(-1e-3, 1e-3, (50, 3)):
        value = float(categorical.threshold(np.array(teacher) + shift, np.array(base), 2.0005).value)
        assert found.value.lower <= value <= found.value.upper
    assert found.value.upper - found.value.lower < 0.02


def test_the_precision_of_others_is_left_as_it_was() -> None:
    import flint

    before = flint.ctx.prec
    verified.threshold("0.999", 0.5, 5)
    with pytest.raises(ValueError, match="p must lie"):
        verified.threshold(2, 0.5, 5)
    assert flint.ctx.prec == before


def test_without_python_flint_the_error_names_the_command() -> None:
    code = "import sys; sys.modules['flint'] = None; import lambda_star; lambda_star.threshold(.9, .5, 5.); "
    code += "assert 'lambda_star.verified' not in sys.modules; import lambda_star.verified"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip().endswith("install it with: pip install 'lambda-star[verified]'")


def test_censored_and_rounded_rows_are_held_between_the_ends_of_calibrate() -> None:
    """Each row of a table stands for a box of p and b; its two λ* are the ends of the enclosure of that box."""
    from lambda_star.calibration.table import Table
    from lambda_star.calibration.thresholds import of_table

    mp = mpmath.mp.clone()
    mp.dps = 60
    rng = np.random.default_rng(3)
    rows, boxes = [], []
    for place in range(60):
        log_p, log_b, half = -(10.0 ** rng.uniform(-5, -0.5)), -rng.uniform(1, 12), 10.0 ** rng.uniform(-9, -2)
        row = {"log_p_low": log_p * (1 + half), "log_p_high": log_p * (1 - half)}
        row |= {"log_b_low": "-inf" if rng.random() < 0.3 else log_b - half, "log_b_high": log_b + half}
        boxes.append([[mp.exp(mp.mpf(row[f"log_{name}_{end}"])) for end in ("low", "high")] for name in "pb"])
        rows.append(
            {"sequence": 0, "position": place, "token": "[", "modal": "[", "log_p": log_p, "log_b": log_b, **row}
        )
    found = of_table(Table.from_rows(rows), 5.0)
    for low, high, (p, b) in zip(found.low, found.high, boxes, strict=True):
        of_p, of_b = (tuple(mp.nstr(end, 50) for end in ends) for ends in (p, b))
        box = verified.threshold(of_p, of_b, 5)
        assert abs(low - box.lower) <= 1e-13 * box.lower  # the log-odds of the table round before λ* does
        assert abs(high - box.upper) <= 1e-13 * box.upper
    assert found.censored.sum() > 5


def test_the_door_leads_to_this_wing() -> None:
    assert lambda_star.verified is verified
