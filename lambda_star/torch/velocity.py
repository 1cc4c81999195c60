"""How fast a loss moves a student with two outcomes: the expected gradient over the log-odds, off autograd.

Gradient descent on the logits moves the student's log-odds θ by q(1−q)(F_m − F_τ), where F are the effective
advantages of modal token and tail. The velocity here is F_m − F_τ.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lambda_star._core.namespaces import Floats
from lambda_star.torch.losses import Loss

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Draw", "Velocity", "one_thread", "read_velocity"]

Integers: TypeAlias = "NDArray[np.int64]"
Ways = Literal["sum", "mean", "vmap", "one by one"]

REACH = {torch.float64: 600.0, torch.float32: 60.0}  # log-odds whose tail mass is far from the least float
ALIKE = {torch.float64: 1e-8, torch.float32: 1e-3}  # how exactly a batch must repeat what its rows give alone
SMOOTH = 1e-9  # the relative noise above which a float64 loss computes in float32 somewhere


class Draw(NamedTuple):
    """How rollouts draw tokens: from the nucleus of mass ``top_p``, from the ``top_k`` likeliest, or from all."""

    top_p: float | None = None
    top_k: int | None = None

    def probabilities(self, logits: Floats) -> Floats:
        """Return the probability of each token of rows of logits to be drawn."""
        shifted = logits - logits.max(axis=1, keepdims=True)
        mass = np.exp(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))
        order = np.argsort(-mass, axis=1, kind="stable")
        ordered = np.take_along_axis(mass, order, axis=1)
        kept = np.ones(mass.shape, dtype=bool)
        if self.top_k is not None:
            kept[:, self.top_k :] = False
        if self.top_p is not None:
            kept &= np.cumsum(ordered, axis=1) - ordered < self.top_p
        drawn = np.zeros_like(mass)
        np.put_along_axis(drawn, order, np.where(kept, ordered, 0.0), axis=1)
        shares: Floats = drawn / drawn.sum(axis=1, keepdims=True)
        return drawn if kept.all() else shares


class Velocity(NamedTuple):
    """F_m − F_τ of a loss as a function of the student's log-odds.

    The modal outcome is the first ``outcomes − 1`` tokens in equal shares, the tail is the last token. ``ways`` says
    how rows are asked: all in one call whose loss is their sum or mean, through ``vmap``, or one by one.
    """

    loss: Loss
    outcomes: int
    draw: Draw
    dtype: torch.dtype
    ways: Ways = "one by one"

    @property
    def slow(self) -> bool:
        """Whether each row costs a call, so that few should be asked."""
        return self.ways == "one by one"

    @property
    def reach(self) -> float:
        """The largest log-odds, of either sign, at which the loss is asked."""
        return REACH[self.dtype]

    @property
    def epsilon(self) -> float:
        """The rounding of a probability near 1."""
        return float(torch.finfo(self.dtype).eps)

    @property
    def rounding(self) -> float:
        """The relative error of velocities below which nothing is read from them."""
        return 1e-11 if self.dtype == torch.float64 else 1e-4

    def __call__(self, log_odds: Floats, p: float, b: float, lam: float, shift: float = 0.0) -> Floats:
        """Compute the velocity at each of the student's log-odds; NaN or infinite where the gradient is.

        The rollout's log-odds lie ``shift`` above the student's, so 0 means on-policy.
        """
        log_odds = np.atleast_1d(np.asarray(log_odds, dtype=float))
        if not self.loss.sampled:
            return self._over_variance(log_odds, self._gradients(log_odds, p, b, lam, None, shift))
        drawn = self.draw.probabilities(self._logits(log_odds + shift))
        gradients = self._each_token(log_odds, p, b, lam, shift)
        # What is never drawn counts for nothing, even where its gradient is not finite.
        weighted = np.where(drawn.T[..., None] > 0, gradients, 0.0) * drawn.T[..., None]
        return self._over_variance(log_odds, weighted.sum(axis=0))

    def of_tokens(self, log_odds: Floats, p: float, b: float, lam: float, shift: float = 0.0) -> tuple[Floats, Floats]:
        """Compute the factors of ∇log π in the gradients of a sampled loss for the modal token and for the tail."""
        log_odds = np.asarray(log_odds, dtype=float)
        q, tail = (1 / (1 + np.exp(sign * log_odds)) for sign in (-1, 1))
        gradients = self._each_token(log_odds, p, b, lam, shift)
        return gradients[0, :, -1] / tail, -gradients[-1, :, -1] / q

    def total(self, log_odds: float, p: float, b: float, lam: float) -> float:
        """Return the sum of a row's gradient over its largest entry: 0, unless adding a number to all logits counts."""
        row = np.array([log_odds])
        if self.loss.sampled:
            gradients = self._each_token(row, p, b, lam, 0.0)
        else:
            gradients = self._gradients(row, p, b, lam, None, 0.0)
        largest = float(np.max(np.abs(gradients)))
        return float(np.max(np.abs(gradients.sum(axis=-1)))) / largest if largest else 0.0

    def _over_variance(self, log_odds: Floats, gradients: Floats) -> Floats:
        """Divide the motion of the log-odds by q(1−q); it is read off the rarer outcome, where no digits cancel."""
        with np.errstate(over="ignore", invalid="ignore"):
            motion = np.where(log_odds > 0, gradients[:, -1], -gradients[:, :-1].sum(axis=1))
            speeds: Floats = motion * (2 + 2 * np.cosh(log_odds))
        return speeds

    def _logits(self, log_odds: Floats) -> Floats:
        share = math.log(self.outcomes - 1)
        return np.stack([log_odds - share] * (self.outcomes - 1) + [np.zeros_like(log_odds)], axis=1)

    def _each_token(self, log_odds: Floats, p: float, b: float, lam: float, shift: float) -> Floats:
        """Compute the gradients of each row for each drawn token, tokens first."""
        tokens = np.repeat(np.arange(self.outcomes), len(log_odds))
        found = self._gradients(np.tile(log_odds, self.outcomes), p, b, lam, tokens, shift)
        return found.reshape(self.outcomes, len(log_odds), self.outcomes)

    def _gradients(
        self, log_odds: Floats, p: float, b: float, lam: float, tokens: Integers | None, shift: float
    ) -> Floats:
        """Compute the gradient of the loss over the logits of each row."""
        if self.ways != "one by one":
            found = self._call(log_odds, p, b, lam, tokens, shift)
            return found * len(log_odds) if self.ways == "mean" else found
        slices = [slice(at, at + 1) for at in range(len(log_odds))]
        rows = [
            self._call(log_odds[each], p, b, lam, None if tokens is None else tokens[each], shift) for each in slices
        ]
        return np.concatenate(rows)

    def _call(self, log_odds: Floats, p: float, b: float, lam: float, tokens: Integers | None, shift: float) -> Floats:
        """Run the user's loss on a batch of rows, and its backward pass."""

        def tensor(logits: Floats) -> Tensor:
            return torch.as_tensor(logits, dtype=self.dtype)

        count = len(log_odds)
        share = math.log(self.outcomes - 1)
        student = tensor(self._logits(log_odds)).requires_grad_()
        given = {
            name: tensor(np.array([[math.log(each) - share] * (self.outcomes - 1) + [math.log1p(-each)]] * count))
            for name, each in (("teacher", p), ("base", b))
        }
        given["rollout"] = tensor(self._logits(log_odds + shift))
        if tokens is not None:
            given["tokens"] = torch.as_tensor(tokens)
        try:
            with torch.enable_grad():
                found = self._mapped(student, given, lam) if self.ways == "vmap" else self._plain(student, given, lam)
        except (Exception, SystemExit) as error:
            raise ValueError(
                f"loss could not be run on {self.outcomes} outcomes, rows of shape {tuple(student.shape)}: "
                f"{type(error).__name__}: {error}; if it picks the top k tokens, give outcomes = k + 1"
            ) from error
        if found is None:
            raise ValueError(
                "loss must have a gradient with respect to the student's logits, got a value that does not depend on "
                "them; is the student detached, or read under no_grad?"
            )
        return np.asarray(found.detach().double().numpy())

    def _plain(self, student: Tensor, given: dict[str, Tensor], lam: float) -> Tensor | None:
        value = self.loss(student, given, lam)
        return torch.autograd.grad(value, student, allow_unused=True)[0] if value.requires_grad else None

    def _mapped(self, student: Tensor, given: dict[str, Tensor], lam: float) -> Tensor:
        """Run every row as a batch of its own, all at once."""

        def one(row: Tensor, others: dict[str, Tensor]) -> Tensor:
            return self.loss(row.unsqueeze(0), {name: each.unsqueeze(0) for name, each in others.items()}, lam)

        found: Tensor = torch.func.vmap(torch.func.grad(one))(student.detach(), given)
        return found


@contextmanager
def one_thread() -> Iterator[None]:
    """Run PyTorch on one thread: for rows this short, a second one costs ten times what it saves.

    >>> with one_thread():
    ...     torch.get_num_threads()
    1
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Seen(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Note the dtypes that a loss computes in."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.dtypes: set[torch.dtype] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.dtypes |= {
            each.dtype for each in (result if isinstance(result, (list, tuple)) else (result,)) if torch.is_tensor(each)
        }
        return result


def _refuse_half(velocity: Velocity, p: float, b: float) -> None:
    """Refuse a loss that computes in 16 bits, where a thin tail is lost in rounding."""
    with _Seen() as seen:
        try:
            velocity(np.zeros(1), p, b, 1.5)
        except ValueError:  # what is wrong with the loss is said where it is read
            return
    if found := seen.dtypes & {torch.bfloat16, torch.float16}:
        name = str(min(found, key=str)).removeprefix("torch.")
        raise ValueError(
            f"loss must compute in float32 or float64, got {name}, whose rounding hides thin tails; leave the casts to "
            "16 bits out of what is probed"
        )


def read_velocity(loss: Loss, p: float, b: float, *, outcomes: int = 2, draw: Draw | None = None) -> Velocity:
    """Find out how a loss can be asked: in float64 or float32, many rows at once or one by one.

    Args:
        loss: the loss, as ``read_loss`` returns it.
        p: teacher's modal probability, in (0, 1).
        b: base's probability of the same token, in (0, 1).
        outcomes: number of tokens, at least 2; the modal outcome is all but the last.
        draw: how rollouts draw tokens; by default from all.

    Returns:
        The velocity of the student's log-odds.

    Raises:
        ValueError: the loss raises an error, has no gradient, or is random.

    >>> from lambda_star.torch import opd_loss
    >>> from lambda_star.torch.losses import read_loss
    >>> velocity = read_velocity(read_loss(lambda student, teacher, base, lam: opd_loss(student, teacher, base, lam)),
    ...                          0.9, 0.5)
    >>> velocity(np.array([0.0]), 0.9, 0.5, 1.0).round(6)  # the teacher's log-odds are log 9
    array([2.197225])
    """
    double = Velocity(loss, outcomes, draw or Draw(), torch.float64)
    _refuse_half(double, p, b)
    single = double._replace(dtype=torch.float32)
    try:
        found = double if _has_digits(double, p, b) else single
    except ValueError as error:
        try:
            single(np.zeros(1), p, b, 1.5)
        except ValueError:
            raise error from error.__cause__
        found = single
    rows = _logit(b) + np.array([0.0, 0.7, 1.9, -1.1])
    alone = found(rows, p, b, 1.5)
    if not np.array_equal(alone, found(rows, p, b, 1.5), equal_nan=True):
        raise ValueError(
            "loss must give the same gradient for the same rows, got two that differ; if it draws tokens, let it take "
            "them as `tokens`, and every token will be tried"
        )
    ways: tuple[Ways, ...] = ("sum", "mean", "vmap")
    return next((many for way in ways if _repeats(many := found._replace(ways=way), alone, rows, p, b)), found)


def _logit(p: float) -> float:
    return math.log(p) - math.log1p(-p)


def _has_digits(velocity: Velocity, p: float, b: float) -> bool:
    """Tell whether velocities are smooth to float64's digits, by second differences over tiny steps."""
    noise = []
    for centre in (_logit(b) + 0.31, _logit(p) + 0.77):
        values = velocity(centre + 1e-6 * np.arange(8.0), p, b, 1.5)
        noise.append(float(np.max(np.abs(np.diff(values, 2)))) / (float(np.max(np.abs(values))) or 1.0))
    return not min(noise) > SMOOTH


def _repeats(many: Velocity, alone: Floats, rows: Floats, p: float, b: float) -> bool:
    """Tell whether a batch gives what its rows give alone."""
    try:
        together: Any = many(rows, p, b, 1.5)
    except ValueError:
        return False
    size = np.max(np.abs(alone[np.isfinite(alone)]), initial=0.0)
    return bool(np.allclose(together, alone, rtol=0, atol=ALIKE[many.dtype] * size, equal_nan=True))
