"""The derivations hold, can fail, agree with the numeric functions, and write the pages that are committed."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mpmath
import pytest
import sympy as sp
from click.testing import CliRunner
from hypothesis import assume, given
from hypothesis import strategies as st

import lambda_star as ls
from lambda_star import bernoulli as numeric
from lambda_star import inverse, symbolic
from lambda_star.cli import main
from lambda_star.symbolic import symbols
from lambda_star.symbolic.derivation import Derivation, DerivationError, Step
from lambda_star.symbolic.pages import derivations, pages
from lambda_star.symbolic.rules import Define, Limit, Rewrite, Sign
from tests.strategies import open_clips, probabilities

ROOT = Path(__file__).parent.parent
DERIVATIONS = derivations()
RESULTS = {
    name: expr
    for derivation in DERIVATIONS.values()
    if derivation.module
    for name, (_, expr) in derivation.results.items()
    if name.isidentifier()
}
FUNCTIONS = {
    name: getattr(module, name)
    for module in (numeric, inverse)
    for name in module.__all__
    if inspect.isfunction(getattr(module, name))
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
COMPILED = {name: sp.lambdify(list(SYMBOLS.values()), expr, "mpmath") for name, expr in RESULTS.items()}


def evaluate(name: str, values: Mapping[str, float]) -> Any:
    """A result of a derivation at floats, in arithmetic that loses nothing a float can show."""
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


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_the_derivation_names_the_module_of_its_functions(name: str) -> None:
    (home,) = [d for d in DERIVATIONS.values() if d.module and name in d.results]
    assert FUNCTIONS[name].__module__ == f"lambda_star.{home.module}"
    assert f"`{name}`" in home.markdown()
    assert "derivations/bernoulli.md" in (FUNCTIONS[name].__doc__ or "")


@pytest.mark.parametrize("name", sorted(set(FUNCTIONS) - {"teacher_for", "clip_for", "base_for"}))
@given(data=st.data())
def test_a_function_is_its_derived_expression(name: str, data: st.DataObject) -> None:
    values = {
        argument: data.draw(VALUES[argument], argument) for argument in inspect.signature(FUNCTIONS[name]).parameters
    }
    assume(values.get("p") != values.get("b", 0.0) or name not in {"stationary_student", "regime"})
    found, exact = FUNCTIONS[name](**values), evaluate(name, values)
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
    equation = RESULTS["teacher_for"]
    sides = sp.lambdify((symbols.p, symbols.b, symbols.c, symbols.lam), equation.args, "mpmath")
    with mpmath.workdps(50):
        found = mpmath.mpf(ls.teacher_for(b, c, lam))
        width = 1e-13 * max(1, -mpmath.log(found))  # p is the exponential of what Newton's method finds
        below, above = found * (1 - width), found * (1 + width)
        assume(above < 1 - 1e-12 and below > b)
        signs = [mpmath.sign(mpmath.fsub(*sides(value, b, c, lam))) for value in (below, above)]
    assert signs == [-1, 1]


# Every step holds, and can fail


@pytest.mark.parametrize("name", DERIVATIONS)
def test_every_step_holds(name: str) -> None:
    assert DERIVATIONS[name].check() == len(DERIVATIONS[name].steps)


def broken(derivation: Derivation, number: int) -> Derivation:
    step = derivation.steps[number]
    wrong = dataclasses.replace(step, after=-step.after)
    steps = (*derivation.steps[:number], wrong, *derivation.steps[number + 1 :])
    return dataclasses.replace(derivation, steps=steps[number : number + 1])


STEPS = [
    (name, number)
    for name, derivation in DERIVATIONS.items()
    for number, step in enumerate(derivation.steps)
    if not isinstance(step.rule, Define) and step.after not in {sp.Integer(0), sp.oo}
]


@pytest.mark.parametrize(("name", "number"), STEPS)
def test_a_changed_sign_makes_the_step_fail_by_name(name: str, number: int) -> None:
    wrong = broken(DERIVATIONS[name], number)
    with pytest.raises(DerivationError) as caught:
        wrong.check()
    assert str(caught.value).startswith(f"{name}, step 1 ({wrong.steps[0].statement})")


def test_a_sign_that_does_not_show_and_a_limit_that_is_not_reached_fail() -> None:
    derivation = symbolic.bernoulli.threshold_derivation()
    p, b, c = symbols.p, symbols.b, symbols.c
    hidden = Step("?", Sign(">"), 1 - p, (1 - p**2) / (1 + p) - b + b)
    domain = derivation.domain
    assert hidden.rule.check(hidden.before, hidden.after, domain, "seed") is None
    assert "does not show" in (Sign(">").check(p - sp.Rational(1, 2), p - sp.Rational(1, 2), domain, "seed") or "")
    assert "does not show" in (Sign("<").check(p - b, p - b, domain, "seed") or "")
    s = domain.parameters[domain.parameters.index(sp.Symbol("s", positive=True))]
    assert "limit" in (Limit(p, sp.Integer(1), s, sp.oo).check(p / c, sp.Integer(1), domain, "seed") or "")
    assert "goes to" in (Limit(p, b, s, sp.oo).check(p, sp.Integer(1), domain, "seed") or "")
    assert "SymPy makes" in (Rewrite().check(p, p * b, domain, "seed") or "")


# What a reader sees


def test_a_derivation_shows_itself() -> None:
    derivation = symbolic.bernoulli.threshold_derivation()
    assert derivation.latex().startswith(r"\lambda^* = ")
    assert derivation._repr_latex_().startswith("$")
    assert "```" not in derivation._repr_markdown_()
    assert derivation.markdown().count("**Step ") == len(derivation.steps)
    assert derivation.expr.free_symbols == {symbols.p, symbols.b, symbols.c}
    with mpmath.workdps(30):
        star = derivation.lambdify(symbols.p, symbols.b, symbols.c)(*map(mpmath.mpf, ("0.99933697778", "0.5", "5")))
    assert abs(star - 1.22) < 1e-9


def test_the_finite_budget_reproduces_the_quadrature() -> None:
    derivation = symbolic.dynamics.policy_gradient_derivation()
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


def test_the_pages_are_what_is_committed() -> None:
    for name, text in pages().items():
        assert (ROOT / "derivations" / name).read_text(encoding="utf-8") == text
    assert {path.name for path in (ROOT / "derivations").iterdir()} == set(pages())


@pytest.mark.parametrize("name", pages())
def test_pages_use_no_latex_that_github_refuses(name: str) -> None:
    text = pages()[name]
    assert r"\operatorname" not in text
    outside = "".join(text.split("```")[::2])
    assert not [word for word in (r"\,", r"\;", r"\!", r"\{", r"\\") if word in outside]


# The command


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["derive", *arguments])
    return done.exit_code, done.output


def test_derive_lists_prints_writes_and_checks(tmp_path: Path) -> None:
    code, listed = run()
    assert code == 0
    assert [line.split()[0] for line in listed.splitlines()] == list(DERIVATIONS)
    assert run("threshold") == (0, DERIVATIONS["threshold"].markdown())
    assert run("--write", str(tmp_path))[0] == 0
    for name, text in pages().items():
        assert (tmp_path / name).read_text(encoding="utf-8") == text
    code, output = run("--check", str(tmp_path))
    assert code == 0
    assert "steps hold" in output


def test_derive_check_names_the_page_and_the_line_that_differ(tmp_path: Path) -> None:
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


def test_derive_check_names_the_step_that_does_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = broken(DERIVATIONS["threshold"], 2)
    monkeypatch.setattr("lambda_star.symbolic.pages.derivations", lambda: {"threshold": wrong})
    code, output = run("--check", str(ROOT / "derivations"))
    assert code == 2
    assert "threshold, step 1 (How the tail ratio changes with λ.)" in output


def test_derive_refuses_unknown_names_and_two_tasks_at_once(tmp_path: Path) -> None:
    code, output = run("treshold")
    assert code == 2
    assert "choose from fixed_point, threshold" in output
    assert run("threshold", "--write", str(tmp_path))[0] == 2
