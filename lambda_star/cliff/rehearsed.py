"""The cliff rehearsed: answers of the students that training would converge to, sampled without training them.

Teacher and base of a run are made again from its seed. At every prefix the student is
:func:`lambda_star.categorical.stationary_student` of the two, with the cap of the run. Its answers are judged like
those of the trained students, so the two validities can be compared at every λ.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lambda_star import categorical
from lambda_star.cliff import compare, onset
from lambda_star.cliff.model import Cache, forward, on_threads
from lambda_star.cliff.presets import _recorded
from lambda_star.cliff.record import _write
from lambda_star.cliff.run import JUDGED, _file_name, _measured, _numbers, _Run, _sizes
from lambda_star.cliff.task import parsed

__all__ = ["Agreement", "agree", "rehearse", "rehearsed"]

FINE = np.arange(90, 141, 2) / 100  # (λ−1)/(λ*−1) between which validity falls, for the onset
BLOCK = 4  # λ that are sampled at once

Student = Callable[[Tensor, Tensor, Tensor], Tensor]
"""The student's log-probabilities from rows of the teacher's and the base's and λ."""


def rehearse(record: Mapping[str, Any], *, answers: int = JUDGED, threads: int = 1) -> dict[str, Any]:
    """Return the validity of the predicted students of a finished run, at each λ of its grid and on a finer one.

    The same random numbers are used at every λ. Nothing is fitted to the run's outcome.

    Args:
        record: a finished run of a preset whose base is not shuffled.
        answers: number of answers at each λ, at least 1.
        threads: number of PyTorch's threads, at least 1.

    Returns:
        The run's name, seed and hash; ``drift``, the largest relative difference between p, b and the quantiles of λ*
        of the models made again and those on record; ``lam`` and ``validity``; and the ``onset``, None where nothing
        falls.

    Raises:
        ValueError: the record is not that of a finished run, or its base is shuffled.

    >>> rehearse({"prediction": {}})
    Traceback (most recent call last):
    ...
    ValueError: record must hold a finished run of the cliff experiment, got one without 'outcome'
    """
    run, said = compare(record), record["prediction"]
    preset, _ = _recorded(record)
    if preset.shuffled:
        raise ValueError("record must hold a run whose base is not shuffled: its student has no single base")
    with on_threads(threads):
        this = _Run(preset, run.seed, **_sizes(record))
        p, b, stars, _ = _measured(this)
        lams = sorted({*said["grid"], *_numbers(1 + (run.threshold - 1) * FINE)})
        blocks = [lams[start : start + BLOCK] for start in range(0, len(lams), BLOCK)]
        validity = [share for block in blocks for share in _validity(this, block, answers)]
    made, recorded = np.array([p, b, *stars]), np.array([said["p"], said["b"], *said["threshold"]])
    return {
        "run": run.label,
        "seed": run.seed,
        "sha256": record["sha256"],
        "answers": answers,
        "drift": float(f"{np.max(np.abs(made / recorded - 1)):.3g}"),
        "lam": lams,
        "validity": validity,
        "onset": onset(lams, validity, said["reference"]),
    }


def _validity(this: _Run, lams: Sequence[float], answers: int, student: Student | None = None) -> list[float]:
    """Return the share of valid answers of the predicted student at each λ."""
    tokens = _sampled(this, lams, answers, student).tolist()
    return [float(np.mean([parsed(this.task.decode(row)) is not None for row in rows])) for rows in tokens]


def _sampled(this: _Run, lams: Sequence[float], answers: int, student: Student | None = None) -> Tensor:
    """Sample from the predicted student at each λ token by token, with the same random numbers for all λ.

    ``student`` gives its log-probabilities from those of teacher and base and λ, one row per answer; by default
    it is that of the run's clip.
    """
    teacher, base = this.models
    pair = {name: torch.cat([teacher[name], base[name]]) for name in teacher}
    c = this.preset.clip if this.preset.clipped else math.inf
    student = student or (lambda log_t, log_b, lam: categorical.stationary_student(log_t, log_b, c, lam))
    lam = torch.tensor(lams, dtype=torch.float64).repeat_interleave(answers)
    generator, cache = this.generator("rehearsed"), Cache()
    tokens = torch.zeros(len(lams), answers, 1, dtype=torch.long)
    going = torch.ones(tokens.shape[:2], dtype=torch.bool)
    # Many answers begin alike, so teacher and base are computed once for each different beginning.
    which, last = torch.zeros(len(lam), dtype=torch.long), torch.zeros(1, dtype=torch.long)
    while tokens.shape[-1] < this.task.length and going.any():
        log_t, log_b = forward(pair, last[None, :, None].expand(2, -1, 1), cache)[:, :, -1].double()
        live, rows = going.flatten(), torch.zeros(len(lam), log_t.shape[-1], dtype=torch.float64)
        rows[live] = student(log_t[which[live]], log_b[which[live]], lam[live])
        rows = rows.reshape(*going.shape, -1)
        noise = torch.empty(rows.shape[1:], dtype=torch.float64).exponential_(generator=generator)
        following = torch.argmax(rows - noise.log(), -1) * going  # Gumbel noise turns the largest into a sample
        tokens, going = torch.cat([tokens, following[..., None]], dim=-1), going & (following != 0)
        live = going.flatten()
        longer = which[live] * rows.shape[-1] + following.flatten()[live]
        longer, which[live] = torch.unique(longer, return_inverse=True)
        before, last = longer // rows.shape[-1], longer % rows.shape[-1]
        for layer, (key, value) in cache.items():
            cache[layer] = key[:, before], value[:, before]
    return tokens


class Agreement(NamedTuple):
    """How far the rehearsed validity of a run is from that of its trained students.

    Attributes:
        label: the preset, and its control after a comma.
        lam: the λ of the run's grid.
        differences: validity seen less validity rehearsed at each of them.
        falls: whether a λ lies in the band in which validity was predicted to fall; nowhere without a band.
        rehearsed: the onset of the rehearsed validity, or None.
        seen: the onset of the measured one, or None.
    """

    label: str
    seed: int
    lam: tuple[float, ...]
    differences: tuple[float, ...]
    falls: tuple[bool, ...]
    rehearsed: float | None
    seen: float | None

    def distances(self, *, falls: bool) -> list[float]:
        """Return the sizes of the differences inside the band, or outside it."""
        pairs = zip(self.differences, self.falls, strict=True)
        return [abs(difference) for difference, here in pairs if here == falls]

    @property
    def onset_error(self) -> float:
        """(seen − rehearsed)/(rehearsed − 1), the error relative to the excess; NaN if either onset is missing."""
        if self.seen is None or self.rehearsed is None:
            return math.nan
        return (self.seen - self.rehearsed) / (self.rehearsed - 1)


def agree(record: Mapping[str, Any], rehearsal: Mapping[str, Any]) -> Agreement:
    """Return how far a rehearsal is from what was seen of the trained students of its run.

    Args:
        record: a finished run.
        rehearsal: what :func:`rehearse` returned for it.

    Returns:
        An :class:`Agreement`.

    Raises:
        ValueError: the record is not that of a finished run, or the rehearsal is that of another run.

    >>> record = json.loads(Path("results/cliff/short-3.json").read_text())
    >>> found = agree(record, rehearsed(record, Path("results/cliff/rehearsed")))
    >>> found.rehearsed, found.seen
    (1.747..., 1.742...)
    """
    run = compare(record)
    if rehearsal["sha256"] != record["sha256"]:
        found = f"{rehearsal['run']}, seed {rehearsal['seed']}"
        raise ValueError(f"rehearsal must be that of {run.label}, seed {run.seed}, got {found}")
    grid, seen = np.array(record["prediction"]["grid"]), np.array(record["outcome"]["validity"])
    low, high = run.band or (math.inf, math.inf)
    columns = grid, seen - np.interp(grid, rehearsal["lam"], rehearsal["validity"]), (low <= grid) & (grid <= high)
    lam, differences, falls = (tuple(values.tolist()) for values in columns)
    return Agreement(run.label, run.seed, lam, differences, falls, rehearsal["onset"], run.seen)


def rehearsed(record: Mapping[str, Any], folder: Path, **options: Any) -> dict[str, Any]:
    """Return the rehearsal of a run from its file in a folder; only if there is no file, make one.

    Args:
        record: a finished run of a preset whose base is not shuffled.
        folder: folder of the file, which is named after preset, control and seed.
        options: as for :func:`rehearse`.

    Returns:
        What :func:`rehearse` returned.

    Raises:
        ValueError: as for :func:`rehearse`, or the file is not JSON.

    >>> record = json.loads(Path("results/cliff/short-3.json").read_text())
    >>> rehearsed(record, Path("results/cliff/rehearsed"))["onset"]
    1.747...
    """
    run = compare(record)
    path = folder / _file_name(run.label, run.seed)
    if not path.exists():
        _write(path, rehearse(record, **options))
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ValueError(f"{path} must hold a rehearsal as JSON, got {error}; remove it") from error
