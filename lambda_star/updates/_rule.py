"""What an update rule is: a value that says where its student departs from q_λ, where its tail dies, and where it ends.

Each rule gives closed forms for two outcomes (kernels in ``_two``), and for K tokens the condition of departure and
the masses that training ends at (solved in ``_rows``).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import fields
from typing import Any, ClassVar, NamedTuple

import numpy as np

from lambda_star._core.namespaces import Floats, Values, as_read, known_truth, numpy
from lambda_star._core.quantities import LAM, B, P, Quantity, as_float, check, reals, require
from lambda_star.updates import _rows, _two
from lambda_star.updates._rows import Rows

__all__ = ["Force", "Rule"]


def number(rule: object, quantity: Quantity) -> None:
    """Hold an argument of a rule to its range, and make it a float, so that equal rules compare and print alike."""
    value = getattr(rule, quantity.name)
    if isinstance(value, (bool, np.bool_, str, bytes)) or value is None or np.ndim(value):
        raise ValueError(f"{quantity.name} must be a number in {quantity.range}, got {value!r}")
    value = as_float(quantity, value)
    require((quantity, value))
    object.__setattr__(rule, quantity.name, value)


def switch(rule: object, name: str) -> None:
    """Hold an argument of a rule to True or False."""
    if not isinstance(getattr(rule, name), bool):
        raise ValueError(f"{name} must be True or False, got {getattr(rule, name)!r}")


class Force(NamedTuple):
    """The effective advantages of the two outcomes: natural gradient moves the log-odds by ``modal − tail``."""

    modal: Any
    """F_m, of the modal token."""
    tail: Any
    """F_τ, of everything else."""


class Rule(ABC):
    """What a trainer's update bounds, and what follows for the student.

    Rules are values: they compare, hash and print, and :func:`~lambda_star.updates.parse` reads what they print. Every
    method takes p and b (floats, or arrays that broadcast) or, in their place, rows of log-probabilities of K tokens.
    The two are told apart by sign, as probabilities are positive and log-probabilities are not; ``axis`` says that rows
    are meant, which also admits unnormalised logits. With rows, the tail is every token but the teacher's most probable
    one, no gradient flows, and an answer takes many passes over the rows. Values that only a tracer knows (``jax.jit``,
    ``torch.compile``) have no sign to read, so they are taken for probabilities; rows cannot be traced.

    >>> from lambda_star import updates
    >>> rule = updates.parse("log_ratio_cap:5")
    >>> str(rule), rule == updates.log_ratio_cap(5.0), isinstance(rule, updates.Rule)
    ('log_ratio_cap(c=5)', True, True)
    """

    summary: ClassVar[str]
    """What the rule bounds, in one sentence."""

    @property
    def name(self) -> str:
        """The name of the constructor in ``lambda_star.updates``."""
        return type(self).__name__

    def __str__(self) -> str:
        values = [(field.name, getattr(self, field.name), field.default) for field in fields(self)]  # type: ignore[arg-type]
        text = ", ".join(f"{name}={_text(value)}" for name, value, default in values if value != default)
        return f"{self.name}({text})"

    @property
    def needs_rows(self) -> bool:
        """Whether p and b cannot show what the rule does, because it tells apart tokens that two outcomes merge."""
        return False

    @property
    def keeps_fixed_point(self) -> bool:
        """Whether training ends at the fixed point q_λ at every λ, whatever teacher and base are."""
        return False

    def leaves(self, p: Values, b: Values, *, axis: int | None = None) -> Any:
        """Return the λ at which the student first departs from the fixed point q_λ.

        It is sought upwards from λ = 1. A rule that already departs there is asked for the λ in [0, 1) at which it
        begins to; 0 then means that it departs at the base itself.

        Args:
            p: teacher's modal probability, in (0, 1), or the teacher's rows of log-probabilities.
            b: base's probability of the same token, in (0, 1), or the base's rows.
            axis: the axis of the tokens; None takes the last one if the first argument holds log-probabilities.

        Returns:
            A float, or an array of the broadcast (or leading) shape; +inf for never, NaN where an argument is NaN.

        Raises:
            ValueError: a value is outside its range.

        Source: extension; ``derivations/updates.md``.

        >>> from lambda_star import updates
        >>> updates.log_ratio_cap(5.0).leaves(0.999, 0.5)
        1.23313...
        """
        if (axis := _axis_of_rows(p, b, axis)) is None:
            return self._leaves(p, b)
        return self._leaves_rows(p, b, axis)

    def dies(self, p: Values, b: Values, *, axis: int | None = None) -> Any:
        """Return the λ at which training no longer has a student with a tail, so that the tail dies.

        Args:
            p: teacher's modal probability, in (0, 1), or the teacher's rows of log-probabilities.
            b: base's probability of the same token, in (0, 1), or the base's rows.
            axis: the axis of the tokens; None takes the last one if the first argument holds log-probabilities.

        Returns:
            A float, or an array of the broadcast (or leading) shape, at least 0; +inf where the tail never dies, as at
            p ≤ b unless it is dead at λ = 0, and NaN where an argument is NaN. For rows it is the λ at which the first
            token of the tail dies, NaN where ``student`` is NaN below it.

        Raises:
            ValueError: a value is outside its range.

        Source: extension; ``derivations/updates.md``.

        >>> from lambda_star import updates
        >>> updates.log_ratio_cap(5.0).dies(0.999, 0.5), updates.none().dies(0.999, 0.5)
        (1.23316..., inf)
        """
        if (axis := _axis_of_rows(p, b, axis)) is None:
            return self._dies(p, b)
        return _rows.of_rows(lambda rows: _rows.first(self._bereft, rows), p, b, 2.0, axis, tokens=False)

    def student(self, p: Values, b: Values, lam: Values, *, axis: int | None = None) -> Any:
        """Return the student at which training from the base ends.

        Args:
            p: teacher's modal probability, in (0, 1), or the teacher's rows of log-probabilities.
            b: base's probability of the same token, in (0, 1), or the base's rows.
            lam: extrapolation coefficient λ, finite; with rows at least 0, and a number or one per position.
            axis: the axis of the tokens; None takes the last one if the first argument holds log-probabilities.

        Returns:
            The student's modal probability, 1 where the tail has died, as a float or an array of the broadcast shape;
            with rows, log-probabilities of the broadcast shape, -inf for a dead token. NaN where an argument is NaN.

        Raises:
            ValueError: a value is outside its range.

        Source: extension; ``derivations/updates.md``.

        >>> from lambda_star import updates
        >>> updates.log_ratio_cap(2.0).student(0.9, 0.5, 1.35), updates.none().student(0.9, 0.5, 1.35)
        (0.97095..., 0.95102...)
        """
        if (axis := _axis_of_rows(p, b, axis)) is None:
            return self._student(p, b, lam)
        check(np, (_two.FROM_ZERO, reals("lam", lam)))
        return self._student_rows(p, b, lam, axis)

    def force(self, theta: Values, p: Values, b: Values, lam: Values, *, rollout: Values | None = None) -> Force:
        """Return the effective advantages of modal token and tail at a student's log-odds.

        Natural gradient moves the log-odds by their difference, plain gradient by q(1−q) times it.

        Args:
            theta: the student's log-odds of the modal token, in (-inf, inf).
            p: teacher's modal probability, in (0, 1).
            b: base's probability of the same token, in (0, 1).
            lam: extrapolation coefficient λ, in (-inf, inf).
            rollout: log-odds of the policy that drew the tokens, for rules that weight by the ratio to it; the student
                itself by default.

        Returns:
            A :class:`Force` of floats or NumPy arrays of the broadcast shape; NaN where an argument is NaN.

        Raises:
            ValueError: a value is outside its range.

        Source: extension; ``derivations/updates.md``.

        >>> from lambda_star import updates
        >>> updates.log_ratio_cap(2.0).force(3.0, 0.9, 0.5, 1.35)
        Force(modal=0.148..., tail=0.129...)
        """
        drawn = theta if rollout is None else rollout
        quantities = (THETA, P, B, LAM, THETA.named("rollout"))
        values = [reals(one.name, value) for one, value in zip(quantities, (theta, p, b, lam, drawn), strict=True)]
        check(np, *zip(quantities, values, strict=True))
        theta, p, b, lam, drawn = np.broadcast_arrays(*values)
        with np.errstate(all="ignore"):
            forces = self._forces(_outcomes(theta), _split(p), _split(b), lam[..., None], _outcomes(drawn))
            forces = np.where(np.isnan(theta + p + b + lam + drawn)[..., None], math.nan, forces)
        modal, tail = forces[..., 0], forces[..., 1]
        return Force(modal, tail) if theta.ndim else Force(float(modal), float(tail))

    def equivalent_clip(self, p: Values, b: Values) -> Any:
        """Return the clip of the log-ratio cap whose tail dies at the same λ: p·exp((λ_dies−1)Δ).

        Args:
            p: teacher's modal probability, in (0, 1).
            b: base's probability of the same token, in (0, 1).

        Returns:
            A float, or an array of the broadcast shape; +inf where the tail never dies, below 1 where it dies so early
            that no clip would do it, NaN where an argument is NaN.

        Raises:
            ValueError: a value is outside its range.

        Source: extension; ``derivations/updates.md``.

        >>> from lambda_star import updates
        >>> updates.log_prob_floor(8.0).equivalent_clip(0.999, 0.5)
        2.98095...
        """
        return _two.clip_at(p, b, self._dies(p, b))

    def _leaves_rows(self, log_t: Values, log_b: Values, axis: int) -> Any:
        return _rows.of_rows(lambda rows: _rows.first(self._departed, rows), log_t, log_b, 2.0, axis, tokens=False)

    @abstractmethod
    def _leaves(self, p: Values, b: Values) -> Any: ...

    @abstractmethod
    def _dies(self, p: Values, b: Values) -> Any: ...

    @abstractmethod
    def _student(self, p: Values, b: Values, lam: Values) -> Any: ...

    @abstractmethod
    def _forces(self, log_q: Floats, log_t: Floats, log_b: Floats, lam: Floats, drawn: Floats) -> Floats:
        """The effective advantage of each token, tokens last."""

    @abstractmethod
    def _departed(self, rows: Rows) -> Any:
        """Whether training would end elsewhere than at π_λ."""

    @abstractmethod
    def _ends(self, rows: Rows) -> Floats:
        """The log-probabilities at which training ends."""

    def _student_rows(self, log_t: Values, log_b: Values, lam: Values, axis: int) -> Any:
        """The student of rows of any library; a rule whose student the categorical wing computes asks that wing."""
        return _rows.of_rows(self._ends, log_t, log_b, lam, axis, tokens=True)

    def _bereft(self, rows: Rows) -> Any:
        """Whether a token of the tail is dead where training ends, NaN where that is not known."""
        ends = self._ends(rows)
        dead = (ends == -math.inf) & (rows.power > -math.inf)
        np.put_along_axis(dead, rows.log_t.argmax(axis=-1)[:, None], values=False, axis=-1)
        return np.where(np.isnan(ends).any(axis=-1), math.nan, dead.any(axis=-1))


THETA = _two.STAR._replace(name="theta", ends="()", meaning="the student's log-odds")


def _text(value: Any) -> str:
    """The shortest text that reads as the same value."""
    short = f"{value:g}" if isinstance(value, float) else str(value)
    return short if not isinstance(value, float) or float(short) == value else repr(value)


def _axis_of_rows(first: Values, second: Values, axis: int | None) -> int | None:
    """The axis of the tokens, or None for probabilities; probabilities are positive, log-probabilities are not."""
    if axis is not None:
        return axis
    signs = [_signs(value) for value in (first, second)]
    return -1 if any(low for low, _ in signs) and not any(high for _, high in signs) else None


def _signs(values: Values) -> tuple[bool, bool]:
    """Whether an array has a negative number and whether it has a positive one; a number counts as positive."""
    if type(values) is float:
        return False, True
    array = as_read(values)
    if not hasattr(array, "shape"):
        array = np.asarray(array)
    if not len(array.shape):
        return False, True
    from array_api_compat import array_namespace

    xp = numpy if isinstance(array, np.ndarray) else array_namespace(array)
    return known_truth(xp.any(array < 0)) is True, known_truth(xp.any(array > 0)) is not False


def _outcomes(theta: Floats) -> Floats:
    """Log q and log(1−q), last axis, from the log-odds."""
    return np.stack([-np.logaddexp(0, -theta), -np.logaddexp(0, theta)], axis=-1)


def _split(p: Floats) -> Floats:
    """Log p and log(1−p), last axis."""
    return np.stack([np.log(p), np.log1p(-p)], axis=-1)


def uncapped(log_q: Floats, log_t: Floats, log_b: Floats, lam: Floats) -> Floats:
    """The advantage log(π_T/π) + (λ−1)·log(π_T/π_B)."""
    advantage: Floats = log_t - log_q + (lam - 1) * (log_t - log_b)
    return advantage
