"""Predictions of the theory about a distillation step, checked against real forward, backward and optimiser steps."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lambda_star import bernoulli, categorical, dynamics
from lambda_star._core.namespaces import Floats
from lambda_star._core.quantities import LAM, C, Quantity, require
from lambda_star.bernoulli.formulas import logit
from lambda_star.torch.flow import Flow
from lambda_star.torch.losses import read_loss
from lambda_star.torch.rules import rule_loss
from lambda_star.torch.step import advantage, log_softmax, opd_loss
from lambda_star.torch.velocity import one_thread, read_velocity
from lambda_star.updates import Rule

__all__ = ["Line", "StepReport", "check_step"]

RATE, STEPS = 0.02, 250  # of the gradient steps on a table of logits; steps that small follow the flow
ROWS = 8  # the most positions that are trained as a table
ROUNDING = 256  # the rounding error allowed in gradients and logarithms, in units of the last place
SHARE = 1e-3  # how much of the divergence from the fixed point one step of a model should remove, to first order
GAIN = 0.1  # how far second-order terms may take the gain of that step from its first order
HALVINGS = 50  # bisection steps, enough for the 53 bits of a float64 between 1 and twice the threshold
PROBED = 3  # the most positions at which a rule's loss is followed to where the student rests
FOLLOWED = 1e-6  # how far the λ and log-odds found so may be from the closed forms, relative to 1 or more
FAR = 1e3  # the λ at which the clip is tried where λ* is infinite, so that no clip should act

# The name of a flow, whether its gradient is natural, and the flow time of the steps; a gradient moves both of two
# logits, so that their difference moves twice as fast.
FLOWS: tuple[tuple[dynamics.Flow, bool, float], ...] = (
    ("natural", True, -STEPS * math.log1p(-RATE)),
    ("policy-gradient", False, 2 * RATE * STEPS),
)

Inputs = Mapping[str, Any] | Tensor | None


class Line(NamedTuple):
    """A prediction and its measurement; the prediction holds if they differ by at most the tolerance.

    >>> Line("largest ratio", 1.5, 1.5001, 1e-3).holds
    True
    """

    what: str
    predicted: float
    measured: float
    tolerance: float

    @property
    def holds(self) -> bool:
        """Whether measured and predicted agree; NaN agrees with nothing."""
        return bool(self.predicted == self.measured or abs(self.measured - self.predicted) <= self.tolerance)


@dataclass(frozen=True)
class StepReport:
    """Predictions and measurements of :func:`check_step`, one line each, and the setting in which they were made.

    >>> report = check_step(torch.tensor([[4.0, 0.0, -1.0]]), torch.tensor([[1.0, 0.0, 0.0]]))
    >>> report.passed, report.positions
    (True, 1)
    """

    lines: tuple[Line, ...]
    device: str
    dtype: str
    positions: int
    tokens: int
    lam: float
    clip: float
    rule: Rule | None = None

    @property
    def passed(self) -> bool:
        """Whether every prediction holds."""
        return all(line.holds for line in self.lines)


class _Rows(NamedTuple):
    """Logits of teacher and base, one row per position, and the rounding error of numbers computed from them."""

    teacher: Tensor
    base: Tensor
    lam: float
    clip: float
    rounding: float

    def mixture(self) -> Tensor:
        """Return logits of the fixed point."""
        absent = (self.teacher == -math.inf) & (self.base == -math.inf)
        return torch.where(absent, -math.inf, self.lam * self.teacher + (1 - self.lam) * self.base)

    def loss(self, student: Tensor) -> Tensor:
        return opd_loss(student, self.teacher, self.base, self.lam)

    def divergence(self, student: Tensor) -> Tensor:
        """Return the mean Kullback–Leibler divergence of a student from the fixed point."""
        log_s, log_fixed = log_softmax(student), log_softmax(self.mixture())
        return torch.where(log_fixed == -math.inf, 0.0, log_s.exp() * (log_s - log_fixed)).sum(dim=-1).mean()


def check_step(
    teacher: Tensor | nn.Module,
    base: Tensor | nn.Module,
    student: nn.Module | None = None,
    inputs: Inputs = None,
    *,
    lam: float = 1.25,
    clip: float = 5.0,
    positions: int = 64,
    rule: Rule | None = None,
) -> StepReport:
    """Run real distillation steps, and compare what they do with what the theory predicts.

    A table of logits, one row per position, is trained by gradient steps. Its gradient must vanish at the fixed point,
    and its log-odds must follow :mod:`lambda_star.dynamics`, with the clip and without. The largest ratio of teacher to
    student probability must be R(λ), and the clip must begin to act at λ*. For a student model three more predictions
    are checked: its gradient vanishes at the fixed point, the gradient of the loss is that of the divergence from the
    fixed point, and one small step reduces this divergence as its first order says. The student is not changed.

    With a ``rule`` the clip plays no part. In its place the gradient of the rule's loss is followed, at positions with
    two outcomes, to where it vanishes. The student there, the λ at which it leaves the fixed point, and the λ at which
    its tail dies must be those of the rule's closed forms.

    Args:
        teacher: logits of shape (..., tokens), or a module that returns them: a Hugging Face causal language model, or
            any module whose output is a tensor or has ``logits``.
        base: the same of the base.
        student: a module whose step is checked; without it only the table of logits is trained.
        inputs: what the modules are called with, a mapping of keyword arguments or one tensor.
        lam: extrapolation coefficient λ, finite.
        clip: cap c on the ratio of teacher to student probability, above 1 and finite.
        positions: the most positions to look at, at least 1; they are spread evenly.
        rule: the update rule whose students are predicted; by default the cap on the log-ratio at ``clip``.

    Returns:
        A :class:`StepReport`.

    Raises:
        ValueError: a value lies outside its range, shapes differ, or a module has no inputs.

    Source: ``derivations/bernoulli.md``, ``derivations/categorical.md`` and ``derivations/dynamics.md``.

    >>> teacher, base = torch.tensor([[4.0, 0.0, -1.0]]), torch.tensor([[1.0, 0.0, 0.0]])
    >>> [line.what for line in check_step(teacher, base, lam=1.2).lines][0]
    'gradient at the fixed point / elsewhere'
    """
    finite = C.named("clip")._replace(ends="()")
    require((finite, clip), (LAM, lam), (Quantity("positions", 1, math.inf, "[)"), positions))
    with torch.no_grad():
        raw, other = (_logits(model, inputs, name) for name, model in (("teacher", teacher), ("base", base)))
    if (shape := tuple(other.shape)) != raw.shape:
        raise ValueError(f"base must have the shape of the teacher's logits, {tuple(raw.shape)}, got {shape}")
    chosen = torch.linspace(0, len(raw) - 1, min(positions, len(raw)), device=raw.device).long()
    wide = torch.promote_types(raw.dtype, torch.float32)
    rows = _Rows(raw[chosen].to(wide), other[chosen].to(wide), lam, clip, ROUNDING * torch.finfo(wide).eps)
    lines = [_gradient(rows), _table(rows), _ratio(rows)]
    lines += [_clip_onset(rows), *_two_outcomes(rows)] if rule is None else _under_rule(rows, rule)
    if student is not None:
        lines += _model_step(student, inputs, chosen, rows)
    return StepReport(tuple(lines), str(raw.device), str(raw.dtype)[6:], len(chosen), raw.shape[-1], lam, clip, rule)


def _logits(model: Tensor | nn.Module, inputs: Inputs, name: str) -> Tensor:
    """Return a model's logits, one row per position."""
    if isinstance(model, Tensor):
        return model.detach().reshape(-1, model.shape[-1])
    if inputs is None:
        raise ValueError(f"inputs must be given where {name} is a module")
    out: Any = model(**inputs) if isinstance(inputs, Mapping) else model(inputs)
    logits: Tensor = getattr(out, "logits", out)
    return logits.reshape(-1, logits.shape[-1])


def _norm(tensors: Iterable[Tensor]) -> float:
    return math.sqrt(math.fsum(float(tensor.double().square().sum()) for tensor in tensors))


def _relative(part: float, whole: float) -> float:
    return part / whole if whole else math.inf if part else 0.0


def _flat(logits: Tensor) -> Tensor:
    """Return a uniform student, which differs from the fixed point even where the base does not."""
    return torch.where(logits == -math.inf, logits, 0.0)


def _worst(what: str, predicted: Floats, measured: Floats, tolerance: Floats | float) -> Line:
    """Make the line of the position at which prediction and measurement differ most."""
    row = int(np.argmax(np.abs(measured - predicted)))
    allowed = np.broadcast_to(tolerance, measured.shape)
    return Line(what, *(float(values[row]) for values in (predicted, measured, allowed)))


def _gradient(rows: _Rows) -> Line:
    def size(logits: Tensor) -> float:
        leaf = logits.detach().clone().requires_grad_()
        return _norm(torch.autograd.grad(rows.loss(leaf), leaf))

    measured = _relative(size(rows.mixture()), max(size(rows.base), size(_flat(rows.base))))
    return Line("gradient at the fixed point / elsewhere", 0.0, measured, rows.rounding)


def _descend(logits: Tensor, loss: Callable[[Tensor], Tensor], natural: bool) -> Tensor:
    """Train a table of logits with SGD; a natural gradient is the gradient over the student's probabilities."""
    table = nn.Parameter(logits.detach().clone())
    optimizer = torch.optim.SGD([table], lr=RATE)
    for _ in range(STEPS):
        # Rows share no parameters, so the loss is summed over positions rather than averaged.
        (gradient,) = torch.autograd.grad(loss(table) * len(table), table)
        q = log_softmax(table.detach()).exp().clamp(min=torch.finfo(table.dtype).tiny)
        table.grad = gradient / q if natural else gradient
        optimizer.step()
    return table.detach()


def _table(rows: _Rows) -> Line:
    """Check that natural-gradient steps move the log-odds of two tokens as if there were no others."""
    rows = rows._replace(teacher=rows.teacher[:ROWS], base=rows.base[:ROWS])
    table = _descend(rows.base, rows.loss, natural=True)
    log_t, log_b = log_softmax(rows.teacher), log_softmax(rows.base)
    modal = log_t.argmax(dim=-1, keepdim=True)
    other = log_b.scatter(-1, modal, -math.inf).argmax(dim=-1, keepdim=True)
    odds = (logits.gather(-1, modal) - logits.gather(-1, other) for logits in (log_t, log_b, table))
    teacher, base, measured = (value.squeeze(-1).double().cpu().numpy() for value in odds)
    target = base + rows.lam * (teacher - base)
    predicted = base + (target - base) * -math.expm1(STEPS * math.log1p(-RATE))
    scale = float(torch.where(rows.teacher == -math.inf, 0.0, rows.teacher).abs().max()) + 1
    what = f"log-odds after {STEPS} natural-gradient steps, without a clip"
    return _worst(what, predicted, measured, rows.rounding * scale)


def _two_outcomes(rows: _Rows) -> list[Line]:
    """Check both flows on two logits, modal token and tail, past λ* and with the clip."""
    p, b = _modal(rows)
    where = np.flatnonzero((p > b) & (b > p / rows.clip))
    if not len(where):
        return []
    chosen = where[np.linspace(0, len(where) - 1, min(ROWS, len(where))).astype(int)]
    teacher, base = (_pair(value[chosen], rows.teacher) for value in (p, b))
    lams = 1 + 1.5 * bernoulli.excess(p[chosen], b[chosen], rows.clip)
    at = torch.as_tensor(lams, dtype=teacher.dtype, device=teacher.device)
    loss = partial(opd_loss, teacher=teacher, base=base, lam=at, clip=rows.clip)
    lines = []
    for flow, natural, time in FLOWS:
        measured = _descend(base, loss, natural).diff().squeeze(-1).double().cpu().numpy()
        paths = [
            dynamics.trajectory(float(p[row]), float(b[row]), rows.clip, float(lam), [time], flow=flow)[0]
            for row, lam in zip(chosen, lams, strict=True)
        ]
        predicted = np.array(paths)
        # Steps follow the flow up to terms of the order of their size.
        what = f"log-odds after {STEPS} {flow} steps past λ*, clip {rows.clip:g}"
        lines.append(_worst(what, predicted, measured, RATE * (np.abs(predicted) + 1)))
    return lines


def _under_rule(rows: _Rows, rule: Rule) -> list[Line]:
    """Check where a rule's loss leads students of two outcomes, in float64 on the CPU."""
    p, b = _modal(rows)
    where = np.flatnonzero(p > b)
    chosen = where[np.linspace(0, len(where) - 1, min(PROBED, len(where))).astype(int)]
    pairs = [(float(p[row]), float(b[row])) for row in chosen]
    if not pairs or not rows.lam >= 0:  # closed forms of students begin at λ = 0
        return []
    loss = read_loss(rule_loss(rule))
    with one_thread():
        flows = [Flow(read_velocity(loss, *pair), *pair) for pair in pairs]
        found = [(flow.settle(rows.lam), max(1.0, flow.leaves()), flow.dies()) for flow in flows]
    known = [(_log_odds(rule, *pair, rows.lam), max(1.0, rule.leaves(*pair)), rule.dies(*pair)) for pair in pairs]
    whats = (
        f"log-odds where training ends at λ = {rows.lam:g}, {rule}",
        f"λ from 1 on at which the student is not at the fixed point, {rule}",
        f"λ at which the tail dies, {rule}",
    )
    lines = []
    for what, predicted, measured in zip(whats, zip(*known, strict=True), zip(*found, strict=True), strict=True):
        apart = [Line(what, *pair, _followed(pair[0])) for pair in zip(predicted, measured, strict=True)]
        lines.append(next((line for line in apart if not line.holds), apart[0]))
    return lines


def _followed(predicted: float) -> float:
    """Return the tolerance of a number that was followed; +inf must be met exactly."""
    return FOLLOWED * max(1.0, abs(predicted)) if math.isfinite(predicted) else 0.0


def _log_odds(rule: Rule, p: float, b: float, lam: float) -> float:
    """Return the log-odds of a rule's student of two outcomes, +inf where the tail has died."""
    modal, tail = rule.student(p, b, lam), 1 - rule.student(p, b, lam)
    return float(logit(np, np.float64(modal))) if tail > 0 else math.inf


def _modal(rows: _Rows) -> tuple[Floats, ...]:
    """Return the probabilities of the teacher's modal token under teacher and base, kept inside (0, 1)."""
    log_t, log_b = log_softmax(rows.teacher), log_softmax(rows.base)
    modal = log_t.argmax(dim=-1, keepdim=True)
    near = 1e-6
    both = (logs.gather(-1, modal).squeeze(-1).double().exp() for logs in (log_t, log_b))
    return tuple(each.clamp(near, 1 - near).cpu().numpy() for each in both)


def _pair(p: Floats, like: Tensor) -> Tensor:
    """Return logits of two outcomes, tail and modal token."""
    odds = torch.as_tensor(logit(np, p), dtype=like.dtype, device=like.device)
    return torch.stack([torch.zeros_like(odds), odds], dim=-1)


def _ratio(rows: _Rows) -> Line:
    """Check R(λ), the largest ratio of teacher to student probability, where the student is the fixed point."""
    log_t, log_s = log_softmax(rows.teacher), log_softmax(rows.mixture())
    measured = float(torch.where(log_t == -math.inf, -math.inf, log_t - log_s).max().double().exp())
    predicted = float(categorical.ratio(rows.teacher.double(), rows.base.double(), rows.lam).max())
    what = f"largest teacher / student ratio at λ = {rows.lam:g}"
    return Line(what, predicted, measured, rows.rounding * predicted)


def _clip_onset(rows: _Rows) -> Line:
    """Find by bisection the least λ at which the clip changes the advantage of a token of the fixed point."""
    found = categorical.threshold(rows.teacher, rows.base, rows.clip).value.double()
    row = int(found.argmin())
    predicted, what = float(found[row]), "least λ at which the clip acts on a token"
    one = rows._replace(teacher=rows.teacher[row : row + 1], base=rows.base[row : row + 1])
    log_t, log_b = log_softmax(one.teacher), log_softmax(one.base)

    def acts(lam: float) -> bool:
        log_s = log_softmax(one._replace(lam=lam).mixture())
        return bool((advantage(log_t, log_s, log_b, lam, rows.clip) < advantage(log_t, log_s, log_b, lam)).any())

    low, high = 1.0, min(2 * predicted, FAR)
    if not acts(high):
        return Line(what, predicted, math.inf, rows.rounding)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if acts(middle) else (middle, high)
    return Line(what, predicted, high, rows.rounding * high)


def _model_step(student: nn.Module, inputs: Inputs, chosen: Tensor, rows: _Rows) -> list[Line]:
    """Check gradients and one step of a model whose positions share their weights."""
    weights = [weight for weight in student.parameters() if weight.requires_grad]
    if not weights:
        raise ValueError("student must have weights that require a gradient, got none")
    tolerance = max(rows.rounding, *(8 * torch.finfo(weight.dtype).eps for weight in weights))

    def gradients(loss: Callable[[Tensor], Tensor], at: Tensor | None = None) -> tuple[Tensor, ...]:
        """Run a backward pass from the student's logits, or from other logits put in their place."""
        out = _logits(student, inputs, "student")[chosen].to(rows.teacher.dtype)
        value = loss(out if at is None else out + (at - out).detach())
        return torch.autograd.grad(value, weights, materialize_grads=True)

    step = gradients(rows.loss)
    elsewhere = max(_norm(step), _norm(gradients(rows.loss, _flat(rows.base))))
    at_rest = _norm(gradients(rows.loss, rows.mixture()))
    apart = _norm(a - b for a, b in zip(step, gradients(rows.divergence), strict=True))
    difference = "model: step's gradient − gradient of the divergence, relative"
    lines = [
        Line("model: gradient at the fixed point / elsewhere", 0.0, _relative(at_rest, elsewhere), tolerance),
        Line(difference, 0.0, _relative(apart, elsewhere), tolerance),
    ]
    if _relative(_norm(step), elsewhere) > tolerance:  # at the fixed point no step gains anything
        lines.append(Line("model: gain of a step / its first order", 1.0, _gain(student, inputs, chosen, rows), GAIN))
    return lines


def _gain(student: nn.Module, inputs: Inputs, chosen: Tensor, rows: _Rows) -> float:
    """Return the divergence that an SGD step of a copy removes, over rate times squared gradient.

    The copy is in float32 or wider, as an optimiser's master weights are: half precision cannot hold so small a step.
    """
    model = copy.deepcopy(student)
    model = model.float() if any(weight.dtype.itemsize < 4 for weight in model.parameters()) else model
    weights = [weight for weight in model.parameters() if weight.requires_grad]

    def divergence() -> Tensor:
        return rows.divergence(_logits(model, inputs, "student")[chosen].to(rows.teacher.dtype))

    start = divergence()
    gradients = torch.autograd.grad(start, weights, materialize_grads=True)
    for weight, gradient in zip(weights, gradients, strict=True):
        weight.grad = gradient
    before = float(start.detach())
    torch.optim.SGD(weights, lr=SHARE * before / _norm(gradients) ** 2).step()
    with torch.no_grad():
        return (before - float(divergence())) / (SHARE * before)
