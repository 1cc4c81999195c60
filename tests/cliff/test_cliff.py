"""Onsets, comparisons, and what the committed runs of the cliff experiment say."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_star import bernoulli, dynamics
from lambda_star.cliff import Comparison, compare, onset, summarise
from lambda_star.cliff.presets import CONTROLS, PRESETS, _recorded, variant
from lambda_star.cliff.record import finished

FOLDER = Path(__file__).parent.parent.parent / "results" / "cliff"
RECORDS = finished(sorted(FOLDER.glob("*.json")))
RUNS = [compare(record) for record in RECORDS]
NAMES = [f"{run.label}, {run.seed}" for run in RUNS]

shares = st.lists(st.floats(0, 1), min_size=3, max_size=8)


def record_of(name: str, seed: int = 3) -> dict[str, Any]:
    (found,) = [r for r, run in zip(RECORDS, RUNS, strict=True) if (run.label, run.seed) == (name, seed)]
    return found


@given(shares)
def test_validity_at_the_onset_is_half_of_that_at_the_reference_and_was_above_before(validity: list[float]) -> None:
    lams = 1 + np.arange(len(validity)) / 10
    at = onset(lams, validity, 1.05)
    start = float(np.interp(1.05, lams, validity))
    past = lams > 1.05
    if at is None:
        assert start == 0 or (np.array(validity)[past] > start / 2).all()
    else:
        assert 1.05 < at <= lams[-1]
        assert np.interp(at, lams, validity) == pytest.approx(start / 2, abs=1e-9)
        assert (np.array(validity)[past & (lams < at)] > start / 2).all()


@given(shares, st.floats(0.01, 1))
def test_the_onset_does_not_depend_on_the_scale_of_validity(validity: list[float], scale: float) -> None:
    lams = 1 + np.arange(len(validity)) / 10
    one, other = onset(lams, validity, 1.0), onset(lams, scale * np.array(validity), 1.0)
    if one is None or other is None or min(v for v in [1.0, *validity] if v) < 1e-300:
        return
    assert one == pytest.approx(other, rel=1e-6)


@pytest.mark.parametrize(
    ("lams", "validity", "reference", "message"),
    [
        ([1, 2], [1, 1, 1], 1.0, "lams must rise"),
        ([1], [1], 1.0, "lams must rise"),
        ([2, 1], [1, 1], 1.0, "lams must rise"),
        ([1, math.nan], [1, 1], 1.0, "lams must rise"),
        ([1, 2], [1, 1], 2.5, r"reference must lie in \[1, 2\], got 2.5"),
        ([1, 2], [1, 1], math.nan, "reference must lie"),
    ],
)
def test_an_onset_needs_rising_lams_around_its_reference(
    lams: list[float], validity: list[float], reference: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        onset(lams, validity, reference)


def run_of(**values: Any) -> Comparison:
    run = Comparison("short", "", 3, 1.7, 1.8, 1.71, (1.6, 1.9), 1.75, 1.7, (1.69, 1.71))
    return run._replace(**values)


@pytest.mark.parametrize(
    ("values", "inside"),
    [
        ({}, True),
        ({"seen": 1.6}, True),
        ({"seen": 1.95}, False),
        ({"seen": None}, False),
        ({"band": None}, None),
    ],
)
def test_inside_tells_whether_the_onset_lies_in_the_band(values: dict[str, Any], inside: bool | None) -> None:
    assert run_of(**values).inside is inside


def test_a_summary_counts_bands_and_takes_the_median_of_the_distances() -> None:
    runs = [run_of(), run_of(seen=1.9), run_of(seen=None), run_of(band=None, predicted=None)]
    total = summarise(runs)
    assert (total.runs, total.inside) == (3, 2)
    assert total.median_error == pytest.approx((0.05 / 0.75 + 0.15 / 0.75) / 2)
    assert total.worst_error == pytest.approx(0.2)
    assert math.isnan(summarise([]).median_error)


@pytest.mark.parametrize("record", RECORDS, ids=NAMES)
def test_the_preset_of_an_old_record_is_read(record: dict[str, Any]) -> None:
    """The records on file have the control after a comma in the name."""
    run, settings = compare(record), record["prediction"]["preset"]
    assert "control" not in settings
    preset = variant(PRESETS[run.preset], run.control) if run.control else PRESETS[run.preset]
    assert _recorded(record) == (preset, run.seed)
    assert run.label == settings["name"]


def test_the_preset_of_a_new_record_is_read_back() -> None:
    for preset in (PRESETS["wide"], variant(PRESETS["wide"], "half budget")):
        assert _recorded({"settings": json.loads(json.dumps(asdict(preset))), "seed": 7}) == (preset, 7)


def test_five_presets_and_the_controls_have_run_at_three_seeds() -> None:
    expected = [*PRESETS, *(f"short, {control}" for control in CONTROLS)]
    assert Counter(run.label for run in RUNS) == dict.fromkeys(expected, 3)
    assert {run.seed for run in RUNS} == {3, 4, 5}


@pytest.mark.parametrize("record", RECORDS, ids=NAMES)
def test_the_prediction_of_a_run_follows_from_what_it_measured(record: dict[str, Any]) -> None:
    said = record["prediction"]
    p, b, preset = said["p"], said["b"], said["preset"]
    assert datetime.fromisoformat(record["locked"]) < datetime.fromisoformat(record["finished"])
    low, middle, high = said["threshold"][1:4]
    assert low < middle < high
    # The median of λ* is close to λ* at the medians of p and b, but not equal to it.
    assert middle == pytest.approx(float(bernoulli.threshold(p, b, preset["clip"])), rel=0.02)
    assert said["budget_threshold"] == pytest.approx(dynamics.budget_threshold(p, b, preset["clip"], said["budget"]))
    assert said["reference"] == pytest.approx(1 + 0.9 * (middle - 1))
    assert said["grid"] == pytest.approx([1 + (middle - 1) * at for at in preset["grid"]])
    assert said["onset"] == pytest.approx(onset(said["lam"], said["validity"], said["reference"]), abs=1e-8)
    if preset["clipped"] and not preset["shuffled"]:
        assert said["band"] == [said["threshold"][1], said["collapse"][3]]


@pytest.mark.parametrize("record", RECORDS, ids=NAMES)
def test_the_outcome_of_a_run_fits_its_counts(record: dict[str, Any]) -> None:
    said, seen = record["prediction"], record["outcome"]
    counts = np.array(seen["validity"]) * seen["judged"]
    np.testing.assert_allclose(counts, np.round(counts), atol=1e-6)
    assert (np.array(seen["validity"]) <= np.array(seen["closed"])).all()
    if len(said["grid"]) > 1:
        assert seen["onset"] == pytest.approx(onset(said["grid"], seen["validity"], said["reference"]), abs=1e-8)
    if seen["onset"] is not None and None not in seen["interval"]:
        assert seen["interval"][0] <= seen["onset"] <= seen["interval"][1]


@pytest.mark.parametrize("part", ["prediction", "outcome"])
def test_an_onset_that_the_validity_does_not_have_is_refused(part: str) -> None:
    for name in ("short", "short, no clip"):
        record = record_of(name)
        for named in {1.7, None} - {record[part]["onset"]}:
            with pytest.raises(ValueError, match="record must name the onset of its own validity, which is "):
                compare(record | {part: record[part] | {"onset": named}})
    turned = record_of("short")[part] | {"validity": record_of("short")[part]["validity"][::-1]}
    with pytest.raises(ValueError, match=r"validity, which is None, got 1\.7"):
        compare(record_of("short") | {part: turned})


def test_a_run_at_one_lambda_has_no_onset() -> None:
    record = record_of("short, plain")
    with pytest.raises(ValueError, match=r"which is None, got 1\.7"):
        compare(record | {"outcome": record["outcome"] | {"onset": 1.7}})


def test_onsets_lie_in_the_predicted_bands() -> None:
    total = summarise([run for run in RUNS if not run.control])
    assert total.runs == 15
    assert total.inside >= 13
    assert total.median_error <= 0.1


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_without_the_clip_validity_sags_as_the_fixed_point_says_and_does_not_fall(seed: int) -> None:
    apart = {}
    for control in ("no clip", "no clip at double budget"):
        record = record_of(f"short, {control}", seed)
        said, seen = record["prediction"], record["outcome"]
        expected = np.interp(said["grid"], said["lam"], said["validity"])
        assert seen["onset"] is None
        apart[control] = (np.array(seen["closed"]) - expected) / np.sqrt(expected * (1 - expected) / seen["judged"])
        assert seen["validity"][-1] > 3 * record_of("short", seed)["outcome"]["validity"][-1]
    assert np.abs(apart["no clip at double budget"]).max() < 3  # the largest of ten deviations, in standard errors
    assert np.abs(apart["no clip at double budget"].mean()) < np.abs(apart["no clip"].mean())


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_a_smaller_clip_and_a_shuffled_base_move_the_onset_as_predicted(seed: int) -> None:
    plain = compare(record_of("short", seed))
    for control in ("smaller clip", "shuffled base"):
        moved = compare(record_of(f"short, {control}", seed))
        assert moved.seen is not None
        assert moved.predicted is not None
        assert plain.seen is not None
        assert plain.predicted is not None
        assert moved.predicted < plain.predicted
        assert moved.interval[1] is not None
        assert plain.interval[0] is not None
        assert moved.interval[1] < plain.interval[0]


def test_the_quality_of_valid_answers_is_flat_around_the_fall() -> None:
    for record, run in zip(RECORDS, RUNS, strict=True):
        if not run.control:
            right = np.array(record["outcome"]["right"][2:], dtype=float)  # from (λ−1)/(λ*−1) = 0.8 on
            assert np.ptp(right) < 0.05, run.label
