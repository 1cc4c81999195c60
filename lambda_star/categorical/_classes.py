"""Classes of tokens, and the first λ at which the ratio of one of them reaches the clip."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lambda_star._core.namespaces import Values, on_device_of
from lambda_star._core.rows import dot
from lambda_star.categorical._rows import Rows, entry, log_sum_exp

__all__ = ["Classes", "Search", "Tilted", "modal_class", "pieces_of", "places"]

STEPS = 100
"""Most evaluations of the ratio before a row is given up as not converged."""


class Classes(NamedTuple):
    """A partition of the tokens: the label of each class, where its tokens are, and which tokens are in none."""

    labels: tuple[int, ...]
    members: tuple[Any, ...]
    outside: Any
    place: Any

    @classmethod
    def of(cls, classes: Sequence[int] | Values, tokens: int) -> Classes:
        found = np.asarray(classes)
        if found.dtype.kind not in "iu" or found.shape != (tokens,):
            raise ValueError(
                f"classes must be one integer per token, shape ({tokens},), got {found.dtype} of shape {found.shape}"
            )
        labels = tuple(int(label) for label in np.unique(found[found >= 0]))
        if not labels:
            raise ValueError("classes must label at least one token from 0 up, got negative labels only")
        members = tuple(np.flatnonzero(found == label) for label in labels)
        return cls(labels, members, np.flatnonzero(found < 0), np.where(found < 0, -1, np.searchsorted(labels, found)))

    def has_token(self, xp: Any, rows: Values) -> Values:
        """Which tokens have a class, as flags beside the rows."""
        flags = np.ones((1, rows.shape[-1]), dtype=bool)
        flags[:, self.outside] = False
        return on_device_of(xp, rows, flags)


def modal_class(xp: Any, classes: Classes | None, modal: Values, log_mass: Values) -> Values:
    """The place of the modal token's class; where it has none, of the class with the most of the teacher's mass."""
    if classes is None:
        return xp.zeros_like(modal)
    place = xp.take(on_device_of(xp, modal, classes.place), modal)
    return xp.where(place < 0, xp.argmax(log_mass[:, : len(classes.labels)], axis=-1), place)


def pieces_of(xp: Any, classes: Classes | None, modal: Values, *rows: Values) -> list[tuple[Values, ...]]:
    """Each of some matrices of log-weights or values cut into classes; the tokens without a class come last.

    Without classes they are the modal token and, with the modal token's weight struck out, all the others; so the first
    of the matrices must be log-weights.
    """
    if classes is not None:
        members = [*classes.members, classes.outside] if len(classes.outside) else classes.members
        indices = [on_device_of(xp, modal, member) for member in members]
        return [tuple(xp.take(matrix, index, axis=-1) for matrix in rows) for index in indices]
    own = places(xp, rows[0]) == modal[:, None]
    others = (xp.where(own, -math.inf, rows[0]), *rows[1:])
    return [tuple(entry(xp, matrix, modal) for matrix in rows), others]


def places(xp: Any, rows: Values) -> Values:
    """The index of every column, beside the rows."""
    return on_device_of(xp, rows, np.arange(rows.shape[-1])[None, :])


class Tilted(NamedTuple):
    """The classes under weights t·e^(excess·y): log-mass and mean of y, one column per class, and both over all."""

    log_mass: Values
    mean: Values
    log_total: Values
    total_mean: Values

    @classmethod
    def of(cls, xp: Any, pieces: Sequence[tuple[Values, ...]], excess: Values) -> Tilted:
        masses, means = [], []
        for z, y in pieces:
            power = z + excess[:, None] * y
            top = xp.max(power, axis=-1, keepdims=True)
            top = xp.where(top == -math.inf, 0.0, top)
            weight = xp.exp(power - top)
            mass = dot(xp, weight)
            masses.append(top[:, 0] + xp.log(mass))
            means.append(xp.where(mass == 0, 0.0, dot(xp, weight, y) / mass))
        log_mass, mean = xp.stack(masses, axis=-1), xp.stack(means, axis=-1)
        log_total = log_sum_exp(xp, log_mass)
        share = xp.exp(log_mass - log_total[:, None])
        return cls(log_mass, mean, log_total, xp.sum(share * mean, axis=-1))

    def updated(self, xp: Any, where: Values, new: Tilted) -> Tilted:
        """These weights, with the rows of others where a flag is set."""
        flags = (where[:, None], where[:, None], where, where)
        return Tilted(*(xp.where(flag, b, a) for flag, a, b in zip(flags, self, new, strict=True)))


class Search:
    """The search for the first excess λ−1 at which the ratio of a class other than the modal one reaches c.

    log R_C = log T_C + A − A_C is not convex, so a root alone would not do: it must be the first. From a λ below it,
    Eq. 4 gives a step that cannot pass it. A longer step is trusted where the ratio grows all the way, or cannot reach
    c within it. Both show in the tilted means at its ends, since the mean over all tokens and the mean in a class only
    grow with λ.
    """

    def __init__(self, xp: Any, rows: Rows, classes: Classes | None, c: Values, min_mass: Values) -> None:
        y = rows.r - rows.high
        self.xp, self.log_c = xp, xp.log(c)[:, None]
        self.pieces = pieces_of(xp, classes, rows.modal, rows.z, y)
        self.start = Tilted.of(xp, self.pieces, xp.zeros_like(c))
        self.log_share = self.start.log_mass - self.start.log_total[:, None]
        count = len(classes.labels) if classes else len(self.pieces)
        place = places(xp, self.log_share)
        own_class = modal_class(xp, classes, rows.modal, self.log_share)[:, None]
        may = (place < count) & (place != own_class) & (self.log_share > -math.inf)
        self.may = may & (self.log_share >= xp.log(min_mass)[:, None]) & (self.log_c < math.inf)
        self.span = rows.high - rows.low
        alive = [xp.where(z > -math.inf, y, -math.inf) for z, y in self.pieces]
        self.top = xp.stack([xp.max(y, axis=-1) for y in alive], axis=-1)
        # The mass of the tokens with the greatest r only grows with λ.
        summits = [log_sum_exp(xp, xp.where(y == 0, z, -math.inf)) for z, y in self.pieces]
        self.summit = xp.stack(summits, axis=-1)
        self.own, self.own_weight = entry(xp, y, rows.modal), entry(xp, rows.z, rows.modal)

    def log_ratio(self, at: Tilted) -> Values:
        """Log R of every class, at the λ that the weights are tilted to."""
        return self.log_share - (at.log_mass - at.log_total[:, None])

    def safe(self, at: Tilted) -> Values:
        """For every class a step that its ratio does not reach c within; +inf if it never will, or may not bind."""
        xp = self.xp
        weight = (at.total_mean[:, None] + self.span) / self.span
        step = xp.log1p(xp.expm1(self.log_c - self.log_ratio(at)) / weight) / -at.mean
        enough = self.summit - at.log_total[:, None] >= self.log_share - self.log_c
        return xp.where(self.may & ~enough & (at.mean < 0), step, math.inf)

    def newton(self, at: Tilted) -> Values:
        """The least of Newton's steps of the classes whose ratio grows."""
        slope = at.total_mean[:, None] - at.mean
        steps = (self.log_c - self.log_ratio(at)) / slope
        return self.xp.min(self.xp.where(self.may & (slope > 0), steps, math.inf), axis=-1)

    def bounds(self) -> tuple[Values, Values]:
        """What the weights at λ = 1 prove: no class reaches c before the first excess, one does by the second."""
        xp, start = self.xp, self.start
        lower = xp.min(self.safe(start), axis=-1)
        # What the modal token alone has to gain on the class with the greatest mean that it can have.
        missing = self.log_c + start.log_total[:, None] - self.own_weight
        single = xp.where(self.own > self.top, missing / (self.own - self.top), math.inf)
        jensen = start.total_mean[:, None] - self.top
        upper = xp.minimum(single, xp.where(jensen > 0, self.log_c / jensen, math.inf))
        return lower, xp.maximum(lower, xp.min(xp.where(self.may, upper, math.inf), axis=-1))

    def first(self) -> tuple[Values, Values, Values, Values]:
        """The excess, the place of the class that binds, the evaluations that took, and whether it was found."""
        xp, log_c = self.xp, self.log_c[:, 0]
        here = self.start
        within, jump = self.safe(here), self.newton(here)
        low, high = xp.zeros_like(log_c), xp.full_like(log_c, math.inf)
        unknown = xp.isnan(here.total_mean + log_c)
        excess, guess = xp.where(unknown, math.nan, xp.full_like(log_c, math.inf)), jump
        binding, steps = (xp.zeros_like(xp.argmax(self.log_share, axis=-1)) for _ in range(2))
        reach, done = xp.full_like(log_c, math.inf), unknown | (xp.min(within, axis=-1) == math.inf)
        epsilon = float(xp.finfo(log_c.dtype).eps)
        for _ in range(STEPS):
            if bool(xp.all(done)):
                break
            bracketed = high < math.inf
            short = xp.min(within, axis=-1)
            far = xp.minimum(jump, reach)
            ahead = low + xp.where(far < math.inf, xp.maximum(short, far), short)
            middle = (low + xp.where(bracketed, high, low)) / 2
            inside = xp.where((guess > low) & (guess < high), guess, middle)
            x = xp.where(done, 0.0, xp.where(bracketed, inside, ahead))
            at = Tilted.of(xp, self.pieces, x)
            ratio = xp.where(self.may, self.log_ratio(at), -math.inf)
            most = xp.argmax(ratio, axis=-1)
            gap = entry(xp, ratio, most)[:, 0] - log_c
            grows = here.total_mean[:, None] >= at.mean
            length = (x - low)[:, None]
            short_of_c = self.log_ratio(here) + length * (at.total_mean[:, None] - here.mean) < self.log_c
            certain = grows | short_of_c | (within * (1 + 1e-9) >= length) | ~self.may
            certain = bracketed | xp.all(certain, axis=-1)
            step = self.newton(at)
            guess = x + step
            near = certain & ~done & ((xp.abs(gap) <= 4 * epsilon) | (xp.abs(step) <= epsilon**0.5 / 8 * x))
            excess = xp.where(near, xp.where(xp.abs(step) < x, guess, x), excess)
            binding, steps = xp.where(near, most, binding), xp.where(done, steps, steps + 1)
            forward, back = certain & (gap < 0) & ~done, certain & (gap >= 0) & ~done
            reach = xp.where(certain, 2 * (x - low), (x - low) / 4)
            low, high = xp.where(forward, x, low), xp.where(back, x, high)
            here = here.updated(xp, forward, at)
            within, jump = self.safe(here), self.newton(here)
            done = done | near | (xp.min(within, axis=-1) == math.inf)
        return xp.where(done, excess, low), binding, steps, done & ~unknown
