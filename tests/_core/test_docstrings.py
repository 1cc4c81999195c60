"""The ranges that docstrings state are the ranges that the functions check."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest

from lambda_star._core.quantities import QUANTITIES, Quantity
from lambda_star.dynamics import _arguments, _budget, _flow

WINGS = ("bernoulli", "categorical", "dynamics", "sequence")
MODULES = {wing: importlib.import_module(f"lambda_star.{wing}") for wing in WINGS}
FUNCTIONS = {
    f"{wing}.{name}": getattr(module, name)
    for wing, module in MODULES.items()
    for name in module.__all__
    if inspect.isfunction(getattr(module, name))
}
OF_DYNAMICS = (_arguments.STEPS, _arguments.RATE, _budget.BUDGET, _budget.TAIL, _flow.ROLLOUTS)


def checked(name: str, function: Callable[..., Any]) -> dict[str, Quantity]:
    """The quantities by the names of arguments; an elementwise function carries those that it narrows."""
    own = function.__globals__.get("quantities", ())
    extra = OF_DYNAMICS if name.startswith("dynamics.") else ()
    return QUANTITIES | {quantity.name: quantity for quantity in (*extra, *own)}


def stated(function: Callable[..., Any]) -> dict[str, str]:
    """The range in the docstring line of every argument; a value that is ``finite`` lies in (-inf, inf)."""
    arguments = re.search(r"^Args:\n((?:    .*\n|\n)*)", inspect.getdoc(function) or "", flags=re.MULTILINE)
    assert arguments is not None
    lines = re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", arguments[1], flags=re.MULTILINE)
    ranges = {name: re.search(r"\bin ([(\[][^()\[\]]*[)\]])|\bfinite\b", line) for name, line in lines}
    return {name: (found[1] or "(-inf, inf)") if found else "" for name, found in ranges.items()}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_docstrings_state_the_ranges_of_the_quantities(name: str) -> None:
    function = FUNCTIONS[name]
    said, quantities = stated(function), checked(name, function)
    assert list(said) == list(inspect.signature(function).parameters)
    known = [argument for argument in said if argument in quantities]
    assert {argument: said[argument] for argument in known} == {each: quantities[each].range for each in known}


def test_the_ranges_of_all_wings_are_read() -> None:
    ranges = {(name.split(".")[0], argument) for name, function in FUNCTIONS.items() for argument in stated(function)}
    assert {("bernoulli", "margin"), ("categorical", "lam"), ("dynamics", "rate"), ("sequence", "c")} <= ranges
    assert stated(FUNCTIONS["bernoulli.base_for"]) == {"p": "(0, 1)", "c": "[1, inf)", "lam": "(1, inf)"}
