"""Rehearsals: answers of the predicted student at several λ, before any training, and what they tell.

At every prefix the student that converged training would reach follows from teacher, base, λ and update rule, so it
can be sampled from without training it. :func:`lambda_star.torch.rehearse` samples; this module keeps the answers in a
file that a person can read and a later run can resume, and computes the shares and changes with their intervals::

    from lambda_star.rehearsal import read_rehearsal

    for point in read_rehearsal("rehearsal.jsonl").curve:
        print(point.lam, point.valid, point.low, point.high, point.change)
"""

from lambda_star.calibration.shares import change_of_share, exact_share
from lambda_star.rehearsal.answers import Answer, Rehearsal
from lambda_star.rehearsal.curve import Metric, Point, next_lam
from lambda_star.rehearsal.record import Recorder, read_rehearsal

__all__ = [
    "Answer",
    "Metric",
    "Point",
    "Recorder",
    "Rehearsal",
    "change_of_share",
    "exact_share",
    "next_lam",
    "read_rehearsal",
]
