"""Locked predictions: written once, hashed, concluded once, and refused if they were changed."""

from __future__ import annotations

import json
import math
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_star.cliff.record import _digest, conclude, finished, lock


def test_a_prediction_is_made_once_and_an_outcome_is_added_once(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "run.json"
    first = lock(path, lambda: {"onset": 1.7})
    again = lock(path, lambda: pytest.fail("asked for another prediction"))
    assert first == again
    assert finished([path]) == []
    done = conclude(path, first, {"onset": 1.6})
    assert finished([path]) == [done]
    assert datetime.fromisoformat(done["locked"]) <= datetime.fromisoformat(done["finished"])
    with pytest.raises(ValueError, match="without an outcome"):
        conclude(path, first, {"onset": 1.7})
    assert list(path.parent.iterdir()) == [path]


def test_of_two_predictions_at_once_the_first_in_the_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "run.json"

    def predict() -> dict[str, float]:
        lock(path, lambda: {"onset": 1.7})  # another process, while this one computes
        return {"onset": 1.8}

    assert lock(path, predict)["prediction"] == {"onset": 1.7}
    assert list(tmp_path.iterdir()) == [path]


def test_a_prediction_that_was_touched_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    record = lock(path, lambda: {"onset": 1.7})
    record["prediction"]["onset"] = 1.6
    path.write_text(json.dumps(record), encoding="utf-8")
    for reading in (lambda: lock(path, dict), lambda: finished([path]), lambda: conclude(path, record, {})):
        with pytest.raises(
            ValueError, match=r"run.json must hold the prediction that was locked, got one with another"
        ):
            reading()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"prediction": {}}', "null"])
def test_a_file_that_is_no_locked_prediction_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"run.json must hold a locked prediction as JSON, got .*; remove it$"):
        finished([path])


def test_numbers_that_json_has_not_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        lock(tmp_path / "run.json", lambda: {"onset": math.inf})
    assert not (tmp_path / "run.json").exists()


@given(st.dictionaries(st.text(), st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()))
def test_the_hash_outlives_the_file_and_the_order_of_keys(prediction: dict[str, Any]) -> None:
    turned = dict(reversed(prediction.items()))
    assert _digest(json.loads(json.dumps(turned))) == _digest(prediction)
    assert _digest(prediction | {"one more": 1}) != _digest({k: v for k, v in prediction.items() if k != "one more"})
