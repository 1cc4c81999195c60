"""Intervals that provably hold λ* and what belongs to it at one position: the functions of ``lambda_star.bernoulli``.

The kernels of the numeric layer run over intervals of Arb numbers, at the precision that it takes.
"""

from __future__ import annotations

import math
from fractions import Fraction

from lambda_star import bernoulli
from lambda_star.verified._arguments import Argument, Interval, Span, middle, over
from lambda_star.verified._enclose import (
    FROM_ONE,
    FROM_ZERO,
    PROBABILITY,
    Law,
    as_real,
    enclosure,
    first_float,
    floats,
    sign_of,
)

__all__ = [
    "base_for",
    "cliff_width",
    "clip_for",
    "collapse_point",
    "excess",
    "fixed_point",
    "flip_point",
    "operating_point",
    "stationary_student",
    "tail_ratio",
    "teacher_for",
    "threshold",
    "threshold_from_logits",
    "two_sided_threshold",
]

LEAST, LARGEST = 5e-324, 1 - 2.0**-53

# The laws of ``derivations/bernoulli.md``. In p, two students and the tail ratio may turn, and so may the two-sided
# threshold in p and b; there interval arithmetic with derivatives decides.
ALL = Law.of("p b c x y margin")
STUDENT = Law.of("p b lam", continuous=True)
TURNING = Law.of("b c lam", continuous=True)


def threshold(p: Argument, b: Argument, c: Argument) -> Interval:
    """Return an interval that holds λ*.

    Args:
        p: teacher's modal probability, in (0, 1): a number, a decimal string, a pair of them, or arrays.
        b: base's probability of the same token, in (0, 1).
        c: cap on the tail ratio (1−p)/(1−q), in [1, inf].

    Returns:
        An :class:`Interval`; its ends are +inf where p ≤ b or c is inf, NaN where an argument is NaN.

    Raises:
        ValueError: an argument lies outside its range as a whole.

    Source: paper, Theorem 4.1 and Eq. 4, in the margin form of ``derivations/bernoulli.md``.

    >>> threshold("0.999", "0.5", 5)
    Interval(lower=1.2331396501498626, upper=1.2331396501498628, cut=())
    >>> threshold((0.99, 0.999), 0.5, (4, 5))
    Interval(lower=1.2008..., upper=1.352..., cut=())
    """
    return enclosure(bernoulli.threshold, {"p": p, "b": b, "c": c}, FROM_ONE, ALL)


def excess(p: Argument, b: Argument, c: Argument) -> Interval:
    """Return an interval that holds λ*−1, with all its digits where λ* is close to 1.

    Args:
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1).
        c: cap on the tail ratio (1−p)/(1−q), in [1, inf].

    Returns:
        An :class:`Interval`.

    Raises:
        ValueError: an argument lies outside its range as a whole.

    Source: paper, Eq. 4, in the margin form of ``derivations/bernoulli.md``.

    >>> excess(0.75, 0.25, 1)
    Interval(lower=0.0, upper=0.0, cut=())
    """
    return enclosure(bernoulli.excess, {"p": p, "b": b, "c": c}, FROM_ZERO, ALL)


def threshold_from_logits(x: Argument, y: Argument, c: Argument) -> Interval:
    """Return an interval that holds λ*, from log-odds.

    Args:
        x: teacher's log-odds of the modal token, finite.
        y: base's log-odds of the same token, finite.
        c: cap on the tail ratio (1−p)/(1−q), in [1, inf].

    Returns:
        An :class:`Interval`.

    Raises:
        ValueError: an argument lies outside its range as a whole.

    Source: paper, Eq. 4, in the log-odds form of ``derivations/bernoulli.md``.

    >>> threshold_from_logits(700, 0, 5)
    Interval(lower=1.0022991970177628, upper=1.002299197017763, cut=())
    """
    return enclosure(bernoulli.threshold_from_logits, {"x": x, "y": y, "c": c}, FROM_ONE, ALL)


def two_sided_threshold(p: Argument, b: Argument, c: Argument) -> Interval:
    """Return an interval that holds the largest λ at which neither side is more than c times smaller.

    Args:
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1).
        c: cap on the ratio of teacher to student probability on either side, in [1, inf].

    Returns:
        An :class:`Interval`.

    Raises:
        ValueError: an argument lies outside its range as a whole.

    Source: extension; ``derivations/bernoulli.md``.

    >>> two_sided_threshold("0.3", 0.5, 5).lower
    3.24742...
    """
    return enclosure(bernoulli.two_sided_threshold, {"p": p, "b": b, "c": c}, FROM_ONE, Law.of("c"))


def operating_point(p: Argument, b: Argument, c: Argument, margin: Argument = "0.1") -> Interval:
    """Return an interval that holds 1 + (1−margin)(λ*−1).

    Args:
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1).
        c: cap on the tail ratio (1−p)/(1−q), in [1, inf].
        margin: share of the excess λ*−1 that is given up, in [0, 1).

    Returns:
        An :class:`Interval`.

    Raises:
        ValueError: an argument lies outside its range as a whole.

    Source: extension; ``derivations/bernoulli.md``.

    >>> operating_point(0.9, 0.5, 5).lower
    1.69411...
    """
    return enclosure(bernoulli.operating_point, {"p": p, "b": b, "c": c, "margin": margin}, FROM_ONE, ALL)


def collapse_point(p: Argument, b: Argument, c: Argument) -> Interval:
    """Return an interval that holds λ_c, at which the tail dies if the log-ratio is capped inside the advantage.

    Args:
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1).
        c: cap on the tail ratio (1−p)/(1−q), in [1, inf].

    Returns:
        An :class:`Interval`.

    Raises:
        ValueError: an argument lies outside its range as a whole.

    Source: extension; ``derivations/bernoulli.md``.

    >>> collapse_point("0.9", "0.5", "2").lower
    1.36341...
    """
    return enclosure(bernoulli.collapse_point, {"p": p, "b": b, "c": c}, FROM_ONE, ALL)


def cliff_width(p: Argument, b: Argument, c: Argument) -> Interval:
    """Return an interval that holds λ_c − λ*.

    Args:
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1).
        c: cap on the tail ratio (1−p)/(1−q), in [1, inf].

    Returns:
        An :class:`Interval`.

    Raises:
        ValueError: an argument lies outside its range as a whole.

    Source: extension; ``derivations/bernoulli.md``.

    >>> cliff_width("0.999999999999999999999", 0.5, 5).upper
    4.13...e-24
    """
    return enclosure(bernoulli.cliff_width, {"p": p, "b": b, "c": c}, FROM_ZERO, ALL)


def fixed_point(p: Argument, b: Argument, lam: Argument) -> Interval:
    """Return an interval that holds q_λ.

    Args:
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1).
        lam: extrapolation coefficient λ, finite.

    Returns:
        An :class:`Interval`.

    Raises:
        ValueError: an argument lies outside its range as a whole.

    Source: paper, Theorem 4.1; ``derivations/bernoulli.md``.

    >>> fixed_point(0.9, 0.5, 2).lower
    0.98780...
    """
    return enclosure(bernoulli.fixed_point, {"p": p, "b": b, "lam": lam}, PROBABILITY, STUDENT)


def tail_ratio(p: Argument, b: Argument, lam: Argument) -> Interval:
    """Return an interval that holds R(λ) = (1−p) + p·exp((λ−1)Δ).

    Args:
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1).
        lam: extrapolation coefficient λ, finite.

    Returns:
        An :class:`Interval`; its upper end is +inf past the largest float.

    Raises:
        ValueError: an argument lies outside its range as a whole.

    Source: paper, Theorem 4.1; ``derivations/bernoulli.md``.

    >>> tail_ratio("0.9", "0.5", 2)
    Interval(lower=8.2, upper=8.200000000000001, cut=())
    """
    return enclosure(bernoulli.tail_ratio, {"p": p, "b": b, "lam": lam}, FROM_ZERO, TURNING)


def stationary_student(p: Argument, b: Argument, c: Argument, lam: Argument) -> Interval:
    """Return an interval that holds the student's modal probability at which training with the clip ends.

    Args:
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1).
        c: cap on the ratio of teacher to student probability, in [1, inf].
        lam: extrapolation coefficient λ, finite.

    Returns:
        An :class:`Interval`.

    Raises:
        ValueError: an argument lies outside its range as a whole.

    Source: extension; ``derivations/bernoulli.md``.

    >>> stationary_student(0.9, 0.5, 2, "1.35").lower
    0.97095...
    """
    return enclosure(bernoulli.stationary_student, {"p": p, "b": b, "c": c, "lam": lam}, PROBABILITY, TURNING)


def flip_point(p: Argument, b: Argument) -> Interval:
    """Return an interval that holds the λ past which the modal token has less than half of the mass.

    Args:
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1).

    Returns:
        An :class:`Interval`.

    Raises:
        ValueError: an argument lies outside its range as a whole.

    Source: extension; ``derivations/bernoulli.md``.

    >>> flip_point("0.8", "0.9").lower
    2.70951...
    """
    return enclosure(bernoulli.flip_point, {"p": p, "b": b}, FROM_ONE, ALL)


def clip_for(p: Argument, b: Argument, lam: Argument) -> Interval:
    """Return an interval that holds the least clip for which λ ≤ λ*.

    Args:
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1).
        lam: extrapolation coefficient λ, finite.

    Returns:
        An :class:`Interval`.

    Raises:
        ValueError: an argument lies outside its range as a whole.

    Source: extension; ``derivations/bernoulli.md``.

    >>> clip_for(0.999, 0.5, 1.25).lower
    5.61...
    """
    return enclosure(bernoulli.clip_for, {"p": p, "b": b, "lam": lam}, FROM_ONE, TURNING)


def base_for(p: Argument, c: Argument, lam: Argument) -> Interval:
    """Return an interval that holds the least base probability for which λ ≤ λ*.

    Args:
        p: teacher's modal probability, in (0, 1).
        c: cap on the tail ratio (1−p)/(1−q), in [1, inf).
        lam: extrapolation coefficient λ, in (1, inf).

    Returns:
        An :class:`Interval`.

    Raises:
        ValueError: an argument lies outside its range as a whole.

    Source: extension; ``derivations/bernoulli.md``.

    >>> base_for(0.999, 5, 1.25).lower
    0.614...
    """
    return enclosure(bernoulli.base_for, {"p": p, "c": c, "lam": lam}, PROBABILITY, Law.of("p c lam", continuous=True))


def teacher_for(b: Argument, c: Argument, lam: Argument) -> Interval:
    """Return an interval that holds the largest teacher probability for which λ ≤ λ*.

    λ* falls strictly in p, so the sign of λ*−λ at both ends, which is proved, shows that the root lies between them.

    Args:
        b: base's modal probability, in (0, 1).
        c: cap on the tail ratio (1−p)/(1−q), in [1, inf).
        lam: extrapolation coefficient λ, in (1, inf).

    Returns:
        An :class:`Interval`.

    Raises:
        ValueError: an argument lies outside its range as a whole.

    Source: extension; ``derivations/bernoulli.md``.

    >>> teacher_for(0.5, 5, 1.25).lower
    0.998...
    """

    def enclose(spans: dict[str, Span]) -> tuple[float, float]:
        base, clip, at = spans.values()
        low, high = (end if end == math.inf else Fraction(end) - 1 for end in (at.low, at.high))
        goal = Span(low, high)
        guess = bernoulli.teacher_for(
            min(max(middle(base), LEAST), LARGEST), max(middle(clip), 1.0), max(middle(at), 1.0 + 2.0**-52)
        )

        def side(p: float) -> int:
            return -sign_of(bernoulli.excess, [Span(p, p), base, clip], goal)

        return first_float(side, floats(as_real(base))[0], 1.0, guess)

    return over({"b": b, "c": c, "lam": lam}, bernoulli.teacher_for.quantities, enclose)
