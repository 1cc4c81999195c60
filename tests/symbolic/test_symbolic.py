"""The derivations hold, can fail, agree with the numeric functions, and write the pages that are committed."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import math
import re
from collections.abc import Callable, Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, get_args
from unittest.mock import patch

import mpmath
import numpy as np
import pytest
import sympy as sp
from click.testing import CliRunner
from hypothesis import assume, given
from hypothesis import strategies as st

import lambda_star as ls
from lambda_star import categorical, dynamics, sequence, symbolic
from lambda_star.cli import main
from lambda_star.symbolic import symbols
from lambda_star.symbolic.assumptions import is_zero
from lambda_star.symbolic.derivation import REGISTRY, Derivation, Step, free_symbols
from lambda_star.symbolic.latex import Printer, alike, formula
from lambda_star.symbolic.pages import PAGES, derivations, pages
from lambda_star.symbolic.prose import read, slots
from lambda_star.symbolic.rules import Limit, Rewrite, Sign
from tests.night import thinned
from tests.strategies import moderate, open_clips, probabilities

ROOT = Path(__file__).parent.parent.parent
DERIVATIONS = derivations()
written = cache(pages)
NAMES = ("README.md", *(f"{name}.md" for name in PAGES))
MODULES = ("bernoulli", "categorical", "dynamics", "sequence")
INVERSES = ("base_for", "clip_for", "teacher_for")
"""One has no closed form, and all ranges are narrower: compared by themselves."""
RESULTS = {
    (derivation.module, name): expr
    for derivation in DERIVATIONS.values()
    if derivation.module in MODULES  # update rules share the names of their methods: test_updates.py compares them
    for name, (_, expr) in derivation.results.items()
    if name.isidentifier()
}
LOADED = {module: importlib.import_module(f"lambda_star.{module}") for module in MODULES}
FUNCTIONS = {
    (module, name): getattr(loaded, name)
    for module, loaded in LOADED.items()
    for name in loaded.__all__
    if inspect.isfunction(getattr(loaded, name))
}
SYMBOLS = {
    "p": symbols.p,
    "b": symbols.b,
    "c": symbols.c,
    "lam": symbols.lam,
    "x": symbols.x,
    "y": symbols.y,
    "margin": symbols.eps,
}
VALUES: Mapping[str, st.SearchStrategy[float]] = {
    "p": probabilities,
    "b": probabilities,
    "c": open_clips,
    "lam": st.floats(-3, 5),
    "x": st.floats(-600, 600),
    "y": st.floats(-600, 600),
    "margin": st.floats(0, 0.99),
}
COMPILED = {
    name: sp.lambdify(list(SYMBOLS.values()), expr, "mpmath")
    for (module, name), expr in RESULTS.items()
    if module == "bernoulli"
}


def evaluate(name: str, values: Mapping[str, float]) -> Any:
    """A result of one position at floats, in arithmetic that loses nothing a float can show."""
    with mpmath.workdps(700):
        return COMPILED[name](*(mpmath.mpf(values.get(symbol, 0.5)) for symbol in SYMBOLS))


def close(found: float, exact: Any) -> bool:
    if math.isinf(found) or exact == mpmath.inf:
        return bool(found == math.inf and exact > 1e300)
    with mpmath.workdps(50):
        return bool(abs(mpmath.mpf(found) - exact) <= mpmath.mpf("1e-12") * abs(exact) + mpmath.mpf("1e-300"))


# Every function has a derivation


def test_every_numeric_function_has_a_result_and_every_result_a_function() -> None:
    assert set(RESULTS) == set(FUNCTIONS)


@pytest.mark.parametrize(("module", "name"), sorted(FUNCTIONS))
def test_the_derivation_names_the_module_of_its_functions(module: str, name: str) -> None:
    homes = [d for d in DERIVATIONS.values() if d.module == module and name in d.results]
    assert len(homes) == 1 or (homes and module == "dynamics")  # that has a derivation for each flow
    assert FUNCTIONS[module, name].__module__.startswith(f"lambda_star.{module}")
    for text in (home.markdown() for home in homes):
        assert f"`{name}`" in text
        assert f"`lambda_star.{module}`" in text
    assert f"derivations/{module}.md" in (FUNCTIONS[module, name].__doc__ or "")


def test_every_derivation_has_a_section_and_every_section_a_derivation() -> None:
    sections = [(page, name) for page in PAGES for name in read(page).sections]
    assert [(derivation.module, derivation.name) for derivation in DERIVATIONS.values()] == sections
    assert set(REGISTRY) == {name for _, name in sections}
    assert all(REGISTRY[name]().name == name for name in REGISTRY)
    exported = [name for page in PAGES for name in importlib.import_module(f"lambda_star.symbolic.{page}").__all__]
    assert sorted(exported) == sorted(REGISTRY)


@pytest.mark.parametrize("derivation", DERIVATIONS.values(), ids=DERIVATIONS)
def test_every_step_has_one_slot_in_order_and_every_slot_a_step(derivation: Derivation) -> None:
    body = read(derivation.module).sections[derivation.name].body
    found = slots(body)
    assert len(found) == body.count("{{")
    steps = [slot.partition(":")[0] for slot in found if not slot.startswith("let ")]
    assert steps == ["result", *map(str, range(1, len(derivation.steps) + 1))]
    assert {slot.removeprefix("let ") for slot in found if slot.startswith("let ")} <= set(derivation.given)


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("bernoulli", "threshold_derivation", "threshold"),
        ("bernoulli", "collapse_derivation", "regimes"),
        ("categorical", "rest_derivation", "unlisted"),
        ("dynamics", "collapse_time_derivation", "time_to_collapse"),
        ("sequence", "list_derivation", "listwise"),
    ],
)
def test_old_names_work_and_warn(module: str, old: str, new: str) -> None:
    home = getattr(symbolic, module)
    with pytest.warns(DeprecationWarning, match=f"is now lambda_star.symbolic.{module}.{new}"):
        assert getattr(home, old) is getattr(home, new)
    with pytest.raises(AttributeError):
        home.push_derivation  # noqa: B018


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", sorted(name for module, name in FUNCTIONS if module == "bernoulli" and name not in INVERSES)
)
@given(data=st.data())
def test_a_function_is_its_derived_expression(name: str, data: st.DataObject) -> None:
    values = {
        argument: data.draw(VALUES[argument], argument)
        for argument in inspect.signature(getattr(ls.bernoulli, name)).parameters
    }
    assume(values.get("p") != values.get("b", 0.0) or name not in {"stationary_student", "regime"})
    found, exact = getattr(ls.bernoulli, name)(**values), evaluate(name, values)
    if name == "is_clip_safe":
        near = abs(ls.tail_ratio(values["p"], values["b"], values["lam"]) / values["c"] - 1) < 1e-9
        assert near or found == bool(exact)
    elif name == "sensitivity":
        assert all(close(one, other) for one, other in zip(found, exact, strict=True))
    elif name == "regime":
        assert found == int(exact) or near_a_border(values)
    elif name == "stationary_student":
        assert math.isclose(found, exact, abs_tol=1e-9) or near_a_border(values)
    elif name in {"fixed_point", "tail_ratio"}:  # λ·Δ is a product of floats: an error in it is multiplied by its size
        assert math.isclose(found, exact, rel_tol=1e-11, abs_tol=1e-300)  # subnormal floats have fewer digits
    else:
        assert close(found, exact)


def near_a_border(values: Mapping[str, float]) -> bool:
    """Whether a hair's breadth in λ changes the regime."""
    p, b, c, lam = (values[name] for name in ("p", "b", "c", "lam"))
    width = 1e-9 * max(1, abs(lam))
    return bool(ls.regime(p, b, c, lam - width) != ls.regime(p, b, c, lam + width))


@given(probabilities, probabilities, open_clips, st.floats(1.001, 5))
def test_the_inverses_are_their_derived_expressions(p: float, b: float, c: float, lam: float) -> None:
    assume(p > b)
    values = {"p": p, "b": b, "c": c, "lam": lam}
    assert math.isclose(ls.clip_for(p, b, lam), evaluate("clip_for", values), rel_tol=1e-11)
    base = ls.base_for(p, c, lam)
    assert math.isclose(base, evaluate("base_for", values), rel_tol=1e-10, abs_tol=1e-300)
    equation = RESULTS["bernoulli", "teacher_for"]
    sides = sp.lambdify((symbols.p, symbols.b, symbols.c, symbols.lam), equation.args, "mpmath")
    with mpmath.workdps(50):
        found = mpmath.mpf(ls.teacher_for(b, c, lam))
        width = 1e-13 * max(1, -mpmath.log(found))  # p is the exponential of what Newton's method finds
        below, above = found * (1 - width), found * (1 + width)
        assume(above < 1 - 1e-12 and below > b)
        signs = [mpmath.sign(mpmath.fsub(*sides(value, b, c, lam))) for value in (below, above)]
    assert signs == [-1, 1]


# K tokens and answers of many positions


@cache
def compiled(expr: sp.Basic) -> tuple[list[str], Callable[..., Any]]:
    found = sorted(expr.free_symbols, key=str)
    return [symbol.name for symbol in found], sp.lambdify(found, expr, "mpmath")


def at(expr: sp.Basic, values: Mapping[str, Any]) -> Any:
    """An expression at values of its symbols by name, in 50 digits."""
    names, function = compiled(expr)
    with mpmath.workdps(50):
        return function(*(mpmath.mpf(values[name]) for name in names))


def result(derivation: str, name: str) -> sp.Basic:
    """A result that is no numeric function of its own."""
    return DERIVATIONS[derivation].results[name][1]


def near(found: float, exact: Any, rel: float = 1e-10, tiny: float = 1e-12) -> bool:
    if math.isinf(exact) or math.isinf(found):
        return bool(found == exact)
    return bool(abs(mpmath.mpf(float(found)) - exact) <= rel * abs(exact) + tiny)


class Row(NamedTuple):
    """Log-probabilities of teacher and base as floats, and what they say exactly, normalised."""

    log_t: np.ndarray[Any, Any]
    log_b: np.ndarray[Any, Any]
    t: list[Any]
    b: list[Any]
    r: list[Any]

    @classmethod
    def of(cls, log_t: Any, log_b: Any) -> Row:
        with mpmath.workdps(50):
            t, b = (
                [weight / mpmath.fsum(weights) for weight in weights]
                for weights in ([mpmath.exp(float(value)) for value in values] for values in (log_t, log_b))
            )
            r = [mpmath.log(teacher / base) for teacher, base in zip(t, b, strict=True)]
        return cls(np.asarray(log_t), np.asarray(log_b), t, b, r)

    def values(self, **others: Any) -> dict[str, Any]:
        """The exact numbers by the names of their symbols."""
        named = zip("tbr", (self.t, self.b, self.r), strict=True)
        return {f"{name}_{i}": value for name, one in named for i, value in enumerate(one, start=1)} | others


@st.composite
def rows(draw: st.DrawFn, tokens: int = 3) -> Row:
    """Teacher and base over some tokens, no two log-ratios nearly the same."""
    weights = st.lists(st.floats(-6, 6), min_size=tokens, max_size=tokens)
    log_t, log_b = (values - np.log(np.exp(values).sum()) for values in (np.array(draw(weights)) for _ in range(2)))
    gaps = np.diff(np.sort(log_t - log_b))
    assume(gaps.min() > 1e-3)
    return Row.of(log_t, log_b)


lambdas = st.floats(-3, 5)
wide_clips = st.one_of(st.floats(1.01, 10.0), st.floats(1.01, 1e6))


@given(rows(), lambdas)
def test_fixed_point_and_ratio_of_k_tokens(row: Row, lam: float) -> None:
    log_partition = at(result("ratio", "log-partition"), row.values(**{"lambda": lam}))
    student, ratios = (function(row.log_t, row.log_b, lam) for function in (categorical.fixed_point, categorical.ratio))
    for i in range(3):
        token = {"lambda": lam, "A": log_partition, "t_i": row.t[i], "b_i": row.b[i], "r_i": row.r[i]}
        assert near(student[i], at(RESULTS["categorical", "fixed_point"], token))
        assert near(ratios[i], at(RESULTS["categorical", "ratio"], token), tiny=0)


@given(rows(), st.one_of(st.just(1.0), st.floats(0.01, 8)))
def test_the_distances_of_teacher_and_base(row: Row, order: float) -> None:
    exact = at(RESULTS["categorical", "renyi"], row.values(alpha=order))
    assert near(categorical.renyi(row.log_t, row.log_b, order), exact)
    exact = at(RESULTS["categorical", "hilbert_distance"], row.values())
    assert near(categorical.hilbert_distance(row.log_t, row.log_b), exact)


@given(rows(), wide_clips)
def test_the_token_threshold_solves_its_equation(row: Row, c: float) -> None:
    found = categorical.threshold(row.log_t, row.log_b, c)
    equation = RESULTS["categorical", "threshold"]
    excess = mpmath.mpf(float(found.value)) - 1
    values = []
    for factor in (1 - 1e-9, 1 + 1e-9):
        lam = 1 + excess * factor
        divergence = at(RESULTS["categorical", "renyi"], row.values(alpha=lam))
        known = {"lambda": lam, r"D_{\lambda}": divergence, r"r_{\min}": min(row.r), "c": c}
        values.append(at(equation.lhs, known) - at(equation.rhs, known))
    assert values[0] < 0 < values[1]
    assert row.r[int(found.binding)] == min(row.r)


@given(rows(), wide_clips, st.sampled_from([0.0, 0.05, 0.2]))
def test_the_lower_bound_of_k_tokens(row: Row, c: float, floor: float) -> None:
    assume(all(abs(teacher - floor) > 1e-9 for teacher in row.t))
    found = categorical.threshold(row.log_t, row.log_b, c, min_mass=floor).lower
    least = min(r for teacher, r in zip(row.t, row.r, strict=True) if teacher >= floor)
    with mpmath.workdps(50):
        d = max(row.r) - least
        mean = mpmath.fsum(teacher * max(r - least, 0) for teacher, r in zip(row.t, row.r, strict=True))
        exact = at(result("token_bounds", "lower bound"), {"w": mean / d, "d": d, "c": c}) if d else mpmath.inf
    assert near(found, exact)
    value = float(categorical.threshold(row.log_t, row.log_b, c, min_mass=floor).value)
    assert found <= value * (1 + 1e-12)
    if d:
        upper = min(
            at(result("token_bounds", "single-token upper bound"), {"t_k": teacher, "y_k": r - least, "c": c})
            for teacher, r in zip(row.t, row.r, strict=True)
            if r > least
        )
        assert value <= upper * (1 + mpmath.mpf("1e-12"))


@given(rows())
def test_the_flip_point_of_k_tokens(row: Row) -> None:
    modal = int(np.argmax(row.log_t))
    order = [modal, *(i for i in range(3) if i != modal)]
    permuted = Row.of(row.log_t[order], row.log_b[order])
    exact = at(RESULTS["categorical", "flip_point"], permuted.values())
    assert near(categorical.flip_point(row.log_t, row.log_b), exact)


@given(rows(), wide_clips, lambdas)
def test_the_stationary_student_of_k_tokens(row: Row, c: float, lam: float) -> None:
    assume(abs(lam - 1) > 1e-3)
    order = sorted(range(3), key=lambda i: -(lam - 1) * row.r[i])
    with mpmath.workdps(50):
        values = {f"t_{place}": row.t[i] for place, i in enumerate(order, start=1)}
        values |= {f"s_{place}": (mpmath.mpf(lam) - 1) * row.r[i] for place, i in enumerate(order, start=1)}
        values["kappa"] = at(result("token_student", "common advantage"), {**values, "c": c})
    found = np.exp(categorical.stationary_student(row.log_t, row.log_b, c, lam))
    for place, (i, share) in enumerate(zip(order, RESULTS["categorical", "stationary_student"], strict=True), start=1):
        values[f"q_{place}"] = at(share, values)
        assert near(found[i], values[f"q_{place}"], tiny=1e-10)


@given(rows(tokens=2), wide_clips, lambdas)
def test_with_two_tokens_the_student_is_that_of_one_position(row: Row, c: float, lam: float) -> None:
    p, b = (float(one[0]) for one in (row.t, row.b))
    found = np.exp(categorical.stationary_student(row.log_t, row.log_b, c, lam))
    assert near(found[0], evaluate("stationary_student", {"p": p, "b": b, "c": c, "lam": lam}), tiny=1e-9)


@given(rows(tokens=6))
def test_a_row_is_completed_as_derived(row: Row) -> None:
    known = (row.log_t[:3], row.log_b[:3])
    low, high = float(min(row.r[3:])), float(max(row.r[3:]))
    with mpmath.workdps(50):
        values = {"T": mpmath.fsum(row.t[3:]), "B": mpmath.fsum(row.b[3:])}
        values |= {r"\rho_{\mathrm{lo}}": mpmath.exp(low), r"\rho_{\mathrm{hi}}": mpmath.exp(high)}
    merged = np.exp(np.stack(categorical.with_unlisted(*known)))[:, 3:].ravel()
    divided = np.exp(np.stack(categorical.with_unlisted(*known, low, high)))[:, 3:].ravel()
    for found, exact in (
        (merged, result("unlisted", "merged token")),
        (divided, RESULTS["categorical", "with_unlisted"]),
    ):
        assert all(near(one, other, tiny=1e-10) for one, other in zip(found, at(exact, values), strict=True))


@given(rows(tokens=6), wide_clips)
def test_completed_rows_bound_thresholds_as_derived(row: Row, c: float) -> None:
    assume(min(*row.t, *row.b) > 1e-4)
    low, high = float(min(row.r[3:])), float(max(row.r[3:]))
    merged = categorical.with_unlisted(row.log_t[:3], row.log_b[:3])
    divided = categorical.with_unlisted(row.log_t[:3], row.log_b[:3], low, high)
    completed = (divided, (row.log_t, row.log_b), merged)
    thresholds = [float(categorical.threshold(teacher, base, c).value) for teacher, base in completed]
    assert all(one <= other * (1 + 1e-9) for one, other in pairwise(thresholds))


@given(rows(), wide_clips)
def test_class_and_two_outcomes_among_k_tokens(row: Row, c: float) -> None:
    modal = int(np.argmax(row.log_t))
    tail = [i for i in range(3) if i != modal]
    p, b = row.t[modal], row.b[modal]
    found = categorical.threshold(row.log_t, row.log_b, c, mode="bernoulli").value
    assume(abs(p - b) > 1e-4)
    exact = at(RESULTS["bernoulli", "threshold"], {"p": p, "b": b, "c": c})
    assert near(found, exact)
    found = categorical.threshold(row.log_t, row.log_b, c, mode="class")
    if found.value < math.inf and found.converged:
        with mpmath.workdps(50):
            lam = mpmath.mpf(float(found.value))
            power = [teacher**lam * base ** (1 - lam) for teacher, base in zip(row.t, row.b, strict=True)]
            masses = {"p": p, "M": power[modal], "S": mpmath.fsum(power[i] for i in tail)}
        assert near(float(at(result("readings", "class ratio"), masses)), c, rel=1e-9)
    with mpmath.workdps(50):
        low, high = min(row.r), max(row.r)
        mean = mpmath.fsum(teacher * r for teacher, r in zip(row.t, row.r, strict=True))
        inside = mpmath.fsum(row.t[i] * row.r[i] for i in tail) / (1 - p)
        start = {"w": (mean - low) / (high - low), r"r_{\mathrm{hi}}": high, r"\mu_C": inside, "R_0": 1, "c": c}
        safe = 1 + at(result("safe_step", "safe step"), start)
    assert found.lower == math.inf or near(found.lower, safe)
    assert found.value >= safe * (1 - mpmath.mpf("1e-12"))


shares = st.floats(0, 1)
pairs = st.tuples(st.floats(0.01, 0.999), st.floats(0.01, 0.999)).filter(lambda pair: abs(pair[0] - pair[1]) > 1e-3)


@given(pairs, pairs, wide_clips, lambdas, st.sampled_from([0.0, 0.2, 0.5, 0.7, 1.0]))
def test_thresholds_of_an_answer(
    first: tuple[float, float], second: tuple[float, float], c: float, lam: float, level: float
) -> None:
    stars = [at(RESULTS["bernoulli", "threshold"], {"p": p, "b": b, "c": c}) for p, b in (first, second)]
    assume(all(abs(star - lam) > 1e-9 for star in stars))
    values = {rf"\lambda^*_{{{t}}}": star for t, star in enumerate(stars, start=1)} | {"lambda": lam, "alpha": level}
    answer = sequence.Positions.from_probabilities(*map(list, zip(first, second, strict=True)))
    assert near(sequence.threshold(answer, c), at(RESULTS["sequence", "threshold"], values))
    exact = at(RESULTS["sequence", "lower_quantile"], values)
    assert near(sequence.threshold(answer, c, quantile=level), exact)
    assert near(sequence.lower_quantile(np.array(stars, dtype=np.float64), level), exact)
    assert sequence.share_past(answer, c, lam) == at(RESULTS["sequence", "share_past"], values)


@given(st.lists(pairs, min_size=2, max_size=2), st.lists(shares, min_size=8, max_size=8), wide_clips, lambdas)
def test_validity_of_two_positions(
    outcomes: list[tuple[float, float]], drawn: list[float], c: float, lam: float
) -> None:
    goes, rest = np.array(drawn[:4]).reshape(2, 2), np.array(drawn[4:]).reshape(2, 2)
    ends = (1 - goes) * rest
    p, b = map(list, zip(*outcomes, strict=True))
    answer = sequence.Positions.from_probabilities(p, b, goes=goes, ends=ends)
    values = {f"q_{t}": student(pair, c, lam) for t, pair in enumerate(outcomes, start=1)}
    for name, share in (("g", goes), ("e", ends)):
        values |= {rf"{name}^{kind}_{t + 1}": share[t, i] for i, kind in enumerate(("m", r"\tau")) for t in range(2)}
    assert near(float(sequence.validity(answer, c, lam)), at(RESULTS["sequence", "validity"], values), tiny=1e-9)


def student(pair: tuple[float, float], c: float, lam: float) -> Any:
    return evaluate("stationary_student", {"p": pair[0], "b": pair[1], "c": c, "lam": lam})


@given(st.integers(1, 6), pairs, st.none() | pairs, st.none() | pairs, shares, wide_clips, lambdas)
def test_validity_of_a_list(
    items: int,
    separator: tuple[float, float],
    quote: tuple[float, float] | None,
    opening: tuple[float, float] | None,
    closes: float,
    c: float,
    lam: float,
) -> None:
    answer = sequence.listwise(items, separator=separator, quote=quote, opening=opening, closes=closes)
    values = {"K": items, r"\varsigma": closes, "q_s": student(separator, c, lam)}
    values |= {name: student(pair, c, lam) if pair else 1 for name, pair in (("q_q", quote), ("q_o", opening))}
    exact = at(RESULTS["sequence", "listwise"], values)
    assert near(float(sequence.validity(answer, c, lam)), exact, tiny=1e-9)


# A finite budget

flows: st.SearchStrategy[Any] = st.sampled_from(get_args(dynamics.Flow))


@st.composite
def places(
    draw: st.DrawFn, teachers: st.SearchStrategy[float] = moderate, clips: st.SearchStrategy[float] = open_clips
) -> dict[str, Any]:
    """A position whose base lies between p/c and p, so that no clip acts on it, and a λ above its threshold."""
    p, c = draw(teachers), draw(clips)
    b = p * c ** -draw(st.floats(0.001, 0.999))
    assume(p / c < b < p)
    lam = 1 + float(ls.threshold(p, b, c) - 1) * (1 + 10 ** draw(st.floats(-3, 1)))
    assume(1 < lam < 1e6 and lam > ls.threshold(p, b, c))
    return {"p": p, "b": b, "c": c, "lam": lam}


def named(values: Mapping[str, float]) -> dict[str, Any]:
    """The same by the names of the symbols."""
    return {"lambda" if name == "lam" else name: mpmath.mpf(value) for name, value in values.items()}


def distances(p: float, b: float, c: float, lam: Any) -> dict[str, Any]:
    """The fixed point, and how far base and clip edge are from it, exactly."""
    with mpmath.workdps(50):
        gap = log_odds(p) - log_odds(b)
        edge = mpmath.log((mpmath.mpf(c) - 1 + p) / p)
        return {
            "theta_lambda": log_odds(b) + lam * gap,
            "u_0": lam * gap,
            "u_c": (lam - 1) * gap - edge,
            "theta_0": log_odds(b),
        }


def log_odds(probability: Any) -> Any:
    with mpmath.workdps(50):
        return mpmath.log(probability) - mpmath.log(1 - mpmath.mpf(probability))


def edge_time(flow: dynamics.Flow, values: Mapping[str, float]) -> Any:
    return at(result("natural_flow" if flow == "natural" else "policy_gradient", "time_to_edge"), named(values))


@given(places(), flows, st.floats(0.001, 0.999))
def test_times_and_steps_to_the_edge(values: dict[str, Any], flow: dynamics.Flow, rate: float) -> None:
    exact = edge_time(flow, values)
    found = dynamics.time_to_edge(**values, flow=flow)
    assert near(found, exact, rel=1e-11)
    steps = exact / (-mpmath.log(1 - mpmath.mpf(rate)) if flow == "natural" else rate)
    assume(abs(steps - mpmath.nint(steps)) > 1e-9 * (1 + steps))
    derived = at(result("natural_steps", "steps_to_edge"), {**named(values), "eta": rate})
    if flow == "policy-gradient":
        derived = at(result("policy_gradient", "steps_to_edge"), {"T": exact, "eta": rate})
    assert dynamics.steps_to_edge(**values, flow=flow, rate=rate) == derived


@given(places(), st.floats(0, 1))
def test_below_the_threshold_the_edge_is_never_reached(values: dict[str, Any], share: float) -> None:
    values["lam"] = float(ls.threshold(values["p"], values["b"], values["c"])) * share * (1 - 1e-12)
    for flow in get_args(dynamics.Flow):
        assert dynamics.time_to_edge(**values, flow=flow) == edge_time(flow, values) == mpmath.inf
    assert dynamics.steps_to_edge(**values, rate=0.5) == mpmath.inf
    assert at(result("natural_steps", "steps_to_edge"), {**named(values), "eta": 0.5}) == mpmath.inf


@given(places(), st.floats(-3, 2).map(lambda k: 10**k), st.integers(1, 500), st.floats(0.001, 0.999))
def test_thresholds_of_a_natural_budget(values: dict[str, Any], budget: float, steps: int, rate: float) -> None:
    del values["lam"]
    exact = at(result("natural_flow", "budget_threshold"), {**values, "s": budget})
    assert near(dynamics.budget_threshold(**values, budget=budget), exact, rel=1e-12)
    exact = at(result("natural_steps", "budget_threshold"), {**values, "N": steps, "eta": rate})
    assert near(dynamics.budget_threshold(**values, steps=steps, rate=rate), exact, rel=1e-12)


@given(places(), st.floats(-2, 6).map(lambda k: 10**k))
def test_the_threshold_of_a_policy_gradient_budget_solves_its_equation(values: dict[str, Any], budget: float) -> None:
    del values["lam"]
    found = mpmath.mpf(float(dynamics.budget_threshold(**values, budget=budget, flow="policy-gradient")))
    slowness = {name: at(DERIVATIONS["policy_gradient"].given[name], values) for name in ("m", "M")}
    low, high = (
        at(result("policy_gradient", f"{end} bound of the threshold"), {**values, **slowness, "B": budget})
        for end in ("lower", "upper")
    )
    assert low * (1 - mpmath.mpf("1e-13")) <= found <= high * (1 + mpmath.mpf("1e-13"))
    star = at(RESULTS["bernoulli", "threshold"], values)
    assume(found - star > 1e-5 * star)
    equation = result("policy_gradient", "budget_threshold")
    with mpmath.workdps(50):
        beyond = [star + (found - star) * factor for factor in (1 - mpmath.mpf("1e-9"), 1 + mpmath.mpf("1e-9"))]
    left = [at(equation.lhs, distances(**values, lam=lam)) for lam in beyond]
    assert left[0] > at(equation.rhs, {"B": budget}) > left[1]


@given(places(st.floats(0.01, 0.999), st.floats(1.01, 100)), flows, st.floats(0.01, 0.99))
def test_the_time_to_collapse(values: dict[str, Any], flow: dynamics.Flow, share: float) -> None:
    p, b, c, lam = values.values()
    tail = (1 - p) / c * share
    found = dynamics.time_to_collapse(**values, tail=tail, flow=flow)
    surplus = at(result("time_to_collapse", "surplus over the collapse point"), named(values))
    assume(abs(surplus - mpmath.log(1 - mpmath.mpf(tail))) > 1e-6)
    key = "time_to_collapse" if flow == "natural" else "time to collapse under policy gradient"
    exact = at(result("time_to_collapse", key), {**named(values), r"\tau": tail, "T_c": edge_time(flow, values)})
    assert near(found, exact, rel=1e-9)
    larger = (1 - p) / c + share * (1 - b - (1 - p) / c)
    ends = distances(**values) | {"theta": log_odds(1 - mpmath.mpf(larger))}
    free = at(result("natural_flow", "time to a place"), ends)
    if flow == "policy-gradient":
        with mpmath.workdps(50):
            ends["u_c"] = ends["theta_lambda"] - ends["theta"]
        free = at(result("policy_gradient", "budget_threshold").lhs, ends)
    assert near(dynamics.time_to_collapse(p, b, c, lam, tail=larger, flow=flow), free, rel=1e-9, tiny=1e-10)


@given(places(), st.floats(0.001, 1))
def test_the_free_phase_of_a_natural_trajectory(values: dict[str, Any], share: float) -> None:
    moment = share * float(dynamics.time_to_edge(**values)) * (1 - 1e-9)
    exact = at(result("natural_flow", "trajectory"), {**named(values), "s": moment})
    assert near(dynamics.trajectory(**values, times=[moment])[0], exact, tiny=1e-8)


@given(pairs, st.floats(1.1, 10), lambdas, flows, st.floats(0.1, 10))
def test_a_trajectory_has_the_clipped_velocity(
    pair: tuple[float, float], c: float, lam: float, flow: dynamics.Flow, moment: float
) -> None:
    """The time that the derived velocity needs to where the trajectory is."""
    (p, b), fixed = pair, {"c": mpmath.mpf(c), "lambda": mpmath.mpf(lam)}
    fixed |= {"p": mpmath.mpf(p), "b": mpmath.mpf(b)}
    names, derived = compiled(result("clipped_flow", "trajectory"))
    kinks = [at(one, fixed) for key, (_, one) in DERIVATIONS["clipped_flow"].results.items() if key.startswith("where")]

    def speed(theta: Any) -> Any:
        q, rest = 1 / (1 + mpmath.exp(-theta)), 1 / (1 + mpmath.exp(theta))
        return derived(*(q if name == "q" else fixed[name] for name in names)) * (1 if flow == "natural" else q * rest)

    with mpmath.workdps(40):
        start, end = log_odds(b), mpmath.mpf(dynamics.trajectory(p, b, c, lam, [moment], flow=flow)[0])
        assume(abs(end) < 60 and abs(speed(end)) > 1e-3)
        between = sorted((kink for kink in kinks if min(start, end) < kink < max(start, end)), reverse=end < start)
        taken = mpmath.quad(lambda theta: 1 / speed(theta), [start, *between, end])
        assert abs(taken - moment) * abs(speed(end)) < 2e-8


class Coin:
    """A generator whose one sample is known."""

    def __init__(self, modal: int) -> None:
        self.modal = modal

    def binomial(self, rollouts: int, q: Any) -> Any:
        assert rollouts == 1
        return np.full(np.shape(q), self.modal)


@given(pairs, st.floats(1.1, 10), lambdas, flows, st.floats(0.01, 1), st.booleans())
def test_a_sampled_step_has_the_derived_mean_and_noise(
    pair: tuple[float, float], c: float, lam: float, flow: dynamics.Flow, rate: float, baseline: bool
) -> None:
    (p, b), ends = pair, []
    for modal in (0, 1):
        with patch.object(np.random, "default_rng", return_value=Coin(modal)):
            options: dict[str, Any] = {
                "rollouts": 1,
                "steps": 1,
                "seed": 0,
                "rate": rate,
                "flow": flow,
                "baseline": baseline,
            }
            ends.append(float(dynamics.simulate(p, b, c, lam, **options)[1]))
    key = "simulate" if flow == "natural" else "mean step of plain policy gradient"
    exact = at(result("sampled_step", key), {"p": p, "b": b, "c": c, "lambda": lam, "q": b, "eta": rate})
    assert near(b * ends[1] + (1 - b) * ends[0], exact, tiny=1e-10)
    with mpmath.workdps(50):
        outcomes = {"A_m": (mpmath.mpf(p), mpmath.mpf(b)), r"A_\tau": (1 - mpmath.mpf(p), 1 - mpmath.mpf(b))}
        values = {  # the student is the base
            name: min(mpmath.log(teacher / base), mpmath.log(c)) + (lam - 1) * mpmath.log(teacher / base)
            for name, (teacher, base) in outcomes.items()
        } | {"q": b}
        values["B"] = at(result("sampled_step", "mean advantage"), values) if baseline else 0
        exact = rate**2 * at(result("sampled_step", "variance of a sample"), values)
        noise = b * (1 - b) * (ends[1] - ends[0]) ** 2 * (1 if flow != "natural" else (b * (1 - b)) ** 2)
    assert near(noise, exact, tiny=1e-10)


# Every step holds, and can fail


@pytest.mark.slow
@pytest.mark.parametrize("name", DERIVATIONS)
def test_every_step_holds(name: str) -> None:
    assert DERIVATIONS[name].check() == len(DERIVATIONS[name].steps)


def broken(derivation: Derivation, number: int) -> Derivation:
    steps = list(derivation.steps)
    steps[number] = dataclasses.replace(steps[number], after=-steps[number].after)
    return dataclasses.replace(derivation, steps=tuple(steps))


STEPS = [
    (name, number)
    for name, derivation in DERIVATIONS.items()
    for number, step in enumerate(derivation.steps)
    if not isinstance(step.after, sp.Rel) and step.after not in {sp.Integer(0), sp.oo}
    if not step.after.has(sp.Integral)  # a quadrature in so many digits takes minutes
]


def not_shown_otherwise(expr: sp.Expr) -> bool:
    """What ``is_zero`` finds, at once where one point refutes it; SymPy would try for seconds."""
    parameters = sorted(expr.free_symbols, key=str)
    value = sp.lambdify(parameters, expr, "mpmath")(*(mpmath.mpf(k) / 7 for k in range(5, 5 + len(parameters))))
    return abs(value) < 1e-6 and is_zero(expr)


@pytest.mark.parametrize(("name", "number"), thinned(STEPS, 7))
def test_a_changed_sign_makes_the_step_fail(name: str, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lambda_star.symbolic.rules.is_zero", not_shown_otherwise)
    step = broken(DERIVATIONS[name], number).steps[number]
    assert step.fault(step.assumptions or DERIVATIONS[name].assumptions, f"{name}/{number}")


def test_a_sign_that_does_not_show_and_a_limit_that_is_not_reached_fail() -> None:
    derivation = symbolic.bernoulli.threshold()
    p, b, c = symbols.p, symbols.b, symbols.c
    hidden = Step(Sign(">"), 1 - p, (1 - p**2) / (1 + p) - b + b)
    region = derivation.assumptions
    assert hidden.rule.check(hidden.before, hidden.after, region, "seed") is None
    assert "does not show" in (Sign(">").check(p - sp.Rational(1, 2), p - sp.Rational(1, 2), region, "seed") or "")
    assert "does not show" in (Sign("<").check(p - b, p - b, region, "seed") or "")
    assert "limit" in (Limit(p, sp.Integer(1)).check(p / c, sp.Integer(1), region, "seed") or "")
    assert "does not go to" in (Limit(p, sp.Integer(0)).check(p, sp.Integer(0), region, "seed") or "")
    assert "SymPy makes" in (Rewrite().check(p, p * b, region, "seed") or "")


# What a reader sees


def test_a_derivation_shows_itself() -> None:
    derivation = symbolic.bernoulli.threshold()
    assert derivation.latex().startswith(r"\lambda^* = ")
    assert derivation._repr_latex_().startswith("$")
    assert "```" not in derivation._repr_markdown_()
    assert derivation.markdown().count(r"\tag{") == len(slots(read("bernoulli").sections["threshold"].body)) - 1
    assert derivation.expr.free_symbols == {symbols.p, symbols.b, symbols.c}
    with mpmath.workdps(30):
        star = derivation.lambdify(symbols.p, symbols.b, symbols.c)(*map(mpmath.mpf, ("0.99933697778", "0.5", "5")))
    assert abs(star - 1.22) < 1e-9


def test_the_finite_budget_reproduces_the_quadrature() -> None:
    derivation = symbolic.dynamics.policy_gradient()
    time = derivation.lambdify(symbols.p, symbols.b, symbols.c, symbols.lam)
    with mpmath.workdps(30):
        p, b, c = mpmath.mpf("0.9"), mpmath.mpf("0.7"), mpmath.mpf(2)
        gap = mpmath.log(p * (1 - b) / (b * (1 - p)))
        edge = mpmath.log((c - 1 + p) / p)
        lam = 1 + mpmath.mpf("1.1") * edge / gap
        start, end = mpmath.log(b / (1 - b)), mpmath.log(p / (1 - p)) + edge
        target = start + lam * gap
        slow = mpmath.quad(lambda at: (2 + mpmath.exp(at) + mpmath.exp(-at)) / (target - at), [start, end])
        assert abs(time(p, b, c, lam) - slow) < 1e-20
    assert abs(slow - mpmath.mpf("49.110593668667")) < 1e-11


p, b, c, lam, push = symbols.p, symbols.b, symbols.c, symbols.lam, (symbols.lam - 1) * symbols.gap


@pytest.mark.parametrize(
    ("expr", "written"),
    [
        (1 - p, "1 - p"),
        (c - 1 + p, "c - 1 + p"),
        (push, r"(\lambda - 1) \Delta"),
        (1 - p + p * sp.exp(push), r"1 - p + p e^{(\lambda - 1) \Delta}"),
        (1 + sp.log((c - 1 + p) / p) / symbols.gap, r"1 + \frac{\log\frac{c - 1 + p}{p}}{\Delta}"),
        (symbols.logit(b) - sp.log(c), r"\mathrm{logit}(b) - \log c"),
        (-(sp.log(1 - p) ** 2), r"- \log^{2}(1 - p)"),
        (-(p + c) / b, r"- \frac{c + p}{b}"),
        (p**lam * b ** (1 - lam), r"p^{\lambda} b^{1 - \lambda}"),
        (3 * 2**lam, r"3 \cdot 2^{\lambda}"),
        (1 / p, r"\frac{1}{p}"),
        (sp.exp(-p / c), r"e^{- p/c}"),
        (sp.exp(sp.log(p / c) / b), r"\exp\left(\frac{\log\frac{p}{c}}{b}\right)"),
        (sp.exp(b / sp.log(p / c)), r"\exp\left(\frac{b}{\log\frac{p}{c}}\right)"),
    ],
)
def test_formulas_are_written_as_a_person_writes_them(expr: sp.Expr, written: str) -> None:
    assert formula(expr) == written


def test_no_definition_and_no_solution_says_that_something_is_itself() -> None:
    for one in DERIVATIONS.values():
        defined = re.findall(r"\$([^$]+)\$", one._premises().partition("Definitions: ")[2].partition("Results used")[0])
        for shown in (*defined, *(step.latex().partition(r"\iff")[2] for step in one.steps)):
            sides = shown.split("=")
            assert not [pair for pair in pairwise(sides) if alike(*pair)], (one.name, shown)


def test_an_equation_stands_behind_a_colon() -> None:
    equations = [step for one in DERIVATIONS.values() for step in one.steps if isinstance(step.after, sp.Rel)]
    shown = [step.latex().removeprefix(rf"{step.name}:\quad ") for step in equations]
    for step, text in zip(equations, shown, strict=True):
        assert text.startswith((formula(step.before), formula(step.after))), text
    assert sum(r"\iff" in text for text in shown) == 1
    assert symbolic.updates.truncated_sampling().latex().startswith(r"\lambda_{\mathrm{dies}}:\quad ")


def test_a_name_that_is_a_difference_or_a_quotient_is_printed_whole() -> None:
    declared = {symbol for one in DERIVATIONS.values() for step in one.steps for symbol in free_symbols(step)}
    broken_up = [symbol for symbol in declared if re.search("[-+/(]", symbol.name) and formula(symbol) != symbol.name]
    assert not broken_up


def test_the_printer_reorders_and_drops_nothing() -> None:
    shown = [step.after for derivation in DERIVATIONS.values() for step in derivation.steps]
    parts = [part for expr in shown for part in sp.preorder_traversal(expr)]
    printer = Printer()
    for part in parts:
        if isinstance(part, sp.Add):
            assert sorted(printer._as_ordered_terms(part), key=sp.default_sort_key) == sorted(
                part.args, key=sp.default_sort_key
            )
        elif isinstance(part, sp.Mul):
            assert sorted(printer._as_ordered_factors(part), key=sp.default_sort_key) == sorted(
                part.args, key=sp.default_sort_key
            )


def test_the_pages_are_what_is_committed() -> None:
    committed = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "derivations").iterdir()}
    assert committed == written()


@pytest.mark.parametrize("name", NAMES)
def test_pages_use_no_latex_that_github_refuses(name: str) -> None:
    text = written()[name]
    assert r"\operatorname" not in text
    outside = "".join(text.split("```")[::2])
    assert not [word for word in (r"\,", r"\;", r"\!", r"\{", r"\\") if word in outside]


# The command


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["derive", *arguments])
    return done.exit_code, done.output


@pytest.mark.slow
def test_derive_lists_prints_writes_and_checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, listed = run()
    assert code == 0
    assert [line.split()[0] for line in listed.splitlines()] == list(DERIVATIONS)
    assert run("threshold") == (0, DERIVATIONS["threshold"].markdown())
    assert run("--write", str(tmp_path))[0] == 0
    for name, text in written().items():
        assert (tmp_path / name).read_text(encoding="utf-8") == text
    # The steps of all derivations are checked one by one above; here two of them show what the command says.
    two = {name: DERIVATIONS[name] for name in ("threshold", "two_sided_threshold")}
    monkeypatch.setattr("lambda_star.symbolic.pages.derivations", lambda: two)
    monkeypatch.setattr("lambda_star.symbolic.pages.pages", written)
    code, output = run("--check", str(tmp_path))
    assert code == 0
    assert f"{sum(len(one.steps) for one in two.values())} steps hold" in output


@pytest.mark.slow
def test_derive_check_names_the_page_and_the_line_that_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = {"two_sided_threshold": DERIVATIONS["two_sided_threshold"]}
    monkeypatch.setattr("lambda_star.symbolic.pages.derivations", lambda: short)
    monkeypatch.setattr("lambda_star.symbolic.pages.pages", written)
    run("--write", str(tmp_path))
    page = tmp_path / "bernoulli.md"
    lines = page.read_text(encoding="utf-8").splitlines(keepends=True)
    page.write_text("".join([*lines[:9], "changed\n", *lines[10:]]), encoding="utf-8")
    code, output = run("--check", str(tmp_path))
    assert code == 2
    assert f"{page}, line 10" in output
    assert "lambda-star derive --write" in output
    page.unlink()
    assert run("--check", str(tmp_path))[0] == 2
    assert "nowhere' does not exist" in run("--check", str(tmp_path / "nowhere"))[1]


def test_derive_check_names_the_step_that_does_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = broken(DERIVATIONS["threshold"], 14)
    monkeypatch.setattr(Derivation, "misplaced", lambda _: None)
    monkeypatch.setattr("lambda_star.symbolic.pages.derivations", lambda: {"threshold": wrong})
    code, output = run("--check", str(ROOT / "derivations"))
    assert code == 2
    assert "threshold, step 15 (substitute)" in output


def test_derive_refuses_unknown_names_and_two_tasks_at_once(tmp_path: Path) -> None:
    code, output = run("treshold")
    assert code == 2
    assert "choose from fixed_point, threshold" in output
    assert run("threshold", "--write", str(tmp_path))[0] == 2
