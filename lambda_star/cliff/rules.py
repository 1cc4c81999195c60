"""Update rules in training: where small transformers were predicted to fall under it, and where they fell.

A trial is a preset under an update rule. Before the first step its prediction is locked: the validity of the student
that training under the rule would converge to, sampled without training at each λ of a grid, and the same for π_λ, the
student of a rule without bound, which only sags. A *fall* is the first λ at which validity is half of what π_λ has
there. Then students are trained and judged; nothing is fitted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lambda_star import updates
from lambda_star.cliff import _hold
from lambda_star.cliff.presets import PRESETS, SPARSE, Preset
from lambda_star.cliff.record import figure, files, held, named, read

__all__ = [
    "SETTINGS",
    "TRIALS",
    "Finding",
    "Trial",
    "find",
    "findings",
    "groups",
    "half_lost",
    "names",
    "power",
    "trial",
]

GRID = (0.0, 0.8, 0.9, 1.0, 1.1, 1.4)  # of the way from 1 to the predicted fall, or to λ_c if none is predicted
BAND = (0.1, 0.2)  # a predicted fall is hit if it comes at most so much of its λ − 1 early, or late as if unfinished
MARGIN = 0.07  # no fall is hit if validity is nowhere so much below the rehearsed one
FALL = 0.1  # the power is the chance to see a true fall by so much
JUDGED = 2000  # answers at each λ, rehearsed and of trained students
BATCHES = {"short": 32, "sparse": 6}  # answers per step of each student

SETTINGS: dict[str, Preset] = {"short": PRESETS["short"], "sparse": SPARSE}
"""The two settings that each rule is tried in."""


@dataclass(frozen=True)
class Trial:
    """A preset under an update rule."""

    name: str
    preset: Preset
    rule: str  # as `lambda_star.updates.parse` reads it
    draws: int = 0  # tokens drawn at every position in place of the expectation over the vocabulary; 0 for none
    momentum: float = 0.0  # Adam's β₁
    reuse: int = 1  # gradient steps on one batch of answers

    @property
    def label(self) -> str:
        """The rule, and what else is special."""
        notes = [f"{self.draws} tokens drawn"] * bool(self.draws) + [f"momentum {self.momentum:g}"] * bool(
            self.momentum
        )
        return ", ".join([str(updates.parse(self.rule)), *notes])

    @property
    def batch(self) -> int:
        """Answers per step of each student."""
        return BATCHES.get(self.preset.name, 4)

    @property
    def settings(self) -> dict[str, Any]:
        """All that the prediction and the outcome depend on besides the seed, and the criterion in words."""
        return asdict(self) | {
            "batch": self.batch,
            "judged": JUDGED,
            "band": BAND,
            "margin": MARGIN,
            "criterion": (
                f"A fall is the first λ of the grid, interpolated, at which validity is half of the rehearsed validity"
                f" of π_λ. Predicted fall: hit if the fall seen comes at most {BAND[0]:.0%} of its λ − 1 early and"
                f" {BAND[1]:.0%} late. No fall predicted: hit if at no λ of the grid the validity seen is more than"
                f" {MARGIN:g} below the rehearsed one."
            ),
        }

    def path(self, folder: Path, seed: int) -> Path:
        """The file of the trial's record."""
        return folder / f"{self.preset.name}-{self.name}-{seed}.json"


TRIALS: dict[str, dict[str, Any]] = {
    "cap": {"rule": "log_ratio_cap:2"},
    "none": {"rule": "none"},
    "top-1": {"rule": "top_k:1"},
    "teacher-weight": {"rule": "teacher_weight:2"},
    "teacher-weight-drawn": {"rule": "teacher_weight:2", "draws": 4},
    "teacher-weight-uncentred": {"rule": "teacher_weight:2,centred=false"},
    "teacher-weight-uncentred-drawn": {"rule": "teacher_weight:2,centred=false", "draws": 4},
    "clamp-extrapolated": {"rule": "log_ratio_clamp:0.7,teacher=extrapolated"},
    "importance-weight": {"rule": "importance_weight:5", "reuse": 4},
    "ppo": {"rule": "ppo:0.2", "reuse": 4},
    "cap-through": {"rule": "log_ratio_cap:2,through=true"},
    "top-2": {"rule": "top_k:2"},
    "top-p": {"rule": "truncated_sampling:top_p=0.95"},
    "cap-momentum": {"rule": "log_ratio_cap:2", "momentum": 0.9},
    "teacher-weight-drawn-momentum": {"rule": "teacher_weight:2", "draws": 4, "momentum": 0.9},
    "teacher-weight-uncentred-drawn-momentum": {"rule": "teacher_weight:2,centred=false", "draws": 4, "momentum": 0.9},
    "cap-longer": {"rule": "log_ratio_cap:2", "steps": 600},
    "cap-through-longer": {"rule": "log_ratio_cap:2,through=true", "steps": 600},
}
"""Every update rule that is tried, by name; with momentum in ``short`` alone, and with more steps in ``sparse``."""


def trial(setting: str, name: str) -> Trial:
    """Return a trial by the names of its setting and its rule.

    Args:
        setting: a key of ``SETTINGS``.
        name: a key of ``TRIALS``.

    Returns:
        The trial.

    Raises:
        ValueError: there is no such setting or no such trial.

    >>> trial("short", "ppo").label
    'ppo()'
    """
    for what, given, known in (("setting", setting, SETTINGS), ("rule", name, TRIALS)):
        if given not in known:
            raise ValueError(f"{what} must be one of {', '.join(known)}, got {given!r}")
    arguments = dict(TRIALS[name])
    preset = replace(SETTINGS[setting], steps=arguments.pop("steps", SETTINGS[setting].steps))
    return Trial(name, preset, **arguments)


def names(setting: str) -> list[str]:
    """Return the trials of a setting."""
    return [name for name, given in TRIALS.items() if {"short": "steps", "sparse": "momentum"}[setting] not in given]


def groups(trials: Sequence[Trial], size: int) -> list[list[Trial]]:
    """Return trials in groups that can be trained side by side, with at most so many in each."""
    kinds = dict.fromkeys((one.preset.steps, one.momentum, one.reuse) for one in trials)
    alike = [[one for one in trials if (one.preset.steps, one.momentum, one.reuse) == kind] for kind in kinds]
    return [same[start : start + size] for same in alike for start in range(0, len(same), size)]


def half_lost(lams: Sequence[float], validity: Sequence[float], free: Sequence[float]) -> float | None:
    """Return the first λ at which validity is half of that of π_λ, interpolated linearly.

    Args:
        lams: λ, rising.
        validity: share of valid answers at each λ.
        free: the same for π_λ.

    Returns:
        A λ, or None if validity does not fall that far.

    >>> half_lost([1.0, 1.5, 2.0], [0.8, 0.8, 0.0], [0.8, 0.8, 0.8])
    1.75
    """
    gap = np.asarray(validity) - np.asarray(free) / 2
    fallen = np.flatnonzero(gap <= 0)
    if not len(fallen):
        return None
    here = int(fallen[0])
    if here == 0:
        return float(lams[0])
    share = gap[here - 1] / (gap[here - 1] - gap[here])
    return float(lams[here - 1] + (lams[here] - lams[here - 1]) * share)


def power(validity: Sequence[float], judged: int) -> float:
    """Return the least chance, over a grid, that a true fall by 0.1 would be seen as one by more than the margin.

    Args:
        validity: the rehearsed validity at each λ; where it is less than the fall there is none to see.
        judged: number of answers that are judged at each λ.

    Returns:
        An exact binomial probability; NaN if no λ counts.

    >>> round(power([0.5], 2000), 4)
    0.9966
    """
    from scipy.stats import binom

    rehearsed = np.array([value for value in validity if value >= FALL])
    if not len(rehearsed):
        return math.nan
    most = np.ceil(judged * (rehearsed - MARGIN) - 1e-9) - 1
    return float(binom.cdf(most, judged, rehearsed - FALL).min())


class Finding(NamedTuple):
    """What was predicted of one trial, and what was seen.

    Attributes:
        setting: the preset.
        name: the trial.
        label: its rule and what else is special.
        dies: the median λ at which the tail dies over the places where a list may end; None for never.
        predicted: the λ of the rehearsed fall; None for none.
        band: where a fall counts as predicted; None if none is predicted.
        power: the chance that a true fall by 0.1 would have been seen.
        unsettled: the share of rehearsed rows whose student training would not settle.
        seen: the λ of the fall that was seen; None for none, or while there is no outcome.
        shortfall: by how much validity lies below the rehearsed one at most; NaN while there is no outcome.
        hit: whether what was seen is what was predicted; None while there is no outcome.
    """

    setting: str
    name: str
    label: str
    seed: int
    dies: float | None
    predicted: float | None
    band: tuple[float, float] | None
    power: float
    unsettled: float
    seen: float | None
    shortfall: float
    hit: bool | None

    @property
    def error(self) -> float:
        """(seen − predicted)/(predicted − 1); NaN if either fall is missing."""
        if self.seen is None or self.predicted is None:
            return math.nan
        return (self.seen - self.predicted) / (self.predicted - 1)


def find(record: Mapping[str, Any]) -> Finding:
    """Read from a record what was predicted and what was seen; falls and hits are computed from the validities.

    Args:
        record: a record of a trial, with or without an outcome.

    Returns:
        A :class:`Finding`.

    Raises:
        ValueError: the record is not that of a trial, or says of itself what its numbers do not say.

    >>> find({"prediction": {}})
    Traceback (most recent call last):
    ...
    ValueError: record must be that of a trial, got one without 'settings'
    """
    with held("be that of a trial"):
        settings, said = record["settings"], record["prediction"]
        grid, fine = said["grid"], said["lam"]
        at = [fine.index(lam) for lam in grid]
        predicted = half_lost(fine, said["validity"], said["free"])
        early, late = settings["band"]
        band = None if predicted is None else tuple(1 + (predicted - 1) * size for size in (1 - early, 1 + late))
        rehearsed = [said["validity"][here] for here in at]
        seen, shortfall, hit = None, math.nan, None
        if (outcome := record.get("outcome")) is not None:
            seen = half_lost(grid, outcome["validity"], [said["free"][here] for here in at])
            shortfall = float(np.max(np.array(rehearsed) - outcome["validity"]))
            hit = shortfall <= settings["margin"] if band is None else seen is not None and band[0] <= seen <= band[1]
        _hold(said["onset"], predicted)
        if outcome is not None:
            _hold(outcome["onset"], seen)
        made = Trial(**_trial_settings(settings))
        middle = figure(said["dies"][said["levels"].index(0.5)])
        share = figure(said["unsettled"])
        chance = power(rehearsed, settings["judged"])
        names = made.preset.name, made.name, made.label, record["seed"]
        return Finding(*names, middle, predicted, band, chance, share, seen, shortfall, hit)


def _trial_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a trial from recorded settings."""
    kept = {name: settings[name] for name in Trial.__dataclass_fields__}
    preset = dict(kept["preset"])
    return kept | {"preset": Preset(**preset | {"grid": tuple(preset["grid"])})}


def findings(folder: Path) -> list[Finding]:
    """Return the findings of all records in a folder, in the order of the rules."""
    found = [_found(path) for path in files(folder)]
    order = {name: place for place, name in enumerate(TRIALS)}
    return sorted(found, key=lambda one: (one.setting, order.get(one.name, len(order)), one.seed))


def _found(path: Path) -> Finding:
    record = read(path)
    with named(path):
        return find(record)
