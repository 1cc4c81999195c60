"""Locked predictions: written once, hashed, concluded once, and refused if they were changed."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_star.cliff import record as module
from lambda_star.cliff.record import _digest, _parsed, attempt, conclude, finished, lock, read

OLD = Path(__file__).parents[2] / "results" / "cliff" / "short-3.json"


def locked(path: Path, predict: Callable[[], Any] = lambda: {"onset": 1.7}) -> dict[str, Any]:
    return lock(path, predict, settings={"clip": 2.0, "grid": (1, 2)}, seed=3)


def done(path: Path) -> dict[str, Any]:
    return conclude(path, attempt(path, locked(path)), {"onset": 1.6})


def test_a_prediction_is_made_once_and_an_outcome_is_added_once(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "run.json"
    first = locked(path)
    again = locked(path, lambda: pytest.fail("asked for another prediction"))
    assert first == again == read(path)
    assert (first["format"], first["attempts"], first["settings"]["grid"]) == (2, [], [1, 2])
    assert {*first["code"]} == {"version", "sha256", "python", "packages"}
    assert finished([path]) == []
    with pytest.raises(ValueError, match="must hold an attempt before its outcome, got none; call `attempt`"):
        conclude(path, first, {"onset": 1.6})
    begun = attempt(path, attempt(path, first))
    assert begun["sha256"] == first["sha256"]
    assert [one["code"] for one in begun["attempts"]] == [first["code"]] * 2
    ended = conclude(path, begun, {"onset": 1.6})
    assert finished([path]) == [ended]
    times = [ended["locked"], *(one["started"] for one in ended["attempts"]), ended["finished"]]
    assert [datetime.fromisoformat(time) for time in times] == sorted(map(datetime.fromisoformat, times))
    with pytest.raises(ValueError, match="without an outcome"):
        conclude(path, first, {"onset": 1.7})
    with pytest.raises(ValueError, match="without an outcome"):
        attempt(path, first)
    assert list(path.parent.iterdir()) == [path]


def test_other_settings_and_another_seed_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    locked(path)
    with pytest.raises(ValueError, match=r"run.json must hold a lock with `seed` = 4, got 3; give another path"):
        lock(path, dict, settings={"clip": 2.0, "grid": (1, 2)}, seed=4)
    with pytest.raises(ValueError, match=r"must hold a lock with `settings` = {'clip': 3.0}, got {'clip': 2.0, "):
        lock(path, dict, settings={"clip": 3.0}, seed=3)


def test_a_record_of_the_first_format_is_read_and_gets_no_attempt(tmp_path: Path) -> None:
    old, path = json.loads(OLD.read_text(encoding="utf-8")), tmp_path / "run.json"
    assert read(OLD) == old
    waiting = {name: old[name] for name in ("prediction", "sha256", "locked")}
    path.write_text(json.dumps(waiting), encoding="utf-8")
    assert locked(path) == waiting
    with pytest.raises(ValueError, match="must hold a lock of format 2, got one of the first format"):
        attempt(path, waiting)
    changed = old | {"prediction": old["prediction"] | {"seed": 4}}
    with pytest.raises(ValueError, match="must hold the prediction that was locked, got one with another hash"):
        _parsed(json.dumps(changed))


def test_the_code_of_other_files_counts(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("a = 1\n", encoding="utf-8")
    one, other = (
        lock(tmp_path / name, dict, settings={}, seed=0, sources=s) for name, s in (("a", [script]), ("b", ()))
    )
    assert one["code"]["sha256"] != other["code"]["sha256"]
    script.write_bytes(b"a = 1\r\n")  # as git may check it out elsewhere
    (begun,) = attempt(tmp_path / "a", one, sources=[script])["attempts"]
    assert begun["code"] == one["code"]
    script.write_text("a = 2\n", encoding="utf-8")
    assert attempt(tmp_path / "a", one, sources=[script])["attempts"][1]["code"]["sha256"] != one["code"]["sha256"]
    module._release(tmp_path / "a")


def test_a_prediction_that_is_there_meanwhile_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a disk without locks the file itself is made by one process alone."""
    path = tmp_path / "run.json"
    monkeypatch.setattr(module, "_alone", lambda *_, **__: False)

    def predict() -> dict[str, float]:
        locked(path)  # another process, while this one computes
        return {"onset": 1.8}

    assert locked(path, predict)["prediction"] == {"onset": 1.7}
    assert list(tmp_path.iterdir()) == [path]


LOCKS = """
import os, sys, time
from pathlib import Path
from lambda_star.cliff.record import lock

def predict():
    print("made", flush=True)
    time.sleep(.3)
    return {"process": os.getpid()}

print("ready", flush=True)
sys.stdin.readline()
print(lock(Path(sys.argv[1]), predict, settings={}, seed=0)["prediction"]["process"])
"""
TRAINS = """
import sys
from pathlib import Path
from lambda_star.cliff.record import attempt, read

path = Path(sys.argv[1])
attempt(path, read(path))
print("training", flush=True)
sys.stdin.readline()
"""


def started(script: str, path: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, str(path)]
    return subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def test_of_four_processes_that_lock_at_once_one_makes_the_prediction(tmp_path: Path) -> None:
    processes = [started(LOCKS, tmp_path / "new" / "run.json") for _ in range(4)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate()[0].split() for process in processes]
    (maker,) = [process.pid for process, words in zip(processes, said, strict=True) if words[0] == "made"]
    assert [words[-1] for words in said] == [str(maker)] * 4
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["run.json"]


def test_an_attempt_keeps_other_processes_away_until_it_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    first = locked(path)
    with started(TRAINS, path) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "training\n"
        with pytest.raises(BlockingIOError, match=r"run.json: another process is training this run; wait for it, stop"):
            attempt(path, first)
        other.kill()
    assert len(conclude(path, attempt(path, first), {})["attempts"]) == 2
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"prediction": {}}', "null", '{"format": 2}', '{"format": 3}'])
def test_a_file_that_is_no_locked_prediction_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"run.json must hold a locked prediction as JSON, got .*; remove it$"):
        finished([path])


def test_numbers_that_json_has_not_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        locked(tmp_path / "run.json", lambda: {"onset": math.inf})
    assert not list(tmp_path.iterdir())


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to each value inside a record, besides its hashes and its format."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(one for key, item in inside for one in places(item, (*at, key)))]


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return done(tmp_path_factory.mktemp("record") / "run.json")


@given(st.data())
def test_a_change_anywhere_in_a_record_is_caught(record: dict[str, Any], data: st.DataObject) -> None:
    changed = json.loads(json.dumps(record))
    _, *ways = places(changed)
    *way, last = data.draw(st.sampled_from(ways))
    inside = changed
    for key in way:
        inside = inside[key]
    value = data.draw(values.filter(lambda value: json.dumps(value) != json.dumps(inside[last])))
    inside[last] = value
    with pytest.raises(ValueError, match="must hold"):
        _parsed(json.dumps(changed))
    assert _parsed(json.dumps(record)) == record


@given(st.text(), values)
def test_nothing_can_be_added_and_nothing_left_out(record: dict[str, Any], name: str, value: Any) -> None:
    if name not in record:
        with pytest.raises(ValueError, match="must hold"):
            _parsed(json.dumps(record | {name: value}))
    for gone in record:
        with pytest.raises(ValueError, match="must hold"):
            _parsed(json.dumps({key: value for key, value in record.items() if key != gone}))


@given(st.dictionaries(st.text(), values))
def test_the_hash_outlives_the_file_and_the_order_of_keys(prediction: dict[str, Any]) -> None:
    turned = dict(reversed(prediction.items()))
    assert _digest(json.loads(json.dumps(turned))) == _digest(prediction)
    assert _digest(prediction | {"one more": 1}) != _digest({k: v for k, v in prediction.items() if k != "one more"})
