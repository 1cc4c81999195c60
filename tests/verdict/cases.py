"""Reports and rehearsals with given numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from lambda_star.rehearsal import Answer, Rehearsal

NEVER = (math.inf, math.inf, math.inf)
CAP = "log_ratio_cap(c=5)"


def estimate(ends: tuple[float, float, float]) -> dict[str, Any]:
    """An estimate as a report writes it."""
    plain = [None if math.isnan(end) else "inf" if end == math.inf else end for end in ends]
    return dict(zip(("value", "low", "high"), plain, strict=True))


def report(
    operating: tuple[float, float, float] = (1.14, 1.12, 1.16),
    dies: tuple[float, float, float] | None = NEVER,
    rule: str | None = "none()",
    answers: int = 300,
    **values: Any,
) -> dict[str, Any]:
    """What a report says in JSON: three hundred answers of which no tail dies, unless other numbers are given."""
    classes = [{"name": '["', "p": 0.999, "b": 0.5}]
    made = {"binding": '["', "classes": classes, "clip": 5.0, "advised": estimate((1.155, 1.13, 1.18))}
    made |= {"operating_point": estimate(operating), "quantile": 0.01, "confidence": 0.95, "answers": answers}
    return made | {"rule": rule, "dies": None if dies is None else estimate(dies)} | values


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
