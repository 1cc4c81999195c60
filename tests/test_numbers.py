"""What is no number is refused by name, and no number ends in an error that is not promised."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
import torch

from lambda_star import bernoulli, categorical, cliff, dynamics, sequence, updates
from lambda_star.calibration import statistics
from lambda_star.torch import probe

ROWS = np.log([[0.9, 0.1]]), np.log([[0.5, 0.5]])
POSITIONS = sequence.Positions.from_probabilities([0.9, 0.99], 0.5)
CALLS: dict[str, Callable[[Any], object]] = {
    "p": lambda value: bernoulli.threshold(value, 0.5, 2.0),
    "c": lambda value: categorical.threshold(*ROWS, value),
    "lam": lambda value: categorical.fixed_point(*ROWS, value),
    "order": lambda value: categorical.renyi(*ROWS, value),
    "log_t": lambda value: sequence.Positions(value, ROWS[1], goes=[1, 0]),
    "b": lambda value: dynamics.time_to_edge(0.9, value, 2.0, 2.0),
    "budget": lambda value: dynamics.budget_threshold(0.9, 0.5, 2.0, value),
    "times": lambda value: dynamics.trajectory(0.9, 0.5, 2.0, 2.0, value),
    "rate": lambda value: dynamics.steps_to_edge(0.9, 0.5, 2.0, 2.0, rate=value),
    "lam ": lambda value: sequence.share_past(POSITIONS, 2.0, value),
    "lam  ": lambda value: sequence.validity(POSITIONS, 2.0, value),
    "quantile": lambda value: sequence.threshold(POSITIONS, 2.0, quantile=value),
    "closes": lambda value: sequence.listwise(2, separator=(0.7, 0.2), closes=value),
    "separator": lambda value: sequence.listwise(2, separator=value),
    "items": lambda value: sequence.listwise(value, separator=(0.7, 0.2)),
    "theta": lambda value: updates.none().force(value, 0.9, 0.5, 1.2),
    "lam   ": lambda value: updates.none().student(*ROWS, value),
    "low": lambda value: statistics.limit(value, 0.05, 0.95),
    "confidence": lambda value: statistics.limit([1.0], 0.05, value),
    "lams": lambda value: cliff.onset(value, [0.5, 0.1], 1.0),
}
NO_NUMBERS = ("0.5", b"1", True, np.True_, [None], ["0.5", "0.7"], Decimal("0.5"), 1j)


@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
@pytest.mark.parametrize("name", CALLS)
def test_what_is_no_number_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=rf"^{name.strip()} must (be|hold)( a| one)? (real )?number"):
        CALLS[name](value)


@pytest.mark.parametrize("kind", [torch.bool, torch.complex64])
def test_tensors_of_no_numbers_are_refused_by_name(kind: torch.dtype) -> None:
    rows = torch.tensor(ROWS[0]), torch.tensor(ROWS[1])
    with pytest.raises(TypeError, match=r"^lam must be a real number"):
        categorical.fixed_point(*rows, torch.ones(1, dtype=kind))


@pytest.mark.parametrize("value", [10**400, -(10**400)])
def test_an_integer_that_no_float_holds_is_refused(value: int) -> None:
    for call in (
        lambda: bernoulli.threshold(0.9, 0.5, value),
        lambda: bernoulli.threshold(value, 0.5, 5.0),
        lambda: bernoulli.threshold(torch.tensor([0.9]), 0.5, value),
        lambda: updates.log_ratio_cap(value),
    ):
        with pytest.raises(ValueError, match=r"^[pc] must be a float, got an integer of more than 308 digits"):
            call()


@pytest.mark.parametrize("items", [10**30, 1e300, 0, 2_000_000])
def test_a_list_has_no_more_items_than_fit_into_memory(items: int) -> None:
    with pytest.raises(ValueError, match=r"^items must lie in \[1, 1e\+06\]"):
        sequence.listwise(items, separator=(0.7, 0.2))


@pytest.mark.parametrize("pair", [[], (0.7,), (0.7, 0.2, 0.1)])
def test_a_separator_is_a_pair(pair: Any) -> None:
    with pytest.raises(ValueError, match=r"^separator must be a pair \(p, b\)"):
        sequence.listwise(2, separator=pair)


def test_negative_sums_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"^sums must lie in \[0, inf\), got -1.0 at index \(0, 1\)"):
        statistics.class_interval([[1.0, -1.0, 1.0, 1.0]], 5.0, 0.95)


def test_a_loss_that_is_finite_nowhere_near_the_base_is_refused() -> None:
    def loss(student: Any, teacher: Any, base: Any, lam: Any) -> Any:
        return (student.log_softmax(-1) * 1e300).sum()

    with pytest.raises(ValueError, match=r"^loss must have a finite gradient"):
        probe(loss, p=0.6, b=1e-9, outcomes=3)
