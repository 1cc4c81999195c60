"""The formulas of the explorer are those of Python: the same source, and the same numbers in a browser."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from benchmarks import explorer as compiler
from lambda_star import bernoulli, updates
from lambda_star._core.namespaces import Floats
from lambda_star.dynamics import budget_threshold

POINTS = 10_000

RULES = [
    "none()",
    "log_ratio_cap(c=1.0001)",
    "log_ratio_cap(c=5)",
    "log_ratio_cap(c=1.5, through=True)",
    "log_ratio_clamp(bound=0.5)",
    "log_ratio_clamp(bound=10)",
    "log_ratio_clamp(bound=3, teacher=extrapolated)",
    "log_prob_floor(bound=0.3)",
    "log_prob_floor(bound=8)",
    "kl_to_base_cap(c=5)",
    "advantage_clamp(bound=1)",
    "advantage_clamp(bound=1, centred=True)",
    "reward_clip(bound=2)",
    "importance_weight(c=5, centred=False)",
    "ppo(eps=0.2)",
    "teacher_weight(c=5)",
    "teacher_weight(c=5, centred=False)",
    "top_k(k=1)",
    "top_k(k=1, through=True)",
    "truncated_sampling(top_p=0.95)",
    "truncated_sampling(top_p=0.3)",
]

HARD = [
    ("none()", 0.999, 1e-17, 1.02),
    ("none()", 0.999, 1e-20, 1.0),
    ("none()", 0.999999999999, 1e-300, 0.99),
    ("none()", 1e-20, 1e-40, 3.0),
    ("log_ratio_cap(c=5)", 0.9, 1e-16, 1.0437),
    ("log_ratio_cap(c=1.5, through=True)", 0.999999999999, 1e-17, 1.01),
    ("log_ratio_cap(c=5)", 1e-17, 0.5, 1.03),
    ("log_ratio_clamp(bound=0.5)", 0.999, 1e-25, 1.007766),
    ("log_prob_floor(bound=8)", 0.999, 1e-18, 1.022606),
    ("kl_to_base_cap(c=5)", 4e-15, 5e-16, 17.7),
    ("advantage_clamp(bound=1)", 0.999999999999, 1e-20, 1.5),
    ("advantage_clamp(bound=1)", 0.999999, 1e-20, 9.0),
    ("advantage_clamp(bound=1)", 0.999, 0.999999999999, 0.3),
    ("advantage_clamp(bound=0.01)", 0.9, 1 - 1e-15, 0.1),
    ("reward_clip(bound=2)", 0.999999999, 1e-17, 3.0),
    ("reward_clip(bound=2)", 1e-12, 0.9999999999, 0.2),
    ("reward_clip(bound=2)", 1e-18, 0.5, 1.5),
    ("teacher_weight(c=5, centred=False)", 0.999999999999, 1e-14, 1.5),
    ("top_k(k=1)", 1 - 1e-9, 1e-20, 1.5),
    ("top_k(k=1)", 1e-19, 0.8, 0.65),
    ("top_k(k=1, through=True)", 1e-24, 2e-24, 1.5),
    ("truncated_sampling(top_p=0.95)", 0.9, 1e-17, 1.001),
]
"""Rules, p, b and λ at which a complement such as 1 − b has lost its digits, or the tail is far thinner than those."""


def points() -> Floats:
    """Rows of p, b, c, λ, time and θ: ordinary ones, p up to 1 − 1e-9, b near p and c near 1."""
    rng = np.random.default_rng(20)

    def sometimes(one: Floats, other: Floats) -> Floats:
        return np.where(rng.random(POINTS) < 0.3, one, other)

    share = 1 / (1 + np.exp(-rng.uniform(-6, 8, (2, POINTS))))
    p = sometimes(1 - 10 ** rng.uniform(-9, -1, POINTS), share[0])
    near = p * (1 + 10 ** rng.uniform(-12, -2, POINTS) * rng.choice([-1, 1], POINTS))
    b = sometimes(np.clip(near, 1e-9, 1 - 1e-9), share[1])
    c = sometimes(1 + 10 ** rng.uniform(-12, 0, POINTS), 10 ** rng.uniform(0, 4, POINTS))
    lam, time, theta = rng.uniform(1, 4, POINTS), 10 ** rng.uniform(-3, 2, POINTS), rng.uniform(-30, 30, POINTS)
    return np.stack([p, b, c, lam, time, theta], axis=-1)


def expected(rows: Floats) -> dict[str, Any]:
    """What Python computes, by the names that ``checks.js`` uses."""
    p, b, c, lam, time, theta = rows.T
    found: dict[str, Any] = {
        name: getattr(bernoulli, name)(p, b, c)
        for name in ("threshold", "excess", "two_sided_threshold", "collapse_point", "cliff_width")
    }
    found |= {name: getattr(bernoulli, name)(p, b, lam) for name in ("tail_ratio", "fixed_point")}
    found["operating_point"] = bernoulli.operating_point(p, b, c, 0.25)
    found["stationary_student"] = bernoulli.stationary_student(p, b, c, lam)
    found["budget_threshold"] = budget_threshold(p, b, c, time)
    for text in RULES:
        rule = updates.parse(text)
        force = rule.force(theta, p, b, lam)
        found[f"{text} whole"] = np.ones(POINTS)
        found |= {f"{text} leaves": rule.leaves(p, b), f"{text} dies": rule.dies(p, b)}
        found |= {f"{text} student": rule.student(p, b, lam), f"{text} modal": force.modal, f"{text} tail": force.tail}
    return found


def test_the_compiled_formulas_are_those_of_the_source() -> None:
    assert compiler.TARGET.read_text(encoding="utf-8") == compiler.compiled(), "run `python -m benchmarks.explorer`"


@pytest.mark.slow
def test_a_browser_computes_what_python_computes(explorer: Callable[..., Any]) -> None:
    rows = points()
    found = explorer().check("evaluate", {"points": rows.tolist(), "rules": RULES})
    wanted = expected(rows)
    assert found.keys() == wanted.keys()
    for name, values in wanted.items():
        # A force is a difference of log-ratios of up to 30; where it vanishes only the absolute error is small.
        apart = 2e-14 if name.endswith(("modal", "tail")) else 0.0
        np.testing.assert_allclose(np.array(found[name].split(), float), values, rtol=1e-12, atol=apart, err_msg=name)


@pytest.mark.slow
def test_thin_tails_have_the_digits_of_exact_values(explorer: Callable[..., Any]) -> None:
    pytest.importorskip("flint")
    from lambda_star import verified

    page = explorer()
    for text, p, b, lam in HARD:
        rule, sides = updates.parse(text), ((p, b), (1 - Fraction(p), 1 - Fraction(b)))
        page.page.evaluate("(given) => lambdaStar.explore(given)", {"p": p, "b": b, "lam": lam, "rule": text})
        ends = [verified.updates.student(rule, one, other, lam).lower for one, other in sides]
        fixed = [verified.fixed_point(one, other, lam).lower for one, other in sides]
        wanted = {"the student's tail": ends[1], "the fixed point's tail": fixed[1]}
        if p < b:
            wanted["the modal token dies at λ"] = verified.updates.dies(rule, *sides[1]).lower
        for name, exact in wanted.items():
            shown = float(page.numbers()[name].replace("−", "-").replace("never", "inf"))
            assert shown == pytest.approx(exact, rel=1e-5, abs=0), (text, p, b, lam, name)
        is_kept = ends == pytest.approx(fixed, rel=1e-7, abs=0)
        assert is_kept == ("ends at the fixed point" in page.text("#status")), (text, p, b, lam)
    page.page.evaluate("lambdaStar.explore({ lam: 0.5, rule: 'teacher_weight(c=5, centred=False)' })")
    assert page.numbers()["the student's tail"] == "unknown"
