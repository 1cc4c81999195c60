"""What a run of the cliff experiment was predicted to do, and did: the onset of a fall, and the comparison."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lambda_star._core.quantities import Quantity, require

__all__ = ["Comparison", "Summary", "compare", "onset", "summarise"]


def onset(lams: ArrayLike, validity: ArrayLike, reference: float) -> float | None:
    """The first λ past a reference at which validity is half of what it is there, by lines between the points.

    Args:
        lams: λ, rising, shape (n,) with n ≥ 2.
        validity: share of valid answers at each, in [0, 1], the same shape.
        reference: the λ at which validity counts as not fallen yet, within the range of ``lams``.

    Returns:
        A λ, or None if validity does not fall so far.

    Raises:
        ValueError: shapes differ, λ does not rise, or the reference lies outside.

    Source: extension.

    >>> onset([1.0, 1.5, 2.0], [0.8, 0.8, 0.0], 1.5)
    1.75
    >>> onset([1.0, 1.5, 2.0], [0.8, 0.8, 0.5], 1.5) is None
    True
    """
    lams, validity = np.asarray(lams, dtype=np.float64), np.asarray(validity, dtype=np.float64)
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
    """One run: what was said before its first step, and what was seen.

    Attributes:
        name: of the preset, with its control.
        seed: of all random numbers.
        threshold: the median λ*_t of the positions.
        collapse: the median collapse point.
        budget_threshold: the λ at which the budget of the run reaches the clip, at the median position.
        band: from the 10 % quantile of λ*_t to the 90 % quantile of the collapse points; None without a clip, with a
            shuffled base, and at a single λ.
        predicted: the onset of the predicted validity curve, or None.
        seen: the onset of the measured one, or None.
        interval: 95 % bootstrap interval of ``seen`` over sampled answers; None for an end that no fall bounds.

    >>> run = Comparison("short", 3, 1.7, 1.8, 1.71, (1.6, 1.9), 1.75, 1.72, (1.71, 1.73))
    >>> run.inside, round(run.off, 3)
    (True, -0.04)
    """

    name: str
    seed: int
    threshold: float
    collapse: float
    budget_threshold: float
    band: tuple[float, float] | None
    predicted: float | None
    seen: float | None
    interval: tuple[float | None, float | None]

    @property
    def control(self) -> str:
        """The name of the control, empty for a plain run of a preset."""
        return self.name.partition(", ")[2]

    @property
    def inside(self) -> bool | None:
        """Whether the onset lies in the band; None without a band."""
        if self.band is None:
            return None
        return self.seen is not None and self.band[0] <= self.seen <= self.band[1]

    @property
    def off(self) -> float:
        """(seen − predicted)/(predicted − 1); NaN if either is missing."""
        if self.seen is None or self.predicted is None:
            return math.nan
        return (self.seen - self.predicted) / (self.predicted - 1)


def compare(record: Mapping[str, Any]) -> Comparison:
    """What a finished run was predicted to do beside what it did; nothing is fitted.

    Args:
        record: as :func:`lambda_star.cliff.run.run` returns it.

    Returns:
        A :class:`Comparison`.

    Raises:
        ValueError: the record is not that of a finished run.

    Source: extension.

    >>> compare({"prediction": {}})
    Traceback (most recent call last):
    ...
    ValueError: record must hold a finished run of the cliff experiment, got one without 'outcome'
    """
    try:
        seen, said = record["outcome"], record["prediction"]
        middle = said["levels"].index(0.5)
        looks = len(said["grid"]) > 1  # a run at one λ alone can see no fall
        return Comparison(
            said["preset"]["name"],
            said["seed"],
            said["threshold"][middle],
            said["collapse"][middle],
            said["budget_threshold"],
            (said["band"][0], said["band"][1]) if said["band"] and looks else None,
            said["onset"] if looks else None,
            seen["onset"],
            (seen["interval"][0], seen["interval"][1]),
        )
    except KeyError as error:
        raise ValueError(f"record must hold a finished run of the cliff experiment, got one without {error}") from error


class Summary(NamedTuple):
    """How many runs fell where they were predicted to.

    Attributes:
        runs: runs with a band.
        inside: those of them whose onset lies in it.
        off: the median of |seen − predicted|/(predicted − 1), over the runs that have both.
        worst: the greatest of these.

    >>> Summary(15, 14, 0.03, 0.08).inside
    14
    """

    runs: int
    inside: int
    off: float
    worst: float


def summarise(runs: Sequence[Comparison]) -> Summary:
    """Count the runs whose onset lies in their band, and tell how far off the predictions are.

    Args:
        runs: what :func:`compare` returned, any number.

    Returns:
        A :class:`Summary`; NaN where no run has both a predicted and a seen onset.

    Source: extension.

    >>> run = Comparison("short", 3, 1.7, 1.8, 1.71, (1.6, 1.9), 1.75, 1.72, (1.71, 1.73))
    >>> summarise([run])
    Summary(runs=1, inside=1, off=0.04..., worst=0.04...)
    """
    offs = [abs(run.off) for run in runs if not math.isnan(run.off)]
    judged = [run for run in runs if run.inside is not None]
    off, worst = (float(np.median(offs)), max(offs)) if offs else (math.nan, math.nan)
    return Summary(len(judged), sum(bool(run.inside) for run in judged), off, worst)
