"""The numbers that claims are held against: calls of the library, and figures out of results files."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from statistics import mean, median
from typing import Any

from lambda_star import bernoulli, dynamics
from lambda_star.lint import rule_of

__all__ = ["CHECKS", "FIGURES", "compute"]


def _of_rule(name: str, rule: str, p: float, b: float) -> float:
    return float(getattr(rule_of(rule), name)(p, b))


def _tokens_threshold(teacher: Sequence[float], base: Sequence[float], c: float) -> float:
    import numpy as np

    from lambda_star import categorical

    return float(categorical.threshold(np.log(teacher), np.log(base), c).value)


CHECKS: dict[str, Callable[..., Any]] = {
    **{name: getattr(bernoulli, name) for name in ("threshold", "tail_ratio", "teacher_for", "is_clip_safe")},
    **{name: partial(_of_rule, name) for name in ("dies", "leaves", "equivalent_clip")},
    "budget_threshold": dynamics.budget_threshold,
    "tokens_threshold": _tokens_threshold,
    "rule": lambda of: str(rule_of(of)),
    "number": lambda of: of,
    "complement": lambda of: 1 - of,
    "ratio": lambda of, to: of / to,
    "difference": lambda of, less: of - less,
}
"""What a claim may compute without a file."""


@cache
def _report(root: Path, file: str, rule: str) -> Any:
    from lambda_star.calibration import calibrate
    from lambda_star.calibration.readers import read_table

    (root / file).stat()  # which says that a file is missing as other readers do
    return calibrate(read_table(root / file), rule=rule_of(rule))


@cache
def _points(root: Path, file: str) -> dict[float, Any]:
    from lambda_star.rehearsal import read_rehearsal

    return {point.lam: point for point in read_rehearsal(root / file).curve}


@cache
def _contents(root: Path, files: str) -> tuple[Any, ...]:
    """Return the contents of JSON files, in the order of their names; locked records are held against their hashes."""
    from lambda_star.cliff.record import read

    found = {path: json.loads(path.read_text(encoding="utf-8")) for path in sorted(root.glob(files))}
    if not found:
        raise FileNotFoundError(f"{root / files}: no such file")
    return tuple(read(path) if {"prediction", "sha256"} <= {*one} else one for path, one in found.items())


TAKES: dict[str, Callable[[list[Any]], Any]] = {
    "only": lambda values: values[0] if len(set(map(str, values))) == 1 else math.nan,
    **{each.__name__: each for each in (len, min, max, sum, mean, median)},
}


def _figure(root: Path, files: str, at: str = "", take: str = "only", where: Mapping[str, Any] | None = None) -> Any:
    """Return what stands at a place of those files that hold certain values elsewhere."""
    chosen = [one for one in _contents(root, files) if all(_at(one, key) == is_ for key, is_ in (where or {}).items())]
    values = [found for found in (_at(one, at) if at else one for one in chosen) if found is not None]
    return TAKES[take](values) if values or take == "len" else math.nan


def _onsets(root: Path, of: str, control: str = "") -> Any:
    """Return a field of the summary of the cliff experiment's runs, how many fell, or the ends of their errors."""
    from lambda_star.cliff import compare, summarise

    runs = [run for run in map(compare, _contents(root, "results/cliff/*.json")) if run.control == control]
    errors = [run.relative_error for run in runs]
    more = {"fallen": sum(run.seen is not None for run in runs), "least": min(errors), "greatest": max(errors)}
    return more[of] if of in more else getattr(summarise(runs), of)


def _rehearsed_onsets(root: Path, take: str) -> float:
    """Return the median or the greatest |seen − rehearsed|/(rehearsed − 1) of the runs without a control."""
    from lambda_star.cliff import compare

    rehearsed = {(one["run"], one["seed"]): one["onset"] for one in _contents(root, "results/cliff/rehearsed/*.json")}
    runs = [run for run in map(compare, _contents(root, "results/cliff/*.json")) if not run.control]
    pairs = [(run.seen or math.nan, rehearsed[run.label, run.seed]) for run in runs]
    return float(TAKES[take]([abs(seen - onset) / (onset - 1) for seen, onset in pairs]))


def _trials(root: Path, of: str, fall: bool | None = None) -> int:
    """Count the trials of update rules that have an outcome, or the hits among them, by whether a fall is predicted."""
    from lambda_star.cliff.rules import findings

    _contents(root, "results/rules/*.json")  # which says where there are none
    found = [one for one in findings(root / "results/rules") if one.hit is not None]
    hits = [bool(one.hit) for one in found if fall in {None, one.predicted is not None}]
    return {"judged": len(hits), "hits": sum(hits)}[of]


FIGURES: dict[str, Callable[..., Any]] = {
    "calibration": lambda root, file, rule, at: _at(_report(root, file, rule), at),
    "rehearsal": lambda root, file, lam, at: _at(_points(root, file)[lam], at),
    "figure": _figure,
    "onsets": _onsets,
    "rehearsed_onsets": _rehearsed_onsets,
    "trials": _trials,
}
"""What a claim may compute from the files of a clone of the repository."""


def _at(value: Any, place: str) -> Any:
    """Return what stands at a place such as ``outcome.tail.0.1``: keys, indices, attributes; None for nothing."""
    for key in place.split("."):
        if isinstance(value, Mapping):
            value = value.get(key)
        elif value is not None:
            value = value[int(key)] if key.isdecimal() else getattr(value, key)
    return value


def compute(values: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """Return numbers by name; each is one function with its arguments, of which "=name" is an earlier number.

    >>> compute({"p": {"teacher_for": {"b": 0.5, "c": 5, "lam": 1.22}}, "tail": {"complement": {"of": "=p"}}}, Path())
    {'p': 0.99933..., 'tail': 0.00066...}
    """
    found: dict[str, Any] = {}
    for name, spec in values.items():
        ((function, arguments),) = spec.items()
        if function not in {**CHECKS, **FIGURES}:
            raise ValueError(f"{name} must be one of {', '.join(sorted({**CHECKS, **FIGURES}))}, got {function!r}")
        given = {key: found[each[1:]] if str(each).startswith("=") else each for key, each in arguments.items()}
        found[name] = CHECKS[function](**given) if function in CHECKS else FIGURES[function](root, **given)
    return found
