"""Classes of tokens, and the first λ at which the ratio of one of them reaches the clip."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lambda_star._core.namespaces import Values, on_device_of
from lambda_star._core.rows import dot
from lambda_star.categorical._rows import Rows, log_sum_exp, softplus, take
from lambda_star.categorical._search import STEEP, Look, Search

THIN = 1e-3
"""The mean height of r above its least, over its range, below which a difference has lost digits of it."""

FAR = 600.0
"""The greatest logarithm whose exponential is formed."""


class Classes(NamedTuple):
    """A partition of the tokens: the label of each class, the tokens in it and in none, and each token's class."""

    labels: tuple[int, ...]
    members: tuple[Any, ...]
    outside: Any
    class_of: Any

    @classmethod
    def of(cls, classes: Sequence[int] | Values, tokens: int) -> Classes:
        """Read one integer label per token; a negative one puts the token in no class."""
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
        """Return a flag for every token that has a class, as a row."""
        return on_device_of(xp, rows, self.class_of[None, :] >= 0)


def modal_class(xp: Any, classes: Classes | None, modal: Values, log_mass: Values) -> Values:
    """The column of the modal token's class; where it has none, of the class with the most of the teacher's mass."""
    if classes is None:
        return xp.zeros_like(modal)
    column = xp.take(on_device_of(xp, modal, classes.class_of), modal)
    return xp.where(column < 0, xp.argmax(log_mass[:, : len(classes.labels)], axis=-1), column)


def pieces_of(xp: Any, classes: Classes | None, modal: Values, *rows: Values) -> list[tuple[Values, ...]]:
    """Cut matrices over tokens into one piece per class; the tokens without a class come last.

    Without classes the pieces are the modal token and, with the modal token's weight struck out, all the others; so the
    first of the matrices must hold log-weights.
    """
    if classes is not None:
        members = [*classes.members, classes.outside] if len(classes.outside) else classes.members
        indices = [on_device_of(xp, modal, member) for member in members]
        return [tuple(xp.take(matrix, index, axis=-1) for matrix in rows) for index in indices]
    own = columns(xp, rows[0]) == modal[:, None]
    others = (xp.where(own, -math.inf, rows[0]), *rows[1:])
    return [tuple(take(xp, matrix, modal) for matrix in rows), others]


def columns(xp: Any, rows: Values) -> Values:
    """The index of every column, as a row."""
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
        probability = xp.exp(log_mass - log_total[:, None])
        return cls(log_mass, mean, log_total, xp.sum(probability * mean, axis=-1))

    def updated(self, xp: Any, where: Values, new: Tilted) -> Tilted:
        """Replace the rows whose flag is set."""
        flags = (where[:, None], where[:, None], where, where)
        return Tilted(*(xp.where(flag, b, a) for flag, a, b in zip(flags, self, new, strict=True)))


class ClassSearch(Search):
    """The search for the first excess at which the ratio of a class other than the modal one reaches c.

    log R_C = log T_C + A − A_C is not convex and may have several crossings. From an excess below the first one, Eq. 4
    gives a step that cannot pass it. A longer step is certain if the ratio grows all the way, or cannot reach c on the
    way. The tilted means at both ends of the step show this, since the mean of y over all tokens and the mean in a
    class only grow with λ.
    """

    def __init__(self, xp: Any, rows: Rows, classes: Classes | None, c: Values, min_mass: Values) -> None:
        y = rows.r - rows.high
        self.log_c = xp.log(c)[:, None]
        self.rows, self.pieces = rows, pieces_of(xp, classes, rows.modal, rows.z, y)
        self.start = self.here = Tilted.of(xp, self.pieces, xp.zeros_like(c))
        self.log_t = self.start.log_mass - self.start.log_total[:, None]
        count = len(classes.labels) if classes else len(self.pieces)
        column = columns(xp, self.log_t)
        may = (column < count) & (column != modal_class(xp, classes, rows.modal, self.log_t)[:, None])
        may = may & (self.log_t > -math.inf) & (self.log_t >= xp.log(min_mass)[:, None])
        self.may = may & (self.log_c < math.inf)
        self.span = rows.high - rows.low
        alive = [xp.where(z > -math.inf, y, -math.inf) for z, y in self.pieces]
        self.top = xp.stack([xp.max(y, axis=-1) for y in alive], axis=-1)
        # The mass of the tokens with the greatest r only grows with λ.
        summits = [log_sum_exp(xp, xp.where(y == 0, z, -math.inf)) for z, y in self.pieces]
        self.summit = xp.stack(summits, axis=-1)
        self.own, self.own_weight = take(xp, y, rows.modal), take(xp, rows.z, rows.modal)
        self.unknown = xp.isnan(self.here.total_mean + self.log_c[:, 0])
        never = xp.full_like(c, math.inf)
        root = xp.where(self.unknown, math.nan, never)
        super().__init__(xp, xp.zeros_like(c), never, root, self.unknown, float(xp.finfo(c.dtype).eps))
        self.binding, self.reach = xp.zeros_like(self.steps), never
        self.lower, self.upper = self._bounds(y)
        self._look_ahead()

    def advance(self) -> Values:
        """Go ahead as far as is safe or promising; once a crossing is bracketed, follow the last step inside it."""
        xp, low, high = self.xp, self.low, self.high
        short, far = xp.min(self.within, axis=-1), xp.minimum(self.jump, self.reach)
        far = xp.minimum(far, self.upper - low)
        ahead = low + xp.where(far < math.inf, xp.maximum(short, far), short)
        inside = xp.where((self.guess > low) & (self.guess < high), self.guess, (low + high) / 2)
        return xp.where(high < math.inf, inside, ahead)

    def look(self, x: Values) -> Look:
        """Tilt the classes; the residual is that of the class with the largest ratio."""
        xp = self.xp
        self.at = Tilted.of(xp, self.pieces, x)
        ratio = xp.where(self.may, self.log_ratio(self.at), -math.inf)
        self.largest = xp.argmax(ratio, axis=-1)
        residual = take(xp, ratio, self.largest)[:, 0] - self.log_c[:, 0]
        depth = xp.abs(take(xp, self.at.log_mass, self.largest)[:, 0]) + xp.abs(self.at.log_total)
        return residual, self.newton(self.at), self.epsilon**0.5 / 8, 4 * self.epsilon * (1 + depth)

    def certify(self, x: Values) -> Values:
        """Tell where no class crosses c and falls back between ``low`` and x; elsewhere the next step is shorter."""
        xp, here, at = self.xp, self.here, self.at
        length = x - self.low
        grows = here.total_mean[:, None] >= at.mean
        most = self.log_ratio(here) + length[:, None] * (at.total_mean[:, None] - here.mean)
        safe = self.within * (1 + 1e-9) >= length[:, None]
        certain = (self.high < math.inf) | xp.all(grows | (most < self.log_c) | safe | ~self.may, axis=-1)
        self.reach = xp.where(certain, 2 * length, length / 4)
        return certain

    def polish(self, x: Values, seen: Look, certain: Values) -> None:
        """Narrow the bracket, note which class binds, and look ahead from the new lower end."""
        low, done = self.low, self.done
        super().polish(x, seen, certain)
        self.binding = self.xp.where(self.done & ~done, self.largest, self.binding)
        self.here = self.here.updated(self.xp, self.low > low, self.at)
        self._look_ahead()

    def _look_ahead(self) -> None:
        """Find the safe steps and Newton's from ``low``, and end the rows in which nothing ever binds."""
        self.within, self.jump = self.safe(self.here, self.low), self.newton(self.here)
        self.done = self.done | (self.xp.min(self.within, axis=-1) == math.inf)

    def log_ratio(self, at: Tilted) -> Values:
        """Log R of every class, at the λ that the weights are tilted to."""
        return self.log_t - (at.log_mass - at.log_total[:, None])

    def safe(self, at: Tilted, x: Values) -> Values:
        """For every class a step within which its ratio does not reach c; +inf if it never will, or may not bind."""
        xp = self.xp
        missing = self.log_c - self.log_ratio(at)
        step = self._push(xp.where(missing > 0, missing, 0.0), at, x) / -at.mean
        enough = self.summit - at.log_total[:, None] >= self.log_t - self.log_c
        return xp.where(self.may & ~enough & (at.mean < 0), step, math.inf)

    def _push(self, missing: Values, at: Tilted, x: Values) -> Values:
        """Return log(1 + (e^missing − 1)/w) of Eq. 4, with w the mean height of r above its least, over its range."""
        xp = self.xp
        share = (at.total_mean[:, None] + self.span) / self.span
        thin = ~(share > THIN) | (missing > FAR)
        push = xp.log1p(xp.expm1(xp.where(thin, 0.0, missing)) / xp.where(thin, 1.0, share))
        if not bool(xp.any(thin)):
            return push
        rise = self.rows.r - self.rows.low
        weighted = self.rows.z + x[:, None] * (self.rows.r - self.rows.high) + xp.log(xp.where(rise > 0, rise, 0.0))
        log_share = (log_sum_exp(xp, weighted) - at.log_total)[:, None] - xp.log(self.span)
        log_quotient = missing + xp.log(-xp.expm1(-missing)) - log_share
        return xp.where(thin, softplus(xp, log_quotient), push)

    def newton(self, at: Tilted) -> Values:
        """The least of Newton's steps of the classes whose ratio grows."""
        slope = at.total_mean[:, None] - at.mean
        steps = (self.log_c - self.log_ratio(at)) / slope
        return self.xp.min(self.xp.where(self.may & (slope > 0), steps, math.inf), axis=-1)

    def _bounds(self, y: Values) -> tuple[Values, Values]:
        """What the weights at λ = 1 prove: no class reaches c before the first excess, one does by the second."""
        xp, start = self.xp, self.start
        lower = xp.min(self.safe(start, self.low), axis=-1)
        # What the modal token alone has to gain on the class with the greatest mean that it can have.
        missing = self.log_c + start.log_total[:, None]
        single = _gains(xp, missing - self.own_weight, self.own - self.top)
        jensen = _gains(xp, self.log_c, start.total_mean[:, None] - self.top)
        upper = xp.minimum(single, jensen)
        steep = self.may & ~(upper * self.span < STEEP)
        if bool(xp.any(steep)):  # then what any token alone has to gain
            tops = [self.top[:, column, None] for column in range(upper.shape[-1])]
            least = xp.stack([xp.min(_gains(xp, missing - self.rows.z, y - top), axis=-1) for top in tops], axis=-1)
            upper = xp.where(steep, xp.minimum(upper, least), upper)
        return lower, xp.maximum(lower, xp.min(xp.where(self.may, upper, math.inf), axis=-1))


def _gains(xp: Any, missing: Values, speed: Values) -> Values:
    """Return the excess at which a log-ratio that grows at a speed has gained what it lacks; +inf if it never has."""
    return xp.where(speed > 0, missing / xp.where(speed > 0, speed, 1.0), math.inf)
