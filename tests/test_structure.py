"""The house: its arrows, its circles, and the bounds on its figures (`make figures` prints them)."""

from __future__ import annotations

import ast
from functools import cache

from benchmarks import structure

modules = cache(structure.modules)
BOUNDS = {
    "lines of the package without symbolic": 34100,
    "lines of symbolic, Python": 5500,
    "longest module": 400,
    "longest function body": 40,
    "root modules": 5,
    "import circles": 0,
    "arrows that go the wrong way": 0,
}


def test_imports_go_down_the_wings_and_underscores_stay_at_home() -> None:
    assert structure.wrong_arrows(modules()) == []


def test_no_module_imports_itself_over_others() -> None:
    assert structure.circles(modules()) == []


def test_figures_stay_within_their_bounds() -> None:
    figures = structure.figures()
    assert [name for name, most in BOUNDS.items() if int(figures[name]) > most] == [], figures


def test_a_wrong_arrow_and_a_circle_are_found() -> None:
    def module(name: str, source: str) -> structure.Module:
        path = structure.PACKAGE.joinpath(*name.split(".")[1:]).with_suffix(".py")
        return structure.Module(name, path, ast.parse(source), 1)

    up = module("lambda_star.bernoulli.up", "from lambda_star.dynamics import trajectory")
    across = module("lambda_star.dynamics.across", "from lambda_star.bernoulli._regimes import regime")
    proof = module("lambda_star.lint.proof", "def late():\n    from lambda_star.symbolic import rules")
    assert len(structure.wrong_arrows([up, across, proof])) == 3
    one = module("lambda_star.lint.one", "from lambda_star.lint.two import a")
    two = module("lambda_star.lint.two", "from lambda_star.lint.one import b")
    assert structure.circles([one, two, up]) == ["lambda_star.lint.one", "lambda_star.lint.two"]
