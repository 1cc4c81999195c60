"""Reports and rehearsals with given numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from lambda_star.calibration.statistics import answers_for
from lambda_star.rehearsal import Answer, Rehearsal

NEVER = (math.inf, math.inf, math.inf)
CAP = "log_ratio_cap(c=5)"


def limit(ends: tuple[float, float, float], quantile: float, confidence: float, answers: float) -> dict[str, Any]:
    """A quantile of a sample with its lower and its upper limit as a report writes it, unknown with too few answers."""
    estimate, value, high = ends
    known = 0 <= quantile <= 1 and 0 < confidence < 1
    needed = answers_for(quantile, confidence) if known else math.nan
    if not answers >= needed:
        value = math.nan
    level = 1 - (1 - confidence) ** (1 / answers) if known else math.nan
    made = {"value": value, "estimate": estimate, "high": high, "at_most": value, "quantile": quantile}
    made |= {"confidence": confidence, "answers": answers, "level": level, "needed": needed}
    missing = {name for name, end in made.items() if isinstance(end, float) and math.isnan(end)}
    return {name: None if name in missing else "inf" if end == math.inf else end for name, end in made.items()}


def report(
    operating: tuple[float, float, float] = (1.14, 1.12, 1.16),
    dies: tuple[float, float, float] | None = NEVER,
    rule: str | None = "none()",
    answers: float = 300,
    quantile: float = 0.01,
    confidence: float = 0.95,
    **values: Any,
) -> dict[str, Any]:
    """What a report says in JSON: three hundred answers of which no tail dies, unless other numbers are given."""
    options = (quantile, confidence, answers)
    made = {"binding": '["', "classes": [{"name": '["', "p": 0.999, "b": 0.5}], "clip": 5.0}
    made |= {"advised": limit((1.155, 1.13, 1.18), *options), "operating_point": limit(operating, *options)}
    made |= {"quantile": quantile, "confidence": confidence, "answers": answers}
    return made | {"rule": rule, "dies": None if dies is None else limit(dies, *options)} | values


def rehearsal(
    pairs: int, losses: Mapping[float, float], *, gains: float = 0.0, rule: str | None = None, **metrics: list[float]
) -> Rehearsal:
    """Answers at λ = 1, of which the share ``gains`` is not valid, and at other λ those with their share of losses."""
    answers = []
    for order, (lam, lost) in enumerate({1.0: 0.0, **losses}.items()):
        found = {name: values[order] for name, values in metrics.items()}
        for index in range(pairs):
            broken = index < round(lost * pairs) if lam != 1 else index >= pairs - round(gains * pairs)
            answers.append(_answer(lam, index, not broken, found))
    return Rehearsal({"rule": rule}, tuple(answers))


def rehearsal_of(now: Iterable[bool], reference: Iterable[bool]) -> Rehearsal:
    """Answers at λ = 1.5 and at λ = 1, valid or not."""
    both = {1.5: now, 1.0: reference}
    answers = [_answer(lam, at, bool(valid), {}) for lam, flags in both.items() for at, valid in enumerate(flags)]
    return Rehearsal({"rule": None}, tuple(answers))


def _answer(lam: float, prompt: int, valid: bool, metrics: dict[str, float]) -> Answer:
    return Answer(lam, prompt, 0, "[]", 2, ended=True, valid=valid, metrics=metrics)
