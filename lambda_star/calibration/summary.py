"""The report of a state."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from lambda_star._core.quantities import MARGIN, Quantity, require
from lambda_star.bernoulli import formulas
from lambda_star.calibration.classes import class_report
from lambda_star.calibration.contracts import Fit, with_remedy
from lambda_star.calibration.distribution import Distribution
from lambda_star.calibration.readings import Reading, readings
from lambda_star.calibration.report import QUANTILES, ClassReport, Report
from lambda_star.calibration.samples import FIT, REASONS
from lambda_star.calibration.statistics import CONFIDENCE, QUANTILE, Limit, limit
from lambda_star.contract import Contract, Labeller, json_structure, parse

if TYPE_CHECKING:
    from lambda_star.calibration.state import State

__all__ = ["summary"]

OPTIONS = (MARGIN, QUANTILE, CONFIDENCE, Quantity("budget", 0.0, math.inf, "(]"))


def summary(state: State, margin: float, quantile: float, confidence: float, budget: float | None) -> Report:
    """Return the report of a state, as :meth:`lambda_star.calibration.state.State.report` describes it."""
    require(*zip(OPTIONS, (margin, quantile, confidence, budget), strict=True))
    state.check()
    settings, fit, skipped = state.settings, _fit(state), _skipped(state)
    _refuse_nothing(state, fit, skipped)
    classes = _classes(state, confidence, budget)
    return Report(
        source=state.source,
        clip=settings.clip,
        rule=None if settings.rule is None else str(settings.rule),
        lam=settings.lam,
        margin=margin,
        quantile=quantile,
        confidence=confidence,
        budget=budget,
        least_b=settings.least_b,
        contract=state.contract,
        classes=tuple(sorted(classes, key=lambda one: (math.isnan(one.low), one.value, one.name))),
        **_of_positions(state),
        **_of_answers(state, margin, quantile, confidence),
        skipped=skipped,
        rounded=state.counts["rounded"],
        censored=sum(found.censored for found in state.classes.values()),
        problems=tuple(state.samples.problems),
        problem_count=state.samples.problem_count,
        readings=_readings(state),
        fit=fit,
    )


def _refuse_nothing(state: State, fit: Fit | None, skipped: dict[str, int]) -> None:
    """Raise an error if no row is used."""
    if state.classes:
        return
    if not skipped:
        raise ValueError(f"{state.source}: there are no rows; write one row per output position")
    why = ", ".join(f"{count} {reason}" for reason, count in skipped.items())
    remedy = (fit and fit.remedy) or "give `contract`, or name its tokens with `tokens`"
    raise ValueError(f"{state.source}: no row is a usable contract position ({why}); {remedy}")


def _of_positions(state: State) -> dict[str, Any]:
    """What a report says of single positions."""
    by_position = Distribution()
    for found in state.classes.values():
        by_position.merge(found.stars)
    worst = tuple(each for _, _, each in state.samples.worst)
    return {
        "strict": worst[0].value,
        "strict_at": worst[0].place,
        "quantiles": {level: by_position.quantile(level) for level in QUANTILES},
        "by_position": by_position,
        "flip_point": state.flips.quantile(0),
        "flips": state.flips,
        "used": by_position.count,
        "sketch_error": by_position.error,
        "worst": worst,
    }


def _of_answers(state: State, margin: float, quantile: float, confidence: float) -> dict[str, Any]:
    """What a report says of answers."""
    answers, dies = state.answers, None
    low, high = answers.used("low"), answers.used("high")
    advised = limit(low, quantile, confidence, high)
    if state.settings.rule is not None:
        dies = limit(answers.used("dies_low"), quantile, confidence, answers.used("dies_high"))
    return {
        "by_answer": Distribution(low),
        "advised": advised,
        "dies": dies,
        "operating_point": _operating(margin, advised, dies or advised),
        "answers": round(len(low) / answers.share),
        "sampled": len(low) if answers.share < 1 else 0,
    }


def _operating(margin: float, first: Limit, second: Limit) -> Limit:
    """What keeps a margin below the lesser of two limits, number by number."""
    numbers: dict[str, Any] = {
        name: float(formulas.operating(np.minimum(getattr(first, name), getattr(second, name)), margin))
        for name in ("value", "estimate", "high", "at_most")
    }
    return first._replace(**numbers)


def _classes(state: State, confidence: float, budget: float | None) -> list[ClassReport]:
    columns, share = state.answers.classes, state.answers.share
    order = np.argsort(columns["label"], kind="stable")
    bounds = np.searchsorted(columns["label"][order], np.arange(len(state.classes) + 1))
    return [
        class_report(name, found, columns["sums"][order[start:stop]], share, state.settings, confidence, budget)
        for (name, found), start, stop in zip(state.classes.items(), bounds[:-1], bounds[1:], strict=True)
    ]


def _skipped(state: State) -> dict[str, int]:
    """How many rows are not used, for each reason that there is."""
    counts = {reason: state.counts[reason] for reason in REASONS} | {"bad row": state.samples.problem_count}
    return {reason: count for reason, count in counts.items() if count}


def _fit(state: State) -> Fit | None:
    if not state.whole:
        return None
    fit = Fit(**{name: state.counts[name] for name in FIT}, remedy="")
    chosen = _contract(state)
    return with_remedy(fit, chosen, [text for _, text in state.samples.texts]) if isinstance(chosen, Contract) else fit


def _contract(state: State) -> Contract | Labeller | None:
    """The contract or labeller of a state; None where a column names the classes."""
    chosen = state.settings.contract
    chosen = state.contract if chosen is None else chosen
    return parse(chosen) if isinstance(chosen, str) else chosen


def _readings(state: State) -> tuple[Reading, ...]:
    chosen, listed = _contract(state), state.samples.listed
    label = chosen.label if isinstance(chosen, Contract) else chosen or json_structure
    return readings(
        [each.top for each in listed],
        [each.label for each in listed],
        [each.star for each in listed],
        state.settings.clip,
        label,
    )
