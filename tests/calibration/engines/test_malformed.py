"""Damaged records of every engine: each gives a problem or an error with file and line, and changes no number."""

from __future__ import annotations

import copy
import itertools
import json
import math
import random
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lambda_star.calibration.readers import read_table
from lambda_star.calibration.table import Table, TableError
from tests.calibration.engines.pairs import Pair, pairs
from tests.night import thinned

PAIRS = {pair.name: pair for pair in pairs()}
ENGINES = ("openai", "vllm", "sglang", "llamacpp")

CARRIED = {
    "choices", "logprobs", "content", "token", "logprob", "top_logprobs", "tokens", "token_logprobs", "outputs",
    "prompt_logprobs", "prompt_token_ids", "token_ids", "start_indices", "end_indices", "decoded_tokens", "meta_info",
    "output_token_logprobs", "output_top_logprobs", "input_token_logprobs", "input_top_logprobs", "prob", "probs",
    "completion_probabilities", "top_probs", "response", "body",
}  # fmt: skip
"""The fields that hold the numbers and what they belong to; no other one changes a row."""

JUNK: dict[str, Any] = {
    "a number": 7,
    "text": "junk",
    "nothing": None,
    "true": True,
    "a list": [[[]]],
    "an object": {"x": {"y": []}},
    "NaN": math.nan,
    "a positive number": 0.25,
    "-inf": -math.inf,
    "-9999": -9999.0,
    "half a surrogate pair": "\ud83d",
    "a great number": 10**400,
}

Path_ = tuple[Any, ...]


def places(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    """Every place in a record, by the keys that lead there."""
    yield path
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def at(value: Any, path: Path_) -> Any:
    """What stands at a place."""
    for key in path:
        value = value[key]
    return value


def put(record: Any, path: Path_, value: Any) -> Any:
    """A copy of the record with another value at a place."""
    changed = copy.deepcopy(record)
    at(changed, path[:-1])[path[-1]] = value
    return changed


def dropped(record: Any, path: Path_) -> Any:
    """A copy of the record without what stands at a place."""
    changed = copy.deepcopy(record)
    del at(changed, path[:-1])[path[-1]]
    return changed


def variants(record: Any, seed: int) -> Iterator[tuple[str, Any]]:
    """Damaged copies of a record: every field that carries numbers missing or junk, and lists cut or doubled."""
    rng = random.Random(seed)
    fields: dict[tuple[Any, ...], list[Path_]] = {}
    for path in places(record):
        if path and any(key in CARRIED for key in path):
            kind = (*(key for key in path if isinstance(key, str) and not key.isdecimal()), isinstance(path[-1], int))
            fields.setdefault(kind, []).append(path)
    for kind, found in fields.items():
        path = rng.choice(found)
        name = ".".join(map(str, path))
        if kind[-1] is False and path[-1] in CARRIED:
            yield f"{name} is missing", dropped(record, path)
        for what, junk in rng.sample(sorted(JUNK.items(), key=str), 3):
            yield f"{name} is {what}", put(record, path, junk)
        value = at(record, path)
        if isinstance(value, list) and len(value) > 1:
            yield f"{name} is cut", put(record, path, value[:-1])
            yield f"{name} is doubled", put(record, path, value + value)
            yield f"{name} is empty", put(record, path, [])


def rows(table: Table) -> dict[tuple[str, int], tuple[float, ...]]:
    """The ends of the numbers of every row."""
    ends = np.stack([*table.ends("log_p"), *table.ends("log_b")], axis=1).tolist()
    return dict(zip(zip(table.sequence, table.position.tolist(), strict=True), map(tuple, ends), strict=True))


def write(path: Path, records: list[Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


@cache
def truth_of(pair: Pair) -> dict[tuple[str, int], tuple[float, ...]]:
    return rows(pair.read())


def wrong(pair: Pair, side: str, record: Any, folder: Path) -> str:
    """What is wrong with how a damaged second record is read; empty text if nothing is."""
    records = pair.records(side)
    damaged = write(folder / "damaged.jsonl", [records[0], record, records[2]])
    files: dict[str, Any] = {"teacher": pair.teacher, "base": pair.base} | {side: damaged}
    truth = truth_of(pair)
    try:
        found = read_table(**files, keep_going=True)
    except TableError as error:
        return "" if str(damaged) in str(error) or str(folder) in str(error) else f"no file in {error}"
    kept = rows(found)
    where = {problem.line for problem in found.problems}
    names = [*dict.fromkeys(name for name, _ in truth)]
    own = {(names.index(name) if name in names else 1, place): ends for (name, place), ends in kept.items()}
    for index, name in ((0, names[0]), (2, names[2])):
        if any(own.get((index, place)) != ends for (one, place), ends in truth.items() if one == name):
            return f"a whole answer changed: {found.problems}"
    for (one, place), (p_low, p_high, b_low, b_high) in truth.items():
        if one != names[1]:
            continue
        ends = own.get((1, place))
        if ends is None and where != {2}:
            return f"position {place} is gone without a problem on line 2: {found.problems}"
        if ends is not None and not (ends[0] <= p_low and ends[1] >= p_high and ends[2] <= b_low and ends[3] >= b_high):
            return f"position {place} became {ends} of {(p_low, p_high, b_low, b_high)}"
    return ""


@pytest.mark.parametrize(("engine", "side"), thinned(itertools.product(ENGINES, ["teacher", "base"]), 3))
def test_damaged_records_are_named_and_change_no_number(engine: str, side: str, tmp_path: Path) -> None:
    count, found = 0, []
    for pair in (pair for name, pair in PAIRS.items() if name.startswith(engine) and "bytes" not in name):
        for name, record in variants(pair.records(side)[1], seed=len(pair.name)):
            count += 1
            said = wrong(pair, side, record, tmp_path)
            if said:
                found.append(f"{pair.name}: {name}: {said}")
    assert not found, "\n".join(found)
    assert count >= 30, count


@pytest.mark.parametrize("engine", ENGINES)
def test_random_bytes_in_a_record_end_in_no_traceback(engine: str, tmp_path: Path) -> None:
    rng = random.Random(engine)
    pair = next(pair for name, pair in PAIRS.items() if name.startswith(engine))
    content = pair.base.read_bytes()
    for _ in range(40):
        start = rng.randrange(len(content))
        broken = tmp_path / "broken.jsonl"
        broken.write_bytes(content[:start] + rng.randbytes(rng.randrange(3)) + content[start + rng.randrange(40) :])
        with suppress(TableError):
            read_table(teacher=pair.teacher, base=broken, keep_going=True)


def chat(*steps: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"choices": [{"logprobs": {"content": [*steps]}}], **fields}


def one(token: str, logprob: Any, *top: tuple[str, Any], **fields: Any) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "top_logprobs": [{"token": t, "logprob": v} for t, v in top], **fields}


GOOD = one("[", -0.1, ("[", -0.1), ("{", -3.1234567891))

CASES: dict[str, tuple[dict[str, Any], str]] = {
    "-9999 stands for -inf": (one("[", -9999.0), "-9999, which stands for -inf"),
    "llama.cpp's least number": (one("[", -3.4028234663852886e38), "which stands for -inf"),
    "-inf": (one("[", -math.inf), "which stands for -inf"),
    "no number and no list": (one("[", None), "no log-probability of the teacher"),
    "NaN of pandas": (one("[", math.nan), "no log-probability of the teacher"),
    "a probability": (one("[", 0.9), "0.9, above 0"),
    "text": (one("[", "-0.1"), "it must be a number"),
    "twice in the list": (one("[", -0.1, ("[", -0.1), ("[", -3.0)), "is listed twice"),
    "more than one": (one("[", -0.1, ("[", -0.1), ("{", -0.2)), "add up to 1.724"),
    "not the number of the list": (one("[", -0.1, ("[", -0.3), ("{", -2.0)), "-0.1, but -0.3 in the list"),
    "0 for what was not computed": (one("[", 0.0, ("{", -0.1), ("[", -3.0)), "0, but -3 in the list"),
    "modal token unknown": (one("[", -1.1), "with more listed tokens"),
    "another token": (one("{", -0.1), "may be that of another answer"),
}


@pytest.mark.parametrize("name", CASES)
def test_numbers_that_are_none_are_kept_out(name: str, tmp_path: Path) -> None:
    step, message = CASES[name]
    base = write(tmp_path / "base.jsonl", [chat(GOOD, custom_id="a"), chat(GOOD, custom_id="b")])
    teacher = write(tmp_path / "teacher.jsonl", [chat(GOOD, custom_id="a"), chat(step, custom_id="b")])
    with pytest.raises(TableError, match=r"jsonl, line 2: .*b"):
        read_table(teacher=teacher, base=base)
    found = read_table(teacher=teacher, base=base, keep_going=True)
    assert [*found.sequence] == ["a"]
    (problem,) = found.problems
    assert message in problem.message
    assert problem.line == 2


def ends(teacher: dict[str, Any], base: dict[str, Any], folder: Path) -> tuple[Table, list[float]]:
    files = [write(folder / f"{side}.jsonl", [chat(one)]) for side, one in (("t", teacher), ("b", base))]
    table = read_table(teacher=files[0], base=files[1])
    return table, [float(end[0]) for name in ("log_p", "log_b") for end in table.ends(name)]


def test_rounded_numbers_become_intervals(tmp_path: Path) -> None:
    step = one("[", -0.123, ("[", -0.123), ("{", -2.347), ("(", -6.91))
    _, found = ends(step, one("[", -0.7123456789, ("[", -0.7123456789)), tmp_path)
    assert found == pytest.approx([-0.1235, -0.1225, -0.7123456789, -0.7123456789])


def test_half_precision_numbers_become_intervals(tmp_path: Path) -> None:
    step = one("[", -0.1259765625, ("[", -0.1259765625), ("{", -2.34375))
    _, (low, high, *_) = ends(step, one("[", -0.7123456789, ("[", -0.7123456789)), tmp_path)
    assert (low, high) == pytest.approx((-0.1259765625 * (1 + 2**-8), -0.1259765625 * (1 - 2**-8)))


def test_ties_of_the_teacher_keep_the_ends_of_all_candidates(tmp_path: Path) -> None:
    step = one("[", -0.9, ("[", -0.9), ("{", -0.9), ("(", -1.8123456789))
    base = one("[", -0.3123456789, ("[", -0.3123456789), ("{", -2.5))
    table, (p_low, p_high, b_low, b_high) = ends(step, base, tmp_path)
    assert (p_low, p_high) == (-0.9, -0.9)
    assert (b_low, b_high) == (-2.5, -0.3123456789)
    assert table.log_b[0] == b_high


def test_a_modal_token_that_the_base_does_not_list_is_bounded(tmp_path: Path) -> None:
    step = one("[", -3.0123456789, ("{", -0.1), ("[", -3.0123456789))
    base = one("[", -0.2123456789, ("[", -0.2123456789), ("(", -1.9))
    table, (*_, low, high) = ends(step, base, tmp_path)
    left = 1 - math.exp(-0.2123456789) - math.exp(-1.9)
    assert (low, high) == pytest.approx((-math.inf, math.log(left)), abs=1e-4)
    assert table.modal[0] == "{"


def test_a_sampled_token_outside_the_list_does_not_bound_the_others(tmp_path: Path) -> None:
    step = one("[", -9.0123456789, ("{", -0.1), ("[", -9.0123456789))
    base = one("[", -9.5123456789, ("(", -1.2), ("<", -1.3), ("[", -9.5123456789))
    _, (*_, high) = ends(step, base, tmp_path)
    assert high == pytest.approx(-1.3)


def test_tokens_with_one_text_are_told_apart_by_bytes_or_not_at_all(tmp_path: Path) -> None:
    def listed(number: float, *raw: int | None) -> dict[str, Any]:
        top = [("\ufffd", -0.2), ("\ufffd", number)]
        step = one("\ufffd", -0.2, *top)
        for entry, byte in zip([step, *step["top_logprobs"]], [raw[0], *raw], strict=True):
            entry["bytes"] = None if byte is None else [byte]
        return step

    _, found = ends(listed(-3.0123456789, 0xE2, 0x80), listed(-2.0123456789, 0xE2, 0x99), tmp_path)
    assert found == [-0.2, -0.2, -0.2, -0.2]
    with pytest.raises(TableError, match="has neither id nor bytes"):
        ends(listed(-3.0123456789, None, None), listed(-2.0123456789, None, None), tmp_path)
