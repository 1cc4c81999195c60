"""A state as bytes: arrays in NumPy's zip format, whose members carry check sums, and everything else as JSON."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lambda_star._core.files import MARK
from lambda_star.calibration.classes import Class, Split
from lambda_star.calibration.distribution import Distribution
from lambda_star.calibration.report import Place, Worst
from lambda_star.calibration.samples import Listed
from lambda_star.calibration.table import Problem, Top

if TYPE_CHECKING:
    from lambda_star.calibration.state import State

__all__ = ["from_bytes", "to_bytes"]

FORMAT = "lambda-star/state/1"

DAMAGE = (ValueError, KeyError, IndexError, TypeError, OSError, EOFError, zipfile.BadZipFile, zlib.error)
"""What reading damaged bytes may raise."""


def to_bytes(state: State) -> bytes:
    """Return a state as bytes, which :func:`from_bytes` reads."""
    answers, classes = state.answers.columns, state.answers.classes
    names = answers.get("name", np.empty(0, dtype=object)).tolist()
    arrays = {f"by_answer.{name}": column for name, column in answers.items() if name != "name"}
    arrays |= {f"by_class.{name}": column for name, column in classes.items()}
    arrays |= {f"sums.{at}": found.sums for at, found in enumerate(state.classes.values())}
    arrays |= {f"stars.{at}": _array(found.stars.to_bytes()) for at, found in enumerate(state.classes.values())}
    said = {
        "format": FORMAT,
        "settings": state.settings.named(),
        "source": state.source,
        "rows": state.rows,
        "read": state.read,
        "counts": state.counts,
        "contract": state.contract,
        "whole": state.whole,
        "names": names,
        "by_answer": [name for name in answers if name != "name"],
        "by_class": [*classes],
        "bound": int(state.answers.bound),
        "classes": {
            name: [found.positions, found.censored, found.past, found.least, found.splits]
            for name, found in state.classes.items()
        },
        **vars(state.samples),
    }
    arrays |= {"said": _array(json.dumps(said).encode()), "flips": _array(state.flips.to_bytes())}
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **{MARK: _array(b"")}, **arrays)
    return file.getvalue()


def from_bytes(data: bytes, state: State) -> State:
    """Return a new state with what :func:`to_bytes` wrote.

    Bytes that are damaged, no state, or of other settings are a ``ValueError`` that begins with what they are.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        said = json.loads(arrays["said"].tobytes())
        if said["format"] != FORMAT or MARK not in arrays:
            raise ValueError(f"it is {said['format']}, and this version reads {FORMAT}")
        there = said["settings"]
        _fill(state, said, arrays)
    except DAMAGE as error:
        raise ValueError(
            f"damaged, or not a state of lambda-star ({error}); give another path, or delete it and begin again"
        ) from error
    for name, value in state.settings.named().items():
        if there.get(name) != value:
            found = f"a state for {name} {there.get(name)!r}"
            raise ValueError(f"{found}, and {value!r} is asked for; begin again without it")
    return state


def _fill(state: State, said: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
    state.source, state.rows, state.counts = said["source"], said["rows"], said["counts"]
    state.read = said["read"]
    state.contract, state.whole = said["contract"], said["whole"]
    answers, classes = ({name: arrays[f"{kind}.{name}"] for name in said[kind]} for kind in ("by_answer", "by_class"))
    if answers:
        answers["name"] = np.array([*said["names"], None], dtype=object)[:-1]
    if any(len({len(column) for column in columns.values()}) > 1 for columns in (answers, classes)):
        raise ValueError("its columns are not of one length")
    state.answers.restore(answers, classes, said["bound"])
    for at, (name, values) in enumerate(said["classes"].items()):
        found = state.classes[name] = Class()
        found.positions, found.censored, found.past, found.least, splits = values
        found.splits = [Split(*split) for split in splits]
        found.sums = arrays[f"sums.{at}"]
        found.stars = Distribution.from_bytes(arrays[f"stars.{at}"].tobytes())
    state.flips = Distribution.from_bytes(arrays["flips"].tobytes())
    samples = state.samples
    samples.listed = [Listed(key, label, star, _top(top)) for key, label, star, top in said["listed"]]
    samples.worst = [(value, key, Worst(Place(*shown[0]), *shown[1:])) for value, key, shown in said["worst"]]
    samples.texts = [(key, text) for key, text in said["texts"]]
    samples.problems = [Problem(*problem) for problem in said["problems"]]
    samples.problem_count = said["problem_count"]


def _top(values: list[Any]) -> Top:
    tokens, log_p, log_b, low, high = values
    return Top(tuple(tokens), tuple(log_p), tuple(log_b), low, high)


def _array(data: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(data, dtype=np.uint8)
