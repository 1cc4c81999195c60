"""The numbers that claims are held against: calls of the library, and figures out of results files."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

from lambda_star import bernoulli, dynamics, updates
from lambda_star.lint import rule_of

__all__ = ["CHECKS", "FIGURES", "compute"]


def _dies(rule: str, p: float, b: float) -> float:
    """Return the λ at which the tail dies under a rule or a training code."""
    return float(rule_of(rule).dies(p, b))


def _leaves(rule: str, p: float, b: float) -> float:
    """Return the λ at which the student leaves q_λ under a rule or a training code."""
    return float(rule_of(rule).leaves(p, b))


def _equivalent_clip(rule: str, p: float, b: float) -> float:
    """Return the clip of the log-ratio cap whose tail dies at the same λ."""
    return float(rule_of(rule).equivalent_clip(p, b))


def _tail_under(rule: str, p: float, b: float, lam: float) -> float:
    """Return how many times thinner than the teacher's the tail is where training under a rule ends."""
    tail = 1 - float(rule_of(rule).student(p, b, lam))
    return (1 - p) / tail if tail else math.inf


def _tokens_threshold(teacher: Sequence[float], base: Sequence[float], c: float) -> float:
    """Return λ* of a position with several tokens from their probabilities."""
    import numpy as np

    from lambda_star import categorical

    return float(categorical.threshold(np.log(teacher), np.log(base), c).value)


CHECKS: dict[str, Callable[..., Any]] = {
    **{each: getattr(bernoulli, each) for each in ("threshold", "collapse_point", "tail_ratio", "teacher_for")},
    **{each: getattr(bernoulli, each) for each in ("fixed_point", "clip_for", "is_clip_safe", "base_for")},
    **{each: getattr(dynamics, each) for each in ("budget_threshold", "time_to_edge")},
    "capacity": updates.capacity,
    "complement": lambda of: 1 - of,
    "ratio": lambda of, to: of / to,
    "number": lambda of: of,
    "rule": lambda of: str(rule_of(of)),
    "dies": _dies,
    "leaves": _leaves,
    "equivalent_clip": _equivalent_clip,
    "tail_under": _tail_under,
    "tokens_threshold": _tokens_threshold,
}
"""What a claim may compute without a file."""


@cache
def _calibrated(root: Path, file: str, rule: str) -> Any:
    from lambda_star.calibration import calibrate
    from lambda_star.calibration.readers import read_table

    return calibrate(read_table(root / file), rule=rule_of(rule))


@cache
def _curve(root: Path, file: str) -> dict[float, Any]:
    from lambda_star.rehearsal import read_rehearsal

    return {point.lam: point for point in read_rehearsal(root / file).curve}


@cache
def _contents(root: Path, files: str) -> tuple[Any, ...]:
    """Return the contents of JSON files, in the order of their names."""
    paths = sorted(root.glob(files))
    if not paths:
        raise FileNotFoundError(f"{root / files}: no such file")
    return tuple(json.loads(path.read_text(encoding="utf-8")) for path in paths)


def _calibration(root: Path, file: str, rule: str, at: str) -> Any:
    """Return an attribute of the report of a table."""
    return _at(_calibrated(root, file, rule), at)


def _rehearsal(root: Path, file: str, lam: float, at: str) -> Any:
    """Return an attribute of the point of a rehearsal at a λ."""
    return _at(_curve(root, file)[lam], at)


TAKES: dict[str, Callable[[list[Any]], Any]] = {
    "only": lambda values: values[0] if len(set(map(str, values))) == 1 else math.nan,
    **{each.__name__: each for each in (min, max, sum, median)},
    "count": len,
}


def _figure(root: Path, files: str, at: str = "", take: str = "only", where: Mapping[str, Any] | None = None) -> Any:
    """Return a figure out of JSON files: what stands at a place of those that hold certain values elsewhere."""
    chosen = [one for one in _contents(root, files) if all(_at(one, key) == is_ for key, is_ in (where or {}).items())]
    values = [found for found in (_at(one, at) if at else one for one in chosen) if found is not None]
    return TAKES[take](values) if values or take == "count" else math.nan


def _onsets(root: Path, of: str, control: str = "") -> Any:
    """Return a field of the summary of the cliff experiment's runs, how many fell, or the ends of their errors."""
    from lambda_star.cliff import compare, summarise

    runs = [run for run in map(compare, _contents(root, "results/cliff/*.json")) if run.control == control]
    errors = [run.relative_error for run in runs]
    more = {"fallen": sum(run.seen is not None for run in runs), "least": min(errors), "greatest": max(errors)}
    return more[of] if of in more else getattr(summarise(runs), of)


def _rehearsed_onsets(root: Path, of: str) -> float:
    """Return the median or the greatest |seen − rehearsed|/(rehearsed − 1) of the runs without a control."""
    from lambda_star.cliff import compare

    rehearsed = {(one["run"], one["seed"]): one["onset"] for one in _contents(root, "results/cliff/rehearsed/*.json")}
    runs = [run for run in map(compare, _contents(root, "results/cliff/*.json")) if not run.control]
    pairs = [(run.seen or math.nan, rehearsed[run.label, run.seed]) for run in runs]
    return {"median": median, "greatest": max}[of](abs(seen - onset) / (onset - 1) for seen, onset in pairs)


FIGURES: dict[str, Callable[..., Any]] = {
    "calibration": _calibration,
    "rehearsal": _rehearsal,
    "figure": _figure,
    "onsets": _onsets,
    "rehearsed_onsets": _rehearsed_onsets,
}
"""What a claim may compute from the files of a clone of the repository."""


def _at(value: Any, place: str) -> Any:
    """Return what stands at a place such as ``outcome.tail.0.1``: keys, indices, attributes; None for nothing."""
    for key in place.split("."):
        if isinstance(value, Mapping):
            value = value.get(key)
        elif key.isdecimal():
            value = value[int(key)]
        else:
            value = None if value is None else getattr(value, key)
    return value


def compute(values: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """Return the numbers that a claim names.

    Args:
        values: by name, one function of ``CHECKS`` or ``FIGURES`` with its arguments by name; an argument "=name" is
            the value of that name.
        root: the folder of the repository.

    Returns:
        The numbers by name.

    Raises:
        ValueError: there is no such function.
        OSError: a file is not there.

    >>> compute({"p": {"teacher_for": {"b": 0.5, "c": 5, "lam": 1.22}}, "tail": {"complement": {"of": "=p"}}}, Path())
    {'p': 0.99933..., 'tail': 0.00066...}
    """
    found: dict[str, Any] = {}
    for name, spec in values.items():
        ((function, arguments),) = spec.items()
        earlier = {key: found[each[1:]] for key, each in arguments.items() if str(each).startswith("=")}
        given = {**arguments, **earlier}
        if function in CHECKS:
            found[name] = CHECKS[function](**given)
        elif function in FIGURES:
            found[name] = FIGURES[function](root, **given)
        else:
            raise ValueError(f"{name} must be one of {', '.join(sorted({**CHECKS, **FIGURES}))}, got {function!r}")
    return found
