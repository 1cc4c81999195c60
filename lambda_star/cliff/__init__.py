"""The cliff experiment: where the validity of a small model's answers was predicted to fall, and where it fell."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lambda_star import _deprecated
from lambda_star._core.quantities import Quantity, reals, require
from lambda_star.cliff.presets import _label, _recorded
from lambda_star.cliff.record import figure, held

__all__ = ["Comparison", "Summary", "compare", "onset", "summarise"]


def onset(lams: ArrayLike, validity: ArrayLike, reference: float) -> float | None:
    """Find the first λ past a reference at which validity is half of what it is there, interpolating linearly.

    Args:
        lams: λ, rising, shape (n,) with n ≥ 2.
        validity: share of valid answers at each λ, in [0, 1], the same shape.
        reference: the λ up to which validity counts as not fallen, within the range of ``lams``.

    Returns:
        A λ, or None if validity does not fall that far.

    Raises:
        ValueError: shapes differ, λ does not rise, or the reference lies outside.

    >>> onset([1.0, 1.5, 2.0], [0.8, 0.8, 0.0], 1.5)
    1.75
    >>> onset([1.0, 1.5, 2.0], [0.8, 0.8, 0.5], 1.5) is None
    True
    """
    lams, validity = reals("lams", lams), reals("validity", validity)
    if lams.ndim != 1 or lams.shape != validity.shape or lams.size < 2 or not (np.diff(lams) > 0).all():
        raise ValueError(f"lams must rise, one per validity and two at least, got {lams.tolist()}")
    require((Quantity("reference", lams[0], lams[-1], "[]"), reference))
    start = float(np.interp(reference, lams, validity))
    past = lams > reference
    at, values = np.append(reference, lams[past]), np.append(start, validity[past])
    fallen = np.flatnonzero(values <= start / 2)
    if not len(fallen) or not start:
        return None
    here = fallen[0]
    share = (values[here - 1] - start / 2) / (values[here - 1] - values[here])
    return float(at[here - 1] + (at[here] - at[here - 1]) * share)


class Comparison(NamedTuple):
    """What was predicted of one run before its first step, and what was seen.

    Attributes:
        control: name of the control, empty for a run of the preset itself.
        threshold: the median λ* of the positions where a list may end.
        collapse: the median collapse point λ_c of these positions.
        budget_threshold: the λ at which the budget of the run reaches the clip edge, at the median position.
        band: from the 10 % quantile of λ* to the 90 % quantile of λ_c; None without a clip, with a shuffled base, and
            at a single λ.
        predicted: the onset of the predicted validity curve, or None.
        seen: the onset of the measured curve, or None.
        interval: 95 % bootstrap interval of ``seen`` over sampled answers; an end is None where no fall bounds it.
    """

    preset: str
    control: str
    seed: int
    threshold: float
    collapse: float
    budget_threshold: float
    band: tuple[float, float] | None
    predicted: float | None
    seen: float | None
    interval: tuple[float | None, float | None]

    @property
    def label(self) -> str:
        """The preset, and its control after a comma."""
        return _label(self.preset, self.control)

    @property
    def inside(self) -> bool | None:
        """Whether the onset lies in the band; None without a band."""
        if self.band is None:
            return None
        return self.seen is not None and self.band[0] <= self.seen <= self.band[1]

    @property
    def relative_error(self) -> float:
        """(seen − predicted)/(predicted − 1), the error relative to the excess; NaN if either onset is missing."""
        if self.seen is None or self.predicted is None:
            return math.nan
        return (self.seen - self.predicted) / (self.predicted - 1)


_deprecated.renamed_fields(Comparison, name="label", off="relative_error")


def compare(record: Mapping[str, Any]) -> Comparison:
    """Read from a finished run what was predicted and what was seen; nothing is fitted.

    Both onsets are computed again from the validity on record.

    Args:
        record: a record as :func:`lambda_star.cliff.run.run` returns it.

    Returns:
        A :class:`Comparison`.

    Raises:
        ValueError: the record is not that of a finished run, or names an onset that its validity does not have.

    >>> compare({"prediction": {}})
    Traceback (most recent call last):
    ...
    ValueError: record must hold a finished run of the cliff experiment, got one without 'outcome'
    """
    with held("hold a finished run of the cliff experiment"):
        seen, said = record["outcome"], record["prediction"]
        (preset, seed), middle = _recorded(record), said["levels"].index(0.5)
        several = len(said["grid"]) > 1  # a run at a single λ shows no fall
        return Comparison(
            preset.name,
            preset.control,
            seed,
            figure(said["threshold"][middle]),
            figure(said["collapse"][middle]),
            figure(said["budget_threshold"]),
            (figure(said["band"][0]), figure(said["band"][1])) if said["band"] and several else None,
            _checked(said["onset"], said["lam"], said["validity"], said["reference"]) if several else None,
            _checked(seen["onset"], said["grid"], seen["validity"], said["reference"]),
            (figure(seen["interval"][0]), figure(seen["interval"][1])),
        )


def _checked(named: float | None, lams: list[float], validity: list[float], reference: float) -> float | None:
    """The onset that a record names, if it is that of its curve, which is on record to ten digits."""
    _hold(named, onset(lams, validity, reference) if len(lams) > 1 else None)
    return named


def _hold(named: float | None, found: float | None) -> None:
    """Refuse a record that names another onset than its own validity has."""
    if (found is None) != (named is None) or abs((found or 0) - (named or 0)) > 1e-8:
        raise ValueError(f"record must name the onset of its own validity, which is {found}, got {named}")


class Summary(NamedTuple):
    """How many ``runs`` have a band, how many lie ``inside`` it, and the median and the worst |relative error|."""

    runs: int
    inside: int
    median_error: float
    worst_error: float


_deprecated.renamed_fields(Summary, off="median_error", worst="worst_error")


def summarise(runs: Sequence[Comparison]) -> Summary:
    """Count the runs whose onset lies in their band, and compute the median and the worst error of the predictions.

    Args:
        runs: any number of results of :func:`compare`.

    Returns:
        A :class:`Summary`, with NaN for the errors if no run has both a predicted and a seen onset.

    >>> run = Comparison("short", "no clip", 3, 1.7, 1.8, 1.71, (1.6, 1.9), 1.75, 1.72, (1.71, 1.73))
    >>> run.label, run.inside, round(run.relative_error, 3)
    ('short, no clip', True, -0.04)
    >>> summarise([run])
    Summary(runs=1, inside=1, median_error=0.04..., worst_error=0.04...)
    """
    errors = [abs(run.relative_error) for run in runs if not math.isnan(run.relative_error)]
    judged = [run for run in runs if run.inside is not None]
    median, worst = (float(np.median(errors)), max(errors)) if errors else (math.nan, math.nan)
    return Summary(len(judged), sum(bool(run.inside) for run in judged), median, worst)
